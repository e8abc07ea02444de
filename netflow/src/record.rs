//! The version-neutral flow record: what a flow is between the sensor's table and a file, whatever
//! format carries it.

use std::net::{IpAddr, Ipv6Addr};

/// One unidirectional flow, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Source address; IPv4 as v4-mapped IPv6 (RFC 4291 section 2.5.5.2).
    pub source: Ipv6Addr,
    /// Destination address, likewise.
    pub destination: Ipv6Addr,
    /// Next hop, likewise; unspecified (`::`) if the exporter did not say.
    pub next_hop: Ipv6Addr,
    /// Next hop by BGP, likewise (IE 18, 63).
    pub bgp_next_hop: Ipv6Addr,
    /// Whether the packets were IPv6.
    pub v6: bool,
    /// Source port, 0 where the protocol has none.
    pub source_port: u16,
    /// Destination port; `type * 256 + code` for ICMP.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// IPv4 `ToS` or IPv6 traffic class.
    pub tos: u8,
    /// TCP flags of all packets, or-ed.
    pub tcp_flags: u16,
    /// Octets by the IP length field.
    pub octets: u64,
    /// Packets.
    pub packets: u64,
    /// First packet, nanoseconds since 1970-01-01 UTC.
    pub start_ns: u64,
    /// Last packet, likewise.
    pub end_ns: u64,
    /// ifIndex the packets came in at, 0 if unknown.
    pub ingress_ifindex: u32,
    /// ifIndex the packets left by, 0 if unknown.
    pub egress_ifindex: u32,
    /// Source AS, 0 if unknown.
    pub source_as: u32,
    /// Destination AS, 0 if unknown.
    pub destination_as: u32,
    /// Prefix length of the source, 0 if unknown.
    pub source_mask: u8,
    /// Prefix length of the destination, 0 if unknown.
    pub destination_mask: u8,
    /// Outermost VLAN id, 0 if untagged.
    pub vlan: u16,
    /// Which way the packets crossed the observation point.
    pub direction: Direction,
    /// Why the flow was exported.
    pub end_reason: EndReason,
    /// One packet in this many was looked at; counts are as seen, unscaled. 1: all were.
    pub sampling_interval: u32,
    /// Source MAC address of the first packet (IE 56); this and what follows is zero if unknown.
    pub source_mac: [u8; 6],
    /// Destination MAC address of the first packet (IE 57 of RFC 3954, IE 80).
    pub destination_mac: [u8; 6],
    /// Id of the second VLAN tag (IE 245), 0 if there is none.
    pub inner_vlan: u16,
    /// MPLS label stack entries from the top (IE 70–73), 24 bits each: label, traffic class, bottom
    /// of stack (RFC 3032 section 2.1). 0 where there is none.
    pub mpls_labels: [u32; 4],
    /// IPv6 flow label of the first packet (IE 31), 20 bits.
    pub flow_label: u32,
    /// Source of the tunnel that the packets came through (nProbe's UNTUNNELED_… elements); IPv4 as
    /// above, unspecified (`::`) if there is none.
    pub outer_source: Ipv6Addr,
    /// Its destination, likewise.
    pub outer_destination: Ipv6Addr,
    /// What went the other way, if the record is to carry both directions (RFC 5103). Decoders give
    /// two records instead.
    pub reverse: Option<Reverse>,
}

/// The other direction of a flow, without what both have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reverse {
    /// Octets by the IP length field.
    pub octets: u64,
    /// Packets.
    pub packets: u64,
    /// IPv4 `ToS` or IPv6 traffic class.
    pub tos: u8,
    /// TCP flags of all packets, or-ed.
    pub tcp_flags: u16,
    /// Whether it is not known which direction began.
    pub is_arbitrary: bool,
}

impl Default for FlowRecord {
    fn default() -> Self {
        Self {
            source: Ipv6Addr::UNSPECIFIED,
            destination: Ipv6Addr::UNSPECIFIED,
            next_hop: Ipv6Addr::UNSPECIFIED,
            bgp_next_hop: Ipv6Addr::UNSPECIFIED,
            v6: false,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            tos: 0,
            tcp_flags: 0,
            octets: 0,
            packets: 0,
            start_ns: 0,
            end_ns: 0,
            ingress_ifindex: 0,
            egress_ifindex: 0,
            source_as: 0,
            destination_as: 0,
            source_mask: 0,
            destination_mask: 0,
            vlan: 0,
            direction: Direction::Ingress,
            end_reason: EndReason::Unknown,
            sampling_interval: 1,
            source_mac: [0; 6],
            destination_mac: [0; 6],
            inner_vlan: 0,
            mpls_labels: [0; 4],
            flow_label: 0,
            outer_source: Ipv6Addr::UNSPECIFIED,
            outer_destination: Ipv6Addr::UNSPECIFIED,
            reverse: None,
        }
    }
}

/// Direction at the observation point (IE 61, RFC 7270: 0 ingress, 1 egress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Received.
    Ingress = 0,
    /// Transmitted.
    Egress = 1,
}

/// flowEndReason (IE 136, RFC 5102 section 5.11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// The exporter did not say.
    Unknown = 0,
    /// No packet for the idle timeout.
    IdleTimeout = 1,
    /// Exported while alive, by the active timeout.
    ActiveTimeout = 2,
    /// The end was seen (FIN or RST).
    EndOfFlow = 3,
    /// The metering process was stopped or told to flush.
    ForcedEnd = 4,
    /// The flow had to make room, or its counters were near their limit.
    LackOfResources = 5,
}

impl EndReason {
    /// The reason behind the number on the wire.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::IdleTimeout,
            2 => Self::ActiveTimeout,
            3 => Self::EndOfFlow,
            4 => Self::ForcedEnd,
            5 => Self::LackOfResources,
            _ => Self::Unknown,
        }
    }
}

/// The address as records have it: IPv4 as v4-mapped. [`display_address`] is the way back.
#[must_use]
pub fn mapped_address(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The address as people write it: v4-mapped ones as IPv4.
#[must_use]
pub fn display_address(address: Ipv6Addr) -> IpAddr {
    address
        .to_ipv4_mapped()
        .map_or(IpAddr::V6(address), IpAddr::V4)
}
