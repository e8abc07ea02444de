//! `cargo xtask demo`: the main job, end to end, on real packets, and its account.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use weir_tests::{
    netns::{self, Pair},
    process::Daemon,
    traffic::{self, Traffic},
    wire::Wire,
};

use crate::{
    build,
    run::{shown, step},
    setup,
};

/// Packets a second: fast enough to be soon done, slow enough for two virtual CPUs.
const RATE: u64 = 40_000;
const COLLECTOR: &str = "127.0.0.1:2055";
/// The collector's folder.
const FLOWS: &str = "flows";

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Meter a capture file instead of live packets
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Conversations in the generated traffic
    #[arg(long, default_value_t = 6000)]
    conversations: u32,
    /// Keep the files in this folder (default: a temporary one, removed)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Where the demo's binaries and files are.
struct Stage {
    binaries: PathBuf,
    folder: PathBuf,
    interrupted: Arc<AtomicBool>,
}

pub fn run(options: &Options) -> Result<()> {
    if let Some(folder) = &options.keep {
        check_empty(&folder.join(FLOWS))?;
    }
    build::run(&build::Options { release: false })?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let temporary = tempfile::tempdir()?;
    let folder = options
        .keep
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&folder)?;
    let stage = Stage {
        binaries: weir_tests::process::binaries()?,
        folder,
        interrupted,
    };
    if let Some(pcap) = &options.pcap {
        return stage.capture(pcap);
    }
    if !is_root() {
        eprintln!(
            "not root: no interface can be metered, so the same traffic goes through a capture file"
        );
        let pcap = stage.folder.join("demo.pcap");
        let traffic = traffic::mix(options.conversations, 1);
        let frames = traffic.frames.iter().map(Vec::as_slice);
        fs::write(
            &pcap,
            traffic::capture_file(frames, |index| 1_700_000_000_000_000 + 25 * index),
        )?;
        return stage.capture(&pcap);
    }
    setup::iproute2()?;
    stage.live(&traffic::mix(options.conversations, 1))
}

/// Refuses flows of an earlier demo: this one's account would not balance with them.
fn check_empty(flows: &Path) -> Result<()> {
    ensure!(
        !flows.exists(),
        "{} is there already, and its flows are in no account of this demo: name another folder, or remove it",
        flows.display()
    );
    Ok(())
}

fn is_root() -> bool {
    netns::possible() || crate::run::output("id", &["-u"]) == "0"
}

impl Stage {
    fn live(&self, traffic: &Traffic) -> Result<()> {
        step("two network namespaces, joined by a veth pair");
        let pair = Pair::new("d")?;
        step("weir-collector and weir-sensor (native XDP) in the second");
        let collector =
            self.start_collector(pair.command_in_b(&self.binaries.join("weir-collector")))?;
        let mut command = pair.command_in_b(&self.binaries.join("weir-sensor"));
        command
            .args(["-i", &pair.b, "-n", COLLECTOR])
            .args("-c none -t idle=2 -t tcp.fin=1 --xdp native --statistics-json".split(' '));
        command.arg(self.path("sensor.json"));
        let mut sensor = Daemon::start(command, &self.path("sensor.log"))?;
        sensor.wait_for("metering")?;
        eprint!("{}", sensor.log());
        let frames = traffic.frames.len();
        step(&format!(
            "sending {frames} frames at {RATE} a second: web, DNS, pings, IPv6, VLANs, a scan, some ARP"
        ));
        let sent = self.send(&pair.a, traffic)?;
        let (_, dropped) = pair.received_and_dropped()?;
        step("stopping the sensor: it exports what it holds, then the collector closes its file");
        expect_success(sensor.stop()?, "weir-sensor", &self.path("sensor.log"))?;
        self.stop_collector(collector)?;
        drop(pair);
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; the namespaces are removed");
        }
        self.answers()?;
        self.account(Some((sent, dropped)))
    }

    fn capture(&self, pcap: &Path) -> Result<()> {
        step("weir-collector");
        let collector = self.start_collector(Command::new(self.binaries.join("weir-collector")))?;
        step(&format!("weir-sensor -r {}", pcap.display()));
        let mut command = Command::new(self.binaries.join("weir-sensor"));
        command
            .arg("-r")
            .arg(pcap)
            .args(["-n", COLLECTOR, "--statistics-json"])
            .arg(self.path("sensor.json"));
        let metered = shown(&mut command);
        self.stop_collector(collector)?;
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        metered?;
        self.answers()?;
        self.account(None)
    }

    fn start_collector(&self, mut command: Command) -> Result<Daemon> {
        command
            .arg("-w")
            .arg(self.flows())
            .args(["-l", COLLECTOR, "--statistics-json"])
            .arg(self.path("collector.json"));
        let mut collector = Daemon::start(command, &self.path("collector.log"))?;
        collector.wait_for("listening")?;
        Ok(collector)
    }

    /// Ends it once it has what is under way.
    fn stop_collector(&self, collector: Daemon) -> Result<()> {
        std::thread::sleep(Duration::from_millis(300));
        expect_success(
            collector.stop()?,
            "weir-collector",
            &self.path("collector.log"),
        )
    }

    #[expect(clippy::disallowed_methods, reason = "it sends at a rate")]
    /// Sends every frame from namespace `a`, at the rate; how many were sent.
    fn send(&self, a: &str, traffic: &Traffic) -> Result<u64> {
        let bar = ProgressBar::new(traffic.frames.len() as u64).with_style(
            ProgressStyle::with_template("  {bar:40} {pos}/{len} frames, {per_sec}, {eta} left")?,
        );
        let result = std::thread::scope(|scope| {
            let sender = scope.spawn(|| -> Result<u64> {
                netns::enter(a)?;
                let wire = Wire::open(a)?;
                let start = Instant::now();
                let mut sent = 0;
                for frame in &traffic.frames {
                    if self.interrupted.load(Ordering::Relaxed) {
                        break;
                    }
                    wire.send(frame)?;
                    sent += 1;
                    bar.inc(1);
                    let due = Duration::from_nanos(sent * 1_000_000_000 / RATE);
                    if let Some(ahead) = due
                        .checked_sub(start.elapsed())
                        .filter(|ahead| *ahead > Duration::from_millis(1))
                    {
                        std::thread::sleep(ahead);
                    }
                }
                Ok(sent)
            });
            sender
                .join()
                .map_err(|_| anyhow::anyhow!("the sending thread died"))?
        });
        bar.finish_and_clear();
        result
    }

    fn answers(&self) -> Result<()> {
        for (question, arguments) in [
            ("Who sent most?", &["--by", "srcip", "-n", "5"][..]),
            (
                "To which ports?",
                &["--by", "dstport", "-n", "5", "--order", "flows"],
            ),
        ] {
            let arguments = arguments.join(" ");
            step(&format!("{question}  weir top -r DIR {arguments}"));
            let mut command = Command::new(self.binaries.join("weir"));
            command
                .args(["top", "-r"])
                .arg(self.flows())
                .args(arguments.split(' '));
            shown(&mut command)?;
        }
        step("And the scan?  weir flows -r DIR -n 3 'src ip 203.0.113.66'");
        let mut command = Command::new(self.binaries.join("weir"));
        command
            .args(["flows", "-n", "3", "-r"])
            .arg(self.flows())
            .arg("src ip 203.0.113.66");
        shown(&mut command)
    }

    /// Prints where every packet is; fails if one is missing.
    fn account(&self, sent: Option<(u64, u64)>) -> Result<()> {
        let sensor = read_json(&self.path("sensor.json"))?;
        let collector = read_json(&self.path("collector.json"))?;
        // What the files say, not what the collector says of them.
        let files = self.totals()?;
        let seen = number(&sensor, "packets")?;
        let mut account = Account::default();
        if let Some((sent, dropped)) = sent {
            let parts = [
                ("seen by the sensor", seen),
                ("dropped by the veth pair", dropped),
            ];
            account.check("packets sent", sent, &parts);
        }
        account.check("packets seen", seen, &numbers(&sensor, &PACKETS)?);
        let mut records = vec![("in the collector's files", number(&files, "flows")?)];
        records.extend(numbers(&collector, &RECORDS_LOST)?);
        let exported = number(&sensor, "records_exported")?;
        account.check("records exported", exported, &records);
        for (name, exported) in [
            ("packets", "packets_exported"),
            ("octets", "octets_exported"),
        ] {
            account.check(
                &format!("{name} in records exported"),
                number(&sensor, exported)?,
                &[("in the collector's files", number(&files, name)?)],
            );
        }
        if number(&collector, "kernel_drops")? > 0 {
            account.lines.push(
                "the kernel dropped datagrams at the collector: this machine is too busy"
                    .to_owned(),
            );
        }
        account.tell()
    }

    /// What `weir` finds in the files.
    fn totals(&self) -> Result<Value> {
        let mut command = Command::new(self.binaries.join("weir"));
        command.args(["top", "--json", "-r"]).arg(self.flows());
        let output = command.output()?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        Ok(answer["total"].clone())
    }

    fn flows(&self) -> PathBuf {
        self.path(FLOWS)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Where packets that the sensor saw may be, and its counters of them.
const PACKETS: [(&str, &str); 7] = [
    ("in flow records", "packets_exported"),
    ("not IP", "non_ip_packets"),
    ("too short", "too_short_packets"),
    ("bad IP header", "bad_ip_packets"),
    ("too many tags or labels", "too_deep_packets"),
    ("ring full", "ring_full_packets"),
    ("table busy", "table_busy_packets"),
];

/// Where records that came are, if not in the files, and the collector's counters of them.
const RECORDS_LOST: [(&str, &str); 2] = [
    ("not written", "records_unwritten"),
    ("not read back", "records_unreadable"),
];

/// Sums beside their parts.
#[derive(Debug, Default)]
struct Account {
    lines: Vec<String>,
    is_unbalanced: bool,
}

impl Account {
    /// Sets a total beside its parts, of which those that are zero are not shown.
    fn check(&mut self, label: &str, total: u64, parts: &[(&str, u64)]) {
        let sum: u64 = parts.iter().map(|(_, count)| count).sum();
        let verdict = if sum == total {
            "balances"
        } else {
            self.is_unbalanced = true;
            "DOES NOT BALANCE"
        };
        self.lines
            .push(format!("{label:<34}{total:>12}   {verdict}"));
        let shown = parts.iter().filter(|(_, count)| *count > 0);
        self.lines
            .extend(shown.map(|(name, count)| format!("  {name:<32}{count:>12}")));
    }

    /// Prints it; fails if anything is missing.
    fn tell(&self) -> Result<()> {
        step("The account");
        for line in &self.lines {
            println!("{line}");
        }
        if self.is_unbalanced {
            bail!(
                "the account does not balance: this is a defect, please report it with the lines above"
            );
        }
        println!("\nEvery packet is accounted for.");
        Ok(())
    }
}

/// A counter of an account.
fn number(account: &Value, name: &str) -> Result<u64> {
    let number = account[name].as_u64();
    number.with_context(|| format!("counter {name}"))
}

/// Counters of an account, under the names that people read.
fn numbers(account: &Value, names: &[(&'static str, &str)]) -> Result<Vec<(&'static str, u64)>> {
    let named = names
        .iter()
        .map(|(label, name)| Ok((*label, number(account, name)?)));
    named.collect()
}

fn expect_success(status: std::process::ExitStatus, name: &str, log: &Path) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!(
        "{name} ended with {status}:\n{}",
        fs::read_to_string(log).unwrap_or_default()
    )
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_of_an_earlier_demo_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let flows = folder.path().join(FLOWS);
        assert!(check_empty(&flows).is_ok());
        fs::create_dir(&flows).unwrap();
        let says = check_empty(&flows).unwrap_err().to_string();
        assert!(says.contains("name another folder"), "{says}");
    }
}
