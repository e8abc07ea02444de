//! What a file holds: one row a flow record, the same columns in the open window (Arrow IPC
//! stream) and in Parquet.
//!
//! | column | type | unit, meaning | source (IE) |
//! |---|---|---|---|
//! | `flow_start` | timestamp(ns, UTC) | first packet; the export if that is unknown | 22, 150, 152, 154, 156, 158 |
//! | `flow_end` | timestamp(ns, UTC) | last packet, likewise | 21, 151, 153, 155, 157, 159 |
//! | `received` | timestamp(ns, UTC) | when the collector took the datagram | |
//! | `exporter` | utf8 | the exporter's address, as people write it | |
//! | `source_id` | uint32 | observation domain; v5, v8: engine type × 256 + id, v8: + aggregation × 65536 | |
//! | `version` | uint8 | export version (1, 5, 7, 8, 9, 10) | |
//! | `src_addr`, `dst_addr` | fixed binary 16 | network order, IPv4 as `::ffff:a.b.c.d`; `::` if there is none | 8/27, 12/28, 44, 45 |
//! | `next_hop` | fixed binary 16, null if unknown | likewise | 15/62 |
//! | `ip_version` | uint8 | 4 or 6 | 60 |
//! | `protocol` | uint8 | IP protocol number | 4 |
//! | `src_port`, `dst_port` | uint16 | ICMP: `dst_port` is type × 256 + code | 7, 11, 32, 139, 176–179 |
//! | `tcp_flags` | uint16 | or of all packets | 6 |
//! | `tos` | uint8 | `ToS` or traffic class | 5 |
//! | `octets`, `packets` | uint64 | as exported, not scaled by sampling | 1, 2, else 85, 86, 231, 298, 23, 24 |
//! | `ingress_ifindex`, `egress_ifindex` | uint32 | 0: unknown | 10, 14 |
//! | `src_as`, `dst_as` | uint32 | 0: unknown | 16, 17 |
//! | `src_mask`, `dst_mask` | uint8 | prefix length, 0: unknown | 9/29, 13/30 |
//! | `vlan` | uint16 | outermost VLAN id, 0: untagged | 58, 243 |
//! | `direction` | uint8 | 0 ingress, 1 egress | 61 |
//! | `end_reason` | uint8 | flowEndReason, 0: unknown | 136 |
//! | `sampling_interval` | uint32 | one packet in this many was looked at | 34, 50, 305, 306, 309–311, or by 48, 302 |
//!
//! Every file says `weir.schema_version` in its metadata.

use std::{
    net::Ipv6Addr,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{
        ArrayRef, FixedSizeBinaryArray, RecordBatch, StringBuilder, TimestampNanosecondArray,
        UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    },
    buffer::{Buffer, NullBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use weir_netflow::{FlowRecord, record::display_address};

/// Version of the columns above.
pub const SCHEMA_VERSION: &str = "1";

/// A flow as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let column = |name: &str, kind: DataType| Field::new(name, kind, false);
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
    ]))
});

/// The columns.
#[must_use]
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Flows as columns.
///
/// # Errors
/// Never for flows from [`StoredFlow`]; the columns are made here.
pub fn batch(flows: &[StoredFlow]) -> Result<RecordBatch, ArrowError> {
    let times = |pick: fn(&StoredFlow) -> u64| -> ArrayRef {
        let times = flows
            .iter()
            .map(|flow| i64::try_from(pick(flow)).unwrap_or(i64::MAX));
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let u8s = |pick: fn(&StoredFlow) -> u8| -> ArrayRef {
        Arc::new(UInt8Array::from_iter_values(flows.iter().map(pick)))
    };
    let u16s = |pick: fn(&StoredFlow) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from_iter_values(flows.iter().map(pick)))
    };
    let u32s = |pick: fn(&StoredFlow) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(flows.iter().map(pick)))
    };
    let u64s = |pick: fn(&StoredFlow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(flows.iter().map(pick)))
    };
    let columns = vec![
        times(|flow| flow.record.start_ns),
        times(|flow| flow.record.end_ns),
        times(|flow| flow.received_ns),
        exporters(flows),
        u32s(|flow| flow.source_id),
        u8s(|flow| flow.version),
        addresses(flows, |flow| flow.record.source, None)?,
        addresses(flows, |flow| flow.record.destination, None)?,
        addresses(flows, |flow| flow.record.next_hop, known_next_hops(flows))?,
        u8s(|flow| if flow.record.v6 { 6 } else { 4 }),
        u8s(|flow| flow.record.protocol),
        u16s(|flow| flow.record.source_port),
        u16s(|flow| flow.record.destination_port),
        u16s(|flow| flow.record.tcp_flags),
        u8s(|flow| flow.record.tos),
        u64s(|flow| flow.record.octets),
        u64s(|flow| flow.record.packets),
        u32s(|flow| flow.record.ingress_ifindex),
        u32s(|flow| flow.record.egress_ifindex),
        u32s(|flow| flow.record.source_as),
        u32s(|flow| flow.record.destination_as),
        u8s(|flow| flow.record.source_mask),
        u8s(|flow| flow.record.destination_mask),
        u16s(|flow| flow.record.vlan),
        u8s(|flow| flow.record.direction as u8),
        u8s(|flow| flow.record.end_reason as u8),
        u32s(|flow| flow.record.sampling_interval),
    ];
    RecordBatch::try_new(schema(), columns)
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
    pick: fn(&StoredFlow) -> Ipv6Addr,
    known: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let mut octets = Vec::with_capacity(16 * flows.len());
    for flow in flows {
        octets.extend_from_slice(&pick(flow).octets());
    }
    let array = FixedSizeBinaryArray::try_new(16, Buffer::from_vec(octets), known)?;
    Ok(Arc::new(array))
}

/// Which flows have a next hop; nothing if all have one.
fn known_next_hops(flows: &[StoredFlow]) -> Option<NullBuffer> {
    let known: NullBuffer = flows
        .iter()
        .map(|flow| !flow.record.next_hop.is_unspecified())
        .collect();
    Some(known).filter(|known| known.null_count() > 0)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};

    use super::*;

    #[test]
    fn next_hops_are_null_where_they_are_unknown() {
        let flow = |next_hop: &str| StoredFlow {
            record: FlowRecord {
                next_hop: next_hop.parse().unwrap(),
                ..FlowRecord::default()
            },
            received_ns: 0,
            exporter: Ipv6Addr::LOCALHOST,
            source_id: 0,
            version: 9,
        };
        let (unknown, known) = (flow("::"), flow("::ffff:192.0.2.1"));
        for (flows, nulls) in [
            (vec![unknown, known, unknown], 2),
            (vec![known; 9], 0),
            (vec![unknown; 9], 9),
            (vec![], 0),
        ] {
            let batch = batch(&flows).unwrap();
            assert_eq!(batch.num_rows(), flows.len());
            let column = batch.column_by_name("next_hop").unwrap();
            assert_eq!(column.null_count(), nulls);
            let addresses = column.as_fixed_size_binary();
            for (row, flow) in flows.iter().enumerate() {
                assert_eq!(addresses.is_null(row), *flow == unknown);
                assert_eq!(addresses.value(row), flow.record.next_hop.octets());
            }
        }
    }
}
