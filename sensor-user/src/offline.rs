//! `-r FILE`: a capture through the same walk, table, policy and export as live packets. Packet
//! time is the clock.

use std::path::Path;

use anyhow::Result;
use weir_sensor_common::{
    Counter, Slot, Unmetered, Walked,
    slot::Sighting,
    table::{Outcome, Shape, account},
};

use crate::{
    capture::{self, End, Frame},
    clock::Now,
    expiry::{Reason, Timeouts},
    export::Export,
    fragments::Fragments,
    record::Recorder,
    statistics::Statistics,
    sweep::{Sweep, Take, Taken},
    table::Table,
};

/// A gap between two packets after which nothing is held any more.
const GAP_MAX_NS: u64 = 20 * 86_400 * 1_000_000_000;

/// The table and what it feeds.
pub struct Offline {
    table: Table,
    shape: Shape,
    evicted: Vec<Slot>,
    fragments: Fragments,
    sweep: Sweep,
    timeouts: Timeouts,
    recorder: Recorder,
    export: Export,
    statistics: Statistics,
    now: Now,
    first_ns: Option<u64>,
    swept_ns: u64,
}

impl Offline {
    /// An empty table.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(
        shape: Shape,
        fragments: Fragments,
        timeouts: Timeouts,
        recorder: Recorder,
        export: Export,
    ) -> Result<Self> {
        Ok(Self {
            table: Table::anonymous(shape)?,
            shape,
            evicted: Vec::new(),
            fragments,
            sweep: Sweep::default(),
            timeouts,
            recorder,
            export,
            statistics: Statistics::default(),
            now: Now::default(),
            first_ns: None,
            swept_ns: 0,
        })
    }

    /// Reads the file to its end and exports everything.
    ///
    /// # Errors
    /// If the file cannot be read at all, or the export thread died.
    pub fn run(mut self, path: &Path) -> Result<(Statistics, End)> {
        let end = capture::read(path, |frame| self.frame(&frame))?;
        self.take(false);
        self.statistics.export = self.export.finish(&self.now)?;
        Ok((self.statistics, end))
    }

    #[inline]
    fn frame(&mut self, frame: &Frame<'_>) {
        self.tell_time(frame.unix_ns);
        self.statistics.add(Counter::Packets, 1);
        match capture::walk(frame) {
            Ok(mut walked) => {
                self.fragments.join(&mut walked);
                self.metered(&walked, frame.unix_ns);
            }
            Err(reason) => {
                if !capture::supported(frame.link) {
                    self.statistics.unsupported_link_packets += 1;
                }
                self.statistics.add(counter(reason), 1);
            }
        }
    }

    fn metered(&mut self, walked: &Walked, unix_ns: u64) {
        self.statistics.add(Counter::IpOctets, walked.octets);
        let sighting = Sighting {
            key: walked.key,
            hash: self.shape.hash(&walked.key, 0),
            octets: walked.octets,
            tick: Now::of_packet(unix_ns, 0).tick(),
            packets: 1,
            tcp_flags: walked.tcp_flags,
            hook: 0,
        };
        let accounted = account(
            &mut self.table.local(&mut self.evicted),
            &self.shape,
            &sighting,
        );
        match accounted.map(|accounted| accounted.outcome) {
            Some(Outcome::Updated) => return,
            Some(Outcome::Created) => {}
            Some(Outcome::CreatedEvicting) => self.evict(),
            // This table's evictions never fail, and no slot stays closing between packets.
            Some(Outcome::CreatedLosing | Outcome::Busy) | None => {
                self.statistics.add(Counter::LostBusyPackets, 1);
                self.statistics.add(Counter::LostBusyOctets, walked.octets);
                return;
            }
        }
        self.statistics.add(Counter::FlowsCreated, 1);
    }

    fn evict(&mut self) {
        for slot in self.evicted.drain(..) {
            let taken = Taken::of(&slot, Reason::Forced);
            self.statistics.count_taken(&taken);
            self.statistics.add(Counter::FlowsEvicted, 1);
            self.export
                .push(self.recorder.record(&taken, &self.now), &self.now);
        }
    }

    /// Packets may be out of order; the clock is not.
    fn tell_time(&mut self, unix_ns: u64) {
        let first_ns = *self.first_ns.get_or_insert(unix_ns);
        if unix_ns <= self.now.unix_ns {
            return;
        }
        if unix_ns - self.now.unix_ns > GAP_MAX_NS && self.now.unix_ns > 0 {
            // Slots' clocks would wrap in between.
            self.take(false);
        }
        self.now = Now::of_packet(unix_ns, first_ns);
        if unix_ns - self.swept_ns >= self.timeouts.sweep_interval_ns() {
            self.swept_ns = unix_ns;
            self.take(true);
        }
    }

    fn take(&mut self, expired_only: bool) {
        let Self {
            table,
            sweep,
            timeouts,
            recorder,
            export,
            statistics,
            now,
            ..
        } = self;
        let take = if expired_only {
            Take::Expired(timeouts)
        } else {
            Take::Everything
        };
        if sweep.close(table, now, take) > 0 {
            sweep.collect(table, |taken| {
                statistics.count_taken(&taken);
                export.push(recorder.record(&taken, now), now);
            });
        }
        export.hand_over(now);
    }
}

/// The counter for a reason.
#[must_use]
pub fn counter(reason: Unmetered) -> Counter {
    match reason {
        Unmetered::NonIp => Counter::NonIp,
        Unmetered::TooShort => Counter::TooShort,
        Unmetered::BadIp => Counter::BadIp,
        Unmetered::TooDeep => Counter::TooDeep,
    }
}
