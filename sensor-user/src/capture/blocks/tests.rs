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
                let mut reader = LegacyPcapReader::new(1 << 10, &file[..file.len() - cut]).unwrap();
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
                let is_whole = cut.is_multiple_of(20);
                assert_eq!(end == End::Whole, is_whole, "{end:?}, less {cut}");
            }
        }
    }
}

#[test]
fn enhanced_packet_blocks_are_read_in_either_order_with_options_or_without() {
    const FRAME: [u8; 5] = [0x45, 1, 2, 3, 4];
    for big_endian in [false, true] {
        let word = |number: u32| ordered(number.to_le_bytes(), big_endian);
        let half = |number: u16| ordered(number.to_le_bytes(), big_endian);
        let block = |kind: u32, parts: &[&[u8]]| {
            let body = parts.concat();
            let length = word(u32::try_from(12 + body.len()).unwrap());
            [&word(kind)[..], &length, &body, &length].concat()
        };
        let packet = |interface: u32, units: u32, rest: &[u8]| {
            let fields = [interface, 0, units, 5, 60].map(word).concat();
            block(6, &[&fields, &FRAME, &[0; 3], rest])
        };
        let version = [half(1), half(0)].concat();
        let head = [
            block(0x0a0d_0d0a, &[&word(0x1a2b_3c4d), &version, &[0xff; 8]]),
            block(IDB_MAGIC, &[&half(113), &half(0), &word(0)]),
        ]
        .concat();
        let flags = [&half(2)[..], &half(4), &word(1), &half(0), &half(0)].concat();
        let packets = [
            packet(0, 1, &[]),
            packet(0, 2, &flags),
            packet(7, 3, &[]),
            packet(0, 4, &[]),
            packet(0, 5, &[]),
        ]
        .concat();
        let read = |file: &[u8]| {
            let mut seen = Vec::new();
            let mut reader = PcapNGReader::new(1 << 16, file).unwrap();
            let end = frames(&mut reader, |frame| {
                assert_eq!(frame.captured.octets, FRAME);
                assert_eq!((frame.captured.wire_octets, frame.link.0), (60, 113));
                seen.push(frame.unix_ns);
                ControlFlow::Continue(())
            });
            (seen, end)
        };
        let mut file = [head, packets].concat();
        // The third is of no interface that is described.
        let (seen, end) = read(&file);
        assert_eq!(seen, [1000, 2000, 4000, 5000], "big-endian: {big_endian}");
        assert!(matches!(end, End::Partial(_)), "{end:?}");
        // The last one's two lengths differ.
        let last = file.len() - 4;
        file[last..].copy_from_slice(&word(44));
        let (seen, end) = read(&file);
        assert_eq!(seen, [1000, 2000, 4000], "big-endian: {big_endian}");
        assert!(matches!(end, End::Partial(_)), "{end:?}");
    }
}

#[test]
fn times_are_the_same_with_divisions_and_without() {
    for if_tsresol in [0, 3, 6, 9, 12, 0x80, 0x81, 0x8a] {
        let resolution = resolution(if_tsresol);
        let interface = Interface {
            link: Linktype(1),
            snap_octets: 0,
            resolution,
            offset_s: 0,
            unit_ns: unit_ns(resolution),
        };
        for units in [0, 1, 999, 1_700_000_000_123_456, u64::MAX / 7, u64::MAX] {
            let by_parts = interface.unix_ns_by_parts(units);
            assert_eq!(
                interface.unix_ns(units),
                by_parts,
                "{units} at {resolution}"
            );
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
