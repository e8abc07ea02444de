//! The blueprint's bars, and what was measured beside them.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::json;

/// A figure and its bar: lower is better, unless it says so.
#[derive(Debug)]
struct Line {
    what: String,
    unit: &'static str,
    figure: Option<f64>,
    must: f64,
    aim: f64,
    at_least: bool,
    note: String,
}

impl Line {
    fn met(&self, bar: f64) -> bool {
        self.figure.is_some_and(|figure| {
            if self.at_least {
                figure >= bar
            } else {
                figure <= bar
            }
        })
    }

    fn verdict(&self) -> &'static str {
        match self.figure {
            None => "not measured",
            Some(_) if self.met(self.aim) => "aim",
            Some(_) if self.met(self.must) => "must",
            Some(_) => "MISSED",
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
    context: Vec<(String, f64, &'static str)>,
}

/// Bars that nothing here measures yet, so that they are not forgotten: what, must, aim, unit.
const UNMEASURED: [(&str, f64, f64, &str); 7] = [
    ("export of 1M flows at once", 2.0, 2.0, "s"),
    ("collector, v5", 4.5, 8.0, "M flows/s ≥"),
    ("collector, v9", 3.5, 6.0, "M flows/s ≥"),
    ("at rest", 18.0, 15.0, "octets/flow"),
    ("filter", 60.0, 130.0, "M flows/s ≥"),
    ("top-N", 22.0, 45.0, "M flows/s ≥"),
    ("5-tuple groups", 8.0, 14.0, "M flows/s ≥"),
];

impl Report {
    /// A figure with a bar that it must not exceed.
    pub fn at_most(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        figure: f64,
        bars: (f64, f64),
        note: impl Into<String>,
    ) {
        self.push(what.into(), unit, figure, bars, false, note.into());
    }

    /// A figure with a bar that it must reach.
    pub fn at_least(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        figure: f64,
        bars: (f64, f64),
        note: impl Into<String>,
    ) {
        self.push(what.into(), unit, figure, bars, true, note.into());
    }

    fn push(
        &mut self,
        what: String,
        unit: &'static str,
        figure: f64,
        (must, aim): (f64, f64),
        at_least: bool,
        note: String,
    ) {
        self.lines.push(Line {
            what,
            unit,
            figure: Some(figure),
            must,
            aim,
            at_least,
            note,
        });
    }

    /// A figure without a bar: what others need in the same run.
    pub fn context(&mut self, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.context.push((what.into(), figure, unit));
    }

    /// Whether a "must" is missed or was not measured.
    pub fn missed(&self) -> bool {
        !UNMEASURED.is_empty() || self.lines.iter().any(|line| !line.met(line.must))
    }

    /// A table for people.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from(
            "\n| what | figure | must | aim | reached | |\n|---|---:|---:|---:|---|---|\n",
        );
        let unmeasured = UNMEASURED.iter().map(|(what, must, aim, unit)| Line {
            what: (*what).to_owned(),
            unit,
            figure: None,
            must: *must,
            aim: *aim,
            at_least: true,
            note: String::new(),
        });
        let unmeasured: Vec<_> = unmeasured.collect();
        for line in self.lines.iter().chain(&unmeasured) {
            let figure = line
                .figure
                .map_or_else(|| "–".to_owned(), |figure| format!("{figure:.2}"));
            let Line {
                what,
                unit,
                must,
                aim,
                note,
                ..
            } = line;
            let _ = writeln!(
                text,
                "| {what}, {unit} | {figure} | {must} | {aim} | {} | {note} |",
                line.verdict()
            );
        }
        let _ = writeln!(text, "\nIn the same run:\n");
        for (what, figure, unit) in &self.context {
            let _ = writeln!(text, "- {what}: {figure:.1} {unit}");
        }
        text
    }

    /// Writes the table and the figures to `benches/record/`, with machine and command.
    pub fn record(&self) -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("record");
        fs::create_dir_all(&folder)?;
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.map_or_else(
                |_| String::new(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            )
        };
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let cpu = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name\t: "))
            .unwrap_or("unknown")
            .to_owned();
        let machine = format!(
            "{} × {cpu}, Linux {}",
            output("nproc", &[]),
            output("uname", &["-r"])
        );
        let date = output("date", &["-u", "+%Y-%m-%d"]);
        let commit = output("git", &["rev-parse", "--short", "HEAD"]);
        let head = format!("# Measured {date}\n\n`cargo xtask bench` at {commit}, on {machine}.\n");
        fs::write(
            folder.join("latest.md"),
            format!("{head}{}", self.to_markdown()),
        )?;
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| json!({ "what": line.what, "unit": line.unit, "figure": line.figure, "must": line.must, "aim": line.aim, "reached": line.verdict() }))
            .collect();
        let context: Vec<_> = self
            .context
            .iter()
            .map(|(what, figure, unit)| json!({ "what": what, "figure": figure, "unit": unit }))
            .collect();
        let object = json!({ "date": date, "commit": commit, "machine": machine, "bars": lines, "context": context });
        fs::write(folder.join("latest.json"), format!("{object:#}\n"))?;
        Ok(())
    }
}
