//! What a filter means: a tree of tests on one flow record. It knows neither text nor `DataFusion`.

use weir_netflow::element::NTOP_PEN;

use super::ranges::Ranges;

/// What flows must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every one of these; every flow, if there are none.
    All(Vec<Filter>),
    /// At least one of these; no flow, if there are none.
    Any(Vec<Filter>),
    /// The opposite.
    Not(Box<Filter>),
    /// One test.
    Test(Test),
}

/// A test on one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// A number against a constant.
    Number {
        /// Which number.
        field: Field,
        /// How.
        comparison: Comparison,
        /// Against what.
        value: u64,
    },
    /// An address or a number against a set. What a record has not is in no set.
    Within {
        /// Which.
        field: Field,
        /// The set; IPv4 as v4-mapped.
        ranges: Ranges,
    },
    /// Two fields of one kind against one another.
    Fields {
        /// The one.
        left: Field,
        /// How.
        comparison: Comparison,
        /// The other.
        right: Field,
    },
    /// Bits of the TCP flags.
    Flags {
        /// Which bits.
        mask: u16,
        /// Whether all of them must be set, or one is enough.
        every: bool,
    },
    /// A word against a constant; what a record has not is no word.
    Word {
        /// Which word.
        field: Field,
        /// What it must be.
        word: String,
    },
    /// A time against a constant, both cut to milliseconds as nfdump stores them.
    Time {
        /// Which time.
        field: Field,
        /// How.
        comparison: Comparison,
        /// Milliseconds since 1970-01-01 UTC.
        at_ms: i64,
    },
}

/// What a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Source address.
    SourceAddress,
    /// Destination address.
    DestinationAddress,
    /// Next hop; not every record has one.
    NextHop,
    /// Next hop by BGP; likewise, and so is what follows up to the flow label.
    BgpNextHop,
    /// Source of the tunnel around the packets.
    OuterSource,
    /// Its destination.
    OuterDestination,
    /// Source MAC address.
    SourceMac,
    /// Destination MAC address.
    DestinationMac,
    /// Id of the second VLAN tag.
    InnerVlan,
    /// An MPLS label, from the top of the stack: 1 to 10. The fifth and those below it have no column.
    MplsLabel(u8),
    /// Its traffic class (RFC 5462).
    MplsExp(u8),
    /// 1 of the lowest label.
    MplsBottom(u8),
    /// IPv6 flow label.
    FlowLabel,
    /// A number that has no column, by IANA's number of its element; not every record has one.
    Other(u16),
    /// Likewise; 0 of records that have none, as columns of its kind are.
    OtherOrZero(u16),
    /// One of several numbers of 32 bits in an element that has no column, from 0; not every record has one.
    OtherPart(u16, usize),
    /// An address that has no column, by its elements for IPv4 and IPv6; not every record has one.
    OtherAddress(u16, u16),
    /// A word that has no column; not every record has one.
    OtherWord(u16),
    /// Microseconds of a connection as nProbe measures them, by ntop's number of the element that has their whole
    /// seconds; the next one has what is over. Not every record has them.
    Latency(u16),
    /// Country of the source, if local files know it.
    SourceCountry,
    /// Country of the destination, likewise.
    DestinationCountry,
    /// Country of the source of the tunnel around the packets, likewise.
    OuterSourceCountry,
    /// Country of its destination, likewise.
    OuterDestinationCountry,
    /// Exporter's address.
    Exporter,
    /// Source port.
    SourcePort,
    /// Destination port; ICMP type × 256 + code.
    DestinationPort,
    /// IP protocol.
    Protocol,
    /// 4 or 6.
    IpVersion,
    /// TCP flags as a number.
    TcpFlags,
    /// `ToS` or traffic class.
    Tos,
    /// Packets.
    Packets,
    /// Octets.
    Octets,
    /// Flows: 1, unless they were aggregated.
    Flows,
    /// Incoming interface.
    IngressIfindex,
    /// Outgoing interface.
    EgressIfindex,
    /// Source AS.
    SourceAs,
    /// Destination AS.
    DestinationAs,
    /// Source prefix length.
    SourceMask,
    /// Destination prefix length.
    DestinationMask,
    /// VLAN id.
    Vlan,
    /// 0 ingress, 1 egress.
    Direction,
    /// Sampling interval.
    SamplingInterval,
    /// Observation domain, or v5 engine.
    SourceId,
    /// Engine type of v5: bits 8 to 15 of the source id.
    EngineType,
    /// Engine id of v5: bits 0 to 7 of the source id.
    EngineId,
    /// Export version.
    Version,
    /// ICMP type.
    IcmpType,
    /// ICMP code.
    IcmpCode,
    /// Milliseconds from first to last packet.
    DurationMs,
    /// Packets a second.
    PacketsPerSecond,
    /// Bits a second.
    BitsPerSecond,
    /// Octets a packet.
    OctetsPerPacket,
    /// First packet.
    Start,
    /// Last packet.
    End,
    /// When the collector took the record.
    Received,
}

/// What may be compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sixteen octets.
    Address,
    /// The exporter's address, which is stored as text.
    AddressText,
    /// A number.
    Number,
    /// Six octets, as a number.
    Mac,
    /// Nanoseconds since 1970-01-01 UTC.
    Time,
    /// A word.
    Word,
    /// Microseconds.
    Microseconds,
}

/// What has no column.
impl Field {
    /// Octets that left, where an exporter counts them apart from those that came in.
    pub const OUT_OCTETS: Self = Self::OtherOrZero(23);
    /// Packets, likewise.
    pub const OUT_PACKETS: Self = Self::OtherOrZero(24);
    /// `ToS` of the packets as they left.
    pub const DESTINATION_TOS: Self = Self::OtherOrZero(55);
    /// Their VLAN id.
    pub const DESTINATION_VLAN: Self = Self::OtherOrZero(59);
    /// AS of the next hop.
    pub const NEXT_AS: Self = Self::OtherOrZero(128);
    /// AS of the hop before.
    pub const PREVIOUS_AS: Self = Self::OtherOrZero(129);
    /// Least TTL of the packets.
    pub const LEAST_TTL: Self = Self::Other(52);
    /// Greatest TTL.
    pub const GREATEST_TTL: Self = Self::Other(53);
    /// What became of the packets, as a number of IANA's registry.
    pub const FORWARDING_STATUS: Self = Self::Other(89);
    /// Ethertype.
    pub const ETHERTYPE: Self = Self::Other(256);
    /// Observation point.
    pub const OBSERVATION_POINT: Self = Self::Other(138);
    /// VRF that packets came in through.
    pub const INGRESS_VRF: Self = Self::Other(234);
    /// VRF that they left through.
    pub const EGRESS_VRF: Self = Self::Other(235);
    /// Source address after translation.
    pub const NAT_SOURCE_ADDRESS: Self = Self::OtherAddress(225, 281);
    /// Destination address, likewise.
    pub const NAT_DESTINATION_ADDRESS: Self = Self::OtherAddress(226, 282);
    /// Source port, likewise.
    pub const NAT_SOURCE_PORT: Self = Self::Other(227);
    /// Destination port, likewise.
    pub const NAT_DESTINATION_PORT: Self = Self::Other(228);
    /// What a translator did.
    pub const NAT_EVENT: Self = Self::Other(230);
    /// First port of a block for translation.
    pub const BLOCK_FIRST: Self = Self::Other(361);
    /// Last port.
    pub const BLOCK_LAST: Self = Self::Other(362);
    /// From a port to the next.
    pub const BLOCK_STEP: Self = Self::Other(363);
    /// How many ports.
    pub const BLOCK_SIZE: Self = Self::Other(364);
    /// What a firewall did.
    pub const FIREWALL_EVENT: Self = Self::Other(233);
    /// Why, as an ASA tells it.
    pub const EXTENDED_EVENT: Self = Self::Other(33002);
    /// Who had logged in, as an ASA tells it.
    pub const USER: Self = Self::OtherWord(40000);
    /// From the client to nProbe and back.
    pub const CLIENT_LATENCY: Self = Self::Latency(82);
    /// From nProbe to the server and back.
    pub const SERVER_LATENCY: Self = Self::Latency(84);
    /// Until the server answered what it was asked.
    pub const APPLICATION_LATENCY: Self = Self::Latency(86);
    /// An ASA's access list where packets came in.
    pub const INGRESS_LIST: u16 = 33000;
    /// Its access list where they left.
    pub const EGRESS_LIST: u16 = 33001;
}

impl Field {
    /// What it may be compared with.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::SourceAddress
            | Self::DestinationAddress
            | Self::NextHop
            | Self::BgpNextHop
            | Self::OuterSource
            | Self::OuterDestination
            | Self::OtherAddress(..) => Kind::Address,
            Self::SourceCountry
            | Self::DestinationCountry
            | Self::OuterSourceCountry
            | Self::OuterDestinationCountry
            | Self::OtherWord(_) => Kind::Word,
            Self::SourceMac | Self::DestinationMac => Kind::Mac,
            Self::Exporter => Kind::AddressText,
            Self::Start | Self::End | Self::Received => Kind::Time,
            Self::Latency(_) => Kind::Microseconds,
            _ => Kind::Number,
        }
    }

    /// The largest number it can be.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            Self::Protocol
            | Self::IpVersion
            | Self::Tos
            | Self::SourceMask
            | Self::DestinationMask
            | Self::Direction
            | Self::EngineType
            | Self::EngineId
            | Self::Version
            | Self::IcmpType
            | Self::IcmpCode => 0xff,
            Self::SourcePort
            | Self::DestinationPort
            | Self::TcpFlags
            | Self::Vlan
            | Self::InnerVlan => 0xffff,
            Self::MplsBottom(_) => 1,
            Self::MplsExp(_) => 7,
            Self::MplsLabel(_) | Self::FlowLabel => 0xf_ffff,
            Self::SourceMac | Self::DestinationMac => 0xffff_ffff_ffff,
            Self::IngressIfindex
            | Self::EgressIfindex
            | Self::SourceAs
            | Self::DestinationAs
            | Self::SamplingInterval
            | Self::SourceId
            | Self::OtherPart(..) => 0xffff_ffff,
            Self::Other(element) | Self::OtherOrZero(element) => most_of(element),
            _ => u64::MAX,
        }
    }

    /// The same of the opposite direction.
    #[must_use]
    pub const fn swapped(self) -> Self {
        match self {
            Self::SourceAddress => Self::DestinationAddress,
            Self::DestinationAddress => Self::SourceAddress,
            Self::SourcePort => Self::DestinationPort,
            Self::DestinationPort => Self::SourcePort,
            Self::SourceAs => Self::DestinationAs,
            Self::DestinationAs => Self::SourceAs,
            Self::NEXT_AS => Self::PREVIOUS_AS,
            Self::PREVIOUS_AS => Self::NEXT_AS,
            Self::SourceMask => Self::DestinationMask,
            Self::DestinationMask => Self::SourceMask,
            Self::IngressIfindex => Self::EgressIfindex,
            Self::EgressIfindex => Self::IngressIfindex,
            Self::SourceMac => Self::DestinationMac,
            Self::DestinationMac => Self::SourceMac,
            Self::Vlan => Self::DESTINATION_VLAN,
            Self::DESTINATION_VLAN => Self::Vlan,
            Self::OuterSource => Self::OuterDestination,
            Self::OuterDestination => Self::OuterSource,
            Self::NAT_SOURCE_ADDRESS => Self::NAT_DESTINATION_ADDRESS,
            Self::NAT_DESTINATION_ADDRESS => Self::NAT_SOURCE_ADDRESS,
            Self::NAT_SOURCE_PORT => Self::NAT_DESTINATION_PORT,
            Self::NAT_DESTINATION_PORT => Self::NAT_SOURCE_PORT,
            Self::INGRESS_VRF => Self::EGRESS_VRF,
            Self::EGRESS_VRF => Self::INGRESS_VRF,
            Self::OtherPart(Self::INGRESS_LIST, place) => Self::OtherPart(Self::EGRESS_LIST, place),
            Self::OtherPart(Self::EGRESS_LIST, place) => Self::OtherPart(Self::INGRESS_LIST, place),
            Self::SourceCountry => Self::DestinationCountry,
            Self::DestinationCountry => Self::SourceCountry,
            Self::OuterSourceCountry => Self::OuterDestinationCountry,
            Self::OuterDestinationCountry => Self::OuterSourceCountry,
            other => other,
        }
    }
}

/// The keys of a latency in the column `others`: whole seconds, and the microseconds over them.
#[must_use]
pub fn latency_keys(seconds: u16) -> [String; 2] {
    [seconds, seconds + 1].map(|element| format!("{NTOP_PEN}.{element}"))
}

/// The element of an MPLS label stack entry, from 1.
#[must_use]
pub fn mpls_element(place: u8) -> u16 {
    69 + u16::from(place)
}

/// The largest number that an element can be.
const fn most_of(element: u16) -> u64 {
    match element {
        // ToS, TTLs, forwarding status, events.
        52 | 53 | 55 | 89 | 230 | 233 => 0xff,
        // VLANs, ports and blocks of them, Ethertypes, extended events.
        59 | 227 | 228 | 256 | 361..=364 | 33002 => 0xffff,
        // AS numbers, VRFs.
        128 | 129 | 234 | 235 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Filter {
    /// Every flow.
    #[must_use]
    pub const fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(mut parts), Self::All(others)) => {
                parts.extend(others);
                Self::All(parts)
            }
            (Self::All(mut parts), other) => {
                parts.push(other);
                Self::All(parts)
            }
            (one, other) => Self::All(vec![one, other]),
        }
    }

    /// What fits the opposite direction of the flows that fit this: source and destination, input and
    /// output exchanged.
    #[must_use]
    pub fn swapped(&self) -> Self {
        let each = |parts: &[Self]| parts.iter().map(Self::swapped).collect();
        match self {
            Self::All(parts) => Self::All(each(parts)),
            Self::Any(parts) => Self::Any(each(parts)),
            Self::Not(inner) => Self::Not(Box::new(inner.swapped())),
            Self::Test(test) => Self::Test(test.swapped()),
        }
    }

    /// Both directions of the connections of which one direction fits (`conn`).
    #[must_use]
    pub fn connection(self) -> Self {
        let back = self.swapped();
        Self::Any(vec![self, back])
    }
}

impl From<Test> for Filter {
    fn from(test: Test) -> Self {
        Self::Test(test)
    }
}

impl Test {
    fn swapped(&self) -> Self {
        let mut test = self.clone();
        match &mut test {
            Self::Number { field, .. } | Self::Within { field, .. } | Self::Word { field, .. } => {
                *field = field.swapped();
            }
            Self::Fields { left, right, .. } => {
                *left = left.swapped();
                *right = right.swapped();
            }
            Self::Flags { .. } | Self::Time { .. } => {}
        }
        test
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_swapped_twice_is_what_it_was() {
        let port = Filter::from(Test::Number {
            field: Field::SourcePort,
            comparison: Comparison::Less,
            value: 1024,
        });
        let columns = Filter::from(Test::Fields {
            left: Field::IngressIfindex,
            comparison: Comparison::Equal,
            right: Field::EgressIfindex,
        });
        let filter = Filter::Not(Box::new(port.clone().and(columns)));
        assert_ne!(filter.swapped(), filter);
        assert_eq!(filter.swapped().swapped(), filter);
        let Filter::Test(Test::Number { field, .. }) = port.swapped() else {
            panic!("a test stays a test");
        };
        assert_eq!(field, Field::DestinationPort);
    }
}
