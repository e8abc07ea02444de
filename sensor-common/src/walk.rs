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
#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut from wider words"
)]

use crate::{key::FlowKey, packet::Packet};

/// VLAN tags followed; more is [`Unmetered::TooDeep`].
pub const VLAN_TAGS_MAX: usize = 8;
/// MPLS labels followed; more is [`Unmetered::TooDeep`].
pub const MPLS_LABELS_MAX: usize = 32;
/// IPv6 extension headers followed. A longer chain is a flow of the header it was left at.
pub const V6_EXTENSIONS_MAX: usize = 16;

/// Octets of headers the walk looks at; IPv6 with the longest chain of the largest extension
/// headers is cut here.
pub const HEADERS_OCTETS_MAX: usize = 4096;

/// EtherTypes and header numbers (IEEE 802 Numbers and IANA Protocol Numbers).
pub mod number {
    #![expect(missing_docs, reason = "the names are the registries'")]
    pub const ETHERTYPE_IPV4: u16 = 0x0800;
    pub const ETHERTYPE_IPV6: u16 = 0x86dd;
    pub const ETHERTYPE_VLAN: u16 = 0x8100;
    pub const ETHERTYPE_QINQ: u16 = 0x88a8;
    pub const ETHERTYPE_QINQ_OLD: u16 = 0x9100;
    pub const ETHERTYPE_MPLS: u16 = 0x8847;
    pub const ETHERTYPE_MPLS_MULTICAST: u16 = 0x8848;
    pub const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
    /// Up to here the field is an 802.3 length and LLC follows.
    pub const LENGTH_MAX: u16 = 1500;

    pub const PPP_IPV4: u16 = 0x0021;
    pub const PPP_IPV6: u16 = 0x0057;
    pub const PPP_MPLS: u16 = 0x0281;

    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const UDP_LITE: u8 = 136;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

use number::{
    AUTHENTICATION, DCCP, DESTINATION_OPTIONS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MPLS,
    ETHERTYPE_MPLS_MULTICAST, ETHERTYPE_PPPOE_SESSION, ETHERTYPE_QINQ, ETHERTYPE_QINQ_OLD,
    ETHERTYPE_VLAN, FRAGMENT, HIP, HOP_BY_HOP, ICMP, ICMPV6, LENGTH_MAX, MOBILITY, NO_NEXT,
    PPP_IPV4, PPP_IPV6, PPP_MPLS, ROUTING, SCTP, SHIM6, TCP, UDP, UDP_LITE,
};

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
/// at a known place and one check covers them all. `None` if the frame is anything else, or if
/// anything about it is odd: [`ethernet`] knows. What this does return, that returns too.
#[inline(always)]
pub fn plain_v4(packet: &impl Packet) -> Option<Walked> {
    const ETHERTYPE: usize = 12;
    const VERSION_AND_LENGTH: u32 = 0x45;
    const MORE_FRAGMENTS_OR_OFFSET: u32 = 0x3fff;
    /// IPv4 header, and TCP's up to its flags.
    const OCTETS_MIN: u32 = 20 + 14;
    if packet.u16(ETHERTYPE)? != ETHERTYPE_IPV4 {
        return None;
    }
    let [
        start,
        fragment,
        transport,
        source,
        destination,
        ports,
        _,
        _,
        flags,
    ] = packet.words::<9>(ETHERTYPE + 2)?;
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

/// The Ethernet frame's link layer: down to where its network header begins.
///
/// # Errors
/// The reason why there is none.
#[inline(always)]
pub fn ethernet_link(packet: &impl Packet) -> Result<Network, Unmetered> {
    Ok(ethernet_layers(packet)?.network)
}

/// As [`ethernet_link`], with all that was seen on the way.
///
/// # Errors
/// The reason why there is no network header.
#[inline(always)]
pub fn ethernet_layers(packet: &impl Packet) -> Result<Layers, Unmetered> {
    const ETHERTYPE: usize = 12;
    let ethertype = packet.u16(ETHERTYPE).ok_or(Unmetered::TooShort)?;
    layers(packet, ethertype, ETHERTYPE + 2)
}

/// Follows an EtherType (or 802.3 length) whose payload begins at `offset`.
///
/// # Errors
/// The reason why no network header follows.
#[inline(always)]
pub fn from_ethertype(
    packet: &impl Packet,
    ethertype: u16,
    offset: usize,
) -> Result<Network, Unmetered> {
    Ok(layers(packet, ethertype, offset)?.network)
}

/// As [`from_ethertype`], with all that was seen on the way.
///
/// # Errors
/// The reason why no network header follows.
#[inline(always)]
pub fn layers(
    packet: &impl Packet,
    mut ethertype: u16,
    mut offset: usize,
) -> Result<Layers, Unmetered> {
    let mut vlan = 0;
    let mut inner_vlan = 0;
    let mut tags = 0;
    while matches!(
        ethertype,
        ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD
    ) {
        if tags == VLAN_TAGS_MAX {
            return Err(Unmetered::TooDeep);
        }
        let tag = packet.u32(offset).ok_or(Unmetered::TooShort)?;
        let word = (tag >> 16) as u16 & 0x0fff | FlowKey::TAGGED;
        if tags == 0 {
            vlan = word;
        } else if tags == 1 {
            inner_vlan = word;
        }
        ethertype = tag as u16;
        offset += 4;
        tags += 1;
    }
    if ethertype <= LENGTH_MAX {
        // IEEE 802.2 SNAP: DSAP and SSAP 0xaa, control 3, an OUI, then the EtherType.
        let llc = packet.u32(offset).ok_or(Unmetered::NonIp)?;
        if llc >> 8 != 0x00aa_aa03 {
            return Err(Unmetered::NonIp);
        }
        ethertype = packet.u16(offset + 6).ok_or(Unmetered::TooShort)?;
        offset += 8;
    }
    let below = match ethertype {
        ETHERTYPE_IPV4 => Layers::plain(NetworkProtocol::V4, offset),
        ETHERTYPE_IPV6 => Layers::plain(NetworkProtocol::V6, offset),
        ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => below_mpls(packet, offset)?,
        ETHERTYPE_PPPOE_SESSION => ppp(packet, offset + 6)?,
        _ => return Err(Unmetered::NonIp),
    };
    Ok(Layers {
        network: Network {
            vlan,
            ..below.network
        },
        inner_vlan,
        ..below
    })
}

/// A PPP protocol field at `offset`, of one octet if that is odd (RFC 1661 section 2).
///
/// # Errors
/// The reason why no network header follows.
#[inline(always)]
pub fn ppp(packet: &impl Packet, offset: usize) -> Result<Layers, Unmetered> {
    let field = packet.u16(offset).ok_or(Unmetered::TooShort)?;
    let (protocol, offset) = if field & 0x100 != 0 {
        (field >> 8, offset + 1)
    } else {
        (field, offset + 2)
    };
    match protocol {
        PPP_IPV4 => Ok(Layers::plain(NetworkProtocol::V4, offset)),
        PPP_IPV6 => Ok(Layers::plain(NetworkProtocol::V6, offset)),
        PPP_MPLS => below_mpls(packet, offset),
        _ => Err(Unmetered::NonIp),
    }
}

/// Follows the label stack to its bottom (RFC 3032 section 2.1). What follows is not named there;
/// the nibble tells (RFC 4928 section 3).
#[inline(always)]
fn below_mpls(packet: &impl Packet, labels_offset: usize) -> Result<Layers, Unmetered> {
    const BOTTOM_OF_STACK: u32 = 0x100;
    let mut offset = labels_offset;
    for _ in 0..MPLS_LABELS_MAX {
        let label = packet.u32(offset).ok_or(Unmetered::TooShort)?;
        offset += 4;
        if label & BOTTOM_OF_STACK != 0 {
            return Ok(Layers {
                labels_offset,
                ..Layers::plain(NetworkProtocol::ByNibble, offset)
            });
        }
    }
    Err(Unmetered::TooDeep)
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

#[inline(always)]
fn ipv4(packet: &impl Packet, offset: usize, vlan: u16) -> Result<Walked, Unmetered> {
    let [first, tos, rest @ ..] = packet.read::<20>(offset).ok_or(Unmetered::TooShort)?;
    let [
        length_high,
        length_low,
        id_high,
        id_low,
        fragment_high,
        fragment_low,
        _,
        protocol,
        _,
        _,
        addresses @ ..,
    ] = rest;
    let header_octets = usize::from(first & 0x0f) * 4;
    let total_length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if first >> 4 != 4 || header_octets < 20 {
        return Err(Unmetered::BadIp);
    }
    // Total length 0: the sender left segmentation to the card (TSO, BIG TCP); the frame tells.
    let octets = if total_length == 0 {
        packet.wire_octets().saturating_sub(offset)
    } else if total_length < header_octets {
        return Err(Unmetered::BadIp);
    } else {
        total_length
    };
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    let transport = if fragment & FRAGMENT_OFFSET != 0 {
        Transport::default()
    } else {
        transport(
            packet,
            protocol,
            offset + header_octets,
            octets.saturating_sub(header_octets),
        )
    };
    let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    Ok(Walked {
        key: FlowKey {
            source: FlowKey::v4_mapped([s0, s1, s2, s3]),
            destination: FlowKey::v4_mapped([d0, d1, d2, d3]),
            attributes: FlowKey::pack(
                transport.source_port,
                transport.destination_port,
                protocol,
                tos,
                vlan,
            ),
        },
        octets: octets as u64,
        tcp_flags: transport.tcp_flags,
        fragment: fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET),
        fragment_id: u32::from(u16::from_be_bytes([id_high, id_low])),
        flow_label: 0,
        transport_offset: if fragment & FRAGMENT_OFFSET == 0 {
            (offset + header_octets) as u16
        } else {
            0
        },
        headers_octets: header_octets as u16 + transport.header_octets,
    })
}

#[inline(always)]
fn ipv6(packet: &impl Packet, offset: usize, vlan: u16) -> Result<Walked, Unmetered> {
    const HEADER_OCTETS: usize = 40;
    const FLOW_LABEL: u32 = 0x000f_ffff;
    let first = packet.u32(offset).ok_or(Unmetered::TooShort)?;
    if first >> 28 != 6 {
        return Err(Unmetered::BadIp);
    }
    let lengths = packet.u32(offset + 4).ok_or(Unmetered::TooShort)?;
    let source = packet.read::<16>(offset + 8).ok_or(Unmetered::TooShort)?;
    let destination = packet.read::<16>(offset + 24).ok_or(Unmetered::TooShort)?;
    let payload_length = (lengths >> 16) as usize;
    let next_header = (lengths >> 8) as u8;
    let payload_offset = offset + HEADER_OCTETS;
    let chain = v6_chain(packet, next_header, payload_offset, payload_length == 0);
    let payload_octets = match chain.jumbo_octets {
        _ if payload_length != 0 => payload_length,
        0 if next_header == NO_NEXT => 0,
        // Length 0 and no jumbo option: the card is to segment it (BIG TCP); the frame tells.
        0 => packet.wire_octets().saturating_sub(payload_offset),
        jumbo_octets => jumbo_octets,
    };
    let end = payload_offset + payload_octets;
    let transport = match chain.transport_offset {
        0 => Transport::default(),
        offset => transport(packet, chain.protocol, offset, end.saturating_sub(offset)),
    };
    Ok(Walked {
        key: FlowKey {
            source: FlowKey::v6(source),
            destination: FlowKey::v6(destination),
            attributes: FlowKey::pack(
                transport.source_port,
                transport.destination_port,
                chain.protocol,
                (first >> 20) as u8,
                vlan | FlowKey::FAMILY_V6,
            ),
        },
        octets: (HEADER_OCTETS + payload_octets) as u64,
        tcp_flags: transport.tcp_flags,
        fragment: chain.fragment,
        fragment_id: chain.fragment_id,
        flow_label: first & FLOW_LABEL,
        transport_offset: chain.transport_offset as u16,
        headers_octets: (chain.transport_offset.saturating_sub(offset)) as u16
            + transport.header_octets,
    })
}

/// Where an IPv6 header chain ended.
struct Chain {
    /// The header it ended at.
    protocol: u8,
    /// Where that is; 0 if it is out of reach: a later fragment, a truncated or overlong chain.
    transport_offset: usize,
    /// The jumbo payload option's length (RFC 2675 section 2); 0 if there was none.
    jumbo_octets: usize,
    /// As in [`Walked`].
    fragment: u16,
    fragment_id: u32,
}

/// Follows the extension headers (RFC 8200 section 4, RFC 4302, RFC 6275, RFC 7401, RFC 5533) to
/// the transport header.
#[inline(always)]
fn v6_chain(packet: &impl Packet, next_header: u8, mut offset: usize, jumbo: bool) -> Chain {
    let mut chain = Chain {
        protocol: next_header,
        transport_offset: 0,
        jumbo_octets: 0,
        fragment: 0,
        fragment_id: 0,
    };
    for _ in 0..V6_EXTENSIONS_MAX {
        let header = chain.protocol;
        let unit = match header {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 | FRAGMENT => 8,
            AUTHENTICATION => 4,
            _ => {
                chain.transport_offset = offset;
                break;
            }
        };
        let Some(fields) = packet.u32(offset) else {
            break;
        };
        chain.protocol = (fields >> 24) as u8;
        let length = (fields >> 16) as usize & 0xff;
        if header == FRAGMENT {
            chain.fragment_id = packet.u32(offset + 4).unwrap_or(0);
            // The offset, two bits, and whether more follow.
            chain.fragment =
                ((fields >> 3) as u16 & FRAGMENT_OFFSET) | ((fields as u16 & 1) * MORE_FRAGMENTS);
            if chain.fragment & FRAGMENT_OFFSET != 0 {
                break;
            }
        }
        let header_octets = match header {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * unit,
            _ => (length + 1) * unit,
        };
        if jumbo && header == HOP_BY_HOP && fields & 0xffff == JUMBO_OPTION {
            chain.jumbo_octets = packet.u32(offset + 4).unwrap_or(0) as usize;
        }
        offset = packet.settle(offset + header_octets);
        if offset >= HEADERS_OCTETS_MAX {
            break;
        }
    }
    chain
}

/// The jumbo payload option's type and length, looked for where senders put it: first in its
/// hop-by-hop header.
const JUMBO_OPTION: u32 = 0xc204;

/// What the transport header adds to the key.
#[derive(Clone, Copy, Default)]
struct Transport {
    source_port: u16,
    destination_port: u16,
    tcp_flags: u8,
    header_octets: u16,
}

const UDP_HEADER_OCTETS: u16 = 8;

/// Reads ports, or ICMP type and code, if the first four octets are within the IP length and
/// captured; TCP flags likewise.
#[inline(always)]
fn transport(packet: &impl Packet, protocol: u8, offset: usize, octets: usize) -> Transport {
    const TCP_FLAGS: usize = 12;
    let mut transport = Transport::default();
    if octets < 4 {
        return transport;
    }
    match protocol {
        TCP | UDP | SCTP | DCCP | UDP_LITE => {
            if let Some(ports) = packet.u32(offset) {
                transport.source_port = (ports >> 16) as u16;
                transport.destination_port = ports as u16;
            }
            if protocol == TCP && octets >= TCP_FLAGS + 2 {
                // Data offset, reserved bits and NS are in the first octet.
                let flags = packet.u16(offset + TCP_FLAGS).unwrap_or(0);
                transport.tcp_flags = flags as u8;
                transport.header_octets = (flags >> 12) * 4;
            } else if protocol == UDP {
                transport.header_octets = UDP_HEADER_OCTETS;
            }
        }
        ICMP | ICMPV6 => {
            // type * 256 + code, as routers put it in the destination port.
            transport.destination_port = packet.u16(offset).unwrap_or(0);
        }
        _ => {}
    }
    transport
}
