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
    shown(&mut cargo(&["build", "--package", "weir-sensor"]))?;
    let mut command = cargo(&["run", "--package", "weir-tests", "--bin", "soak", "--"]);
    command.arg((options.minutes * 60).to_string());
    shown(command.args(options.seed.map(|seed| seed.to_string())))
}
