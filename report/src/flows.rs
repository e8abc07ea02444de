//! `weir flows`: the flows themselves, in the order in which their files were received, or sorted. The
//! first ones are printed while the next are decoded.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use arrow::array::RecordBatch;
use clap::Args;
use datafusion::{
    error::DataFusionError,
    logical_expr::SortExpr,
    prelude::{DataFrame, Expr, col},
};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;

use crate::{
    covered::{coverage_json, coverage_text, report_coverage},
    data::Coverage,
    engine,
    filter::Filter,
    format::Format,
    functions,
    joined::{self, First},
    lines,
    objects::Objects,
    output::Output,
    question::{Misasked, Source},
    ranking::direction,
};

/// Batches decoded ahead of those that are printed.
const BATCHES_AHEAD: usize = 2;

/// What `weir flows` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// At most this many; 0: all
    #[arg(short = 'n', short_alias = 'c', long, value_name = "N")]
    limit: Option<usize>,
    /// line, long, extended, biline, bilong, gline, glong, nsel, nat, csv, json, ndjson, null, `fmt:%ts %sap …` or
    /// `csv:%sa,…` with nfdump's tokens; else line, or with -b and -B biline
    #[arg(short = 'o', long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,
    /// Both directions of a connection in one line, the one that began first; biline and bilong have it so
    /// anyway. Tokens such as %ipkt and %opkt tell the directions apart
    #[arg(short = 'b', long, conflicts_with = "to_servers")]
    both: bool,
    /// Likewise, but the direction to the server first, where the ports tell which that is
    #[arg(short = 'B', long)]
    to_servers: bool,
    /// Of lines of both directions only those that fit, as in `out packets = 0` (nfdump's -P)
    #[arg(short = 'P', long, value_name = "FILTER")]
    having: Option<String>,
    /// Sort by tstart, tend, packets, bytes, flows, duration, pps, bps or bpp, or by what left: opackets, obytes,
    /// opps, obps or obpp; with `:a` behind it the least first, with `:d` the greatest
    #[arg(short = 'O', long, value_name = "ORDER")]
    order: Option<String>,
    /// Flows only: no heading, and nothing of what they cover
    #[arg(short = 'q', long)]
    quiet: bool,
}

impl Options {
    /// Rows at most, if not all.
    fn rows(&self) -> Option<usize> {
        self.limit.filter(|limit| *limit > 0)
    }

    /// What lines of both directions must be like.
    fn having(&self, is_joined: bool) -> Result<Option<Filter>> {
        let Some(having) = &self.having else {
            return Ok(None);
        };
        if !is_joined {
            bail!(Misasked(
                "--having chooses lines of both directions (-b, -B, and not -o null): flows are chosen by the filter"
                    .to_owned()
            ));
        }
        self.source.parse(having).map(Some).context("--having")
    }
}

/// How the flows are printed.
enum Printed {
    Text(Format),
    /// One document.
    Json,
    /// An object a line.
    Lines,
    /// Not at all: only what the answer covers.
    Null,
}

impl Printed {
    fn parse(options: &Options) -> Result<Self> {
        let is_both = options.both || options.to_servers;
        let usual = if is_both { "biline" } else { "line" };
        Ok(match options.format.as_deref().unwrap_or(usual) {
            _ if options.source.json => Self::Json,
            "json" => Self::Json,
            "ndjson" => Self::Lines,
            "null" => Self::Null,
            format => Self::Text(Format::parse(format)?),
        })
    }

    /// Whether both directions are one line, and then which of them comes first.
    fn joined(&self, options: &Options) -> Option<First> {
        let is_of_both = matches!(self, Self::Text(format) if format.is_of_both());
        match self {
            // How many flows there are does not depend on it.
            Self::Null => None,
            _ if options.to_servers => Some(First::ToServer),
            _ => (options.both || is_of_both).then_some(First::Begun),
        }
    }
}

/// Answers it.
///
/// # Errors
/// If the filter, the format or the order does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let printed = Printed::parse(options)?;
    let joined = printed.joined(options);
    let order = options.order.as_deref();
    let order = order
        .map(|name| order_of(name, joined.is_some(), options.source.scaled))
        .transpose()?;
    let having = options.having(joined.is_some())?;
    // How many flows there are does not depend on their order either.
    let found = match (&order, joined, &printed) {
        (None, None, Printed::Text(_) | Printed::Json | Printed::Lines) => {
            engine::Order::AsReceived
        }
        _ => engine::Order::AsFound,
    };
    let asked = options.source.asked()?;
    let question = options.source.question_in(found, asked)?;
    let mut flows = question.flows;
    if let Some(first) = joined {
        flows = joined::joined(flows, first)?;
        if let Some(having) = &having {
            flows = joined::fitting(flows, having)?;
        }
    }
    let sort = sort(order, joined.is_some());
    let limit = options.rows();
    if !sort.is_empty() {
        flows = flows.sort(sort)?.limit(0, limit)?;
    }
    let coverage = question.coverage;
    let is_text = matches!(&printed, Printed::Text(format) if !format.is_csv());
    let mut output = Output::new(&coverage.reading, is_text);
    match printed {
        Printed::Text(format) => {
            let is_joined = joined.is_some();
            print_text(flows, format, is_joined, options, &coverage, &mut output).await?;
        }
        Printed::Json => {
            let batches = first(flows, limit).await?;
            let heading = "{\"flows\":[".to_owned();
            let printed = lines::print(batches, Objects::Elements, heading, &mut output).await?;
            if options.quiet {
                writeln!(output, "\n]}}")?;
            } else {
                let covered = coverage_json(&coverage, printed);
                writeln!(output, "\n],\"coverage\":{covered:#}}}")?;
            }
        }
        Printed::Lines => {
            let batches = first(flows, limit).await?;
            let heading = String::new();
            let printed = lines::print(batches, Objects::Lines, heading, &mut output).await?;
            if !options.quiet {
                report_coverage(&coverage, printed);
            }
        }
        Printed::Null => {
            let counted = flows.limit(0, limit)?.count().await?;
            if !options.quiet {
                write!(output, "{}", coverage_text(&coverage, counted as u64))?;
            }
        }
    }
    output.finish()?;
    Ok(coverage)
}

/// Prints lines of a format.
async fn print_text(
    flows: DataFrame,
    format: Format,
    is_joined: bool,
    options: &Options,
    coverage: &Coverage,
    output: &mut Output,
) -> Result<()> {
    let limit = options.rows();
    let (is_csv, (bold, plain)) = (format.is_csv(), output.marks());
    let mut heading = String::new();
    if !options.quiet {
        heading = format!("{bold}{}{plain}\n", format.heading());
    }
    let mut columns = joined::columns(&format, is_joined)?;
    if !is_joined && format.shows_out() {
        columns.extend(joined::out_columns(options.source.scaled));
    }
    let batches = first(flows.select(columns)?, limit).await?;
    let printed = lines::print(batches, format, heading, output).await?;
    if options.quiet {
        // Whoever reads it wants lines of flows.
    } else if is_csv {
        report_coverage(coverage, printed);
    } else {
        write!(output, "\n{}", coverage_text(coverage, printed))?;
    }
    Ok(())
}

type Batches = BoxStream<'static, Result<RecordBatch, DataFusionError>>;

/// The first so many flows, part by part: closed files of all directories in the order of the times in their names,
/// then open windows, directory by directory. The rest is not read.
async fn first(flows: DataFrame, limit: Option<usize>) -> Result<Batches> {
    let parts = flows.execute_stream_partitioned().await?;
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let decoding = tokio::spawn(async move {
        for mut part in parts {
            while let Some(batch) = part.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        }
    });
    let state = (receiver, Some(decoding), limit.unwrap_or(usize::MAX));
    let batches = stream::unfold(state, |(mut receiver, mut decoding, left)| async move {
        if left == 0 {
            return None;
        }
        if let Some(batch) = receiver.recv().await {
            let batch = batch.map(|batch| batch.slice(0, batch.num_rows().min(left)));
            let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
            return Some((batch, (receiver, decoding, left - rows)));
        }
        // Who ended without a word did not read to the end.
        let error = decoding.take()?.await.err()?;
        let error = DataFusionError::External(Box::new(error));
        Some((Err(error), (receiver, None, 0)))
    });
    Ok(batches.boxed())
}

/// By what flows are sorted. Lines of both directions are sorted in any case: the engine has them in another
/// order each time.
fn sort(order: Option<(Expr, bool)>, is_joined: bool) -> Vec<SortExpr> {
    let ascending = |column: &str| col(column).sort(true, false);
    let mut sort = Vec::new();
    if let Some((by, is_ascending)) = order {
        sort.extend([by.sort(is_ascending, false), ascending("flow_start")]);
    } else if is_joined {
        sort.push(ascending("flow_start"));
    }
    if is_joined {
        sort.extend(["src_addr", "src_port", "dst_addr", "dst_port"].map(ascending));
    }
    sort
}

/// What flows are sorted by, and whether the least comes first. What left is scaled, if that is wanted, as it is shown;
/// in lines of both directions it is a sum of counts that are.
fn order_of(whole: &str, is_joined: bool, is_scaled: bool) -> Result<(Expr, bool)> {
    let (name, is_ascending) = direction(whole);
    let [out_packets, out_octets] = if is_joined {
        [joined::OUT_PACKETS, joined::OUT_OCTETS].map(col)
    } else {
        joined::out_counts(is_scaled)
    };
    let (by, is_usual) = match name {
        "tstart" => (col("flow_start"), true),
        "tend" => (col("flow_end"), true),
        "packets" | "ipackets" => (col("packets"), false),
        "bytes" | "ibytes" | "octets" => (col("octets"), false),
        "flows" => (col("flows"), false),
        "opackets" => (out_packets, false),
        "obytes" => (out_octets, false),
        "duration" => (functions::duration_expression(), false),
        "pps" | "ipps" => (functions::packets_per_second_expression(), false),
        "bps" | "ibps" => (functions::bits_per_second_expression(), false),
        "bpp" | "ibpp" => (functions::octets_per_packet_expression(), false),
        "opps" => (functions::packets_per_second_of(out_packets), false),
        "obps" => (functions::bits_per_second_of(out_octets), false),
        "obpp" => (
            functions::octets_per_packet_of(out_octets, out_packets),
            false,
        ),
        _ => bail!(Misasked(format!(
            "no order is called `{whole}`: there are tstart, tend, packets, bytes, flows, duration, pps, bps, bpp, \
             opackets, obytes, opps, obps and obpp, with `:a` or `:d` behind"
        ))),
    };
    Ok((by, is_ascending.unwrap_or(is_usual)))
}
