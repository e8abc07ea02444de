//! `cargo xtask build`: sets up, then builds every binary.

use anyhow::Result;

use crate::{
    run::{cargo, shown, step},
    setup,
};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Optimised, as it is to be installed
    #[arg(long)]
    pub release: bool,
}

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options { peers: false })?;
    step("building (the first time takes some minutes: the query engine is large)");
    let mut command = cargo(&["build"]);
    if options.release {
        command.arg("--release");
    }
    shown(&mut command)
}
