//! Measures, and sets each figure beside its bar in the blueprint (section 7). Bars that nothing
//! measures yet are listed as such. Exits with 1 if a "must" is missed or not measured.
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod bars;
mod offline;
mod sweep;
mod table;
mod versus;
mod veth;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use weir_benches::cpu;

use crate::bars::Report;

/// Measures Weir and compares it with its bars.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --", bin_name = "cargo xtask bench --")]
struct Options {
    /// What to measure; everything if left out
    what: Vec<What>,
    /// A tenth of the work, for a look
    #[arg(long)]
    quick: bool,
    /// Do not write benches/record/
    #[arg(long)]
    no_record: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The program's table, beside a kernel hash map
    Table,
    /// User space's look at every slot
    Sweep,
    /// Capture files, beside softflowd and nfpcapd
    Offline,
    /// Live frames through a veth pair, one core for all
    Veth,
    /// Weir beside softflowd, nfpcapd and pmacctd on the same live frames
    Versus,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut report = Report::default();
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    if wanted(What::Table) {
        table::measure(&mut report, options.quick)?;
    }
    if wanted(What::Sweep) {
        sweep::measure(&mut report)?;
    }
    if wanted(What::Offline) {
        offline::measure(&mut report, options.quick)?;
    }
    if wanted(What::Veth) {
        veth::measure(&mut report, options.quick)?;
    }
    if wanted(What::Versus) {
        versus::measure(&mut report, options.quick, !options.no_record)?;
    }
    print!("{}", report.to_markdown());
    if !options.no_record {
        report.record()?;
    }
    Ok(if report.missed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
