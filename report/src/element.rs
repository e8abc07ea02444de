//! What flows are gathered by, by nfdump's names for `-s` and `-A`.

use anyhow::{Result, bail};
use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use datafusion::prelude::{Expr, bitwise_and, bitwise_shift_right, col, lit};

use crate::{
    answer::Cell,
    filter::{error::nearest, ranges},
    functions,
    local_names::{self, What},
    names, text,
};

/// What flows are gathered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its name, as on the command line.
    pub name: String,
    /// What is printed above it.
    pub heading: String,
    sides: Vec<Key>,
    shown: Shown,
}

/// Where its value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Column(&'static str),
    /// An address cut to so many bits.
    Network(&'static str, u8, u8),
    /// An address cut to the flow's own prefix length.
    OwnNetwork(&'static str, &'static str),
    EngineType,
    EngineId,
    /// Milliseconds from first to last packet.
    Duration,
    /// Octets a packet.
    PacketSize,
    /// Bits a second.
    Bandwidth,
    /// What local files know of an address.
    Known(&'static str, What),
}

/// How its value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Address,
    /// An address with the length it was cut to.
    Network(u8, u8),
    Number,
    Port,
    Protocol,
    Flags,
    Direction,
    EndReason,
    /// A MAC address, whose number it is.
    Mac,
    /// An MPLS label stack entry.
    Mpls,
    Text,
}

/// A value that flows were gathered by; its order is that of lines with equal counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// The flow has none.
    None,
    /// A number.
    Number(u64),
    /// An address.
    Address(u128),
    /// Words.
    Text(String),
}

/// Name, other name, heading, columns, how it is shown.
type Known = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    Shown,
);

static KNOWN: [Known; 42] = [
    (
        "srcip",
        "src",
        "Source address",
        &["src_addr"],
        Shown::Address,
    ),
    (
        "dstip",
        "dst",
        "Destination address",
        &["dst_addr"],
        Shown::Address,
    ),
    (
        "ip",
        "host",
        "Address",
        &["src_addr", "dst_addr"],
        Shown::Address,
    ),
    ("srcport", "", "Source port", &["src_port"], Shown::Port),
    (
        "dstport",
        "",
        "Destination port",
        &["dst_port"],
        Shown::Port,
    ),
    ("port", "", "Port", &["src_port", "dst_port"], Shown::Port),
    ("proto", "", "Protocol", &["protocol"], Shown::Protocol),
    ("flags", "", "TCP flags", &["tcp_flags"], Shown::Flags),
    ("tos", "srctos", "ToS", &["tos"], Shown::Number),
    ("dir", "", "Direction", &["direction"], Shown::Direction),
    ("end", "", "End reason", &["end_reason"], Shown::EndReason),
    ("srcas", "", "Source AS", &["src_as"], Shown::Number),
    ("dstas", "", "Destination AS", &["dst_as"], Shown::Number),
    ("as", "", "AS", &["src_as", "dst_as"], Shown::Number),
    (
        "inif",
        "",
        "Input interface",
        &["ingress_ifindex"],
        Shown::Number,
    ),
    (
        "outif",
        "",
        "Output interface",
        &["egress_ifindex"],
        Shown::Number,
    ),
    (
        "if",
        "",
        "Interface",
        &["ingress_ifindex", "egress_ifindex"],
        Shown::Number,
    ),
    (
        "srcmask",
        "",
        "Source prefix length",
        &["src_mask"],
        Shown::Number,
    ),
    (
        "dstmask",
        "",
        "Destination prefix length",
        &["dst_mask"],
        Shown::Number,
    ),
    (
        "mask",
        "",
        "Prefix length",
        &["src_mask", "dst_mask"],
        Shown::Number,
    ),
    ("vlan", "srcvlan", "VLAN", &["vlan"], Shown::Number),
    ("nhip", "next", "Next hop", &["next_hop"], Shown::Address),
    ("router", "exporter", "Exporter", &["exporter"], Shown::Text),
    (
        "odid",
        "",
        "Observation domain",
        &["source_id"],
        Shown::Number,
    ),
    ("nfv", "", "Export version", &["version"], Shown::Number),
    (
        "sampling",
        "",
        "Sampling interval",
        &["sampling_interval"],
        Shown::Number,
    ),
    (
        "ipversion",
        "",
        "IP version",
        &["ip_version"],
        Shown::Number,
    ),
    ("srcmac", "insrcmac", "Source MAC", &["src_mac"], Shown::Mac),
    (
        "dstmac",
        "outdstmac",
        "Destination MAC",
        &["dst_mac"],
        Shown::Mac,
    ),
    ("mac", "", "MAC", &["src_mac", "dst_mac"], Shown::Mac),
    (
        "innervlan",
        "",
        "Inner VLAN",
        &["inner_vlan"],
        Shown::Number,
    ),
    ("mpls1", "", "MPLS label 1", &["mpls_label_1"], Shown::Mpls),
    ("mpls2", "", "MPLS label 2", &["mpls_label_2"], Shown::Mpls),
    ("mpls3", "", "MPLS label 3", &["mpls_label_3"], Shown::Mpls),
    ("mpls4", "", "MPLS label 4", &["mpls_label_4"], Shown::Mpls),
    (
        "flowlabel",
        "",
        "Flow label",
        &["flow_label"],
        Shown::Number,
    ),
    (
        "nhbip",
        "bgpnext",
        "BGP next hop",
        &["bgp_next_hop"],
        Shown::Address,
    ),
    (
        "srctunip",
        "",
        "Tunnel source address",
        &["outer_src_addr"],
        Shown::Address,
    ),
    (
        "dsttunip",
        "",
        "Tunnel destination address",
        &["outer_dst_addr"],
        Shown::Address,
    ),
    (
        "tunip",
        "",
        "Tunnel address",
        &["outer_src_addr", "outer_dst_addr"],
        Shown::Address,
    ),
    ("packets", "", "Packets a flow", &["packets"], Shown::Number),
    (
        "bytes",
        "octets",
        "Octets a flow",
        &["octets"],
        Shown::Number,
    ),
];

impl Element {
    /// An element by its name: nfdump's, with a prefix length behind addresses (`srcip/24`, `srcip/24/48`,
    /// `srcip6/48`), or `srcnet` and `dstnet` for the prefix that the exporter gave.
    ///
    /// # Errors
    /// A sentence, with the name that was probably meant.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (name, lengths) = match lower.split_once('/') {
            Some((name, lengths)) => (name, Some(lengths)),
            None => (&lower[..], None),
        };
        if let (Some(element), None) = (Self::known(name), lengths) {
            return Ok(element);
        }
        match (name, lengths) {
            ("srcnet", None) => Ok(Self::own_network(&lower, "src_addr", "src_mask")),
            ("dstnet", None) => Ok(Self::own_network(&lower, "dst_addr", "dst_mask")),
            ("enginetype", None) => Ok(Self::number(&lower, "Engine type", Key::EngineType)),
            ("engineid", None) => Ok(Self::number(&lower, "Engine id", Key::EngineId)),
            ("duration", None) => Ok(Self::number(&lower, "Duration ms", Key::Duration)),
            ("bpp", None) => Ok(Self::number(&lower, "Octets a packet", Key::PacketSize)),
            ("bps", None) => Ok(Self::number(&lower, "Bits a second", Key::Bandwidth)),
            (name, Some(lengths)) => Self::network(text, name, lengths),
            (name, None) => {
                let mut known = KNOWN.iter().filter(|_| !name.is_empty());
                let found = known.find(|known| known.0 == name || known.1 == name);
                found.map(Self::of).ok_or_else(|| unknown(name))
            }
        }
    }

    fn of(known: &Known) -> Self {
        let (name, _, heading, columns, shown) = known;
        Self {
            name: (*name).to_owned(),
            heading: (*heading).to_owned(),
            sides: columns.iter().copied().map(Key::Column).collect(),
            shown: *shown,
        }
    }

    fn own_network(name: &str, address: &'static str, mask: &'static str) -> Self {
        let side = if address == "src_addr" {
            "Source"
        } else {
            "Destination"
        };
        Self {
            name: name.to_owned(),
            heading: format!("{side} network"),
            sides: vec![Key::OwnNetwork(address, mask)],
            shown: Shown::Address,
        }
    }

    /// What local files know of an address: `srcname`, `dstcountry`, `as-name` …
    fn known(name: &str) -> Option<Self> {
        let (columns, side, what): (&[&'static str], _, _) =
            if let Some(what) = name.strip_prefix("src") {
                (&["src_addr"], "Source ", what)
            } else if let Some(what) = name.strip_prefix("dst") {
                (&["dst_addr"], "Destination ", what)
            } else {
                (&["src_addr", "dst_addr"], "", name)
            };
        let (what, noun) = match what {
            "name" => (What::Name, "name"),
            "country" | "geo" => (What::Country, "country"),
            "as-name" => (What::AsName, "AS name"),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            heading: format!("{side}{noun}"),
            sides: columns
                .iter()
                .map(|column| Key::Known(column, what))
                .collect(),
            shown: Shown::Text,
        })
    }

    /// Whether it can be told.
    ///
    /// # Errors
    /// If it is from local files and none were read.
    pub fn require(&self) -> Result<()> {
        match self.sides.first() {
            Some(Key::Known(_, what)) => local_names::require(*what),
            _ => Ok(()),
        }
    }

    fn number(name: &str, heading: &str, key: Key) -> Self {
        Self {
            name: name.to_owned(),
            heading: heading.to_owned(),
            sides: vec![key],
            shown: Shown::Number,
        }
    }

    fn network(text: &str, name: &str, lengths: &str) -> Result<Self, String> {
        let (base, v4, v6) = match name.strip_suffix(['4', '6']) {
            Some(base) if name.ends_with('4') => (base, Some(lengths), None),
            Some(base) => (base, None, Some(lengths)),
            None => match lengths.split_once('/') {
                Some((v4, v6)) => (name, Some(v4), Some(v6)),
                None => (name, Some(lengths), None),
            },
        };
        let bits = |length: Option<&str>, most: u8| match length {
            None => Ok(most),
            Some(length) => match length.parse::<u8>() {
                Ok(bits) if bits <= most => Ok(bits),
                _ => Err(format!(
                    "a prefix length of {most} at most fits behind `{base}/`"
                )),
            },
        };
        let (v4, v6) = (bits(v4, 32)?, bits(v6, 128)?);
        let mut element = Self::parse(base)?;
        if element.shown != Shown::Address {
            return Err(format!(
                "`{base}` is no address: no prefix length fits behind it"
            ));
        }
        text.clone_into(&mut element.name);
        element.shown = Shown::Network(v4, v6);
        let heading = element.heading.replace("address", "network");
        element.heading = heading.replace("Address", "Network");
        for side in &mut element.sides {
            if let Key::Column(column) = *side {
                *side = Key::Network(column, v4, v6);
            }
        }
        Ok(element)
    }

    /// Its values of a flow, as expressions: one, or two for what a flow has on each side.
    #[must_use]
    pub fn expressions(&self) -> Vec<Expr> {
        let expression = |key: &Key| match *key {
            Key::Column(column) => col(column),
            Key::Network(column, v4, v6) => functions::network_expression(col(column), v4, v6),
            Key::OwnNetwork(address, mask) => {
                functions::own_network_expression(col(address), col(mask))
            }
            Key::EngineType => {
                let shifted = bitwise_shift_right(col("source_id"), lit(8u32));
                bitwise_and(shifted, lit(0xffu32))
            }
            Key::EngineId => bitwise_and(col("source_id"), lit(0xffu32)),
            Key::Duration => functions::duration_expression(),
            Key::PacketSize => functions::octets_per_packet_expression(),
            Key::Bandwidth => functions::bits_per_second_expression(),
            Key::Known(column, what) => functions::known_expression(col(column), what),
        };
        self.sides.iter().map(expression).collect()
    }

    /// Its only expression.
    ///
    /// # Errors
    /// If a flow has two.
    pub fn expression(&self) -> Result<Expr> {
        let mut expressions = self.expressions();
        match (expressions.pop(), expressions.is_empty()) {
            (Some(expression), true) => Ok(expression),
            _ => bail!(
                "`{0}` is on both sides of a flow: say src{0} or dst{0} here",
                self.name
            ),
        }
    }

    /// The column it is, if it is one as it stands.
    #[must_use]
    pub fn column(&self) -> Option<&'static str> {
        match self.sides[..] {
            [Key::Column(column)] => Some(column),
            _ => None,
        }
    }

    /// Whether a flow has it on both sides.
    #[must_use]
    pub fn is_two_sided(&self) -> bool {
        self.sides.len() > 1
    }

    /// As a cell of a table.
    #[must_use]
    pub fn cell(&self, value: &KeyValue) -> Cell {
        let address = |number: u128| text::address(&ranges::octets_of(number));
        match (self.shown, value) {
            (_, KeyValue::None) => Cell::Empty,
            (Shown::Network(v4, v6), KeyValue::Address(number)) => {
                let bits = if ranges::is_v4(*number) { v4 } else { v6 };
                let whole = if ranges::is_v4(*number) { 32 } else { 128 };
                Cell::Text(if bits == whole {
                    address(*number)
                } else {
                    format!("{}/{bits}", address(*number))
                })
            }
            (_, KeyValue::Address(number)) => {
                let name = local_names::of(What::Name, *number);
                Cell::Text(address(*number)).named(name.as_deref())
            }
            (Shown::Port, KeyValue::Number(number)) => {
                let name = u16::try_from(*number).ok().and_then(names::service);
                Cell::Number(*number).named(name)
            }
            (Shown::Protocol, KeyValue::Number(number)) => {
                let name = u8::try_from(*number).map(names::protocol_name);
                Cell::Text(name.unwrap_or_else(|_| number.to_string()))
            }
            (Shown::Flags, KeyValue::Number(number)) => {
                Cell::Text(text::tcp_flags(u16::try_from(*number).unwrap_or(0)))
            }
            (Shown::Mac, KeyValue::Number(number)) => {
                let [_, _, octets @ ..] = number.to_be_bytes();
                Cell::Text(text::mac(&octets))
            }
            (Shown::Mpls, KeyValue::Number(number)) => {
                Cell::Text(text::mpls(u32::try_from(*number).unwrap_or(0)))
            }
            (Shown::Direction, KeyValue::Number(number)) => Cell::Text(match number {
                0 => "ingress".to_owned(),
                1 => "egress".to_owned(),
                other => other.to_string(),
            }),
            (Shown::EndReason, KeyValue::Number(number)) => Cell::Text(match number {
                0 => "unknown".to_owned(),
                1 => "idle".to_owned(),
                2 => "active".to_owned(),
                3 => "end of flow".to_owned(),
                4 => "forced".to_owned(),
                5 => "lack of resources".to_owned(),
                other => other.to_string(),
            }),
            (_, KeyValue::Number(number)) => Cell::Number(*number),
            (_, KeyValue::Text(text)) => Cell::Text(text.clone()),
        }
    }
}

fn unknown(name: &str) -> String {
    let names = KNOWN
        .iter()
        .map(|known| known.0)
        .chain(["srcnet", "dstnet"]);
    match nearest(name, names) {
        Some(meant) => format!("no element is called `{name}`; did you mean `{meant}`?"),
        None => format!(
            "no element is called `{name}`; there are srcip, dstip, ip, srcport, dstport, port, proto, flags, \
             tos, dir, srcas, dstas, as, inif, outif, if, srcmask, dstmask, vlan, innervlan, srcmac, dstmac, \
             mac, mpls1, flowlabel, nhip, nhbip, srctunip, dsttunip, router, odid, \
             srcnet, dstnet, duration, bpp, bps, srcname, srccountry, srcas-name (and dst…), and addresses \
             with a prefix length (srcip/24, srcip6/48)"
        ),
    }
}

/// A value of a column.
#[must_use]
pub fn key_value(column: &ArrayRef, row: usize) -> KeyValue {
    if column.is_null(row) {
        return KeyValue::None;
    }
    let number = |number: u64| KeyValue::Number(number);
    match column.data_type() {
        DataType::FixedSizeBinary(6) => {
            let octets = column.as_fixed_size_binary().value(row).iter();
            number(octets.fold(0, |number, octet| number << 8 | u64::from(*octet)))
        }
        DataType::FixedSizeBinary(_) => {
            let octets = <[u8; 16]>::try_from(column.as_fixed_size_binary().value(row));
            octets.map_or(KeyValue::None, |octets| {
                KeyValue::Address(u128::from_be_bytes(octets))
            })
        }
        DataType::UInt8 => number(column.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => number(column.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => number(column.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => number(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Utf8View => KeyValue::Text(column.as_string_view().value(row).to_owned()),
        DataType::Utf8 => KeyValue::Text(column.as_string::<i32>().value(row).to_owned()),
        _ => KeyValue::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_nfdumps_names() {
        for (text, sides, heading) in [
            ("srcip", 1, "Source address"),
            ("IP", 2, "Address"),
            ("srcip/24", 1, "Source network"),
            ("srcip4/24", 1, "Source network"),
            ("dstip6/48", 1, "Destination network"),
            ("ip/16/32", 2, "Network"),
            ("srcnet", 1, "Source network"),
            ("exporter", 1, "Exporter"),
            ("srccountry", 1, "Source country"),
            ("country", 2, "country"),
            ("dstas-name", 1, "Destination AS name"),
            ("insrcmac", 1, "Source MAC"),
            ("mac", 2, "MAC"),
            ("mpls4", 1, "MPLS label 4"),
            ("nhbip/24", 1, "BGP next hop"),
            ("srctunip", 1, "Tunnel source address"),
        ] {
            let element = Element::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(element.expressions().len(), sides, "{text}");
            assert!(
                element.heading.ends_with(heading),
                "{text}: {}",
                element.heading
            );
        }
    }

    #[test]
    fn what_is_no_element_is_named() {
        for (text, words) in [
            ("scrip", "did you mean `srcip`?"),
            ("colour", "there are srcip"),
            ("srcip/33", "32 at most"),
            ("srcip/24/129", "128 at most"),
            ("srcport/8", "is no address"),
            ("srcip/x", "32 at most"),
            ("", "there are srcip"),
        ] {
            let says = Element::parse(text).unwrap_err();
            assert!(says.contains(words), "{text}: {says}");
        }
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        let shown =
            |element: &str, value: KeyValue| Element::parse(element).unwrap().cell(&value).text();
        let v4 = ranges::number_of("192.0.2.0".parse().unwrap());
        assert_eq!(shown("srcip", KeyValue::Address(v4)), "192.0.2.0");
        assert_eq!(shown("srcip/24", KeyValue::Address(v4)), "192.0.2.0/24");
        assert_eq!(shown("srcip/24", KeyValue::Address(1)), "::1");
        assert_eq!(shown("proto", KeyValue::Number(6)), "tcp");
        assert_eq!(shown("flags", KeyValue::Number(0x12)), "...A..S.");
        assert_eq!(shown("dir", KeyValue::Number(1)), "egress");
        assert_eq!(shown("nhip", KeyValue::None), "");
        assert_eq!(shown("dstport", KeyValue::Number(443)), "443 https");
        assert_eq!(shown("dstport", KeyValue::Number(40_000)), "40000");
        assert_eq!(shown("dstcountry", KeyValue::Text("NL".to_owned())), "NL");
    }
}
