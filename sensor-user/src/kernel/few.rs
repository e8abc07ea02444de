//! Whether a CPU's live flows are so few that their slots are in its cache: then packets of known flows do not wait in
//! its queue (see `weir_sensor_common::stage`).
#![expect(unsafe_code, reason = "memory that the kernel reads")]

use weir_sensor_common::{Counter, stage::Cpu};

use crate::mapping::Mapping;

/// Until how many flows were opened on each CPU, which the program compares with what it counts by itself.
pub struct Few {
    until: Mapping<u64>,
    most: u64,
}

impl Few {
    /// In this memory, a word a CPU; few are fewer than `most`.
    pub fn new(until: Mapping<u64>, most: u64) -> Self {
        Self { until, most }
    }

    /// Tells the CPUs how many flows are live in their regions by now.
    pub fn tell(&self, states: &Mapping<Cpu>, live: &[u64]) {
        for (cpu, live) in live.iter().enumerate() {
            // SAFETY: a valid element.
            let counters = unsafe { &raw const (*states.at(cpu)).counters };
            // SAFETY: as above; the program writes it, hence volatile.
            let counters = unsafe { counters.read_volatile() };
            let opened = counters.values[Counter::FlowsCreated as usize];
            let until = match self.most.saturating_sub(*live) {
                0 => 0,
                room => opened.saturating_add(room),
            };
            // SAFETY: a valid element that only this thread writes; volatile since the program reads it.
            unsafe { self.until.at(cpu).write_volatile(until) };
        }
    }
}
