//! NetFlow v8: flows that the router has aggregated already, in one of fourteen schemes: a header of
//! 28 octets, then records of one layout each. IPv4 only, 32-bit counters.
//!
//! A scheme is a table of fields ([`SCHEMES`]), which is read as a v9 template would be. What a
//! scheme leaves out is 0 in its flows (addresses are `::`), and [`Scheme::says`] tells that from a
//! 0 that was sent. Layouts as published by Cisco ("NetFlow Export Datagram Format") and read by
//! flow-tools.

mod schemes;

use std::sync::LazyLock;

pub use schemes::SCHEMES;

use crate::{
    ExportTime, FlowRecord, Malformed, TimeBase, data,
    element::{self, Element},
    fixed, read,
    template::{self, Field, Template},
};

/// The version field.
pub const VERSION: u16 = 8;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 28;
/// The version of the aggregations whose layouts are known, the only one there was.
pub const AGGREGATION_VERSION: u8 = 2;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Records that follow.
    pub count: u16,
    /// The exporter's clocks.
    pub time: ExportTime,
    /// Records exported before this datagram, modulo 2³².
    pub sequence: u32,
    /// Slot or type of the engine.
    pub engine_type: u8,
    /// Number of the engine.
    pub engine_id: u8,
    /// The aggregation scheme, 1 to 14.
    pub aggregation: u8,
}

/// A field of a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it begins in the record.
    pub offset: u16,
    /// Its octets.
    pub octets: u16,
    /// What it is; [`element::PADDING`] if it is nothing that has a number.
    pub element: Element,
}

/// An aggregation scheme.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    /// What flow-tools calls it.
    pub name: &'static str,
    /// Its fields, one after the other.
    pub fields: &'static [Placed],
}

impl Scheme {
    /// Octets of a record.
    #[must_use]
    pub fn record_octets(&self) -> usize {
        let last = self.fields.last();
        last.map_or(0, |last| usize::from(last.offset + last.octets))
    }

    /// Whether its records say this; what they do not is 0.
    #[must_use]
    pub fn says(&self, element: Element) -> bool {
        self.fields.iter().any(|field| field.element == element)
    }

    /// Values of each record that a flow record has no place for: how many flows were aggregated, the ToS as
    /// marked, the router that was bypassed, the packets above a contract (four octets without a number).
    #[must_use]
    pub fn values_aside(&self) -> usize {
        let is_aside = |field: &&Placed| match field.element {
            element::FLOWS | element::POST_TOS | element::ROUTER_SHORTCUT => true,
            element::PADDING => field.octets == 4,
            _ => false,
        };
        self.fields.iter().filter(is_aside).count()
    }
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the flows had in common, and their sums.
    pub flow: FlowRecord,
    /// Flows that were aggregated, if the scheme says so.
    pub flows: Option<u32>,
}

/// Reads a datagram: its header, and its records as an iterator that cannot fail. The header's
/// count is replaced by the records that are whole, if those are fewer; `claimed` keeps it.
///
/// # Errors
/// If it is no v8 datagram, of an aggregation whose layout is not known, or claims records and
/// holds none.
pub fn decode(datagram: &[u8]) -> Result<Datagram<'_>, Malformed> {
    fixed::check_header(datagram, VERSION, HEADER_OCTETS)?;
    let (aggregation, version) = (datagram[22], datagram[23]);
    let index = usize::from(aggregation).wrapping_sub(1);
    let unknown = Malformed::Aggregation {
        scheme: aggregation,
        version,
    };
    if version != AGGREGATION_VERSION {
        return Err(unknown);
    }
    let scheme = SCHEMES.get(index).ok_or(unknown)?;
    let template = TEMPLATES.get(index).ok_or(unknown)?;
    let checked = fixed::check(datagram, HEADER_OCTETS, scheme.record_octets())?;
    Ok(Datagram {
        header: Header {
            count: checked.count,
            time: checked.time,
            sequence: read::u32(datagram, 16),
            engine_type: datagram[20],
            engine_id: datagram[21],
            aggregation,
        },
        scheme,
        claimed: checked.claimed,
        unclaimed_records: checked.unclaimed_records,
        template,
        records: checked.records,
    })
}

/// A datagram that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its header; `count` is the number of whole records.
    pub header: Header,
    /// Its records' layout.
    pub scheme: &'static Scheme,
    /// The count its sender claimed.
    pub claimed: u16,
    /// Whole records' worth of octets beyond the count.
    pub unclaimed_records: usize,
    template: &'static Template,
    records: &'a [u8],
}

impl Datagram<'_> {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let base = TimeBase::from(self.header.time);
        let flows = data::records(self.template, self.records, base);
        let octets = self.records.chunks_exact(self.scheme.record_octets());
        // The number of flows, where there is one, is the first field.
        let counts = self.scheme.says(element::FLOWS);
        flows.zip(octets).map(move |(record, octets)| Record {
            flow: record.flow,
            flows: counts.then(|| read::u32(octets, 0)),
        })
    }
}

/// The schemes as templates; their ids mean nothing.
static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let template = |scheme: &Scheme| {
        let fields = scheme.fields.iter();
        let fields = fields.map(|field| Field::new(field.element, field.octets));
        Template::new(template::ID_MIN, None, fields.collect()).ok()
    };
    SCHEMES.iter().filter_map(template).collect()
});

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const TIME: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_000_000_500,
        uptime_ms: 100_000,
    };

    /// A datagram of one record.
    fn datagram(aggregation: u8, version: u8, record: &[u8]) -> Vec<u8> {
        let mut octets = fixed::encode_header(VERSION, 1, &TIME).to_vec();
        octets.extend_from_slice(&[0, 0, 0, 9, 3, 4, aggregation, version, 0, 0, 0, 0]);
        octets.extend_from_slice(record);
        octets
    }

    fn only(aggregation: u8, record: &[u8]) -> Record {
        let datagram = datagram(aggregation, AGGREGATION_VERSION, record);
        let decoded = decode(&datagram).unwrap();
        let records: Vec<_> = decoded.records().collect();
        assert_eq!(records.len(), 1);
        records[0]
    }

    #[test]
    fn fields_tile_their_records() {
        let octets = [28, 28, 32, 32, 40, 32, 40, 44, 32, 32, 32, 32, 40, 40];
        assert_eq!(SCHEMES.map(|scheme| scheme.record_octets()), octets);
        for scheme in SCHEMES {
            let mut end = 0;
            for field in scheme.fields {
                assert_eq!(field.offset, end, "{} {field:?}", scheme.name);
                end += field.octets;
            }
        }
        assert_eq!(TEMPLATES.len(), SCHEMES.len());
    }

    #[test]
    fn values_without_a_place_are_counted() {
        let values = [1, 1, 1, 1, 1, 3, 3, 3, 1, 1, 1, 1, 1, 1];
        assert_eq!(SCHEMES.map(|scheme| scheme.values_aside()), values);
    }

    /// Each place is read from where the table says, in every scheme that has it.
    #[test]
    fn every_field_of_every_scheme_is_read() {
        for (scheme, aggregation) in SCHEMES.iter().zip(1..) {
            for field in scheme.fields {
                let mut record = vec![0; scheme.record_octets()];
                record[usize::from(field.offset + field.octets) - 1] = 7;
                let said = only(aggregation, &record);
                let flow = &said.flow;
                let v4 = Ipv4Addr::new(0, 0, 0, 7).to_ipv6_mapped();
                // A First of 7 ms, or a Last.
                let at_ns = TIME.absolute_ns(7);
                let found = match field.element {
                    element::FLOWS => said.flows == Some(7),
                    element::PACKETS => flow.packets == 7,
                    element::OCTETS => flow.octets == 7,
                    element::START_UPTIME_MS => flow.start_ns == at_ns,
                    element::END_UPTIME_MS => flow.end_ns == at_ns,
                    element::SOURCE_V4 | element::SOURCE_PREFIX_V4 => flow.source == v4,
                    element::DESTINATION_V4 | element::DESTINATION_PREFIX_V4 => {
                        flow.destination == v4
                    }
                    element::SOURCE_MASK_V4 => flow.source_mask == 7,
                    element::DESTINATION_MASK_V4 => flow.destination_mask == 7,
                    element::SOURCE_AS => flow.source_as == 7,
                    element::DESTINATION_AS => flow.destination_as == 7,
                    element::SOURCE_PORT => flow.source_port == 7,
                    element::DESTINATION_PORT => flow.destination_port == 7,
                    element::INGRESS_IFINDEX => flow.ingress_ifindex == 7,
                    element::EGRESS_IFINDEX => flow.egress_ifindex == 7,
                    element::PROTOCOL => flow.protocol == 7,
                    element::TOS => flow.tos == 7,
                    _ => *flow == only(aggregation, &vec![0; record.len()]).flow,
                };
                assert!(found, "{} {field:?}: {said:?}", scheme.name);
            }
        }
    }

    #[test]
    fn golden_full_flow() {
        #[rustfmt::skip]
        let record = [
            198, 51, 100, 7,          // destination, before the source
            192, 0, 2, 1,             // source
            0x01, 0xbb, 0x12, 0x34,   // ports, likewise
            0, 0, 0x0a, 0x0b,         // packets
            1, 2, 3, 4,               // octets
            0, 1, 0x7e, 0xd0,         // First: 98000 ms
            0, 1, 0x82, 0xb8,         // Last: 99000 ms
            0, 3, 0, 2,               // ifIndexes, output first
            0xb8, 6, 0, 0,            // ToS, protocol, marked ToS, reserved
            0, 0, 0, 1,               // extra packets
            10, 0, 0, 1,              // router_sc
        ];
        let header_ns = TIME.unix_ns / 1_000_000 * 1_000_000;
        let expected = FlowRecord {
            source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
            source_port: 0x1234,
            destination_port: 443,
            protocol: 6,
            tos: 0xb8,
            octets: 0x0102_0304,
            packets: 0x0a0b,
            start_ns: header_ns - 2_000_000_000,
            end_ns: header_ns - 1_000_000_000,
            ingress_ifindex: 2,
            egress_ifindex: 3,
            ..FlowRecord::default()
        };
        let found = only(8, &record);
        assert_eq!((found.flow, found.flows), (expected, None));
    }

    #[test]
    fn what_a_scheme_leaves_out_is_zero_and_told() {
        let said = only(1, &[0; 28]);
        assert_eq!(said.flow.source, Ipv6Addr::UNSPECIFIED);
        assert!(!SCHEMES[0].says(element::SOURCE_V4));
        assert!(SCHEMES[0].says(element::SOURCE_AS));
        let decoded = datagram(1, AGGREGATION_VERSION, &[0; 28]);
        let decoded = decode(&decoded).unwrap();
        assert_eq!(decoded.scheme.name, "as");
        let header = decoded.header;
        assert_eq!((header.sequence, header.aggregation), (9, 1));
        assert_eq!((header.engine_type, header.engine_id), (3, 4));
    }

    #[test]
    fn aggregations_that_are_not_known_are_refused() {
        for (scheme, version) in [(0, 2), (15, 2), (255, 2), (1, 1), (1, 3)] {
            let datagram = datagram(scheme, version, &[0; 44]);
            let expected = Malformed::Aggregation { scheme, version };
            assert_eq!(decode(&datagram).unwrap_err(), expected);
        }
    }
}
