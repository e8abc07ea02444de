//! What an exporter says of itself in options, for v9 and IPFIX alike: what it sent, what was lost before
//! that (RFC 7011 section 4), and what interfaces are called. v9 has IPFIX's elements where it has none of
//! its own.

use std::iter;

use crate::{
    element::{self, Element},
    set::{self, Dialect},
};

/// What was sent: exportedOctetTotalCount, exportedMessageTotalCount, exportedFlowRecordTotalCount.
const SENT_TEMPLATE_ID: u16 = 514;
/// What the metering process left out (RFC 7011 section 4.2).
const IGNORED_TEMPLATE_ID: u16 = 515;
/// What became records and was not sent (section 4.3).
const NOT_SENT_TEMPLATE_ID: u16 = 516;
/// An interface's name.
const NAME_TEMPLATE_ID: u16 = 517;
/// An interface's description.
const DESCRIPTION_TEMPLATE_ID: u16 = 518;

/// v9's scope types (RFC 3954 section 6.1).
const SCOPE_SYSTEM: Element = 1;
const SCOPE_INTERFACE: Element = 2;

/// Octets of a count, of an interface's number, its name (softflowd's) and its description.
const COUNT_OCTETS: u16 = 8;
const NUMBER_OCTETS: u16 = 4;
const NAME_OCTETS: u16 = 16;
const DESCRIPTION_OCTETS: u16 = 64;

/// Octets that a part has at most: it fits any path beside a header (RFC 7011 section 10.3.3).
pub const PART_OCTETS_MAX: usize = 480;
/// Records in a part, so that it has no more: 20 octets a name and 72 a description.
const NAMES_MAX: usize = 16;
const DESCRIPTIONS_MAX: usize = 5;

/// What is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The exporting process's number.
    pub process: u32,
    /// Messages sent to this collector before this one.
    pub messages: u64,
    /// Flow records in those.
    pub records: u64,
    /// Octets of those, headers of lower layers not counted.
    pub octets: u64,
    /// Packets that were seen, and are in no flow since something failed.
    pub ignored: Lost,
    /// Flows that did not get to this collector.
    pub not_sent: Lost,
    /// Interfaces by the numbers that records have.
    pub interfaces: Vec<Interface>,
}

/// Something that was lost, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Flows, if it was in flows.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Octets of those.
    pub octets: u64,
    /// When the first of it was noticed, milliseconds since 1970-01-01 UTC; 0: nothing was lost.
    pub first_ms: u64,
    /// When the latest was.
    pub last_ms: u64,
}

impl Lost {
    /// What it is once these counts are so high.
    #[must_use]
    pub fn grown(self, flows: u64, packets: u64, octets: u64, now_ms: u64) -> Self {
        if (flows, packets, octets) == (self.flows, self.packets, self.octets) {
            return self;
        }
        let first_ms = match self.first_ms {
            0 => now_ms,
            first_ms => first_ms,
        };
        Self {
            flows,
            packets,
            octets,
            first_ms,
            last_ms: now_ms,
        }
    }

    /// What was lost at either of two places.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let first_ms = match (self.first_ms, other.first_ms) {
            (0, first_ms) | (first_ms, 0) => first_ms,
            (one_ms, other_ms) => one_ms.min(other_ms),
        };
        Self {
            flows: self.flows.saturating_add(other.flows),
            packets: self.packets.saturating_add(other.packets),
            octets: self.octets.saturating_add(other.octets),
            first_ms,
            last_ms: self.last_ms.max(other.last_ms),
        }
    }
}

/// What an interface is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its ifIndex.
    pub ifindex: u32,
    /// Its name, of which 15 octets are said.
    pub name: String,
    /// Its description, of which 63 are; empty if it has none.
    pub description: String,
}

/// Sets that leave together: a definition, and records of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The sets, at most [`PART_OCTETS_MAX`] octets.
    pub octets: Vec<u8>,
    /// Definitions in them.
    pub templates: usize,
    /// Data records in them.
    pub records: usize,
}

/// As FlowSets of v9, from this source id.
#[must_use]
pub fn v9(said: &Announcement, source_id: u32) -> Vec<Part> {
    parts(Dialect::V9, said, source_id)
}

/// As sets of IPFIX, of this domain.
#[must_use]
pub fn ipfix(said: &Announcement, domain: u32) -> Vec<Part> {
    parts(Dialect::Ipfix, said, domain)
}

fn parts(dialect: Dialect, said: &Announcement, domain: u32) -> Vec<Part> {
    let (whole, exporting, interface) = match dialect {
        Dialect::V9 => (
            (SCOPE_SYSTEM, domain),
            (SCOPE_SYSTEM, domain),
            SCOPE_INTERFACE,
        ),
        Dialect::Ipfix => (
            (element::OBSERVATION_DOMAIN, domain),
            (element::EXPORTING_PROCESS, said.process),
            element::INGRESS_IFINDEX,
        ),
    };
    let (ignored, not_sent) = (said.ignored, said.not_sent);
    let sent = [
        (element::EXPORTED_OCTETS, said.octets),
        (element::EXPORTED_MESSAGES, said.messages),
        (element::EXPORTED_FLOWS, said.records),
    ];
    // Of two times the first is that of the first loss.
    let ignored = [
        (element::IGNORED_PACKETS, ignored.packets),
        (element::IGNORED_OCTETS, ignored.octets),
        (element::OBSERVED_MS, ignored.first_ms),
        (element::OBSERVED_MS, ignored.last_ms),
    ];
    let not_sent = [
        (element::NOT_SENT_FLOWS, not_sent.flows),
        (element::NOT_SENT_PACKETS, not_sent.packets),
        (element::NOT_SENT_OCTETS, not_sent.octets),
        (element::OBSERVED_MS, not_sent.first_ms),
        (element::OBSERVED_MS, not_sent.last_ms),
    ];
    let mut parts = vec![
        counts(dialect, SENT_TEMPLATE_ID, whole, &sent),
        counts(dialect, IGNORED_TEMPLATE_ID, whole, &ignored),
        counts(dialect, NOT_SENT_TEMPLATE_ID, exporting, &not_sent),
    ];
    add_names(&mut parts, dialect, interface, &said.interfaces);
    add_descriptions(&mut parts, dialect, whole, &said.interfaces);
    parts
}

/// A template of counts, and its one record.
fn counts(
    dialect: Dialect,
    id: u16,
    (scope, of): (Element, u32),
    counts: &[(Element, u64)],
) -> Part {
    let fields = counts.iter().map(|(element, _)| (*element, COUNT_OCTETS));
    let fields: Vec<_> = fields.collect();
    let mut record = of.to_be_bytes().to_vec();
    for (_, count) in counts {
        record.extend_from_slice(&count.to_be_bytes());
    }
    part(dialect, (id, scope), &fields, &record, 1)
}

fn add_names(parts: &mut Vec<Part>, dialect: Dialect, scope: Element, interfaces: &[Interface]) {
    const FIELDS: &[(Element, u16)] = &[(element::INTERFACE_NAME, NAME_OCTETS)];
    for some in interfaces.chunks(NAMES_MAX) {
        let mut records = Vec::new();
        for interface in some {
            records.extend_from_slice(&interface.ifindex.to_be_bytes());
            fill(&mut records, &interface.name, NAME_OCTETS);
        }
        let template = (NAME_TEMPLATE_ID, scope);
        parts.push(part(dialect, template, FIELDS, &records, some.len()));
    }
}

/// Descriptions are apart, and have the number in a field: nfcapd 1.7.1 takes element 83 for the name, and
/// complains of records that have anything else beside it and the number.
fn add_descriptions(
    parts: &mut Vec<Part>,
    dialect: Dialect,
    (scope, of): (Element, u32),
    interfaces: &[Interface],
) {
    const FIELDS: &[(Element, u16)] = &[
        (element::INGRESS_IFINDEX, NUMBER_OCTETS),
        (element::INTERFACE_DESCRIPTION, DESCRIPTION_OCTETS),
    ];
    let described = interfaces
        .iter()
        .filter(|interface| !interface.description.is_empty());
    let described: Vec<_> = described.collect();
    for some in described.chunks(DESCRIPTIONS_MAX) {
        let mut records = Vec::new();
        for interface in some {
            records.extend_from_slice(&of.to_be_bytes());
            records.extend_from_slice(&interface.ifindex.to_be_bytes());
            fill(&mut records, &interface.description, DESCRIPTION_OCTETS);
        }
        let template = (DESCRIPTION_TEMPLATE_ID, scope);
        parts.push(part(dialect, template, FIELDS, &records, some.len()));
    }
}

/// A template of an id and with one scope field, a number, and records of it.
fn part(
    dialect: Dialect,
    (id, scope): (u16, Element),
    fields: &[(Element, u16)],
    records: &[u8],
    count: usize,
) -> Part {
    let number = u16::try_from(fields.len()).unwrap_or(u16::MAX / 4);
    let head = match dialect {
        // Octets of the scope's definition, and of the others' (RFC 3954 section 6.1).
        Dialect::V9 => [id, 4, 4 * number],
        // Fields, and how many of them are the scope (RFC 7011 section 3.4.2.2).
        Dialect::Ipfix => [id, number + 1, 1],
    };
    let mut definition = Vec::new();
    for word in head {
        definition.extend_from_slice(&word.to_be_bytes());
    }
    for (element, octets) in iter::once(&(scope, NUMBER_OCTETS)).chain(fields) {
        definition.extend_from_slice(&element.to_be_bytes());
        definition.extend_from_slice(&octets.to_be_bytes());
    }
    let (_, options_set) = dialect.template_sets();
    let mut octets = Vec::new();
    set::push(&mut octets, options_set, &definition);
    set::push(&mut octets, id, records);
    Part {
        octets,
        templates: 1,
        records: count,
    }
}

/// Appends a text, cut between characters, and fills it up with zeros, one at least: there are readers that
/// want its end.
fn fill(record: &mut Vec<u8>, text: &str, octets: u16) {
    let octets = usize::from(octets);
    let most = text.len().min(octets - 1);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    let said = &text.as_bytes()[..end.unwrap_or(0)];
    record.extend_from_slice(said);
    record.resize(record.len() + octets - said.len(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        options::{self, COUNTERS},
        set::Set,
        template::Template,
    };

    fn said() -> Announcement {
        let interface = |ifindex, name: &str, description: &str| Interface {
            ifindex,
            name: name.to_owned(),
            description: description.to_owned(),
        };
        Announcement {
            process: 77,
            messages: 3,
            records: 60,
            octets: 4000,
            ignored: Lost::default().grown(0, 5, 500, 1_700_000_000_000),
            not_sent: Lost::default().grown(1, 2, 80, 1_700_000_000_000).grown(
                2,
                4,
                160,
                1_700_000_001_000,
            ),
            interfaces: vec![
                interface(2, "eth0", "to the moon"),
                interface(3, "a-name-that-is-too-long", ""),
            ],
        }
    }

    #[test]
    fn golden_v9_counts() {
        let parts = v9(&said(), 9);
        #[rustfmt::skip]
        let expected = [
            0, 1, 0, 28,                        // options templates, 28 octets
            2, 2, 0, 4, 0, 12,                  // id 514, 4 octets of scope fields, 12 of option fields
            0, 1, 0, 4,                         // System
            0, 40, 0, 8, 0, 41, 0, 8, 0, 42, 0, 8, // octets, messages, flows
            0, 0,                               // padding
            2, 2, 0, 32,                        // records of 514
            0, 0, 0, 9,                         // source id
            0, 0, 0, 0, 0, 0, 0x0f, 0xa0,
            0, 0, 0, 0, 0, 0, 0, 3,
            0, 0, 0, 0, 0, 0, 0, 60,
        ];
        assert_eq!(parts[0].octets, expected);
        assert_eq!((parts[0].templates, parts[0].records), (1, 1));
    }

    #[test]
    fn golden_ipfix_losses() {
        let parts = ipfix(&said(), 9);
        #[rustfmt::skip]
        let ignored = [
            0, 3, 0, 32,                        // options templates, 32 octets
            2, 3, 0, 5, 0, 1,                   // id 515, five fields, one of them the scope
            0, 149, 0, 4,                       // observationDomainId
            0, 164, 0, 8, 0, 165, 0, 8,         // ignoredPacketTotalCount, ignoredOctetTotalCount
            1, 67, 0, 8, 1, 67, 0, 8,           // observationTimeMilliseconds, twice
            0, 0,                               // padding
            2, 3, 0, 40,                        // records of 515
            0, 0, 0, 9,
            0, 0, 0, 0, 0, 0, 0, 5,
            0, 0, 0, 0, 0, 0, 1, 0xf4,
            0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0,
            0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0,
        ];
        assert_eq!(parts[1].octets, ignored);
        // Of the other the scope is the process, and the times differ.
        let not_sent = &parts[2].octets;
        assert_eq!(not_sent[10..14], [0, 144, 0, 4]);
        let record = &not_sent[not_sent.len() - 44..];
        assert_eq!(record[..4], [0, 0, 0, 77]);
        assert_eq!(record[28..36], 1_700_000_000_000u64.to_be_bytes());
        assert_eq!(record[36..], 1_700_000_001_000u64.to_be_bytes());
    }

    /// The records that are found in the parts, with their templates.
    fn found(dialect: Dialect, parts: &[Part]) -> Vec<(Template, Vec<u8>)> {
        let mut found = Vec::new();
        for part in parts {
            assert!(
                part.octets.len() <= PART_OCTETS_MAX,
                "{}",
                part.octets.len()
            );
            let sets = set::decode(dialect, &part.octets, 0).unwrap();
            let [Set::Templates(defined), Set::Data { id, octets }] = &sets[..] else {
                panic!("{sets:?}")
            };
            let template = defined[0].template().unwrap();
            assert_eq!((template.id(), template.scope_fields()), (*id, Some(1)));
            assert_eq!((defined.len(), part.templates), (1, 1));
            assert_eq!(template.record_count(octets), Some(part.records));
            for record in template.records(octets) {
                found.push((template.clone(), record.to_vec()));
            }
        }
        found
    }

    #[test]
    fn what_is_announced_is_read_back() {
        for (dialect, parts) in [
            (Dialect::V9, v9(&said(), 9)),
            (Dialect::Ipfix, ipfix(&said(), 9)),
        ] {
            let mut counters = [None; COUNTERS.len()];
            let mut interfaces = Vec::new();
            for (template, record) in found(dialect, &parts) {
                let read = options::read(&template, &record);
                assert_eq!((read.sampling, read.boot_ms), (None, None));
                for (counter, said) in counters.iter_mut().zip(read.counters) {
                    *counter = said.or(*counter);
                }
                interfaces.extend(read.interface.map(|interface| {
                    let texts = [interface.name, interface.description].map(options::text);
                    (interface.ifindex, texts)
                }));
            }
            let expected = [4000, 3, 60, 5, 500, 2, 4, 160].map(Some);
            assert_eq!(counters, expected, "{dialect:?}");
            let expected = [
                (2, ["eth0", ""]),
                (3, ["a-name-that-is-", ""]),
                (2, ["", "to the moon"]),
            ]
            .map(|(ifindex, texts)| (ifindex, texts.map(ToOwned::to_owned)));
            assert_eq!(interfaces, expected, "{dialect:?}");
        }
    }

    #[test]
    fn parts_fit_any_path_however_many_interfaces_there_are() {
        let interfaces = (1..=100).map(|ifindex| Interface {
            ifindex,
            name: format!("eth{ifindex}"),
            description: "ä".repeat(100),
        });
        let said = Announcement {
            interfaces: interfaces.collect(),
            ..Announcement::default()
        };
        for (dialect, parts) in [
            (Dialect::V9, v9(&said, 0)),
            (Dialect::Ipfix, ipfix(&said, 0)),
        ] {
            let found = found(dialect, &parts);
            assert_eq!(found.len(), 3 + 100 + 100);
            let (template, record) = &found[found.len() - 1];
            let last = options::read(template, record).interface.unwrap();
            // 63 octets are no whole number of these.
            let (name, description) = (last.ifindex, options::text(last.description));
            assert_eq!((name, description), (100, "ä".repeat(31)));
        }
    }

    #[test]
    fn losses_have_the_time_of_the_first_and_of_the_last() {
        let none = Lost::default();
        assert_eq!(none.grown(0, 0, 0, 5), none);
        let one = none.grown(1, 1, 40, 5);
        assert_eq!((one.first_ms, one.last_ms), (5, 5));
        assert_eq!(one.grown(1, 1, 40, 6), one);
        let later = one.grown(2, 2, 80, 7);
        assert_eq!((later.first_ms, later.last_ms), (5, 7));
        assert_eq!(none.and(later), later);
        let both = later.and(none.grown(1, 2, 3, 4));
        let expected = Lost {
            flows: 3,
            packets: 4,
            octets: 83,
            first_ms: 4,
            last_ms: 7,
        };
        assert_eq!(both, expected);
    }
}
