//! Data records as flows, by their template (v9 and IPFIX alike).
//!
//! Traps that are minded: templates that have both families and fill one of them with zeros;
//! deltas beside totals; counts of what came in beside those of what went out; times in many forms, or
//! none; ICMP types in three places; several samplers an exporter. What fills no place in a [`FlowRecord`] is not lost: [`DataRecord::aside`]
//! lends it, within bounds. Structured data (RFC 6313: lists, 291 to 293) is of that kind: its outer
//! length is all that is read of it, so neither its nesting nor its inner lengths can do harm.
//!
//! A bidirectional record (RFC 5103, or an ASA's initiator and responder) is a flow and, if
//! anything went the other way, a second one: [`DataRecord::reverse`]. Files and reports so know
//! one kind of flow, and sums over both directions are right. Addresses and ports change places;
//! the reverse has its own counters, flags, ToS, ICMP type and times where they were sent, else
//! those of the record.

use std::net::Ipv6Addr;

use crate::{
    FlowRecord, TimeBase,
    element::{self, Element},
    read,
    role::{Reading, Slot},
    said::{ICMP, ICMPV6, Reverse, Said},
    sflow::{SampledHeader, header_protocol},
    template::Template,
};

/// Octets of a field that are lent aside, at most.
pub const ASIDE_OCTETS_MAX: usize = 256;

/// What a data record says.
#[derive(Clone, Copy, Debug)]
pub struct DataRecord<'a> {
    /// The flow, or its forward direction.
    pub flow: FlowRecord,
    /// The sampler that chose its packets (48, 302), to be looked up in what options said.
    pub sampler: Option<u64>,
    /// Whether it said a sampling rate; otherwise the flow's is 1.
    pub is_rate_told: bool,
    /// Whether it said when; otherwise the flow ended at the export's time.
    pub timed: bool,
    reverse: Option<Reverse>,
    /// Whether its octets, and its packets, are those that went out.
    is_of_out: [bool; 2],
    template: &'a Template,
    octets: &'a [u8],
}

/// A field that fills no place in a flow record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aside<'a> {
    /// Whose element it is, see [`crate::template::Field`].
    pub enterprise: u32,
    /// Its type.
    pub element: Element,
    /// Its octets, the first [`ASIDE_OCTETS_MAX`].
    pub octets: &'a [u8],
    /// Octets it had.
    pub length: usize,
}

impl Aside<'_> {
    /// Whether it is a packet's first octets.
    #[must_use]
    pub fn is_section(&self) -> bool {
        self.enterprise == 0 && element::is_section(self.element)
    }
}

/// The flow records in a data set, up to one that goes beyond it.
pub fn records<'a>(
    template: &'a Template,
    octets: &'a [u8],
    base: TimeBase,
) -> impl Iterator<Item = DataRecord<'a>> {
    template
        .records(octets)
        .map(move |record| decode(template, record, base))
}

/// Inlined where the records are used: each is large, and is then made where it is read.
#[inline]
pub(crate) fn decode<'a>(
    template: &'a Template,
    octets: &'a [u8],
    base: TimeBase,
) -> DataRecord<'a> {
    let Some(plain) = template.plain() else {
        return decode_any(template, octets, base);
    };
    let mut record = DataRecord {
        flow: FlowRecord::default(),
        sampler: None,
        is_rate_told: false,
        timed: false,
        reverse: None,
        is_of_out: [false; 2],
        template,
        octets,
    };
    let (found, is_timed) = plain.record(octets, base);
    found.fill(&mut record.flow);
    record.timed = is_timed;
    record
}

/// A record of any template.
pub(crate) fn decode_any<'a>(
    mut template: &'a Template,
    octets: &'a [u8],
    base: TimeBase,
) -> DataRecord<'a> {
    let mut said = Said::default();
    take_all(&mut said, template, octets, base);
    if let Some(outer) = template.outer()
        && !said.has_addresses()
    {
        template = outer;
        said = Said::default();
        take_all(&mut said, template, octets, base);
    }
    let (span, is_of_out) = (said.times.span_ns(base), said.is_of_out());
    let untimed = said.times.untimed_span_ns(base.export_ns);
    DataRecord {
        flow: *said.flow(span.unwrap_or(untimed)),
        sampler: said.sampler,
        is_rate_told: said.is_rate_told(),
        timed: span.is_some(),
        reverse: said.reverse(base),
        is_of_out,
        template,
        octets,
    }
}

/// Has all fields of a record taken.
#[inline]
fn take_all(said: &mut Said, template: &Template, octets: &[u8], base: TimeBase) {
    if let Some(places) = template.places() {
        for (role, place) in places {
            if role.reading == Reading::Number {
                said.take_number(role.slot, place.number(octets));
            } else {
                said.take(*role, place.value(octets), base.export_ns);
            }
        }
    } else {
        for (_, role, value) in template.values(octets) {
            said.take(role, value, base.export_ns);
        }
    }
}

impl<'a> DataRecord<'a> {
    /// The flow of the other direction, if there was one.
    #[must_use]
    pub fn reverse(&self) -> Option<FlowRecord> {
        let (reverse, flow) = (self.reverse?, &self.flow);
        let (source_port, destination_port) = match flow.protocol {
            ICMP | ICMPV6 => (0, reverse.icmp_type_code),
            _ => (flow.destination_port, flow.source_port),
        };
        let start_ns = reverse.start_ns.unwrap_or(flow.start_ns);
        Some(FlowRecord {
            source: flow.destination,
            destination: flow.source,
            next_hop: Ipv6Addr::UNSPECIFIED,
            bgp_next_hop: Ipv6Addr::UNSPECIFIED,
            source_port,
            destination_port,
            tos: reverse.tos,
            tcp_flags: reverse.tcp_flags,
            octets: reverse.octets,
            packets: reverse.packets,
            start_ns,
            end_ns: reverse.end_ns.unwrap_or(flow.end_ns).max(start_ns),
            ingress_ifindex: flow.egress_ifindex,
            egress_ifindex: flow.ingress_ifindex,
            source_as: flow.destination_as,
            destination_as: flow.source_as,
            source_mask: flow.destination_mask,
            destination_mask: flow.source_mask,
            source_mac: flow.destination_mac,
            destination_mac: flow.source_mac,
            mpls_labels: [0; 4],
            flow_label: 0,
            outer_source: flow.outer_destination,
            outer_destination: flow.outer_source,
            ..*flow
        })
    }

    /// Whether all that tells of its packet is a field of that one's first octets (RFC 5477 section 8.5, RFC 7133): its
    /// template has one, and it says no addresses.
    #[must_use]
    #[inline]
    pub fn is_of_section(&self) -> bool {
        self.template.has_section()
            && self.flow.source.is_unspecified()
            && self.flow.destination.is_unspecified()
    }

    /// The first octets of the packet that the record is of ([`Self::is_of_section`]). They are as sFlow has them, and
    /// for the caller to read; none if they are of another link layer than Ethernet, or not from the beginning.
    #[must_use]
    pub fn sampled_header(&self) -> Option<SampledHeader<'a>> {
        if !self.is_of_section() {
            return None;
        }
        let (mut frame, mut packet): (Option<&[u8]>, Option<&[u8]>) = (None, None);
        let (mut frame_octets, mut frame_types, mut section_octets) = (0, 0, 0);
        for (field, _, value) in self.template.values(self.octets) {
            if field.enterprise != 0 || value.is_empty() {
                continue;
            }
            match field.element {
                element::FRAME_OCTETS => frame_octets = read::number(value),
                element::FRAME_TYPES => frame_types = read::number(value),
                element::LAYER2_SECTION_OCTETS | element::SECTION_OCTETS => {
                    section_octets = read::number(value);
                }
                element::LAYER2_SECTION_OFFSET | element::SECTION_OFFSET
                    if read::number(value) != 0 =>
                {
                    return None;
                }
                element::LAYER2_SECTION | element::FRAME_SECTION => frame = Some(value),
                element::PACKET_SECTION => packet = Some(value),
                _ => {}
            }
        }
        // Of two sections nothing says which it is of.
        let has_one = frame.is_none() || packet.is_none();
        let is_ethernet = frame_types == 0 || frame_types & element::FRAME_TYPE_ETHERNET != 0;
        let (protocol, octets) = match (frame.filter(|_| is_ethernet), packet) {
            // A frame says more.
            (Some(frame), _) => (header_protocol::ETHERNET, frame),
            (None, Some(packet @ [first, ..])) if first >> 4 == 6 => {
                (header_protocol::IPV6, packet)
            }
            (None, Some(packet)) => (header_protocol::IPV4, packet),
            (None, None) => return None,
        };
        // A field of a fixed length is filled up behind what was taken.
        let taken = usize::try_from(section_octets).unwrap_or(octets.len());
        let is_cut = has_one && (1..octets.len()).contains(&taken);
        let octets = if is_cut { &octets[..taken] } else { octets };
        let is_frame = protocol == header_protocol::ETHERNET;
        let frame_octets = usize::try_from(frame_octets).unwrap_or(0);
        Some(SampledHeader {
            protocol,
            wire_octets: octets.len().max(if is_frame { frame_octets } else { 0 }),
            octets,
        })
    }

    /// Whether there may be any of [`Self::aside`].
    #[must_use]
    #[inline]
    pub fn has_aside(&self) -> bool {
        self.template.has_aside()
    }

    /// The fields that fill no place in this flow's record and say something: not padding, nor of no octets.
    pub fn aside(&self) -> impl Iterator<Item = Aside<'a>> + use<'a> {
        // Most templates have none, and are not gone through again.
        let kept = self.template.has_aside().then(|| Kept::of(self));
        let octets = if kept.is_some() { self.octets } else { &[] };
        let values = self.template.values(octets);
        let aside = values.filter(move |(field, role, value)| {
            let has_not = |kept: &Kept| !kept.has(role.slot, value);
            !field.is_padding() && !value.is_empty() && kept.as_ref().is_some_and(has_not)
        });
        aside.map(|(field, _, value)| Aside {
            enterprise: field.enterprise,
            element: field.element,
            octets: &value[..value.len().min(ASIDE_OCTETS_MAX)],
            length: value.len(),
        })
    }
}

/// What a flow record kept of what can be told twice: in either family's field, as it came in and as it went out,
/// or by two standards.
#[derive(Clone, Copy)]
struct Kept {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_hop: Ipv6Addr,
    bgp_next_hop: Ipv6Addr,
    is_of_out: [bool; 2],
    source_port: u16,
    destination_port: u16,
    vlan: u16,
    sampling_interval: u32,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
}

impl Kept {
    fn of(record: &DataRecord<'_>) -> Self {
        let flow = &record.flow;
        Self {
            source: flow.source,
            destination: flow.destination,
            next_hop: flow.next_hop,
            bgp_next_hop: flow.bgp_next_hop,
            is_of_out: record.is_of_out,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            vlan: flow.vlan,
            sampling_interval: flow.sampling_interval,
            source_mac: flow.source_mac,
            destination_mac: flow.destination_mac,
        }
    }

    /// Whether the record has what a field says.
    fn has(&self, slot: Slot, value: &[u8]) -> bool {
        // Zeros say nothing in an address or a tag. Of what left a router any number says something, as many as came
        // in and none, too.
        let is = |kept: &[u8]| value == kept || value.iter().all(|octet| *octet == 0);
        let is_address = |kept: Ipv6Addr| match kept.to_ipv4_mapped() {
            Some(v4) => is(&v4.octets()) || is(&kept.octets()),
            None => is(&kept.octets()),
        };
        match slot {
            Slot::Aside => false,
            Slot::SourceV4 | Slot::SourceV6 => is_address(self.source),
            Slot::DestinationV4 | Slot::DestinationV6 => is_address(self.destination),
            Slot::NextHopV4 | Slot::NextHopV6 => is_address(self.next_hop),
            Slot::BgpNextHopV4 | Slot::BgpNextHopV6 => is_address(self.bgp_next_hop),
            Slot::OutOctets => self.is_of_out[0],
            Slot::OutPackets => self.is_of_out[1],
            Slot::UdpSourcePort | Slot::TcpSourcePort => is(&self.source_port.to_be_bytes()),
            Slot::UdpDestinationPort | Slot::TcpDestinationPort => {
                is(&self.destination_port.to_be_bytes())
            }
            Slot::Dot1qVlan => {
                let vlan = read::number(value) & 0x0fff;
                vlan == 0 || vlan == u64::from(self.vlan)
            }
            Slot::SamplerInterval => {
                let interval = read::number(value);
                interval == 0 || interval == u64::from(self.sampling_interval)
            }
            Slot::OutSourceMac => is(&self.source_mac),
            Slot::DestinationMac => is(&self.destination_mac),
            _ => true,
        }
    }
}
