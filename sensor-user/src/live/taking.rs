//! Flows out of the table, the rings and the queues, and on to the export; those of dead sensors' tables, too.

use anyhow::{Context as _, Result};
use weir_netflow::FlowRecord;

use super::Live;
use crate::{
    adopt::adopt,
    clock::{Now, Ticks},
    expiry::Reason,
    grace, pair,
    pin::Dead,
    settle,
    sweep::{Take, Taken},
};

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
        let kernel = &mut self.kernel;
        let timer = Ticks::of_timer(|| kernel.settle())?;
        let (export, statistics) = (&mut self.export, &mut self.statistics);
        adopt(dead, timer, &self.recorder, export, statistics)
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
    /// are one.
    pub(super) fn take(&mut self, now: &Now, take: Take<'_>) -> Result<u64> {
        let Self {
            kernel,
            sweep,
            recorder,
            export,
            statistics,
            fullest,
            discards,
            service,
            ..
        } = self;
        let closed = sweep.close(&kernel.table, now, take);
        *fullest = sweep.fullest();
        if service.debug && closed > 0 {
            eprintln!("weir-sensor: taking {closed} slots; the fullest CPU keeps {fullest}");
        }
        let mut flows = 0;
        if closed > 0 {
            grace::wait().context("waiting for a grace period")?;
            let mut deleted: Option<FlowRecord> = None;
            sweep.collect(&mut kernel.table, |taken| {
                let is_other_direction = if *discards {
                    statistics.count_deleted(&taken);
                    let record = recorder.record(&taken, now);
                    let before = deleted.take().filter(|_| export.wants_pairs());
                    let key_mask = recorder.key_mask;
                    let is_other =
                        before.is_some_and(|one| pair::are_partners(&one, &record, key_mask));
                    deleted = (!is_other).then_some(record);
                    is_other
                } else {
                    recorder.hand_on(&taken, now, export, statistics)
                };
                flows += u64::from(!is_other_direction);
            });
        }
        export.hand_over(now);
        Ok(flows)
    }

    /// Takes what the rings hold, up to `most` from each; returns whether there is more. After `exit` it is thrown
    /// away like the table.
    pub(super) fn take_evicted(&mut self, most: u32) -> Result<bool> {
        while self.kernel.bell.next().is_some() {}
        let now = self.now();
        let Self {
            kernel,
            recorder,
            export,
            statistics,
            discards,
            ..
        } = self;
        let more = kernel.evicted.take(&kernel.states, most, |slot, extra| {
            let flow = Taken::of(slot, Reason::Forced).with(*extra);
            if *discards {
                statistics.count_deleted(&flow);
            } else {
                recorder.hand_on(&flow, &now, export, statistics);
            }
        })?;
        export.hand_over(&now);
        Ok(more)
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
