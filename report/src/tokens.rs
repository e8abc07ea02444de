//! The tokens of `fmt:` and `csv:`, which are nfdump's and some more: what each shows, and of which columns.

use crate::local_names::What;

/// What a token shows. The side is 0 for the source, 1 for the destination; times are start, end and
/// receipt. Keys are those of the column `others`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A time, UTC.
    Time(usize),
    /// A time, seconds since 1970-01-01.
    RawTime(usize),
    /// Seconds from first to last packet.
    Duration,
    /// Protocol by name.
    Protocol,
    /// An address.
    Address(usize),
    /// Address and port.
    Endpoint(usize),
    /// A port; ICMP type and code.
    Port(usize),
    /// ICMP type.
    IcmpType,
    /// ICMP code.
    IcmpCode,
    /// An address cut to the exporter's prefix length.
    Network(usize),
    /// Next hop.
    NextHop,
    /// Exporter.
    Exporter,
    /// An AS.
    As(usize),
    /// A prefix length.
    Mask(usize),
    /// An interface: that of arrival, that of departure.
    Interface(usize),
    /// Packets.
    Packets,
    /// Octets.
    Octets,
    /// Packets of the other direction, where both are one line; else what left, where that is counted apart.
    OutPackets,
    /// Octets, likewise.
    OutOctets,
    /// Flows in a line.
    Flows,
    /// TCP flags; none of other protocols.
    Flags,
    /// ToS.
    Tos,
    /// I for ingress, E for egress.
    Direction,
    /// Why the flow was exported, as a number.
    EndReason,
    /// Next hop by BGP.
    BgpNextHop,
    /// A MAC address.
    Mac(usize),
    /// Id of the second VLAN tag.
    InnerVlan,
    /// An MPLS label, 0 to 3.
    Mpls(usize),
    /// All MPLS labels that are kept.
    MplsStack,
    /// IPv6 flow label.
    FlowLabel,
    /// An end of the tunnel around the packets.
    Tunnel(usize),
    /// VLAN id.
    Vlan,
    /// Bits a second.
    Bps,
    /// Packets a second.
    Pps,
    /// Octets a packet.
    Bpp,
    /// Export version.
    Version,
    /// Observation domain.
    SourceId,
    /// Engine type and id of v5.
    Engine,
    /// Sampling interval.
    Sampling,
    /// 4 or 6.
    IpVersion,
    /// How many flows were printed before.
    Count,
    /// The end of a line.
    NewLine,
    /// A number that has no column.
    OtherNumber(&'static str),
    /// An MPLS label that has none.
    OtherLabel(&'static str),
    /// An address that has none, by its keys as IPv4 and IPv6.
    OtherAddress(&'static str, &'static str),
    /// A word that has none.
    OtherWord(&'static str),
    /// A time that has none, in milliseconds.
    OtherTime(&'static str),
    /// Milliseconds of a connection, by ntop's number of the element that has their whole seconds.
    Latency(u16),
    /// The least and the greatest TTL, which have none.
    Ttls,
    /// Which flags of fragments were set, which has none.
    Fragments,
    /// An address and a port that have none, by their keys: the address as IPv4 and IPv6, the port.
    OtherEndpoint(&'static str, &'static str, &'static str),
    /// An ASA's access list, its entry and the object behind it, 32 bits each, that have none.
    OtherAccessList(&'static str),
    /// What local files know of an address.
    Known(What, usize),
    /// An address and its country.
    GeoAddress(usize),
    /// Address, country and port.
    GeoEndpoint(usize),
    /// Exporter and its country.
    GeoExporter,
    /// What no flow here has: as nfdump shows it where it is missing.
    Missing(&'static str),
}

static TIMES: [&[&str]; 3] = [&["flow_start"], &["flow_end"], &["received"]];
static ADDRESSES: [&[&str]; 2] = [&["src_addr"], &["dst_addr"]];
static ENDPOINTS: [&[&str]; 2] = [
    &["src_addr", "src_port", "protocol"],
    &["dst_addr", "dst_port", "protocol"],
];
static PORTS: [&[&str]; 2] = [&["src_port", "protocol"], &["dst_port", "protocol"]];
static NETWORKS: [&[&str]; 2] = [&["src_addr", "src_mask"], &["dst_addr", "dst_mask"]];
static AS_NUMBERS: [&[&str]; 2] = [&["src_as"], &["dst_as"]];
static MASKS: [&[&str]; 2] = [&["src_mask"], &["dst_mask"]];
static INTERFACES: [&[&str]; 2] = [&["ingress_ifindex"], &["egress_ifindex"]];
static MACS: [&[&str]; 2] = [&["src_mac"], &["dst_mac"]];
static TUNNEL: [&[&str]; 2] = [&["outer_src_addr"], &["outer_dst_addr"]];
/// Columns of MPLS labels, from the top.
pub static LABELS: [&str; 4] = [
    "mpls_label_1",
    "mpls_label_2",
    "mpls_label_3",
    "mpls_label_4",
];

impl Shown {
    /// The columns that it is read from. What is of both directions has columns only where both are one line
    /// (`joined.rs`), and is not among them.
    #[must_use]
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Time(which) | Self::RawTime(which) => TIMES[which],
            Self::Duration => &["flow_start", "flow_end"],
            Self::Protocol => &["protocol"],
            Self::Address(side) | Self::Known(_, side) | Self::GeoAddress(side) => ADDRESSES[side],
            Self::Endpoint(side) | Self::GeoEndpoint(side) => ENDPOINTS[side],
            Self::Port(side) => PORTS[side],
            Self::IcmpType | Self::IcmpCode => PORTS[1],
            Self::Network(side) => NETWORKS[side],
            Self::NextHop => &["next_hop"],
            Self::Exporter | Self::GeoExporter => &["exporter"],
            Self::As(side) => AS_NUMBERS[side],
            Self::Mask(side) => MASKS[side],
            Self::Interface(side) => INTERFACES[side],
            Self::Packets => &["packets"],
            Self::Octets => &["octets"],
            Self::Flags => &["tcp_flags", "protocol"],
            Self::Tos => &["tos"],
            Self::Direction => &["direction"],
            Self::EndReason => &["end_reason"],
            Self::BgpNextHop => &["bgp_next_hop"],
            Self::Mac(side) => MACS[side],
            Self::InnerVlan => &["inner_vlan"],
            Self::Mpls(place) => &LABELS[place..=place],
            Self::MplsStack => &LABELS,
            Self::FlowLabel => &["flow_label"],
            Self::Tunnel(side) => TUNNEL[side],
            Self::Vlan => &["vlan"],
            Self::Bps => &["octets", "flow_start", "flow_end"],
            Self::Pps => &["packets", "flow_start", "flow_end"],
            Self::Bpp => &["octets", "packets"],
            Self::Version => &["version"],
            Self::SourceId | Self::Engine => &["source_id"],
            Self::Sampling => &["sampling_interval"],
            Self::IpVersion => &["src_addr"],
            Self::OtherNumber(_)
            | Self::OtherLabel(_)
            | Self::OtherAddress(..)
            | Self::OtherEndpoint(..)
            | Self::OtherAccessList(_)
            | Self::OtherTime(_)
            | Self::Latency(_)
            | Self::Ttls
            | Self::Fragments
            | Self::OtherWord(_) => &["others"],
            Self::OutPackets
            | Self::OutOctets
            | Self::Flows
            | Self::Count
            | Self::NewLine
            | Self::Missing(_) => &[],
        }
    }
}

/// A token: its name, its heading in text and in CSV (nfdump 1.7.8's), its width (negative: aligned to the
/// left), what it shows.
pub type Token = (&'static str, &'static str, &'static str, i32, Shown);

/// All of them. A token of nfdump's for what has no column is looked up among the elements that exporters sent
/// beside those (IANA's numbers); what no flow here can have is shown as nfdump shows it where it is missing.
#[rustfmt::skip]
pub static TOKENS: [Token; 157] = [
    ("ts", "Start (UTC)", "firstSeen", -23, Shown::Time(0)),
    ("tfs", "Start (UTC)", "firstSeen", -23, Shown::Time(0)),
    ("tsg", "Start (UTC)", "firstSeen", -23, Shown::Time(0)),
    ("te", "End (UTC)", "lastSeen", -23, Shown::Time(1)),
    ("teg", "End (UTC)", "lastSeen", -23, Shown::Time(1)),
    ("tr", "Received (UTC)", "received", -23, Shown::Time(2)),
    ("trg", "Received (UTC)", "received", -23, Shown::Time(2)),
    ("tsr", "Start (raw)", "firstSeen", 14, Shown::RawTime(0)),
    ("ter", "End (raw)", "lastSeen", 14, Shown::RawTime(1)),
    ("trr", "Received (raw)", "received", 14, Shown::RawTime(2)),
    ("td", "Duration", "duration", 10, Shown::Duration),
    ("tds", "Duration", "duration", 10, Shown::Duration),
    ("pr", "Proto", "proto", -5, Shown::Protocol),
    ("sa", "Source address", "srcAddr", 15, Shown::Address(0)),
    ("da", "Dest. address", "dstAddr", 15, Shown::Address(1)),
    ("sap", "Source", "srcAddrPort", 21, Shown::Endpoint(0)),
    ("dap", "Destination", "dstAddrPort", -21, Shown::Endpoint(1)),
    ("sp", "SPort", "srcPort", 5, Shown::Port(0)),
    ("dp", "DPort", "dstPort", 5, Shown::Port(1)),
    ("it", "Type", "icmpType", 4, Shown::IcmpType),
    ("ic", "Code", "icmpCode", 4, Shown::IcmpCode),
    ("sn", "Source network", "srcNet", 18, Shown::Network(0)),
    ("dn", "Dest. network", "dstNet", 18, Shown::Network(1)),
    ("nh", "Next hop", "nextIP", 15, Shown::NextHop),
    ("nhb", "BGP next hop", "bgpNextIP", 15, Shown::BgpNextHop),
    ("ra", "Exporter", "routerIP", 15, Shown::Exporter),
    ("sas", "SAS", "srcAS", 6, Shown::As(0)),
    ("das", "DAS", "dstAS", 6, Shown::As(1)),
    ("nas", "Next AS", "nextAS", 7, Shown::OtherNumber("128")),
    ("pas", "Prev AS", "prevAS", 7, Shown::OtherNumber("129")),
    ("smk", "SMask", "srcMask", 5, Shown::Mask(0)),
    ("dmk", "DMask", "dstMask", 5, Shown::Mask(1)),
    ("in", "Input", "input", 6, Shown::Interface(0)),
    ("out", "Output", "output", 6, Shown::Interface(1)),
    ("inam", "Input name", "inIfName", -16, Shown::OtherWord("82")),
    ("onam", "Output name", "outIfName", -16, Shown::Missing("")),
    ("pkt", "Packets", "packets", 8, Shown::Packets),
    ("ipkt", "In pkt", "inPackets", 8, Shown::Packets),
    ("opkt", "Out pkt", "outPackets", 8, Shown::OutPackets),
    ("byt", "Bytes", "bytes", 10, Shown::Octets),
    ("ibyt", "In byte", "inBytes", 10, Shown::Octets),
    ("obyt", "Out byte", "outBytes", 10, Shown::OutOctets),
    ("fl", "Flows", "flows", 5, Shown::Flows),
    ("flg", "Flags", "flags", -8, Shown::Flags),
    ("tos", "Tos", "tos", 3, Shown::Tos),
    ("stos", "STos", "srcTos", 4, Shown::Tos),
    ("dtos", "DTos", "dstTos", 4, Shown::OtherNumber("55")),
    ("dir", "Dir", "direction", 3, Shown::Direction),
    ("fwd", "Fwd", "fwdStatus", 3, Shown::OtherNumber("89")),
    ("bfd", "Bfd", "biDirection", 3, Shown::OtherNumber("239")),
    ("end", "End", "endReason", 3, Shown::EndReason),
    ("svln", "VLAN", "srcVlan", 5, Shown::Vlan),
    ("dvln", "DVlan", "dstVlan", 5, Shown::OtherNumber("59")),
    ("ivln", "Inner", "innerVlan", 5, Shown::InnerVlan),
    // Whichever of nfdump's pairs an exporter told is kept.
    ("ismc", "Source MAC", "inSrcMac", 17, Shown::Mac(0)),
    ("osmc", "Source MAC", "outSrcMac", 17, Shown::Mac(0)),
    ("odmc", "Dest. MAC", "outDstMac", 17, Shown::Mac(1)),
    ("idmc", "Dest. MAC", "inDstMac", 17, Shown::Mac(1)),
    ("mpls1", "MPLS 1", "mplsLabel1", 11, Shown::Mpls(0)),
    ("mpls2", "MPLS 2", "mplsLabel2", 11, Shown::Mpls(1)),
    ("mpls3", "MPLS 3", "mplsLabel3", 11, Shown::Mpls(2)),
    ("mpls4", "MPLS 4", "mplsLabel4", 11, Shown::Mpls(3)),
    ("mpls5", "MPLS 5", "mplsLabel5", 11, Shown::OtherLabel("74")),
    ("mpls6", "MPLS 6", "mplsLabel6", 11, Shown::OtherLabel("75")),
    ("mpls7", "MPLS 7", "mplsLabel7", 11, Shown::OtherLabel("76")),
    ("mpls8", "MPLS 8", "mplsLabel8", 11, Shown::OtherLabel("77")),
    ("mpls9", "MPLS 9", "mplsLabel9", 11, Shown::OtherLabel("78")),
    ("mpls10", "MPLS 10", "mplsLabel10", 11, Shown::OtherLabel("79")),
    ("mpls", "MPLS labels", "mplsLabels", -24, Shown::MplsStack),
    ("v6fl", "Flow label", "flowLabel", 10, Shown::FlowLabel),
    ("tsa", "Tunnel source", "tunSrcAddr", 15, Shown::Tunnel(0)),
    ("tda", "Tunnel dest.", "tunDstAddr", 15, Shown::Tunnel(1)),
    ("bps", "bps", "bps", 10, Shown::Bps),
    ("pps", "pps", "pps", 8, Shown::Pps),
    ("bpp", "Bpp", "bpp", 6, Shown::Bpp),
    ("nfv", "Ver", "version", 3, Shown::Version),
    ("eng", "Engine", "engine", 7, Shown::Engine),
    ("exp", "Exp", "exporterID", 3, Shown::Missing("0")),
    ("odid", "Domain", "obsDomainID", 8, Shown::SourceId),
    ("opid", "Point", "obsPointID", 8, Shown::OtherNumber("138")),
    ("smp", "Sampling", "sampling", 8, Shown::Sampling),
    ("ipv", "IPv", "ipVersion", 3, Shown::IpVersion),
    ("cnt", "Count", "count", 8, Shown::Count),
    ("gsa", "Source address", "srcAddrGeo", 19, Shown::GeoAddress(0)),
    ("gda", "Dest. address", "dstAddrGeo", 19, Shown::GeoAddress(1)),
    ("gsap", "Source", "srcAddrGeoPort", 25, Shown::GeoEndpoint(0)),
    ("gdap", "Destination", "dstAddrGeoPort", -25, Shown::GeoEndpoint(1)),
    ("gra", "Exporter", "routerIPGeo", 19, Shown::GeoExporter),
    ("sc", "SC", "srcGeo", 2, Shown::Known(What::Country, 0)),
    ("dc", "DC", "dstGeo", 2, Shown::Known(What::Country, 1)),
    ("sloc", "Source place", "srcLocation", -12, Shown::Missing("")),
    ("dloc", "Dest. place", "dstLocation", -12, Shown::Missing("")),
    ("sasn", "Source organisation", "srcOrg", -20, Shown::Known(What::AsName, 0)),
    ("dasn", "Dest. organisation", "dstOrg", -20, Shown::Known(What::AsName, 1)),
    ("minttl", "Min TTL", "minTTL", 7, Shown::OtherNumber("52")),
    ("maxttl", "Max TTL", "maxTTL", 7, Shown::OtherNumber("53")),
    ("ttl", "Min/max TTL", "minMaxTTL", 11, Shown::Ttls),
    ("frag", "Frag", "fragFlags", -4, Shown::Fragments),
    ("eth", "Ethertype", "ethertype", 9, Shown::OtherNumber("256")),
    ("flid", "Flow id", "flowID", 10, Shown::OtherNumber("148")),
    ("nbid", "Application", "nbarID", 11, Shown::OtherNumber("95")),
    ("nbnam", "Application name", "nbarName", -16, Shown::OtherWord("96")),
    ("vrf", "VRF", "ingressVrfID", 10, Shown::OtherNumber("234")),
    ("ivrf", "In VRF", "ingressVrfID", 10, Shown::OtherNumber("234")),
    ("evrf", "Out VRF", "egressVrfID", 10, Shown::OtherNumber("235")),
    ("ivrfnam", "VRF name", "ingressVrfName", -16, Shown::OtherWord("236")),
    ("evrfnam", "Out VRF name", "egressVrfName", -16, Shown::Missing("")),
    // Address translation, and events of firewalls.
    ("xsa", "Source translated", "srcXIP", 15, Shown::OtherAddress("225", "281")),
    ("nsa", "Source translated", "srcXIP", 15, Shown::OtherAddress("225", "281")),
    ("xda", "Dest. translated", "dstXIP", 15, Shown::OtherAddress("226", "282")),
    ("nda", "Dest. translated", "dstXIP", 15, Shown::OtherAddress("226", "282")),
    ("xsap", "Source translated", "srcXAddrPort", 21, Shown::OtherEndpoint("225", "281", "227")),
    ("nsap", "Source translated", "srcXAddrPort", 21, Shown::OtherEndpoint("225", "281", "227")),
    ("xdap", "Dest. translated", "dstXAddrPort", -21, Shown::OtherEndpoint("226", "282", "228")),
    ("ndap", "Dest. translated", "dstXAddrPort", -21, Shown::OtherEndpoint("226", "282", "228")),
    ("xsp", "XSPort", "srcXPort", 6, Shown::OtherNumber("227")),
    ("nsp", "XSPort", "srcXPort", 6, Shown::OtherNumber("227")),
    ("xdp", "XDPort", "dstXPort", 6, Shown::OtherNumber("228")),
    ("ndp", "XDPort", "dstXPort", 6, Shown::OtherNumber("228")),
    ("pbstart", "Block from", "pbStart", 10, Shown::OtherNumber("361")),
    ("pbend", "Block to", "pbEnd", 8, Shown::OtherNumber("362")),
    ("pbstep", "Block step", "pbStep", 10, Shown::OtherNumber("363")),
    ("pbsize", "Block size", "pbSize", 10, Shown::OtherNumber("364")),
    ("nfc", "Connection", "connectionID", 10, Shown::OtherNumber("148")),
    ("evt", "Event", "event", 5, Shown::OtherNumber("233")),
    ("nevt", "Event", "event", 5, Shown::OtherNumber("230")),
    ("xevt", "XEvent", "xEvent", 6, Shown::OtherNumber("33002")),
    ("msec", "Event (ms)", "eventTime", 14, Shown::OtherNumber("323")),
    ("tevt", "Event (UTC)", "eventTime", -23, Shown::OtherTime("323")),
    ("iacl", "Ingress ACL", "ingressAcl", -32, Shown::OtherAccessList("33000")),
    ("eacl", "Egress ACL", "egressAcl", -32, Shown::OtherAccessList("33001")),
    ("sgt", "Group tag", "srcGroupTag", 9, Shown::OtherNumber("34000")),
    ("uname", "User", "nselUser", -12, Shown::OtherWord("40000")),
    // What only nfpcapd, nProbe and newer exporters tell nfdump of.
    ("cl", "Client latency", "clientLatency", 14, Shown::Latency(82)),
    ("sl", "Server latency", "serverLatency", 14, Shown::Latency(84)),
    ("al", "App. latency", "appLatency", 12, Shown::Latency(86)),
    ("lbl", "Label", "label", 6, Shown::Missing("<none>")),
    ("ja3", "ja3", "ja3", 3, Shown::Missing("")),
    ("sni", "SNI", "sniName", 3, Shown::Missing("")),
    ("ja4", "ja4", "ja4", 6, Shown::Missing("no ja4")),
    ("tls", "TLS", "tlsVersion", 3, Shown::Missing("0")),
    ("idt", "Ident", "ident", -10, Shown::Missing("<no ident>")),
    ("stz", "Source time zone", "srcTimezone", -16, Shown::Missing("unknown timezone")),
    ("dtz", "Dest. time zone", "dstTimezone", -16, Shown::Missing("unknown timezone")),
    ("stor", "STor", "srcTor", 4, Shown::Missing("..")),
    ("dtor", "DTor", "dstTor", 4, Shown::Missing("..")),
    ("pfifn", "PF if", "pfInterface", 7, Shown::Missing("<no-pf>")),
    ("pfact", "PF action", "pfAction", 9, Shown::Missing("<no-pf>")),
    ("pfrea", "PF reason", "pfReason", 9, Shown::Missing("<no-pf>")),
    ("pfdir", "PF dir", "pfDirection", 11, Shown::Missing("<no pfinfo>")),
    ("pfrule", "PF rule", "pfRule", 7, Shown::Missing("0")),
    ("isid", "In service", "inSrvID", 10, Shown::Missing("0")),
    ("osid", "Out service", "outSrvID", 11, Shown::Missing("0")),
    ("nats", "NAT string", "natString", 10, Shown::Missing("<unknown>")),
    ("ipl", "In payload", "inPayload", 10, Shown::Missing("")),
    ("opl", "Out payload", "outPayload", 11, Shown::Missing("")),
    ("n", "", "", 0, Shown::NewLine),
];
