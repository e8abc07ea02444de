//! S9 to S11 and S16: floods, collisions, and more flows than there is room for.

use std::thread;

use serde_json::Value;
use weir_sensor::table;
use weir_sensor_common::{
    FlowKey, KeyMask,
    hash::Seed,
    slot::Sighting,
    table::{Shape, account},
};
use weir_tests::{process::Daemon, traffic};

use super::{B, TCP, UDP, WAYS, meter, udp, v4};
use crate::world::{COLLECTOR, FrameOf, UNDER_WAY, World, expect, json, of};

/// Frames of a flood from each of two CPUs.
const FLOOD_EACH: u32 = 150_000;

/// Floods a sensor; its account.
fn flooded(label: &str, arguments: &str, frame: FrameOf) -> Value {
    let world = World::new(label);
    let sensor = world.sensor(arguments);
    let reached = world.flood(FLOOD_EACH, frame);
    let found = world.stop(sensor);
    expect(&found, &format!("packets={reached}"));
    found
}

/// Every packet a new flow.
fn new_flow(cpu: u32, number: u32) -> Vec<u8> {
    traffic::flood_frame(cpu << 23 | number)
}

/// Whether a frame of [`mostly_new_flows`] is of a steady flow: one in sixteen, in no rhythm.
fn is_steady(number: u32) -> bool {
    number.wrapping_mul(2_654_435_761) >> 28 == 0
}

fn mostly_new_flows(cpu: u32, number: u32) -> Vec<u8> {
    if !is_steady(number) {
        return new_flow(cpu, number);
    }
    let [host, cpu] = [number % 10, cpu].map(|number| u8::try_from(number).unwrap());
    v4(&traffic::ipv4([10, 9, cpu, host], B, UDP, &udp(0)))
}

#[test]
fn s09_a_syn_flood_is_counted_and_other_flows_survive() {
    /// Two CPUs' for `-m 768`: so many flows of one packet may be there at the end besides.
    const SLOTS: u64 = 2 * 1024;
    let found = flooded("s9", "-m 768", mostly_new_flows);
    assert!(of(&found, "evicted_flows") > 1000, "{found:#}");
    let steady = (0..FLOOD_EACH).filter(|number| is_steady(*number)).count() as u64;
    let arrived = steady * of(&found, "packets") / u64::from(FLOOD_EACH);
    let at_the_end = of(&found, "expired.flushed.packets");
    let survived = at_the_end.saturating_sub(SLOTS);
    assert!(2 * survived > arrived, "{survived} of {arrived}");
}

#[test]
fn s10_collisions_chosen_for_one_seed_are_none_for_another() {
    let shape = Shape {
        bucket_mask: table::bucket_mask(768),
        seed: Seed::new([1, 2, 3, 4, 5]),
        key_mask: KeyMask::FULL.0,
    };
    // The flow of `traffic::flood_frame`.
    let sighting = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let key = FlowKey {
            source: FlowKey::v4_mapped([11, a, b, c]),
            destination: FlowKey::v4_mapped([198, 51, 100, 1]),
            attributes: FlowKey::pack(1024, 80, TCP, 0, 0),
        };
        let mut sighting = Sighting::default();
        (sighting.key, sighting.hash) = (key, shape.hash(&key, 0));
        sighting
    };
    // Both their buckets are among the first eight of 128, which hold 64 flows.
    let collide = |number: &u32| {
        let buckets = shape.places(sighting(*number).hash).buckets;
        buckets.iter().all(|bucket| *bucket < 8)
    };
    let chosen: Vec<u32> = (0..1 << 20).filter(collide).take(400).collect();
    let (mut attacked, mut evicted) = (table::Table::anonymous(shape).unwrap(), Vec::new());
    for number in &chosen {
        let mut region = attacked.local(&mut evicted);
        account(&mut region, &shape, &sighting(*number)).unwrap();
    }
    assert!(evicted.len() > 300, "{} pushed out", evicted.len());
    let frames: Vec<_> = chosen.into_iter().map(traffic::flood_frame).collect();
    let expected = "records=400 evicted_flows=0";
    meter(&World::new("s10"), WAYS, "-m 768", &frames, expected);
}

/// `conservation.rs` has it with a collector besides.
#[test]
fn s11_a_full_ring_is_counted() {
    let found = flooded("s11", "-m 768 --ring 4096", new_flow);
    assert!(of(&found, "ring_full_packets") > 1000, "{found:#}");
}

#[test]
fn s16_a_million_flows_leave_at_the_end_and_none_is_lost() {
    let world = World::new("s16");
    let mut command = world.command("weir-collector");
    let (flows, statistics) = (world.path("flows"), world.path("collector.json"));
    command.args(["-l", COLLECTOR, "-w"]).arg(flows);
    command.arg("--statistics-json").arg(&statistics);
    let mut collector = Daemon::start(command, &world.path("collector.log")).unwrap();
    collector.wait_for("listening").unwrap();
    let sensor = world.sensor(&format!("-n {COLLECTOR} -m 700000 -t idle=1h"));
    let flows = world.flood(500_000, new_flow);
    assert!(flows > 500_000, "only {flows} frames came through");
    let found = world.stop(sensor);
    expect(
        &found,
        &format!("records={flows} expired.flushed.records={flows}"),
    );
    thread::sleep(UNDER_WAY);
    assert!(collector.stop().unwrap().success());
    let collected = json(&statistics);
    let expected = format!("records={flows} packets={flows} kernel_drops=0");
    expect(&collected, &expected);
    assert_eq!(collected["exporters"][0]["lost"], 0, "{collected:#}");
}
