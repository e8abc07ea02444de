//! What flows are gathered by, by nfdump's names for `-s` and `-A`: most are in the table `known`; `shown`
//! is about their values.

mod known;
mod shown;

use anyhow::{Result, bail};
use arrow::datatypes::DataType;
use datafusion::prelude::{Expr, bitwise_and, bitwise_shift_right, cast, col, lit};

use crate::{
    answer::Cell,
    filter::error::nearest,
    functions,
    local_names::{self, What},
    others::{self, OtherKind},
    question::Misasked,
    ranking::Order,
};
use known::{ALSO, KNOWN, Known, NOT_KEPT, OTHERS, PAIRS};
use shown::Shown;

pub use shown::{KeyValue, key_value};

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
    /// A number of a column, of the type that numbers without a column have.
    Number(&'static str),
    /// An address cut to so many bits.
    Network(&'static str, u8, u8),
    /// An address cut to the flow's own prefix length.
    OwnNetwork(&'static str, &'static str),
    EngineType,
    EngineId,
    /// The label of an MPLS label stack entry, without its traffic class and where the stack ends.
    MplsLabel(&'static str),
    /// Milliseconds from first to last packet.
    Duration,
    /// Octets a packet.
    PacketSize,
    /// Bits a second.
    Bandwidth,
    /// What local files know of an address.
    Known(&'static str, What),
    /// What has no column, by its keys.
    Other(OtherKind, [&'static str; 2]),
}

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
        let also = ALSO.iter().find(|(also, _)| *also == name);
        let name = also.map_or(name, |(_, name)| *name);
        if let (Some(element), None) = (Self::known(name), lengths) {
            return Ok(element);
        }
        match (name, lengths) {
            ("srcnet", None) => Ok(Self::own_network(&lower, "src_addr", "src_mask")),
            ("dstnet", None) => Ok(Self::own_network(&lower, "dst_addr", "dst_mask")),
            ("vlan", None) => Ok(Self::vlan(&lower)),
            ("enginetype", None) => Ok(Self::number(&lower, "Engine type", Key::EngineType)),
            ("engineid", None) => Ok(Self::number(&lower, "Engine id", Key::EngineId)),
            ("mpls1", None) => Ok(Self::mpls_label(&lower, "mpls_label_1")),
            ("mpls2", None) => Ok(Self::mpls_label(&lower, "mpls_label_2")),
            ("mpls3", None) => Ok(Self::mpls_label(&lower, "mpls_label_3")),
            ("mpls4", None) => Ok(Self::mpls_label(&lower, "mpls_label_4")),
            ("duration", None) => Ok(Self::number(&lower, "Duration ms", Key::Duration)),
            ("bpp", None) => Ok(Self::number(&lower, "Octets a packet", Key::PacketSize)),
            ("bps", None) => Ok(Self::number(&lower, "Bits a second", Key::Bandwidth)),
            (name, Some(lengths)) => Self::network(text, name, lengths),
            (name, None) => {
                let mut known = KNOWN.iter().filter(|_| !name.is_empty());
                let found = known.find(|known| known.0 == name || known.1 == name);
                let found = found.map(Self::of).or_else(|| Self::other(name));
                let found = found.or_else(|| Self::of_pair(name));
                found.ok_or_else(|| unknown(name))
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

    /// What has no column.
    fn other(name: &str) -> Option<Self> {
        let mut others = OTHERS.iter();
        let (names, heading, kind, keys) = others.find(|(names, ..)| names.contains(&name))?;
        Some(Self {
            name: names[0].to_owned(),
            heading: (*heading).to_owned(),
            sides: vec![Key::Other(*kind, *keys)],
            shown: match kind {
                OtherKind::Number
                | OtherKind::Said
                | OtherKind::Part(_)
                | OtherKind::Label
                | OtherKind::Microseconds => Shown::Number,
                OtherKind::Address => Shown::Address,
                OtherKind::Word => Shown::Text,
            },
        })
    }

    /// What has no column on either side of a flow.
    fn of_pair(name: &str) -> Option<Self> {
        let (name, heading, [source, destination]) =
            PAIRS.iter().find(|(known, ..)| *known == name)?;
        let mut element = Self::other(source)?;
        element.sides.extend(Self::other(destination)?.sides);
        (*name).clone_into(&mut element.name);
        (*heading).clone_into(&mut element.heading);
        Some(element)
    }

    /// The VLANs by which packets came in and left, as nfdump counts them: each flow in both.
    fn vlan(name: &str) -> Self {
        let mut element = Self::number(name, "VLAN", Key::Number("vlan"));
        if let Some(left) = Self::other("dstvlan") {
            element.sides.extend(left.sides);
        }
        element
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

    fn mpls_label(name: &str, column: &'static str) -> Self {
        let heading = name.replace("mpls", "MPLS label ");
        Self::number(name, &heading, Key::MplsLabel(column))
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
                Err(_) if Order::parse(length).is_some() => Err(format!(
                    "`{length}` is an order, and no prefix length: --order {length}"
                )),
                _ => Err(format!(
                    "a prefix length of {most} at most fits behind `{base}/`"
                )),
            },
        };
        let (v4, v6) = (bits(v4, 32)?, bits(v6, 128)?);
        let mut element = Self::parse(base)?;
        let are_columns = element
            .sides
            .iter()
            .all(|side| matches!(side, Key::Column(_)));
        if element.shown != Shown::Address || !are_columns {
            return Err(format!(
                "`{base}` is no address of a column: no prefix length fits behind it"
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
            Key::Number(column) => cast(col(column), DataType::UInt64),
            Key::Network(column, v4, v6) => functions::network_expression(col(column), v4, v6),
            Key::OwnNetwork(address, mask) => {
                functions::own_network_expression(col(address), col(mask))
            }
            Key::EngineType => {
                let shifted = bitwise_shift_right(col("source_id"), lit(8u32));
                bitwise_and(shifted, lit(0xffu32))
            }
            Key::MplsLabel(column) => bitwise_shift_right(col(column), lit(4u32)),
            Key::EngineId => bitwise_and(col("source_id"), lit(0xffu32)),
            Key::Duration => functions::duration_expression(),
            Key::PacketSize => functions::octets_per_packet_expression(),
            Key::Bandwidth => functions::bits_per_second_expression(),
            Key::Known(column, what) => functions::known_expression(col(column), what),
            Key::Other(kind, keys) => others::other_expression(kind, keys),
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
            _ => bail!(Misasked(format!(
                "`{0}` is on both sides of a flow: say src{0} or dst{0} here",
                self.name
            ))),
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
        self.shown.cell(value)
    }
}

/// Values of several elements as cells of a line. With the protocol among them, what stands in the place of a
/// destination port is called type and code where it is ICMP's, and no service.
#[must_use]
pub fn cells(elements: &[Element], values: &[KeyValue]) -> Vec<Cell> {
    const ICMP: [u64; 2] = [1, 58];
    let is_icmp = elements.iter().zip(values).any(|(element, value)| {
        let is_icmps = matches!(value, KeyValue::Number(number) if ICMP.contains(number));
        element.shown == Shown::Protocol && is_icmps
    });
    let cell = |(element, value): (&Element, &KeyValue)| match value {
        KeyValue::Number(number) if is_icmp && element.column() == Some("dst_port") => {
            let (kind, code) = (number / 256, number % 256);
            Cell::Number(*number).named(Some(&format!("type {kind} code {code}")))
        }
        _ => element.cell(value),
    };
    elements.iter().zip(values).map(cell).collect()
}

fn unknown(name: &str) -> String {
    if NOT_KEPT.contains(&name) {
        return format!("Weir's files keep nothing of nfdump's `{name}`");
    }
    if name == "record" {
        return "`weir group` has what nfdump calls `record`: the 5-tuple, in the order that --order names".to_owned();
    }
    let others = OTHERS.iter().flat_map(|(names, ..)| names.iter().copied());
    let names = KNOWN
        .iter()
        .map(|known| known.0)
        .chain(["srcnet", "dstnet", "vlan", "mpls1"])
        .chain(PAIRS.iter().map(|pair| pair.0))
        .chain(others);
    match nearest(name, names) {
        Some(meant) => format!("no element is called `{name}`; did you mean `{meant}`?"),
        None => format!(
            "no element is called `{name}`; there are srcip, dstip, ip, srcport, dstport, port, proto, flags, \
             tos, dir, srcas, dstas, as, inif, outif, if, srcmask, dstmask, vlan, srcvlan, innervlan, srcmac, dstmac, \
             mac, mpls1 … mpls10, dsttos, dstvlan, nextas, prevas, minttl, maxttl, ethertype, opid, nbar, vrf, \
             evrf, xsrcip, xsrcport (and xdst…), natip, natport, event, iacl, iace, ixace (and e…), outbytes, \
             outpackets, flowlabel, nhip, nhbip, srctunip, dsttunip, router, odid, srcnet, dstnet, duration, bpp, \
             bps, srcname, srccountry, srcas-name (and dst…), and addresses \
             with a prefix length (srcip/24, srcip6/48)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::ranges;

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
            ("dsttos", 1, "Destination ToS"),
            ("mpls10", 1, "MPLS label 10"),
            ("indstmac", 1, "Destination MAC"),
            ("inmac", 2, "MAC"),
            ("nsrcip", 1, "Translated source address"),
            ("obyte", 1, "Octets out a flow"),
            ("srcasn", 1, "Source AS name"),
            ("natip", 2, "Translated address"),
            ("natport", 2, "Translated port"),
            ("iacl", 1, "Ingress ACL"),
            ("exace", 1, "Egress XACE"),
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
            ("xsrcip/24", "no prefix length"),
            ("natip/24", "no prefix length"),
            ("natips", "did you mean `natip`?"),
            ("srcnet/24", "no prefix length"),
            ("ja3", "keep nothing of nfdump's `ja3`"),
            ("dsttoss", "did you mean `dsttos`?"),
            ("srcip/x", "32 at most"),
            ("srcip/bytes", "--order bytes"),
            ("record", "`weir group`"),
            ("", "there are srcip"),
        ] {
            let says = Element::parse(text).unwrap_err();
            assert!(says.contains(words), "{text}: {says}");
        }
    }

    /// nfdump(1) of 1.7 and 1.8, `-s` and `-A`.
    #[test]
    fn every_element_of_nfdumps_manual_is_known_or_told_not_to_be_kept() {
        const MANUAL: &str = "srcip dstip ip nhip nhbip router srcport dstport port tos srctos dsttos dir srcas dstas \
            srcgeo dstgeo as inif outif if inam onam srcmask dstmask srcvlan dstvlan vlan insrcmac outdstmac indstmac \
            outsrcmac srcmac dstmac inmac outmac mask proto mpls1 mpls2 mpls3 mpls4 mpls5 mpls6 mpls7 mpls8 mpls9 \
            mpls10 sysid nbar ja3 odid opid vrf ivrf evrf ivrfnam evrfnam event xevent xsrcip xsrcport xdstip xdstport \
            iacl iace ixace eacl eace exace nevent nsrcip nsrcport ndstip ndstport srcnet dstnet next bgpnext flags \
            nextas prevas srcip4/24 dstip6/64 ethertype minttl maxttl exp srcasn dstasn asn geo srctz dsttz tz ja4 ja4s \
            mac cl sl al nat natsrcip natdstip natip natsrcport natdstport natport tunproto";
        for name in MANUAL.split_whitespace() {
            match Element::parse(name) {
                Ok(element) => assert!(!element.expressions().is_empty(), "{name}"),
                Err(says) => assert!(says.contains("keep nothing of nfdump's"), "{name}: {says}"),
            }
        }
    }

    #[test]
    fn what_stands_in_the_place_of_icmps_ports_is_no_service() {
        let elements = ["proto", "dstport"].map(|name| Element::parse(name).unwrap());
        for (protocol, port, shown) in [
            (1, 2048, "2048 type 8 code 0"),
            (58, 443, "443 type 1 code 187"),
            (6, 443, "443 https"),
            (17, 2048, "2048"),
        ] {
            let cells = cells(&elements, &[protocol, port].map(KeyValue::Number));
            assert_eq!(cells[1].text(), shown);
            assert_eq!(cells[1].json(), port);
        }
        // Without a protocol nothing tells which it is.
        let alone = cells(&elements[1..], &[KeyValue::Number(443)]);
        assert_eq!(alone[0].text(), "443 https");
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
