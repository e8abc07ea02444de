//! Row groups that are not what their footer says.

use std::{fs, path::Path};

use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use weir_netflow::FlowRecord;

use super::*;
use crate::{closed::ClosedWriter, schema::StoredFlow};

const ROWS: usize = 20;

/// A file of twenty flows, whose footer says that its row group has so many.
fn write(path: &Path, rows_told: i64) {
    let flow = |packets| StoredFlow {
        record: FlowRecord {
            packets,
            ..FlowRecord::default()
        },
        ..StoredFlow::default()
    };
    let mut writer = ClosedWriter::create(path, &[]).unwrap();
    let flows: Vec<_> = (0..ROWS as u64).map(flow).collect();
    writer.write(&schema::batch(&flows).unwrap()).unwrap();
    writer.finish().unwrap();
    let file = File::open(path).unwrap();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file);
    let mut footer = metadata.unwrap().into_builder();
    let groups = footer.take_row_groups().into_iter();
    let groups = groups.map(|group| {
        let group = group.into_builder().set_num_rows(rows_told);
        group.build().unwrap()
    });
    let groups = groups.collect();
    let metadata = footer.set_row_groups(groups).build();
    let mut octets = fs::read(path).unwrap();
    // Its length stands before the last four octets.
    let told = octets.len() - 8;
    let length = u32::from_le_bytes(*octets[told..].first_chunk().unwrap());
    octets.truncate(told - usize::try_from(length).unwrap());
    let footer = ParquetMetaDataWriter::new(&mut octets, &metadata);
    footer.finish().unwrap();
    fs::write(path, octets).unwrap();
}

/// Rows that came, and what was wrong.
fn read(rows_told: i64) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.parquet");
    write(&path, rows_told);
    let opened = Opened::open(&path).unwrap();
    let batches = match opened.batches(0, &mut Wanted::all(), 8, None) {
        Ok(batches) => batches,
        Err(error) => return (0, vec![error.to_string()]),
    };
    let (mut rows, mut errors) = (0, Vec::new());
    for batch in batches {
        match batch {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (rows, errors)
}

/// Fault case D07: none are made up, and none left out without a word.
#[test]
fn d07_a_row_group_has_as_many_rows_as_its_footer_says_or_is_damaged() {
    assert_eq!(read(20), (ROWS, Vec::new()));
    for rows_told in [25, 15] {
        let (rows, errors) = read(rows_told);
        assert_eq!((rows, errors.len()), (0, 1), "{rows_told}");
        assert!(errors[0].contains("not as many rows"), "{}", errors[0]);
    }
}
