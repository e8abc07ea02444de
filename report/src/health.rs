//! `weir health`: whether the data is complete: of each exporter what came and what was lost, when it was
//! heard last, and whether its clock is right; who was heard before and is silent now; of the directory its
//! gaps and its unreadable files.
#![expect(clippy::cast_precision_loss, reason = "parts of a whole to one place")]

use anyhow::{Context as _, Result};
use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::TimestampNanosecondType,
};
use clap::Args;
use datafusion::{
    functions_aggregate::expr_fn::{max, min, sum},
    prelude::{DataFrame, Expr, col},
};
use serde_json::{Value, json};

use crate::{
    account::{Counts, Stream, Unit},
    answer::{Answer, Cell, Column, Table},
    data::Coverage,
    element::{KeyValue, key_value},
    filter::{Filter, prune, ranges},
    functions,
    question::Source,
    series, text,
};

/// A flow that ended so long after it was received has a wrong clock, nanoseconds.
const AHEAD_NS: i64 = 2_000_000_000;

/// Flows that all were received so long after their end are of a clock that is behind, nanoseconds: exporters' timeouts
/// are minutes.
const BEHIND_NS: i64 = 3_600_000_000_000;

/// An exporter that was heard so long before the time asked for is missed in it, nanoseconds: one that was taken
/// away is told of no longer.
const MISSED_NS: i64 = 7 * 86_400_000_000_000;

/// What `weir health` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// An exporter that was not heard for so long is silent, if the filter asks for times and exporters only; one
    /// that was heard before the time asked for and not in it is told in any case
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = series::length)]
    silent: i64,
}

/// What the flows of a stream say.
#[derive(Clone, Debug)]
struct Heard {
    stream: Stream,
    flows: u64,
    last_received_ns: i64,
    /// How long after it was received a flow ended, at most, nanoseconds; 0 if all ended before.
    ahead_ns: i64,
    /// How long after its end a flow was received, at least, nanoseconds.
    behind_ns: i64,
    sampling: u64,
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let question = options.source.question()?;
    let coverage = &question.coverage;
    let mut heard = heard(question.flows).await?;
    heard.extend(missed(&heard, &question.filter, coverage));
    heard.sort_by(|one, other| one.stream.cmp(&other.stream));
    let newest_ns = coverage.last_received_ns().unwrap_or(question.now_ns);
    // Of a time that is over, nobody is silent who was heard until its end.
    let newest_ns = coverage
        .asked_ns
        .1
        .map_or(newest_ns, |to| newest_ns.min(to));
    let mut answer = Answer {
        flows: heard.iter().map(|heard| heard.flows).sum(),
        ..Answer::default()
    };
    let rows = heard.iter().map(|heard| row(heard, coverage, newest_ns));
    let table = Table {
        title: "Exporters".to_owned(),
        columns: vec![
            Column::words("exporter", "Exporter"),
            Column::numbers("version", "Version"),
            Column::numbers("source_id", "Domain"),
            Column::numbers("flows", "Flows"),
            Column::numbers("datagrams", "Datagrams"),
            Column::numbers("lost", "Lost"),
            Column::words("lost_unit", "of"),
            Column::numbers("coverage", "Came %"),
            Column::numbers("reordered", "Late"),
            Column::numbers("duplicated", "Twice"),
            Column::numbers("restarts", "Restarts"),
            Column::numbers("sampling", "1 in"),
            Column::words("last_heard", "Last heard (UTC)"),
            Column::words("silent_for", "Silent for"),
        ],
        rows: rows.collect(),
        ..Table::default()
    };
    answer.table("exporters", table);
    // Where the filter looks at more, who has no newer flow that fits may have sent others.
    let is_whole = prune::is_of_times_and_exporters(&question.filter);
    let silent_ns = is_whole.then_some(options.silent);
    let mut findings = findings(silent_ns, &heard, coverage, newest_ns);
    findings.extend(nothing_came(coverage, question.now_ns, options.silent));
    if heard.is_empty() && findings.is_empty() {
        findings.push(
            "no flow fits: nothing is known of the time or the exporters asked for".to_owned(),
        );
    }
    let line = if findings.is_empty() {
        "nothing is wrong with this data".to_owned()
    } else {
        findings.join("\n")
    };
    answer.line("findings", Value::from(findings), line);
    let gaps = coverage
        .gaps_ns()
        .into_iter()
        .map(|(from, to)| json!({ "from": text::time_json(from), "to": text::time_json(to) }));
    answer.json.insert("gaps".to_owned(), gaps.collect());
    answer.print(coverage, options.source.json)?;
    Ok(question.coverage)
}

/// Streams that were heard and have no flow: before the time asked for, or in it without one.
fn missed(heard: &[Heard], filter: &Filter, coverage: &Coverage) -> Vec<Heard> {
    let from_ns = coverage.asked_ns.0.unwrap_or(i64::MIN);
    let is_heard = |stream: &Stream| heard.iter().any(|heard| heard.stream == *stream);
    // Where the filter looks at more, who has no flow that fits may have sent others.
    let is_silent = |last_ns: i64| last_ns < from_ns || prune::is_of_times_and_exporters(filter);
    let may_be_asked_for = |stream: &Stream| {
        let address = stream.exporter.parse().ok().map(ranges::number_of);
        address.is_none_or(|address| prune::may_be_of(filter, address))
    };
    let known = coverage.streams_ns.iter().filter(|(stream, last_ns)| {
        **last_ns > from_ns.saturating_sub(MISSED_NS)
            && is_silent(**last_ns)
            && !is_heard(stream)
            && may_be_asked_for(stream)
    });
    let missed = known.map(|(stream, last_ns)| Heard {
        stream: stream.clone(),
        flows: 0,
        // What is known is the end of the file it was heard in.
        last_received_ns: *last_ns,
        ahead_ns: 0,
        behind_ns: 0,
        sampling: 0,
    });
    missed.collect()
}

/// What there is to say of a stream without a flow.
fn of_none(name: &str, heard: &Heard, coverage: &Coverage) -> Option<String> {
    let since = text::time_to_second(heard.last_received_ns);
    let from_ns = coverage.asked_ns.0.unwrap_or(i64::MIN);
    if heard.last_received_ns < from_ns {
        return Some(format!(
            "{name} was heard until {since} UTC, and nothing of the time asked for came from it: is it up, and \
             does it still export to here?"
        ));
    }
    let counts = counts_of(&heard.stream, coverage)?;
    match (counts.records, counts.waiting_sets) {
        // Options only, say.
        (0, 0) => None,
        (0, _) => Some(format!(
            "{} datagrams of {name} came, and no flow in them could be read: their templates have not come",
            text::count(counts.datagrams),
        )),
        _ => Some(format!(
            "{name} was heard in files up to {since} UTC, and none of its flows is of the time asked for: is it \
             silent since, or its clock wrong?"
        )),
    }
}

/// What part came of what a stream sent, as far as its numbers tell.
fn part_that_came(heard: &Heard, counts: Option<&Counts>) -> Cell {
    if heard.flows == 0 && counts.is_none_or(|counts| counts.datagrams == 0) {
        return Cell::Share(0.0);
    }
    let Some((counts, unit)) = counts.and_then(|counts| Some((counts, counts.lost_unit?))) else {
        return Cell::Empty;
    };
    let came = match unit {
        Unit::Records => counts.records,
        Unit::Datagrams => counts.datagrams,
    };
    let lost = u64::try_from(counts.lost).unwrap_or(0);
    match came.saturating_add(lost) {
        0 => Cell::Empty,
        sent => Cell::Share(came as f64 / sent as f64),
    }
}

/// What was counted of a stream in the files, if they say.
fn counts_of<'a>(stream: &Stream, coverage: &'a Coverage) -> Option<&'a Counts> {
    let mut counts = coverage.accounts.iter();
    counts
        .find(|(known, _)| *known == stream)
        .map(|(_, counts)| counts)
}

fn row(heard: &Heard, coverage: &Coverage, newest_ns: i64) -> Vec<Cell> {
    let counts = counts_of(&heard.stream, coverage);
    let of = |value: fn(&Counts) -> u64| match counts {
        Some(counts) => Cell::Count(value(counts)),
        None => Cell::Empty,
    };
    let unit = counts.and_then(|counts| counts.lost_unit);
    // v1 has no numbers: what was lost is not known, which is not 0.
    let of_numbers = |value: fn(&Counts) -> u64| match unit {
        Some(_) => of(value),
        None => Cell::Empty,
    };
    vec![
        Cell::Text(heard.stream.exporter.clone()),
        Cell::Number(heard.stream.version),
        Cell::Number(heard.stream.source_id),
        Cell::Count(heard.flows),
        of(|counts| counts.datagrams),
        of_numbers(|counts| u64::try_from(counts.lost).unwrap_or(0)),
        Cell::Text(unit.map_or("", Unit::name).to_owned()),
        part_that_came(heard, counts),
        of_numbers(|counts| counts.reordered),
        of_numbers(|counts| counts.duplicated),
        of_numbers(|counts| counts.restarts),
        match heard.sampling {
            0 => Cell::Empty,
            sampling => Cell::Number(sampling),
        },
        Cell::Time(heard.last_received_ns),
        Cell::Text(text::stretch(
            newest_ns.saturating_sub(heard.last_received_ns).max(0),
        )),
    ]
}

/// What an operator should know, a sentence each. `silent_max_ns`: how long an exporter may be silent, if these flows
/// tell that.
fn findings(
    silent_max_ns: Option<i64>,
    heard: &[Heard],
    coverage: &Coverage,
    newest_ns: i64,
) -> Vec<String> {
    let mut findings = Vec::new();
    for heard in heard {
        let Stream {
            exporter,
            version,
            source_id,
        } = &heard.stream;
        let name = format!("{exporter} (version {version}, domain {source_id})");
        let silent_ns = newest_ns.saturating_sub(heard.last_received_ns);
        let since = text::time_to_second(heard.last_received_ns);
        let silent = text::stretch(silent_ns.max(0));
        if heard.flows == 0 {
            findings.extend(of_none(&name, heard, coverage));
        } else if silent_max_ns.is_some_and(|most| silent_ns > most) {
            findings.push(format!(
                "{name} fell silent at {since} UTC, {silent} before the newest flow"
            ));
        }
        let counts = counts_of(&heard.stream, coverage);
        let lost = counts.map_or(0, |counts| counts.lost);
        if lost > 0 {
            let unit = counts.and_then(|counts| counts.lost_unit);
            let unit = unit.map_or("of what it sent", Unit::name);
            let lost = text::count(lost.unsigned_abs());
            findings.push(format!(
                "{name} lost {lost} {unit} on the way: look at the path and at the socket's buffer"
            ));
        }
        if heard.ahead_ns > AHEAD_NS {
            let ahead = text::stretch(heard.ahead_ns);
            findings.push(format!(
                "{name} has a clock that is ahead by {ahead}: set it by NTP"
            ));
        }
        if heard.behind_ns > BEHIND_NS {
            let behind = text::stretch(heard.behind_ns);
            findings.push(format!(
                "{name} has a clock that is behind by {behind}, or sends what is old: set it by NTP"
            ));
        }
    }
    for (from, to) in coverage.gaps_ns() {
        let (from, to) = (text::time_to_second(from), text::time_to_second(to));
        let who = coverage.unheard();
        findings.push(format!("{who} was heard from {from} to {to} UTC"));
    }
    for (path, reason) in coverage.left_out() {
        findings.push(format!("{} cannot be read: {reason}", path.display()));
    }
    findings
}

/// That nobody at all was heard until now, or until the end of the time asked for, for longer than an exporter may
/// be silent: beside others each one looks well then. What any filter leaves out counts, since somebody sent it.
fn nothing_came(coverage: &Coverage, now_ns: i64, silent_ns: i64) -> Option<String> {
    const WHAT_TO_DO: &str = "is the collector running, and do exporters reach it?";
    let until_ns = coverage.asked_ns.1.map_or(now_ns, |to| now_ns.min(to));
    let Some(last_ns) = coverage.heard_ns.iter().map(|(_, last)| *last).max() else {
        return Some(format!("nothing was ever received here: {WHAT_TO_DO}"));
    };
    let silence_ns = until_ns.saturating_sub(last_ns);
    (silence_ns > silent_ns).then(|| {
        format!(
            "nothing was received from {} to {} UTC, for {}: {WHAT_TO_DO}",
            text::time_to_second(last_ns),
            text::time_to_second(until_ns),
            text::stretch(silence_ns),
        )
    })
}

/// What the flows say of each stream.
async fn heard(flows: DataFrame) -> Result<Vec<Heard>> {
    let keys: Vec<Expr> = ["exporter", "version", "source_id"].map(col).to_vec();
    let mut columns = keys.clone();
    columns.extend(["flows", "received", "sampling_interval"].map(col));
    columns.push(functions::ahead_expression().alias("ahead"));
    columns.push(functions::behind_expression().alias("behind"));
    let frame = flows.select(columns)?.aggregate(
        keys.clone(),
        vec![
            sum(col("flows")).alias("flows"),
            max(col("received")).alias("last"),
            max(col("ahead")).alias("ahead"),
            min(col("behind")).alias("behind"),
            max(col("sampling_interval")).alias("sampling"),
        ],
    )?;
    let order = keys.into_iter().map(|key| key.sort(true, false)).collect();
    let batches = frame.sort(order)?.collect().await?;
    let mut heard = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            heard.push(read(batch, row)?);
        }
    }
    Ok(heard)
}

fn read(batch: &RecordBatch, row: usize) -> Result<Heard> {
    let value = |name: &str| -> Result<KeyValue> {
        let column = batch.column_by_name(name);
        let column = column.with_context(|| format!("column {name}"))?;
        Ok(key_value(column, row))
    };
    let number = |name: &str| -> Result<u64> {
        Ok(match value(name)? {
            KeyValue::Number(number) => number,
            _ => 0,
        })
    };
    let time = |name: &str| -> Result<i64> {
        let column = batch.column_by_name(name);
        let column = column.with_context(|| format!("column {name}"))?;
        let times = column.as_primitive_opt::<TimestampNanosecondType>();
        let times = times.filter(|times| !times.is_null(row));
        Ok(times.map_or(0, |times| times.value(row)))
    };
    let span_ns = |name: &str| -> Result<i64> {
        let ms = i64::try_from(number(name)?).unwrap_or(i64::MAX);
        Ok(ms.saturating_mul(1_000_000))
    };
    Ok(Heard {
        stream: Stream {
            exporter: match value("exporter")? {
                KeyValue::Text(exporter) => exporter,
                _ => String::new(),
            },
            version: number("version")?,
            source_id: number("source_id")?,
        },
        flows: number("flows")?,
        last_received_ns: time("last")?,
        ahead_ns: span_ns("ahead")?,
        behind_ns: span_ns("behind")?,
        sampling: number("sampling")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: i64 = 60_000_000_000;

    #[test]
    fn silence_of_all_is_told_until_now_or_the_end_of_what_is_asked() {
        let mut coverage = Coverage::default();
        let says = |coverage: &Coverage, now_minute: i64| {
            nothing_came(coverage, now_minute * MINUTE_NS, 10 * MINUTE_NS)
        };
        let never = says(&coverage, 60).unwrap();
        assert!(never.contains("nothing was ever received"), "{never}");
        coverage.heard_ns = vec![(0, 30 * MINUTE_NS), (5 * MINUTE_NS, 20 * MINUTE_NS)];
        assert_eq!(says(&coverage, 40), None);
        let silent = says(&coverage, 41).unwrap();
        assert!(
            silent.contains("from 1970-01-01 00:30:00 to 1970-01-01 00:41:00 UTC, for 11 min 0 s"),
            "{silent}"
        );
        // Of a time that is over, what came later does not count.
        coverage.asked_ns = (None, Some(40 * MINUTE_NS));
        assert_eq!(says(&coverage, 1000), None);
        coverage.asked_ns = (None, Some(50 * MINUTE_NS));
        assert!(says(&coverage, 1000).unwrap().contains("for 20 min 0 s"));
    }
}
