//! What the collector knows about each exporter: its templates, its sampling, its sequence. Keyed
//! by address and domain, since source ports change; bounded, the least recently heard leaves.

use std::net::Ipv6Addr;

use hashbrown::HashMap;
use serde_json::{Value, json};
use weir_netflow::{ExportTime, Malformed, low32, record::display_address, v5, v9};
use weir_store::schema::StoredFlow;

use crate::{loss::Sequence, statistics::Statistics};

/// Exporters (address and domain) remembered.
pub const EXPORTERS_MAX: usize = 4096;
/// Templates remembered of each.
pub const TEMPLATES_MAX: usize = 1024;

/// Fields of all templates remembered: some four octets each.
pub const TEMPLATE_FIELDS_MAX: usize = 1 << 20;

/// One stream of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: Ipv6Addr,
    version: u16,
    domain: u32,
}

#[derive(Debug, Default)]
struct Exporter {
    templates: HashMap<u16, v9::Template>,
    template_fields: usize,
    sampling_interval: Option<u32>,
    sequence: Sequence,
    datagrams: u64,
    records: u64,
    heard: u64,
}

/// All exporters.
#[derive(Debug, Default)]
pub struct Exporters {
    map: HashMap<Key, Exporter>,
    /// Counts datagrams; says who was heard when.
    turn: u64,
    /// Fields of all templates.
    template_fields: usize,
    /// Records and datagrams lost by exporters that made room for others.
    lost_by_forgotten: (u64, u64),
    /// What was counted.
    pub statistics: Statistics,
}

impl Exporters {
    /// Takes a datagram; its flows are appended to `flows`. What is wrong with it is counted and
    /// returned, for a log that has its own limits.
    ///
    /// # Errors
    /// If nothing of it could be used.
    pub fn datagram(
        &mut self,
        octets: &[u8],
        address: Ipv6Addr,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<(), Malformed> {
        self.turn += 1;
        self.statistics.datagrams += 1;
        self.statistics.octets += octets.len() as u64;
        let before = flows.len();
        let result = match octets
            .first_chunk::<2>()
            .map(|version| u16::from_be_bytes(*version))
        {
            Some(v5::VERSION) => self.v5(octets, address, received_ns, flows),
            Some(v9::VERSION) => self.v9(octets, address, received_ns, flows),
            Some(version) => Err(Malformed::Version { version }),
            None => Err(Malformed::TooShort {
                octets: octets.len(),
            }),
        };
        for flow in &flows[before..] {
            self.statistics.records += 1;
            self.statistics.packets = self.statistics.packets.wrapping_add(flow.record.packets);
            self.statistics.flow_octets =
                self.statistics.flow_octets.wrapping_add(flow.record.octets);
        }
        match result {
            Err(Malformed::Version { .. }) => self.statistics.unknown_version += 1,
            Err(_) => self.statistics.malformed += 1,
            Ok(()) => {}
        }
        result
    }

    fn v5(
        &mut self,
        octets: &[u8],
        address: Ipv6Addr,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<(), Malformed> {
        let datagram = v5::decode(octets)?;
        let header = datagram.header;
        let domain = u32::from(header.engine_type) << 8 | u32::from(header.engine_id);
        if datagram.claimed != header.count || datagram.unclaimed_records > 0 {
            self.statistics.count_mismatches += 1;
        }
        let exporter = self.exporter(Key {
            address,
            version: v5::VERSION,
            domain,
        });
        exporter.sequence.step(
            header.sequence,
            u32::from(header.count),
            boot_ms(&header.time),
        );
        exporter.records += u64::from(header.count);
        flows.extend(datagram.records().map(|record| StoredFlow {
            record,
            received_ns,
            exporter: address,
            source_id: domain,
            version: 5,
        }));
        Ok(())
    }

    fn v9(
        &mut self,
        octets: &[u8],
        address: Ipv6Addr,
        received_ns: u64,
        flows: &mut Vec<StoredFlow>,
    ) -> Result<(), Malformed> {
        let header = v9::decode_header(octets)?;
        let sets = v9::decode_sets(octets);
        let mut counted = Statistics::default();
        let domain = header.source_id;
        let room = TEMPLATE_FIELDS_MAX.saturating_sub(self.template_fields);
        let exporter = self.exporter(Key {
            address,
            version: v9::VERSION,
            domain,
        });
        exporter
            .sequence
            .step(header.sequence, 1, boot_ms(&header.time));
        let fields_before = exporter.template_fields;
        // Malformed ones were not lost on the way: their number counts, nothing else of them.
        for set in sets? {
            match set {
                v9::Set::Templates(templates) => {
                    counted.templates += templates.len() as u64;
                    for template in templates {
                        let learned = exporter.learn(template, fields_before + room);
                        counted.templates_refused += u64::from(!learned);
                    }
                }
                v9::Set::Data { id, octets } => {
                    let before = flows.len();
                    exporter.data(id, octets, &header, &mut counted, |record| {
                        flows.push(StoredFlow {
                            record,
                            received_ns,
                            exporter: address,
                            source_id: domain,
                            version: 9,
                        });
                    });
                    exporter.records += (flows.len() - before) as u64;
                }
                v9::Set::Reserved => counted.reserved_sets += 1,
            }
        }
        let (before, after) = (fields_before, exporter.template_fields);
        self.template_fields = self.template_fields + after - before;
        self.statistics.templates_refused += counted.templates_refused;
        self.statistics.reserved_sets += counted.reserved_sets;
        self.statistics.templates += counted.templates;
        self.statistics.options_records += counted.options_records;
        self.statistics.unknown_template_sets += counted.unknown_template_sets;
        Ok(())
    }

    fn exporter(&mut self, key: Key) -> &mut Exporter {
        if self.map.len() >= EXPORTERS_MAX && !self.map.contains_key(&key) {
            let oldest = self
                .map
                .iter()
                .min_by_key(|(_, exporter)| exporter.heard)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                let forgotten = self.map.remove(&oldest).unwrap_or_default();
                self.template_fields -= forgotten.template_fields;
                self.statistics.exporters_forgotten += 1;
                let lost = forgotten.sequence.counts.lost;
                match oldest.version {
                    v5::VERSION => self.lost_by_forgotten.0 += lost,
                    _ => self.lost_by_forgotten.1 += lost,
                }
            }
        }
        let turn = self.turn;
        let exporter = self.map.entry(key).or_default();
        exporter.heard = turn;
        exporter.datagrams += 1;
        exporter
    }

    /// Exporters known now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether none has been heard.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Units lost, over all exporters: records for v5, datagrams for v9.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        self.map.iter().fold(
            self.lost_by_forgotten,
            |(records, datagrams), (key, exporter)| match key.version {
                v5::VERSION => (records + exporter.sequence.counts.lost, datagrams),
                _ => (records, datagrams + exporter.sequence.counts.lost),
            },
        )
    }

    /// Each exporter's account, as JSON, in a stable order.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut exporters: Vec<_> = self.map.iter().collect();
        exporters.sort_by_key(|(key, _)| (key.address, key.version, key.domain));
        let list = exporters.into_iter().map(|(key, exporter)| {
            let counts = exporter.sequence.counts;
            json!({
                "exporter": display_address(key.address).to_string(),
                "version": key.version,
                "source_id": key.domain,
                "datagrams": exporter.datagrams,
                "records": exporter.records,
                "templates": exporter.templates.len(),
                "lost": counts.lost,
                "lost_unit": if key.version == v5::VERSION { "records" } else { "datagrams" },
                "reordered": counts.reordered,
                "duplicated": counts.duplicated,
                "restarts": counts.restarts,
            })
        });
        Value::Array(list.collect())
    }
}

impl Exporter {
    /// A definition replaces the one before, at once (RFC 3954 section 9). False if there is no room
    /// for it.
    fn learn(&mut self, template: v9::Template, fields_max: usize) -> bool {
        let known = self.templates.get(&template.id);
        let known_fields = known.map_or(0, |known| known.fields.len());
        let fields = self.template_fields - known_fields + template.fields.len();
        if fields > fields_max || (known.is_none() && self.templates.len() >= TEMPLATES_MAX) {
            return false;
        }
        self.template_fields = fields;
        self.templates.insert(template.id, template);
        true
    }

    fn data(
        &mut self,
        id: u16,
        octets: &[u8],
        header: &v9::Header,
        counted: &mut Statistics,
        mut flow: impl FnMut(weir_netflow::FlowRecord),
    ) {
        let Some(template) = self.templates.get(&id) else {
            counted.unknown_template_sets += 1;
            return;
        };
        if template.is_options() {
            counted.options_records += v9::record_count(template, octets) as u64;
            let announced = octets
                .chunks_exact(template.record_octets().max(1))
                .find_map(|record| v9::sampling_interval(template, record));
            self.sampling_interval = announced.or(self.sampling_interval);
            return;
        }
        for mut record in v9::records(template, octets, header) {
            if let Some(interval) = self.sampling_interval
                && record.sampling_interval == 1
            {
                record.sampling_interval = interval.max(1);
            }
            flow(record);
        }
    }
}

/// When the exporter booted, modulo 2³² ms: the same for all its datagrams until it restarts.
fn boot_ms(time: &ExportTime) -> u32 {
    low32(time.unix_ns / 1_000_000).wrapping_sub(low32(time.uptime_ms))
}
