//! `weir-collector`: receive, account, write; and what is done with the files afterwards.

// In place of the standard library's, which panic.
#[macro_use(eprintln, println)]
extern crate weir_service;

use std::{ffi::OsString, process::ExitCode};

use weir_collector::{
    daemon, maintain,
    options::{self, CommandLine, Receive},
};
use weir_service::{config, lines};

fn main() -> ExitCode {
    // It may be read again.
    let arguments: Vec<OsString> = config::anchored(std::env::args_os().collect(), &["--config"]);
    let line = match CommandLine::read(&arguments) {
        Ok(line) => line,
        Err(refused) => return options::tell(&refused),
    };
    let outcome = match &line.command {
        Some(command) => maintain::run(command),
        None if line.receive.check => Ok(check(&line.receive)),
        None => daemon::run(&line.receive, arguments).map(|()| ExitCode::SUCCESS),
    };
    let code = outcome.unwrap_or_else(|error| {
        eprintln!("weir-collector: {error:#}");
        ExitCode::FAILURE
    });
    let Some(error) = lines::refused() else {
        return code;
    };
    eprintln!("weir-collector: standard output does not have all of it: {error}");
    ExitCode::FAILURE
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
