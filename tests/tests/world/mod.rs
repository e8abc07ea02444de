//! What the fault cases share: a sensor at one end of a veth pair, what is sent to it from the
//! other, a collector that keeps every datagram, and the account. Arguments and expectations are
//! words with spaces between.

pub mod bpf;
mod sink;

pub use sink::{Decoded, Sink};
pub use weir_tests::account::{expect, of};

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_sensor_common::counters::UNMETERED;
use weir_tests::{
    netns::{self, Pair},
    process::{Daemon, binaries, succeed},
    traffic,
    wire::{self, Wire},
};

/// Where sensors here send to: over the loopback of their namespace.
pub const COLLECTOR: &str = "127.0.0.1:2055";
/// Longer than a frame or datagram is under way, and whoever it comes to takes to do what is to be done.
pub const UNDER_WAY: Duration = Duration::from_millis(300);
/// Longer than it is under way alone: the call that sends it takes it to the sensor's program, or to the socket.
const DELIVERED: Duration = Duration::from_millis(100);

/// Longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The frame of a number, sent from a CPU.
pub type FrameOf = fn(cpu: u32, number: u32) -> Vec<u8>;

pub struct World {
    pub pair: Pair,
    folder: tempfile::TempDir,
}

impl World {
    /// `label`: six octets at most, and no other test's.
    pub fn new(label: &str) -> Self {
        assert!(netns::possible(), "root and iproute2 are needed");
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair::new(label).unwrap();
        Self { pair, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program of ours in the receiving namespace.
    pub fn command(&self, name: &str) -> Command {
        self.pair.command_in_b(&binaries().unwrap().join(name))
    }

    pub fn start(&self, arguments: &str) -> anyhow::Result<Daemon> {
        let mut command = self.command("weir-sensor");
        command.arg("--statistics-json").arg(self.path("json"));
        // A socket where all sensors have theirs would be in the way of the machine's own.
        command.args(["-i", &self.pair.b, "-c", "none"]);
        command.args(arguments.split_whitespace());
        let mut sensor = Daemon::start(command, &self.path("log"))?;
        sensor.wait_for("metering")?;
        Ok(sensor)
    }

    pub fn sensor(&self, arguments: &str) -> Daemon {
        self.start(arguments).unwrap()
    }

    /// Has a sensor read frames from a capture file, and send to [`COLLECTOR`]; its account.
    pub fn read_capture(
        &self,
        arguments: &str,
        frames: &[Vec<u8>],
        unix_us: impl Fn(u64) -> u64,
    ) -> Value {
        let path = self.path("pcap");
        let frames = frames.iter().map(Vec::as_slice);
        fs::write(&path, traffic::capture_file(frames, unix_us)).unwrap();
        let mut command = self.command("weir-sensor");
        command.args(["-n", COLLECTOR, "--statistics-json", "-", "-r"]);
        command.arg(path).args(arguments.split_whitespace());
        let found = serde_json::from_str(&succeed(&mut command)).unwrap();
        assert_account(&found);
        found
    }

    /// Ends the sensor as a service manager does: it must be alive, and give an account.
    pub fn stop(&self, sensor: Daemon) -> Value {
        thread::sleep(DELIVERED);
        let status = sensor.stop().unwrap();
        let log = fs::read_to_string(self.path("log")).unwrap();
        assert!(status.success() && !log.contains("panicked"), "{log}");
        let found = json(&self.path("json"));
        assert_account(&found);
        found
    }

    /// Sends while a sensor is killed and the next one takes over; what was sent until it was told to stop, and
    /// the next one.
    pub fn take_over<R: Send>(
        &self,
        arguments: &str,
        send: impl FnOnce(&AtomicBool) -> R + Send,
    ) -> (R, Daemon) {
        let first = self.sensor(arguments);
        let stop = AtomicBool::new(false);
        let (sent, second) = thread::scope(|scope| {
            let sending = scope.spawn(|| send(&stop));
            thread::sleep(UNDER_WAY);
            kill(first);
            thread::sleep(UNDER_WAY);
            let second = self.start(arguments);
            thread::sleep(UNDER_WAY);
            stop.store(true, Ordering::Relaxed);
            (sending.join().unwrap(), second)
        });
        (sent, second.unwrap())
    }

    /// The sensor's folder in /proc: its command line names our file.
    pub fn process(&self) -> PathBuf {
        let ours = self.path("json").display().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut processes = processes.map(|entry| entry.path());
        let is_it = |process: &PathBuf| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&ours)
        };
        processes.find(is_it).unwrap()
    }

    /// Where a sensor started with [`World::controlled`] has its control socket.
    pub fn control(&self) -> PathBuf {
        self.path("ctl")
    }

    /// A sensor with a control socket.
    pub fn controlled(&self, arguments: &str) -> Daemon {
        self.sensor(&format!("-c {} {arguments}", self.control().display()))
    }

    /// What the control socket answers.
    pub fn ask(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.control()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks until the answer is as it should be.
    #[track_caller]
    pub fn wait_for_answer(&self, line: &str, words: &str) -> String {
        let mut answer = String::new();
        for _ in 0..100 {
            answer = self.ask(line);
            if answer.contains(words) {
                return answer;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("`{words}` is not in: {answer}");
    }

    /// The most memory the sensor had so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(self.process().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        words[1].parse().unwrap()
    }

    /// Sends to the sensor's interface from one CPU, slowly enough that no frame is dropped.
    pub fn send(&self, frames: &[Vec<u8>]) {
        send_from(&self.pair.a, frames);
    }

    /// Sends from both CPUs as fast as they can; how many frames reached the interface.
    pub fn flood(&self, frames_each: u32, frame: FrameOf) -> u64 {
        let (_, before) = self.pair.received_and_dropped().unwrap();
        let send = |cpu: u32| {
            wire::pin(cpu as usize).unwrap();
            let wire = Wire::open(&self.pair.a).unwrap();
            (0..frames_each).for_each(|number| wire.send(&frame(cpu, number)).unwrap());
        };
        thread::scope(|scope| {
            for cpu in 0..2 {
                scope.spawn(move || inside(&self.pair.a, || send(cpu)));
            }
        });
        thread::sleep(UNDER_WAY);
        let (_, after) = self.pair.received_and_dropped().unwrap();
        u64::from(2 * frames_each) - (after - before)
    }

    /// Waits until the kernel has both ends up: what is sent before is lost in silence.
    pub fn wait_until_up(&self, a: &str, b: &str) {
        for (namespace, name) in [(&self.pair.a, a), (&self.pair.b, b)] {
            let is_up = || ip(namespace, &format!("-br link show {name}")).contains(" UP ");
            let mut tries = (0..100).map(|_| thread::sleep(Duration::from_millis(100)));
            assert!(tries.any(|()| is_up()), "{name} does not come up");
        }
    }
}

/// Ends a sensor as nothing should: it gives no account.
pub fn kill(mut sensor: Daemon) {
    sensor.signal(libc::SIGKILL);
    sensor.wait(Duration::from_secs(10)).unwrap();
}

/// `ip` in a namespace.
pub fn ip(namespace: &str, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["-n", namespace]);
    succeed(command.args(arguments.split_whitespace()))
}

/// Does something in a namespace; sockets opened there stay there.
pub fn inside<R: Send>(namespace: &str, work: impl FnOnce() -> R + Send) -> R {
    let work = || {
        netns::enter(namespace).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Sends from the interface that has its namespace's name.
pub fn send_from(namespace: &str, frames: &[Vec<u8>]) {
    inside(namespace, || {
        wire::pin(0).unwrap();
        let wire = Wire::open(namespace).unwrap();
        for some in frames.chunks(64) {
            for frame in some {
                wire.send(frame).unwrap();
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Each frame is an IP packet or has a reason why not; each of those, and of a dead sensor's, is in
/// a record that was given to the network, or was lost by name.
#[track_caller]
pub fn assert_account(found: &Value) {
    expect(found, "unexplained_packets=0 unexplained_octets=0");
    let unmetered: u64 = UNMETERED.iter().map(|why| of(found, why.name())).sum();
    let seen = of(found, "packets") - unmetered;
    assert_eq!(seen, of(found, "ip_packets"), "{found:#}");
    for unit in ["packets", "octets"] {
        let sum = |names: &str| -> u64 {
            let names = names.replace('*', unit);
            names.split(' ').map(|name| of(found, name)).sum()
        };
        let accounted = sum("*_exported ring_full_* table_busy_* left_* deleted_*");
        let unsent = sum("records_unsent.* records_unsupported.* records_lost.*");
        assert_eq!(sum("ip_* adopted_*"), accounted + unsent, "{found:#}");
    }
}
