//! The engines people have open the directory as it is, and answer as `weir` does: what two collectors wrote
//! side by side. Spark is asked by `cargo xtask spark`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use weir_store::{
    closed::ClosedWriter,
    schema::{self, StoredFlow},
};
use weir_tests::{
    engines::Archive,
    process::{binaries, built, succeed},
};

fn python() -> PathBuf {
    let python = binaries().expect("target/debug");
    let python = python.parent().expect("target").join("venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `cargo xtask test` makes it",
        python.display()
    );
    python
}

/// Another program's file of our columns, whose exporters have names of 64 KiB, in small pages.
const WITH_LONG_TEXTS: &str = r#"
import sys, pyarrow as pa, pyarrow.parquet as pq
_, source, to, first = sys.argv
flows = pq.ParquetFile(source).read()
at = flows.schema.get_field_index("exporter")
names = pa.array([f"{int(first) + row:05d}" * 13000 for row in range(flows.num_rows)])
flows = flows.set_column(at, pa.field("exporter", pa.utf8(), nullable=False), names)
flows = flows.replace_schema_metadata(None)
with pq.ParquetWriter(to, flows.schema, use_dictionary=False, write_batch_size=16, store_schema=False) as writer:
    writer.write_table(flows)
    writer.add_key_value_metadata({"weir.schema_version": "2", "weir.flows": str(flows.num_rows)})
"#;

/// How many different names there are, and of which length.
const READ_LONG_TEXTS: &str = r#"
import sys, pyarrow.parquet as pq
names = pq.ParquetFile(sys.argv[1]).read(columns=["exporter"])["exporter"].to_pylist()
print(len(set(names)), {len(name) for name in names})
"#;

#[test]
fn a_recompacted_file_with_long_texts_is_read_by_weir_and_by_pyarrow() {
    const FLOWS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let (root, source) = (folder.path().join("flows"), folder.path().join("source"));
    let hour = root.join("date=2025-11-21/hour=03");
    fs::create_dir_all(&hour).unwrap();
    fs::create_dir(root.join(".open")).unwrap();
    let flow = StoredFlow {
        received_ns: 1_763_694_000_000_000_000,
        ..StoredFlow::default()
    };
    let mut writer = ClosedWriter::create(&source, &[]).unwrap();
    let rows = schema::batch(&vec![flow; FLOWS]).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    let run = |script: &str, words: &[&Path], more: &str| {
        let mut command = Command::new(python());
        succeed(command.args(["-c", script]).args(words).arg(more))
    };
    for (name, first) in [
        ("flows-20251121T030000Z", "0"),
        ("flows-20251121T033000Z", "300"),
    ] {
        let to = hour.join(format!("{name}.parquet"));
        run(WITH_LONG_TEXTS, &[&source, &to], first);
    }
    let collector = || built("weir-collector").unwrap();
    succeed(collector().arg("recompact").arg(&root));
    let found = fs::read_dir(&hour).unwrap();
    let found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    succeed(collector().arg("verify").arg(&root));
    let said = run(READ_LONG_TEXTS, &[&found[0]], "");
    assert_eq!(said.trim(), "600 {65000}");
}

#[test]
fn duckdb_and_pyarrow_answer_as_weir_does() {
    let python = python();
    let archive = Archive::collected().unwrap();
    let expected = archive.answers().unwrap();
    for engine in ["duckdb", "pyarrow"] {
        let found = archive.asked(&python, engine, &[]).unwrap();
        assert_eq!(found, expected, "{engine}");
    }
}
