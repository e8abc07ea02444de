//! Rows back into flows: the other way of [`crate::schema::batch`]. What a record carries and no column has
//! is as in [`FlowRecord::default`].

use std::net::{IpAddr, Ipv6Addr};

use arrow::{
    array::{
        Array, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampNanosecondArray,
        UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    },
    error::ArrowError,
};
use weir_netflow::{Direction, EndReason, FlowRecord};

use crate::schema::StoredFlow;

/// Flows of a batch with the store's columns.
///
/// # Errors
/// If a column is missing, or is of another type.
pub fn flows(batch: &RecordBatch) -> Result<Vec<StoredFlow>, ArrowError> {
    let columns = Columns::of(batch)?;
    let mut last = ("", Ipv6Addr::UNSPECIFIED);
    let rows = (0..batch.num_rows()).map(|row| {
        let text = columns.exporter.value(row);
        // Neighbours mostly come from one exporter.
        if text != last.0 {
            last = (text, address_of(text));
        }
        columns.flow(row, last.1)
    });
    Ok(rows.collect())
}

/// An address as it is stored in text, IPv4 as v4-mapped; unspecified if it is none.
fn address_of(text: &str) -> Ipv6Addr {
    match text.parse() {
        Ok(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Ok(IpAddr::V6(address)) => address,
        Err(_) => Ipv6Addr::UNSPECIFIED,
    }
}

/// Source and destination, or two of another kind, in order.
type Pair<'a, A> = [&'a A; 2];

struct Columns<'a> {
    times: [&'a TimestampNanosecondArray; 3],
    exporter: &'a StringArray,
    source_id: &'a UInt32Array,
    version: &'a UInt8Array,
    addresses: Pair<'a, FixedSizeBinaryArray>,
    next_hop: &'a FixedSizeBinaryArray,
    ip_version: &'a UInt8Array,
    protocol: &'a UInt8Array,
    ports: Pair<'a, UInt16Array>,
    tcp_flags: &'a UInt16Array,
    tos: &'a UInt8Array,
    octets: &'a UInt64Array,
    packets: &'a UInt64Array,
    interfaces: Pair<'a, UInt32Array>,
    as_numbers: Pair<'a, UInt32Array>,
    masks: Pair<'a, UInt8Array>,
    vlan: &'a UInt16Array,
    direction: &'a UInt8Array,
    end_reason: &'a UInt8Array,
    sampling_interval: &'a UInt32Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            times: [
                column(batch, "flow_start")?,
                column(batch, "flow_end")?,
                column(batch, "received")?,
            ],
            exporter: column(batch, "exporter")?,
            source_id: column(batch, "source_id")?,
            version: column(batch, "version")?,
            addresses: pair(batch, ["src_addr", "dst_addr"])?,
            next_hop: column(batch, "next_hop")?,
            ip_version: column(batch, "ip_version")?,
            protocol: column(batch, "protocol")?,
            ports: pair(batch, ["src_port", "dst_port"])?,
            tcp_flags: column(batch, "tcp_flags")?,
            tos: column(batch, "tos")?,
            octets: column(batch, "octets")?,
            packets: column(batch, "packets")?,
            interfaces: pair(batch, ["ingress_ifindex", "egress_ifindex"])?,
            as_numbers: pair(batch, ["src_as", "dst_as"])?,
            masks: pair(batch, ["src_mask", "dst_mask"])?,
            vlan: column(batch, "vlan")?,
            direction: column(batch, "direction")?,
            end_reason: column(batch, "end_reason")?,
            sampling_interval: column(batch, "sampling_interval")?,
        })
    }

    fn flow(&self, row: usize, exporter: Ipv6Addr) -> StoredFlow {
        let time_ns = |index: usize| u64::try_from(self.times[index].value(row)).unwrap_or(0);
        let direction = match self.direction.value(row) {
            1 => Direction::Egress,
            _ => Direction::Ingress,
        };
        let record = FlowRecord {
            source: address(self.addresses[0], row),
            destination: address(self.addresses[1], row),
            next_hop: address(self.next_hop, row),
            v6: self.ip_version.value(row) == 6,
            source_port: self.ports[0].value(row),
            destination_port: self.ports[1].value(row),
            protocol: self.protocol.value(row),
            tos: self.tos.value(row),
            tcp_flags: self.tcp_flags.value(row),
            octets: self.octets.value(row),
            packets: self.packets.value(row),
            start_ns: time_ns(0),
            end_ns: time_ns(1),
            ingress_ifindex: self.interfaces[0].value(row),
            egress_ifindex: self.interfaces[1].value(row),
            source_as: self.as_numbers[0].value(row),
            destination_as: self.as_numbers[1].value(row),
            source_mask: self.masks[0].value(row),
            destination_mask: self.masks[1].value(row),
            vlan: self.vlan.value(row),
            direction,
            end_reason: EndReason::from_number(self.end_reason.value(row)),
            sampling_interval: self.sampling_interval.value(row),
            ..FlowRecord::default()
        };
        StoredFlow {
            record,
            received_ns: time_ns(2),
            exporter,
            source_id: self.source_id.value(row),
            version: self.version.value(row),
        }
    }
}

fn column<'a, A: Array + 'static>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a A, ArrowError> {
    let column = batch.column_by_name(name);
    column
        .and_then(|column| column.as_any().downcast_ref())
        .ok_or_else(|| ArrowError::SchemaError(format!("no column {name} as Weir writes it")))
}

fn pair<'a, A: Array + 'static>(
    batch: &'a RecordBatch,
    names: [&str; 2],
) -> Result<Pair<'a, A>, ArrowError> {
    Ok([column(batch, names[0])?, column(batch, names[1])?])
}

/// An address of 16 octets; unspecified if there is none.
fn address(column: &FixedSizeBinaryArray, row: usize) -> Ipv6Addr {
    if column.is_null(row) {
        return Ipv6Addr::UNSPECIFIED;
    }
    <[u8; 16]>::try_from(column.value(row)).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn flows_come_back_as_they_were() {
        let record = FlowRecord {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            next_hop: "2001:db8::3".parse().unwrap(),
            v6: true,
            source_port: 1,
            destination_port: 2,
            protocol: 6,
            tos: 3,
            tcp_flags: 0x11b,
            octets: u64::MAX,
            packets: 5,
            start_ns: 1_700_000_000_123_456_789,
            end_ns: 1_700_000_001_000_000_000,
            ingress_ifindex: 6,
            egress_ifindex: 7,
            source_as: 4_200_000_000,
            destination_as: 9,
            source_mask: 48,
            destination_mask: 64,
            vlan: 12,
            direction: Direction::Egress,
            end_reason: EndReason::ActiveTimeout,
            sampling_interval: 100,
            ..FlowRecord::default()
        };
        let v6 = StoredFlow {
            record,
            received_ns: 1_700_000_002_000_000_001,
            exporter: "2001:db8::4".parse().unwrap(),
            source_id: 14,
            version: 10,
        };
        let v4 = StoredFlow {
            record: FlowRecord {
                source: address_of("192.0.2.1"),
                next_hop: Ipv6Addr::UNSPECIFIED,
                v6: false,
                ..record
            },
            exporter: address_of("192.0.2.9"),
            ..v6
        };
        let stored = [v6, v4, v4, v6];
        let batch = schema::batch(&stored).unwrap();
        assert_eq!(flows(&batch).unwrap(), stored);
        let fewer = batch.project(&[0, 1, 2]).unwrap();
        let says = flows(&fewer).unwrap_err().to_string();
        assert!(says.contains("no column exporter"), "{says}");
    }
}
