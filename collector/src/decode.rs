//! From a datagram to flows: each version in its function, with the exporter's state. A new version is
//! an arm of `Exporters::dispatch` and a function beside the others.

use weir_netflow::{ExportTime, Malformed, low32, v5, v9};
use weir_store::schema::StoredFlow;

use crate::{
    exporter::DataSet,
    exporters::{Exporters, Key, Refused, Source},
    loss::{Numbered, Step},
    statistics::Statistics,
};

const NS_PER_MS: u64 = 1_000_000;

impl Exporters {
    /// Takes a datagram; its flows are appended to `flows`, with those that waited for it. What became
    /// of its number is returned, if it has one.
    ///
    /// # Errors
    /// If nothing of it could be used; it is counted.
    pub fn datagram(
        &mut self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<Option<Step>, Refused> {
        self.statistics.datagrams += 1;
        self.statistics.datagram_octets += octets.len() as u64;
        let before = flows.len();
        let result = self.dispatch(octets, source, received_ns, flows);
        for StoredFlow { record, .. } in &flows[before..] {
            let counted = &mut self.statistics;
            counted.records += 1;
            // Exporters choose these.
            counted.packets = counted.packets.wrapping_add(record.packets);
            counted.octets = counted.octets.wrapping_add(record.octets);
        }
        match result {
            Ok(_) => {}
            Err(Refused::Malformed(Malformed::Version { .. })) => {
                self.statistics.unknown_version += 1;
            }
            Err(Refused::Malformed(_)) => self.statistics.malformed += 1,
            Err(Refused::NotAllowed) => self.statistics.not_allowed += 1,
            Err(Refused::OtherPort { .. }) => self.statistics.other_port += 1,
        }
        result
    }

    fn dispatch(
        &mut self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<Option<Step>, Refused> {
        if !self.allows(source.address) {
            return Err(Refused::NotAllowed);
        }
        let version = octets
            .first_chunk::<2>()
            .map(|version| u16::from_be_bytes(*version));
        match version {
            Some(v5::VERSION) => self.v5(octets, source, received_ns, flows),
            Some(v9::VERSION) => self.v9(octets, source, received_ns, flows),
            Some(version) => Err(Malformed::Version { version }.into()),
            None => Err(Malformed::TooShort {
                octets: octets.len(),
            }
            .into()),
        }
    }

    fn v5(
        &mut self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<Option<Step>, Refused> {
        let datagram = v5::decode(octets)?;
        let header = datagram.header;
        let key = Key {
            address: source.address,
            version: v5::VERSION,
            domain: u32::from(header.engine_type) << 8 | u32::from(header.engine_id),
            session: source.session,
        };
        let numbered = Numbered {
            units: header.count.into(),
            ..numbered(header.sequence, &header.time, source, received_ns)
        };
        let exporter = self.heard(key, source, received_ns)?;
        let step = exporter.sequence.step(&numbered);
        exporter.records += u64::from(header.count);
        if datagram.claimed != header.count || datagram.unclaimed_records > 0 {
            self.statistics.count_mismatches += 1;
        }
        flows.extend(datagram.records().map(|record| StoredFlow {
            record,
            received_ns,
            exporter: source.address,
            source_id: key.domain,
            version: 5,
        }));
        Ok(Some(step))
    }

    fn v9(
        &mut self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<Option<Step>, Refused> {
        let header = v9::decode_header(octets)?;
        let key = Key {
            address: source.address,
            version: v9::VERSION,
            domain: header.source_id,
            session: source.session,
        };
        let waiting_octets_max = self.settings.waiting_octets_max;
        let room = waiting_octets_max.saturating_sub(self.held.waiting_octets);
        let exporter = self.heard(key, source, received_ns)?;
        let numbered = numbered(header.sequence, &header.time, source, received_ns);
        let step = exporter.sequence.step(&numbered);
        let before = exporter.held();
        let (mut counted, mut changed) = (Statistics::default(), false);
        let mut flow = |record, received_ns| {
            flows.push(StoredFlow {
                record,
                received_ns,
                exporter: source.address,
                source_id: key.domain,
                version: 9,
            });
        };
        // A malformed one was not lost on the way: its number counts, nothing else of it.
        for set in v9::decode_sets(octets)? {
            match set {
                v9::Set::Templates(templates) => {
                    for template in templates {
                        counted.templates += 1;
                        changed |= exporter.learn(template, &mut counted, &mut flow);
                    }
                }
                v9::Set::Data { id, octets } => {
                    let set = DataSet {
                        template: id,
                        octets,
                        header: &header,
                        received_ns,
                    };
                    let taken = exporter.held().waiting_octets;
                    let room = (room + before.waiting_octets).saturating_sub(taken);
                    exporter.data(&set, room, &mut counted, &mut flow);
                }
                v9::Set::Reserved => counted.reserved_sets += 1,
            }
        }
        let after = exporter.held();
        self.changed |= changed;
        self.statistics.add(&counted);
        self.hold(before, after);
        Ok(Some(step))
    }
}

/// What a header with sysUptime says, of a datagram that is one unit.
fn numbered(sequence: u32, time: &ExportTime, source: &Source, received_ns: u64) -> Numbered {
    Numbered {
        sequence,
        units: 1,
        units_unread: 0,
        sent_ms: time.unix_ns / NS_PER_MS,
        uptime_ms: Some(low32(time.uptime_ms)),
        arrived_ms: received_ns / NS_PER_MS,
        port: source.port,
    }
}
