//! The transport header: ports, ICMP type and TCP flags.

use super::number::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE};
use crate::packet::Packet;

/// What the transport header adds to the key.
#[derive(Clone, Copy, Default)]
pub struct Transport {
    pub source_port: u16,
    pub destination_port: u16,
    pub tcp_flags: u8,
    pub header_octets: u16,
}

/// Octets of UDP's header.
pub const UDP_HEADER_OCTETS: u16 = 8;

/// Reads ports, or ICMP type and code, if the first four octets are within the IP length and
/// captured; TCP flags likewise.
#[inline(always)]
pub fn transport(packet: &impl Packet, protocol: u8, offset: usize, octets: usize) -> Transport {
    const TCP_FLAGS: usize = 12;
    let mut transport = Transport::default();
    if octets < 4 {
        return transport;
    }
    match protocol {
        TCP | UDP | SCTP | DCCP | UDP_LITE => {
            if let Some(ports) = packet.u32(offset) {
                transport.source_port = (ports >> 16) as u16;
                transport.destination_port = ports as u16;
            }
            if protocol == TCP && octets >= TCP_FLAGS + 2 {
                // Data offset, reserved bits and NS are in the first octet.
                let flags = packet.u16(offset + TCP_FLAGS).unwrap_or(0);
                transport.tcp_flags = flags as u8;
                transport.header_octets = (flags >> 12) * 4;
            } else if protocol == UDP {
                transport.header_octets = UDP_HEADER_OCTETS;
            }
        }
        ICMP | ICMPV6 => {
            // type * 256 + code, as routers put it in the destination port.
            transport.destination_port = packet.u16(offset).unwrap_or(0);
        }
        _ => {}
    }
    transport
}
