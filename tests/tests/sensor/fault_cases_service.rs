//! The fault cases of running it as a service, V1 and V3 to V5.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use weir_sensor::confine;
use weir_tests::{
    netns,
    process::{Daemon, binaries, built, succeed},
    traffic::flood_frames,
};

use crate::world::{COLLECTOR, World, assert_account, expect, inside, json};

/// A field of each thread of a process, as /proc tells it.
fn of_threads(process: &Path, field: &str) -> Vec<(String, String)> {
    let threads = fs::read_dir(process.join("task")).unwrap().flatten();
    threads
        .map(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap();
            let value = |field: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(field));
                line.unwrap().trim().to_owned()
            };
            (value("Name:"), value(field))
        })
        .collect()
}

/// Each thread has so many filters of system calls beside those of this process.
#[track_caller]
fn assert_filtered(process: &Path, filters: u32) {
    let count = |text: &str| text.parse::<u32>().unwrap();
    let own = of_threads(Path::new("/proc/self"), "Seccomp_filters:");
    let expected = count(&own[0].1) + filters;
    for (name, found) in of_threads(process, "Seccomp_filters:") {
        assert_eq!(count(&found), expected, "{name}");
    }
}

/// Once it meters each thread has what it needs and no more, for good.
#[test]
fn v01_privileges_are_given_up_after_the_start() {
    let world = World::new("v1a");
    let mut sensor = world.controlled(&format!("-n {COLLECTOR}"));
    sensor.wait_for("flow table").unwrap();
    // Its answer comes from the loop, which begins when all of that is done.
    world.wait_for_answer("timeouts", "UDP timeout");
    let process = world.process();
    let threads = of_threads(&process, "CapEff:");
    for (name, capabilities) in &threads {
        let held = u64::from_str_radix(capabilities, 16).unwrap();
        let may = match name.as_str() {
            "export" => 0,
            _ => confine::METERING,
        };
        assert_eq!(held & !may, 0, "{name}: {capabilities}");
    }
    for name in ["weir-sensor", "export", "control"] {
        assert!(
            threads.iter().any(|(found, _)| found == name),
            "{threads:?}"
        );
    }
    for (name, on) in of_threads(&process, "NoNewPrivs:") {
        assert_eq!(on, "1", "{name}");
    }
    assert_filtered(&process, 1);
    // What it keeps suffices for what happens later: an interface that goes and comes.
    let (a, b) = (&world.pair.a, &world.pair.b);
    crate::world::ip(a, &format!("link del {a}"));
    sensor.wait_for(&format!("{b} is gone")).unwrap();
    crate::world::ip(
        a,
        &format!("link add {a} type veth peer name {b} netns {b}"),
    );
    for end in [a, b] {
        crate::world::ip(end, &format!("link set {end} arp off up"));
    }
    sensor
        .wait_for(&format!("{b} is back: attached again"))
        .unwrap();
    world.wait_until_up(a, b);
    world.send(&flood_frames(0..10));
    expect(&world.stop(sensor), "ip_packets=10");
}

#[test]
fn v01_a_sensor_without_root_needs_three_capabilities() {
    const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
    let world = World::new("v1b");
    // A folder that nobody may use, with the program in it.
    let folder = world.path("open");
    fs::create_dir(&folder).unwrap();
    for (path, mode) in [(folder.parent().unwrap(), 0o755), (folder.as_path(), 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = folder.join("weir-sensor");
    fs::copy(binaries().unwrap().join("weir-sensor"), &program).unwrap();
    let mut command = world.pair.command_in_b(Path::new("setpriv"));
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args([set, CAPABILITIES]);
    }
    command
        .arg(&program)
        .args(["-i", &world.pair.b, "-N", "-c"]);
    command.arg(folder.join("ctl"));
    command.arg("--statistics-json").arg(folder.join("json"));
    let mut sensor = Daemon::start(command, &world.path("log")).unwrap();
    sensor.wait_for("metering").unwrap();
    world.send(&flood_frames(0..10));
    let status = sensor.stop().unwrap();
    assert!(status.success());
    expect(
        &crate::world::json(&folder.join("json")),
        "ip_packets=10 unexplained_packets=0",
    );
}

#[test]
fn v01_system_calls_can_be_kept() {
    let world = World::new("v1c");
    let sensor = world.controlled("--no-seccomp");
    world.wait_for_answer("timeouts", "UDP timeout");
    assert_filtered(&world.process(), 0);
    world.stop(sensor);
}

/// The sensor listens to nobody on the network, and to its owner only on this machine.
#[test]
fn v03_nothing_listens_but_the_socket_of_its_owner() {
    let world = World::new("v3");
    let sensor = world.controlled(&format!("-n {COLLECTOR}"));
    world.wait_for_answer("timeouts", "UDP timeout");
    let metadata = fs::metadata(world.control()).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    for (table, listening) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let mut command = world.pair.command_in_b(Path::new("cat"));
        let sockets = succeed(command.arg(format!("/proc/net/{table}")));
        for line in sockets.lines().skip(1) {
            let state = line.split_whitespace().nth(3).unwrap();
            assert_ne!(state, listening, "{table}: {line}");
        }
    }
    world.stop(sensor);
    let group = world.controlled("--control-group 0");
    let metadata = fs::metadata(world.control()).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, 0));
    world.stop(group);
}

#[test]
fn v04_a_configuration_error_is_one_line_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.conf");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        let mut command = built("weir-sensor").unwrap();
        command.arg("--check").arg("--softflowd-conf").arg(&path);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let right = "# here\ninterface='eth0'\noptions='-n 192.0.2.1:9995 -v 9 -t maxlife=60'\n";
    assert_eq!(check(right), (Some(0), String::new()));
    for (text, place, words) in [
        ("interface=''\n", "1: interface: ", "is empty"),
        ("options='-v 9'\n", "1: interface: ", "is missing"),
        (
            "\ninterface='eth0'\noption='-v 9'\n",
            "3: option: ",
            "`interface` and `options`",
        ),
        (
            "interface='eth0'\n\noptions='-t ftp=3'\n",
            "3: options: ",
            "Invalid -t name",
        ),
        (
            "interface='eth0'\noptions='-v 7'\n",
            "2: options: ",
            "Invalid NetFlow version",
        ),
        (
            "interface='eth0'\noptions='-Z'\n",
            "2: options: ",
            "invalid option",
        ),
        ("interface='eth0\n", "1: interface: ", "closing"),
        ("interface=$IF\n", "1: interface: ", "is not expanded"),
        ("eth0\n", "1: eth0: ", "write NAME='value'"),
    ] {
        let (status, said) = check(text);
        assert_eq!(status, Some(2), "{text}: {said}");
        let place = format!("{}:{place}", path.display());
        assert!(said.contains(&place) && said.contains(words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let mut command = built("weir-sensor").unwrap();
    command.args(["--check", "-i", "eth0", "-t", "ftp=3"]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}

/// A service manager's end: what the sensor has told it so far.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(world: &World) -> Self {
        let path = world.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let patience = Some(Duration::from_millis(500));
        socket.set_read_timeout(patience).unwrap();
        Self { socket, path }
    }

    fn start(&self, world: &World, arguments: &[&str]) -> Daemon {
        let mut command = world.command("weir-sensor");
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", "400000");
        command.args(["-c", "none"]).args(arguments);
        Daemon::start(command, &world.path("log")).unwrap()
    }

    /// The next message, if one comes soon.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 256];
        let octets = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..octets]).into_owned())
    }

    /// Takes a message, if there is one; whether there was none.
    fn waits_for_more(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let message = self.next();
        self.socket.set_nonblocking(false).unwrap();
        message.is_none()
    }
}

/// The sweep waits for who takes the flows, and must not be taken for stuck.
#[test]
fn v05_a_sweep_that_a_slow_collector_holds_up_gives_signs_of_life() {
    const FLOWS: u32 = 400_000;
    let world = World::new("v5s");
    let manager = Manager::new(&world);
    let b = &world.pair.b;
    let listener = inside(b, || TcpListener::bind("127.0.0.1:0").unwrap());
    let collector = listener.local_addr().unwrap().to_string();
    // Some 3 MB a second, until the end.
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 30_000];
        while stream.read(&mut buffer).unwrap() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
    });
    let json_path = world.path("json").display().to_string();
    let mut options = vec!["-i", b, "-m", "1000000", "-t", "idle=1h", "-P", "tcp"];
    options.extend([
        "-n",
        &collector,
        "--direction",
        "in",
        "--statistics-json",
        &json_path,
    ]);
    let mut sensor = manager.start(&world, &options);
    sensor.wait_for("metering").unwrap();
    for first in (0..FLOWS).step_by(10_000) {
        world.send(&flood_frames(first..first + 10_000));
        while !manager.waits_for_more() {}
    }
    sensor.signal(libc::SIGTERM);
    let is_stopping = |message: String| message.starts_with("STOPPING=1\n");
    while !manager.next().is_some_and(is_stopping) {}
    let begun = Instant::now();
    let signs = std::iter::from_fn(|| manager.next()).count();
    let took = begun.elapsed();
    sensor.wait(Duration::from_secs(60)).unwrap();
    reader.join().unwrap();
    let found = json(&world.path("json"));
    assert_account(&found);
    expect(&found, &format!("records={FLOWS}"));
    // One each 100 ms, and none for half a second is the end.
    assert!(took > Duration::from_secs(2), "{took:?}");
    assert!(signs > 10, "{signs} in {took:?}");
}

#[test]
fn v05_a_service_manager_is_told_when_it_meters_and_that_sweeps_get_through() {
    let world = World::new("v5");
    let manager = Manager::new(&world);
    let b = &world.pair.b;
    // It fails: nothing is ready, and the status says so.
    let mut failing = manager.start(&world, &["-i", "nosuchif0"]);
    let status = failing.wait(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(manager.next(), None);
    let mut sensor = manager.start(&world, &["-i", b, "-t", "expint=20ms"]);
    sensor.wait_for("metering").unwrap();
    let ready = (0..20).find_map(|_| manager.next()).unwrap();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    assert!(crate::world::ip(b, &format!("link show {b}")).contains("xdp"));
    // A sweep each 20 ms, a sign of life each 100 ms.
    for _ in 0..10 {
        assert_eq!(manager.next().as_deref(), Some("WATCHDOG=1\n"));
    }
    // Where sweeps do not get through, nothing is said: a stopped process is the simplest such case.
    sensor.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_millis(200));
    while manager.next().is_some() {}
    assert_eq!(manager.next(), None);
    sensor.signal(libc::SIGCONT);
    assert_eq!(manager.next().as_deref(), Some("WATCHDOG=1\n"));
    sensor.signal(libc::SIGTERM);
    let rest: Vec<_> = std::iter::from_fn(|| manager.next()).collect();
    assert!(
        rest.iter()
            .any(|message| message.starts_with("STOPPING=1\n")),
        "{rest:?}"
    );
    assert!(sensor.stop().unwrap().success());
}

/// How a start with few descriptors ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    TooEarly,
    /// After programs were attached, as it should.
    Failed,
    Metered,
}

/// Starts a sensor with so many descriptors, and ends it if it meters.
fn start_with(world: &World, descriptors: u32) -> Start {
    let _ = fs::remove_file(world.path("json"));
    let mut command = world.pair.command_in_b(Path::new("prlimit"));
    command
        .arg(format!("--nofile={descriptors}"))
        .arg(binaries().unwrap().join("weir-sensor"))
        .args(["-i", &world.pair.b, "--metrics", "127.0.0.1:0"])
        // There are many starts, and these are the fastest.
        .args(["--direction", "in", "-m", "1000", "-c"])
        .arg(world.control())
        .arg("--statistics-json")
        .arg(world.path("json"));
    let mut sensor = Daemon::start(command, &world.path("log")).unwrap();
    // The last thing before it waits for what happens.
    if sensor.wait_for("figures at http://").is_ok() {
        world.stop(sensor);
        return Start::Metered;
    }
    let status = sensor.wait(Duration::from_secs(10)).unwrap();
    let log = sensor.log();
    if !log.contains("flow table:") {
        return Start::TooEarly;
    }
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("Too many open files"), "{log}");
    assert_account(&json(&world.path("json")));
    Start::Failed
}

/// However far a start comes before the system refuses it something: a sensor that has metered gives its account,
/// says why it ends, and its service manager sees that it failed.
#[test]
fn v05_a_sensor_that_fails_once_it_meters_gives_an_account() {
    let world = World::new("v5d");
    let (mut too_few, mut enough) = (8, 128);
    while enough - too_few > 1 {
        let middle = u32::midpoint(too_few, enough);
        match start_with(&world, middle) {
            Start::Metered => enough = middle,
            Start::Failed | Start::TooEarly => too_few = middle,
        }
    }
    assert!(enough < 128, "it does not start with 127 descriptors");
    // One less each time, until it comes too early.
    let starts = (8..enough).rev().map(|fewer| start_with(&world, fewer));
    let failed = starts.take_while(|start| *start == Start::Failed).count();
    assert!(failed > 0, "no start failed after programs were attached");
}

/// The collector's word to its service manager: READY once it receives, signs of life from the receiving
/// threads, and what SIGHUP and SIGTERM do.
#[test]
fn v05_a_collector_tells_its_service_manager_too() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("notify");
    let manager = Manager {
        socket: UnixDatagram::bind(&place).unwrap(),
        path: place,
    };
    manager
        .socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    let mut command = built("weir-collector").unwrap();
    command.env("NOTIFY_SOCKET", &manager.path);
    command.env("WATCHDOG_USEC", "2000000");
    command.arg("-w").arg(folder.path().join("flows"));
    command.args(["-l", "127.0.0.1:0", "--sockets", "2"]);
    let daemon = Daemon::start(command, &folder.path().join("log")).unwrap();
    let next_but_signs = || {
        let mut messages = std::iter::from_fn(|| manager.next());
        messages.find(|message| message != "WATCHDOG=1\n")
    };
    assert_eq!(
        manager.next().as_deref(),
        Some("READY=1\nSTATUS=receiving\n")
    );
    for _ in 0..3 {
        assert_eq!(manager.next().as_deref(), Some("WATCHDOG=1\n"));
    }
    let process = PathBuf::from(format!("/proc/{}", daemon.pid()));
    for (name, capabilities) in of_threads(&process, "CapEff:") {
        assert_eq!(u64::from_str_radix(&capabilities, 16), Ok(0), "{name}");
    }
    assert_filtered(&process, 1);
    daemon.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_millis(200));
    manager.socket.set_nonblocking(true).unwrap();
    while manager.next().is_some() {}
    manager.socket.set_nonblocking(false).unwrap();
    assert_eq!(manager.next(), None);
    daemon.signal(libc::SIGCONT);
    daemon.signal(libc::SIGHUP);
    let reloading = next_but_signs().unwrap();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert!(next_but_signs().unwrap().starts_with("READY=1\n"));
    daemon.signal(libc::SIGTERM);
    assert!(next_but_signs().unwrap().starts_with("STOPPING=1\n"));
    assert!(daemon.stop().unwrap().success());
}

/// What is passed on has threads of its own: they have no more than the others, though their sockets took
/// privileges to open.
#[test]
fn v01_a_collectors_threads_have_no_privileges_whatever_they_do() {
    assert!(netns::possible(), "root is needed");
    let folder = tempfile::tempdir().unwrap();
    let mut command = built("weir-collector").unwrap();
    command.arg("-w").arg(folder.path().join("flows"));
    command.args(["-l", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    command.args(["--repeat", "127.0.0.1:9", "--repeat-source"]);
    command.args(["--forward", "v9:127.0.0.1:9"]);
    command.arg("--json").arg(folder.path().join("flows.json"));
    let mut daemon = Daemon::start(command, &folder.path().join("log")).unwrap();
    // Said last, when all threads are there.
    daemon.wait_for("figures at").unwrap();
    let process = PathBuf::from(format!("/proc/{}", daemon.pid()));
    let threads = of_threads(&process, "CapPrm:");
    for name in [
        "weir-collector",
        "repeat",
        "forward",
        "json",
        "write",
        "receive-0",
    ] {
        assert!(
            threads.iter().any(|(found, _)| found == name),
            "{name}: {threads:?}"
        );
    }
    for (name, capabilities) in &threads {
        assert_eq!(u64::from_str_radix(capabilities, 16), Ok(0), "{name}");
    }
    for (name, on) in of_threads(&process, "NoNewPrivs:") {
        assert_eq!(on, "1", "{name}");
    }
    assert_filtered(&process, 1);
    assert!(daemon.stop().unwrap().success());
}
