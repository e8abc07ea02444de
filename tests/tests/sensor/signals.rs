//! Whatever signal ends a sensor: what it has is exported, and there is an account.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use weir_tests::{
    process::binaries,
    traffic::{self, flood_frames},
};

use crate::world::{COLLECTOR, Sink, UNDER_WAY, World, assert_account, expect, json};

/// Longer than an end takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// softflowd is gone by any of these, and all its flows with it. That it was none of the usual ones is a failure:
/// a service manager starts the sensor again.
#[test]
fn no_signal_ends_a_sensor_without_its_export() {
    let world = World::new("sg1");
    for (signal, name) in [
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGRTMIN(), "signal 34"),
    ] {
        let sink = Sink::open(&world.pair.b);
        let mut sensor = world.sensor(&format!("--direction in -n {COLLECTOR}"));
        world.send(&flood_frames(0..10));
        thread::sleep(UNDER_WAY);
        // It does not end by what only says that a file may not grow.
        sensor.signal(libc::SIGXFSZ);
        thread::sleep(UNDER_WAY);
        sensor.signal(signal);
        let status = sensor.wait(PATIENCE).unwrap();
        let log = sensor.log();
        assert_eq!(status.code(), Some(1), "{name}: {status}: {log}");
        assert!(log.contains(&format!("{name} ended the sensor")), "{log}");
        let found = json(&world.path("json"));
        assert_account(&found);
        expect(&found, "ip_packets=10 records_exported=10");
        assert_eq!(sink.decode().sums().0, 10, "{name}");
        fs::remove_file(world.path("json")).unwrap();
    }
}

/// `tcpdump -w - | weir-sensor -r -`, and Ctrl-C: the pipe stays open, and nothing more comes.
#[test]
fn a_capture_that_is_interrupted_is_exported_as_far_as_it_was_read() {
    let world = World::new("sg2");
    let frames = flood_frames(0..1000);
    let file = traffic::capture_file(frames.iter().map(Vec::as_slice), |index| {
        1_700_000_000_000_000 + 1000 * index
    });
    for (signal, name) in [
        (libc::SIGINT, "SIGINT"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGUSR1, "SIGUSR1"),
    ] {
        let sink = Sink::open(&world.pair.b);
        // Whoever runs the tests may have had signals ignored.
        let mut command = world.pair.command_in_b(Path::new("env"));
        command.arg("--default-signal");
        command.arg(binaries().unwrap().join("weir-sensor"));
        command.args(["-r", "-", "-n", COLLECTOR, "--statistics-json"]);
        command.arg(world.path("json"));
        let mut sensor = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = sensor.stdin.take().unwrap();
        // The last frame's end is under way when the signal comes.
        let (most, rest) = file.split_at(file.len() - 20);
        pipe.write_all(most).unwrap();
        thread::sleep(UNDER_WAY);
        let pid = libc::pid_t::try_from(sensor.id()).unwrap();
        kill(pid, signal);
        // It has the same Ctrl-C, and says its last words.
        pipe.write_all(rest).unwrap();
        let output = sensor.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(128 + signal), "{name}: {said}");
        let expected = format!("partial: -: {name} ended the reading");
        assert!(said.contains(&expected), "{said}");
        let found = json(&world.path("json"));
        assert_account(&found);
        expect(&found, "packets=1000 records_exported=1000");
        assert_eq!(sink.decode().sums().0, 1000, "{name}");
        drop(pipe);
    }
}

/// softflowd's name gives softflowd's statistics then, too; a signal that is to be ignored is.
#[test]
fn an_interrupted_capture_has_statistics_and_nohup_holds() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("softflowd");
    std::os::unix::fs::symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    let frames = flood_frames(0..10);
    let file = traffic::capture_file(frames.iter().map(Vec::as_slice), |_| 1_700_000_000_000_000);
    let mut sensor = Command::new("env")
        .args(["--default-signal", "nohup"])
        .arg(&ours)
        .args(["-r", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = sensor.stdin.take().unwrap();
    pipe.write_all(&file).unwrap();
    thread::sleep(UNDER_WAY);
    let pid = libc::pid_t::try_from(sensor.id()).unwrap();
    kill(pid, libc::SIGHUP);
    thread::sleep(2 * UNDER_WAY);
    assert!(sensor.try_wait().unwrap().is_none(), "nohup does not hold");
    kill(pid, libc::SIGINT);
    let output = sensor.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("Packets processed: 10\n"), "{said}");
    drop(pipe);
}

fn kill(pid: libc::pid_t, signal: libc::c_int) {
    let mut command = Command::new("kill");
    command.arg(format!("-{signal}")).arg(pid.to_string());
    assert!(command.status().unwrap().success());
}
