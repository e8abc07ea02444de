//! Interfaces: what is needed to meter them is had, the programs are put on, and the loop runs.

use std::{ffi::OsString, fs, net::SocketAddr};

use anyhow::{Context as _, Result, bail};
use weir_sensor::{
    confine,
    control::Socket,
    export::Clock,
    grace, interface,
    kernel::{self, Kernel, ProgramOptions},
    live::{EventSources, Live, Outcome, Reload, Service},
    log,
    options::{Settings, Style, export::Transport},
    pin::Pins,
    ports::{Ports, Wanted},
    settle,
};
use weir_service::{daemon::Daemon, http, notify::Notify};

use super::{Start, names, shape};

impl Start<'_> {
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
        let sources = EventSources::open(&mut kernel, settings.debug_log)?;
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
            sources,
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
                    if self.settings.export_options.transport == Transport::Tcp {
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

    fn program_options(&self, wanted: &Wanted) -> Result<ProgramOptions> {
        let settings = self.settings;
        let names = names(wanted)?;
        for name in &names {
            settings.how().refuse_to_cut_off(name)?;
        }
        let shape = shape(settings.flows_per_cpu(kernel::cpus()?), self.key_mask)?;
        let one = *wanted == Wanted::Named(names.clone()) && names.len() == 1;
        let defaults = ProgramOptions::new(shape);
        Ok(ProgramOptions {
            stages: stages(defaults.stages)?,
            ring_flows: settings.ring_octets / 64,
            several: !one,
            raw: one && interface::is_raw(&names[0]),
            drop: settings.drop,
            filter: self.filter.is_some(),
            fragments: settings.fragments_max(),
            v4_only: settings.v4_only(),
            tunnels: settings.tunnels,
            extra: self.extra(),
            sampling: settings.sampling,
            sampling_random: settings.sampling_random,
            exact_clock: settings.exact_clock,
            debug_log: settings.debug_log,
            ..defaults
        })
    }
}

/// Length of the CPUs' queues, which would wait too long on a CPU where nobody settles them.
fn stages(longest: u32) -> Result<u32> {
    if longest == 1 || settle::reaches_all_cpus()? {
        return Ok(longest);
    }
    eprintln!(
        "weir-sensor: this process may not run on every CPU (AllowedCPUs=, or another cpuset), so packets are accounted one at a time: with many flows that takes longer"
    );
    Ok(1)
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
