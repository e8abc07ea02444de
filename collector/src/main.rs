//! `weir-collector`: receive, account, write; and what is done with the files afterwards.

use std::process::ExitCode;

use clap::Parser as _;
use weir_collector::{daemon, maintain, options::CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let outcome = match &line.command {
        Some(command) => maintain::run(command),
        None => daemon::run(&line.receive).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("weir-collector: {error:#}");
        ExitCode::FAILURE
    })
}
