//! Records of each layout come back as they were.

use std::collections::HashMap;

use weir_netflow::{
    Optional, Reverse, data, ipfix,
    layout::{Softflowd, Times},
    set::{Definition, Set},
    v9,
};

use super::*;

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
        Optional::ROUTING,
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

#[test]
fn datagrams_of_records_with_optional_fields_are_no_longer_than_others() {
    let optional = [
        Optional::MAC,
        Optional::INNER_VLAN,
        Optional::MPLS,
        Optional::FLOW_LABEL,
        Optional::OUTER,
        Optional::ROUTING,
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
            assert!(octets.len() <= Version::DATAGRAM_OCTETS_MAX);
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

/// Whoever missed a datagram with templates reads no record by the wrong one, and numbers go on.
#[test]
fn records_have_more_fields_from_where_that_is_asked_for() {
    for version in [Version::V9, Version::Ipfix] {
        let mut batcher = Batcher::new(BatchOptions::new(version));
        let labelled = |number| FlowRecord {
            mpls_labels: [0x12_3451, 0, 0, 0],
            source_as: 64_512,
            ..flow(number)
        };
        assert!(batcher.push(&labelled(1), &at(1)).is_none());
        let narrow = batcher.widen(Optional::MPLS, &at(1)).unwrap();
        assert!(batcher.widen(Optional::ROUTING, &at(1)).is_none());
        assert!(batcher.push(&labelled(2), &at(1)).is_none());
        let wide = batcher.flush(&at(1)).unwrap();
        let mut known = HashMap::new();
        let mut found = Vec::new();
        let mut sequences = Vec::new();
        for Datagram { octets, .. } in [&narrow, &wide] {
            let (sets, base) = if version == Version::V9 {
                let header = v9::decode_header(octets).unwrap();
                sequences.push(header.sequence);
                (v9::decode_sets(octets), header.time_base())
            } else {
                let header = ipfix::decode_header(octets).unwrap();
                sequences.push(header.sequence);
                (ipfix::decode_sets(octets), header.time_base(None))
            };
            found.extend(read(sets, base, &mut known).flows);
        }
        let found: Vec<_> = found
            .iter()
            .map(|flow| (flow.packets, flow.mpls_labels[0], flow.source_as))
            .collect();
        assert_eq!(found, [(1, 0, 0), (2, 0x12_3451, 64_512)], "{version:?}");
        // IPFIX counts the record of options, too.
        assert_eq!(sequences, [0, if version == Version::V9 { 1 } else { 2 }]);
        let of_flows = known.values().filter(|template| !template.is_options());
        assert_eq!(of_flows.count(), 8, "four templates of either kind");
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
