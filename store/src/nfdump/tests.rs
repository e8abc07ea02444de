//! Both directions; Debian's nfdump is asked in the end-to-end tests.

use std::{fs, path::Path};

use weir_netflow::{Direction, EndReason, FlowRecord, record::mapped_address};

use super::*;
use crate::schema::StoredFlow;

fn address(text: &str) -> std::net::Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// A flow with something in every field that the format has.
fn flow(number: u64) -> StoredFlow {
    let v6 = number.is_multiple_of(2);
    let side = |last: &str| {
        address(&format!(
            "{}{last}",
            if v6 { "2001:db8::" } else { "192.0.2." }
        ))
    };
    let record = FlowRecord {
        source: side("1"),
        destination: side("2"),
        next_hop: side("3"),
        v6,
        source_port: 40_000,
        destination_port: 443,
        protocol: [6, 17, 1, 47][usize::try_from(number % 4).unwrap()],
        tos: 7,
        tcp_flags: 0xdb,
        octets: 100 * number,
        packets: 1 + number,
        start_ns: 1_700_000_000_001_000_000 + number * 1_000_000,
        end_ns: 1_700_000_005_002_000_000 + number * 1_000_000,
        ingress_ifindex: 70_000,
        egress_ifindex: 3,
        source_as: 4_200_000_000,
        destination_as: 64_512,
        source_mask: 24,
        destination_mask: 25,
        vlan: 100,
        direction: Direction::Egress,
        end_reason: EndReason::EndOfFlow,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        mpls_labels: [0x12_3451, 0, 0, 0],
        ..FlowRecord::default()
    };
    StoredFlow {
        record,
        received_ns: 1_700_000_006_000_000_000,
        exporter: side("9"),
        source_id: if v6 { 77_000 } else { 0x0102 },
        version: if v6 { 10 } else { 5 },
        others: crate::others::Others::NONE,
    }
}

fn write(path: &Path, compression: Compression, flows: u64) -> Totals {
    let mut writer = Writer::create(path, compression, 1_700_000_000).unwrap();
    (0..flows).for_each(|number| writer.push(&flow(number)).unwrap());
    writer.finish().unwrap()
}

fn read(path: &Path) -> Result<(Vec<StoredFlow>, Reader), crate::StoreError> {
    let mut reader = Reader::open(path)?;
    let mut flows = Vec::new();
    while reader.next_block(&mut flows)? {}
    Ok((flows, reader))
}

#[test]
fn flows_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (compression, count) in [
        (Compression::None, 1),
        (Compression::None, 0),
        // More than a block.
        (Compression::Lz4, 10_000),
        (Compression::Zstd, 10_000),
    ] {
        let totals = write(&path, compression, count);
        let (flows, reader) = read(&path).unwrap();
        assert_eq!(flows, (0..count).map(flow).collect::<Vec<_>>());
        assert_eq!(reader.stated(), Some(&totals));
        assert_eq!((reader.check(), totals.flows[0]), (Ok(()), count));
        let parts = |counts: [u64; 5]| counts[1..].iter().sum::<u64>() == counts[0];
        assert!(parts(totals.flows) && parts(totals.octets) && parts(totals.packets));
    }
    Writer::create(&path, Compression::Lzo, 0)
        .and_then(|mut writer| {
            writer.push(&flow(0))?;
            writer.finish()
        })
        .unwrap_err();
}

/// The layout as nfdump 1.7.1 declares it, number by number.
#[test]
fn octets_are_where_nfdump_looks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, Compression::None, 1);
    let octets = fs::read(&path).unwrap();
    assert_eq!(octets[..4], [0x0c, 0xa5, 2, 0]);
    let number = |at: usize| usize::try_from(octets::u32(&octets, at)).unwrap();
    // One data block; its records, octets and kind.
    assert_eq!(
        (number(36), number(40), octets::u16(&octets, 48)),
        (1, 1, 3)
    );
    let block = number(44);
    assert_eq!(octets::u64(&octets, 24), u64::try_from(52 + block).unwrap());
    // The record's kind and length, and its first element's number and length.
    let words = [52, 54, 64, 66].map(|at| octets::u16(&octets, at));
    assert_eq!(words, [11, u16::try_from(block).unwrap(), 1, 52]);
    // The appendix: two records, of 9 and 148 octets.
    let appendix = 52 + block;
    assert_eq!((number(appendix), number(appendix + 4)), (2, 157));
    assert_eq!(octets.len(), appendix + 12 + 157);
}

/// What has no column and a place in nfdump's records stands there, and what has none is told.
#[test]
fn what_has_a_place_is_written_and_the_rest_is_told() {
    use crate::others::{Gathering, Other};

    let mut gathering = Gathering::default();
    for (element, octets) in [
        (55u16, &[9][..]),
        (59, &[0, 200][..]),
        (89, &[64][..]),
        (128, &[0, 0, 1, 0][..]),
    ] {
        let other = Other {
            enterprise: 0,
            element,
            octets,
        };
        assert!(gathering.add(&other, octets.len()));
    }
    for number in [1, 2] {
        let mut flow = flow(number);
        flow.record.bgp_next_hop = flow.record.next_hop;
        let mut octets = Vec::new();
        record::encode(&flow, &mut octets);
        assert_eq!(record::decode(&octets).unwrap().flow, flow);
        assert_eq!(not_carried(&flow).count(), 0);
    }
    let mut flow = flow(1);
    flow.others = gathering.finish();
    let mut octets = Vec::new();
    record::encode(&flow, &mut octets);
    let has = |part: &[u8]| octets.windows(part.len()).any(|window| window == part);
    // Flags, forwarding status, ToS; direction, the other ToS; both VLANs; the AS behind.
    assert!(has(&[0xdb, 64, 7]) && has(&[24, 25, 1, 9, 0]));
    assert!(has(&[6, 0, 12, 0, 100, 0, 0, 0, 200, 0, 0, 0]));
    assert!(has(&[16, 0, 12, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!(not_carried(&flow).count(), 0);
    flow.record.flow_label = 5;
    flow.record.inner_vlan = 6;
    let told: Vec<_> = not_carried(&flow).collect();
    assert_eq!(told, ["inner VLANs", "flow labels"]);
}

/// A flow with latencies as nProbe sends them: whole seconds and the microseconds over them.
fn with_latencies(parts: [(u16, u32); 6]) -> StoredFlow {
    use crate::others::{Gathering, Other};

    let mut gathering = Gathering::default();
    for (element, number) in parts {
        let other = Other {
            enterprise: weir_netflow::element::NTOP_PEN,
            element,
            octets: &number.to_be_bytes(),
        };
        assert!(gathering.add(&other, 4));
    }
    StoredFlow {
        others: gathering.finish(),
        ..flow(1)
    }
}

#[test]
fn latencies_are_kept_both_ways_and_counted_once() {
    // Of the client, the server and the application, of which the last is not known.
    let measured = with_latencies([(82, 2), (83, 7), (84, 0), (85, 999_999), (86, 0), (87, 0)]);
    assert_eq!(not_carried(&measured).count(), 0);
    let mut octets = Vec::new();
    record::encode(&measured, &mut octets);
    let mut element = vec![17, 0, 28, 0];
    for latency_us in [2_000_007_u64, 999_999, 0] {
        element.extend(latency_us.to_le_bytes());
    }
    let at = octets.windows(28).position(|window| window == element);
    let at = at.expect("an element 17");
    assert_eq!(record::decode(&octets).unwrap().flow, measured);
    let decoded = of_two_directions(&measured);
    assert!(decoded.reverse().unwrap().others.is_empty());
    assert_eq!(decoded.flow, measured);
    // More seconds than four octets tell are as many as they can.
    octets[at + 4..at + 12].fill(0xff);
    let decoded = record::decode(&octets).unwrap();
    let seconds = decoded.flow.others.iter().next().unwrap();
    assert_eq!((seconds.element, seconds.octets), (82, &[0xff; 4][..]));
    // One that is too short for its three numbers contradicts itself.
    octets[at + 2] = 20;
    assert!(record::decode(&octets).is_none());
    // A flow without any has no such element.
    octets.clear();
    record::encode(&flow(1), &mut octets);
    assert!(!octets.windows(4).any(|window| window == [17, 0, 28, 0]));
}

/// A flow's record with an element 5: two flows, and 7 packets of 700 octets back.
fn of_two_directions(flow: &StoredFlow) -> record::Decoded {
    let mut octets = Vec::new();
    record::encode(flow, &mut octets);
    octets.extend([5, 0, 28, 0]);
    for number in [2u64, 7, 700] {
        octets.extend(number.to_le_bytes());
    }
    octets[4] += 1;
    record::decode(&octets).unwrap()
}

#[test]
fn a_record_of_two_directions_is_two_flows() {
    let decoded = of_two_directions(&flow(1));
    let reverse = decoded.reverse().unwrap().record;
    assert_eq!((decoded.flow, decoded.flows), (flow(1), 2));
    assert_eq!((reverse.packets, reverse.octets), (7, 700));
    assert_eq!(reverse.source, flow(1).record.destination);
    assert_eq!(reverse.source_port, 443);
    assert_eq!((reverse.tcp_flags, reverse.mpls_labels), (0, [0; 4]));
}

#[test]
fn what_came_back_of_icmp_has_no_type_in_a_ports_place() {
    for protocol in [1, 58] {
        let mut there = flow(1);
        there.record.protocol = protocol;
        (there.record.source_port, there.record.destination_port) = (0, 0x0800);
        let decoded = of_two_directions(&there);
        let back = decoded.reverse().unwrap().record;
        assert_eq!(decoded.flow.record.destination_port, 0x0800);
        assert_eq!((back.source_port, back.destination_port), (0, 0));
    }
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, Compression::Lz4, 100);
    let whole = fs::read(&path).unwrap();
    let says = |octets: &[u8]| {
        fs::write(&path, octets).unwrap();
        match read(&path) {
            Ok((_, reader)) => reader.check().unwrap_err(),
            Err(error) => error.to_string(),
        }
    };
    let changed = |at: usize, octet: u8| {
        let mut octets = whole.clone();
        octets[at] = octet;
        octets
    };
    for (octets, words) in [
        (whole[..20].to_vec(), "within its header"),
        (
            whole[..whole.len() - 1].to_vec(),
            "in the middle of a block",
        ),
        (changed(0, 0), "no file of nfdump's"),
        (changed(2, 1), "nfdump 1.6 wrote it"),
        (changed(2, 3), "its layout is 3"),
        (changed(16, 9), "its compression (9) is not known"),
        (changed(17, 1), "it is encrypted"),
        (changed(36, 2), "record"),
        (changed(40, 99), "its statistics say 100 flows"),
        (changed(40, 101), "a record goes beyond its block"),
    ] {
        let said = says(&octets);
        assert!(said.contains(words), "{words}: {said}");
    }
    // No octet of it makes the reader panic, or take much memory.
    for (at, octet) in whole.iter().enumerate() {
        fs::write(&path, changed(at, octet ^ 0x55)).unwrap();
        let _ = read(&path);
    }
    let big_endian = [&[0xa5, 0x0c][..], &[0; 60]].concat();
    assert!(says(&big_endian).contains("high octet first"));
}

/// What a block makes of a few octets is a block at most, however it is compressed.
#[test]
fn d07_blocks_expand_to_no_more_than_a_block() {
    use std::io::Read as _;
    let zeros = vec![0; 8 * BLOCK_OCTETS_MAX];
    let mut bzip2 = Vec::new();
    bzip2::read::BzEncoder::new(&zeros[..], bzip2::Compression::fast())
        .read_to_end(&mut bzip2)
        .unwrap();
    for (compression, octets) in [
        (Compression::Bzip2, bzip2),
        (Compression::Lz4, lz4_flex::block::compress(&zeros)),
        (Compression::Zstd, zstd::bulk::compress(&zeros, 19).unwrap()),
    ] {
        assert!(octets.len() < BLOCK_OCTETS_MAX, "{compression:?}");
        block::expand(compression, octets).unwrap_err();
    }
    // And all of a block is taken.
    let most = block::compress(Compression::Zstd, &zeros[..BLOCK_OCTETS_MAX]).unwrap();
    let expanded = block::expand(Compression::Zstd, most).unwrap();
    assert_eq!(expanded.len(), BLOCK_OCTETS_MAX);
}

/// Lengths, counts and places that are not there, each in a file that is sound but for it.
#[test]
fn d07_claims_of_what_is_not_there_are_errors() {
    const BLOCK: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, Compression::None, 100);
    let whole = fs::read(&path).unwrap();
    let appendix = usize::try_from(octets::u64(&whole, 24)).unwrap();
    let record = BLOCK + 12;
    for (at, number, words) in [
        // Records and octets of the block, and blocks of the file.
        (BLOCK, &[0xff; 4][..], "a record goes beyond its block"),
        (BLOCK + 4, &[0xff; 4], "a block of 4294967295 octets"),
        (BLOCK + 4, &[0; 4], "a block of 0 octets"),
        (36, &[0xff; 4], "it ends before its last block"),
        // A record of no octets, of two, and of more than there are; and its elements.
        (record + 2, &[0; 2], "a record goes beyond its block"),
        (record + 2, &[2, 0], "a record goes beyond its block"),
        (record + 2, &[0xff; 2], "record"),
        (record + 4, &[0xff; 2], "contradict themselves"),
        (record + 14, &[0; 2], "contradict themselves"),
        // The appendix: nowhere, at the file's beginning, in the block, without an end.
        (24, &[0xff; 8], "its appendix"),
        (24, &[0; 8], "its appendix"),
        (24, &[44, 0, 0, 0, 0, 0, 0, 0], "its appendix"),
        (18, &[0xff; 2], "its appendix: it is cut off"),
        (appendix, &[0xff; 4], "its appendix"),
        (appendix + 4, &[0xff; 4], "its appendix"),
    ] {
        let mut octets = whole.clone();
        octets[at..at + number.len()].copy_from_slice(number);
        fs::write(&path, octets).unwrap();
        let said = match read(&path) {
            Ok((_, reader)) => reader.check().unwrap_err(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(words), "{at}: {words}: {said}");
    }
}

#[test]
fn a_file_that_is_not_closed_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut writer = Writer::create(&path, Compression::None, 0).unwrap();
    (0..20_000).for_each(|number| writer.push(&flow(number)).unwrap());
    drop(writer);
    let (flows, reader) = read(&path).unwrap();
    assert!(flows.len() > 3_000, "{}", flows.len());
    assert_eq!((reader.stated(), reader.check()), (None, Ok(())));
}

/// Without statistics nothing tells whether what lies behind a block's records is flows: it is counted.
#[test]
fn what_lies_behind_the_records_of_a_file_that_is_not_closed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, Compression::None, 10);
    let whole = fs::read(&path).unwrap();
    let block = usize::try_from(octets::u32(&whole, 44)).unwrap();
    // As nfcapd leaves it: no appendix, no number of blocks. The block says that it has nine records.
    let mut open = whole[..HEADER_OCTETS + BLOCK_HEADER_OCTETS + block].to_vec();
    open[18..40].fill(0);
    open[40] = 9;
    fs::write(&path, &open).unwrap();
    let (flows, reader) = read(&path).unwrap();
    assert_eq!((flows.len(), reader.stated()), (9, None));
    let mut last = Vec::new();
    record::encode(&flow(9), &mut last);
    assert_eq!(reader.found().octets_behind, last.len() as u64);
    let said = reader.check().unwrap_err();
    assert!(
        said.contains(&format!("{} octets lie behind", last.len())),
        "{said}"
    );
    // The statistics of one that was closed say that nothing is missing.
    let mut padded = [
        &open[..HEADER_OCTETS],
        &10u32.to_le_bytes(),
        &u32::try_from(block + 4).unwrap().to_le_bytes(),
        &whole[48..HEADER_OCTETS + BLOCK_HEADER_OCTETS + block],
        &[0; 4],
        &whole[HEADER_OCTETS + BLOCK_HEADER_OCTETS + block..],
    ]
    .concat();
    padded[18..40].copy_from_slice(&whole[18..40]);
    let appendix = octets::u64(&whole, 24) + 4;
    padded[24..32].copy_from_slice(&appendix.to_le_bytes());
    fs::write(&path, &padded).unwrap();
    let (flows, reader) = read(&path).unwrap();
    assert_eq!((flows.len(), reader.check()), (10, Ok(())));
    assert_eq!(reader.found().octets_behind, 4);
}
