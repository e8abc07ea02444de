//! S17 and S18: clocks that are set, and clocks that wrap.

use weir_exporter::{Batcher, Version, batch::BatchOptions};
use weir_netflow::{ExportTime, FlowRecord};
use weir_sensor::clock::Now;
use weir_tests::traffic::flood_frames;

use super::sorted;
use crate::world::{Decoded, Sink, World};

const SECOND_NS: u64 = 1_000_000_000;

fn instant(monotonic_s: u64, unix_s: u64) -> Now {
    Now {
        monotonic_ns: monotonic_s * SECOND_NS,
        unix_ns: unix_s * SECOND_NS,
        uptime_ms: monotonic_s * 1000,
        ..Now::default()
    }
}

/// A record as a collector reads it that was batched at one time and sent at another.
fn sent(version: Version, record: &FlowRecord, at: ExportTime, sent: ExportTime) -> FlowRecord {
    let mut batcher = Batcher::new(BatchOptions::new(version));
    assert!(batcher.push(record, &at).is_none());
    let datagram = batcher.flush(&sent).unwrap().octets;
    Decoded::of(&[datagram]).records[0]
}

#[test]
fn s17_a_stepped_clock_makes_no_negative_durations() {
    let close = |a_ns: u64, b_s: u64| a_ns.abs_diff(b_s * SECOND_NS) < 5_000_000;
    let (first, last) = (instant(1000, 50_000), instant(1009, 50_009));
    // Set back, left alone, set ahead; and a night's sleep, which the monotonic clock leaves out.
    for now_s in [50_010 - 3600, 50_010, 50_010 + 3600, 50_010 + 8 * 3600] {
        let now = instant(1010, now_s);
        let record = FlowRecord {
            start_ns: now.unix_ns_of(first.tick()),
            end_ns: now.unix_ns_of(last.tick()),
            ..FlowRecord::default()
        };
        assert!(close(record.end_ns - record.start_ns, 9), "{record:?}");
        assert!(close(now.unix_ns - record.start_ns, 10), "{record:?}");
        for later_s in [now_s - 3600, now_s + 3600] {
            let later = instant(1011, later_s).export_time();
            for version in [Version::V1, Version::V5, Version::V9] {
                let found = sent(version, &record, now.export_time(), later);
                let in_order = found.start_ns <= found.end_ns && found.end_ns <= later.unix_ns;
                assert!(in_order, "{version:?} {later:?}: {found:?}");
            }
        }
    }
}

#[test]
fn s18_uptime_and_header_clocks_wrap_and_durations_do_not() {
    const WRAP: u64 = 1 << 32;
    let uptimes = [WRAP - 5000, WRAP + 5000];
    let times = [(1 << 31) - 2, (1 << 31) + 5, WRAP - 2, WRAP + 1000];
    let versions = [Version::V1, Version::V5, Version::V9];
    for (uptime_ms, unix_s) in uptimes.into_iter().flat_map(|ms| times.map(|s| (ms, s))) {
        let unix_ns = unix_s * SECOND_NS;
        let now = ExportTime { unix_ns, uptime_ms };
        let record = FlowRecord {
            start_ns: unix_ns - 20 * SECOND_NS,
            end_ns: unix_ns - SECOND_NS,
            ..FlowRecord::default()
        };
        for found in versions.map(|version| sent(version, &record, now, now)) {
            let start_ns = (unix_s - 20) % WRAP * SECOND_NS;
            assert_eq!(found.start_ns, start_ns, "{now:?}");
            assert_eq!(found.end_ns, start_ns + 19 * SECOND_NS, "{now:?}");
        }
    }
}

/// No datagram may hold flows further apart than its clock wraps.
#[test]
fn s18_a_capture_from_2038_to_2106_keeps_its_times() {
    const TIMES_S: [u64; 2] = [1 << 31, (1 << 32) - 1];
    let unix_us = |index: u64| TIMES_S[usize::from(index > 0)] * 1_000_000;
    let world = World::new("s18");
    let frames = flood_frames(0..2);
    for version in ["-v 1", "-v 5", "-v 9", "-v 10"] {
        let sink = Sink::open(&world.pair.b);
        world.read_capture(version, &frames, unix_us);
        let records = sink.decode().records;
        let starts_s = records.iter().map(|flow| flow.start_ns / SECOND_NS);
        assert_eq!(sorted(starts_s), TIMES_S, "{version}");
    }
}
