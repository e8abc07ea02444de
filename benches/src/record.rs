//! Where, when and at which commit something was measured, and the files that keep it: one pair a
//! bench in `benches/record/`, so that a run of one leaves the others'.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::bars::Report;

/// What has to be known of a figure before it can be quoted.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Day, UTC.
    pub date: String,
    /// Commit, and whether there was more than that.
    pub commit: String,
    /// CPUs and kernel.
    pub machine: String,
}

impl Origin {
    /// This machine, today.
    pub fn read() -> Result<Self> {
        const ONLINE: &str = "/sys/devices/system/cpu/online";
        let cpus = fs::read_to_string(ONLINE).with_context(|| format!("cannot read {ONLINE}"))?;
        let cpus = count(&cpus).with_context(|| format!("{ONLINE} says {cpus:?}"))?;
        let cpu = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let cpu = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name\t: "))
            .unwrap_or("unknown CPU");
        let kernel = output("uname", &["-r"]);
        // Records of the same run are no change.
        let status = output(
            "git",
            &["status", "--porcelain", "--", ".", ":!benches/record"],
        );
        let commit = output("git", &["rev-parse", "--short", "HEAD"]);
        Ok(Self {
            date: output("date", &["-u", "+%Y-%m-%d"]),
            commit: if status.is_empty() {
                commit
            } else {
                format!("{commit} with changes")
            },
            machine: format!("{cpus} × {cpu}, Linux {kernel}"),
        })
    }

    /// As a sentence.
    pub fn sentence(&self, bench: &str) -> String {
        let Self {
            date,
            commit,
            machine,
        } = self;
        format!("Measured {date} by `cargo xtask bench {bench}` at {commit}, on {machine}.")
    }

    /// A JSON object with more in it.
    pub fn with(&self, rest: Value) -> Value {
        let mut object =
            json!({ "date": self.date, "commit": self.commit, "machine": self.machine });
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        object
    }
}

/// Where records are kept.
pub fn folder() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("record");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Keeps a bench's report.
pub fn write(bench: &str, report: &Report) -> Result<()> {
    let (folder, origin) = (folder()?, Origin::read()?);
    let (head, table) = (origin.sentence(bench), report.to_markdown());
    fs::write(
        folder.join(format!("{bench}.md")),
        format!("# bench {bench}\n\n{head}\n{table}"),
    )?;
    let object = origin.with(report.to_json());
    fs::write(
        folder.join(format!("{bench}.json")),
        format!("{object:#}\n"),
    )?;
    Ok(())
}

/// What a program prints, run in the repository; empty if there is none.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// CPUs in a list as the kernel writes it.
fn count(cpus: &str) -> Option<u32> {
    let ranges = cpus.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_in_ranges() {
        for (list, cpus) in [("0\n", 1), ("0-1\n", 2), ("0-3,8-11,16", 9)] {
            assert_eq!(count(list), Some(cpus), "{list}");
        }
        for list in ["", "\n", "0-", "3-1", "a"] {
            assert_eq!(count(list), None, "{list:?}");
        }
    }

    #[test]
    fn an_origin_goes_before_the_figures() {
        let text = |text: &str| text.to_owned();
        let origin = Origin {
            date: text("2026-11-21"),
            commit: text("abc"),
            machine: text("2 × it, Linux 6"),
        };
        assert_eq!(
            origin.sentence("veth"),
            "Measured 2026-11-21 by `cargo xtask bench veth` at abc, on 2 × it, Linux 6."
        );
        let object = origin.with(json!({ "bars": [] }));
        assert!(object["machine"].is_string() && object["bars"].is_array());
    }
}
