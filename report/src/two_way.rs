//! Traffic between a near end and a far end, both directions told apart: what the near end sent and
//! what it received; gathered, and as columns and cells of a table.

use anyhow::{Context as _, Result};
use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    datatypes::{TimestampNanosecondType, UInt64Type},
};
use datafusion::{
    functions_aggregate::expr_fn::{max, min, sum},
    prelude::{DataFrame, Expr, col, lit},
};
use futures::StreamExt as _;

use crate::{
    answer::{Cell, Column},
    element::{Element, KeyValue, key_value},
    functions, names, text,
};

/// The flows of one direction.
pub struct Direction {
    /// Which flows these are.
    pub predicate: Expr,
    /// Address of the near end.
    pub near: &'static str,
    /// Address of the far end.
    pub far: &'static str,
    /// Port that names the service.
    pub port: Expr,
    /// A word for them.
    pub label: Expr,
    /// What each counts as: one flow, or none.
    pub flows: Expr,
    /// Whether the near end sends them.
    pub sent: bool,
}

/// Who talked with whom, by what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// The near end.
    pub near: KeyValue,
    /// The far end.
    pub far: KeyValue,
    /// IP protocol.
    pub protocol: KeyValue,
    /// Port of the service.
    pub port: KeyValue,
    /// The word for it.
    pub label: KeyValue,
}

/// What they exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Octets that the near end sent.
    pub sent_octets: u64,
    /// Octets that it received.
    pub received_octets: u64,
    /// Flows that it sent.
    pub sent_flows: u64,
    /// Flows that it received.
    pub received_flows: u64,
    /// First time, nanoseconds since 1970-01-01 UTC.
    pub first_ns: i64,
    /// Last time, likewise.
    pub last_ns: i64,
}

impl Exchanged {
    /// Octets in both directions.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.sent_octets.saturating_add(self.received_octets)
    }

    /// Adds what others exchanged.
    pub fn add(&mut self, other: &Self) {
        let is_first = self.first_ns == 0 && self.last_ns == 0;
        self.sent_octets = self.sent_octets.saturating_add(other.sent_octets);
        self.received_octets = self.received_octets.saturating_add(other.received_octets);
        self.sent_flows = self.sent_flows.saturating_add(other.sent_flows);
        self.received_flows = self.received_flows.saturating_add(other.received_flows);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.first_ns = if is_first {
            other.first_ns
        } else {
            self.first_ns.min(other.first_ns)
        };
    }
}

const KEYS: [&str; 5] = ["near", "far", "protocol", "port", "label"];
const SUMS: [&str; 4] = [
    "sent_octets",
    "received_octets",
    "sent_flows",
    "received_flows",
];

/// Gathers both directions, and shows who exchanged what to `visit`, in no order.
///
/// # Errors
/// If the query fails.
pub async fn two_way(
    flows: &DataFrame,
    directions: [Direction; 2],
    mut visit: impl FnMut(Ends, Exchanged),
) -> Result<()> {
    let [one, other] = directions;
    let frame = selected(flows, one)?.union(selected(flows, other)?)?;
    let mut aggregates: Vec<Expr> = SUMS.map(|name| sum(col(name)).alias(name)).to_vec();
    aggregates.push(min(col("flow_start")).alias("first"));
    aggregates.push(max(col("flow_end")).alias("last"));
    let mut frame = frame.aggregate(KEYS.map(col).to_vec(), aggregates)?;
    for name in ["sent_octets", "received_octets"] {
        frame = frame.with_column(name, functions::sum_expression(col(name)))?;
    }
    let mut stream = frame.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let (ends, exchanged) = read(&batch, row)?;
            visit(ends, exchanged);
        }
    }
    Ok(())
}

fn selected(flows: &DataFrame, direction: Direction) -> Result<DataFrame> {
    let Direction {
        predicate,
        near,
        far,
        port,
        label,
        flows: counted,
        sent,
    } = direction;
    let of = |value: Expr, counts: bool| if counts { value } else { lit(0u64) };
    let octets = |counts: bool| functions::addend_expression(of(col("octets"), counts));
    let columns = vec![
        col(near).alias("near"),
        col(far).alias("far"),
        col("protocol"),
        port.alias("port"),
        label.alias("label"),
        octets(sent).alias("sent_octets"),
        octets(!sent).alias("received_octets"),
        of(counted.clone(), sent).alias("sent_flows"),
        of(counted, !sent).alias("received_flows"),
        col("flow_start"),
        col("flow_end"),
    ];
    Ok(flows.clone().filter(predicate)?.select(columns)?)
}

fn read(batch: &RecordBatch, row: usize) -> Result<(Ends, Exchanged)> {
    let column = |name: &str| -> Result<&ArrayRef> {
        let column = batch.column_by_name(name);
        column.with_context(|| format!("column {name}"))
    };
    let key = |name: &str| -> Result<KeyValue> { Ok(key_value(column(name)?, row)) };
    let sum = |name: &str| -> Result<u64> {
        let sums = column(name)?.as_primitive::<UInt64Type>();
        Ok(if sums.is_null(row) {
            0
        } else {
            sums.value(row)
        })
    };
    let time = |name: &str| -> Result<i64> {
        let times = column(name)?.as_primitive::<TimestampNanosecondType>();
        Ok(if times.is_null(row) {
            0
        } else {
            times.value(row)
        })
    };
    let ends = Ends {
        near: key("near")?,
        far: key("far")?,
        protocol: key("protocol")?,
        port: key("port")?,
        label: key("label")?,
    };
    let exchanged = Exchanged {
        sent_octets: sum("sent_octets")?,
        received_octets: sum("received_octets")?,
        sent_flows: sum("sent_flows")?,
        received_flows: sum("received_flows")?,
        first_ns: time("first")?,
        last_ns: time("last")?,
    };
    Ok((ends, exchanged))
}

/// An address as a cell.
///
/// # Errors
/// Never: there is an element of that name.
pub fn address_cell(address: &KeyValue) -> Result<Cell> {
    let element = Element::parse("srcip").map_err(anyhow::Error::msg)?;
    Ok(element.cell(address))
}

/// Protocol and service as cells; a service has a number, and a name if it is known.
///
/// # Errors
/// Never: there is an element of that name.
pub fn service_cells(ends: &Ends) -> Result<[Cell; 2]> {
    const WITH_PORTS: [u64; 4] = [6, 17, 33, 132];
    let protocol = Element::parse("proto").map_err(anyhow::Error::msg)?;
    let service = match (&ends.protocol, &ends.port) {
        (KeyValue::Number(protocol), KeyValue::Number(port)) if WITH_PORTS.contains(protocol) => {
            let name = u16::try_from(*port).ok().and_then(names::service);
            match name {
                Some(name) => format!("{port} {name}"),
                None => port.to_string(),
            }
        }
        _ => String::new(),
    };
    Ok([protocol.cell(&ends.protocol), Cell::Text(service)])
}

/// The columns of what was exchanged.
#[must_use]
pub fn exchanged_columns() -> [Column; 6] {
    [
        Column::numbers("sent_octets", "Octets sent"),
        Column::numbers("received_octets", "Octets received"),
        Column::numbers("sent_flows", "Flows sent"),
        Column::numbers("received_flows", "Flows received"),
        Column::words("first", "First (UTC)"),
        Column::words("last", "Last (UTC)"),
    ]
}

/// What was exchanged, in these columns.
#[must_use]
pub fn exchanged_cells(exchanged: &Exchanged) -> Vec<Cell> {
    let Exchanged {
        sent_octets,
        received_octets,
        sent_flows,
        received_flows,
        first_ns,
        last_ns,
    } = exchanged;
    let counts = [sent_octets, received_octets, sent_flows, received_flows];
    let mut cells: Vec<_> = counts.map(|count| Cell::Count(*count)).to_vec();
    cells.extend([first_ns, last_ns].map(|time| Cell::Time(*time)));
    cells
}

/// What all exchanged, below columns of so many words; `hidden` lines of it are not shown.
#[must_use]
pub fn exchanged_in_all(words: usize, total: &Exchanged, hidden: u64) -> Vec<Cell> {
    let label = match hidden {
        0 => "all".to_owned(),
        others => format!("all, with {} that are not shown", text::count(others)),
    };
    let mut cells = vec![Cell::Text(label)];
    cells.resize(words, Cell::Empty);
    cells.extend(exchanged_cells(total));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_exchanged_adds_up() {
        let exchanged = |octets: u64, first_ns: i64, last_ns: i64| Exchanged {
            sent_octets: octets,
            sent_flows: 1,
            first_ns,
            last_ns,
            ..Exchanged::default()
        };
        let mut sum = Exchanged::default();
        sum.add(&exchanged(5, 70, 80));
        sum.add(&exchanged(6, 60, 65));
        assert_eq!(
            sum,
            Exchanged {
                sent_octets: 11,
                sent_flows: 2,
                first_ns: 60,
                last_ns: 80,
                ..Exchanged::default()
            }
        );
        assert_eq!(sum.octets(), 11);
    }
}
