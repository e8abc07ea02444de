//! `cargo xtask bench`: builds and runs the benches, optimised.

use anyhow::Result;

use crate::{
    run::{cargo, shown},
    setup,
};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Arguments for the bench program (`-- --help` lists them)
    #[arg(trailing_var_arg = true)]
    arguments: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options { peers: true })?;
    shown(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "weir-sensor",
    ]))?;
    shown(cargo(&["run", "--release", "--package", "weir-benches", "--"]).args(&options.arguments))
}
