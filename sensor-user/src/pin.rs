//! `--pin DIR`: programs and tables that outlive the process that loaded them, in a BPF file system.
//!
//! `DIR/table-N/` holds a table's maps and who it is; `DIR/link-IF-HOOK` an attachment. A sensor that
//! starts loads its own programs and a new table, and puts its programs into the links that are
//! there, in one step each: from then on, and after a grace period, nobody writes the old table. What
//! is in it is exported and the old maps are removed. So the old table may have any size, hash seed
//! and key; only the layout of its slots must be this one's.

use std::{
    cell::RefCell,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    maps::{Array, Map, MapData, MapError},
    programs::links::{FdLink, PinnedLink},
};
use hashbrown::HashMap;
use weir_netflow::Sampling;
use weir_sensor_common::{
    Fields, KeyMask,
    counters::COUNTERS_MAX,
    hash::Seed,
    stage::{Cpu, STAGES_MAX},
    table::{Shape, WAYS},
};

use crate::{
    attach::AttachMode,
    clock::{self, Now, Ticks},
    evicted::Evicted,
    expiry::Reason,
    extras::Extras,
    filter, interface,
    kernel::{Kernel, ProgramOptions},
    link,
    mapping::Mapping,
    settle,
    statistics::{Statistics, Untold},
    sweep::{Identity, Taken},
    table::Table,
};

/// Number of the layout of slots, tags, queues, rings and identity. Changes whenever one of them
/// does.
const LAYOUT: u64 = 7;
const IDENTITY: &str = "IDENTITY";
/// Before the ifIndexes: layout, CPUs, bucket mask, key mask, ring mask, whether ticks are the exact
/// clock's, sampling interval, fields read beside the key, whether sampling is random.
const IDENTITY_HEAD: u32 = 9;
const IFINDEXES_MAX: u32 = 128;
/// After the ifIndexes: sysUptime's zero; then what the sensor's account told at its end, if it came
/// to that: packets and octets left in the table, and the counters.
const BOOTED: u32 = IDENTITY_HEAD + IFINDEXES_MAX;
const TOLD: u32 = BOOTED + 1;
const TOLD_COUNTERS: u32 = TOLD + 2;
const IDENTITY_LEN: u32 = TOLD_COUNTERS + COUNTERS_MAX;

/// What is pinned of a table: its maps, and those of the programs' steps, which the kernel would
/// empty when the last process lets go of them.
pub const MAPS: [&str; 12] = [
    "SLOTS",
    "TAGS",
    "RELEASED",
    "CPUS",
    "EVICTED",
    "TAKEN",
    "EXTRAS",
    "EXTRA_STAGE",
    "EVICTED_EXTRA",
    "XDP_STEPS",
    "EGRESS_STEPS",
    "TC_INGRESS_STEPS",
];

/// A folder of pins, and the table in it that is ours.
pub struct Pins {
    folder: PathBuf,
    table: PathBuf,
    identity: Array<MapData, u64>,
    /// Attachments that feed the table.
    links: RefCell<Vec<PathBuf>>,
    /// ifIndexes of the interfaces that dead sensors metered.
    dead_ifindexes: Vec<u32>,
    /// Held as long as the value lives: one sensor a folder.
    _lock: File,
}

impl Pins {
    /// Pins the maps of a table that is loaded and not attached yet; returns the tables that dead
    /// sensors left, too.
    ///
    /// # Errors
    /// A sentence: the folder is not in a BPF file system, or another sensor's layout is there.
    pub fn new(
        folder: &Path,
        kernel: &Kernel,
        options: &ProgramOptions,
    ) -> Result<(Self, Vec<Dead>)> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = lock(folder)?;
        let mut numbers = tables(folder)?;
        numbers.sort_unstable();
        let dead = Dead::open_all(folder, &numbers)?;
        let next = numbers.last().map_or(0, |last| last + 1);
        let table = folder.join(format!("table-{next}"));
        let not_bpf = || {
            format!(
                "cannot pin in {}: it must be in a BPF file system, as /sys/fs/bpf/weir is (`mount -t bpf bpf /sys/fs/bpf`)",
                folder.display()
            )
        };
        fs::create_dir_all(&table).with_context(not_bpf)?;
        kernel.pin(&table).with_context(not_bpf)?;
        let identity: Array<MapData, u64> = Array::create(IDENTITY_LEN, 0)?;
        identity.pin(table.join(IDENTITY))?;
        let mut identity = open_identity(&table)?;
        let head = [
            LAYOUT,
            u64::from(kernel.cpus),
            u64::from(options.shape.bucket_mask),
            options.shape.key_mask,
            u64::from(options.ring_flows - 1),
            u64::from(options.exact_clock),
            u64::from(options.sampling),
            u64::from(options.extra.0),
            u64::from(options.sampling_random),
        ];
        for (index, value) in (0..).zip(head) {
            identity.set(index, value, 0)?;
        }
        let mut pins = Self {
            folder: folder.to_owned(),
            table,
            identity,
            links: RefCell::default(),
            dead_ifindexes: dead.iter().flat_map(Dead::ifindexes).collect(),
            _lock: lock,
        };
        pins.note_boot()?;
        Ok((pins, dead))
    }

    /// Notes sysUptime's zero: the next sensor's is to be another.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn note_boot(&mut self) -> Result<()> {
        let booted_ns = clock::booted_ns().cast_unsigned();
        Ok(self.identity.set(BOOTED, booted_ns, 0)?)
    }

    /// Notes which interfaces the table's observation points are.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_ifindexes(&mut self, ifindexes: &[u32]) -> Result<()> {
        for (number, ifindex) in (IDENTITY_HEAD..IDENTITY_HEAD + IFINDEXES_MAX).zip(ifindexes) {
            self.identity.set(number, u64::from(*ifindex), 0)?;
        }
        Ok(())
    }

    /// Notes what the account of this sensor has of the table's counters, which go on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tell(&mut self, statistics: &Statistics) -> Result<()> {
        let (packets, octets) = statistics.left.unwrap_or_default();
        for (index, left) in (TOLD..).zip([packets, octets]) {
            let left = i64::try_from(left)?.cast_unsigned();
            self.identity.set(index, left, 0)?;
        }
        for (index, counter) in (TOLD_COUNTERS..).zip(statistics.counters) {
            self.identity.set(index, counter, 0)?;
        }
        Ok(())
    }

    /// Where all of it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where an attachment is pinned: by number, since names change.
    #[must_use]
    pub fn link(&self, ifindex: u32, hook: &str) -> PathBuf {
        self.folder.join(format!("link-{ifindex}-{hook}"))
    }

    /// Notes that an attachment feeds this table.
    pub fn uses(&self, link: &Path) {
        self.links.borrow_mut().push(link.to_owned());
    }

    /// Removes the attachments that feed another table: nobody would read it.
    pub fn remove_others(&self) {
        let ours = self.links.borrow();
        for path in links(&self.folder) {
            if !ours.contains(&path) {
                let _ = link::detach(&path);
                let _ = fs::remove_file(path);
            }
        }
        // On interfaces that are metered again it was done when they were attached to.
        let _ = remove_filters(self.dead_ifindexes.iter().copied());
    }

    /// ifIndexes of the interfaces where a dead sensor's programs meter what is received, as long as
    /// nobody exchanges them or takes them off.
    #[must_use]
    pub fn received_by_dead(&self) -> Vec<u32> {
        let is_pinned = |ifindex: u32| {
            let mut modes = AttachMode::ALL.iter();
            modes.any(|mode| self.link(ifindex, mode.hook()).exists())
        };
        let ifindexes = self.dead_ifindexes.iter().copied();
        ifindexes
            .filter(|ifindex| is_pinned(*ifindex) || filter::receives(*ifindex))
            .collect()
    }

    /// Whether an attachment feeds this table.
    #[must_use]
    pub fn are_fed(&self) -> bool {
        !self.links.borrow().is_empty()
    }

    /// Removes the table, which nothing feeds: the sensor cannot start.
    pub fn remove_table(&self) {
        remove_table(&self.table);
    }
}

/// An attachment that is pinned here, if there is one.
#[must_use]
pub fn adopt(path: &Path) -> Option<FdLink> {
    PinnedLink::from_pin(path).ok().map(FdLink::from)
}

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

impl Dead {
    /// Opens the tables of these numbers. One that was being made or removed when its sensor died
    /// has nothing in it, and goes.
    fn open_all(folder: &Path, numbers: &[u64]) -> Result<Vec<Self>> {
        let mut dead = Vec::new();
        for number in numbers {
            let path = folder.join(format!("table-{number}"));
            let identified = open_identity(&path)
                .is_ok_and(|identity| identity.get(&0, 0).is_ok_and(|layout| layout != 0));
            if identified {
                dead.push(Self::open(&path)?);
            } else {
                remove_table(&path);
            }
        }
        Ok(dead)
    }

    fn open(path: &Path) -> Result<Self> {
        let map = |name: &str| {
            MapData::from_pin(path.join(name))
                .with_context(|| format!("cannot open {}", path.join(name).display()))
        };
        let identity = open_identity(path)?;
        let number = |index: u32| -> Result<u64> { Ok(identity.get(&index, 0)?) };
        if number(0)? != LAYOUT {
            bail!(
                "{} holds a table of another version of weir-sensor: `weir-sensor --detach --pin` of that version exports and removes it; or remove the folder, and lose what is in it",
                path.display()
            );
        }
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
                mapped(&map("RELEASED")?, buckets.div_ceil(8) * 8)?,
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
    fn ifindexes(&self) -> impl Iterator<Item = u32> {
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
    /// here.
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
        // One flow on several CPUs is one record.
        let mut flows: HashMap<Identity, Taken> = HashMap::new();
        let mut merge = |flow: Taken| match flows.entry(flow.identity(origin.key_mask)) {
            hashbrown::hash_map::Entry::Occupied(mut entry) => entry.get_mut().add(&flow),
            hashbrown::hash_map::Entry::Vacant(entry) => {
                entry.insert(flow);
            }
        };
        for place in table.all_occupied() {
            let flow = Taken::of(&table.copy(place), Reason::Flushed);
            merge(flow.with(table.extra(place)));
        }
        for cpu in 0..*cpus as usize {
            settle::pending_flows(states, staged, cpu).for_each(&mut merge);
        }
        for flow in flows.into_values() {
            emit(flow, origin);
        }
        remove_table(&self.path);
        Ok(())
    }
}

/// What dead sensors left in a folder, which goes with it.
pub struct Left {
    /// Their tables, by age.
    pub tables: Vec<Dead>,
    folder: PathBuf,
    _lock: File,
}

impl Left {
    /// Opens what is in a folder; its programs go on.
    ///
    /// # Errors
    /// A sentence: nothing is there, it is in use, or it cannot be opened.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut numbers = tables(folder)
            .with_context(|| format!("nothing of a sensor's is in {}", folder.display()))?;
        numbers.sort_unstable();
        let lock = lock(folder)?;
        Ok(Self {
            tables: Dead::open_all(folder, &numbers)?,
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// How the packets of their flows were chosen; if there are several tables, of the newest one's.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.tables.last().map_or(Sampling::NONE, Dead::sampling)
    }

    /// Takes the programs off, and waits until they have ended: nobody feeds the tables any more. Returns
    /// how many attachments there were.
    ///
    /// # Errors
    /// A sentence.
    pub fn take_off(&self) -> Result<usize> {
        let links = links(&self.folder);
        for path in &links {
            link::detach(path)
                .with_context(|| format!("cannot take off what {} holds", path.display()))?;
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let filters = remove_filters(self.tables.iter().flat_map(Dead::ifindexes))?;
        crate::grace::wait()?;
        Ok(links.len() + filters)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // It fails while something is in it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Takes tc filters of dead sensors off interfaces, those that are still there; how many.
fn remove_filters(ifindexes: impl Iterator<Item = u32>) -> Result<usize> {
    ifindexes
        .filter_map(interface::name)
        .map(|name| filter::remove_dead(&name))
        .sum()
}

fn lock(folder: &Path) -> Result<File> {
    let file = File::open(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another weir-sensor uses {}: end it first",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn open_identity(table: &Path) -> Result<Array<MapData, u64>> {
    let path = table.join(IDENTITY);
    let map =
        MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Map::Array(map).try_into()?)
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
    use std::os::fd::AsFd as _;
    Mapping::of_map(map.fd().as_fd(), len as usize).context("mapping a pinned table into memory")
}

/// Numbers of the tables in a folder.
fn tables(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("table-"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

fn links(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("link-"))
        .map(|entry| entry.path())
        .collect()
}

/// Its identity goes first: a table without one holds nothing.
fn remove_table(table: &Path) {
    for name in [IDENTITY].iter().chain(&MAPS) {
        let _ = fs::remove_file(table.join(name));
    }
    let _ = fs::remove_dir(table);
}
