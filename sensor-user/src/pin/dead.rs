//! A table that a sensor left: opened by what its identity says, and taken whole.

use std::{
    hash::BuildHasher as _,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, MapData, MapError};
use hashbrown::{DefaultHashBuilder, HashMap};
use weir_netflow::Sampling;
use weir_sensor_common::{
    Fields, KeyMask,
    hash::Seed,
    stage::{Cpu, STAGES_MAX},
    table::{Shape, WAYS},
};

use super::{
    BOOTED, IDENTITY, IDENTITY_HEAD, IFINDEXES_MAX, LAYOUT, TOLD, TOLD_COUNTERS,
    folder::{open_identity, remove_table},
};
use crate::{
    clock::{Now, Ticks},
    evicted::Evicted,
    expiry::Reason,
    extras::Extras,
    mapping::Mapping,
    settle,
    statistics::{Statistics, Untold},
    sweep::{Identity, Taken},
    table::{Place, Table},
};

/// Flows of a table that are merged at a time, some 32 MiB of them; in passes whose number is bounded, too, since each
/// looks at all that is left.
const PASS_FLOWS: usize = 1 << 17;
const PASSES_MAX: usize = 16;

/// A table that a sensor left.
pub struct Dead {
    path: PathBuf,
    table: Table,
    states: Mapping<Cpu>,
    evicted: Evicted,
    staged: Extras,
    cpus: u32,
    booted_ns: i64,
    /// What its sensor's account had of its counters.
    told: Untold,
    origin: Origin,
}

/// What a flow of a dead sensor's table means.
#[derive(Clone, Debug)]
pub struct Origin {
    /// ifIndex by number of its interfaces.
    pub ifindexes: Vec<u32>,
    /// Whether its ticks are the exact clock's.
    pub exact_clock: bool,
    /// Which attributes told its flows apart.
    pub key_mask: KeyMask,
    /// How its packets were chosen.
    pub sampling: Sampling,
}

impl Origin {
    /// This instant, for its slots; `timer` are the timer's ticks.
    #[must_use]
    pub fn at(&self, now: Now, timer: Ticks) -> Now {
        now.with_ticks(if self.exact_clock {
            Ticks::default()
        } else {
            timer
        })
    }
}

/// Tables of other versions of weir-sensor, laid out in another way: of their identity no more is read
/// than that.
pub(super) struct Foreign(Vec<PathBuf>);

impl Foreign {
    /// Whether there are any.
    pub(super) fn are_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Removes them from the folder, and says what is lost by that; whether there were any. Only once their
    /// programs are off or were exchanged: the steps of these go with the table.
    pub(super) fn remove(&self, folder: &Path) -> bool {
        for table in &self.0 {
            eprintln!(
                "weir-sensor: {} was another version's, which lays tables out in another way: the flows that were in it are not exported; to keep them, end the old version before an upgrade, and have its `weir-sensor --detach --pin {}` export them",
                table.display(),
                folder.display()
            );
            remove_table(table);
        }
        !self.0.is_empty()
    }
}

impl Dead {
    /// Opens the tables of these numbers, and finds those of other versions. One that was being made or
    /// removed when its sensor died has nothing in it, and goes.
    pub(super) fn open_all(folder: &Path, numbers: &[u64]) -> Result<(Vec<Self>, Foreign)> {
        let (mut dead, mut foreign) = (Vec::new(), Vec::new());
        for number in numbers {
            let path = folder.join(format!("table-{number}"));
            // One that is there and cannot be opened may be full.
            let layout = if path.join(IDENTITY).try_exists()? {
                open_identity(&path)?.get(&0, 0)?
            } else {
                0
            };
            match layout {
                0 => remove_table(&path),
                LAYOUT => dead.push(Self::open(&path)?),
                _ => foreign.push(path),
            }
        }
        Ok((dead, Foreign(foreign)))
    }

    fn open(path: &Path) -> Result<Self> {
        let map = |name: &str| {
            MapData::from_pin(path.join(name))
                .with_context(|| format!("cannot open {}", path.join(name).display()))
        };
        let identity = open_identity(path)?;
        let number = |index: u32| -> Result<u64> { Ok(identity.get(&index, 0)?) };
        let narrow = |index: u32| -> Result<u32> { Ok(u32::try_from(number(index)?)?) };
        let (cpus, bucket_mask, ring_mask) = (narrow(1)?, narrow(2)?, narrow(4)?);
        let key_mask = number(3)?;
        let fields = Fields(u8::try_from(number(7)?)?);
        let extras = |name: &str, len: u32| -> Result<Extras> {
            if fields == Fields::NONE {
                return Ok(Extras::default());
            }
            Ok(Extras::new(mapped(&map(name)?, len)?))
        };
        let buckets = cpus
            .checked_mul(bucket_mask.wrapping_add(1))
            .and_then(|buckets| buckets.checked_mul(WAYS).map(|_| buckets))
            .ok_or_else(|| anyhow!("{} contradicts itself", path.display()))?;
        let shape = Shape {
            bucket_mask,
            // Nothing is looked up in it.
            seed: Seed::new([0; 5]),
            key_mask,
        };
        Ok(Self {
            path: path.to_owned(),
            table: Table::new(
                mapped(&map("SLOTS")?, buckets * WAYS)?,
                mapped(&map("TAGS")?, buckets)?,
                mapped(&map("RELEASED")?, buckets)?,
                cpus,
                shape,
            )
            .with_extras(extras("EXTRAS", buckets * WAYS)?),
            states: mapped(&map("CPUS")?, cpus)?,
            evicted: Evicted::new(
                mapped(&map("EVICTED")?, cpus * (ring_mask + 1))?,
                mapped(&map("TAKEN")?, cpus)?,
                cpus,
                ring_mask,
            )
            .with_extras(extras("EVICTED_EXTRA", cpus * (ring_mask + 1))?),
            staged: extras("EXTRA_STAGE", cpus * STAGES_MAX)?,
            cpus,
            booted_ns: number(BOOTED)?.cast_signed(),
            told: told(&identity)?,
            origin: Origin {
                ifindexes: (IDENTITY_HEAD..IDENTITY_HEAD + IFINDEXES_MAX)
                    .map(narrow)
                    .collect::<Result<_>>()?,
                exact_clock: number(5)? != 0,
                key_mask: KeyMask(key_mask),
                sampling: Sampling {
                    interval: narrow(6)?,
                    random: number(8)? != 0,
                },
            },
        })
    }

    /// The interfaces it has flows of.
    pub fn ifindexes(&self) -> impl Iterator<Item = u32> {
        self.origin
            .ifindexes
            .iter()
            .copied()
            .filter(|ifindex| *ifindex != 0)
    }

    /// How the packets of its flows were chosen.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.origin.sampling
    }

    /// sysUptime's zero in what its sensor sent.
    #[must_use]
    pub fn booted_ns(&self) -> i64 {
        self.booted_ns
    }

    /// When the oldest flow in it began, on the monotonic clock. Only once no program writes it any
    /// more; `timer` are the timer's ticks.
    #[must_use]
    pub fn began_ns(&self, now: Now, timer: Ticks) -> Option<u64> {
        let now = self.origin.at(now, timer);
        let mut oldest_ns: Option<u64> = None;
        let mut see = |tick: u32| {
            let began_ns = now.monotonic_ns_of(now.unix_ns_of(tick));
            oldest_ns = Some(oldest_ns.map_or(began_ns, |oldest_ns| oldest_ns.min(began_ns)));
        };
        self.evicted.look(&self.states, |slot| see(slot.first_tick));
        for place in self.table.all_occupied() {
            see(self.table.copy(place).first_tick);
        }
        for cpu in 0..self.cpus as usize {
            for sighting in settle::pending(&self.states, cpu) {
                see(sighting.tick);
            }
        }
        oldest_ns
    }

    /// What its programs counted since its sensor's account; all of it, if there was none. What was
    /// counted while no sensor ran is here and nowhere else.
    #[must_use]
    pub fn untold(&self) -> Untold {
        let mut statistics = Statistics::default();
        statistics.read_counters(&self.states, self.cpus);
        let mut untold = self.told;
        for (told, counter) in untold.counters.iter_mut().zip(statistics.counters) {
            *told = counter.wrapping_sub(*told);
        }
        untold
    }

    /// Takes everything that is in it, and removes it. Only once no program writes it any more.
    ///
    /// A slot counts as taken when its way was given back: what a dead sweep had closed is still
    /// here. It is given back a pass at a time: who is killed here leaves the rest to the next, and memory is that of a
    /// pass, however large the table is.
    ///
    /// # Errors
    /// If a grace period cannot be waited for.
    pub fn drain(mut self, mut emit: impl FnMut(Taken, &Origin)) -> io::Result<()> {
        let Self {
            table,
            states,
            evicted,
            staged,
            origin,
            cpus,
            ..
        } = &mut self;
        evicted.take(states, u32::MAX, |slot, extra| {
            emit(Taken::of(slot, Reason::Forced).with(*extra), origin);
        })?;
        let passes = table.all_occupied().count().div_ceil(PASS_FLOWS);
        let passes = passes.clamp(1, PASSES_MAX) as u64;
        let hasher = DefaultHashBuilder::default();
        for pass in 0..passes {
            // One flow on several CPUs is one record.
            let mut flows: HashMap<Identity, Taken> = HashMap::new();
            let mut merge = |flow: Taken| {
                let identity = flow.identity(origin.key_mask);
                // Not the bits that the map goes by.
                let is_its_turn = (hasher.hash_one(identity) >> 32) % passes == pass;
                if is_its_turn {
                    flows
                        .entry(identity)
                        .and_modify(|whole| whole.add(&flow))
                        .or_insert(flow);
                }
                is_its_turn
            };
            let mut taken: Vec<Place> = Vec::new();
            for place in table.all_occupied() {
                let flow = Taken::of(&table.copy(place), Reason::Flushed);
                if merge(flow.with(table.extra(place))) {
                    taken.push(place);
                }
            }
            for cpu in 0..*cpus as usize {
                settle::pending_flows(states, staged, cpu).for_each(|flow| {
                    merge(flow);
                });
            }
            for flow in flows.into_values() {
                emit(flow, origin);
            }
            for place in taken {
                table.release(place);
            }
        }
        remove_table(&self.path);
        Ok(())
    }
}

fn told(identity: &Array<MapData, u64>) -> Result<Untold> {
    let mut told = Untold::default();
    let left = |index| Ok::<_, MapError>(identity.get(&index, 0)?.cast_signed());
    told.left = (left(TOLD)?, left(TOLD + 1)?);
    for (index, counter) in (TOLD_COUNTERS..).zip(&mut told.counters) {
        *counter = identity.get(&index, 0)?;
    }
    Ok(told)
}

fn mapped<T>(map: &MapData, len: u32) -> Result<Mapping<T>> {
    Mapping::of_map(map.fd().as_fd(), len as usize).context("mapping a pinned table into memory")
}
