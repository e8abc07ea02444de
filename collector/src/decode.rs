//! From a datagram to flows, with the exporter's state: the formats of fixed layout in one function,
//! those with templates in another after their headers; sFlow's samples are in `sampled.rs`. A new version
//! is an arm of `Exporters::dispatch` and a function beside the others.

use std::{collections::BTreeSet, hash::BuildHasher as _, mem};

use weir_netflow::{
    ExportTime, Malformed, TimeBase, fixed, ipfix, low32, set::Set, sflow, v1, v5, v7, v8, v9,
};
use weir_store::others::Others;

use crate::{
    exporter::{DataSet, Exporter, Intake, RATE_NOT_TOLD},
    exporters::{Exporters, Key, Refused, Source},
    keeping::{Keeping, Sink, Stream},
    loss::{Numbered, Step, Units},
    statistics::Statistics,
};

pub(crate) const NS_PER_MS: u64 = 1_000_000;
/// What is counted of a datagram where datagrams are.
const DATAGRAM: Units = Units {
    units: 1,
    units_unread: 0,
};

/// A datagram as it came.
#[derive(Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub octets: &'a [u8],
    pub source: &'a Source,
    /// Nanoseconds since 1970-01-01 UTC.
    pub received_ns: u64,
}

impl Arrived<'_> {
    /// The exporter's stream that it is of.
    pub fn key(&self, version: u16, domain: u32) -> Key {
        Key {
            address: self.source.address,
            version,
            domain,
            session: self.source.session,
        }
    }

    /// What a header with sysUptime says of its number, if it is one unit.
    fn numbered(&self, sequence: u32, time: &ExportTime) -> Numbered {
        Numbered {
            sequence,
            units: 1,
            units_unread: 0,
            other: None,
            sent_ms: time.unix_ns / NS_PER_MS,
            uptime_ms: Some(low32(time.uptime_ms)),
            arrived_ms: self.received_ns / NS_PER_MS,
            port: self.source.port,
        }
    }

    /// What an IPFIX header says of it, whose sets were not read yet.
    fn unread(&self, header: &ipfix::Header) -> Numbered {
        let octets = usize::from(header.length).saturating_sub(ipfix::HEADER_OCTETS);
        Numbered {
            sequence: header.sequence,
            units: 0,
            units_unread: records_max(octets),
            other: Some(DATAGRAM),
            sent_ms: header.export_ns / NS_PER_MS,
            uptime_ms: None,
            arrived_ms: self.received_ns / NS_PER_MS,
            port: self.source.port,
        }
    }
}

/// A datagram with templates, after its header.
struct Templated<'a> {
    key: Key,
    /// Of all its octets.
    hash: u64,
    /// What its header says of its number; what IPFIX counts is in the sets.
    numbered: Numbered,
    time: TimeBase,
    sets: Result<Vec<Set<'a>>, Malformed>,
}

impl Exporters {
    /// Takes a datagram; its flows go to `sink`, with those that waited for it. What became of its number is
    /// returned, if it has one.
    ///
    /// # Errors
    /// If nothing of it could be used; it is counted.
    pub fn datagram(
        &mut self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        self.statistics.datagrams += 1;
        self.statistics.datagram_octets += octets.len() as u64;
        let arrived = Arrived {
            octets,
            source,
            received_ns,
        };
        let result = self.dispatch(&arrived, sink);
        match result {
            Ok(_) => {}
            Err(Refused::Malformed(Malformed::Version { .. })) => {
                self.statistics.unknown_version += 1;
            }
            Err(Refused::Malformed(_)) => self.statistics.malformed += 1,
            Err(Refused::NotAllowed) => self.statistics.not_allowed += 1,
            Err(Refused::OtherPort { .. }) => self.statistics.other_port += 1,
            Err(Refused::Forgotten) => self.statistics.forgotten_stream += 1,
        }
        result
    }

    fn dispatch(
        &mut self,
        arrived: &Arrived<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        if !self.allows(arrived.source.address) {
            return Err(Refused::NotAllowed);
        }
        let octets = arrived.octets;
        let version = octets
            .first_chunk::<2>()
            .map(|version| u16::from_be_bytes(*version));
        match version {
            Some(v1::VERSION | v5::VERSION | v7::VERSION | v8::VERSION) => {
                self.fixed(arrived, sink)
            }
            Some(v9::VERSION) => self.v9(arrived, sink),
            Some(ipfix::VERSION) => self.ipfix(arrived, sink),
            // sFlow's version has 32 bits.
            Some(0) if sflow::is_version(octets) => self.sflow(arrived, sink),
            Some(version) => Err(Malformed::Version { version }.into()),
            None => Err(Malformed::TooShort {
                octets: octets.len(),
            }
            .into()),
        }
    }

    fn fixed(
        &mut self,
        arrived: &Arrived<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        let Arrived {
            octets,
            source,
            received_ns,
        } = *arrived;
        let datagram = match fixed::decode(octets) {
            Ok(datagram) => datagram,
            Err(error) => return self.refused(error, arrived),
        };
        let key = arrived.key(datagram.version, datagram.domain);
        let (hash, keep_copies) = (self.hasher.hash_one(octets), self.settings.keep_copies);
        let mut stream = Stream::new(key, self.settings.rates());
        let exporter = self.heard(key, source, received_ns)?;
        // v1 has no numbers: neither what was lost can be told nor what is a copy.
        let numbered = datagram.sequence.map(|sequence| Numbered {
            units: datagram.count.into(),
            other: Some(DATAGRAM),
            ..arrived.numbered(sequence, &datagram.time)
        });
        if let Some(numbered) = &numbered
            && !keep_copies
            && let Some(step) = step_of_copy(exporter, hash, numbered)
        {
            self.statistics.copied_datagrams += 1;
            return Ok(Some(step));
        }
        let step = numbered.map(|numbered| step(exporter, hash, &numbered));
        exporter.records += u64::from(datagram.count);
        self.statistics.count_mismatches += u64::from(!datagram.is_whole);
        self.statistics.values_not_stored += datagram.values_aside();
        datagram.append_to(sink.flows(), |mut record| {
            // Most have no word for it, and v5 says 0 or 1 whether it knows or not.
            if record.sampling_interval == 1 {
                record.sampling_interval = RATE_NOT_TOLD;
            }
            stream.flow(&record, received_ns, Others::NONE)
        });
        stream.add_to(&mut self.statistics);
        Ok(step)
    }

    /// A datagram that ends before its first record does was not lost on the way: its number counts, nothing
    /// else of it.
    fn refused(
        &mut self,
        error: Malformed,
        arrived: &Arrived<'_>,
    ) -> Result<Option<Step>, Refused> {
        if let Malformed::Count { .. } = error
            && let Some(refused) = fixed::refused(arrived.octets)
        {
            let key = arrived.key(refused.version, refused.domain);
            let exporter = self.heard(key, arrived.source, arrived.received_ns)?;
            exporter.sequence.step(&Numbered {
                units: refused.claimed.into(),
                other: Some(DATAGRAM),
                ..arrived.numbered(refused.sequence, &refused.time)
            });
        }
        Err(error.into())
    }

    fn v9(&mut self, arrived: &Arrived<'_>, sink: &mut impl Sink) -> Result<Option<Step>, Refused> {
        let header = v9::decode_header(arrived.octets)?;
        let datagram = Templated {
            key: arrived.key(v9::VERSION, header.source_id),
            hash: self.hasher.hash_one(arrived.octets),
            numbered: arrived.numbered(header.sequence, &header.time),
            time: header.time_base(),
            sets: v9::decode_sets(arrived.octets),
        };
        self.templated(datagram, arrived, sink)
    }

    fn ipfix(
        &mut self,
        arrived: &Arrived<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        let octets = arrived.octets;
        let header = match ipfix::decode_header(octets) {
            Ok(header) => header,
            Err(error) => {
                // As above.
                if let Some(header) = ipfix::cut_off(octets) {
                    let key = arrived.key(ipfix::VERSION, header.domain);
                    self.heard(key, arrived.source, arrived.received_ns)?
                        .sequence
                        .step(&arrived.unread(&header));
                }
                return Err(error.into());
            }
        };
        self.statistics.trailing_octets += u64::from(usize::from(header.length) < octets.len());
        let message = Templated {
            key: arrived.key(ipfix::VERSION, header.domain),
            hash: self.hasher.hash_one(octets),
            numbered: arrived.unread(&header),
            time: header.time_base(None),
            sets: ipfix::decode_sets(octets),
        };
        self.templated(message, arrived, sink)
    }

    fn templated(
        &mut self,
        datagram: Templated<'_>,
        arrived: &Arrived<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        let received_ns = arrived.received_ns;
        let (key, mut numbered) = (datagram.key, datagram.numbered);
        let keep_copies = self.settings.keep_copies;
        let waiting_octets_left = self.waiting_octets_left();
        let stream = Stream::new(key, self.settings.rates());
        let exporter = self.heard(key, arrived.source, received_ns)?;
        let sets = match datagram.sets {
            Ok(sets) => sets,
            // It was not lost on the way: its number counts, nothing else of it.
            Err(error) => {
                exporter.sequence.step(&numbered);
                return Err(error.into());
            }
        };
        if !keep_copies && let Some(step) = step_of_copy(exporter, datagram.hash, &numbered) {
            self.statistics.copied_datagrams += 1;
            return Ok(Some(step));
        }
        let before = exporter.held();
        let mut keeping = Keeping { stream, sink };
        let mut intake = Intake {
            waiting_octets_max: before.waiting_octets + waiting_octets_left,
            in_session: key.session != 0,
            sender: key.address,
            counted: Statistics::default(),
            learned: BTreeSet::new(),
            keep: &mut keeping,
        };
        let mut changed = false;
        let (mut records, mut records_unread) = (0u32, 0u32);
        for set in sets {
            match set {
                Set::Templates(found) => {
                    for definition in found {
                        changed |= exporter.define(definition, &mut intake);
                    }
                }
                Set::Data { id, octets } => {
                    let set = DataSet {
                        template: id,
                        octets,
                        time: datagram.time,
                        received_ns,
                    };
                    match exporter.data(&set, &mut intake) {
                        Some(count) => records = records.saturating_add(count),
                        None => {
                            records_unread =
                                records_unread.saturating_add(records_max(octets.len()));
                        }
                    }
                }
                Set::Reserved => intake.counted.reserved_sets += 1,
            }
        }
        exporter.release(&mut intake);
        note_records(&mut numbered, key.version, records, records_unread);
        let step = step(exporter, datagram.hash, &numbered);
        changed |= mem::take(&mut exporter.announced.changed);
        let after = exporter.held();
        self.changed |= changed;
        self.statistics.add(&intake.counted);
        keeping.stream.add_to(&mut self.statistics);
        self.hold(before, after);
        Ok(Some(step))
    }
}

/// Records are the units of IPFIX; in v9 there are exporters that number them all the same.
fn note_records(numbered: &mut Numbered, version: u16, units: u32, units_unread: u32) {
    if version == ipfix::VERSION {
        (numbered.units, numbered.units_unread) = (units, units_unread);
    } else {
        numbered.other = Some(Units {
            units,
            units_unread,
        });
    }
}

/// What becomes of the number of a datagram that is taken.
pub(crate) fn step(exporter: &mut Exporter, hash: u64, numbered: &Numbered) -> Step {
    exporter.copies.took(hash, numbered);
    exporter.sequence.step(numbered)
}

/// What becomes of the number of a copy; nothing if it is none. What is in it need not be read again.
pub(crate) fn step_of_copy(
    exporter: &mut Exporter,
    hash: u64,
    numbered: &Numbered,
) -> Option<Step> {
    let taken = exporter.copies.numbered(hash)?;
    Some(exporter.sequence.step(&Numbered {
        units: taken.units,
        units_unread: taken.units_unread,
        other: taken.other,
        ..*numbered
    }))
}

/// Records that so many octets hold at most: each has one at least.
fn records_max(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}
