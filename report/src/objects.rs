//! Flows as JSON objects, straight from the columns of a batch: there is no tree of values for each of them.

use anyhow::Result;
use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, FixedSizeBinaryArray, MapArray, RecordBatch,
        StringArray, StringViewArray, StructArray, TimestampNanosecondArray, UInt8Array,
        UInt16Array, UInt32Array, UInt64Array,
    },
    datatypes::{DataType, TimeUnit},
};
use serde_json::{Value, json};

use crate::{
    joined,
    lines::Lines,
    text,
    write::{self, TimeWriter},
};

/// How objects follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// Each is a line.
    Lines,
    /// They are a list's elements, each on a line that begins with it.
    Elements,
}

impl Lines for Objects {
    /// A row is an object: the columns by their names. What the flow has not is left out.
    fn put(&self, batch: &RecordBatch, number: u64, line: &mut Vec<u8>) -> Result<u64> {
        let columns = columns(batch)?;
        let times = TimeWriter::default();
        for row in 0..batch.num_rows() {
            if *self == Self::Elements {
                let is_first = number == 0 && row == 0;
                line.extend_from_slice(if is_first { &b"\n"[..] } else { b",\n" });
            }
            line.push(b'{');
            let present = columns.iter().filter(|column| !column.array.is_null(row));
            for (place, column) in present.enumerate() {
                if place > 0 {
                    line.push(b',');
                }
                line.extend_from_slice(&column.key);
                column.values.put(row, &times, line)?;
            }
            line.push(b'}');
            if *self == Self::Lines {
                line.push(b'\n');
            }
        }
        Ok(batch.num_rows() as u64)
    }
}

struct Column<'a> {
    /// Its name as JSON, and a colon.
    key: Vec<u8>,
    array: &'a ArrayRef,
    values: Values<'a>,
}

fn columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>> {
    let is_joined = batch.column_by_name(joined::OUT_PACKETS).is_some();
    let fields = batch.schema_ref().fields().iter().zip(batch.columns());
    // Each is one flow, if it is not of both directions: nothing to say.
    let told = fields.filter(|(field, _)| is_joined || field.name() != "flows");
    told.map(|(field, array)| {
        let mut key = serde_json::to_vec(field.name())?;
        key.push(b':');
        Ok(Column {
            key,
            array,
            values: Values::of(array),
        })
    })
    .collect()
}

/// A column's values, by what they are.
enum Values<'a> {
    U8(&'a UInt8Array),
    U16(&'a UInt16Array),
    U32(&'a UInt32Array),
    U64(&'a UInt64Array),
    Times(&'a TimestampNanosecondArray),
    Macs(&'a FixedSizeBinaryArray),
    Addresses(&'a FixedSizeBinaryArray),
    Views(&'a StringViewArray),
    Texts(&'a StringArray),
    Elements(&'a MapArray),
    Unknown,
}

impl<'a> Values<'a> {
    fn of(column: &'a ArrayRef) -> Self {
        match column.data_type() {
            DataType::UInt8 => Self::U8(column.as_primitive()),
            DataType::UInt16 => Self::U16(column.as_primitive()),
            DataType::UInt32 => Self::U32(column.as_primitive()),
            DataType::UInt64 => Self::U64(column.as_primitive()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Self::Times(column.as_primitive()),
            DataType::FixedSizeBinary(6) => Self::Macs(column.as_fixed_size_binary()),
            DataType::FixedSizeBinary(_) => Self::Addresses(column.as_fixed_size_binary()),
            DataType::Utf8View => Self::Views(column.as_string_view()),
            DataType::Utf8 => Self::Texts(column.as_string::<i32>()),
            DataType::Map(..) => Self::Elements(column.as_map()),
            _ => Self::Unknown,
        }
    }

    fn put(&self, row: usize, times: &TimeWriter, line: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::U8(values) => write::put(line, values.value(row).into()),
            Self::U16(values) => write::put(line, values.value(row).into()),
            Self::U32(values) => write::put(line, values.value(row).into()),
            Self::U64(values) => write::put(line, values.value(row)),
            Self::Times(values) => quoted(line, |line| times.put_json(line, values.value(row))),
            Self::Macs(values) => quoted(line, |line| {
                line.extend_from_slice(text::mac(values.value(row)).as_bytes());
            }),
            Self::Addresses(values) => quoted(line, |line| {
                write::put_address(line, values.value(row));
            }),
            Self::Views(values) => serde_json::to_writer(line, values.value(row))?,
            Self::Texts(values) => serde_json::to_writer(line, values.value(row))?,
            Self::Elements(values) => serde_json::to_writer(line, &elements(&values.value(row)))?,
            Self::Unknown => line.extend_from_slice(b"null"),
        }
        Ok(())
    }
}

/// Appends what `put` does, which needs no escapes, as a JSON string.
fn quoted(line: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    line.push(b'"');
    put(line);
    line.push(b'"');
}

/// What no column has, by its numbers, as hexadecimal octets.
fn elements(entries: &StructArray) -> Value {
    let keys = entries.column(0).as_string_opt::<i32>();
    let values = entries.column(1).as_binary_opt::<i32>();
    let (Some(keys), Some(values)) = (keys, values) else {
        return Value::Null;
    };
    let entries = keys.iter().zip(values.iter()).map(|(key, value)| {
        let octets = value.unwrap_or_default();
        (
            key.unwrap_or_default().to_owned(),
            json!(text::hexadecimal(octets)),
        )
    });
    Value::Object(entries.collect())
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use weir_netflow::FlowRecord;
    use weir_store::{
        others::{Gathering, Other},
        schema::{self, StoredFlow},
    };

    use super::*;

    fn batch() -> RecordBatch {
        let mut others = Gathering::default();
        let other = Other {
            enterprise: 0,
            element: 95,
            octets: &[3, 0, 0xff],
        };
        assert!(others.add(&other, 3));
        let flow = StoredFlow {
            record: FlowRecord {
                source: Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped(),
                source_port: 40_000,
                octets: u64::MAX,
                start_ns: 1_700_000_000_123_456_789,
                source_mac: [2, 0, 0, 0, 0, 0xaf],
                ..FlowRecord::default()
            },
            others: others.finish(),
            ..StoredFlow::default()
        };
        schema::batch(&[flow, StoredFlow::default()]).unwrap()
    }

    fn written(objects: Objects, batch: &RecordBatch, number: u64) -> String {
        let mut text = Vec::new();
        let rows = objects.put(batch, number, &mut text).unwrap();
        assert_eq!(rows, batch.num_rows() as u64);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_flow_is_an_object_of_what_it_has() {
        let text = written(Objects::Lines, &batch(), 5);
        let flows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [flow, bare] = &flows[..] else {
            panic!("{text}");
        };
        for (name, expected) in [
            ("flow_start", json!("2023-11-14T22:13:20.123456789Z")),
            ("src_addr", json!("10.1.2.3")),
            ("dst_addr", json!("::")),
            ("src_port", json!(40_000)),
            ("octets", json!(u64::MAX)),
            ("src_mac", json!("02:00:00:00:00:af")),
            ("others", json!({ "95": "0300ff" })),
        ] {
            assert_eq!(flow[name], expected, "{text}");
        }
        assert_eq!((bare.get("src_mac"), bare.get("others")), (None, None));
    }

    #[test]
    fn elements_of_a_list_have_commas_between_them() {
        let batch = batch();
        let whole = [
            written(Objects::Elements, &batch, 0),
            written(Objects::Elements, &batch, 2),
        ];
        let list: Vec<Value> = serde_json::from_str(&format!("[{}]", whole.concat())).unwrap();
        assert_eq!(list.len(), 4);
    }

    /// A file need not be the collector's.
    #[test]
    fn a_hostile_name_stays_within_its_string() {
        let hostile = "a\",\n\x1b\\";
        let column: ArrayRef = Arc::new(StringArray::from(vec![hostile]));
        let batch = RecordBatch::try_from_iter([("exporter", column)]).unwrap();
        let text = written(Objects::Lines, &batch, 0);
        assert_eq!(text.lines().count(), 1);
        let flow: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(flow, json!({ "exporter": hostile }));
    }
}
