//! `cargo xtask test`: what CI runs, in the order in which it fails fastest.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use weir_tests::process::binaries;

use crate::{
    package,
    run::{cargo, root, shown, step, succeeds},
    setup,
};

/// Some fifteen rounds.
const SOAK_SECONDS: u64 = 60;

/// All that runs on this machine. Cargo unites the features of the packages that are chosen together: another
/// choice, of one package even, and it compiles the query engine again, or half of it.
const WHOLE: [&str; 3] = ["--workspace", "--exclude", "weir-sensor-ebpf"];
/// Without what benches have in the sensor's object besides: the one that is tested is the one that is shipped.
const AS_SHIPPED: &str = "--no-default-features";

type Step = (&'static str, fn() -> Result<()>);

/// Without these there is nothing to test.
const FIRST: [Step; 4] = [
    ("set-up", || setup::run(&setup::Options { peers: true })),
    ("format", format),
    ("build", build),
    ("engines", || engines().map(drop)),
];

/// One that fails keeps none of the others from running: a run is too long to learn one thing from it.
const CHECKS: [Step; 5] = [
    ("tests", tests),
    ("packages", package::quick),
    ("soak", soak),
    ("lints", lints),
    ("the table's ratios", gate),
];

pub fn run() -> Result<()> {
    let mut times = Vec::new();
    for first in FIRST {
        timed(first, &mut times)?;
    }
    let mut failed = 0;
    for check in CHECKS {
        if let Err(error) = timed(check, &mut times) {
            failed += 1;
            eprintln!("{}: {error:#}", check.0);
        }
    }
    for (name, time, is_passed) in times {
        let seconds = time.as_secs();
        let outcome = if is_passed { "" } else { "  FAILED" };
        eprintln!("{:>4}:{:02} {name}{outcome}", seconds / 60, seconds % 60);
    }
    ensure!(failed == 0, "{failed} of {} checks failed", CHECKS.len());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it tells how long a step took")]
fn timed((name, run): Step, times: &mut Vec<(&'static str, Duration, bool)>) -> Result<()> {
    step(name);
    let start = Instant::now();
    let result = run();
    times.push((name, start.elapsed(), result.is_ok()));
    result
}

fn format() -> Result<()> {
    shown(&mut cargo(&["fmt", "--all", "--check"]))
}

/// Tests have features of their own: with them everything is built once.
fn build() -> Result<()> {
    shown(
        cargo(&["build"])
            .args(WHOLE)
            .args([AS_SHIPPED, "--all-targets"]),
    )
}

/// They measure and load this machine's kernel: one after the other.
fn tests() -> Result<()> {
    shown(
        cargo(&["test"])
            .args(WHOLE)
            .args([AS_SHIPPED, "--no-fail-fast"])
            .env("RUST_TEST_THREADS", "1"),
    )
}

/// As it was built: `cargo run` would build it with other features.
fn soak() -> Result<()> {
    let mut soak = Command::new(binaries()?.join("soak"));
    shown(soak.current_dir(root()).arg(SOAK_SECONDS.to_string()))
}

fn lints() -> Result<()> {
    shown(
        cargo(&["clippy"])
            .args(WHOLE)
            .args(["--all-targets", "--", "--deny", "warnings"]),
    )
}

/// The programs that Weir's is compared with come into the sensor's object here, after the tests of the shipped one.
fn gate() -> Result<()> {
    // There are no examples; to ask for them has cargo take the features that tests have, with which all else is
    // built already.
    shown(
        cargo(&["build"])
            .args(WHOLE)
            .args(["--bin", "weir-benches", "--examples"]),
    )?;
    let mut gate = Command::new(binaries()?.join("weir-benches"));
    shown(gate.current_dir(root()).arg("gate"))
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
