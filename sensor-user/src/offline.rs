//! `-r FILE`: a capture through the same walk, table, policy and export as live packets. Packet
//! time is the clock.

mod file_time;
mod reader;

use std::{mem, ops::Range, path::Path, thread};

use anyhow::Result;
use crossbeam::channel::{Receiver, Sender, bounded};
use weir_sensor_common::{
    Counter, Extra, Fields, Slot,
    slot::Sighting,
    table::{self, Outcome, Region as _, Shape, WAYS, account_at, fetch_tags, find},
    tunnel::Tunnels,
};

use crate::{
    capture::End,
    clock::Now,
    expiry::{Reason, Timeouts},
    export::Export,
    extras::Extras,
    fragments::Fragments,
    mapping::Mapping,
    prefilter::FileFilter,
    record::Recorder,
    signals::Interrupt,
    statistics::Statistics,
    sweep::{Sweep, Take, Taken},
    table::Table,
};
use file_time::{Due, FileTime};
use reader::{BATCHES_MAX, Batch, Reader};

/// What is read of each packet.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Whether IPv6 is counted as no IP.
    pub v4_only: bool,
    /// Tunnels that are entered.
    pub tunnels: Tunnels,
    /// What is read beside the key; what the key needs must be among it.
    pub extra: Fields,
    /// One packet in so many is metered, at least 1.
    pub sampling: u32,
}

/// Packets accounted at a time. While these are, what the next ones need of the table is fetched.
const QUEUE: usize = 32;

/// The table and what it feeds.
pub struct Offline {
    table: Table,
    shape: Shape,
    evicted: Vec<Slot>,
    /// Beside the evicted, if anything was asked for.
    evicted_extras: Vec<Extra>,
    fragments: Fragments,
    reading: Reading,
    filter: Option<FileFilter>,
    sweep: Sweep,
    timeouts: Timeouts,
    recorder: Recorder,
    export: Export,
    statistics: Statistics,
    time: FileTime,
}

impl Offline {
    /// An empty table.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(
        shape: Shape,
        fragments: Fragments,
        reading: Reading,
        timeouts: Timeouts,
        recorder: Recorder,
        export: Export,
    ) -> Result<Self> {
        let mut table = Table::anonymous(shape)?;
        if reading.extra != Fields::NONE {
            let slots = (shape.bucket_mask as usize + 1) * WAYS as usize;
            table = table.with_extras(Extras::new(Mapping::anonymous(slots)?));
        }
        let statistics = Statistics {
            tells_conversations: export.tells_conversations(),
            ..Statistics::default()
        };
        Ok(Self {
            table,
            shape,
            evicted: Vec::new(),
            evicted_extras: Vec::new(),
            fragments,
            reading,
            filter: None,
            sweep: Sweep::new(export.wants_pairs()),
            time: FileTime::new(&timeouts),
            timeouts,
            recorder,
            export,
            statistics,
        })
    }

    /// With a filter: what it does not want is counted, and in no flow.
    #[must_use]
    pub fn with_filter(self, filter: Option<FileFilter>) -> Self {
        Self { filter, ..self }
    }

    /// Reads the file to its end, or until a signal interrupts it, and exports everything. Reading and
    /// walking headers is one thread's work, this one accounts, and the exporter has its own.
    ///
    /// # Errors
    /// If the file cannot be read at all.
    pub fn run(mut self, path: &Path, interrupt: &Interrupt) -> Result<(Statistics, End)> {
        let (fragments, filter) = (mem::take(&mut self.fragments), self.filter.take());
        let reader = Reader::new(self.reading, self.shape, fragments, filter);
        self.account_all(move |sender, used| reader.run(path, interrupt, sender, used))
    }

    /// Accounts what a thread reads, and exports everything. If that dies, what it had handed over counts.
    ///
    /// # Errors
    /// What reading comes to.
    fn account_all(
        mut self,
        read: impl FnOnce(&Sender<Batch>, &Receiver<Batch>) -> Result<End> + Send,
    ) -> Result<(Statistics, End)> {
        let (sender, receiver) = bounded(BATCHES_MAX);
        let (give_back, used) = bounded(BATCHES_MAX);
        let end = thread::scope(|scope| {
            let reader = scope.spawn(move || read(&sender, &used));
            for mut batch in receiver {
                self.batch(&batch);
                batch.clear();
                // If the reading thread is gone, nobody needs it.
                let _ = give_back.try_send(batch);
            }
            let died = "the reading thread died (its last words are above, please report them)";
            let died = End::Partial(died.to_owned());
            reader.join().unwrap_or(Ok(died))
        });
        // What is in the table is exported, whatever became of the reading.
        let now = self.time.now();
        self.take(Due {
            now,
            everything: true,
        });
        self.export.note_losses(&self.statistics, &now);
        (self.statistics.export, self.statistics.export_died) = self.export.finish(&now);
        Ok((self.statistics, end?))
    }

    /// Accounts packets, and looks at the table before those that come when it is time.
    fn batch(&mut self, batch: &Batch) {
        for (counter, count) in Counter::ALL.iter().zip(batch.counted.counters) {
            self.statistics.add(*counter, count);
        }
        self.statistics.unsupported_link_packets += batch.counted.unsupported_link_packets;
        let mut accounted = 0;
        for (index, unix_ns) in batch.times_ns.iter().enumerate() {
            let Some(due) = self.time.tell(*unix_ns) else {
                continue;
            };
            self.account(batch, accounted..index, &due.now);
            accounted = index;
            self.take(due);
        }
        let now = self.time.now();
        self.account(batch, accounted..batch.sightings.len(), &now);
    }

    /// Accounts some of a batch's packets, as the kernel program does (see `weir_sensor_common::stage`).
    fn account(&mut self, batch: &Batch, which: Range<usize>, now: &Now) {
        let extras = batch.extras.get(which.clone()).unwrap_or_default();
        let mut left = &batch.sightings[which];
        let mut first = 0;
        self.fetch_homes(left);
        while !left.is_empty() {
            let (queue, rest) = left.split_at(left.len().min(QUEUE));
            self.fetch_homes(rest);
            let extras = extras.get(first..).unwrap_or_default();
            self.account_queue(queue, extras, now);
            first += queue.len();
            left = rest;
        }
    }

    /// Has the slots fetched where the next of these packets' flows are looked for first, and does not wait for them.
    fn fetch_homes(&mut self, sightings: &[Sighting]) {
        let with_macs = self.shape.tells_macs_apart();
        let region = self.table.local(&mut self.evicted);
        for sighting in sightings.iter().take(QUEUE) {
            let home = self.shape.home(sighting.hash);
            region.fetch(home);
            if with_macs {
                region.fetch_macs(home);
            }
        }
    }

    /// Accounts so many packets as are in a queue, at most, whose homes were fetched.
    fn account_queue(&mut self, queue: &[Sighting], extras: &[Extra], now: &Now) {
        let shape = &self.shape;
        let region = self.table.local(&mut self.evicted);
        // As in the kernel program: no branch waits for what was fetched, and only flows that are not at home need
        // their tags.
        let mut likely = [0; QUEUE];
        let (mut strays, mut away) = ([0; QUEUE], 0);
        for (index, sighting) in queue.iter().enumerate() {
            likely[index] = shape.home(sighting.hash);
            strays[away] = index;
            away += table::strays(&region, shape, sighting).unwrap_or(0) as usize;
        }
        let strays = &strays[..away];
        for index in strays {
            fetch_tags(&region, shape, queue[*index].hash);
        }
        for index in strays {
            if let Some(slot) = find(&region, shape, queue[*index].hash) {
                likely[*index] = slot;
            }
        }
        for (index, (sighting, likely)) in queue.iter().zip(likely).enumerate() {
            // Others are in no flow.
            if sighting.packets != 0 {
                self.account_packet(sighting, extras.get(index), likely, now);
            }
        }
    }

    fn account_packet(
        &mut self,
        sighting: &Sighting,
        extra: Option<&Extra>,
        likely: u32,
        now: &Now,
    ) {
        let mut region = self.table.local(&mut self.evicted);
        if let Some(extra) = extra {
            region = region.with(extra, &mut self.evicted_extras);
        }
        let accounted = account_at(&mut region, &self.shape, sighting, likely);
        match accounted.map(|accounted| accounted.outcome) {
            Some(Outcome::Updated) => return,
            Some(Outcome::Created) => {}
            Some(Outcome::CreatedEvicting) => self.evict(now),
            // This table's evictions never fail, and no slot stays closing between packets.
            Some(Outcome::CreatedLosing | Outcome::Busy) | None => {
                self.statistics.add(Counter::LostBusyPackets, 1);
                self.statistics
                    .add(Counter::LostBusyOctets, sighting.octets);
                return;
            }
        }
        self.statistics.add(Counter::FlowsCreated, 1);
    }

    fn evict(&mut self, now: &Now) {
        let mut extras = self.evicted_extras.drain(..);
        for slot in self.evicted.drain(..) {
            let extra = extras.next().unwrap_or_default();
            let taken = Taken::of(&slot, Reason::Forced).with(extra);
            self.statistics.add(Counter::FlowsEvicted, 1);
            let (export, statistics) = (&mut self.export, &mut self.statistics);
            self.recorder.hand_on(&taken, now, export, statistics);
        }
    }

    fn take(&mut self, Due { now, everything }: Due) {
        let Self {
            table,
            sweep,
            timeouts,
            recorder,
            export,
            statistics,
            ..
        } = self;
        let take = if everything {
            Take::Everything
        } else {
            Take::Expired(timeouts)
        };
        // Of packets that lie far apart each one asks, and looking walks the whole table's tags.
        if (everything || sweep.can_find(&now)) && sweep.close(table, &now, take) > 0 {
            sweep.collect(table, |taken| {
                recorder.hand_on(&taken, &now, export, statistics);
            });
        }
        export.hand_over(&now);
    }
}

#[cfg(test)]
mod tests;
