//! `weir group`: flows gathered by any elements, as nfdump's -A, with a filter on the groups.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use crate::{
    answer::{self, Answer, Cell, Column, Form, Shape, Table},
    biflow, csv,
    data::Coverage,
    element::{self, Element},
    gather::{Counts, Gathering, Group, gather},
    joined,
    question::Source,
    ranking::{Order, Ranking, Sorting},
    text,
};

/// What `weir group` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// Elements with commas between, as nfdump's -A: `srcip/24,dstport`
    #[arg(
        short = 'A',
        long,
        value_name = "ELEMENTS",
        value_delimiter = ',',
        default_values = ["proto", "srcip", "srcport", "dstip", "dstport"],
        value_parser = Element::parse
    )]
    by: Vec<Element>,
    /// What the lines are sorted by: octets, packets, flows, bps, pps, bpp, duration, or what left: obytes,
    /// opackets, obps, opps or obpp, with `:a` behind it the least first; tstart or tend, with `:d` behind it the
    /// latest first
    #[arg(long, value_name = "ORDER", default_value = "octets", value_parser = order)]
    order: Sorting,
    /// Count different values of this element; may be repeated, or several with commas between
    #[arg(long, value_name = "ELEMENT", value_delimiter = ',', value_parser = Element::parse)]
    distinct: Vec<Element>,
    /// Only groups that fit, as in `flows > 10 and bytes > 1M` (nfdump's -P)
    #[arg(short = 'P', long, value_name = "FILTER")]
    having: Option<String>,
    /// Gather both directions of each connection into one line (nfdump's -B)
    #[arg(short = 'B', long, conflicts_with_all = ["by", "order", "distinct", "having", "format"])]
    biflow: bool,
    #[command(flatten)]
    shape: Shape,
    /// Lines shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    lines: usize,
}

/// An order by its name, for the command line.
///
/// # Errors
/// A sentence.
pub fn order(name: &str) -> Result<Sorting, String> {
    Sorting::parse(name).ok_or_else(|| {
        "there are octets, packets, flows, bps, pps, bpp, obytes, opackets, obps, opps, obpp, duration, tstart and tend"
            .to_owned()
    })
}

/// Answers it.
///
/// # Errors
/// If a filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let having = options.having.as_deref();
    let having = having.map(|text| options.source.parse(text)).transpose();
    let question = options.source.question()?;
    if options.biflow {
        let mut answer = biflow::connections(&question, options.lines).await?;
        answer.is_quiet = options.shape.quiet;
        answer.print(&question.coverage, options.source.json)?;
        return Ok(question.coverage);
    }
    let gathering = Gathering {
        keys: options.by.clone(),
        distinct: options.distinct.clone(),
        times: true,
        out: options
            .order
            .order
            .needs_out()
            .then(|| joined::out_counts(options.source.scaled)),
        having: having.context("--having")?,
    };
    let mut ranking = Ranking::sorted(options.order, options.lines);
    let total = gather(question.flows, &gathering, |row| ranking.offer(row)).await?;
    let flows = total.counts.flows / gathering.sides();
    let groups = ranking.finish();
    if options.shape.form(&options.source) == Form::Csv {
        let mut lines = Vec::new();
        csv::groups(&mut lines, &gathering, &groups);
        answer::print_lines(&lines, &question.coverage, flows, options.shape.quiet)?;
        return Ok(question.coverage);
    }
    let mut answer = Answer {
        flows,
        is_quiet: options.shape.quiet,
        ..Answer::default()
    };
    let mut table = table(&gathering, &groups);
    if let Some(whole) = gathering.whole(&total) {
        let mut foot = vec![Cell::Text("all".to_owned())];
        foot.resize(gathering.keys.len(), Cell::Empty);
        foot.extend([whole.octets, whole.packets, whole.flows].map(Cell::Count));
        foot.resize(table.columns.len(), Cell::Empty);
        table.foot.push(foot);
    }
    let shown = table.rows.len() as u64;
    answer.table("groups", table);
    tell_cut(shown, total.groups, &mut answer);
    let is_json = options.shape.form(&options.source) == Form::Json;
    answer.print(&question.coverage, is_json)?;
    Ok(question.coverage)
}

/// That there are more groups than are shown, if so.
pub fn tell_cut(shown: u64, groups: u64, answer: &mut Answer) {
    if groups > shown {
        let line = format!(
            "{} of {} groups are shown",
            text::count(shown),
            text::count(groups)
        );
        answer.line("groups_in_all", json!(groups), line);
    }
}

/// Groups as a table: keys, sums, different values, times and rates.
#[must_use]
pub fn table(gathering: &Gathering, groups: &[Group]) -> Table {
    let mut columns: Vec<_> = gathering
        .keys
        .iter()
        .map(|key| Column::words(&key.name, &key.heading))
        .collect();
    columns.push(Column::numbers("octets", "Octets"));
    columns.push(Column::numbers("packets", "Packets"));
    columns.push(Column::numbers("flows", "Flows"));
    for element in &gathering.distinct {
        let name = format!("distinct({})", element.name);
        columns.push(Column::numbers(&name, &name));
    }
    if gathering.out.is_some() {
        columns.push(Column::numbers(joined::OUT_OCTETS, "Octets out"));
        columns.push(Column::numbers(joined::OUT_PACKETS, "Packets out"));
    }
    if gathering.times {
        columns.push(Column::words("first", "First (UTC)"));
        columns.push(Column::numbers("duration_ms", "Duration s"));
        columns.push(Column::numbers("bps", "bps"));
        columns.push(Column::numbers("bpp", "Bpp"));
    }
    Table {
        columns,
        rows: groups.iter().map(|group| row(gathering, group)).collect(),
        ..Table::default()
    }
}

fn row(gathering: &Gathering, group: &Group) -> Vec<Cell> {
    let mut row = element::cells(&gathering.keys, &group.keys);
    let counts: &Counts = &group.counts;
    row.extend([counts.octets, counts.packets, counts.flows].map(Cell::Count));
    row.extend(counts.distinct.iter().copied().map(Cell::Count));
    if gathering.out.is_some() {
        row.extend([counts.out_octets, counts.out_packets].map(Cell::Count));
    }
    if gathering.times {
        row.push(Cell::Time(counts.times_ns.0));
        row.push(Cell::Milliseconds(counts.duration_ms()));
        row.extend([Order::Bps, Order::Bpp].map(|order| Cell::Count(order.measure(counts))));
    }
    row
}
