//! One question, several engines: a directory that two collectors wrote side by side, what `weir` answers of
//! it, and what DuckDB, pyarrow and Spark answer (`tests/engines/ask.py`). `docs/scale-out.md` is about it.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    port,
    process::{self, Daemon},
    sflow::{self, Header},
    traffic,
};

/// Whose flows are asked for, beside all: one of the servers that have most.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const CONVERSATIONS: u32 = 800;
/// Of the first frame.
const START_US: u64 = 1_700_000_000_000_000;
/// sFlow's samples for each collector, and of each of its datagrams. Each sample tells the VLAN it left by,
/// which has no column.
const SAMPLES: u32 = 40;
const SAMPLES_EACH: u32 = 5;
/// Longer than a window lasts.
const WINDOW: Duration = Duration::from_millis(1500);

const SUMS: &str = "select count(*) as f, sum(packets) as p, sum(octets) as o from flows";
const TOP: &str = "select protocol, dst_port, count(*) as f, sum(packets) as p, sum(octets) as o from flows \
    group by protocol, dst_port order by o desc, protocol, dst_port limit 20";

/// What two collectors wrote, each into a folder `collector=NAME`, and what they counted.
#[derive(Debug)]
pub struct Archive {
    folder: tempfile::TempDir,
    counted: Vec<(&'static str, Value)>,
}

impl Archive {
    /// Has two collectors write: NetFlow v9 of generated traffic, then sFlow, in windows of a second. A
    /// recompaction is under way in one of them.
    ///
    /// # Errors
    /// If one of Weir's programs fails.
    pub fn collected() -> Result<Self> {
        let mut archive = Self {
            folder: tempfile::tempdir()?,
            counted: Vec::new(),
        };
        for (name, seed) in [("a", 3), ("b", 4)] {
            let counted = archive.collect(name, seed)?;
            archive.counted.push((name, counted));
        }
        archive.hide_a_copy()?;
        Ok(archive)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("flows")
    }

    /// What a collector counted.
    fn collect(&self, name: &str, seed: u64) -> Result<Value> {
        let binaries = process::binaries()?;
        let path = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        let traffic = traffic::mix(CONVERSATIONS, seed);
        let frames = traffic.frames.iter().map(Vec::as_slice);
        let capture = traffic::capture_file(frames, |index| START_US + 1000 * index);
        fs::write(path("pcap"), capture)?;
        let address = format!("127.0.0.1:{}", port::free()?);
        let mut command = Command::new(binaries.join("weir-collector"));
        let flows = self.root().join(format!("collector={name}"));
        command.arg("-w").arg(flows);
        command.args(["-l", &address, "-t", "1", "--statistics-json"]);
        command.arg(path("json"));
        let mut collector = Daemon::start(command, &path("log"))?;
        collector.wait_for("listening")?;
        let mut command = Command::new(binaries.join("weir-sensor"));
        command.arg("-r").arg(path("pcap"));
        output_of(command.args(["-v", "9", "-n", &address]))?;
        thread::sleep(WINDOW);
        send_samples(&address)?;
        thread::sleep(WINDOW);
        let log = collector.log();
        let status = collector.stop()?;
        ensure!(
            status.success(),
            "weir-collector ended with {status}:\n{log}"
        );
        Ok(serde_json::from_slice(&fs::read(path("json"))?)?)
    }

    /// Some of the flows a second time, where `recompact` has them while it works: in a hidden folder beside
    /// the hour's. Nobody is to count them.
    fn hide_a_copy(&self) -> Result<()> {
        let date = first(&self.root().join("collector=a"), "date=")?;
        let hour = first(&date, "hour=")?;
        let file = first(&hour, "flows-")?;
        let name = |path: &Path| path.file_name().map(PathBuf::from).unwrap_or_default();
        let hidden = date.join(format!(".{}", name(&hour).display()));
        fs::create_dir(&hidden)?;
        fs::copy(&file, hidden.join(name(&file)))?;
        Ok(())
    }

    /// What is right: sums by `weir`, which must be what the collectors counted.
    ///
    /// # Errors
    /// If it is not, or `weir` fails.
    pub fn answers(&self) -> Result<Value> {
        let counted = |counter: &str| -> u64 {
            let counts = self.counted.iter().map(|(_, counted)| &counted[counter]);
            counts.filter_map(Value::as_u64).sum()
        };
        let total = self.sql(SUMS)?.remove(0);
        let expected = json!(["records", "packets", "octets"].map(counted));
        ensure!(
            total == expected,
            "weir finds {total}, and the collectors counted {expected}"
        );
        let host = format!("{SUMS} where src_addr = ip('{HOST}') or dst_addr = ip('{HOST}')");
        let host = self.sql(&host)?.remove(0);
        ensure!(host[0] != 0, "{HOST} has no flows, which tests nothing");
        let collectors = self.counted.iter();
        let collectors: Vec<_> = collectors
            .map(|(name, counted)| json!([name, counted["records"]]))
            .collect();
        Ok(json!({
            "vlan": u64::from(SAMPLES) * self.counted.len() as u64,
            "collectors": collectors,
            "total": total,
            "top": self.sql(TOP)?,
            "host": host,
        }))
    }

    /// The rows that `weir sql` answers with, each a list; there is one at least.
    fn sql(&self, query: &str) -> Result<Vec<Value>> {
        let mut command = Command::new(process::binaries()?.join("weir"));
        command
            .args(["sql", "--json", query, "-r"])
            .arg(self.root());
        let answer: Value = serde_json::from_slice(&output_of(&mut command)?.stdout)?;
        let rows = answer["rows"].as_array().context("rows")?.iter();
        let rows: Vec<Value> = rows
            .filter_map(|row| Some(row.as_object()?.values().cloned().collect()))
            .collect();
        ensure!(!rows.is_empty(), "weir answers {answer}");
        Ok(rows)
    }

    /// What an engine answers, in the form of [`Self::answers`]; `more` follows the other arguments.
    ///
    /// # Errors
    /// If it fails.
    pub fn asked(&self, python: &Path, engine: &str, more: &[&str]) -> Result<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/ask.py");
        let mut command = Command::new(python);
        command.arg(script).arg(engine).arg(self.root());
        command.arg(HOST.to_string()).args(more);
        Ok(serde_json::from_slice(&output_of(&mut command)?.stdout)?)
    }
}

/// The first entry by name of those that begin so.
fn first(folder: &Path, beginning: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(beginning) {
            found.push(entry.path());
        }
    }
    let first = found.into_iter().min();
    first.with_context(|| format!("there is no {beginning}… in {}", folder.display()))
}

fn send_samples(address: &str) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for sequence in 1..=SAMPLES / SAMPLES_EACH {
        let header = Header {
            agent: Ipv4Addr::LOCALHOST,
            sub_agent: 0,
            sequence,
            uptime_ms: 1000 * sequence,
        };
        let first = SAMPLES_EACH * sequence;
        let numbers = first..first + SAMPLES_EACH;
        let samples: Vec<_> = numbers.map(sflow::switched_sample).collect();
        socket.send_to(&sflow::datagram(&header, &samples), address)?;
    }
    Ok(())
}

fn output_of(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
