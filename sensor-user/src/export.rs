//! The export thread: records come through a bounded channel, datagrams leave at a pace. When it
//! cannot keep up the channel fills, the sweep waits, the table fills, and what does not fit is
//! counted by the kernel program: memory stays what it was. This is the near end; `exporter` is the
//! thread, `lane` its way to one destination, `account` what became of the records there, `how` what is asked for.

mod account;
mod exporter;
mod how;
mod lane;
mod said;

pub use account::Exported;
pub use how::{Clock, How};

use std::{
    mem,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use crossbeam::channel::{Sender, bounded};
use weir_exporter::{ExportCounters, counters::Tally};
use weir_netflow::{ExportTime, FlowRecord};
use weir_service::privileges;

use crate::{clock::Now, pair, statistics::Statistics};
use account::Known;
use exporter::Exporter;
use lane::Lane;
use said::Said;

/// Records in a batch that goes to the thread.
const BATCH_RECORDS: usize = 1024;
/// Batches under way.
const BATCHES_MAX: usize = 16;
const NS_PER_MS: u64 = 1_000_000;

/// How long the near end waits until what it gave has left: longer than that takes at the thread's pace, where
/// nothing holds it up.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Destinations that a sensor ever had: the account of each is kept.
const LANES_MAX: usize = 64;

/// What goes to the thread.
enum Message {
    /// Records, and the time they were taken at.
    Records(ExportTime, Vec<FlowRecord>),
    /// Which of the lanes those after it go to, and lanes to be added.
    Lanes(Vec<bool>, Vec<Lane>),
    /// What came before it is to leave at once; this is dropped when it has.
    Flush(Sender<()>),
    /// What comes after it is the last.
    Last,
}

/// What changed about the destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirected {
    /// Records go there from here on.
    pub added: Vec<SocketAddr>,
    /// And no longer there.
    pub ended: Vec<SocketAddr>,
}

/// What both ends see while the thread runs.
#[derive(Debug, Default)]
struct Shared {
    /// The account as of the last batch.
    exported: Mutex<Vec<Exported>>,
    /// Whether each destination is to be told templates and the rest anew.
    telling_wanted: AtomicBool,
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

    /// Starts the thread with those destinations that can be had; of the others it is said why not.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn start_where_possible(addresses: &[SocketAddr], how: &How, clock: Clock) -> Result<Self> {
        let mut lanes = Vec::new();
        for address in addresses {
            match Lane::connect(how, Some(*address), true) {
                Ok(lane) => lanes.push(lane),
                Err(error) => eprintln!("weir-sensor: {error:#}"),
            }
        }
        if lanes.is_empty() {
            lanes.push(Lane::connect(how, None, true)?);
        }
        Self::spawn(lanes, how, clock)
    }

    /// Whether both directions of a conversation are to come one after the other.
    #[must_use]
    pub fn wants_pairs(&self) -> bool {
        self.how.pairing.is_some()
    }

    /// Whether softflowd tells conversations where it says how many flows it exported: it counts records in v1
    /// and v5.
    #[must_use]
    pub fn tells_conversations(&self) -> bool {
        self.wants_pairs() && self.how.batch.version.has_templates()
    }

    fn spawn(lanes: Vec<Lane>, how: &How, clock: Clock) -> Result<Self> {
        let known = lanes
            .iter()
            .map(|lane| Known::new(lane.address(), Tally::default()));
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

    /// Gives a record to the thread; waits while it is behind. Returns whether it is the other direction of the
    /// one before it.
    pub fn push(&mut self, record: FlowRecord, now: &Now) -> bool {
        let Some(pairing) = self.how.pairing else {
            self.pending.push(record);
            if self.pending.len() >= BATCH_RECORDS {
                self.hand_over(now);
            }
            return false;
        };
        let (is_open, key_mask) = (self.open, self.how.key_mask);
        let partner = self
            .pending
            .pop_if(|last| is_open && pair::are_partners(last, &record, key_mask));
        if let Some(partner) = partner {
            let (first, second) = pairing.of_both(partner, record);
            self.pending.push(first);
            self.pending.extend(second);
            self.open = false;
            return true;
        }
        self.close_last();
        if self.pending.len() >= BATCH_RECORDS {
            self.hand_over(now);
        }
        self.pending.push(record);
        self.open = true;
        false
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

    /// Has all records so far leave at once, instead of waiting for a datagram's worth, and waits until they have.
    pub fn flush(&mut self, now: &Now) {
        self.hand_over(now);
        let (done, is_done) = bounded(0);
        // As for records.
        let _ = self.sender.send(Message::Flush(done));
        // Nothing ever comes: it ends when the thread lets go of its end.
        let _ = is_done.recv_timeout(FLUSH_PATIENCE);
    }

    /// What is exported from here on is the last: a collector that is slow is waited for longer than while others would
    /// wait with it.
    pub fn begin_last(&self) {
        // As for records.
        let _ = self.sender.send(Message::Last);
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

    /// Has each destination told anew, with the next records, what it needs to read them, and what else is
    /// announced.
    pub fn tell_again(&self) {
        self.shared.telling_wanted.store(true, Ordering::Relaxed);
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
                    share: ExportCounters::default(),
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

#[cfg(test)]
mod tests;
