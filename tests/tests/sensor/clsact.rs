//! Filters of clsact, which outlive a sensor that is killed: the next one replaces them, and leaves others' alone.

use std::{path::Path, process::Output, thread, time::Duration};

use weir_tests::{
    process::{Daemon, succeed},
    traffic::flood_frames,
};

use crate::{
    pins::send_until,
    world::{UNDER_WAY, World, bpf::Bpf, expect, kill, of, send_from},
};

/// Filters of ours at the hooks, as `tc` shows them: for received packets, for sent ones.
fn filters(world: &World) -> (usize, usize) {
    let at = |hook: &str| {
        let mut tc = world.pair.command_in_b(Path::new("tc"));
        let shown = succeed(tc.args(["filter", "show", "dev", &world.pair.b, hook]));
        shown.matches("handle 0x").count()
    };
    (at("ingress"), at("egress"))
}

fn has_clsact(world: &World) -> bool {
    let mut tc = world.pair.command_in_b(Path::new("tc"));
    succeed(tc.args(["qdisc", "show", "dev", &world.pair.b])).contains("clsact")
}

/// Unless somebody else has put a filter there.
#[test]
fn the_hook_goes_with_the_sensor_that_added_it() {
    let world = World::new("tcg");
    let sensor = world.sensor("--tc clsact --xdp off");
    assert!(has_clsact(&world));
    world.stop(sensor);
    assert!(!has_clsact(&world));
    let sensor = world.sensor("--tc clsact --xdp off");
    let mut tc = world.pair.command_in_b(Path::new("tc"));
    tc.args(["filter", "add", "dev", &world.pair.b, "egress"]);
    succeed(tc.args(["bpf", "da", "bytecode", "1,6 0 0 0,"]));
    world.stop(sensor);
    assert!(has_clsact(&world));
}

fn detach(world: &World) -> Output {
    let mut detach = world.command("weir-sensor");
    let output = detach.args(["--detach", "-i", &world.pair.b]).output();
    output.unwrap()
}

#[test]
fn filters_of_a_killed_sensor_are_replaced_or_taken_off() {
    let world = World::new("tcr");
    kill(world.sensor("--tc clsact --xdp off"));
    assert_eq!(filters(&world), (1, 1), "they stay");
    let mut sensor = world.sensor("--tc clsact --direction out");
    sensor.wait_for("replaced or taken off: 2").unwrap();
    assert_eq!(filters(&world), (0, 1));
    send_from(&world.pair.b, &flood_frames(0..100));
    expect(&world.stop(sensor), "ip_packets=100");
    assert_eq!(filters(&world), (0, 0));
    assert!(has_clsact(&world), "it was there before");
    // tcx, where the kernel has it, looks for them too.
    kill(world.sensor("--tc clsact --xdp off"));
    let mut sensor = world.sensor("");
    sensor.wait_for("replaced or taken off: 2").unwrap();
    world.stop(sensor);
    assert_eq!(filters(&world), (0, 0));
}

#[test]
fn filters_of_a_killed_sensor_can_be_taken_off() {
    let world = World::new("tcd");
    let sensor = world.sensor("--tc clsact --direction out");
    let output = detach(&world);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("lives"), "{said}");
    kill(sensor);
    assert_eq!(filters(&world), (0, 1));
    let output = detach(&world);
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "took off 1 tc filters";
    assert!(output.status.success() && said.contains(expected), "{said}");
    assert_eq!(filters(&world), (0, 0));
}

/// tc's older hook takes filters for what is sent, and runs them on what is received.
#[test]
fn where_the_older_hook_is_what_is_sent_is_not_metered_by_filters() {
    let world = World::new("tci");
    let mut tc = world.pair.command_in_b(Path::new("tc"));
    succeed(tc.args(["qdisc", "add", "dev", &world.pair.b, "ingress"]));
    for way in ["--tc clsact", "--tc clsact --xdp off"] {
        let refused = world.start(way).unwrap_err().to_string();
        let expected = format!("`tc qdisc del dev {} ingress`", world.pair.b);
        assert!(refused.contains(&expected), "{refused}");
    }
    assert_eq!(filters(&world), (0, 0));
    let sensor = world.sensor("--tc clsact --xdp off --direction in");
    world.send(&flood_frames(0..100));
    expect(&world.stop(sensor), "ip_packets=100");
}

#[test]
fn a_filter_has_one_sensor_that_lives() {
    let world = World::new("tcl");
    let first = world.sensor("--tc clsact --direction out");
    let second = world.start("--tc clsact --direction out").unwrap_err();
    let expected = "another weir-sensor that lives";
    assert!(second.to_string().contains(expected), "{second}");
    send_from(&world.pair.b, &flood_frames(0..10));
    expect(&world.stop(first), "ip_packets=10");
}

/// One that stood still for a while finds another's filter where it had its own, and leaves it there.
#[test]
fn a_filter_that_is_another_sensors_by_now_is_left_alone() {
    let world = World::new("tco");
    let b = &world.pair.b;
    let options = "--tc clsact --direction out";
    let mut first = world.sensor(options);
    first.signal(libc::SIGSTOP);
    let mut tc = world.pair.command_in_b(Path::new("tc"));
    succeed(tc.args(["filter", "del", "dev", b, "egress"]));
    let path = world.path("second");
    let mut command = world.command("weir-sensor");
    command.args(["-i", b, "-c", "none", "--statistics-json"]);
    command.arg(&path).args(options.split(' '));
    let mut second = Daemon::start(command, &world.path("second.log")).unwrap();
    second.wait_for("flow table").unwrap();
    first.signal(libc::SIGCONT);
    first.wait_for("another weir-sensor that lives").unwrap();
    // Each looks once a second.
    thread::sleep(Duration::from_secs(2));
    send_from(b, &flood_frames(0..10));
    thread::sleep(UNDER_WAY);
    assert!(!second.log().contains("taken off"), "{}", second.log());
    assert!(second.stop().unwrap().success());
    expect(&crate::world::json(&path), "ip_packets=10");
    expect(&world.stop(first), "ip_packets=0");
}

#[test]
fn a_filter_that_was_taken_off_is_put_back() {
    let world = World::new("tcb");
    let b = &world.pair.b;
    let mut sensor = world.sensor("--tc clsact --direction out");
    let mut tc = world.pair.command_in_b(Path::new("tc"));
    succeed(tc.args(["filter", "del", "dev", b, "egress"]));
    let sentence = format!("the program was taken off {b}: attached again");
    sensor.wait_for(&sentence).unwrap();
    send_from(b, &flood_frames(0..100));
    expect(&world.stop(sensor), "ip_packets=100");
}

/// Frames are sent without a pause while a sensor is killed and the next one takes over.
#[test]
fn pinned_filters_see_every_packet() {
    let world = World::new("tcp");
    let bpf = Bpf::mount(&world);
    let pin = bpf.pin();
    let arguments = format!("--tc clsact --xdp off --direction in -t idle=1h --pin {pin}");
    let (a, pause) = (&world.pair.a, Duration::from_millis(1));
    let (sent, second) = world.take_over(&arguments, |stop| send_until(stop, a, pause));
    thread::sleep(UNDER_WAY);
    let (_, dropped) = world.pair.received_and_dropped().unwrap();
    let found = world.stop(second);
    let (before, after) = (of(&found, "adopted_seen.packets"), of(&found, "packets"));
    assert!(before > 1000 && after > 500, "{found:#}");
    assert_eq!(before + after + dropped, sent, "{found:#}");
    expect(&found, "adopted_lost_packets=0 adopted_taken_packets=0");
    assert_eq!(filters(&world), (1, 0), "it goes on");
    bpf.detach(&world);
    assert_eq!(filters(&world), (0, 0));
}
