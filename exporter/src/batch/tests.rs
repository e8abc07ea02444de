//! Datagrams as collectors read them: numbers, templates, what fits.

mod announcements;
mod layouts;
mod numbers;

use std::collections::HashMap;

use weir_netflow::{Malformed, TimeBase, data, options, set::Set, template::Template};

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

fn datagrams(options: BatchOptions, flows: u64) -> Vec<Datagram> {
    let mut batcher = Batcher::new(options);
    let mut datagrams = Vec::new();
    for number in 1..=flows {
        let flow = flow(number);
        let record = FlowRecord {
            v6: flow.v6 && options.version.has_templates(),
            ..flow
        };
        datagrams.extend(batcher.push(&record, &at(number)));
    }
    datagrams.extend(batcher.flush(&at(flows)));
    assert!(batcher.flush(&at(flows)).is_none());
    datagrams
}

/// What a collector finds in a datagram's sets.
#[derive(Default)]
struct Found {
    templates: usize,
    options: usize,
    /// What was said about sampling.
    intervals: Vec<u32>,
    flows: Vec<FlowRecord>,
}

fn read(
    sets: Result<Vec<Set<'_>>, Malformed>,
    base: TimeBase,
    known: &mut HashMap<u16, Template>,
) -> Found {
    let mut found = Found::default();
    for set in sets.unwrap() {
        match set {
            Set::Templates(new) => {
                found.templates += new.len();
                let new = new.iter().map(|definition| definition.template().unwrap());
                known.extend(new.map(|template| (template.id(), template.clone())));
            }
            Set::Data { id, octets } => {
                let template = &known[&id];
                if template.is_options() {
                    let mut records = template.records(octets);
                    let said = options::read(template, records.next().unwrap());
                    found
                        .intervals
                        .extend(said.sampling.map(|(_, interval)| interval));
                    found.options += 1 + records.count();
                } else {
                    let records = data::records(template, octets, base);
                    found.flows.extend(records.map(|record| record.flow));
                }
            }
            Set::Reserved => panic!("a reserved set"),
        }
    }
    found
}

fn sampled(version: Version) -> BatchOptions {
    BatchOptions {
        sampling: Sampling {
            interval: 100,
            random: false,
        },
        ..BatchOptions::new(version)
    }
}

fn assert_whole(flows: &[FlowRecord]) {
    let packets = flows.iter().map(|flow| flow.packets);
    assert_eq!(packets.sum::<u64>(), (1..=2000).sum::<u64>());
    let times = (at(0).unix_ns, at(1).unix_ns);
    assert!(
        flows
            .iter()
            .all(|flow| (flow.start_ns, flow.end_ns) == times)
    );
}

#[test]
fn the_last_instant_of_the_clock_can_be_exported() {
    let last = ExportTime {
        unix_ns: u64::MAX,
        uptime_ms: 1000,
    };
    for version in [Version::V1, Version::V5, Version::V9, Version::Ipfix] {
        let mut batcher = Batcher::new(sampled(version));
        assert!(batcher.push(&flow(1), &last).is_none());
        assert_eq!(batcher.flush(&last).unwrap().tally.records, 1);
    }
}

#[test]
fn tallies_are_what_was_pushed() {
    let total: u64 = datagrams(BatchOptions::new(Version::V9), 500)
        .iter()
        .map(|datagram| datagram.tally.packets)
        .sum();
    assert_eq!(total, (1..=500).sum::<u64>());
}
