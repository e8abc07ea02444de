//! What a filter means: a tree of tests on one flow record. It knows neither text nor `DataFusion`.

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
    /// An MPLS label, from the top of the stack: 1 to 4.
    MplsLabel(u8),
    /// Its traffic class (RFC 5462).
    MplsExp(u8),
    /// IPv6 flow label.
    FlowLabel,
    /// Octets that left, where an exporter counts them apart from those that came in; else 0, and so is what follows.
    OutOctets,
    /// Packets, likewise.
    OutPackets,
    /// AS of the next hop.
    NextAs,
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
            | Self::OuterDestination => Kind::Address,
            Self::SourceMac | Self::DestinationMac => Kind::Mac,
            Self::Exporter => Kind::AddressText,
            Self::Start | Self::End | Self::Received => Kind::Time,
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
            Self::MplsExp(_) => 7,
            Self::MplsLabel(_) | Self::FlowLabel => 0xf_ffff,
            Self::SourceMac | Self::DestinationMac => 0xffff_ffff_ffff,
            Self::IngressIfindex
            | Self::EgressIfindex
            | Self::SourceAs
            | Self::DestinationAs
            | Self::SamplingInterval
            | Self::SourceId => 0xffff_ffff,
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
            Self::SourceMask => Self::DestinationMask,
            Self::DestinationMask => Self::SourceMask,
            Self::IngressIfindex => Self::EgressIfindex,
            Self::EgressIfindex => Self::IngressIfindex,
            Self::SourceMac => Self::DestinationMac,
            Self::DestinationMac => Self::SourceMac,
            Self::OuterSource => Self::OuterDestination,
            Self::OuterDestination => Self::OuterSource,
            other => other,
        }
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
            Self::Number { field, .. } | Self::Within { field, .. } => *field = field.swapped(),
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
