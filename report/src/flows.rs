//! `weir flows`: the flows themselves, in the order of their files, as they are found.
#![expect(clippy::cast_precision_loss, reason = "seconds to three places")]

use std::io::{BufWriter, Write};

use anyhow::{Context as _, Result};
use arrow::{
    array::{Array, ArrayRef, AsArray as _, RecordBatch},
    datatypes::{TimestampNanosecondType, UInt8Type, UInt16Type, UInt64Type},
};
use datafusion::prelude::{DataFrame, col};
use futures::StreamExt as _;
use serde_json::json;

use crate::{filter::protocol_name, text};

/// Columns shown.
const COLUMNS: [&str; 13] = [
    "flow_start",
    "flow_end",
    "protocol",
    "src_addr",
    "src_port",
    "dst_addr",
    "dst_port",
    "tcp_flags",
    "tos",
    "packets",
    "octets",
    "vlan",
    "exporter",
];

/// Prints the flows; returns how many.
///
/// # Errors
/// If the query fails, or the output is closed.
pub async fn print(flows: DataFrame, limit: Option<usize>, as_json: bool) -> Result<u64> {
    let columns: Vec<_> = COLUMNS.iter().map(|name| col(*name)).collect();
    let mut stream = flows
        .select(columns)?
        .limit(0, limit)?
        .execute_stream()
        .await?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    if !as_json {
        writeln!(output, "{}", heading())?;
    }
    let mut printed = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        printed += batch.num_rows() as u64;
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            if as_json {
                columns.json(row, &mut output)?;
            } else {
                columns.text(row, &mut output)?;
            }
        }
    }
    output.flush()?;
    Ok(printed)
}

fn heading() -> String {
    format!(
        "{:<23}  {:>10}  {:<5}  {:>45}    {:<45}  {:<8}  {:>3}  {:>10}  {:>14}",
        "Start (UTC)",
        "Duration s",
        "Proto",
        "Source",
        "Destination",
        "Flags",
        "ToS",
        "Packets",
        "Octets"
    )
}

/// A batch's columns, as their types.
struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        for name in COLUMNS {
            batch
                .column_by_name(name)
                .with_context(|| format!("column {name}"))?;
        }
        Ok(Self { batch })
    }

    fn column(&self, name: &str) -> &ArrayRef {
        // All of them are there: `of` has looked.
        self.batch
            .column_by_name(name)
            .unwrap_or_else(|| self.batch.column(0))
    }

    fn time(&self, name: &str, row: usize) -> i64 {
        self.column(name)
            .as_primitive::<TimestampNanosecondType>()
            .value(row)
    }

    fn u8(&self, name: &str, row: usize) -> u8 {
        self.column(name).as_primitive::<UInt8Type>().value(row)
    }

    fn u16(&self, name: &str, row: usize) -> u16 {
        self.column(name).as_primitive::<UInt16Type>().value(row)
    }

    fn u64(&self, name: &str, row: usize) -> u64 {
        self.column(name).as_primitive::<UInt64Type>().value(row)
    }

    fn address(&self, name: &str, row: usize) -> String {
        text::address(self.column(name).as_fixed_size_binary().value(row))
    }

    fn exporter(&self, row: usize) -> String {
        let column = self.column("exporter");
        match column.data_type() {
            arrow::datatypes::DataType::Utf8View => column.as_string_view().value(row).to_owned(),
            _ => column.as_string::<i32>().value(row).to_owned(),
        }
    }

    fn text(&self, row: usize, output: &mut impl Write) -> Result<()> {
        let (start, end) = (self.time("flow_start", row), self.time("flow_end", row));
        let endpoint = |address: &str, port: &str| {
            let (address, port) = (self.address(address, row), self.u16(port, row));
            if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            }
        };
        writeln!(
            output,
            "{:<23}  {:>10.3}  {:<5}  {:>45} → {:<45}  {:<8}  {:>3}  {:>10}  {:>14}",
            text::time(start),
            end.saturating_sub(start) as f64 / 1e9,
            protocol_name(self.u8("protocol", row)),
            endpoint("src_addr", "src_port"),
            endpoint("dst_addr", "dst_port"),
            text::tcp_flags(self.u16("tcp_flags", row)),
            self.u8("tos", row),
            self.u64("packets", row),
            self.u64("octets", row),
        )?;
        Ok(())
    }

    fn json(&self, row: usize, output: &mut impl Write) -> Result<()> {
        let object = json!({
            "flow_start": text::time_json(self.time("flow_start", row)),
            "flow_end": text::time_json(self.time("flow_end", row)),
            "protocol": self.u8("protocol", row),
            "src_addr": self.address("src_addr", row),
            "src_port": self.u16("src_port", row),
            "dst_addr": self.address("dst_addr", row),
            "dst_port": self.u16("dst_port", row),
            "tcp_flags": self.u16("tcp_flags", row),
            "tos": self.u8("tos", row),
            "packets": self.u64("packets", row),
            "octets": self.u64("octets", row),
            "vlan": self.u16("vlan", row),
            "exporter": self.exporter(row),
        });
        writeln!(output, "{object}")?;
        Ok(())
    }
}
