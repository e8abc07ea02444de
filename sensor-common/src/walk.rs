//! The header walk: from a frame's first octet to its flow key, or the reason why it has none.
//!
//! Ethernet, VLAN tags, LLC/SNAP, PPPoE, MPLS, IPv4 with options, IPv6 with extension headers,
//! then ports, ICMP type and TCP flags. Each repetition has a bound, so the walk ends whatever
//! the frame says, and the kernel's verifier can see that it does.
//!
//! What counts as an IP packet: the *outermost* network header is IPv4 (version 4, IHL ≥ 5, 20
//! octets captured, total length ≥ header length) or IPv6 (version 6, 40 octets captured).
//! Whatever is wrong above that costs detail (ports, flags), never the packet. Octets are the IP
//! length (RFC 3954 section 8, `IN_BYTES`), without Ethernet padding and labels. Tunnels above IP
//! are not entered.
//!
//! The layers have a file each: `link`, `ip`, `transport`.
#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut from wider words"
)]

mod ip;
mod link;
pub mod number;
mod transport;

use crate::{counters::Counter, key::FlowKey, packet::Packet};
use ip::{ipv4, ipv6};
use number::{ETHERTYPE_IPV4, TCP, UDP};
use transport::UDP_HEADER_OCTETS;

pub use link::{ethernet_layers, ethernet_link, from_ethertype, layers, ppp};

/// VLAN tags followed; more is [`Unmetered::TooDeep`].
pub const VLAN_TAGS_MAX: usize = 8;
/// MPLS labels followed; more is [`Unmetered::TooDeep`].
pub const MPLS_LABELS_MAX: usize = 32;
/// IPv6 extension headers followed. A longer chain is a flow of the header it was left at.
pub const V6_EXTENSIONS_MAX: usize = 16;

/// Octets of headers the walk looks at; IPv6 with the longest chain of the largest extension
/// headers is cut here.
pub const HEADERS_OCTETS_MAX: usize = 4096;

/// An IP packet's place in the accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Its flow.
    pub key: FlowKey,
    /// Its octets by the IP length field.
    pub octets: u64,
    /// Its TCP flags (low eight bits), 0 for other protocols.
    pub tcp_flags: u8,
    /// If it is a piece of a packet, which: [`MORE_FRAGMENTS`] and an offset in units of eight
    /// octets, as IPv4's header has them (RFC 791 section 3.1). 0 if it is whole.
    pub fragment: u16,
    /// The piece's identification (RFC 791 section 3.1, RFC 8200 section 4.5).
    pub fragment_id: u32,
    /// IPv6 flow label (RFC 8200 section 6); 0 for IPv4.
    pub flow_label: u32,
    /// Where the transport header begins in the frame; 0 if it is out of reach.
    pub transport_offset: u16,
    /// Octets of the IP and transport headers: what each segment repeats, if the card is to cut the
    /// packet up.
    pub headers_octets: u16,
}

/// Bit of [`Walked::fragment`]: others follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Bits of it: where the piece begins. One that does not begin at 0 has no transport header.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Why a frame is in no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmetered {
    /// It does not carry IP.
    NonIp,
    /// It ends before its IP header does.
    TooShort,
    /// Its IP header contradicts itself.
    BadIp,
    /// It has more VLAN tags or MPLS labels than are followed.
    TooDeep,
}

impl Unmetered {
    /// Where such frames are counted.
    #[inline(always)]
    #[must_use]
    pub const fn counter(self) -> Counter {
        match self {
            Self::NonIp => Counter::NonIp,
            Self::TooShort => Counter::TooShort,
            Self::BadIp => Counter::BadIp,
            Self::TooDeep => Counter::TooDeep,
        }
    }
}

/// What the link layer said about the IP header: where it is, and the frame's VLAN word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Which header is expected at `offset`.
    pub protocol: NetworkProtocol,
    /// Octets before the header.
    pub offset: usize,
    /// [`FlowKey`]'s VLAN word without its family bit.
    pub vlan: u16,
}

impl Network {
    /// A frame without a link layer.
    pub const RAW: Self = Self {
        protocol: NetworkProtocol::ByNibble,
        offset: 0,
        vlan: 0,
    };
}

/// All that the link layer said, also what is in no key (see [`crate::extra`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Where the network header is, and the outermost VLAN tag.
    pub network: Network,
    /// The second VLAN tag, in the form of [`Network::vlan`]; 0 if there is none.
    pub inner_vlan: u16,
    /// Where the MPLS label stack begins; 0 if there is none.
    pub labels_offset: usize,
}

impl Layers {
    /// A network header with neither tags nor labels before it.
    #[inline(always)]
    #[must_use]
    pub const fn plain(protocol: NetworkProtocol, offset: usize) -> Self {
        Self {
            network: Network {
                protocol,
                offset,
                vlan: 0,
            },
            inner_vlan: 0,
            labels_offset: 0,
        }
    }
}

/// Which network header follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkProtocol {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// The first nibble tells, and anything but 4 and 6 is not IP (below MPLS, raw captures).
    ByNibble,
}

/// Most frames: an untagged IPv4 packet without options, whole, of TCP or UDP. Every field is then
/// at a known place and one check of the frame's length covers them all. `None` if the frame is
/// anything else, or if anything about it is odd: [`ethernet`] knows. What this does return, that
/// returns too.
#[inline(always)]
pub fn plain_v4(packet: &impl Packet) -> Option<Walked> {
    const ETHERTYPE: usize = 12;
    const VERSION_AND_LENGTH: u32 = 0x45;
    const MORE_FRAGMENTS_OR_OFFSET: u32 = 0x3fff;
    /// IPv4 header, and TCP's up to its flags.
    const OCTETS_MIN: u32 = 20 + 14;
    // The EtherType is the second half of the first word.
    let [
        link,
        start,
        fragment,
        transport,
        source,
        destination,
        ports,
        _,
        _,
        flags,
    ] = packet.words::<10>(ETHERTYPE - 2)?;
    if u32::from_be(link) as u16 != ETHERTYPE_IPV4 {
        return None;
    }
    let start = u32::from_be(start);
    let octets = start & 0xffff;
    let protocol = (u32::from_be(transport) >> 16) as u8;
    if start >> 24 != VERSION_AND_LENGTH
        || u32::from_be(fragment) & MORE_FRAGMENTS_OR_OFFSET != 0
        || octets < OCTETS_MIN
        || !matches!(protocol, TCP | UDP)
    {
        return None;
    }
    let ports = u32::from_be(ports);
    Some(Walked {
        key: FlowKey {
            source: FlowKey::v4_mapped(source.to_ne_bytes()),
            destination: FlowKey::v4_mapped(destination.to_ne_bytes()),
            attributes: FlowKey::pack(
                (ports >> 16) as u16,
                ports as u16,
                protocol,
                (start >> 16) as u8,
                0,
            ),
        },
        octets: u64::from(octets),
        tcp_flags: if protocol == TCP {
            (u32::from_be(flags) >> 16) as u8
        } else {
            0
        },
        fragment: 0,
        fragment_id: u32::from_be(fragment) >> 16,
        flow_label: 0,
        transport_offset: ETHERTYPE as u16 + 2 + 20,
        headers_octets: 20
            + if protocol == TCP {
                (u32::from_be(flags) >> 28 << 2) as u16
            } else {
                UDP_HEADER_OCTETS
            },
    })
}

/// Walks an Ethernet frame.
///
/// # Errors
/// The reason why the frame is in no flow.
#[inline(always)]
pub fn ethernet(packet: &impl Packet) -> Result<Walked, Unmetered> {
    network(packet, ethernet_link(packet)?)
}

/// Walks from the network header on.
///
/// # Errors
/// The reason why the frame is in no flow.
#[inline(always)]
pub fn network(packet: &impl Packet, network: Network) -> Result<Walked, Unmetered> {
    let (offset, v6) = header(packet, network)?;
    if v6 {
        ipv6(packet, offset, network.vlan)
    } else {
        ipv4(packet, offset, network.vlan)
    }
}

/// Where the network header begins, and whether it is IPv6's.
///
/// # Errors
/// The reason why there is none.
#[inline(always)]
pub fn header(packet: &impl Packet, network: Network) -> Result<(usize, bool), Unmetered> {
    let offset = packet.settle(network.offset);
    let v6 = match network.protocol {
        NetworkProtocol::V4 => false,
        NetworkProtocol::V6 => true,
        NetworkProtocol::ByNibble => match packet.u16(offset).ok_or(Unmetered::TooShort)? >> 12 {
            4 => false,
            6 => true,
            _ => return Err(Unmetered::NonIp),
        },
    };
    Ok((offset, v6))
}
