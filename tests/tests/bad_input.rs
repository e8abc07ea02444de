//! What people and machines get wrong: one sentence that says what to do, the right status, nothing
//! left behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use weir_tests::{
    netns::{self, Pair},
    process::{Daemon, binaries, built, unprivileged},
    traffic,
};

fn program(name: &str) -> Command {
    built(name).unwrap()
}

/// Runs it; status and what it said.
fn run(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (
        status.code().unwrap_or(-1),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

#[track_caller]
fn assert_says(command: &mut Command, status: i32, words: &str) {
    let (found, said) = run(command);
    assert_eq!(found, status, "{command:?}: {said}");
    assert!(said.contains(words), "{command:?} said: {said}");
    assert!(
        !said.contains("panicked") && said.lines().count() <= 12,
        "{command:?} said: {said}"
    );
}

/// Runs commands, each with the words that it must say.
#[track_caller]
fn assert_all_say(status: i32, cases: &[(&str, &str)]) {
    for &(line, words) in cases {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        assert_says(
            program(name).args(arguments.split_whitespace()),
            status,
            words,
        );
    }
}

#[test]
fn wrong_flags_are_usage_errors() {
    assert_all_say(
        2,
        &[
            ("weir-sensor --no-such-flag", "unexpected argument"),
            ("weir-sensor", "required"),
            ("weir-sensor -r x -i y", "cannot be used with"),
            ("weir-sensor -r x -r y", "one file at a time"),
            ("weir-sensor -r x -v 7", "invalid value"),
            ("weir-sensor -r x -t tcp", "name=time"),
            ("weir-sensor -r x -t ftp=3", "no timeout is called `ftp`"),
            ("weir-sensor -r x -m 0", "invalid value"),
            ("weir-collector -w x -l nowhere", "invalid value"),
            ("weir top -r x --by colour", "invalid value"),
        ],
    );
    assert_says(
        program("weir").args(["flows", "-r", ".", "src bort 80"]),
        2,
        "^",
    );
}

#[test]
fn what_is_not_there_is_named() {
    assert_all_say(
        1,
        &[
            (
                "weir-sensor -i nosuchif0 -c none",
                "there is no interface `nosuchif0`",
            ),
            ("weir-sensor -r /no/such/file", "cannot read /no/such/file"),
            ("weir-sensor -r x -n 192.0.2.1", "write HOST:PORT"),
            ("weir top -r /no/such/folder", "/no/such/folder"),
            ("weir-collector -w /proc/no", "/proc/no"),
        ],
    );
}

#[test]
fn files_that_are_no_captures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (content, words) in [
        (&b""[..], "is empty"),
        (
            b"hello, world, this is no capture",
            "neither pcap nor pcapng",
        ),
        (b"\x28\xb5\x2f\xfd and more", "unpack it (`zstd -dc`"),
        (b"\xfd7zXZ\x00 and more", "unpack it (`xz -dc`"),
        (b"BZh9 and more", "unpack it (`bzip2 -dc`"),
        (b"\x04\x22\x4d\x18 and more", "unpack it (`lz4 -dc`"),
    ] {
        fs::write(&path, content).unwrap();
        assert_says(program("weir-sensor").arg("-r").arg(&path), 1, words);
    }
}

#[test]
fn a_truncated_capture_is_read_as_far_as_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pcap");
    let mut file = flows(10);
    file.truncate(file.len() - 20);
    fs::write(&path, file).unwrap();
    let output = program("weir-sensor")
        .arg("-r")
        .arg(&path)
        .args(["--statistics-json", "-"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("partial"));
    let statistics: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (
            statistics["ip_packets"].as_u64(),
            statistics["unexplained_packets"].as_u64()
        ),
        (Some(9), Some(0))
    );
}

#[test]
fn a_compressed_capture_that_was_cut_is_read_as_far_as_it_goes() {
    // Of deflate it has one stored block (RFC 1951 section 3.2.4).
    const HEADERS: [u8; 11] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pcap.gz");
    let file = flows(10);
    let octets = u16::try_from(file.len()).unwrap();
    let lengths = [octets, !octets].map(u16::to_le_bytes);
    // The checksum behind it is missing.
    let packed = [&HEADERS[..], lengths.as_flattened(), &file].concat();
    fs::write(&path, packed).unwrap();
    let output = program("weir-sensor")
        .arg("-r")
        .arg(&path)
        .args(["--statistics-json", "-"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("reading failed: "), "{said}");
    let statistics: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(statistics["ip_packets"].as_u64(), Some(10));
}

#[test]
fn d10_a_busy_port_and_a_taken_directory_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = format!("127.0.0.1:{}", socket.local_addr().unwrap().port());
    assert_says(
        program("weir-collector")
            .arg("-w")
            .arg(folder.path())
            .args(["-l", &port]),
        1,
        "is taken by another program",
    );
    let mut command = program("weir-collector");
    command
        .arg("-w")
        .arg(folder.path())
        .args(["-l", "127.0.0.1:0"]);
    let mut first = Daemon::start(command, &folder.path().join("log")).unwrap();
    first.wait_for("listening").unwrap();
    assert_says(
        program("weir-collector")
            .arg("-w")
            .arg(folder.path())
            .args(["-l", "127.0.0.1:0"]),
        1,
        "is written by another process",
    );
    assert!(first.stop().unwrap().success());
}

#[test]
fn another_program_on_the_interface_is_left_alone() {
    assert!(netns::possible(), "root and iproute2 are needed");
    let (pair, folder) = (Pair::new("x").unwrap(), tempfile::tempdir().unwrap());
    let sensor = binaries().unwrap().join("weir-sensor");
    let mut command = pair.command_in_b(&sensor);
    command.args(["-i", &pair.b, "-c", "none"]);
    let mut first = Daemon::start(command, &folder.path().join("log")).unwrap();
    first.wait_for("metering").unwrap();
    assert_says(
        pair.command_in_b(&sensor)
            .args(["-i", &pair.b, "-c", "none"]),
        1,
        "another XDP program is on",
    );
    assert!(first.stop().unwrap().success());
}

#[test]
fn without_permission_it_says_what_is_needed() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).unwrap();
    let mut command = unprivileged("weir-sensor", folder.path()).unwrap();
    command.args(["-i", "lo", "-c", "none"]);
    assert_says(&mut command, 1, "run as root, or with CAP_BPF");
}

/// A file system of one megabyte fills up; the collector stays, counts, and ends when told.
#[test]
fn d03_a_full_disk_is_counted_and_survived() {
    assert!(netns::possible(), "root is needed to mount");
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&mount)
        .status()
        .unwrap();
    assert!(mounted.success());
    let _unmount = Unmount(&mount);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let statistics = folder.path().join("collector.json");
    let mut command = program("weir-collector");
    command
        .arg("-w")
        .arg(&mount)
        .args(["-l", &format!("127.0.0.1:{port}"), "--statistics-json"])
        .arg(&statistics);
    let mut collector = Daemon::start(command, &folder.path().join("log")).unwrap();
    collector.wait_for("listening").unwrap();
    let capture = folder.path().join("mix.pcap");
    fs::write(&capture, flows(30_000)).unwrap();
    let sent = program("weir-sensor")
        .arg("-r")
        .arg(&capture)
        .args(["-n", &format!("127.0.0.1:{port}")])
        .status()
        .unwrap();
    assert!(sent.success());
    collector.wait_for("going on").unwrap();
    std::thread::sleep(Duration::from_millis(800));
    assert!(collector.stop().unwrap().success());
    let found: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(statistics).unwrap()).unwrap();
    let of = |name: &str| found[name].as_u64().unwrap();
    assert!(of("records_unwritten") > 0, "{found:#}");
    assert_eq!(
        of("records"),
        of("records_written") + of("records_unwritten"),
        "{found:#}"
    );
    // What was written can be read.
    let output = program("weir")
        .args(["top", "--json", "-r"])
        .arg(&mount)
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer["total"]["flows"].as_u64().unwrap(),
        of("records_written")
    );
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// A capture of as many flows, of a packet each.
fn flows(number: u32) -> Vec<u8> {
    let frames = traffic::flood_frames(0..number);
    traffic::capture_file(frames.iter().map(Vec::as_slice), |_| 1_700_000_000_000_000)
}
