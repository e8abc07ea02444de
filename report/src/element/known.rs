//! The elements that are columns, by name, and those that have none.

use super::shown::Shown;
use crate::others::OtherKind;

/// Name, other name, heading, columns, how it is shown.
pub type Known = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    Shown,
);

/// Those that are columns as they stand.
pub static KNOWN: [Known; 38] = [
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
    ("srcvlan", "", "Source VLAN", &["vlan"], Shown::Number),
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

/// Names, heading, what it is, keys in the column `others` (IANA's numbers).
pub type Other = (
    &'static [&'static str],
    &'static str,
    OtherKind,
    [&'static str; 2],
);

/// Those that have no column.
#[rustfmt::skip]
pub static OTHERS: [Other; 38] = [
    (&["dsttos"], "Destination ToS", OtherKind::Number, ["55", "55"]),
    (&["dstvlan"], "Destination VLAN", OtherKind::Number, ["59", "59"]),
    (&["nextas"], "Next AS", OtherKind::Number, ["128", "128"]),
    (&["prevas"], "Previous AS", OtherKind::Number, ["129", "129"]),
    (&["minttl"], "Least TTL", OtherKind::Number, ["52", "52"]),
    (&["maxttl"], "Greatest TTL", OtherKind::Number, ["53", "53"]),
    (&["ethertype"], "Ethertype", OtherKind::Number, ["256", "256"]),
    (&["fwdstat"], "Forwarding status", OtherKind::Number, ["89", "89"]),
    (&["opid"], "Observation point", OtherKind::Number, ["138", "138"]),
    (&["nbar"], "Application", OtherKind::Number, ["95", "95"]),
    (&["vrf", "ivrf"], "Ingress VRF", OtherKind::Number, ["234", "234"]),
    (&["evrf"], "Egress VRF", OtherKind::Number, ["235", "235"]),
    (&["ivrfnam"], "VRF name", OtherKind::Word, ["236", "236"]),
    (&["inam"], "Interface name", OtherKind::Word, ["82", "82"]),
    (&["mpls5"], "MPLS label 5", OtherKind::Label, ["74", "74"]),
    (&["mpls6"], "MPLS label 6", OtherKind::Label, ["75", "75"]),
    (&["mpls7"], "MPLS label 7", OtherKind::Label, ["76", "76"]),
    (&["mpls8"], "MPLS label 8", OtherKind::Label, ["77", "77"]),
    (&["mpls9"], "MPLS label 9", OtherKind::Label, ["78", "78"]),
    (&["mpls10"], "MPLS label 10", OtherKind::Label, ["79", "79"]),
    // Address translation, and events of firewalls.
    (&["xsrcip", "nsrcip", "natsrcip"], "Translated source address", OtherKind::Address, ["225", "281"]),
    (&["xdstip", "ndstip", "natdstip"], "Translated destination address", OtherKind::Address, ["226", "282"]),
    (&["xsrcport", "nsrcport", "natsrcport"], "Translated source port", OtherKind::Number, ["227", "227"]),
    (&["xdstport", "ndstport", "natdstport"], "Translated destination port", OtherKind::Number, ["228", "228"]),
    (&["event"], "Firewall event", OtherKind::Number, ["233", "233"]),
    (&["xevent"], "Extended event", OtherKind::Number, ["33002", "33002"]),
    (&["nevent"], "NAT event", OtherKind::Number, ["230", "230"]),
    // An ASA's access lists, their entries and the objects behind them: three numbers in one element.
    (&["iacl"], "Ingress ACL", OtherKind::Part(0), ["33000", "33000"]),
    (&["iace"], "Ingress ACE", OtherKind::Part(1), ["33000", "33000"]),
    (&["ixace"], "Ingress XACE", OtherKind::Part(2), ["33000", "33000"]),
    (&["eacl"], "Egress ACL", OtherKind::Part(0), ["33001", "33001"]),
    (&["eace"], "Egress ACE", OtherKind::Part(1), ["33001", "33001"]),
    (&["exace"], "Egress XACE", OtherKind::Part(2), ["33001", "33001"]),
    // v9's OUT counters, where they stand beside IN.
    (&["outbytes", "outoctets", "obyte", "obytes"], "Octets out a flow", OtherKind::Number, ["23", "23"]),
    (&["outpackets", "opkt", "opkg", "opackets"], "Packets out a flow", OtherKind::Number, ["24", "24"]),
    // Of nProbe: whole seconds, and the microseconds over them.
    (&["cl"], "Client latency us", OtherKind::Microseconds, ["35632.82", "35632.83"]),
    (&["sl"], "Server latency us", OtherKind::Microseconds, ["35632.84", "35632.85"]),
    (&["al"], "Application latency us", OtherKind::Microseconds, ["35632.86", "35632.87"]),
];

/// Name, heading, names of both sides.
pub type Pair = (&'static str, &'static str, [&'static str; 2]);

/// Those of them that a flow has on both sides.
pub const PAIRS: [Pair; 2] = [
    ("natip", "Translated address", ["xsrcip", "xdstip"]),
    ("natport", "Translated port", ["xsrcport", "xdstport"]),
];

/// nfdump's names of what has another here. Of its pairs of MAC addresses the column has that of the frame
/// as it came in, else the other one.
pub const ALSO: [(&str, &str); 8] = [
    ("outsrcmac", "srcmac"),
    ("indstmac", "dstmac"),
    ("inmac", "mac"),
    ("outmac", "mac"),
    ("srcasn", "srcas-name"),
    ("dstasn", "dstas-name"),
    ("asn", "as-name"),
    ("nat", "nevent"),
];

/// nfdump's elements of what exporters do not tell collectors, or Weir does not take apart.
pub const NOT_KEPT: [&str; 12] = [
    "onam", "evrfnam", "ja3", "ja4", "ja4s", "sysid", "exp", "srctz", "dsttz", "tz", "tunproto",
    "pfrule",
];
