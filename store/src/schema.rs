//! What a file holds. `docs/columns.md`, which follows, says what the columns are.
#![doc = include_str!("../../docs/columns.md")]
//!
//! Every closed file says `weir.schema_version` in its metadata, and has all columns of that version. An
//! open window has those of version 1 until a flow has one of the others, which would take 86 octets a
//! flow there for nothing; in Parquet a column of nulls takes some hundred octets a row group. What reads
//! files has a null in the place of a column that is not there ([`with_all_columns`]).

use std::{
    net::Ipv6Addr,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{ArrayRef, MapFieldNames, RecordBatch, new_null_array},
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use weir_netflow::FlowRecord;

use crate::{columns::FlowsBuilder, others::Others};

/// Version of the columns above.
pub const SCHEMA_VERSION: &str = "2";
/// The version before, whose columns are the first of them.
const EARLIER_VERSION: &str = "1";
/// How many it had.
pub const EARLIER_COLUMNS: usize = 27;

/// A flow as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFlow {
    /// The record.
    pub record: FlowRecord,
    /// When its datagram was taken, nanoseconds since 1970-01-01 UTC.
    pub received_ns: u64,
    /// Who sent it; IPv4 as v4-mapped.
    pub exporter: Ipv6Addr,
    /// Observation domain.
    pub source_id: u32,
    /// Export version.
    pub version: u8,
    /// What the record said beyond what it has places for.
    pub others: Others,
}

/// Of nobody that is known, as the flows that are still open at a sensor.
impl Default for StoredFlow {
    fn default() -> Self {
        Self {
            record: FlowRecord::default(),
            received_ns: 0,
            exporter: Ipv6Addr::UNSPECIFIED,
            source_id: 0,
            version: 0,
            others: Others::NONE,
        }
    }
}

impl StoredFlow {
    /// Whether it has any of what version 1 had no columns for.
    #[must_use]
    pub fn needs_all_columns(&self) -> bool {
        let record = &self.record;
        !self.others.is_empty()
            || record.source_mac != [0; 6]
            || record.destination_mac != [0; 6]
            || record.inner_vlan != 0
            || record.mpls_labels != [0; 4]
            || record.flow_label != 0
            || !record.bgp_next_hop.is_unspecified()
            || !record.outer_source.is_unspecified()
            || !record.outer_destination.is_unspecified()
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let column = |name: &str, kind: DataType| Field::new(name, kind, false);
    let optional = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        column("flow_start", time()),
        column("flow_end", time()),
        column("received", time()),
        column("exporter", DataType::Utf8),
        column("source_id", DataType::UInt32),
        column("version", DataType::UInt8),
        column("src_addr", DataType::FixedSizeBinary(16)),
        column("dst_addr", DataType::FixedSizeBinary(16)),
        Field::new("next_hop", DataType::FixedSizeBinary(16), true),
        column("ip_version", DataType::UInt8),
        column("protocol", DataType::UInt8),
        column("src_port", DataType::UInt16),
        column("dst_port", DataType::UInt16),
        column("tcp_flags", DataType::UInt16),
        column("tos", DataType::UInt8),
        column("octets", DataType::UInt64),
        column("packets", DataType::UInt64),
        column("ingress_ifindex", DataType::UInt32),
        column("egress_ifindex", DataType::UInt32),
        column("src_as", DataType::UInt32),
        column("dst_as", DataType::UInt32),
        column("src_mask", DataType::UInt8),
        column("dst_mask", DataType::UInt8),
        column("vlan", DataType::UInt16),
        column("direction", DataType::UInt8),
        column("end_reason", DataType::UInt8),
        column("sampling_interval", DataType::UInt32),
        optional("bgp_next_hop", DataType::FixedSizeBinary(16)),
        optional("src_mac", DataType::FixedSizeBinary(6)),
        optional("dst_mac", DataType::FixedSizeBinary(6)),
        optional("inner_vlan", DataType::UInt16),
        optional("mpls_label_1", DataType::UInt32),
        optional("mpls_label_2", DataType::UInt32),
        optional("mpls_label_3", DataType::UInt32),
        optional("mpls_label_4", DataType::UInt32),
        optional("flow_label", DataType::UInt32),
        optional("outer_src_addr", DataType::FixedSizeBinary(16)),
        optional("outer_dst_addr", DataType::FixedSizeBinary(16)),
        optional("others", map_type()),
    ]))
});

static EARLIER_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields: Vec<_> = SCHEMA
        .fields()
        .iter()
        .take(EARLIER_COLUMNS)
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
});

/// A message's worth of nulls of each column's type. Whoever holds a row group's messages would hold 86 octets a
/// flow of them; the kernel gives no memory for zeros that are only read.
static NULLS: LazyLock<Vec<ArrayRef>> = LazyLock::new(|| {
    const ROWS: usize = 8192;
    let fields = SCHEMA.fields().iter();
    fields
        .map(|field| new_null_array(field.data_type(), ROWS))
        .collect()
});

/// Names within the map, as Parquet's specification has them.
pub(crate) fn map_names() -> MapFieldNames {
    MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

fn map_type() -> DataType {
    let names = map_names();
    let entries = vec![
        Field::new(names.key, DataType::Utf8, false),
        Field::new(names.value, DataType::Binary, true),
    ];
    let entries = Field::new(names.entry, DataType::Struct(entries.into()), false);
    DataType::Map(Arc::new(entries), false)
}

/// The columns.
#[must_use]
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The columns of version 1.
#[must_use]
pub fn earlier_schema() -> SchemaRef {
    Arc::clone(&EARLIER_SCHEMA)
}

/// The columns of a version, if this program reads it.
#[must_use]
pub fn of_version(version: &str) -> Option<SchemaRef> {
    match version {
        SCHEMA_VERSION => Some(schema()),
        EARLIER_VERSION => Some(earlier_schema()),
        _ => None,
    }
}

/// Whether two have columns of the same names and types, in the same order.
#[must_use]
pub fn is_same(one: &Schema, other: &Schema) -> bool {
    let names_and_types = |schema: &Schema| -> Vec<(String, DataType)> {
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    };
    names_and_types(one) == names_and_types(other)
}

/// The first column that others have not as it must be, or not at all although version 1 had it.
#[must_use]
pub fn foreign_column(others: &Schema) -> Option<String> {
    let mut columns = SCHEMA.fields().iter().enumerate();
    columns.find_map(|(at, wanted)| {
        let is_right = match others.field_with_name(wanted.name()) {
            Ok(found) => found.data_type() == wanted.data_type(),
            Err(_) => at >= EARLIER_COLUMNS,
        };
        (!is_right).then(|| wanted.name().clone())
    })
}

/// A column without a value in some rows, where each flow has one: what others write calls its columns nullable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("some of its flows have no {0}")]
pub struct Lacking(pub String);

/// That a column lacks a value.
///
/// # Errors
/// Which.
pub fn check_values(rows: &RecordBatch) -> Result<(), Lacking> {
    let columns = rows.schema_ref().fields().iter().zip(rows.columns());
    for (field, _) in columns.filter(|(_, column)| column.null_count() > 0) {
        let known = SCHEMA.field_with_name(field.name());
        if known.is_ok_and(|known| !known.is_nullable()) {
            return Err(Lacking(field.name().clone()));
        }
    }
    Ok(())
}

/// Rows with all columns: those that are not there are null.
///
/// # Errors
/// If a column is not as it must be.
pub fn with_all_columns(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let count = rows.num_rows();
    let columns = SCHEMA.fields().iter().zip(NULLS.iter());
    let columns = columns.map(|(field, nulls)| match rows.column_by_name(field.name()) {
        Some(column) => column.clone(),
        None if count <= nulls.len() => nulls.slice(0, count),
        None => new_null_array(field.data_type(), count),
    });
    RecordBatch::try_new(schema(), columns.collect())
}

/// Whether the columns of version 1 do not hold all of these flows.
#[must_use]
pub fn need_all_columns(flows: &[StoredFlow]) -> bool {
    flows.iter().any(StoredFlow::needs_all_columns)
}

/// Flows as columns.
///
/// # Errors
/// Never for flows from [`StoredFlow`]; the columns are made here.
pub fn batch(flows: &[StoredFlow]) -> Result<RecordBatch, ArrowError> {
    with_all_columns(&rows(flows)?)
}

/// Flows as columns of version 1; what those do not hold is left out ([`need_all_columns`]).
///
/// # Errors
/// As [`batch`].
pub fn earlier_batch(flows: &[StoredFlow]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<usize> = (0..EARLIER_COLUMNS).collect();
    rows(flows)?.project(&columns)
}

/// Flows as columns of version 1, or all if those do not hold them.
///
/// # Errors
/// As [`batch`].
pub fn rows(flows: &[StoredFlow]) -> Result<RecordBatch, ArrowError> {
    let mut builder = FlowsBuilder::with_capacity(flows.len());
    builder.take(flows);
    builder.finish()
}

/// All these rows, in their order; with all columns if some have them.
///
/// # Errors
/// If a column is not as it must be.
pub fn joined(parts: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    match parts {
        [part] => Ok(part.clone()),
        _ if parts.iter().any(has_all_columns) => {
            let parts: Result<Vec<_>, _> = parts.iter().map(with_all_columns).collect();
            concat_batches(&schema(), &parts?)
        }
        _ => concat_batches(&earlier_schema(), parts),
    }
}

/// Whether these have more columns than those of version 1.
#[must_use]
pub fn has_all_columns(rows: &RecordBatch) -> bool {
    rows.num_columns() > EARLIER_COLUMNS
}

#[cfg(test)]
mod tests;
