//! A flow as nfdump keeps it (`recordHeaderV3_t`): 12 octets of header, then elements, each with a header
//! of its own: number (16 bits), octets with this header (16), value.
//!
//! | element | octets | what Weir has of it |
//! |---|---|---|
//! | 1 | 48 | times (ms), packets, octets, ports, protocol, flags (8 bits), ToS |
//! | 2, 3 | 8, 32 | addresses |
//! | 4 | 16 | interfaces, masks, direction, end reason; the destination's ToS is only written |
//! | 5 | 24 | flows it stands for; the other direction's packets and octets, which become a flow |
//! | 6, 7 | 8, 8 | VLAN (the destination's is only written), AS |
//! | 8, 9 | 4, 16 | next hop by BGP |
//! | 10, 11 | 4, 16 | next hop |
//! | 12, 13 | 4, 16 | exporter |
//! | 14, 15 | 40, 32 | MPLS labels (four of ten), MAC addresses |
//! | 16 | 8 | AS before and behind, only written |
//! | 17 | 24 | latencies of client, server and application (µs), in ntop's elements |
//! | 33 | 12 | observation domain |
//!
//! Of the others nothing is kept, and [`not_carried`] tells what is not written. Counts of sampled flows are scaled
//! in nfdump's files, and stay so: who writes them multiplies before.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_netflow::{Direction, EndReason, FlowRecord, element::NTOP_PEN};

use super::{
    FLOW, ICMP, ICMPV6,
    octets::{put_u16, put_u32, put_u64, u16, u32, u64},
};
use crate::{
    others::{Gathering, Other, Others},
    schema::StoredFlow,
};

const HEADER_OCTETS: usize = 12;
const ELEMENT_HEADER_OCTETS: usize = 4;

const GENERIC: u16 = 1;
const ADDRESSES_V4: u16 = 2;
const ADDRESSES_V6: u16 = 3;
const MISCELLANEOUS: u16 = 4;
const COUNTS: u16 = 5;
const VLAN: u16 = 6;
const AS: u16 = 7;
const BGP_NEXT_HOP_V4: u16 = 8;
const BGP_NEXT_HOP_V6: u16 = 9;
const NEXT_HOP_V4: u16 = 10;
const NEXT_HOP_V6: u16 = 11;
const RECEIVED_FROM_V4: u16 = 12;
const RECEIVED_FROM_V6: u16 = 13;
const MPLS: u16 = 14;
const MAC: u16 = 15;
const ADJACENT_AS: u16 = 16;
const LATENCIES: u16 = 17;
const OBSERVATION: u16 = 33;

/// IANA's elements that have no column, and a place in nfdump's records.
const DESTINATION_TOS: u16 = 55;
const POST_VLAN: u16 = 59;
const FORWARDING_STATUS: u16 = 89;
const NEXT_AS: u16 = 128;
const PREVIOUS_AS: u16 = 129;
const PLACED: [u16; 5] = [
    DESTINATION_TOS,
    POST_VLAN,
    FORWARDING_STATUS,
    NEXT_AS,
    PREVIOUS_AS,
];

/// ntop's elements for what nProbe measures of a connection: whole seconds and the microseconds over them, of the
/// client, the server and the application.
const NTOP_LATENCIES: [[u16; 2]; 3] = [[82, 83], [84, 85], [86, 87]];

const NS_PER_MS: u64 = 1_000_000;
const US_PER_S: u64 = 1_000_000;

/// A record, decoded.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The flow.
    pub flow: StoredFlow,
    /// Flows it stands for: more than one if nfdump aggregated.
    pub flows: u64,
    /// Packets and octets of the other direction, if there were any.
    pub reverse: (u64, u64),
    /// nfdump's own number of the exporter, which a record before tells more of.
    pub exporter_number: u16,
    /// Whether the record itself says what the exporter's address is.
    pub has_exporter: bool,
    /// Whether the record itself says what the observation domain is.
    pub has_domain: bool,
}

/// Decodes a record, its header included; nothing if it contradicts itself.
pub fn decode(octets: &[u8]) -> Option<Decoded> {
    let mut rest = octets.get(HEADER_OCTETS..)?;
    let mut decoded = Decoded {
        flow: StoredFlow {
            record: FlowRecord::default(),
            received_ns: 0,
            exporter: Ipv6Addr::UNSPECIFIED,
            // v5's engine, unless something else is said.
            source_id: u32::from(u16::from_be_bytes([octets[6], octets[7]])),
            version: octets[11],
            others: Others::NONE,
        },
        flows: 1,
        reverse: (0, 0),
        exporter_number: u16(octets, 8),
        has_exporter: false,
        has_domain: false,
    };
    for _ in 0..u16(octets, 4) {
        let length = usize::from(u16(rest, 2));
        if length < ELEMENT_HEADER_OCTETS || length > rest.len() {
            return None;
        }
        let (element, behind) = rest.split_at(length);
        decoded.take(u16(element, 0), &element[ELEMENT_HEADER_OCTETS..])?;
        rest = behind;
    }
    let flow = &mut decoded.flow;
    if flow.received_ns == 0 {
        flow.received_ns = flow.record.end_ns;
    }
    // A counter of what left (IE 23, 24) is all that some exporters have.
    let record = &mut flow.record;
    if (record.packets, record.octets) == (0, 0) {
        (record.packets, record.octets) = decoded.reverse;
        decoded.reverse = (0, 0);
    }
    Some(decoded)
}

/// Octets that an element's value needs to have.
fn octets_min(kind: u16) -> usize {
    match kind {
        GENERIC => 48,
        ADDRESSES_V6 | MAC => 32,
        MPLS => 40,
        COUNTS | LATENCIES => 24,
        MISCELLANEOUS | NEXT_HOP_V6 | BGP_NEXT_HOP_V6 | RECEIVED_FROM_V6 => 16,
        OBSERVATION => 12,
        ADDRESSES_V4 | VLAN | AS => 8,
        NEXT_HOP_V4 | BGP_NEXT_HOP_V4 | RECEIVED_FROM_V4 => 4,
        _ => 0,
    }
}

impl Decoded {
    /// The flow of the other direction, if there were packets.
    #[must_use]
    pub fn reverse(&self) -> Option<StoredFlow> {
        let (packets, octets) = self.reverse;
        if (packets, octets) == (0, 0) {
            return None;
        }
        let record = self.flow.record;
        // Type and code of what came back are not kept.
        let (source_port, destination_port) = match record.protocol {
            ICMP | ICMPV6 => (0, 0),
            _ => (record.destination_port, record.source_port),
        };
        let swapped = FlowRecord {
            source: record.destination,
            destination: record.source,
            next_hop: Ipv6Addr::UNSPECIFIED,
            bgp_next_hop: Ipv6Addr::UNSPECIFIED,
            source_port,
            destination_port,
            packets,
            octets,
            ingress_ifindex: record.egress_ifindex,
            egress_ifindex: record.ingress_ifindex,
            source_as: record.destination_as,
            destination_as: record.source_as,
            source_mask: record.destination_mask,
            destination_mask: record.source_mask,
            source_mac: record.destination_mac,
            destination_mac: record.source_mac,
            // Those that are kept are not of this direction.
            tcp_flags: 0,
            mpls_labels: [0; 4],
            ..record
        };
        Some(StoredFlow {
            record: swapped,
            // What was measured of the connection counts once, beside what went first.
            others: Others::NONE,
            ..self.flow.clone()
        })
    }

    fn take(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        if value.len() < octets_min(kind) {
            return None;
        }
        let flow = &mut self.flow;
        let record = &mut flow.record;
        match kind {
            GENERIC => take_generic(flow, value),
            ADDRESSES_V4 => {
                record.source = address_v4(value, 0);
                record.destination = address_v4(value, 4);
            }
            ADDRESSES_V6 => {
                record.v6 = true;
                record.source = address_v6(value, 0);
                record.destination = address_v6(value, 16);
            }
            MISCELLANEOUS => {
                record.ingress_ifindex = u32(value, 0);
                record.egress_ifindex = u32(value, 4);
                record.source_mask = value[8];
                record.destination_mask = value[9];
                if value[10] == 1 {
                    record.direction = Direction::Egress;
                }
                record.end_reason = EndReason::from_number(value[13]);
            }
            COUNTS => {
                self.flows = u64(value, 0).max(1);
                self.reverse = (u64(value, 8), u64(value, 16));
            }
            VLAN => record.vlan = u16::try_from(u32(value, 0)).unwrap_or(0),
            AS => {
                record.source_as = u32(value, 0);
                record.destination_as = u32(value, 4);
            }
            BGP_NEXT_HOP_V4 => record.bgp_next_hop = address_v4(value, 0),
            BGP_NEXT_HOP_V6 => record.bgp_next_hop = address_v6(value, 0),
            NEXT_HOP_V4 => record.next_hop = address_v4(value, 0),
            NEXT_HOP_V6 => record.next_hop = address_v6(value, 0),
            RECEIVED_FROM_V4 | RECEIVED_FROM_V6 => {
                self.has_exporter = true;
                flow.exporter = match kind {
                    RECEIVED_FROM_V4 => address_v4(value, 0),
                    _ => address_v6(value, 0),
                };
            }
            MPLS => record.mpls_labels = [0, 4, 8, 12].map(|at| u32(value, at)),
            MAC => {
                record.source_mac = mac(value, 0);
                // What came in, else what went out.
                let came = mac(value, 16);
                record.destination_mac = if came == [0; 6] { mac(value, 8) } else { came };
            }
            LATENCIES => flow.others = latencies(value),
            OBSERVATION => {
                self.has_domain = true;
                flow.source_id = u32(value, 8);
            }
            _ => {}
        }
        Some(())
    }
}

fn take_generic(flow: &mut StoredFlow, value: &[u8]) {
    let ns = |at: usize| u64(value, at).saturating_mul(NS_PER_MS);
    let record = &mut flow.record;
    record.start_ns = ns(0);
    record.end_ns = ns(8);
    flow.received_ns = ns(16);
    record.packets = u64(value, 24);
    record.octets = u64(value, 32);
    record.source_port = u16(value, 40);
    record.destination_port = u16(value, 42);
    record.protocol = value[44];
    record.tcp_flags = value[45].into();
    record.tos = value[47];
}

pub fn address_v4(octets: &[u8], at: usize) -> Ipv6Addr {
    Ipv4Addr::from_bits(u32(octets, at)).to_ipv6_mapped()
}

/// Two numbers of 64 bits, the high one first.
pub fn address_v6(octets: &[u8], at: usize) -> Ipv6Addr {
    let [high, low] = [u64(octets, at), u64(octets, at + 8)].map(u128::from);
    Ipv6Addr::from_bits(high << 64 | low)
}

/// Three numbers of microseconds, as the six elements that nProbe sends.
fn latencies(value: &[u8]) -> Others {
    let mut gathering = Gathering::default();
    for (elements, at) in NTOP_LATENCIES.into_iter().zip([0, 8, 16]) {
        let latency_us = u64(value, at);
        let parts = [latency_us / US_PER_S, latency_us % US_PER_S];
        for (element, number) in elements.into_iter().zip(parts) {
            let octets = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
            let other = Other {
                enterprise: NTOP_PEN,
                element,
                octets: &octets,
            };
            gathering.add(&other, octets.len());
        }
    }
    gathering.finish()
}

fn mac(octets: &[u8], at: usize) -> [u8; 6] {
    let [_, _, mac @ ..] = u64(octets, at).to_be_bytes();
    mac
}

/// Appends a flow's record.
pub fn encode(flow: &StoredFlow, octets: &mut Vec<u8>) {
    let start = octets.len();
    octets.resize(start + HEADER_OCTETS, 0);
    let mut elements = Elements {
        octets: &mut *octets,
        count: 0,
    };
    let record = &flow.record;
    elements.generic(flow);
    if record.v6 {
        elements.push(ADDRESSES_V6, |octets| {
            put_v6(octets, record.source);
            put_v6(octets, record.destination);
        });
    } else {
        elements.push(ADDRESSES_V4, |octets| {
            put_v4(octets, record.source);
            put_v4(octets, record.destination);
        });
    }
    elements.routing(flow);
    elements.layer_2(flow);
    elements.latencies(flow);
    if !flow.exporter.is_unspecified() {
        elements.address([RECEIVED_FROM_V4, RECEIVED_FROM_V6], flow.exporter);
    }
    // Versions without domains have engines, which the header has.
    let has_engine = matches!(flow.version, 1 | 5 | 7);
    if !has_engine && flow.source_id != 0 {
        elements.push(OBSERVATION, |octets| {
            put_u64(octets, 0);
            put_u32(octets, flow.source_id);
        });
    }
    let count = elements.count;
    let size = u16::try_from(octets.len() - start).unwrap_or(u16::MAX);
    let [_, _, engine_type, engine_id] = if has_engine {
        flow.source_id.to_be_bytes()
    } else {
        [0; 4]
    };
    let mut header = Vec::with_capacity(HEADER_OCTETS);
    put_u16(&mut header, FLOW);
    put_u16(&mut header, size);
    put_u16(&mut header, count);
    header.extend([engine_type, engine_id]);
    // No exporter's record goes before it, and no flag is set.
    put_u16(&mut header, 0);
    header.extend([0, flow.version]);
    octets[start..start + HEADER_OCTETS].copy_from_slice(&header);
}

/// What of a flow is not written, for which these records have no place.
pub fn not_carried(flow: &StoredFlow) -> impl Iterator<Item = &'static str> + use<> {
    let record = &flow.record;
    let is_tunnelled =
        !record.outer_source.is_unspecified() || !record.outer_destination.is_unspecified();
    let is_placed = |other: &Other<'_>| match other.enterprise {
        0 => PLACED.contains(&other.element),
        _ => is_latency(other),
    };
    let has_others = flow.others.iter().any(|other| !is_placed(&other));
    let lacks = [
        (record.inner_vlan != 0, "inner VLANs"),
        (record.flow_label != 0, "flow labels"),
        (is_tunnelled, "addresses of tunnels"),
        (has_others, "elements without a column"),
    ];
    lacks
        .into_iter()
        .filter_map(|(lacks, what)| lacks.then_some(what))
}

fn is_latency(other: &Other<'_>) -> bool {
    other.enterprise == NTOP_PEN && NTOP_LATENCIES.as_flattened().contains(&other.element)
}

/// A number that has no column, 0 if the flow has none.
fn other(flow: &StoredFlow, enterprise: u32, element: u16) -> u64 {
    let mut others = flow.others.iter();
    let found = others.find(|other| (other.enterprise, other.element) == (enterprise, element));
    let octets = found.map_or(&[][..], |other| other.octets).iter();
    octets.fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// IANA's of 8 bits and of 32, likewise.
fn other_u8(flow: &StoredFlow, element: u16) -> u8 {
    u8::try_from(other(flow, 0, element)).unwrap_or(0)
}

fn other_u32(flow: &StoredFlow, element: u16) -> u32 {
    u32::try_from(other(flow, 0, element)).unwrap_or(0)
}

/// Elements being appended.
struct Elements<'a> {
    octets: &'a mut Vec<u8>,
    count: u16,
}

impl Elements<'_> {
    fn push(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.octets.len();
        put_u16(self.octets, kind);
        put_u16(self.octets, 0);
        value(self.octets);
        let length = u16::try_from(self.octets.len() - start).unwrap_or(u16::MAX);
        self.octets[start + 2..start + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    fn generic(&mut self, flow: &StoredFlow) {
        let record = &flow.record;
        self.push(GENERIC, |octets| {
            for time_ns in [record.start_ns, record.end_ns, flow.received_ns] {
                put_u64(octets, time_ns / NS_PER_MS);
            }
            put_u64(octets, record.packets);
            put_u64(octets, record.octets);
            put_u16(octets, record.source_port);
            put_u16(octets, record.destination_port);
            // It has the eight of RFC 9293, without those of its last four bits.
            let [_, tcp_flags] = record.tcp_flags.to_be_bytes();
            let forwarding = other_u8(flow, FORWARDING_STATUS);
            octets.extend([record.protocol, tcp_flags, forwarding, record.tos]);
        });
    }

    fn routing(&mut self, flow: &StoredFlow) {
        let record = &flow.record;
        let interfaces = [record.ingress_ifindex, record.egress_ifindex];
        let rest = [
            record.source_mask,
            record.destination_mask,
            record.direction as u8,
            other_u8(flow, DESTINATION_TOS),
            0,
            record.end_reason as u8,
            0,
            0,
        ];
        if interfaces != [0; 2] || rest != [0; 8] {
            self.push(MISCELLANEOUS, |octets| {
                for ifindex in interfaces {
                    put_u32(octets, ifindex);
                }
                octets.extend(rest);
            });
        }
        let as_numbers = [record.source_as, record.destination_as];
        if as_numbers != [0; 2] {
            self.push(AS, |octets| {
                for number in as_numbers {
                    put_u32(octets, number);
                }
            });
        }
        if !record.next_hop.is_unspecified() {
            self.address([NEXT_HOP_V4, NEXT_HOP_V6], record.next_hop);
        }
        if !record.bgp_next_hop.is_unspecified() {
            self.address([BGP_NEXT_HOP_V4, BGP_NEXT_HOP_V6], record.bgp_next_hop);
        }
        let adjacent = [NEXT_AS, PREVIOUS_AS].map(|element| other_u32(flow, element));
        if adjacent != [0; 2] {
            self.push(ADJACENT_AS, |octets| {
                for number in adjacent {
                    put_u32(octets, number);
                }
            });
        }
    }

    fn layer_2(&mut self, flow: &StoredFlow) {
        let record = &flow.record;
        let vlans = [record.vlan.into(), other_u32(flow, POST_VLAN)];
        if vlans != [0; 2] {
            self.push(VLAN, |octets| {
                for vlan in vlans {
                    put_u32(octets, vlan);
                }
            });
        }
        if record.mpls_labels != [0; 4] {
            self.push(MPLS, |octets| {
                let labels = record.mpls_labels.into_iter().chain([0; 6]);
                labels.for_each(|label| put_u32(octets, label));
            });
        }
        if (record.source_mac, record.destination_mac) != ([0; 6], [0; 6]) {
            self.push(MAC, |octets| {
                put_mac(octets, record.source_mac);
                put_u64(octets, 0);
                put_mac(octets, record.destination_mac);
                put_u64(octets, 0);
            });
        }
    }

    /// What was measured of the connection, if anything was.
    fn latencies(&mut self, flow: &StoredFlow) {
        if !flow.others.iter().any(|other| is_latency(&other)) {
            return;
        }
        self.push(LATENCIES, |octets| {
            for elements in NTOP_LATENCIES {
                let [whole_s, over_us] = elements.map(|element| other(flow, NTOP_PEN, element));
                let latency_us = whole_s.saturating_mul(US_PER_S).saturating_add(over_us);
                put_u64(octets, latency_us);
            }
        });
    }

    /// An element of an address, by its family.
    fn address(&mut self, [v4, v6]: [u16; 2], address: Ipv6Addr) {
        match address.to_ipv4_mapped() {
            Some(_) => self.push(v4, |octets| put_v4(octets, address)),
            None => self.push(v6, |octets| put_v6(octets, address)),
        }
    }
}

/// An address that is none of IPv4 is 0.0.0.0, which is what IPv4 has for "none".
fn put_v4(octets: &mut Vec<u8>, address: Ipv6Addr) {
    let address = address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
    put_u32(octets, address.to_bits());
}

fn put_v6(octets: &mut Vec<u8>, address: Ipv6Addr) {
    let [a, b, c, d, e, f, g, h, low @ ..] = address.octets();
    put_u64(octets, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    put_u64(octets, u64::from_be_bytes(low));
}

fn put_mac(octets: &mut Vec<u8>, [a, b, c, d, e, f]: [u8; 6]) {
    put_u64(octets, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
}
