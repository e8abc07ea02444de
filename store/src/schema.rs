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
    array::{
        ArrayRef, BinaryBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder, MapBuilder,
        MapFieldNames, NullBufferBuilder, PrimitiveArray, RecordBatch, StringBuilder,
        TimestampNanosecondArray, UInt16Array, UInt32Array, new_null_array,
    },
    buffer::Buffer,
    datatypes::{
        ArrowPrimitiveType, DataType, Field, Schema, SchemaRef, TimeUnit, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
    error::ArrowError,
};
use weir_netflow::{FlowRecord, record::display_address};

use crate::others::{Keys, Others};

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
fn map_names() -> MapFieldNames {
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
    let mut columns = earlier_columns(flows)?;
    if need_all_columns(flows) {
        columns.extend(later_columns(flows)?);
    } else {
        let later = SCHEMA.fields().iter().skip(EARLIER_COLUMNS);
        columns.extend(later.map(|field| new_null_array(field.data_type(), flows.len())));
    }
    RecordBatch::try_new(schema(), columns)
}

/// Flows as columns of version 1; what those do not hold is left out ([`need_all_columns`]).
///
/// # Errors
/// As [`batch`].
pub fn earlier_batch(flows: &[StoredFlow]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(earlier_schema(), earlier_columns(flows)?)
}

fn earlier_columns(flows: &[StoredFlow]) -> Result<Vec<ArrayRef>, ArrowError> {
    Ok(vec![
        times(flows, |flow| flow.record.start_ns),
        times(flows, |flow| flow.record.end_ns),
        times(flows, |flow| flow.received_ns),
        exporters(flows),
        numbers::<UInt32Type>(flows, |flow| flow.source_id),
        numbers::<UInt8Type>(flows, |flow| flow.version),
        addresses(flows, |flow| Some(flow.record.source))?,
        addresses(flows, |flow| Some(flow.record.destination))?,
        addresses(flows, |flow| said(flow.record.next_hop))?,
        numbers::<UInt8Type>(flows, |flow| if flow.record.v6 { 6 } else { 4 }),
        numbers::<UInt8Type>(flows, |flow| flow.record.protocol),
        numbers::<UInt16Type>(flows, |flow| flow.record.source_port),
        numbers::<UInt16Type>(flows, |flow| flow.record.destination_port),
        numbers::<UInt16Type>(flows, |flow| flow.record.tcp_flags),
        numbers::<UInt8Type>(flows, |flow| flow.record.tos),
        numbers::<UInt64Type>(flows, |flow| flow.record.octets),
        numbers::<UInt64Type>(flows, |flow| flow.record.packets),
        numbers::<UInt32Type>(flows, |flow| flow.record.ingress_ifindex),
        numbers::<UInt32Type>(flows, |flow| flow.record.egress_ifindex),
        numbers::<UInt32Type>(flows, |flow| flow.record.source_as),
        numbers::<UInt32Type>(flows, |flow| flow.record.destination_as),
        numbers::<UInt8Type>(flows, |flow| flow.record.source_mask),
        numbers::<UInt8Type>(flows, |flow| flow.record.destination_mask),
        numbers::<UInt16Type>(flows, |flow| flow.record.vlan),
        numbers::<UInt8Type>(flows, |flow| flow.record.direction as u8),
        numbers::<UInt8Type>(flows, |flow| flow.record.end_reason as u8),
        numbers::<UInt32Type>(flows, |flow| flow.record.sampling_interval),
    ])
}

/// One a flow. Each column's `pick` is a function of its own, which is no call for each flow.
fn numbers<T: ArrowPrimitiveType>(
    flows: &[StoredFlow],
    pick: impl Fn(&StoredFlow) -> T::Native,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(
        flows.iter().map(pick),
    ))
}

fn times(flows: &[StoredFlow], pick: impl Fn(&StoredFlow) -> u64) -> ArrayRef {
    let times = flows
        .iter()
        .map(|flow| i64::try_from(pick(flow)).unwrap_or(i64::MAX));
    Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
}

/// `::` stands for unknown.
fn said(address: Ipv6Addr) -> Option<Ipv6Addr> {
    (!address.is_unspecified()).then_some(address)
}

fn later_columns(flows: &[StoredFlow]) -> Result<Vec<ArrayRef>, ArrowError> {
    let u32s = |pick: &dyn Fn(&FlowRecord) -> u32| -> ArrayRef {
        let numbers = flows.iter().map(|flow| pick(&flow.record));
        let numbers = numbers.map(|number| (number != 0).then_some(number));
        Arc::new(numbers.collect::<UInt32Array>())
    };
    let inner_vlans = flows.iter().map(|flow| flow.record.inner_vlan);
    let inner_vlans = inner_vlans.map(|vlan| (vlan != 0).then_some(vlan));
    let [label_1, label_2, label_3, label_4] =
        [0, 1, 2, 3].map(|at: usize| u32s(&|record: &FlowRecord| record.mpls_labels[at]));
    Ok(vec![
        addresses(flows, |flow| said(flow.record.bgp_next_hop))?,
        macs(flows, |flow| flow.record.source_mac)?,
        macs(flows, |flow| flow.record.destination_mac)?,
        Arc::new(inner_vlans.collect::<UInt16Array>()),
        label_1,
        label_2,
        label_3,
        label_4,
        u32s(&|record: &FlowRecord| record.flow_label),
        addresses(flows, |flow| said(flow.record.outer_source))?,
        addresses(flows, |flow| said(flow.record.outer_destination))?,
        others(flows)?,
    ])
}

fn macs(flows: &[StoredFlow], pick: fn(&StoredFlow) -> [u8; 6]) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(flows.len(), 6);
    for flow in flows {
        match pick(flow) {
            [0, 0, 0, 0, 0, 0] => builder.append_null(),
            address => builder.append_value(address)?,
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn others(flows: &[StoredFlow]) -> Result<ArrayRef, ArrowError> {
    let (keys, values) = (StringBuilder::new(), BinaryBuilder::new());
    let mut builder = MapBuilder::with_capacity(Some(map_names()), keys, values, flows.len());
    let mut keys = Keys::default();
    for StoredFlow { others, .. } in flows {
        for (place, other) in others.iter().enumerate() {
            let key = keys.key(place, &other, others.iter().take(place));
            builder.keys().append_value(key);
            builder.values().append_value(other.octets);
        }
        builder.append(!others.is_empty())?;
    }
    Ok(Arc::new(builder.finish()))
}

fn exporters(flows: &[StoredFlow]) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(flows.len(), flows.len() * 16);
    let (mut last, mut text) = (None, String::new());
    for flow in flows {
        if last != Some(flow.exporter) {
            last = Some(flow.exporter);
            text = display_address(flow.exporter).to_string();
        }
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

/// Sixteen octets a flow. Where they are null they are zeros all the same: `::` stands for unknown.
fn addresses(
    flows: &[StoredFlow],
    pick: impl Fn(&StoredFlow) -> Option<Ipv6Addr>,
) -> Result<ArrayRef, ArrowError> {
    let mut octets = Vec::with_capacity(16 * flows.len());
    let mut known = NullBufferBuilder::new(flows.len());
    for flow in flows {
        let address = pick(flow);
        octets.extend_from_slice(&address.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
        known.append(address.is_some());
    }
    let array = FixedSizeBinaryArray::try_new(16, Buffer::from_vec(octets), known.finish())?;
    Ok(Arc::new(array))
}

#[cfg(test)]
mod tests;
