//! Flows gathered by keys of fixed length without the engine's tables: it reads and computes, and what comes is summed
//! here ([`super::sums`]). What this is not for, and what takes more memory than there is for a query, is the engine's
//! to gather, which can go to disk.

use std::{
    mem,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use arrow::{
    array::{Array as _, ArrayRef, ArrowPrimitiveType, AsArray as _, RecordBatch},
    datatypes::{DataType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};
use datafusion::{
    common::DFSchema,
    error::DataFusionError,
    execution::memory_pool::{MemoryConsumer, MemoryReservation},
    physical_plan::SendableRecordBatchStream,
    prelude::{DataFrame, col},
};
use futures::StreamExt as _;
use hashbrown::DefaultHashBuilder;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Counts, Gathering, Row, Total, key_of_side,
    sums::{Entry, PARTS, Part, Sums, Table},
};
use crate::element::KeyValue;

/// Rows that become entries together: those stay in a core's first caches.
const ROWS: usize = 512;
/// Keys at most: which of them are null is an octet.
const KEYS_MAX: usize = 8;
/// Parts that are summed side by side, at most: one thread shows what comes of them.
const SUMMED_MAX: usize = 16;

/// Gathers flows, and shows each group to `visit`; none if the engine has to, of which `visit` has seen nothing.
///
/// # Errors
/// If the query fails.
pub async fn gather(
    flows: &DataFrame,
    gathering: &Gathering,
    visit: impl FnMut(&Row<'_>),
) -> Result<Option<Total>> {
    let is_simple = gathering.having.is_none() && gathering.distinct.is_empty();
    let is_simple = is_simple && gathering.out.is_none();
    if !is_simple || gathering.keys.is_empty() || gathering.keys.len() > KEYS_MAX {
        return Ok(None);
    }
    let mut frame = columns(flows, gathering, 0)?;
    for side in 1..gathering.sides() {
        frame = frame.union(columns(flows, gathering, side)?)?;
    }
    let Some(layout) = Layout::of(frame.schema(), gathering) else {
        return Ok(None);
    };
    match layout.octets {
        ..=8 => gather_by::<8>(frame, &layout, visit).await,
        9..=24 => gather_by::<24>(frame, &layout, visit).await,
        25..=40 => gather_by::<40>(frame, &layout, visit).await,
        41..=64 => gather_by::<64>(frame, &layout, visit).await,
        _ => Ok(None),
    }
}

/// What is gathered of each flow, as it is stored.
fn columns(flows: &DataFrame, gathering: &Gathering, side: u64) -> Result<DataFrame> {
    let keys = gathering.keys.iter().enumerate();
    let keys = keys.map(|(at, key)| key_of_side(key, side).alias(format!("key{at}")));
    let mut columns: Vec<_> = keys.collect();
    columns.extend(["flows", "packets", "octets"].map(col));
    if gathering.times {
        columns.extend(["flow_start", "flow_end"].map(col));
    }
    Ok(flows.clone().select(columns)?)
}

/// A key's type.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Address,
    Mac,
    U8,
    U16,
    U32,
    U64,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::FixedSizeBinary(16) => Self::Address,
            DataType::FixedSizeBinary(6) => Self::Mac,
            DataType::UInt8 => Self::U8,
            DataType::UInt16 => Self::U16,
            DataType::UInt32 => Self::U32,
            DataType::UInt64 => Self::U64,
            _ => return None,
        })
    }

    fn octets(self) -> usize {
        match self {
            Self::Address => 16,
            Self::Mac => 6,
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }
}

/// Where keys lie in an entry's key: behind the octet that tells which of them are null.
#[derive(Clone, Debug)]
struct Layout {
    keys: Vec<(Kind, usize)>,
    octets: usize,
    /// Whether first and last time are wanted.
    times: bool,
}

impl Layout {
    /// None if a column is of a type that this is not for.
    fn of(schema: &DFSchema, gathering: &Gathering) -> Option<Self> {
        let data_type = |name: &str| {
            let mut fields = schema.fields().iter();
            let field = fields.find(|field| field.name() == name)?;
            Some(field.data_type().clone())
        };
        let counts = ["flows", "packets", "octets"];
        if counts
            .iter()
            .any(|name| data_type(name) != Some(DataType::UInt64))
        {
            return None;
        }
        let mut keys = Vec::new();
        let mut octets = 1;
        for at in 0..gathering.keys.len() {
            let kind = Kind::of(&data_type(&format!("key{at}"))?)?;
            keys.push((kind, octets));
            octets += kind.octets();
        }
        Some(Self {
            keys,
            octets,
            times: gathering.times,
        })
    }

    /// Rows as entries.
    fn entries<const N: usize>(
        &self,
        batch: &RecordBatch,
        entries: &mut Vec<Entry<N>>,
    ) -> Result<(), DataFusionError> {
        entries.clear();
        entries.resize(batch.num_rows(), Entry::NONE);
        let (keys, sums) = batch.columns().split_at(self.keys.len());
        for (number, (column, (kind, at))) in keys.iter().zip(&self.keys).enumerate() {
            put_key(entries, column, *kind, *at)?;
            if let Some(nulls) = column.nulls() {
                for (entry, is_there) in entries.iter_mut().zip(nulls.iter()) {
                    if !is_there {
                        entry.key[0] |= 1 << number;
                        entry.key[*at..*at + kind.octets()].fill(0);
                    }
                }
            }
        }
        let [flows, packets, octets, times @ ..] = sums else {
            return Err(other_columns());
        };
        let flows = values::<UInt64Type>(flows)?.iter();
        let packets = values::<UInt64Type>(packets)?.iter();
        let octets = values::<UInt64Type>(octets)?.iter();
        let counts = flows.zip(packets.zip(octets));
        for (entry, (flows, (packets, octets))) in entries.iter_mut().zip(counts) {
            (entry.flows, entry.packets, entry.octets) = (*flows, *packets, *octets);
        }
        if let [first, last] = times {
            let first = values::<TimestampNanosecondType>(first)?.iter();
            let last = values::<TimestampNanosecondType>(last)?;
            for (entry, (first, last)) in entries.iter_mut().zip(first.zip(last)) {
                entry.times_ns = (*first, *last);
            }
        }
        Ok(())
    }

    fn counts<const N: usize>(&self, entry: &Entry<N>) -> Counts {
        Counts {
            flows: entry.flows,
            packets: entry.packets,
            octets: entry.octets,
            times_ns: if self.times { entry.times_ns } else { (0, 0) },
            ..Counts::default()
        }
    }

    /// The keys of an entry.
    fn values(&self, key: &[u8]) -> Vec<KeyValue> {
        let values = self.keys.iter().enumerate();
        let values = values.map(|(number, (kind, at))| {
            let octets = &key[*at..*at + kind.octets()];
            let number_of = |number: u64, octet: &u8| number << 8 | u64::from(*octet);
            if key[0] >> number & 1 == 1 {
                return KeyValue::None;
            }
            match kind {
                Kind::Address => <[u8; 16]>::try_from(octets).map_or(KeyValue::None, |octets| {
                    KeyValue::Address(u128::from_be_bytes(octets))
                }),
                Kind::Mac => KeyValue::Number(octets.iter().fold(0, number_of)),
                // The lowest octet comes first.
                _ => KeyValue::Number(octets.iter().rev().fold(0, number_of)),
            }
        });
        values.collect()
    }
}

fn other_columns() -> DataFusionError {
    DataFusionError::Internal("columns are not what was asked for".to_owned())
}

/// Numbers of a column. A null is what lies in its place: none of those that are summed may be null.
fn values<T: ArrowPrimitiveType>(column: &ArrayRef) -> Result<&[T::Native], DataFusionError> {
    let column = column.as_primitive_opt::<T>().ok_or_else(other_columns)?;
    Ok(column.values())
}

fn put_key<const N: usize>(
    entries: &mut [Entry<N>],
    column: &ArrayRef,
    kind: Kind,
    at: usize,
) -> Result<(), DataFusionError> {
    match kind {
        Kind::Address => put(entries, at, fixed::<16>(column)?.iter().copied()),
        Kind::Mac => put(entries, at, fixed::<6>(column)?.iter().copied()),
        Kind::U8 => {
            let numbers = values::<UInt8Type>(column)?.iter();
            put(entries, at, numbers.map(|number| number.to_le_bytes()));
        }
        Kind::U16 => {
            let numbers = values::<UInt16Type>(column)?.iter();
            put(entries, at, numbers.map(|number| number.to_le_bytes()));
        }
        Kind::U32 => {
            let numbers = values::<UInt32Type>(column)?.iter();
            put(entries, at, numbers.map(|number| number.to_le_bytes()));
        }
        Kind::U64 => {
            let numbers = values::<UInt64Type>(column)?.iter();
            put(entries, at, numbers.map(|number| number.to_le_bytes()));
        }
    }
    Ok(())
}

/// The octets of a column's values, of so many each.
fn fixed<const W: usize>(column: &ArrayRef) -> Result<&[[u8; W]], DataFusionError> {
    let column = column
        .as_fixed_size_binary_opt()
        .ok_or_else(other_columns)?;
    let (values, _) = column.value_data().as_chunks();
    Ok(values)
}

fn put<const N: usize, const W: usize>(
    entries: &mut [Entry<N>],
    at: usize,
    values: impl Iterator<Item = [u8; W]>,
) {
    for (entry, octets) in entries.iter_mut().zip(values) {
        entry.key[at..at + W].copy_from_slice(&octets);
    }
}

/// What a reader has summed, and the memory it may have for that.
type Read<const N: usize> = (Sums<N>, MemoryReservation);

/// Reads one of the engine's parts; none if there is no memory for all of it.
async fn read<const N: usize>(
    mut batches: SendableRecordBatchStream,
    layout: Layout,
    mut sums: Sums<N>,
    memory: MemoryReservation,
) -> Result<Option<Read<N>>, DataFusionError> {
    let mut entries = Vec::with_capacity(ROWS);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        for at in (0..batch.num_rows()).step_by(ROWS) {
            let rows = batch.slice(at, ROWS.min(batch.num_rows() - at));
            layout.entries(&rows, &mut entries)?;
            sums.add(&entries);
        }
        if memory.try_resize(sums.octets()).is_err() {
            return Ok(None);
        }
    }
    Ok(Some((sums, memory)))
}

/// Reads all of the engine's parts side by side; none if there is no memory for all of it.
async fn read_all<const N: usize>(
    frame: DataFrame,
    layout: &Layout,
    hasher: &DefaultHashBuilder,
) -> Result<Option<Vec<Read<N>>>> {
    let context = frame.task_ctx();
    let mut reading = JoinSet::new();
    for batches in frame.execute_stream_partitioned().await? {
        let memory = MemoryConsumer::new("groups").register(context.memory_pool());
        let sums = Sums::<N>::new(hasher.clone());
        reading.spawn(read(batches, layout.clone(), sums, memory));
    }
    let mut all = Vec::new();
    while let Some(read) = reading.join_next().await {
        let read = read.context("a thread that sums died: this is a bug")??;
        let Some(read) = read else {
            // The engine shall have the memory of the others, too.
            reading.shutdown().await;
            return Ok(None);
        };
        all.push(read);
    }
    Ok(Some(all))
}

/// Parts that are still to be summed: of each those of all readers.
type Parts<const N: usize> = Arc<Mutex<Vec<Vec<Part<N>>>>>;

/// Reserves what so many threads take beside the parts. Each has the sums of one and the numbers of its table; those of
/// one more wait, and those of another are shown.
fn reserve<const N: usize>(
    parts: &[Vec<Part<N>>],
    threads: usize,
    memory: &MemoryReservation,
) -> Result<(), DataFusionError> {
    let entries = |parts: &Vec<Part<N>>| parts.iter().map(Part::entries).sum::<usize>();
    let largest = parts.iter().map(entries).max().unwrap_or(0);
    memory.try_grow(3 * threads * largest * size_of::<Entry<N>>())
}

async fn gather_by<const N: usize>(
    frame: DataFrame,
    layout: &Layout,
    mut visit: impl FnMut(&Row<'_>),
) -> Result<Option<Total>> {
    let hasher = DefaultHashBuilder::default();
    let memory = MemoryConsumer::new("sums of groups").register(frame.task_ctx().memory_pool());
    let Some(all) = read_all::<N>(frame, layout, &hasher).await? else {
        return Ok(None);
    };
    let mut parts: Vec<Vec<Part<N>>> = (0..PARTS).map(|_| Vec::new()).collect();
    // Held until all is summed.
    let mut held = Vec::new();
    for (sums, memory) in all {
        held.push(memory);
        for (parts, part) in parts.iter_mut().zip(sums.finish()) {
            parts.push(part);
        }
    }
    let side_by_side = thread::available_parallelism().map_or(1, NonZero::get);
    let side_by_side = side_by_side.min(SUMMED_MAX);
    if reserve(&parts, side_by_side, &memory).is_err() {
        return Ok(None);
    }
    let parts: Parts<N> = Arc::new(Mutex::new(parts));
    let (sender, mut summed) = mpsc::channel(1);
    let mut summing = JoinSet::new();
    for _ in 0..side_by_side {
        let (parts, hasher, sender) = (Arc::clone(&parts), hasher.clone(), sender.clone());
        summing.spawn_blocking(move || sum(&parts, &hasher, &sender));
    }
    drop(sender);
    let mut total = Total::default();
    while let Some(entries) = summed.recv().await {
        for entry in &entries {
            let counts = layout.counts(entry);
            total.counts.add(&counts);
            total.groups += 1;
            let keys = || layout.values(&entry.key);
            visit(&Row {
                keys: &keys,
                counts,
            });
        }
    }
    while let Some(done) = summing.join_next().await {
        done.context("a thread that sums died: this is a bug")?;
    }
    Ok(Some(total))
}

/// Sums part after part, until there is none or nobody takes them.
fn sum<const N: usize>(
    parts: &Parts<N>,
    hasher: &DefaultHashBuilder,
    sender: &mpsc::Sender<Vec<Entry<N>>>,
) {
    let mut table = Table::default();
    loop {
        let part = parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(part) = part else {
            return;
        };
        let entries = mem::take(table.sum(&part, hasher));
        // Its memory may be another's now.
        drop(part);
        if sender.blocking_send(entries).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fmt,
        net::Ipv6Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use datafusion::{
        execution::{
            memory_pool::{FairSpillPool, MemoryPool},
            runtime_env::RuntimeEnvBuilder,
        },
        prelude::{SessionConfig, SessionContext, lit},
    };
    use weir_netflow::FlowRecord;
    use weir_store::{
        others::{self, Other, Others},
        schema::{self, StoredFlow},
    };

    use super::*;
    use crate::{element::Element, gather::by_engine, joined};

    /// Flows between a few hosts, some with a next hop and a MAC address, some without.
    fn flow(number: u64) -> StoredFlow {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let address = |number: u64| Ipv6Addr::from_bits(u128::from(number) << 40 | 7);
        let port = |number: u64| u16::try_from(number % 60_000).unwrap();
        let record = FlowRecord {
            source: address(mixed % 97),
            destination: address(mixed % 89),
            next_hop: address(mixed % 3),
            source_port: port(mixed),
            destination_port: port(mixed / 7 % 11),
            protocol: u8::try_from(mixed % 5).unwrap(),
            source_mac: [1, 2, 3, 4, 5, u8::try_from(mixed % 2).unwrap()],
            source_as: u32::MAX - u32::from(port(mixed % 13)),
            octets: u64::MAX / 50 * (mixed % 4),
            packets: mixed % 1000,
            start_ns: 1_795_237_200_000_000_000 + mixed % 1_000_000,
            end_ns: 1_795_237_300_000_000_000 + mixed % 1_000_000,
            ..FlowRecord::default()
        };
        let mut flow = StoredFlow {
            record,
            ..StoredFlow::default()
        };
        if mixed.is_multiple_of(3) {
            flow.record.next_hop = Ipv6Addr::UNSPECIFIED;
            flow.record.source_mac = [0; 6];
            flow.others = translated(u8::try_from(mixed % 4).unwrap());
        }
        flow
    }

    /// What no column has: a translated source, its port, and an access list.
    fn translated(number: u8) -> Others {
        let mut gathering = others::Gathering::default();
        let elements: [(u16, &[u8]); 3] = [
            (225, &[10, 0, 0, number]),
            (227, &[4, number]),
            (33000, &[0, 0, 0, number, 0, 0, 0, 7, 0, 0, 0, 9]),
        ];
        for (element, octets) in elements {
            let other = Other {
                enterprise: 0,
                element,
                octets,
            };
            gathering.add(&other, octets.len());
        }
        gathering.finish()
    }

    /// As [`crate::data::open`] has them.
    fn frame(context: &SessionContext, count: u64) -> DataFrame {
        let flows: Vec<_> = (0..count).map(flow).collect();
        let frame = context.read_batch(schema::batch(&flows).unwrap()).unwrap();
        let schema = schema::schema();
        let columns = schema.fields().iter().map(|field| col(field.name()));
        let columns: Vec<_> = columns.chain([lit(1u64).alias("flows")]).collect();
        frame.select(columns).unwrap()
    }

    fn gathering(keys: &[&str], times: bool) -> Gathering {
        let keys = keys.iter().map(|key| Element::parse(key).unwrap());
        Gathering {
            keys: keys.collect(),
            times,
            ..Gathering::default()
        }
    }

    type Found = BTreeMap<Vec<KeyValue>, Counts>;

    fn note(found: &mut Found, row: &Row<'_>) {
        let before = found.insert(row.keys(), row.counts.clone());
        assert_eq!(before, None, "a group comes once");
    }

    #[test]
    fn groups_are_those_of_the_engine() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let context = SessionContext::new();
        let flows = frame(&context, 20_000);
        for keys in [
            &["proto"][..],
            &["srcip"],
            &["ip"],
            &["nhip"],
            &["srcas", "insrcmac"],
            &["srcip/24", "nhip", "dstport"],
            &["proto", "srcip", "srcport", "dstip", "dstport"],
            &["srcip", "dstip", "nhip", "flags", "tos"],
            &["natip"],
            &["natport", "proto"],
            &["iacl", "iace", "xsrcip"],
        ] {
            for times in [false, true] {
                let gathering = gathering(keys, times);
                let (mut ours, mut engines) = (Found::new(), Found::new());
                let visit = |row: &Row<'_>| note(&mut ours, row);
                let total = runtime.block_on(gather(&flows, &gathering, visit));
                let total = total.unwrap().expect("it is for these keys");
                let visit = |row: &Row<'_>| note(&mut engines, row);
                let expected = runtime.block_on(by_engine(&flows, &gathering, visit));
                assert_eq!(total, expected.unwrap(), "{keys:?}");
                assert!(ours == engines, "{keys:?}");
            }
        }
    }

    #[test]
    fn what_the_engine_has_to_gather_is_left_to_it() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let flows = frame(&SessionContext::new(), 10);
        let mut distinct = gathering(&["srcip"], false);
        distinct.distinct = vec![Element::parse("dstip").unwrap()];
        let mut out = gathering(&["srcip"], false);
        out.out = Some(joined::out_counts(false));
        for gathering in [
            distinct,
            out,
            gathering(&[], false),
            gathering(&["router"], false),
            gathering(&["srcip", "dstip", "nhip", "srcip", "proto"], false),
        ] {
            let visit = |_: &Row<'_>| panic!("nothing was gathered");
            let total = runtime.block_on(gather(&flows, &gathering, visit));
            assert_eq!(total.unwrap(), None, "{gathering:?}");
        }
    }

    /// Twenty thousand groups do not fit a megabyte: nothing is shown of them, and the engine has all of it again.
    #[test]
    fn what_memory_does_not_hold_is_left_to_the_engine() {
        let pool = Arc::new(FairSpillPool::new(1 << 20));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
        let runtime = runtime.build_arc().unwrap();
        let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
        let flows = frame(&context, 20_000);
        let gathering = gathering(&["srcip", "srcport", "dstip", "dstport"], true);
        let visit = |_: &Row<'_>| panic!("it was not gathered to its end");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let total = runtime.block_on(gather(&flows, &gathering, visit));
        assert_eq!(total.unwrap(), None);
        assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
    }
    /// Has memory for all but one.
    #[derive(Debug)]
    struct AllBut {
        refused: &'static str,
        reserved: AtomicUsize,
    }

    impl fmt::Display for AllBut {
        fn fmt(&self, output: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(output, "all but {}", self.refused)
        }
    }

    impl MemoryPool for AllBut {
        fn name(&self) -> &str {
            self.refused
        }

        fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
            self.reserved.fetch_add(additional, Ordering::Relaxed);
        }

        fn shrink(&self, _reservation: &MemoryReservation, octets: usize) {
            self.reserved.fetch_sub(octets, Ordering::Relaxed);
        }

        fn try_grow(
            &self,
            reservation: &MemoryReservation,
            additional: usize,
        ) -> Result<(), DataFusionError> {
            if additional > 0 && reservation.consumer().name() == self.refused {
                return Err(DataFusionError::ResourcesExhausted(self.to_string()));
            }
            self.grow(reservation, additional);
            Ok(())
        }

        fn reserved(&self) -> usize {
            self.reserved.load(Ordering::Relaxed)
        }
    }

    /// The parts may fit where what they are summed in does not, which is known before anything is shown.
    #[test]
    fn what_memory_holds_but_not_the_sums_of_is_left_to_the_engine() {
        let threads = tokio::runtime::Runtime::new().unwrap();
        for (refused, is_gathered) in [("nobody", true), ("sums of groups", false)] {
            let pool = Arc::new(AllBut {
                refused,
                reserved: AtomicUsize::new(0),
            });
            let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
            let runtime = runtime.build_arc().unwrap();
            let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
            let flows = frame(&context, 20_000);
            let gathering = gathering(&["srcip", "srcport", "dstip", "dstport"], true);
            let mut shown = 0;
            let total = threads.block_on(gather(&flows, &gathering, |_: &Row<'_>| shown += 1));
            assert_eq!(total.unwrap().is_some(), is_gathered, "{refused}");
            assert_eq!(shown > 0, is_gathered, "{refused}");
            assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
        }
    }
}
