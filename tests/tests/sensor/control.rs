//! The control socket of a running sensor: softflowctl's words, Weir's own, and clients that are up to
//! no good. Debian's softflowctl asks Weir, and weir-ctl asks Debian's softflowd.

use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_tests::{
    process::{Daemon, binaries, built},
    traffic::{self, flood_frame, flood_frames},
};

use crate::world::{COLLECTOR, Sink, World, expect, of};

/// An answer without process numbers.
fn without_pid(answer: &str) -> String {
    let lines = answer.lines().map(|line| match line.split_once("]: ") {
        Some((head, rest)) if head.starts_with("softflowd[") => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn statistics_tell_what_was_sent_and_flows_what_is_there() {
    let world = World::new("ct1");
    let sensor = world.controlled("-t idle=60");
    world.send(&flood_frames(0..100));
    let statistics = world.wait_for_answer("statistics", "Number of active flows: 100\n");
    for words in [
        "Packets processed: 100\n",
        "Fragments: 0\n",
        "Ignored packets: 0 (0 non-IP, 0 too short)\n",
        "Flows expired: 0 (0 forced)\n",
        "Packets received by libpcap: 100\n",
        "Packets dropped by libpcap: 0\n",
    ] {
        assert!(statistics.contains(words), "{words} in {statistics}");
    }
    assert_eq!(world.ask("flows").lines().count(), 101);
    let dump = world.ask("dump-flows");
    assert_eq!(dump.matches("ACTIVE seq:").count(), 100, "{dump}");
    assert!(dump.contains(
        "[11.0.0.7]:1024 <> [198.51.100.1]:80 proto:6 octets>:40 packets>:1 octets<:0 packets<:0 "
    ));
    let top = world.ask("top by dstport");
    let all = top.lines().nth(1).unwrap();
    let words: Vec<_> = all.split_whitespace().collect();
    assert_eq!(words, ["80", "4000", "100", "100"], "{top}");
    assert!(world.ask("interfaces").contains(&world.pair.b));
    let json: Value = serde_json::from_str(&world.ask("statistics --json")).unwrap();
    expect(&json, "active_flows=100 packets=100 left_packets=100");
    expect(&world.stop(sensor), "ip_packets=100 deleted_packets=0");
}

#[test]
fn expiring_and_deleting_are_counted_apart() {
    let world = World::new("ct2");
    let sink = Sink::open(&world.pair.b);
    let sensor = world.controlled(&format!("-t idle=60 -n {COLLECTOR}"));
    world.send(&flood_frames(0..30));
    world.wait_for_answer("statistics", "Number of active flows: 30\n");
    assert_eq!(without_pid(&world.ask("expire-all")), "Expired 30 flows.");
    // Who was answered finds them sent.
    let statistics = world.ask("statistics");
    assert!(
        statistics.contains("Flows exported: 30 (30 records) in "),
        "{statistics}"
    );
    world.send(&flood_frames(30..50));
    world.wait_for_answer("statistics", "Number of active flows: 20\n");
    assert_eq!(without_pid(&world.ask("delete-all")), "Deleted 20 flows.");
    assert_eq!(without_pid(&world.ask("delete-all")), "Deleted 0 flows.");
    let statistics = world.ask("statistics");
    assert!(
        statistics.contains("Flows expired: 30 (0 forced)\n"),
        "{statistics}"
    );
    assert!(
        statistics.contains("   flushed =        30\n"),
        "{statistics}"
    );
    let found = world.stop(sensor);
    expect(
        &found,
        "ip_packets=50 deleted_flows=20 deleted_packets=20 deleted_octets=800 records_exported=30",
    );
    assert_eq!(sink.decode().sums(), (30, 1200));
}

#[test]
fn shutdown_exports_and_exit_does_not() {
    for (word, answer, exported) in [
        ("shutdown", "Shutting down gracefully...", 25),
        ("exit", "Exiting now...", 0),
    ] {
        let world = World::new("ct3");
        let mut sensor = world.controlled("-t idle=60");
        world.send(&flood_frames(0..25));
        world.wait_for_answer("statistics", "Number of active flows: 25\n");
        assert_eq!(without_pid(&world.ask(word)), answer);
        let status = sensor.wait(Duration::from_secs(20)).unwrap();
        assert!(status.success(), "{}", sensor.log());
        let found = crate::world::json(&world.path("json"));
        crate::world::assert_account(&found);
        let deleted = 25 - exported;
        expect(
            &found,
            &format!("packets_exported={exported} deleted_packets={deleted}"),
        );
        assert!(!world.control().exists(), "the socket is removed");
    }
}

#[test]
fn gathering_stops_and_goes_on() {
    let world = World::new("ct4");
    let mut sensor = world.controlled("-t idle=60");
    world.send(&flood_frames(0..10));
    world.wait_for_answer("statistics", "Number of active flows: 10\n");
    assert_eq!(
        without_pid(&world.ask("stop-gather")),
        "Data collection stopped."
    );
    world.send(&flood_frames(10..30));
    assert!(world.ask("interfaces").contains("nothing now"));
    assert_eq!(
        without_pid(&world.ask("start-gather")),
        "Data collection resumed."
    );
    sensor.wait_for("attached again").unwrap();
    world.send(&flood_frames(30..70));
    world.wait_for_answer("statistics", "Number of active flows: 50\n");
    expect(&world.stop(sensor), "packets=50 ip_packets=50");
}

#[test]
fn timeouts_are_told_and_set() {
    let world = World::new("ct5");
    let sensor = world.controlled("-t idle=60 -t expint=1");
    let timeouts = world.ask("timeouts");
    assert!(
        timeouts.contains("           UDP timeout: 60s\n"),
        "{timeouts}"
    );
    assert_eq!(
        without_pid(&world.ask("timeouts set tcp=200ms")).trim(),
        "Set tcp=200ms."
    );
    for (wrong, words) in [
        ("timeouts set ftp=3", "no timeout is called `ftp`"),
        ("timeouts set udp=soon", "is no time"),
        ("timeouts set general=0", "last resort"),
    ] {
        let refused = world.ask(wrong);
        assert!(
            refused.starts_with("Refused: ") && refused.contains(words),
            "{refused}"
        );
    }
    world.send(&flood_frames(0..10));
    // Their timeout was a minute.
    world.wait_for_answer("statistics", "Flows expired: 10 (0 forced)\n");
    expect(&world.stop(sensor), "expired.tcp.records=10");
}

/// Silent clients, slow ones, garbage and ten thousand connections: flows expire and are exported all
/// the while, memory stays, and whoever asks is answered.
#[test]
fn bad_clients_delay_nothing() {
    const SILENT: usize = 200;
    const CONNECTIONS: u32 = 10_000;
    const MORE_KIB_MAX: u64 = 64 << 10;
    let world = World::new("ct6");
    let sink = Sink::open(&world.pair.b);
    let sensor = world.controlled(&format!(
        "-t tcp=1h -t udp=200ms -t expint=100ms -n {COLLECTOR}"
    ));
    world.send(&flood_frames(0..20_000));
    world.wait_for_answer("statistics", "Number of active flows: 20000\n");
    let before = world.peak_kib();
    let connect = || UnixStream::connect(world.control()).unwrap();
    let silent: Vec<_> = (0..SILENT).map(|_| connect()).collect();
    // They ask for all flows, and read none.
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(b"dump-flows\n").unwrap();
            stream
        })
        .collect();
    for number in 0..CONNECTIONS {
        let mut stream = connect();
        // Some say something; that the sensor has gone by then is as good.
        if number % 3 == 0 {
            let _ = stream.write_all(&[0xff; 300]);
        }
    }
    // A flow that is over after 200 ms is exported while all of this goes on.
    let packet = traffic::ipv4(
        [192, 0, 2, 1],
        [192, 0, 2, 2],
        17,
        &[0, 7, 0, 9, 0, 8, 0, 0],
    );
    world.send(&[traffic::ethernet(None, 0x0800, &packet)]);
    world.wait_for_answer("statistics", "Flows expired: 1 (0 forced)\n");
    let after = world.peak_kib();
    assert!(after < before + MORE_KIB_MAX, "{before} KiB became {after}");
    drop((silent, slow));
    let found = world.stop(sensor);
    expect(&found, "ip_packets=20001 expired.udp.records=1");
    assert_eq!(sink.decode().sums().0, 20_001);
}

/// Flows are looked at while the table is full and every packet pushes one out: none is told that
/// never was.
#[test]
fn a_look_at_a_table_in_flux_tells_no_flow_that_never_was() {
    let world = World::new("ct7");
    let sensor = world.controlled("-m 1000 -t idle=60 -t expint=50ms");
    let done = AtomicBool::new(false);
    let mut lines = 0;
    thread::scope(|scope| {
        let (world, done) = (&world, &done);
        scope.spawn(move || {
            world.flood(150_000, |cpu, number| flood_frame(cpu << 23 | number));
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            for line in world.ask("flows").lines().skip(1) {
                if line.ends_with("are not listed") {
                    continue;
                }
                let words: Vec<_> = line.split_whitespace().collect();
                assert!(
                    words[1].starts_with("11.") && words[1].ends_with(":1024"),
                    "{line}"
                );
                assert_eq!(words[2], "198.51.100.1:80", "{line}");
                // Each is a SYN of forty octets.
                assert_eq!(words[3..6], ["1", "40", "02"], "{line}");
                lines += 1;
            }
        }
    });
    assert!(lines > 1000, "{lines} flows were looked at");
    let found = world.stop(sensor);
    assert!(of(&found, "evicted_flows") > 1000, "{found:#}");
}

#[test]
fn a_second_sensor_is_refused_the_socket_and_a_dead_ones_is_replaced() {
    let world = World::new("ct8");
    let mut first = world.controlled("-t idle=60");
    let mut second = world.command("weir-sensor");
    second.args(["-i", "lo", "-c"]).arg(world.control());
    let output = second.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another sensor answers at"), "{said}");
    assert!(world.ask("timeouts").contains("60s"), "the first goes on");
    first.signal(libc::SIGKILL);
    first.wait(Duration::from_secs(10)).unwrap();
    assert!(world.control().exists(), "nobody removed it");
    let third = world.controlled("-t idle=50");
    assert!(world.ask("timeouts").contains("50s"));
    world.stop(third);
}

fn weir_ctl(socket: &Path, words: &[&str]) -> Output {
    let mut command = built("weir-ctl").unwrap();
    command.arg("-c").arg(socket).args(words).output().unwrap()
}

#[test]
fn weir_ctl_asks_and_its_status_tells() {
    let world = World::new("ct9");
    let sensor = world.controlled("-t idle=60");
    let socket = world.control();
    assert!(text(&weir_ctl(&socket, &["statistics"])).contains("Number of active flows:"));
    let json: Value =
        serde_json::from_str(&text(&weir_ctl(&socket, &["statistics", "--json"]))).unwrap();
    expect(&json, "active_flows=0");
    text(&weir_ctl(&socket, &["top", "by", "proto", "3"]));
    // The sensor opens libpcap now, which it still may.
    world.send(&[flood_frame(1)]);
    world.wait_for_answer("flows tcp and port 80", "198.51.100.1:80");
    let udp = text(&weir_ctl(&socket, &["flows", "udp", "or", "port", "443"]));
    assert_eq!(udp.lines().count(), 1, "{udp}");
    for (words, said) in [
        (&["statistic"][..], "Unknown control command \"statistic\""),
        (&["flows", "porf", "80"], "the filter `porf 80`"),
        (&["top", "by", "srcip", "vlan", "3"], "the filter `vlan 3`"),
    ] {
        let output = weir_ctl(&socket, words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(error.contains(said) && output.stdout.is_empty(), "{error}");
    }
    world.stop(sensor);
    let output = weir_ctl(&socket, &["statistics"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("no sensor answers at {}: start it", socket.display());
    assert!(error.contains(&expected), "{error}");
}

/// `softflowctl -c SOCKET WORD`.
fn softflowctl(program: &Path, socket: &Path, word: &str) -> String {
    let mut command = Command::new(program);
    command.arg("-c").arg(socket).arg(word);
    text(&command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask setup --peers` installs it")
    }))
}

/// Debian's softflowctl, and weir-ctl by its name, get the same from Weir.
#[test]
fn debians_softflowctl_asks_weir() {
    let world = World::new("cta");
    let sensor = world.controlled("-t idle=60");
    let ours = world.path("softflowctl");
    std::os::unix::fs::symlink(binaries().unwrap().join("weir-ctl"), &ours).unwrap();
    world.send(&flood_frames(0..5));
    world.wait_for_answer("statistics", "Number of active flows: 5\n");
    for word in [
        "help",
        "timeouts",
        "statistics",
        "debug+",
        "debug-",
        "nonsense",
    ] {
        let debians = softflowctl(Path::new("softflowctl"), &world.control(), word);
        assert_eq!(
            debians,
            softflowctl(&ours, &world.control(), word),
            "{word}"
        );
        assert!(!debians.is_empty(), "{word}");
    }
    let dump = softflowctl(Path::new("softflowctl"), &world.control(), "dump-flows");
    assert_eq!(dump.matches("ACTIVE seq:").count(), 5, "{dump}");
    for (arguments, status) in [(&["-h"][..], 0), (&[], 1), (&["-x"], 1), (&["a", "b"], 1)] {
        for program in [Path::new("softflowctl"), &ours] {
            let output = Command::new(program).args(arguments).output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(status),
                "{program:?} {arguments:?}"
            );
            assert!(output.stdout.is_empty(), "{program:?} {arguments:?}");
        }
    }
    assert_eq!(
        without_pid(&softflowctl(
            Path::new("softflowctl"),
            &world.control(),
            "expire-all"
        )),
        "Expired 5 flows."
    );
    world.stop(sensor);
}

/// softflowd and Weir called by its name, side by side: the same words are answered alike.
#[test]
fn softflowd_and_weir_answer_weir_ctl_alike() {
    let world = World::new("ctb");
    let theirs = world.path("theirs");
    let mut command = world.pair.command_in_b(Path::new("softflowd"));
    command.args(["-d", "-i", "lo", "-c"]).arg(&theirs);
    let mut softflowd = Daemon::start(command, &world.path("softflowd.log")).unwrap();
    softflowd.wait_for("starting data collection").unwrap();
    let called = world.path("softflowd");
    std::os::unix::fs::symlink(binaries().unwrap().join("weir-sensor"), &called).unwrap();
    let mut command = world.pair.command_in_b(&called);
    command.args(["-d", "-i", "lo", "-c"]).arg(world.control());
    let mut weir = Daemon::start(command, &world.path("weir.log")).unwrap();
    weir.wait_for("starting data collection").unwrap();
    let both = |word: &str| {
        [&theirs, &world.control()].map(|socket| without_pid(&text(&weir_ctl(socket, &[word]))))
    };
    for word in [
        "timeouts",
        "debug+",
        "debug-",
        "send-template",
        "stop-gather",
        "start-gather",
        "dump-flows",
        "expire-all",
        "delete-all",
    ] {
        let [theirs, ours] = both(word);
        assert_eq!(ours, theirs, "{word}");
    }
    let [theirs_help, ours_help] = both("help");
    assert!(ours_help.starts_with(theirs_help.trim_end()), "{ours_help}");
    // The first lines, by their labels.
    let [theirs, ours] = both("statistics").map(|answer| {
        let lines = answer.lines().skip(1).take_while(|line| !line.is_empty());
        let label = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        lines.map(label).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
    // Each ends; softflowd with a status that says it had failed.
    for (socket, mut daemon, is_ours) in [
        (world.control(), weir, true),
        (world.path("theirs"), softflowd, false),
    ] {
        let answer = without_pid(&text(&weir_ctl(&socket, &["shutdown"])));
        assert_eq!(answer, "Shutting down gracefully...");
        let status = daemon.wait(Duration::from_secs(20)).unwrap();
        assert!(status.success() || !is_ours, "{}", daemon.log());
    }
}
