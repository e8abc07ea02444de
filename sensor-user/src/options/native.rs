//! weir-sensor's own command line: softflowd's flags with their letters, and long options for all.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{PathBuf, absolute},
};

use clap::{ArgGroup, CommandFactory as _, Parser, error::ErrorKind};
use weir_sensor_common::{Fields, tunnel::Tunnels};
use weir_service::{config, control};

use super::{
    ControlSettings, DEFAULT_PIDFILE, Refusal, Settings, Style, debian, destination, join,
    values::{
        Field, Format, InterfaceName, Switch, Tc, Track, Tunnel, Which, Wishes, WithoutEffect,
        XdpMode,
    },
};
use crate::expiry::Timeouts;

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

    /// Meter one packet in N (0 and 1: all); counters in records stay unscaled, and records say N
    #[arg(short = 's', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=16383), help_heading = "Source")]
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
    pub wishes: Wishes,

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

    /// Only look whether the settings are right, those of --config too
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

/// The settings of a command line, with the program's name first.
///
/// # Errors
/// What is to be told about it: the help that was asked for, or what is wrong.
pub fn settings(arguments: &[OsString]) -> Result<Settings, Refusal> {
    with_file(arguments).or_else(|refusal| to_detach(arguments, &refusal).ok_or(refusal))
}

/// `--detach` takes off what is there even if the file of `--config` is wrong: the command line says where.
fn to_detach(arguments: &[OsString], refusal: &Refusal) -> Option<Settings> {
    let options = Options::try_parse_from(arguments).ok()?;
    if !options.detach || options.check || options.config.is_none() {
        return None;
    }
    let mut settings = options.settings().ok()?;
    settings.notes.push(format!(
        "{}: --detach goes by the command line alone, and exports to the collectors named there",
        refusal.sentence()
    ));
    Some(settings)
}

fn with_file(arguments: &[OsString]) -> Result<Settings, Refusal> {
    let arguments = config::arguments(&Options::command(), arguments)?;
    let options = Options::try_parse_from(&arguments.words)
        .map_err(|error| Refusal::from(arguments.refuse(error)))?;
    if let Some(place) = arguments.place("collector") {
        destination::check(&options.collector)
            .map_err(|error| Refusal::File(format!("{place}{error}")))?;
    }
    let refuse = |sentence: String| {
        Refusal::Clap(Options::command().error(ErrorKind::InvalidValue, sentence))
    };
    let Some(conf) = options.softflowd_conf.clone() else {
        return options.settings().map_err(refuse);
    };
    if !stands_alone(&arguments.words) {
        let sentence =
            "--softflowd-conf: the file says everything; only --check may stand beside it";
        return Err(refuse(sentence.to_owned()));
    }
    // Whoever starts it by this name wants weir-sensor's ways with a service, which is the foreground.
    let settings = debian::settings(&conf).map_err(Refusal::File)?;
    Ok(Settings {
        check: options.check,
        daemon: false,
        ..settings
    })
}

/// Whether there is nothing but `--softflowd-conf` and `--check`.
fn stands_alone(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match &*word {
            "--check" => {}
            "--softflowd-conf" => {
                words.next();
            }
            word if word.starts_with("--softflowd-conf=") => {}
            _ => return false,
        }
    }
    true
}

impl Options {
    fn settings(self) -> Result<Settings, String> {
        if self.detach && self.pin.is_none() && self.interface.is_empty() {
            return Err("--detach: say from where: --pin DIR, -i IF, or both".to_owned());
        }
        if self.fields.contains(&Field::Outer) && self.tunnels.is_empty() {
            return Err(
                "--fields outer: no tunnel is entered; say which with --tunnels".to_owned(),
            );
        }
        if let [first, second, ..] = self.read.as_slice() {
            return Err(format!(
                "-r {} and -r {}: one file at a time; `mergecap -w - FILE… | weir-sensor -r -` has them in the order of their packets",
                first.display(),
                second.display()
            ));
        }
        let mut timeouts = Timeouts::default();
        for setting in &self.timeouts {
            timeouts
                .set(setting)
                .map_err(|error| format!("-t {setting}: {error}"))?;
        }
        let tunnels = self.tunnels.iter().map(|tunnel| (*tunnel).into());
        let fields = self.fields.iter().map(|field| (*field).into());
        let mut settings = Settings {
            style: Style::Weir,
            check: self.check,
            notes: self.without_effect.notes(!self.read.is_empty()),
            interfaces: self.interface,
            read: self.read.into_iter().next(),
            psamp_port: self.psamp_port,
            filter: join(&self.filter),
            direction: self.direction.into(),
            xdp: self.xdp.map(Into::into),
            tc: self.tc.map(Into::into),
            promiscuous: !self.no_promiscuous,
            sampling: self.sampling.max(1),
            sampling_random: self.sampling_random,
            // The background's folder is another.
            pin: self.pin.map(|folder| absolute(&folder).unwrap_or(folder)),
            detach: self.detach,
            drop: self.drop,
            drop_anyway: self.drop_anyway,
            collectors: self.collector,
            format: self.netflow_version,
            wishes: self.wishes,
            timeouts,
            flows_per_cpu: self.max_flows,
            track: self.track,
            tunnels: tunnels.fold(Tunnels::NONE, Tunnels::and),
            fields_asked: fields.fold(Fields::NONE, Fields::and),
            join_fragments: self.fragments == Switch::On,
            exact_clock: self.exact_clock,
            ring_octets: self.ring,
            control: ControlSettings {
                needed: self.control.is_some(),
                path: control_path(self.control.unwrap_or_else(|| control::DEFAULT.into())),
                group: self.control_group,
            },
            daemon: self.daemon && !self.foreground && !self.debug,
            pidfile: self.pidfile,
            debug: self.debug,
            statistics_json: self.statistics_json,
            cpu_clocks: self.cpu_clocks,
            debug_log: self.debug_log,
            metrics: self.metrics,
            seccomp: !self.no_seccomp,
        };
        let note = settings.psamp_note();
        settings.notes.extend(note);
        Ok(settings)
    }
}

/// `none` is no path.
pub(super) fn control_path(path: PathBuf) -> Option<PathBuf> {
    (path.as_os_str() != "none").then_some(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_later_of_two_values_counts_and_collectors_add_up() {
        let line =
            "weir-sensor -i eth0 -m 10 -m 20 -n a:1,b:2 -n c:3 -c none --daemon -d tcp or udp";
        let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let Ok(settings) = settings(&line) else {
            panic!("{line:?} is refused")
        };
        assert_eq!(settings.flows_per_cpu, Some(20));
        assert_eq!(settings.collectors, ["a:1", "b:2", "c:3"]);
        assert_eq!(settings.control.path, None);
        assert!(!settings.daemon);
        assert_eq!(settings.filter.as_deref(), Some("tcp or udp"));
    }

    fn parsed(arguments: &str) -> Result<Settings, Refusal> {
        let line = format!("weir-sensor {arguments}");
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        settings(&words)
    }

    #[test]
    fn fields_are_what_was_asked_for_and_what_the_track_level_implies() {
        let fields = |arguments: &str| {
            let settings = parsed(&format!("-r - {arguments}"));
            settings.ok().map(|settings| settings.fields())
        };
        assert_eq!(fields(""), Some(Fields::NONE));
        assert_eq!(
            fields("--fields inner-vlan,mpls --fields flow-label"),
            Some(Fields::INNER_VLAN.and(Fields::MPLS).and(Fields::FLOW_LABEL))
        );
        assert_eq!(fields("-T ether"), Some(Fields::MAC));
        assert_eq!(fields("-T VLAN --fields mac"), Some(Fields::MAC));
        assert_eq!(fields("--fields outer"), None);
        assert_eq!(fields("--fields outer --tunnels gre"), Some(Fields::OUTER));
    }

    #[test]
    fn sources_that_go_together_and_those_that_do_not() {
        for (arguments, right) in [
            ("-i eth0 -i eth1", true),
            ("--detach --pin d", true),
            ("--detach -i eth0", true),
            ("--detach -i eth0 --pin d", true),
            ("--detach", false),
            ("", false),
            ("-i eth0 -r file", false),
            ("-r file --detach --pin d", false),
            ("-R 4739 -i eth0", true),
            ("-R 4739 -r file", true),
            ("-R 4739 --detach --pin d", false),
        ] {
            assert_eq!(parsed(arguments).is_ok(), right, "{arguments}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_does_not_keep_programs_on() {
        let path = std::env::temp_dir().join(format!("weir-{}-detach.toml", std::process::id()));
        std::fs::write(&path, "collector = [\"a:1\"]\nnonsense = 1\n").unwrap();
        let line = |rest: &str| format!("--config {} {rest}", path.display());
        assert!(parsed(&line("-i eth0")).is_err());
        assert!(parsed(&line("--detach --pin d --check")).is_err());
        let Ok(settings) = parsed(&line("--detach --pin /d -n b:2")) else {
            panic!("refused")
        };
        assert_eq!(settings.pin, Some("/d".into()));
        assert_eq!(settings.collectors, ["b:2"]);
        let [note] = settings.notes.as_slice() else {
            panic!("{:?}", settings.notes)
        };
        assert!(note.contains("detach.toml:2: nonsense: "), "{note}");
        // What is right counts, also that which only a sensor needs.
        std::fs::write(&path, "collector = [\"a:1\"]\nmetrics = \"[::1]:9464\"\n").unwrap();
        let Ok(settings) = parsed(&line("--detach --pin /d")) else {
            panic!("refused")
        };
        assert_eq!((settings.collectors.len(), settings.notes.len()), (1, 0));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_the_shipped_file_shows_as_defaults_are_the_defaults() {
        let shipped = include_str!("../../../packaging/sensor.toml");
        let (_, defaults) = shipped.split_once("# The defaults: ").unwrap();
        let (defaults, _) = defaults.split_once("\n\n").unwrap();
        let keys = defaults.lines().filter_map(|line| line.strip_prefix("# "));
        let keys: Vec<&str> = keys.filter(|line| line.contains(" = ")).collect();
        assert_eq!(keys.len(), 3, "{keys:?}");
        let path = std::env::temp_dir().join(format!("weir-{}-shown.toml", std::process::id()));
        std::fs::write(&path, keys.join("\n")).unwrap();
        let shown = parsed(&format!("-i eth0 --config {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(shown.unwrap(), parsed("-i eth0").unwrap());
    }

    #[test]
    fn a_file_says_everything_or_nothing() {
        for (line, alone) in [
            ("weir-sensor --softflowd-conf x --check", true),
            ("weir-sensor --check --softflowd-conf=x", true),
            ("weir-sensor --softflowd-conf x -N", false),
            ("weir-sensor --softflowd-conf=x tcp", false),
        ] {
            let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(stands_alone(&line), alone, "{line:?}");
        }
    }
}
