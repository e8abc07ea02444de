//! What a sensor takes over of one that is gone (`--pin`): its flows as that one told them apart and timed them,
//! its losses, and what its programs counted meanwhile.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use weir_netflow::{Layout, set::Set, v9};
use weir_tests::{
    process::succeed,
    traffic::{self, flood_frame, flood_frames},
};

use crate::world::{COLLECTOR, Sink, World, bpf::Bpf, expect, kill, of};

/// A table's flows are told apart as its own sensor did it, and have what that one was to read,
/// whatever the next one is asked for; those that wait in a queue, too.
#[test]
fn a_table_with_mac_addresses_in_its_key_is_taken_over() {
    let world = World::new("pnm");
    let bpf = Bpf::mount(&world);
    let options = format!("--direction in --pin {}", bpf.pin());
    world.stop(world.sensor(&format!("{options} -T ether --fields mac")));
    let frames: Vec<_> = (0..30u8)
        .map(|number| {
            let mut frame = flood_frame(7);
            frame[11] = number % 3;
            frame
        })
        .collect();
    world.send(&frames);
    let sink = Sink::open(&world.pair.b);
    let second = world.sensor(&format!("{options} --fields mac,mpls -n {COLLECTOR}"));
    expect(
        &world.stop(second),
        "ip_packets=0 adopted_packets=30 adopted_flows=3",
    );
    let records = sink.decode().records;
    let mut found: Vec<_> = records
        .iter()
        .map(|record| (record.source_mac[5], record.packets))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 10), (1, 10), (2, 10)]);
}

/// Collectors scale by what the datagrams say.
#[test]
fn flows_that_are_taken_off_have_their_own_sampling_rate() {
    let world = World::new("pnr");
    let bpf = Bpf::mount(&world);
    let pin = format!("--direction in -t idle=1h --pin {}", bpf.pin());
    let sampled = || {
        let sensor = world.sensor(&format!("{pin} --sampling 10 --sampling-random"));
        world.send(&flood_frames(0..1000));
        kill(sensor);
    };
    sampled();
    let sink = Sink::open(&world.pair.b);
    let mut detach = world.command("weir-sensor");
    detach.args(["--detach", "--pin", &bpf.pin()]);
    succeed(detach.args(["-n", COLLECTOR, "-v", "5"]));
    let datagrams = sink.close();
    assert!(!datagrams.is_empty());
    for datagram in &datagrams {
        let said = u16::from_be_bytes([datagram[22], datagram[23]]);
        assert_eq!(said, (2 << 14) + 10, "one in ten, at random");
    }
    // Another sensor's datagrams tell one rate, its own.
    sampled();
    let mut second = world.sensor(&pin);
    let sentence = "were sampled 1 in 10, but collectors are told 1 in 1:";
    second.wait_for(sentence).unwrap();
    world.stop(second);
}

/// While no sensor runs nobody empties the rings: what is lost then is told by the next one.
#[test]
fn what_is_lost_while_no_sensor_runs_is_counted() {
    const FRAMES: u32 = 5000;
    let world = World::new("pnl");
    let bpf = Bpf::mount(&world);
    kill(world.sensor(&format!(
        "--direction in -m 12 --ring 4096 --pin {}",
        bpf.pin()
    )));
    world.send(&flood_frames(0..FRAMES));
    let found = bpf.detach(&world);
    let (adopted, lost) = (
        of(&found, "adopted_packets"),
        of(&found, "adopted_lost_packets"),
    );
    assert!(lost > 1000, "{found:#}");
    assert_eq!(adopted + lost, u64::from(FRAMES), "{found:#}");
}

/// More flows than are merged at a time, on either CPU.
#[test]
fn a_large_table_is_taken_over_whole() {
    const FLOWS: u32 = 300_000;
    let world = World::new("pll");
    let bpf = Bpf::mount(&world);
    let arguments = format!(
        "--direction in -m 2000000 -t idle=1h --pin {} -n {COLLECTOR}",
        bpf.pin()
    );
    kill(world.sensor(&arguments));
    for first in (0..FLOWS).step_by(10_000) {
        world.send(&flood_frames(first..first + 10_000));
    }
    // Seen twice, each is one record.
    world.send(&flood_frames(0..10_000));
    let found = world.stop(world.sensor(&arguments));
    expect(&found, "adopted_lost_packets=0 packets=0");
    assert_eq!(of(&found, "adopted_packets"), u64::from(FLOWS) + 10_000);
    assert_eq!(of(&found, "adopted_flows"), u64::from(FLOWS));
}

/// Flows of a packet each, three frames that are not IP and two that are too short.
fn frames(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    let mut frames = flood_frames(numbers);
    frames.extend(vec![traffic::ethernet(None, 0x0806, &[0; 28]); 3]);
    let runt = frames[0][..24].to_vec();
    frames.extend([runt.clone(), runt]);
    frames
}

#[test]
fn what_programs_count_between_two_sensors_is_told_once() {
    let world = World::new("pnc");
    let bpf = Bpf::mount(&world);
    let arguments = format!("--direction in -t idle=1h --pin {}", bpf.pin());
    let reasons = "non_ip_packets=3 too_short_packets=2";

    // It gives its account, and its programs go on.
    let first = world.sensor(&arguments);
    world.send(&frames(0..100));
    let found = world.stop(first);
    expect(
        &found,
        &format!("packets=105 ip_packets=100 left_packets=0 {reasons}"),
    );
    world.send(&frames(100..150));

    let second = world.sensor(&arguments);
    world.send(&frames(150..170));
    let found = world.stop(second);
    expect(&found, &format!("packets=25 ip_packets=20 {reasons}"));
    expect(
        &found,
        "adopted_packets=50 adopted_taken_packets=0 adopted_taken_octets=0",
    );
    let seen = "packets=55 ip_packets=50 ip_octets=2000";
    expect(&found["adopted_seen"], &format!("{seen} {reasons}"));

    // It gives none: all of its programs' counts are new.
    let third = world.sensor(&arguments);
    world.send(&frames(170..180));
    kill(third);
    world.send(&frames(180..200));
    let found = world.stop(world.sensor(&arguments));
    expect(
        &found,
        "packets=0 adopted_packets=30 adopted_taken_packets=0",
    );
    let seen = "packets=40 ip_packets=30 non_ip_packets=6 too_short_packets=4";
    expect(&found["adopted_seen"], seen);
}

#[test]
fn what_a_killed_sensor_had_exported_is_told_apart() {
    let world = World::new("pnx");
    let bpf = Bpf::mount(&world);
    let pin = format!("--direction in --pin {}", bpf.pin());
    let first = world.controlled(&format!("{pin} -t idle=100ms"));
    world.send(&flood_frames(0..40));
    world.wait_for_answer("statistics", "Flows expired: 40 (0 forced)\n");
    kill(first);
    world.send(&flood_frames(40..50));
    let found = world.stop(world.sensor(&pin));
    expect(&found, "adopted_packets=10 adopted_lost_packets=0");
    expect(&found, "adopted_taken_packets=40 adopted_taken_octets=1600");
}

fn clock_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// First and Last of a datagram's first flow as collectors read them that know of no wrap: so many
/// milliseconds after a boot that the header tells.
fn plain_times_ms(datagram: &[u8]) -> (i64, i64) {
    let number = |octets: &[u8], at: usize| {
        i64::from(u32::from_be_bytes(octets[at..at + 4].try_into().unwrap()))
    };
    let (unix_s, uptime_ms) = (number(datagram, 8), number(datagram, 4));
    let (first, last, clock_ms) = if datagram[1] == 5 {
        let clock_ms = 1000 * unix_s + number(datagram, 12) / 1_000_000;
        (
            number(datagram, 24 + 24),
            number(datagram, 24 + 28),
            clock_ms,
        )
    } else {
        let template = v9::templates(&Layout::WEIR).v4.id;
        let flows = v9::decode_sets(datagram).unwrap().into_iter();
        let mut flows = flows.filter_map(|set| match set {
            Set::Data { id, octets } if id == template => Some(octets),
            _ => None,
        });
        let flow = flows.next().unwrap();
        (number(flow, 8), number(flow, 12), 1000 * unix_s)
    };
    assert!(
        first <= last && last <= uptime_ms,
        "{first} {last} {uptime_ms}"
    );
    (clock_ms - uptime_ms + first, clock_ms - uptime_ms + last)
}

/// Also where the sensor before had another clock.
#[test]
fn flows_older_than_the_sensor_have_their_times() {
    /// v9 tells its clock in whole seconds.
    const NEAR: Duration = Duration::from_secs(1);
    const EXACT: &str = "--exact-clock";
    for (version, clock, next_clock) in [
        ("5", "", ""),
        ("9", "", ""),
        ("9", "", EXACT),
        ("9", EXACT, ""),
    ] {
        let world = World::new("pnt");
        let bpf = Bpf::mount(&world);
        let arguments = format!("--direction in -t idle=1h -t active=1h --pin {}", bpf.pin());
        let first = world.sensor(&format!("{arguments} {clock}"));
        let began_ms = clock_ms();
        world.send(&flood_frames(0..1));
        thread::sleep(2 * NEAR);
        let ended_ms = clock_ms();
        world.send(&flood_frames(0..1));
        kill(first);
        let sink = Sink::open(&world.pair.b);
        let second = world.sensor(&format!(
            "{arguments} {next_clock} -v {version} -n {COLLECTOR}"
        ));
        expect(&world.stop(second), "adopted_packets=2 records=1");
        let datagrams = sink.close();
        // v9's first one tells what the sensor says of itself.
        let with_flows = usize::from(version == "9");
        let (first_ms, last_ms) = plain_times_ms(&datagrams[with_flows]);
        let near = |a_ms: i64, b_ms: i64| Duration::from_millis(a_ms.abs_diff(b_ms)) < NEAR;
        assert!(near(first_ms, began_ms), "{first_ms}, not {began_ms}");
        assert!(near(last_ms, ended_ms), "{last_ms}, not {ended_ms}");
    }
}
