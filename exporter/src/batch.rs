//! Records into datagrams. A datagram opens with its first record and leaves when it is full, when
//! it is a second old, or on flush; its sequence number is fixed when it opens, its count and
//! clocks when it leaves, so all its records' relative times are encoded then. One that turns out
//! to be longer than the path takes is taken back: its records go into shorter ones.

use std::mem;

use weir_netflow::{ExportTime, FlowRecord, Optional, Sampling, v5, v9};

use crate::counters::Tally;

/// FlowSets end on four octets.
const SET_PADDING_OCTETS_MAX: usize = 3;

/// Export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// NetFlow v5.
    V5,
    /// NetFlow v9.
    V9,
}

/// How the datagrams are made.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// The format.
    pub version: Version,
    /// Octets a datagram may have, without UDP and IP headers; fewer once a path takes fewer.
    pub datagram_octets_max: usize,
    /// Templates are sent again after this many datagrams …
    pub template_datagrams: u32,
    /// … or this long, whichever is first.
    pub template_interval_ns: u64,
    /// v9's source id, v5's engine type and id (its low 16 bits).
    pub source_id: u32,
    /// How packets were chosen.
    pub sampling: Sampling,
    /// What v9's records carry beside the usual.
    pub optional: Optional,
}

impl BatchOptions {
    /// A datagram's octets on Ethernet, with room for an IPv6 header and a tunnel's.
    pub const DATAGRAM_OCTETS_MAX: usize = 1432;

    /// Defaults for a format: softflowd's template count, a minute for quiet networks.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            datagram_octets_max: match version {
                // 30 records, which is what the format's readers expect to be possible.
                Version::V5 => v5::HEADER_OCTETS + v5::RECORDS_MAX * v5::RECORD_OCTETS,
                Version::V9 => Self::DATAGRAM_OCTETS_MAX,
            },
            template_datagrams: 16,
            template_interval_ns: 60_000_000_000,
            source_id: 0,
            sampling: Sampling::NONE,
            optional: Optional::NONE,
        }
    }

    /// Octets that a datagram needs at least: for the templates and one record; and any path is
    /// supposed to take 512 (RFC 7011 section 10.3.3).
    #[must_use]
    pub fn datagram_octets_min(&self) -> usize {
        const ANY_PATH_OCTETS: usize = 512;
        let octets = match self.version {
            Version::V5 => v5::HEADER_OCTETS + v5::RECORD_OCTETS,
            Version::V9 => {
                let flows = v9::FlowTemplates::new(self.optional);
                let set_octets = v9::SET_HEADER_OCTETS + SET_PADDING_OCTETS_MAX;
                let record_octets = flows.v6.record_octets() + set_octets;
                v9::HEADER_OCTETS + self.templates_octets(&flows) + record_octets
            }
        };
        octets.max(ANY_PATH_OCTETS)
    }

    /// Octets of the templates, and of what is said with them.
    fn templates_octets(&self, flows: &v9::FlowTemplates) -> usize {
        let sampling = if self.sampling.interval > 1 {
            v9::SAMPLING_OCTETS
        } else {
            0
        };
        flows.definition_octets() + sampling
    }
}

/// A datagram ready to be sent, and what is in it.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Its records.
    pub tally: Tally,
    records: Vec<FlowRecord>,
    sequence: u32,
}

/// Gathers records for one destination.
#[derive(Debug)]
pub struct Batcher {
    options: BatchOptions,
    flows: v9::FlowTemplates,
    pending: Vec<FlowRecord>,
    /// Octets the pending records take, template and padding included.
    octets: usize,
    opened_ns: u64,
    /// Whether the open datagram has room for the templates, and so carries them.
    with_templates: bool,
    sequence: u32,
    templates: TemplateState,
}

#[derive(Debug)]
struct TemplateState {
    due: bool,
    sent_ns: u64,
    datagrams: u32,
}

impl Batcher {
    /// A batcher that has sent nothing yet.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        Self {
            options,
            flows: v9::FlowTemplates::new(options.optional),
            pending: Vec::new(),
            octets: 0,
            opened_ns: 0,
            with_templates: false,
            sequence: 0,
            templates: TemplateState {
                due: true,
                sent_ns: 0,
                datagrams: 0,
            },
        }
    }

    /// Adds a record the format can carry; the datagram that this fills, if it does.
    pub fn push(&mut self, record: &FlowRecord, now: &ExportTime) -> Option<Datagram> {
        let mut full = None;
        if !self.fits(record) {
            full = self.flush(now);
        }
        if self.pending.is_empty() {
            self.open(now);
        }
        self.octets += self.octets_of(record);
        self.pending.push(*record);
        full
    }

    /// Closes the open datagram, if there is one.
    pub fn flush(&mut self, now: &ExportTime) -> Option<Datagram> {
        if self.pending.is_empty() {
            return None;
        }
        let mut tally = Tally::default();
        self.pending.iter().for_each(|record| tally.add(record));
        let sequence = self.sequence;
        let octets = match self.options.version {
            Version::V5 => self.encode_v5(now),
            Version::V9 => self.encode_v9(now),
        };
        let room = Vec::with_capacity(self.pending.len());
        self.octets = 0;
        Some(Datagram {
            octets,
            tally,
            records: mem::replace(&mut self.pending, room),
            sequence,
        })
    }

    /// Takes the last datagram back, since it did not leave, and makes shorter ones from here on.
    /// Its number is the next one's, which has the templates: they may have been in this one.
    /// Returns its records and those that waited behind them, to be pushed again.
    #[must_use]
    pub fn take_back(&mut self, datagram: Datagram, octets_max: usize) -> Vec<FlowRecord> {
        let options = &mut self.options;
        options.datagram_octets_max = options.datagram_octets_max.min(octets_max);
        self.sequence = datagram.sequence;
        self.send_templates_again();
        let mut records = datagram.records;
        records.append(&mut self.pending);
        self.octets = 0;
        records
    }

    /// How the datagrams are made.
    #[must_use]
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// When the open datagram was opened, by the wall clock.
    #[must_use]
    pub fn opened_ns(&self) -> Option<u64> {
        (!self.pending.is_empty()).then_some(self.opened_ns)
    }

    /// Puts the templates into the next datagram: the one they were in was not sent.
    pub fn send_templates_again(&mut self) {
        self.templates.due = true;
    }

    fn open(&mut self, now: &ExportTime) {
        self.opened_ns = now.unix_ns;
        let templates = &mut self.templates;
        templates.due |= templates.datagrams >= self.options.template_datagrams
            || now.unix_ns.abs_diff(templates.sent_ns) >= self.options.template_interval_ns;
        self.with_templates = templates.due;
        self.octets = match self.options.version {
            Version::V5 => v5::HEADER_OCTETS,
            Version::V9 if self.with_templates => {
                v9::HEADER_OCTETS + self.options.templates_octets(&self.flows)
            }
            Version::V9 => v9::HEADER_OCTETS,
        };
    }

    fn fits(&self, record: &FlowRecord) -> bool {
        self.pending.is_empty()
            || self.octets + self.octets_of(record) <= self.options.datagram_octets_max
    }

    /// Octets a record adds, with its FlowSet's header and padding if it begins one.
    fn octets_of(&self, record: &FlowRecord) -> usize {
        match self.options.version {
            Version::V5 => v5::RECORD_OCTETS,
            Version::V9 => {
                let begins_set = self.pending.last().is_none_or(|last| last.v6 != record.v6);
                let set_octets = if begins_set {
                    v9::SET_HEADER_OCTETS + SET_PADDING_OCTETS_MAX
                } else {
                    0
                };
                self.flows.of(record).record_octets() + set_octets
            }
        }
    }

    fn encode_v5(&mut self, now: &ExportTime) -> Vec<u8> {
        let count = u16::try_from(self.pending.len()).unwrap_or(u16::MAX);
        let [.., engine_type, engine_id] = self.options.source_id.to_be_bytes();
        let header = v5::Header {
            count,
            time: *now,
            sequence: self.sequence,
            engine_type,
            engine_id,
            sampling: self.options.sampling,
        };
        self.sequence = self.sequence.wrapping_add(u32::from(count));
        let mut octets = Vec::with_capacity(self.octets);
        octets.extend_from_slice(&v5::encode_header(&header));
        for record in &self.pending {
            v5::encode_record(&mut octets, record, now);
        }
        octets
    }

    fn encode_v9(&mut self, now: &ExportTime) -> Vec<u8> {
        // The header's clock has whole seconds: both clocks are moved on to the next one, so that
        // they are of one instant and no flow ends after it.
        let to_second_ns = (1_000_000_000 - now.unix_ns % 1_000_000_000) % 1_000_000_000;
        let instant = ExportTime {
            // A capture file may claim the last instant there is.
            unix_ns: now.unix_ns.saturating_add(to_second_ns),
            uptime_ms: now.uptime_ms + to_second_ns.div_ceil(1_000_000),
        };
        let mut octets = vec![0; v9::HEADER_OCTETS];
        let mut count = self.pending.len();
        if self.with_templates {
            self.flows.encode_definition(&mut octets);
            count += 2;
            if self.options.sampling.interval > 1 {
                v9::encode_sampling(&mut octets, &self.options.sampling, self.options.source_id);
                count += v9::SAMPLING_RECORDS;
            }
            self.templates = TemplateState {
                due: false,
                sent_ns: now.unix_ns,
                datagrams: 0,
            };
        }
        self.templates.datagrams += 1;
        for records in self.pending.chunk_by(|a, b| a.v6 == b.v6) {
            encode_set(&mut octets, &self.flows, records, &instant);
        }
        let header = v9::Header {
            count: u16::try_from(count).unwrap_or(u16::MAX),
            time: instant,
            sequence: self.sequence,
            source_id: self.options.source_id,
        };
        octets[..v9::HEADER_OCTETS].copy_from_slice(&v9::encode_header(&header));
        self.sequence = self.sequence.wrapping_add(1);
        octets
    }
}

/// A data FlowSet of records of one family, padded to four octets (RFC 3954 section 5.3).
fn encode_set(
    octets: &mut Vec<u8>,
    flows: &v9::FlowTemplates,
    records: &[FlowRecord],
    time: &ExportTime,
) {
    let Some(first) = records.first() else { return };
    let template = flows.of(first);
    let start = octets.len();
    octets.extend_from_slice(&template.id.to_be_bytes());
    octets.extend_from_slice(&[0, 0]);
    for record in records {
        template.encode_record(octets, record, time);
    }
    while !(octets.len() - start).is_multiple_of(4) {
        octets.push(0);
    }
    let length = u16::try_from(octets.len() - start).unwrap_or(u16::MAX);
    octets[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> ExportTime {
        ExportTime {
            unix_ns: 1_700_000_000_000_000_000 + ms * 1_000_000,
            uptime_ms: 50_000 + ms,
        }
    }

    fn flow(number: u64) -> FlowRecord {
        FlowRecord {
            packets: number,
            octets: 40 * number,
            v6: number.is_multiple_of(3),
            start_ns: at(0).unix_ns,
            end_ns: at(1).unix_ns,
            ..FlowRecord::default()
        }
    }

    fn datagrams(version: Version, flows: u64) -> Vec<Datagram> {
        let mut batcher = Batcher::new(BatchOptions::new(version));
        let mut datagrams = Vec::new();
        for number in 1..=flows {
            let record = if version == Version::V5 {
                FlowRecord {
                    v6: false,
                    ..flow(number)
                }
            } else {
                flow(number)
            };
            datagrams.extend(batcher.push(&record, &at(number)));
        }
        datagrams.extend(batcher.flush(&at(flows)));
        assert!(batcher.flush(&at(flows)).is_none());
        datagrams
    }

    #[test]
    fn v5_sequence_counts_records_before_the_datagram() {
        let datagrams = datagrams(Version::V5, 100);
        let headers: Vec<_> = datagrams
            .iter()
            .map(|datagram| v5::decode(&datagram.octets).unwrap().header)
            .collect();
        assert_eq!(
            headers
                .iter()
                .map(|header| (header.sequence, header.count))
                .collect::<Vec<_>>(),
            [(0, 30), (30, 30), (60, 30), (90, 10)]
        );
    }

    #[test]
    fn v9_sequence_counts_datagrams_and_templates_come_every_sixteen() {
        let datagrams = datagrams(Version::V9, 2000);
        let mut packets = 0;
        for (index, datagram) in datagrams.iter().enumerate() {
            assert!(datagram.octets.len() <= BatchOptions::DATAGRAM_OCTETS_MAX);
            let header = v9::decode_header(&datagram.octets).unwrap();
            assert_eq!(header.sequence as usize, index);
            let sets = v9::decode_sets(&datagram.octets).unwrap();
            let has_templates = sets.iter().any(|set| matches!(set, v9::Set::Templates(_)));
            assert_eq!(has_templates, index % 16 == 0, "datagram {index}");
            let mut count = if has_templates { 2 } else { 0 };
            for set in sets {
                if let v9::Set::Data { id, octets } = set {
                    let template = if id == v9::FLOWS_V4.id {
                        &v9::FLOWS_V4
                    } else {
                        &v9::FLOWS_V6
                    };
                    let template = v9::Template {
                        id,
                        scope_fields: 0,
                        fields: template.fields.to_vec(),
                    };
                    for record in v9::records(&template, octets, &header) {
                        count += 1;
                        packets += record.packets;
                        assert_eq!(
                            (record.start_ns, record.end_ns),
                            (at(0).unix_ns, at(1).unix_ns)
                        );
                    }
                }
            }
            assert_eq!(header.count, count);
        }
        assert_eq!(packets, (1..=2000).sum::<u64>());
    }

    #[test]
    fn datagrams_of_records_with_optional_fields_are_no_longer_than_others() {
        let optional = [
            Optional::MAC,
            Optional::INNER_VLAN,
            Optional::MPLS,
            Optional::FLOW_LABEL,
            Optional::OUTER,
        ];
        let mut batcher = Batcher::new(BatchOptions {
            optional: optional.into_iter().fold(Optional::NONE, Optional::and),
            ..BatchOptions::new(Version::V9)
        });
        let records = (1..=500).map(|number| FlowRecord {
            source_mac: [2, 0, 0, 0, 0, 7],
            inner_vlan: 5,
            ..flow(number)
        });
        let mut datagrams: Vec<_> = records
            .filter_map(|record| batcher.push(&record, &at(0)))
            .collect();
        datagrams.extend(batcher.flush(&at(0)));
        let (mut templates, mut packets) = (Vec::new(), 0);
        for datagram in &datagrams {
            assert!(datagram.octets.len() <= BatchOptions::DATAGRAM_OCTETS_MAX);
            let header = v9::decode_header(&datagram.octets).unwrap();
            for set in v9::decode_sets(&datagram.octets).unwrap() {
                match set {
                    v9::Set::Templates(defined) => templates = defined,
                    v9::Set::Data { id, octets } => {
                        let mut known = templates.iter();
                        let template = known.find(|template| template.id == id).unwrap();
                        for record in v9::records(template, octets, &header) {
                            assert_eq!(record.source_mac, [2, 0, 0, 0, 0, 7]);
                            assert_eq!(record.inner_vlan, 5);
                            packets += record.packets;
                        }
                    }
                    v9::Set::Reserved => panic!("a reserved FlowSet"),
                }
            }
        }
        assert_eq!(packets, (1..=500).sum::<u64>());
    }

    #[test]
    fn the_last_instant_of_the_clock_can_be_exported() {
        let last = ExportTime {
            unix_ns: u64::MAX,
            uptime_ms: 1000,
        };
        for version in [Version::V5, Version::V9] {
            let mut batcher = Batcher::new(BatchOptions::new(version));
            assert!(batcher.push(&flow(1), &last).is_none());
            assert_eq!(batcher.flush(&last).unwrap().tally.records, 1);
        }
    }

    #[test]
    fn tallies_are_what_was_pushed() {
        let total: u64 = datagrams(Version::V9, 500)
            .iter()
            .map(|datagram| datagram.tally.packets)
            .sum();
        assert_eq!(total, (1..=500).sum::<u64>());
    }
}
