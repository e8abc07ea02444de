//! The kernel half, from here: load the programs with their options as constants, and map the
//! memory they share.

use std::{io, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, ProgramArray, RingBuf},
    programs::{Program, ProgramError, Xdp},
    util::KernelVersion,
};
use weir_sensor_common::{
    Fields, KeyMask,
    interface::{INTERFACES_MAX, Interface},
    stage::{Cpu, STAGES_MAX},
    table::{Shape, WAYS},
    tunnel::Tunnels,
};

use crate::{
    evicted::Evicted,
    extras::Extras,
    mapping::Mapping,
    pin,
    prefilter::{PacketFilter, install::Hooks, translate::Hook},
    settle,
    table::Table,
};

/// What is fixed before the programs are loaded.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option by itself")]
pub struct ProgramOptions {
    /// The table's shape: buckets a CPU, hash seed, key mask.
    pub shape: Shape,
    /// Packets of a CPU's queue, see `weir_sensor_common::stage`.
    pub stages: u32,
    /// Entries of each CPU's ring of evicted flows, a power of two.
    pub ring_flows: u32,
    /// Whether there may be several interfaces.
    pub several: bool,
    /// Whether the frames of the one interface have no Ethernet header.
    pub raw: bool,
    /// Whether received frames end here.
    pub drop: bool,
    /// Whether there is a filter, which [`Kernel::set_filter`] then sets.
    pub filter: bool,
    /// First fragments remembered; 0: later ones have no ports.
    pub fragments: u32,
    /// Which tunnels are entered.
    pub tunnels: Tunnels,
    /// What is read of a packet beside its key; what the key needs must be among it.
    pub extra: Fields,
    /// One packet in so many is metered.
    pub sampling: u32,
    /// Whether it is drawn at random.
    pub sampling_random: bool,
    /// Read the exact clock for each packet.
    pub exact_clock: bool,
    /// Write the program's debug log.
    pub debug_log: bool,
}

impl ProgramOptions {
    /// The least for a table of this shape: one interface with Ethernet headers, every packet.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            stages: stages(&shape),
            ring_flows: 1 << 15,
            several: false,
            raw: false,
            drop: false,
            filter: false,
            fragments: 0,
            tunnels: Tunnels::NONE,
            extra: Fields::of_key(KeyMask(shape.key_mask)),
            sampling: 1,
            sampling_random: false,
            exact_clock: false,
            debug_log: false,
        }
    }
}

/// The loaded programs and the memory they share.
pub struct Kernel {
    ebpf: Ebpf,
    /// The flow table of all CPUs.
    pub table: Table,
    /// Counters and queues of the CPUs.
    pub states: Mapping<Cpu>,
    /// Flows pushed out of the table.
    pub evicted: Evicted,
    /// What lies beside the CPUs' queues.
    pub staged: Extras,
    /// Readable when a ring of those fills.
    pub bell: RingBuf<MapData>,
    /// CPUs that have a region and counters.
    pub cpus: u32,
    extra: Fields,
    tunnels: Tunnels,
    drop: bool,
    filters: bool,
    filter: Option<PacketFilter>,
}

impl Kernel {
    /// Names of the programs in the object: for received frames,
    pub const INGRESS: &str = "weir_ingress";
    /// for packets sent,
    pub const EGRESS: &str = "weir_egress";
    /// for received packets where tc sees them,
    pub const TC_INGRESS: &str = "weir_tc_ingress";
    const SETTLE: &str = "weir_settle";

    /// Loads the programs; nothing is attached yet.
    ///
    /// # Errors
    /// A sentence that says what to do: no permission, kernel too old, not enough memory.
    pub fn load(options: &ProgramOptions) -> Result<Self> {
        Self::load_with(options, |_| {})
    }

    /// As [`Kernel::load`], with more settings for the loader: benches load more programs.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        options: &ProgramOptions,
        settings: impl FnOnce(&mut EbpfLoader<'_>),
    ) -> Result<Self> {
        Self::load_object(program(), true, options, settings)
    }

    /// As [`Kernel::load_with`], but the object whose options are compiled out: those that are off
    /// are compared with it.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "bare")]
    pub fn load_bare(
        options: &ProgramOptions,
        settings: impl FnOnce(&mut EbpfLoader<'_>),
    ) -> Result<Self> {
        Self::load_object(bare_program(), false, options, settings)
    }

    fn load_object(
        object: &'static [u8],
        has_options: bool,
        options: &ProgramOptions,
        settings: impl FnOnce(&mut EbpfLoader<'_>),
    ) -> Result<Self> {
        let sizes = Sizes::new(options)?;
        let ring_mask = options.ring_flows - 1;
        let mut loader = EbpfLoader::new();
        for (name, flag) in flags(options) {
            loader.override_global(name, flag, has_options);
        }
        loader
            .override_global("BUCKET_MASK", &options.shape.bucket_mask, true)
            .override_global("KEY_MASK", &options.shape.key_mask, true)
            .override_global("SEED", bytemuck::bytes_of(&options.shape.seed), true)
            .override_global("RING_MASK", &ring_mask, true)
            .override_global("STAGES", &options.stages, true)
            .override_global("TUNNELS", &options.tunnels.0, has_options)
            .override_global("EXTRA", &options.extra.0, has_options)
            .override_global("SAMPLING", &options.sampling, has_options)
            .map_max_entries("FRAGMENTS", options.fragments.max(1));
        for (name, len) in sizes.maps() {
            loader.map_max_entries(name, len);
        }
        if options.several {
            loader.map_max_entries("INTERFACES", INTERFACES_MAX);
        }
        if !options.debug_log {
            loader.map_max_entries("AYA_LOGS", 4096);
        }
        settings(&mut loader);
        let mut ebpf = loader.load(object).map_err(load_error)?;
        let cpus = sizes.cpus;
        let extras = |name, len| extras_of(&ebpf, options.extra, name, len);
        let table = map_table(&ebpf, cpus, options.shape, options.extra)?;
        let states = of_map(&ebpf, "CPUS", cpus)?;
        let staged = extras("EXTRA_STAGE", cpus * STAGES_MAX)?;
        let evicted = Evicted::new(
            of_map(&ebpf, "EVICTED", sizes.evicted)?,
            of_map(&ebpf, "TAKEN", cpus)?,
            cpus,
            ring_mask,
        )
        .with_extras(extras("EVICTED_EXTRA", sizes.evicted)?);
        let bell = RingBuf::try_from(ebpf.take_map("BELL").context("map BELL")?)?;
        let mut kernel = Self {
            ebpf,
            table,
            states,
            evicted,
            staged,
            bell,
            cpus,
            extra: options.extra,
            tunnels: options.tunnels,
            drop: options.drop,
            filters: options.filter,
            filter: None,
        };
        // The others are loaded when they are attached: not everyone needs them.
        kernel.program(Self::SETTLE).map_err(program_error)?;
        kernel.program(Self::INGRESS).map_err(program_error)?;
        Ok(kernel)
    }

    /// The table once more, for another thread to look at: the same memory, mapped a second time.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn second_table(&self) -> Result<Table> {
        map_table(&self.ebpf, self.cpus, self.table.shape(), self.extra)
    }

    /// One of the first steps, loaded with those that follow it (see the programs' `main.rs`).
    ///
    /// # Errors
    /// If the kernel refuses one.
    pub fn program(&mut self, name: &str) -> Result<&mut Program, ProgramError> {
        let loaded = self
            .ebpf
            .program(name)
            .is_some_and(|program| program.fd().is_ok());
        if !loaded && name != Self::SETTLE {
            self.load_steps(name)?;
        }
        self.load_program(name)?;
        self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)
    }

    fn load_steps(&mut self, first: &str) -> Result<(), ProgramError> {
        let map = match first {
            Self::INGRESS => "XDP_STEPS",
            Self::EGRESS => "EGRESS_STEPS",
            _ => "TC_INGRESS_STEPS",
        };
        // The last three only where there is something for them to do.
        let steps = [
            ("walk", true),
            ("queue", true),
            ("fetch", true),
            ("account", true),
            ("enter", self.tunnels != Tunnels::NONE),
            ("extra", self.extra != Fields::NONE),
            ("wanted", self.filters),
        ];
        let wanted = (0..).zip(steps).filter(|(_, (_, wanted))| *wanted);
        for (index, (step, _)) in wanted {
            let name = format!("{first}_{step}");
            self.load_program(&name)?;
            let program = self.ebpf.program(&name).ok_or(ProgramError::NotLoaded)?;
            let program = program.fd()?.try_clone()?;
            let map = self.ebpf.map_mut(map).ok_or(ProgramError::NotLoaded)?;
            ProgramArray::try_from(map)?.set(index, &program, 0)?;
        }
        Ok(())
    }

    fn load_program(&mut self, name: &str) -> Result<(), ProgramError> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or(ProgramError::NotLoaded)?;
        if program.fd().is_ok() {
            return Ok(());
        }
        match program {
            Program::Xdp(program) => program.load()?,
            Program::SchedClassifier(program) => program.load()?,
            _ => return Err(ProgramError::UnexpectedProgramType),
        }
        Ok(())
    }

    /// Sets which packets are metered: the programs that were made of an expression become steps of
    /// all hooks, in place of those that are there. Before anything is attached, if there are none.
    ///
    /// # Errors
    /// If the kernel refuses one, or the expression is too long for it.
    pub fn set_filter(&mut self, filter: PacketFilter) -> Result<()> {
        for (map, hook) in [
            ("XDP_STEPS", Hook::Xdp),
            ("TC_INGRESS_STEPS", Hook::TcReceived),
            ("EGRESS_STEPS", Hook::TcSent),
        ] {
            let map = self.ebpf.map(map);
            let Some((Map::ProgramArray(steps), Map::Array(cpus))) = map.zip(self.ebpf.map("CPUS"))
            else {
                bail!("the maps of the steps are missing from the program");
            };
            let hooks = Hooks {
                steps: steps.fd().as_fd(),
                cpus: cpus.fd().as_fd(),
                drop: self.drop,
            };
            for raw in [false, true] {
                if let Ok(program) = filter.program(raw) {
                    hooks.set_filter(hook, raw, program)?;
                }
            }
        }
        self.filter = Some(filter);
        Ok(())
    }

    /// Why packets of an interface with Ethernet headers, or without (`raw`), cannot be filtered.
    #[must_use]
    pub fn filter_refusal(&self, raw: bool) -> Option<&str> {
        self.filter.as_ref()?.program(raw).err()
    }

    /// The program for received frames, for test runs.
    ///
    /// # Errors
    /// Never once loaded.
    pub fn ingress(&mut self) -> Result<&mut Xdp, ProgramError> {
        self.program(Self::INGRESS)?.try_into()
    }

    /// Pins what a later process needs to go on with this table.
    ///
    /// # Errors
    /// If the folder is in no BPF file system.
    pub fn pin(&self, folder: &Path) -> Result<()> {
        for name in pin::MAPS {
            let map = self.ebpf.map(name).with_context(|| format!("map {name}"))?;
            map.pin(folder.join(name))?;
        }
        Ok(())
    }

    /// Tells the programs of an interface. Before anything is attached to it.
    ///
    /// # Errors
    /// If there is another with the same place in the table.
    pub fn set_interface(&mut self, interface: Interface) -> Result<()> {
        let map = self.ebpf.map_mut("INTERFACES").context("map INTERFACES")?;
        let mut map: Array<_, u64> = map.try_into()?;
        if map.len() == 1 {
            return Ok(());
        }
        let place = interface.ifindex % INTERFACES_MAX;
        let there: Interface = bytemuck::cast(map.get(&place, 0)?);
        if there.ifindex != 0 && there.ifindex != interface.ifindex {
            bail!(
                "interfaces {} and {} cannot be metered by one sensor: start two",
                there.ifindex,
                interface.ifindex
            );
        }
        map.set(place, bytemuck::cast::<Interface, u64>(interface), 0)?;
        Ok(())
    }

    /// The same for an interface that has none of our programs, where its place is free.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_interface_if_free(&mut self, interface: Interface) -> Result<()> {
        let map = self.ebpf.map("INTERFACES").context("map INTERFACES")?;
        let map: Array<_, u64> = map.try_into()?;
        let place = interface.ifindex % INTERFACES_MAX;
        if map.len() > 1 && map.get(&place, 0)? == 0 {
            self.set_interface(interface)?;
        }
        Ok(())
    }

    /// Has the programs forget an interface, if they know it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget_interface(&mut self, ifindex: u32) -> Result<()> {
        let map = self.ebpf.map_mut("INTERFACES").context("map INTERFACES")?;
        let mut map: Array<_, u64> = map.try_into()?;
        if map.len() == 1 {
            return Ok(());
        }
        let place = ifindex % INTERFACES_MAX;
        let there: Interface = bytemuck::cast(map.get(&place, 0)?);
        if there.ifindex == ifindex {
            map.set(place, 0u64, 0)?;
        }
        Ok(())
    }

    /// Has each CPU account the packets of its queue; returns the program's tick.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn settle(&mut self) -> Result<u32> {
        let program = self.ebpf.program(Self::SETTLE).context("not loaded")?;
        settle::settle(program.try_into()?, &self.states, self.cpus)
    }

    /// Everything that was loaded, for benches.
    #[cfg(feature = "baseline")]
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The program's debug log, to be flushed regularly.
    ///
    /// # Errors
    /// If the program has none.
    pub fn debug_log(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>> {
        Ok(aya_log::EbpfLogger::init(&mut self.ebpf)?)
    }
}

/// Elements of the shared arrays.
#[derive(Clone, Copy)]
struct Sizes {
    cpus: u32,
    /// Of the table, of all CPUs.
    buckets: u32,
    /// Entries of the rings, of all CPUs.
    evicted: u32,
    /// Whether there are side arrays.
    extras: bool,
}

impl Sizes {
    fn new(options: &ProgramOptions) -> Result<Self> {
        let cpus = cpus()?;
        Ok(Self {
            cpus,
            buckets: cpus
                .checked_mul(options.shape.bucket_mask + 1)
                .filter(|buckets| buckets.checked_mul(WAYS).is_some())
                .ok_or_else(|| anyhow!("the flow table is too large for {cpus} CPUs: lower -m"))?,
            evicted: cpus
                .checked_mul(options.ring_flows)
                .ok_or_else(|| anyhow!("the ring is too large for {cpus} CPUs: lower --ring"))?,
            extras: options.extra != Fields::NONE,
        })
    }

    fn maps(&self) -> [(&'static str, u32); 10] {
        let side = |len: u32| if self.extras { len } else { 1 };
        [
            ("SLOTS", self.buckets * WAYS),
            ("TAGS", self.buckets),
            ("RELEASED", self.buckets.div_ceil(8)),
            ("CPUS", self.cpus),
            ("FOUND", self.cpus),
            ("EVICTED", self.evicted),
            ("TAKEN", self.cpus),
            ("EXTRAS", side(self.buckets * WAYS)),
            ("EXTRA_STAGE", side(self.cpus * STAGES_MAX)),
            ("EVICTED_EXTRA", side(self.evicted)),
        ]
    }
}

/// The options that are on or off, as the program's constants.
fn flags(options: &ProgramOptions) -> [(&'static str, &'static u8); 8] {
    let flag = |on: bool| if on { &1 } else { &0 };
    [
        ("EXACT_CLOCK", flag(options.exact_clock)),
        ("DEBUG_LOG", flag(options.debug_log)),
        ("SEVERAL", flag(options.several)),
        ("RAW", flag(options.raw)),
        ("DROP", flag(options.drop)),
        ("FILTER", flag(options.filter)),
        ("JOIN_FRAGMENTS", flag(options.fragments > 0)),
        ("SAMPLING_RANDOM", flag(options.sampling_random)),
    ]
}

/// Length of the CPUs' queues for a table of this shape: one packet while a region fits a cache,
/// see `weir_sensor_common::stage`, and before Linux 6.3, where a test run does not keep a packet's
/// run from coming in between, so that a queue could not be settled.
#[must_use]
pub fn stages(shape: &Shape) -> u32 {
    const CACHED_SLOTS_MAX: u32 = 1 << 13;
    let settles =
        KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 3, 0));
    if settles && (shape.bucket_mask + 1) * WAYS > CACHED_SLOTS_MAX {
        STAGES_MAX
    } else {
        1
    }
}

/// CPUs that may run the program, counted by the highest number one may have.
///
/// # Errors
/// If the kernel does not say.
pub fn cpus() -> Result<u32> {
    const FILE: &str = "/sys/devices/system/cpu/possible";
    let list = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let numbers = list
        .trim()
        .split([',', '-'])
        .filter_map(|number| number.parse::<u32>().ok());
    let highest = numbers
        .max()
        .with_context(|| format!("{FILE} says {list:?}"))?;
    Ok(highest + 1)
}

/// The object that `build.rs` made, for benches that load other programs of it.
#[cfg(feature = "generator")]
#[must_use]
pub fn object() -> &'static [u8] {
    program()
}

/// The object that `build.rs` made, aligned as the ELF reader wants it.
fn program() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-meter"))
}

/// The one whose options are compiled out.
#[cfg(feature = "bare")]
fn bare_program() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-meter-bare"))
}

/// The table's memory, as many buckets as were made for this many CPUs, and what lies beside it.
fn map_table(ebpf: &Ebpf, cpus: u32, shape: Shape, extra: Fields) -> Result<Table> {
    let buckets = cpus * (shape.bucket_mask + 1);
    let table = Table::new(
        of_map(ebpf, "SLOTS", buckets * WAYS)?,
        of_map(ebpf, "TAGS", buckets)?,
        of_map(ebpf, "RELEASED", buckets.div_ceil(8) * 8)?,
        cpus,
        shape,
    );
    Ok(table.with_extras(extras_of(ebpf, extra, "EXTRAS", buckets * WAYS)?))
}

fn of_map<T>(ebpf: &Ebpf, name: &str, len: u32) -> Result<Mapping<T>> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        bail!("map {name} is missing from the program");
    };
    Mapping::of_map(map.fd().as_fd(), len as usize)
        .with_context(|| format!("mapping {name} into memory"))
}

fn extras_of(ebpf: &Ebpf, fields: Fields, name: &str, len: u32) -> Result<Extras> {
    if fields == Fields::NONE {
        return Ok(Extras::default());
    }
    Ok(Extras::new(of_map(ebpf, name, len)?))
}

fn load_error(error: aya::EbpfError) -> anyhow::Error {
    match root(&error).raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => no_permission(),
        Some(libc::ENOMEM) => anyhow!("not enough memory for the flow table: lower -m"),
        _ => anyhow::Error::new(error)
            .context("loading the kernel program (Linux 5.18 or newer is needed)"),
    }
}

fn program_error(error: ProgramError) -> anyhow::Error {
    match root(&error).raw_os_error() {
        Some(libc::EPERM) => no_permission(),
        _ => anyhow::Error::new(error)
            .context("the kernel refuses the program (Linux 5.18 or newer is needed)"),
    }
}

fn no_permission() -> anyhow::Error {
    anyhow!(
        "no permission to load the kernel program: run as root, or with CAP_BPF and CAP_NET_ADMIN"
    )
}

/// The operating system's error behind an error, if there is one.
pub fn root(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<io::Error>() {
            return found.raw_os_error().map_or_else(
                || io::Error::other(found.to_string()),
                io::Error::from_raw_os_error,
            );
        }
        next = current.source();
    }
    io::Error::other(error.to_string())
}
