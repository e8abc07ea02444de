//! Interfaces that come, go or lose their program while the sensor meters, and what they are called.

use anyhow::Result;

use super::{LOOK_INTERVAL_NS, Live};
use crate::{clock::Now, sweep::Take};

impl Live {
    /// Notices interfaces that went, came or lost their program.
    pub(super) fn look_at_ports_if_due(&mut self) -> Result<()> {
        let now = Now::read();
        if now.monotonic_ns < self.looked_ns + LOOK_INTERVAL_NS {
            return Ok(());
        }
        self.looked_ns = now.monotonic_ns;
        if !self.gathers {
            return Ok(());
        }
        let news = self.ports.look(&mut self.kernel)?;
        for sentence in &news.sentences {
            eprintln!("weir-sensor: {sentence}");
        }
        if !news.over.is_empty() {
            self.look()?;
        }
        for number in &news.over {
            self.take(&self.now(), Take::Interface(*number))?;
        }
        if !news.over.is_empty() {
            // What was pushed out meanwhile is in the rings.
            self.take_evicted(u32::MAX)?;
        }
        let attached = self.ports.attach_missing(&mut self.kernel)?;
        for sentence in &attached {
            eprintln!("weir-sensor: {sentence}");
        }
        self.recorder.ifindexes = self.ports.ifindexes();
        if !news.sentences.is_empty() || !attached.is_empty() {
            self.name_interfaces();
        }
        Ok(())
    }

    /// Has collectors told what interfaces are called, by the numbers that records have.
    pub(super) fn name_interfaces(&self) {
        let ports = self.ports.reports().into_iter().enumerate();
        let names = ports.map(|(number, port)| {
            let given = self.recorder.ifindexes_given.get(number).copied();
            (given.flatten().unwrap_or(port.ifindex), port.name)
        });
        let known = names.filter(|(ifindex, _)| *ifindex != 0);
        self.export.name_interfaces(known.collect());
    }
}
