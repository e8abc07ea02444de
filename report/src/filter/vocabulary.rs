//! The words of the language that are no names of protocols or services.

use super::ast::{Comparison, Field};

/// What fits where a condition begins.
pub const A_CONDITION: &str =
    "a condition fits here, such as `src ip 192.0.2.1`, `dst port 443`, `tcp` or `last 2h`";

/// What fits behind a side.
pub const AFTER_SIDE: &str = "`src` and `dst` are followed by ip, net, port, as, mask, mac, tun, nat, vlan, tos, geo, `in` or `not in`";

/// Words a condition may begin with; those that were probably meant come first.
pub const CONDITIONS: [&str; 60] = [
    "src",
    "dst",
    "ip",
    "host",
    "net",
    "port",
    "proto",
    "flags",
    "packets",
    "bytes",
    "octets",
    "first",
    "last",
    "received",
    "since",
    "until",
    "from",
    "today",
    "yesterday",
    "duration",
    "pps",
    "bps",
    "bpp",
    "any",
    "ipv4",
    "ipv6",
    "as",
    "mask",
    "vlan",
    "tos",
    "if",
    "in",
    "out",
    "router",
    "exporter",
    "next",
    "engine",
    "flowdir",
    "flows",
    "conn",
    "mac",
    "mpls",
    "bgpnext",
    "inner",
    "tun",
    "flow",
    "nat",
    "geo",
    "ttl",
    "min",
    "max",
    "prev",
    "asa",
    "ingress",
    "egress",
    "ethertype",
    "fwdstat",
    "observation",
    "client",
    "server",
];

/// Words that may follow a side.
pub const SIDED: [&str; 12] = [
    "ip", "host", "net", "port", "as", "mask", "vlan", "tos", "mac", "tun", "nat", "geo",
];

/// The two words of a condition that was written as one: as an element's name (`srcip`, `inif`), or as other tools
/// have it (`dport`, `src_addr`).
#[must_use]
pub fn apart(word: &str) -> Option<String> {
    const SIDES: [(&str, &str); 4] = [("src", "src"), ("dst", "dst"), ("s", "src"), ("d", "dst")];
    if matches!(word, "inif" | "outif") {
        return Some(word.replace("if", " if"));
    }
    SIDES.iter().find_map(|(begin, side)| {
        let rest = word.strip_prefix(begin)?.trim_start_matches('_');
        let rest = if rest == "addr" { "ip" } else { rest };
        SIDED.contains(&rest).then(|| format!("{side} {rest}"))
    })
}

/// Elements that nfdump has and Weir's records have not.
const NOT_KEPT: [(&str, &str); 9] = [
    ("count", "numbers of records: their order is not one"),
    ("cnt", "numbers of records: their order is not one"),
    (
        "ident",
        "names of sources: `router ip` tells exporters apart",
    ),
    (
        "sysid",
        "numbers of exporters: `router ip` tells them apart",
    ),
    ("id", "numbers of exporters: `router ip` tells them apart"),
    ("tz", "time zones"),
    ("payload", "payload"),
    ("pf", "events of a packet filter"),
    ("flowlabel", "labels of filters"),
];

/// What an element is that Weir's records have not.
#[must_use]
pub fn not_kept(word: &str) -> Option<&'static str> {
    NOT_KEPT
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, what)| *what)
}

/// A number that has no sides.
#[must_use]
pub fn number_field(word: &str) -> Option<Field> {
    Some(match word {
        "packets" => Field::Packets,
        "bytes" | "octets" => Field::Octets,
        "flows" => Field::Flows,
        "pps" => Field::PacketsPerSecond,
        "bps" => Field::BitsPerSecond,
        "bpp" => Field::OctetsPerPacket,
        "vlan" => Field::Vlan,
        "tos" => Field::Tos,
        "ethertype" => Field::ETHERTYPE,
        "nfversion" => Field::Version,
        "sampling" => Field::SamplingInterval,
        _ => return None,
    })
}

/// A comparison by its sign or its word.
#[must_use]
pub fn comparison(text: &str) -> Option<Comparison> {
    Some(match text {
        "=" | "==" | "eq" => Comparison::Equal,
        "!=" | "ne" => Comparison::NotEqual,
        "<" | "lt" => Comparison::Less,
        "<=" | "le" => Comparison::LessOrEqual,
        ">" | "gt" => Comparison::Greater,
        ">=" | "ge" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// TCP flags by their letters, each at most once; X stands for the first six.
#[must_use]
pub fn flag_letters(word: &str) -> Option<u16> {
    /// From bit 0 on (RFC 9293 section 3.1).
    const LETTERS: &str = "FSRPAUEC";
    const FIRST_SIX: u16 = 0x3f;
    let (mut mask, mut all) = (0, 0);
    for letter in word.to_ascii_uppercase().chars() {
        if letter == 'X' {
            all = FIRST_SIX;
            continue;
        }
        let bit = 1 << LETTERS.find(letter)?;
        if mask & bit != 0 {
            return None;
        }
        mask |= bit;
    }
    Some(mask | all).filter(|mask| *mask != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_their_bits() {
        for (word, mask) in [
            ("S", Some(0x02)),
            ("SA", Some(0x12)),
            ("AFRPU", Some(0x3d)),
            ("fsrpauec", Some(0xff)),
            ("X", Some(0x3f)),
            ("SS", None),
            ("SX", Some(0x3f)),
            ("", None),
            ("18", None),
        ] {
            assert_eq!(flag_letters(word), mask, "{word}");
        }
    }
}
