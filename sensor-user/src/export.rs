//! The export thread: records come through a bounded channel, datagrams leave at a pace. When it
//! cannot keep up the channel fills, the sweep waits, the table fills, and what does not fit is
//! counted by the kernel program: memory stays what it was.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use weir_exporter::{
    Batcher, Destination, ExportCounters, Version,
    batch::{BatchOptions, Datagram},
    destination::Sent,
    pace::Pace,
};
use weir_netflow::{ExportTime, FlowRecord, v5};

use crate::clock::Now;

/// Records in a batch that goes to the thread.
pub const BATCH_RECORDS: usize = 1024;
/// Batches under way.
const BATCHES_MAX: usize = 16;
/// A datagram leaves when its first record has waited this long.
const DELAY_MAX_NS: u64 = 1_000_000_000;
/// Datagrams a second, and at once: half of what a default socket buffer takes in a scheduler's
/// tick.
const PACE: (u64, u64) = (24_000, 24);

/// Which clock the export follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    Live,
    /// That of the packets, given with each batch.
    Packets,
}

/// What goes to the thread: records, and the time they were taken at.
type Batch = (ExportTime, Vec<FlowRecord>);

/// What became of the records at one destination.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The destination; none: they were encoded and counted only.
    pub address: Option<SocketAddr>,
    /// The account.
    pub counters: ExportCounters,
}

/// The thread's near end.
#[derive(Debug)]
pub struct Export {
    sender: Sender<Batch>,
    pending: Vec<FlowRecord>,
    thread: thread::JoinHandle<Vec<Exported>>,
}

impl Export {
    /// Starts the thread; each destination gets every record. Without any, records are encoded and
    /// counted but not sent.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn start(addresses: &[SocketAddr], options: BatchOptions, clock: Clock) -> Result<Self> {
        let mut lanes: Vec<Lane> = addresses
            .iter()
            .map(|address| {
                let destination = Destination::connect(*address)
                    .with_context(|| format!("cannot send to {address}"))?;
                Ok(Lane::new(options, Some(destination)))
            })
            .collect::<Result<_>>()?;
        if lanes.is_empty() {
            lanes.push(Lane::new(options, None));
        }
        let (sender, receiver) = bounded(BATCHES_MAX);
        let exporter = Exporter {
            lanes,
            clock,
            latest: Now::read().export_time(),
        };
        let thread = thread::Builder::new()
            .name("export".to_owned())
            .spawn(move || exporter.run(&receiver))?;
        Ok(Self {
            sender,
            pending: Vec::with_capacity(BATCH_RECORDS),
            thread,
        })
    }

    /// Gives a record to the thread; waits while it is behind.
    pub fn push(&mut self, record: FlowRecord, now: &Now) {
        self.pending.push(record);
        if self.pending.len() >= BATCH_RECORDS {
            self.hand_over(now);
        }
    }

    /// Gives the thread what is pending.
    pub fn hand_over(&mut self, now: &Now) {
        if !self.pending.is_empty() {
            let batch = std::mem::replace(&mut self.pending, Vec::with_capacity(BATCH_RECORDS));
            // It fails only if the thread is gone; `finish` then says why.
            let _ = self.sender.send((now.export_time(), batch));
        }
    }

    /// Sends what is left and ends the thread.
    ///
    /// # Errors
    /// If the thread had panicked.
    pub fn finish(mut self, now: &Now) -> Result<Vec<Exported>> {
        self.hand_over(now);
        drop(self.sender);
        self.thread
            .join()
            .map_err(|_| anyhow!("the export thread died"))
    }
}

struct Exporter {
    lanes: Vec<Lane>,
    clock: Clock,
    latest: ExportTime,
}

impl Exporter {
    fn run(mut self, receiver: &Receiver<Batch>) -> Vec<Exported> {
        loop {
            match receiver.recv_timeout(self.patience()) {
                Ok((time, records)) => {
                    // What is open belongs to its own time, which a capture file may leave far
                    // behind.
                    if self.clock == Clock::Packets {
                        self.flush_if_due(&time, self.latest);
                    }
                    self.latest = time;
                    let now = self.now();
                    for record in &records {
                        for lane in &mut self.lanes {
                            lane.export(record, &now);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.now();
            self.flush_if_due(&now, now);
        }
        let now = self.now();
        for lane in &mut self.lanes {
            lane.flush(&now);
        }
        self.lanes.into_iter().map(Lane::into_exported).collect()
    }

    /// How long the open datagrams may still wait.
    fn patience(&self) -> Duration {
        const FOREVER: Duration = Duration::from_secs(3600);
        let opened_ns = self
            .lanes
            .iter()
            .filter_map(|lane| lane.batcher.opened_ns());
        match (self.clock, opened_ns.min()) {
            (Clock::Live, Some(opened_ns)) => Duration::from_nanos(
                (opened_ns + DELAY_MAX_NS)
                    .saturating_sub(self.now().unix_ns)
                    .min(DELAY_MAX_NS),
            ),
            _ => FOREVER,
        }
    }

    fn now(&self) -> ExportTime {
        match self.clock {
            Clock::Live => Now::read().export_time(),
            Clock::Packets => self.latest,
        }
    }

    /// Sends the open datagrams that have waited long enough, stamped with `stamp`.
    fn flush_if_due(&mut self, now: &ExportTime, stamp: ExportTime) {
        for lane in &mut self.lanes {
            // A clock set back must not make it wait for long either.
            let due = lane
                .batcher
                .opened_ns()
                .is_some_and(|opened_ns| now.unix_ns.abs_diff(opened_ns) >= DELAY_MAX_NS);
            if due {
                lane.flush(&stamp);
            }
        }
    }
}

/// The way to one destination: its own datagrams, sequence numbers, pace and errors.
struct Lane {
    batcher: Batcher,
    version: Version,
    destination: Option<Destination>,
    pace: Pace,
    counters: ExportCounters,
    reported: bool,
}

impl Lane {
    fn new(options: BatchOptions, destination: Option<Destination>) -> Self {
        Self {
            batcher: Batcher::new(options),
            version: options.version,
            destination,
            pace: Pace::new(PACE.0, PACE.1),
            counters: ExportCounters::default(),
            reported: false,
        }
    }

    fn into_exported(self) -> Exported {
        Exported {
            address: self.destination.map(|destination| destination.address()),
            counters: self.counters,
        }
    }

    fn flush(&mut self, now: &ExportTime) {
        if let Some(datagram) = self.batcher.flush(now) {
            self.send(&datagram);
        }
    }

    fn export(&mut self, record: &FlowRecord, now: &ExportTime) {
        self.counters.records.add(record);
        if self.version == Version::V9 {
            return self.batch(record, now);
        }
        let mut parts = 0;
        for part in v5::parts(record) {
            parts += 1;
            self.batch(&part, now);
        }
        match parts {
            0 => self.counters.records_unsupported.add(record),
            parts => self.counters.records_split += parts - 1,
        }
    }

    fn batch(&mut self, record: &FlowRecord, now: &ExportTime) {
        if let Some(datagram) = self.batcher.push(record, now) {
            self.send(&datagram);
        }
    }

    fn send(&mut self, datagram: &Datagram) {
        let Some(destination) = &self.destination else {
            return self.count_sent(datagram);
        };
        let wait_ns = self.pace.take(Now::read().monotonic_ns);
        if wait_ns > 0 {
            thread::sleep(Duration::from_nanos(wait_ns));
        }
        let (refusals, error) = match destination.send(&datagram.octets) {
            Sent::Yes { refusals } => (refusals, None),
            Sent::No { refusals, error } => (refusals, Some(error)),
        };
        self.counters.refusals += u64::from(refusals);
        let address = destination.address();
        if refusals > 0 {
            // A datagram before this one did not arrive, perhaps the one with the templates.
            self.batcher.send_templates_again();
        }
        if let Some(error) = &error {
            self.batcher.send_templates_again();
            self.counters.datagrams_unsent += 1;
            self.counters.records_unsent.merge(datagram.tally);
            self.report(&format!(
                "cannot send to {address}: {error}; counting what is lost"
            ));
        } else {
            self.count_sent(datagram);
            if refusals > 0 {
                self.report(&format!(
                    "nothing listens at {address}: is the collector running?"
                ));
            }
        }
    }

    fn count_sent(&mut self, datagram: &Datagram) {
        self.counters.datagrams_sent += 1;
        self.counters.datagram_octets += datagram.octets.len() as u64;
        self.counters.records_exported.merge(datagram.tally);
    }

    /// Once: the counters tell the rest.
    fn report(&mut self, sentence: &str) {
        if !self.reported {
            eprintln!("weir-sensor: {sentence}");
            self.reported = true;
        }
    }
}
