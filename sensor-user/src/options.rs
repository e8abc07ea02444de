//! The command line.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use clap::{ArgGroup, Parser, ValueEnum};
use weir_exporter::Version;
use weir_sensor_common::{Fields, KeyMask, tunnel::Tunnels};

use crate::{
    attach::{AttachMode, Direction, How, TcMode},
    expiry::Timeouts,
    ports::Wanted,
};

/// Meters network traffic in the kernel's receive path and exports it as NetFlow or IPFIX.
#[derive(Debug, Parser)]
#[command(name = "weir-sensor", version, group = ArgGroup::new("source").required(true).multiple(true).args(["interface", "read", "detach"]))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag by itself")]
pub struct Options {
    /// Interface to meter, live; again for more, `any` for all but those that stand on others
    /// (bridges, bonds, VLANs)
    #[arg(short = 'i', long, value_name = "IF", help_heading = "Source")]
    pub interface: Vec<String>,

    /// Capture file to meter (pcap or pcapng, gzip or not; `-` is standard input)
    #[arg(short = 'r', long, value_name = "FILE", conflicts_with_all = ["interface", "detach"], help_heading = "Source")]
    pub read: Option<PathBuf>,

    /// Which packets of an interface. With several interfaces, a packet that passes through is
    /// metered where it comes in
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "both",
        help_heading = "Source"
    )]
    pub direction: Which,

    /// How received packets are seen; left out: native, else generic
    #[arg(long, value_name = "MODE", help_heading = "Source")]
    pub xdp: Option<XdpMode>,

    /// How tc's programs are attached; left out: tcx where the kernel has it (6.6)
    #[arg(long, value_name = "HOW", help_heading = "Source")]
    pub tc: Option<Tc>,

    /// Do not switch the interface to promiscuous mode
    #[arg(short = 'N', long, help_heading = "Source")]
    pub no_promiscuous: bool,

    /// Meter one packet in N; counters in records stay unscaled, and records say N
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16383), conflicts_with = "read", help_heading = "Source")]
    pub sampling: u32,

    /// Draw the one in N at random, instead of taking every Nth of each CPU
    #[arg(long, conflicts_with = "read", help_heading = "Source")]
    pub sampling_random: bool,

    /// Keep programs and table in DIR (on a BPF file system, as /sys/fs/bpf/weir): they go on when
    /// the sensor ends, and the next one takes over
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub pin: Option<PathBuf>,

    /// Export and remove what a sensor left in the folder of --pin, remove the tc filters that one left
    /// on the interfaces of -i, and end
    #[arg(long, help_heading = "Source")]
    pub detach: bool,

    /// Drop received frames once they are counted: for mirror ports only. Refused on an interface
    /// that has an address or a route
    #[arg(long, requires = "interface", help_heading = "Source")]
    pub drop: bool,

    /// Drop them even there
    #[arg(long, requires = "drop", help_heading = "Source")]
    pub drop_anyway: bool,

    /// Collector to send to, up to 16 of them, each gets everything; without one flows are metered
    /// and counted only
    #[arg(short = 'n', long, value_name = "HOST:PORT", help_heading = "Export")]
    pub collector: Vec<String>,

    /// Export format
    #[arg(
        short = 'v',
        long,
        value_name = "VERSION",
        default_value = "9",
        help_heading = "Export"
    )]
    pub netflow_version: NetflowVersion,

    /// A timeout: tcp, tcp.rst, tcp.fin, udp, icmp, general, idle (all classes), active (or
    /// maxlife), expint; times as 90, 1h30m, 500ms, 0 for none
    #[arg(
        short = 't',
        long = "timeout",
        value_name = "NAME=TIME",
        help_heading = "Flows"
    )]
    pub timeouts: Vec<String>,

    /// Flows the table holds, on each CPU (default: a million over all CPUs, between 32,768 and
    /// 131,072 on each)
    #[arg(short = 'm', long = "max-flows", value_name = "FLOWS", value_parser = clap::value_parser!(u32).range(1..=100_000_000), help_heading = "Flows")]
    pub max_flows: Option<u32>,

    /// What tells flows apart
    #[arg(
        short = 'T',
        long = "track",
        value_name = "LEVEL",
        default_value = "full",
        ignore_case = true,
        help_heading = "Flows"
    )]
    pub track: Track,

    /// Enter these tunnels: the flow is the packet's inside, its octets too
    #[arg(
        long,
        value_name = "KIND,…",
        value_delimiter = ',',
        help_heading = "Flows"
    )]
    pub tunnels: Vec<Tunnel>,

    /// Fields that records carry besides, as the flow's first packet has them (not in v1 and v5;
    /// `outer` needs --tunnels)
    #[arg(
        long,
        value_name = "FIELD,…",
        value_delimiter = ',',
        help_heading = "Flows"
    )]
    pub fields: Vec<Field>,

    /// Whether later fragments belong to the flow of the first, if that was seen (`off`: ports 0, as
    /// softflowd has it)
    #[arg(
        long,
        value_name = "WHETHER",
        default_value = "on",
        help_heading = "Flows"
    )]
    pub fragments: Switch,

    /// Stamp flows with the exact clock instead of the timer's (dearer; see ARCHITECTURE.md)
    #[arg(long, help_heading = "Flows")]
    pub exact_clock: bool,

    /// Octets of each CPU's ring for flows pushed out of a full table (a power of two, at least 4096)
    #[arg(long, value_name = "OCTETS", default_value_t = 2 << 20, value_parser = ring_octets, help_heading = "Flows")]
    pub ring: u32,

    /// Write every counter to FILE at exit, as JSON (`-`: standard output)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub statistics_json: Option<PathBuf>,

    /// Print the kernel program's debug log
    #[arg(long, help_heading = "Output")]
    pub debug_log: bool,
}

/// `--xdp`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum XdpMode {
    /// In the driver, or not at all
    Native,
    /// In the network stack
    Generic,
    /// Not by XDP but by tc, which also sees VLAN tags that the card took out
    Off,
}

impl From<XdpMode> for AttachMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
            XdpMode::Off => Self::Tc,
        }
    }
}

/// `--tc`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Tc {
    /// By links, before any filter
    Tcx,
    /// As filters of clsact, among others' by priority; they stay if the sensor is killed
    Clsact,
}

impl From<Tc> for TcMode {
    fn from(tc: Tc) -> Self {
        match tc {
            Tc::Tcx => Self::Tcx,
            Tc::Clsact => Self::Clsact,
        }
    }
}

/// `--direction`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Which {
    /// Those it receives
    In,
    /// Those it sends
    Out,
    /// All
    Both,
}

impl From<Which> for Direction {
    fn from(which: Which) -> Self {
        match which {
            Which::In => Self::In,
            Which::Out => Self::Out,
            Which::Both => Self::Both,
        }
    }
}

/// `--tunnels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tunnel {
    /// GRE, with IP, Ethernet or MPLS in it
    Gre,
    /// IPv4 or IPv6 in either
    Ipip,
    /// VXLAN, UDP port 4789
    Vxlan,
    /// Geneve, UDP port 6081
    Geneve,
    /// GTP-U, UDP port 2152
    Gtpu,
}

impl From<Tunnel> for Tunnels {
    fn from(tunnel: Tunnel) -> Self {
        match tunnel {
            Tunnel::Gre => Self::GRE,
            Tunnel::Ipip => Self::IPIP,
            Tunnel::Vxlan => Self::VXLAN,
            Tunnel::Geneve => Self::GENEVE,
            Tunnel::Gtpu => Self::GTPU,
        }
    }
}

/// `--fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Field {
    /// Source and destination MAC address
    Mac,
    /// Id of the second VLAN tag
    InnerVlan,
    /// The first four MPLS labels
    Mpls,
    /// IPv6 flow label
    FlowLabel,
    /// Source and destination of the tunnel that the flow's packets came through
    Outer,
}

impl From<Field> for Fields {
    fn from(field: Field) -> Self {
        match field {
            Field::Mac => Self::MAC,
            Field::InnerVlan => Self::INNER_VLAN,
            Field::Mpls => Self::MPLS,
            Field::FlowLabel => Self::FLOW_LABEL,
            Field::Outer => Self::OUTER,
        }
    }
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
}

/// `-v`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NetflowVersion {
    /// NetFlow v1: IPv4 only, 32-bit counters, no sequence numbers
    #[value(name = "1")]
    V1,
    /// NetFlow v5: IPv4 only, 32-bit counters
    #[value(name = "5")]
    V5,
    /// NetFlow v9
    #[value(name = "9")]
    V9,
    /// IPFIX
    #[value(name = "10")]
    Ipfix,
}

impl From<NetflowVersion> for Version {
    fn from(version: NetflowVersion) -> Self {
        match version {
            NetflowVersion::V1 => Self::V1,
            NetflowVersion::V5 => Self::V5,
            NetflowVersion::V9 => Self::V9,
            NetflowVersion::Ipfix => Self::Ipfix,
        }
    }
}

/// `-T`: softflowd's names, each level but the last adding to the one before it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Track {
    /// Addresses
    Ip,
    /// … and protocol
    Proto,
    /// … and ports (the same as full)
    Port,
    /// Addresses, protocol, ports
    Full,
    /// … and the outermost VLAN tag
    Vlan,
    /// … and ToS
    Tos,
    /// Addresses, protocol, ports, VLAN tag, and both MAC addresses, which records then carry
    Ether,
}

impl From<Track> for KeyMask {
    fn from(track: Track) -> Self {
        match track {
            Track::Ip => Self::IP,
            Track::Proto => Self::PROTO,
            Track::Port | Track::Full => Self::FULL,
            Track::Vlan => Self::VLAN,
            Track::Tos => Self::TOS,
            Track::Ether => Self::ETHER,
        }
    }
}

impl Options {
    /// The timeouts, defaults and settings.
    ///
    /// # Errors
    /// A sentence about the first setting that cannot be.
    pub fn timeouts(&self) -> Result<Timeouts, String> {
        let mut timeouts = Timeouts::default();
        for setting in &self.timeouts {
            timeouts
                .set(setting)
                .map_err(|error| format!("-t {setting}: {error}"))?;
        }
        Ok(timeouts)
    }

    /// The interfaces.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        if self.interface.iter().any(|name| name == "any") {
            Wanted::Any
        } else {
            Wanted::Named(self.interface.clone())
        }
    }

    /// How to attach to them.
    #[must_use]
    pub fn how(&self) -> How {
        How {
            mode: self.xdp.map(Into::into),
            tc: self.tc.map_or_else(TcMode::of_kernel, Into::into),
            direction: self.direction.into(),
            promiscuous: !self.no_promiscuous,
        }
    }

    /// Tunnels that are entered.
    #[must_use]
    pub fn tunnels(&self) -> Tunnels {
        let each = self.tunnels.iter().map(|tunnel| (*tunnel).into());
        each.fold(Tunnels::NONE, Tunnels::and)
    }

    /// Fields that records carry besides: those asked for, and at track level `ether` the MAC
    /// addresses, as softflowd has it.
    ///
    /// # Errors
    /// A sentence: a field that would always be empty.
    pub fn fields(&self) -> Result<Fields, String> {
        if self.fields.contains(&Field::Outer) && self.tunnels.is_empty() {
            return Err(
                "--fields outer: no tunnel is entered; say which with --tunnels".to_owned(),
            );
        }
        let each = self.fields.iter().map(|field| (*field).into());
        Ok(each.fold(Fields::of_key(self.track.into()), Fields::and))
    }

    /// First fragments remembered.
    #[must_use]
    pub fn fragments_max(&self) -> u32 {
        match self.fragments {
            Switch::On => 8192,
            Switch::Off => 0,
        }
    }

    /// The collectors' addresses.
    ///
    /// # Errors
    /// A sentence: not HOST:PORT, no such host, too many.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        const DESTINATIONS_MAX: usize = 16;
        if self.collector.len() > DESTINATIONS_MAX {
            return Err(format!("-n: at most {DESTINATIONS_MAX} collectors"));
        }
        self.collector.iter().map(|name| address(name)).collect()
    }

    /// Flows a CPU's table holds.
    #[must_use]
    pub fn flows_per_cpu(&self, cpus: u32) -> u32 {
        const IN_ALL: u32 = 1 << 20;
        self.max_flows
            .unwrap_or_else(|| (IN_ALL / cpus.max(1)).clamp(1 << 15, 1 << 17))
    }
}

fn address(collector: &str) -> Result<SocketAddr, String> {
    match collector.to_socket_addrs() {
        Ok(mut addresses) => addresses
            .next()
            .ok_or_else(|| format!("-n {collector}: the host has no address")),
        Err(error) => Err(format!(
            "-n {collector}: write HOST:PORT, as 192.0.2.1:2055 or [2001:db8::1]:2055 ({error})"
        )),
    }
}

fn ring_octets(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(octets) if octets.is_power_of_two() && octets >= 4096 => Ok(octets),
        _ => Err("write a power of two, at least 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    fn fields(arguments: &str) -> Result<Fields, String> {
        let words = ["weir-sensor", "-r", "-"].into_iter();
        Options::parse_from(words.chain(arguments.split_whitespace())).fields()
    }

    #[test]
    fn fields_are_what_was_asked_for_and_what_the_track_level_implies() {
        assert_eq!(fields(""), Ok(Fields::NONE));
        assert_eq!(
            fields("--fields inner-vlan,mpls --fields flow-label"),
            Ok(Fields::INNER_VLAN.and(Fields::MPLS).and(Fields::FLOW_LABEL))
        );
        assert_eq!(fields("-T ether"), Ok(Fields::MAC));
        assert_eq!(fields("-T VLAN --fields mac"), Ok(Fields::MAC));
        assert!(fields("--fields outer").is_err());
        assert_eq!(fields("--fields outer --tunnels gre"), Ok(Fields::OUTER));
    }
}
