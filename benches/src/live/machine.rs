//! Processor time of the whole machine: softirqs and kernel threads belong to no process.

use std::fs;

use anyhow::{Context as _, Result};
use weir_sensor::clock::Now;

/// Length of `/proc/stat`'s ticks: `USER_HZ` is 100 wherever Weir runs.
const TICK_NS: u64 = 10_000_000;

/// How long the CPUs were not busy with anything, up to an instant.
///
/// The kernel samples the busy columns once a timer tick, and a generator that sleeps a millisecond
/// at a time stays in step with the timer: it would be seen always or never. Idle time is measured
/// (`NO_HZ`), so busy is what remains of the clock without idle, waiting for disks, and stolen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineTime {
    at_ns: u64,
    cpus: u64,
    idle_ns: u64,
}

impl MachineTime {
    /// Up to now.
    ///
    /// # Errors
    /// If `/proc/stat` is not there or not as documented.
    pub fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&stat, Now::read().monotonic_ns).context("/proc/stat has no line of all CPUs")
    }

    fn parse(stat: &str, at_ns: u64) -> Option<Self> {
        const IDLE: usize = 3;
        const IO_WAIT: usize = 4;
        const STEAL: usize = 7;
        let all = stat.lines().next()?.strip_prefix("cpu ")?;
        let columns: Vec<u64> = all.split_whitespace().flat_map(str::parse::<u64>).collect();
        let idle_ticks: Option<u64> = [IDLE, IO_WAIT, STEAL]
            .iter()
            .map(|column| columns.get(*column))
            .sum();
        let cpus = stat
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("cpu"));
        Some(Self {
            at_ns,
            cpus: cpus.count() as u64,
            idle_ns: idle_ticks? * TICK_NS,
        })
    }

    /// Busy time of all CPUs from here to a later instant.
    #[must_use]
    pub fn busy_ns_until(&self, later: &Self) -> u64 {
        let clock_ns = later.at_ns.saturating_sub(self.at_ns) * self.cpus;
        clock_ns.saturating_sub(later.idle_ns.saturating_sub(self.idle_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_not_idle_waiting_or_stolen() {
        let stat = |idle: u64| {
            format!("cpu  100 0 50 {idle} 9 0 3 8 0 0\ncpu0 50 0 25 1\ncpu1 50 0 25 1\nintr 1 2\n")
        };
        let before = MachineTime::parse(&stat(1000), 5_000_000_000).unwrap();
        assert_eq!(before.cpus, 2);
        assert_eq!(before.idle_ns, (1000 + 9 + 8) * TICK_NS);
        // Two seconds on two CPUs, 2.5 of the four idle.
        let after = MachineTime::parse(&stat(1250), 7_000_000_000).unwrap();
        assert_eq!(before.busy_ns_until(&after), 1_500_000_000);
        // Ticks are coarse: never below zero.
        assert_eq!(after.busy_ns_until(&after), 0);
        let all_idle = MachineTime::parse(&stat(1650), 8_000_000_000).unwrap();
        assert_eq!(after.busy_ns_until(&all_idle), 0);
    }

    #[test]
    fn a_file_cut_short_is_refused() {
        for stat in ["", "cpu  1 2 3", "intr 0"] {
            assert_eq!(MachineTime::parse(stat, 0), None);
        }
    }
}
