//! The questions, in the words of each engine, and how long an answer takes. Weir and nfdump are timed
//! from their start to their end, as whoever asks sees it; DuckDB from opening the files to the last row,
//! without Python's start.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use weir_benches::live::receiver::number_after;
use weir_sensor::clock::Now;
use weir_tests::process;

use super::archive::{Archive, HUNTED};
use crate::{bars::Bar, collect::binary};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `weir`.
    Weir,
    /// `nfdump`, over nfcapd's files of the same flows.
    Nfdump,
    /// DuckDB, over Weir's files.
    DuckDb,
}

/// All of them; Weir first.
pub const ENGINES: [Engine; 3] = [Engine::Weir, Engine::Nfdump, Engine::DuckDb];

impl Engine {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Nfdump => "nfdump",
            Self::DuckDb => "DuckDB on Weir's files",
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How many flows fit five conditions.
    Filter,
    /// Which sources sent most.
    Top,
    /// Which five-tuples had most.
    FiveTuple,
    /// Which sources had most different destinations.
    Distinct,
    /// All flows of one host, who is in few files.
    Hunt,
}

/// All of them.
pub const QUESTIONS: [Question; 5] = [
    Question::Filter,
    Question::Top,
    Question::FiveTuple,
    Question::Distinct,
    Question::Hunt,
];

/// nfdump's words, which are Weir's too.
const FILTER: &str = "proto tcp and dst port 443 and bytes > 100000 and packets > 20 and tos 0";
const FILTER_SQL: &str = "select count(*) from flows where protocol = 6 and dst_port = 443 and octets > 100000 and packets > 20 and tos = 0";

impl Question {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Top => "top-N",
            Self::FiveTuple => "5-tuple",
            Self::Distinct => "distinct",
            Self::Hunt => "host hunt",
        }
    }

    /// What it is held against, in million flows a second.
    pub const fn bar(self) -> Option<Bar> {
        match self {
            Self::Filter => Some(Bar::at_least(60.0, 130.0)),
            Self::Top => Some(Bar::at_least(22.0, 45.0)),
            Self::FiveTuple => Some(Bar::at_least(8.0, 14.0)),
            Self::Distinct | Self::Hunt => None,
        }
    }

    /// Words for `weir`, before `-r DIR`, and a filter after it.
    fn to_weir(self) -> (&'static [&'static str], String) {
        match self {
            Self::Filter => (&["flows", "-o", "null"], FILTER.to_owned()),
            Self::Top => (&["top", "--by", "srcip", "-n", "10"], String::new()),
            Self::FiveTuple => (&["group", "-n", "10"], String::new()),
            Self::Distinct => (
                &[
                    "top",
                    "--by",
                    "srcip",
                    "--order",
                    "distinct(dstip)",
                    "-n",
                    "10",
                ],
                String::new(),
            ),
            Self::Hunt => (&["flows", "-o", "csv"], format!("host {HUNTED}")),
        }
    }

    /// Likewise for nfdump, which counts no different values.
    fn to_nfdump(self) -> Option<(&'static [&'static str], String)> {
        let asked: (&'static [&'static str], String) = match self {
            Self::Filter => (&["-o", "null"], FILTER.to_owned()),
            Self::Top => (&["-s", "srcip/bytes", "-n", "10"], String::new()),
            Self::FiveTuple => (
                &[
                    "-A",
                    "proto,srcip,srcport,dstip,dstport",
                    "-O",
                    "bytes",
                    "-n",
                    "10",
                ],
                String::new(),
            ),
            Self::Distinct => return None,
            Self::Hunt => (&["-o", "csv"], format!("host {HUNTED}")),
        };
        Some(asked)
    }

    fn to_sql(self) -> String {
        match self {
            Self::Filter => FILTER_SQL.to_owned(),
            Self::Top => "select src_addr, sum(octets) as o, sum(packets), count(*) from flows group by src_addr order by o desc limit 10".to_owned(),
            Self::FiveTuple => "select protocol, src_addr, src_port, dst_addr, dst_port, sum(octets) as o, sum(packets), count(*), min(flow_start), max(flow_end) from flows group by all order by o desc limit 10".to_owned(),
            Self::Distinct => "select src_addr, count(distinct dst_addr) as d, sum(octets), sum(packets), count(*) from flows group by src_addr order by d desc limit 10".to_owned(),
            Self::Hunt => {
                let mut octets = String::new();
                for octet in HUNTED.to_ipv6_mapped().octets() {
                    let _ = write!(octets, "\\x{octet:02X}");
                }
                format!("select * from flows where src_addr = '{octets}'::blob or dst_addr = '{octets}'::blob")
            }
        }
    }

    /// How many flows an answer is of, where every engine says so.
    fn counted(self, engine: Engine, output: &str) -> Result<Option<u64>> {
        let counted = match (self, engine) {
            (Self::Filter, Engine::Weir) => leading_number(output),
            (Self::Filter, Engine::Nfdump) => number_after(output, "total flows:"),
            (Self::Filter, Engine::DuckDb) => word(output, 2),
            (Self::Hunt, Engine::DuckDb) => word(output, 1),
            (Self::Hunt, Engine::Weir | Engine::Nfdump) => {
                let hunted = HUNTED.to_string();
                let lines = output.lines().filter(|line| line.contains(&hunted));
                Some(lines.count() as u64)
            }
            _ => return Ok(None),
        };
        let name = engine.name();
        let counted =
            counted.with_context(|| format!("{}: {name} says {output:?}", self.name()))?;
        Ok(Some(counted))
    }
}

/// DuckDB's answer: seconds, rows, and the first value.
const SCRIPT: &str = "import sys, time, duckdb\n\
    root, sql = sys.argv[1:]\n\
    began = time.perf_counter()\n\
    db = duckdb.connect()\n\
    db.execute('SET enable_progress_bar = false')\n\
    db.execute(f\"create view flows as select * from read_parquet('{root}/*/*/*.parquet', hive_partitioning=false)\")\n\
    rows = db.execute(sql).fetchall()\n\
    print(time.perf_counter() - began, len(rows), rows[0][0] if rows else 0)\n";

/// The programs.
pub struct Programs {
    weir: PathBuf,
    python: PathBuf,
}

/// What an engine took and found.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Seconds.
    pub seconds: f64,
    /// Flows, of those questions where all engines say how many.
    pub flows: Option<u64>,
}

impl Programs {
    /// Finds them.
    pub fn find() -> Result<Self> {
        let target = process::binaries()?;
        let target = target.parent().context("target/")?;
        let python = target.join("venv/bin/python");
        ensure!(
            python.exists(),
            "{} is missing: `cargo xtask bench query` makes it, with DuckDB",
            python.display()
        );
        Ok(Self {
            weir: binary("weir")?,
            python,
        })
    }

    /// Has the programs themselves, and not the files, in the page cache.
    pub fn warm_up(&self) -> Result<()> {
        answered(Command::new(&self.weir).arg("--version"))?;
        answered(Command::new("nfdump").arg("-V"))?;
        answered(Command::new(&self.python).args(["-c", "import duckdb; duckdb.connect()"]))?;
        Ok(())
    }

    /// Asks; nothing if the engine has no such question.
    pub fn ask(
        &self,
        engine: Engine,
        question: Question,
        archive: &Archive,
    ) -> Result<Option<Answer>> {
        let mut command = match engine {
            Engine::Weir => {
                let (words, filter) = question.to_weir();
                let mut command = Command::new(&self.weir);
                command.args(words).arg("-r").arg(&archive.weir);
                command.args(Some(filter).filter(|filter| !filter.is_empty()));
                command
            }
            Engine::Nfdump => {
                let Some((words, filter)) = question.to_nfdump() else {
                    return Ok(None);
                };
                let mut command = Command::new("nfdump");
                command.arg("-R").arg(&archive.nfdump).args(words);
                command.args(Some(filter).filter(|filter| !filter.is_empty()));
                command
            }
            Engine::DuckDb => {
                let mut command = Command::new(&self.python);
                command.args(["-c", SCRIPT]).arg(&archive.weir);
                command.arg(question.to_sql());
                command
            }
        };
        let began_ns = Now::read().monotonic_ns;
        let output = answered(&mut command)?;
        let elapsed_ns = Now::read().monotonic_ns - began_ns;
        let output = String::from_utf8_lossy(&output.stdout);
        let seconds = match engine {
            Engine::Weir | Engine::Nfdump => elapsed_ns as f64 / 1e9,
            Engine::DuckDb => {
                word(&output, 0).with_context(|| format!("DuckDB's script says {output:?}"))?
            }
        };
        Ok(Some(Answer {
            seconds,
            flows: question.counted(engine, &output)?,
        }))
    }

    /// Milliseconds from the start of `weir flows` to its first flow, through a pipe.
    pub fn first_row_ms(&self, folder: &Path) -> Result<f64> {
        let began_ns = Now::read().monotonic_ns;
        let mut child = Command::new(&self.weir)
            .args(["flows", "-r"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("a pipe")?;
        // The heading comes first.
        let row = BufReader::new(output).lines().nth(1);
        let elapsed_ns = Now::read().monotonic_ns - began_ns;
        let _ = child.kill();
        child.wait()?;
        match row {
            Some(Ok(row)) if !row.is_empty() => Ok(elapsed_ns as f64 / 1e6),
            other => bail!("weir flows gave no flow: {other:?}"),
        }
    }

    /// Seconds until `weir flows` has shown one flow of a directory and ended.
    pub fn open_s(&self, folder: &Path) -> Result<f64> {
        let mut command = Command::new(&self.weir);
        timed(command.args(["flows", "-n", "1", "-r"]).arg(folder))
    }

    /// Seconds in which so many flows are written as CSV, to nowhere.
    pub fn csv_s(&self, engine: Engine, archive: &Archive, lines: u64) -> Result<f64> {
        let lines = lines.to_string();
        let mut command = if engine == Engine::Weir {
            let mut command = Command::new(&self.weir);
            command.args(["flows", "-o", "csv", "-n", &lines, "-r"]);
            command.arg(&archive.weir);
            command
        } else {
            let mut command = Command::new("nfdump");
            // Its own csv has 48 columns.
            let same = "fmt:%ts,%td,%pr,%sa,%sp,%da,%dp,%pkt,%byt,%fl";
            command.args(["-q", "-N", "-6", "-o", same, "-c", &lines, "-R"]);
            command.arg(&archive.nfdump);
            command
        };
        timed(&mut command)
    }
}

/// Has the kernel forget what it read of files.
pub fn drop_caches() -> Result<()> {
    const PATH: &str = "/proc/sys/vm/drop_caches";
    // What is not written yet is not dropped.
    answered(&mut Command::new("sync"))?;
    fs::write(PATH, "3").with_context(|| format!("cannot write {PATH}: run as root"))
}

/// Wall time of a command whose output goes nowhere.
fn timed(command: &mut Command) -> Result<f64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began_ns = Now::read().monotonic_ns;
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    let elapsed_ns = Now::read().monotonic_ns - began_ns;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(elapsed_ns as f64 / 1e9)
}

fn answered(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}

/// The n-th word, as a number.
fn word<T: std::str::FromStr>(output: &str, number: usize) -> Option<T> {
    output.split_whitespace().nth(number)?.parse().ok()
}

/// A number that people read: `1,234 of 20,000,160 flows`.
fn leading_number(output: &str) -> Option<u64> {
    let first = output.split_whitespace().next()?;
    first.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let weir = "1,234,567 of 20,000,160 flows, from 720 closed and 0 open files\n";
        let nfdump = "Summary: total flows: 1234567, total bytes: 1.2 G, total packets: 1\n";
        let duckdb = "0.123 1 1234567\n";
        let filter = Question::Filter;
        for (engine, output) in [
            (Engine::Weir, weir),
            (Engine::Nfdump, nfdump),
            (Engine::DuckDb, duckdb),
        ] {
            let counted = filter.counted(engine, output).unwrap();
            assert_eq!(counted, Some(1_234_567), "{engine:?}");
            assert!(filter.counted(engine, "").is_err(), "{engine:?}");
            assert_eq!(Question::Top.counted(engine, "").unwrap(), None);
        }
        let seconds: f64 = word(duckdb, 0).unwrap();
        assert!((seconds - 0.123).abs() < 1e-9);
        let lines = "firstSeen,srcAddr\n2026,203.0.113.77\n2026,203.0.113.77\nSummary\n";
        let counted = Question::Hunt.counted(Engine::Nfdump, lines).unwrap();
        assert_eq!(counted, Some(2));
    }

    #[test]
    fn the_hunted_host_is_sixteen_octets_in_sql() {
        let sql = Question::Hunt.to_sql();
        let literal = r"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xFF\xFF\xCB\x00\x71\x4D";
        assert!(sql.contains(literal), "{sql}");
    }
}
