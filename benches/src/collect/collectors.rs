//! Those who collect: weir-collector, and nfcapd with what compressions it was built with. Each in a
//! folder of its own, on a loopback port, with a receive buffer of the same size.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use weir_benches::live::receiver::number_after;
use weir_sensor::clock::Now;
use weir_store::{footer, read, recompact};
use weir_tests::{
    port,
    process::{self, Daemon},
};

use crate::{
    buffer::BUFFER_OCTETS,
    collector::{drops_in, queued_in},
    cpu::children_ns,
    record,
    sensor::{cpu_ns_of, of},
};

/// Until what is in the receive buffer is taken.
const DRAIN_MAX_NS: u64 = 30_000_000_000;
/// Longer than a collector holds flows back before it writes them.
const FLUSH: Duration = Duration::from_millis(1200);
/// Closing hundreds of millions of flows takes its time.
const END_MAX: Duration = Duration::from_secs(900);

/// Who collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// weir-collector.
    Weir,
    /// nfcapd with LZ4.
    Lz4,
    /// nfcapd with zstd, if it has that.
    Zstd,
}

/// The nfcapd that is installed.
#[derive(Clone, Debug)]
pub struct Nfcapd {
    /// Its name and version.
    pub version: String,
    /// Whether compressions are told by name (1.7.2 and newer), or LZ4 by `-y`.
    by_name: bool,
    /// Whether zstd is among them: Debian 12's 1.7.1 has none.
    pub has_zstd: bool,
}

impl Nfcapd {
    /// Asks the first one on the path.
    pub fn find() -> Result<Self> {
        let output = Command::new("nfcapd")
            .arg("-h")
            .output()
            .context("nfcapd is not installed: `cargo xtask setup --peers` installs it")?;
        let usage = [output.stdout, output.stderr].concat();
        let version = record::output("nfcapd", &["-V"]);
        Ok(Self::of_usage(&version, &String::from_utf8_lossy(&usage)))
    }

    /// The one that says so of itself. From 1.7.2 on its version names what was compiled in, and its usage
    /// all that could be; 1.7.2 itself has zstd, by its name, and a usage that does not say so.
    pub fn of_usage(version: &str, usage: &str) -> Self {
        let options = version.split_once("Options:").map(|(_, options)| options);
        let has_zstd = options.map_or_else(
            || usage.contains("zstd"),
            |options| options.contains("ZSTD"),
        );
        Self {
            version: version.to_owned(),
            by_name: usage.contains("-z="),
            has_zstd,
        }
    }

    /// How it is told to compress.
    pub fn option(&self, who: Who) -> &'static str {
        match (who, self.by_name) {
            (Who::Zstd, _) => "-z=zstd",
            (_, true) => "-z=lz4",
            (_, false) => "-y",
        }
    }
}

impl Who {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir-collector",
            Self::Lz4 => "nfcapd, lz4",
            Self::Zstd => "nfcapd, zstd",
        }
    }
}

/// One at work.
pub struct Running {
    who: Who,
    daemon: Daemon,
    folder: TempDir,
    /// Where it listens.
    pub port: u16,
    /// Whether what it leaves is made one file.
    pub recompacts: bool,
    /// Of all children that ended before it.
    before_ns: f64,
}

/// What one that ended leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Left {
    /// Flows in its files.
    pub flows: u64,
    /// Octets of those files.
    pub octets: u64,
    /// Octets once they were recompacted, if they were.
    pub recompacted_octets: Option<u64>,
    /// Files.
    pub files: u64,
    /// What is missing by the exporters' numbers, in their units; of weir-collector alone.
    pub lost: u64,
    /// Processor time from its start to its end, in nanoseconds.
    pub cpu_ns: f64,
}

impl Running {
    /// Starts it on a CPU, or on all, and waits until it listens. weir-collector has windows of so many
    /// milliseconds; nfcapd's last an hour.
    pub fn start(who: Who, nfcapd: &Nfcapd, cpu: Option<usize>, window_ms: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = port::free()?;
        let flows = folder.path().join("flows");
        fs::create_dir(&flows)?;
        let program = match who {
            Who::Weir => binary("weir-collector")?,
            Who::Lz4 | Who::Zstd => "nfcapd".into(),
        };
        let mut command = match cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cpu.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("-w").arg(&flows);
        match who {
            Who::Weir => command
                .args(["-l", &format!("127.0.0.1:{port}")])
                .args(["-t", &(window_ms as f64 / 1000.0).to_string()])
                .arg("--statistics-json")
                .arg(folder.path().join("json")),
            Who::Lz4 | Who::Zstd => command
                .args(["-b", "127.0.0.1", "-p", &port.to_string()])
                .args(["-t", "3600", "-B", &BUFFER_OCTETS.to_string()])
                .arg(nfcapd.option(who)),
        };
        let before_ns = children_ns();
        let mut daemon = Daemon::start(command, &folder.path().join("log"))?;
        match who {
            Who::Weir => daemon.wait_for("listening")?,
            Who::Lz4 | Who::Zstd => daemon.wait_for("Startup nfcapd")?,
        }
        let running = Self {
            who,
            daemon,
            folder,
            port,
            recompacts: false,
            before_ns,
        };
        running.wait_for_socket()?;
        Ok(running)
    }

    fn wait_for_socket(&self) -> Result<()> {
        const TRIES: u32 = 200;
        for _ in 0..TRIES {
            if drops_in(&sockets()?, self.port).is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "{} does not listen:\n{}",
            self.who.name(),
            self.daemon.log()
        )
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.who.name()
    }

    /// Processor time so far, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        cpu_ns_of(self.daemon.pid())
    }

    /// The most memory it had so far, in octets.
    pub fn memory_octets(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.daemon.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kib = number_after(&status, "VmHWM:").with_context(|| format!("VmHWM in {path}"))?;
        Ok(kib << 10)
    }

    /// Waits until it has taken and written what was sent; how many datagrams the kernel dropped.
    pub fn drain(&self) -> Result<u64> {
        let began_ns = Now::read().monotonic_ns;
        loop {
            let sockets = sockets()?;
            let (Some(queued), Some(dropped)) = (
                queued_in(&sockets, self.port),
                drops_in(&sockets, self.port),
            ) else {
                bail!("{} ended:\n{}", self.who.name(), self.daemon.log());
            };
            if queued == 0 {
                thread::sleep(FLUSH);
                return Ok(dropped);
            }
            ensure!(
                Now::read().monotonic_ns - began_ns < DRAIN_MAX_NS,
                "{} does not empty its receive buffer",
                self.who.name()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Windows that are open, those that wait to be closed included; of nfcapd none are known.
    pub fn windows_open(&self) -> Result<usize> {
        match self.who {
            Who::Weir => Ok(read::list(&self.flows())?.open.len()),
            Who::Lz4 | Who::Zstd => Ok(0),
        }
    }

    /// Ends it as a service manager does, and counts what it leaves on disk.
    pub fn stop(mut self) -> Result<Left> {
        let name = self.who.name();
        self.daemon.signal(libc::SIGTERM);
        let status = self.daemon.wait(END_MAX)?;
        ensure!(
            status.success(),
            "{name} ended with {status}:\n{}",
            self.daemon.log()
        );
        let cpu_ns = children_ns() - self.before_ns;
        let left = match self.who {
            Who::Weir => self.left_by_weir()?,
            Who::Lz4 | Who::Zstd => left_by_nfcapd(&self.flows())?,
        };
        let recompacted_octets = self.recompacts.then(|| self.recompact()).transpose()?;
        Ok(Left {
            recompacted_octets,
            cpu_ns,
            ..left
        })
    }

    /// The folder of its flows.
    pub fn flows(&self) -> PathBuf {
        self.folder.path().join("flows")
    }

    /// Makes one file of an hour's; the octets of all.
    fn recompact(&self) -> Result<u64> {
        let flows = self.flows();
        recompact::recompact(&*flows, i64::MAX, false, |_| {})?;
        let closed = read::list(&flows)?.closed;
        let octets = closed.iter().map(|path| Ok(fs::metadata(path)?.len()));
        octets.sum()
    }

    /// What is in closed files, by their footers; the collector's own account must agree.
    fn left_by_weir(&self) -> Result<Left> {
        let json = fs::read_to_string(self.folder.path().join("json"))?;
        let account: Value = serde_json::from_str(&json)?;
        let exporters = account["exporters"].as_array().context("no exporters")?;
        let lost = exporters.iter().map(|exporter| of(exporter, "lost"));
        let mut left = Left {
            lost: lost.sum::<Result<u64>>()?,
            ..Left::default()
        };
        for path in read::list(&self.flows())?.closed {
            left.flows += footer::read(&path)?.flows;
            left.octets += fs::metadata(&path)?.len();
            left.files += 1;
        }
        let written = of(&account, "records_written")?;
        ensure!(
            left.flows == written,
            "weir-collector wrote {written} flows, and {} are in its closed files",
            left.flows
        );
        Ok(left)
    }
}

fn left_by_nfcapd(flows: &Path) -> Result<Left> {
    let mut left = Left {
        flows: nfdump_flows(flows)?,
        ..Left::default()
    };
    for entry in fs::read_dir(flows)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("nfcapd.") {
            left.octets += entry.metadata()?.len();
            left.files += 1;
        }
    }
    Ok(left)
}

/// Flows in a folder of nfcapd's files, by what nfdump says of them.
pub fn nfdump_flows(folder: &Path) -> Result<u64> {
    let output = Command::new("nfdump")
        .arg("-R")
        .arg(folder)
        .arg("-I")
        .output()
        .context("nfdump is not installed: `cargo xtask setup --peers` installs it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    number_after(&text, "Flows:").with_context(|| format!("nfdump -I says {text:?}"))
}

/// A program of this workspace, as cargo built it beside this one.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = process::binaries()?.join(name);
    ensure!(
        path.exists(),
        "{} is missing: `cargo xtask bench` builds it",
        path.display()
    );
    Ok(path)
}

fn sockets() -> io::Result<String> {
    fs::read_to_string("/proc/net/udp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_read_from_the_usage() {
        let old = "-z\t\tLZO compress flows in output file.\n-y\t\tLZ4 compress flows\n";
        let new = "-z=lzo\tLZO compress\n-z=lz4[:level]\tLZ4\n-z=zstd[:level]\tZSTD\n";
        let without = "-z=lzo\tLZO compress\n-z=lz4[:level]\tLZ4\n";
        let compiled = "nfcapd: Version: 1.7.4-release Options: ZSTD BZIP2 Date: 2024-03-17";
        let bare = "nfcapd: Version: 1.7.4-release Options: BZIP2 Date: 2024-03-17";
        for (version, usage, lz4, has_zstd) in [
            ("/usr/bin/nfcapd: Version: 1.7.1", old, "-y", false),
            ("", new, "-z=lz4", true),
            ("", without, "-z=lz4", false),
            (compiled, new, "-z=lz4", true),
            (compiled, old, "-y", true),
            // Its usage is the same whatever it was built with.
            (bare, new, "-z=lz4", false),
        ] {
            let nfcapd = Nfcapd::of_usage(version, usage);
            assert_eq!(nfcapd.option(Who::Lz4), lz4);
            assert_eq!(nfcapd.has_zstd, has_zstd);
        }
        let nfcapd = Nfcapd::of_usage("", new);
        assert_eq!(nfcapd.option(Who::Zstd), "-z=zstd");
    }
}
