//! softflowd's command line (1.1.0, and the flags that 1.1.1 and its master have besides), translated
//! into the same settings: its letters, arguments, defaults and precedence. What it takes for a
//! number by leaving out the rest (`-m 8k` as 8) is refused here.

use clap::ValueEnum;
use weir_sensor_common::{Fields, tunnel::Tunnels};
use weir_service::control;

use super::{
    ControlSettings, DEFAULT_PIDFILE, Settings, Style,
    export::ExportOptions,
    getopt::{Getopt, Wrong},
    join,
    native::control_path,
    values::{Format, InterfaceName, Track},
    without_effect::{WithoutEffect, mac},
};
use crate::{
    attach::Direction,
    expiry::{Time, Timeouts},
};

/// The flags of its master; those of 1.1.0 and 1.1.1 are among them.
const LETTERS: &str = "6hdDL:T:H:i:r:f:t:n:m:p:c:v:s:P:A:B:baC:lR:MNS:x:I:ge:";

/// Flows it tracks if `-m` does not say.
const MAX_FLOWS: u32 = 8192;
/// Its flows are of both directions; a region must hold both.
const DIRECTIONS: u32 = 2;

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong; empty if the help was asked for.
    pub message: String,
    /// Whether the usage is to be shown.
    pub usage: bool,
}

/// The usage, in short.
pub const USAGE: &str = "\
Usage: softflowd [options] [filter]
This is weir-sensor in softflowd's place. Valid commandline options:
  -i [idx:]interface | -r pcap_file      what to meter; `any` for all interfaces
  -n host:port[,host:port...]            collectors, up to 16
  -v 1|5|9|10|psamp  -P udp|tcp|sctp     export version (default 5) and transport
  -T ip|proto|port|full|vlan|ether       what tells flows apart (default full)
  -t name=time  -m max_flows             timeouts; flows tracked (default 8192)
  -s N  -N                               meter one packet in N; no promiscuous mode
  -A sec|milli|micro|nano  -b  -x labels absolute times, biflows, MPLS labels
  -l  -L hoplimit  -S interface  -e addr take turns; TTL, interface and address to send from
  -p pidfile  -c socket|none             default /var/run/softflowd.pid and .ctl
  -d  -D  -g  -h                         foreground, debug, processor time at exit, this help
  -6                                     meter IPv6 with -v 1 and 5, too
  -a -B n -C n -H mac -I n -M            taken, without effect
  -R port                                likewise beside -i or -r, else refused
Timeouts: tcp 3600, tcp.rst 120, tcp.fin 300, udp 300, icmp 300, general 3600,
  maxlife 604800, expint 60; times as 90, 10m, 1h30m
";

/// The settings of a command line, which is without the program's name.
///
/// # Errors
/// What is wrong with it, or that the help was asked for.
pub fn settings(words: &[String]) -> Result<Settings, Refused> {
    let mut line = Line {
        settings: defaults(),
        without_effect: WithoutEffect::default(),
        numbered: false,
    };
    let mut options = Getopt::new(LETTERS, words);
    for option in options.by_ref() {
        let (letter, argument) = option.map_err(|wrong| {
            usage(match wrong {
                Wrong::Unknown(letter) => {
                    format!("softflowd: invalid option -- '{letter}'\nInvalid commandline option.")
                }
                Wrong::ArgumentMissing(letter) => format!(
                    "softflowd: option requires an argument -- '{letter}'\nInvalid commandline option."
                ),
            })
        })?;
        line.option(letter, argument)?;
    }
    let mut settings = line.settings;
    if settings.interfaces.is_empty() && settings.read.is_none() && settings.psamp_port.is_none() {
        return Err(usage("-i, -r or -R option not specified.".to_owned()));
    }
    settings.filter = join(&options.operands);
    // It has one where the format has no place for IPv6.
    line.without_effect.track_ipv6 = settings.track_ipv6 && settings.format.has_templates();
    settings.notes = line.without_effect.notes(settings.read.is_some());
    let sayings = settings.sayings();
    settings.notes.extend(sayings);
    if settings.read.is_some() {
        settings.daemon = false;
        settings.control.path = None;
    }
    Ok(settings)
}

fn defaults() -> Settings {
    Settings {
        style: Style::Softflowd,
        check: false,
        notes: Vec::new(),
        interfaces: Vec::new(),
        read: None,
        psamp_port: None,
        filter: None,
        direction: Direction::Both,
        xdp: None,
        tc: None,
        promiscuous: true,
        sampling: 1,
        sampling_random: false,
        pin: None,
        detach: false,
        drop: false,
        drop_anyway: false,
        collectors: Vec::new(),
        format: Format::V5,
        track_ipv6: false,
        export_options: ExportOptions::default(),
        timeouts: Timeouts::softflowd(),
        flows_per_cpu: Some(DIRECTIONS * MAX_FLOWS),
        track: Track::Full,
        tunnels: Tunnels::NONE,
        fields_asked: Fields::NONE,
        join_fragments: false,
        exact_clock: false,
        ring_octets: 2 << 20,
        control: ControlSettings {
            path: Some(control::DEFAULT.into()),
            needed: true,
            group: None,
        },
        daemon: true,
        pidfile: DEFAULT_PIDFILE.into(),
        debug: false,
        statistics_json: None,
        cpu_clocks: false,
        debug_log: false,
        metrics: None,
        seccomp: true,
    }
}

/// A command line, as far as it is read.
struct Line {
    settings: Settings,
    without_effect: WithoutEffect,
    /// A `-v` with a number was there: later ones do not count.
    numbered: bool,
}

impl Line {
    fn option(&mut self, letter: char, argument: &str) -> Result<(), Refused> {
        let settings = &mut self.settings;
        match letter {
            'h' => {
                return Err(Refused {
                    message: String::new(),
                    usage: true,
                });
            }
            'i' | 'r' if !settings.interfaces.is_empty() || settings.read.is_some() => {
                return Err(usage("Packet source already specified.\n".to_owned()));
            }
            'i' => {
                let interface = argument.parse::<InterfaceName>();
                settings.interfaces.push(
                    interface.map_err(|error| {
                        usage(format!("Wrong interface is specified: {error}.\n"))
                    })?,
                );
            }
            'r' => settings.read = Some(argument.into()),
            'R' => settings.psamp_port = Some(number(letter, argument)?),
            't' => set_timeout(&mut settings.timeouts, argument)?,
            'T' => settings.track = word(argument, "Unknown flow tracking level")?,
            'm' => {
                let flows: u32 = number(letter, argument)
                    .map_err(|_| usage("Invalid maximum flows\n".to_owned()))?;
                settings.flows_per_cpu = Some(flows.clamp(1, 50_000_000) * DIRECTIONS);
            }
            's' => settings.sampling = sampling(argument)?,
            'N' => settings.promiscuous = false,
            'p' => settings.pidfile = argument.into(),
            'c' => settings.control.path = control_path(argument.into()),
            'd' => settings.daemon = false,
            'D' => {
                settings.daemon = false;
                settings.debug = true;
            }
            'g' => settings.cpu_clocks = true,
            '6' => settings.track_ipv6 = true,
            'a' => self.without_effect.packet_time = true,
            'M' => self.without_effect.threads = true,
            'B' => self.without_effect.pcap_buffer = Some(number(letter, argument)?),
            'C' => self.without_effect.snaplen = Some(number(letter, argument)?),
            'I' => self.without_effect.uptime_restart = Some(argument.to_owned()),
            'H' => {
                let mac =
                    mac(argument).map_err(|_| usage(format!("Invalid MAC address {argument}")))?;
                self.without_effect.direction_mac = Some(mac);
            }
            _ => return self.export_option(letter, argument),
        }
        Ok(())
    }

    fn export_option(&mut self, letter: char, argument: &str) -> Result<(), Refused> {
        const MPLS_LABELS_MAX: u8 = 10;
        let asked = &mut self.settings.export_options;
        match letter {
            // The last one counts.
            'n' => self.settings.collectors = argument.split(',').map(Into::into).collect(),
            'v' => self.format(argument)?,
            'P' => asked.transport = word(argument, "Unknown transport layer protocol")?,
            'A' => asked.absolute_time = Some(word(argument, "Unknown time format")?),
            'b' => asked.biflow = true,
            'l' => asked.balance = true,
            'L' => {
                let hops: Result<u8, _> = number(letter, argument);
                asked.hop_limit = Some(hops.map_err(|_| usage("Invalid hop limit\n".to_owned()))?);
            }
            'S' => asked.device = Some(argument.to_owned()),
            'e' => asked.exporter_address = Some(number(letter, argument)?),
            'x' => {
                let labels: Option<u8> = number(letter, argument).ok();
                asked.mpls_labels = labels
                    .filter(|labels| *labels <= MPLS_LABELS_MAX)
                    .ok_or_else(|| usage("Invalid number of MPLS label\n".to_owned()))?;
            }
            // `-f`, which its list of letters has and its code does not.
            _ => return Err(usage("Invalid commandline option.".to_owned())),
        }
        Ok(())
    }

    /// `psamp` is a mode of its own; of several numbers the first counts.
    fn format(&mut self, argument: &str) -> Result<(), Refused> {
        let format = Format::from_str(argument, false);
        if !self.numbered || format == Ok(Format::Psamp) {
            self.settings.format = format.map_err(|_| Refused {
                message: "Invalid NetFlow version".to_owned(),
                usage: false,
            })?;
            self.numbered = true;
        }
        Ok(())
    }
}

fn set_timeout(timeouts: &mut Timeouts, argument: &str) -> Result<(), Refused> {
    let Some((name, time)) = argument
        .split_once('=')
        .filter(|(_, time)| !time.is_empty())
    else {
        return Err(usage(format!("Invalid -t option \"{argument}\".")));
    };
    if time.parse::<Time>().is_err() {
        return Err(usage(format!("Invalid -t timeout \"{time}\".")));
    }
    timeouts.set(argument).map_err(|error| {
        if ["general", "idle"].contains(&name) {
            Refused {
                message: format!("-t {error}"),
                usage: false,
            }
        } else {
            usage(format!("Invalid -t name. ({name})"))
        }
    })
}

/// Everything below 2 is no sampling.
fn sampling(argument: &str) -> Result<u32, Refused> {
    let interval: i64 = number('s', argument)?;
    Ok(u32::try_from(interval.max(1)).unwrap_or(u32::MAX))
}

fn number<T: std::str::FromStr>(letter: char, argument: &str) -> Result<T, Refused> {
    argument
        .parse()
        .map_err(|_| usage(format!("Invalid -{letter} argument \"{argument}\".")))
}

fn word<T: ValueEnum>(argument: &str, wrong: &str) -> Result<T, Refused> {
    T::from_str(argument, true).map_err(|_| usage(wrong.to_owned()))
}

fn usage(message: String) -> Refused {
    Refused {
        message,
        usage: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::export::{TimeUnit, Transport};

    fn parsed(line: &str) -> Result<Settings, Refused> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        settings(&words)
    }

    /// softflowd's defaults on eth0, but for what `change` does.
    fn on_eth0(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings {
            interfaces: vec![InterfaceName {
                ifindex: None,
                name: "eth0".to_owned(),
            }],
            ..defaults()
        };
        change(&mut settings);
        settings
    }

    type Change = fn(&mut Settings);

    #[test]
    fn lines_become_settings() {
        let table: &[(&str, Change)] = &[
            ("-i eth0", |_| {}),
            ("-ieth0", |_| {}),
            ("-i 7:eth0", |s| s.interfaces[0].ifindex = Some(7)),
            ("-i eth0 -n h:1", |s| s.collectors = vec!["h:1".into()]),
            ("-i eth0 -n h:1,[::1]:2", |s| {
                s.collectors = vec!["h:1".into(), "[::1]:2".into()];
            }),
            ("-n h:1 -i eth0 -n g:2", |s| {
                s.collectors = vec!["g:2".into()];
            }),
            ("-i eth0 -v 9", |s| s.format = Format::V9),
            ("-i eth0 -v 10 -v 5", |s| s.format = Format::Ipfix),
            ("-i eth0 -v 1 -v 77", |s| s.format = Format::V1),
            ("-i eth0 -v psamp", |s| s.format = Format::Psamp),
            ("-i eth0 -v 9 -v psamp", |s| s.format = Format::Psamp),
            ("-i eth0 -T VLAN", |s| s.track = Track::Vlan),
            ("-i eth0 -T ip -T proto", |s| s.track = Track::Proto),
            ("-i eth0 -T port", |s| s.track = Track::Port),
            ("-i eth0 -T ether", |s| s.track = Track::Ether),
            ("-i eth0 -m 100", |s| s.flows_per_cpu = Some(200)),
            ("-i eth0 -m 0", |s| s.flows_per_cpu = Some(2)),
            ("-i eth0 -s 4", |s| s.sampling = 4),
            ("-i eth0 -v 9 -s 100000", |s| {
                (s.format, s.sampling) = (Format::V9, 100_000);
            }),
            ("-i eth0 -s 1", |_| {}),
            ("-i eth0 -s 0", |_| {}),
            ("-i eth0 -s -3", |_| {}),
            ("-dNi eth0", |s| (s.daemon, s.promiscuous) = (false, false)),
            ("-i eth0 -D", |s| (s.daemon, s.debug) = (false, true)),
            ("-i eth0 -p /p", |s| s.pidfile = "/p".into()),
            ("-i eth0 -c /c", |s| s.control.path = Some("/c".into())),
            ("-i eth0 -c none", |s| s.control.path = None),
            ("-i eth0 -c /c -c /d", |s| {
                s.control.path = Some("/d".into());
            }),
            ("-i eth0 -P TCP", |s| {
                s.export_options.transport = Transport::Tcp;
            }),
            ("-i eth0 -A milli", |s| {
                s.export_options.absolute_time = Some(TimeUnit::Milli);
            }),
            ("-i eth0 -bl", |s| {
                (s.export_options.biflow, s.export_options.balance) = (true, true);
            }),
            ("-i eth0 -L 64 -x 10", |s| {
                (s.export_options.hop_limit, s.export_options.mpls_labels) = (Some(64), 10);
            }),
            ("-i eth0 -S eth1", |s| {
                s.export_options.device = Some("eth1".into());
            }),
            ("-i eth0 -e 192.0.2.1", |s| {
                s.export_options.exporter_address = Some([192, 0, 2, 1].into());
            }),
            ("-i eth0 -g", |s| s.cpu_clocks = true),
            ("-i eth0 tcp and port 80", |s| {
                s.filter = Some("tcp and port 80".into());
            }),
            ("tcp -i eth0 or udp -d", |s| {
                (s.filter, s.daemon) = (Some("tcp or udp".into()), false);
            }),
            ("-i eth0 -R 4739", |s| {
                s.psamp_port = Some(4739);
                s.notes = vec!["-R is without effect: packets are those of -i or -r".into()];
            }),
        ];
        for (line, change) in table {
            assert_eq!(parsed(line).as_ref(), Ok(&on_eth0(change)), "{line}");
        }
    }

    #[test]
    fn timeouts_are_softflowds() {
        const SECOND_NS: u64 = 1_000_000_000;
        let timeouts = parsed("-i eth0 -t udp=1m30s -t maxlife=0 -t tcp.fin=2H -t udp=7")
            .unwrap()
            .timeouts;
        let expected = Timeouts {
            udp_ns: 7 * SECOND_NS,
            active_ns: 0,
            tcp_fin_ns: 7200 * SECOND_NS,
            ..Timeouts::softflowd()
        };
        assert_eq!(timeouts, expected);
        assert_eq!(Timeouts::softflowd().tcp_ns, 3600 * SECOND_NS);
    }

    #[test]
    fn a_capture_file_is_read_in_the_foreground_without_a_socket() {
        let settings = parsed("-r file -a -c /c").unwrap();
        assert_eq!(settings.read, Some("file".into()));
        assert!(!settings.daemon && settings.control.path.is_none());
        assert!(settings.notes.is_empty(), "{:?}", settings.notes);
    }

    #[test]
    fn flags_without_effect_are_taken_and_told() {
        let line = "-v 9 -R 4739 -i eth0 -6aM -B 1048576 -C160 -H 02:00:00:00:00:01 -I 7d";
        let settings = parsed(line).unwrap();
        let flags: Vec<_> = settings.notes.iter().map(|note| &note[..2]).collect();
        assert_eq!(flags, ["-6", "-a", "-B", "-C", "-M", "-H", "-I", "-R"]);
        assert!(parsed("-6 -i eth0").unwrap().notes.is_empty());
    }

    #[test]
    fn what_softflowd_refuses_is_refused_with_its_words() {
        for (line, message) in [
            ("", "-i, -r or -R option not specified."),
            ("-i", "Invalid commandline option."),
            ("-i eth0 -Z", "Invalid commandline option."),
            ("-i eth0 -f x", "Invalid commandline option."),
            ("-i eth0 --pin x", "Invalid commandline option."),
            ("-i eth0 -i eth1", "Packet source already specified."),
            ("-i eth0 -r file", "Packet source already specified."),
            ("-i 7:", "Wrong interface is specified"),
            ("-i eth0 -v 7", "Invalid NetFlow version"),
            ("-i eth0 -v ntopng", "Invalid NetFlow version"),
            ("-i eth0 -t tcp", "Invalid -t option \"tcp\"."),
            ("-i eth0 -t tcp=", "Invalid -t option \"tcp=\"."),
            ("-i eth0 -t tcp=x", "Invalid -t timeout"),
            ("-i eth0 -t ftp=3", "Invalid -t name."),
            ("-i eth0 -t general=0", "general=0"),
            ("-i eth0 -T colour", "Unknown flow tracking level"),
            ("-i eth0 -m -1", "Invalid maximum flows"),
            ("-i eth0 -m 8k", "Invalid maximum flows"),
            ("-i eth0 -P smtp", "Unknown transport layer protocol"),
            ("-i eth0 -A hour", "Unknown time format"),
            ("-i eth0 -L 256", "Invalid hop limit"),
            ("-i eth0 -x 11", "Invalid number of MPLS label"),
            ("-i eth0 -H 02:00", "Invalid MAC address 02:00"),
        ] {
            let refused = parsed(line).unwrap_err();
            assert!(refused.message.contains(message), "{line}: {refused:?}");
        }
        assert_eq!(parsed("-h -Z").unwrap_err(), usage(String::new()));
    }
}
