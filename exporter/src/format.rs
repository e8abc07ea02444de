//! What the versions differ in: how much fits into a datagram, what its number counts, and its
//! octets. Pure functions of records and times.

use std::fmt;

use weir_netflow::{
    ExportTime, FlowRecord, Layout, Sampling,
    announce::{self, Announcement, Part},
    flow_template::FlowTemplates,
    ipfix, set, softflowd, v1, v5, v9,
};

/// Sets are padded to four octets.
const SET_PADDING_OCTETS_MAX: usize = 3;
/// Any path is supposed to take that many (RFC 7011 section 10.3.3).
const ANY_PATH_OCTETS: usize = 512;

/// Export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// NetFlow v1.
    V1,
    /// NetFlow v5.
    V5,
    /// NetFlow v9.
    V9,
    /// IPFIX, version 10.
    Ipfix,
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::V1 => "NetFlow v1",
            Self::V5 => "NetFlow v5",
            Self::V9 => "NetFlow v9",
            Self::Ipfix => "IPFIX",
        })
    }
}

impl Version {
    /// A datagram's octets on Ethernet, with room for an IPv6 header and a tunnel's.
    pub const DATAGRAM_OCTETS_MAX: usize = 1432;

    /// Whether templates say what a record is. Without them counts have 32 bits, and IPv6 has no
    /// place.
    #[must_use]
    pub const fn has_templates(self) -> bool {
        match self {
            Self::V1 | Self::V5 => false,
            Self::V9 | Self::Ipfix => true,
        }
    }

    /// Octets a datagram may have, without UDP and IP headers: as many records as the format's
    /// readers expect to be possible, or what fits Ethernet.
    #[must_use]
    pub const fn datagram_octets_max(self) -> usize {
        match self {
            Self::V1 => v1::HEADER_OCTETS + v1::RECORDS_MAX * v1::RECORD_OCTETS,
            Self::V5 => v5::HEADER_OCTETS + v5::RECORDS_MAX * v5::RECORD_OCTETS,
            Self::V9 | Self::Ipfix => Self::DATAGRAM_OCTETS_MAX,
        }
    }

    /// Octets of a datagram's header.
    pub(crate) const fn header_octets(self) -> usize {
        match self {
            Self::V1 => v1::HEADER_OCTETS,
            Self::V5 => v5::HEADER_OCTETS,
            Self::V9 => v9::HEADER_OCTETS,
            Self::Ipfix => ipfix::HEADER_OCTETS,
        }
    }
}

/// A version with what its datagrams have besides records.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub version: Version,
    /// v9's source id, IPFIX's domain, v5's engine type and id (its low 16 bits).
    pub source_id: u32,
    pub sampling: Sampling,
    layout: Layout,
    /// Versions without templates leave them alone.
    flows: FlowTemplates,
}

impl Format {
    pub fn new(version: Version, source_id: u32, sampling: Sampling, layout: Layout) -> Self {
        let flows = match version {
            Version::V1 | Version::V5 | Version::V9 => v9::templates(&layout),
            Version::Ipfix => ipfix::templates(&layout),
        };
        Self {
            version,
            source_id,
            sampling,
            layout,
            flows,
        }
    }

    /// Whether two records, one after the other, are in one set.
    pub fn share_set(&self, one: &FlowRecord, other: &FlowRecord) -> bool {
        self.flows.of(one).id == self.flows.of(other).id
    }

    /// Octets of a record, and what its set's header and padding take if it begins one.
    pub fn record_octets(&self, record: &FlowRecord, begins_set: bool) -> usize {
        match self.version {
            Version::V1 => v1::RECORD_OCTETS,
            Version::V5 => v5::RECORD_OCTETS,
            Version::V9 | Version::Ipfix => {
                let set_octets = if begins_set {
                    set::HEADER_OCTETS + SET_PADDING_OCTETS_MAX
                } else {
                    0
                };
                self.flows.of(record).record_octets() + set_octets
            }
        }
    }

    /// Octets of the templates.
    pub fn templates_octets(&self) -> usize {
        if self.version.has_templates() {
            self.flows.definition_octets()
        } else {
            0
        }
    }

    /// Octets of what is said beside them.
    pub fn options_octets(&self) -> usize {
        match (self.options(), self.version) {
            (_, Version::V1 | Version::V5) => 0,
            (Options::Sampling, Version::V9) => v9::SAMPLING_OCTETS,
            (Options::Sampling, Version::Ipfix) => ipfix::SAMPLING_OCTETS,
            (Options::Softflowd(_), Version::V9) => softflowd::V9_OCTETS,
            (Options::Softflowd(of), Version::Ipfix) => softflowd::ipfix_octets(&of),
        }
    }

    /// Whether that is needed to read the records, and so comes with the templates each time. That every packet was
    /// chosen is as good as said; but collectors remember a rate of before, so it is said now and then.
    pub fn needs_options(&self) -> bool {
        let needs_boot = self.version == Version::Ipfix && self.layout.needs_boot();
        self.layout.softflowd.is_some() || self.sampling.interval > 1 || needs_boot
    }

    /// Octets that a datagram needs at least, as far as paths go.
    pub fn datagram_octets_min(&self) -> usize {
        self.one_record_octets().max(ANY_PATH_OCTETS)
    }

    /// Octets of a datagram with the templates and the longest record.
    pub fn one_record_octets(&self) -> usize {
        let record_octets = match self.version {
            Version::V1 => v1::RECORD_OCTETS,
            Version::V5 => v5::RECORD_OCTETS,
            Version::V9 | Version::Ipfix => {
                self.flows.record_octets_max() + set::HEADER_OCTETS + SET_PADDING_OCTETS_MAX
            }
        };
        self.version.header_octets()
            + self.templates_octets()
            + self.options_octets()
            + record_octets
    }

    /// What is announced, as this version has it; nothing without templates.
    pub fn parts(&self, said: &Announcement) -> Vec<Part> {
        match self.version {
            Version::V1 | Version::V5 => Vec::new(),
            Version::V9 => announce::v9(said, self.source_id),
            Version::Ipfix => announce::ipfix(said, self.source_id),
        }
    }

    /// A datagram of nothing but such parts, and by how much the next one's number is higher.
    pub fn encode_parts(&self, parts: &[Part], sequence: u32, now: &ExportTime) -> (Vec<u8>, u32) {
        let templates: usize = parts.iter().map(|part| part.templates).sum();
        let records: usize = parts.iter().map(|part| part.records).sum();
        let mut octets = vec![0; self.version.header_octets()];
        for part in parts {
            octets.extend_from_slice(&part.octets);
        }
        if self.version == Version::V9 {
            self.put_v9_header(
                &mut octets,
                templates + records,
                &whole_second(now),
                sequence,
            );
            return (octets, 1);
        }
        self.put_ipfix_header(&mut octets, now, sequence);
        (octets, u32::try_from(records).unwrap_or(u32::MAX))
    }

    fn put_v9_header(&self, octets: &mut [u8], count: usize, time: &ExportTime, sequence: u32) {
        let header = v9::Header {
            count: count16(count),
            time: *time,
            sequence,
            source_id: self.source_id,
        };
        octets[..v9::HEADER_OCTETS].copy_from_slice(&v9::encode_header(&header));
    }

    fn put_ipfix_header(&self, octets: &mut [u8], time: &ExportTime, sequence: u32) {
        let header = ipfix::Header {
            length: count16(octets.len()),
            export_ns: time.unix_ns,
            sequence,
            domain: self.source_id,
        };
        octets[..ipfix::HEADER_OCTETS].copy_from_slice(&ipfix::encode_header(&header));
    }

    /// What is said with the templates.
    fn options(&self) -> Options {
        self.layout
            .softflowd
            .map_or(Options::Sampling, Options::Softflowd)
    }
}

/// What is said with the templates.
#[derive(Clone, Copy, Debug)]
enum Options {
    /// How packets were chosen; in IPFIX also when the sensor booted.
    Sampling,
    /// What softflowd says.
    Softflowd(weir_netflow::layout::Softflowd),
}

/// What goes into one datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'a> {
    pub format: &'a Format,
    pub sequence: u32,
    /// Whether it carries the templates.
    pub with_templates: bool,
    /// Whether it carries what is said beside them, too.
    pub with_options: bool,
    pub records: &'a [FlowRecord],
}

impl Contents<'_> {
    /// By how much the next datagram's number is higher: v5 counts records, v9 datagrams (RFC 3954
    /// section 5.1), IPFIX data records, those of options included (RFC 7011 section 3.1).
    pub fn units(&self) -> u32 {
        let records = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        match self.format.version {
            Version::V1 => 0,
            Version::V5 => records,
            Version::V9 => 1,
            Version::Ipfix => records + u32::from(self.with_options),
        }
    }

    /// The datagram, as of now.
    pub fn encode(&self, now: &ExportTime) -> Vec<u8> {
        match self.format.version {
            Version::V1 => self.encode_v1(now),
            Version::V5 => self.encode_v5(now),
            Version::V9 => self.encode_v9(now),
            Version::Ipfix => self.encode_ipfix(now),
        }
    }

    fn encode_v1(&self, now: &ExportTime) -> Vec<u8> {
        let header = v1::Header {
            count: count16(self.records.len()),
            time: *now,
        };
        let mut octets = v1::encode_header(&header).to_vec();
        octets.reserve_exact(self.records.len() * v1::RECORD_OCTETS);
        for record in self.records {
            v1::encode_record(&mut octets, record, now);
        }
        octets
    }

    fn encode_v5(&self, now: &ExportTime) -> Vec<u8> {
        let [.., engine_type, engine_id] = self.format.source_id.to_be_bytes();
        let header = v5::Header {
            count: count16(self.records.len()),
            time: *now,
            sequence: self.sequence,
            engine_type,
            engine_id,
            sampling: self.format.sampling,
        };
        let mut octets = v5::encode_header(&header).to_vec();
        octets.reserve_exact(self.records.len() * v5::RECORD_OCTETS);
        for record in self.records {
            v5::encode_record(&mut octets, record, now);
        }
        octets
    }

    fn encode_v9(&self, now: &ExportTime) -> Vec<u8> {
        let instant = whole_second(now);
        let mut octets = Vec::with_capacity(Version::DATAGRAM_OCTETS_MAX);
        octets.resize(v9::HEADER_OCTETS, 0);
        let mut count = self.records.len();
        if self.with_templates {
            self.format.flows.encode_definition(&mut octets);
            count += FlowTemplates::COUNT;
        }
        if self.with_options {
            let Format {
                sampling,
                source_id,
                ..
            } = self.format;
            match self.format.options() {
                Options::Sampling => {
                    v9::encode_sampling(&mut octets, sampling, *source_id);
                    count += v9::SAMPLING_RECORDS;
                }
                Options::Softflowd(of) => {
                    softflowd::encode_v9(&mut octets, &of, sampling);
                    count += softflowd::V9_RECORDS;
                }
            }
        }
        self.encode_sets(&mut octets, &instant);
        self.format
            .put_v9_header(&mut octets, count, &instant, self.sequence);
        octets
    }

    fn encode_ipfix(&self, now: &ExportTime) -> Vec<u8> {
        let mut octets = Vec::with_capacity(Version::DATAGRAM_OCTETS_MAX);
        octets.resize(ipfix::HEADER_OCTETS, 0);
        if self.with_templates {
            self.format.flows.encode_definition(&mut octets);
        }
        if self.with_options {
            let Format {
                sampling,
                source_id,
                ..
            } = self.format;
            match self.format.options() {
                Options::Sampling => {
                    ipfix::encode_sampling(&mut octets, sampling, *source_id, now);
                }
                Options::Softflowd(of) => {
                    softflowd::encode_ipfix(&mut octets, &of, sampling, now);
                }
            }
        }
        self.encode_sets(&mut octets, now);
        self.format
            .put_ipfix_header(&mut octets, now, self.sequence);
        octets
    }

    /// Data sets, one for each run of records of one template, padded to four octets (RFC 3954
    /// section 5.3, RFC 7011 section 3.3.1).
    fn encode_sets(&self, octets: &mut Vec<u8>, time: &ExportTime) {
        for records in self.records.chunk_by(|a, b| self.format.share_set(a, b)) {
            let Some(first) = records.first() else {
                continue;
            };
            let template = self.format.flows.of(first);
            let start = octets.len();
            octets.extend_from_slice(&template.id.to_be_bytes());
            octets.extend_from_slice(&[0, 0]);
            for record in records {
                template.encode_record(octets, record, time);
            }
            while !(octets.len() - start).is_multiple_of(4) {
                octets.push(0);
            }
            let length = count16(octets.len() - start);
            octets[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// v9's header clock has whole seconds: both clocks are moved on to the next one, so that they are of one
/// instant and no flow ends after it.
fn whole_second(now: &ExportTime) -> ExportTime {
    let to_second_ns = (1_000_000_000 - now.unix_ns % 1_000_000_000) % 1_000_000_000;
    ExportTime {
        // A capture file may claim the last instant there is.
        unix_ns: now.unix_ns.saturating_add(to_second_ns),
        uptime_ms: now.uptime_ms + to_second_ns.div_ceil(1_000_000),
    }
}

/// Counts and lengths of a datagram fit 16 bits: it has at most 1,432 octets.
fn count16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
