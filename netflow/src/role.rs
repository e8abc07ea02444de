//! What the elements mean for a flow: which place in a record a field fills, and how its octets are
//! read. A field whose element has no row here, or whose octets cannot be read that way, is kept
//! aside (`DataRecord::aside`), and so is one whose place another took (see [`PAIRS`]).
//!
//! Of several fields that would fill one place the one with the lowest rank does, else the first:
//! deltas before totals, which are never added; times of the wall clock before relative ones, finer
//! before coarser; addresses before their prefixes; logical interfaces before physical ones.
//!
//! A template that tells addresses and protocol twice is of packets in a tunnel (SRv6, as IOS-XR and Huawei send it):
//! the first are the tunnel's, the second the flow's. Its records may be of packets in none, too: then the second are
//! zeros, and the first the flow's (`Template::outer`).

use std::iter;

use crate::{
    element::{self, Element},
    set::ENTERPRISE,
    template::Field,
};

/// A place that a field fills. Those of plain templates ([`crate::plain`]) are the first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Slot {
    SourceV4,
    DestinationV4,
    NextHopV4,
    BgpNextHopV4,
    SourceMaskV4,
    DestinationMaskV4,
    IpVersion,
    SourcePort,
    DestinationPort,
    IcmpTypeCode,
    Protocol,
    Tos,
    TcpFlags,
    Octets,
    Packets,
    Start,
    End,
    IngressIfindex,
    EgressIfindex,
    SourceAs,
    DestinationAs,
    Vlan,
    Direction,
    EndReason,
    SourceV6,
    DestinationV6,
    NextHopV6,
    BgpNextHopV6,
    SourceMaskV6,
    DestinationMaskV6,
    UdpSourcePort,
    UdpDestinationPort,
    TcpSourcePort,
    TcpDestinationPort,
    IcmpTypeCodeV6,
    IcmpKind,
    IcmpKindV6,
    IcmpCode,
    IcmpCodeV6,
    OutOctets,
    OutPackets,
    Observed,
    Duration,
    Boot,
    Dot1qVlan,
    SamplingInterval,
    SamplerInterval,
    SamplingPackets,
    SamplingSpace,
    SamplingSize,
    SamplingPopulation,
    SamplingProbability,
    Sampler,
    ReverseOctets,
    ReversePackets,
    ReverseTos,
    ReverseTcpFlags,
    ReverseIcmpTypeCode,
    ReverseStart,
    ReverseEnd,
    SourceMac,
    OutSourceMac,
    DestinationMac,
    InDestinationMac,
    InnerVlan,
    MplsLabel1,
    MplsLabel2,
    MplsLabel3,
    MplsLabel4,
    FlowLabel,
    OuterSourceV4,
    OuterSourceV6,
    OuterDestinationV4,
    OuterDestinationV6,
    /// None: kept aside.
    Aside,
}

/// Places that plain templates fill.
pub(crate) const PLAIN_SLOTS: usize = Slot::EndReason as usize + 1;
/// Places, and none.
const SLOTS: usize = Slot::Aside as usize + 1;

impl Slot {
    /// The place of the same element of the reverse direction (RFC 5103).
    fn reverse(self) -> Option<Self> {
        Some(match self {
            Self::Octets => Self::ReverseOctets,
            Self::Packets => Self::ReversePackets,
            Self::Tos => Self::ReverseTos,
            Self::TcpFlags => Self::ReverseTcpFlags,
            Self::IcmpTypeCode | Self::IcmpTypeCodeV6 => Self::ReverseIcmpTypeCode,
            Self::Start => Self::ReverseStart,
            Self::End => Self::ReverseEnd,
            _ => return None,
        })
    }

    /// The place of what is said of the tunnel that a packet is in; none if there is none.
    fn outer(self) -> Option<Self> {
        Some(match self {
            Self::SourceV4 => Self::OuterSourceV4,
            Self::SourceV6 => Self::OuterSourceV6,
            Self::DestinationV4 => Self::OuterDestinationV4,
            Self::DestinationV6 => Self::OuterDestinationV6,
            Self::SourceMaskV4
            | Self::SourceMaskV6
            | Self::DestinationMaskV4
            | Self::DestinationMaskV6
            | Self::IpVersion
            | Self::SourcePort
            | Self::DestinationPort
            | Self::UdpSourcePort
            | Self::UdpDestinationPort
            | Self::TcpSourcePort
            | Self::TcpDestinationPort
            | Self::IcmpTypeCode
            | Self::IcmpTypeCodeV6
            | Self::IcmpKind
            | Self::IcmpKindV6
            | Self::IcmpCode
            | Self::IcmpCodeV6
            | Self::Protocol
            | Self::Tos
            | Self::TcpFlags
            | Self::FlowLabel => return None,
            // Counts, times, interfaces and what else is of the frame are of both.
            both => both,
        })
    }
}

/// Pairs of places that tell one thing of a flow: by the address of either family, at two moments, by two standards,
/// or of one protocol and of any. The record has room for one of them.
const PAIRS: [(Slot, Slot); 16] = [
    (Slot::SourceV4, Slot::SourceV6),
    (Slot::DestinationV4, Slot::DestinationV6),
    (Slot::NextHopV4, Slot::NextHopV6),
    (Slot::BgpNextHopV4, Slot::BgpNextHopV6),
    (Slot::Octets, Slot::OutOctets),
    (Slot::Packets, Slot::OutPackets),
    (Slot::Vlan, Slot::Dot1qVlan),
    (Slot::SamplingInterval, Slot::SamplerInterval),
    (Slot::SourceMac, Slot::OutSourceMac),
    (Slot::InDestinationMac, Slot::DestinationMac),
    (Slot::SourcePort, Slot::UdpSourcePort),
    (Slot::SourcePort, Slot::TcpSourcePort),
    (Slot::UdpSourcePort, Slot::TcpSourcePort),
    (Slot::DestinationPort, Slot::UdpDestinationPort),
    (Slot::DestinationPort, Slot::TcpDestinationPort),
    (Slot::UdpDestinationPort, Slot::TcpDestinationPort),
];

/// Whether what a field of these says may not all go into the flow record.
pub(crate) fn has_aside(fields: &[Field], roles: &[Role]) -> bool {
    let has = |slot| roles.iter().any(|role| role.slot == slot);
    let mut said = iter::zip(fields, roles).filter(|(field, _)| !field.is_padding());
    said.any(|(_, role)| role.slot == Slot::Aside)
        || PAIRS
            .iter()
            .any(|(first, second)| has(*second) && has(*first))
}

/// How octets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reading {
    Number,
    /// A number of six bits, the upper ones of an octet.
    Dscp,
    Float,
    Ipv4,
    Ipv6,
    Mac,
    UptimeMs,
    Seconds,
    Milliseconds,
    NtpMicroseconds,
    NtpNanoseconds,
    DeltaMicroseconds,
    /// Seconds and microseconds since 1970, eight octets each: what pmacct has for NTP's.
    SecondsMicroseconds,
}

impl Reading {
    /// Whether so many octets can be read so. Integers may be of reduced size, addresses and NTP
    /// times may not (RFC 7011 section 6.2); wider "integers" are seen and are none.
    fn takes(self, octets: u16) -> bool {
        match self {
            Self::Ipv4 => octets == 4,
            Self::Ipv6 | Self::SecondsMicroseconds => octets == 16,
            Self::Mac => octets == 6,
            Self::NtpMicroseconds | Self::NtpNanoseconds => octets == 8,
            Self::Float => octets == 4 || octets == 8,
            Self::Number
            | Self::Dscp
            | Self::UptimeMs
            | Self::Seconds
            | Self::Milliseconds
            | Self::DeltaMicroseconds => (1..=8).contains(&octets),
        }
    }
}

/// What a field of a template says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub slot: Slot,
    pub reading: Reading,
}

impl Role {
    const ASIDE: Self = Self {
        slot: Slot::Aside,
        reading: Reading::Number,
    };
}

/// The role of each field, if those from `inner` on are of the packet in a tunnel ([`inner`]; 0: there is none).
pub(crate) fn roles(fields: &[Field], inner: usize) -> Vec<Role> {
    let candidate = |index: usize| {
        let (role, rank) = candidate(fields[index])?;
        let slot = if index < inner {
            role.slot.outer()?
        } else {
            role.slot
        };
        Some((Role { slot, ..role }, rank))
    };
    let mut chosen: [Option<(u8, usize)>; SLOTS] = [None; SLOTS];
    for index in 0..fields.len() {
        let Some((role, rank)) = candidate(index) else {
            continue;
        };
        let place = &mut chosen[role.slot as usize];
        if place.is_none_or(|(taken, _)| rank < taken) {
            *place = Some((rank, index));
        }
    }
    let mut roles = vec![Role::ASIDE; fields.len()];
    for (_, index) in chosen.into_iter().flatten() {
        if let Some((role, _)) = candidate(index) {
            roles[index] = role;
        }
    }
    roles
}

/// Where the fields of the packet in a tunnel begin: with addresses after a protocol that follows addresses, before
/// a second protocol. Each has a source and a destination, in either order.
pub(crate) fn inner(fields: &[Field]) -> Option<usize> {
    const SOURCES: &[Element] = &[element::SOURCE_V4, element::SOURCE_V6];
    const DESTINATIONS: &[Element] = &[element::DESTINATION_V4, element::DESTINATION_V6];
    const PROTOCOL: &[Element] = &[element::PROTOCOL];
    let is = |field: &Field, elements: &[Element]| {
        field.enterprise == 0 && elements.contains(&field.element)
    };
    let has =
        |fields: &[Field], elements: &[Element]| fields.iter().any(|field| is(field, elements));
    let find = |from: usize, elements: &[Element]| {
        let found = fields[from..].iter().position(|field| is(field, elements));
        found.map(|index| from + index)
    };
    let addresses = [SOURCES, DESTINATIONS].concat();
    let outer = find(0, &addresses)?;
    let outer_protocol = find(outer, PROTOCOL)?;
    let inner = find(outer_protocol, &addresses)?;
    let (of_tunnel, of_packet) = fields.split_at(inner);
    let are_both = |elements| has(of_tunnel, elements) && has(of_packet, elements);
    let is_tunnel = are_both(SOURCES) && are_both(DESTINATIONS) && has(of_packet, PROTOCOL);
    is_tunnel.then_some(inner)
}

/// What the field could say if no other says it better, and its rank.
fn candidate(field: Field) -> Option<(Role, u8)> {
    let (rows, number) = match field.enterprise {
        element::NTOP_PEN => (NTOP_ROWS, field.element),
        element::CISCO_PEN => (CISCO_ROWS, field.element),
        // v9 has no enterprises; Cisco leaves the bit that says so in IPFIX.
        0 if field.element & ENTERPRISE != 0 => (CISCO_ROWS, field.element & !ENTERPRISE),
        _ => (ROWS, field.element),
    };
    let found = rows.binary_search_by_key(&number, |row| row.element);
    let row = &rows[found.ok()?];
    let slot = match field.enterprise {
        0 | element::NTOP_PEN | element::CISCO_PEN => row.slot,
        element::REVERSE_PEN => row.slot.reverse()?,
        _ => return None,
    };
    let reading = match (row.reading, field.octets) {
        (Reading::NtpMicroseconds, 16) => Reading::SecondsMicroseconds,
        (reading, _) => reading,
    };
    let role = Role { slot, reading };
    reading.takes(field.octets).then_some((role, row.rank))
}

struct Row {
    element: Element,
    slot: Slot,
    reading: Reading,
    rank: u8,
}

const fn row(element: Element, slot: Slot, reading: Reading, rank: u8) -> Row {
    Row {
        element,
        slot,
        reading,
        rank,
    }
}

/// In the order of their numbers.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(element::OCTETS, Slot::Octets, Reading::Number, 0),
    row(element::PACKETS, Slot::Packets, Reading::Number, 0),
    row(element::PROTOCOL, Slot::Protocol, Reading::Number, 0),
    row(element::TOS, Slot::Tos, Reading::Number, 0),
    row(element::TCP_FLAGS, Slot::TcpFlags, Reading::Number, 0),
    row(element::SOURCE_PORT, Slot::SourcePort, Reading::Number, 0),
    row(element::SOURCE_V4, Slot::SourceV4, Reading::Ipv4, 0),
    row(element::SOURCE_MASK_V4, Slot::SourceMaskV4, Reading::Number, 0),
    row(element::INGRESS_IFINDEX, Slot::IngressIfindex, Reading::Number, 0),
    row(element::DESTINATION_PORT, Slot::DestinationPort, Reading::Number, 0),
    row(element::DESTINATION_V4, Slot::DestinationV4, Reading::Ipv4, 0),
    row(element::DESTINATION_MASK_V4, Slot::DestinationMaskV4, Reading::Number, 0),
    row(element::EGRESS_IFINDEX, Slot::EgressIfindex, Reading::Number, 0),
    row(element::NEXT_HOP_V4, Slot::NextHopV4, Reading::Ipv4, 0),
    row(element::SOURCE_AS, Slot::SourceAs, Reading::Number, 0),
    row(element::DESTINATION_AS, Slot::DestinationAs, Reading::Number, 0),
    row(element::BGP_NEXT_HOP_V4, Slot::BgpNextHopV4, Reading::Ipv4, 0),
    row(element::END_UPTIME_MS, Slot::End, Reading::UptimeMs, 4),
    row(element::START_UPTIME_MS, Slot::Start, Reading::UptimeMs, 4),
    row(element::OUT_OCTETS, Slot::OutOctets, Reading::Number, 0),
    row(element::OUT_PACKETS, Slot::OutPackets, Reading::Number, 0),
    row(element::SOURCE_V6, Slot::SourceV6, Reading::Ipv6, 0),
    row(element::DESTINATION_V6, Slot::DestinationV6, Reading::Ipv6, 0),
    row(element::SOURCE_MASK_V6, Slot::SourceMaskV6, Reading::Number, 0),
    row(element::DESTINATION_MASK_V6, Slot::DestinationMaskV6, Reading::Number, 0),
    row(element::FLOW_LABEL, Slot::FlowLabel, Reading::Number, 0),
    row(element::ICMP_TYPE_V4, Slot::IcmpTypeCode, Reading::Number, 0),
    row(element::SAMPLING_INTERVAL, Slot::SamplingInterval, Reading::Number, 0),
    row(element::SOURCE_PREFIX_V4, Slot::SourceV4, Reading::Ipv4, 1),
    row(element::DESTINATION_PREFIX_V4, Slot::DestinationV4, Reading::Ipv4, 1),
    row(element::SAMPLER_ID, Slot::Sampler, Reading::Number, 1),
    row(element::SAMPLER_INTERVAL, Slot::SamplerInterval, Reading::Number, 0),
    row(element::SOURCE_MAC, Slot::SourceMac, Reading::Mac, 0),
    row(element::DESTINATION_MAC, Slot::DestinationMac, Reading::Mac, 0),
    row(element::VLAN, Slot::Vlan, Reading::Number, 0),
    row(element::IP_VERSION, Slot::IpVersion, Reading::Number, 0),
    row(element::DIRECTION, Slot::Direction, Reading::Number, 0),
    row(element::NEXT_HOP_V6, Slot::NextHopV6, Reading::Ipv6, 0),
    row(element::BGP_NEXT_HOP_V6, Slot::BgpNextHopV6, Reading::Ipv6, 0),
    row(element::MPLS_LABEL_1, Slot::MplsLabel1, Reading::Number, 0),
    row(element::MPLS_LABEL_2, Slot::MplsLabel2, Reading::Number, 0),
    row(element::MPLS_LABEL_3, Slot::MplsLabel3, Reading::Number, 0),
    row(element::MPLS_LABEL_4, Slot::MplsLabel4, Reading::Number, 0),
    row(element::IN_DESTINATION_MAC, Slot::InDestinationMac, Reading::Mac, 0),
    row(element::OUT_SOURCE_MAC, Slot::OutSourceMac, Reading::Mac, 0),
    row(element::TOTAL_OCTETS, Slot::Octets, Reading::Number, 1),
    row(element::TOTAL_PACKETS, Slot::Packets, Reading::Number, 1),
    row(element::END_REASON, Slot::EndReason, Reading::Number, 0),
    row(element::ICMP_TYPE_V6, Slot::IcmpTypeCodeV6, Reading::Number, 0),
    row(element::START_S, Slot::Start, Reading::Seconds, 5),
    row(element::END_S, Slot::End, Reading::Seconds, 5),
    row(element::START_MS, Slot::Start, Reading::Milliseconds, 2),
    row(element::END_MS, Slot::End, Reading::Milliseconds, 2),
    row(element::START_US, Slot::Start, Reading::NtpMicroseconds, 1),
    row(element::END_US, Slot::End, Reading::NtpMicroseconds, 1),
    row(element::START_NS, Slot::Start, Reading::NtpNanoseconds, 0),
    row(element::END_NS, Slot::End, Reading::NtpNanoseconds, 0),
    row(element::START_DELTA_US, Slot::Start, Reading::DeltaMicroseconds, 3),
    row(element::END_DELTA_US, Slot::End, Reading::DeltaMicroseconds, 3),
    row(element::BOOT_MS, Slot::Boot, Reading::Number, 0),
    row(element::DURATION_MS, Slot::Duration, Reading::Number, 0),
    row(element::DESTINATION_PREFIX_V6, Slot::DestinationV6, Reading::Ipv6, 1),
    row(element::SOURCE_PREFIX_V6, Slot::SourceV6, Reading::Ipv6, 1),
    row(element::ICMP_KIND_V4, Slot::IcmpKind, Reading::Number, 0),
    row(element::ICMP_CODE_V4, Slot::IcmpCode, Reading::Number, 0),
    row(element::ICMP_KIND_V6, Slot::IcmpKindV6, Reading::Number, 0),
    row(element::ICMP_CODE_V6, Slot::IcmpCodeV6, Reading::Number, 0),
    row(element::UDP_SOURCE_PORT, Slot::UdpSourcePort, Reading::Number, 0),
    row(element::UDP_DESTINATION_PORT, Slot::UdpDestinationPort, Reading::Number, 0),
    row(element::TCP_SOURCE_PORT, Slot::TcpSourcePort, Reading::Number, 0),
    row(element::TCP_DESTINATION_PORT, Slot::TcpDestinationPort, Reading::Number, 0),
    row(element::DSCP, Slot::Tos, Reading::Dscp, 1),
    // What an ASA sends of a connection is a flow and its reverse.
    row(element::INITIATOR_OCTETS, Slot::Octets, Reading::Number, 2),
    row(element::RESPONDER_OCTETS, Slot::ReverseOctets, Reading::Number, 2),
    row(element::DOT1Q_VLAN, Slot::Dot1qVlan, Reading::Number, 0),
    row(element::CUSTOMER_VLAN, Slot::InnerVlan, Reading::Number, 0),
    row(element::INGRESS_PHYSICAL, Slot::IngressIfindex, Reading::Number, 1),
    row(element::EGRESS_PHYSICAL, Slot::EgressIfindex, Reading::Number, 1),
    row(element::INITIATOR_PACKETS, Slot::Packets, Reading::Number, 2),
    row(element::RESPONDER_PACKETS, Slot::ReversePackets, Reading::Number, 2),
    row(element::SELECTOR_ID, Slot::Sampler, Reading::Number, 0),
    row(element::SAMPLING_PACKETS, Slot::SamplingPackets, Reading::Number, 0),
    row(element::SAMPLING_SPACE, Slot::SamplingSpace, Reading::Number, 0),
    row(element::SAMPLING_SIZE, Slot::SamplingSize, Reading::Number, 0),
    row(element::SAMPLING_POPULATION, Slot::SamplingPopulation, Reading::Number, 0),
    row(element::SAMPLING_PROBABILITY, Slot::SamplingProbability, Reading::Float, 0),
    row(element::OBSERVED_S, Slot::Observed, Reading::Seconds, 3),
    row(element::OBSERVED_MS, Slot::Observed, Reading::Milliseconds, 2),
    row(element::OBSERVED_US, Slot::Observed, Reading::NtpMicroseconds, 1),
    row(element::OBSERVED_NS, Slot::Observed, Reading::NtpNanoseconds, 0),
];

/// Cisco's elements, likewise. A connection is a flow from the client to the server, and its reverse; of both directions
/// ROWS' elements tell packets, and octets from the transport's payload on, which so go behind these.
#[rustfmt::skip]
const CISCO_ROWS: &[Row] = &[
    row(element::SERVER_OCTETS, Slot::ReverseOctets, Reading::Number, 1),
    row(element::CLIENT_OCTETS, Slot::Octets, Reading::Number, 1),
    row(element::CLIENT_V4, Slot::SourceV4, Reading::Ipv4, 2),
    row(element::SERVER_V4, Slot::DestinationV4, Reading::Ipv4, 2),
    row(element::CLIENT_V6, Slot::SourceV6, Reading::Ipv6, 2),
    row(element::SERVER_V6, Slot::DestinationV6, Reading::Ipv6, 2),
    row(element::CLIENT_PORT, Slot::SourcePort, Reading::Number, 1),
    row(element::SERVER_PORT, Slot::DestinationPort, Reading::Number, 1),
];

/// ntop's elements, likewise.
#[rustfmt::skip]
const NTOP_ROWS: &[Row] = &[
    row(element::OUTER_SOURCE_V4, Slot::OuterSourceV4, Reading::Ipv4, 0),
    row(element::OUTER_DESTINATION_V4, Slot::OuterDestinationV4, Reading::Ipv4, 0),
    row(element::OUTER_SOURCE_V6, Slot::OuterSourceV6, Reading::Ipv6, 0),
    row(element::OUTER_DESTINATION_V6, Slot::OuterDestinationV6, Reading::Ipv6, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(fields: &[Field]) -> Vec<Slot> {
        let roles = roles(fields, inner(fields).unwrap_or(0));
        roles.into_iter().map(|role| role.slot).collect()
    }

    #[test]
    fn rows_are_in_the_order_of_their_numbers() {
        for rows in [ROWS, CISCO_ROWS, NTOP_ROWS] {
            assert!(rows.is_sorted_by(|a, b| a.element < b.element));
        }
    }

    #[test]
    fn deltas_go_before_totals_wherever_they_stand() {
        let (delta, total) = (Field::new(1, 4), Field::new(85, 8));
        assert_eq!(slots(&[total, delta]), [Slot::Aside, Slot::Octets]);
        assert_eq!(slots(&[delta, total]), [Slot::Octets, Slot::Aside]);
        assert_eq!(slots(&[total]), [Slot::Octets]);
    }

    #[test]
    fn the_first_of_equal_elements_counts() {
        let source = Field::new(element::SOURCE_V4, 4);
        assert_eq!(slots(&[source, source]), [Slot::SourceV4, Slot::Aside]);
    }

    /// The addresses, ports and protocol of the tunnel, then those of the packet in it.
    #[test]
    fn of_two_addresses_and_protocols_the_second_are_the_flows() {
        let outer = [(27, 16), (28, 16), (10, 4), (1, 8), (7, 2), (11, 2), (4, 1)];
        let inner = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1)];
        let [outer, inner] = [&outer[..], &inner].map(|fields| {
            let fields = fields.iter();
            let fields = fields.map(|(element, octets)| Field::new(*element, *octets));
            fields.collect::<Vec<_>>()
        });
        let counted = [Slot::IngressIfindex, Slot::Octets];
        let of_tunnel = [Slot::OuterSourceV6, Slot::OuterDestinationV6];
        let addresses_v6 = [Slot::SourceV6, Slot::DestinationV6];
        let rest = [Slot::SourcePort, Slot::DestinationPort, Slot::Protocol];
        let addresses_v4 = [Slot::SourceV4, Slot::DestinationV4];
        let both = [&outer[..], &inner].concat();
        let expected = [
            &of_tunnel[..],
            &counted,
            &[Slot::Aside; 3],
            &addresses_v4,
            &rest,
        ];
        assert_eq!(slots(&both), expected.concat());
        // One of either alone, and addresses of both families with one protocol, are of one packet.
        let alone = [&addresses_v6[..], &counted, &rest].concat();
        assert_eq!(slots(&outer), alone);
        let families = [&outer[..], &inner[..4]].concat();
        let expected = [&alone[..], &addresses_v4, &[Slot::Aside; 2]].concat();
        assert_eq!(slots(&families), expected);
    }

    #[test]
    fn of_two_addresses_and_protocols_the_destination_may_be_first() {
        let fields = |elements: &[(Element, u16)]| {
            let fields = elements.iter();
            let fields = fields.map(|(element, octets)| Field::new(*element, *octets));
            fields.collect::<Vec<_>>()
        };
        let both = fields(&[(28, 16), (27, 16), (4, 1), (12, 4), (8, 4), (4, 1)]);
        let expected = [
            Slot::OuterDestinationV6,
            Slot::OuterSourceV6,
            Slot::Aside,
            Slot::DestinationV4,
            Slot::SourceV4,
            Slot::Protocol,
        ];
        assert_eq!(slots(&both), expected);
        // A single address more is no packet's.
        for index in [3, 4] {
            let mut less = both.clone();
            less.remove(index);
            assert_eq!(inner(&less), None, "{index}");
        }
    }

    #[test]
    fn the_finest_wall_clock_time_counts() {
        let starts = [22, 150, 152, 158].map(|element| Field::new(element, 4));
        let expected = [Slot::Aside, Slot::Aside, Slot::Start, Slot::Aside];
        assert_eq!(slots(&starts), expected);
    }

    #[test]
    fn sizes_that_cannot_be_read_are_kept_aside() {
        let fields = [
            Field::new(element::SOURCE_V4, 3),
            Field::new(element::OCTETS, 17),
            Field::new(element::PACKETS, 0),
            Field::new(element::START_NS, 7),
            Field::new(element::PROTOCOL, crate::template::VARIABLE),
            Field::new(element::TCP_FLAGS, 3),
        ];
        let mut expected = [Slot::Aside; 6];
        expected[5] = Slot::TcpFlags;
        assert_eq!(slots(&fields), expected);
    }

    #[test]
    fn elements_of_enterprises_are_nobody_elses() {
        let of = |enterprise| Field {
            enterprise,
            ..Field::new(element::OCTETS, 4)
        };
        let fields = [element::REVERSE_PEN, 9, element::NTOP_PEN].map(of);
        let expected = [Slot::ReverseOctets, Slot::Aside, Slot::Aside];
        assert_eq!(slots(&fields), expected);
        let outer = Field::of_ntop(element::OUTER_SOURCE_V4, 4);
        assert_eq!(slots(&[outer]), [Slot::OuterSourceV4]);
        let of_iana = Field::new(element::OUTER_SOURCE_V4, 4);
        assert_eq!(slots(&[of_iana]), [Slot::Aside]);
    }
}
