//! A flow sample: which packet was taken, from which source, at what rate, and what records say of it.

use std::net::Ipv6Addr;

use super::{PEN, fields::Cursor, format_number, split};
use crate::FlowRecord;

/// Records of a sample that are read; exporters send fewer than ten.
const RECORDS_MAX: u32 = 64;
/// The ifIndex of what the switch itself sends or takes; of an expanded one the upper two bits are none.
const INTERNAL: u32 = 0x3fff_ffff;

/// Formats of records, of sFlow itself.
const SAMPLED_HEADER: u32 = 1;
const SAMPLED_ETHERNET: u32 = 2;
const SAMPLED_IPV4: u32 = 3;
const SAMPLED_IPV6: u32 = 4;
const EXTENDED_SWITCH: u32 = 1001;
const EXTENDED_ROUTER: u32 = 1002;
const EXTENDED_GATEWAY: u32 = 1003;

/// What takes samples: a numbered stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataSource {
    /// What the index is of: 0 an ifIndex, 1 a VLAN, 2 an entity of ENTITY-MIB.
    pub class: u32,
    /// Its number.
    pub index: u32,
}

/// What the first octets of a packet begin with.
pub mod header_protocol {
    /// Ethernet's addresses.
    pub const ETHERNET: u32 = 1;
    /// PPP's protocol, or what precedes it in frames like HDLC's.
    pub const PPP: u32 = 7;
    /// An IPv4 header.
    pub const IPV4: u32 = 11;
    /// An IPv6 header.
    pub const IPV6: u32 = 12;
    /// A label stack.
    pub const MPLS: u32 = 13;
    /// PPP over SONET, as PPP.
    pub const POS: u32 = 14;
}

/// The first octets of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledHeader<'a> {
    /// What they begin with, as [`header_protocol`] has it, or else.
    pub protocol: u32,
    /// Octets the packet had, without those that were taken off before (its checksum, tags).
    pub wire_octets: usize,
    /// The octets.
    pub octets: &'a [u8],
}

/// A record that fills no place in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledRecord<'a> {
    /// Whose format it is: [`PEN`] for sFlow's own.
    pub enterprise: u32,
    /// Its number, of twelve bits.
    pub format: u16,
    /// Its octets.
    pub octets: &'a [u8],
}

/// A sample of one packet.
#[derive(Clone, Copy, Debug)]
pub struct FlowSample<'a> {
    /// Flow samples that this source took, with this one, modulo 2³².
    pub sequence: u32,
    /// The source.
    pub source: DataSource,
    /// Packets that could have been taken, modulo 2³².
    pub pool: u32,
    /// Samples that the agent had to leave out since it began, modulo 2³².
    pub drops: u32,
    /// What the records say, all but the header: one packet, unscaled, of so many. Times are the
    /// caller's to fill in: a sample has none, and is sent within a second.
    pub flow: FlowRecord,
    /// Whether it said at what rate, which is 1 otherwise: 0 is none.
    pub is_rate_told: bool,
    /// Whether they say addresses.
    pub is_ip: bool,
    /// VLAN of the packet as it left, 0 if unknown.
    pub post_vlan: u16,
    /// The packet's first octets, which say more than the other records.
    pub header: Option<SampledHeader<'a>>,
    records: &'a [u8],
}

impl<'a> FlowSample<'a> {
    pub(super) fn read(body: &'a [u8], is_expanded: bool) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let sequence = cursor.word()?;
        let source = source(&mut cursor, is_expanded)?;
        let rate = cursor.word()?;
        let (pool, drops) = (cursor.word()?, cursor.word()?);
        let ingress_ifindex = interface(&mut cursor, is_expanded)?;
        let egress_ifindex = interface(&mut cursor, is_expanded)?;
        let count = cursor.word()?;
        let mut sample = Self {
            sequence,
            source,
            pool,
            drops,
            flow: FlowRecord {
                packets: 1,
                ingress_ifindex,
                egress_ifindex,
                sampling_interval: rate.max(1),
                ..FlowRecord::default()
            },
            is_rate_told: rate != 0,
            is_ip: false,
            post_vlan: 0,
            header: None,
            records: cursor.rest(),
        };
        let mut rest = sample.records;
        for _ in 0..count.min(RECORDS_MAX) {
            let (format, octets, after) = split(rest)?;
            if let (0, format) = format_number(format) {
                sample.take(format, Cursor::new(octets))?;
            }
            rest = after;
        }
        sample.records = &sample.records[..sample.records.len() - rest.len()];
        Some(sample)
    }

    /// Takes a record; `None` if it ends before its fields do.
    fn take(&mut self, format: u32, mut cursor: Cursor<'a>) -> Option<()> {
        let flow = &mut self.flow;
        match format {
            SAMPLED_HEADER => {
                let protocol = cursor.word()?;
                let (frame_octets, stripped) = (cursor.word()?, cursor.word()?);
                let octets = cursor.opaque()?;
                let wire_octets = usize::try_from(frame_octets.saturating_sub(stripped)).ok()?;
                self.header = Some(SampledHeader {
                    protocol,
                    wire_octets: wire_octets.max(octets.len()),
                    octets,
                });
            }
            SAMPLED_ETHERNET => {
                cursor.word()?;
                flow.source_mac = cursor.mac()?;
                flow.destination_mac = cursor.mac()?;
            }
            SAMPLED_IPV4 => {
                self.take_packet(&mut cursor, Cursor::ipv4)?;
            }
            SAMPLED_IPV6 => {
                self.take_packet(&mut cursor, Cursor::ipv6)?;
                self.flow.v6 = true;
            }
            EXTENDED_SWITCH => {
                flow.vlan = vlan(cursor.word()?);
                cursor.word()?;
                self.post_vlan = vlan(cursor.word()?);
            }
            EXTENDED_ROUTER => {
                flow.next_hop = cursor.address()?;
                flow.source_mask = low8(cursor.word()?);
                flow.destination_mask = low8(cursor.word()?);
            }
            EXTENDED_GATEWAY => {
                flow.bgp_next_hop = cursor.address()?;
                let own_as = cursor.word()?;
                // Of what begins near it an agent may say 0.
                flow.source_as = match cursor.word()? {
                    0 => own_as,
                    source => source,
                };
                cursor.word()?;
                flow.destination_as = path_end(&mut cursor, own_as)?;
            }
            _ => {}
        }
        Some(())
    }

    /// Length, protocol, addresses, ports, flags, and the type of service.
    fn take_packet(
        &mut self,
        cursor: &mut Cursor<'a>,
        address: fn(&mut Cursor<'a>) -> Option<Ipv6Addr>,
    ) -> Option<()> {
        let flow = &mut self.flow;
        flow.octets = cursor.word()?.into();
        flow.protocol = low8(cursor.word()?);
        flow.source = address(cursor)?;
        flow.destination = address(cursor)?;
        flow.source_port = low16(cursor.word()?);
        flow.destination_port = low16(cursor.word()?);
        flow.tcp_flags = low16(cursor.word()?);
        flow.tos = low8(cursor.word()?);
        self.is_ip = true;
        Some(())
    }

    /// The records that fill no place in a flow, whosever they are.
    pub fn aside(&self) -> impl Iterator<Item = SampledRecord<'a>> + use<'a> {
        let mut rest = self.records;
        let records = std::iter::from_fn(move || {
            let (format, octets, after) = split(rest)?;
            rest = after;
            Some((format_number(format), octets))
        });
        records.filter_map(|((enterprise, format), octets)| {
            let is_known = matches!(
                format,
                SAMPLED_HEADER..=SAMPLED_IPV6 | EXTENDED_SWITCH..=EXTENDED_GATEWAY
            );
            if (enterprise == 0 && is_known) || octets.is_empty() {
                return None;
            }
            Some(SampledRecord {
                enterprise: if enterprise == 0 { PEN } else { enterprise },
                format: low16(format),
                octets,
            })
        })
    }
}

fn source(cursor: &mut Cursor<'_>, is_expanded: bool) -> Option<DataSource> {
    let word = cursor.word()?;
    Some(if is_expanded {
        DataSource {
            class: word,
            index: cursor.word()?,
        }
    } else {
        DataSource {
            class: word >> 24,
            index: word & 0x00ff_ffff,
        }
    })
}

/// An ifIndex; 0 if it is unknown, the switch itself, several, or none since the packet was discarded.
fn interface(cursor: &mut Cursor<'_>, is_expanded: bool) -> Option<u32> {
    let word = cursor.word()?;
    let (kind, index) = if is_expanded {
        (word, cursor.word()?)
    } else {
        (word >> 30, word & INTERNAL)
    };
    Some(match (kind, index) {
        (0, INTERNAL | u32::MAX) | (1.., _) => 0,
        (0, index) => index,
    })
}

/// The AS at the end of a path of sets and sequences; the agent's own if it is empty, since the
/// destination is then near.
fn path_end(cursor: &mut Cursor<'_>, own_as: u32) -> Option<u32> {
    let segments = cursor.word()?;
    let mut end = own_as;
    for _ in 0..segments {
        // Each takes eight octets at least, so that the octets bound this.
        cursor.word()?;
        end = match cursor.words_last()? {
            0 => end,
            last => last,
        };
    }
    Some(end)
}

/// A VLAN id; what is none (0xffffffff where it is unknown) is 0.
fn vlan(word: u32) -> u16 {
    u16::try_from(word)
        .ok()
        .filter(|id| *id < 0x0fff)
        .unwrap_or(0)
}

fn low8(word: u32) -> u8 {
    let [low, ..] = word.to_le_bytes();
    low
}

fn low16(word: u32) -> u16 {
    let [low, high, ..] = word.to_le_bytes();
    u16::from_le_bytes([low, high])
}
