//! `weir`: the operator's questions, answered from the collector's files, the open window included. The way of a
//! question:
//!
//! 1. Other programs' words become Weir's (`spelling`), and each command has a file of its name. What all share is
//!    in `question`: the directory, the time, and the filter, which `filter` parses and plans.
//! 2. `data` has the files as one table, without those that cannot hold what is asked for. `scan` reads it, past
//!    damaged files, while `reading` and `progress` know how far it is; `engine` works within its `memory`.
//! 3. Flows are gathered by elements (`element`, `gather`, `keys`) and those that lead are kept (`leading`), or they are spread
//!    over time (`bins`), or told apart by direction (`two_way`, `joined`).
//! 4. Flows themselves become lines side by side (`lines`): a `format` is compiled to `tokens`, by which `row` and
//!    `write` make octets of columns. Everything else is an `answer`: tables, what they cover and what was lost
//!    (`account`).
//! 5. `output` brings it to a terminal, a pager or a pipe.
//!
//! It writes nothing but what is asked for, and talks to no daemon, but for `live` and `signature --live`, which ask
//! a sensor. It is a library for its binary, and for whoever writes down what its command line is.

// In place of the standard library's, which panic.
#[macro_use(eprint, eprintln, println)]
extern crate weir_service;

mod account;
mod answer;
mod biflow;
mod bins;
mod bursts;
mod clock;
mod compare;
mod covered;
mod csv;
mod data;
mod element;
mod engine;
mod export;
mod filter;
mod flows;
mod format;
mod functions;
mod gather;
mod group;
mod health;
mod host;
mod interrupt;
mod joined;
mod keys;
mod leading;
mod lines;
mod live;
mod local_names;
mod memory;
mod names;
mod objects;
mod others;
mod output;
mod over_columns;
mod picture;
mod progress;
mod question;
mod ranking;
mod reading;
mod row;
mod scan;
mod scans;
mod series;
mod sightings;
mod signature;
mod signature_live;
mod signatures;
mod spelling;
mod sql;
mod sql_functions;
mod sql_refused;
mod sql_sum;
mod stat;
mod text;
mod tokens;
mod top;
mod two_way;
mod who;
mod write;

use std::{io, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::{data::Coverage, filter::Misunderstood, question::Misasked};

/// Answers questions from the flows that weir-collector keeps.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    after_help = "Each but live reads /var/lib/weir unless -r DIR says otherwise, and ends with what it covers."
)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show who has most
    Top(top::Options),
    /// Show flows, a line each
    Flows(flows::Options),
    /// Sum flows by any elements
    Group(group::Options),
    /// Show one of flow-stat's reports, by its number
    Stat(stat::Options),
    /// Show traffic over time
    Series(series::Options),
    /// Show what a host did, and with whom
    Host(host::Options),
    /// Show who uses the services of a catalogue
    Who(who::Options),
    /// Show who scans hosts or ports
    Scans(scans::Options),
    /// Show what is new or has grown since an earlier time
    Compare(compare::Options),
    /// Show whether the data is complete: loss, silence, clocks, gaps
    Health(health::Options),
    /// Show what matches saved patterns: worms, brute force, amplification, and who was first
    Signature(signature::Options),
    /// Ask in SQL, of the table `flows`
    Sql(sql::Options),
    /// Show what is going on now: open flows of a sensor, records as they arrive
    Live(live::Options),
    /// Write flows to a Parquet, CSV or nfdump file
    Export(export::Options),
    /// Take nfdump's own command line (--native prints Weir's)
    #[command(disable_help_flag = true)]
    Nfdump(spelling::Words),
    /// Take flow-stat's own command line, with -r DIR (--native prints Weir's)
    #[command(disable_help_flag = true)]
    FlowStat(spelling::Words),
    /// Take flow-print's own command line, with -r DIR (--native prints Weir's)
    #[command(disable_help_flag = true)]
    FlowPrint(spelling::Words),
    /// Take flow-dscan's own command line, with -r DIR (--native prints Weir's)
    #[command(disable_help_flag = true)]
    FlowDscan(spelling::Words),
}

impl Command {
    /// Weir's own command for another program's words; nothing if that was only to be shown.
    fn native(self) -> Result<Option<Self>, String> {
        let words = match &self {
            Self::Nfdump(words) => {
                let native = words.translate(spelling::nfdump::native)?;
                if let Some(note) = words.note(spelling::nfdump::times_note) {
                    eprintln!("weir: {note}");
                }
                native
            }
            Self::FlowStat(words) => words.translate(spelling::flow_tools::stat)?,
            Self::FlowPrint(words) => words.translate(spelling::flow_tools::print)?,
            Self::FlowDscan(words) => words.translate(spelling::flow_tools::dscan)?,
            _ => return Ok(Some(self)),
        };
        let parse = |words: Vec<String>| {
            let words = ["weir".to_owned()].into_iter().chain(words);
            Options::parse_from(words).command
        };
        Ok(words.map(parse))
    }
}

/// The command line, with every subcommand.
#[must_use]
pub fn command() -> clap::Command {
    <Options as clap::CommandFactory>::command()
}

/// The whole program: takes the command line of this process, prints the answer.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = Options::try_parse().unwrap_or_else(|mut error| {
        spelling::advise(&mut error);
        error.exit()
    });
    let command = match parsed.command.native() {
        Ok(Some(command)) => command,
        Ok(None) => return weir_service::lines::status("weir", ExitCode::SUCCESS),
        Err(sentence) => {
            eprintln!("weir: {sentence}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = interrupt::watch() {
        eprintln!("weir: cannot wait for signals: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(run(&command));
    interrupt::give_way();
    status(done)
}

/// The exit status; what the answer leaves out is told, or why there is none.
fn status(done: Result<Coverage>) -> ExitCode {
    match done {
        Ok(coverage) => {
            coverage.reading.bar().hide();
            let left_out = coverage.left_out();
            covered::report_partial(&left_out);
            if left_out.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) if closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            interrupt::tidy_up();
            match engine::exhausted(&error) {
                Some(says) => eprintln!("weir: {says}"),
                None => eprintln!("weir: {}", said(&error)),
            }
            // What is asked wrongly is a usage error, as clap has it.
            let is_misunderstood =
                error.is::<Misunderstood>() || error.is::<sql_refused::Refused>();
            if is_misunderstood || error.is::<Misasked>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(command: &Command) -> Result<Coverage> {
    match command {
        Command::Flows(options) => flows::run(options).await,
        Command::Top(options) => top::run(options).await,
        Command::Stat(options) => stat::run(options).await,
        Command::Group(options) => group::run(options).await,
        Command::Series(options) => series::run(options).await,
        Command::Host(options) => host::run(options).await,
        Command::Who(options) => who::run(options).await,
        Command::Scans(options) => scans::run(options).await,
        Command::Compare(options) => compare::run(options).await,
        Command::Health(options) => health::run(options).await,
        Command::Signature(options) => signature::run(options).await,
        Command::Sql(options) => sql::run(options).await,
        Command::Live(options) => live::run(options),
        Command::Export(options) => export::run(options).await,
        Command::Nfdump(_)
        | Command::FlowStat(_)
        | Command::FlowPrint(_)
        | Command::FlowDscan(_) => {
            bail!("words of another program were not translated: this is a bug")
        }
    }
}

/// An error and what caused it, each said once: some have the words of their causes in their own.
fn said(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let words = cause.to_string().replace("\ncaused by\n", ": ");
        if said.is_empty() {
            said = words;
        } else if !said.contains(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
    }
    said
}

/// Whether the reader of our output had enough (`weir flows | head`).
fn closed(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let refused = io::Error::other("no room");
        let says = format!("cannot write /x: {refused}");
        let error = anyhow::Error::from(refused)
            .context(says)
            .context("at the end");
        assert_eq!(said(&error), "at the end: cannot write /x: no room");
        let error = anyhow::anyhow!("type_coercion\ncaused by\nthey differ");
        assert_eq!(said(&error), "type_coercion: they differ");
    }

    #[test]
    fn nfdumps_letters_are_taken_or_what_to_write_is_said() {
        for words in [
            &["top", "-R", "/f", "-s", "srcip/bytes", "-n", "5"][..],
            &["group", "-A", "srcip,dstport", "--distinct", "dstip,proto"],
            &["flows", "-R", "/f", "-c", "5"],
        ] {
            let words = ["weir"].iter().chain(words);
            Options::try_parse_from(words).unwrap();
        }
        for (words, says) in [
            (["weir", "top", "-t"], "'from 12:00 to 13:00'"),
            (["weir", "flows", "-M"], "-r DIR may be repeated"),
            (["weir", "flows", "-a"], "`weir group`"),
        ] {
            let mut error = Options::try_parse_from(words).unwrap_err();
            spelling::advise(&mut error);
            let error = error.to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains("weir nfdump"), "{error}");
            assert!(!error.contains("as a value"), "{error}");
        }
        let error = Options::try_parse_from(["weir", "top", "-s", "srcip,dstip"]).unwrap_err();
        assert!(error.to_string().contains("`weir group --by srcip,dstip`"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        let options =
            Options::parse_from(["weir", "nfdump", "-r", "/f", "-s", "srcip", "--native"]);
        assert!(matches!(options.command, Command::Nfdump(_)));
    }
}
