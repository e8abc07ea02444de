//! The words of weir-sensor's own command line, and their help.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgGroup, Parser};

use crate::{
    expiry::Timeouts,
    options::{
        DEFAULT_PIDFILE,
        export::ExportOptions,
        values::{Field, Format, InterfaceName, Switch, Tc, Track, Tunnel, Which, XdpMode},
        without_effect::WithoutEffect,
    },
};

/// Meters network traffic in the kernel's receive path and exports it as NetFlow or IPFIX.
#[derive(Debug, Parser)]
#[command(
    name = "weir-sensor",
    version,
    args_override_self = true,
    group = ArgGroup::new("source").required(true).multiple(true).args(["interface", "read", "psamp_port", "softflowd_conf", "detach"]),
    after_help = "Called by the name softflowd, it takes softflowd's command line and has its defaults."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag by itself")]
pub struct Options {
    /// Interface to meter, live; again for more, `any` for all but those that stand on others
    /// (bridges, bonds, VLANs). A number before it is exported in the place of its own
    #[arg(
        short = 'i',
        long,
        value_name = "[IFINDEX:]IF",
        help_heading = "Source"
    )]
    pub interface: Vec<InterfaceName>,

    /// Capture file to meter (pcap or pcapng, gzip or not; `-` is standard input)
    #[arg(short = 'r', long, value_name = "FILE", conflicts_with_all = ["interface", "detach"], help_heading = "Source")]
    pub read: Vec<PathBuf>,

    /// Receive softflowd's packet samples (without effect beside -i or -r, as there; else refused: nothing here
    /// reads them)
    #[arg(
        short = 'R',
        long,
        value_name = "PORT",
        conflicts_with = "detach",
        help_heading = "Source"
    )]
    pub psamp_port: Option<u16>,

    /// Meter what an instance of Debian's softflowd is configured for, as /etc/softflowd/NAME.conf;
    /// only --check may stand beside it
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub softflowd_conf: Option<PathBuf>,

    /// Only these packets, in tcpdump's language (pcap-filter(7)); all words together. The rest is
    /// counted and passed on, or with --drop dropped
    #[arg(value_name = "FILTER", help_heading = "Source")]
    pub filter: Vec<String>,

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

    /// Meter one packet in N (0 and 1: all); counters in records stay unscaled, and records say N; NetFlow
    /// v5 can say 16383 at most
    #[arg(
        short = 's',
        long,
        value_name = "N",
        default_value_t = 1,
        help_heading = "Source"
    )]
    pub sampling: u32,

    /// Draw the one in N at random, instead of taking every Nth of each CPU
    #[arg(long, conflicts_with = "read", help_heading = "Source")]
    pub sampling_random: bool,

    /// Keep programs and table in DIR (on a BPF file system, as /sys/fs/bpf/weir): they go on when
    /// the sensor ends, and the next one takes over
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub pin: Option<PathBuf>,

    /// Export and remove what a sensor left in the folder of --pin, remove the tc filters that one left
    /// on the interfaces of -i, and end. What is wrong with other options is said, and no hindrance
    #[arg(long, help_heading = "Source")]
    pub detach: bool,

    /// Drop received frames once they are counted: for mirror ports only. Refused on an interface
    /// that has an address or a route
    #[arg(long, requires = "interface", help_heading = "Source")]
    pub drop: bool,

    /// Drop them even there
    #[arg(long, requires = "drop", help_heading = "Source")]
    pub drop_anyway: bool,

    /// Collectors to send to, up to 16 of them, each gets everything (but see -l); without one flows are
    /// metered and counted only
    #[arg(
        short = 'n',
        long,
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        help_heading = "Export"
    )]
    pub collector: Vec<String>,

    /// Export format
    #[arg(
        short = 'v',
        long,
        value_name = "VERSION",
        default_value = "9",
        help_heading = "Export"
    )]
    pub netflow_version: Format,

    #[command(flatten)]
    pub export: ExportOptions,

    /// A timeout: tcp, tcp.rst, tcp.fin, udp, icmp, general, idle (all classes), active (or
    /// maxlife), expint; times as 90, 1h30m, 500ms, 0 for none
    #[arg(
        short = 't',
        long = "timeout",
        value_name = "NAME=TIME",
        value_parser = timeout,
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

    /// Enter these tunnels: the flow is the packet's inside, its octets too (in others, of sent packets
    /// that the card cuts into several, the inner headers count once)
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

    /// Stamp flows to the millisecond instead of the timer's tick (1 to 10 ms), by a call for each packet
    #[arg(long, help_heading = "Flows")]
    pub exact_clock: bool,

    /// Octets of each CPU's ring for flows pushed out of a full table (a power of two, at least 4096)
    #[arg(long, value_name = "OCTETS", default_value_t = 2 << 20, value_parser = ring_octets, help_heading = "Flows")]
    pub ring: u32,

    /// Take options from FILE, too, where their long names are keys (TOML); what the command line says wins
    #[arg(long, value_name = "FILE", help_heading = "Service")]
    pub config: Option<PathBuf>,

    /// Socket that weir-ctl and softflowctl talk to, `none` for none (left out:
    /// /var/run/softflowd.ctl, if it can be had)
    #[arg(short = 'c', long, value_name = "PATH", help_heading = "Service")]
    pub control: Option<PathBuf>,

    /// Group that may talk to it, by name or number (left out: its owner only)
    #[arg(long, value_name = "GROUP", help_heading = "Service")]
    pub control_group: Option<String>,

    /// Go to the background once metering has begun; messages go to syslog
    #[arg(long, conflicts_with_all = ["read", "detach"], help_heading = "Service")]
    pub daemon: bool,

    /// File that the process number is written to, with --daemon
    #[arg(
        short = 'p',
        long,
        value_name = "FILE",
        default_value = DEFAULT_PIDFILE,
        help_heading = "Service"
    )]
    pub pidfile: PathBuf,

    /// Stay in the foreground (which is the default here, and not softflowd's)
    #[arg(short = 'd', long, overrides_with = "daemon", help_heading = "Service")]
    pub foreground: bool,

    /// Stay there, and say what each sweep takes
    #[arg(short = 'D', long, help_heading = "Service")]
    pub debug: bool,

    /// Keep all system calls once it meters (for systems whose kernel or C library the list does not fit)
    #[arg(long, help_heading = "Service")]
    pub no_seccomp: bool,

    /// Only look whether the settings are right, those of --config too, and say which are without effect
    #[arg(long, help_heading = "Service")]
    pub check: bool,

    /// Write every counter to FILE at exit, as JSON (`-`: standard output)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub statistics_json: Option<PathBuf>,

    /// Tell every counter to Prometheus at this address: `GET /metrics` (left out: nowhere)
    #[arg(
        long,
        value_name = "ADDR:PORT",
        conflicts_with = "read",
        help_heading = "Output"
    )]
    pub metrics: Option<SocketAddr>,

    /// Say at exit how much processor time was used
    #[arg(short = 'g', long, help_heading = "Output")]
    pub cpu_clocks: bool,

    /// Print the kernel program's debug log
    #[arg(long, help_heading = "Output")]
    pub debug_log: bool,

    #[command(flatten)]
    pub without_effect: WithoutEffect,
}

fn timeout(text: &str) -> Result<String, String> {
    Timeouts::default().set(text).map(|()| text.to_owned())
}

fn ring_octets(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(octets) if octets.is_power_of_two() && octets >= 4096 => Ok(octets),
        _ => Err("write a power of two, at least 4096".to_owned()),
    }
}
