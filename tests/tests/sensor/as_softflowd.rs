//! weir-sensor called as softflowd: its defaults, its background, its files, its statistics.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use weir_tests::{
    process::{Daemon, binaries},
    traffic::{self, flood_frames},
};

use crate::world::{COLLECTOR, Sink, World};

/// The sensor by softflowd's name, and what its line says about places.
struct Softflowd<'a> {
    world: &'a World,
    pidfile: PathBuf,
}

impl<'a> Softflowd<'a> {
    fn new(world: &'a World) -> Self {
        symlink(
            binaries().unwrap().join("weir-sensor"),
            world.path("softflowd"),
        )
        .unwrap();
        let pidfile = world.path("pid");
        Self { world, pidfile }
    }

    fn command(&self, arguments: &str) -> Command {
        let program = self.world.path("softflowd");
        let mut command = self.world.pair.command_in_b(&program);
        command.arg("-p").arg(&self.pidfile);
        command.arg("-c").arg(self.world.control());
        command.args(arguments.split_whitespace());
        command
    }

    fn run(&self, arguments: &str) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(&self.pidfile).ok()?;
        text.trim().parse().ok()
    }

    /// The name of the process in the background.
    fn name(&self) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid()?)).ok()?;
        Some(name.trim().to_owned())
    }
}

impl Drop for Softflowd<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}

/// Waits until something is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut tries = (0..200).map(|_| thread::sleep(Duration::from_millis(100)));
    assert!(is_so() || tries.any(|()| is_so()), "{what}");
}

#[test]
fn it_goes_to_the_background_once_it_meters() {
    let world = World::new("sf1");
    let sink = Sink::open(&world.pair.b);
    let softflowd = Softflowd::new(&world);
    let (status, said) = softflowd.run(&format!("-i {} -n {COLLECTOR}", world.pair.b));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("metering"), "{said}");
    assert_eq!(softflowd.name().as_deref(), Some("softflowd"));
    // v5 has no place for IPv6, which so is no IP.
    let mut frames: Vec<_> = (1..=3).map(ipv6_frame).collect();
    frames.extend(flood_frames(0..10));
    world.send(&frames);
    let statistics = world.wait_for_answer("statistics", "Number of active flows: 10\n");
    let ignored = "\nIgnored packets: 3 (3 non-IP, 0 too short)\n";
    assert!(statistics.contains(ignored), "{statistics}");
    assert!(
        world
            .ask("timeouts")
            .contains("      Maximum lifetime: 604800s\n")
    );
    // A second one with the same files is told who is in the way.
    let (status, said) = softflowd.run("-i lo");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("runs as process"), "{said}");
    world.ask("shutdown");
    wait_until("the pidfile is removed", || !softflowd.pidfile.exists());
    assert!(!world.control().exists(), "and the socket");
    let decoded = sink.decode();
    assert_eq!(decoded.sums().0, 10);
    let v5 = |(_, claimed, found): &(u32, usize, usize)| claimed == found;
    assert!(decoded.counts.iter().all(v5), "{:?}", decoded.counts);
}

#[test]
fn a_start_that_fails_is_known_to_who_started_it_and_leaves_nothing() {
    let world = World::new("sf2");
    let softflowd = Softflowd::new(&world);
    for (arguments, code, words) in [
        ("-i nosuchif0", 1, "there is no interface `nosuchif0`"),
        ("-i lo -n nowhere", 1, "write HOST:PORT"),
        ("-i lo -v 7", 1, "Invalid NetFlow version"),
        ("-i lo -Z", 1, "Invalid commandline option."),
        ("-i lo tcp porf 80", 1, "the filter `tcp porf 80`"),
        ("", 1, "-i, -r or -R option not specified."),
        ("-h", 0, "Usage: softflowd"),
    ] {
        let (status, said) = softflowd.run(arguments);
        assert_eq!(status, Some(code), "{arguments}: {said}");
        assert!(said.contains(words), "{arguments}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(!softflowd.pidfile.exists() && !world.control().exists());
    }
}

#[test]
fn a_pidfile_of_another_program_is_no_hindrance() {
    let world = World::new("sf3");
    let softflowd = Softflowd::new(&world);
    // This test's own number.
    fs::write(&softflowd.pidfile, format!("{}\n", std::process::id())).unwrap();
    let (status, said) = softflowd.run(&format!("-i {}", world.pair.b));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(softflowd.name().as_deref(), Some("softflowd"));
    world.ask("exit");
    wait_until("the pidfile is removed", || !softflowd.pidfile.exists());
}

#[test]
fn an_instance_of_debians_is_metered_as_configured() {
    let world = World::new("sf4");
    let sink = Sink::open(&world.pair.b);
    let conf = world.path("edge.conf");
    let text = format!(
        "# an instance\ninterface='{}'\noptions=\"-n {COLLECTOR} -t udp=1 -c {}\"\n",
        world.pair.b,
        world.control().display()
    );
    fs::write(&conf, text).unwrap();
    let mut command = world.command("weir-sensor");
    command.arg("--softflowd-conf").arg(&conf);
    let mut sensor = Daemon::start(command, &world.path("log")).unwrap();
    sensor.wait_for("metering").unwrap();
    let frames = flood_frames(0..10);
    world.send(&frames);
    world.wait_for_answer("statistics", "Number of active flows: 10\n");
    assert!(
        world
            .ask("timeouts")
            .contains("           UDP timeout: 1s\n")
    );
    assert!(sensor.stop().unwrap().success());
    assert_eq!(sink.decode().sums().0, 10);
}

/// What a program prints of a capture file.
fn statistics_of(program: &Path, arguments: &str, capture: &Path) -> String {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace());
    command.args(["-a", "-r"]).arg(capture);
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask setup --peers` installs it")
    });
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A flow is of both directions, as softflowd's: where nothing else differs, every number is the same.
#[test]
fn statistics_of_conversations_are_debians_to_the_digit() {
    const UDP: u8 = 17;
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("conversations.pcap");
    let server = [10, 0, 1, 1];
    let datagram = |from: u16, to: u16, octets: u8| {
        let [high, low] = (8 + u16::from(octets)).to_be_bytes();
        let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
        [&ports[..], &[high, low, 0, 0], &vec![0; octets.into()]].concat()
    };
    // Twelve questions, and twenty seconds after each of the first seven an answer.
    // (No mean is half of an odd number: of those softflowd rounds some this way, some that.)
    let there = (1..=12).map(|host| {
        let payload = datagram(1000, 53, 60 + host);
        traffic::ipv4([10, 0, 0, host], server, UDP, &payload)
    });
    let back = (1..=7).map(|host| {
        let payload = datagram(53, 1000, 201);
        traffic::ipv4(server, [10, 0, 0, host], UDP, &payload)
    });
    let frames: Vec<_> = there
        .chain(back)
        .map(|packet| traffic::ethernet(None, 0x0800, &packet))
        .collect();
    let file = traffic::capture_file(frames.iter().map(Vec::as_slice), |index| {
        let second = if index < 12 { index } else { index + 8 };
        1_700_000_000_000_000 + 1_000_000 * second
    });
    fs::write(&capture, file).unwrap();
    let ours = folder.path().join("softflowd");
    symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    for version in ["-v 5", "-v 9", "-v 10", "-v 10 -b"] {
        let theirs = statistics_of(Path::new("softflowd"), version, &capture);
        assert!(
            theirs.contains("Flows expired: 12 (0 forced)\n"),
            "{theirs}"
        );
        let ours = statistics_of(&ours, version, &capture);
        assert_eq!(ours, theirs, "{version}");
    }
}

/// A datagram of IPv6, from a host of that number.
fn ipv6_frame(host: u8) -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let datagram = [0x03, 0xe8, 0, 53, 0, 8, 0, 0];
    let packet = traffic::ipv6(address(host), address(0xff), 17, &datagram);
    traffic::ethernet(None, 0x86dd, &packet)
}

/// Without `-6` or `-D` it is no IP where the format has no place for it.
#[test]
fn ipv6_is_counted_as_debians_counts_it() {
    const LINES: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("both.pcap");
    let mut frames = flood_frames(0..7);
    frames.extend((1..6).map(ipv6_frame));
    let file = traffic::capture_file(frames.iter().map(Vec::as_slice), |index| {
        1_700_000_000_000_000 + 1000 * index
    });
    fs::write(&capture, file).unwrap();
    let ours = folder.path().join("softflowd");
    symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    for (arguments, ignored) in [
        ("", "Ignored packets: 5 (5 non-IP, 0 too short)"),
        ("-v 1", "Ignored packets: 5 (5 non-IP, 0 too short)"),
        ("-6", "Ignored packets: 0 (0 non-IP, 0 too short)"),
        ("-D -v 1", "Ignored packets: 0 (0 non-IP, 0 too short)"),
        ("-v 9", "Ignored packets: 0 (0 non-IP, 0 too short)"),
    ] {
        let [theirs, ours] = [Path::new("softflowd"), &ours].map(|program| {
            let text = statistics_of(program, arguments, &capture);
            text.lines()
                .take(LINES)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        assert!(theirs.iter().any(|line| line == ignored), "{theirs:?}");
        assert_eq!(ours, theirs, "{arguments}");
    }
}

/// The statistics of a capture file, by Debian's softflowd and by Weir as softflowd: the same lines, the
/// same columns.
#[test]
fn statistics_of_a_capture_are_laid_out_as_debians() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("mix.pcap");
    let traffic = traffic::mix(300, 5).filtered(|frame| frame[12..14] == [8, 0]);
    let frames = traffic.frames.iter().map(Vec::as_slice);
    let file = traffic::capture_file(frames, |index| 1_700_000_000_000_000 + 1000 * index);
    fs::write(&capture, file).unwrap();
    let ours = folder.path().join("softflowd");
    symlink(binaries().unwrap().join("weir-sensor"), &ours).unwrap();
    let theirs = statistics_of(Path::new("softflowd"), "", &capture);
    let ours = statistics_of(&ours, "", &capture);
    // What is counted alike is equal; of the rest the digits count, as spaces before them do.
    for line in theirs.lines().filter(|line| {
        ["Packets processed", "Fragments", "Ignored packets"]
            .iter()
            .any(|label| line.starts_with(label))
    }) {
        assert!(ours.lines().any(|found| found == line), "{line} in {ours}");
    }
    let shapes = |text: &str| text.lines().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(&ours), shapes(&theirs), "{ours}\n{theirs}");
}

/// A line's words and columns: numbers of the tables keep their width, those of sentences do not.
fn shape(line: &str) -> String {
    let is_table = line.starts_with("  ") || line.contains(" = ");
    let mut shape = String::new();
    for c in line.chars() {
        if !c.is_ascii_digit() {
            shape.push(c);
        } else if is_table {
            // A digit and a space in its place are one.
            shape.push(' ');
        } else if !shape.ends_with('#') {
            shape.push('#');
        }
    }
    shape
}
