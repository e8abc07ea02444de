//! `weir-collector`: receive, account, write; and what is done with the files afterwards.

// In place of the standard library's, which panic.
#[macro_use(eprintln, println)]
extern crate weir_service;

use std::{ffi::OsString, path::Path, process::ExitCode};

use weir_collector::{
    daemon, maintain,
    options::{self, CommandLine, Receive},
    runner,
};
use weir_service::{config, lines};

fn main() -> ExitCode {
    // It may be read again.
    let arguments: Vec<OsString> = config::anchored(std::env::args_os().collect(), &["--config"]);
    // A collector's own word, not people's.
    if let [_, word, command] = &arguments[..]
        && word == runner::WORD
    {
        let served = runner::serve_input(Path::new(command));
        return status(served.map(|()| ExitCode::SUCCESS));
    }
    let line = match CommandLine::read(&arguments) {
        Ok(line) => line,
        Err(refused) => return options::tell(&refused),
    };
    status(match &line.command {
        Some(command) => maintain::run(command),
        None if line.receive.check => Ok(check(&line.receive)),
        None => daemon::run(&line.receive, arguments).map(|()| ExitCode::SUCCESS),
    })
}

/// The exit status of what was done; why it was not, is said.
fn status(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    let code = outcome.unwrap_or_else(|error| {
        eprintln!("weir-collector: {error:#}");
        ExitCode::FAILURE
    });
    lines::status("weir-collector", code)
}

/// `--check`: nothing is opened, made or listened at.
fn check(options: &Receive) -> ExitCode {
    if let Some(sentence) = options.refusal() {
        eprintln!("weir-collector: {sentence}");
        return ExitCode::FAILURE;
    }
    println!("weir-collector: the settings are right");
    ExitCode::SUCCESS
}
