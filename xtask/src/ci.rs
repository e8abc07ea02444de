//! `cargo xtask test`: what CI runs, in the order in which it fails fastest.

use anyhow::Result;

use crate::{
    run::{cargo, shown, step},
    setup,
};

pub fn run() -> Result<()> {
    setup::run(&setup::Options { peers: true })?;
    step("format");
    shown(&mut cargo(&["fmt", "--all", "--check"]))?;
    step("build");
    shown(&mut cargo(&["build"]))?;
    step("tests");
    // Tests measure and load this machine's kernel: one after the other.
    shown(cargo(&["test"]).env("RUST_TEST_THREADS", "1"))?;
    step("lints");
    shown(&mut cargo(&["clippy", "--all-targets", "--", "--deny", "warnings"]))
}
