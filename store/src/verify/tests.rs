//! Files cut off, with flipped bits, of other versions, and made by hand.

use std::{fs, path::PathBuf};

use weir_netflow::FlowRecord;

use super::*;
use crate::{closed::ClosedWriter, schema::StoredFlow};

const NOTES_CHANGED: &str = "the notes in its footer are not those that were written";

/// A file with three row groups of a hundred flows.
fn file(folder: &Path) -> PathBuf {
    let path = folder.join("flows.parquet");
    let mut writer = ClosedWriter::create(&path, &[]).unwrap();
    for group in 0..3u64 {
        let flows: Vec<_> = (0..100)
            .map(|packets| StoredFlow {
                record: FlowRecord {
                    packets: packets * (group + 1),
                    start_ns: 1_700_000_000_000_000_000 + packets,
                    ..FlowRecord::default()
                },
                received_ns: 1_700_000_000_000_000_000,
                source_id: 7,
                ..StoredFlow::default()
            })
            .collect();
        writer.write(&schema::batch(&flows).unwrap()).unwrap();
        writer.end_row_group().unwrap();
    }
    assert_eq!(writer.finish().unwrap(), 300);
    path
}

#[test]
fn a_sound_file_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let verified = verify(&file(folder.path())).unwrap();
    let expected = Verified {
        flows: 300,
        has_checksums: true,
        faults: Vec::new(),
    };
    assert_eq!(verified, expected);
}

#[test]
fn d06_any_flipped_bit_is_found_and_the_other_row_groups_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let octets = fs::read(&path).unwrap();
    let footer = usize::try_from(u32::from_le_bytes(
        octets[octets.len() - 8..octets.len() - 4]
            .try_into()
            .unwrap(),
    ))
    .unwrap();
    let footer = octets.len() - 8 - footer;
    let loaded = footer::load(&File::open(&path).unwrap()).unwrap();
    let blocks = blocks(loaded.metadata(), &mut Vec::new());
    let data_end = usize::try_from(blocks[2].end).unwrap();
    assert!(data_end <= footer);
    for at in (4..octets.len()).step_by(97) {
        let mut flipped = octets.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, flipped).unwrap();
        let verified = verify(&path).unwrap();
        if at < data_end {
            let block = blocks.partition_point(|block| block.end <= at as u64);
            assert_eq!(verified.flows, 200, "octet {at}");
            assert!(
                matches!(verified.faults[..], [Fault::RowGroup(group, _)] if group == block),
                "octet {at}: {:?}",
                verified.faults
            );
        } else {
            // The footer: read rightly, in part, or not at all; never more than there is, and less is told.
            let is_whole = verified.flows == 300;
            let is_told = !verified.faults.is_empty();
            assert!(is_whole || (is_told && verified.flows < 300), "octet {at}");
        }
    }
}

#[test]
fn d05_a_closed_file_cut_anywhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let octets = fs::read(&path).unwrap();
    for cut in (0..octets.len()).step_by(101) {
        fs::write(&path, &octets[..cut]).unwrap();
        let verified = verify(&path).unwrap();
        assert!(
            matches!(verified.faults[..], [Fault::Footer(_)]),
            "cut at {cut}: {:?}",
            verified.faults
        );
    }
}

#[test]
fn d12_a_file_of_another_version_is_not_read() {
    use parquet::{
        arrow::ArrowWriter,
        file::{metadata::KeyValue, properties::WriterProperties},
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.parquet");
    let of_version = |version: &str| Fault::Version(version.to_owned());
    for (version, expected) in [
        (Some("0"), of_version("0")),
        (Some("3"), of_version("3")),
        (Some("1"), Fault::Columns("1".to_owned())),
        (None, of_version("unknown")),
    ] {
        let notes = version.map(|version| {
            vec![KeyValue::new(
                "weir.schema_version".to_owned(),
                version.to_owned(),
            )]
        });
        let properties = WriterProperties::builder()
            .set_key_value_metadata(notes)
            .build();
        let file = File::create(&path).unwrap();
        let writer = ArrowWriter::try_new(file, schema::schema(), Some(properties)).unwrap();
        writer.close().unwrap();
        let verified = verify(&path).unwrap();
        assert_eq!(verified.faults, [expected]);
    }
}

/// A page that says it expands to more than its column, in a file whose checksums are right.
#[test]
fn d07_a_page_that_would_expand_is_not_expanded() {
    use std::hash::Hasher as _;
    // Their differences take some eight octets each.
    let flows = (1..=500u64).map(|number| StoredFlow {
        record: FlowRecord {
            start_ns: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2,
            ..FlowRecord::default()
        },
        received_ns: 1_700_000_000_000_000_000,
        ..StoredFlow::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.parquet");
    let mut writer = ClosedWriter::create(&path, &[]).unwrap();
    let flows: Vec<_> = flows.collect();
    writer.write(&schema::batch(&flows).unwrap()).unwrap();
    writer.finish().unwrap();
    let loaded = footer::load(&File::open(&path).unwrap()).unwrap();
    let block = blocks(loaded.metadata(), &mut Vec::new())[0];
    let mut octets = fs::read(&path).unwrap();
    // The first page's header: data, and what it expands to, in two octets of seven bits.
    let header = &mut octets[4..9];
    assert!(header[..3] == [0x15, 0, 0x15] && header[3] & 0x80 != 0 && header[4] & 0x80 == 0);
    header[3..].copy_from_slice(&[0xfe, 0x7f]);
    let mut hasher = twox_hash::XxHash64::with_seed(0);
    hasher.write(&octets[..usize::try_from(block.end).unwrap()]);
    let [old, new] = [block.hash, hasher.finish()].map(|hash| format!("{hash:016x}"));
    let mut noted = octets.windows(old.len());
    let at = noted.rposition(|found| found == old.as_bytes()).unwrap();
    octets[at..at + new.len()].copy_from_slice(new.as_bytes());
    fs::write(&path, octets).unwrap();
    let reason = "its pages claim to expand to more than they may".to_owned();
    let verified = verify(&path).unwrap();
    let notes = Fault::Counts(NOTES_CHANGED.to_owned());
    assert_eq!(verified.faults, [notes, Fault::RowGroup(0, reason)]);
    assert_eq!(verified.flows, 0);
}

#[test]
fn d07_a_count_that_was_changed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let octets = fs::read(&path).unwrap();
    let noted = b"weir.flows";
    let at = octets
        .windows(noted.len())
        .rposition(|window| window == noted)
        .unwrap();
    let count = octets[at..]
        .windows(3)
        .position(|window| window == b"300")
        .unwrap();
    let mut changed = octets.clone();
    changed[at + count] = b'9';
    fs::write(&path, changed).unwrap();
    let verified = verify(&path).unwrap();
    assert_eq!(
        verified.faults,
        [
            "its footer says 300 flows, and Weir noted 900",
            NOTES_CHANGED
        ]
        .map(|says| Fault::Counts(says.to_owned()))
    );
}

/// One bit of a statistic, and no question finds a flow: row groups are left out by it.
#[test]
fn d06_a_statistic_that_was_changed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let octets = fs::read(&path).unwrap();
    // The least domain of the last row group, of four octets.
    let domain = [4, 7, 0, 0, 0];
    let mut windows = octets.windows(domain.len());
    let at = windows.rposition(|window| window == domain).unwrap();
    let mut changed = octets.clone();
    changed[at + 4] ^= 0x10;
    fs::write(&path, changed).unwrap();
    let verified = verify(&path).unwrap();
    let says = "what its footer says of its row groups is not what was written".to_owned();
    assert_eq!(verified.faults, [Fault::Counts(says)]);
    assert_eq!(verified.flows, 300);
}
