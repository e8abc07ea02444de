//! A datagram in the packet that its exporter sent it in, but for where it goes: IP and UDP headers with the
//! exporter's address and port (RFC 791, RFC 8200, RFC 768).

use std::net::SocketAddr;

use crate::exporters::Source;

const UDP: u8 = 17;
const UDP_HEADER_OCTETS: u16 = 8;
const HOPS: u8 = 64;

/// The packet; nothing if exporter and target are of different families, or it would be too long for one.
#[must_use]
pub fn packet(source: &Source, target: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    let udp_octets = u16::try_from(datagram.len())
        .ok()?
        .checked_add(UDP_HEADER_OCTETS)?;
    let mut packet = Vec::with_capacity(40 + usize::from(udp_octets));
    let pseudo = match (source.address.to_ipv4_mapped(), target) {
        (Some(from), SocketAddr::V4(to)) => {
            let total = udp_octets.checked_add(20)?;
            packet.extend([0x45, 0]);
            packet.extend(total.to_be_bytes());
            // The kernel gives it an identification and the checksum.
            packet.extend([0, 0, 0, 0, HOPS, UDP, 0, 0]);
            let addresses = [from.octets(), to.ip().octets()].concat();
            packet.extend(&addresses);
            addresses
        }
        (None, SocketAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(udp_octets.to_be_bytes());
            packet.extend([UDP, HOPS]);
            let addresses = [source.address.octets(), to.ip().octets()].concat();
            packet.extend(&addresses);
            addresses
        }
        _ => return None,
    };
    let mut header = Vec::with_capacity(8);
    for field in [source.port, target.port(), udp_octets] {
        header.extend(field.to_be_bytes());
    }
    let pseudo_rest = [0, UDP];
    let sum: u64 = [
        &pseudo[..],
        &pseudo_rest,
        &udp_octets.to_be_bytes(),
        &header[..],
        datagram,
    ]
    .into_iter()
    .map(sum)
    .sum();
    // Zero would mean that there is none.
    let checksum = match !folded(sum) {
        0 => u16::MAX,
        checksum => checksum,
    };
    header.extend(checksum.to_be_bytes());
    packet.extend(header);
    packet.extend(datagram);
    Some(packet)
}

/// The sum of 16-bit words (RFC 1071), an odd octet being a word's first.
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<2>();
    let whole: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    whole + rest.iter().map(|octet| u64::from(*octet) << 8).sum::<u64>()
}

fn folded(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use weir_netflow::record::mapped_address;

    use super::*;

    fn source(address: &str) -> Source {
        Source {
            address: mapped_address(address.parse().unwrap()),
            port: 40_000,
            session: 0,
        }
    }

    /// The sum over pseudo header, header with checksum and data is all ones.
    #[test]
    fn packets_are_as_the_exporter_sent_them() {
        for (from, to, header_octets) in [
            ("192.0.2.1", "198.51.100.2:2055", 20),
            ("2001:db8::1", "[2001:db8::2]:2055", 40),
        ] {
            for datagram in [&b"even"[..], b"odd", b""] {
                let target: SocketAddr = to.parse().unwrap();
                let packet = packet(&source(from), target, datagram).unwrap();
                assert_eq!(packet.len(), header_octets + 8 + datagram.len());
                let (ip, udp) = packet.split_at(header_octets);
                let addresses = if header_octets == 20 {
                    &ip[12..]
                } else {
                    &ip[8..]
                };
                let length = u16::try_from(udp.len()).unwrap();
                let all = sum(addresses) + sum(udp) + u64::from(UDP) + u64::from(length);
                assert_eq!(folded(all), 0xffff, "{from} {datagram:?}");
                assert_eq!(udp[..4], [0x9c, 0x40, 0x08, 0x07]);
            }
        }
        let target = "[2001:db8::2]:2055".parse().unwrap();
        assert!(packet(&source("192.0.2.1"), target, b"").is_none());
        let target = "198.51.100.2:2055".parse().unwrap();
        assert!(packet(&source("192.0.2.1"), target, &vec![0; 65_530]).is_none());
    }
}
