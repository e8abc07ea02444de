//! Reading the elements that have words of their own: ICMP, flags, exporters, durations.

use super::{
    Rule,
    ast::{Comparison, Field, Filter, Test},
    condition::{Fields, MACS, Read, Side, TUNNEL_COUNTRIES, TUNNELS, Words, equal},
    error::Misread,
    operand::compared,
    sets::{self, Items},
    times, vocabulary,
};

impl Words<'_, '_> {
    /// `icmp type 8`, `icmp-code 0`, or the protocol alone.
    pub(super) fn icmp(&mut self, word: &str) -> Read {
        self.at += 1;
        let field = match word {
            "icmp-type" => Field::IcmpType,
            "icmp-code" => Field::IcmpCode,
            _ if self.take(&["type"]) => Field::IcmpType,
            _ if self.take(&["code"]) => Field::IcmpCode,
            _ => return Ok(equal(Field::Protocol, 1)),
        };
        let test = self.behind(field)?;
        let versions = vec![equal(Field::Protocol, 1), equal(Field::Protocol, 58)];
        Ok(Filter::Any(versions).and(test))
    }

    pub(super) fn engine(&mut self, word: &str) -> Read {
        self.at += 1;
        let field = match word {
            "engine-type" => Field::EngineType,
            "engine-id" => Field::EngineId,
            _ if self.take(&["type"]) => Field::EngineType,
            _ if self.take(&["id"]) => Field::EngineId,
            _ => return self.unknown("`type` or `id` fits here", &["type", "id"]),
        };
        self.behind(field)
    }

    /// `observation domain id N`, `observation point id N`.
    pub(super) fn observation(&mut self) -> Read {
        self.at += 1;
        let field = match self.word().as_deref() {
            Some("domain") => Field::SourceId,
            Some("point") => Field::OBSERVATION_POINT,
            _ => {
                let known = ["domain", "point"];
                return self.unknown("`domain id` or `point id` fits here", &known);
            }
        };
        self.two_words("id", field)
    }

    /// `router ip A`, `router in SET`.
    pub(super) fn exporter(&mut self) -> Read {
        self.at += 1;
        let fields = (Field::Exporter, Field::Exporter);
        if self.is_membership() || self.take(&["ip"]) {
            return self.address(Side::Source, fields, false);
        }
        let says = "`ip` or `in` fits here: exporters are told apart by their addresses";
        self.unknown(says, &["ip"])
    }

    pub(super) fn next_hop(&mut self) -> Read {
        self.at += 1;
        if self.word().as_deref() == Some("as") {
            return self.plain(Field::NEXT_AS);
        }
        self.addresses_of(Side::Source, (Field::NextHop, Field::NextHop))
    }

    /// `bgpnext ip A`, `bgp next ip A`.
    pub(super) fn bgp_next_hop(&mut self, word: &str) -> Read {
        self.at += 1;
        if word == "bgp" && !self.take(&["next"]) {
            return self.unknown("`next ip` fits here", &["next"]);
        }
        self.addresses_of(Side::Source, (Field::BgpNextHop, Field::BgpNextHop))
    }

    /// `src tun ip A`, `src tun geo CH`: the ends of the tunnel around the packets.
    pub(super) fn tunnel(&mut self, side: Side) -> Read {
        self.at += 1;
        match self.word().as_deref() {
            Some("proto") => self.refuse("Weir's files keep no protocols of tunnels"),
            Some("geo") => self.country(side, TUNNEL_COUNTRIES),
            _ => self.addresses_of(side, TUNNELS),
        }
    }

    /// `ip A`, `net A/N` or `in SET` of what has addresses of its own.
    pub(super) fn addresses_of(&mut self, side: Side, fields: Fields) -> Read {
        let is_network = self.word().as_deref() == Some("net");
        if self.is_membership() || self.take(&["ip", "host", "net"]) {
            return self.address(side, fields, is_network);
        }
        self.unknown("`ip`, `net` or `in` fits here", &["ip", "net"])
    }

    /// `src mac 02:00:00:00:00:01`, `src mac in [… …]`.
    pub(super) fn mac(&mut self, side: Side) -> Read {
        self.at += 1;
        if let Some(filter) = self.membership(side, MACS, Items::Macs)? {
            return Ok(filter);
        }
        let compared_at = self.here();
        let comparison = self.comparison();
        if comparison.is_some_and(|it| !matches!(it, Comparison::Equal | Comparison::NotEqual)) {
            return Err(Misread::new(compared_at, "`=` or `!=` fits here"));
        }
        if let Some(comparison) = comparison
            && let Some(filter) = self.against_field(side, MACS, comparison)?
        {
            return Ok(filter);
        }
        let comparison = comparison.unwrap_or(Comparison::Equal);
        let at = self.here();
        let word = self.value("a MAC address such as 02:00:00:00:00:01")?;
        match sets::mac(&word) {
            Some(number) => Ok(compared(side, MACS, comparison, number)),
            None => Err(Misread::new(at, sets::A_MAC)),
        }
    }

    /// `mpls label1 N` and `mpls exp1 N`, up to the tenth; `mpls any N`: a label of the stack; `mpls eos N`: the
    /// lowest.
    pub(super) fn mpls(&mut self) -> Read {
        const PLACES_MAX: u8 = 10;
        self.at += 1;
        let word = self.word().unwrap_or_default();
        let name = word.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let field: fn(u8) -> Field = match name {
            "label" => Field::MplsLabel,
            "any" | "eos" if name == word => Field::MplsLabel,
            "exp" => Field::MplsExp,
            _ => {
                let says = "`label1`, `exp1`, `any` or `eos` fits here";
                return self.unknown(says, &["label", "exp", "any", "eos"]);
            }
        };
        let places = match word[name.len()..].parse::<u8>() {
            Ok(place @ 1..=PLACES_MAX) => place..=place,
            Err(_) if name == word => 1..=PLACES_MAX,
            _ => return self.refuse("labels are numbered from 1, the top, to 10"),
        };
        self.at += 1;
        let operand = self.at;
        let mut tests = Vec::new();
        for place in places {
            self.at = operand;
            let field = field(place);
            let test = self.behind(field)?;
            tests.push(match name {
                "eos" => equal(Field::MplsBottom(place), 1).and(test),
                _ => test,
            });
        }
        Ok(match tests.len() {
            1 => tests.remove(0),
            _ => Filter::Any(tests),
        })
    }

    /// A number without sides whose name is of two words.
    pub(super) fn two_words(&mut self, second: &'static str, field: Field) -> Read {
        self.at += 1;
        if self.take(&[second]) {
            return self.behind(field);
        }
        self.unknown(&format!("`{second}` fits here"), &[second])
    }

    /// TCP flags by letters or as a number; TCP is implied. `flags SA`: both are set. `not flags AFRPU`:
    /// none of them is, as nfdump's manual has it. `flags = S`: these and no others.
    pub(super) fn flags(&mut self) -> Read {
        self.at += 1;
        let compared_at = self.here();
        let comparison = self.comparison();
        let at = self.here();
        let word = self.value("TCP flags such as SA, or a number,")?;
        let tcp = equal(Field::Protocol, 6);
        let number = match vocabulary::flag_letters(&word) {
            Some(mask) => match comparison {
                None => {
                    let every = !self.negated;
                    return Ok(tcp.and(Test::Flags { mask, every }.into()));
                }
                Some(Comparison::Equal | Comparison::NotEqual) => u64::from(mask),
                Some(_) => return Err(Misread::new(compared_at, "`=` or `!=` fits here")),
            },
            None => match sets::number(&word) {
                Some(number) if number <= Field::TcpFlags.most() => number,
                Some(_) => return Err(Misread::new(at, "at most 65535 fits here")),
                None => {
                    let says = "flags are of the letters FSRPAUEC, each once; X is the first six";
                    return Err(Misread::new(at, says));
                }
            },
        };
        let comparison = comparison.unwrap_or(Comparison::Equal);
        let field = Field::TcpFlags;
        Ok(tcp.and(compared(Side::Source, (field, field), comparison, number)))
    }

    /// `flowdir ingress`.
    pub(super) fn direction(&mut self) -> Read {
        self.at += 1;
        for (number, names) in [(0, ["ingress", "in", "0"]), (1, ["egress", "out", "1"])] {
            if self.take(&names) {
                return Ok(equal(Field::Direction, number));
            }
        }
        self.unknown("`ingress` or `egress` fits here", &["ingress", "egress"])
    }

    /// Milliseconds, as in nfdump, or a number with a unit (`90s`, `5min`, `2h`).
    pub(super) fn duration(&mut self) -> Read {
        self.at += 1;
        self.span(Field::DurationMs, 1_000_000)
    }

    /// A number of so many nanoseconds each, or one with a unit.
    pub(super) fn span(&mut self, field: Field, each_ns: i64) -> Read {
        let behind = (self.at..).take(2).map(|at| self.pieces.get(at));
        let with_unit = behind.flatten().find_map(|piece| {
            let word = Some(piece)
                .filter(|piece| piece.as_rule() == Rule::word)?
                .as_str();
            times::duration_ns(word).filter(|_| sets::number(word).is_none())
        });
        let Some(span_ns) = with_unit else {
            return self.behind(field);
        };
        let comparison = self.comparison().unwrap_or(Comparison::Equal);
        // Cut, `< 500us` would be `< 0`, which nothing is.
        if span_ns % each_ns != 0 {
            return self.refuse("whole milliseconds fit here");
        }
        self.at += 1;
        let span = u64::try_from(span_ns / each_ns).unwrap_or(0);
        Ok(compared(Side::Source, (field, field), comparison, span))
    }
}
