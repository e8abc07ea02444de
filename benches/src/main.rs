//! Measures, and sets each figure beside its bar in the blueprint (section 7). Exits with 1 if a "must"
//! is missed, or was not measured by a bench that should have.
//!
//! A packet's way, bench by bench: the program in test runs (`table`, what its `options` cost, the `gate` of
//! CI), user space (`sweep`, `export`, `offline`), live frames (`veth`, and beside other sensors `versus`), the
//! collector (`collect`), answers (`query`). The rest is what they share: `bars` and `record` keep figures,
//! `progress` tells how far it is, `campus` makes flows and `replay` sends them, `sensor` and `collector` are
//! the ends.
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod bars;
mod batch;
mod buffer;
mod campus;
mod collect;
mod collector;
mod export;
mod gate;
mod offline;
mod options;
mod progress;
mod query;
mod record;
mod replay;
mod sensor;
mod sweep;
mod table;
mod testrun;
mod versus;
mod veth;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use weir_benches::{cpu, interrupt, live::trial};

use crate::bars::Report;

/// Measures Weir and compares it with its bars.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --", bin_name = "cargo xtask bench --")]
struct Options {
    /// What to measure; everything but the gate if left out
    what: Vec<What>,
    /// A part of the work, for a look: nothing is written to benches/record/
    #[arg(long)]
    quick: bool,
    /// Do not write benches/record/
    #[arg(long)]
    no_record: bool,
    /// Flows that `query` asks about, about so many: 20 million, 2 million with --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000_000..=2_000_000_000))]
    flows: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The program's table, beside a kernel hash map
    Table,
    /// What each option of the program costs, and that those that are off cost nothing
    Options,
    /// User space's look at every slot, and the sensor's share of a core
    Sweep,
    /// A million flows over at once, to a collector with a default buffer
    Export,
    /// Capture files, beside softflowd and nfpcapd
    Offline,
    /// Live frames through a veth pair, one core for all but the daemon
    Veth,
    /// Weir beside softflowd, nfpcapd and pmacctd on the same live frames (a quarter of an hour)
    Versus,
    /// weir-collector beside nfcapd on the same datagrams (a quarter of an hour)
    Collect,
    /// weir beside nfdump and DuckDB on thirty days of the same flows (some ten minutes)
    Query,
    /// The table's ratios with room for noise, in under a minute: what CI runs
    Gate,
}

/// How to go about it.
struct Run {
    /// A part of the work.
    quick: bool,
    /// Whether to write records.
    record: bool,
    /// Flows of the archive that is asked, if told.
    flows: Option<u64>,
}

impl What {
    /// All but the gate, which is a part of `table`.
    const ALL: [Self; 9] = [
        Self::Table,
        Self::Options,
        Self::Sweep,
        Self::Export,
        Self::Offline,
        Self::Veth,
        Self::Versus,
        Self::Collect,
        Self::Query,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Options => "options",
            Self::Sweep => "sweep",
            Self::Export => "export",
            Self::Offline => "offline",
            Self::Veth => "veth",
            Self::Versus => "versus",
            Self::Collect => "collect",
            Self::Query => "query",
            Self::Gate => "gate",
        }
    }

    fn measure(self, report: &mut Report, run: &Run) -> Result<()> {
        match self {
            Self::Table => table::measure(report, run.quick),
            Self::Options => options::measure(report, run.quick),
            Self::Sweep => sweep::measure(report, run.quick),
            Self::Export => export::measure(report, run.quick),
            Self::Offline => offline::measure(report, run.quick),
            Self::Veth => veth::measure(report, run),
            Self::Versus => versus::measure(report, run),
            Self::Collect => collect::measure(report, run),
            Self::Query => query::measure(report, run),
            Self::Gate => gate::measure(report),
        }
    }

    /// Whether there is a file to keep: the gate only judges, and `versus` writes its own as it goes.
    fn is_recorded(self) -> bool {
        !matches!(self, Self::Versus | Self::Gate)
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let run = Run {
        quick: options.quick,
        record: !options.quick && !options.no_record,
        flows: options.flows,
    };
    interrupt::listen()?;
    let wanted = if options.what.is_empty() {
        What::ALL.to_vec()
    } else {
        options.what
    };
    let mut missed = Vec::new();
    for what in &wanted {
        interrupt::go_on()?;
        let mut report = Report::default();
        let result = trial::apart(|| what.measure(&mut report, &run));
        print!("{}", report.to_markdown());
        match result {
            Ok(()) if run.record && what.is_recorded() => record::write(what.name(), &report)?,
            Ok(()) => {}
            Err(error) => missed.push(format!("bench {}: {error:#}", what.name())),
        }
        missed.extend(report.misses());
    }
    for sentence in &missed {
        eprintln!("missed: {sentence}");
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
