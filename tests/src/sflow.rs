//! Datagrams of sFlow version 5, made from their parts: fixtures for its decoder and the collector.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Formats of records.
pub const SAMPLED_HEADER: u32 = 1;
/// Addresses of the link layer.
pub const SAMPLED_ETHERNET: u32 = 2;
/// An IPv4 packet's fields.
pub const SAMPLED_IPV4: u32 = 3;
/// An IPv6 packet's fields.
pub const SAMPLED_IPV6: u32 = 4;
/// VLANs.
pub const EXTENDED_SWITCH: u32 = 1001;
/// Next hop and prefix lengths.
pub const EXTENDED_ROUTER: u32 = 1002;
/// AS numbers.
pub const EXTENDED_GATEWAY: u32 = 1003;

/// A datagram's header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The agent's address.
    pub agent: Ipv4Addr,
    /// The sub-agent.
    pub sub_agent: u32,
    /// Its number.
    pub sequence: u32,
    /// Milliseconds since the agent booted.
    pub uptime_ms: u32,
}

/// A datagram of these samples.
#[must_use]
pub fn datagram(header: &Header, samples: &[Vec<u8>]) -> Vec<u8> {
    let agent = header.agent.octets();
    let head = words(&[5, 1, u32::from_be_bytes(agent)]);
    let rest = [
        header.sub_agent,
        header.sequence,
        header.uptime_ms,
        count(samples.len()),
    ];
    [head, words(&rest), samples.concat()].concat()
}

/// Where samples are from, and how many were taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The sample's number at its source.
    pub sequence: u32,
    /// The source, an interface.
    pub ifindex: u32,
    /// One packet in so many.
    pub rate: u32,
    /// Samples that were left out.
    pub drops: u32,
    /// Interfaces.
    pub interfaces: [u32; 2],
}

/// A flow sample of these records.
#[must_use]
pub fn flow_sample(taken: &Taken, records: &[Vec<u8>]) -> Vec<u8> {
    sample(1, &[], taken, records)
}

/// An expanded one: classes and formats have words of their own.
#[must_use]
pub fn expanded_flow_sample(taken: &Taken, records: &[Vec<u8>]) -> Vec<u8> {
    sample(3, &[0], taken, records)
}

/// A flow sample whose interfaces have these words before their numbers.
fn sample(format: u32, class: &[u32], taken: &Taken, records: &[Vec<u8>]) -> Vec<u8> {
    let interface = |number: u32| [class, &[number]].concat();
    let [ingress, egress] = taken.interfaces;
    let packets = taken.sequence.wrapping_mul(taken.rate);
    let head = [
        vec![taken.sequence],
        interface(taken.ifindex),
        vec![taken.rate, packets, taken.drops],
        interface(ingress),
        interface(egress),
        vec![count(records.len())],
    ];
    framed(format, &[words(&head.concat()), records.concat()].concat())
}

/// A flow sample as a switch takes one in a thousand at interface 5: the frame of host 7, and its VLANs.
#[must_use]
pub fn switched_sample(sequence: u32) -> Vec<u8> {
    let taken = Taken {
        sequence,
        ifindex: 5,
        rate: 1000,
        drops: 0,
        interfaces: [5, 6],
    };
    let records = [
        header_record(1, 1518, &frame(7, 1234)),
        record(EXTENDED_SWITCH, &[100, 0, 200, 0]),
    ];
    flow_sample(&taken, &records)
}

/// A counter sample without counters.
#[must_use]
pub fn counter_sample(sequence: u32, ifindex: u32) -> Vec<u8> {
    framed(2, &words(&[sequence, ifindex, 0]))
}

/// A record of a packet's first octets: of Ethernet 1, IPv4 11, IPv6 12. `wire_octets` counts a
/// checksum of four octets that was taken off.
#[must_use]
pub fn header_record(protocol: u32, wire_octets: u32, octets: &[u8]) -> Vec<u8> {
    let head = [protocol, wire_octets + 4, 4, count(octets.len())];
    let mut body = [words(&head), octets.to_vec()].concat();
    body.resize(body.len().next_multiple_of(4), 0);
    framed(SAMPLED_HEADER, &body)
}

/// A record of an IPv4 packet's fields: addresses and ports, of TCP.
#[must_use]
pub fn ipv4_record(octets: u32, ends: [(Ipv4Addr, u16); 2]) -> Vec<u8> {
    let [source, destination] = ends;
    let body = [
        octets,
        6,
        source.0.to_bits(),
        destination.0.to_bits(),
        source.1.into(),
        destination.1.into(),
        0x12,
        0xb8,
    ];
    framed(SAMPLED_IPV4, &words(&body))
}

/// A record of an IPv6 packet's fields, likewise.
#[must_use]
pub fn ipv6_record(octets: u32, ends: [(Ipv6Addr, u16); 2]) -> Vec<u8> {
    let [source, destination] = ends;
    let body = [
        words(&[octets, 6]),
        source.0.octets().to_vec(),
        destination.0.octets().to_vec(),
        words(&[source.1.into(), destination.1.into(), 0x12, 0xb8]),
    ];
    framed(SAMPLED_IPV6, &body.concat())
}

/// A record of words.
#[must_use]
pub fn record(format: u32, body: &[u32]) -> Vec<u8> {
    framed(format, &words(body))
}

/// A sample or record: its format, its length, its octets.
#[must_use]
pub fn framed(format: u32, body: &[u8]) -> Vec<u8> {
    [&words(&[format, count(body.len())])[..], body].concat()
}

/// An Ethernet frame of VLAN 100 with a TCP segment in IPv4, as far as its flags: the source's last octet
/// and port as given.
#[must_use]
pub fn frame(host: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    #[rustfmt::skip]
    let frame = vec![
        2, 0, 0, 0, 0, 0x22, 2, 0, 0, 0, 0, 0x11, 0x81, 0x00, 0, 100, 0x08, 0x00,
        0x45, 0xb8, 0x05, 0xdc, 0, 1, 0x40, 0, 64, 6, 0, 0,
        192, 0, 2, host, 198, 51, 100, 7,
        high, low, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0, 0, 0, 0, 0, 0,
    ];
    frame
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
