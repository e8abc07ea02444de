//! Closed files through the engine.

use std::{fs, path::Path};

use arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use parquet::{
    arrow::ArrowWriter,
    basic::Encoding,
    file::{metadata::KeyValue, properties::WriterProperties},
    schema::types::ColumnPath,
};
use weir_netflow::FlowRecord;
use weir_store::{
    layout::{self, Directory},
    schema::{self, StoredFlow},
};

use crate::{data, filter::Filter, reading::Reading};

/// 2026-11-21 05:00:00 UTC.
const START_S: i64 = 1_795_237_200;

/// A file of ten flows, whose packets are told in one way or another.
fn write(root: &Path, start_s: i64, encoding: Encoding) {
    // The engine does not read a column that has one value only.
    let flow = |packets| StoredFlow {
        record: FlowRecord {
            packets,
            ..FlowRecord::default()
        },
        received_ns: START_S.unsigned_abs() * 1_000_000_000,
        ..StoredFlow::default()
    };
    let path = layout::closed_path(root, start_s, &layout::window_stem(start_s));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let version = schema::SCHEMA_VERSION.to_owned();
    let version = KeyValue::new("weir.schema_version".to_owned(), version);
    let packets = ColumnPath::from("packets");
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![version]))
        .set_column_dictionary_enabled(packets.clone(), false)
        .set_column_encoding(packets, encoding)
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema::schema(), Some(properties)).unwrap();
    let flows: Vec<_> = (0..10).map(flow).collect();
    writer.write(&schema::batch(&flows).unwrap()).unwrap();
    writer.close().unwrap();
}

/// A page that the engine could decode, and that is none of Weir's, stands for one that it should not.
#[test]
fn d07_a_page_is_looked_at_before_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let _directory = Directory::lock(root).unwrap();
    let reading = Reading::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let flows = || -> usize {
        let context = SessionContext::new();
        let all = Filter::All(Vec::new());
        let batches = runtime.block_on(async {
            let opened = data::open(&context, &[root.to_owned()], &all, &reading);
            opened.unwrap().0.collect().await.unwrap()
        });
        batches.iter().map(RecordBatch::num_rows).sum()
    };
    write(root, START_S, Encoding::PLAIN);
    assert_eq!((flows(), reading.left_out().len()), (10, 0));
    write(root, START_S + 300, Encoding::BYTE_STREAM_SPLIT);
    assert_eq!(flows(), 10);
    let left_out = reading.left_out();
    let [(path, reason)] = &left_out[..] else {
        panic!("{left_out:?}");
    };
    assert!(path.ends_with("flows-20261121T050500Z.parquet"), "{path:?}");
    assert!(
        reason.contains("told in a way that Weir's are not"),
        "{reason}"
    );
}
