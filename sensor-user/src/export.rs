//! The export thread: records come through a bounded channel, datagrams leave at a pace. When it
//! cannot keep up the channel fills, the sweep waits, the table fills, and what does not fit is
//! counted by the kernel program: memory stays what it was.

mod said;

use std::{
    io, mem,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    destination::{Carrier, Rest, Sent},
    pace::Pace,
};
use weir_netflow::{ExportTime, FlowRecord, announce::Lost, fixed};
use weir_service::privileges;

use crate::{
    clock::Now,
    pair::{self, Pairing},
    statistics::Statistics,
};
use said::Said;

/// Records in a batch that goes to the thread.
pub const BATCH_RECORDS: usize = 1024;
/// Batches under way.
const BATCHES_MAX: usize = 16;
/// A datagram leaves when its first record has waited this long.
const DELAY_MAX_NS: u64 = 1_000_000_000;
/// Datagrams a second, and at once: half of what a default socket buffer takes in a scheduler's
/// tick.
const PACE: (u64, u64) = (24_000, 24);
const NS_PER_MS: u64 = 1_000_000;

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
    /// Collectors are told, in options, what was sent and lost, and what interfaces are called.
    pub announces: bool,
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
            announces: false,
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
    /// What is told besides records.
    said: Mutex<Said>,
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// Notes what the account says was lost before it became records: collectors are told.
    pub fn note_losses(&self, statistics: &Statistics, now: &Now) {
        let mut said = self.shared.said();
        said.note_losses(statistics, now.unix_ns / NS_PER_MS);
    }

    /// Notes what interfaces are called, by the numbers that records have: collectors are told.
    pub fn name_interfaces(&self, names: Vec<(u32, String)>) {
        self.shared.said().interfaces = names;
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
                    self.announce_if_due(&now);
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
        let (now, said) = (self.now(), self.said());
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_on) {
            lane.finish(&said, &now);
        }
    }

    fn said(&self) -> Said {
        self.shared.said().clone()
    }

    fn announce_if_due(&mut self, now: &ExportTime) {
        let is_due = |lane: &Lane| lane.is_on && lane.announcement_is_due(now);
        if !self.lanes.iter().any(is_due) {
            return;
        }
        let said = self.said();
        for lane in &mut self.lanes {
            if is_due(lane) {
                lane.announce(&said, now);
            }
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
        let (now, said) = (self.now(), self.said());
        for (lane, is_on) in self.lanes.iter_mut().zip(is_on) {
            lane.switch(*is_on, &said, &now);
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
    /// A message of which a part has left: it is sent once all of it has.
    under_way: Option<Datagram>,
    reported: bool,
    /// Whether records go this way.
    is_on: bool,
    /// Whether there was a time when they did not.
    is_partial: bool,
    /// If it is told anything besides records.
    announcing: Option<Announcing>,
}

/// What a collector was told besides records.
#[derive(Clone, Copy, Debug, Default)]
struct Announcing {
    /// When it was told last, by the wall clock, nanoseconds since 1970-01-01 UTC; none: it has to be anew.
    last_ns: Option<u64>,
    /// What was lost on the way to it.
    unsent: Lost,
}

impl Lane {
    /// To an address, or to none. If it `waits`, a connection is there at once, or it is known why not.
    fn connect(how: &How, address: Option<SocketAddr>, waits: bool) -> Result<Self> {
        let carrier = address.map(|address| {
            how.carrier(address, waits)
                .with_context(|| format!("cannot send to {address}"))
        });
        Ok(Self {
            announcing: how.announces.then(Announcing::default),
            ..Self::new(how.batch, carrier.transpose()?)
        })
    }

    fn begin(&mut self) {
        if let Some(destination) = &mut self.destination {
            destination.begin();
        }
    }

    /// From here on records go this way, or do not.
    fn switch(&mut self, is_on: bool, said: &Said, now: &ExportTime) {
        if self.is_on && !is_on {
            self.finish(said, now);
            self.is_partial = true;
        }
        if !self.is_on && is_on {
            // Who listens there may have forgotten them, or be another.
            self.batcher.send_templates_again();
            self.announce_again();
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
            under_way: None,
            reported: false,
            is_on: true,
            is_partial: false,
            announcing: None,
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
        let under_way = u64::from(self.under_way.is_some());
        self.counters.datagrams_sent + self.counters.datagrams_unsent + under_way
    }

    fn flush(&mut self, now: &ExportTime) {
        // What is taken back makes several datagrams, and opens the last of them.
        while let Some(datagram) = self.batcher.flush(now) {
            self.send(datagram, now);
        }
    }

    /// Sends what is left, and what has become of all: nothing comes after it, unless it is switched on
    /// again.
    fn finish(&mut self, said: &Said, now: &ExportTime) {
        self.flush(now);
        if self.datagrams() > 0 {
            self.announce(said, now);
        }
        if let Some(destination) = &mut self.destination {
            destination.finish();
            let rest = destination.rest();
            self.settle(rest, false, now);
        }
    }

    /// Whether the collector is to be told before more records come: at first, and as often as templates are
    /// repeated by time. (They are also repeated by datagrams, which on a busy way is all the time.)
    fn announcement_is_due(&self, now: &ExportTime) -> bool {
        let interval_ns = self.batcher.options().template_interval_ns;
        let is_due = |last_ns: u64| now.unix_ns.abs_diff(last_ns) >= interval_ns;
        self.announcing
            .is_some_and(|announcing| announcing.last_ns.is_none_or(is_due))
    }

    /// Tells the collector what was sent and lost so far, and what interfaces are called.
    fn announce(&mut self, said: &Said, now: &ExportTime) {
        let Some(announcing) = &mut self.announcing else {
            return;
        };
        announcing.last_ns = Some(now.unix_ns);
        let said = said.announcement(&self.counters, announcing.unsent);
        let mut parts = self.batcher.parts(&said);
        while let Some(datagram) = self.batcher.announce(&mut parts, now) {
            self.send(datagram, now);
            // If it was taken back all of it is told again, before the next records.
            if self.announcing.is_none_or(|told| told.last_ns.is_none()) {
                break;
            }
        }
    }

    /// What was told is not known any more.
    fn announce_again(&mut self) {
        if let Some(announcing) = &mut self.announcing {
            announcing.last_ns = None;
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
        let (rest, address) = (destination.rest(), destination.address());
        self.settle(rest, matches!(sent, Sent::Yes { .. }), now);
        let (refusals, error) = match sent {
            Sent::Yes { refusals } => (refusals, None),
            Sent::No { refusals, error } => (refusals, Some(error)),
            Sent::Anew => {
                eprintln!("weir-sensor: connected to {address}");
                self.reported = false;
                self.announce_again();
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
            self.count_unsent(&datagram, now);
            self.report(&format!(
                "cannot send to {address}: {error}; counting what is lost"
            ));
        } else {
            if rest == Rest::UnderWay {
                self.under_way = Some(datagram);
            } else {
                self.count_sent(&datagram);
            }
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
        if datagram.tally.records == 0 {
            self.announce_again();
        }
        for record in self.batcher.take_back(datagram, octets_max.max(least)) {
            self.batch(&record, now);
        }
    }

    /// Counts the message before, if a part of it was still to leave. It has left if the next one was taken.
    fn settle(&mut self, rest: Rest, next_is_taken: bool, now: &ExportTime) {
        if rest == Rest::UnderWay && !next_is_taken {
            return;
        }
        if let Some(before) = self.under_way.take() {
            match rest {
                Rest::Cut => self.count_unsent(&before, now),
                Rest::Left | Rest::UnderWay => self.count_sent(&before),
            }
        }
    }

    fn count_sent(&mut self, datagram: &Datagram) {
        self.counters.datagrams_sent += 1;
        self.counters.datagram_octets += datagram.octets.len() as u64;
        self.counters.records_exported.merge(datagram.tally);
    }

    fn count_unsent(&mut self, datagram: &Datagram, now: &ExportTime) {
        self.counters.datagrams_unsent += 1;
        self.counters.records_unsent.merge(datagram.tally);
        let lost = self.counters.records_unsent;
        if let Some(Announcing { unsent, .. }) = &mut self.announcing {
            let now_ms = now.unix_ns / NS_PER_MS;
            *unsent = unsent.grown(lost.records, lost.packets, lost.octets, now_ms);
        }
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
mod tests;
