//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// Receives NetFlow from any exporter, says exactly what was lost, and keeps the flows in flat
/// files that any engine can read.
#[derive(Debug, Parser)]
#[command(name = "weir-collector", version)]
pub struct Options {
    /// Directory for the flows
    #[arg(short = 'w', long = "write", value_name = "DIR")]
    pub directory: PathBuf,

    /// Address and port to listen on
    #[arg(
        short = 'l',
        long = "listen",
        value_name = "ADDR:PORT",
        default_value = "[::]:2055"
    )]
    pub listen: SocketAddr,

    /// Seconds a window lasts before it becomes a Parquet file
    #[arg(short = 't', long = "rotate", value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub rotation_s: u64,

    /// Write every counter to FILE at exit, as JSON (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub statistics_json: Option<PathBuf>,
}
