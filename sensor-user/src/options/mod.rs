//! What the command line asks for. There are two grammars and one result, [`Settings`]: `native` is
//! weir-sensor's own command line, with long options; `softflowd` is that program's, for whoever
//! calls this one by its name, with its defaults; `debian` makes such a line of an instance's file in
//! `/etc/softflowd`, and `getopt` reads both as that program does. `values` and `destination` are the words that
//! all of them share, `leaving` is how records leave by them, `changes` what a running sensor can take over. `ctl`
//! is weir-ctl's command line. `differences` is what softflowd does otherwise.

mod changes;
pub mod ctl;
pub mod debian;
pub mod destination;
pub mod differences;
pub mod getopt;
mod leaving;
mod native;
pub mod softflowd;
pub mod values;

use std::{
    borrow::Borrow,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use weir_sensor_common::{Fields, tunnel::Tunnels};
use weir_service::config;

use crate::{
    attach::{AttachMode, Direction, How, TcMode},
    expiry::Timeouts,
    ports::Wanted,
};
use values::{Format, InterfaceName, Track, Wishes};

/// The process number's place, if nothing else is said: softflowd's.
pub const DEFAULT_PIDFILE: &str = "/var/run/softflowd.pid";

/// The names the sensor can be called by.
pub const PROGRAMS: [&str; 2] = ["weir-sensor", "softflowd"];

/// Options that name files of settings: they are read again when those are.
pub const FILES: [&str; 2] = ["--config", "--softflowd-conf"];

/// The greatest sampling interval that NetFlow v5 has room for: 14 bits of its header.
const V5_SAMPLING_MAX: u32 = 16_383;

/// Exit status of a command line that is wrong.
const USAGE_STATUS: u8 = 2;

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
    /// How records are to leave.
    pub wishes: Wishes,
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

/// Why there are no settings.
#[derive(Debug)]
pub enum Refusal {
    /// weir-sensor's own command line is wrong, or its help was asked for.
    Clap(clap::Error),
    /// softflowd's is, or was.
    Softflowd(softflowd::Refused),
    /// A file is wrong, or a word no text: one line that says where and what.
    File(String),
}

impl From<config::Refused> for Refusal {
    fn from(refused: config::Refused) -> Self {
        match refused {
            config::Refused::Line(error) => Self::Clap(error),
            config::Refused::File(sentence) => Self::File(sentence),
        }
    }
}

impl Refusal {
    /// Why there are no settings, as one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Clap(error) => config::sentence(error),
            Self::Softflowd(refused) => refused.message.clone(),
            Self::File(sentence) => sentence.clone(),
        }
    }

    /// Tells it; the exit status.
    #[must_use]
    pub fn tell(&self) -> ExitCode {
        match self {
            Self::Clap(error) => {
                // If it cannot be told, there is nobody to tell that.
                let _ = error.print();
                ExitCode::from(if error.use_stderr() { USAGE_STATUS } else { 0 })
            }
            Self::Softflowd(refused) => {
                if !refused.message.is_empty() {
                    eprintln!("{}", refused.message);
                }
                if refused.usage {
                    eprint!("{}", softflowd::USAGE);
                }
                // softflowd's own status; it is 0 for its help.
                ExitCode::from(u8::from(!refused.message.is_empty()))
            }
            Self::File(sentence) => {
                eprintln!("weir-sensor: {sentence}");
                ExitCode::from(USAGE_STATUS)
            }
        }
    }
}

/// The settings of a command line, which begins with the program's name.
///
/// # Errors
/// Why there are none.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Settings, Refusal> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if !is_called(&arguments, "softflowd") {
        return native::settings(&arguments);
    }
    let words = arguments.into_iter().skip(1).map(OsString::into_string);
    let words: Vec<String> = words
        .collect::<Result<_, _>>()
        .map_err(|word| Refusal::File(format!("the argument {} is not UTF-8", word.display())))?;
    softflowd::settings(&words).map_err(Refusal::Softflowd)
}

/// weir-sensor's own command line.
#[must_use]
pub fn command() -> clap::Command {
    <native::Options as clap::CommandFactory>::command()
}

/// Whether a program was called by a name, whatever its folder.
#[must_use]
pub fn is_called(arguments: &[OsString], name: &str) -> bool {
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    program.is_some_and(|program| program == name)
}

/// The words of a filter expression, if there are any.
pub(crate) fn join<S: Borrow<str>>(words: &[S]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
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
        self.wishes.refusal().map(Into::into)
    }

    fn has_source(&self) -> bool {
        !self.interfaces.is_empty() || self.read.is_some()
    }

    /// softflowd does not read samples either while it has another source.
    fn psamp_note(&self) -> Option<String> {
        (self.psamp_port.is_some() && self.has_source())
            .then(|| "-R is without effect: packets are those of -i or -r".to_owned())
    }

    /// The interfaces.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        if self.is_any() {
            return Wanted::Any;
        }
        let names = self.interfaces.iter();
        Wanted::Named(names.map(|interface| interface.name.clone()).collect())
    }

    /// The numbers that interfaces are exported under instead of their own, in their order.
    #[must_use]
    pub fn ifindexes_given(&self) -> Vec<Option<u32>> {
        if self.is_any() {
            return Vec::new();
        }
        let given = self.interfaces.iter().map(|interface| interface.ifindex);
        given.map(|ifindex| ifindex.map(u32::from)).collect()
    }

    fn is_any(&self) -> bool {
        let mut interfaces = self.interfaces.iter();
        interfaces.any(|interface| interface.name == "any")
    }

    /// How to attach to them.
    #[must_use]
    pub fn how(&self) -> How {
        How {
            mode: self.xdp,
            tc: self.tc.unwrap_or_else(TcMode::of_kernel),
            direction: self.direction,
            promiscuous: self.promiscuous,
        }
    }

    /// Fields that records carry besides: those asked for, at track level `ether` the MAC addresses,
    /// as softflowd has it, and with `-x` MPLS labels.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let labels = if self.wishes.mpls_labels > 0 {
            Fields::MPLS
        } else {
            Fields::NONE
        };
        let of_key = Fields::of_key(self.track.into());
        self.fields_asked.and(of_key).and(labels)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn the_name_decides_about_grammar_and_defaults() {
        let Ok(weir) = parse(words("/usr/sbin/weir-sensor -i eth0")) else {
            panic!("refused")
        };
        let Ok(softflowd) = parse(words("/usr/sbin/softflowd -i eth0")) else {
            panic!("refused")
        };
        assert_eq!((weir.style, weir.daemon), (Style::Weir, false));
        assert_eq!(
            (softflowd.style, softflowd.daemon),
            (Style::Softflowd, true)
        );
        assert_eq!((weir.format, softflowd.format), (Format::V9, Format::V5));
        assert_eq!(weir.control.path, softflowd.control.path);
        assert!(softflowd.control.needed && !weir.control.needed);
        assert!(matches!(
            parse(words("softflowd --interface eth0")),
            Err(Refusal::Softflowd(_))
        ));
    }

    /// Every flag that softflowd takes means the same on weir-sensor's own command line.
    #[test]
    fn both_grammars_give_the_same_settings() {
        for line in [
            "-i 3:eth0 -N -s 10 -n a:1,b:2 -v 5 -t udp=7 -T vlan -c /c -p /p -d",
            "-i eth0 -P tcp -A milli -b -l -x 3 -L 64 -S eth1 -e 192.0.2.1 -v 10 -D -g -d",
            "-i eth0 -6 -a -B 1 -C 2 -M -H 02:00:00:00:00:01 -I 7d -v 1 -d -c none",
            "-r file -a -v psamp -d -c none tcp or udp",
            "-R 4739 -d -v 9 -c /c",
            "-i eth0 -R 4739 -6 -d -v 9 -c /c",
            "-r file -R 4739 -d -v 9 -c none",
        ] {
            let parsed = |name: &str| match parse(words(&format!("{name} {line}"))) {
                Ok(settings) => settings,
                Err(refusal) => panic!("{name} {line}: {refusal:?}"),
            };
            let (weir, softflowd) = (parsed("weir-sensor"), parsed("softflowd"));
            // What differs is defaults; `-t` adds to them.
            let weir = Settings {
                style: softflowd.style,
                timeouts: softflowd.timeouts,
                flows_per_cpu: softflowd.flows_per_cpu,
                join_fragments: softflowd.join_fragments,
                control: ControlSettings {
                    needed: true,
                    ..weir.control
                },
                ..weir
            };
            assert_eq!(weir, softflowd, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_done_yet_is_refused_with_a_sentence() {
        for (line, named) in [
            ("-R 4739", "-R"),
            ("-i eth0 -P sctp", "-P sctp"),
            ("-i eth0 -s 16384", "-s 16384"),
        ] {
            let Ok(settings) = parse(words(&format!("softflowd {line}"))) else {
                panic!("{line}")
            };
            let sentence = settings.refusal().unwrap();
            assert!(sentence.contains(named), "{line}: {sentence}");
        }
        // That there are no packets to send, and what there is instead.
        let sentence = Format::Psamp.version().unwrap_err();
        assert!(
            sentence.contains("-v psamp: ") && sentence.contains("-v 10"),
            "{sentence}"
        );
        for line in [
            "-i eth0 -n h:1 -6 -x 0 -P udp port 80",
            "-i eth0 -P tcp -l -b -v 10 -A sec -x 1 -L 1 -S eth1 -e ::1",
            "-r file -s 16383",
            "-r file -s 16384 -v 10",
            "-i eth0 -R 4739",
        ] {
            let Ok(settings) = parse(words(&format!("softflowd {line}"))) else {
                panic!("{line}")
            };
            assert_eq!(settings.refusal(), None, "{line}");
        }
    }
}
