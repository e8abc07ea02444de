//! The packets that wait in the CPUs' queues (see `weir_sensor_common::stage`): each CPU is made to
//! account its own before a sweep; what is left when the program is off is taken here.
#![expect(
    unsafe_code,
    reason = "system calls, and memory that the kernel writes"
)]

use std::{fs, io};

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use weir_sensor_common::{
    slot::Sighting,
    stage::{Cpu, STAGES_MAX},
};

use crate::{clock::Ticks, expiry::Reason, extras::Extras, mapping::Mapping, sweep::Taken};

/// Runs the settling program once on each CPU whose queue is not empty, and at least once. Test
/// runs have bottom halves off like the program's own runs (Linux 6.3; before it queues are one
/// packet long and always empty): a CPU does one or the other. Returns the timer's ticks, read when that is done: on
/// busy CPUs it may take longer than a tick.
///
/// # Errors
/// If the kernel refuses the run. A CPU that this process may use no more (see [`reaches_all_cpus`]) keeps its packets:
/// they are accounted when enough others have come.
pub fn settle(program: &Xdp, states: &Mapping<Cpu>, cpus: u32) -> Result<Ticks> {
    let waiting: Vec<usize> = (0..cpus as usize)
        .filter(|cpu| !pending(states, *cpu).is_empty())
        .collect();
    if waiting.is_empty() {
        return Ticks::of_timer(|| run(program));
    }
    let before = affinity().context("asking which CPUs this process may use")?;
    for cpu in waiting {
        if CpuSet::of(cpu).is_some_and(|one| set_affinity(&one).is_ok()) {
            run(program)?;
        }
    }
    set_affinity(&before).context("going back to the CPUs this process may use")?;
    Ticks::of_timer(|| run(program))
}

/// Whether this process may run on each CPU that is online: a cpuset may leave some out, and queues there cannot be settled.
///
/// # Errors
/// If the system does not say which CPUs there are.
pub fn reaches_all_cpus() -> Result<bool> {
    const FILE: &str = "/sys/devices/system/cpu/online";
    let online = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let before = affinity().context("asking which CPUs this process may use")?;
    let reaches = |cpu| CpuSet::of(cpu).is_some_and(|one| set_affinity(&one).is_ok());
    let all = listed(online.trim()).all(reaches);
    set_affinity(&before).context("going back to the CPUs this process may use")?;
    Ok(all)
}

/// The CPUs of a list as the kernel writes it: `0-3,8`.
fn listed(list: &str) -> impl Iterator<Item = usize> {
    list.split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first = first.parse().unwrap_or(usize::MAX);
        first..last.parse::<usize>().map_or(0, |last| last + 1)
    })
}

/// The packets in a CPU's queue. Only when nothing runs on it any more are they certain.
#[must_use]
pub fn pending(states: &Mapping<Cpu>, cpu: usize) -> Vec<Sighting> {
    // SAFETY: a valid element.
    let stage = unsafe { &raw const (*states.at(cpu)).stage };
    // SAFETY: as above; the kernel writes it, hence volatile.
    let stage = unsafe { stage.read_volatile() };
    let waiting = stage.waiting.min(STAGES_MAX) as usize;
    stage.sightings[..waiting].to_vec()
}

/// The same, each a flow of one packet, with what lies beside it in `staged`.
pub fn pending_flows<'a>(
    states: &Mapping<Cpu>,
    staged: &'a Extras,
    cpu: usize,
) -> impl Iterator<Item = Taken> + use<'a> {
    let first = cpu * STAGES_MAX as usize;
    let packets = (first..).zip(pending(states, cpu));
    packets.map(move |(place, sighting)| {
        Taken::of_packet(&sighting, Reason::Flushed).with(staged.get(place))
    })
}

fn run(program: &Xdp) -> Result<u32> {
    let result = program.test_run(TestRunOptions {
        data_in: Some(&[0; 64]),
        ..TestRunOptions::new()
    });
    Ok(result.context("running the settling program")?.return_value)
}

/// A set of CPUs. libc's has 1,024, and the kernel fills none that is smaller than its own, which is built
/// for 8,192 at most.
#[derive(Debug, PartialEq, Eq)]
struct CpuSet([libc::c_ulong; 8192 / libc::c_ulong::BITS as usize]);

impl CpuSet {
    const EMPTY: Self = Self([0; 8192 / libc::c_ulong::BITS as usize]);

    /// One CPU; `None` if there is no place for it.
    fn of(cpu: usize) -> Option<Self> {
        let mut set = Self::EMPTY;
        let bits = libc::c_ulong::BITS as usize;
        *set.0.get_mut(cpu / bits)? |= 1 << (cpu % bits);
        Some(set)
    }
}

fn affinity() -> io::Result<CpuSet> {
    let mut set = CpuSet::EMPTY;
    let words = (&raw mut set.0).cast();
    // SAFETY: the pointer is valid for the size given, and all that the kernel may write there is a set.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), words) };
    if result == 0 {
        Ok(set)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_affinity(set: &CpuSet) -> io::Result<()> {
    let words = (&raw const set.0).cast();
    // SAFETY: the pointer is valid for the size given, of which the kernel reads no more than its own sets have.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(set), words) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_each_cpu_that_a_kernel_may_have() {
        for cpu in [0, 63, 64, 1023, 1024, 8191] {
            let set = CpuSet::of(cpu).unwrap();
            let ones: u32 = set.0.iter().map(|word| word.count_ones()).sum();
            assert_eq!((ones, set.0[cpu / 64] >> (cpu % 64)), (1, 1), "{cpu}");
        }
        assert_eq!(CpuSet::of(8192), None);
    }

    #[test]
    fn a_list_is_of_ranges_and_of_single_cpus() {
        assert_eq!(listed("0-2,5,8-9").collect::<Vec<_>>(), [0, 1, 2, 5, 8, 9]);
        assert_eq!(listed("0").collect::<Vec<_>>(), [0]);
        assert_eq!(listed("").count() + listed("x-3").count(), 0);
    }

    #[test]
    fn the_kernel_takes_one_cpu_and_what_it_told_before() {
        let before = affinity().unwrap();
        let has = |cpu: &usize| (before.0[cpu / 64] >> (cpu % 64)) & 1 == 1;
        let first = (0..8192).find(has).unwrap();
        let one = CpuSet::of(first).unwrap();
        set_affinity(&one).unwrap();
        assert_eq!(affinity().unwrap(), one);
        set_affinity(&before).unwrap();
        assert_eq!(affinity().unwrap(), before);
    }
}
