//! What both command lines come to.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use weir_sensor_common::{Fields, interface::NUMBER_MAX, tunnel::Tunnels};

use super::{
    destination,
    export::ExportOptions,
    values::{Format, InterfaceName, Track},
};
use crate::{
    attach::{AttachMode, Direction, How, TcMode},
    expiry::Timeouts,
    interface,
    ports::Wanted,
};

/// The greatest sampling interval that NetFlow v5 has room for: 14 bits of its header.
const V5_SAMPLING_MAX: u32 = 16_383;

/// By which name the sensor was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Its own.
    Weir,
    /// softflowd's: what it prints is laid out as softflowd's is.
    Softflowd,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// Where it is; `None` for none.
    pub path: Option<PathBuf>,
    /// Whether the sensor does not start without it: it was asked for.
    pub needed: bool,
    /// The group that may use it.
    pub group: Option<String>,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option by itself")]
pub struct Settings {
    /// By which name the sensor was called.
    pub style: Style,
    /// Only look whether the settings are right.
    pub check: bool,
    /// What is to be told at the start, a sentence each.
    pub notes: Vec<String>,
    /// Interfaces to meter.
    pub interfaces: Vec<InterfaceName>,
    /// Or a capture file.
    pub read: Option<PathBuf>,
    /// Or packet samples; beside another source they are left alone.
    pub psamp_port: Option<u16>,
    /// Only these packets, in tcpdump's language.
    pub filter: Option<String>,
    /// Which packets of an interface.
    pub direction: Direction,
    /// How received packets are seen; `None`: the best way there is.
    pub xdp: Option<AttachMode>,
    /// How tc's programs are attached; `None`: by links where the kernel has them.
    pub tc: Option<TcMode>,
    /// Switch interfaces to promiscuous mode.
    pub promiscuous: bool,
    /// Meter one packet in so many, at least 1.
    pub sampling: u32,
    /// Draw it at random.
    pub sampling_random: bool,
    /// Folder for programs and table that outlive the sensor.
    pub pin: Option<PathBuf>,
    /// Export and remove what is there, remove the tc filters that a sensor left on the interfaces, and
    /// end.
    pub detach: bool,
    /// Drop received frames once they are counted …
    pub drop: bool,
    /// … even where that cuts something off.
    pub drop_anyway: bool,
    /// Collectors, `HOST:PORT`.
    pub collectors: Vec<String>,
    /// Export format.
    pub format: Format,
    /// IPv6 is metered even if the format has no place for it (`-6`); by Weir's own name it is anyway.
    pub track_ipv6: bool,
    /// How records are to leave.
    pub export_options: ExportOptions,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Flows each CPU's table holds; `None`: as many as suit this machine.
    pub flows_per_cpu: Option<u32>,
    /// What tells flows apart.
    pub track: Track,
    /// Tunnels that are entered.
    pub tunnels: Tunnels,
    /// Fields that records are to carry besides, see [`Settings::fields`].
    pub fields_asked: Fields,
    /// Later fragments belong to the flow of the first.
    pub join_fragments: bool,
    /// Stamp flows with the exact clock.
    pub exact_clock: bool,
    /// Octets of each CPU's ring of evicted flows, a power of two.
    pub ring_octets: u32,
    /// The control socket.
    pub control: ControlSettings,
    /// Go to the background.
    pub daemon: bool,
    /// Where the process number is written then.
    pub pidfile: PathBuf,
    /// Say what each sweep takes.
    pub debug: bool,
    /// Where every counter is written at exit; `-` is standard output.
    pub statistics_json: Option<PathBuf>,
    /// Say at exit how much processor time was used.
    pub cpu_clocks: bool,
    /// Print the kernel program's debug log.
    pub debug_log: bool,
    /// Where figures are told to Prometheus.
    pub metrics: Option<SocketAddr>,
    /// Give up system calls once it meters.
    pub seccomp: bool,
}

impl Settings {
    /// What is asked for and cannot be done, as a sentence.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        if self.psamp_port.is_some() && !self.has_source() {
            return Some(
                "-R: softflowd's packet samples are not read here, and there is nothing else to meter: run this with -i where the packets are, or -r; weir-collector reads the samples of sFlow"
                    .to_owned(),
            );
        }
        if self.format == Format::V5 && self.sampling > V5_SAMPLING_MAX {
            return Some(format!(
                "-s {}: NetFlow v5 can say {V5_SAMPLING_MAX} at most, and collectors would count too little: use -v 9 or -v 10",
                self.sampling
            ));
        }
        let domain = self.export_options.domain.unwrap_or(0);
        if self.format == Format::V5 && domain > u16::MAX.into() {
            return Some(format!(
                "--domain {domain}: NetFlow v5 can say 65535 at most: use -v 9 or -v 10"
            ));
        }
        // Else the account would go nowhere, which then is not among the messages either.
        if self.daemon && self.statistics_json.as_deref() == Some(Path::new("-")) {
            return Some(
                "--statistics-json -: with --daemon there is no standard output: name a file"
                    .to_owned(),
            );
        }
        self.export_options.refusal().map(Into::into)
    }

    fn has_source(&self) -> bool {
        !self.interfaces.is_empty() || self.read.is_some()
    }

    /// What is asked for and has another effect than it may seem.
    pub(super) fn sayings(&self) -> Vec<String> {
        // softflowd does not read samples either while it has another source.
        let psamp = (self.psamp_port.is_some() && self.has_source())
            .then(|| "-R is without effect: packets are those of -i or -r".to_owned());
        let rate = (self.format == Format::V1 && self.sampling > 1).then(|| {
            format!(
                "-s {}: NetFlow v1 cannot say that packets are sampled: tell the collector, or use -v 9 or -v 10",
                self.sampling
            )
        });
        let named = self.interfaces.iter().filter(|named| named.name != "any");
        let beside_any = named
            .filter(|_| self.any().is_some())
            .map(|named| format!("-i {}: without effect beside -i any", named.name));
        psamp.into_iter().chain(rate).chain(beside_any).collect()
    }

    /// The interfaces, by names of their own.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        if self.any().is_some() {
            return Wanted::Any;
        }
        let names = self.interfaces.iter();
        Wanted::Named(
            names
                .map(|named| interface::own_name(&named.name))
                .collect(),
        )
    }

    /// The numbers that interfaces are exported under instead of their own, in their order.
    #[must_use]
    pub fn ifindexes_given(&self) -> Vec<Option<u32>> {
        if let Some(any) = self.any() {
            // softflowd's `-i 7:any` numbers them all so.
            return vec![any.ifindex.map(u32::from); usize::from(NUMBER_MAX) + 1];
        }
        let given = self.interfaces.iter().map(|interface| interface.ifindex);
        given.map(|ifindex| ifindex.map(u32::from)).collect()
    }

    /// The number of the first interface, given or its own; 0 if there is none, or it is not there.
    pub(super) fn first_ifindex(&self) -> u32 {
        let named = self.interfaces.first().filter(|_| self.any().is_none());
        let number = named.and_then(|named| {
            let given = named.ifindex.map(u32::from);
            given.or_else(|| interface::ifindex(&interface::own_name(&named.name)))
        });
        number.unwrap_or(0)
    }

    fn any(&self) -> Option<&InterfaceName> {
        let mut interfaces = self.interfaces.iter();
        interfaces.find(|interface| interface.name == "any")
    }

    /// How to attach to them.
    #[must_use]
    pub fn how(&self) -> How {
        How {
            mode: self.xdp,
            tc: self.tc.unwrap_or_else(TcMode::of_kernel),
            direction: self.direction,
            promiscuous: self.promiscuous,
            spares_used: self.drop && !self.drop_anyway,
        }
    }

    /// Fields that records carry besides: those asked for, at track level `ether` the MAC addresses,
    /// as softflowd has it, and with `-x` MPLS labels.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let labels = if self.export_options.mpls_labels > 0 {
            Fields::MPLS
        } else {
            Fields::NONE
        };
        let of_key = Fields::of_key(self.track.into());
        self.fields_asked.and(of_key).and(labels)
    }

    /// Whether IPv6 is counted as no IP, as softflowd does where the format has no place for it, unless `-6` or
    /// `-D` says otherwise.
    #[must_use]
    pub fn v4_only(&self) -> bool {
        let asks = self.track_ipv6 || self.debug;
        self.style == Style::Softflowd && !asks && !self.format.has_templates()
    }

    /// First fragments remembered.
    #[must_use]
    pub fn fragments_max(&self) -> u32 {
        if self.join_fragments { 8192 } else { 0 }
    }

    /// The collectors' addresses.
    ///
    /// # Errors
    /// A sentence: not HOST:PORT, no such host, too many.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        destination::addresses(&self.collectors)
    }

    /// The addresses of those collectors that have one, and a sentence about each of the others.
    #[must_use]
    pub fn addresses_there_are(&self) -> (Vec<SocketAddr>, Vec<String>) {
        let (mut addresses, mut sentences) = (Vec::new(), Vec::new());
        for collector in &self.collectors {
            match destination::addresses(std::slice::from_ref(collector)) {
                Ok(found) => addresses.extend(found),
                Err(sentence) => sentences.push(sentence),
            }
        }
        (addresses, sentences)
    }

    /// Flows a CPU's table holds.
    #[must_use]
    pub fn flows_per_cpu(&self, cpus: u32) -> u32 {
        const IN_ALL: u32 = 1 << 20;
        self.flows_per_cpu
            .unwrap_or_else(|| (IN_ALL / cpus.max(1)).clamp(1 << 15, 1 << 17))
    }
}
