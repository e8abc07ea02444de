//! What the command line asks for. There are two grammars and one result, [`Settings`] or a [`Refusal`]: `native`
//! is weir-sensor's own command line, with long options; `softflowd` is that program's, for whoever calls this one
//! by its name, with its defaults; `debian` makes such a line of an instance's file in `/etc/softflowd`, and `getopt`
//! reads both as that program does. `values`, `destination`, `export` (how records leave) and `without_effect` are
//! the words that all of them share, `changes` is what a running sensor can take over. `ctl` is weir-ctl's command
//! line. `differences` is what softflowd does otherwise.

mod changes;
pub mod ctl;
pub mod debian;
pub mod destination;
pub mod differences;
pub mod export;
pub mod getopt;
mod native;
mod refusal;
mod settings;
pub mod softflowd;
pub mod values;
mod without_effect;

pub use refusal::Refusal;
pub use settings::{ControlSettings, Settings, Style};

use std::{borrow::Borrow, ffi::OsString, path::Path};

/// The process number's place, if nothing else is said: softflowd's.
pub const DEFAULT_PIDFILE: &str = "/var/run/softflowd.pid";

/// The names the sensor can be called by.
pub const PROGRAMS: [&str; 2] = ["weir-sensor", "softflowd"];

/// Options that name files of settings: they are read again when those are.
pub const FILES: [&str; 2] = ["--config", "--softflowd-conf"];

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

#[cfg(test)]
mod tests {
    use super::{values::Format, *};

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
            "-i eth0 -a -B 1 -C 2 -M -H 02:00:00:00:00:01 -I 7d -v 1 -d -c none",
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
    fn ipv6_is_no_ip_where_it_is_none_to_softflowd() {
        for (line, v4_only) in [
            ("softflowd -i eth0", true),
            ("softflowd -i eth0 -v 1", true),
            ("softflowd -i eth0 -6", false),
            ("softflowd -i eth0 -D", false),
            ("softflowd -i eth0 -v 9", false),
            ("softflowd -i eth0 -v 10", false),
            ("weir-sensor -i eth0 -v 5", false),
        ] {
            let Ok(settings) = parse(words(line)) else {
                panic!("{line}")
            };
            assert_eq!(settings.v4_only(), v4_only, "{line}");
        }
    }

    #[test]
    fn what_is_not_done_is_refused_with_a_sentence() {
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
