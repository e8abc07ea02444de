//! What becomes of records once they are read: flows of their exporter's stream, counted, one by one or as columns.

use weir_netflow::{FlowRecord, plain::PlainRecords};
use weir_store::{
    columns::{FlowsBuilder, Origin},
    others::Others,
    schema::StoredFlow,
};

use crate::{
    exporters::{Key, Rates},
    statistics::Statistics,
};

/// Where flows go.
pub trait Sink {
    /// Those that come one by one: more are appended.
    fn flows(&mut self) -> &mut Vec<StoredFlow>;

    /// Takes columns, after all flows before; none if flows are needed one by one.
    fn columns(&mut self) -> Option<&mut FlowsBuilder>;
}

impl Sink for Vec<StoredFlow> {
    fn flows(&mut self) -> &mut Self {
        self
    }

    fn columns(&mut self) -> Option<&mut FlowsBuilder> {
        None
    }
}

/// What records are handed to. Times are when their datagram came, nanoseconds since 1970-01-01 UTC.
pub trait Keep {
    /// Takes a record, and what it said besides.
    fn flow(&mut self, record: &FlowRecord, received_ns: u64, others: Others);

    /// Takes records that were all sampled alike, and says how many did not say when; none if it would have them one by
    /// one.
    fn plain<'a>(
        &mut self,
        records: impl Iterator<Item = PlainRecords<'a>>,
        sampling_interval: u32,
        received_ns: u64,
    ) -> Option<u64>;
}

/// Has no use for records.
pub(crate) struct Nothing;

impl Keep for Nothing {
    fn flow(&mut self, _: &FlowRecord, _: u64, _: Others) {}

    fn plain<'a>(
        &mut self,
        _: impl Iterator<Item = PlainRecords<'a>>,
        _: u32,
        _: u64,
    ) -> Option<u64> {
        None
    }
}

/// Of which stream flows are, and what they come to: those of a datagram.
pub(crate) struct Stream {
    key: Key,
    rates: Rates,
    records: u64,
    packets: u64,
    octets: u64,
}

impl Stream {
    pub fn new(key: Key, rates: Rates) -> Self {
        Self {
            key,
            rates,
            records: 0,
            packets: 0,
            octets: 0,
        }
    }

    /// A flow of it as it is kept.
    #[inline]
    pub fn flow(&mut self, record: &FlowRecord, received_ns: u64, others: Others) -> StoredFlow {
        self.count(record.packets, record.octets);
        let mut flow = StoredFlow {
            record: *record,
            received_ns,
            exporter: self.key.address,
            source_id: self.key.domain,
            version: self.version(),
            others,
        };
        flow.record.sampling_interval = self.rates.one_in(record.sampling_interval);
        flow
    }

    /// What flows of one datagram and sampling interval have in common.
    fn origin(&self, sampling_interval: u32, received_ns: u64) -> Origin {
        Origin {
            received_ns,
            exporter: self.key.address,
            source_id: self.key.domain,
            version: self.version(),
            sampling_interval: self.rates.one_in(sampling_interval),
        }
    }

    fn version(&self) -> u8 {
        let [_, version] = self.key.version.to_be_bytes();
        version
    }

    #[inline]
    fn count(&mut self, packets: u64, octets: u64) {
        self.records += 1;
        // Exporters choose these.
        self.packets = self.packets.wrapping_add(packets);
        self.octets = self.octets.wrapping_add(octets);
    }

    /// Adds what was counted.
    pub fn add_to(&self, statistics: &mut Statistics) {
        statistics.records += self.records;
        statistics.packets = statistics.packets.wrapping_add(self.packets);
        statistics.octets = statistics.octets.wrapping_add(self.octets);
    }
}

/// Makes flows of a stream's records.
pub(crate) struct Keeping<'a, S> {
    pub stream: Stream,
    pub sink: &'a mut S,
}

impl<S: Sink> Keep for Keeping<'_, S> {
    #[inline]
    fn flow(&mut self, record: &FlowRecord, received_ns: u64, others: Others) {
        let flow = self.stream.flow(record, received_ns, others);
        self.sink.flows().push(flow);
    }

    fn plain<'a>(
        &mut self,
        records: impl Iterator<Item = PlainRecords<'a>>,
        sampling_interval: u32,
        received_ns: u64,
    ) -> Option<u64> {
        let columns = self.sink.columns()?;
        let stream = &mut self.stream;
        let origin = stream.origin(sampling_interval, received_ns);
        let mut untimed = 0;
        for together in records {
            columns.take_plain(&together, &origin);
            for record in together.iter() {
                stream.count(record.packets(), record.octets());
            }
            untimed += together.untimed() as u64;
        }
        Some(untimed)
    }
}
