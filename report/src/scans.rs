//! `weir scans`: who tries many hosts, or many ports of one.
//!
//! A source scans hosts if it tries more than so many of them, on one port or on any; it scans ports if
//! it tries more than so many on one host: flow-dscan's questions, with its thresholds. So does a busy
//! client, or a mail server; but its packets are answered. Therefore most of what a scanner sends must
//! have remained *bare*: TCP that never got to an ACK, and echo requests of ICMP and ICMPv6. (Of UDP nothing
//! tells; `--bare 0` lists whoever is busy, too.)

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use arrow::{
    array::{ArrayRef, AsArray as _, RecordBatch},
    datatypes::{TimestampNanosecondType, UInt64Type},
};
use clap::Args;
use datafusion::{
    functions_aggregate::expr_fn::{max, min, sum},
    prelude::{DataFrame, Expr, bitwise_and, col, lit, when},
};
use futures::StreamExt as _;
use serde_json::json;

use crate::{
    answer::{Answer, Cell, Column, Table},
    data::Coverage,
    element::{self, Element, KeyValue, key_value},
    gather::{Gathering, gather},
    leading::Leading,
    question::Source,
    text,
};

/// What `weir scans` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// A source that tries more hosts than these scans them
    #[arg(long, value_name = "N", default_value_t = 64)]
    hosts: u64,
    /// A source that tries more ports of a host than these scans it
    #[arg(long, value_name = "N", default_value_t = 64)]
    ports: u64,
    /// Per cent of its flows that must have remained without an answer; 0: whoever tries so many
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=100))]
    bare: u64,
    /// Sources and destinations to leave out, as `@scanners` or `[192.0.2.0/24]`
    #[arg(long, value_name = "SET")]
    ignore: Option<String>,
    /// Lines of each kind shown; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// Keys of what is counted first: who tried which port of whom.
const TRIES: [&str; 4] = ["src_addr", "dst_addr", "protocol", "dst_port"];

/// What a source tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tried {
    targets: u64,
    flows: u64,
    bare: u64,
    first_ns: i64,
    last_ns: i64,
}

/// Those with more targets than a threshold.
struct Found {
    /// Those with most, the most first; not more than lines are wanted.
    leading: Vec<(Vec<KeyValue>, Tried)>,
    /// How many there are.
    all: u64,
    /// Sources of all of them.
    sources: HashSet<KeyValue>,
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let mut asked = options.source.asked()?;
    if let Some(set) = &options.ignore {
        let ignored = options.source.parse(&format!("not ip in {set}"));
        asked = asked.and(ignored.context("--ignore")?);
    }
    let question = options.source.question_of(asked)?;
    let mut answer = Answer::default();
    let all = gather(question.flows.clone(), &Gathering::default(), |_| {}).await?;
    answer.flows = all.counts.flows;
    let tries = fan(selected(question.flows.clone())?, &TRIES)?;
    let by_port = ["src_addr", "protocol", "dst_port"];
    let nobody = HashSet::new();
    let on_port = fan(tries.clone(), &by_port)?;
    let on_port = found(on_port, options.hosts, options, &by_port, &nobody).await?;
    let by_pair = ["src_addr", "dst_addr"];
    let pairs = fan(tries, &by_pair)?;
    let on_host = found(pairs.clone(), options.ports, options, &by_pair, &nobody).await?;
    // Who is found with a port need not be listed once more without.
    let by_source = ["src_addr"];
    let anywhere = fan(pairs, &by_source)?;
    let listed = &on_port.sources;
    let anywhere = found(anywhere, options.hosts, options, &by_source, listed).await?;
    let elements = ["srcip", "proto", "dstport"];
    let in_all = json!({
        "hosts_on_a_port": on_port.all,
        "hosts": anywhere.all,
        "ports": on_host.all,
    });
    answer.table(
        "hosts_on_a_port",
        table("Hosts scanned on one port", &elements, "hosts", &on_port)?,
    );
    answer.table(
        "hosts",
        table(
            "Hosts scanned on any port",
            &elements[..1],
            "hosts",
            &anywhere,
        )?,
    );
    answer.table(
        "ports",
        table(
            "Ports of a host scanned",
            &["srcip", "dstip"],
            "ports",
            &on_host,
        )?,
    );
    answer.json.insert("found".to_owned(), in_all);
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// The columns that are needed, with one more that says whether a flow remained bare.
fn selected(flows: DataFrame) -> Result<DataFrame> {
    const ACK: u16 = 0x10;
    /// A TCP that is not answered sends its SYN again, once or twice while a flow is not idle.
    const TRY_PACKETS: u64 = 4;
    /// ICMP's and ICMPv6's protocol and type.
    const ECHO_REQUESTS: [(u8, u16); 2] = [(1, 8), (58, 128)];
    let unanswered = bitwise_and(col("tcp_flags"), lit(ACK)).eq(lit(0u16));
    // Exporters that tell no flags: a try is of few packets.
    let may_be_try = col("tcp_flags")
        .not_eq(lit(0u16))
        .or(col("packets").lt(lit(TRY_PACKETS)));
    let syn_only = col("protocol").eq(lit(6u8)).and(unanswered).and(may_be_try);
    let pings = ECHO_REQUESTS.map(|(protocol, kind)| {
        let is_request = col("dst_port").eq(lit(kind << 8));
        col("protocol").eq(lit(protocol)).and(is_request)
    });
    let is_bare = pings.into_iter().fold(syn_only, Expr::or);
    let bare = when(is_bare, lit(1u64)).otherwise(lit(0u64))?;
    let mut columns: Vec<Expr> = TRIES.map(col).to_vec();
    columns.extend([
        col("flows"),
        bare.alias("bare"),
        lit(1u64).alias("one"),
        col("flow_start").alias("first"),
        col("flow_end").alias("last"),
    ]);
    Ok(flows.select(columns)?)
}

/// Counts rows by fewer keys than they have: how many targets each combination has.
fn fan(frame: DataFrame, keys: &[&str]) -> Result<DataFrame> {
    let groups: Vec<Expr> = keys.iter().map(|key| col(*key)).collect();
    let sums = vec![
        sum(col("one")).alias("targets"),
        sum(col("flows")).alias("flows"),
        sum(col("bare")).alias("bare"),
        min(col("first")).alias("first"),
        max(col("last")).alias("last"),
    ];
    let mut columns = groups.clone();
    columns.extend(["targets", "flows", "bare", "first", "last"].map(col));
    columns.push(lit(1u64).alias("one"));
    Ok(frame.aggregate(groups, sums)?.select(columns)?)
}

/// Those with more targets than a threshold, whose source is not listed elsewhere.
async fn found(
    frame: DataFrame,
    threshold: u64,
    options: &Options,
    keys: &[&str],
    listed: &HashSet<KeyValue>,
) -> Result<Found> {
    let many = col("targets").gt(lit(threshold));
    let bare = (col("bare") * lit(100u64)).gt_eq(col("flows") * lit(options.bare));
    let mut stream = frame.filter(many.and(bare))?.execute_stream().await?;
    let mut leading: Leading<Vec<KeyValue>, Tried> = Leading::new(options.lines);
    let mut all = 0;
    let mut sources = HashSet::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let (keys, tried) = read(&batch, row, keys)?;
            let source = keys.first().context("a source")?;
            if listed.contains(source) {
                continue;
            }
            all += 1;
            sources.insert(source.clone());
            leading.offer(tried.targets, || (keys, tried));
        }
    }
    Ok(Found {
        leading: leading.finish(),
        all,
        sources,
    })
}

fn read(batch: &RecordBatch, row: usize, keys: &[&str]) -> Result<(Vec<KeyValue>, Tried)> {
    let column = |name: &str| -> Result<&ArrayRef> {
        let column = batch.column_by_name(name);
        column.with_context(|| format!("column {name}"))
    };
    let number =
        |name: &str| -> Result<u64> { Ok(column(name)?.as_primitive::<UInt64Type>().value(row)) };
    let time = |name: &str| -> Result<i64> {
        let times = column(name)?.as_primitive::<TimestampNanosecondType>();
        Ok(times.value(row))
    };
    let keys = keys.iter().map(|key| Ok(key_value(column(key)?, row)));
    let tried = Tried {
        targets: number("targets")?,
        flows: number("flows")?,
        bare: number("bare")?,
        first_ns: time("first")?,
        last_ns: time("last")?,
    };
    Ok((keys.collect::<Result<_>>()?, tried))
}

#[expect(clippy::cast_precision_loss, reason = "parts of a whole to one place")]
fn table(title: &str, elements: &[&str], targets: &str, found: &Found) -> Result<Table> {
    let elements: Result<Vec<_>, _> = elements.iter().map(|name| Element::parse(name)).collect();
    let elements = elements.map_err(anyhow::Error::msg)?;
    let heading = if targets == "ports" { "Ports" } else { "Hosts" };
    let mut columns: Vec<_> = elements
        .iter()
        .map(|element| Column::words(&element.name, &element.heading))
        .collect();
    columns.extend([
        Column::numbers(targets, heading),
        Column::numbers("flows", "Flows"),
        Column::numbers("bare", "Bare %"),
        Column::words("first", "First (UTC)"),
        Column::words("last", "Last (UTC)"),
    ]);
    let rows = found.leading.iter().map(|(keys, tried)| {
        let mut row = element::cells(&elements, keys);
        row.extend([tried.targets, tried.flows].map(Cell::Count));
        row.push(Cell::Share(tried.bare as f64 / tried.flows.max(1) as f64));
        row.extend([tried.first_ns, tried.last_ns].map(Cell::Time));
        row
    });
    Ok(Table {
        // As in `compare`: how many there are, whatever part of them is shown.
        title: format!("{title}: {}", text::count(found.all)),
        rows: rows.collect(),
        columns,
        ..Table::default()
    })
}
