//! The blocks of capture files: which interface a frame is of, what its link layer is, and when it was captured.

use std::ops::ControlFlow;

use pcap_parser::{Block, IDB_MAGIC, Linktype, PcapBlockOwned, pcapng::InterfaceDescriptionBlock};
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
    /// Of a pcap file whose records are read here.
    byte_order: Option<ByteOrder>,
    /// Frames of interfaces that were never described, and early blocks without a whole header.
    orphans: u64,
}

#[derive(Clone, Copy, Debug)]
enum ByteOrder {
    Little,
    Big,
}

#[derive(Debug)]
struct Interface {
    link: Linktype,
    snap_octets: u32,
    /// Units of a second, and seconds to add.
    resolution: u64,
    offset_s: i64,
}

impl Interfaces {
    /// Reads the frames of a pcap file that lie whole in these octets, one after the other; continues with the number
    /// of octets that they are. What the file's frames have in common is worked out once, and not for each as by the
    /// parser. To that are left files of another form, and whatever is odd about the end.
    pub(super) fn frames(
        &self,
        octets: &[u8],
        clock: &mut FileClock,
        mut frame: impl FnMut(Frame<'_>) -> ControlFlow<String>,
    ) -> ControlFlow<String, usize> {
        let (Some(byte_order), Some(interface)) = (self.byte_order, self.list.first()) else {
            return ControlFlow::Continue(0);
        };
        let number = |field| match byte_order {
            ByteOrder::Little => u32::from_le_bytes(field),
            ByteOrder::Big => u32::from_be_bytes(field),
        };
        let unit_ns = 1_000_000_000 / interface.resolution;
        let mut rest = octets;
        // Seconds and what is beyond them, octets captured and on the wire, the frame.
        while let Some((header, data)) = rest.split_first_chunk::<16>()
            && let ([seconds, units, captured, wire], _) = header.as_chunks::<4>()
            && let Some((captured, after)) = data.split_at_checked(number(*captured) as usize)
        {
            let fraction_ns = u64::from(number(*units)) * unit_ns;
            clock.last_ns = u64::from(number(*seconds)) * 1_000_000_000 + fraction_ns;
            frame(self::frame(interface, captured, number(*wire), clock))?;
            rest = after;
        }
        ControlFlow::Continue(octets.len() - rest.len())
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
                self.byte_order = match (header.is_modified_format(), header.is_bigendian()) {
                    // Its records' headers are longer.
                    (true, _) => None,
                    (false, false) => Some(ByteOrder::Little),
                    (false, true) => Some(ByteOrder::Big),
                };
                self.list = vec![Interface {
                    link: header.network,
                    snap_octets: header.snaplen,
                    resolution,
                    offset_s: 0,
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
            Block::SectionHeader(_) => {
                self.list.clear();
                None
            }
            Block::InterfaceDescription(description) => {
                self.list.push(Interface {
                    link: description.linktype,
                    snap_octets: description.snaplen,
                    resolution: resolution(description.if_tsresol),
                    offset_s: offset_s(description),
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

impl Interface {
    fn unix_ns(&self, units: u64) -> u64 {
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
mod tests {
    use std::ops::ControlFlow;

    use pcap_parser::{LegacyPcapReader, PcapNGReader};

    use super::super::frames;
    use super::*;

    /// The octets of a number, given as in a little-endian section.
    fn ordered<const N: usize>(mut octets: [u8; N], big_endian: bool) -> [u8; N] {
        if big_endian {
            octets.reverse();
        }
        octets
    }

    #[test]
    fn records_of_pcap_files_have_either_byte_order_and_unit() {
        const FRAME: [u8; 4] = [0x45, 1, 2, 3];
        const RECORDS: u32 = 3;
        for (magic, unit_ns) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            for big_endian in [false, true] {
                let word = |number: u32| ordered(number.to_le_bytes(), big_endian);
                let mut file = [magic, 0x0004_0002, 0, 0, 65535, 113].map(word).concat();
                for number in 0..RECORDS {
                    file.extend([1_700_000_000, number, 4, 60].map(word).concat());
                    file.extend(FRAME);
                }
                for (cut, whole) in [(0, 3), (1, 2), (5, 2), (20, 2), (21, 1)] {
                    let mut reader =
                        LegacyPcapReader::new(1 << 10, &file[..file.len() - cut]).unwrap();
                    let mut seen = Vec::new();
                    let end = frames(&mut reader, |frame| {
                        assert_eq!(frame.captured.octets, FRAME);
                        assert_eq!((frame.captured.wire_octets, frame.link.0), (60, 113));
                        seen.push(frame.unix_ns);
                        ControlFlow::Continue(())
                    });
                    let expected =
                        (0..whole).map(|number| 1_700_000_000_000_000_000 + number * unit_ns);
                    assert_eq!(
                        seen,
                        expected.collect::<Vec<u64>>(),
                        "big-endian: {big_endian}, less {cut}"
                    );
                    // Without the last record as a whole it is a file, too.
                    assert_eq!(end == End::Whole, cut % 20 == 0, "{end:?}, less {cut}");
                }
            }
        }
    }

    #[test]
    fn both_byte_orders_have_offsets_of_time_and_early_blocks() {
        const FRAME: [u8; 4] = [0x45, 1, 2, 3];
        const UNIX_US: u64 = 1_700_000_000_000_000;
        const OFFSET_S: i64 = -100;
        for big_endian in [false, true] {
            let word = |number: u32| ordered(number.to_le_bytes(), big_endian);
            let half = |number: u16| ordered(number.to_le_bytes(), big_endian);
            let block = |kind: u32, parts: &[&[u8]]| {
                let body = parts.concat();
                let length = word(u32::try_from(12 + body.len()).unwrap());
                [&word(kind)[..], &length, &body, &length].concat()
            };
            let offset = ordered(OFFSET_S.to_le_bytes(), big_endian);
            let options = [&half(14)[..], &half(8), &offset, &half(0), &half(0)].concat();
            let units = UNIX_US + 100_000_000;
            let (high, low) = (units >> 32, units & 0xffff_ffff);
            let time = [high, low].map(|half| word(u32::try_from(half).unwrap()));
            let octets = [4, 60].map(word);
            let fields = [time.as_flattened(), octets.as_flattened(), &FRAME].concat();
            let file = [
                block(
                    0x0a0d_0d0a,
                    &[&word(0x1a2b_3c4d), &half(1), &half(0), &[0xff; 8]],
                ),
                block(IDB_MAGIC, &[&half(113), &half(0), &word(0)]),
                block(IDB_MAGIC, &[&half(1), &half(0), &word(0), &options]),
                block(EARLY_PACKET_BLOCK, &[&half(1), &half(7), &fields]),
                block(6, &[&word(1), &fields]),
            ]
            .concat();
            let mut reader = PcapNGReader::new(1 << 16, &file[..]).unwrap();
            let mut seen = Vec::new();
            let end = frames(&mut reader, |frame| {
                let captured = frame.captured;
                assert_eq!(captured.octets, FRAME);
                seen.push((frame.unix_ns, captured.wire_octets, frame.link));
                ControlFlow::Continue(())
            });
            assert_eq!(end, End::Whole);
            let each = (UNIX_US * 1000, 60, Linktype(1));
            assert_eq!(seen, [each, each], "big-endian: {big_endian}");
        }
    }
}
