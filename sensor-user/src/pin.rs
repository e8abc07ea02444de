//! `--pin DIR`: programs and tables that outlive the process that loaded them, in a BPF file system.
//!
//! `DIR/table-N/` holds a table's maps and who it is; `DIR/link-IF-HOOK` an attachment; `DIR/promiscuous-IF`
//! says that promiscuous mode is to go with them. A sensor that starts loads its own programs and a new table,
//! and puts its programs into the links that are there, in one step each: from then on, and after a grace
//! period, nobody writes the old table. What is in it is exported and the old maps are removed. So the old table
//! may have any size, hash seed and key. Only if another version laid it out in another way it is removed
//! unread, and that is said: metering goes on.

mod dead;
mod folder;
mod left;

use std::{
    cell::RefCell,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, MapData},
    programs::links::{FdLink, PinnedLink},
};
use weir_sensor_common::{counters::COUNTERS_MAX, stage::Cpu};

use crate::{
    attach::AttachMode,
    clock, filter, interface,
    kernel::{Kernel, ProgramOptions},
    link,
    statistics::Statistics,
};
use dead::Foreign;
use folder::{
    check, end_promiscuous, link_path, links, links_of, lock, open_identity, promiscuous,
    promiscuous_mark, remove_filters, remove_table, tables,
};

pub use dead::{Dead, Origin};
pub use left::Left;

/// Number of the layout of slots, tags, queues, rings and identity. Changes whenever one of them
/// does.
const LAYOUT: u64 = 9;
/// Whoever changes what this finds raises that number, too: a table is read by it alone.
const _: () = assert!(size_of::<Cpu>() == 3008 && IDENTITY_LEN == 164);
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
    /// Attachments that feed the table, and marks of interfaces in promiscuous mode.
    links: RefCell<Vec<PathBuf>>,
    /// ifIndexes of the interfaces that dead sensors metered.
    dead_ifindexes: Vec<u32>,
    /// Tables that cannot be read.
    foreign: Foreign,
    /// Held as long as the value lives: one sensor a folder.
    _lock: File,
}

impl Pins {
    /// Pins the maps of a table that is loaded and not attached yet; returns the tables that dead
    /// sensors left, too.
    ///
    /// # Errors
    /// A sentence: the folder is not in a BPF file system, or another sensor uses it.
    pub fn new(
        folder: &Path,
        kernel: &Kernel,
        options: &ProgramOptions,
    ) -> Result<(Self, Vec<Dead>)> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        check(folder).context("cannot pin there")?;
        let lock = lock(folder)?;
        let mut numbers = tables(folder)?;
        numbers.sort_unstable();
        let (dead, foreign) = Dead::open_all(folder, &numbers)?;
        let next = numbers.last().map_or(0, |last| last + 1);
        let table = folder.join(format!("table-{next}"));
        let cannot = || format!("cannot pin in {}", folder.display());
        fs::create_dir_all(&table).with_context(cannot)?;
        kernel.pin(&table).with_context(cannot)?;
        let identity: Array<MapData, u64> = Array::create(IDENTITY_LEN, 0)?;
        identity.pin(table.join(IDENTITY))?;
        let identity = open_identity(&table)?;
        let head = [
            u64::from(kernel.cpus),
            u64::from(options.shape.bucket_mask),
            options.shape.key_mask,
            u64::from(options.ring_flows - 1),
            u64::from(options.exact_clock),
            u64::from(options.sampling),
            u64::from(options.extra.0),
            u64::from(options.sampling_random),
        ];
        let mut pins = Self {
            folder: folder.to_owned(),
            table,
            identity,
            links: RefCell::default(),
            dead_ifindexes: dead.iter().flat_map(Dead::ifindexes).collect(),
            foreign,
            _lock: lock,
        };
        pins.note_boot()?;
        for (index, value) in (1..).zip(head) {
            pins.identity.set(index, value, 0)?;
        }
        // Last: a table whose layout is known is taken over, and must say all that this takes.
        pins.identity.set(0, LAYOUT, 0)?;
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
        link_path(&self.folder, ifindex, hook)
    }

    /// Notes that an attachment feeds this table.
    pub fn uses(&self, link: &Path) {
        self.links.borrow_mut().push(link.to_owned());
    }

    /// Has an interface stay in promiscuous mode as long as programs are pinned on it, whoever runs. One that an
    /// administrator has put there is left alone.
    pub fn keep_promiscuous(&self, ifindex: u32, name: &str) {
        let mark = promiscuous_mark(&self.folder, ifindex);
        if !mark.exists() {
            // What cannot be marked would not be taken back.
            let is_given = interface::is_promiscuous(name).unwrap_or(true);
            if is_given || fs::create_dir(&mark).is_err() {
                return;
            }
        }
        self.uses(&mark);
        if let Err(error) = interface::set_promiscuous(ifindex, true) {
            eprintln!("weir-sensor: promiscuous mode of {name} ends with this process: {error}");
        }
    }

    /// Removes the attachments that feed another table: nobody would read it. Then the tables go that nobody
    /// can read.
    pub fn remove_others(&self) {
        let ours = self.links.borrow();
        for path in links(&self.folder) {
            if !ours.contains(&path) {
                let _ = link::detach(&path);
                let _ = fs::remove_file(path);
            }
        }
        for mark in promiscuous(&self.folder) {
            if !ours.contains(&mark) {
                end_promiscuous(&mark);
            }
        }
        // On interfaces that are metered again it was done when they were attached to.
        let _ = remove_filters(self.dead_ifindexes.iter().copied());
        self.foreign.remove(&self.folder);
    }

    /// Takes the programs off an interface that are pinned, and has promiscuous mode end with them.
    pub fn let_go(&self, ifindex: u32) {
        for path in links_of(&self.folder, ifindex) {
            self.take_off(&path);
        }
        let mark = promiscuous_mark(&self.folder, ifindex);
        if mark.exists() {
            end_promiscuous(&mark);
            self.links.borrow_mut().retain(|used| *used != mark);
        }
    }

    /// Takes all programs off that feed the table, and removes that: the sensor cannot start, and there was none before
    /// it.
    pub fn take_back(&self) {
        for path in links(&self.folder) {
            self.take_off(&path);
        }
        for mark in promiscuous(&self.folder) {
            end_promiscuous(&mark);
        }
        self.links.borrow_mut().clear();
        self.remove_table();
    }

    fn take_off(&self, link: &Path) {
        let _ = link::detach(link);
        let _ = fs::remove_file(link);
        self.links.borrow_mut().retain(|used| used != link);
    }

    /// Whether there are tables of dead sensors, which are taken over.
    #[must_use]
    pub fn had_predecessors(&self) -> bool {
        !self.dead_ifindexes.is_empty() || self.foreign.are_any()
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
