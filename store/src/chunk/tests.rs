//! What is written here is read by the parquet crate, and is what it was.

use std::{borrow::Cow, net::Ipv6Addr, ops::Range, sync::Arc};

use arrow::{
    array::{RecordBatch, StringArray},
    compute::concat_batches,
};
use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    basic::{self, Encoding},
    file::{metadata::ParquetMetaData, statistics::Statistics},
};
use weir_netflow::{Direction, FlowRecord};

use super::{column, dictionary, hybrid, pages};
use crate::{
    closed::ClosedWriter,
    form::{Compression, Form},
    others::{Gathering, Other, Others},
    schema::{self, StoredFlow},
    verify,
};

/// Numbers as if by chance (splitmix64).
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn address(&mut self, different: u64) -> Ipv6Addr {
        let number = u128::from(self.draw() % different);
        Ipv6Addr::from_bits(number * 0x0123_4567_89ab_cdef_0011)
    }

    /// A flow whose columns have so many different values at most, and whose times are multiples of a unit.
    #[expect(clippy::cast_possible_truncation, reason = "any octets will do")]
    fn flow(&mut self, different: u64, unit_ns: u64) -> StoredFlow {
        let start_ns = 1_795_237_200_000_000_000 + self.draw() % different * unit_ns;
        let is_rich = self.draw().is_multiple_of(3);
        let number = self.draw() % different;
        let mut record = FlowRecord {
            source: self.address(different),
            destination: self.address(different),
            v6: self.draw().is_multiple_of(2),
            source_port: (self.draw() % different) as u16,
            destination_port: (self.draw() % different) as u16,
            protocol: (self.draw() % different) as u8,
            tcp_flags: (self.draw() % different) as u16,
            octets: (self.draw() % different).wrapping_mul(0x1000_0000_0000_0001),
            packets: number,
            start_ns,
            end_ns: start_ns + self.draw() % different * unit_ns,
            source_as: (number as u32).wrapping_mul(0x8000_0001),
            direction: if number.is_multiple_of(2) {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            ..FlowRecord::default()
        };
        let mut others = Others::NONE;
        if is_rich {
            record.next_hop = self.address(different);
            record.source_mac = [number as u8, 2, 3, 4, 5, 6];
            record.inner_vlan = number as u16;
            record.mpls_labels = [number as u32, 0, 7, 0];
            let mut gathering = Gathering::default();
            let octets = &number.to_be_bytes()[..];
            let other = Other {
                enterprise: 0,
                element: 95,
                octets,
            };
            gathering.add(&other, octets.len());
            others = gathering.finish();
        }
        StoredFlow {
            record,
            received_ns: start_ns,
            exporter: self.address(different.min(3)),
            source_id: number as u32,
            version: 9,
            others,
        }
    }

    fn flows(&mut self, rows: usize, different: u64, unit_ns: u64) -> Vec<StoredFlow> {
        (0..rows).map(|_| self.flow(different, unit_ns)).collect()
    }
}

/// Writes rows in batches of a few thousand, reads them, and has both as one.
fn there_and_back(rows: &RecordBatch, compression: Compression) -> (RecordBatch, ParquetMetaData) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.parquet");
    let mut writer = ClosedWriter::create_as(&path, &[], compression, &[]).unwrap();
    for at in (0..rows.num_rows()).step_by(4001) {
        let count = (rows.num_rows() - at).min(4001);
        writer.write(&rows.slice(at, count)).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), rows.num_rows() as u64);
    let verified = verify::verify(&path).unwrap();
    assert_eq!(verified.faults, []);
    let file = std::fs::File::open(&path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let metadata = reader.metadata().as_ref().clone();
    let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    (concat_batches(rows.schema_ref(), &read).unwrap(), metadata)
}

fn assert_comes_back(flows: &[StoredFlow], what: &str) -> ParquetMetaData {
    let rows = schema::batch(flows).unwrap();
    let (read, metadata) = there_and_back(&rows, Compression::default());
    assert!(read == rows, "{what}");
    metadata
}

#[test]
fn rows_come_back_however_many_and_however_different() {
    let mut random = Random(7);
    for different in [1, 2, 17, 300, 70_000, 1 << 40] {
        for unit_ns in [1, 1_000, 1_000_000, 1_048_576] {
            // At the ends of bit-packed groups, blocks of differences and pages.
            for rows in [1, 7, 8, 9, 127, 128, 129, 161, 5000] {
                let flows = random.flows(rows, different, unit_ns);
                assert_comes_back(&flows, &format!("{rows} rows of {different}, {unit_ns} ns"));
            }
        }
    }
    for rows in [65_535, 65_537, 131_073] {
        let flows = random.flows(rows, 5000, 1_000_000);
        assert_comes_back(&flows, &format!("{rows} rows"));
    }
}

#[test]
fn runs_of_any_length_come_back() {
    let mut random = Random(8);
    let mut flows = Vec::new();
    while flows.len() < 20_000 {
        let flow = random.flow(40, 1_000_000);
        let run = usize::try_from(random.draw() % 60).unwrap();
        flows.extend(std::iter::repeat_n(flow, run));
    }
    assert_comes_back(&flows, "runs");
}

#[test]
fn the_ends_of_numbers_come_back() {
    let flow = |number: u64| {
        let mut flow = Random(9).flow(1, 1);
        let time = i64::MAX.cast_unsigned();
        flow.record.start_ns = number & time;
        flow.record.end_ns = !number & time;
        flow.received_ns = number.rotate_left(17) & time;
        flow.record.octets = number;
        flow.record.packets = !number;
        flow.source_id = u32::MAX * u32::from(number > 1);
        flow.record.source = Ipv6Addr::from_bits(u128::from(number).wrapping_mul(u128::MAX / 7));
        flow
    };
    let numbers = [0, u64::MAX, 1, 1 << 63, u64::MAX - 1];
    let flows: Vec<_> = numbers.into_iter().cycle().take(1000).map(flow).collect();
    assert_comes_back(&flows, "few");
    let flows: Vec<_> = (0..64).map(|bit| flow(1 << bit)).collect();
    assert_comes_back(&flows, "many");
}

#[test]
fn every_compression_comes_back() {
    let rows = schema::batch(&Random(10).flows(3000, 100, 1)).unwrap();
    for word in ["none", "snappy", "lz4", "zstd", "zstd:9"] {
        let (read, _) = there_and_back(&rows, word.parse().unwrap());
        assert!(read == rows, "{word}");
    }
}

/// `there_and_back` verifies the file, and so refuses pages that a reader would: without a bound by octets all of these
/// texts are in one.
#[test]
fn long_texts_are_in_pages_that_readers_take() {
    let rows = schema::batch(&Random(15).flows(700, 100, 1)).unwrap();
    let exporter = rows.schema_ref().index_of("exporter").unwrap();
    for (count, different, octets) in [(700, 700, 65_535), (12, 3, 5 << 20)] {
        let text = |row: usize| {
            let number = (100 + row % different).to_string();
            number.repeat(octets / number.len())
        };
        let rows = rows.slice(0, count);
        let mut columns = rows.columns().to_vec();
        columns[exporter] = Arc::new(StringArray::from_iter_values((0..count).map(text)));
        let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
        let (read, _) = there_and_back(&rows, Compression::default());
        assert!(read == rows, "{different} texts of {octets} octets");
    }
}

#[test]
fn pages_of_rows_without_a_value_are_cut_where_the_octets_are() {
    let has_value = [false, true, true, false, true, false];
    let third = pages::PAGE_OCTETS_MAX / 3 + 1;
    let parts = |octets: [usize; 3]| {
        let rows = pages::Rows::some(&has_value).remove(0);
        let parts = rows.parts(|at| octets[at]).into_iter();
        let ends = |part: pages::Rows<'_>| (part.values.start, part.values.end);
        parts.map(ends).collect::<Vec<_>>()
    };
    assert_eq!(parts([1; 3]), [(0, 3)]);
    assert_eq!(parts([third; 3]), [(0, 2), (2, 3)]);
    let more = pages::PAGE_OCTETS_MAX + 1;
    assert_eq!(parts([more; 3]), [(0, 1), (1, 2), (2, 3)]);
}

fn encodings<'a>(metadata: &'a ParquetMetaData, column: &str) -> (Vec<Encoding>, &'a Statistics) {
    let mut columns = metadata.row_group(0).columns().iter();
    let column = columns.find(|chunk| chunk.column_path().string() == column);
    let column = column.unwrap();
    (column.encodings().collect(), column.statistics().unwrap())
}

/// Few different values are in a dictionary; numbers of which each is another are differences, addresses are as
/// they are. Statistics tell the ends in any case: readers leave out what they rule out.
#[test]
fn an_encoding_is_chosen_by_the_values_and_statistics_tell_their_ends() {
    let few = assert_comes_back(&Random(11).flows(5000, 30, 1_000_000), "few");
    let many = assert_comes_back(&Random(12).flows(5000, 1 << 40, 1_048_576), "many");
    for (column, encoding) in [
        ("flow_start", Encoding::DELTA_BINARY_PACKED),
        ("src_addr", Encoding::PLAIN),
        ("octets", Encoding::DELTA_BINARY_PACKED),
    ] {
        let dictionary = &Encoding::RLE_DICTIONARY;
        assert!(encodings(&few, column).0.contains(dictionary), "{column}");
        let (found, _) = encodings(&many, column);
        assert!(
            found.contains(&encoding) && !found.contains(dictionary),
            "{column}"
        );
    }
    // Of numbers that lie far apart nearly half are different.
    let half = assert_comes_back(&Random(16).flows(5000, 2500, 1_000_000), "half");
    let (found, _) = encodings(&half, "octets");
    assert!(found.contains(&Encoding::RLE_DICTIONARY), "{found:?}");
    let flows = Random(13).flows(5000, 1000, 1_000_000);
    let metadata = assert_comes_back(&flows, "ends");
    let starts = || flows.iter().map(|flow| flow.record.start_ns.cast_signed());
    let (_, Statistics::Int64(times)) = encodings(&metadata, "flow_start") else {
        panic!("a time has 64 bits");
    };
    assert_eq!(times.min_opt().copied(), starts().min());
    assert_eq!(times.max_opt().copied(), starts().max());
    let addresses = || flows.iter().map(|flow| flow.record.source.octets());
    let (_, Statistics::FixedLenByteArray(found)) = encodings(&metadata, "src_addr") else {
        panic!("an address has 16 octets");
    };
    assert_eq!(found.min_opt().unwrap().data(), addresses().min().unwrap());
    assert_eq!(found.max_opt().unwrap().data(), addresses().max().unwrap());
    let (_, next_hops) = encodings(&metadata, "next_hop");
    let unknown = flows
        .iter()
        .filter(|flow| flow.record.next_hop.is_unspecified());
    assert_eq!(next_hops.null_count_opt(), Some(unknown.count() as u64));
}

#[test]
fn numbers_far_apart_are_in_a_dictionary_in_their_order() {
    let far = u64::MAX - 7;
    let numbers = [40, far, 40, 3, 3, far, 40, 3];
    let mut indices = vec![9];
    let parts = [Cow::Borrowed(&numbers[..5]), Cow::Borrowed(&numbers[5..])];
    let different = dictionary::of::<u64>(&parts, &mut indices, true);
    assert_eq!(different, Some(vec![3, 40, far]));
    assert_eq!(indices, [1, 2, 1, 0, 0, 2, 1, 0]);
    // More than half of them are different.
    let parts = [Cow::Borrowed(&[40, far, 3, 40, 41][..])];
    assert_eq!(dictionary::of::<u64>(&parts, &mut indices, true), None);
}

/// Numbers that compression makes nothing of are differences as they are. Those it has in much less stay plain, however
/// many different ones there are.
#[test]
fn numbers_are_told_so_that_they_need_no_unpacking_where_that_costs_little() {
    let mut random = Random(16);
    let systems: Vec<_> = (0..4000).map(|_| random.draw()).collect();
    let flow = |at: usize| {
        let mut flow = random.flow(30, 1_000_000);
        flow.record.start_ns = 1_795_237_200_000_000_000 + (random.draw() >> 24);
        flow.record.octets = random.draw() >> 20;
        flow.record.source_as = u32::try_from(systems[at % systems.len()] >> 32).unwrap();
        flow
    };
    let flows: Vec<_> = (0..20_000).map(flow).collect();
    let metadata = assert_comes_back(&flows, "numbers");
    let codec = |name: &str| {
        let mut columns = metadata.row_group(0).columns().iter();
        let column = columns.find(|chunk| chunk.column_path().string() == name);
        column.unwrap().compression()
    };
    for column in ["flow_start", "octets"] {
        let (found, _) = encodings(&metadata, column);
        assert!(found.contains(&Encoding::DELTA_BINARY_PACKED), "{column}");
        assert_eq!(codec(column), basic::Compression::UNCOMPRESSED, "{column}");
    }
    let (found, _) = encodings(&metadata, "src_as");
    assert!(found.contains(&Encoding::PLAIN) && !found.contains(&Encoding::RLE_DICTIONARY));
    for column in ["src_as", "packets"] {
        assert_eq!(codec(column), Compression::default().codec(), "{column}");
    }
    // The first column is none to judge a file by.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.parquet");
    let mut writer = ClosedWriter::create(&path, &[]).unwrap();
    writer.write(&schema::batch(&flows).unwrap()).unwrap();
    writer.finish().unwrap();
    assert_eq!(Form::compression_of(&path), Compression::default());
}

/// What comes later in a chunk counts as much as what comes first.
#[test]
fn the_sample_is_runs_from_all_over_a_chunk() {
    for (count, runs, length) in [
        (0, 1, 0),
        (5, 1, 5),
        (1 << 14, 1, 1 << 14),
        ((1 << 14) + 1, 8, 1 << 11),
        (1 << 20, 8, 1 << 11),
    ] {
        let values: Vec<u32> = (0..count).collect();
        let sample: Vec<_> = column::sample(&values).collect();
        assert_eq!(sample.len(), runs, "{count}");
        assert!(sample.iter().all(|run| run.len() == length), "{count}");
        let (first, last) = (sample[0], sample[runs - 1]);
        assert_eq!(first.first(), values.first(), "{count}");
        // Seven steps are less than seven values short of all.
        let missing = values.last().zip(last.last()).map(|(end, last)| end - last);
        assert!(missing.is_none_or(|missing| missing < 7), "{count}");
        let follow = |run: &&[u32]| run.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(sample.iter().all(follow), "{count}");
    }
}

/// Decodes the hybrid as the specification says.
fn decoded(octets: &[u8], width: u32, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    let mut at = 0;
    while numbers.len() < count {
        let mut header = 0;
        for shift in (0..).step_by(7) {
            header |= u64::from(octets[at] & 0x7f) << shift;
            at += 1;
            if octets[at - 1] < 0x80 {
                break;
            }
        }
        let times = usize::try_from(header >> 1).unwrap();
        let bit = |range: Range<usize>| {
            range.rev().fold(0, |number, bit| {
                number << 1 | u32::from(octets[at + bit / 8] >> (bit % 8) & 1)
            })
        };
        let width = width as usize;
        if header & 1 == 0 {
            numbers.extend(std::iter::repeat_n(bit(0..width), times));
            at += width.div_ceil(8);
        } else {
            numbers.extend((0..times * 8).map(|place| bit(place * width..(place + 1) * width)));
            at += times * width;
        }
    }
    assert_eq!(at, octets.len());
    numbers.truncate(count);
    numbers
}

#[test]
fn indices_of_any_width_come_back() {
    let mut random = Random(14);
    for width in 1..=32 {
        let mut numbers: Vec<u32> = Vec::new();
        while numbers.len() < 1003 {
            let number = u32::try_from(random.draw() >> 32).unwrap() >> (32 - width);
            let run = [1, 1, 1, 7, 8, 24, 25, 100][usize::try_from(random.draw() % 8).unwrap()];
            numbers.extend(std::iter::repeat_n(number, run));
        }
        let mut octets = Vec::new();
        hybrid::put(&numbers, width, &mut octets);
        assert_eq!(
            decoded(&octets, width, numbers.len()),
            numbers,
            "{width} bits"
        );
    }
}
