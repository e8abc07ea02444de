//! Datagrams as records, and both programs' records side by side.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv6Addr,
};

use weir_netflow::{
    FlowRecord, TimeBase, data, fixed, ipfix, options,
    set::{Definition, Set},
    template::Template,
    v9,
};

use crate::rules::{Applied, Rule};

pub fn decode(datagrams: &[Vec<u8>]) -> Vec<FlowRecord> {
    let mut decoder = Decoder::default();
    for datagram in datagrams {
        match u16::from_be_bytes([datagram[0], datagram[1]]) {
            v9::VERSION => {
                let base = v9::decode_header(datagram).unwrap().time_base();
                decoder.sets(v9::decode_sets(datagram).unwrap(), |_| base);
            }
            ipfix::VERSION => {
                let header = ipfix::decode_header(datagram).unwrap();
                let sets = ipfix::decode_sets(datagram).unwrap();
                decoder.sets(sets, |boot_ms| header.time_base(boot_ms));
            }
            _ => {
                let found = fixed::decode(datagram).unwrap();
                found.for_each(|record| decoder.records.push(record));
            }
        }
    }
    decoder.records.retain(|record| record.packets > 0);
    decoder.records
}

#[derive(Default)]
struct Decoder {
    templates: HashMap<u16, Template>,
    boot_ms: Option<u64>,
    records: Vec<FlowRecord>,
}

impl Decoder {
    fn sets(&mut self, sets: Vec<Set<'_>>, base: impl Fn(Option<u64>) -> TimeBase) {
        for set in sets {
            match set {
                Set::Templates(new) => {
                    let new = new.iter().filter_map(Definition::template);
                    self.templates
                        .extend(new.map(|one| (one.id(), one.clone())));
                }
                Set::Data { id, octets } => {
                    let template = &self.templates[&id];
                    if template.is_options() {
                        for record in template.records(octets) {
                            let said = options::read(template, record);
                            self.boot_ms = said.boot_ms.or(self.boot_ms);
                        }
                        continue;
                    }
                    for record in data::records(template, octets, base(self.boot_ms)) {
                        self.records.push(record.flow);
                        self.records.extend(record.reverse());
                    }
                }
                Set::Reserved => panic!("a reserved set"),
            }
        }
    }
}

/// What is to be equal, but for times.
type Key = (
    (Ipv6Addr, u16, [u8; 6]),
    (Ipv6Addr, u16, [u8; 6]),
    (bool, u8, u16),
    (u64, u64),
    u16,
);

fn key(record: &FlowRecord) -> Key {
    (
        (record.source, record.source_port, record.source_mac),
        (
            record.destination,
            record.destination_port,
            record.destination_mac,
        ),
        (record.v6, record.protocol, record.vlan),
        (record.packets, record.octets),
        record.tcp_flags,
    )
}

/// In an order of their own, with times from the first on.
fn sorted(mut records: Vec<FlowRecord>) -> Vec<FlowRecord> {
    let first_ns = records
        .iter()
        .map(|record| record.start_ns)
        .min()
        .unwrap_or(0);
    for record in &mut records {
        record.start_ns -= first_ns;
        record.end_ns -= first_ns;
    }
    records.sort_by_key(|record| (key(record), record.start_ns));
    records
}

/// Weir stamps flows to 1.05 ms, and both cut off.
const TIME_NS: u64 = 3_000_000;

pub fn compare(label: &str, theirs: Vec<FlowRecord>, ours: Vec<FlowRecord>, applied: &mut Applied) {
    let is_biflow = label.contains("-b");
    let splits_tagged = ["vlan", "ether"].iter().any(|level| label.contains(level));
    let mut apply = |rule| *applied.entry(rule).or_default() += 1;
    let comparable = |records: Vec<FlowRecord>| {
        let is_icmp = |record: &FlowRecord| matches!(record.protocol, 1 | 58);
        let (left_out, kept): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| is_biflow && is_icmp(record));
        (left_out.len(), sorted(kept))
    };
    let ((icmp, theirs), (_, ours)) = (comparable(theirs), comparable(ours));
    (0..icmp).for_each(|_| apply(Rule::IcmpBiflows));
    let keys = |records: &[FlowRecord]| records.iter().map(key).collect::<Vec<_>>();
    let (their_keys, our_keys) = (keys(&theirs), keys(&ours));
    if their_keys != our_keys {
        let set = |keys: &[Key]| keys.iter().copied().collect::<HashSet<_>>();
        let (their_set, our_set) = (set(&their_keys), set(&our_keys));
        let missing: Vec<_> = their_set.difference(&our_set).collect();
        let added: Vec<_> = our_set.difference(&their_set).collect();
        panic!(
            "{label}: {} records of softflowd's, {} of Weir's\nonly softflowd: {:#?}\nonly Weir: {:#?}",
            theirs.len(),
            ours.len(),
            &missing[..missing.len().min(10)],
            &added[..added.len().min(10)]
        );
    }
    assert!(!theirs.is_empty(), "{label}: nothing was compared");
    for (their, our) in theirs.iter().zip(&ours) {
        if their.tos != our.tos {
            assert_eq!(their.tos, 0, "{label}: {their:?} {our:?}");
            apply(Rule::Tos);
        }
        // v5 does not say which were tagged.
        if splits_tagged && (their.vlan != 0 || label.contains("-v 5")) {
            apply(Rule::TaggedTimes);
            continue;
        }
        let near = |their_ns: u64, our_ns: u64| their_ns.abs_diff(our_ns) <= TIME_NS;
        assert!(
            near(their.start_ns, our.start_ns) && near(their.end_ns, our.end_ns),
            "{label}: {their:?} {our:?}"
        );
    }
}
