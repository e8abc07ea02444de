//! weir-sensor's own command line: softflowd's flags with their letters, and long options for all. `grammar` has the
//! words; here they become settings, with those of a file.

mod grammar;

use std::{
    ffi::OsString,
    path::{PathBuf, absolute},
};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use weir_sensor_common::{Fields, tunnel::Tunnels};
use weir_service::{config, control};

pub use self::grammar::Options;
use super::{
    ControlSettings, Refusal, Settings, Style, debian, destination, join,
    values::{Field, Switch},
};
use crate::expiry::Timeouts;

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
            track_ipv6: self.without_effect.track_ipv6,
            export_options: self.export,
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
        let sayings = settings.sayings();
        settings.notes.extend(sayings);
        Ok(settings)
    }
}

/// `none` is no path.
pub(super) fn control_path(path: PathBuf) -> Option<PathBuf> {
    (path.as_os_str() != "none").then_some(path)
}

#[cfg(test)]
mod tests;
