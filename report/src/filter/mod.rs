//! The filter language: nfdump's grammar, and more (`FILTER.md` is for its users). Text is taken apart
//! with pest, the words of each condition are read in `condition.rs` and its neighbours `operand.rs`,
//! `special.rs`, `rare.rs` and `moment.rs`, and the tree that comes of it ([`ast`], with addresses and numbers as
//! [`ranges`]) is planned into an expression over the files' columns ([`plan`]) and asked which files can
//! be left out ([`prune`]). [`sets`] and `vocabulary.rs` are what words stand for, [`times`] how people
//! write them, [`error`] what is said of a wrong one. [`reference`] means the same, a record at a time.

pub mod ast;
mod condition;
pub mod error;
mod moment;
mod operand;
pub mod plan;
pub mod prune;
pub mod ranges;
mod rare;
pub mod reference;
pub mod sets;
mod special;
pub mod times;
mod vocabulary;

use std::{cell::Cell, net::ToSocketAddrs as _, ops::Range};

use pest::{
    Parser as _,
    error::{ErrorVariant, InputLocation},
    iterators::Pair,
};
use pest_derive::Parser;

pub use self::{ast::Filter, condition::Surroundings, error::Misunderstood};
use self::{condition::Read, error::Misread};

#[derive(Parser)]
#[grammar = "filter/grammar.pest"]
struct Grammar;

/// Parentheses within one another, at most.
const DEPTH_MAX: usize = 64;
/// `conn` within `conn`, at most: each doubles what is inside.
const CONNECTIONS_MAX: u32 = 3;
/// Files that include one another, at most.
const INCLUDES_MAX: u32 = 8;
/// Files that a filter includes, at most: a few that name one another again and again would be read without an end.
const INCLUDED_MAX: u32 = 1000;
/// Octets of a filter, at most, and of all files that it includes.
const OCTETS_MAX: usize = 1 << 20;

/// Parses a filter; an empty one is every flow.
///
/// # Errors
/// The line with a caret under what does not fit, and what would.
pub fn parse(text: &str, around: &Surroundings<'_>) -> Result<Filter, Misunderstood> {
    let included = Cell::default();
    let reader = Reader {
        around,
        includes: 0,
        included: &included,
    };
    reader.parse(text, Around::default())
}

/// Addresses of a host's name, as the system resolves it.
#[must_use]
pub fn resolve(name: &str) -> Vec<std::net::IpAddr> {
    let found = (name, 0).to_socket_addrs().into_iter().flatten();
    found.map(|address| address.ip()).collect()
}

/// Refuses what would take too much memory or stack.
fn check_size(text: &str) -> Result<(), Misread> {
    if text.len() > OCTETS_MAX {
        let says = "a filter has 1 MiB at most: long lists belong into a set's file";
        return Err(Misread::new(0..0, says));
    }
    let mut depth = 0usize;
    for (at, letter) in text.bytes().enumerate() {
        match letter {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            let says = format!("parentheses are {DEPTH_MAX} deep at most");
            return Err(Misread::new(at..at + 1, says));
        }
    }
    Ok(())
}

/// What is wrong where the grammar stopped.
fn unexpected(text: &str, error: &pest::error::Error<Rule>) -> Misread {
    if let Some(at) = unclosed(text) {
        return Misread::new(at..at + 1, "this is not closed");
    }
    let at = match error.location {
        InputLocation::Pos(at) => at,
        InputLocation::Span((start, _)) => start,
    };
    let expected: &[Rule] = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => &positives[..],
        ErrorVariant::CustomError { .. } => &[],
    };
    let says = if expected.contains(&Rule::and) || expected.contains(&Rule::or) {
        "`and`, `or` or the end fits here"
    } else {
        vocabulary::A_CONDITION
    };
    Misread::new(word_at(text, at), says)
}

/// The word that begins there.
fn word_at(text: &str, at: usize) -> Range<usize> {
    let rest = text.get(at..).unwrap_or_default();
    let word = rest.find(|letter: char| letter.is_whitespace() || "()[]".contains(letter));
    let first = rest.chars().next().map_or(0, char::len_utf8);
    at..at + word.unwrap_or(rest.len()).max(first)
}

/// The first parenthesis, bracket or quote that is opened and never closed.
fn unclosed(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut letters = text.bytes().enumerate();
    while let Some((at, letter)) = letters.next() {
        match letter {
            b'(' | b'[' => open.push(at),
            b')' | b']' => {
                open.pop();
            }
            b'#' => {
                let _ = letters.find(|(_, letter)| *letter == b'\n');
            }
            b'\'' | b'"' if !letters.any(|(_, other)| other == letter) => return Some(at),
            _ => {}
        }
    }
    open.first().copied()
}

/// What reads the tree of the grammar.
struct Reader<'a> {
    around: &'a Surroundings<'a>,
    /// So many files include this text.
    includes: u32,
    included: &'a Cell<Included>,
}

/// What a filter has included so far.
#[derive(Clone, Copy, Debug, Default)]
struct Included {
    files: u32,
    octets: usize,
}

/// What stands around a part of a filter.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    /// An odd number of `not`.
    negated: bool,
    /// So many `conn`.
    connections: u32,
}

impl Reader<'_> {
    fn parse(&self, text: &str, around: Around) -> Result<Filter, Misunderstood> {
        check_size(text).map_err(|misread| misread.within(text))?;
        let mut pairs = Grammar::parse(Rule::filter, text)
            .map_err(|error| unexpected(text, &error).within(text))?;
        match pairs.next() {
            Some(pair) if pair.as_rule() == Rule::expression => self
                .expression(pair, around)
                .map_err(|misread| misread.within(text)),
            _ => Ok(Filter::everything()),
        }
    }

    fn expression(&self, pair: Pair<'_, Rule>, around: Around) -> Read {
        let alternatives = each(pair, Rule::conjunction, |pair| {
            let factors = each(pair, Rule::factor, |pair| self.factor(pair, around))?;
            Ok(single(factors, Filter::All))
        })?;
        Ok(single(alternatives, Filter::Any))
    }

    fn factor(&self, pair: Pair<'_, Rule>, mut around: Around) -> Read {
        let mut prefixes = Vec::new();
        for part in pair.into_inner() {
            let inner = match part.as_rule() {
                Rule::not => {
                    around.negated = !around.negated;
                    prefixes.push(Rule::not);
                    continue;
                }
                Rule::conn if around.connections == CONNECTIONS_MAX => {
                    let says = format!("`conn` is within {CONNECTIONS_MAX} others at most");
                    return Err(Misread::new(condition::place(&part), says));
                }
                Rule::conn => {
                    around.connections += 1;
                    prefixes.push(Rule::conn);
                    continue;
                }
                Rule::expression => self.expression(part, around)?,
                Rule::include => self.include(&part, around)?,
                _ => condition::read(part, around.negated, self.around)?,
            };
            let apply = |filter: Filter, prefix: Rule| match (prefix, filter) {
                (Rule::not, Filter::Not(inner)) => *inner,
                (Rule::not, filter) => Filter::Not(Box::new(filter)),
                (_, filter) => filter.connection(),
            };
            return Ok(prefixes.into_iter().rev().fold(inner, apply));
        }
        Err(Misread::new(0..0, vocabulary::A_CONDITION))
    }

    /// A filter in a file, as if it stood there in parentheses.
    fn include(&self, include: &Pair<'_, Rule>, around: Around) -> Read {
        let refuse = |says: String| Misread::new(condition::place(include), says);
        if self.includes >= INCLUDES_MAX {
            let says = format!("files include one another {INCLUDES_MAX} deep at most");
            return Err(refuse(says));
        }
        let mut included = self.included.get();
        included.files += 1;
        if included.files > INCLUDED_MAX {
            return Err(refuse(format!(
                "this is one file too many: a filter includes {INCLUDED_MAX} at most, each counted as often as it is named"
            )));
        }
        let path = operand::path_of(include);
        let text = self.around.library.read("sets", &path).map_err(refuse)?;
        let text = text.ok_or_else(|| refuse(format!("there is no file {path}")))?;
        included.octets = included.octets.saturating_add(text.len());
        if included.octets > OCTETS_MAX {
            return Err(refuse(format!(
                "with {path} this filter includes more than 1 MiB: long lists belong into a set's file"
            )));
        }
        self.included.set(included);
        let within = Self {
            includes: self.includes + 1,
            ..*self
        };
        within
            .parse(&text, around)
            .map_err(|error| refuse(format!("in {path}: {}", error.says())))
    }
}

/// Reads the parts of one kind.
fn each<'i>(
    pair: Pair<'i, Rule>,
    wanted: Rule,
    read: impl Fn(Pair<'i, Rule>) -> Read,
) -> Read<Vec<Filter>> {
    pair.into_inner()
        .filter(|part| part.as_rule() == wanted)
        .map(read)
        .collect()
}

/// One part by itself, several joined.
fn single(mut parts: Vec<Filter>, join: fn(Vec<Filter>) -> Filter) -> Filter {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

#[cfg(test)]
mod tests;
