//! Reading the elements that few exporters send, most of which have no column: TTLs, what became of packets,
//! translated addresses and ports, what firewalls tell, VRFs, latencies; and countries, which local files know.

use super::{
    ast::{Comparison, Field, Filter, Test},
    condition::{Fields, PORTS, Read, Side, Words, equal, numbers},
    operand::on,
    sets::Items,
    vocabulary,
};
use crate::local_names::{self, What};

pub(super) const TTLS: Fields = (Field::LEAST_TTL, Field::GREATEST_TTL);
pub(super) const NAT_ADDRESSES: Fields =
    (Field::NAT_SOURCE_ADDRESS, Field::NAT_DESTINATION_ADDRESS);
pub(super) const NAT_PORTS: Fields = (Field::NAT_SOURCE_PORT, Field::NAT_DESTINATION_PORT);
pub(super) const VRFS: Fields = (Field::INGRESS_VRF, Field::EGRESS_VRF);

/// A number with a name.
type Named = (&'static str, u64);

/// natEvent (IANA): what began and what ended.
const NAT_EVENTS: [Named; 2] = [("add", 1), ("delete", 2)];
/// firewallEvent (IANA), by nfdump's names.
const FIREWALL_EVENTS: [Named; 8] = [
    ("ignore", 0),
    ("create", 1),
    ("delete", 2),
    ("term", 2),
    ("deny", 3),
    ("denied", 3),
    ("alert", 4),
    ("update", 5),
];
/// Why an ASA denied a flow, by nfdump's names.
const DENIALS: [Named; 5] = [
    ("ingress", 1001),
    ("egress", 1002),
    ("interface", 1003),
    ("access", 1003),
    ("nosyn", 1004),
];
/// forwardingStatus (IANA), by nfdump's names.
const FORWARDING_STATUSES: [Named; 23] = [
    ("ukwn", 0),
    ("forw", 64),
    ("frag", 65),
    ("drop", 128),
    ("dacld", 129),
    ("daclp", 130),
    ("noroute", 131),
    ("dadj", 132),
    ("dfrag", 133),
    ("dbadh", 134),
    ("dbadtlen", 135),
    ("dbadhlen", 136),
    ("dbadttl", 137),
    ("dpolicy", 138),
    ("dwred", 139),
    ("drpf", 140),
    ("dforus", 141),
    ("dbadof", 142),
    ("dhw", 143),
    ("term", 192),
    ("tadj", 193),
    ("tincadj", 194),
    ("tforus", 195),
];

impl Words<'_, '_> {
    /// `min ttl N`, `max ttl N`; `ttl N`: one of them; `ttl equal`: they are.
    pub(super) fn ttl(&mut self, word: &str) -> Read {
        self.at += 1;
        let side = match word {
            "min" => Side::Source,
            "max" => Side::Destination,
            _ => Side::Either,
        };
        if side != Side::Either && !self.take(&["ttl"]) {
            return self.unknown("`ttl` fits here", &["ttl"]);
        }
        if side == Side::Either && self.take(&["equal"]) {
            let test = Test::Fields {
                left: TTLS.0,
                comparison: Comparison::Equal,
                right: TTLS.1,
            };
            return Ok(test.into());
        }
        self.number(side, TTLS, numbers(TTLS.0))
    }

    /// `fwdstat 64`, `fwdstat forw`.
    pub(super) fn forwarding_status(&mut self) -> Read {
        self.at += 1;
        self.named_number(Field::FORWARDING_STATUS, &FORWARDING_STATUSES)
    }

    /// `port 443`, or `port in nat pblock`: in the record's own block of ports.
    pub(super) fn port(&mut self, side: Side) -> Read {
        let name = self.at;
        self.at += 1;
        if self.take(&["in"]) && self.take(&["nat", "xlate"]) {
            if !self.take(&["pblock"]) {
                return self.unknown("`pblock` fits here", &["pblock"]);
            }
            return Ok(on(side, PORTS, in_block));
        }
        self.at = name;
        self.of_side(side, PORTS, Items::Ports)
    }

    /// What stands behind `nat`: `ip A`, `net A/N` and `port N` of a side or of either, `event add`, `pblock start N`.
    pub(super) fn translated(&mut self, side: Side) -> Read {
        self.at += 1;
        match self.word().as_deref() {
            Some("port") => self.of_side(side, NAT_PORTS, Items::Ports),
            Some("event") if side == Side::Either => {
                self.at += 1;
                self.named_number(Field::NAT_EVENT, &NAT_EVENTS)
            }
            Some("pblock") if side == Side::Either => self.block(),
            _ => self.addresses_of(side, NAT_ADDRESSES),
        }
    }

    /// nfdump 1.6's words for the same.
    pub(super) fn translated_in_a_word(&mut self, side: Side, word: &str) -> Read {
        if word.ends_with("port") {
            return self.of_side(side, NAT_PORTS, Items::Ports);
        }
        self.at += 1;
        self.address(side, NAT_ADDRESSES, word == "xnet")
    }

    /// `pblock start N` and the like.
    fn block(&mut self) -> Read {
        self.at += 1;
        let field = match self.word().as_deref() {
            Some("start") => Field::BLOCK_FIRST,
            Some("end") => Field::BLOCK_LAST,
            Some("step") => Field::BLOCK_STEP,
            Some("size") => Field::BLOCK_SIZE,
            _ => {
                let says = "`start`, `end`, `step` or `size` fits here";
                return self.unknown(says, &["start", "end", "step", "size"]);
            }
        };
        self.plain(field)
    }

    /// `asa event deny`, `asa denied ingress`, `asa xevent N`, `asa user NAME`; without `asa` nfdump 1.6's.
    pub(super) fn firewall(&mut self) -> Read {
        self.take(&["asa"]);
        let word = self.word().unwrap_or_default();
        match word.as_str() {
            "event" => {
                self.at += 1;
                // nfdump 1.7's manual has `asa event denied ingress`, 1.8's leaves `event` out.
                let place = self.at;
                if self.take(&["denied"])
                    && self
                        .word()
                        .is_some_and(|word| number_of(&word, &DENIALS).is_some())
                {
                    return self.named_number(Field::EXTENDED_EVENT, &DENIALS);
                }
                self.at = place;
                self.named_number(Field::FIREWALL_EVENT, &FIREWALL_EVENTS)
            }
            "denied" => {
                self.at += 1;
                self.named_number(Field::EXTENDED_EVENT, &DENIALS)
            }
            "xevent" => self.plain(Field::EXTENDED_EVENT),
            "user" => {
                self.at += 1;
                let word = self.value("a user's name")?;
                let field = Field::USER;
                Ok(Test::Word { field, word }.into())
            }
            _ => {
                let says = "`event`, `denied`, `xevent` or `user` fits here";
                self.unknown(says, &["event", "denied", "xevent", "user"])
            }
        }
    }

    /// `ingress ACL N`, `ingress ACE N`, `ingress XACE N`, `ingress vrf N`, and the same of `egress`.
    pub(super) fn crossed(&mut self, word: &str) -> Read {
        self.at += 1;
        let (list, vrf) = match word {
            "ingress" => (Field::INGRESS_LIST, VRFS.0),
            _ => (Field::EGRESS_LIST, VRFS.1),
        };
        let field = match self.word().as_deref() {
            Some("vrf") => vrf,
            Some("acl") => Field::OtherPart(list, 0),
            Some("ace") => Field::OtherPart(list, 1),
            Some("xace") => Field::OtherPart(list, 2),
            _ => {
                let says = "`vrf`, `ACL`, `ACE` or `XACE` fits here";
                return self.unknown(says, &["vrf", "acl", "ace", "xace"]);
            }
        };
        self.plain(field)
    }

    /// `client latency > 5ms`; without a unit they are microseconds, as nfdump compares them.
    pub(super) fn latency(&mut self, word: &str) -> Read {
        let field = self.named(&["latency"], latency_of(word))?;
        self.span(field, 1000)
    }

    /// `src geo CH`, `src tun geo CH`.
    pub(super) fn country(&mut self, side: Side, fields: Fields) -> Read {
        if let Err(error) = local_names::require(What::Country) {
            return self.refuse(error.to_string());
        }
        self.at += 1;
        let at = self.at;
        let word = self.value("a country's two letters")?.to_ascii_uppercase();
        if word.len() != 2 || !word.bytes().all(|letter| letter.is_ascii_alphabetic()) {
            self.at = at;
            return self.refuse("a country's two letters fit here");
        }
        Ok(on(side, fields, |field| {
            let word = word.clone();
            Test::Word { field, word }.into()
        }))
    }

    /// One of these names, or what fits a number.
    fn named_number(&mut self, field: Field, names: &[Named]) -> Read {
        let word = self.word().unwrap_or_default();
        if let Some(number) = number_of(&word, names) {
            self.at += 1;
            return Ok(equal(field, number));
        }
        let is_name = word.starts_with(|first: char| first.is_ascii_alphabetic());
        if is_name && word != "in" && vocabulary::comparison(&word).is_none() {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let says = format!("a number fits here, or {}", known.join(", "));
            return self.unknown(&says, &known);
        }
        self.behind(field)
    }
}

/// Whose latency.
pub(super) fn latency_of(word: &str) -> Field {
    match word {
        "client" => Field::CLIENT_LATENCY,
        "server" => Field::SERVER_LATENCY,
        _ => Field::APPLICATION_LATENCY,
    }
}

fn number_of(word: &str, names: &[Named]) -> Option<u64> {
    let found = names.iter().find(|(name, _)| *name == word);
    found.map(|(_, number)| *number)
}

/// A port that is in the block of ports that the same record tells of.
fn in_block(port: Field) -> Filter {
    let compared = |comparison, right| {
        Filter::from(Test::Fields {
            left: port,
            comparison,
            right,
        })
    };
    compared(Comparison::GreaterOrEqual, Field::BLOCK_FIRST)
        .and(compared(Comparison::LessOrEqual, Field::BLOCK_LAST))
}
