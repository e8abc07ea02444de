//! `weir top`: who has most, by any key.
#![expect(clippy::cast_precision_loss, reason = "per cent to one place")]

use std::io::Write as _;

use anyhow::{Context as _, Result};
use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    datatypes::{DataType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use clap::ValueEnum;
use datafusion::{
    functions_aggregate::expr_fn::{count, sum},
    prelude::{DataFrame, Expr, cast, col, lit},
};
use serde_json::{Value, json};

use crate::{
    filter::protocol_name,
    text::{self, Align, Table},
};

/// What flows are gathered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// Source address
    #[value(name = "srcip")]
    SourceAddress,
    /// Destination address
    #[value(name = "dstip")]
    DestinationAddress,
    /// Address on either side; each flow counts for both
    #[value(name = "ip")]
    Address,
    /// Source port
    #[value(name = "srcport")]
    SourcePort,
    /// Destination port
    #[value(name = "dstport")]
    DestinationPort,
    /// Port on either side; each flow counts for both
    #[value(name = "port")]
    Port,
    /// IP protocol
    #[value(name = "proto")]
    Protocol,
    /// ToS
    #[value(name = "tos")]
    Tos,
    /// VLAN id
    #[value(name = "vlan")]
    Vlan,
    /// Source AS
    #[value(name = "srcas")]
    SourceAs,
    /// Destination AS
    #[value(name = "dstas")]
    DestinationAs,
    /// Incoming interface
    #[value(name = "inif")]
    IngressIfindex,
    /// Outgoing interface
    #[value(name = "outif")]
    EgressIfindex,
    /// Exporter
    #[value(name = "exporter")]
    Exporter,
}

impl Key {
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::SourceAddress => &["src_addr"],
            Self::DestinationAddress => &["dst_addr"],
            Self::Address => &["src_addr", "dst_addr"],
            Self::SourcePort => &["src_port"],
            Self::DestinationPort => &["dst_port"],
            Self::Port => &["src_port", "dst_port"],
            Self::Protocol => &["protocol"],
            Self::Tos => &["tos"],
            Self::Vlan => &["vlan"],
            Self::SourceAs => &["src_as"],
            Self::DestinationAs => &["dst_as"],
            Self::IngressIfindex => &["ingress_ifindex"],
            Self::EgressIfindex => &["egress_ifindex"],
            Self::Exporter => &["exporter"],
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::SourceAddress => "Source address",
            Self::DestinationAddress => "Destination address",
            Self::Address => "Address",
            Self::SourcePort => "Source port",
            Self::DestinationPort => "Destination port",
            Self::Port => "Port",
            Self::Protocol => "Protocol",
            Self::Tos => "ToS",
            Self::Vlan => "VLAN",
            Self::SourceAs => "Source AS",
            Self::DestinationAs => "Destination AS",
            Self::IngressIfindex => "Input interface",
            Self::EgressIfindex => "Output interface",
            Self::Exporter => "Exporter",
        }
    }
}

/// What they are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Octets
    Octets,
    /// Packets
    Packets,
    /// Flows
    Flows,
}

impl Order {
    fn column(self) -> &'static str {
        match self {
            Self::Octets => "octets",
            Self::Packets => "packets",
            Self::Flows => "flows",
        }
    }
}

/// A line of the answer.
struct Line {
    key: String,
    flows: u64,
    packets: u64,
    octets: u64,
}

/// Prints the answer; returns the flows it was drawn from.
///
/// # Errors
/// If the query fails, or the output is closed.
pub async fn print(
    flows: DataFrame,
    key: Key,
    order: Order,
    lines: usize,
    as_json: bool,
) -> Result<u64> {
    let total = flows
        .clone()
        .aggregate(vec![], aggregates())?
        .collect()
        .await?;
    let total = lines_of(&total, None)?.pop().context("a total")?;
    let mut sides = key.columns().iter().map(|column| {
        flows.clone().select(vec![
            col(*column).alias("key"),
            col("octets"),
            col("packets"),
        ])
    });
    let mut gathered = sides.next().context("a key has a column")??;
    for side in sides {
        gathered = gathered.union(side?)?;
    }
    let top = gathered
        .aggregate(vec![col("key")], aggregates())?
        .sort(vec![
            col(order.column()).sort(false, false),
            col("key").sort(true, false),
        ])?
        .limit(0, Some(lines))?
        .collect()
        .await?;
    let top = lines_of(&top, Some(key))?;
    if as_json {
        print_json(key, order, &top, &total)?;
    } else {
        print_text(key, order, &top, &total)?;
    }
    Ok(total.flows)
}

fn aggregates() -> Vec<Expr> {
    let number = |expression: Expr| cast(expression, DataType::UInt64);
    vec![
        number(count(lit(1))).alias("flows"),
        sum(col("packets")).alias("packets"),
        sum(col("octets")).alias("octets"),
    ]
}

fn lines_of(batches: &[RecordBatch], key: Option<Key>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for batch in batches {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .with_context(|| format!("column {name}"))
        };
        let number = |name: &str, row: usize| -> Result<u64> {
            let column = column(name)?;
            Ok(if column.is_null(row) {
                0
            } else {
                column.as_primitive::<UInt64Type>().value(row)
            })
        };
        for row in 0..batch.num_rows() {
            lines.push(Line {
                key: key
                    .map(|key| Ok::<_, anyhow::Error>(shown(key, column("key")?, row)))
                    .transpose()?
                    .unwrap_or_default(),
                flows: number("flows", row)?,
                packets: number("packets", row)?,
                octets: number("octets", row)?,
            });
        }
    }
    Ok(lines)
}

fn shown(key: Key, column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        DataType::FixedSizeBinary(_) => text::address(column.as_fixed_size_binary().value(row)),
        DataType::UInt8 if key == Key::Protocol => {
            protocol_name(column.as_primitive::<UInt8Type>().value(row))
        }
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        other => format!("({other})"),
    }
}

fn share(line: &Line, total: &Line, order: Order) -> f64 {
    let (part, whole) = match order {
        Order::Octets => (line.octets, total.octets),
        Order::Packets => (line.packets, total.packets),
        Order::Flows => (line.flows, total.flows),
    };
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

fn print_text(key: Key, order: Order, top: &[Line], total: &Line) -> Result<()> {
    let mut table = Table::new(&[
        (key.heading(), Align::Left),
        ("Octets", Align::Right),
        ("Packets", Align::Right),
        ("Flows", Align::Right),
        ("%", Align::Right),
    ]);
    for line in top {
        table.push(vec![
            line.key.clone(),
            text::count(line.octets),
            text::count(line.packets),
            text::count(line.flows),
            format!("{:.1}", share(line, total, order)),
        ]);
    }
    table.push(vec![
        "all".to_owned(),
        text::count(total.octets),
        text::count(total.packets),
        text::count(total.flows),
        String::new(),
    ]);
    table.print(&mut std::io::stdout().lock())
}

fn print_json(key: Key, order: Order, top: &[Line], total: &Line) -> Result<()> {
    let line = |line: &Line| json!({ "key": line.key, "octets": line.octets, "packets": line.packets, "flows": line.flows });
    let rows: Vec<Value> = top.iter().map(line).collect();
    let key = key
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    let answer = json!({
        "by": key,
        "order": order.column(),
        "rows": rows,
        "total": { "octets": total.octets, "packets": total.packets, "flows": total.flows },
    });
    writeln!(std::io::stdout().lock(), "{answer:#}")?;
    Ok(())
}
