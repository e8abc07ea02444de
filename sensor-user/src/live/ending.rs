//! The sensor's end: programs come off, what is left is exported, and there is an account.

use anyhow::{Context as _, Error, Result};

use super::{EVICTED_TURN_MAX, Live, Outcome};
use crate::{clock::Now, grace, sweep::Take};

impl Live {
    /// Exports everything and ends, because of a failure or without one; the programs come off, unless they
    /// are pinned. What is pinned stays in the table if nobody would send it.
    #[must_use]
    pub fn stop(mut self, failure: Option<Error>) -> Outcome {
        self.service
            .notify
            .stopping("exporting what is in the table");
        self.ports.detach();
        self.export.begin_last();
        let taken = self.take_last();
        self.statistics
            .read_counters(&self.kernel.states, self.kernel.cpus);
        let left = self.leave();
        let now = Now::read();
        self.export.note_losses(&self.statistics, &now);
        (self.statistics.export, self.statistics.export_died) = self.export.finish(&now);
        // The first reason is the one that the others may come of.
        let failure = failure.or(taken.err()).or(left.err());
        (self.statistics, failure)
    }

    fn take_last(&mut self) -> Result<()> {
        grace::wait().context("waiting for a grace period")?;
        // Queues that could not be settled are taken as they are.
        let looked = self.look();
        if self.ports.are_pinned() && self.export.is_dead() {
            return looked;
        }
        self.take_everything().and(looked)
    }

    /// Accounts what pinned programs keep, and tells the next sensor.
    fn leave(&mut self) -> Result<()> {
        if !self.ports.are_pinned() {
            return Ok(());
        }
        self.statistics.leave();
        self.ports.tell(&self.statistics)?;
        if let Some(folder) = self.ports.pinned_in() {
            eprintln!(
                "weir-sensor: the programs go on metering; the next sensor takes over, or `weir-sensor --detach --pin {}` ends it",
                folder.display()
            );
        }
        Ok(())
    }

    fn take_everything(&mut self) -> Result<()> {
        // Pinned programs go on filling the rings: one turn has to do.
        while self.take_evicted(EVICTED_TURN_MAX)? && !self.ports.are_pinned() {}
        let now = self.now();
        self.take(&now, Take::Everything)?;
        if !self.ports.are_pinned() {
            self.take_pending(&now);
        }
        Ok(())
    }
}
