//! The rings of flows that the kernel program pushed out of a full table: one a CPU, with one
//! writer there and one reader here.
#![expect(unsafe_code, reason = "memory that the kernel writes")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "counts are taken modulo the ring"
)]

use std::{
    io,
    sync::atomic::{Ordering, fence},
};

use weir_sensor_common::{Extra, Slot, stage::Cpu};

use crate::{extras::Extras, grace, mapping::Mapping};

/// The rings of all CPUs.
pub struct Evicted {
    /// `mask + 1` entries a CPU.
    ring: Mapping<Slot>,
    /// Beside the entries.
    extras: Extras,
    /// How many were taken; one cache line a CPU.
    taken: Mapping<[u64; 8]>,
    cpus: u32,
    mask: u32,
}

impl Evicted {
    /// Rings over memory that is there: `cpus * (mask + 1)` entries.
    #[must_use]
    pub fn new(ring: Mapping<Slot>, taken: Mapping<[u64; 8]>, cpus: u32, mask: u32) -> Self {
        Self {
            ring,
            extras: Extras::default(),
            taken,
            cpus,
            mask,
        }
    }

    /// The same with an array beside the entries, of as many elements.
    #[must_use]
    pub fn with_extras(self, extras: Extras) -> Self {
        Self { extras, ..self }
    }

    /// Octets of memory in all.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.ring.octets() + self.extras.octets()
    }

    /// Takes up to `most` flows from each ring; returns whether any ring had more.
    ///
    /// The kernel writes an entry, what lies beside it, and then the count. x86 lets nobody see these
    /// in another order; elsewhere what was counted before a grace period was written.
    ///
    /// # Errors
    /// If a grace period cannot be waited for.
    pub fn take(
        &mut self,
        states: &Mapping<Cpu>,
        most: u32,
        mut emit: impl FnMut(&Slot, &Extra),
    ) -> io::Result<bool> {
        let evicted = self.counts(states);
        if !cfg!(target_arch = "x86_64") && self.any(&evicted) {
            grace::wait()?;
        }
        fence(Ordering::Acquire);
        let mut more = false;
        for (cpu, evicted) in evicted.into_iter().enumerate() {
            let count = self.taken.at(cpu).cast::<u64>();
            // SAFETY: a valid element that only this thread writes.
            let mut taken = unsafe { count.read_volatile() };
            let waiting = evicted.wrapping_sub(taken);
            more |= waiting > u64::from(most);
            for _ in 0..waiting.min(u64::from(most)) {
                let mask = self.mask as usize;
                let place = (mask + 1) * cpu + (taken as usize & mask);
                // SAFETY: a valid entry; the kernel leaves it alone until it is counted as taken.
                let slot = unsafe { self.ring.at(place).read_volatile() };
                emit(&slot, &self.extras.get(place));
                taken = taken.wrapping_add(1);
                fence(Ordering::Release);
                // SAFETY: as above; volatile because the kernel reads it.
                unsafe { count.write_volatile(taken) };
            }
        }
        Ok(more)
    }

    /// Looks at what waits, and takes nothing. Only once nobody writes the rings any more.
    pub fn look(&self, states: &Mapping<Cpu>, mut see: impl FnMut(&Slot)) {
        for (cpu, evicted) in self.counts(states).into_iter().enumerate() {
            // SAFETY: a valid element that only this thread writes.
            let taken = unsafe { self.taken.at(cpu).cast::<u64>().read_volatile() };
            let mask = self.mask as usize;
            let waiting = evicted.wrapping_sub(taken).min(u64::from(self.mask) + 1);
            for number in 0..waiting {
                let place = taken.wrapping_add(number) as usize & mask;
                // SAFETY: a valid entry.
                see(&unsafe { self.ring.at((mask + 1) * cpu + place).read_volatile() });
            }
        }
    }

    /// How many flows were ever put into each ring.
    fn counts(&self, states: &Mapping<Cpu>) -> Vec<u64> {
        (0..self.cpus as usize)
            .map(|cpu| {
                // SAFETY: a valid state.
                let evicted = unsafe { &raw const (*states.at(cpu)).evicted };
                // SAFETY: as above; the kernel writes it, hence volatile.
                unsafe { evicted.read_volatile() }
            })
            .collect()
    }

    fn any(&self, evicted: &[u64]) -> bool {
        evicted.iter().enumerate().any(|(cpu, evicted)| {
            // SAFETY: a valid element that only this thread writes.
            *evicted != unsafe { self.taken.at(cpu).cast::<u64>().read_volatile() }
        })
    }
}
