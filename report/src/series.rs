//! `weir series`: traffic over time, with what was usual and what was most.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{TimestampNanosecondType, UInt64Type},
};
use clap::{Args, ValueEnum};
use datafusion::prelude::{DataFrame, col};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Cell, Column, Table},
    bins::{Bins, bar, percentile},
    data::Coverage,
    filter::{Filter, prune, times},
    functions, picture,
    question::Source,
    text,
};

/// Characters of the longest bar.
const BAR_WIDTH: u64 = 40;
/// Flows that claim to have begun longer before the first one was received are not believed,
/// nanoseconds.
const BELIEVED_NS: i64 = times::DAY_NS;
/// Who asks for flows since a time so near asks up to the present, and else of an archive.
const RECENT_NS: i64 = 31 * times::DAY_NS;

/// What `weir series` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// Length of an interval, as 5m or 1h; some dozens of intervals otherwise
    #[arg(long, value_name = "TIME", value_parser = length)]
    every: Option<i64>,
    /// What is drawn
    #[arg(long, value_name = "WHAT", default_value = "octets")]
    of: Drawn,
    /// Draw it into this file, too (SVG)
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What bars show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawn {
    /// Octets, spread over the time of their flows
    #[value(aliases = ["bytes", "bps"])]
    Octets,
    /// Packets, likewise
    Packets,
    /// Flows that began
    Flows,
}

/// A length of time for the command line, in nanoseconds.
///
/// # Errors
/// A sentence.
pub fn length(text: &str) -> Result<i64, String> {
    times::duration_ns(text)
        .filter(|length| *length > 0)
        .ok_or_else(|| "a length of time fits here, such as 30s, 5m or 1h30m".to_owned())
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let question = options.source.question()?;
    let mut answer = Answer::default();
    let stretch = stretch_ns(&question.filter, &question.coverage, question.now_ns);
    let Some((from_ns, to_ns)) = stretch else {
        answer.table("series", Table::default());
        answer.print(&question.coverage, options.source.json)?;
        return Ok(question.coverage);
    };
    let fitting_ns = Bins::fitting_length_ns(from_ns, to_ns);
    let bins = Bins::new(from_ns, to_ns, options.every.unwrap_or(fitting_ns))?;
    // Who names no end asks for all up to the present.
    let mut bins = match prune::stretch_ns(&question.filter) {
        (asked_ns, Some(_)) => bins.cut(asked_ns, Some(to_ns)),
        (asked_ns, None) => bins.cut(asked_ns, Some(to_ns.max(question.now_ns))),
    };
    answer.flows = fill(question.flows, &mut bins).await?;
    answer.table("series", table(&bins, options.of));
    summary(&bins, &mut answer);
    if let Some(path) = &options.svg {
        let (caption, values) = drawn(&bins, options.of);
        picture::write(path, caption, &bins, &values)?;
        let file = path.display().to_string();
        answer.line("svg", json!(file), format!("drawn in {file}"));
    }
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// The stretch of time that is shown: what the filter asks for, but for the time to come, and as far as it
/// does not say, that of the flows; `None` if there are none.
#[must_use]
pub fn stretch_ns(filter: &Filter, coverage: &Coverage, now_ns: i64) -> Option<(i64, i64)> {
    let (first_ns, last_ns) = coverage.flows_ns?;
    let received = coverage.received_ns.iter();
    let first_received_ns = received.map(|(first, _)| *first).min()?;
    let last_received_ns = coverage.last_received_ns()?;
    // An exporter without a clock would stretch the time to decades.
    let earliest_ns = first_ns.max(first_received_ns.saturating_sub(BELIEVED_NS));
    let latest_ns = last_ns.min(last_received_ns.max(now_ns));
    let (asked_from_ns, to_ns) = prune::stretch_ns(filter);
    let from_ns = asked_from_ns.unwrap_or(earliest_ns);
    let latest_ns = latest_ns.saturating_add(1);
    let present_ns = now_ns.max(latest_ns);
    let to_ns = match (asked_from_ns, to_ns) {
        // No average or percentile is of hours that nothing could come in yet.
        (_, Some(to_ns)) => to_ns.min(present_ns),
        // Who says since when asks up to the present: that nothing came since is a part of the answer.
        (Some(from_ns), None) if now_ns.saturating_sub(from_ns) <= RECENT_NS => present_ns,
        _ => latest_ns,
    };
    Some((from_ns, to_ns.max(from_ns.saturating_add(1))))
}

/// Spreads flows over bins; how many they were.
///
/// # Errors
/// If the query fails.
pub async fn fill(flows: DataFrame, bins: &mut Bins) -> Result<u64> {
    let columns = ["flow_start", "flow_end", "octets", "packets"].map(col);
    let mut stream = flows.select(columns.to_vec())?.execute_stream().await?;
    let mut filled = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        filled += batch.num_rows() as u64;
        fill_batch(&batch, bins)?;
    }
    Ok(filled)
}

fn fill_batch(batch: &RecordBatch, bins: &mut Bins) -> Result<()> {
    let column = |name: &str| {
        let column = batch.column_by_name(name);
        column.with_context(|| format!("column {name}"))
    };
    let starts = column("flow_start")?.as_primitive::<TimestampNanosecondType>();
    let ends = column("flow_end")?.as_primitive::<TimestampNanosecondType>();
    let octets = column("octets")?.as_primitive::<UInt64Type>();
    let packets = column("packets")?.as_primitive::<UInt64Type>();
    for row in 0..batch.num_rows() {
        let (octets, packets) = (octets.value(row), packets.value(row));
        bins.add(starts.value(row), ends.value(row), octets, packets);
    }
    Ok(())
}

/// What a picture shows, and its values.
fn drawn(bins: &Bins, drawn: Drawn) -> (&'static str, Vec<u64>) {
    let spans = bins.spans.iter();
    match drawn {
        Drawn::Octets => ("Bits a second", bins.bits_per_second()),
        Drawn::Packets => (
            "Packets an interval",
            spans.map(|bin| bin.packets).collect(),
        ),
        Drawn::Flows => ("Flows an interval", spans.map(|bin| bin.flows).collect()),
    }
}

fn table(bins: &Bins, drawn: Drawn) -> Table {
    let rates = bins.bits_per_second();
    let size = |at: usize| match drawn {
        Drawn::Octets => bins.spans[at].octets,
        Drawn::Packets => bins.spans[at].packets,
        Drawn::Flows => bins.spans[at].flows,
    };
    let most = (0..bins.spans.len()).map(size).max().unwrap_or(0);
    let rows = bins.spans.iter().zip(&rates).zip(0..);
    let rows = rows.map(|((bin, bps), at)| {
        let mut row = vec![Cell::Time(bins.start_of(at))];
        row.extend([bin.octets, bin.packets, bin.flows, *bps].map(Cell::Count));
        row.push(Cell::Text(bar(size(at), most, BAR_WIDTH)));
        row
    });
    Table {
        columns: vec![
            Column::words("from", "From (UTC)"),
            Column::numbers("octets", "Octets"),
            Column::numbers("packets", "Packets"),
            Column::numbers("flows", "Flows"),
            Column::numbers("bps", "bps"),
            Column::words("bar", ""),
        ],
        rows: rows.collect(),
        ..Table::default()
    }
}

/// Whole seconds, as nearly all intervals have them, are a whole number.
fn seconds(ns: i64) -> Value {
    const SECOND_NS: i64 = 1_000_000_000;
    if ns % SECOND_NS == 0 {
        json!(ns / SECOND_NS)
    } else {
        json!(Duration::from_nanos(ns.unsigned_abs()).as_secs_f64())
    }
}

fn summary(bins: &Bins, answer: &mut Answer) {
    const USUAL_PER_CENT: usize = 95;
    let rates = bins.bits_per_second();
    let p95 = percentile(&rates, USUAL_PER_CENT);
    let most = percentile(&rates, 100);
    let octets = bins.spans.iter().map(|bin| bin.octets);
    let octets = octets.fold(0, u64::saturating_add);
    let average =
        functions::bits_per_second(octets, functions::duration_ms(0, bins.asked_length_ns()));
    let outside = bins.outside;
    let mut line = format!(
        "each line is {}; average {} bps, 95th percentile {} bps, most {} bps",
        text::stretch(bins.length_ns),
        text::count(average),
        text::count(p95),
        text::count(most),
    );
    if outside.octets > 0 {
        let outside = text::count(outside.octets);
        line = format!("{line}\n{outside} octets of these flows lie before or after that time");
    }
    let value = json!({
        "interval_seconds": seconds(bins.length_ns),
        "average_bps": average,
        "p95_bps": p95,
        "most_bps": most,
        "octets_outside": outside.octets,
    });
    answer.line("summary", value, line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::ast::{Comparison, Field, Test};

    #[test]
    fn what_is_to_come_is_not_shown() {
        const HOUR_NS: i64 = 3_600_000_000_000;
        let coverage = Coverage {
            flows_ns: Some((HOUR_NS, 2 * HOUR_NS)),
            received_ns: vec![(HOUR_NS, 2 * HOUR_NS)],
            ..Coverage::default()
        };
        for (asked_hour, now_hour, expected_ns) in [
            (3, 5, 3 * HOUR_NS),
            (9, 5, 5 * HOUR_NS),
            // A clock that is behind hides no flow.
            (9, 1, 2 * HOUR_NS + 1),
        ] {
            let until = Filter::from(Test::Time {
                field: Field::Start,
                comparison: Comparison::Less,
                at_ms: asked_hour * 3_600_000,
            });
            let stretch = stretch_ns(&until, &coverage, now_hour * HOUR_NS);
            assert_eq!(stretch, Some((HOUR_NS, expected_ns)), "{asked_hour}");
        }
        // That nothing came since is shown, but not of an archive of years ago.
        let since = Filter::from(Test::Time {
            field: Field::End,
            comparison: Comparison::GreaterOrEqual,
            at_ms: 3_600_000,
        });
        for (now_hour, to_ns) in [(5, 5 * HOUR_NS), (1000, 2 * HOUR_NS + 1)] {
            let stretch = stretch_ns(&since, &coverage, now_hour * HOUR_NS);
            assert_eq!(stretch, Some((HOUR_NS, to_ns)), "{now_hour}");
        }
    }
}
