//! The packets that wait in the CPUs' queues (see `weir_sensor_common::stage`): each CPU is made to
//! account its own before a sweep; what is left when the program is off is taken here.
#![expect(
    unsafe_code,
    reason = "system calls, and memory that the kernel writes"
)]

use std::{io, mem};

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use weir_sensor_common::{
    slot::Sighting,
    stage::{Cpu, STAGES_MAX},
};

use crate::{expiry::Reason, extras::Extras, mapping::Mapping, sweep::Taken};

/// Runs the settling program once on each CPU whose queue is not empty, and at least once. Test
/// runs have bottom halves off like the program's own runs (Linux 6.3; before it queues are one
/// packet long and always empty): a CPU does one or the other. Returns the timer's tick.
///
/// # Errors
/// If the kernel refuses the run. A CPU this process may not use keeps its packets: they are
/// accounted when its next ones come.
pub fn settle(program: &Xdp, states: &Mapping<Cpu>, cpus: u32) -> Result<u32> {
    let waiting: Vec<usize> = (0..cpus as usize)
        .filter(|cpu| !pending(states, *cpu).is_empty())
        .collect();
    if waiting.is_empty() {
        return run(program);
    }
    let before = affinity().context("asking which CPUs this process may use")?;
    for cpu in waiting {
        // SAFETY: an all-zero set is a valid one.
        let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
        // SAFETY: the set is valid; a CPU beyond its size is left out by the macro's bounds.
        unsafe { libc::CPU_SET(cpu % libc::CPU_SETSIZE as usize, &mut one) };
        if set_affinity(&one).is_ok() {
            run(program)?;
        }
    }
    set_affinity(&before).context("going back to the CPUs this process may use")?;
    run(program)
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

fn affinity() -> io::Result<libc::cpu_set_t> {
    // SAFETY: an all-zero set is a valid one.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid for the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result == 0 {
        Ok(set)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the pointer is valid for the size given.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(set), set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
