//! `--pin`: what must not be left behind, and what must not be lost, when sensors come and go.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aya::maps::{Array, Map, MapData};
use weir_tests::{
    process::{Daemon, succeed},
    traffic::flood_frames,
    wire::Wire,
};

use crate::world::{COLLECTOR, Sink, UNDER_WAY, World, bpf::Bpf, expect, inside, ip, kill, of};

#[test]
fn a_start_that_fails_leaves_nothing() {
    let world = World::new("pnf");
    let bpf = Bpf::mount(&world);
    let start = |arguments: &[&str]| {
        let mut command = world.command("weir-sensor");
        let output = command.args(arguments).args(["--pin", &bpf.pin()]).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("there is no interface `absent`"), "{said}");
    };
    start(&["-i", "absent"]);
    assert_eq!(bpf.names(), [""; 0]);
    // The first interface had its programs by then.
    for tc in ["tcx", "clsact"] {
        start(&["-i", &world.pair.b, "-i", "absent", "--tc", tc]);
        assert_eq!(bpf.names(), [""; 0]);
        let shown = ip(&world.pair.b, &format!("-d link show {}", world.pair.b));
        assert!(
            !shown.contains("xdp") && !shown.contains("promiscuity 1"),
            "{shown}"
        );
        let mut tc = world.pair.command_in_b(Path::new("tc"));
        let shown = succeed(tc.args(["filter", "show", "dev", &world.pair.b, "egress"]));
        assert!(!shown.contains("weir"), "{shown}");
    }
}

/// `--pin` goes to a folder that is somebody else's.
#[test]
fn what_lies_in_an_ordinary_folder_stays() {
    let world = World::new("pno");
    let folder = world.path("mine");
    for name in ["table-3/SLOTS", "link-9-notes", "promiscuous-1"] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "dear").unwrap();
    }
    let folder_text = folder.display().to_string();
    for arguments in [&["--detach"][..], &["-i", &world.pair.b]] {
        let mut command = world.command("weir-sensor");
        command
            .args(arguments)
            .args(["--pin", &folder_text, "-c", "none"]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("is not in a BPF file system"), "{said}");
    }
    for name in ["table-3/SLOTS", "link-9-notes", "promiscuous-1"] {
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), "dear");
    }
}

/// Programs would go on in the other namespace.
#[test]
fn an_interface_that_goes_elsewhere_takes_no_program_along() {
    let world = World::new("pnm");
    let bpf = Bpf::mount(&world);
    let (a, b) = (&world.pair.a, &world.pair.b);
    let mut sensor = world.sensor(&format!("--pin {}", bpf.pin()));
    assert!(bpf.names().iter().any(|name| name.starts_with("link-")));
    ip(b, &format!("link set {b} netns {a}"));
    sensor.wait_for(&format!("{b} is gone")).unwrap();
    thread::sleep(UNDER_WAY);
    let names = bpf.names();
    assert!(
        names.iter().all(|name| name.starts_with("table")),
        "{names:?}"
    );
    assert!(!ip(a, &format!("link show {b}")).contains("xdp"));
    world.stop(sensor);
    bpf.detach(&world);
}

/// A start that fails when it has taken over from a dead sensor: what that one left is exported, and is in the
/// account.
#[track_caller]
fn assert_gives_an_account(world: &World, arguments: &[&str], reason: &str) {
    let bpf = Bpf::mount(world);
    let shared = format!("--direction in -t idle=1h --pin {}", bpf.pin());
    kill(world.sensor(&shared));
    world.send(&flood_frames(0..100));
    let sink = Sink::open(&world.pair.b);
    let mut command = world.command("weir-sensor");
    command.args(["-i", &world.pair.b, "-c", "none", "-n", COLLECTOR]);
    command.args(shared.split(' ')).args(arguments);
    command.arg("--statistics-json").arg(world.path("json"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    let last = said.lines().next_back().unwrap();
    assert!(last.contains(reason), "{said}");
    let found = crate::world::json(&world.path("json"));
    expect(&found, "adopted_packets=100 records_exported=100");
    crate::world::assert_account(&found);
    assert_eq!(sink.decode().sums().0, 100);
}

#[test]
fn a_start_that_fails_after_a_take_over_gives_an_account() {
    let world = World::new("pny");
    let reason = "there is no interface `absent`";
    assert_gives_an_account(&world, &["-i", "absent"], reason);
}

/// The last step of a start fails: it has begun to meter by then.
#[test]
fn a_start_without_room_for_its_process_number_gives_an_account() {
    let world = World::new("pnq");
    let pidfile = world.path("absent/pid").display().to_string();
    let arguments = ["--daemon", "--pidfile", &pidfile];
    assert_gives_an_account(&world, &arguments, "absent/pid: No such file");
}

#[test]
fn what_the_next_sensor_does_not_use_comes_off() {
    let world = World::new("pno");
    let bpf = Bpf::mount(&world);
    let first = world.sensor(&format!("--direction both --pin {}", bpf.pin()));
    world.send(&flood_frames(0..100));
    let found = world.stop(first);
    expect(&found, "ip_packets=100 adopted_packets=0");
    assert_eq!(bpf.names().len(), 4, "{:?}", bpf.names());
    world.send(&flood_frames(100..250));
    let second = world.sensor(&format!("--direction in --pin {}", bpf.pin()));
    world.send(&flood_frames(250..300));
    let found = world.stop(second);
    expect(&found, "ip_packets=50 adopted_packets=150");
    assert_eq!(bpf.names().len(), 3, "{:?}", bpf.names());
    bpf.detach(&world);
    assert!(!ip(&world.pair.b, &format!("link show {}", world.pair.b)).contains("xdp"));
}

/// A unit that is stopped must not go on metering because its configuration was edited meanwhile.
#[test]
fn programs_come_off_whatever_else_is_wrong() {
    let world = World::new("pdw");
    let bpf = Bpf::mount(&world);
    let (file, json) = (world.path("sensor.toml"), world.path("json"));
    for (text, said) in [
        ("nonsense = 1\n", "sensor.toml:1: nonsense: "),
        (
            "collector = [\"127.0.0.1:no-such-service\"]\n",
            "`no-such-service` is neither",
        ),
        ("netflow-version = \"psamp\"\n", "-v psamp"),
        ("filter = [\"no such filter\"]\n", ""),
    ] {
        kill(world.sensor(&format!("--direction in --pin {}", bpf.pin())));
        world.send(&flood_frames(0..10));
        fs::write(&file, text).unwrap();
        let mut detach = world.command("weir-sensor");
        detach
            .arg("--config")
            .arg(&file)
            .args(["--detach", "--pin"]);
        detach.arg(bpf.pin()).arg("--statistics-json").arg(&json);
        let output = detach.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}: {stderr}");
        assert!(stderr.contains(said), "{text}: {stderr}");
        assert!(!ip(&world.pair.b, &format!("link show {}", world.pair.b)).contains("xdp"));
        expect(&crate::world::json(&json), "adopted_packets=10");
    }
}

/// The kernel has no native program where there is a generic one, which is what an interface without XDP
/// of its own has.
#[test]
fn programs_are_taken_over_in_the_mode_they_are_in() {
    let world = World::new("png");
    let bpf = Bpf::mount(&world);
    let arguments = format!("--direction in --pin {}", bpf.pin());
    kill(world.sensor(&format!("{arguments} --xdp generic")));
    world.send(&flood_frames(0..10));
    let refused = world.start(&format!("{arguments} --xdp native"));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("start with --xdp generic"), "{refused}");
    let mut second = world.sensor(&arguments);
    second
        .wait_for("received packets with generic XDP")
        .unwrap();
    world.send(&flood_frames(10..15));
    let found = world.stop(second);
    expect(&found, "ip_packets=5 adopted_packets=10");
}

#[test]
fn half_a_table_does_not_keep_a_sensor_from_starting() {
    let world = World::new("pnh");
    let bpf = Bpf::mount(&world);
    fs::create_dir_all(Path::new(&bpf.pin()).join("table-7")).unwrap();
    let sensor = world.sensor(&format!("--pin {}", bpf.pin()));
    let second = world.start(&format!("--pin {}", bpf.pin())).unwrap_err();
    assert!(
        second.to_string().contains("another weir-sensor uses"),
        "{second}"
    );
    world.send(&flood_frames(0..10));
    drop(sensor);
    expect(&bpf.detach(&world), "adopted_packets=10");
}

/// Has a table say that another version laid it out.
fn lay_out_otherwise(bpf: &Bpf, table: &str) {
    let map = MapData::from_pin(Path::new(&bpf.pin()).join(table).join("IDENTITY")).unwrap();
    let mut identity: Array<MapData, u64> = Map::Array(map).try_into().unwrap();
    identity.set(0, u64::MAX, 0).unwrap();
}

/// An upgrade must not leave an interface that nobody meters.
#[test]
fn a_table_of_another_layout_is_removed_and_its_programs_are_exchanged() {
    const SENTENCE: &str =
        "lays tables out in another way: the flows that were in it are not exported";
    let world = World::new("pnv");
    let bpf = Bpf::mount(&world);
    let arguments = format!("--direction in -t idle=1h --pin {}", bpf.pin());
    kill(world.sensor(&arguments));
    world.send(&flood_frames(0..10));
    lay_out_otherwise(&bpf, "table-0");
    let mut second = world.sensor(&arguments);
    second.wait_for(SENTENCE).unwrap();
    world.send(&flood_frames(10..15));
    expect(&world.stop(second), "ip_packets=5 adopted_packets=0");
    let names = bpf.names();
    assert_eq!(
        (names.len(), names[2].as_str()),
        (3, "table-1"),
        "{names:?}"
    );

    lay_out_otherwise(&bpf, "table-1");
    let mut detach = world.command("weir-sensor");
    let output = detach.args(["--detach", "--pin", &bpf.pin()]).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(SENTENCE), "{said}");
    assert_eq!(bpf.names(), [""; 0]);
    assert!(!ip(&world.pair.b, &format!("link show {}", world.pair.b)).contains("xdp"));
}

/// The kernel numbers links as they are made. What leaves an interface may have come in by any other, and is
/// to be known as metered by then.
#[test]
fn all_that_is_received_is_seen_before_anything_that_is_sent() {
    let world = World::new("pns");
    let bpf = Bpf::mount(&world);
    ip(&world.pair.b, "link add first type veth peer name second");
    let pin = bpf.pin();
    let sensor = world.sensor(&format!("-i first -i second --direction both --pin {pin}"));
    let made = |is_egress: bool| -> Vec<u32> {
        let names = bpf.names().into_iter();
        let names = names
            .filter(|name| name.starts_with("link-") && name.ends_with("-egress") == is_egress);
        names
            .map(|name| {
                let link = weir_sensor::pin::adopt(&Path::new(&pin).join(name));
                link.unwrap().info().unwrap().id()
            })
            .collect()
    };
    let (received, sent) = (made(false), made(true));
    assert_eq!((received.len(), sent.len()), (3, 3));
    assert!(
        received.iter().max() < sent.iter().min(),
        "{received:?} {sent:?}"
    );
    world.stop(sensor);
}

/// A mirror port's card would keep back what is for other hosts while no process runs.
#[test]
fn promiscuous_mode_stays_with_pinned_programs_and_goes_with_them() {
    let world = World::new("pnp");
    let bpf = Bpf::mount(&world);
    let b = &world.pair.b;
    // What sockets want is not shown there.
    let is_promiscuous = || ip(b, &format!("link show {b}")).contains("PROMISC");
    let arguments = format!("--direction in --pin {}", bpf.pin());
    world.stop(world.sensor("--direction in"));
    assert!(!is_promiscuous());
    world.stop(world.sensor(&arguments));
    assert!(is_promiscuous());
    kill(world.sensor(&arguments));
    assert!(is_promiscuous());
    // A sensor that is to do without takes it back, and so does the end.
    let second = world.sensor(&format!("{arguments} --no-promiscuous"));
    assert!(!is_promiscuous());
    world.stop(second);
    world.stop(world.sensor(&arguments));
    bpf.detach(&world);
    assert!(!is_promiscuous());
    assert_eq!(bpf.names(), [""; 0]);
    // What an administrator gave is not ours to take.
    ip(b, &format!("link set {b} promisc on"));
    world.stop(world.sensor(&arguments));
    bpf.detach(&world);
    assert!(is_promiscuous());
}

#[test]
fn a_pinned_link_comes_off_before_its_file_is_gone() {
    let world = World::new("pnu");
    let bpf = Bpf::mount(&world);
    kill(world.sensor(&format!("--direction in --pin {}", bpf.pin())));
    let b = &world.pair.b;
    let is_attached = || ip(b, &format!("link show {b}")).contains("xdp");
    assert!(is_attached(), "it is pinned");
    let names = bpf.names();
    let link = names.iter().find(|name| name.starts_with("link-")).unwrap();
    weir_sensor::link::detach(&Path::new(&bpf.pin()).join(link)).unwrap();
    assert!(!is_attached());
    assert_eq!(bpf.names(), names);
    // What is off already is nothing that `--detach` stumbles over.
    bpf.detach(&world);
    assert_eq!(bpf.names(), [""; 0]);
}

/// Ended half way it would leave what it had sent in the table, and the next would send it again.
#[test]
fn taking_off_is_not_interrupted() {
    const FLOWS: u32 = 50_000;
    let world = World::new("pni");
    let bpf = Bpf::mount(&world);
    kill(world.sensor(&format!("--direction in -t idle=1h --pin {}", bpf.pin())));
    world.send(&flood_frames(0..FLOWS));
    let path = world.path("json");
    let mut command = world.command("weir-sensor");
    command.args(["--detach", "--pin", &bpf.pin(), "-n", COLLECTOR]);
    command.arg("--statistics-json").arg(&path);
    let mut detach = Daemon::start(command, &world.path("log")).unwrap();
    // Its work begins when links go.
    let has_links = || bpf.names().iter().any(|name| name.starts_with("link-"));
    let mut tries = (0..100_000).map(|_| thread::sleep(Duration::from_micros(100)));
    assert!(tries.any(|()| !has_links()), "{}", detach.log());
    detach.signal(libc::SIGINT);
    detach.signal(libc::SIGTERM);
    let status = detach.wait(Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{}", detach.log());
    expect(
        &crate::world::json(&path),
        &format!("adopted_packets={FLOWS}"),
    );
    assert_eq!(bpf.names(), [""; 0]);
}

/// Sends frames of 500 flows, five at a time, until it is told to stop; how many.
pub fn send_until(stop: &AtomicBool, namespace: &str, pause: Duration) -> u64 {
    inside(namespace, || {
        let (wire, frames, mut sent) = (Wire::open(namespace).unwrap(), flood_frames(0..500), 0);
        while !stop.load(Ordering::Relaxed) {
            for frame in frames.iter().skip(sent % 500).take(5) {
                wire.send(frame).unwrap();
                sent += 1;
            }
            thread::sleep(pause);
        }
        sent as u64
    })
}

/// Packets come in as fast as they can while the programs are taken off: nobody meters into a table that
/// is being read, so what was counted is what was in it.
#[test]
fn programs_are_off_before_their_table_is_read() {
    let world = World::new("pnd");
    let bpf = Bpf::mount(&world);
    let path = world.path("json");
    for _ in 0..5 {
        let sensor = world.sensor(&format!("--direction in -t idle=1h --pin {}", bpf.pin()));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| send_until(&stop, &world.pair.a, Duration::ZERO));
            thread::sleep(UNDER_WAY);
            kill(sensor);
            let mut detach = world.command("weir-sensor");
            detach.args(["--detach", "--statistics-json"]).arg(&path);
            let output = detach.args(["--pin", &bpf.pin()]).output();
            // Before anything can fail: the sender would go on for ever.
            stop.store(true, Ordering::Relaxed);
            assert!(output.unwrap().status.success());
        });
        let found = crate::world::json(&path);
        assert!(of(&found, "adopted_packets") > 1000, "{found:#}");
        expect(&found, "adopted_taken_packets=0 adopted_taken_octets=0");
    }
}
