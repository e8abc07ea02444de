//! Rows back into flows: the other way of [`crate::schema::batch`]. What a record carries and no column has
//! is as in [`FlowRecord::default`].

use std::net::{IpAddr, Ipv6Addr};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BinaryArray, FixedSizeBinaryArray, MapArray,
        PrimitiveArray, RecordBatch, StringArray, TimestampNanosecondArray, UInt8Array,
        UInt16Array, UInt32Array, UInt64Array,
    },
    error::ArrowError,
};
use weir_netflow::{Direction, EndReason, FlowRecord, record::mapped_address};

use crate::{
    others::{self, Others},
    schema::StoredFlow,
};

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
    let address = text.parse::<IpAddr>();
    address.map_or(Ipv6Addr::UNSPECIFIED, mapped_address)
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
    later: Option<Later<'a>>,
}

/// What version 1 had not.
struct Later<'a> {
    bgp_next_hop: &'a FixedSizeBinaryArray,
    macs: Pair<'a, FixedSizeBinaryArray>,
    inner_vlan: &'a UInt16Array,
    mpls_labels: [&'a UInt32Array; 4],
    flow_label: &'a UInt32Array,
    outer_addresses: Pair<'a, FixedSizeBinaryArray>,
    others: &'a MapArray,
    other_keys: &'a StringArray,
    other_values: &'a BinaryArray,
}

impl<'a> Later<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        let others: &MapArray = column(batch, "others")?;
        Ok(Self {
            bgp_next_hop: column(batch, "bgp_next_hop")?,
            macs: pair(batch, ["src_mac", "dst_mac"])?,
            inner_vlan: column(batch, "inner_vlan")?,
            mpls_labels: [
                column(batch, "mpls_label_1")?,
                column(batch, "mpls_label_2")?,
                column(batch, "mpls_label_3")?,
                column(batch, "mpls_label_4")?,
            ],
            flow_label: column(batch, "flow_label")?,
            outer_addresses: pair(batch, ["outer_src_addr", "outer_dst_addr"])?,
            others,
            other_keys: typed(others.keys(), "others")?,
            other_values: typed(others.values(), "others")?,
        })
    }

    fn fill(&self, row: usize, record: &mut FlowRecord) {
        record.bgp_next_hop = address(self.bgp_next_hop, row);
        record.source_mac = mac(self.macs[0], row);
        record.destination_mac = mac(self.macs[1], row);
        record.inner_vlan = known(self.inner_vlan, row);
        record.mpls_labels = self.mpls_labels.map(|label| known(label, row));
        record.flow_label = known(self.flow_label, row);
        record.outer_source = address(self.outer_addresses[0], row);
        record.outer_destination = address(self.outer_addresses[1], row);
    }

    fn others(&self, row: usize) -> Others {
        let ends = self.others.value_offsets();
        if self.others.is_null(row) {
            return Others::NONE;
        }
        let place = |end: i32| usize::try_from(end).unwrap_or(0);
        let range = place(ends[row])..place(ends[row + 1]);
        others::of_keys(range.map(|at| (self.other_keys.value(at), self.other_values.value(at))))
    }
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
            later: match batch.column_by_name("others") {
                Some(_) => Some(Later::of(batch)?),
                None => None,
            },
        })
    }

    fn flow(&self, row: usize, exporter: Ipv6Addr) -> StoredFlow {
        let time_ns = |index: usize| u64::try_from(self.times[index].value(row)).unwrap_or(0);
        let direction = match self.direction.value(row) {
            1 => Direction::Egress,
            _ => Direction::Ingress,
        };
        let mut record = FlowRecord {
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
        let mut others = Others::NONE;
        if let Some(later) = &self.later {
            later.fill(row, &mut record);
            others = later.others(row);
        }
        StoredFlow {
            others,
            record,
            received_ns: time_ns(2),
            exporter,
            source_id: self.source_id.value(row),
            version: self.version.value(row),
        }
    }
}

fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, ArrowError> {
    let column = batch.column_by_name(name);
    column.map_or_else(|| Err(missing(name)), |column| typed(column, name))
}

fn typed<'a, A: Array + 'static>(column: &'a ArrayRef, name: &str) -> Result<&'a A, ArrowError> {
    let column = column.as_any().downcast_ref();
    column.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("no column {name} as Weir writes it"))
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

fn mac(column: &FixedSizeBinaryArray, row: usize) -> [u8; 6] {
    if column.is_null(row) {
        return [0; 6];
    }
    column.value(row).try_into().unwrap_or_default()
}

/// A number; zero if there is none.
fn known<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> T::Native
where
    T::Native: Default,
{
    if column.is_null(row) {
        return T::Native::default();
    }
    column.value(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        others::{Gathering, Other},
        schema,
    };

    fn others() -> Others {
        let mut gathering = Gathering::default();
        for (enterprise, element) in [(0, 95), (6871, 14), (0, 95)] {
            let octets = &[3, 0, 0, 80][..];
            let other = Other {
                enterprise,
                element,
                octets,
            };
            gathering.add(&other, octets.len());
        }
        gathering.finish()
    }

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
        let rich = FlowRecord {
            bgp_next_hop: "2001:db8::5".parse().unwrap(),
            source_mac: [2, 0, 0, 0, 0, 1],
            inner_vlan: 13,
            mpls_labels: [0x12_3451, 7, 0, 0],
            flow_label: 14,
            outer_source: "2001:db8::6".parse().unwrap(),
            ..record
        };
        let others = others();
        let v6 = StoredFlow {
            record,
            received_ns: 1_700_000_002_000_000_001,
            exporter: "2001:db8::4".parse().unwrap(),
            source_id: 14,
            version: 10,
            others: Others::NONE,
        };
        let v4 = StoredFlow {
            record: FlowRecord {
                source: address_of("192.0.2.1"),
                next_hop: Ipv6Addr::UNSPECIFIED,
                v6: false,
                ..record
            },
            exporter: address_of("192.0.2.9"),
            ..v6.clone()
        };
        let rich = StoredFlow {
            record: rich,
            others,
            ..v6.clone()
        };
        let stored = [v6, v4.clone(), v4, rich];
        let earlier = schema::earlier_batch(&stored[..3]).unwrap();
        assert_eq!(flows(&earlier).unwrap(), stored[..3]);
        let batch = schema::batch(&stored).unwrap();
        assert_eq!(flows(&batch).unwrap(), stored);
        let fewer = batch.project(&[0, 1, 2]).unwrap();
        let says = flows(&fewer).unwrap_err().to_string();
        assert!(says.contains("no column exporter"), "{says}");
    }
}
