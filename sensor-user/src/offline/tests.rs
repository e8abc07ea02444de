//! A thread that reads, or one that accounts, ends before its time.

use anyhow::bail;
use weir_exporter::{Version, batch::BatchOptions};
use weir_sensor_common::{FlowKey, KeyMask, hash::Seed};

use super::{reader::Counted, *};
use crate::export::{Clock, How};

const SHAPE: Shape = Shape {
    bucket_mask: 15,
    seed: Seed::new([1, 22, 333, 4444, 55_555]),
    key_mask: KeyMask::FULL.0,
};

const READING: Reading = Reading {
    v4_only: false,
    tunnels: Tunnels::NONE,
    extra: Fields::NONE,
    sampling: 1,
};

/// One that sends nothing, and counts what it would have sent.
fn offline() -> Offline {
    let how = How::new(BatchOptions::new(Version::V9));
    let export = Export::start(&[], &how, Clock::Packets).unwrap();
    let recorder = Recorder {
        ifindexes: vec![0],
        ifindexes_given: Vec::new(),
        key_mask: KeyMask::FULL,
        sampling_interval: 1,
        as_softflowd: false,
    };
    let timeouts = Timeouts::default();
    Offline::new(
        SHAPE,
        Fragments::new(0),
        READING,
        timeouts,
        recorder,
        export,
    )
    .unwrap()
}

/// Three packets of one flow, and what was counted of them.
fn batch() -> Batch {
    const UNIX_NS: u64 = 1_700_000_000_000_000_000;
    let key = FlowKey {
        source: FlowKey::v4_mapped([10, 0, 0, 1]),
        ..FlowKey::default()
    };
    let sighting = Sighting {
        key,
        hash: SHAPE.hash(&key, 0),
        octets: 100,
        tick: Now::of_packet(UNIX_NS, UNIX_NS).tick(),
        packets: 1,
        ..Sighting::default()
    };
    let mut counted = Counted::default();
    counted.counters[Counter::Packets as usize] = 3;
    counted.counters[Counter::IpOctets as usize] = 300;
    Batch {
        times_ns: vec![UNIX_NS; 3],
        sightings: vec![sighting; 3],
        extras: Vec::new(),
        counted,
    }
}

#[test]
fn what_a_dead_reading_thread_handed_over_is_accounted_and_exported() {
    let outcome = offline().account_all(|sender, _| {
        for _ in 0..2 {
            sender.send(batch()).unwrap();
        }
        panic!("meant to happen: the reading thread dies")
    });
    let (statistics, end) = outcome.unwrap();
    assert!(
        matches!(&end, End::Partial(reason) if reason.contains("the reading thread died")),
        "{end:?}"
    );
    assert_eq!(statistics.get(Counter::Packets), 6);
    assert_eq!(statistics.unexplained(), (0, 0));
    let exported = statistics.export[0].counters.records_exported;
    assert_eq!((exported.records, exported.packets), (1, 6));
    assert!(!statistics.export_died);
}

#[test]
fn what_cannot_be_read_at_all_is_an_error() {
    let outcome = offline().account_all(|_, _| bail!("there is no such file"));
    let error = outcome.err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("there is no such file"));
}

#[test]
fn reading_ends_when_nobody_accounts() {
    let mut reader = Reader::new(READING, SHAPE, Fragments::new(0), None);
    let (sender, receiver) = bounded(BATCHES_MAX);
    let (_give_back, used) = bounded(BATCHES_MAX);
    assert!(reader.hand_over(&sender, &used).is_continue());
    drop(receiver);
    assert!(reader.hand_over(&sender, &used).is_break());
}
