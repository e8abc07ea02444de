//! A path that takes less than a datagram has: every record leaves all the same, in order and under
//! numbers without a gap.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use weir_exporter::{
    Batcher, Version,
    batch::{BatchOptions, Datagram},
};
use weir_netflow::{ExportTime, FlowRecord, Sampling, ipfix, set::Set, v1, v5, v9};

const NOW: ExportTime = ExportTime {
    unix_ns: 1_700_000_000_000_000_000,
    uptime_ms: 50_000,
};
const VERSIONS: [Version; 4] = [Version::V1, Version::V5, Version::V9, Version::Ipfix];

fn options(version: Version) -> BatchOptions {
    BatchOptions {
        sampling: Sampling {
            interval: 10,
            random: false,
        },
        ..BatchOptions::new(version)
    }
}

/// Some of IPv6, if the version has it.
fn flow(version: Version, number: u64) -> FlowRecord {
    FlowRecord {
        packets: number,
        v6: version.has_templates() && number.is_multiple_of(3),
        ..FlowRecord::default()
    }
}

/// What arrives of flows over a path that takes the first `free` datagrams whatever they have, and
/// `octets_max` octets of those after.
fn arrived(version: Version, flows: u64, free: usize, octets_max: usize) -> Vec<Datagram> {
    let mut batcher = Batcher::new(options(version));
    let mut arrived = Vec::new();
    let mut waiting: VecDeque<_> = (1..=flows).map(|number| flow(version, number)).collect();
    loop {
        let record = waiting.pop_front();
        let datagram = match record {
            Some(record) => batcher.push(&record, &NOW),
            None => batcher.flush(&NOW),
        };
        match datagram {
            Some(datagram) if arrived.len() >= free && datagram.octets.len() > octets_max => {
                for record in batcher.take_back(datagram, octets_max).into_iter().rev() {
                    waiting.push_front(record);
                }
            }
            Some(datagram) => arrived.push(datagram),
            None if record.is_none() => return arrived,
            None => {}
        }
    }
}

/// A datagram's number, and by how much the next one's is higher. v1's are all 0.
fn number(version: Version, datagram: &Datagram) -> (u32, u32) {
    match version {
        Version::V1 => {
            v1::decode(&datagram.octets).unwrap();
            (0, 0)
        }
        Version::V5 => {
            let header = v5::decode(&datagram.octets).unwrap().header;
            (header.sequence, u32::from(header.count))
        }
        Version::V9 => (v9::decode_header(&datagram.octets).unwrap().sequence, 1),
        Version::Ipfix => {
            let header = ipfix::decode_header(&datagram.octets).unwrap();
            let sets = ipfix::decode_sets(&datagram.octets).unwrap();
            let options = sets.iter().filter(|set| {
                let id = ipfix::SAMPLING_TEMPLATE_ID;
                matches!(set, Set::Data { id: of, .. } if *of == id)
            });
            let options = u32::try_from(options.count()).unwrap();
            let records = u32::try_from(datagram.tally.records).unwrap();
            (header.sequence, records + options)
        }
    }
}

#[test]
fn what_is_too_long_leaves_in_shorter_datagrams() {
    for version in VERSIONS {
        for octets_max in [options(version).datagram_octets_min(), 572, 772, 1400] {
            for free in [0, 1, 7] {
                let datagrams = arrived(version, 500, free, octets_max);
                let mut expected = 0;
                let mut packets = 0;
                for (index, datagram) in datagrams.iter().enumerate() {
                    let octets = datagram.octets.len();
                    assert!(index < free || octets <= octets_max, "{octets}");
                    let (sequence, step) = number(version, datagram);
                    assert_eq!(sequence, expected, "{version:?} {octets_max} {free}");
                    expected += step;
                    packets += datagram.tally.packets;
                }
                assert_eq!(packets, (1..=500).sum::<u64>());
            }
        }
    }
}

#[test]
fn the_first_shorter_datagram_has_the_templates() {
    for version in [Version::V9, Version::Ipfix] {
        for free in [0, 7] {
            let datagrams = arrived(version, 500, free, 772);
            let octets = &datagrams[free].octets;
            let sets = if version == Version::V9 {
                v9::decode_sets(octets)
            } else {
                ipfix::decode_sets(octets)
            };
            let sets = sets.unwrap();
            let templates = sets.iter().filter(|set| matches!(set, Set::Templates(_)));
            assert!(templates.count() > 1, "the flows' and sampling's");
        }
    }
}
