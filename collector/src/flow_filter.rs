//! A small part of nfdump's filter grammar, evaluated on flows as they come: which of them a target of
//! `--forward` gets. The whole of it is `weir`'s, which plans queries over files; here are
//!
//! ```text
//! any   ipv4   ipv6   proto tcp   [src|dst] ip|host A   [src|dst] net P/len   [src|dst] port [cmp] N
//! exporter|router ip A   exporter|router net P/len   … in [A B …]   and or not ( )
//! ```
//!
//! with `=`, `<`, `>`, `<=`, `>=`, `!=` before a port's number. There is nothing for times, counts, flags,
//! AS, interfaces, names or named sets.

use std::{net::Ipv6Addr, str::FromStr};

use weir_netflow::FlowRecord;
use weir_store::schema::StoredFlow;

use crate::prefix::Prefix;

/// Parentheses and `not` within one another.
const DEPTH_MAX: usize = 64;
const KNOWN: &str = "any, ipv4, ipv6, proto, [src|dst] ip, host, net and port, exporter ip and net, and, or, not and parentheses";

/// Which flows are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFilter(Term);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Any,
    And(Vec<Term>),
    Or(Vec<Term>),
    Not(Box<Term>),
    V6(bool),
    Protocol(Vec<u8>),
    Address(Side, Vec<Prefix>),
    Port(Side, Vec<(Comparison, u16)>),
    Exporter(Vec<Prefix>),
}

/// Of which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

impl FlowFilter {
    /// Whether a flow is meant.
    #[must_use]
    pub fn keeps(&self, flow: &StoredFlow) -> bool {
        self.0.keeps(flow)
    }
}

impl Side {
    fn any<V>(self, source: V, destination: V, fits: impl Fn(V) -> bool) -> bool {
        match self {
            Self::Source => fits(source),
            Self::Destination => fits(destination),
            Self::Either => fits(source) || fits(destination),
        }
    }
}

impl Comparison {
    fn holds(self, found: u16, wanted: u16) -> bool {
        match self {
            Self::Equal => found == wanted,
            Self::Unequal => found != wanted,
            Self::Less => found < wanted,
            Self::Greater => found > wanted,
            Self::LessOrEqual => found <= wanted,
            Self::GreaterOrEqual => found >= wanted,
        }
    }
}

impl Term {
    fn keeps(&self, flow: &StoredFlow) -> bool {
        let FlowRecord {
            source,
            destination,
            source_port,
            destination_port,
            protocol,
            v6,
            ..
        } = &flow.record;
        let in_one = |prefixes: &[Prefix], address: Ipv6Addr| {
            prefixes.iter().any(|prefix| prefix.contains(address))
        };
        match self {
            Self::Any => true,
            Self::And(terms) => terms.iter().all(|term| term.keeps(flow)),
            Self::Or(terms) => terms.iter().any(|term| term.keeps(flow)),
            Self::Not(term) => !term.keeps(flow),
            Self::V6(wanted) => v6 == wanted,
            Self::Protocol(protocols) => protocols.contains(protocol),
            Self::Address(side, prefixes) => {
                side.any(*source, *destination, |address| in_one(prefixes, address))
            }
            Self::Port(side, ports) => side.any(*source_port, *destination_port, |port| {
                ports
                    .iter()
                    .any(|(comparison, wanted)| comparison.holds(port, *wanted))
            }),
            Self::Exporter(prefixes) => in_one(prefixes, flow.exporter),
        }
    }
}

impl FromStr for FlowFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            words: words(text),
            at: 0,
            depth: 0,
        };
        let term = parser.either()?;
        match parser.next() {
            None => Ok(Self(term)),
            Some(word) => Err(unknown(&word)),
        }
    }
}

/// Words, and signs that need no spaces around them.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_word_open = false;
    for character in text.chars() {
        match character {
            '(' | ')' | '[' | ']' => {
                words.push(character.to_string());
                is_word_open = false;
            }
            character if character.is_whitespace() || character == ',' => is_word_open = false,
            '<' | '>' | '=' | '!' => {
                let last = words.last_mut().filter(|_| !is_word_open);
                match last.filter(|last| matches!(last.as_str(), "<" | ">" | "!" | "=")) {
                    Some(last) if character == '=' => last.push('='),
                    _ => words.push(character.to_string()),
                }
                is_word_open = false;
            }
            character => {
                match words.last_mut().filter(|_| is_word_open) {
                    Some(last) => last.push(character),
                    None => words.push(character.to_string()),
                }
                is_word_open = true;
            }
        }
    }
    words
}

fn unknown(word: &str) -> String {
    format!("`{word}` does not fit there: the collector's filter knows {KNOWN}")
}

struct Parser {
    words: Vec<String>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<String> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// Takes the next word if it is this one.
    fn takes(&mut self, word: &str) -> bool {
        let is_it = self.words.get(self.at).is_some_and(|next| next == word);
        self.at += usize::from(is_it);
        is_it
    }

    fn needed(&mut self, what: &str) -> Result<String, String> {
        self.next()
            .ok_or_else(|| format!("the filter ends where {what} should be"))
    }

    fn either(&mut self) -> Result<Term, String> {
        let mut terms = vec![self.both()?];
        while self.takes("or") || self.takes("||") {
            terms.push(self.both()?);
        }
        Ok(match terms.len() {
            1 => terms.swap_remove(0),
            _ => Term::Or(terms),
        })
    }

    fn both(&mut self) -> Result<Term, String> {
        let mut terms = vec![self.single()?];
        while self.takes("and") || self.takes("&&") {
            terms.push(self.single()?);
        }
        Ok(match terms.len() {
            1 => terms.swap_remove(0),
            _ => Term::And(terms),
        })
    }

    fn single(&mut self) -> Result<Term, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!(
                "more than {DEPTH_MAX} parentheses are within one another"
            ));
        }
        let term = self.term();
        self.depth -= 1;
        term
    }

    fn term(&mut self) -> Result<Term, String> {
        let word = self.needed("a condition")?;
        Ok(match word.as_str() {
            "not" | "!" => Term::Not(Box::new(self.single()?)),
            "(" => {
                let term = self.either()?;
                let closing = self.needed("`)`")?;
                if closing != ")" {
                    return Err(unknown(&closing));
                }
                term
            }
            "any" => Term::Any,
            "ipv4" | "inet" => Term::V6(false),
            "ipv6" | "inet6" => Term::V6(true),
            "proto" => Term::Protocol(self.list(protocol)?),
            "exporter" | "router" => Term::Exporter(self.prefixes()?),
            "src" => self.of_side(Side::Source)?,
            "dst" => self.of_side(Side::Destination)?,
            _ => {
                self.at -= 1;
                self.of_side(Side::Either)?
            }
        })
    }

    fn of_side(&mut self, side: Side) -> Result<Term, String> {
        if self.takes("port") {
            let comparison = self.comparison();
            let port = |word: &str| {
                let number = word.parse();
                number.map_err(|_| format!("`{word}` is no port: write its number, 0 to 65535"))
            };
            let ports = self.list(port)?;
            let ports = ports.into_iter().map(|port| (comparison, port)).collect();
            return Ok(Term::Port(side, ports));
        }
        Ok(Term::Address(side, self.prefixes()?))
    }

    /// `ip`, `host` or `net`, and what follows.
    fn prefixes(&mut self) -> Result<Vec<Prefix>, String> {
        let word = self.needed("ip, host, net or port")?;
        if !matches!(word.as_str(), "ip" | "host" | "net") {
            return Err(unknown(&word));
        }
        self.list(str::parse)
    }

    fn comparison(&mut self) -> Comparison {
        for (signs, comparison) in [
            (&["=", "==", "eq"], Comparison::Equal),
            (&["!=", "<>", "ne"], Comparison::Unequal),
            (&["<", "<", "lt"], Comparison::Less),
            (&[">", ">", "gt"], Comparison::Greater),
            (&["<=", "<=", "le"], Comparison::LessOrEqual),
            (&[">=", ">=", "ge"], Comparison::GreaterOrEqual),
        ] {
            if signs.iter().any(|sign| self.takes(sign)) {
                return comparison;
            }
        }
        Comparison::Equal
    }

    /// One value, or `in [` several `]`.
    fn list<V>(&mut self, read: impl Fn(&str) -> Result<V, String>) -> Result<Vec<V>, String> {
        let first = self.needed("a value")?;
        if first != "in" {
            return Ok(vec![read(&first)?]);
        }
        let opening = self.needed("`[`")?;
        if opening != "[" {
            return Err(unknown(&opening));
        }
        let mut values = Vec::new();
        loop {
            match self.needed("`]`")?.as_str() {
                "]" => return Ok(values),
                word => values.push(read(word)?),
            }
        }
    }
}

/// A protocol by its number, or one of those with a name here.
fn protocol(word: &str) -> Result<u8, String> {
    let named = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipip", 4),
        ("tcp", 6),
        ("udp", 17),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("icmp6", 58),
        ("ospf", 89),
        ("sctp", 132),
    ];
    let known = named
        .iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name));
    known.map_or_else(
        || {
            word.parse()
                .map_err(|_| format!("`{word}` is no protocol here: write tcp, udp or its number"))
        },
        |(_, number)| Ok(*number),
    )
}

#[cfg(test)]
mod tests {
    use weir_netflow::record::mapped_address;

    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        mapped_address(text.parse().unwrap())
    }

    fn flow() -> StoredFlow {
        StoredFlow {
            record: FlowRecord {
                source: address("192.0.2.1"),
                destination: address("198.51.100.7"),
                source_port: 40_000,
                destination_port: 443,
                protocol: 6,
                ..FlowRecord::default()
            },
            exporter: address("203.0.113.9"),
            ..StoredFlow::default()
        }
    }

    #[test]
    fn flows_are_kept_as_nfdump_would() {
        for (filter, keeps) in [
            ("any", true),
            ("ipv4", true),
            ("ipv6", false),
            ("not ipv6", true),
            ("proto tcp", true),
            ("proto in [udp 47]", false),
            ("ip 192.0.2.1", true),
            ("host 198.51.100.7", true),
            ("dst ip 192.0.2.1", false),
            ("src net 192.0.2.0/24", true),
            ("src net 192.0.2.0/24 and dst port 80", false),
            ("dst port in [80,443]", true),
            ("port > 39999", true),
            ("dst port >1024", false),
            ("src port!=40000", false),
            ("port <= 443", true),
            ("exporter ip 203.0.113.9", true),
            (
                "router net 203.0.113.0/24 and not (port 443 or port 80)",
                false,
            ),
            ("proto udp or proto tcp and dst port 443", true),
            ("(proto udp or proto tcp) and dst port 53", false),
            ("ip in [10.0.0.0/8 198.51.100.0/24]", true),
            ("not not proto 6", true),
        ] {
            let parsed: FlowFilter = filter.parse().unwrap();
            assert_eq!(parsed.keeps(&flow()), keeps, "{filter}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (open, not) = ("(".repeat(100_000), "not ".repeat(100_000));
        for (filter, words) in [
            ("", "ends where a condition should be"),
            ("src", "ends where ip, host, net or port should be"),
            ("bytes > 100", "`bytes` does not fit there"),
            ("proto tcp proto udp", "`proto` does not fit there"),
            ("port 70000", "`70000` is no port"),
            ("proto xyz", "`xyz` is no protocol"),
            ("net 10.0.0.1/8", "did you mean 10.0.0.0/8"),
            ("(any", "ends where `)` should be"),
            ("ip in 10.0.0.1", "`10.0.0.1` does not fit there"),
            ("port in [80", "ends where `]` should be"),
            (open.as_str(), "within one another"),
            (not.as_str(), "within one another"),
        ] {
            let says = filter.parse::<FlowFilter>().unwrap_err();
            assert!(says.contains(words), "{filter:.40}: {says}");
        }
    }
}
