//! Closed files through the engine.

use std::{fs, net::Ipv4Addr, path::Path, sync::Arc};

use arrow::{
    array::{RecordBatch, new_null_array},
    datatypes::Schema,
};
use datafusion::{
    physical_plan::displayable,
    prelude::{DataFrame, SessionContext},
};
use parquet::{
    arrow::ArrowWriter,
    basic::Encoding,
    file::{metadata::KeyValue, properties::WriterProperties},
    schema::types::ColumnPath,
};
use weir_netflow::FlowRecord;
use weir_store::{
    layout::{self, Directory},
    rotate,
    schema::{self, StoredFlow},
    window::Window,
};

use crate::{
    data,
    filter::{self, Filter, Surroundings, plan, sets::Library},
    reading::Reading,
};

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

/// As others write them: each column may be without values.
#[test]
fn d07_a_file_whose_flows_lack_what_each_has_is_named_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let _directory = Directory::lock(root).unwrap();
    write(root, START_S, Encoding::PLAIN);
    let flows = schema::batch(&[StoredFlow::default()]).unwrap();
    let fields = schema::schema().fields().clone();
    let nullable = fields
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    let nullable = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let mut columns = flows.columns().to_vec();
    let (at, _) = nullable.column_with_name("octets").unwrap();
    columns[at] = new_null_array(columns[at].data_type(), 1);
    let version =
        |version: &str| KeyValue::new("weir.schema_version".to_owned(), version.to_owned());
    let notes = [vec![version(schema::SCHEMA_VERSION)], Vec::new()];
    for (number, notes) in (1..).zip(notes) {
        let start_s = START_S + 300 * number;
        let path = layout::closed_path(root, start_s, &layout::window_stem(start_s));
        let properties = WriterProperties::builder()
            .set_key_value_metadata(Some(notes))
            .build();
        let file = fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&nullable), Some(properties));
        let writer = writer.as_mut().unwrap();
        let rows = RecordBatch::try_new(Arc::clone(&nullable), columns.clone()).unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap();
    }
    let reading = Reading::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let context = SessionContext::new();
    let all = Filter::All(Vec::new());
    let batches = runtime.block_on(async {
        let opened = data::open(&context, &[root.to_owned()], &all, &reading);
        opened.unwrap().0.collect().await.unwrap()
    });
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    let left_out = reading.left_out();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    for (path, reason) in left_out {
        assert!(
            reason.contains("some of its flows have no octets"),
            "{path:?}: {reason}"
        );
    }
}

/// A closed file of 202 flows of an hour: most of one address and two of others, so that only a Bloom filter tells
/// which are in it.
fn close(directory: &Directory, root: &Path, number: u8) {
    let start_s = START_S + i64::from(number) * 3600;
    let start_ns = start_s.unsigned_abs() * 1_000_000_000;
    let flow = |at: u64| {
        let source = match at {
            0 => Ipv4Addr::new(0, 0, 0, 1),
            1 => Ipv4Addr::BROADCAST,
            _ => Ipv4Addr::new(10, 0, 0, number),
        };
        StoredFlow {
            record: FlowRecord {
                source: source.to_ipv6_mapped(),
                source_port: number.into(),
                start_ns: start_ns + at,
                end_ns: start_ns + at,
                ..FlowRecord::default()
            },
            received_ns: start_ns + at,
            ..StoredFlow::default()
        }
    };
    let flows: Vec<_> = (0..202).map(flow).collect();
    let mut window = Window::create(&directory.window_path(start_s)).unwrap();
    window.append(&flows).unwrap();
    rotate::close(root, window.path(), &[]).unwrap();
}

/// How many row groups are read for these flows, and how many flows there are.
async fn read(flows: DataFrame) -> (usize, usize) {
    let plan = flows.clone().create_physical_plan().await.unwrap();
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    let groups = match plan.split_once("Scan: ") {
        Some((_, scan)) => scan.split(' ').next().unwrap().parse().unwrap(),
        None => 0,
    };
    let batches = flows.collect().await.unwrap();
    (groups, batches.iter().map(RecordBatch::num_rows).sum())
}

/// What is known of times rules row groups out whether a filter is known when files are looked at or, as in SQL,
/// only when they are read; Bloom filters do beforehand.
#[test]
fn times_and_bloom_filters_rule_row_groups_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let directory = Directory::lock(root).unwrap();
    for number in 0..4 {
        close(&directory, root, number);
    }
    let library = Library::new("/no/such/folder".into());
    let around = Surroundings {
        now_ns: START_S * 1_000_000_000,
        library: &library,
        resolve: |_| Vec::new(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (text, groups, groups_of_sql, flows) in [
        ("any", 4, 4, 808),
        ("src ip 10.0.0.2", 1, 4, 200),
        ("src ip in [10.0.0.1 10.0.0.3]", 2, 4, 400),
        ("src port 3", 4, 4, 202),
        ("first seen >= 2026-11-21T06:30", 2, 2, 404),
        ("until 2026-11-21T05:30", 1, 1, 202),
        ("src net 172.16.0.0/12", 4, 4, 0),
        (
            "src ip 10.0.0.1 and first seen >= 2026-11-21T06:30",
            0,
            2,
            0,
        ),
    ] {
        let filter = filter::parse(text, &around).unwrap();
        for (known, groups) in [(&filter, groups), (&Filter::everything(), groups_of_sql)] {
            let context = SessionContext::new();
            let roots = [root.to_owned()];
            let (table, _) = data::open(&context, &roots, known, &Reading::default()).unwrap();
            let asked = table.filter(plan::plan(&filter)).unwrap();
            assert_eq!(runtime.block_on(read(asked)), (groups, flows), "{text}");
        }
    }
}
