//! Datagrams as collectors read them: numbers, templates, what fits.

use std::collections::HashMap;

use weir_netflow::{
    Malformed, Optional, Reverse, TimeBase, announce, data, ipfix,
    layout::{Softflowd, Times},
    options,
    set::{Definition, Set},
    template::Template,
    v1, v5, v9,
};

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

#[test]
fn v1_has_at_most_24_records() {
    let datagrams = datagrams(BatchOptions::new(Version::V1), 100);
    let counts = datagrams.iter().map(|datagram| {
        let found = v1::decode(&datagram.octets).unwrap();
        assert_eq!(found.claimed, found.header.count);
        found.header.count
    });
    assert_eq!(counts.collect::<Vec<_>>(), [24, 24, 24, 24, 4]);
}

#[test]
fn v5_sequence_counts_records_before_the_datagram() {
    let datagrams = datagrams(BatchOptions::new(Version::V5), 100);
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

/// What is left of a path is reckoned with this: were it too little, no record would ever leave.
#[test]
fn a_datagram_of_one_record_is_as_long_as_was_reckoned() {
    const PADDING_OCTETS_MAX: usize = 3;
    let every = [
        Optional::MAC,
        Optional::INNER_VLAN,
        Optional::MPLS,
        Optional::FLOW_LABEL,
        Optional::OUTER,
    ];
    let all = every.into_iter().fold(Optional::NONE, Optional::and);
    for version in [Version::V1, Version::V5, Version::V9, Version::Ipfix] {
        for optional in [Optional::NONE, all] {
            let options = BatchOptions {
                layout: Layout {
                    optional,
                    ..Layout::WEIR
                },
                ..sampled(version)
            };
            let record = FlowRecord {
                v6: version.has_templates(),
                ..FlowRecord::default()
            };
            let mut batcher = Batcher::new(options);
            assert!(batcher.push(&record, &at(0)).is_none());
            let octets = batcher.flush(&at(0)).unwrap().octets.len();
            let reckoned = options.format().one_record_octets();
            assert!(
                (octets..=octets + PADDING_OCTETS_MAX).contains(&reckoned),
                "{version:?}: {octets}, not {reckoned}"
            );
        }
    }
}

/// What a collector finds in a datagram's sets.
#[derive(Default)]
struct Found {
    templates: usize,
    options: usize,
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
                    assert_eq!(said.sampling.unwrap().1, 100);
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
fn v9_sequence_counts_datagrams_and_templates_come_every_sixteen() {
    for options in [BatchOptions::new(Version::V9), sampled(Version::V9)] {
        let (mut known, mut flows) = (HashMap::new(), Vec::new());
        for (index, datagram) in datagrams(options, 2000).iter().enumerate() {
            assert!(datagram.octets.len() <= BatchOptions::DATAGRAM_OCTETS_MAX);
            let header = v9::decode_header(&datagram.octets).unwrap();
            assert_eq!(header.sequence as usize, index);
            let sets = v9::decode_sets(&datagram.octets);
            let found = read(sets, header.time_base(), &mut known);
            assert_eq!(found.templates > 0, index % 16 == 0, "datagram {index}");
            let count = found.templates + found.options + found.flows.len();
            assert_eq!(usize::from(header.count), count);
            flows.extend(found.flows);
        }
        assert_whole(&flows);
    }
}

/// Fault case X4: records of options count, templates do not.
#[test]
fn x04_ipfix_sequence_counts_data_records_before_the_message() {
    for options in [BatchOptions::new(Version::Ipfix), sampled(Version::Ipfix)] {
        let (mut known, mut flows, mut expected) = (HashMap::new(), Vec::new(), 0);
        for (index, datagram) in datagrams(options, 2000).iter().enumerate() {
            assert!(datagram.octets.len() <= BatchOptions::DATAGRAM_OCTETS_MAX);
            let header = ipfix::decode_header(&datagram.octets).unwrap();
            assert_eq!(header.sequence as usize, expected, "message {index}");
            assert_eq!(usize::from(header.length), datagram.octets.len());
            let sets = ipfix::decode_sets(&datagram.octets);
            let found = read(sets, header.time_base(None), &mut known);
            assert_eq!(found.templates > 0, index % 16 == 0, "message {index}");
            let says = found.templates > 0 && options.sampling.interval > 1;
            assert_eq!(found.options, usize::from(says));
            expected += found.options + found.flows.len();
            flows.extend(found.flows);
        }
        assert_whole(&flows);
    }
}

fn said() -> Announcement {
    let interfaces = (1..=100).map(|ifindex| announce::Interface {
        ifindex,
        name: format!("eth{ifindex}"),
        description: format!("port {ifindex}"),
    });
    Announcement {
        records: 7,
        interfaces: interfaces.collect(),
        ..Announcement::default()
    }
}

/// Fault case X4: announcements between datagrams of flows, also while one is open, in as many
/// datagrams as they take.
#[test]
fn x04_announcements_have_numbers_of_their_own() {
    for (version, octets_max) in [
        (Version::V9, 1432),
        (Version::V9, 512),
        (Version::Ipfix, 1432),
        (Version::Ipfix, 512),
    ] {
        let mut batcher = Batcher::new(BatchOptions {
            datagram_octets_max: octets_max,
            ..BatchOptions::new(version)
        });
        let mut datagrams = Vec::new();
        for number in 1..=100 {
            datagrams.extend(batcher.push(&flow(number), &at(number)));
            if number % 40 == 5 {
                let mut parts = batcher.parts(&said());
                while let Some(datagram) = batcher.announce(&mut parts, &at(number)) {
                    assert_eq!(datagram.tally, Tally::default());
                    datagrams.push(datagram);
                }
            }
        }
        datagrams.extend(batcher.flush(&at(100)));
        let (mut known, mut expected) = (HashMap::new(), 0);
        let (mut announced, mut flows, mut longest) = (0, 0, 0);
        for Datagram { octets, .. } in &datagrams {
            longest = longest.max(octets.len());
            let (sets, sequence, claimed) = if version == Version::V9 {
                let header = v9::decode_header(octets).unwrap();
                let sets = v9::decode_sets(octets).unwrap();
                (sets, header.sequence, Some(usize::from(header.count)))
            } else {
                let sequence = ipfix::decode_header(octets).unwrap().sequence;
                (ipfix::decode_sets(octets).unwrap(), sequence, None)
            };
            let (mut defined, mut records) = (0, 0);
            for set in sets {
                match set {
                    Set::Templates(new) => {
                        defined += new.len();
                        let new = new.iter().filter_map(Definition::template);
                        known.extend(new.map(|one| (one.id(), one.clone())));
                    }
                    Set::Data { id, octets } => {
                        let template: &Template = &known[&id];
                        let count = template.record_count(octets).unwrap();
                        records += count;
                        if template.is_options() {
                            announced += count;
                        } else {
                            flows += count;
                        }
                    }
                    Set::Reserved => panic!("a reserved set"),
                }
            }
            assert_eq!(sequence as usize, expected, "{version:?}");
            expected += if version == Version::V9 { 1 } else { records };
            assert!(claimed.is_none_or(|count| count == defined + records));
        }
        assert_eq!((announced, flows), (3 * (3 + 100 + 100), 100));
        assert!(longest <= octets_max && longest > octets_max / 2);
    }
}

#[test]
fn an_announcement_that_was_taken_back_leaves_its_number() {
    for version in [Version::V9, Version::Ipfix] {
        let mut batcher = Batcher::new(BatchOptions::new(version));
        assert!(batcher.push(&flow(1), &at(1)).is_none());
        let mut parts = batcher.parts(&said());
        let datagram = batcher.announce(&mut parts, &at(1)).unwrap();
        assert_eq!(batcher.take_back(datagram, 700), [flow(1)]);
        assert_eq!(batcher.sequence, 0);
        let datagram = batcher.announce(&mut parts, &at(1)).unwrap();
        assert!(datagram.octets.len() <= 700);
    }
    let mut without = Batcher::new(BatchOptions::new(Version::V5));
    let mut parts = without.parts(&said());
    assert!(without.announce(&mut parts, &at(1)).is_none());
}

#[test]
fn a_new_session_begins_with_templates_and_number_zero() {
    let mut batcher = Batcher::new(BatchOptions::new(Version::Ipfix));
    for number in 1..=3 {
        batcher.push(&flow(number), &at(1));
        batcher.flush(&at(1)).unwrap();
    }
    batcher.push(&flow(4), &at(1));
    let lost = batcher.flush(&at(1)).unwrap();
    batcher.push(&flow(5), &at(1));
    let records = batcher.begin_anew(lost);
    assert_eq!(records, [flow(4), flow(5)]);
    for record in &records {
        assert!(batcher.push(record, &at(2)).is_none());
    }
    let octets = batcher.flush(&at(2)).unwrap().octets;
    assert_eq!(ipfix::decode_header(&octets).unwrap().sequence, 0);
    let sets = ipfix::decode_sets(&octets).unwrap();
    assert!(matches!(sets[0], Set::Templates(_)));
}

#[test]
fn numbers_wrap() {
    let now = at(0);
    for (version, next) in [(Version::V5, 0), (Version::V9, 0), (Version::Ipfix, 1)] {
        let mut batcher = Batcher::new(sampled(version));
        batcher.sequence = u32::MAX;
        batcher.push(&FlowRecord::default(), &now);
        batcher.flush(&now).unwrap();
        assert_eq!(batcher.sequence, next, "{version:?}");
    }
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
    for version in [Version::V9, Version::Ipfix] {
        let mut batcher = Batcher::new(BatchOptions {
            layout: Layout {
                optional: optional.into_iter().fold(Optional::NONE, Optional::and),
                ..Layout::WEIR
            },
            ..BatchOptions::new(version)
        });
        let records = (1..=2000).map(|number| FlowRecord {
            source_mac: [2, 0, 0, 0, 0, 7],
            inner_vlan: 5,
            ..flow(number)
        });
        let mut datagrams: Vec<_> = records
            .filter_map(|record| batcher.push(&record, &at(1)))
            .collect();
        datagrams.extend(batcher.flush(&at(1)));
        let (mut known, mut flows) = (HashMap::new(), Vec::new());
        for Datagram { octets, .. } in &datagrams {
            assert!(octets.len() <= BatchOptions::DATAGRAM_OCTETS_MAX);
            let (sets, base) = if version == Version::V9 {
                let header = v9::decode_header(octets).unwrap();
                (v9::decode_sets(octets), header.time_base())
            } else {
                let header = ipfix::decode_header(octets).unwrap();
                (ipfix::decode_sets(octets), header.time_base(None))
            };
            flows.extend(read(sets, base, &mut known).flows);
        }
        for flow in &flows {
            assert_eq!(flow.source_mac, [2, 0, 0, 0, 0, 7]);
            assert_eq!(flow.inner_vlan, 5);
        }
        assert_whole(&flows);
    }
}

/// softflowd's options, and its numbers.
fn as_softflowd(version: Version) -> BatchOptions {
    let softflowd = Softflowd {
        vlan: true,
        process: 77,
        ifindex: 3,
        interface: *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0",
        exporter: None,
    };
    BatchOptions {
        layout: Layout {
            softflowd: Some(softflowd),
            ..Layout::WEIR
        },
        ..BatchOptions::new(version)
    }
}

#[test]
fn in_softflowds_layout_flows_icmp_and_times_come_back() {
    for version in [Version::V9, Version::Ipfix] {
        for times in [None, Some(Times::Milliseconds), Some(Times::Nanoseconds)] {
            let options = as_softflowd(version);
            let mut batcher = Batcher::new(BatchOptions {
                layout: Layout {
                    times,
                    ..options.layout
                },
                ..options
            });
            let icmp = FlowRecord {
                protocol: 1,
                destination_port: 0x0800,
                ..flow(2)
            };
            for record in [flow(1), icmp, flow(3)] {
                assert!(batcher.push(&record, &at(1)).is_none());
            }
            let octets = batcher.flush(&at(1)).unwrap().octets;
            let mut known = HashMap::new();
            let boot_ms = (at(1).unix_ns / 1_000_000).checked_sub(at(1).uptime_ms);
            let (sets, base, sequence) = if version == Version::V9 {
                let header = v9::decode_header(&octets).unwrap();
                assert_eq!(usize::from(header.count), 4 + 2 + 3);
                (
                    v9::decode_sets(&octets),
                    header.time_base(),
                    header.sequence,
                )
            } else {
                let header = ipfix::decode_header(&octets).unwrap();
                let sets = ipfix::decode_sets(&octets);
                (sets, header.time_base(boot_ms), header.sequence)
            };
            assert_eq!(sequence, u32::from(version == Version::V9));
            let mut flows = Vec::new();
            for set in sets.unwrap() {
                match set {
                    Set::Templates(new) => {
                        let new = new.iter().filter_map(Definition::template);
                        known.extend(new.map(|one| (one.id(), one.clone())));
                    }
                    Set::Data { id: 256, .. } => {}
                    Set::Data { id, octets } => {
                        let records = data::records(&known[&id], octets, base);
                        flows.extend(records.map(|record| record.flow));
                    }
                    Set::Reserved => panic!("a reserved set"),
                }
            }
            let ids: Vec<_> = flows.iter().map(|flow| flow.destination_port).collect();
            assert_eq!(ids, [0, 0x0800, 0], "{version:?} {times:?}");
            let packets: Vec<_> = flows.iter().map(|flow| flow.packets).collect();
            assert_eq!(packets, [1, 2, 3]);
            for flow in flows {
                assert_eq!((flow.start_ns, flow.end_ns), (at(0).unix_ns, at(1).unix_ns));
            }
        }
    }
}

#[test]
fn a_record_of_both_directions_is_read_as_two() {
    let record = FlowRecord {
        protocol: 6,
        source_port: 1234,
        destination_port: 80,
        reverse: Some(Reverse {
            octets: 9000,
            packets: 9,
            tos: 4,
            tcp_flags: 0x12,
            ..Reverse::default()
        }),
        ..flow(1)
    };
    for options in [
        BatchOptions::new(Version::Ipfix),
        as_softflowd(Version::Ipfix),
    ] {
        let mut batcher = Batcher::new(BatchOptions {
            layout: Layout {
                biflow: true,
                times: Some(Times::Milliseconds),
                ..options.layout
            },
            ..options
        });
        assert!(batcher.push(&record, &at(1)).is_none());
        let datagram = batcher.flush(&at(1)).unwrap();
        assert_eq!((datagram.tally.records, datagram.tally.packets), (1, 10));
        let header = ipfix::decode_header(&datagram.octets).unwrap();
        let sets = ipfix::decode_sets(&datagram.octets).unwrap();
        let mut known = HashMap::new();
        let mut reverse = None;
        for set in sets {
            match set {
                Set::Templates(new) => {
                    let new = new.iter().filter_map(Definition::template);
                    known.extend(new.map(|one| (one.id(), one.clone())));
                }
                Set::Data { id: 256, .. } | Set::Reserved => {}
                Set::Data { id, octets } => {
                    let base = header.time_base(None);
                    reverse = data::records(&known[&id], octets, base)
                        .next()
                        .unwrap()
                        .reverse();
                }
            }
        }
        let reverse = reverse.unwrap();
        assert_eq!((reverse.packets, reverse.octets, reverse.tos), (9, 9000, 4));
        assert_eq!((reverse.source_port, reverse.tcp_flags), (80, 0x12));
    }
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
