//! The words of one condition, read from left to right, so that what does not fit can be pointed at.
//! Here is what conditions there are; `operand.rs` reads numbers, addresses and sets, `special.rs` the
//! elements with words of their own, `rare.rs` those that few exporters send, `moment.rs` times.

use std::{net::IpAddr, ops::Range};

use pest::iterators::Pair;

use super::{
    Rule,
    ast::{Comparison, Field, Filter, Test},
    error::{Misread, nearest},
    sets::{Items, Library},
    vocabulary,
};
use crate::names;

/// What a filter is read with, beside its text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The present, nanoseconds since 1970-01-01 UTC.
    pub now_ns: i64,
    /// Named sets.
    pub library: &'a Library,
    /// Addresses of a host's name.
    pub resolve: fn(&str) -> Vec<IpAddr>,
}

/// Which side of a flow a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
    /// One of them at least.
    Either,
    /// Each of them.
    Both,
}

/// A field's two sides. One that has no sides is given twice.
pub(super) type Fields = (Field, Field);

pub(super) const ADDRESSES: Fields = (Field::SourceAddress, Field::DestinationAddress);
pub(super) const PORTS: Fields = (Field::SourcePort, Field::DestinationPort);
pub(super) const AS_NUMBERS: Fields = (Field::SourceAs, Field::DestinationAs);
pub(super) const MASKS: Fields = (Field::SourceMask, Field::DestinationMask);
pub(super) const INTERFACES: Fields = (Field::IngressIfindex, Field::EgressIfindex);
pub(super) const MACS: Fields = (Field::SourceMac, Field::DestinationMac);
pub(super) const TUNNELS: Fields = (Field::OuterSource, Field::OuterDestination);
pub(super) const TUNNEL_COUNTRIES: Fields =
    (Field::OuterSourceCountry, Field::OuterDestinationCountry);
const COUNTRIES: Fields = (Field::SourceCountry, Field::DestinationCountry);
pub(super) const VLANS: Fields = (Field::Vlan, Field::DESTINATION_VLAN);
pub(super) const TOS: Fields = (Field::Tos, Field::DESTINATION_TOS);

/// What was read, or the word that does not fit.
pub(super) type Read<T = Filter> = Result<T, Misread>;

/// Reads a condition. `negated`: it stands behind an odd number of `not`.
///
/// # Errors
/// The word that does not fit, and what would.
pub fn read(condition: Pair<'_, Rule>, negated: bool, around: &Surroundings<'_>) -> Read {
    let mut words = Words {
        end: condition.as_span().end(),
        pieces: condition.into_inner().collect(),
        at: 0,
        negated,
        around,
    };
    let filter = words.condition()?;
    match words.peek() {
        None => Ok(filter),
        Some(_) => words.refuse("a condition ends before this: `and` or `or` belongs between two"),
    }
}

/// Where a piece is, in octets.
pub fn place(piece: &Pair<'_, Rule>) -> Range<usize> {
    piece.as_span().start()..piece.as_span().end()
}

/// The pieces of a condition, and how far they were read.
pub(super) struct Words<'i, 'a> {
    pub(super) pieces: Vec<Pair<'i, Rule>>,
    pub(super) at: usize,
    /// Where the condition ends, in octets.
    end: usize,
    /// Whether it stands behind an odd number of `not`.
    pub(super) negated: bool,
    pub(super) around: &'a Surroundings<'a>,
}

impl<'i> Words<'i, '_> {
    pub(super) fn peek(&self) -> Option<&Pair<'i, Rule>> {
        self.pieces.get(self.at)
    }

    /// The next piece in lower case, if it is a word.
    pub(super) fn word(&self) -> Option<String> {
        self.written().map(str::to_ascii_lowercase)
    }

    /// The same as it is written.
    pub(super) fn written(&self) -> Option<&'i str> {
        let piece = self.peek().filter(|piece| piece.as_rule() == Rule::word)?;
        Some(piece.as_str())
    }

    /// Skips the next word if it is one of these.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let is_one = self.word().is_some_and(|word| words.contains(&&word[..]));
        self.at += usize::from(is_one);
        is_one
    }

    pub(super) fn take_rule(&mut self, rule: Rule) -> Option<Pair<'i, Rule>> {
        let piece = self.peek().filter(|piece| piece.as_rule() == rule)?.clone();
        self.at += 1;
        Some(piece)
    }

    /// Where the next piece is.
    pub(super) fn here(&self) -> Range<usize> {
        self.peek().map_or(self.end..self.end, place)
    }

    pub(super) fn refuse<T>(&self, says: impl Into<String>) -> Read<T> {
        Err(Misread::new(self.here(), says))
    }

    /// Refuses the next word, which is none of these.
    pub(super) fn unknown<T>(&self, says: &str, known: &[&'static str]) -> Read<T> {
        let word = self.word().unwrap_or_default();
        if let Some(what) = vocabulary::not_kept(&word) {
            return self.refuse(format!("Weir's files keep no {what}"));
        }
        let all = known.iter().copied().chain(names::protocols());
        let meant = vocabulary::apart(&word)
            .or_else(|| nearest(&word, all).map(str::to_owned))
            .map(|meant| format!("; did you mean `{meant}`?"))
            .unwrap_or_default();
        self.refuse(format!("{says}{meant}"))
    }

    /// A word that may be quoted, as it stands.
    pub(super) fn value(&mut self, what: &str) -> Read<String> {
        let piece = self
            .peek()
            .filter(|piece| matches!(piece.as_rule(), Rule::word | Rule::quoted));
        let Some(piece) = piece else {
            return self.refuse(format!("{what} fits here"));
        };
        let text = unquoted(piece).to_owned();
        self.at += 1;
        Ok(text)
    }

    fn condition(&mut self) -> Read {
        if let Some(side) = self.side() {
            return self.sided(side);
        }
        let Some(word) = self.word() else {
            return self.refuse(vocabulary::A_CONDITION);
        };
        match word.as_str() {
            "in" | "out" => self.crossing(),
            "first" | "last" | "received" | "since" | "until" | "before" | "from" | "today"
            | "yesterday" => self.time(&word),
            "icmp" | "icmp-type" | "icmp-code" => self.icmp(&word),
            "engine" | "engine-type" | "engine-id" => self.engine(&word),
            "router" | "exporter" => self.exporter(),
            "next" => self.next_hop(),
            "prev" | "previous" => self.two_words("as", Field::PREVIOUS_AS),
            "bgpnext" | "bgp" => self.bgp_next_hop(&word),
            "mpls" => self.mpls(),
            "inner" => self.two_words("vlan", Field::InnerVlan),
            "flow" => self.two_words("label", Field::FlowLabel),
            "flags" => self.flags(),
            "flowdir" | "dir" => self.direction(),
            "duration" => self.duration(),
            "client" | "server" | "app" => self.latency(&word),
            "any" => self.alone(Filter::everything()),
            "ipv4" | "inet" => self.alone(equal(Field::IpVersion, 4)),
            "ipv6" | "inet6" => self.alone(equal(Field::IpVersion, 6)),
            "proto" => {
                let fields = (Field::Protocol, Field::Protocol);
                self.of_side(Side::Source, fields, Items::Protocols)
            }
            "observation" => self.observation(),
            "ttl" | "min" | "max" => self.ttl(&word),
            "ingress" | "egress" => self.crossed(&word),
            "asa" | "event" | "xevent" => self.firewall(),
            "fwdstat" => self.forwarding_status(),
            "vlan" => self.sided(Side::Either),
            word => match vocabulary::number_field(word) {
                Some(field) => self.plain(field),
                None => self.sided(Side::Either),
            },
        }
    }

    /// A condition of one word.
    #[expect(clippy::unnecessary_wraps, reason = "as its siblings, which may fail")]
    fn alone(&mut self, filter: Filter) -> Read {
        self.at += 1;
        Ok(filter)
    }

    /// A number without sides, from its name on.
    pub(super) fn plain(&mut self, field: Field) -> Read {
        self.at += 1;
        self.behind(field)
    }

    /// What stands behind the name of a number without sides.
    pub(super) fn behind(&mut self, field: Field) -> Read {
        self.number(Side::Source, (field, field), numbers(field))
    }

    fn side(&mut self) -> Option<Side> {
        if let Some(both) = self.take_rule(Rule::both) {
            let joint = both.as_str().split_whitespace().nth(1);
            let is_or = joint.is_some_and(|joint| joint.eq_ignore_ascii_case("or"));
            return Some(if is_or { Side::Either } else { Side::Both });
        }
        if self.take(&["src"]) {
            return Some(Side::Source);
        }
        self.take(&["dst"]).then_some(Side::Destination)
    }

    fn sided(&mut self, side: Side) -> Read {
        let word = self.word().unwrap_or_default();
        let follows_side = side != Side::Either;
        match word.as_str() {
            "ip" | "host" | "net" => {
                self.at += 1;
                self.address(side, ADDRESSES, word == "net")
            }
            "port" => self.port(side),
            "as" => self.of_side(side, AS_NUMBERS, numbers(Field::SourceAs)),
            "mask" => self.of_side(side, MASKS, numbers(Field::SourceMask)),
            "mac" => self.mac(side),
            "tun" => self.tunnel(side),
            "if" if !follows_side => self.of_side(side, INTERFACES, numbers(Field::IngressIfindex)),
            "vlan" => self.of_side(side, VLANS, numbers(Field::Vlan)),
            "tos" => self.of_side(side, TOS, numbers(Field::Tos)),
            "nat" | "xlate" => self.translated(side),
            "nip" | "xip" | "xnet" | "nport" | "xport" => self.translated_in_a_word(side, &word),
            "geo" => self.country(side, COUNTRIES),
            _ if follows_side && self.is_membership() => self.address(side, ADDRESSES, false),
            _ if follows_side => self.unknown(vocabulary::AFTER_SIDE, &vocabulary::SIDED),
            name => match names::protocol(name) {
                Some(number) => self.alone(equal(Field::Protocol, number.into())),
                None => self.unknown(vocabulary::A_CONDITION, &vocabulary::CONDITIONS),
            },
        }
    }

    pub(super) fn of_side(&mut self, side: Side, fields: Fields, items: Items) -> Read {
        self.at += 1;
        self.number(side, fields, items)
    }

    /// `in if`, `out if`, `in packets`, `in bytes`, and nfdump's `in src mac`, `out dst mac`: whichever an
    /// exporter told is kept.
    fn crossing(&mut self) -> Read {
        let side = if self.take(&["in"]) {
            Side::Source
        } else {
            self.at += 1;
            Side::Destination
        };
        let before = self.at;
        let of_mac = self.side().unwrap_or(Side::Either);
        if self.word().as_deref() == Some("mac") {
            return self.mac(of_mac);
        }
        self.at = before;
        let word = self.word().unwrap_or_default();
        match word.as_str() {
            "if" => self.of_side(side, INTERFACES, numbers(Field::IngressIfindex)),
            "packets" | "bytes" if side == Side::Source => {
                let field = vocabulary::number_field(&word).unwrap_or(Field::Packets);
                self.plain(field)
            }
            "packets" => self.plain(Field::OUT_PACKETS),
            "bytes" => self.plain(Field::OUT_OCTETS),
            _ => {
                let known = ["if", "packets", "bytes"];
                self.unknown("`if`, `packets` or `bytes` fits here", &known)
            }
        }
    }
}

/// A quoted word without its quotes.
pub(super) fn unquoted<'i>(piece: &Pair<'i, Rule>) -> &'i str {
    let text = piece.as_str();
    match piece.as_rule() {
        Rule::quoted => &text[1..text.len() - 1],
        _ => text,
    }
}

/// The numbers a field may be.
pub(super) fn numbers(field: Field) -> Items {
    Items::Numbers { most: field.most() }
}

/// A test whether a number is this one.
pub(super) fn equal(field: Field, value: u64) -> Filter {
    let comparison = Comparison::Equal;
    Test::Number {
        field,
        comparison,
        value,
    }
    .into()
}
