//! `weir-sensor`: meter an interface or a capture file, export flows, give an account.

// In place of the standard library's, which panic.
#[macro_use(eprint, eprintln, println)]
extern crate weir_service;

mod start;

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, bail};
use weir_exporter::Version;
use weir_sensor::{
    clock, filter, interface,
    options::{self, PROGRAMS, Settings, Style},
    output::Output,
    ports::Wanted,
    prefilter::PacketFilter,
    statistics::Statistics,
};
use weir_service::{
    config,
    daemon::{Daemon, Fork},
    lines,
};

use start::{Start, code, names};

fn main() -> ExitCode {
    // It may be read again, and from another folder.
    let line = config::anchored(std::env::args_os().collect(), &options::FILES);
    let settings = match options::parse(line.clone()) {
        Ok(settings) => settings,
        Err(refusal) => return refusal.tell(),
    };
    // It outlives what is said about errors, which goes through it.
    let mut daemon = None;
    let code = run(&settings, line, &mut daemon).unwrap_or_else(|error| {
        eprintln!("weir-sensor: {error:#}");
        ExitCode::FAILURE
    });
    lines::status("weir-sensor", code)
}

fn run(settings: &Settings, line: Vec<OsString>, daemon: &mut Option<Daemon>) -> Result<ExitCode> {
    if settings.detach && !settings.check {
        return detach(settings);
    }
    if let Some(sentence) = settings.refusal() {
        bail!(sentence);
    }
    let version = settings.format.version().map_err(anyhow::Error::msg)?;
    let filter = packet_filter(settings)?;
    say_notes(settings);
    if settings.check {
        settings.addresses().map_err(anyhow::Error::msg)?;
        println!("weir-sensor: the settings are right");
        return Ok(ExitCode::SUCCESS);
    }
    let addresses = settings.addresses().map_err(anyhow::Error::msg)?;
    let start = Start::new(settings, version, addresses, filter);
    let output = Output::open(settings.statistics_json.as_deref())?;
    if let Some(path) = &settings.read {
        return start.read(path, &output);
    }
    if settings.daemon {
        match Daemon::fork(&settings.pidfile, name(settings), &PROGRAMS)? {
            Fork::Parent(code) => return Ok(code),
            Fork::Child(child) => *daemon = Some(child),
        }
    }
    let (statistics, failure) = start.meter(line, daemon)?;
    give_account(settings, &output, &statistics)?;
    match failure {
        Some(error) => Err(error),
        None => Ok(code(&statistics)),
    }
}

fn say_notes(settings: &Settings) {
    let of_format = settings.export_options.notes(settings.format);
    for note in settings.notes.iter().chain(&of_format) {
        eprintln!("weir-sensor: {note}");
    }
}

fn give_account(settings: &Settings, output: &Output, statistics: &Statistics) -> Result<()> {
    output.write(statistics)?;
    if !matches!(output, Output::Standard) {
        eprint!("{}", statistics.to_text());
    }
    if settings.cpu_clocks {
        eprintln!("weir-sensor: cpu clocks: {}", clock::processor_us());
    }
    Ok(())
}

/// `--detach`: what a sensor left is taken off, whatever is wrong with the other settings, and exported as far
/// as they are right.
fn detach(settings: &Settings) -> Result<ExitCode> {
    say_notes(settings);
    // The interface may have another sensor by now; that is no reason to leave what is pinned.
    let filters = detach_filters(&settings.wanted());
    let Some(folder) = &settings.pin else {
        return filters.map(|()| ExitCode::SUCCESS);
    };
    let (mut addresses, mut amiss) = settings.addresses_there_are();
    let refusal = settings.refusal().map_or(Ok(()), Err);
    let version = refusal.and_then(|()| settings.format.version());
    let version = version.unwrap_or_else(|sentence| {
        amiss.push(sentence);
        addresses.clear();
        Version::V9
    });
    let output = Output::open(settings.statistics_json.as_deref()).unwrap_or_else(|error| {
        amiss.push(format!("{error:#}"));
        Output::None
    });
    for sentence in amiss {
        eprintln!("weir-sensor: {sentence}: --detach goes on without it");
    }
    let start = Start::new(settings, version, addresses, None);
    let (statistics, is_whole) = start.detach(folder)?;
    give_account(settings, &output, &statistics)?;
    filters.map(|()| {
        if is_whole {
            code(&statistics)
        } else {
            ExitCode::FAILURE
        }
    })
}

/// Under which name the sensor is known to syslog.
fn name(settings: &Settings) -> &'static str {
    match settings.style {
        Style::Weir => "weir-sensor",
        Style::Softflowd => "softflowd",
    }
}

/// The filter expression, compiled; what is wrong with it is told before anything is attached.
fn packet_filter(settings: &Settings) -> Result<Option<PacketFilter>> {
    let Some(expression) = &settings.filter else {
        return Ok(None);
    };
    let first = settings.interfaces.first();
    let first = first.map(|interface| interface.name.as_str());
    let filter = PacketFilter::compile(expression, first).map_err(anyhow::Error::msg)?;
    if let Wanted::Named(names) = settings.wanted() {
        for name in names {
            if let Err(sentence) = filter.program(interface::is_raw(&name)) {
                bail!("{name} cannot be metered: {sentence}");
            }
        }
    }
    Ok(Some(filter))
}

/// `--detach -i`: what a sensor left where tc has no links is taken off.
fn detach_filters(wanted: &Wanted) -> Result<()> {
    for name in names(wanted)? {
        if interface::ifindex(&name).is_none() {
            bail!("there is no interface `{name}`: `ip -brief link` lists those there are");
        }
        if filter::has_living(&name) {
            bail!("a weir-sensor that lives meters {name} by tc filters: end it first");
        }
        let removed = filter::remove_dead(&name)?;
        eprintln!("weir-sensor: {name}: took off {removed} tc filters that a dead sensor had left");
    }
    Ok(())
}
