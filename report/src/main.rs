//! `weir`: the operator's questions, answered from the collector's files, the open window included.
//! It writes nothing and talks to no daemon.

mod data;
mod filter;
mod flows;
mod text;
mod top;

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::{
    data::Coverage,
    top::{Key, Order},
};

/// Answers questions from the flows that weir-collector keeps.
#[derive(Debug, Parser)]
#[command(name = "weir", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show flows
    Flows {
        #[command(flatten)]
        source: Source,
        /// At most this many
        #[arg(short = 'n', long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show who has most
    Top {
        #[command(flatten)]
        source: Source,
        /// What flows are gathered by
        #[arg(long, value_name = "KEY", default_value = "srcip")]
        by: Key,
        /// What decides who has most
        #[arg(long, value_name = "ORDER", default_value = "octets")]
        order: Order,
        /// Lines shown
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: usize,
    },
}

#[derive(Debug, Args)]
struct Source {
    /// Directory of the flows (the collector's -w)
    #[arg(short = 'r', long = "read", value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON: an object a flow, or one for the answer
    #[arg(long)]
    json: bool,
    /// Only flows that fit, as in `src net 10.0.0.0/8 and not (tcp or port 53)`
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(options)) {
        Ok(coverage) if coverage.unreadable.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) if closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output had enough (`weir flows | head`).
fn closed(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(options: Options) -> Result<Coverage> {
    let source = match &options.command {
        Command::Flows { source, .. } | Command::Top { source, .. } => source,
    };
    let filter = source.filter.join(" ");
    let filter = if filter.trim().is_empty() {
        None
    } else {
        Some(filter::parse(&filter).unwrap_or_else(|error| misunderstood(&error)))
    };
    let as_json = source.json;
    let config =
        SessionConfig::new().set_bool("datafusion.execution.parquet.pushdown_filters", true);
    let context = SessionContext::new_with_config(config);
    let (mut flows, coverage) = data::open(&context, &source.directory).await?;
    if let Some(filter) = filter {
        flows = flows.filter(filter)?;
    }
    let answered = match options.command {
        Command::Flows { limit, .. } => flows::print(flows, limit, as_json).await?,
        Command::Top {
            by, order, lines, ..
        } => top::print(flows, by, order, lines, as_json).await?,
    };
    for (path, reason) in &coverage.unreadable {
        eprintln!("weir: partial: {} was left out: {reason}", path.display());
    }
    if !as_json {
        println!(
            "\n{} of {} flows, from {} closed and {} open files",
            text::count(answered),
            text::count(coverage.flows),
            coverage.closed,
            coverage.open
        );
    }
    Ok(coverage)
}

/// Ends with a usage error, status 2.
fn misunderstood(error: &anyhow::Error) -> ! {
    eprintln!("weir: {error}");
    std::process::exit(2)
}
