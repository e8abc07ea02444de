//! NetFlow v9 (RFC 3954): a header of 20 octets, then FlowSets: templates, options templates, and
//! data that only a template explains.

use crate::{
    ExportTime, Layout, Malformed, Sampling, TimeBase, element,
    flow_template::{self, FlowTemplates},
    low32, read,
    set::{self, Dialect, Set},
    template::Field,
};

/// The version field.
pub const VERSION: u16 = 9;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 20;
/// FlowSet id of templates.
pub const TEMPLATE_SET: u16 = 0;
/// FlowSet id of options templates.
pub const OPTIONS_TEMPLATE_SET: u16 = 1;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Records of all kinds that follow; exporters disagree about it, nothing here relies on it.
    pub count: u16,
    /// The exporter's clocks; the wire has whole seconds.
    pub time: ExportTime,
    /// Datagrams exported before this one (RFC 3954 section 5.1), modulo 2³².
    pub sequence: u32,
    /// Observation domain.
    pub source_id: u32,
}

impl Header {
    /// What the times in the datagram's records count from.
    #[must_use]
    pub fn time_base(&self) -> TimeBase {
        self.time.into()
    }
}

/// The templates of flows in this layout.
#[must_use]
pub fn templates(layout: &Layout) -> FlowTemplates {
    FlowTemplates::new(Dialect::V9, layout)
}

/// The options templates that say how packets were chosen, for all of the exporter (scope System).
///
/// Each has the interval, and what it says is the same. Most collectors want the algorithm with it;
/// nfcapd 1.7.1, which is Debian 12's, takes an interval only from a template without one, and those
/// that want both leave that template alone. The fuller one comes last.
const SAMPLING_TEMPLATES: [(u16, &[Field]); 2] = [
    (513, &[Field::new(element::SAMPLING_INTERVAL, 4)]),
    (
        512,
        &[
            Field::new(element::SAMPLING_INTERVAL, 4),
            Field::new(element::SAMPLING_ALGORITHM, 1),
        ],
    ),
];
/// Octets that [`encode_sampling`] appends: 20 and 12 for the one, 24 and 16 for the other.
pub const SAMPLING_OCTETS: usize = 72;
/// Records that it appends, templates included, as a header's count has them.
pub const SAMPLING_RECORDS: usize = 2 * SAMPLING_TEMPLATES.len();

/// Appends what is said about sampling: options templates, each with its one record (RFC 3954 section
/// 6.1). FlowSets end on four octets; each template has its own, since nfcapd reads but the first.
pub fn encode_sampling(datagram: &mut Vec<u8>, sampling: &Sampling, source_id: u32) {
    const SCOPE_SYSTEM: u16 = 1;
    const SCOPE_OCTETS: u16 = 4;
    for (id, fields) in SAMPLING_TEMPLATES {
        let fields_octets = 4 * u16::try_from(fields.len()).unwrap_or(u16::MAX / 4);
        let mut definition = Vec::new();
        for word in [id, 4, fields_octets, SCOPE_SYSTEM, SCOPE_OCTETS] {
            definition.extend_from_slice(&word.to_be_bytes());
        }
        let mut record = source_id.to_be_bytes().to_vec();
        flow_template::encode_fields(&mut definition, Dialect::V9, fields);
        for field in fields {
            match field.element {
                element::SAMPLING_INTERVAL => {
                    record.extend_from_slice(&sampling.interval.to_be_bytes());
                }
                _ => record.push(sampling.algorithm()),
            }
        }
        set::push(datagram, OPTIONS_TEMPLATE_SET, &definition);
        set::push(datagram, id, &record);
    }
}

/// The header's octets.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    octets[0..2].copy_from_slice(&VERSION.to_be_bytes());
    octets[2..4].copy_from_slice(&header.count.to_be_bytes());
    octets[4..8].copy_from_slice(&low32(header.time.uptime_ms).to_be_bytes());
    octets[8..12].copy_from_slice(&low32(header.time.unix_ns / 1_000_000_000).to_be_bytes());
    octets[12..16].copy_from_slice(&header.sequence.to_be_bytes());
    octets[16..20].copy_from_slice(&header.source_id.to_be_bytes());
    octets
}

/// Reads a datagram's header.
///
/// # Errors
/// If it is no v9 datagram.
pub fn decode_header(datagram: &[u8]) -> Result<Header, Malformed> {
    let octets = datagram.len();
    if octets < HEADER_OCTETS {
        return Err(Malformed::TooShort { octets });
    }
    let version = read::u16(datagram, 0);
    if version != VERSION {
        return Err(Malformed::Version { version });
    }
    Ok(Header {
        count: read::u16(datagram, 2),
        time: ExportTime {
            uptime_ms: u64::from(read::u32(datagram, 4)),
            unix_ns: u64::from(read::u32(datagram, 8)) * 1_000_000_000,
        },
        sequence: read::u32(datagram, 12),
        source_id: read::u32(datagram, 16),
    })
}

/// Reads a datagram's FlowSets, by their lengths, never by the header's count. All of them or
/// none: a caller applies templates only once the whole datagram made sense.
///
/// # Errors
/// At the first FlowSet or template whose length cannot be.
pub fn decode_sets(datagram: &[u8]) -> Result<Vec<Set<'_>>, Malformed> {
    set::decode(Dialect::V9, datagram, HEADER_OCTETS)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        Direction, EndReason, FlowRecord, Optional, data,
        flow_template::FlowTemplate,
        options::{self, Sampler},
        set::Definition,
        template::Template,
    };

    const TIME: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_000_000_000,
        uptime_ms: 100_000,
    };
    const HEADER: Header = Header {
        count: 1,
        time: TIME,
        sequence: 7,
        source_id: 3,
    };

    fn template_of(flow: &FlowTemplate) -> Template {
        Template::new(flow.id, None, flow.fields.clone()).unwrap()
    }

    #[test]
    fn golden_header() {
        assert_eq!(
            encode_header(&HEADER),
            [
                0, 9, 0, 1, 0, 1, 0x86, 0xa0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 7, 0, 0, 0, 3
            ]
        );
        assert_eq!(decode_header(&encode_header(&HEADER)), Ok(HEADER));
    }

    #[test]
    fn templates_are_softflowds() {
        let pairs = |template: &FlowTemplate| -> Vec<_> {
            let fields = template.fields.iter();
            fields.map(|field| (field.element, field.octets)).collect()
        };
        let common = [
            (22, 4),
            (21, 4),
            (1, 8),
            (2, 8),
            (10, 4),
            (14, 4),
            (61, 1),
            (136, 1),
            (7, 2),
            (11, 2),
            (4, 1),
            (6, 1),
            (60, 1),
            (5, 1),
            (58, 2),
        ];
        let v4 = [&[(8, 4), (12, 4)][..], &common[..]].concat();
        let v6 = [&[(27, 16), (28, 16)][..], &common[..]].concat();
        let flows = templates(&Layout::WEIR);
        assert_eq!((pairs(&flows.v4), pairs(&flows.v6)), (v4, v6));
        assert_eq!((flows.v4.id, flows.v6.id), (1024, 2048));
    }

    #[test]
    fn records_of_both_families_come_back() {
        let v4 = FlowRecord {
            source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
            source_port: 4000,
            destination_port: 53,
            protocol: 17,
            tos: 4,
            tcp_flags: 0,
            octets: u64::MAX,
            packets: 1 << 40,
            start_ns: TIME.unix_ns - 3_000_000,
            end_ns: TIME.unix_ns,
            ingress_ifindex: 70_000,
            egress_ifindex: 1,
            vlan: 100,
            direction: Direction::Egress,
            end_reason: EndReason::ActiveTimeout,
            ..FlowRecord::default()
        };
        let v6 = FlowRecord {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            v6: true,
            ..v4
        };
        let icmp = |record| FlowRecord {
            protocol: if record == v4 { 1 } else { 58 },
            source_port: 0,
            destination_port: 0x0301,
            ..record
        };
        // What is written of the other family's ICMP is read as it was meant, too.
        let odd = FlowRecord {
            protocol: 58,
            ..icmp(v4)
        };
        for record in [v4, v6, icmp(v4), icmp(v6), odd] {
            let templates = templates(&Layout::WEIR);
            let flow = templates.of(&record);
            let mut octets = Vec::new();
            flow.encode_record(&mut octets, &record, &TIME);
            assert_eq!(octets.len(), flow.record_octets());
            octets.extend_from_slice(&[0; 3]);
            let template = template_of(flow);
            let back = data::records(&template, &octets, HEADER.time_base());
            let back: Vec<_> = back.map(|record| record.flow).collect();
            assert_eq!(back, [record]);
        }
    }

    #[test]
    fn template_sets_come_back() {
        let some = Optional::MAC.and(Optional::OUTER);
        for (optional, fields) in [(Optional::NONE, 17), (some, 23)] {
            let templates = templates(&Layout {
                optional,
                ..Layout::WEIR
            });
            let mut datagram = encode_header(&HEADER).to_vec();
            templates.encode_definition(&mut datagram);
            assert_eq!(
                datagram.len(),
                HEADER_OCTETS + templates.definition_octets()
            );
            let expected = templates.all().map(template_of);
            let counts = expected.each_ref().map(|one| one.fields().len());
            // ICMP has one element where others have ports and flags.
            assert_eq!(counts, [fields, fields - 2, fields, fields - 2]);
            let expected = Set::Templates(expected.map(Definition::Template).to_vec());
            assert_eq!(decode_sets(&datagram), Ok(vec![expected]));
        }
    }

    #[test]
    fn golden_sampling() {
        let sampling = Sampling {
            interval: 1000,
            random: true,
        };
        let mut octets = Vec::new();
        encode_sampling(&mut octets, &sampling, 7);
        #[rustfmt::skip]
        let expected = [
            0, 1, 0, 20,            // options templates, 20 octets
            2, 1, 0, 4, 0, 4,       // id 513, 4 octets of scope fields, 4 of option fields
            0, 1, 0, 4,             // System
            0, 34, 0, 4, 0, 0,      // SAMPLING_INTERVAL, padding
            2, 1, 0, 12,            // records of 513, 12 octets
            0, 0, 0, 7,             // source id
            0, 0, 0x03, 0xe8,       // one in 1,000
            0, 1, 0, 24,            // options templates, 24 octets
            2, 0, 0, 4, 0, 8,       // id 512, 4 octets of scope fields, 8 of option fields
            0, 1, 0, 4,             // System
            0, 34, 0, 4,            // SAMPLING_INTERVAL
            0, 35, 0, 1, 0, 0,      // SAMPLING_ALGORITHM, padding
            2, 0, 0, 16,            // records of 512, 16 octets
            0, 0, 0, 7,             // source id
            0, 0, 0x03, 0xe8,       // one in 1,000
            2, 0, 0, 0,             // at random, padding
        ];
        assert_eq!(octets, expected);
        assert_eq!(octets.len(), SAMPLING_OCTETS);
    }

    #[test]
    fn what_is_sent_about_sampling_is_read_back() {
        let sampling = Sampling {
            interval: 1000,
            random: false,
        };
        let mut datagram = encode_header(&HEADER).to_vec();
        encode_sampling(&mut datagram, &sampling, 7);
        let sets = decode_sets(&datagram).unwrap();
        assert_eq!(sets.len(), SAMPLING_RECORDS);
        for pair in sets.chunks(2) {
            let [Set::Templates(found), Set::Data { id, octets }] = pair else {
                panic!("{sets:?}")
            };
            let template = found[0].template().unwrap();
            assert!(template.is_options() && template.id() == *id);
            assert_eq!(template.record_count(octets), Some(1));
            let record = template.records(octets).next().unwrap();
            let said = options::read(template, record);
            assert_eq!(said.sampling, Some((Sampler::All, 1000)));
        }
    }
}
