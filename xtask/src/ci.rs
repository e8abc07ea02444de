//! `cargo xtask test`: what CI runs, in the order in which it fails fastest.

use std::process::Command;

use anyhow::Result;

use crate::{
    run::{cargo, root, shown, step, succeeds},
    setup, soak,
};

/// Some fifteen rounds.
const SOAK_SECONDS: u64 = 60;

pub fn run() -> Result<()> {
    setup::run(&setup::Options { peers: true })?;
    step("format");
    shown(&mut cargo(&["fmt", "--all", "--check"]))?;
    step("build");
    shown(&mut cargo(&["build"]))?;
    engines()?;
    step("tests");
    // Tests measure and load this machine's kernel: one after the other.
    shown(cargo(&["test"]).env("RUST_TEST_THREADS", "1"))?;
    step("soak");
    soak::soak(SOAK_SECONDS, None)?;
    step("lints");
    for package in [&["--all-targets"][..], &["--package", "weir-benches"]] {
        shown(
            cargo(&["clippy"])
                .args(package)
                .args(["--", "--deny", "warnings"]),
        )?;
    }
    step("benches: their tests, and the table's ratios");
    shown(&mut cargo(&["test", "--package", "weir-benches"]))?;
    shown(&mut cargo(&[
        "run",
        "--package",
        "weir-benches",
        "--",
        "gate",
    ]))
}

/// A Python with the engines that a test and a bench have open Weir's files, under `target/`.
pub fn engines() -> Result<()> {
    let venv = root().join("target/venv");
    let python = venv.join("bin/python");
    let imports = ["-c", "import duckdb, pyarrow.dataset"];
    if python
        .to_str()
        .is_some_and(|python| succeeds(python, &imports))
    {
        return Ok(());
    }
    step("DuckDB and pyarrow, from PyPI, to open Weir's files with");
    if !succeeds("python3", &["-c", "import ensurepip, venv"]) {
        setup::apt_install(&["python3-venv"])?;
    }
    shown(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    shown(Command::new(&python).args([
        "-m", "pip", "install", "--quiet", "duckdb", "pyarrow", "pytz",
    ]))
}
