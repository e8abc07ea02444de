//! `cargo xtask soak`: rounds of a sensor with drawn options under drawn traffic and drawn mishaps.
//! After each the account must balance to the packet and the octet. A failure names the seed that
//! plays its round again.
#![expect(clippy::disallowed_methods, reason = "a soak runs by the clock")]

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
use weir_tests::{
    netns::{self, Pair},
    process::{Daemon, binaries},
    traffic::{self, Random},
    wire::{self, Wire},
};

/// What happens to a sensor in the middle of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    None,
    /// The interface goes down and comes up again.
    LinkDown,
    /// The sensor is killed; another one takes over its pins.
    Killed,
    /// The sensor is told to end; another one takes over its pins.
    Replaced,
}

/// One round, all of it drawn from its seed.
#[derive(Debug)]
struct Round {
    seed: u64,
    arguments: Vec<String>,
    mishap: Mishap,
    senders: usize,
    length: Duration,
}

impl Round {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        let pick = |random: &mut Random, from: &[&str]| {
            from[usize::try_from(random.below(from.len() as u64)).unwrap_or(0)].to_owned()
        };
        option(
            "-m",
            pick(&mut random, &["12", "300", "5000", "20000", "200000"]),
        );
        option("--ring", pick(&mut random, &["4096", "65536", "2097152"]));
        option(
            "-T",
            pick(
                &mut random,
                &["ip", "proto", "full", "vlan", "tos", "ether"],
            ),
        );
        if random.below(3) == 0 {
            let fields = ["mac", "flow-label", "mac,inner-vlan,mpls,flow-label"];
            option("--fields", pick(&mut random, &fields));
        }
        option("-v", pick(&mut random, &["1", "5", "9", "10"]));
        option("--direction", pick(&mut random, &["in", "both"]));
        option("--fragments", pick(&mut random, &["on", "off"]));
        option("--sampling", pick(&mut random, &["1", "1", "1", "7"]));
        for name in ["idle", "active", "tcp.fin", "tcp.rst", "expint"] {
            let time = pick(&mut random, &["3ms", "50ms", "400ms", "2s", "60s"]);
            option("-t", format!("{name}={time}"));
        }
        let mode = pick(&mut random, &["native", "generic", "off", ""]);
        if !mode.is_empty() {
            option("--xdp", mode);
        }
        for flag in ["--exact-clock", "--sampling-random", "--debug-log", "-N"] {
            if random.below(3) == 0 {
                arguments.push(flag.to_owned());
            }
        }
        for (name, value) in [("-n", "127.0.0.1:9"), ("--tc", "clsact")] {
            if random.below(3) == 0 {
                arguments.extend([name.to_owned(), value.to_owned()]);
            }
        }
        let mishaps = [
            Mishap::None,
            Mishap::LinkDown,
            Mishap::Killed,
            Mishap::Replaced,
        ];
        Self {
            seed,
            mishap: mishaps[usize::try_from(random.below(4)).unwrap_or(0)],
            senders: 1 + usize::try_from(random.below(2)).unwrap_or(0),
            length: Duration::from_millis(1000 + random.below(3000)),
            arguments,
        }
    }

    fn play(&self) -> Result<u64> {
        let folder = tempfile::tempdir()?;
        let pins = Pins::mount(folder.path())?;
        let pair = Pair::new("s")?;
        let pinned = matches!(self.mishap, Mishap::Killed | Mishap::Replaced);
        let start = |name: &str| self.start(&pair, folder.path(), name, pinned.then_some(&pins));
        let mut sensor = start("first")?;
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut left = 0;
        thread::scope(|scope| -> Result<()> {
            let senders: Vec<_> = (0..self.senders)
                .map(|number| {
                    let (pair, stop, sent) = (&pair, &stop, &sent);
                    let seed = self.seed.wrapping_add(number as u64);
                    scope.spawn(move || send(pair, number, seed, stop, sent))
                })
                .collect();
            thread::sleep(self.length / 2);
            let result = self.befall(&pair, &mut sensor, &mut left, folder.path(), &start);
            thread::sleep(self.length / 2);
            stop.store(true, Ordering::Relaxed);
            for sender in senders {
                let died = |_| Err(anyhow!("a sender died"));
                sender.join().unwrap_or_else(died)?;
            }
            result
        })?;
        // What is under way arrives.
        thread::sleep(Duration::from_millis(300));
        let log = sensor.log();
        let status = sensor.stop()?;
        ensure!(status.success(), "the sensor ended with {status}:\n{log}");
        let name = if pinned { "second" } else { "first" };
        let account = account(&folder.path().join(name))?;
        if self.mishap == Mishap::Replaced {
            let adopted = number(&account, "adopted_packets")?;
            ensure!(
                adopted >= left,
                "{left} packets were left, {adopted} adopted"
            );
        }
        if pinned {
            detach(&pair, &pins)?;
        }
        let mut seen = number(&account, "packets")?;
        if pinned {
            // What the programs counted that no account had.
            seen += number(&account["adopted_seen"], "packets")?;
        }
        if self.mishap == Mishap::Replaced {
            let text = fs::read_to_string(folder.path().join("first"))?;
            let first: Value = serde_json::from_str(&text)?;
            seen += number(&first, "packets")?;
        }
        self.compare(seen, &pair, sent.load(Ordering::Relaxed))?;
        Ok(seen)
    }

    fn befall(
        &self,
        pair: &Pair,
        sensor: &mut Daemon,
        left: &mut u64,
        folder: &Path,
        start: &impl Fn(&str) -> Result<Daemon>,
    ) -> Result<()> {
        match self.mishap {
            Mishap::None => {}
            Mishap::LinkDown => {
                for state in ["down", "up"] {
                    let mut ip = Command::new("ip");
                    ip.args(["-n", &pair.b, "link", "set", &pair.b, state]);
                    ensure!(ip.status()?.success(), "link set {state}");
                    thread::sleep(Duration::from_millis(200));
                }
            }
            Mishap::Killed => {
                sensor.signal(libc::SIGKILL);
                sensor.wait(Duration::from_secs(10))?;
                thread::sleep(Duration::from_millis(200));
                *sensor = start("second")?;
            }
            Mishap::Replaced => {
                sensor.signal(libc::SIGTERM);
                sensor.wait(Duration::from_secs(60))?;
                let account = account(&folder.join("first"))?;
                *left = number(&account, "left_packets")?;
                *sensor = start("second")?;
            }
        }
        Ok(())
    }

    fn start(&self, pair: &Pair, folder: &Path, name: &str, pins: Option<&Pins>) -> Result<Daemon> {
        let mut command = pair.command_in_b(&binaries()?.join("weir-sensor"));
        command.args(["-i", &pair.b, "-c", "none"]);
        command.args(&self.arguments);
        command.arg("--statistics-json").arg(folder.join(name));
        if let Some(pins) = pins {
            command.arg("--pin").arg(pins.folder.join("weir"));
        }
        let mut sensor = Daemon::start(command, &folder.join(format!("{name}.log")))?;
        // Longer than a start takes on a machine that does other work for the half hour.
        sensor.wait_long_for("flow table", Duration::from_secs(60))?;
        Ok(sensor)
    }

    /// Every frame that reached the interface was seen once, unless the interface was away: pinned
    /// programs see what comes between two sensors.
    fn compare(&self, seen: u64, pair: &Pair, sent: u64) -> Result<()> {
        if self.mishap == Mishap::LinkDown {
            return Ok(());
        }
        ensure!(sent > 0, "nothing was sent");
        let is_given = |name: &str, value: &str| {
            let mut words = self.arguments.windows(2);
            words.any(|words| words == [name, value])
        };
        // Frames that the stack drops before tc, in its queue too, are not this sensor's.
        if is_given("--xdp", "off") {
            return Ok(());
        }
        let dropped = if is_given("--xdp", "generic") {
            // Before it is that queue; behind it the stack drops frames of protocols it does not know.
            pair.received_and_dropped()?.1
        } else {
            pair.dropped_between()?
        };
        let both = is_given("--direction", "both");
        ensure!(
            seen + dropped >= sent && (both || seen <= sent),
            "{sent} frames sent, {dropped} dropped, {seen} seen"
        );
        Ok(())
    }
}

/// A BPF file system of our own, for as long as the value lives.
struct Pins {
    folder: std::path::PathBuf,
}

impl Pins {
    fn mount(folder: &Path) -> Result<Self> {
        let folder = folder.join("bpf");
        fs::create_dir(&folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "bpf", "bpf"]).arg(&folder);
        ensure!(
            mount.status()?.success(),
            "mount -t bpf failed: run as root"
        );
        Ok(Self { folder })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

/// Takes the programs off that a pinned sensor leaves.
fn detach(pair: &Pair, pins: &Pins) -> Result<()> {
    let mut command = pair.command_in_b(&binaries()?.join("weir-sensor"));
    command.args(["--detach", "--pin"]);
    let output = command.arg(pins.folder.join("weir")).output()?;
    ensure!(
        output.status.success(),
        "--detach: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Sends until it is told to stop: a realistic mix, floods, and frames with octets changed.
fn send(pair: &Pair, cpu: usize, seed: u64, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    netns::enter(&pair.a)?;
    wire::pin(cpu)?;
    let wire = Wire::open(&pair.a)?;
    let mut random = Random::new(seed);
    let mix = traffic::mix(50, seed).frames;
    while !stop.load(Ordering::Relaxed) {
        let kind = random.below(3);
        for _ in 0..random.below(400) {
            let mut frame = if kind == 0 {
                traffic::flood_frame(u32::try_from(random.below(1 << 30))?)
            } else {
                mix[usize::try_from(random.below(mix.len() as u64))?].clone()
            };
            if kind == 2 && random.below(10) == 0 {
                let at = usize::try_from(random.below(frame.len() as u64 - 12))? + 12;
                frame[at] = random.draw().to_le_bytes()[0];
            }
            // A link that is down takes none.
            if wire.send(&frame).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_micros(random.below(3000)));
    }
    Ok(())
}

/// A sensor's account, balanced.
fn account(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let account: Value = serde_json::from_str(&text)?;
    for unit in ["packets", "octets"] {
        let of = |name: String| number(&account, &name);
        let tally = |name: &str| {
            account[name][unit]
                .as_u64()
                .with_context(|| format!("{name} in {account:#}"))
        };
        ensure!(
            account[format!("unexplained_{unit}")] == 0,
            "unexplained {unit}: {account:#}"
        );
        let seen = of(format!("ip_{unit}"))? + of(format!("adopted_{unit}"))?;
        let explained = of(format!("{unit}_exported"))?
            + of(format!("ring_full_{unit}"))?
            + of(format!("table_busy_{unit}"))?
            + of(format!("left_{unit}"))?
            + tally("records_unsent")?
            + tally("records_unsupported")?
            + tally("records_lost")?;
        ensure!(
            seen == explained,
            "{seen} {unit} seen, {explained} explained: {account:#}"
        );
    }
    Ok(account)
}

fn number(account: &Value, name: &str) -> Result<u64> {
    account[name]
        .as_u64()
        .with_context(|| format!("{name} in {account:#}"))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `soak SECONDS [SEED]`: with a seed, that one round.
fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(seconds) = arguments.first().and_then(|word| word.parse().ok()) else {
        bail!("how many seconds?");
    };
    let first: Option<u64> = arguments.get(1).map(|word| word.parse()).transpose()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut seed = first.unwrap_or(now.as_secs());
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, mut packets) = (0u64, 0u64);
    loop {
        let round = Round::draw(seed);
        let metered = round.play().with_context(|| {
            format!("seed {seed} (`cargo xtask soak --seed {seed}` plays it again): {round:?}")
        })?;
        rounds += 1;
        packets += metered;
        println!(
            "seed {seed}: {:?}, {metered} packets, balanced",
            round.mishap
        );
        if first.is_some() || Instant::now() >= deadline {
            println!("{rounds} rounds, {packets} packets, none unexplained");
            return Ok(());
        }
        seed += 1;
    }
}
