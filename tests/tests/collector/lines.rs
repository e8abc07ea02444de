//! What programs say where nobody takes it, as a log on a full disk or a pipe whose reader has gone: they
//! go on, and end as they should.

use std::{
    fs::{self, File},
    io, iter,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_tests::{
    process::{Daemon, binaries, built},
    traffic,
};

use crate::site::{Site, of, socket, v9_datagram};

/// Whatever is written to it fails as on a full disk.
fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// Its files may be on another disk than its log.
#[test]
fn d03_a_log_that_takes_nothing_does_not_end_a_collector() {
    let site = Site::new();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"]);
    command.arg(binaries().unwrap().join("weir-collector"));
    command.arg("-w").arg(site.flows());
    command.args(["-l", &site.address().to_string(), "--statistics-json"]);
    command.arg(site.path("collector.json"));
    let daemon = Daemon::start(command, &site.path("log")).unwrap();
    let socket = socket();
    // It cannot say that it receives: its window does.
    let is_writing = (0..200).any(|number| {
        let datagram = v9_datagram(0, number, 20, true);
        socket.send_to(&datagram, site.address()).unwrap();
        thread::sleep(Duration::from_millis(50));
        site.flows().join(".open").is_dir() && !site.open(".arrows").is_empty()
    });
    assert!(is_writing);
    let found = site.stop(daemon);
    assert!(of(&found, "records_written") > 0, "{found:#}");
}

#[test]
fn a_sensor_that_cannot_say_why_it_fails_fails() {
    let mut command = built("weir-sensor").unwrap();
    command.args(["-i", "absent", "-c", "none"]).stderr(full());
    assert_eq!(command.status().unwrap().code(), Some(1));
}

/// As `verify DIR | head -1`, and as `verify DIR >FILE` on a full disk.
#[test]
fn a_reader_that_has_enough_is_no_failure_and_a_full_disk_is_one() {
    let site = Site::new();
    let daemon = site.start("");
    let datagram = v9_datagram(0, 1, 20, true);
    socket().send_to(&datagram, site.address()).unwrap();
    site.stop(daemon);
    let verify = |stdout: Stdio| {
        let mut command = Site::command();
        command.arg("verify").arg(site.flows()).stdout(stdout);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    assert_eq!(verify(writer.into()), (Some(0), String::new()));
    let (code, said) = verify(full());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("does not have all of it: No space left"),
        "{said}"
    );
}

/// Of a capture: what it says on standard output comes before the account, which has a place of its own.
#[test]
fn a_sensor_whose_sums_nobody_takes_gives_its_account() {
    let site = Site::new();
    let capture = site.path("capture.pcap");
    fs::write(&capture, traffic::capture_file(iter::empty(), |_| 0)).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    for (stdout, expected) in [(writer.into(), 0), (full(), 1)] {
        let account = site.path("sensor.json");
        let mut command = built("weir-sensor").unwrap();
        command.arg("-r").arg(&capture).stdout(stdout);
        command.arg("--statistics-json").arg(&account);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{said}");
        let account: Value = serde_json::from_slice(&fs::read(&account).unwrap()).unwrap();
        assert_eq!(of(&account, "packets"), 0, "{account:#}");
        fs::remove_file(site.path("sensor.json")).unwrap();
    }
}

/// Those who only ask and look: who reads them may have enough at once, and their messages have nowhere to go.
#[test]
fn a_panic_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("none.pcap");
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    fs::write(&capture, header.map(u32::to_le_bytes).concat()).unwrap();
    let capture = capture.to_str().unwrap();
    let run = |line: &[&str], stdout: Stdio, stderr: Stdio| {
        let mut command = built(line[0]).unwrap();
        command.args(&line[1..]).stdout(stdout).stderr(stderr);
        command.status().unwrap().code()
    };
    let gone = || {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for line in [
        &["weir-sensor", "--check", "-i", "lo"][..],
        &["weir-sensor", "-r", capture, "--statistics-json", "-"],
        &["weir", "nfdump", "-R", "/no/such", "--native"],
    ] {
        assert_eq!(run(line, gone(), Stdio::null()), Some(0), "{line:?}");
        assert_eq!(run(line, full(), Stdio::null()), Some(1), "{line:?}");
    }
    for line in [
        &["weir-ctl", "-c", "/no/such", "statistics"][..],
        &["weir", "top", "-r", "/no/such"],
        &["weir-sensor", "-r", "/no/such"],
    ] {
        for stderr in [gone(), full()] {
            assert_eq!(run(line, Stdio::null(), stderr), Some(1), "{line:?}");
        }
    }
}
