//! What every answer has: tables as text or as JSON, and at its end what it covers.

use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::{
    data::Coverage,
    output::{self, Output},
    question::Source,
    text::{self, Align},
};

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Aligned
    Table,
    /// Commas between
    Csv,
    /// One document
    Json,
}

/// How an answer's lines are printed.
#[derive(Debug, Args)]
pub struct Lines {
    /// How lines are printed
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        default_value = "table",
        conflicts_with = "json"
    )]
    format: Form,
}

impl Lines {
    /// How; `--json` says so, too.
    #[must_use]
    pub fn form(&self, source: &Source) -> Form {
        if source.json { Form::Json } else { self.format }
    }
}

/// How statistics and groups are printed.
#[derive(Debug, Args)]
pub struct Shape {
    #[command(flatten)]
    lines: Lines,
    /// Lines only: no headings, and nothing of what they cover. CSV, which has nfdump's columns, keeps its headings, as
    /// nfdump's does
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

impl Shape {
    /// How lines are printed.
    #[must_use]
    pub fn form(&self, source: &Source) -> Form {
        self.lines.form(source)
    }
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number that counts something.
    Count(u64),
    /// A number that does not (a port, an AS).
    Number(u64),
    /// A difference.
    Change(i128),
    /// A part of the whole, 0 to 1.
    Share(f64),
    /// Milliseconds, shown as seconds.
    Milliseconds(u64),
    /// Nanoseconds since 1970-01-01 UTC.
    Time(i64),
    /// Yes or no.
    Flag(bool),
    /// A number with a fraction.
    Real(f64),
    /// A value with the name it has.
    Named(Box<Cell>, String),
    /// Nothing.
    Empty,
}

impl Cell {
    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(number) => text::count(*number),
            Self::Number(number) => number.to_string(),
            Self::Change(number) => {
                let sign = if *number < 0 { "-" } else { "+" };
                let size = u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX);
                format!("{sign}{}", text::count(size))
            }
            Self::Share(part) => format!("{:.1}", 100.0 * part),
            Self::Milliseconds(ms) => text::seconds(*ms),
            Self::Time(ns) => text::time_to_second(*ns),
            Self::Flag(true) => "yes".to_owned(),
            Self::Flag(false) => "no".to_owned(),
            Self::Real(number) => number.to_string(),
            Self::Named(value, name) => format!("{} {name}", value.text()),
            Self::Empty => String::new(),
        }
    }

    /// With the name it has, if it has one: for people, machines know it by its value.
    #[must_use]
    pub fn named(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => Self::Named(Box::new(self), name.to_owned()),
            None => self,
        }
    }

    /// As machines read it.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(number) | Self::Number(number) => json!(number),
            Self::Change(number) => i64::try_from(*number).map_or(Value::Null, |it| json!(it)),
            // To a thousandth of a per cent: more would not be true of floats.
            Self::Share(part) => json!((part * 100_000.0).round() / 100_000.0),
            Self::Milliseconds(ms) => json!(ms),
            Self::Time(ns) => json!(text::time_json(*ns)),
            Self::Flag(yes) => json!(yes),
            Self::Real(number) => json!(number),
            Self::Named(value, _) => value.json(),
            Self::Empty => Value::Null,
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in JSON.
    pub name: String,
    /// Name in text.
    pub heading: String,
    /// How it is aligned.
    pub align: Align,
}

impl Column {
    /// A column of words.
    #[must_use]
    pub fn words(name: &str, heading: &str) -> Self {
        Self {
            name: name.to_owned(),
            heading: heading.to_owned(),
            align: Align::Left,
        }
    }

    /// A column of numbers.
    #[must_use]
    pub fn numbers(name: &str, heading: &str) -> Self {
        Self {
            align: Align::Right,
            ..Self::words(name, heading)
        }
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Printed above it, if it has one.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
    /// Rows below that sum up; only in text.
    pub foot: Vec<Vec<Cell>>,
}

impl Table {
    /// Its rows as objects.
    #[must_use]
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Value {
            let cells = self.columns.iter().zip(row);
            let fields = cells.map(|(column, cell)| (column.name.clone(), cell.json()));
            Value::Object(fields.collect())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    /// Prints it by itself.
    ///
    /// # Errors
    /// If the output is closed.
    pub fn print_as(&self, output: &mut Output, as_json: bool) -> Result<()> {
        if as_json {
            writeln!(output, "{:#}", self.json())?;
            return Ok(());
        }
        self.print(output)
    }

    fn print(&self, output: &mut Output) -> Result<()> {
        self.print_with(output, false)
    }

    fn print_with(&self, output: &mut Output, is_quiet: bool) -> Result<()> {
        if is_quiet {
            return self.aligned(&self.rows).print_rows(output);
        }
        if !self.title.is_empty() {
            writeln!(output, "{}", self.title)?;
        }
        if self.rows.is_empty() {
            writeln!(output, "none")?;
            return Ok(());
        }
        self.aligned(self.rows.iter().chain(&self.foot))
            .print(output)
    }

    fn aligned<'a>(&self, rows: impl IntoIterator<Item = &'a Vec<Cell>>) -> text::Table {
        let headings = self.columns.iter();
        let mut table = text::Table::new(
            headings
                .map(|column| (column.heading.clone(), column.align))
                .collect(),
        );
        for row in rows {
            table.push(row.iter().map(Cell::text).collect());
        }
        table
    }
}

/// An answer: what is printed as text, and what as JSON.
#[derive(Debug, Default)]
pub struct Answer {
    /// Tables and lines between them, in order.
    pub parts: Vec<Part>,
    /// The same for machines.
    pub json: Map<String, Value>,
    /// Flows that the answer was drawn from.
    pub flows: u64,
    /// Whether only lines are wanted: no headings, and nothing of what they cover.
    pub is_quiet: bool,
}

/// A part of an answer's text.
#[derive(Debug)]
pub enum Part {
    /// A table.
    Table(Table),
    /// Lines.
    Lines(String),
}

impl Answer {
    /// Adds a table under a name.
    pub fn table(&mut self, name: &str, table: Table) {
        self.json.insert(name.to_owned(), table.json());
        self.parts.push(Part::Table(table));
    }

    /// Adds a line, and a value under a name.
    pub fn line(&mut self, name: &str, value: Value, line: String) {
        self.json.insert(name.to_owned(), value);
        self.parts.push(Part::Lines(line));
    }

    /// Prints it.
    ///
    /// # Errors
    /// If the output is closed.
    pub fn print(mut self, coverage: &Coverage, as_json: bool) -> Result<()> {
        let mut output = Output::new(&coverage.reading, !as_json);
        if as_json {
            if !self.is_quiet {
                let covered = coverage_json(coverage, self.flows);
                self.json.insert("coverage".to_owned(), covered);
            }
            writeln!(output, "{:#}", Value::Object(self.json))?;
        } else {
            for (at, part) in self.parts.iter().enumerate() {
                if self.is_quiet && matches!(part, Part::Lines(_)) {
                    continue;
                }
                if at > 0 {
                    writeln!(output)?;
                }
                match part {
                    Part::Table(table) => table.print_with(&mut output, self.is_quiet)?,
                    Part::Lines(lines) => writeln!(output, "{lines}")?,
                }
            }
            if !self.is_quiet {
                write!(output, "\n{}", coverage_text(coverage, self.flows))?;
            }
        }
        output.finish()
    }
}

/// Prints lines for programs; what they cover is told beside them, if a person is watching.
///
/// # Errors
/// If the output is closed.
pub fn print_lines(lines: &[u8], coverage: &Coverage, flows: u64, is_quiet: bool) -> Result<()> {
    let mut output = Output::new(&coverage.reading, false);
    output.write_all(lines)?;
    output.finish()?;
    if !is_quiet {
        report_coverage(coverage, flows);
    }
    Ok(())
}

/// Says on standard error which files were left out, or the rest of which.
pub fn report_partial(left_out: &[(PathBuf, String)]) {
    let (marked, plain) = output::marks(io::stderr().is_terminal(), output::YELLOW);
    for (path, reason) in left_out {
        eprintln!(
            "weir: {marked}partial{plain}: {} was left out, or the rest of it: {reason}",
            path.display()
        );
    }
}

/// The coverage on standard error, for formats that have no place for it, if a person is watching.
pub fn report_coverage(coverage: &Coverage, flows: u64) {
    coverage.reading.bar().hide();
    if io::stderr().is_terminal() {
        eprint!("{}", coverage_text(coverage, flows));
    }
}

/// What an answer covers, in three lines.
#[must_use]
pub fn coverage_text(coverage: &Coverage, flows: u64) -> String {
    let skipped = match coverage.skipped {
        0 => String::new(),
        skipped => format!(" ({skipped} of them hold nothing that fits)"),
    };
    let mut lines = vec![format!(
        "{} of {} flows, from {} closed and {} open files{skipped}",
        text::count(flows),
        text::count(coverage.flows),
        coverage.closed,
        coverage.open,
    )];
    match coverage.left_out().len() {
        0 => {}
        1 => lines.push("partial: one file was left out, or the rest of it".to_owned()),
        files => lines.push(format!(
            "partial: {files} files were left out, or the rest of them"
        )),
    }
    let complete = coverage.complete_to_ns().map(text::time_to_second);
    match (coverage.flows_ns, complete) {
        (Some((first, last)), Some(complete)) => {
            let (first, last) = (text::time_to_second(first), text::time_to_second(last));
            lines.push(format!("{first} to {last} UTC, complete up to {complete}"));
            lines.push(loss_text(coverage));
            lines.extend(sampling_text(coverage));
        }
        // Nothing of the time asked for: it may not have come yet.
        (None, Some(complete)) => lines.push(format!(
            "no file has flows of that time; complete up to {complete} UTC"
        )),
        (_, None) if coverage.left_out().is_empty() => lines.push(
            "nothing was ever received here: is it the directory a collector writes to (its -w)?"
                .to_owned(),
        ),
        (_, None) => {}
    }
    lines.push(String::new());
    lines.join("\n")
}

fn loss_text(coverage: &Coverage) -> String {
    let (records, datagrams, exporters) = coverage.accounts.lost();
    let lost = match (records, datagrams) {
        (0, 0) => "nothing was lost on the way".to_owned(),
        _ => format!(
            "lost on the way: {} records (v5, IPFIX) and {} datagrams (v9, sFlow), of {exporters} exporters",
            text::count(records),
            text::count(datagrams),
        ),
    };
    match (coverage.unaccounted, coverage.closed + coverage.open) {
        (0, _) => lost,
        (unaccounted, all) if unaccounted == all => {
            "what was lost on the way is known when a file is closed".to_owned()
        }
        (1, _) => format!("{lost}; one file says nothing of that yet"),
        (unaccounted, _) => format!("{lost}; {unaccounted} files say nothing of that"),
    }
}

/// That exporters did not look at all packets, and what counts are of.
fn sampling_text(coverage: &Coverage) -> Option<String> {
    let (least, most) = coverage.sampling.filter(|(_, most)| *most > 1)?;
    let looked_at = match least {
        0 | 1 => format!(
            "some flows are sampled, one packet in up to {}",
            text::count(most.into())
        ),
        least if least == most => format!(
            "flows are sampled, one packet in {}",
            text::count(most.into())
        ),
        least => format!(
            "flows are sampled, one packet in {} to {}",
            text::count(least.into()),
            text::count(most.into())
        ),
    };
    let counted = if coverage.is_scaled {
        "octets and packets are multiplied by that"
    } else {
        "octets and packets are of those that were looked at (--scaled multiplies them)"
    };
    Some(format!("{looked_at}: {counted}"))
}

/// What an answer covers, as JSON.
#[must_use]
pub fn coverage_json(coverage: &Coverage, flows: u64) -> Value {
    let (records, datagrams, exporters) = coverage.accounts.lost();
    let left_out = coverage.left_out();
    let unreadable = left_out.iter();
    let unreadable: Vec<_> = unreadable
        .map(|(path, reason)| json!({ "file": path.display().to_string(), "reason": reason }))
        .collect();
    json!({
        "flows": flows,
        "flows_in_files": coverage.flows,
        "closed_files": coverage.closed,
        "open_files": coverage.open,
        "files_skipped": coverage.skipped,
        "first_flow": coverage.flows_ns.map(|(first, _)| text::time_json(first)),
        "last_flow": coverage.flows_ns.map(|(_, last)| text::time_json(last)),
        "complete_to": coverage.complete_to_ns().map(text::time_json),
        "lost_records": records,
        "lost_datagrams": datagrams,
        "exporters_with_loss": exporters,
        "files_without_account": coverage.unaccounted,
        "sampling_interval_max": coverage.sampling.map(|(_, most)| most),
        "scaled": coverage.is_scaled,
        "unreadable": unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_says_what_it_covers() {
        let mut coverage = Coverage {
            closed: 3,
            skipped: 1,
            flows: 12_345,
            flows_ns: Some((1_700_000_000_000_000_000, 1_700_000_900_000_000_000)),
            heard_ns: vec![(1_700_000_000_000_000_000, 1_700_000_900_000_000_000)],
            ..Coverage::default()
        };
        assert_eq!(
            coverage_text(&coverage, 7),
            "7 of 12,345 flows, from 3 closed and 0 open files (1 of them hold nothing that fits)\n\
             2023-11-14 22:13:20 to 2023-11-14 22:28:20 UTC, complete up to 2023-11-14 22:23:20\n\
             nothing was lost on the way\n"
        );
        coverage.open = 1;
        coverage.unaccounted = 1;
        assert!(coverage_text(&coverage, 7).ends_with("; one file says nothing of that yet\n"));
        assert_eq!(
            coverage_text(&Coverage::default(), 0),
            "0 of 0 flows, from 0 closed and 0 open files\n\
             nothing was ever received here: is it the directory a collector writes to (its -w)?\n"
        );
        // Who asks for the last minutes sees why there is nothing yet.
        let nothing = Coverage {
            heard_ns: coverage.heard_ns.clone(),
            ..Coverage::default()
        };
        assert_eq!(
            coverage_text(&nothing, 0),
            "0 of 0 flows, from 0 closed and 0 open files\n\
             no file has flows of that time; complete up to 2023-11-14 22:23:20 UTC\n"
        );
        let json = coverage_json(&coverage, 7);
        assert_eq!(json["complete_to"], "2023-11-14T22:23:20.000000000Z");
        for (sampling, is_scaled, expected) in [
            (Some((1, 1)), false, None),
            (
                Some((1, 1000)),
                false,
                Some(
                    "some flows are sampled, one packet in up to 1,000: octets and packets are of",
                ),
            ),
            (
                Some((100, 100)),
                false,
                Some("flows are sampled, one packet in 100: octets and packets are of"),
            ),
            (
                Some((10, 100)),
                true,
                Some(
                    "flows are sampled, one packet in 10 to 100: octets and packets are multiplied",
                ),
            ),
        ] {
            coverage.sampling = sampling;
            coverage.is_scaled = is_scaled;
            let says = coverage_text(&coverage, 7);
            let last = says
                .lines()
                .next_back()
                .filter(|line| line.contains("sampled"));
            assert_eq!(last.is_some(), expected.is_some(), "{says}");
            assert!(
                last.unwrap_or_default()
                    .starts_with(expected.unwrap_or_default()),
                "{says}"
            );
        }
    }

    #[test]
    fn cells_are_text_and_json() {
        for (cell, text, json) in [
            (Cell::Count(12_345), "12,345", json!(12_345)),
            (Cell::Number(12_345), "12345", json!(12_345)),
            (Cell::Change(-1234), "-1,234", json!(-1234)),
            (Cell::Change(0), "+0", json!(0)),
            (Cell::Share(0.1234), "12.3", json!(0.1234)),
            (Cell::Flag(true), "yes", json!(true)),
            (Cell::Real(0.5), "0.5", json!(0.5)),
            (
                Cell::Number(443).named(Some("https")),
                "443 https",
                json!(443),
            ),
            (Cell::Number(1).named(None), "1", json!(1)),
            (Cell::Empty, "", Value::Null),
        ] {
            assert_eq!((cell.text(), cell.json()), (text.to_owned(), json));
        }
    }
}
