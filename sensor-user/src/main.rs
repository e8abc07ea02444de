//! `weir-sensor`: meter an interface or a capture file, export NetFlow, give an account.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    mem,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use weir_exporter::{Version, batch::BatchOptions};
use weir_netflow::Sampling;
use weir_sensor::{
    adopt::adopt,
    capture::End,
    clock::{Now, Ticks},
    expiry::Timeouts,
    export::{Clock, Export},
    filter,
    fragments::Fragments,
    grace, interface,
    kernel::{self, Kernel, ProgramOptions},
    live::Live,
    log,
    offline::{Offline, Reading},
    options::Options,
    pin::{self, Pins},
    ports::{Ports, Wanted},
    record::{self, Recorder},
    statistics::Statistics,
    table,
};
use weir_sensor_common::{Fields, KeyMask, hash::Seed, table::Shape};

fn main() -> ExitCode {
    let options = Options::parse();
    if options.detach && options.pin.is_none() && options.interface.is_empty() {
        usage("--detach: say from where: --pin DIR, -i IF, or both");
    }
    let timeouts = options.timeouts().unwrap_or_else(|error| usage(&error));
    let fields = options.fields().unwrap_or_else(|error| usage(&error));
    match run(&options, timeouts, carried(&options, fields)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-sensor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends with a usage error, status 2.
fn usage(error: &str) -> ! {
    Options::command()
        .error(ErrorKind::InvalidValue, error)
        .exit()
}

/// Those of the fields that the export format has a place for; says so if that is none.
fn carried(options: &Options, fields: Fields) -> Fields {
    let version = Version::from(options.netflow_version);
    if fields != Fields::NONE && !version.has_templates() {
        let number = if version == Version::V1 { 1 } else { 5 };
        eprintln!(
            "weir-sensor: NetFlow v{number} has no place for --fields, nor for the MAC addresses of -T ether: records go without them; -v 9 and -v 10 carry them"
        );
        return Fields::NONE;
    }
    fields
}

/// `fields` are those that records carry besides.
fn run(options: &Options, timeouts: Timeouts, fields: Fields) -> Result<ExitCode> {
    let addresses = options.addresses().map_err(anyhow::Error::msg)?;
    let key_mask = KeyMask::from(options.track);
    if let Some(path) = &options.read {
        let shape = shape(options.max_flows.unwrap_or(1 << 18), key_mask)?;
        let batch = batch_options(options, Sampling::NONE, fields);
        let export = Export::start(&addresses, batch, Clock::Packets)?;
        let recorder = Recorder {
            ifindexes: vec![0],
            key_mask,
            sampling_interval: 1,
        };
        let fragments = Fragments::new(options.fragments_max());
        let reading = Reading {
            tunnels: options.tunnels(),
            extra: fields.and(Fields::of_key(key_mask)),
        };
        let offline = Offline::new(shape, fragments, reading, timeouts, recorder, export)?;
        let (statistics, end) = offline.run(path)?;
        if options.statistics_json.as_deref() != Some(Path::new("-")) {
            print!("{}", statistics.to_text());
        }
        write_statistics(options, &statistics)?;
        return Ok(ended(path, &statistics, &end));
    }
    if options.detach {
        detach_filters(&options.wanted())?;
    }
    let statistics = match &options.pin {
        _ if !options.detach => meter(options, timeouts, fields, &addresses)?,
        Some(folder) => detach(options, folder, fields, &addresses)?,
        None => return Ok(ExitCode::SUCCESS),
    };
    write_statistics(options, &statistics)?;
    if options.statistics_json.as_deref() != Some(Path::new("-")) {
        eprint!("{}", statistics.to_text());
    }
    Ok(code(&statistics))
}

/// A sensor whose export died has given its account, and wants to be started again.
fn code(statistics: &Statistics) -> ExitCode {
    if statistics.export_died {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn batch_options(options: &Options, sampling: Sampling, fields: Fields) -> BatchOptions {
    BatchOptions {
        sampling,
        optional: record::optional(fields),
        ..BatchOptions::new(options.netflow_version.into())
    }
}

fn meter(
    options: &Options,
    timeouts: Timeouts,
    fields: Fields,
    addresses: &[std::net::SocketAddr],
) -> Result<Statistics> {
    if !grace::available()? {
        bail!(
            "this kernel offers no membarrier (nohz_full= is set): the table cannot be handed over exactly"
        );
    }
    if fs::read_to_string("/sys/kernel/realtime").is_ok_and(|answer| answer.trim() == "1") {
        bail!(
            "this is a PREEMPT_RT kernel: two programs may run on one CPU at a time there, and the table has one writer a CPU"
        );
    }
    let wanted = options.wanted();
    let key_mask = KeyMask::from(options.track);
    let programs = program_options(options, &wanted, fields)?;
    if options.debug_log {
        log::start();
    }
    let mut kernel = Kernel::load(&programs)?;
    let sampling = Sampling {
        interval: options.sampling,
        random: options.sampling_random,
    };
    let batch = batch_options(options, sampling, fields);
    let export = Export::start(addresses, batch, Clock::Live)?;
    let (pins, dead) = match &options.pin {
        Some(folder) => {
            let (pins, dead) = Pins::new(folder, &kernel, &programs)?;
            (Some(pins), dead)
        }
        None => (None, Vec::new()),
    };
    let (ports, attached) = Ports::attach(&mut kernel, wanted, options.how(), pins);
    let failure = match attached {
        Ok(sentences) => {
            for sentence in sentences {
                eprintln!("weir-sensor: {sentence}");
            }
            None
        }
        Err(error) if ports.replaced_others() => Some(error),
        Err(error) => return Err(error),
    };
    say_what_is_done(&kernel, addresses);
    let recorder = Recorder {
        ifindexes: ports.ifindexes(),
        key_mask,
        sampling_interval: options.sampling,
    };
    let mut live = Live::new(
        kernel,
        ports,
        timeouts,
        recorder,
        export,
        options.exact_clock,
        options.debug_log,
    )?;
    live.take_over(dead)?;
    match failure {
        None => live.run(),
        Some(error) => {
            live.stop()?;
            Err(error)
        }
    }
}

fn say_what_is_done(kernel: &Kernel, addresses: &[std::net::SocketAddr]) {
    eprintln!(
        "weir-sensor: flow table: {} CPUs × {} slots, {} KiB",
        kernel.cpus,
        kernel.table.slots(),
        (kernel.table.octets() + kernel.evicted.octets()) >> 10,
    );
    for address in addresses {
        eprintln!("weir-sensor: exporting NetFlow to {address}");
    }
    if addresses.is_empty() {
        eprintln!("weir-sensor: no -n given: counting flows, exporting none");
    }
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

fn names(wanted: &Wanted) -> Result<Vec<String>> {
    match wanted {
        Wanted::Named(names) => Ok(names.clone()),
        Wanted::Any => interface::all(),
    }
}

/// `--detach --pin`: what a sensor left is exported and removed.
fn detach(
    options: &Options,
    folder: &Path,
    fields: Fields,
    addresses: &[std::net::SocketAddr],
) -> Result<Statistics> {
    let batch = batch_options(options, Sampling::NONE, fields);
    let mut export = Export::start(addresses, batch, Clock::Live)?;
    let mut statistics = Statistics::default();
    // Any program tells the timer's tick.
    let mut kernel = Kernel::load(&ProgramOptions::new(shape(1, KeyMask::FULL)?))?;
    let timer = Ticks::of_timer(|| kernel.settle())?;
    let mut left = pin::detach(folder)?;
    let tables = mem::take(&mut left.tables);
    adopt(tables, timer, &mut export, &mut statistics)?;
    eprintln!(
        "weir-sensor: took {} programs off; {} flows of {} packets were in the table",
        left.attachments, statistics.adopted.records, statistics.adopted.packets
    );
    (statistics.export, statistics.export_died) = export.finish(&Now::read());
    Ok(statistics)
}

fn program_options(options: &Options, wanted: &Wanted, fields: Fields) -> Result<ProgramOptions> {
    let names = names(wanted)?;
    if options.drop && !options.drop_anyway {
        for name in &names {
            if let Some(reason) = interface::in_use(name)? {
                bail!(
                    "--drop would cut {name} off, which has {reason}; for a mirror port take these off it, or add --drop-anyway"
                );
            }
        }
    }
    let key_mask = KeyMask::from(options.track);
    let shape = shape(options.flows_per_cpu(kernel::cpus()?), key_mask)?;
    let one = *wanted == Wanted::Named(names.clone()) && names.len() == 1;
    Ok(ProgramOptions {
        ring_flows: options.ring / 64,
        several: !one,
        raw: one && interface::is_raw(&names[0]),
        drop: options.drop,
        fragments: options.fragments_max(),
        tunnels: options.tunnels(),
        extra: fields.and(Fields::of_key(key_mask)),
        sampling: options.sampling,
        sampling_random: options.sampling_random,
        exact_clock: options.exact_clock,
        debug_log: options.debug_log,
        ..ProgramOptions::new(shape)
    })
}

fn shape(flows: u32, key_mask: KeyMask) -> Result<Shape> {
    let mut octets = [0u8; 56];
    // SAFETY: the buffer is valid for its length.
    let drawn = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
    if usize::try_from(drawn) != Ok(octets.len()) {
        bail!("the kernel gave no random numbers");
    }
    let [words @ .., first, second]: [u64; 7] = bytemuck::pod_read_unaligned(&octets);
    Ok(Shape {
        bucket_mask: table::bucket_mask(flows),
        seed: Seed::new(words).with_macs([first, second]),
        key_mask: key_mask.0,
    })
}

fn write_statistics(options: &Options, statistics: &Statistics) -> Result<()> {
    let Some(path) = &options.statistics_json else {
        return Ok(());
    };
    let text = format!("{:#}\n", statistics.to_json());
    if path == Path::new("-") {
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Says how the capture ended, if it was not whole.
fn ended(path: &Path, statistics: &Statistics, end: &End) -> ExitCode {
    let name = path.display();
    let bold = if std::io::stderr().is_terminal() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    if statistics.unsupported_link_packets > 0 {
        eprintln!(
            "weir-sensor: {name}: {} frames have a link layer that is not known; they are counted as not IP",
            statistics.unsupported_link_packets
        );
    }
    match end {
        End::Whole => code(statistics),
        End::Partial(reason) => {
            eprintln!(
                "weir-sensor: {}partial{}: {name}: {reason}; what came before it is counted and exported",
                bold.0, bold.1
            );
            ExitCode::FAILURE
        }
    }
}
