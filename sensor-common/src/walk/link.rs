//! Down to the network header: Ethernet, VLAN tags, LLC/SNAP, PPPoE, PPP, MPLS.

use super::{
    Layers, MPLS_LABELS_MAX, Network, NetworkProtocol, Unmetered, VLAN_TAGS_MAX,
    number::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MPLS, ETHERTYPE_MPLS_MULTICAST,
        ETHERTYPE_PPPOE_SESSION, ETHERTYPE_QINQ, ETHERTYPE_QINQ_OLD, ETHERTYPE_VLAN, LENGTH_MAX,
        PPP_IPV4, PPP_IPV6, PPP_MPLS,
    },
};
use crate::{key::FlowKey, packet::Packet};

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
    for tags in 0..=VLAN_TAGS_MAX {
        if !matches!(
            ethertype,
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD
        ) {
            break;
        }
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
    }
    offset = packet.settle(offset);
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
