//! The export thread: records come through a bounded channel, datagrams leave at a pace. When it
//! cannot keep up the channel fills, the sweep waits, the table fills, and what does not fit is
//! counted by the kernel program: memory stays what it was.

use std::{
    io, mem,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use weir_exporter::{
    Batcher, Destination, ExportCounters, Stream, Way,
    batch::{BatchOptions, Datagram},
    counters::Tally,
    destination::{Carrier, Sent},
    pace::Pace,
};
use weir_netflow::{ExportTime, FlowRecord, fixed};
use weir_service::privileges;

use crate::{
    clock::Now,
    pair::{self, Pairing},
};

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

/// How records leave.
#[derive(Clone, Debug)]
pub struct How {
    /// How datagrams are made.
    pub batch: BatchOptions,
    /// How they go.
    pub way: Way,
    /// By TCP instead of UDP.
    pub by_stream: bool,
    /// Each goes to one collector, in turn, instead of to all.
    pub in_turn: bool,
    /// What becomes of the directions of a conversation; `None`: each is by itself.
    pub pairing: Option<Pairing>,
}

impl How {
    /// By UDP, to all.
    #[must_use]
    pub fn new(batch: BatchOptions) -> Self {
        Self {
            batch,
            way: Way::default(),
            by_stream: false,
            in_turn: false,
            pairing: None,
        }
    }

    fn carrier(&self, address: SocketAddr, waits: bool) -> io::Result<Box<dyn Carrier>> {
        if self.by_stream && !waits {
            return Ok(Box::new(Stream::later(address, self.way.clone())));
        }
        if self.by_stream {
            return Ok(Box::new(Stream::connect(address, self.way.clone())?));
        }
        Ok(Box::new(Destination::connect_by(address, &self.way)?))
    }
}

/// Destinations that a sensor ever had: the account of each is kept.
const LANES_MAX: usize = 64;

/// What goes to the thread.
enum Message {
    /// Records, and the time they were taken at.
    Records(ExportTime, Vec<FlowRecord>),
    /// Which of the lanes those after it go to, and lanes to be added.
    Lanes(Vec<bool>, Vec<Lane>),
}

/// What the near end knows of a lane.
#[derive(Debug)]
struct Known {
    address: Option<SocketAddr>,
    /// What it was given, up to when it ended last; of those that take turns, what all were meanwhile.
    given: Tally,
    /// What all was given when it began last, unless it has ended.
    since: Option<Tally>,
}

impl Known {
    fn new(address: Option<SocketAddr>, given: Tally) -> Self {
        Self {
            address,
            given: Tally::default(),
            since: Some(given),
        }
    }

    /// What it was given, of all that was.
    fn total(&self, given: Tally) -> Tally {
        let mut total = self.given;
        if let Some(since) = self.since {
            total.merge(given.without(since));
        }
        total
    }

    /// It is one that records go to from here on, or is not.
    fn set(&mut self, is_on: bool, given: Tally) {
        self.given = self.total(given);
        self.since = is_on.then_some(given);
    }
}

/// What changed about the destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirected {
    /// Records go there from here on.
    pub added: Vec<SocketAddr>,
    /// And no longer there.
    pub ended: Vec<SocketAddr>,
}

/// What became of the records at one destination.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The destination; none: they were encoded and counted only.
    pub address: Option<SocketAddr>,
    /// Whether it was one for a part of the time only.
    pub is_partial: bool,
    /// Whether it got a share of the records, and the others the rest.
    pub in_turn: bool,
    /// The account.
    pub counters: ExportCounters,
}

impl Exported {
    /// The account of the whole: of destinations that take turns the sum. Else each gets everything, and
    /// it is that of the first which was one all the time; if none was, the first one's.
    #[must_use]
    pub fn whole(all: &[Self]) -> ExportCounters {
        if all.iter().any(|exported| exported.in_turn) {
            return all
                .iter()
                .fold(ExportCounters::default(), |mut sum, exported| {
                    sum.merge(&exported.counters);
                    sum
                });
        }
        let mut steady = all.iter().filter(|exported| !exported.is_partial);
        let first = steady.next().or(all.first());
        first.map(|first| first.counters).unwrap_or_default()
    }

    /// Counts as lost what was given to a thread that died, and is in no counter.
    fn lose_the_rest(all: &mut [Self], known: &[Known], given: Tally) {
        if !all.iter().any(|exported| exported.in_turn) {
            for (exported, known) in all.iter_mut().zip(known) {
                exported.counters.lose_the_rest(known.total(given));
            }
            return;
        }
        let mut left = given;
        for exported in all.iter_mut() {
            let got = exported.counters.records;
            exported.counters.lose_the_rest(got);
            left = left.without(got);
        }
        // Whose turn it would have been nobody knows: the first one's that has not ended.
        let first = known.iter().position(|known| known.since.is_some());
        if let Some(first) = all.get_mut(first.unwrap_or(0)) {
            let mut got = first.counters.records;
            got.merge(left);
            first.counters.lose_the_rest(got);
        }
    }
}

/// What both ends see while the thread runs.
#[derive(Debug, Default)]
struct Shared {
    /// The account as of the last batch.
    exported: Mutex<Vec<Exported>>,
    /// Whether each destination's next datagram is to carry the templates.
    templates_wanted: AtomicBool,
}

/// The thread's near end.
#[derive(Debug)]
pub struct Export {
    sender: Sender<Message>,
    how: How,
    /// In the order of the thread's lanes.
    known: Vec<Known>,
    pending: Vec<FlowRecord>,
    /// The last pending record's other direction may come yet.
    open: bool,
    /// What was given to the thread, or would have been if it lived.
    given: Tally,
    shared: Arc<Shared>,
    /// Ends with the account, and with whether the thread came to its end.
    thread: thread::JoinHandle<(Vec<Exported>, bool)>,
    dead: bool,
}

impl Export {
    /// Starts the thread; each destination gets every record, or each its share. Without any, records are
    /// encoded and counted but not sent.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn start(addresses: &[SocketAddr], how: &How, clock: Clock) -> Result<Self> {
        let lanes = wanted(addresses).into_iter();
        let lanes = lanes.map(|address| Lane::connect(how, address, true));
        Self::spawn(lanes.collect::<Result<_>>()?, how, clock)
    }

    /// Whether both directions of a conversation are to come one after the other.
    #[must_use]
    pub fn wants_pairs(&self) -> bool {
        self.how.pairing.is_some()
    }

    fn spawn(lanes: Vec<Lane>, how: &How, clock: Clock) -> Result<Self> {
        let known = lanes.iter().map(|lane| {
            let address = lane.destination.as_ref().map(|way| way.address());
            Known::new(address, Tally::default())
        });
        let known = known.collect();
        let (sender, receiver) = bounded(BATCHES_MAX);
        let shared = Arc::new(Shared::default());
        let mut exporter = Exporter {
            lanes,
            turn: how.in_turn.then_some(0),
            shared: Arc::clone(&shared),
            clock,
            latest: Now::read().export_time(),
        };
        let work = move || {
            // Sending needs none; what cannot be given up is not there.
            let _ = privileges::keep(0);
            // The account outlives whatever goes wrong in here.
            let run = AssertUnwindSafe(|| exporter.run(&receiver));
            let came_to_its_end = panic::catch_unwind(run).is_ok();
            (exporter.exported(), came_to_its_end)
        };
        Ok(Self {
            sender,
            how: how.clone(),
            known,
            pending: Vec::with_capacity(BATCH_RECORDS),
            open: false,
            given: Tally::default(),
            shared,
            thread: thread::Builder::new()
                .name("export".to_owned())
                .spawn(work)?,
            dead: false,
        })
    }

    /// Gives a record to the thread; waits while it is behind.
    pub fn push(&mut self, record: FlowRecord, now: &Now) {
        let Some(pairing) = self.how.pairing else {
            self.pending.push(record);
            if self.pending.len() >= BATCH_RECORDS {
                self.hand_over(now);
            }
            return;
        };
        let partner = self
            .pending
            .pop_if(|last| self.open && pair::are_partners(last, &record));
        if let Some(partner) = partner {
            let (first, second) = pairing.of_both(partner, record);
            self.pending.push(first);
            self.pending.extend(second);
            self.open = false;
            return;
        }
        self.close_last();
        if self.pending.len() >= BATCH_RECORDS {
            self.hand_over(now);
        }
        self.pending.push(record);
        self.open = true;
    }

    /// Nobody answered the last pending record.
    fn close_last(&mut self) {
        if let (true, Some(pairing), Some(last)) =
            (self.open, self.how.pairing, self.pending.last_mut())
        {
            *last = pairing.of_one(*last);
        }
        self.open = false;
    }

    /// Gives the thread what is pending.
    pub fn hand_over(&mut self, now: &Now) {
        self.close_last();
        if !self.pending.is_empty() {
            let batch = mem::replace(&mut self.pending, Vec::with_capacity(BATCH_RECORDS));
            for record in &batch {
                self.given.add(record);
            }
            // It fails only if the thread is gone; `finish` counts what it did not send.
            let _ = self.sender.send(Message::Records(now.export_time(), batch));
        }
    }

    /// Has the records from here on go to these addresses. Those that stay keep their numbers and
    /// templates; those that end send what they have; one that comes again goes on counting.
    ///
    /// # Errors
    /// If there is no socket for one of them, or there were too many; then nothing changes.
    pub fn redirect(&mut self, addresses: &[SocketAddr], now: &Now) -> Result<Redirected> {
        let mut is_on = vec![false; self.known.len()];
        let mut new = Vec::new();
        for address in wanted(addresses) {
            let mut known = self.known.iter().zip(&mut is_on);
            match known.find(|(known, is_on)| known.address == address && !**is_on) {
                Some((_, is_on)) => *is_on = true,
                None => new.push(address),
            }
        }
        if self.known.len() + new.len() > LANES_MAX {
            bail!(
                "there were {LANES_MAX} destinations since the start: restart the sensor for more"
            );
        }
        let lanes = new
            .iter()
            .map(|address| Lane::connect(&self.how, *address, false));
        let lanes: Vec<Lane> = lanes.collect::<Result<_>>()?;
        let mut redirected = Redirected::default();
        self.hand_over(now);
        for (known, is_on) in self.known.iter_mut().zip(&is_on) {
            match (known.since.is_some(), *is_on) {
                (true, false) => redirected.ended.extend(known.address),
                (false, true) => redirected.added.extend(known.address),
                _ => continue,
            }
            known.set(*is_on, self.given);
        }
        redirected.added.extend(new.iter().flatten());
        let new = new
            .into_iter()
            .map(|address| Known::new(address, self.given));
        self.known.extend(new);
        // As for records.
        let _ = self.sender.send(Message::Lanes(is_on, lanes));
        Ok(redirected)
    }

    /// What became of the records so far, as of the last batch.
    #[must_use]
    pub fn progress(&self) -> Vec<Exported> {
        let exported = self.shared.exported.lock();
        exported.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has each destination's next datagram carry the templates.
    pub fn send_templates_again(&self) {
        self.shared.templates_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the thread died: nothing is sent any more, and what it is given is lost. Says so,
    /// once.
    pub fn is_dead(&mut self) -> bool {
        if !self.dead && self.thread.is_finished() {
            self.dead = true;
            say_dead();
        }
        self.dead
    }

    /// Sends what is left and ends the thread. Returns what became of the records, and whether the
    /// thread had died: what it had not sent then is in [`ExportCounters::records_lost`].
    #[must_use]
    pub fn finish(mut self, now: &Now) -> (Vec<Exported>, bool) {
        self.hand_over(now);
        drop(self.sender);
        let (mut exported, came_to_its_end) = self.thread.join().unwrap_or_default();
        if !came_to_its_end {
            if !self.dead {
                say_dead();
            }
            // It may have died before it learnt of the last of them.
            let unknown = self.known.iter().skip(exported.len());
            let unknown: Vec<_> = unknown
                .map(|known| Exported {
                    address: known.address,
                    is_partial: true,
                    in_turn: self.how.in_turn,
                    counters: ExportCounters::default(),
                })
                .collect();
            exported.extend(unknown);
            Exported::lose_the_rest(&mut exported, &self.known, self.given);
        }
        (exported, !came_to_its_end)
    }
}

/// The lanes there are to be: one for each address; without any, one that only counts.
fn wanted(addresses: &[SocketAddr]) -> Vec<Option<SocketAddr>> {
    match addresses {
        [] => vec![None],
        _ => addresses.iter().copied().map(Some).collect(),
    }
}

fn say_dead() {
    eprintln!(
        "weir-sensor: the export thread died (its last words are above, please report them): what it did not send is counted as lost, and the sensor ends with status 1, to be started again"
    );
}

struct Exporter {
    /// One of them is on, at least.
    lanes: Vec<Lane>,
    /// Whose turn it is, if they take turns.
    turn: Option<usize>,
    shared: Arc<Shared>,
    clock: Clock,
    latest: ExportTime,
}

impl Exporter {
    fn run(&mut self, receiver: &Receiver<Message>) {
        self.lanes.iter_mut().for_each(Lane::begin);
        loop {
            self.publish();
            match receiver.recv_timeout(self.patience()) {
                Ok(Message::Records(time, records)) => {
                    // What is open belongs to its own time, which a capture file may leave far
                    // behind.
                    if self.clock == Clock::Packets {
                        self.flush_if_due(&time, self.latest);
                    }
                    self.latest = time;
                    self.renew_templates();
                    let now = self.now();
                    for record in &records {
                        self.export(record, &now);
                    }
                }
                Ok(Message::Lanes(is_on, lanes)) => self.switch(&is_on, lanes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.now();
            self.flush_if_due(&now, now);
        }
        let now = self.now();
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_on) {
            lane.finish(&now);
        }
    }

    fn export(&mut self, record: &FlowRecord, now: &ExportTime) {
        let Some(turn) = self.turn else {
            for lane in self.lanes.iter_mut().filter(|lane| lane.is_on) {
                lane.export(record, now);
            }
            return;
        };
        let lane = &mut self.lanes[turn];
        let before = lane.datagrams();
        lane.export(record, now);
        if lane.datagrams() != before {
            self.pass_turn();
        }
    }

    /// The next one's turn comes with the next datagram.
    fn pass_turn(&mut self) {
        let Some(turn) = self.turn else {
            return;
        };
        let count = self.lanes.len();
        let mut others = (1..count).map(|step| (turn + step) % count);
        let next = others.find(|lane| self.lanes[*lane].is_on);
        self.turn = Some(next.unwrap_or(turn));
    }

    /// Switches lanes on and off, and adds some.
    fn switch(&mut self, is_on: &[bool], lanes: Vec<Lane>) {
        let now = self.now();
        for (lane, is_on) in self.lanes.iter_mut().zip(is_on) {
            lane.switch(*is_on, &now);
        }
        let lanes = lanes.into_iter().map(|lane| Lane {
            is_partial: true,
            ..lane
        });
        let known = self.lanes.len();
        self.lanes.extend(lanes);
        self.lanes.iter_mut().skip(known).for_each(Lane::begin);
        if self.turn.is_some_and(|turn| !self.lanes[turn].is_on) {
            self.pass_turn();
        }
    }

    fn exported(&self) -> Vec<Exported> {
        let lanes = self.lanes.iter();
        let exported = lanes.map(|lane| lane.exported(self.turn.is_some()));
        exported.collect()
    }

    fn publish(&self) {
        let shared = self.shared.exported.lock();
        *shared.unwrap_or_else(PoisonError::into_inner) = self.exported();
    }

    fn renew_templates(&mut self) {
        if self.shared.templates_wanted.swap(false, Ordering::Relaxed) {
            for lane in &mut self.lanes {
                lane.batcher.send_templates_again();
            }
        }
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
        let mut is_over = false;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            // A clock set back must not make it wait for long either.
            let due = lane
                .batcher
                .opened_ns()
                .is_some_and(|opened_ns| now.unix_ns.abs_diff(opened_ns) >= DELAY_MAX_NS);
            if due {
                lane.flush(&stamp);
                is_over |= self.turn == Some(number);
            }
        }
        if is_over {
            self.pass_turn();
        }
    }
}

/// The way to one destination: its own datagrams, sequence numbers, pace and errors.
struct Lane {
    batcher: Batcher,
    destination: Option<Box<dyn Carrier>>,
    pace: Pace,
    counters: ExportCounters,
    reported: bool,
    /// Whether records go this way.
    is_on: bool,
    /// Whether there was a time when they did not.
    is_partial: bool,
}

impl Lane {
    /// To an address, or to none. If it `waits`, a connection is there at once, or it is known why not.
    fn connect(how: &How, address: Option<SocketAddr>, waits: bool) -> Result<Self> {
        let carrier = address.map(|address| {
            how.carrier(address, waits)
                .with_context(|| format!("cannot send to {address}"))
        });
        Ok(Self::new(how.batch, carrier.transpose()?))
    }

    fn begin(&mut self) {
        if let Some(destination) = &mut self.destination {
            destination.begin();
        }
    }

    /// From here on records go this way, or do not.
    fn switch(&mut self, is_on: bool, now: &ExportTime) {
        if self.is_on && !is_on {
            self.finish(now);
            self.is_partial = true;
        }
        if !self.is_on && is_on {
            // Who listens there may have forgotten them, or be another.
            self.batcher.send_templates_again();
            self.begin();
            self.reported = false;
        }
        self.is_on = is_on;
    }

    fn new(options: BatchOptions, destination: Option<Box<dyn Carrier>>) -> Self {
        Self {
            batcher: Batcher::new(options),
            destination,
            pace: Pace::new(PACE.0, PACE.1),
            counters: ExportCounters::default(),
            reported: false,
            is_on: true,
            is_partial: false,
        }
    }

    fn exported(&self, in_turn: bool) -> Exported {
        Exported {
            address: self.destination.as_ref().map(|way| way.address()),
            is_partial: self.is_partial,
            in_turn,
            counters: self.counters,
        }
    }

    /// Datagrams so far, whatever became of them.
    fn datagrams(&self) -> u64 {
        self.counters.datagrams_sent + self.counters.datagrams_unsent
    }

    fn flush(&mut self, now: &ExportTime) {
        // What is taken back makes several datagrams, and opens the last of them.
        while let Some(datagram) = self.batcher.flush(now) {
            self.send(datagram, now);
        }
    }

    /// Sends what is left: nothing comes after it, unless it is switched on again.
    fn finish(&mut self, now: &ExportTime) {
        self.flush(now);
        if let Some(destination) = &mut self.destination {
            destination.finish();
        }
    }

    fn export(&mut self, record: &FlowRecord, now: &ExportTime) {
        self.counters.records.add(record);
        let options = self.batcher.options();
        if !options.version.has_templates() {
            self.batch_parts(record, fixed::parts(record), now);
        } else if options.layout.is_narrow() {
            self.batch_parts(record, fixed::narrow_parts(record), now);
        } else {
            self.batch(record, now);
        }
    }

    /// A record whose counts may not fit, as others that fit; none if the version has no place for it.
    fn batch_parts(
        &mut self,
        record: &FlowRecord,
        parts: impl Iterator<Item = FlowRecord>,
        now: &ExportTime,
    ) {
        let mut count = 0;
        for part in parts {
            count += 1;
            self.batch(&part, now);
        }
        match count {
            0 => self.counters.records_unsupported.add(record),
            count => self.counters.records_split += count - 1,
        }
    }

    fn batch(&mut self, record: &FlowRecord, now: &ExportTime) {
        if let Some(datagram) = self.batcher.push(record, now) {
            self.send(datagram, now);
        }
    }

    fn send(&mut self, datagram: Datagram, now: &ExportTime) {
        let Some(destination) = &mut self.destination else {
            return self.count_sent(&datagram);
        };
        let wait_ns = self.pace.take(Now::read().monotonic_ns);
        if wait_ns > 0 {
            thread::sleep(Duration::from_nanos(wait_ns));
        }
        let sent = destination.send(&datagram.octets);
        let address = destination.address();
        let (refusals, error) = match sent {
            Sent::Yes { refusals } => (refusals, None),
            Sent::No { refusals, error } => (refusals, Some(error)),
            Sent::Anew => {
                eprintln!("weir-sensor: connected to {address}");
                self.reported = false;
                for record in self.batcher.begin_anew(datagram) {
                    self.batch(&record, now);
                }
                return;
            }
            Sent::TooLong {
                refusals,
                octets_max,
            } => {
                self.counters.refusals += u64::from(refusals);
                return self.shorten(datagram, octets_max, now);
            }
        };
        self.counters.refusals += u64::from(refusals);
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
            self.count_sent(&datagram);
            if refusals > 0 {
                self.report(&format!(
                    "datagrams to {address} come back: nothing listens there, or a router takes none as long; is the collector running?"
                ));
            }
        }
    }

    /// The path takes less than was thought: the datagram's records leave in shorter ones. It comes
    /// to this once for each length the path turns out to take, so it does not go deep.
    fn shorten(&mut self, datagram: Datagram, octets_max: usize, now: &ExportTime) {
        let least = self.batcher.options().datagram_octets_min();
        if let Some(destination) = &mut self.destination {
            let address = destination.address();
            if octets_max < least {
                destination.allow_fragments();
                eprintln!(
                    "weir-sensor: the path to {address} takes only {octets_max} octets, less than the {least} a datagram needs: datagrams leave in fragments"
                );
            } else {
                eprintln!(
                    "weir-sensor: the path to {address} takes datagrams of {octets_max} octets: they are kept as short from here on"
                );
            }
        }
        self.counters.datagrams_shortened += 1;
        for record in self.batcher.take_back(datagram, octets_max.max(least)) {
            self.batch(&record, now);
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

#[cfg(test)]
mod tests {
    use weir_exporter::Version;

    use super::*;

    /// Takes some datagrams and panics at the next.
    #[derive(Debug)]
    struct Fuse {
        left: u32,
    }

    impl Carrier for Fuse {
        fn address(&self) -> SocketAddr {
            ([127, 0, 0, 1], 2055).into()
        }

        fn send(&mut self, _octets: &[u8]) -> Sent {
            assert!(self.left > 0, "meant to happen: the fuse has burnt down");
            self.left -= 1;
            Sent::Yes { refusals: 0 }
        }

        fn allow_fragments(&mut self) {}
    }

    /// Takes so many octets at once.
    #[derive(Debug)]
    struct Narrow {
        octets_max: usize,
    }

    impl Carrier for Narrow {
        fn address(&self) -> SocketAddr {
            ([127, 0, 0, 1], 2055).into()
        }

        fn send(&mut self, octets: &[u8]) -> Sent {
            if octets.len() <= self.octets_max {
                return Sent::Yes { refusals: 0 };
            }
            Sent::TooLong {
                refusals: 0,
                octets_max: self.octets_max,
            }
        }

        fn allow_fragments(&mut self) {
            self.octets_max = usize::MAX;
        }
    }

    fn v9() -> How {
        How::new(BatchOptions::new(Version::V9))
    }

    fn in_turn() -> How {
        How {
            in_turn: true,
            ..v9()
        }
    }

    fn export_by(carrier: impl Carrier + 'static) -> Export {
        let lane = Lane::new(v9().batch, Some(Box::new(carrier)));
        Export::spawn(vec![lane], &v9(), Clock::Live).unwrap()
    }

    fn push(export: &mut Export, records: u64) {
        let now = Now::read();
        for _ in 0..records {
            let record = FlowRecord {
                packets: 3,
                octets: 200,
                ..FlowRecord::default()
            };
            export.push(record, &now);
        }
        export.hand_over(&now);
    }

    #[test]
    fn what_a_dead_thread_did_not_send_is_counted() {
        let mut export = export_by(Fuse { left: 2 });
        push(&mut export, 5000);
        while !export.is_dead() {
            thread::sleep(Duration::from_millis(1));
        }
        // More than the channel holds: nobody may wait for a dead thread.
        push(&mut export, 100_000);
        let (exported, died) = export.finish(&Now::read());
        let [Exported { counters, .. }] = exported[..] else {
            panic!("{exported:?}")
        };
        assert!(died && counters.datagrams_sent == 2);
        assert_eq!(counters.records.records, 105_000);
        let (sent, lost) = (counters.records_exported, counters.records_lost);
        assert!(sent.records > 0 && lost.records > 100_000, "{counters:?}");
        for some in [sent, lost] {
            let expected = (3 * some.records, 200 * some.records);
            assert_eq!((some.packets, some.octets), expected);
        }
        assert_eq!(sent.records + lost.records, 105_000);
    }

    #[test]
    fn a_thread_that_dies_of_its_last_datagram_is_noticed() {
        let mut export = export_by(Fuse { left: 0 });
        push(&mut export, 1);
        let (exported, died) = export.finish(&Now::read());
        assert!(died);
        assert_eq!(exported[0].counters.records_lost.packets, 3);
    }

    #[test]
    fn a_thread_that_lives_loses_nothing() {
        let mut export = export_by(Fuse { left: 1000 });
        push(&mut export, 5000);
        assert!(!export.is_dead());
        let (exported, died) = export.finish(&Now::read());
        assert!(!died);
        assert_eq!(exported[0].counters.records_exported.records, 5000);
        assert_eq!(exported[0].counters.records_lost, Tally::default());
    }

    #[test]
    fn each_destination_gets_what_came_while_it_was_one() {
        let listen = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (one, two) = (listen(), listen());
        let [first, second] = [&one, &two].map(|socket| socket.local_addr().unwrap());
        let mut export = Export::start(&[first], &v9(), Clock::Live).unwrap();
        let now = Now::read();
        push(&mut export, 100);
        let both = export.redirect(&[first, second], &now).unwrap();
        assert_eq!((both.added, both.ended), (vec![second], vec![]));
        push(&mut export, 10);
        let other = export.redirect(&[second], &now).unwrap();
        assert_eq!((other.added, other.ended), (vec![], vec![first]));
        push(&mut export, 1);
        let again = export.redirect(&[second, first], &now).unwrap();
        assert_eq!((again.added, again.ended), (vec![first], vec![]));
        push(&mut export, 1000);
        assert_eq!(
            export.redirect(&[second, first], &now).unwrap(),
            Redirected::default()
        );
        assert_eq!(export.known[0].total(export.given).records, 1110);
        assert_eq!(export.known[1].total(export.given).records, 1011);
        let (exported, died) = export.finish(&now);
        assert!(!died);
        for (exported, (address, records)) in exported.iter().zip([(first, 1110), (second, 1011)]) {
            let counters = exported.counters;
            assert_eq!(exported.address, Some(address));
            assert!(exported.is_partial);
            assert_eq!(counters.records.records, records);
            let sent = counters.records_exported.records + counters.records_unsent.records;
            assert_eq!(sent, records);
        }
        assert_eq!(exported.len(), 2);
    }

    #[test]
    fn directions_leave_together_or_in_one() {
        let now = Now::read();
        let record = |from: u16, to: u16| FlowRecord {
            source: [0, 0, 0, 0, 0, 0, 0, from].into(),
            destination: [0, 0, 0, 0, 0, 0, 0, to].into(),
            v6: true,
            packets: 1,
            octets: 100,
            ..FlowRecord::default()
        };
        for (pairing, records) in [
            (Pairing::Shared, 3 * 700),
            (Pairing::Biflow, 2 * 700),
            (Pairing::SoftflowdBiflow, 2 * 700),
        ] {
            let how = How {
                pairing: Some(pairing),
                ..How::new(BatchOptions::new(Version::Ipfix))
            };
            let mut export = Export::start(&[], &how, Clock::Live).unwrap();
            for number in 0..700 {
                export.push(record(2 * number + 2, 1), &now);
                export.push(record(1, 2 * number + 2), &now);
                export.push(record(2 * number + 3, 1), &now);
            }
            let (exported, _) = export.finish(&now);
            let counters = exported[0].counters;
            assert_eq!(counters.records.records, records, "{pairing:?}");
            assert_eq!(counters.records_exported.packets, 3 * 700);
            assert_eq!(counters.records_exported.octets, 300 * 700);
        }
    }

    #[test]
    fn taking_turns_each_gets_a_share_and_together_all() {
        for (left, dies) in [(1000, false), (20, true)] {
            let lanes = (0..3).map(|_| Lane::new(v9().batch, Some(Box::new(Fuse { left }))));
            let mut export = Export::spawn(lanes.collect(), &in_turn(), Clock::Live).unwrap();
            push(&mut export, 5000);
            let (exported, died) = export.finish(&Now::read());
            assert_eq!(died, dies);
            let whole = Exported::whole(&exported);
            assert_eq!(
                (whole.records.records, whole.records.packets),
                (5000, 15_000)
            );
            let (sent, lost) = (whole.records_exported, whole.records_lost);
            assert_eq!(sent.records + lost.records, 5000);
            assert_eq!(lost.records > 0, dies);
            for one in exported {
                let datagrams = one.counters.datagrams_sent;
                assert!(datagrams * 3 + 6 > whole.datagrams_sent, "{whole:?}");
            }
        }
    }

    #[test]
    fn turns_go_over_the_destinations_of_the_moment() {
        let listen = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sockets = [listen(), listen(), listen()];
        let [one, two, three] = sockets
            .each_ref()
            .map(|socket| socket.local_addr().unwrap());
        let mut export = Export::start(&[one, two], &in_turn(), Clock::Live).unwrap();
        let now = Now::read();
        push(&mut export, 1000);
        export.redirect(&[two, three], &now).unwrap();
        push(&mut export, 1000);
        export.redirect(&[three], &now).unwrap();
        push(&mut export, 500);
        export.redirect(&[one, three], &now).unwrap();
        push(&mut export, 1000);
        let (exported, died) = export.finish(&now);
        assert!(!died && exported.len() == 3);
        let whole = Exported::whole(&exported);
        assert_eq!(
            (whole.records.records, whole.records.packets),
            (3500, 10_500)
        );
        let sent = whole.records_exported.records + whole.records_unsent.records;
        assert_eq!(sent, 3500);
        let [first, second, third] = [0, 1, 2].map(|lane| exported[lane].counters.records.records);
        // Of 2,000 each two had the half, and all was the third one's while it was alone.
        assert!(first > 800 && second > 800 && third > 1300, "{exported:?}");
    }

    /// A lane whose datagrams are full at no time has its turn, too.
    #[test]
    fn a_turn_ends_with_a_datagram_that_waited_long_enough() {
        let lanes = (0..2).map(|_| Lane::new(v9().batch, Some(Box::new(Fuse { left: 10 }))));
        let mut export = Export::spawn(lanes.collect(), &in_turn(), Clock::Packets).unwrap();
        for second in [0, 2, 4, 6] {
            let now = Now {
                unix_ns: 1_700_000_000_000_000_000 + second * 1_000_000_000,
                ..Now::default()
            };
            export.push(FlowRecord::default(), &now);
            export.hand_over(&now);
        }
        let (exported, died) = export.finish(&Now::default());
        assert!(!died);
        for one in exported {
            assert_eq!(one.counters.datagrams_sent, 2, "{one:?}");
        }
    }

    #[test]
    fn a_narrow_path_loses_nothing() {
        for octets_max in [700, 100] {
            let mut export = export_by(Narrow { octets_max });
            push(&mut export, 5000);
            let (exported, _) = export.finish(&Now::read());
            let counters = exported[0].counters;
            assert_eq!(counters.records_exported.records, 5000);
            assert_eq!(counters.records_exported.packets, 3 * 5000);
            assert_eq!(counters.datagrams_shortened, 1);
            let mean = counters.datagram_octets / counters.datagrams_sent;
            assert!(mean <= 700, "{counters:?}");
        }
    }
}
