//! The blocks of capture files: which interface a frame is of, what its link layer is, and when it was captured.

use std::ops::ControlFlow;

use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, Linktype, PcapBlockOwned, SHB_MAGIC, SPB_MAGIC,
    pcapng::InterfaceDescriptionBlock,
};
use weir_sensor_common::packet::Captured;

use super::{End, Frame};

/// The file's time.
#[derive(Debug, Default)]
pub(super) struct FileClock {
    last_ns: u64,
}

/// A pcapng section's interfaces, or a pcap file's one.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    list: Vec<Interface>,
    /// Of a file whose frames are read here.
    form: Option<Form>,
    /// Frames of interfaces that were never described, and early blocks without a whole header.
    orphans: u64,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Pcap(ByteOrder),
    Pcapng(ByteOrder),
}

/// Who goes on where no frame lies whole in the octets that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The parser.
    Parser,
    /// Whoever reads more octets.
    Refill,
}

/// A pcapng block that says nothing about frames.
enum Other<'a> {
    /// There is none.
    None,
    /// With what comes after it.
    Whole(&'a [u8]),
    /// Of which more is to come.
    Cut,
    /// Whose lengths cannot be.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn of(big_endian: bool) -> Self {
        if big_endian { Self::Big } else { Self::Little }
    }

    #[inline]
    fn number(self, field: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(field),
            Self::Big => u32::from_be_bytes(field),
        }
    }
}

#[derive(Debug)]
struct Interface {
    link: Linktype,
    snap_octets: u32,
    /// Units of a second, and seconds to add.
    resolution: u64,
    offset_s: i64,
    /// Nanoseconds of a unit, if it is some whole ones.
    unit_ns: Option<u64>,
}

impl Interfaces {
    /// Reads the frames that lie whole in these octets, one after the other; continues with the number of octets that they
    /// are, and with who is to go on. Nothing is built of them, as it is by the parser; to that are left blocks that describe
    /// interfaces, files of another form, and whatever is odd.
    pub(super) fn frames(
        &self,
        octets: &[u8],
        clock: &mut FileClock,
        mut frame: impl FnMut(Frame<'_>) -> ControlFlow<String>,
    ) -> ControlFlow<String, (usize, Next)> {
        let mut rest = octets;
        loop {
            if let Some((found, after)) = self.first(rest, clock) {
                frame(found)?;
                rest = after;
                continue;
            }
            let next = match self.other(rest) {
                Other::Whole(after) => {
                    rest = after;
                    continue;
                }
                Other::Cut => Next::Refill,
                Other::Broken => {
                    return ControlFlow::Break("a block contradicts itself".to_owned());
                }
                Other::None => Next::Parser,
            };
            return ControlFlow::Continue((octets.len() - rest.len(), next));
        }
    }

    /// What these octets begin with, if it is a block that says nothing about frames: statistics, names, secrets, what
    /// others have made up. The parser reads into them, and would take one that it cannot read for the file's end.
    fn other<'a>(&self, octets: &'a [u8]) -> Other<'a> {
        const OCTETS_MIN: usize = 12;
        let (Some(Form::Pcapng(byte_order)), Some((header, _))) =
            (self.form, octets.split_first_chunk::<8>())
        else {
            return Other::None;
        };
        let ([kind, length], _) = header.as_chunks::<4>() else {
            return Other::None;
        };
        let length = byte_order.number(*length);
        if matches!(
            byte_order.number(*kind),
            SHB_MAGIC | IDB_MAGIC | EARLY_PACKET_BLOCK | SPB_MAGIC | EPB_MAGIC
        ) {
            return Other::None;
        }
        if (length as usize) < OCTETS_MIN {
            return Other::Broken;
        }
        let Some((block, after)) = octets.split_at_checked(length as usize) else {
            return Other::Cut;
        };
        match block.last_chunk::<4>() {
            Some(again) if byte_order.number(*again) == length => Other::Whole(after),
            _ => Other::Broken,
        }
    }

    /// The frame at the beginning of these octets, and what comes after it.
    #[inline]
    fn first<'a>(&self, octets: &'a [u8], clock: &mut FileClock) -> Option<(Frame<'a>, &'a [u8])> {
        match self.form? {
            Form::Pcap(byte_order) => self.record(byte_order, octets, clock),
            Form::Pcapng(byte_order) => self.enhanced(byte_order, octets, clock),
        }
    }

    /// In a pcap file: seconds and what is beyond them, octets captured and on the wire, the frame.
    #[inline]
    fn record<'a>(
        &self,
        byte_order: ByteOrder,
        octets: &'a [u8],
        clock: &mut FileClock,
    ) -> Option<(Frame<'a>, &'a [u8])> {
        let interface = self.list.first()?;
        let (header, data) = octets.split_first_chunk::<16>()?;
        let ([seconds, units, captured, wire], _) = header.as_chunks::<4>() else {
            return None;
        };
        let number = |field: &[u8; 4]| byte_order.number(*field);
        let (captured, after) = data.split_at_checked(number(captured) as usize)?;
        let fraction_ns = u64::from(number(units)) * interface.unit_ns?;
        clock.last_ns = u64::from(number(seconds)) * 1_000_000_000 + fraction_ns;
        Some((frame(interface, captured, number(wire), clock), after))
    }

    /// An Enhanced Packet Block without options: type and length, interface, the time in two halves, octets captured and
    /// on the wire, the frame and its padding, the length again.
    #[inline]
    fn enhanced<'a>(
        &self,
        byte_order: ByteOrder,
        octets: &'a [u8],
        clock: &mut FileClock,
    ) -> Option<(Frame<'a>, &'a [u8])> {
        const FIELDS_OCTETS: u64 = 32;
        let (header, _) = octets.split_first_chunk::<28>()?;
        let ([kind, length, interface, high, low, captured, wire], _) = header.as_chunks::<4>()
        else {
            return None;
        };
        let number = |field: &[u8; 4]| byte_order.number(*field);
        let (length, captured) = (number(length), number(captured));
        let interface = self.list.get(number(interface) as usize)?;
        let (block, after) = octets.split_at_checked(length as usize)?;
        let (_, again) = block.split_last_chunk::<4>()?;
        let is_plain = number(kind) == EPB_MAGIC
            && u64::from(length) == FIELDS_OCTETS + u64::from(captured).next_multiple_of(4)
            && number(again) == length;
        let data = block.get(28..)?.get(..captured as usize)?;
        if !is_plain {
            return None;
        }
        clock.last_ns = interface.unix_ns(u64::from(number(high)) << 32 | u64::from(number(low)));
        Some((frame(interface, data, number(wire), clock), after))
    }

    /// Whether a block describes one interface too many.
    pub(super) fn are_too_many(&self, block: &PcapBlockOwned<'_>) -> bool {
        let is_one_more = matches!(block, PcapBlockOwned::NG(Block::InterfaceDescription(_)));
        is_one_more && self.list.len() >= INTERFACES_MAX
    }

    /// The frame in a block, if there is one; interface definitions are kept.
    pub(super) fn frame<'a>(
        &mut self,
        block: &'a PcapBlockOwned<'a>,
        clock: &mut FileClock,
    ) -> Option<Frame<'a>> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() {
                    1_000_000_000
                } else {
                    1_000_000
                };
                // The modified form's records have longer headers.
                self.form = (!header.is_modified_format())
                    .then(|| Form::Pcap(ByteOrder::of(header.is_bigendian())));
                self.list = vec![Interface {
                    link: header.network,
                    snap_octets: header.snaplen,
                    resolution,
                    offset_s: 0,
                    unit_ns: unit_ns(resolution),
                }];
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.list.first()?;
                let fraction_ns =
                    u64::from(packet.ts_usec) * (1_000_000_000 / interface.resolution);
                clock.last_ns = u64::from(packet.ts_sec) * 1_000_000_000 + fraction_ns;
                let octets = packet
                    .data
                    .get(..packet.caplen as usize)
                    .unwrap_or(packet.data);
                Some(frame(interface, octets, packet.origlen, clock))
            }
            PcapBlockOwned::NG(block) => self.ng_frame(block, clock),
        }
    }

    fn ng_frame<'a>(&mut self, block: &'a Block<'a>, clock: &mut FileClock) -> Option<Frame<'a>> {
        match block {
            Block::SectionHeader(header) => {
                self.form = Some(Form::Pcapng(ByteOrder::of(header.big_endian())));
                self.list.clear();
                None
            }
            Block::InterfaceDescription(description) => {
                let resolution = resolution(description.if_tsresol);
                self.list.push(Interface {
                    link: description.linktype,
                    snap_octets: description.snaplen,
                    resolution,
                    offset_s: offset_s(description),
                    unit_ns: unit_ns(resolution),
                });
                None
            }
            Block::EnhancedPacket(packet) => {
                let interface = self.known(packet.if_id as usize)?;
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                clock.last_ns = interface.unix_ns(units);
                let octets = packet
                    .data
                    .get(..packet.caplen as usize)
                    .unwrap_or(packet.data);
                Some(frame(interface, octets, packet.origlen, clock))
            }
            Block::SimplePacket(packet) => {
                let interface = self.known(0)?;
                let snap = if interface.snap_octets == 0 {
                    u32::MAX
                } else {
                    interface.snap_octets
                };
                let captured = packet.origlen.min(snap) as usize;
                let octets = packet.data.get(..captured).unwrap_or(packet.data);
                Some(frame(interface, octets, packet.origlen, clock))
            }
            // The type is as in a little-endian section.
            Block::Unknown(block) if block.block_type == EARLY_PACKET_BLOCK => {
                self.early_frame(block.data, u32::from_le_bytes, clock)
            }
            Block::Unknown(block) if block.block_type == EARLY_PACKET_BLOCK.swap_bytes() => {
                self.early_frame(block.data, u32::from_be_bytes, clock)
            }
            _ => None,
        }
    }

    /// The frame in a Packet Block: two 16-bit fields (the interface, frames dropped), the time in two halves, the
    /// octets captured and those on the wire, the frame.
    fn early_frame<'a>(
        &mut self,
        octets: &'a [u8],
        number: fn([u8; 4]) -> u32,
        clock: &mut FileClock,
    ) -> Option<Frame<'a>> {
        let Some((header, data)) = octets.split_first_chunk::<20>() else {
            self.orphans += 1;
            return None;
        };
        let (fields, _) = header.as_chunks::<4>();
        let field = |index: usize| fields.get(index).copied().map_or(0, number);
        let [first, second, ..] = *header;
        // With zeros on the side of the high octets, and not on that of the low ones, which gives a larger number.
        let index = number([first, second, 0, 0]).min(number([0, 0, first, second])) as usize;
        let interface = self.known(index)?;
        clock.last_ns = interface.unix_ns(u64::from(field(1)) << 32 | u64::from(field(2)));
        let captured = data.get(..field(3) as usize).unwrap_or(data);
        Some(frame(interface, captured, field(4), clock))
    }

    fn known(&mut self, index: usize) -> Option<&Interface> {
        if index >= self.list.len() {
            self.orphans += 1;
        }
        self.list.get(index)
    }

    /// How a file that was read to its end ended.
    pub(super) fn end(&self) -> End {
        match self.orphans {
            0 => End::Whole,
            orphans => End::Partial(format!(
                "{orphans} frames belong to no interface it describes"
            )),
        }
    }
}

/// Interfaces a section may have, more than any machine does: each is kept up to the section's end.
const INTERFACES_MAX: usize = 1 << 16;
/// The Packet Block of early pcapng, which nobody has written since 2012.
const EARLY_PACKET_BLOCK: u32 = 2;

/// Seconds to add to an interface's times. The parser reads the option as in a little-endian section.
fn offset_s(description: &InterfaceDescriptionBlock<'_>) -> i64 {
    if description.block_type == IDB_MAGIC {
        description.if_tsoffset
    } else {
        description.if_tsoffset.swap_bytes()
    }
}

/// Units of a second, from `if_tsresol`: a power of ten, or of two if the top bit is set.
fn resolution(if_tsresol: u8) -> u64 {
    let exponent = u32::from(if_tsresol & 0x7f);
    let base: u64 = if if_tsresol & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(1_000_000)
}

/// Nanoseconds of a unit that a second has so many of, if it is some whole ones.
fn unit_ns(resolution: u64) -> Option<u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    SECOND_NS
        .is_multiple_of(resolution)
        .then(|| SECOND_NS / resolution)
}

impl Interface {
    #[inline]
    fn unix_ns(&self, units: u64) -> u64 {
        // Nearly always, and without divisions.
        if self.offset_s == 0
            && let Some(unit_ns) = self.unit_ns
            && let Some(unix_ns) = units.checked_mul(unit_ns)
        {
            return unix_ns;
        }
        self.unix_ns_by_parts(units)
    }

    fn unix_ns_by_parts(&self, units: u64) -> u64 {
        let seconds = i128::from(units / self.resolution) + i128::from(self.offset_s);
        let fraction_ns =
            u128::from(units % self.resolution) * 1_000_000_000 / u128::from(self.resolution);
        let ns = seconds * 1_000_000_000 + i128::try_from(fraction_ns).unwrap_or(0);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

fn frame<'a>(
    interface: &Interface,
    octets: &'a [u8],
    wire_octets: u32,
    clock: &FileClock,
) -> Frame<'a> {
    Frame {
        captured: Captured {
            octets,
            wire_octets: (wire_octets as usize).max(octets.len()),
        },
        link: interface.link,
        unix_ns: clock.last_ns,
    }
}

#[cfg(test)]
mod tests;
