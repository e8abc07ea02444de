//! The network header: IPv4 with options, IPv6 with extension headers.

use super::{
    FRAGMENT_OFFSET, HEADERS_OCTETS_MAX, MORE_FRAGMENTS, Unmetered, V6_EXTENSIONS_MAX, Walked,
    number::{
        AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HIP, HOP_BY_HOP, MOBILITY, NO_NEXT, ROUTING,
        SHIM6,
    },
    transport::{Transport, transport},
};
use crate::{key::FlowKey, packet::Packet};

/// Walks from an IPv4 header on.
#[inline(always)]
pub fn ipv4(packet: &impl Packet, offset: usize, vlan: u16) -> Result<Walked, Unmetered> {
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

/// Walks from an IPv6 header on.
#[inline(always)]
pub fn ipv6(packet: &impl Packet, offset: usize, vlan: u16) -> Result<Walked, Unmetered> {
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
