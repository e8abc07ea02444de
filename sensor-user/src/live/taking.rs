//! Flows out of the table, the rings and the queues, and on to the export; those of dead sensors' tables, too.

use std::io;

use anyhow::{Context as _, Result};
use weir_netflow::FlowRecord;
use weir_sensor_common::stage::Cpu;

use super::{EVICTED_TURN_MAX, Live};
use crate::{
    adopt::adopt,
    clock::Now,
    evicted::Evicted,
    expiry::Reason,
    export::Export,
    grace,
    kernel::Kernel,
    mapping::Mapping,
    pair,
    pin::Dead,
    record::Recorder,
    settle,
    statistics::Statistics,
    sweep::{Take, Taken},
};

/// How long the rings are emptied while a sweep goes on, nanoseconds.
const RINGS_EMPTIED_NS: u64 = 10_000_000_000;

/// Slots collected before the rings are looked at again.
const COLLECTED_TURN: usize = 1 << 13;

impl Live {
    /// Exports what the tables of dead sensors hold. Their programs must have been replaced.
    ///
    /// # Errors
    /// If a grace period cannot be waited for.
    pub fn take_over(&mut self, dead: Vec<Dead>) -> Result<()> {
        if dead.is_empty() {
            return Ok(());
        }
        grace::wait().context("waiting for a grace period")?;
        let timer = self.kernel.settle()?;
        let (export, statistics) = (&mut self.export, &mut self.statistics);
        let notify = &self.service.notify;
        adopt(dead, timer, &self.recorder, export, statistics, || {
            notify.still_starting();
        })
        .context("waiting for a grace period")?;
        self.ports.note_boot()?;
        let adopted = &self.statistics.adopted;
        eprintln!(
            "weir-sensor: took over {} flows of {} packets",
            adopted.records, adopted.packets
        );
        Ok(())
    }

    /// Closes, waits, collects; how many flows there were. Both directions of a conversation that leave together
    /// are one. The rings are emptied meanwhile: of a flood they hold what comes in some tens of milliseconds. But where
    /// collectors take less than that, who waits for the end of this must not wait for them, too.
    pub(super) fn take(&mut self, now: &Now, take: Take<'_>) -> Result<u64> {
        let ticks = self.ticks;
        let Self {
            kernel,
            sweep,
            service,
            fullest,
            ..
        } = self;
        let Kernel {
            table,
            evicted,
            states,
            few,
            ..
        } = kernel;
        let mut exit = Exit {
            recorder: &self.recorder,
            export: &mut self.export,
            statistics: &mut self.statistics,
            discards: self.discards,
        };
        let begun_ns = now.monotonic_ns;
        let mut empty_rings = |exit: &mut Exit<'_>| {
            let now = Now::read().with_ticks(ticks);
            service.notify.alive(now.monotonic_ns);
            if now.monotonic_ns.saturating_sub(begun_ns) > RINGS_EMPTIED_NS {
                return Ok(false);
            }
            exit.take_evicted(evicted, states, EVICTED_TURN_MAX, &now)
        };
        let mut emptied = Ok(false);
        let closed = sweep.close_in_turns(table, now, take, || {
            if emptied.is_ok() {
                emptied = empty_rings(&mut exit);
            }
        });
        *fullest = sweep.fullest();
        few.tell(states, sweep.left());
        if service.debug && closed > 0 {
            eprintln!("weir-sensor: taking {closed} slots; the fullest CPU keeps {fullest}");
        }
        let mut flows = 0;
        if closed > 0 {
            grace::wait().context("waiting for a grace period")?;
            let mut deleted: Option<FlowRecord> = None;
            // What was seen since the look began ends now, and not then.
            let mut now = Now::read().with_ticks(ticks);
            while sweep.collect_some(table, COLLECTED_TURN, |taken| {
                flows += u64::from(!exit.take(&taken, &now, &mut deleted));
            }) {
                now = Now::read().with_ticks(ticks);
                emptied = emptied.and_then(|_| empty_rings(&mut exit));
            }
        }
        self.export.hand_over(now);
        // Only now: what was closed and not collected nobody would find.
        emptied.context("waiting for a grace period")?;
        Ok(flows)
    }

    /// Takes what the rings hold, up to `most` from each; returns whether there is more. After `exit` it is thrown
    /// away like the table.
    pub(super) fn take_evicted(&mut self, most: u32) -> Result<bool> {
        while self.kernel.bell.next().is_some() {}
        let now = self.now();
        self.service.notify.alive(now.monotonic_ns);
        let Kernel {
            evicted, states, ..
        } = &mut self.kernel;
        let mut exit = Exit {
            recorder: &self.recorder,
            export: &mut self.export,
            statistics: &mut self.statistics,
            discards: self.discards,
        };
        Ok(exit.take_evicted(evicted, states, most, &now)?)
    }

    /// Takes the packets that are still in the CPUs' queues.
    pub(super) fn take_pending(&mut self, now: &Now) {
        for cpu in 0..self.kernel.cpus as usize {
            for flow in settle::pending_flows(&self.kernel.states, &self.kernel.staged, cpu) {
                let (export, statistics) = (&mut self.export, &mut self.statistics);
                if self.discards {
                    statistics.count_deleted(&flow);
                } else {
                    self.recorder.hand_on(&flow, now, export, statistics);
                }
            }
        }
    }
}

/// Where flows go that were taken.
struct Exit<'a> {
    recorder: &'a Recorder,
    export: &'a mut Export,
    statistics: &'a mut Statistics,
    discards: bool,
}

impl Exit<'_> {
    /// Returns whether it is the other direction of the one before it, which of those thrown away is in `deleted`.
    fn take(&mut self, taken: &Taken, now: &Now, deleted: &mut Option<FlowRecord>) -> bool {
        if !self.discards {
            return self
                .recorder
                .hand_on(taken, now, self.export, self.statistics);
        }
        self.statistics.count_deleted(taken);
        let record = self.recorder.record(taken, now);
        let before = deleted.take().filter(|_| self.export.wants_pairs());
        let key_mask = self.recorder.key_mask;
        let is_other = before.is_some_and(|one| pair::are_partners(&one, &record, key_mask));
        *deleted = (!is_other).then_some(record);
        is_other
    }

    fn take_evicted(
        &mut self,
        evicted: &mut Evicted,
        states: &Mapping<Cpu>,
        most: u32,
        now: &Now,
    ) -> io::Result<bool> {
        let more = evicted.take(states, most, |slot, extra| {
            let flow = Taken::of(slot, Reason::Forced).with(*extra);
            if self.discards {
                self.statistics.count_deleted(&flow);
            } else {
                self.recorder
                    .hand_on(&flow, now, self.export, self.statistics);
            }
        })?;
        self.export.hand_over(now);
        Ok(more)
    }
}
