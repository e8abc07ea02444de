//! `cargo xtask test`: what CI runs, in the order in which it fails fastest.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    package,
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
    // Tests have features of their own: with them everything is built once.
    shown(&mut cargo(&["build", "--all-targets"]))?;
    engines()?;
    step("tests");
    // Tests measure and load this machine's kernel: one after the other.
    shown(cargo(&["test", "--no-fail-fast"]).env("RUST_TEST_THREADS", "1"))?;
    package::quick()?;
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

/// A Python with the engines that a test and a bench have open Weir's files.
pub fn engines() -> Result<PathBuf> {
    venv(
        "venv",
        "duckdb, pyarrow.dataset",
        &["duckdb", "pyarrow", "pytz"],
    )
}

/// A Python under `target/` that can import modules, from packages of PyPI.
pub fn venv(name: &str, modules: &str, packages: &[&str]) -> Result<PathBuf> {
    let venv = root().join("target").join(name);
    let python = venv.join("bin/python");
    let import = format!("import {modules}");
    if python
        .to_str()
        .is_some_and(|python| succeeds(python, &["-c", &import]))
    {
        return Ok(python);
    }
    step(&format!(
        "{}, from PyPI, to open Weir's files with",
        packages.join(", ")
    ));
    if !succeeds("python3", &["-c", "import ensurepip, venv"]) {
        setup::apt_install(&["python3-venv"])?;
    }
    shown(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(&python);
    shown(pip.args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    Ok(python)
}
