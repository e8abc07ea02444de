//! Flows into columns; [`crate::rows`] is the way back.

use std::{mem, net::Ipv6Addr, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, FixedSizeBinaryArray, MapBuilder, PrimitiveArray, RecordBatch,
        StringArray, StringBuilder,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer},
    datatypes::{
        ArrowPrimitiveType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    error::ArrowError,
};
use weir_netflow::{
    plain::{PlainRecord, PlainRecords},
    record::display_address,
};

use crate::{
    others::Keys,
    schema::{self, EARLIER_COLUMNS, StoredFlow},
};

/// Flows that all columns best take before they take the next: so many (18 KiB) stay in a core's first cache meanwhile,
/// and twice as many do, where a whole message would be fetched again for each column.
pub const TOGETHER: usize = 64;

/// What flows of one datagram have in common.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// As in [`StoredFlow`].
    pub received_ns: u64,
    /// Likewise.
    pub exporter: Ipv6Addr,
    /// Likewise.
    pub source_id: u32,
    /// Likewise.
    pub version: u8,
    /// As in [`weir_netflow::FlowRecord`].
    pub sampling_interval: u32,
}

/// Flows that become columns as they come. They have the columns of version 1, until a flow has what only those of
/// version 2 hold.
#[derive(Default)]
pub struct FlowsBuilder {
    /// None before the first flow.
    columns: Vec<Box<dyn Column>>,
    rows: usize,
    /// Rows that there is room for from the first on.
    capacity: usize,
}

impl FlowsBuilder {
    /// One that has room for so many flows from the first on.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    /// Flows that it has taken.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes flows, best [`TOGETHER`] or a few more that were just made.
    pub fn take(&mut self, flows: &[StoredFlow]) {
        for flows in flows.chunks(2 * TOGETHER) {
            if self.columns.is_empty() {
                self.columns = earlier(self.capacity);
            }
            if self.columns.len() == EARLIER_COLUMNS && schema::need_all_columns(flows) {
                self.columns.extend(later(self.rows));
            }
            for column in &mut self.columns {
                column.take(flows);
            }
            self.rows += flows.len();
        }
    }

    /// Takes records at once whose flows nobody needs one by one.
    pub fn take_plain(&mut self, records: &PlainRecords<'_>, origin: &Origin) {
        if self.columns.is_empty() {
            self.columns = earlier(self.capacity);
        }
        if self.columns.len() == EARLIER_COLUMNS && records.has_bgp_next_hop() {
            self.columns.extend(later(self.rows));
        }
        for column in &mut self.columns {
            column.take_plain(records, origin);
        }
        self.rows += records.count();
    }

    /// What it has taken; it is empty then.
    ///
    /// # Errors
    /// Never for flows from [`StoredFlow`]; the columns are made here.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        if self.columns.is_empty() {
            return Ok(RecordBatch::new_empty(schema::earlier_schema()));
        }
        let columns = mem::take(&mut self.columns);
        // The next will be about as many. Grown from nothing, columns would be copied on the way.
        self.capacity = mem::take(&mut self.rows);
        let schema = if columns.len() > EARLIER_COLUMNS {
            schema::schema()
        } else {
            schema::earlier_schema()
        };
        let columns = columns.into_iter().map(Column::finish);
        RecordBatch::try_new(schema, columns.collect::<Result<_, _>>()?)
    }
}

/// A column in the making.
trait Column: Send {
    /// Appends what these flows have.
    fn take(&mut self, flows: &[StoredFlow]);

    /// Appends what the flows of these records have.
    fn take_plain(&mut self, records: &PlainRecords<'_>, origin: &Origin);

    /// The column.
    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError>;
}

/// The columns of version 1: what each has of a flow, and of a plain record.
fn earlier(rows: usize) -> Vec<Box<dyn Column>> {
    /// A member that both have under the same name.
    macro_rules! member {
        ($type:ty, $member:ident) => {
            numbers::<$type>(
                rows,
                |flow| flow.record.$member,
                |_, record| record.$member(),
            )
        };
    }
    vec![
        times(
            rows,
            |flow| flow.record.start_ns,
            |_, record| record.start_ns(),
        ),
        times(rows, |flow| flow.record.end_ns, |_, record| record.end_ns()),
        times(
            rows,
            |flow| flow.received_ns,
            |origin, _| origin.received_ns,
        ),
        Box::new(Exporters::default()),
        numbers::<UInt32Type>(rows, |flow| flow.source_id, |origin, _| origin.source_id),
        numbers::<UInt8Type>(rows, |flow| flow.version, |origin, _| origin.version),
        addresses(rows, |flow| flow.record.source, |_, record| record.source()),
        addresses(
            rows,
            |flow| flow.record.destination,
            |_, record| record.destination(),
        ),
        next_hops(rows),
        numbers::<UInt8Type>(
            rows,
            |flow| ip_version(flow.record.v6),
            |_, record| ip_version(record.v6()),
        ),
        member!(UInt8Type, protocol),
        member!(UInt16Type, source_port),
        member!(UInt16Type, destination_port),
        member!(UInt16Type, tcp_flags),
        member!(UInt8Type, tos),
        member!(UInt64Type, octets),
        member!(UInt64Type, packets),
        member!(UInt32Type, ingress_ifindex),
        member!(UInt32Type, egress_ifindex),
        member!(UInt32Type, source_as),
        member!(UInt32Type, destination_as),
        member!(UInt8Type, source_mask),
        member!(UInt8Type, destination_mask),
        member!(UInt16Type, vlan),
        numbers::<UInt8Type>(
            rows,
            |flow| flow.record.direction as u8,
            |_, record| record.direction() as u8,
        ),
        numbers::<UInt8Type>(
            rows,
            |flow| flow.record.end_reason as u8,
            |_, record| record.end_reason() as u8,
        ),
        numbers::<UInt32Type>(
            rows,
            |flow| flow.record.sampling_interval,
            |origin, _| origin.sampling_interval,
        ),
    ]
}

fn ip_version(is_v6: bool) -> u8 {
    if is_v6 { 6 } else { 4 }
}

/// What version 2 added, after so many flows that have nothing of it; null where a flow has none.
fn later(before: usize) -> Vec<Box<dyn Column>> {
    fn u32s(before: usize, pick: impl Fn(&StoredFlow) -> u32 + Send + 'static) -> Box<dyn Column> {
        numbers_if_known::<UInt32Type>(before, pick)
    }
    vec![
        bgp_next_hops(before),
        octets_if_known(before, |flow| flow.record.source_mac),
        octets_if_known(before, |flow| flow.record.destination_mac),
        numbers_if_known::<UInt16Type>(before, |flow| flow.record.inner_vlan),
        u32s(before, |flow| flow.record.mpls_labels[0]),
        u32s(before, |flow| flow.record.mpls_labels[1]),
        u32s(before, |flow| flow.record.mpls_labels[2]),
        u32s(before, |flow| flow.record.mpls_labels[3]),
        u32s(before, |flow| flow.record.flow_label),
        octets_if_known(before, |flow| flow.record.outer_source.octets()),
        octets_if_known(before, |flow| flow.record.outer_destination.octets()),
        others(before),
    ]
}

/// One a flow. Each column's `pick` and `pick_plain` are functions of its own, which are no calls for each flow.
struct Numbers<T: ArrowPrimitiveType, P, Q> {
    values: Vec<T::Native>,
    pick: P,
    pick_plain: Q,
    /// Whether zero stands for unknown.
    may_be_unknown: bool,
    array: fn(PrimitiveArray<T>) -> ArrayRef,
}

impl<T: ArrowPrimitiveType, P, Q> Column for Numbers<T, P, Q>
where
    P: Fn(&StoredFlow) -> T::Native + Send,
    Q: Fn(&Origin, PlainRecord<'_>) -> T::Native + Send,
{
    fn take(&mut self, flows: &[StoredFlow]) {
        self.values.extend(flows.iter().map(&self.pick));
    }

    fn take_plain(&mut self, records: &PlainRecords<'_>, origin: &Origin) {
        let picked = records
            .iter()
            .map(|record| (self.pick_plain)(origin, record));
        self.values.extend(picked);
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        let nulls = nulls_where(self.may_be_unknown, &self.values, &T::Native::default());
        Ok((self.array)(PrimitiveArray::new(self.values.into(), nulls)))
    }
}

/// Nulls where values are as those that are not known, if there are any.
fn nulls_where<T: PartialEq>(
    may_be_unknown: bool,
    values: &[T],
    unknown: &T,
) -> Option<NullBuffer> {
    let is_known = |row: usize| values[row] != *unknown;
    let known = may_be_unknown.then(|| BooleanBuffer::collect_bool(values.len(), is_known));
    let nulls = known.map(NullBuffer::new);
    nulls.filter(|nulls| nulls.null_count() > 0)
}

fn numbers<T: ArrowPrimitiveType>(
    rows: usize,
    pick: impl Fn(&StoredFlow) -> T::Native + Send + 'static,
    pick_plain: impl Fn(&Origin, PlainRecord<'_>) -> T::Native + Send + 'static,
) -> Box<dyn Column> {
    Box::new(Numbers::<T, _, _> {
        values: Vec::with_capacity(rows),
        pick,
        pick_plain,
        may_be_unknown: false,
        array: |array| Arc::new(array),
    })
}

/// Null where it is zero, as it is of those before and of plain records.
fn numbers_if_known<T: ArrowPrimitiveType>(
    before: usize,
    pick: impl Fn(&StoredFlow) -> T::Native + Send + 'static,
) -> Box<dyn Column> {
    Box::new(Numbers::<T, _, _> {
        values: vec![T::Native::default(); before],
        pick,
        pick_plain: |_: &Origin, _: PlainRecord<'_>| T::Native::default(),
        may_be_unknown: true,
        array: |array| Arc::new(array),
    })
}

fn times(
    rows: usize,
    pick: impl Fn(&StoredFlow) -> u64 + Send + 'static,
    pick_plain: impl Fn(&Origin, PlainRecord<'_>) -> u64 + Send + 'static,
) -> Box<dyn Column> {
    let stored = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    Box::new(Numbers::<TimestampNanosecondType, _, _> {
        values: Vec::with_capacity(rows),
        pick: move |flow: &StoredFlow| stored(pick(flow)),
        pick_plain: move |origin: &Origin, record: PlainRecord<'_>| {
            stored(pick_plain(origin, record))
        },
        may_be_unknown: false,
        array: |array| Arc::new(array.with_timezone("UTC")),
    })
}

/// Who sent each flow, as text. Neighbours mostly come from one exporter.
#[derive(Default)]
struct Exporters {
    /// How many came from each, one after the other.
    runs: Vec<(Ipv6Addr, usize)>,
}

impl Exporters {
    fn extend(&mut self, from: Ipv6Addr, more: usize) {
        match self.runs.last_mut() {
            Some((exporter, count)) if *exporter == from => *count += more,
            _ => self.runs.push((from, more)),
        }
    }
}

impl Column for Exporters {
    fn take(&mut self, flows: &[StoredFlow]) {
        for flow in flows {
            self.extend(flow.exporter, 1);
        }
    }

    fn take_plain(&mut self, records: &PlainRecords<'_>, origin: &Origin) {
        self.extend(origin.exporter, records.count());
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        let (mut texts, mut lengths) = (Vec::new(), Vec::new());
        for (exporter, count) in self.runs {
            let text = display_address(exporter).to_string();
            texts.extend(text.as_bytes().repeat(count));
            lengths.resize(lengths.len() + count, text.len());
        }
        let ends = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(StringArray::try_new(ends, texts.into(), None)?))
    }
}

/// So many octets a flow. Where they are null they are zeros all the same.
struct Fixed<const N: usize, P, Q> {
    octets: Vec<[u8; N]>,
    pick: P,
    pick_plain: Q,
    /// Whether zeros stand for unknown.
    may_be_unknown: bool,
}

impl<const N: usize, P, Q> Column for Fixed<N, P, Q>
where
    P: Fn(&StoredFlow) -> [u8; N] + Send,
    Q: Fn(&Origin, PlainRecord<'_>) -> [u8; N] + Send,
{
    fn take(&mut self, flows: &[StoredFlow]) {
        self.octets.extend(flows.iter().map(&self.pick));
    }

    fn take_plain(&mut self, records: &PlainRecords<'_>, origin: &Origin) {
        let picked = records
            .iter()
            .map(|record| (self.pick_plain)(origin, record));
        self.octets.extend(picked);
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        let nulls = nulls_where(self.may_be_unknown, &self.octets, &[0; N]);
        let octets = Buffer::from_vec(self.octets.into_flattened());
        let width = i32::try_from(N).unwrap_or(i32::MAX);
        Ok(Arc::new(FixedSizeBinaryArray::try_new(
            width, octets, nulls,
        )?))
    }
}

fn addresses(
    rows: usize,
    pick: impl Fn(&StoredFlow) -> Ipv6Addr + Send + 'static,
    pick_plain: impl Fn(&Origin, PlainRecord<'_>) -> Ipv6Addr + Send + 'static,
) -> Box<dyn Column> {
    Box::new(Fixed {
        octets: Vec::with_capacity(rows),
        pick: move |flow: &StoredFlow| pick(flow).octets(),
        pick_plain: move |origin: &Origin, record: PlainRecord<'_>| {
            pick_plain(origin, record).octets()
        },
        may_be_unknown: false,
    })
}

/// Null where it is `::`.
fn next_hops(rows: usize) -> Box<dyn Column> {
    Box::new(Fixed {
        octets: Vec::with_capacity(rows),
        pick: |flow: &StoredFlow| flow.record.next_hop.octets(),
        pick_plain: |_: &Origin, record: PlainRecord<'_>| record.next_hop().octets(),
        may_be_unknown: true,
    })
}

/// Null where it is `::`, as it is of those before: all of version 2 that plain records have.
fn bgp_next_hops(before: usize) -> Box<dyn Column> {
    Box::new(Fixed {
        octets: vec![[0; 16]; before],
        pick: |flow: &StoredFlow| flow.record.bgp_next_hop.octets(),
        pick_plain: |_: &Origin, record: PlainRecord<'_>| record.bgp_next_hop().octets(),
        may_be_unknown: true,
    })
}

/// Null where they are zeros, as they are of those before and of plain records.
fn octets_if_known<const N: usize>(
    before: usize,
    pick: impl Fn(&StoredFlow) -> [u8; N] + Send + 'static,
) -> Box<dyn Column> {
    Box::new(Fixed {
        octets: vec![[0; N]; before],
        pick,
        pick_plain: |_: &Origin, _: PlainRecord<'_>| [0; N],
        may_be_unknown: true,
    })
}

/// What has no column, by its keys.
struct Others {
    builder: MapBuilder<StringBuilder, BinaryBuilder>,
    keys: Keys,
    /// Whether each key had a value.
    is_sound: Result<(), ArrowError>,
}

impl Others {
    /// Ends a flow's.
    fn end(&mut self, has_some: bool) {
        let ended = self.builder.append(has_some);
        if self.is_sound.is_ok() {
            self.is_sound = ended;
        }
    }
}

impl Column for Others {
    fn take(&mut self, flows: &[StoredFlow]) {
        for StoredFlow { others, .. } in flows {
            for (place, other) in others.iter().enumerate() {
                let key = self.keys.key(place, &other, others.iter().take(place));
                self.builder.keys().append_value(key);
                self.builder.values().append_value(other.octets);
            }
            self.end(!others.is_empty());
        }
    }

    fn take_plain(&mut self, records: &PlainRecords<'_>, _: &Origin) {
        for _ in 0..records.count() {
            self.end(false);
        }
    }

    fn finish(mut self: Box<Self>) -> Result<ArrayRef, ArrowError> {
        self.is_sound?;
        Ok(Arc::new(self.builder.finish()))
    }
}

fn others(before: usize) -> Box<dyn Column> {
    let (keys, values) = (StringBuilder::new(), BinaryBuilder::new());
    let names = Some(schema::map_names());
    let mut others = Others {
        builder: MapBuilder::new(names, keys, values),
        keys: Keys::default(),
        is_sound: Ok(()),
    };
    for _ in 0..before {
        others.end(false);
    }
    Box::new(others)
}

#[cfg(test)]
mod tests {
    use weir_netflow::{
        FlowRecord, TimeBase, data, plain,
        template::{Field, Template},
    };

    use super::*;
    use crate::others::{Gathering, Other};

    fn flow(octets: u64) -> StoredFlow {
        StoredFlow {
            record: FlowRecord {
                octets,
                ..FlowRecord::default()
            },
            ..StoredFlow::default()
        }
    }

    /// With something in columns of version 2.
    fn rich(octets: u64) -> StoredFlow {
        let mut gathering = Gathering::default();
        let other = Other {
            enterprise: 0,
            element: 95,
            octets: &[3, 0],
        };
        gathering.add(&other, 2);
        let mut flow = flow(octets);
        flow.record.source_mac = [2, 0, 0, 0, 0, 1];
        flow.others = gathering.finish();
        flow
    }

    #[test]
    fn columns_that_come_later_are_null_of_the_flows_before() {
        let flows: Vec<_> = (0..500).map(flow).chain([rich(500), flow(501)]).collect();
        let mut builder = FlowsBuilder::default();
        for flows in flows.chunks(70) {
            builder.take(flows);
        }
        assert_eq!(builder.rows(), flows.len());
        let rows = builder.finish().unwrap();
        assert_eq!(crate::rows::flows(&rows).unwrap(), flows);
        for name in ["src_mac", "others"] {
            let column = rows.column_by_name(name).unwrap();
            assert_eq!(
                (column.null_count(), column.is_null(500)),
                (501, false),
                "{name}"
            );
        }
        // And it begins anew, with the columns of version 1.
        builder.take(&flows[..3]);
        let rows = builder.finish().unwrap();
        assert_eq!((rows.num_columns(), rows.num_rows()), (EARLIER_COLUMNS, 3));
        assert_eq!(builder.finish().unwrap().num_rows(), 0);
    }

    /// Elements of all members of plain records, and octets that they may have.
    const FIELDS: [(u16, u16); 24] = [
        (2, 4),  // packets
        (1, 8),  // octets
        (4, 1),  // protocol
        (5, 1),  // ToS
        (6, 2),  // TCP flags
        (7, 2),  // source port
        (11, 2), // destination port
        (9, 1),  // masks
        (13, 1),
        (29, 1),
        (30, 1),
        (10, 4), // ifIndexes
        (14, 4),
        (15, 4), // next hops
        (62, 16),
        (18, 4),
        (63, 16),
        (16, 4), // AS
        (17, 4),
        (58, 2),  // VLAN
        (61, 1),  // direction
        (136, 1), // end reason
        (152, 8), // milliseconds
        (153, 8),
    ];

    /// Of each family, with flows before and after that come one by one and have all columns.
    #[test]
    fn plain_records_have_the_columns_of_their_flows() {
        let base = TimeBase {
            export_ns: 1_700_000_000_000_000_000,
            uptime_ms: None,
        };
        let origin = Origin {
            received_ns: 1_700_000_000_500_000_000,
            exporter: Ipv6Addr::LOCALHOST,
            source_id: 7,
            version: 10,
            sampling_interval: 100,
        };
        // Many, so that they are lent in several parts; numbers that tell each octet from its neighbours.
        let octets: Vec<u8> = (0..20_000_u32)
            .map(|at| (at * at / 7).to_le_bytes()[0])
            .collect();
        for (v6, addresses) in [(false, [(8, 4), (12, 4)]), (true, [(27, 16), (28, 16)])] {
            // Those of the other family have no place in plain records.
            let others: &[u16] = if v6 {
                &[9, 13, 15, 18]
            } else {
                &[29, 30, 62, 63]
            };
            let fields = addresses.iter().chain(&FIELDS);
            let fields = fields.filter(|(element, _)| !others.contains(element));
            let fields = fields.map(|(element, octets)| Field::new(*element, *octets));
            let template = Template::new(256, None, fields.collect()).unwrap();
            let stored = |record: data::DataRecord<'_>| StoredFlow {
                record: FlowRecord {
                    sampling_interval: origin.sampling_interval,
                    ..record.flow
                },
                received_ns: origin.received_ns,
                exporter: origin.exporter,
                source_id: origin.source_id,
                version: origin.version,
                ..StoredFlow::default()
            };
            let flows: Vec<_> = data::records(&template, &octets, base)
                .map(stored)
                .collect();
            let mut expected = FlowsBuilder::default();
            let mut found = FlowsBuilder::default();
            for one in [flow(1), rich(2)] {
                for builder in [&mut expected, &mut found] {
                    builder.take(std::slice::from_ref(&one));
                }
                expected.take(&flows);
                for records in plain::records(&template, &octets, base).unwrap() {
                    found.take_plain(&records, &origin);
                }
            }
            assert_eq!(found.rows(), expected.rows());
            assert_eq!(found.finish().unwrap(), expected.finish().unwrap());
        }
    }

    #[test]
    fn rows_of_either_version_are_joined_in_their_order() {
        let rows = |flows: &[StoredFlow]| schema::rows(flows).unwrap();
        let parts = [
            rows(&[flow(1)]),
            rows(&[flow(2), rich(3)]),
            rows(&[flow(4)]),
        ];
        let joined = schema::joined(&parts).unwrap();
        let flows = [flow(1), flow(2), rich(3), flow(4)];
        assert_eq!(crate::rows::flows(&joined).unwrap(), flows);
        let narrow = schema::joined(&[rows(&[flow(1)]), rows(&[flow(4)])]).unwrap();
        assert!(!schema::has_all_columns(&narrow));
        assert_eq!(crate::rows::flows(&narrow).unwrap(), [flow(1), flow(4)]);
    }
}
