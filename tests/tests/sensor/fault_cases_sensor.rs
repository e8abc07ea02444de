//! The fault cases of the sensor's packet side, S1 to S18: each is provoked for real, by every way
//! a frame can come in, and the account must hold.

mod clocks;
mod frames;
mod interface;
mod table;

use weir_netflow::FlowRecord;
use weir_tests::traffic;

use crate::world::{COLLECTOR, Sink, World, expect};

/// Ways in: a capture file, and what `--xdp` takes.
const WAYS: &str = "file native generic off";

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A UDP datagram from port 1000 to 53.
fn udp(payload: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(8 + payload).unwrap().to_be_bytes();
    [&[0x03, 0xe8, 0, 53, high, low, 0, 0][..], &vec![0; payload]].concat()
}

/// 100 octets of IPv4.
fn plain() -> Vec<u8> {
    traffic::ipv4(A, B, UDP, &udp(72))
}

fn v4(packet: &[u8]) -> Vec<u8> {
    traffic::ethernet(None, 0x0800, packet)
}

fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let packet = traffic::ipv6([0x20; 16], [0x21; 16], next_header, payload);
    traffic::ethernet(None, 0x86dd, &packet)
}

fn patched(mut octets: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    octets[at..at + with.len()].copy_from_slice(with);
    octets
}

/// The beginning of a frame, without padding.
fn cut(frame: &[u8], octets: usize) -> Vec<u8> {
    frame[..octets].to_vec()
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items
}

/// Meters the frames by each way, ten times over where they are few: all must be accounted for, the
/// counters be as expected, and the records that leave be those that were counted.
fn meter(
    world: &World,
    ways: &str,
    arguments: &str,
    frames: &[Vec<u8>],
    expected: &str,
) -> Vec<(String, Vec<FlowRecord>)> {
    let times = if frames.len() < 10 { 10 } else { 1 };
    let frames = vec![frames; times].concat();
    let run = |way: &str| {
        eprintln!("by {way}: {arguments}");
        let sink = Sink::open(&world.pair.b);
        let found = if way == "file" {
            world.read_capture(arguments, &frames, |_| 1_700_000_000_000_000)
        } else {
            // Nothing is sent from there: what would see it takes half of a start's time.
            let line = format!("--direction in --xdp {way} -n {COLLECTOR} {arguments}");
            let sensor = world.sensor(&line);
            world.send(&frames);
            world.stop(sensor)
        };
        expect(&found, &format!("packets={} {expected}", frames.len()));
        let decoded = sink.decode();
        let (packets, octets) = decoded.sums();
        let counted = format!("packets_exported={packets} octets_exported={octets}");
        expect(&found, &counted);
        (way.to_owned(), decoded.records)
    };
    ways.split_whitespace().map(run).collect()
}
