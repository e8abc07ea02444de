//! Capture files whose clocks go back, or leap: flows begin and end with their earliest and latest packet,
//! in whatever order they are in the file, and timeouts go on.

use std::fs;

use weir_tests::{process::built, sent::sent, traffic};

use crate::world::Decoded;

const START_S: i64 = 1_700_000_000;
const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3600;
const VERSIONS: [&str; 3] = ["5", "9", "10"];

/// A packet of this flow, so many seconds after the start.
type Packet = (u8, i64);

/// A record: its flow, when it begins and ends, in seconds after the start, and its packets.
type Record = (u8, i64, i64, u64);

/// The records of a capture, in order.
fn records(packets: &[Packet], arguments: &str) -> Vec<Record> {
    let frames: Vec<_> = packets.iter().map(|(flow, _)| frame(*flow)).collect();
    let at_us = |index: u64| {
        let (_, seconds) = packets[usize::try_from(index).unwrap()];
        u64::try_from(START_S + seconds).unwrap() * 1_000_000
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pcap");
    let file = traffic::capture_file(frames.iter().map(Vec::as_slice), at_us);
    fs::write(&path, file).unwrap();
    let mut command = built("weir-sensor").unwrap();
    command.args(arguments.split_whitespace());
    let (output, datagrams) = sent(command.arg("-r").arg(&path)).unwrap();
    assert!(output.status.success(), "{output:?}");
    // To the nearest second: ticks and v9's clock are coarser than the file's.
    let seconds = |ns: u64| i64::try_from((ns + 500_000_000) / 1_000_000_000).unwrap() - START_S;
    let decoded = Decoded::of(&datagrams).records.into_iter();
    let mut records: Vec<Record> = decoded
        .map(|record| {
            let flow = record.source.octets()[15];
            let (start_s, end_s) = (seconds(record.start_ns), seconds(record.end_ns));
            (flow, start_s, end_s, record.packets)
        })
        .collect();
    records.sort_unstable();
    records
}

fn frame(flow: u8) -> Vec<u8> {
    const GRE: u8 = 47;
    let packet = traffic::ipv4([10, 0, 0, flow], [192, 0, 2, 1], GRE, &[0; 40]);
    traffic::ethernet(None, 0x0800, &packet)
}

#[test]
fn flows_have_the_times_of_their_earliest_and_latest_packet() {
    let packets = [
        (1, 0),
        (1, -5),
        (2, -HOUR_S),
        (1, -10),
        (1, -2),
        (2, -DAY_S),
    ];
    for version in VERSIONS {
        let found = records(&packets, &format!("-v {version} -t idle=50w -t active=0"));
        let expected: [Record; 2] = [(1, -10, 0, 4), (2, -DAY_S, -HOUR_S, 2)];
        assert_eq!(found, expected, "-v {version}");
    }
}

/// Slots' clocks wrap after 52 days.
#[test]
fn a_frame_years_from_the_others_does_not_bend_their_times() {
    for years in [-9, 9] {
        let far_s = 365 * DAY_S * years;
        let packets = [(1, 0), (1, 1), (2, far_s), (1, 2), (1, 3)];
        for version in VERSIONS {
            let found = records(&packets, &format!("-v {version}"));
            let mut expected: [Record; 3] = [(1, 0, 1, 2), (1, 2, 3, 2), (2, far_s, far_s, 1)];
            expected.sort_unstable();
            assert_eq!(found, expected, "-v {version}");
        }
    }
}

#[test]
fn timeouts_go_on_after_the_clock_was_set_back() {
    const BACK_S: i64 = 2 * DAY_S;
    let mut packets: Vec<Packet> = vec![(1, 0)];
    for second in 0..3000 {
        packets.push((3, second - BACK_S));
        if [1500, 2900].contains(&second) {
            packets.push((2, second - BACK_S));
        }
    }
    let found = records(&packets, "-v 10");
    let of_two: Vec<_> = found.iter().filter(|record| record.0 == 2).collect();
    let once = |second: i64| -> Record { (2, second - BACK_S, second - BACK_S, 1) };
    assert_eq!(of_two, [&once(1500), &once(2900)]);
    let of_three: u64 = found.iter().filter(|one| one.0 == 3).map(|one| one.3).sum();
    assert_eq!(of_three, 3000);
}

#[test]
fn a_flow_of_few_packets_is_not_older_than_slots_can_tell() {
    let packets: Vec<Packet> = (0..8).map(|number| (1, number * 19 * DAY_S)).collect();
    let found = records(&packets, "-v 10 -t idle=50w -t active=0");
    let each = |(flow, at_s): &Packet| -> Record { (*flow, *at_s, *at_s, 1) };
    assert_eq!(found, packets.iter().map(each).collect::<Vec<_>>());
}
