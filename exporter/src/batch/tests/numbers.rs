//! Numbers and counts in headers, and when templates come.

use std::collections::HashMap;

use weir_netflow::{ipfix, set::Set, v1, v5, v9};

use super::*;

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

/// That all were chosen is said first: who was told of another rate before would go by that.
fn says_options(found: &Found, index: usize, options: &BatchOptions) -> bool {
    found.templates > 0 && (index == 0 || options.sampling.interval > 1)
}

#[test]
fn v9_sequence_counts_datagrams_and_templates_come_every_sixteen() {
    for options in [BatchOptions::new(Version::V9), sampled(Version::V9)] {
        let (mut known, mut flows) = (HashMap::new(), Vec::new());
        for (index, datagram) in datagrams(options, 2000).iter().enumerate() {
            assert!(datagram.octets.len() <= Version::DATAGRAM_OCTETS_MAX);
            let header = v9::decode_header(&datagram.octets).unwrap();
            assert_eq!(header.sequence as usize, index);
            let sets = v9::decode_sets(&datagram.octets);
            let found = read(sets, header.time_base(), &mut known);
            assert_eq!(found.templates > 0, index % 16 == 0, "datagram {index}");
            // In two records, since nfcapd reads one of them only.
            let says = 2 * usize::from(says_options(&found, index, &options));
            assert_eq!(found.intervals, vec![options.sampling.interval; says]);
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
            assert!(datagram.octets.len() <= Version::DATAGRAM_OCTETS_MAX);
            let header = ipfix::decode_header(&datagram.octets).unwrap();
            assert_eq!(header.sequence as usize, expected, "message {index}");
            assert_eq!(usize::from(header.length), datagram.octets.len());
            let sets = ipfix::decode_sets(&datagram.octets);
            let found = read(sets, header.time_base(None), &mut known);
            assert_eq!(found.templates > 0, index % 16 == 0, "message {index}");
            let says = usize::from(says_options(&found, index, &options));
            assert_eq!(found.options, says);
            assert_eq!(found.intervals, vec![options.sampling.interval; says]);
            expected += found.options + found.flows.len();
            flows.extend(found.flows);
        }
        assert_whole(&flows);
    }
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
