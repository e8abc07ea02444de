//! Flows gathered by elements: they are summed here (`summing`, in the tables of `sums`) or by the engine. Of the
//! groups, which may be millions, `ranking.rs` keeps those that lead by an order.

mod summing;
mod sums;

use anyhow::{Context as _, Result, bail};
use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    datatypes::{Int64Type, TimestampNanosecondType, UInt64Type},
};
use datafusion::{
    functions_aggregate::expr_fn::{count_distinct, max, min, sum},
    prelude::{DataFrame, Expr, col},
};
use futures::StreamExt as _;

use crate::{
    element::{Element, KeyValue, key_value},
    filter::{Filter, plan},
    functions,
    joined::{OUT_OCTETS, OUT_PACKETS},
    keys,
    question::Misasked,
};

/// What flows are gathered by, and what is counted of them beside flows, packets and octets.
#[derive(Clone, Debug, Default)]
pub struct Gathering {
    /// One line each combination of these.
    pub keys: Vec<Element>,
    /// Different values of these are counted.
    pub distinct: Vec<Element>,
    /// Whether first and last time are wanted.
    pub times: bool,
    /// Packets and octets that left (`joined::out_counts`), if they are wanted: the engine sums them.
    pub out: Option<[Expr; 2]>,
    /// What groups must be like; it may look at their keys, sums and times.
    pub having: Option<Filter>,
}

impl Gathering {
    /// How many groups a flow is in: two, if a key is on both of its sides.
    #[must_use]
    pub fn sides(&self) -> u64 {
        1 + u64::from(self.keys.iter().any(Element::is_two_sided))
    }

    /// Sums over flows: one that is in two groups counts once. Nothing if that cannot be told, because a
    /// filter left out some of the groups that flows are in twice.
    #[must_use]
    pub fn whole(&self, total: &Total) -> Option<Counts> {
        let sides = self.sides();
        let is_known = sides == 1 || self.having.is_none();
        is_known.then(|| Counts {
            flows: total.counts.flows / sides,
            packets: total.counts.packets / sides,
            octets: total.counts.octets / sides,
            out_packets: total.counts.out_packets / sides,
            out_octets: total.counts.out_octets / sides,
            times_ns: total.counts.times_ns,
            distinct: Vec::new(),
        })
    }
}

/// What was counted of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flows.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
    /// Packets that left, where exporters count them apart; 0 if they are not wanted.
    pub out_packets: u64,
    /// Octets, likewise.
    pub out_octets: u64,
    /// First and last time, nanoseconds since 1970-01-01 UTC; 0 if they are not wanted.
    pub times_ns: (i64, i64),
    /// Different values of each element counted so.
    pub distinct: Vec<u64>,
}

impl Counts {
    /// Milliseconds from the first to the last packet.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        functions::duration_ms(self.times_ns.0, self.times_ns.1)
    }

    fn add(&mut self, other: &Self) {
        self.flows = self.flows.saturating_add(other.flows);
        self.packets = self.packets.saturating_add(other.packets);
        self.octets = self.octets.saturating_add(other.octets);
        self.out_packets = self.out_packets.saturating_add(other.out_packets);
        self.out_octets = self.out_octets.saturating_add(other.out_octets);
        self.times_ns = match (self.times_ns, other.times_ns) {
            ((0, 0), times) | (times, (0, 0)) => times,
            ((first, last), (other_first, other_last)) => {
                (first.min(other_first), last.max(other_last))
            }
        };
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its keys.
    pub keys: Vec<KeyValue>,
    /// What was counted of it.
    pub counts: Counts,
}

/// The sums over all groups, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Flows, packets and octets; a flow that is in two groups is in them twice.
    pub counts: Counts,
    /// Groups.
    pub groups: u64,
}

/// Gathers flows, and shows each group to `visit`, in no order.
///
/// # Errors
/// If the query fails.
pub async fn gather(
    flows: DataFrame,
    gathering: &Gathering,
    mut visit: impl FnMut(&Row<'_>),
) -> Result<Total> {
    for element in gathering.keys.iter().chain(&gathering.distinct) {
        element.require()?;
    }
    if let Some(total) = summing::gather(&flows, gathering, &mut visit).await? {
        return Ok(total);
    }
    by_engine(&flows, gathering, visit).await
}

/// The same by the engine's tables, which go to disk where memory has an end.
async fn by_engine(
    flows: &DataFrame,
    gathering: &Gathering,
    mut visit: impl FnMut(&Row<'_>),
) -> Result<Total> {
    let frame = gathered(flows, gathering)?;
    let mut total = Total::default();
    let mut stream = frame.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let columns = Columns::of(&batch?, gathering)?;
        for row in 0..columns.rows {
            let counts = columns.counts(row);
            total.counts.add(&counts);
            total.groups += 1;
            let keys = || columns.keys(row);
            visit(&Row {
                keys: &keys,
                counts,
            });
        }
    }
    Ok(total)
}

/// What exporters choose, so that its sums may be anything.
const WIDE: [&str; 2] = ["packets", "octets"];
/// Likewise, of what left.
const OUT: [&str; 2] = [OUT_PACKETS, OUT_OCTETS];

/// The value of a key on one side of a flow.
fn key_of_side(key: &Element, side: u64) -> Expr {
    let side = usize::from(side == 1 && key.is_two_sided());
    key.expressions().swap_remove(side)
}

/// What is gathered of each flow, by the values that keys have on one side of it. The names of those values that are
/// numbers in place of addresses are noted.
fn of_side(
    flows: &DataFrame,
    gathering: &Gathering,
    side: u64,
    addresses: &mut Vec<String>,
) -> Result<DataFrame> {
    let mut columns = Vec::new();
    let mut add = |value, name: String| -> Result<()> {
        let (key, is_address) = keys::key_of(value, flows)?;
        columns.push(key.alias(&name));
        addresses.extend(is_address.then_some(name));
        Ok(())
    };
    for (at, key) in gathering.keys.iter().enumerate() {
        add(key_of_side(key, side), format!("key{at}"))?;
    }
    for (at, element) in gathering.distinct.iter().enumerate() {
        add(element.expression()?, format!("value{at}"))?;
    }
    columns.push(col("flows"));
    let addend = |(value, name): (Expr, &str)| functions::addend_expression(value).alias(name);
    columns.extend(WIDE.map(|name| addend((col(name), name))));
    if let Some(out) = &gathering.out {
        columns.extend(out.iter().cloned().zip(OUT).map(addend));
    }
    if gathering.times {
        columns.extend(["flow_start", "flow_end"].map(col));
    }
    Ok(flows.clone().select(columns)?)
}

/// The query.
fn gathered(flows: &DataFrame, gathering: &Gathering) -> Result<DataFrame> {
    let keys = &gathering.keys;
    let mut addresses = Vec::new();
    let mut frame = of_side(flows, gathering, 0, &mut addresses)?;
    for side in 1..gathering.sides() {
        frame = frame.union(of_side(flows, gathering, side, &mut addresses)?)?;
    }
    let (groups, mut names): (Vec<Expr>, Vec<String>) = (0..keys.len())
        .map(|at| (col(format!("key{at}")), format!("key{at}")))
        .unzip();
    // Only sums, least and greatest stand beside what is counted once, and they get their names
    // afterwards: the engine then counts different values by gathering twice, and not by a set for
    // each group.
    let mut aggregates: Vec<Expr> = Vec::new();
    let out = gathering.out.iter().flat_map(|_| OUT);
    for name in ["flows", "packets", "octets"].into_iter().chain(out) {
        aggregates.push(sum(col(name)));
        names.push(name.to_owned());
    }
    if gathering.times {
        aggregates.extend([min(col("flow_start")), max(col("flow_end"))]);
        names.extend(["first", "last"].map(str::to_owned));
    }
    for at in 0..gathering.distinct.len() {
        aggregates.push(count_distinct(col(format!("value{at}"))));
        names.push(format!("distinct{at}"));
    }
    let frame = frame.aggregate(groups, aggregates)?;
    let columns = frame.schema().columns().into_iter().zip(&names);
    let named = |(column, name): (_, &String)| {
        let value = Expr::Column(column);
        let value = if WIDE.iter().chain(&OUT).any(|wide| wide == name) {
            functions::sum_expression(value)
        } else if addresses.contains(name) {
            keys::value_of(value)
        } else {
            value
        };
        value.alias(name)
    };
    let named: Vec<Expr> = columns.map(named).collect();
    let frame = frame.select(named)?;
    match &gathering.having {
        None => Ok(frame),
        Some(having) => {
            let names = names.iter().map(col).collect();
            filtered(frame, gathering, having, names)
        }
    }
}

/// Groups that are as they must be: their columns get the names that filters have for them.
fn filtered(
    frame: DataFrame,
    gathering: &Gathering,
    having: &Filter,
    columns: Vec<Expr>,
) -> Result<DataFrame> {
    let mut known = vec!["flows", "packets", "octets"];
    let mut all = columns.clone();
    for (at, key) in gathering.keys.iter().enumerate() {
        // A key that is counted is not its sum.
        if let Some(column) = key.column().filter(|column| !known.contains(column)) {
            known.push(column);
            all.push(col(format!("key{at}")).alias(column));
        }
    }
    if gathering.times {
        known.extend(["flow_start", "flow_end"]);
        all.extend([
            col("first").alias("flow_start"),
            col("last").alias("flow_end"),
        ]);
    }
    let predicate = plan::plan(having);
    for column in predicate.column_refs() {
        if !known.contains(&column.name()) {
            bail!(Misasked(format!(
                "the groups have no {}: a filter on them may look at {}",
                column.name(),
                known.join(", ")
            )));
        }
    }
    Ok(frame.select(all)?.filter(predicate)?.select(columns)?)
}

/// A group, whose keys are made when they are asked for.
pub struct Row<'a> {
    keys: &'a dyn Fn() -> Vec<KeyValue>,
    /// What was counted of it.
    pub counts: Counts,
}

impl Row<'_> {
    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyValue> {
        (self.keys)()
    }
}

/// The columns of a batch of groups.
struct Columns {
    rows: usize,
    keys: Vec<ArrayRef>,
    sums: [ArrayRef; 3],
    out: Option<[ArrayRef; 2]>,
    times: Option<[ArrayRef; 2]>,
    distinct: Vec<ArrayRef>,
}

impl Columns {
    fn of(batch: &RecordBatch, gathering: &Gathering) -> Result<Self> {
        let column = |name: &str| -> Result<ArrayRef> {
            let column = batch.column_by_name(name);
            Ok(column.with_context(|| format!("column {name}"))?.clone())
        };
        let numbered = |name: &str, count: usize| -> Result<Vec<ArrayRef>> {
            (0..count)
                .map(|at| column(&format!("{name}{at}")))
                .collect()
        };
        Ok(Self {
            rows: batch.num_rows(),
            keys: numbered("key", gathering.keys.len())?,
            sums: [column("flows")?, column("packets")?, column("octets")?],
            out: if gathering.out.is_some() {
                Some([column(OUT_PACKETS)?, column(OUT_OCTETS)?])
            } else {
                None
            },
            times: if gathering.times {
                Some([column("first")?, column("last")?])
            } else {
                None
            },
            distinct: numbered("distinct", gathering.distinct.len())?,
        })
    }

    fn keys(&self, row: usize) -> Vec<KeyValue> {
        let keys = self.keys.iter();
        keys.map(|column| key_value(column, row)).collect()
    }

    fn counts(&self, row: usize) -> Counts {
        let sum = |column: &ArrayRef| {
            if column.is_null(row) {
                0
            } else {
                column.as_primitive::<UInt64Type>().value(row)
            }
        };
        let time = |column: &ArrayRef| {
            if column.is_null(row) {
                0
            } else {
                column.as_primitive::<TimestampNanosecondType>().value(row)
            }
        };
        let count = |column: &ArrayRef| {
            let count = column.as_primitive::<Int64Type>().value(row);
            u64::try_from(count).unwrap_or(0)
        };
        let [flows, packets, octets] = &self.sums;
        let (out_packets, out_octets) = match &self.out {
            Some([packets, octets]) => (sum(packets), sum(octets)),
            None => (0, 0),
        };
        Counts {
            flows: sum(flows),
            packets: sum(packets),
            octets: sum(octets),
            out_packets,
            out_octets,
            times_ns: match &self.times {
                Some([first, last]) => (time(first), time(last)),
                None => (0, 0),
            },
            distinct: self.distinct.iter().map(count).collect(),
        }
    }
}
