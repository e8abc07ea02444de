//! `kill -9` in the middle of the work: the collector's files keep all but the last second, the
//! sensor starts again as if nothing had been.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use serde_json::Value;
use weir_tests::{
    netns::{self, Pair},
    process::{Daemon, binaries, built},
    traffic,
    wire::Wire,
};

struct World {
    pair: Pair,
    folder: tempfile::TempDir,
}

impl World {
    fn new(label: &str) -> Self {
        assert!(netns::possible(), "root and iproute2 are needed");
        Self {
            pair: Pair::new(label).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn collector(&self) -> Daemon {
        let mut command = self
            .pair
            .command_in_b(&binaries().unwrap().join("weir-collector"));
        command
            .arg("-w")
            .arg(self.path("flows"))
            .args(["-l", "127.0.0.1:2055", "--statistics-json"])
            .arg(self.path("collector.json"));
        let mut daemon = Daemon::start(command, &self.path("collector.log")).unwrap();
        daemon.wait_for("listening").unwrap();
        daemon
    }

    fn sensor(&self) -> Daemon {
        let mut command = self
            .pair
            .command_in_b(&binaries().unwrap().join("weir-sensor"));
        command.args([
            "-i",
            &self.pair.b,
            "-c",
            "none",
            "-n",
            "127.0.0.1:2055",
            "-t",
            "idle=50ms",
            "-t",
            "active=100ms",
            "--statistics-json",
        ]);
        command.arg(self.path("sensor.json"));
        let mut daemon = Daemon::start(command, &self.path("sensor.log")).unwrap();
        daemon.wait_for("metering").unwrap();
        daemon
    }

    /// Sends 5,000 frames a second while `work` runs; how many.
    fn sending<R>(&self, work: impl FnOnce(&AtomicU64) -> R) -> (u64, R) {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                netns::enter(&self.pair.a).unwrap();
                let wire = Wire::open(&self.pair.a).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..5 {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        wire.send(&traffic::flood_frame(u32::try_from(number % 500).unwrap()))
                            .unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let result = work(&sent);
            stop.store(true, Ordering::Relaxed);
            result
        });
        (sent.into_inner(), result)
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Packets in a directory's flows, as `weir` sees them.
fn packets(flows: &Path) -> u64 {
    let output = built("weir")
        .unwrap()
        .args(["top", "--json", "-r"])
        .arg(flows)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["total"]["packets"].as_u64().unwrap()
}

fn killed(mut daemon: Daemon) {
    daemon.signal(libc::SIGKILL);
    daemon.wait(Duration::from_secs(5)).unwrap();
}

#[test]
fn d01_a_killed_collector_keeps_all_but_the_last_second() {
    let world = World::new("k");
    let collector = world.collector();
    let sensor = world.sensor();
    let (_, (old, at_kill)) = world.sending(|sent| {
        std::thread::sleep(Duration::from_secs(3));
        // What was sent by now is exported within 1.1 s and written within half a second more.
        let old = sent.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2200));
        killed(collector);
        (old, sent.load(Ordering::Relaxed))
    });
    let kept = packets(&world.path("flows"));
    assert!(
        kept >= old && kept <= at_kill,
        "{kept} kept, {old} were old, {at_kill} sent"
    );
    // The next collector adopts the window, and loses nothing of it.
    let mut collector = world.collector();
    collector.wait_for("recovered").unwrap();
    assert!(sensor.stop().unwrap().success());
    std::thread::sleep(Duration::from_millis(300));
    assert!(collector.stop().unwrap().success());
    assert_eq!(
        packets(&world.path("flows")),
        kept + json(&world.path("collector.json"))["packets"]
            .as_u64()
            .unwrap()
    );
    let open: Vec<_> = fs::read_dir(world.path("flows/.open"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let left = open
        .iter()
        .filter(|name| name.to_str().is_some_and(|name| name.ends_with(".arrows")))
        .count();
    assert_eq!(left, 0, "nothing is left open: {open:?}");
}

#[test]
fn a_killed_sensor_leaves_nothing_behind_and_starts_again() {
    let world = World::new("s");
    let collector = world.collector();
    let sensor = world.sensor();
    world.sending(|_| {
        std::thread::sleep(Duration::from_secs(2));
        killed(sensor);
    });
    let link = Command::new("ip")
        .args(["-n", &world.pair.b, "link", "show", &world.pair.b])
        .output()
        .unwrap();
    assert!(
        !String::from_utf8_lossy(&link.stdout).contains("xdp"),
        "the program is gone with its sensor"
    );
    let again = world.sensor();
    let (sent, ()) = world.sending(|_| std::thread::sleep(Duration::from_secs(1)));
    let (_, dropped) = world.pair.received_and_dropped().unwrap();
    assert!(again.stop().unwrap().success());
    std::thread::sleep(Duration::from_millis(300));
    assert!(collector.stop().unwrap().success());
    let sensor = json(&world.path("sensor.json"));
    assert_eq!(
        sensor["packets"].as_u64().unwrap() + dropped,
        sent,
        "{sensor:#}"
    );
    assert_eq!(sensor["unexplained_packets"], 0);
    // A restart is not loss.
    let collector = json(&world.path("collector.json"));
    assert_eq!(
        (
            &collector["exporters"][0]["lost"],
            &collector["exporters"][0]["restarts"]
        ),
        (&Value::from(0), &Value::from(1)),
        "{collector:#}"
    );
}
