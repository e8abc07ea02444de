//! Flows into columns; [`crate::rows`] is the way back.

use std::{net::Ipv6Addr, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder, MapBuilder,
        PrimitiveArray, StringBuilder, UInt16Array, UInt32Array,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    datatypes::{
        ArrowPrimitiveType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    error::ArrowError,
};
use weir_netflow::{FlowRecord, record::display_address};

use crate::{
    others::Keys,
    schema::{self, EARLIER_COLUMNS, StoredFlow},
};

/// Flows that all columns take before they take the next: so many (18 KiB) stay in a core's first cache meanwhile,
/// where a whole message would be fetched again for each column.
const TOGETHER: usize = 64;

/// A column in the making.
trait Column {
    /// Appends what these flows have.
    fn take(&mut self, flows: &[StoredFlow]);

    /// The column.
    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError>;
}

/// The columns of version 1, and whether these do not hold all of the flows.
///
/// # Errors
/// Never for flows from [`StoredFlow`]; the columns are made here.
pub fn earlier(flows: &[StoredFlow]) -> Result<(Vec<ArrayRef>, bool), ArrowError> {
    let rows = flows.len();
    let mut columns: [Box<dyn Column>; EARLIER_COLUMNS] = [
        times(rows, |flow| flow.record.start_ns),
        times(rows, |flow| flow.record.end_ns),
        times(rows, |flow| flow.received_ns),
        exporters(rows),
        numbers::<UInt32Type>(rows, |flow| flow.source_id),
        numbers::<UInt8Type>(rows, |flow| flow.version),
        addresses(rows, |flow| flow.record.source),
        addresses(rows, |flow| flow.record.destination),
        addresses_if_known(rows, |flow| flow.record.next_hop),
        numbers::<UInt8Type>(rows, |flow| if flow.record.v6 { 6 } else { 4 }),
        numbers::<UInt8Type>(rows, |flow| flow.record.protocol),
        numbers::<UInt16Type>(rows, |flow| flow.record.source_port),
        numbers::<UInt16Type>(rows, |flow| flow.record.destination_port),
        numbers::<UInt16Type>(rows, |flow| flow.record.tcp_flags),
        numbers::<UInt8Type>(rows, |flow| flow.record.tos),
        numbers::<UInt64Type>(rows, |flow| flow.record.octets),
        numbers::<UInt64Type>(rows, |flow| flow.record.packets),
        numbers::<UInt32Type>(rows, |flow| flow.record.ingress_ifindex),
        numbers::<UInt32Type>(rows, |flow| flow.record.egress_ifindex),
        numbers::<UInt32Type>(rows, |flow| flow.record.source_as),
        numbers::<UInt32Type>(rows, |flow| flow.record.destination_as),
        numbers::<UInt8Type>(rows, |flow| flow.record.source_mask),
        numbers::<UInt8Type>(rows, |flow| flow.record.destination_mask),
        numbers::<UInt16Type>(rows, |flow| flow.record.vlan),
        numbers::<UInt8Type>(rows, |flow| flow.record.direction as u8),
        numbers::<UInt8Type>(rows, |flow| flow.record.end_reason as u8),
        numbers::<UInt32Type>(rows, |flow| flow.record.sampling_interval),
    ];
    let mut need_more = false;
    for flows in flows.chunks(TOGETHER) {
        for column in &mut columns {
            column.take(flows);
        }
        // Asked where they are at hand: once more through a whole message would fetch it once more.
        need_more = need_more || schema::need_all_columns(flows);
    }
    let columns = columns.into_iter().map(Column::finish);
    Ok((columns.collect::<Result<_, _>>()?, need_more))
}

/// What version 2 added; null where a flow has none.
///
/// # Errors
/// As [`earlier`].
pub fn later(flows: &[StoredFlow]) -> Result<Vec<ArrayRef>, ArrowError> {
    let rows = flows.len();
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
        filled(
            addresses_if_known(rows, |flow| flow.record.bgp_next_hop),
            flows,
        )?,
        macs(flows, |flow| flow.record.source_mac)?,
        macs(flows, |flow| flow.record.destination_mac)?,
        Arc::new(inner_vlans.collect::<UInt16Array>()),
        label_1,
        label_2,
        label_3,
        label_4,
        u32s(&|record: &FlowRecord| record.flow_label),
        filled(
            addresses_if_known(rows, |flow| flow.record.outer_source),
            flows,
        )?,
        filled(
            addresses_if_known(rows, |flow| flow.record.outer_destination),
            flows,
        )?,
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
    let names = Some(schema::map_names());
    let mut builder = MapBuilder::with_capacity(names, keys, values, flows.len());
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

fn filled(mut column: Box<dyn Column>, flows: &[StoredFlow]) -> Result<ArrayRef, ArrowError> {
    column.take(flows);
    column.finish()
}

/// One a flow. Each column's `pick` is a function of its own, which is no call for each flow.
struct Numbers<T: ArrowPrimitiveType, P> {
    values: Vec<T::Native>,
    pick: P,
    array: fn(PrimitiveArray<T>) -> ArrayRef,
}

impl<T: ArrowPrimitiveType, P: Fn(&StoredFlow) -> T::Native> Column for Numbers<T, P> {
    fn take(&mut self, flows: &[StoredFlow]) {
        self.values.extend(flows.iter().map(&self.pick));
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        let Self { values, array, .. } = *self;
        Ok(array(PrimitiveArray::new(values.into(), None)))
    }
}

fn numbers<T: ArrowPrimitiveType>(
    rows: usize,
    pick: impl Fn(&StoredFlow) -> T::Native + 'static,
) -> Box<dyn Column> {
    Box::new(Numbers::<T, _> {
        values: Vec::with_capacity(rows),
        pick,
        array: |array| Arc::new(array),
    })
}

fn times(rows: usize, pick: impl Fn(&StoredFlow) -> u64 + 'static) -> Box<dyn Column> {
    Box::new(Numbers::<TimestampNanosecondType, _> {
        values: Vec::with_capacity(rows),
        pick: move |flow: &StoredFlow| i64::try_from(pick(flow)).unwrap_or(i64::MAX),
        array: |array| Arc::new(array.with_timezone("UTC")),
    })
}

/// Who sent each flow, as text.
struct Exporters {
    texts: StringBuilder,
    /// The one before, and its text: neighbours mostly come from one exporter.
    last: Option<Ipv6Addr>,
    text: String,
}

impl Column for Exporters {
    fn take(&mut self, flows: &[StoredFlow]) {
        for flow in flows {
            if self.last != Some(flow.exporter) {
                self.last = Some(flow.exporter);
                self.text = display_address(flow.exporter).to_string();
            }
            self.texts.append_value(&self.text);
        }
    }

    fn finish(mut self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.texts.finish()))
    }
}

fn exporters(rows: usize) -> Box<dyn Column> {
    Box::new(Exporters {
        texts: StringBuilder::with_capacity(rows, rows * 16),
        last: None,
        text: String::new(),
    })
}

/// Sixteen octets a flow. Where they are null they are zeros all the same.
struct Addresses<P> {
    octets: Vec<[u8; 16]>,
    pick: P,
    /// Whether `::` stands for unknown.
    may_be_unknown: bool,
}

impl<P: Fn(&StoredFlow) -> Ipv6Addr> Column for Addresses<P> {
    fn take(&mut self, flows: &[StoredFlow]) {
        let octets = flows.iter().map(|flow| (self.pick)(flow).octets());
        self.octets.extend(octets);
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        let Self {
            octets,
            may_be_unknown,
            ..
        } = *self;
        let is_known = |row: usize| octets[row] != [0; 16];
        let known = may_be_unknown.then(|| BooleanBuffer::collect_bool(octets.len(), is_known));
        let nulls = known.map(NullBuffer::new);
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let octets = Buffer::from_vec(octets.into_flattened());
        Ok(Arc::new(FixedSizeBinaryArray::try_new(16, octets, nulls)?))
    }
}

fn addresses(rows: usize, pick: impl Fn(&StoredFlow) -> Ipv6Addr + 'static) -> Box<dyn Column> {
    Box::new(Addresses {
        octets: Vec::with_capacity(rows),
        pick,
        may_be_unknown: false,
    })
}

/// Null where it is `::`.
fn addresses_if_known(
    rows: usize,
    pick: impl Fn(&StoredFlow) -> Ipv6Addr + 'static,
) -> Box<dyn Column> {
    Box::new(Addresses {
        octets: Vec::with_capacity(rows),
        pick,
        may_be_unknown: true,
    })
}
