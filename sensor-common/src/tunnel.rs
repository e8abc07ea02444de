//! Tunnels: where the packet inside one begins. They are entered only on request, since what is
//! inside says nothing about the network it crosses.
#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut from wider words"
)]

use crate::{
    packet::Packet,
    walk::{
        self, Network, NetworkProtocol, Unmetered, Walked,
        number::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, UDP},
    },
};

/// Which tunnels are entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels(pub u8);

impl Tunnels {
    /// None.
    pub const NONE: Self = Self(0);
    /// GRE (RFC 2784, RFC 2890), with IP, Ethernet or MPLS in it.
    pub const GRE: Self = Self(1);
    /// IPv4 or IPv6 in either (RFC 2003, RFC 2473, RFC 4213).
    pub const IPIP: Self = Self(1 << 1);
    /// VXLAN (RFC 7348), UDP port 4789.
    pub const VXLAN: Self = Self(1 << 2);
    /// Geneve (RFC 8926), UDP port 6081.
    pub const GENEVE: Self = Self(1 << 3);
    /// GTP-U (3GPP TS 29.281), UDP port 2152.
    pub const GTPU: Self = Self(1 << 4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    const fn has(self, tunnel: Self) -> bool {
        self.0 & tunnel.0 != 0
    }
}

/// Tunnels inside one another that are entered.
pub const TUNNELS_MAX: u8 = 2;

/// Ethernet's number as a payload (IEEE 802 Numbers, transparent Ethernet bridging).
const ETHERNET: u16 = 0x6558;
/// Not a number of a payload: its first nibble tells.
const BY_NIBBLE: u16 = 0;
const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;
const GTPU_PORT: u16 = 2152;
const UDP_OCTETS: usize = 8;

/// Walks from the network header on, and into tunnels. A tunnel whose inside is not understood is a
/// flow by itself.
///
/// # Errors
/// The reason why the frame is in no flow.
pub fn walk(
    packet: &impl Packet,
    outermost: Network,
    tunnels: Tunnels,
) -> Result<Walked, Unmetered> {
    let mut walked = walk::network(packet, outermost)?;
    for _ in 0..TUNNELS_MAX {
        let Some(inner) = enter(packet, &walked, tunnels) else {
            break;
        };
        walked = inner;
    }
    Ok(walked)
}

/// The packet inside this one, if it is a tunnel that is to be entered and its inside understood.
#[inline(always)]
pub fn enter(packet: &impl Packet, outer: &Walked, tunnels: Tunnels) -> Option<Walked> {
    let mut network = inside(packet, outer, tunnels)?;
    if network.vlan == 0 {
        network.vlan = outer.key.vlan_tag();
    }
    walk::network(packet, network).ok()
}

/// Where the packet inside begins, if this is a tunnel that is to be entered.
#[inline(always)]
fn inside(packet: &impl Packet, walked: &Walked, tunnels: Tunnels) -> Option<Network> {
    if tunnels == Tunnels::NONE || walked.transport_offset == 0 {
        return None;
    }
    let offset = packet.settle(usize::from(walked.transport_offset));
    let (payload, offset) = match walked.key.protocol() {
        IP_IN_IP if tunnels.has(Tunnels::IPIP) => (ETHERTYPE_IPV4, offset),
        IPV6_IN_IP if tunnels.has(Tunnels::IPIP) => (ETHERTYPE_IPV6, offset),
        GRE if tunnels.has(Tunnels::GRE) => gre(packet, offset)?,
        UDP => match walked.key.destination_port() {
            VXLAN_PORT if tunnels.has(Tunnels::VXLAN) => vxlan(packet, offset + UDP_OCTETS)?,
            GENEVE_PORT if tunnels.has(Tunnels::GENEVE) => geneve(packet, offset + UDP_OCTETS)?,
            GTPU_PORT if tunnels.has(Tunnels::GTPU) => gtpu(packet, offset + UDP_OCTETS)?,
            _ => return None,
        },
        _ => return None,
    };
    let offset = packet.settle(offset);
    if payload == BY_NIBBLE {
        return Some(Network {
            protocol: NetworkProtocol::ByNibble,
            offset,
            vlan: 0,
        });
    }
    let (ethertype, offset) = if payload == ETHERNET {
        (packet.u16(offset + 12)?, offset + 14)
    } else {
        (payload, offset)
    };
    walk::from_ethertype(packet, ethertype, offset).ok()
}

/// Version 0 without source routes; each of checksum, key and sequence number takes four octets.
#[inline(always)]
fn gre(packet: &impl Packet, offset: usize) -> Option<(u16, usize)> {
    const ROUTING_OR_VERSION: u32 = 0x4007;
    let header = packet.u32(offset)?;
    let (flags, payload) = (header >> 16, header as u16);
    if flags & ROUTING_OR_VERSION != 0 {
        return None;
    }
    let options = (flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1);
    Some((payload, offset + 4 + 4 * options as usize))
}

#[inline(always)]
fn vxlan(packet: &impl Packet, offset: usize) -> Option<(u16, usize)> {
    const VALID_ID: u32 = 1 << 27;
    (packet.u32(offset)? & VALID_ID != 0).then_some((ETHERNET, offset + 8))
}

#[inline(always)]
fn geneve(packet: &impl Packet, offset: usize) -> Option<(u16, usize)> {
    let header = packet.u32(offset)?;
    let options = (header >> 24 & 0x3f) as usize * 4;
    (header >> 30 == 0).then_some((header as u16, offset + 8 + options))
}

/// Version 1, a user's packet; with any of its three flags four octets more, then a chain of
/// extension headers.
#[inline(always)]
fn gtpu(packet: &impl Packet, mut offset: usize) -> Option<(u16, usize)> {
    const VERSION_AND_TYPE: u32 = 0xf0ff_0000;
    const VERSION_1_USER_PACKET: u32 = 0x30ff_0000;
    const EXTENSION: u32 = 1 << 26;
    const ANY: u32 = 7 << 24;
    const EXTENSIONS_MAX: u32 = 4;
    let header = packet.u32(offset)?;
    if header & VERSION_AND_TYPE != VERSION_1_USER_PACKET {
        return None;
    }
    offset += 8;
    if header & ANY == 0 {
        return Some((BY_NIBBLE, offset));
    }
    let mut next = if header & EXTENSION == 0 {
        0
    } else {
        packet.u16(offset + 2)? & 0xff
    };
    offset += 4;
    for _ in 0..EXTENSIONS_MAX {
        if next == 0 {
            return Some((BY_NIBBLE, offset));
        }
        let octets = usize::from(packet.u16(offset)? >> 8) * 4;
        if octets == 0 {
            return None;
        }
        // The last two octets, of which one is the next header's type.
        let last = packet.settle(offset + octets - 2);
        next = packet.u16(last)? & 0xff;
        offset = last + 2;
    }
    None
}
