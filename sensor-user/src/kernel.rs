//! The kernel half, from here: load the programs with their options as constants, and map the
//! memory they share.

mod few;
mod interfaces;
#[cfg(test)]
mod layout;
mod loading;
mod memory;
mod options;
mod refused;

use std::{iter, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, ProgramArray, RingBuf},
    programs::{Program, ProgramError, Xdp},
};
use weir_sensor_common::{
    Fields,
    interface::INTERFACES_MAX,
    stage::{Cpu, STAGES_MAX},
    tunnel::Tunnels,
};

use crate::{
    clock::Ticks,
    evicted::Evicted,
    extras::Extras,
    mapping::Mapping,
    pin,
    prefilter::{PacketFilter, install::Hooks, translate::Hook},
    settle,
    table::Table,
};
use few::Few;
use memory::{Sizes, extras_of, map_table, of_map};
use refused::load_error;

pub use memory::cpus;
pub use options::ProgramOptions;
pub use refused::{program_error, root};

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
    /// Whether packets wait there at all.
    pub few: Few,
    /// Readable when a ring of those fills.
    pub bell: RingBuf<MapData>,
    /// CPUs that have a region and counters.
    pub cpus: u32,
    stages: u32,
    extra: Fields,
    tunnels: Tunnels,
    drop: bool,
    /// Whether frames of the only interface begin with an IP header.
    raw: bool,
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

    /// Loads what sees received frames; nothing is attached yet.
    ///
    /// # Errors
    /// A sentence that says what to do: no permission, kernel too old, not enough memory.
    pub fn load(options: &ProgramOptions) -> Result<Self> {
        Self::load_with(options, |_| {})
    }

    /// As [`Kernel::load`], but these first steps ([`Kernel::INGRESS`] and so on), each with those that follow it.
    ///
    /// # Errors
    /// As there.
    pub fn load_first(options: &ProgramOptions, firsts: &[&str]) -> Result<Self> {
        Self::load_object(object(), true, options, firsts, |_| {})
    }

    /// As [`Kernel::load`], with more settings for the loader: benches load more programs.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        options: &ProgramOptions,
        settings: impl FnOnce(&mut EbpfLoader<'_>),
    ) -> Result<Self> {
        Self::load_object(object(), true, options, &[Self::INGRESS], settings)
    }

    /// As [`Kernel::load_with`], but the object whose options are compiled out: those that are off
    /// are compared with it.
    ///
    /// # Errors
    /// As there, and without the feature `bare`.
    pub fn load_bare(
        options: &ProgramOptions,
        settings: impl FnOnce(&mut EbpfLoader<'_>),
    ) -> Result<Self> {
        let object = BARE.context("this was built without the feature `bare`")?;
        Self::load_object(object, false, options, &[Self::INGRESS], settings)
    }

    fn load_object(
        object: &'static [u8],
        has_options: bool,
        options: &ProgramOptions,
        firsts: &[&str],
        settings: impl FnOnce(&mut EbpfLoader<'_>),
    ) -> Result<Self> {
        let sizes = Sizes::new(options)?;
        let ring_mask = options.ring_flows - 1;
        let switches = options.switches().0;
        let mut loader = EbpfLoader::new();
        loader
            .override_global("BUCKET_MASK", &options.shape.bucket_mask, true)
            .override_global("KEY_MASK", &options.shape.key_mask, true)
            .override_global("SEED", bytemuck::bytes_of(&options.shape.seed), true)
            .override_global("RING_MASK", &ring_mask, true)
            .override_global("STAGES", &options.stages, true)
            .override_global("SWITCHES", &switches, has_options)
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
        let few = Few::new(of_map(&ebpf, "FEW_UNTIL", cpus)?, options.few_flows);
        // Nothing is live yet.
        few.tell(&states, &vec![0; cpus as usize]);
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
            few,
            bell,
            cpus,
            stages: options.stages,
            extra: options.extra,
            tunnels: options.tunnels,
            drop: options.drop,
            raw: options.raw,
            filters: options.filter,
            filter: None,
        };
        let settle = kernel.ebpf.program_mut(Self::SETTLE);
        let settle = settle
            .ok_or(ProgramError::NotLoaded)
            .and_then(loading::load);
        // The others are loaded when they are attached: not everyone needs them.
        settle
            .and_then(|()| kernel.load_firsts(firsts))
            .map_err(|error| program_error(&error, kernel.not_loaded(firsts).as_deref()))?;
        Ok(kernel)
    }

    /// The first of the programs up to these first steps that is not loaded: the one that was refused.
    fn not_loaded(&self, firsts: &[&str]) -> Option<String> {
        let steps = firsts.iter().flat_map(|first| self.following(first));
        let mut names = iter::once(Self::SETTLE.to_owned())
            .chain(steps.map(|(_, step)| step))
            .chain(firsts.iter().map(|first| (*first).to_owned()));
        names.find(|name| !self.is_loaded(name))
    }

    fn is_loaded(&self, name: &str) -> bool {
        let program = self.ebpf.program(name);
        program.is_some_and(|program| program.fd().is_ok())
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
        if !self.is_loaded(name) {
            self.load_firsts(&[name])?;
        }
        self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)
    }

    /// Loads first steps, each after those that follow it.
    fn load_firsts(&mut self, firsts: &[&str]) -> Result<(), ProgramError> {
        let following: Vec<_> = firsts.iter().map(|first| self.following(first)).collect();
        let follows = |name: &str| following.iter().flatten().any(|(_, step)| step == name);
        let programs = self.ebpf.programs_mut();
        let steps = programs.filter(|(name, _)| follows(name));
        loading::side_by_side(steps.map(|(_, step)| step).collect())?;
        for (first, steps) in firsts.iter().zip(following) {
            let map = match *first {
                Self::INGRESS => "XDP_STEPS",
                Self::EGRESS => "EGRESS_STEPS",
                _ => "TC_INGRESS_STEPS",
            };
            for (index, name) in steps {
                let program = self.ebpf.program(&name).ok_or(ProgramError::NotLoaded)?;
                let program = program.fd()?.try_clone()?;
                let map = self.ebpf.map_mut(map).ok_or(ProgramError::NotLoaded)?;
                ProgramArray::try_from(map)?.set(index, &program, 0)?;
            }
            let first = self.ebpf.program_mut(first);
            loading::load(first.ok_or(ProgramError::NotLoaded)?)?;
        }
        Ok(())
    }

    /// The programs that follow a first step: their indices among its hook's steps, their names.
    fn following(&self, first: &str) -> Vec<(u32, String)> {
        // Some only where there is something for them to do.
        let steps = [
            ("walk", true),
            ("queue", true),
            ("fetch", self.stages > 1),
            ("account", true),
            ("enter", self.tunnels != Tunnels::NONE),
            ("extra", self.extra != Fields::NONE),
            ("wanted", self.filters),
        ];
        let wanted = (0..).zip(steps).filter(|(_, (_, wanted))| *wanted);
        wanted
            .map(|(index, (step, _))| (index, format!("{first}_{step}")))
            .collect()
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

    /// Has each CPU account the packets of its queue; returns the timer's ticks.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn settle(&mut self) -> Result<Ticks> {
        let program = self.ebpf.program(Self::SETTLE).context("not loaded")?;
        settle::settle(program.try_into()?, &self.states, self.cpus)
    }

    /// Everything that was loaded, for benches.
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

/// The object that `build.rs` made, aligned as the ELF reader wants it. Benches load other programs of it.
#[must_use]
pub fn object() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-meter"))
}

/// The one whose options are compiled out.
#[cfg(feature = "bare")]
const BARE: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/weir-meter-bare"
)));
#[cfg(not(feature = "bare"))]
const BARE: Option<&[u8]> = None;
