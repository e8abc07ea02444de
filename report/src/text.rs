//! Answers as text: aligned columns, bold headings on a terminal; addresses and times as people
//! write them.

use std::{fmt::Write as _, io::Write, net::Ipv6Addr};

use anyhow::Result;
use chrono::DateTime;
use weir_netflow::record::display_address;

use crate::output::Output;

/// Which side a column is aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that is aligned when it is complete.
#[derive(Debug)]
pub struct Table {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(headings: Vec<(String, Align)>) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Prints it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn print(&self, output: &mut Output) -> Result<()> {
        let marks = output.marks();
        self.print_marked(output, marks)
    }

    /// Prints it, with these marks before and behind its headings.
    ///
    /// # Errors
    /// What the writer says.
    pub fn print_marked(&self, output: &mut impl Write, (bold, plain): (&str, &str)) -> Result<()> {
        let mut widths = self.widths();
        for (width, (heading, _)) in widths.iter_mut().zip(&self.headings) {
            *width = heading.chars().count().max(*width);
        }
        let headings: Vec<_> = self
            .headings
            .iter()
            .map(|(heading, _)| heading.clone())
            .collect();
        writeln!(output, "{bold}{}{plain}", self.line(&headings, &widths))?;
        for row in &self.rows {
            writeln!(output, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }

    /// Prints it without its headings.
    ///
    /// # Errors
    /// What the writer says.
    pub fn print_rows(&self, output: &mut impl Write) -> Result<()> {
        let widths = self.widths();
        for row in &self.rows {
            writeln!(output, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }

    /// Characters of the widest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.headings.len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        columns.map(width).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.headings) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            match align {
                Align::Left => drop(write!(line, "{cell:<width$}")),
                Align::Right => drop(write!(line, "{cell:>width$}")),
            }
        }
        line.trim_end().to_owned()
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of milliseconds as seconds.
#[must_use]
pub fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// A stretch of time as people say it: its two largest units.
#[must_use]
pub fn stretch(ns: i64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0 if ns > 0 => format!("{} ms", ns / 1_000_000),
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// UTC, to the second.
#[must_use]
pub fn time_to_second(unix_ns: i64) -> String {
    DateTime::from_timestamp_nanos(unix_ns)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// As RFC 3339.
#[must_use]
pub fn time_json(unix_ns: i64) -> String {
    DateTime::from_timestamp_nanos(unix_ns)
        .format("%Y-%m-%dT%H:%M:%S%.9fZ")
        .to_string()
}

/// A word of a file's or an exporter's as it may be shown: what would move a terminal's cursor is a dot.
#[must_use]
pub fn plain(word: &str) -> String {
    word.replace(char::is_control, ".")
}

/// An address of 16 octets.
#[must_use]
pub fn address(octets: &[u8]) -> String {
    <[u8; 16]>::try_from(octets).map_or_else(
        |_| String::new(),
        |octets| display_address(Ipv6Addr::from(octets)).to_string(),
    )
}

/// A MAC address.
#[must_use]
pub fn mac(octets: &[u8]) -> String {
    let octets: Vec<_> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

/// An MPLS label stack entry without its TTL: label, traffic class, bottom of stack, as nfdump has them.
#[must_use]
pub fn mpls(entry: u32) -> String {
    format!("{}-{}-{}", entry >> 4, entry >> 1 & 7, entry & 1)
}

/// Octets in hexadecimal.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    let octets: Vec<_> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.concat()
}

/// TCP flags as letters, dots where they are not set.
#[must_use]
pub fn tcp_flags(flags: u16) -> String {
    "CEUAPRSF"
        .chars()
        .enumerate()
        .map(|(index, letter)| {
            if flags >> (7 - index) & 1 == 1 {
                letter
            } else {
                '.'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_times_and_flags_read_well() {
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(tcp_flags(0x12), "...A..S.");
        assert_eq!(mac(&[2, 0, 0, 0, 0, 0xaf]), "02:00:00:00:00:af");
        assert_eq!(mpls(0x12_3457), "74565-3-1");
        assert_eq!(hexadecimal(&[3, 0, 0xff]), "0300ff");
        assert_eq!(seconds(61_007), "61.007");
        assert_eq!(
            [59_999_999_999, 3_600_000_000_000, 90_000_000_000_000].map(stretch),
            ["59 s", "1 h 0 min", "1 d 1 h"]
        );
        assert_eq!(
            time_to_second(1_700_000_000_123_456_789),
            "2023-11-14 22:13:20"
        );
        assert_eq!(address(&Ipv6Addr::LOCALHOST.octets()), "::1");
    }
}
