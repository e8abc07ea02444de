//! S14 and S15: the interface changes under the sensor, and the sensor is killed.

use std::{fs, process::Command, thread};

use weir_tests::{
    process::{Daemon, succeed},
    traffic::flood_frames,
};

use crate::world::{COLLECTOR, Sink, UNDER_WAY, World, bpf::Bpf, expect, ip, kill};

/// The id of the sensor's XDP link, which the kernel tells of each descriptor.
fn xdp_link(world: &World) -> String {
    let folder = world.process().join("fdinfo");
    let files = fs::read_dir(folder).unwrap().flatten();
    let mut texts = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default());
    let text = texts.find(|text| text.contains("link_type:\txdp")).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("link_id:"));
    id.unwrap().trim().to_owned()
}

#[test]
fn s14_the_interface_goes_comes_back_and_changes_its_name() {
    let world = World::new("s14");
    let (a, b) = (&world.pair.a, &world.pair.b);
    let frames = flood_frames(0..100);
    let mut sensor = world.sensor("");
    let mut says = |sentence: &str| sensor.wait_for(sentence).unwrap();
    world.send(&frames);

    ip(b, &format!("link set {b} down"));
    ip(b, &format!("link set {b} up"));
    world.wait_until_up(a, b);
    world.send(&frames);

    succeed(Command::new("bpftool").args(["link", "detach", "id", &xdp_link(&world)]));
    says(&format!("the program was taken off {b}: attached again"));
    world.send(&frames);

    ip(a, &format!("link del {a}"));
    says(&format!("{b} is gone"));
    let pair = format!("link add {a} type veth peer name {b} netns {b}");
    ip(a, &pair);
    for end in [a, b] {
        ip(end, &format!("link set {end} arp off up"));
    }
    says(&format!("{b} is back: attached again"));
    world.wait_until_up(a, b);
    world.send(&frames);

    ip(b, &format!("link set {b} down"));
    ip(b, &format!("link set {b} name {b}x"));
    ip(b, &format!("link set {b}x up"));
    says(&format!("{b} was renamed to {b}x"));
    world.wait_until_up(a, &format!("{b}x"));
    world.send(&frames);

    // A card that is plugged in again has the name it had before somebody changed that.
    ip(a, &format!("link del {a}"));
    says(&format!("{b}x is gone"));
    ip(a, &pair);
    for end in [a, b] {
        ip(end, &format!("link set {end} arp off up"));
    }
    says(&format!("{b} is back: attached again"));
    world.wait_until_up(a, b);
    world.send(&frames);

    expect(&world.stop(sensor), "ip_packets=600 ip_octets=24000");
}

#[test]
fn s14_an_interface_that_comes_back_without_the_headers_it_had_is_not_misread() {
    let world = World::new("s14r");
    let b = &world.pair.b;
    let make = |mode: &str| {
        ip(b, &format!("tuntap add dev kind0 mode {mode}"));
        ip(b, "link set kind0 up");
    };
    make("tun");
    let mut command = world.command("weir-sensor");
    command.args(["-i", "kind0", "-c", "none"]);
    let mut sensor = Daemon::start(command, &world.path("log")).unwrap();
    sensor.wait_for("metering").unwrap();
    ip(b, "link del kind0");
    sensor.wait_for("kind0 is gone").unwrap();
    make("tap");
    let refused = "kind0 is back, but not metered: it has Ethernet headers now: restart the sensor";
    sensor.wait_for(refused).unwrap();
    ip(b, "link del kind0");
    make("tun");
    sensor.wait_for("kind0 is back: attached again").unwrap();
    assert!(sensor.stop().unwrap().success());
}

/// Without `--pin`, `crash.rs` has it.
#[test]
fn s15_a_killed_sensor_blocks_nothing_and_with_pin_loses_nothing() {
    let world = World::new("s15");
    let b = &world.pair.b;
    let has_program = || ip(b, &format!("link show {b}")).contains("xdp");
    let frames = flood_frames(0..300);
    let bpf = Bpf::mount(&world);
    let arguments = format!("-n {COLLECTOR} -t idle=1h --pin {}", bpf.pin());
    let sink = Sink::open(b);
    let first = world.sensor(&arguments);
    world.send(&frames);
    kill(first);
    assert!(has_program(), "the program goes on metering");
    world.send(&frames);
    let second = world.sensor(&arguments);
    world.send(&frames);
    let found = world.stop(second);
    expect(
        &found,
        "packets=300 adopted_packets=600 adopted_octets=24000",
    );

    kill(world.sensor(&arguments));
    assert!(has_program());
    let (before, _) = world.pair.received_and_dropped().unwrap();
    world.send(&frames);
    thread::sleep(UNDER_WAY);
    let (after, _) = world.pair.received_and_dropped().unwrap();
    assert_eq!(after - before, 300, "traffic passes");
    let mut detach = world.command("weir-sensor");
    succeed(detach.args(["-n", COLLECTOR, "--detach", "--pin", &bpf.pin()]));
    assert!(!has_program(), "--detach takes it off");
    assert_eq!(sink.decode().sums(), (1200, 48_000), "all four times");
}
