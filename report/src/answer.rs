//! What every answer has: tables as text or as JSON, and at its end what it covers (`covered.rs`).

use std::io::Write as _;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::{
    covered::{coverage_json, coverage_text, report_coverage},
    data::Coverage,
    output::Output,
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
            Self::Text(text) => text::plain(text),
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
    /// Rows below that sum up, the last of them all that there is.
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

    /// What all that there is comes to, whether it is shown or not.
    fn total(&self) -> Option<Value> {
        // The first cell says what the row is.
        let cells = self.columns.iter().zip(self.foot.last()?).skip(1);
        let sums = cells.filter(|(_, cell)| **cell != Cell::Empty);
        let fields = sums.map(|(column, cell)| (column.name.clone(), cell.json()));
        Some(Value::Object(fields.collect()))
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
    /// Adds a table under a name, and what it comes to as `total`.
    pub fn table(&mut self, name: &str, table: Table) {
        if let Some(total) = table.total() {
            self.json.insert("total".to_owned(), total);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
