use pcap_parser::{LegacyPcapReader, PcapNGReader, traits::PcapReaderIterator};

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

/// The parser would read into each of these, and lose what comes after it.
#[test]
fn blocks_without_frames_are_passed_over_whatever_is_in_them() {
    const FRAME: [u8; 4] = [0x45, 1, 2, 3];
    const PROCESS: u32 = 0x8000_0001;
    for big_endian in [false, true] {
        let word = |number: u32| ordered(number.to_le_bytes(), big_endian);
        let half = |number: u16| ordered(number.to_le_bytes(), big_endian);
        let block = |kind: u32, body: &[u8]| {
            let length = word(u32::try_from(12 + body.len()).unwrap());
            [&word(kind)[..], &length, body, &length].concat()
        };
        let packet = |units: u32| {
            let fields = [0, 0, units, 4, 60].map(word).concat();
            block(EPB_MAGIC, &[&fields[..], &FRAME].concat())
        };
        let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
        let interface = [&half(113)[..], &half(0), &word(0)].concat();
        let head = [block(SHB_MAGIC, &section), block(IDB_MAGIC, &interface)].concat();
        let read = |blocks: &[Vec<u8>]| {
            let file = [&head[..], &blocks.concat()].concat();
            let mut reader = PcapNGReader::new(1 << 10, &file[..]).unwrap();
            let mut seen = Vec::new();
            let end = frames(&mut reader, |frame| {
                assert_eq!(frame.captured.octets, FRAME);
                seen.push(frame.unix_ns);
                ControlFlow::Continue(())
            });
            (seen, end)
        };
        // Names without their end, statistics without a time, a process without a number, more than is read at a time.
        let others = [
            block(4, &[]),
            packet(1),
            block(5, &[0; 4]),
            packet(2),
            block(PROCESS, &[]),
            packet(3),
            block(0xbad, &[7; 5000]),
            packet(4),
        ];
        let expected = (vec![1000, 2000, 3000, 4000], End::Whole);
        assert_eq!(read(&others), expected, "big-endian: {big_endian}");
        // Shorter than a block can be, and of two lengths.
        let too_short = [word(PROCESS), word(8)].concat();
        let mut torn = block(5, &[0; 12]);
        torn.truncate(20);
        torn.extend(word(28));
        for broken in [too_short, torn] {
            let (seen, end) = read(&[packet(1), broken, packet(2)]);
            assert_eq!(seen, [1000], "big-endian: {big_endian}");
            assert!(matches!(end, End::Partial(_)), "{end:?}");
        }
    }
}

#[test]
fn frames_may_be_larger_than_what_is_read_at_a_time() {
    const OCTETS: u32 = 1 << 20;
    let data = vec![0x45_u8; OCTETS as usize];
    let words = |numbers: &[u32]| -> Vec<u8> {
        let octets = numbers.iter().flat_map(|number| number.to_le_bytes());
        octets.collect()
    };
    let mut pcap = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, OCTETS, 101]);
    let mut pcapng = words(&[SHB_MAGIC, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
    pcapng.extend(words(&[IDB_MAGIC, 20, 101, 0, 20]));
    for _ in 0..2 {
        pcap.extend(words(&[1, 0, OCTETS, OCTETS]));
        pcap.extend(&data);
        let length = 32 + OCTETS;
        pcapng.extend(words(&[EPB_MAGIC, length, 0, 0, 1, OCTETS, OCTETS]));
        pcapng.extend(&data);
        pcapng.extend(words(&[length]));
    }
    let count = |reader: &mut dyn PcapReaderIterator| {
        let mut seen = 0;
        let end = frames(reader, |frame| {
            assert_eq!(frame.captured.octets.len(), data.len());
            seen += 1;
            ControlFlow::Continue(())
        });
        (seen, end)
    };
    let mut reader = LegacyPcapReader::new(1 << 18, &pcap[..]).unwrap();
    assert_eq!(count(&mut reader), (2, End::Whole));
    let mut reader = PcapNGReader::new(1 << 18, &pcapng[..]).unwrap();
    assert_eq!(count(&mut reader), (2, End::Whole));
}

/// Twenty octets of a file, and hardly any if it is compressed, would take twice as many of memory each.
#[test]
fn a_section_has_so_many_interfaces_and_no_more() {
    const FRAME: [u8; 4] = [0x45, 1, 2, 3];
    let block = |kind: u32, body: &[u8]| {
        let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    };
    let words = |numbers: &[u32]| -> Vec<u8> {
        let octets = numbers.iter().flat_map(|number| number.to_le_bytes());
        octets.collect()
    };
    let section = block(SHB_MAGIC, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    let interface = block(IDB_MAGIC, &words(&[113, 0]));
    let last = u32::try_from(INTERFACES_MAX - 1).unwrap();
    let fields = words(&[last, 0, 1, 4, 60]);
    let packet = block(EPB_MAGIC, &[&fields[..], &FRAME].concat());
    let full = [section, interface.repeat(INTERFACES_MAX), packet.clone()].concat();
    let read = |file: &[u8]| {
        let mut seen = 0;
        let mut reader = PcapNGReader::new(1 << 16, file).unwrap();
        let end = frames(&mut reader, |_| {
            seen += 1;
            ControlFlow::Continue(())
        });
        (seen, end)
    };
    // A section begins anew.
    assert_eq!(read(&full.repeat(2)), (2, End::Whole));
    let reason = format!("it describes more than {INTERFACES_MAX} interfaces");
    let more = [full, interface, packet].concat();
    assert_eq!(read(&more), (1, End::Partial(reason)));
}
