//! Reading operands: numbers, addresses, sets, and fields that stand against one another.

use pest::iterators::Pair;

use super::{
    Rule,
    ast::{Comparison, Field, Filter, Kind, Test},
    condition::{
        ADDRESSES, AS_NUMBERS, Fields, INTERFACES, MACS, MASKS, PORTS, Read, Side, TOS, TUNNELS,
        VLANS, Words, place, unquoted,
    },
    error::Misread,
    ranges::Ranges,
    rare::{NAT_ADDRESSES, NAT_PORTS, TTLS, VRFS, latency_of},
    sets::{self, Items},
    vocabulary,
};

impl Words<'_, '_> {
    /// Whether `in SET` or `not in SET` follows.
    pub(super) fn is_membership(&self) -> bool {
        self.word().as_deref() == Some("in")
            || self
                .peek()
                .is_some_and(|piece| piece.as_rule() == Rule::outside)
    }

    /// `in SET` or `not in SET`, if that follows.
    pub(super) fn membership(
        &mut self,
        side: Side,
        fields: Fields,
        items: Items,
    ) -> Read<Option<Filter>> {
        let outside = self.take_rule(Rule::outside).is_some();
        if !outside && !self.take(&["in"]) {
            return Ok(None);
        }
        let ranges = self.set(items)?;
        let filter = within(side, fields, &ranges);
        Ok(Some(if outside {
            Filter::Not(Box::new(filter))
        } else {
            filter
        }))
    }

    /// A set, or several with `+` and `-` between them, from left to right.
    fn set(&mut self, items: Items) -> Read<Ranges> {
        let mut members = self.operand(items)?;
        while let Some(sign) = self.take_rule(Rule::sign) {
            let other = self.operand(items)?;
            members = if sign.as_str() == "+" {
                members.union(&other)
            } else {
                members.difference(&other)
            };
        }
        Ok(members)
    }

    fn operand(&mut self, items: Items) -> Read<Ranges> {
        if let Some(list) = self.take_rule(Rule::list) {
            let mut members = Vec::new();
            for item in list.into_inner() {
                members.extend(self.item(&item, items)?);
            }
            return Ok(Ranges::new(members));
        }
        for rule in [Rule::set, Rule::include] {
            if let Some(piece) = self.take_rule(rule) {
                return Ok(Ranges::new(self.item(&piece, items)?));
            }
        }
        if let Some(word) = self.take_rule(Rule::word) {
            if let Some(what) = vocabulary::not_kept(&word.as_str().to_ascii_lowercase()) {
                self.at -= 1;
                return self.refuse(format!("Weir's files keep no {what}"));
            }
            let length = self.take_rule(Rule::length);
            return Ok(Ranges::new(self.member(&word, length.as_ref(), items)?));
        }
        self.refuse("a set fits here: `[… …]`, `@name` or `@include FILE`")
    }

    /// An item of a list, or a set with a name.
    fn item(&self, item: &Pair<'_, Rule>, items: Items) -> Read<Vec<(u128, u128)>> {
        let library = self.around.library;
        let name = item.as_str().trim_start_matches('@');
        let found = match item.as_rule() {
            Rule::set => library.set(name, items),
            Rule::include => library.set(&path_of(item), items),
            _ => {
                let mut inner = item.clone().into_inner();
                return match inner.next() {
                    Some(word) => self.member(&word, inner.next().as_ref(), items),
                    None => Ok(Vec::new()),
                };
            }
        };
        found
            .map(|members| members.pairs().to_vec())
            .map_err(|says| Misread::new(place(item), says))
    }

    /// An address, a network or a number.
    fn member(
        &self,
        word: &Pair<'_, Rule>,
        length: Option<&Pair<'_, Rule>>,
        items: Items,
    ) -> Read<Vec<(u128, u128)>> {
        let text = unquoted(word);
        let Some(length) = length else {
            let found = items.item(text, self.around.resolve);
            return found.map_err(|says| Misread::new(place(word), says));
        };
        let bits = length.clone().into_inner().next();
        let Some(bits) = bits.filter(|_| items == Items::Addresses) else {
            return Err(Misread::new(place(length), "no length belongs here"));
        };
        let found = sets::network(text, bits.as_str());
        found.map_err(|says| {
            let wrong = if sets::network(text, "0").is_ok() {
                &bits
            } else {
                word
            };
            Misread::new(place(wrong), says)
        })
    }

    /// An address, or a network.
    pub(super) fn address(&mut self, side: Side, fields: Fields, is_network: bool) -> Read {
        if let Some(filter) = self.membership(side, fields, Items::Addresses)? {
            return Ok(filter);
        }
        let compared_at = self.here();
        let comparison = self.comparison();
        if comparison.is_some_and(|it| !matches!(it, Comparison::Equal | Comparison::NotEqual)) {
            return Err(Misread::new(compared_at, "`=`, `!=` or `in` fits here"));
        }
        if let Some(comparison) = comparison
            && let Some(filter) = self.against_field(side, fields, comparison)?
        {
            return Ok(filter);
        }
        if self.word().as_deref() == Some("tor") {
            return self.refuse("Weir knows no Tor exits; a set of them may be kept: `ip in @tor`");
        }
        let word = self.take_rule(Rule::word);
        let Some(word) = word.or_else(|| self.take_rule(Rule::quoted)) else {
            let what = if is_network {
                "ADDRESS/LENGTH"
            } else {
                "an address, a network or a host's name"
            };
            return self.refuse(format!("{what} fits here"));
        };
        let length = self.take_rule(Rule::length);
        let found = if is_network && length.is_none() {
            self.masked(&word)?
        } else {
            self.member(&word, length.as_ref(), Items::Addresses)?
        };
        let filter = within(side, fields, &Ranges::new(found));
        Ok(match comparison {
            Some(Comparison::NotEqual) => Filter::Not(Box::new(filter)),
            _ => filter,
        })
    }

    /// The network of `net ADDRESS MASK`.
    fn masked(&mut self, address: &Pair<'_, Rule>) -> Read<Vec<(u128, u128)>> {
        if let Err(says) = sets::network(unquoted(address), "0") {
            return Err(Misread::new(place(address), says));
        }
        let at = self.here();
        let mask = self.value("a length such as /24")?;
        sets::network(unquoted(address), &mask).map_err(|says| Misread::new(at, says))
    }

    pub(super) fn comparison(&mut self) -> Option<Comparison> {
        if let Some(sign) = self.take_rule(Rule::comparison) {
            return vocabulary::comparison(sign.as_str());
        }
        let comparison = vocabulary::comparison(&self.word()?)?;
        self.at += 1;
        Some(comparison)
    }

    /// What follows a number's name: a set, or a comparison with a number or another field.
    pub(super) fn number(&mut self, side: Side, fields: Fields, items: Items) -> Read {
        if let Some(filter) = self.membership(side, fields, items)? {
            return Ok(filter);
        }
        let comparison = self.comparison();
        if let Some(comparison) = comparison
            && let Some(filter) = self.against_field(side, fields, comparison)?
        {
            return Ok(filter);
        }
        let at = self.here();
        let word = self.value(match items {
            Items::Ports => "a port, a service or `in`",
            Items::Protocols => "a protocol or `in`",
            _ => "a number",
        })?;
        let found = items.item(&word, |_| Vec::new());
        let found = found.map_err(|says| Misread::new(at.clone(), says))?;
        let comparison = comparison.unwrap_or(Comparison::Equal);
        if let [(first, last)] = found[..]
            && first == last
        {
            let value = u64::try_from(first).unwrap_or(u64::MAX);
            return Ok(compared(side, fields, comparison, value));
        }
        let filter = within(side, fields, &Ranges::new(found));
        match comparison {
            Comparison::Equal => Ok(filter),
            Comparison::NotEqual => Ok(Filter::Not(Box::new(filter))),
            _ => Err(Misread::new(at, "one number fits behind this comparison")),
        }
    }

    /// A comparison with another field, if the next words name one.
    pub(super) fn against_field(
        &mut self,
        side: Side,
        fields: Fields,
        comparison: Comparison,
    ) -> Read<Option<Filter>> {
        let at = self.here();
        let Some(right) = self.field()? else {
            return Ok(None);
        };
        let left = match side {
            Side::Destination => fields.1,
            Side::Source => fields.0,
            Side::Either | Side::Both => {
                let says = "say which side on the left (`src`, `dst`) to compare it with this";
                return Err(Misread::new(at, says));
            }
        };
        let comparable = matches!(
            (left.kind(), right.kind()),
            (Kind::Address, Kind::Address)
                | (Kind::Number, Kind::Number)
                | (Kind::Mac, Kind::Mac)
                | (Kind::Microseconds, Kind::Microseconds)
        );
        if !comparable {
            let says = "this is not of the kind it is compared with";
            return Err(Misread::new(at, says));
        }
        let test = Test::Fields {
            left,
            comparison,
            right,
        };
        Ok(Some(test.into()))
    }

    /// A field, if the next words name one.
    fn field(&mut self) -> Read<Option<Field>> {
        let Some(word) = self.word() else {
            return Ok(None);
        };
        let is_first = matches!(word.as_str(), "src" | "in" | "min" | "ingress");
        let of = |fields: Fields| if is_first { fields.0 } else { fields.1 };
        let found = match word.as_str() {
            "src" | "dst" => of(self.sides()?),
            "in" | "out" => of(self.crossings()?),
            "min" | "max" => self.named(&["ttl"], of(TTLS))?,
            "ingress" | "egress" => self.named(&["vrf"], of(VRFS))?,
            "prev" | "previous" => self.named(&["as"], Field::PREVIOUS_AS)?,
            "bgpnext" => self.named(&["ip"], Field::BgpNextHop)?,
            // By itself it is a port.
            "bgp" if self.is_before("next") => self.named(&["next", "ip"], Field::BgpNextHop)?,
            "next" => {
                self.at += 1;
                if self.take(&["as"]) {
                    Field::NEXT_AS
                } else if self.take(&["ip"]) {
                    Field::NextHop
                } else {
                    return self.unknown("`ip` or `as` fits here", &["ip", "as"]);
                }
            }
            "client" | "server" | "app" => self.named(&["latency"], latency_of(&word))?,
            "duration" => {
                self.at += 1;
                Field::DurationMs
            }
            word => {
                let found = vocabulary::number_field(word);
                self.at += usize::from(found.is_some());
                return Ok(found);
            }
        };
        Ok(Some(found))
    }

    /// Whether this word stands behind the next one.
    fn is_before(&self, second: &str) -> bool {
        let piece = self.pieces.get(self.at + 1);
        piece.is_some_and(|piece| piece.as_str().eq_ignore_ascii_case(second))
    }

    /// A field of several words, of which the first is next and these stand behind it.
    pub(super) fn named(&mut self, behind: &[&'static str], field: Field) -> Read<Field> {
        self.at += 1;
        for &word in behind {
            if !self.take(&[word]) {
                return self.unknown(&format!("`{word}` fits here"), &[word]);
            }
        }
        Ok(field)
    }

    /// What stands behind `src` or `dst`: the fields of both.
    fn sides(&mut self) -> Read<Fields> {
        self.at += 1;
        let word = self.word().unwrap_or_default();
        let fields = match word.as_str() {
            "ip" | "host" => ADDRESSES,
            "port" => PORTS,
            "as" => AS_NUMBERS,
            "mask" => MASKS,
            "mac" => MACS,
            "vlan" => VLANS,
            "tos" => TOS,
            "tun" => {
                self.named(&["ip"], Field::OuterSource)?;
                return Ok(TUNNELS);
            }
            "nat" | "xlate" => {
                self.at += 1;
                if self.take(&["port"]) {
                    return Ok(NAT_PORTS);
                }
                if self.take(&["ip"]) {
                    return Ok(NAT_ADDRESSES);
                }
                return self.unknown("`ip` or `port` fits here", &["ip", "port"]);
            }
            _ => {
                let says =
                    "ip, port, as, mask, mac, vlan, tos, tun ip, nat ip or nat port fits here";
                return self.unknown(says, &vocabulary::SIDED);
            }
        };
        self.at += 1;
        Ok(fields)
    }

    /// What stands behind `in` or `out`: the fields of both.
    fn crossings(&mut self) -> Read<Fields> {
        self.at += 1;
        let word = self.word().unwrap_or_default();
        let fields = match word.as_str() {
            "if" => INTERFACES,
            "packets" => (Field::Packets, Field::OUT_PACKETS),
            "bytes" => (Field::Octets, Field::OUT_OCTETS),
            _ => {
                let known = ["if", "packets", "bytes"];
                return self.unknown("`if`, `packets` or `bytes` fits here", &known);
            }
        };
        self.at += 1;
        Ok(fields)
    }
}

/// A test of one side, of either, or of both.
pub(super) fn on(side: Side, fields: Fields, test: impl Fn(Field) -> Filter) -> Filter {
    match side {
        Side::Source => test(fields.0),
        Side::Destination => test(fields.1),
        _ if fields.0 == fields.1 => test(fields.0),
        Side::Either => Filter::Any(vec![test(fields.0), test(fields.1)]),
        Side::Both => Filter::All(vec![test(fields.0), test(fields.1)]),
    }
}

/// A comparison of one side, of either, or of both. `port != 80`: neither is.
pub(super) fn compared(side: Side, fields: Fields, comparison: Comparison, value: u64) -> Filter {
    let side = match (side, comparison) {
        (Side::Either, Comparison::NotEqual) => Side::Both,
        _ => side,
    };
    on(side, fields, |field| {
        Test::Number {
            field,
            comparison,
            value,
        }
        .into()
    })
}

/// The file of an `@include`, as a set's name that is a path.
pub(super) fn path_of(include: &Pair<'_, Rule>) -> String {
    let path = include.clone().into_inner().next();
    let path = path
        .map(|path| path.as_str().to_owned())
        .unwrap_or_default();
    if path.contains('/') {
        path
    } else {
        format!("./{path}")
    }
}

/// A set that one side is in, either, or both.
fn within(side: Side, fields: Fields, ranges: &Ranges) -> Filter {
    on(side, fields, |field| {
        let ranges = ranges.clone();
        Test::Within { field, ranges }.into()
    })
}
