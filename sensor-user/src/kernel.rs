//! The kernel half, from here: load the program with its options as constants, attach it, and
//! map the memory it shares.

use std::{fmt, io, os::fd::AsFd as _};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, RingBuf},
    programs::{ProgramError, Xdp, XdpMode, xdp::XdpLinkId},
};
use weir_sensor_common::{
    stage::{Cpu, STAGES_MAX},
    table::{Shape, WAYS},
};

use crate::{evicted::Evicted, mapping::Mapping, settle, table::Table};

/// What is fixed before the program is loaded.
#[derive(Clone, Copy, Debug)]
pub struct ProgramOptions {
    /// The table's shape: buckets a CPU, hash seed, key mask.
    pub shape: Shape,
    /// Packets of a CPU's queue, see `weir_sensor_common::stage`.
    pub stages: u32,
    /// Observation point of this interface, see `Slot::hook`.
    pub hook: u8,
    /// Read the exact clock for each packet.
    pub exact_clock: bool,
    /// Write the program's debug log.
    pub debug_log: bool,
    /// Entries of each CPU's ring of evicted flows, a power of two.
    pub ring_flows: u32,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the network stack, after an skb was made.
    Generic,
}

impl fmt::Display for AttachMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// A loaded program and the memory it shares. Dropping it detaches the program.
pub struct Kernel {
    ebpf: Ebpf,
    link: Option<XdpLinkId>,
    /// The flow table of all CPUs.
    pub table: Table,
    /// Counters and queues of the CPUs.
    pub states: Mapping<Cpu>,
    /// Flows pushed out of the table.
    pub evicted: Evicted,
    /// Readable when a ring of those fills.
    pub bell: RingBuf<MapData>,
    /// CPUs that have a region and counters.
    pub cpus: u32,
}

impl Kernel {
    /// Names of the programs in the object.
    const PROGRAM: &str = "weir_ingress";
    const SETTLE: &str = "weir_settle";

    /// Loads the program; nothing is attached yet.
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
        let cpus = cpus()?;
        let buckets = cpus
            .checked_mul(options.shape.bucket_mask + 1)
            .filter(|buckets| buckets.checked_mul(WAYS).is_some())
            .ok_or_else(|| anyhow!("the flow table is too large for {cpus} CPUs: lower -m"))?;
        let evicted = cpus
            .checked_mul(options.ring_flows)
            .ok_or_else(|| anyhow!("the ring is too large for {cpus} CPUs: lower --ring"))?;
        let ring_mask = options.ring_flows - 1;
        let flag = |on: bool| u8::from(on);
        let (exact_clock, debug_log) = (flag(options.exact_clock), flag(options.debug_log));
        let mut loader = EbpfLoader::new();
        loader
            .override_global("BUCKET_MASK", &options.shape.bucket_mask, true)
            .override_global("KEY_MASK", &options.shape.key_mask, true)
            .override_global("SEED", bytemuck::bytes_of(&options.shape.seed), true)
            .override_global("RING_MASK", &ring_mask, true)
            .override_global("STAGES", &options.stages, true)
            .override_global("HOOK", &options.hook, true)
            .override_global("EXACT_CLOCK", &exact_clock, true)
            .override_global("DEBUG_LOG", &debug_log, true)
            .map_max_entries("SLOTS", buckets * WAYS)
            .map_max_entries("TAGS", buckets)
            .map_max_entries("RELEASED", buckets.div_ceil(8))
            .map_max_entries("CPUS", cpus)
            .map_max_entries("EVICTED", evicted)
            .map_max_entries("TAKEN", cpus);
        if !options.debug_log {
            loader.map_max_entries("AYA_LOGS", 4096);
        }
        settings(&mut loader);
        let mut ebpf = loader.load(program()).map_err(load_error)?;
        for name in [Self::PROGRAM, Self::SETTLE] {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .context("the program's object")?
                .try_into()?;
            program.load().map_err(program_error)?;
        }
        let table = Table::new(
            of_map(&ebpf, "SLOTS", buckets * WAYS)?,
            of_map(&ebpf, "TAGS", buckets)?,
            of_map(&ebpf, "RELEASED", buckets.div_ceil(8) * 8)?,
            cpus,
            options.shape,
        );
        let states = of_map(&ebpf, "CPUS", cpus)?;
        let evicted = Evicted::new(
            of_map(&ebpf, "EVICTED", evicted)?,
            of_map(&ebpf, "TAKEN", cpus)?,
            cpus,
            ring_mask,
        );
        let bell = RingBuf::try_from(ebpf.take_map("BELL").context("map BELL")?)?;
        Ok(Self {
            ebpf,
            link: None,
            table,
            states,
            evicted,
            bell,
            cpus,
        })
    }

    /// Attaches the program: in the driver if it can, else in the stack. The second value is the
    /// reason for the latter.
    ///
    /// # Errors
    /// A sentence that says what to do, if the interface takes no program at all.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        wanted: Option<AttachMode>,
    ) -> Result<(AttachMode, Option<String>)> {
        let native: Result<(), String> = match wanted {
            Some(AttachMode::Generic) => Err("generic mode was asked for".to_owned()),
            Some(AttachMode::Native) | None => match self.attach_as(ifindex, XdpMode::Driver) {
                Ok(()) => return Ok((AttachMode::Native, None)),
                Err(error) if busy(&error) => bail!(occupied(interface)),
                Err(error) => Err(sentence(&error)),
            },
        };
        let reason = native.err();
        if wanted == Some(AttachMode::Native) {
            bail!(
                "{interface} takes no native XDP program ({}): leave out --xdp native",
                reason.unwrap_or_default()
            );
        }
        match self.attach_as(ifindex, XdpMode::Skb) {
            Ok(()) => Ok((AttachMode::Generic, reason)),
            Err(error) if busy(&error) => bail!(occupied(interface)),
            Err(error) => Err(anyhow!(
                "cannot attach to {interface}: {}",
                sentence(&error)
            )),
        }
    }

    fn attach_as(&mut self, ifindex: u32, mode: XdpMode) -> Result<(), ProgramError> {
        self.link = Some(self.program()?.attach_to_if_index(ifindex, mode)?);
        Ok(())
    }

    /// Detaches the program: afterwards and a grace period later the table is still.
    ///
    /// # Errors
    /// If the interface went away meanwhile; the program is off it then too.
    pub fn detach(&mut self) -> Result<(), ProgramError> {
        match self.link.take() {
            Some(link) => self.program()?.detach(link),
            None => Ok(()),
        }
    }

    /// The program, for test runs.
    ///
    /// # Errors
    /// Never once loaded.
    pub fn program(&mut self) -> Result<&mut Xdp, ProgramError> {
        self.ebpf
            .program_mut(Self::PROGRAM)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()
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

/// Length of the CPUs' queues for a table of this shape: one packet while a region fits a
/// cache, see `weir_sensor_common::stage`.
#[must_use]
pub fn stages(shape: &Shape) -> u32 {
    const CACHED_SLOTS_MAX: u32 = 1 << 13;
    if (shape.bucket_mask + 1) * WAYS > CACHED_SLOTS_MAX {
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

/// The object that `build.rs` made, aligned as the ELF reader wants it.
fn program() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-meter"))
}

fn of_map<T>(ebpf: &Ebpf, name: &str, len: u32) -> Result<Mapping<T>> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        bail!("map {name} is missing from the program");
    };
    Mapping::of_map(map.fd().as_fd(), len as usize)
        .with_context(|| format!("mapping {name} into memory"))
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

fn busy(error: &ProgramError) -> bool {
    matches!(root(error).raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

fn occupied(interface: &str) -> String {
    format!(
        "another XDP program is on {interface}: `ip link show dev {interface}` names it, `ip link set dev {interface} xdp off` takes it off"
    )
}

fn sentence(error: &ProgramError) -> String {
    let error = root(error);
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the driver has no XDP".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "no permission: run as root, or with CAP_BPF and CAP_NET_ADMIN".to_owned()
        }
        Some(libc::ENODEV) => "the interface is gone".to_owned(),
        _ => error.to_string(),
    }
}

/// The operating system's error behind an error, if there is one.
fn root(error: &(dyn std::error::Error + 'static)) -> io::Error {
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
