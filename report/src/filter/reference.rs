//! What a filter means, written down once more as plainly as can be: on one record at a time, without
//! columns. `weir live` asks it about flows that are in no file, and tests hold the plan against it.

use weir_netflow::element::NTOP_PEN;
use weir_store::schema::StoredFlow;

use super::{
    ast::{Comparison, Field, Filter, Test, mpls_element},
    ranges::number_of,
};
use crate::{
    functions,
    local_names::{self, What},
    others,
};

/// Whether a flow fits.
#[must_use]
pub fn fits(filter: &Filter, flow: &StoredFlow) -> bool {
    match filter {
        Filter::All(parts) => parts.iter().all(|part| fits(part, flow)),
        Filter::Any(parts) => parts.iter().any(|part| fits(part, flow)),
        Filter::Not(inner) => !fits(inner, flow),
        Filter::Test(test) => passes(test, flow),
    }
}

fn passes(test: &Test, flow: &StoredFlow) -> bool {
    match test {
        Test::Number {
            field,
            comparison,
            value,
        } => value_of(*field, flow).is_some_and(|left| holds(left, *comparison, (*value).into())),
        Test::Within { field, ranges } => {
            value_of(*field, flow).is_some_and(|member| ranges.contains(member))
        }
        Test::Fields {
            left,
            comparison,
            right,
        } => match (value_of(*left, flow), value_of(*right, flow)) {
            (Some(left), Some(right)) => holds(left, *comparison, right),
            _ => false,
        },
        Test::Flags { mask, every } => {
            let bits = flow.record.tcp_flags & mask;
            if *every { bits == *mask } else { bits != 0 }
        }
        Test::Word { field, word } => word_of(*field, flow).as_ref() == Some(word),
        Test::Time {
            field,
            comparison,
            at_ms,
        } => {
            let ns = value_of(*field, flow).unwrap_or(0);
            let ms = i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
            holds(ms, *comparison, *at_ms)
        }
    }
}

fn holds<T: Ord + Copy>(left: T, comparison: Comparison, right: T) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}

/// The octets of an element of IANA's that has no column.
fn other(flow: &StoredFlow, element: u16) -> Option<&[u8]> {
    other_of(flow, 0, element)
}

/// The octets of an element that has no column; of several the first.
fn other_of(flow: &StoredFlow, enterprise: u32, element: u16) -> Option<&[u8]> {
    let mut others = flow.others.iter();
    let found = others.find(|other| other.enterprise == enterprise && other.element == element);
    found.map(|other| other.octets)
}

/// An entry of the MPLS label stack, from 1.
fn mpls(flow: &StoredFlow, place: u8) -> Option<u128> {
    match flow.record.mpls_labels.get(usize::from(place) - 1) {
        Some(entry) => Some(u128::from(*entry)).filter(|entry| *entry != 0),
        None => other(flow, mpls_element(place)).map(|octets| others::number_of(octets).into()),
    }
}

/// A number or an address that has no column; `None` if the record has none.
fn other_value(field: Field, flow: &StoredFlow) -> Option<u128> {
    let number = |element: u16| other(flow, element).map(others::number_of);
    Some(match field {
        Field::Other(element) => number(element)?.into(),
        Field::OtherOrZero(element) => number(element).unwrap_or(0).into(),
        Field::OtherPart(element, place) => others::part_of(other(flow, element)?, place)?.into(),
        Field::OtherAddress(v4, v6) => {
            let octets = other(flow, v4).or_else(|| other(flow, v6));
            others::address_of(octets?)?
        }
        Field::Latency(seconds) => {
            let parts = [seconds, seconds + 1].map(|part| other_of(flow, NTOP_PEN, part));
            others::microseconds_of(parts)?.into()
        }
        _ => return None,
    })
}

/// A field as a word; `None` if the record has none.
fn word_of(field: Field, flow: &StoredFlow) -> Option<String> {
    let country =
        |address: std::net::Ipv6Addr| local_names::of(What::Country, number_of(address.into()));
    match field {
        Field::SourceCountry => country(flow.record.source),
        Field::DestinationCountry => country(flow.record.destination),
        Field::OuterSourceCountry => country(flow.record.outer_source),
        Field::OuterDestinationCountry => country(flow.record.outer_destination),
        Field::OtherWord(element) => other(flow, element).map(others::word_of),
        _ => None,
    }
}

/// A field as a number; `None` if the record has none.
fn value_of(field: Field, flow: &StoredFlow) -> Option<u128> {
    let record = &flow.record;
    let ns = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let duration_ms = functions::duration_ms(ns(record.start_ns), ns(record.end_ns));
    let address = |address: std::net::Ipv6Addr| number_of(address.into());
    let port = record.destination_port;
    let said = |number: u128| (number != 0).then_some(number);
    let mac = |octets: [u8; 6]| {
        let octets = octets.into_iter();
        octets.fold(0, |number, octet| number * 256 + u128::from(octet))
    };
    Some(match field {
        Field::SourceAddress => address(record.source),
        Field::DestinationAddress => address(record.destination),
        Field::NextHop => said(address(record.next_hop))?,
        Field::BgpNextHop => said(address(record.bgp_next_hop))?,
        Field::OuterSource => said(address(record.outer_source))?,
        Field::OuterDestination => said(address(record.outer_destination))?,
        Field::SourceMac => said(mac(record.source_mac))?,
        Field::DestinationMac => said(mac(record.destination_mac))?,
        Field::InnerVlan => said(record.inner_vlan.into())?,
        Field::MplsLabel(place) => mpls(flow, place)? / 16 % 0x10_0000,
        Field::MplsExp(place) => mpls(flow, place)? / 2 % 8,
        Field::MplsBottom(place) => mpls(flow, place)? % 2,
        Field::FlowLabel => said(record.flow_label.into())?,
        Field::Other(_)
        | Field::OtherOrZero(_)
        | Field::OtherPart(..)
        | Field::OtherAddress(..)
        | Field::Latency(_) => other_value(field, flow)?,
        Field::SourceCountry
        | Field::DestinationCountry
        | Field::OuterSourceCountry
        | Field::OuterDestinationCountry
        | Field::OtherWord(_) => return None,
        Field::Exporter => address(flow.exporter),
        Field::SourcePort => record.source_port.into(),
        Field::DestinationPort => port.into(),
        Field::Protocol => record.protocol.into(),
        Field::IpVersion => u128::from(if record.v6 { 6_u8 } else { 4 }),
        Field::TcpFlags => record.tcp_flags.into(),
        Field::Tos => record.tos.into(),
        Field::Packets => record.packets.into(),
        Field::Octets => record.octets.into(),
        Field::Flows => 1,
        Field::IngressIfindex => record.ingress_ifindex.into(),
        Field::EgressIfindex => record.egress_ifindex.into(),
        Field::SourceAs => record.source_as.into(),
        Field::DestinationAs => record.destination_as.into(),
        Field::SourceMask => record.source_mask.into(),
        Field::DestinationMask => record.destination_mask.into(),
        Field::Vlan => record.vlan.into(),
        Field::Direction => record.direction as u128,
        Field::SamplingInterval => record.sampling_interval.into(),
        Field::SourceId => flow.source_id.into(),
        Field::EngineType => (flow.source_id / 256 % 256).into(),
        Field::EngineId => (flow.source_id % 256).into(),
        Field::Version => flow.version.into(),
        Field::IcmpType => (port / 256).into(),
        Field::IcmpCode => (port % 256).into(),
        Field::DurationMs => duration_ms.into(),
        Field::PacketsPerSecond => functions::per_second(record.packets, duration_ms).into(),
        Field::BitsPerSecond => functions::bits_per_second(record.octets, duration_ms).into(),
        Field::OctetsPerPacket => {
            functions::octets_per_packet(record.octets, record.packets).into()
        }
        Field::Start => record.start_ns.into(),
        Field::End => record.end_ns.into(),
        Field::Received => flow.received_ns.into(),
    })
}
