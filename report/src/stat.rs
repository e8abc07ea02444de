//! `weir stat`: flow-stat's reports by their numbers, or by the names that flow-report has for them.
#![expect(clippy::cast_precision_loss, reason = "parts of a whole to one place")]

use anyhow::{Context as _, Result, bail};
use arrow::{
    array::{Array as _, AsArray as _},
    datatypes::TimestampNanosecondType,
};
use clap::Args;
use datafusion::{
    functions_aggregate::expr_fn::{max, min, sum},
    prelude::{DataFrame, col},
};

use crate::{
    answer::{Answer, Cell, Column, Table},
    data::Coverage,
    element::{Element, KeyValue, key_value},
    functions,
    gather::{Gathering, gather},
    group,
    question::{Misasked, Question, Source},
    ranking::{Order, Ranking, Sorting},
};

/// What `weir stat` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// A report: flow-stat's -f number (0 to 32) or flow-report's name (ip-source-address); tags are names from files
    /// (--names)
    #[arg(value_name = "REPORT", value_parser = Report::parse)]
    report: Report,
    #[command(flatten)]
    source: Source,
    /// Sort by this column, the least first; columns count from 0: the keys, then flows, octets, packets
    #[arg(short = 's', value_name = "COLUMN", conflicts_with = "descending")]
    ascending: Option<usize>,
    /// Sort by this column, the greatest first
    #[arg(short = 'S', value_name = "COLUMN")]
    descending: Option<usize>,
    /// Show parts of the whole in per cent
    #[arg(short = 'P', long)]
    percent: bool,
    /// Lines shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    lines: usize,
}

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    number: u8,
    name: &'static str,
    shape: Shape,
}

/// How a report is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Totals and averages; with distributions, or without.
    Summary { distributions: bool },
    /// Flows by the size of an element.
    Distribution(&'static str),
    /// Lines of elements.
    Elements(&'static [&'static str]),
    /// The same, of TCP and UDP only.
    Ports(&'static [&'static str]),
}

static REPORTS: [Report; 33] = [
    report(
        0,
        "summary",
        Shape::Summary {
            distributions: true,
        },
    ),
    report(1, "packet-size", Shape::Distribution("bpp")),
    report(2, "packets", Shape::Distribution("packets")),
    report(3, "octets", Shape::Distribution("bytes")),
    report(4, "bps", Shape::Distribution("bps")),
    report(5, "ip-destination-port", Shape::Ports(&["dstport"])),
    report(6, "ip-source-port", Shape::Ports(&["srcport"])),
    report(7, "ip-port", Shape::Ports(&["port"])),
    report(8, "ip-destination-address", Shape::Elements(&["dstip"])),
    report(9, "ip-source-address", Shape::Elements(&["srcip"])),
    report(
        10,
        "ip-source/destination-address",
        Shape::Elements(&["srcip", "dstip"]),
    ),
    report(11, "ip-address", Shape::Elements(&["ip"])),
    report(12, "ip-protocol", Shape::Elements(&["proto"])),
    report(
        13,
        "octets-duration",
        Shape::Elements(&["duration", "bytes"]),
    ),
    report(
        14,
        "packets-duration",
        Shape::Elements(&["duration", "packets"]),
    ),
    report(
        15,
        "summary-counters",
        Shape::Summary {
            distributions: false,
        },
    ),
    report(16, "ip-next-hop-address", Shape::Elements(&["nhip"])),
    report(17, "input-interface", Shape::Elements(&["inif"])),
    report(18, "output-interface", Shape::Elements(&["outif"])),
    report(19, "source-as", Shape::Elements(&["srcas"])),
    report(20, "destination-as", Shape::Elements(&["dstas"])),
    report(
        21,
        "source/destination-as",
        Shape::Elements(&["srcas", "dstas"]),
    ),
    report(22, "ip-tos", Shape::Elements(&["tos"])),
    report(
        23,
        "input/output-interface",
        Shape::Elements(&["inif", "outif"]),
    ),
    report(24, "source-prefix", Shape::Elements(&["srcnet", "srcmask"])),
    report(
        25,
        "destination-prefix",
        Shape::Elements(&["dstnet", "dstmask"]),
    ),
    report(
        26,
        "source/destination-prefix",
        Shape::Elements(&["srcnet", "srcmask", "dstnet", "dstmask"]),
    ),
    report(27, "ip-exporter-address", Shape::Elements(&["router"])),
    report(28, "engine-id", Shape::Elements(&["engineid"])),
    report(29, "engine-type", Shape::Elements(&["enginetype"])),
    // What flow-tag wrote into flows by prefix, Weir's files of names tell (--names).
    report(30, "source-tag", Shape::Elements(&["srcname"])),
    report(31, "destination-tag", Shape::Elements(&["dstname"])),
    report(
        32,
        "source/destination-tag",
        Shape::Elements(&["srcname", "dstname"]),
    ),
];

const fn report(number: u8, name: &'static str, shape: Shape) -> Report {
    Report {
        number,
        name,
        shape,
    }
}

impl Report {
    fn parse(text: &str) -> Result<Self, String> {
        let mut reports = REPORTS.iter();
        let is_it = |report: &&Self| report.number.to_string() == text || report.name == text;
        reports.find(is_it).copied().ok_or_else(|| {
            let names = REPORTS.map(|report| format!("{} {}", report.number, report.name));
            format!("there are {}", names.join(", "))
        })
    }
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let has_lines = matches!(options.report.shape, Shape::Elements(_) | Shape::Ports(_));
    let is_sorted = options.ascending.or(options.descending).is_some();
    if !has_lines && (is_sorted || options.percent || options.lines > 0) {
        bail!(Misasked(format!(
            "report {} ({}) has no lines to sort or to cut: leave -s, -S, -P and -n out",
            options.report.number, options.report.name
        )));
    }
    let mut asked = options.source.asked()?;
    if let Shape::Ports(_) = options.report.shape {
        asked = asked.and(options.source.parse("tcp or udp")?);
    }
    let question = options.source.question_of(asked)?;
    let mut answer = Answer::default();
    match options.report.shape {
        Shape::Summary { distributions } => {
            let (table, flows) = summary(question.flows.clone()).await?;
            answer.flows = flows;
            answer.table("summary", table);
            for element in ["bpp", "packets", "bytes", "bps"] {
                if distributions {
                    let (table, _) = distribution(&question, element).await?;
                    answer.table(element, table);
                }
            }
        }
        Shape::Distribution(element) => {
            let (table, flows) = distribution(&question, element).await?;
            answer.flows = flows;
            answer.table("distribution", table);
        }
        Shape::Elements(names) | Shape::Ports(names) => {
            let (table, flows, groups) = elements(options, &question, names).await?;
            let shown = table.rows.len() as u64;
            answer.flows = flows;
            answer.table("lines", table);
            group::tell_cut(shown, groups, &mut answer);
        }
    }
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// Totals and averages, and the flows they are of.
async fn summary(flows: DataFrame) -> Result<(Table, u64)> {
    let (durations_ms, first, last) = times(flows.clone()).await?;
    let total = gather(flows, &Gathering::default(), |_| {}).await?.counts;
    let elapsed_ms = functions::duration_ms(first, last);
    let each = |sum: u64| functions::average(sum, total.flows);
    let bits = functions::bits_per_second(total.octets, elapsed_ms);
    let rows = [
        ("flows", Cell::Count(total.flows)),
        ("octets", Cell::Count(total.octets)),
        ("packets", Cell::Count(total.packets)),
        (
            "first flow (UTC)",
            if total.flows == 0 {
                Cell::Empty
            } else {
                Cell::Time(first)
            },
        ),
        ("seconds to the last packet", Cell::Milliseconds(elapsed_ms)),
        ("seconds a flow", Cell::Milliseconds(each(durations_ms))),
        (
            "octets a packet",
            Cell::Count(functions::average(total.octets, total.packets)),
        ),
        ("octets a flow", Cell::Count(each(total.octets))),
        ("packets a flow", Cell::Count(each(total.packets))),
        (
            "flows a second",
            Cell::Count(functions::per_second(total.flows, elapsed_ms)),
        ),
        ("bits a second", Cell::Count(bits)),
    ];
    let rows = rows.map(|(name, value)| vec![Cell::Text(name.to_owned()), value]);
    let table = Table {
        columns: vec![
            Column::words("figure", "Figure"),
            Column::numbers("value", ""),
        ],
        rows: rows.to_vec(),
        ..Table::default()
    };
    Ok((table, total.flows))
}

/// The sum of all durations in milliseconds, the first and the last time.
async fn times(flows: DataFrame) -> Result<(u64, i64, i64)> {
    let columns = vec![
        functions::addend_expression(functions::duration_expression()).alias("duration"),
        col("flow_start"),
        col("flow_end"),
    ];
    let aggregates = vec![
        sum(col("duration")).alias("duration"),
        min(col("flow_start")).alias("first"),
        max(col("flow_end")).alias("last"),
    ];
    let frame = flows.select(columns)?.aggregate(vec![], aggregates)?;
    let duration = functions::sum_expression(col("duration"));
    let frame = frame.with_column("duration", duration)?;
    let batches = frame.collect().await?;
    let batch = batches.first().context("a total")?;
    let column = |name: &str| batch.column_by_name(name).context("a total");
    let duration_ms = match key_value(column("duration")?, 0) {
        KeyValue::Number(duration_ms) => duration_ms,
        _ => 0,
    };
    let time = |name: &str| -> Result<i64> {
        let times = column(name)?.as_primitive::<TimestampNanosecondType>();
        Ok(if times.is_null(0) { 0 } else { times.value(0) })
    };
    Ok((duration_ms, time("first")?, time("last")?))
}

/// Flows by the size of an element, in classes whose upper ends double.
async fn distribution(question: &Question, element: &str) -> Result<(Table, u64)> {
    let element = Element::parse(element).map_err(anyhow::Error::msg)?;
    let heading = element.heading.clone();
    let gathering = Gathering {
        keys: vec![element],
        ..Gathering::default()
    };
    // Class 0 is of zeros, class n of what has n bits.
    let mut classes = [(0u64, 0u64, 0u64); 65];
    let total = gather(question.flows.clone(), &gathering, |row| {
        let size = match row.keys()[..] {
            [KeyValue::Number(size)] => size,
            _ => 0,
        };
        let class = &mut classes[(u64::BITS - size.leading_zeros()) as usize];
        class.0 = class.0.saturating_add(row.counts.flows);
        class.1 = class.1.saturating_add(row.counts.packets);
        class.2 = class.2.saturating_add(row.counts.octets);
    })
    .await?;
    let rows = classes
        .iter()
        .zip(0u32..)
        .filter(|((flows, ..), _)| *flows > 0);
    let rows = rows.map(|((flows, packets, octets), bits)| {
        let (least, most) = match bits {
            0 => (0, 0),
            bits => (1 << (bits - 1), u64::MAX >> (u64::BITS - bits)),
        };
        let share = *flows as f64 / total.counts.flows.max(1) as f64;
        let mut row = vec![Cell::Count(least), Cell::Count(most), Cell::Share(share)];
        row.extend([*flows, *octets, *packets].map(Cell::Count));
        row
    });
    let table = Table {
        title: heading,
        columns: ["from", "to", "share", "flows", "octets", "packets"]
            .into_iter()
            .zip(["From", "To", "% of flows", "Flows", "Octets", "Packets"])
            .map(|(name, heading)| Column::numbers(name, heading))
            .collect(),
        rows: rows.collect(),
        ..Table::default()
    };
    Ok((table, total.counts.flows))
}

/// Lines of elements, with flow-stat's columns: keys, flows, octets, packets. Beside them how many flows, and how many
/// groups there are.
async fn elements(
    options: &Options,
    question: &Question,
    names: &[&str],
) -> Result<(Table, u64, u64)> {
    let keys: Result<Vec<_>, _> = names.iter().map(|name| Element::parse(name)).collect();
    let gathering = Gathering {
        keys: keys.map_err(anyhow::Error::msg)?,
        ..Gathering::default()
    };
    let asked = options.ascending.or(options.descending);
    if let Some(column) = asked.filter(|column| *column >= names.len() + 3) {
        bail!(Misasked(format!(
            "there is no column {column}: the last one is {}",
            names.len() + 2
        )));
    }
    // Only these three orders can be cut while groups come in; others need all of them.
    let order = match asked.map(|column| column.checked_sub(names.len())) {
        Some(Some(0)) => Some(Order::Flows),
        Some(Some(1)) | None => Some(Order::Octets),
        Some(Some(2)) => Some(Order::Packets),
        Some(_) => None,
    };
    let sorting = Sorting {
        order: order.unwrap_or(Order::Octets),
        is_ascending: order.is_some() && options.ascending.is_some(),
    };
    let lines = if order.is_some() { options.lines } else { 0 };
    let mut ranking = Ranking::sorted(sorting, lines);
    let flows = question.flows.clone();
    let total = gather(flows, &gathering, |row| ranking.offer(row)).await?;
    let mut groups = ranking.finish();
    if let Some(key) = asked.filter(|_| order.is_none()) {
        groups.sort_by(|one, other| one.keys[key].cmp(&other.keys[key]));
        if options.ascending.is_none() {
            groups.reverse();
        }
        if options.lines > 0 {
            groups.truncate(options.lines);
        }
    }
    let whole = gathering.whole(&total).unwrap_or_default();
    let mut table = group::table(&gathering, &groups);
    // flow-stat has flows before octets.
    let first = names.len();
    table.columns[first..first + 3].rotate_right(1);
    for row in &mut table.rows {
        row[first..first + 3].rotate_right(1);
        if options.percent {
            let wholes = [whole.flows, whole.octets, whole.packets];
            for (cell, whole) in row[first..first + 3].iter_mut().zip(wholes) {
                if let Cell::Count(part) = *cell {
                    *cell = Cell::Share(part as f64 / whole.max(1) as f64);
                }
            }
        }
    }
    Ok((table, whole.flows, total.groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_have_numbers_and_names() {
        for (at, report) in REPORTS.iter().enumerate() {
            assert_eq!(usize::from(report.number), at);
            assert_eq!(Report::parse(report.name).unwrap(), *report);
            assert_eq!(Report::parse(&at.to_string()).unwrap(), *report);
            if let Shape::Elements(names) | Shape::Ports(names) = report.shape {
                assert!(
                    names.iter().all(|name| Element::parse(name).is_ok()),
                    "{names:?}"
                );
            }
        }
        assert!(
            Report::parse("33")
                .unwrap_err()
                .contains("9 ip-source-address")
        );
    }
}
