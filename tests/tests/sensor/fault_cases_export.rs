//! The fault cases of the sensor's export side, X1 to X6.

use std::{
    fs,
    ops::Range,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_exporter::{
    Batcher, Destination, Version,
    batch::BatchOptions,
    destination::{Carrier as _, Sent},
};
use weir_netflow::{ExportTime, FlowRecord};
use weir_tests::{
    process::succeed,
    traffic::{self, flood_frames},
};

use crate::world::{COLLECTOR, Decoded, Sink, UNDER_WAY, World, expect, inside, ip, of};

/// Flows are over soon, and their datagrams leave a second later at the latest.
const SOON: &str = "-n 127.0.0.1:2055 -t idle=100ms -t expint=50ms";

/// Sends flows, and waits until they were exported, or could not be.
fn send(world: &World, numbers: Range<u32>) {
    let done = || -> u64 {
        let answer = world.ask("statistics --json");
        let found: Value = serde_json::from_str(&answer).unwrap();
        let names = ["records_exported", "records_unsent.records"];
        names.iter().map(|name| of(&found, name)).sum()
    };
    let all = done() + numbers.len() as u64;
    world.send(&flood_frames(numbers));
    let mut tries = (0..100).map(|_| thread::sleep(Duration::from_millis(100)));
    assert!(tries.any(|()| done() >= all), "{} of {all}", done());
}

#[test]
fn x01_a_collector_or_a_route_that_is_gone_is_counted_and_export_resumes() {
    let world = World::new("x1");
    let b = &world.pair.b;
    let mut sensor = world.controlled(SOON);
    // Nobody listens.
    send(&world, 0..1000);
    sensor.wait_for("nothing listens").unwrap();
    // There is no way.
    let sink = Sink::open(b);
    ip(b, "route del local 127.0.0.1 dev lo table local");
    ip(b, "route del local 127.0.0.0/8 dev lo table local");
    send(&world, 1000..2000);
    // All is well.
    ip(b, "route add local 127.0.0.0/8 dev lo table local");
    send(&world, 2000..3000);
    let found = world.stop(sensor);
    assert!(of(&found, "datagrams_refused") > 0, "{found:#}");
    assert!(of(&found, "records_unsent.packets") > 0, "{found:#}");
    let decoded = sink.decode();
    assert_eq!(
        decoded.unreadable, 0,
        "templates come first after an outage"
    );
    assert!(decoded.sums().0 >= 1000, "{found:#}");
    let log = fs::read_to_string(world.path("log")).unwrap();
    let about_it = |line: &&str| line.contains("cannot send") || line.contains("nothing listens");
    assert!(log.lines().filter(about_it).count() <= 4, "{log}");
}

/// Fragments that the namespace's kernel has made, from `/proc/net/snmp`.
fn fragments(namespace: &str) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let table = inside(namespace, read);
    let mut lines = table.lines().filter(|line| line.starts_with("Ip:"));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split(' ').zip(numbers.split(' '));
    let (_, made) = columns.find(|(name, _)| *name == "FragCreates").unwrap();
    made.parse().unwrap()
}

/// Over a path that takes so many octets every flow arrives, in datagrams that are no longer, and
/// whose numbers have no gap.
fn assert_shortened(world: &World, namespace: &str, collector: &str, octets_max: usize) {
    let made_before = fragments(&world.pair.b);
    for version in ["5", "9"] {
        let sink = Sink::at(namespace, collector);
        let sensor = world.sensor(&format!("-n {collector} -v {version} --direction in"));
        world.send(&flood_frames(0..1000));
        let found = world.stop(sensor);
        expect(&found, "records_exported=1000 datagrams_unsent=0");
        assert!(of(&found, "datagrams_shortened") > 0, "{found:#}");
        let datagrams = sink.close();
        let longest = datagrams.iter().map(Vec::len).max().unwrap();
        let filled = octets_max - 60..=octets_max;
        assert!(filled.contains(&longest), "{longest} of {octets_max}");
        let decoded = Decoded::of(&datagrams);
        assert_eq!((decoded.sums().0, decoded.unreadable), (1000, 0));
        let mut expected = 0;
        for (sequence, _, count) in decoded.counts {
            assert_eq!(sequence as usize, expected, "version {version}");
            expected += if version == "5" { count } else { 1 };
        }
    }
    assert_eq!(fragments(&world.pair.b), made_before);
}

#[test]
fn x02_datagrams_fit_a_tunnel() {
    let world = World::new("x2t");
    let ends = [(&world.pair.a, 1), (&world.pair.b, 2)];
    for (end, number) in ends {
        ip(end, &format!("link set {end} mtu 800 arp on"));
        ip(end, &format!("addr add 10.66.0.{number}/24 dev {end}"));
    }
    assert_shortened(&world, &world.pair.a, "10.66.0.1:2055", 800 - 28);
}

#[test]
fn x02_datagrams_fit_the_smallest_ipv6_path() {
    let world = World::new("x2s");
    let b = &world.pair.b;
    let mut sysctl = world.pair.command_in_b(Path::new("sysctl"));
    succeed(sysctl.args(["-qw", "net.ipv6.conf.lo.disable_ipv6=0"]));
    ip(b, "addr replace ::1/128 dev lo");
    ip(b, "link set lo mtu 1280");
    assert_shortened(&world, b, "[::1]:2055", 1280 - 48);
}

#[test]
fn x02_an_mtu_that_shrinks_loses_nothing() {
    let world = World::new("x2");
    let sink = Sink::open(&world.pair.b);
    let mut sensor = world.controlled(SOON);
    send(&world, 0..500);
    ip(&world.pair.b, "link set lo mtu 600");
    send(&world, 500..1000);
    sensor.wait_for("takes datagrams of 572 octets").unwrap();
    expect(&world.stop(sensor), "records=1000 datagrams_unsent=0");
    let datagrams = sink.close();
    let octets: Vec<_> = datagrams.iter().map(Vec::len).collect();
    assert!(octets.iter().any(|octets| *octets > 572), "{octets:?}");
    let last = &octets[octets.len() - 10..];
    assert!(last.iter().all(|octets| *octets <= 572), "{octets:?}");
    assert_eq!(Decoded::of(&datagrams).sums(), (1000, 40_000));
}

/// Less than templates and a record have is no length for a datagram: such a path gets fragments.
#[test]
fn x02_a_path_too_small_for_any_datagram_loses_nothing() {
    let world = World::new("x2f");
    let b = &world.pair.b;
    ip(b, "link set lo mtu 400");
    let sink = Sink::open(b);
    let mut sensor = world.controlled(SOON);
    send(&world, 0..1000);
    sensor.wait_for("datagrams leave in fragments").unwrap();
    expect(&world.stop(sensor), "records=1000 datagrams_unsent=0");
    let datagrams = sink.close();
    assert!(datagrams.iter().all(|datagram| datagram.len() <= 512));
    assert_eq!(Decoded::of(&datagrams).sums(), (1000, 40_000));
    assert!(fragments(b) > 0);
}

/// A router further on takes less than the first link. What it threw away is not got back, but told.
#[test]
fn x02_what_a_router_threw_away_is_counted() {
    let world = World::new("x2r");
    let (a, b) = (&world.pair.a, &world.pair.b);
    for (end, number) in [(a, 1), (b, 2)] {
        ip(end, &format!("link set {end} arp on"));
        ip(end, &format!("addr add 10.66.0.{number}/24 dev {end}"));
    }
    ip(b, "route add 10.77.0.0/24 via 10.66.0.1");
    ip(a, "link add narrow mtu 800 type veth peer name beyond");
    for name in ["narrow", "beyond"] {
        ip(a, &format!("link set {name} up"));
    }
    ip(a, "addr add 10.77.0.254/24 dev narrow");
    ip(a, "neigh add 10.77.0.1 lladdr 02:00:00:00:00:09 dev narrow");
    let mut sysctl = Command::new("ip");
    sysctl.args(["netns", "exec", a, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    succeed(&mut sysctl);
    let collector = ([10, 77, 0, 1], 2055).into();
    let mut destination = inside(b, || Destination::connect(collector).unwrap());
    let mut send = |octets: usize| {
        let sent = destination.send(&vec![0; octets]);
        thread::sleep(UNDER_WAY);
        match sent {
            Sent::Yes { refusals } => (refusals, None),
            Sent::TooLong {
                refusals,
                octets_max,
            } => (refusals, Some(octets_max)),
            Sent::Anew => panic!("the address is the same"),
            Sent::No { error, .. } => panic!("{error}"),
        }
    };
    assert_eq!(send(1400), (0, None), "nobody knows of the router yet");
    assert_eq!(send(1400), (0, Some(800 - 28)), "the kernel's own refusal");
    assert_eq!(send(800 - 28), (1, None), "the router's");
    assert_eq!(send(800 - 28), (0, None));
    // The next one asks the kernel, which knows by now.
    let mut next = inside(b, || Destination::connect(collector).unwrap());
    let sent = next.send(&[0; 1400]);
    assert!(
        matches!(sent, Sent::TooLong { refusals: 0, .. }),
        "{sent:?}"
    );
}

/// What a router on the way refuses is about datagrams that have left: the next is not lost to that answer.
#[test]
fn x01_a_router_that_refuses_for_a_moment_costs_no_datagram_after_it() {
    let world = World::new("x1r");
    let (a, b) = (&world.pair.a, &world.pair.b);
    for (end, number) in [(a, 1), (b, 2)] {
        ip(end, &format!("link set {end} arp on"));
        ip(end, &format!("addr add 10.66.0.{number}/24 dev {end}"));
    }
    ip(b, "route add 10.77.0.0/24 via 10.66.0.1");
    let mut sysctl = Command::new("ip");
    sysctl.args(["netns", "exec", a, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    succeed(&mut sysctl);
    let collector = ([10, 77, 0, 1], 2055).into();
    let mut destination = inside(b, || Destination::connect(collector).unwrap());
    let mut send = || {
        let sent = inside(b, || destination.send(b"flows"));
        thread::sleep(UNDER_WAY);
        sent
    };
    ip(a, "route add prohibit 10.77.0.1");
    let sent = send();
    assert!(matches!(sent, Sent::Yes { refusals: 0 }), "{sent:?}");
    let sent = send();
    assert!(matches!(sent, Sent::Yes { refusals: 1 }), "{sent:?}");
    ip(a, "route del prohibit 10.77.0.1");
    // What was refused last.
    let sent = send();
    assert!(matches!(sent, Sent::Yes { refusals: 1 }), "{sent:?}");
    // One of this machine's own stays.
    ip(b, "route del 10.77.0.0/24");
    let _ = send();
    let sent = send();
    assert!(matches!(sent, Sent::No { refusals: 0, .. }), "{sent:?}");
}

/// As when a lease ends: the kernel finds no way from an address that is gone, and a socket keeps to its own.
#[test]
fn x01_datagrams_leave_again_when_the_own_address_has_changed() {
    let world = World::new("x1a");
    let (a, b) = (&world.pair.a, &world.pair.b);
    for (end, number) in [(a, 1), (b, 2)] {
        ip(end, &format!("link set {end} arp on"));
        ip(end, &format!("addr add 10.66.0.{number}/24 dev {end}"));
    }
    let sink = Sink::at(a, "10.66.0.1:2055");
    let sensor = world.sensor("-n 10.66.0.1:2055 -t idle=100ms -t expint=50ms");
    let meter = |numbers: Range<u32>| {
        world.send(&flood_frames(numbers));
        thread::sleep(Duration::from_secs(2));
    };
    meter(0..100);
    ip(b, &format!("addr del 10.66.0.2/24 dev {b}"));
    // Meanwhile there is no way at all.
    meter(100..200);
    ip(b, &format!("addr add 10.66.0.3/24 dev {b}"));
    meter(200..300);
    let found = world.stop(sensor);
    let unsent = of(&found["records_unsent"], "records");
    let said = fs::read_to_string(world.path("log")).unwrap();
    assert!(unsent < 150, "{said}\n{found:#}");
    assert_eq!(
        sink.decode().records.len() as u64 + unsent,
        of(&found, "records")
    );
}

#[test]
fn x02_a_datagram_too_long_is_an_error_that_is_told() {
    let mut destination = Destination::connect(([127, 0, 0, 1], 9).into()).unwrap();
    match destination.send(&vec![0; 70_000]) {
        Sent::No { error, .. } => assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE)),
        other => panic!("70,000 octets are no datagram: {other:?}"),
    }
}

/// Templates that are sent again after an error must not push the open datagram beyond its size.
#[test]
fn x02_templates_sent_again_fit_the_datagram() {
    let (unix_ns, uptime_ms) = (1_700_000_000_000_000_000, 1000);
    let (now, record) = (ExportTime { unix_ns, uptime_ms }, FlowRecord::default());
    let both = |waiting| [(waiting, Version::V9), (waiting, Version::Ipfix)];
    for (waiting, version) in (0..30).flat_map(both) {
        let mut batcher = Batcher::new(BatchOptions::new(version));
        batcher.push(&record, &now);
        batcher.flush(&now).unwrap();
        for number in 0..100 {
            if number == waiting {
                batcher.send_templates_again();
            }
            if let Some(datagram) = batcher.push(&record, &now) {
                let octets = datagram.octets.len();
                let most = Version::DATAGRAM_OCTETS_MAX;
                assert!(octets <= most, "{octets}, {waiting}, {version:?}");
            }
        }
    }
}

#[test]
fn x03_a_collector_that_restarts_can_read_within_a_template_interval() {
    const TEMPLATE_DATAGRAMS: usize = 16;
    let world = World::new("x3");
    let sensor = world.controlled(SOON);
    let first = Sink::open(&world.pair.b);
    send(&world, 0..1000);
    let before = first.decode();
    assert_eq!((before.sums().0, before.unreadable), (1000, 0));
    send(&world, 1000..1200);
    let second = Sink::open(&world.pair.b);
    send(&world, 2000..3000);
    world.stop(sensor);
    let after = second.decode();
    let (datagrams, unreadable) = (after.counts.len(), after.unreadable);
    assert!(datagrams > TEMPLATE_DATAGRAMS, "{datagrams}");
    assert!(unreadable <= TEMPLATE_DATAGRAMS, "{unreadable}");
    // The numbers go on, so that the second collector's files show the gap.
    assert!(after.counts[0].0 > before.counts.last().unwrap().0);
}

#[test]
fn x04_sequence_numbers_are_exact() {
    let world = World::new("x4");
    let mut frames = flood_frames(0..2000);
    for number in 0..250 {
        let packet = traffic::ipv6([number; 16], [1; 16], 17, &[0; 20]);
        frames.push(traffic::ethernet(None, 0x86dd, &packet));
    }
    for run in [
        "-v 5",
        "-v 9",
        "-v 9 --sampling 3",
        "-v 10",
        "-v 10 --sampling 3",
    ] {
        let sink = Sink::open(&world.pair.b);
        let sensor = world.sensor(&format!("--direction in -n {COLLECTOR} {run}"));
        world.send(&frames);
        let found = world.stop(sensor);
        let decoded = sink.decode();
        let (records, datagrams) = (decoded.records.len(), decoded.counts.len());
        let arrived = format!("records_exported={records} datagrams_sent={datagrams}");
        expect(&found, &arrived);
        assert_eq!(decoded.unreadable, 0, "{run}");
        let sampled = of(&found, "sampled_out_packets") > 0;
        assert_eq!(sampled, run.contains("sampling"), "{run}");
        // v5 numbers records, v9 datagrams, IPFIX data records.
        let mut expected = 0;
        for (sequence, claimed, count) in decoded.counts {
            assert_eq!((sequence as usize, claimed), (expected, count), "{run}");
            expected += if run.contains("-v 9") { 1 } else { count };
        }
    }
}

#[test]
fn x05_a_dead_collector_does_not_disturb_another() {
    let world = World::new("x5");
    let sink = Sink::open(&world.pair.b);
    let sensor = match world.start(&format!("-n 127.0.0.1:2056 -n {COLLECTOR}")) {
        Ok(sensor) => sensor,
        Err(error) if error.to_string().contains("cannot be used multiple times") => {
            eprintln!("skipped: the sensor sends to one collector only");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    world.send(&flood_frames(0..2000));
    let found = world.stop(sensor);
    assert!(of(&found, "datagrams_refused") > 0, "{found:#}");
    let decoded = sink.decode();
    assert_eq!((decoded.sums().0, decoded.unreadable), (2000, 0));
}

#[test]
fn x06_behind_a_slow_socket_memory_stays_and_loss_is_counted() {
    const MORE_KIB_MAX: u64 = 16 << 10;
    let world = World::new("x6");
    let queue = |what: &str| {
        let mut tc = world.pair.command_in_b(Path::new("tc"));
        succeed(tc.arg("qdisc").args(what.split_whitespace()))
    };
    let sink = Sink::open(&world.pair.b);
    // A megabyte a second, some 18,000 records.
    queue("add dev lo root tbf rate 8mbit burst 16k limit 4mb");
    let sensor = world.sensor(&format!("-n {COLLECTOR} -m 768 --ring 65536"));
    let before = world.peak_kib();
    let reached = world.flood(200_000, |cpu, number| {
        traffic::flood_frame(cpu << 23 | number)
    });
    let after = world.peak_kib();
    assert!(after < before + MORE_KIB_MAX, "{before} KiB became {after}");
    queue("del dev lo root");
    let found = world.stop(sensor);
    expect(&found, &format!("packets={reached}"));
    assert!(of(&found, "ring_full_packets") > 1000, "{found:#}");
    // The collector is told (IE 164 to 168), and that of all which was sent before.
    let decoded = sink.decode();
    for (told, counted) in [
        ("not_sent_flows", "ring_full_flows records_unsent.records"),
        (
            "not_sent_packets",
            "ring_full_packets records_unsent.packets",
        ),
        ("not_sent_octets", "ring_full_octets records_unsent.octets"),
        ("ignored_packets", "table_busy_packets step_missing_packets"),
        ("ignored_octets", "table_busy_octets"),
        ("exported_flows", "records_exported"),
    ] {
        let counted = counted.split(' ').map(|name| of(&found, name));
        assert_eq!(decoded.counters[told], counted.sum::<u64>(), "{told}");
    }
    let mut names = decoded.interfaces.values();
    assert!(names.any(|name| *name == world.pair.b), "{found:#}");
}

/// The device's queue is the kernel's, and a call that waits for it would hold the thread, and with it all other
/// collectors, as long as the device likes.
#[test]
fn x06_a_device_that_takes_nothing_is_waited_for_within_bounds() {
    const DATAGRAMS: usize = 500;
    let world = World::new("x6d");
    let sink = Sink::open(&world.pair.b);
    let mut tc = world.pair.command_in_b(Path::new("tc"));
    // A datagram each second and a half, once 16 KB have left.
    let slow = "qdisc add dev lo root tbf rate 8kbit burst 16k limit 4mb";
    succeed(tc.args(slow.split(' ')));
    let collector = COLLECTOR.parse().unwrap();
    let mut destination = inside(&world.pair.b, || Destination::connect(collector).unwrap());
    let began = Instant::now();
    let unsent = (0..DATAGRAMS).filter(|_| match destination.send(&[0; 1400]) {
        Sent::Yes { .. } => false,
        Sent::No { error, .. } => {
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
            true
        }
        other => panic!("{other:?}"),
    });
    let unsent = unsent.count();
    let took = began.elapsed();
    assert!((1..DATAGRAMS).contains(&unsent), "{unsent}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    sink.close();
}
