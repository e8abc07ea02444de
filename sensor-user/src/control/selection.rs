//! Which flows of the live table are meant: an expression in tcpdump's language, as the sensor takes it for packets,
//! asked of a packet that a flow's key tells. What no key has (`vlan`, `ether`) is refused; `less` and `greater` go
//! by the mean length of its packets.

use std::{thread, time::Duration};

use crossbeam::channel::bounded;
use weir_sensor_common::walk::number::{ICMP, ICMPV6};

use crate::{
    prefilter::{FileFilter, run::Packet},
    sweep::Taken,
};

/// Frames without a link layer (`LINKTYPE_RAW`, <https://www.tcpdump.org/linktypes.html>).
const RAW: i32 = 101;

/// How long an expression may take to be compiled: libpcap looks names of hosts up, and other clients wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// Octets of the headers that are made, without options.
const V4_OCTETS: u8 = 20;
const V6_OCTETS: u8 = 40;
const TRANSPORT_OCTETS: u8 = 20;
const PACKET_OCTETS: usize = 60;

/// Which flows are meant.
#[derive(Debug)]
pub struct Selection(Option<FileFilter>);

impl Selection {
    /// Those that an expression means; without one all are.
    ///
    /// # Errors
    /// A sentence: libpcap is missing, what it says of the expression, or that it takes too long.
    pub fn of(expression: Option<&str>) -> Result<Self, String> {
        let Some(expression) = expression.map(str::to_owned) else {
            return Ok(Self(None));
        };
        let (sender, receiver) = bounded(1);
        let work = move || {
            // Nobody waits for it any more if it took too long.
            let _ = sender.send(compiled(&expression));
        };
        let thread = thread::Builder::new().name("filter".to_owned()).spawn(work);
        thread.map_err(|error| format!("there is no thread to compile the filter: {error}"))?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(filter) => Ok(Self(Some(filter?))),
            Err(_) => Err(
                "the filter takes too long: names of hosts are looked up, give their addresses"
                    .to_owned(),
            ),
        }
    }

    /// Whether a flow is meant.
    pub fn wants(&mut self, flow: &Taken) -> bool {
        let Some(filter) = &mut self.0 else {
            return true;
        };
        let mut octets = [0; PACKET_OCTETS];
        let length = write_packet(&mut octets, flow);
        let mean = flow.octets / flow.packets.max(1);
        let packet = Packet {
            octets: &octets[..length],
            wire_octets: u32::try_from(mean).unwrap_or(u32::MAX),
        };
        // It was compiled, which is all that fails.
        filter.wants(RAW, packet).unwrap_or(false)
    }
}

fn compiled(expression: &str) -> Result<FileFilter, String> {
    let mut filter = FileFilter::new(expression)?;
    // It is compiled for the first packet.
    let nothing = Packet {
        octets: &[],
        wire_octets: 0,
    };
    filter.wants(RAW, nothing)?;
    Ok(filter)
}

/// Writes the headers of a flow's packets; how many octets they have.
fn write_packet(octets: &mut [u8; PACKET_OCTETS], flow: &Taken) -> usize {
    let key = &flow.key;
    let (source, destination) = (key.source_octets(), key.destination_octets());
    let network_octets = if key.is_v6() {
        octets[0] = 0x60 | key.tos() >> 4;
        octets[1] = key.tos() << 4;
        octets[5] = TRANSPORT_OCTETS;
        octets[6] = key.protocol();
        octets[8..24].copy_from_slice(&source);
        octets[24..40].copy_from_slice(&destination);
        V6_OCTETS
    } else {
        octets[0] = 0x45;
        octets[1] = key.tos();
        octets[3] = V4_OCTETS + TRANSPORT_OCTETS;
        octets[9] = key.protocol();
        octets[12..16].copy_from_slice(&source[12..]);
        octets[16..20].copy_from_slice(&destination[12..]);
        V4_OCTETS
    };
    let network_octets = usize::from(network_octets);
    let transport = &mut octets[network_octets..];
    let ports = [key.source_port(), key.destination_port()].map(u16::to_be_bytes);
    if matches!(key.protocol(), ICMP | ICMPV6) {
        // The destination port is type and code.
        transport[..2].copy_from_slice(&ports[1]);
    } else {
        transport[..2].copy_from_slice(&ports[0]);
        transport[2..4].copy_from_slice(&ports[1]);
        transport[12] = 0x50;
        transport[13] = flow.tcp_flags;
    }
    network_octets + usize::from(TRANSPORT_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::Reason;
    use weir_sensor_common::{Extra, FlowKey};

    fn flow(v6: bool, protocol: u8, ports: [u16; 2]) -> Taken {
        let (source, destination, family) = if v6 {
            (
                FlowKey::v6([0x20; 16]),
                FlowKey::v6([0x21; 16]),
                FlowKey::FAMILY_V6,
            )
        } else {
            let mapped = FlowKey::v4_mapped;
            (mapped([10, 0, 0, 1]), mapped([10, 0, 0, 9]), 0)
        };
        Taken {
            key: FlowKey {
                source,
                destination,
                attributes: FlowKey::pack(ports[0], ports[1], protocol, 0xb8, family),
            },
            hook: 0,
            octets: 3000,
            packets: 3,
            first_tick: 0,
            last_tick: 0,
            tcp_flags: 0x12,
            reason: Reason::Flushed,
            extra: Extra::default(),
        }
    }

    #[test]
    fn expressions_mean_of_flows_what_they_mean_of_their_packets() {
        let tcp = flow(false, 6, [40_000, 443]);
        let udp6 = flow(true, 17, [5353, 53]);
        let ping = flow(false, 1, [0, 8 << 8]);
        for (expression, expected) in [
            ("ip", [true, false, true]),
            ("ip6", [false, true, false]),
            ("tcp", [true, false, false]),
            ("port 53", [false, true, false]),
            ("src port 40000 and dst port 443", [true, false, false]),
            ("src net 10.0.0.0/24 and not icmp", [true, false, false]),
            ("dst host 10.0.0.9", [true, false, true]),
            (
                "src host 2020:2020:2020:2020:2020:2020:2020:2020",
                [false, true, false],
            ),
            ("icmp[icmptype] == icmp-echo", [false, false, true]),
            ("tcp[tcpflags] & tcp-syn != 0", [true, false, false]),
            ("ip[1] = 0xb8", [true, false, true]),
            ("greater 999 and less 1001", [true, true, true]),
            ("greater 1001", [false, false, false]),
        ] {
            let mut selection = Selection::of(Some(expression)).unwrap();
            let found = [tcp, udp6, ping].map(|flow| selection.wants(&flow));
            assert_eq!(found, expected, "{expression}");
        }
        assert!(Selection::of(None).unwrap().wants(&tcp));
    }

    #[test]
    fn what_is_no_expression_or_in_no_key_is_refused() {
        for (expression, words) in [("port", "syntax error"), ("vlan 3", "VLAN")] {
            let refused = Selection::of(Some(expression)).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
