//! SQL that is not answered: where it is no SQL, and what else is wrong with it, in words without the engine's own.

use std::fmt;

use datafusion::error::DataFusionError;

use crate::filter::{Misunderstood, error::Misread};

/// SQL that cannot be answered, and why.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, output: &mut fmt::Formatter<'_>) -> fmt::Result {
        output.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn because(error: DataFusionError) -> Self {
        // What it is wrapped in says the same once more, or which rule of the optimiser came upon it.
        let says = error.find_root().strip_backtrace();
        // Nor is it the engine's bug if words do not fit together.
        let says = says.split("\nThis issue was likely").next();
        let says = plain(says.unwrap_or_default());
        if says.contains("not supported: ") && !says.contains("not implemented") {
            return Self(format!(
                "flows are only read: begin with SELECT, WITH or EXPLAIN ({says})"
            ));
        }
        Self(format!(
            "this SQL cannot be answered: {says}{}",
            advice(&says)
        ))
    }
}

/// What the engine says in one line, without the names it has for its own parts.
fn plain(says: &str) -> String {
    const PARTS: [&str; 3] = [
        "Internal error: ",
        "Error during planning: ",
        "Schema error: ",
    ];
    let mut says = says;
    while let Some(rest) = PARTS.iter().find_map(|part| says.strip_prefix(part)) {
        says = rest;
    }
    let says = says.trim_end_matches('.').replace('\n', " ");
    says.replace("datafusion.public.", "").replace("flows.", "")
}

/// SQL that the parser refuses, with a caret under the word.
fn misread(query: &str, says: &str) -> Misunderstood {
    let says = says.trim_start_matches("sql parser error: ");
    let (says, place) = says.rsplit_once(" at Line: ").unwrap_or((says, ""));
    let at = octet_of(query, place).unwrap_or(query.len());
    let is_of_word = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    let word = query[at..].chars().take_while(is_of_word);
    let octets: usize = word.map(char::len_utf8).sum();
    let expected = says.strip_prefix("Expected: ");
    let says = match expected.and_then(|says| says.rsplit_once(", found: ")) {
        Some((expected, _)) => format!("{expected} fits here"),
        None => says.to_owned(),
    };
    Misread::new(at..at + octets, says).within_a("SQL", query)
}

/// The octet at `1, Column: 16`: lines and characters count from one.
fn octet_of(query: &str, place: &str) -> Option<usize> {
    let (line, column) = place.split_once(", Column: ")?;
    let line: usize = line.parse().ok()?;
    let column: usize = column.parse().ok()?;
    let lines = query.split_inclusive('\n').take(line.checked_sub(1)?);
    let before: usize = lines.map(str::len).sum();
    let mut letters = query[before..].char_indices();
    let (within, _) = letters.nth(column.checked_sub(1)?)?;
    Some(before + within)
}

/// Why a query is not answered.
#[must_use]
pub fn refused(query: &str, error: DataFusionError) -> anyhow::Error {
    match error.find_root() {
        DataFusionError::SQL(parser, _) => misread(query, &parser.to_string()).into(),
        _ => Refused::because(error).into(),
    }
}

/// What would fit, where the engine only says what does not.
fn advice(says: &str) -> &'static str {
    if says.contains("FixedSizeBinary(16)") && says.contains("Utf8") {
        "; addresses are written ip('192.0.2.1'), and networks in_net(src_addr, '192.0.2.0/24')"
    } else if says.starts_with("table '") && says.ends_with("' not found") {
        "; there is one table, `flows`"
    } else if says.contains("Error parsing timestamp") {
        "; times are written '2026-11-21 14:00:00'"
    } else if says.contains("Cannot cast string") {
        "; numbers stand without quotes, and protocols as proto_name(protocol) = 'tcp'"
    } else {
        ""
    }
}
