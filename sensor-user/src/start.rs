//! What a sensor does by its settings: it reads a capture, meters interfaces, or exports and removes what
//! was left.
#![expect(unsafe_code, reason = "a system call")]

use std::{
    ffi::{OsString, c_int},
    fs,
    io::IsTerminal as _,
    mem,
    net::SocketAddr,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use weir_exporter::Version;
use weir_netflow::Sampling;
use weir_sensor::{
    adopt::adopt,
    capture::End,
    clock::{self, Now, Ticks},
    confine,
    control::{self, Socket, text::Protocols},
    export::{Clock, Export},
    fragments::Fragments,
    grace, interface,
    kernel::{self, Kernel, ProgramOptions},
    live::{Ears, Live, Outcome, Reload, Service},
    log,
    offline::{Offline, Reading},
    options::{Settings, Style, export::Transport},
    output::Output,
    pin::{Left, Pins},
    ports::{Ports, Wanted},
    prefilter::{FileFilter, PacketFilter},
    record::Recorder,
    signals::{self, Interrupt},
    statistics::Statistics,
    table,
};
use weir_sensor_common::{Fields, KeyMask, hash::Seed, table::Shape};
use weir_service::{daemon::Daemon, http, lines, notify::Notify};

/// What is settled before the work begins.
pub struct Start<'a> {
    /// The command line and its files.
    settings: &'a Settings,
    /// The export format.
    version: Version,
    /// Where to.
    addresses: Vec<SocketAddr>,
    /// Which attributes tell flows apart.
    key_mask: KeyMask,
    /// What records carry besides.
    fields: Fields,
    /// Which packets are metered, if not all are.
    filter: Option<PacketFilter>,
}

impl<'a> Start<'a> {
    /// Of settings that were looked at, and what came of that.
    pub fn new(
        settings: &'a Settings,
        version: Version,
        addresses: Vec<SocketAddr>,
        filter: Option<PacketFilter>,
    ) -> Self {
        Self {
            settings,
            version,
            addresses,
            key_mask: KeyMask::from(settings.track),
            fields: carried(settings, version),
            filter,
        }
    }

    /// `-r`.
    pub fn read(&self, path: &Path, output: &Output) -> Result<ExitCode> {
        let settings = self.settings;
        let shape = shape(settings.flows_per_cpu.unwrap_or(1 << 18), self.key_mask)?;
        let export = self.export(self.sampling(), Clock::Packets)?;
        let recorder = self.recorder(vec![0], Vec::new());
        let fragments = Fragments::new(settings.fragments_max());
        let reading = Reading {
            tunnels: settings.tunnels,
            extra: self.extra(),
            sampling: settings.sampling,
        };
        let timeouts = match settings.style {
            Style::Weir => settings.timeouts,
            Style::Softflowd => settings.timeouts.never_idle(),
        };
        let filter = settings.filter.as_deref().map(FileFilter::new);
        let filter = filter.transpose().map_err(anyhow::Error::msg)?;
        let offline = Offline::new(shape, fragments, reading, timeouts, recorder, export)?;
        let interrupt = Interrupt::default();
        let (statistics, end) = offline.with_filter(filter).run(path, &interrupt)?;
        if !matches!(output, Output::Standard) {
            let text = match settings.style {
                Style::Weir => statistics.to_text(),
                Style::Softflowd => {
                    control::statistics::layout(&statistics, 0, None, &Protocols::read())
                }
            };
            lines::to_stdout(format_args!("{text}"), "");
        }
        output.write(&statistics)?;
        if settings.cpu_clocks {
            eprintln!("weir-sensor: cpu clocks: {}", clock::processor_us());
        }
        Ok(ended(path, &statistics, &end, interrupt.signal()))
    }

    fn export(&self, sampling: Sampling, clock: Clock) -> Result<Export> {
        let how = self.settings.export(self.version, self.fields, sampling);
        Export::start(&self.addresses, &how, clock)
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            interval: self.settings.sampling,
            random: self.settings.sampling_random,
        }
    }

    fn recorder(&self, ifindexes: Vec<u32>, ifindexes_given: Vec<Option<u32>>) -> Recorder {
        Recorder {
            ifindexes,
            ifindexes_given,
            key_mask: self.key_mask,
            sampling_interval: self.settings.sampling,
            as_softflowd: self.settings.style == Style::Softflowd,
        }
    }

    /// What is read of packets beside the key: what records carry, and what the key needs.
    fn extra(&self) -> Fields {
        self.fields.and(Fields::of_key(self.key_mask))
    }

    /// Meters; returns the account. A start that fails after it took tables over, or has metered already,
    /// has an account, too, and beside it the reason.
    pub fn meter(&self, line: Vec<OsString>, daemon: &mut Option<Daemon>) -> Result<Outcome> {
        let settings = self.settings;
        // Before there are threads.
        let service = Service {
            control: control_socket(settings)?,
            notify: Notify::from_environment(),
            metrics: settings.metrics.map(listen_for_scrapes).transpose()?,
            reload: Some(Reload::new(line, settings.clone())),
            debug: settings.debug,
        };
        refuse_unfit_kernel()?;
        let wanted = settings.wanted();
        let programs = self.program_options(&wanted)?;
        if settings.debug_log {
            log::start();
        }
        let mut kernel = self.load(&programs)?;
        let export = self.export(self.sampling(), Clock::Live)?;
        let (pins, dead) = match &settings.pin {
            Some(folder) => {
                let (pins, dead) = Pins::new(folder, &kernel, &programs)?;
                (Some(pins), dead)
            }
            None => (None, Vec::new()),
        };
        let ears = Ears::open(&mut kernel, settings.debug_log)?;
        let (ports, attached) = Ports::attach(&mut kernel, wanted, settings.how(), pins);
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
        self.say_what_is_done(&kernel);
        let recorder = self.recorder(ports.ifindexes(), settings.ifindexes_given());
        let mut live = Live::new(
            kernel,
            ports,
            settings.timeouts,
            recorder,
            export,
            settings.exact_clock,
            ears,
        )
        .with_service(service);
        let taken_over = live.take_over(dead);
        let failure = failure.or(taken_over.err());
        if failure.is_some() {
            return Ok(live.stop(failure));
        }
        confine::confine(settings.seccomp);
        if let Some(Err(error)) = daemon.as_mut().map(Daemon::ready) {
            return Ok(live.stop(Some(error)));
        }
        Ok(live.run())
    }

    fn load(&self, programs: &ProgramOptions) -> Result<Kernel> {
        let mut kernel = Kernel::load_first(programs, &self.settings.how().programs())?;
        if let Some(filter) = &self.filter {
            kernel.set_filter(filter.clone())?;
        }
        Ok(kernel)
    }

    fn say_what_is_done(&self, kernel: &Kernel) {
        eprintln!(
            "weir-sensor: flow table: {} CPUs × {} slots, {} KiB",
            kernel.cpus,
            kernel.table.slots(),
            (kernel.table.octets() + kernel.evicted.octets()) >> 10,
        );
        if self.settings.style == Style::Softflowd {
            eprintln!(
                "weir-sensor: softflowd v{} starting data collection",
                env!("CARGO_PKG_VERSION")
            );
        }
        for address in &self.addresses {
            match self.settings.style {
                Style::Weir => eprintln!(
                    "weir-sensor: exporting {} to {address}{}",
                    self.version,
                    if self.settings.wishes.transport == Transport::Tcp {
                        " by TCP"
                    } else {
                        ""
                    }
                ),
                Style::Softflowd => {
                    let names = self.settings.interfaces.iter();
                    let names: Vec<_> = names.map(|interface| interface.name.as_str()).collect();
                    eprintln!(
                        "weir-sensor: Exporting flows from {} to [{}]:{}",
                        names.join(","),
                        address.ip(),
                        address.port()
                    );
                }
            }
        }
        if self.addresses.is_empty() {
            eprintln!("weir-sensor: no -n given: counting flows, exporting none");
        }
    }

    /// `--detach --pin`: what a sensor left is removed, and exported to those collectors that can be had.
    pub fn detach(&self, folder: &Path) -> Result<Statistics> {
        let mut left = Left::open(folder)?;
        let sampling = left.sampling();
        let how = self.settings.export(self.version, self.fields, sampling);
        let mut export = Export::start_where_possible(&self.addresses, &how, Clock::Live)?;
        let mut statistics = Statistics::default();
        // The one that is always loaded tells the timer's tick.
        let options = ProgramOptions::new(shape(1, KeyMask::FULL)?);
        let mut kernel = Kernel::load_first(&options, &[])?;
        let timer = Ticks::of_timer(|| kernel.settle())?;
        // From here on nothing ends the process half way: what it had sent would be sent again.
        let _signals = signals::take()?;
        let attachments = left.take_off()?;
        let tables = mem::take(&mut left.tables);
        let told = sampling.interval;
        adopt(tables, timer, told, &mut export, &mut statistics)?;
        eprintln!(
            "weir-sensor: took {attachments} programs off; {} flows of {} packets were in the table",
            statistics.adopted.records, statistics.adopted.packets
        );
        (statistics.export, statistics.export_died) = export.finish(&Now::read());
        Ok(statistics)
    }

    fn program_options(&self, wanted: &Wanted) -> Result<ProgramOptions> {
        let settings = self.settings;
        let names = names(wanted)?;
        if settings.drop && !settings.drop_anyway {
            for name in &names {
                if let Some(reason) = interface::in_use(name)? {
                    bail!(
                        "--drop would cut {name} off, which has {reason}; for a mirror port take these off it, or add --drop-anyway"
                    );
                }
            }
        }
        let shape = shape(settings.flows_per_cpu(kernel::cpus()?), self.key_mask)?;
        let one = *wanted == Wanted::Named(names.clone()) && names.len() == 1;
        Ok(ProgramOptions {
            ring_flows: settings.ring_octets / 64,
            several: !one,
            raw: one && interface::is_raw(&names[0]),
            drop: settings.drop,
            filter: self.filter.is_some(),
            fragments: settings.fragments_max(),
            tunnels: settings.tunnels,
            extra: self.extra(),
            sampling: settings.sampling,
            sampling_random: settings.sampling_random,
            exact_clock: settings.exact_clock,
            debug_log: settings.debug_log,
            ..ProgramOptions::new(shape)
        })
    }
}

/// A sensor whose export died has given its account, and wants to be started again.
pub fn code(statistics: &Statistics) -> ExitCode {
    if statistics.export_died {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Names of the interfaces that are there now.
pub fn names(wanted: &Wanted) -> Result<Vec<String>> {
    match wanted {
        Wanted::Named(names) => Ok(names.clone()),
        Wanted::Any => interface::all(),
    }
}

/// Those of the fields that the export format has a place for; says so if that is none.
fn carried(settings: &Settings, version: Version) -> Fields {
    let fields = settings.fields();
    if version.has_templates() {
        return fields;
    }
    // What -x asks for is told elsewhere.
    let told = settings
        .fields_asked
        .and(Fields::of_key(settings.track.into()));
    if told != Fields::NONE {
        eprintln!(
            "weir-sensor: {version} has no place for --fields, nor for the MAC addresses of -T ether: records go without them; -v 9 and -v 10 carry them"
        );
    }
    Fields::NONE
}

fn refuse_unfit_kernel() -> Result<()> {
    if !grace::available()? {
        bail!(
            "this kernel offers no membarrier (nohz_full= is set), so the table cannot be handed over exactly: boot without nohz_full=, or meter at a mirror port of another machine"
        );
    }
    if fs::read_to_string("/sys/kernel/realtime").is_ok_and(|answer| answer.trim() == "1") {
        bail!(
            "this is a PREEMPT_RT kernel, where two programs may run on one CPU at a time, and the table has one writer a CPU: boot a kernel without PREEMPT_RT, or meter at a mirror port of another machine"
        );
    }
    Ok(())
}

/// The control socket. Where nobody asked for it, a sensor does without.
fn control_socket(settings: &Settings) -> Result<Option<Socket>> {
    let control = &settings.control;
    let Some(path) = &control.path else {
        return Ok(None);
    };
    match Socket::open(path, control.group.as_deref()) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if control.needed || control.group.is_some() => Err(error),
        Err(error) => {
            eprintln!(
                "weir-sensor: no control socket, so weir-ctl cannot ask this sensor (-c PATH puts one elsewhere): {error:#}"
            );
            Ok(None)
        }
    }
}

fn listen_for_scrapes(address: SocketAddr) -> Result<http::Listener> {
    http::Listener::bind(address).with_context(|| {
        format!("--metrics: cannot listen on {address}; `ss -ltnp` lists who listens where")
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

/// Says how the capture ended, if it was not whole, and whether a signal was why.
fn ended(path: &Path, statistics: &Statistics, end: &End, signal: Option<c_int>) -> ExitCode {
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
            let reason = match signal {
                Some(signal) => format!("{} ended the reading", signals::name(signal)),
                None => reason.clone(),
            };
            eprintln!(
                "weir-sensor: {}partial{}: {name}: {reason}; what came before it is counted and exported",
                bold.0, bold.1
            );
            let status = signal.and_then(|signal| u8::try_from(Interrupt::status(signal)).ok());
            status.map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
