//! The engines people have open the directory as it is, and answer as `weir` does: what two collectors wrote
//! side by side. Spark is asked by `cargo xtask spark`.

use weir_tests::{engines::Archive, process::binaries};

#[test]
fn duckdb_and_pyarrow_answer_as_weir_does() {
    let python = binaries().unwrap();
    let python = python.parent().unwrap().join("venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `cargo xtask test` makes it",
        python.display()
    );
    let archive = Archive::collected().unwrap();
    let expected = archive.answers().unwrap();
    for engine in ["duckdb", "pyarrow"] {
        let found = archive.asked(&python, engine, &[]).unwrap();
        assert_eq!(found, expected, "{engine}");
    }
}
