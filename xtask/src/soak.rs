//! `cargo xtask soak`: random rounds that must balance.

use anyhow::Result;

use crate::{
    run::{cargo, shown},
    setup,
};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Play the one round of this seed again
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options { peers: false })?;
    soak(options.minutes * 60, options.seed)
}

/// Plays rounds for so many seconds.
pub fn soak(seconds: u64, seed: Option<u64>) -> Result<()> {
    shown(&mut cargo(&["build", "--package", "weir-sensor"]))?;
    let mut command = cargo(&["run", "--package", "weir-tests", "--bin", "soak", "--"]);
    command.arg(seconds.to_string());
    shown(command.args(seed.map(|seed| seed.to_string())))
}
