//! The daemon's loop: signals, flows pushed out of the table, orders from the control socket, and the
//! sweep by the clock. Packets do not pass here; they drive nothing. `taking` is how flows leave the table, `interfaces`
//! how ports come and go; `orders`, `reload` and `scrapes` are what others ask for; `ending` is the end.

mod ending;
mod interfaces;
mod orders;
mod reload;
mod scrapes;
mod taking;

pub use reload::Reload;
use scrapes::Scrapes;

use std::{io, os::fd::AsRawFd as _, time::Duration};

use anyhow::{Error, Result, bail};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use signal_hook_mio::v1_0::Signals;
use weir_service::{http, notify::Notify};

use crate::{
    clock::{Now, Ticks},
    control::{Desk, Socket},
    expiry::Timeouts,
    export::Export,
    kernel::Kernel,
    ports::Ports,
    pressure::{self, Pressure},
    record::Recorder,
    signals::{self, Meaning},
    statistics::Statistics,
    sweep::{Sweep, Take},
};

const SIGNALS: Token = Token(0);
const BELL: Token = Token(1);
const ORDERS: Token = Token(2);
const SCRAPES: Token = Token(3);

/// Evicted flows taken from a ring before the loop looks at the clock again.
const EVICTED_TURN_MAX: u32 = 8192;

/// How often the interfaces are looked at: what happens to them is noticed within two seconds.
const LOOK_INTERVAL_NS: u64 = 1_000_000_000;

/// How the sensor is in touch with those who run it.
#[derive(Debug, Default)]
pub struct Service {
    /// The control socket, if there is one.
    pub control: Option<Socket>,
    /// The service manager.
    pub notify: Notify,
    /// Where figures are told to Prometheus, if they are.
    pub metrics: Option<http::Listener>,
    /// How the settings can be read again.
    pub reload: Option<Reload>,
    /// Whether to say what each sweep takes.
    pub debug: bool,
}

/// What is had before anything is attached, since a start may fail for want of it.
pub struct EventSources {
    /// Nothing may end the process in the middle of a take-over.
    signals: Signals,
    debug_log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl EventSources {
    /// Takes the signals, and what programs log if that was asked for.
    ///
    /// # Errors
    /// If one of them cannot be had.
    pub fn open(kernel: &mut Kernel, debug_log: bool) -> Result<Self> {
        Ok(Self {
            signals: signals::take()?,
            debug_log: debug_log.then(|| kernel.debug_log()).transpose()?,
        })
    }
}

/// The account, and why the sensor ended, if nobody asked it to.
pub type Outcome = (Statistics, Option<Error>);

/// The running sensor. Whatever fails from here on, what it metered is exported and there is an account.
pub struct Live {
    kernel: Kernel,
    ports: Ports,
    sources: EventSources,
    sweep: Sweep,
    timeouts: Timeouts,
    recorder: Recorder,
    export: Export,
    statistics: Statistics,
    swept_ns: u64,
    looked_ns: u64,
    exact_clock: bool,
    ticks: Ticks,
    pressure: Pressure,
    /// Slots in use in the fullest CPU's region after the last sweep.
    fullest: u64,
    service: Service,
    /// Where orders come in, once the loop runs.
    desk: Option<Desk>,
    /// Where figures are asked for, likewise.
    scrapes: Option<Scrapes>,
    /// Whether packets are to be metered.
    gathers: bool,
    /// Whether flows that are taken are thrown away.
    discards: bool,
}

impl Live {
    /// Takes over an attached program.
    #[must_use]
    pub fn new(
        kernel: Kernel,
        ports: Ports,
        timeouts: Timeouts,
        recorder: Recorder,
        export: Export,
        exact_clock: bool,
        sources: EventSources,
    ) -> Self {
        let statistics = Statistics {
            tells_conversations: export.tells_conversations(),
            ..Statistics::default()
        };
        let live = Self {
            kernel,
            ports,
            sources,
            sweep: Sweep::new(export.wants_pairs()),
            timeouts,
            recorder,
            export,
            statistics,
            swept_ns: 0,
            looked_ns: 0,
            exact_clock,
            ticks: Ticks::default(),
            pressure: Pressure::default(),
            fullest: 0,
            service: Service::default(),
            desk: None,
            scrapes: None,
            gathers: true,
            discards: false,
        };
        live.name_interfaces();
        live
    }

    /// The same sensor, in touch with those who run it.
    #[must_use]
    pub fn with_service(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// Runs until a signal or an order ends it, until the export thread dies, or until the operating system
    /// refuses what it cannot do without; then detaches, exports everything and returns the account.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let failure = self.meter().err();
        self.stop(failure)
    }

    fn meter(&mut self) -> Result<()> {
        self.look()?;
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(16);
        poll.registry()
            .register(&mut self.sources.signals, SIGNALS, Interest::READABLE)?;
        let bell = self.kernel.bell.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&bell), BELL, Interest::READABLE)?;
        self.open_control(&poll)?;
        self.open_metrics(&poll)?;
        self.service.notify.ready("metering");
        let mut more = false;
        loop {
            let wait = if more {
                Duration::ZERO
            } else {
                self.until_next()
            };
            match poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            if events.iter().any(|event| event.token() == SIGNALS) && self.take_signals()? {
                return Ok(());
            }
            self.end_reload();
            self.answer_scrapes()?;
            if self.obey()? {
                return Ok(());
            }
            more = self.take_evicted(EVICTED_TURN_MAX)?;
            self.look_at_ports_if_due()?;
            self.sweep_if_due()?;
            if let Some(log) = &mut self.sources.debug_log {
                log.flush();
            }
            if self.export.is_dead() {
                return Ok(());
            }
        }
    }

    /// Takes the signals that came; whether to end.
    fn take_signals(&mut self) -> Result<bool> {
        let (mut ends, mut is_reload, mut stray) = (false, false, None);
        for signal in self.sources.signals.pending() {
            match signals::meaning(signal) {
                Meaning::End => ends = true,
                Meaning::Reload => is_reload = true,
                Meaning::Nothing => {}
                Meaning::Stray => stray = Some(signal),
            }
        }
        if let (false, Some(signal)) = (ends, stray) {
            bail!(
                "{} ended the sensor, and everything was exported: send SIGTERM to end it, SIGHUP to have the settings read again",
                signals::name(signal)
            );
        }
        if is_reload && !ends {
            self.begin_reload();
        }
        Ok(ends)
    }

    fn until_next(&self) -> Duration {
        let timeouts = self.pressure.shorten(&self.timeouts);
        let due_ns =
            (self.swept_ns + timeouts.sweep_interval_ns()).min(self.looked_ns + LOOK_INTERVAL_NS);
        // Rounded up: poll counts milliseconds, and waking early would spin.
        Duration::from_millis(
            due_ns
                .saturating_sub(Now::read().monotonic_ns)
                .div_ceil(1_000_000),
        )
    }

    fn sweep_if_due(&mut self) -> Result<()> {
        let now = Now::read();
        let timeouts = self.pressure.shorten(&self.timeouts);
        if now.monotonic_ns < self.swept_ns + timeouts.sweep_interval_ns() {
            return Ok(());
        }
        self.swept_ns = now.monotonic_ns;
        self.look()?;
        self.statistics
            .read_counters(&self.kernel.states, self.kernel.cpus);
        self.export.note_losses(&self.statistics, &now);
        self.take(&self.now(), Take::Expired(&timeouts))?;
        self.service.notify.alive(now.monotonic_ns);
        self.feel_pressure();
        Ok(())
    }

    /// Shortens timeouts while the table is filling, and says when that begins and ends.
    fn feel_pressure(&mut self) {
        let slots = u64::from(self.kernel.table.slots());
        let before = self.pressure;
        self.pressure = before.after(self.fullest, slots);
        match (before.is_on(), self.pressure.is_on()) {
            (false, true) => eprintln!(
                "weir-sensor: the flow table is {} % full: idle flows are exported earlier until it is below {} %",
                self.fullest * 100 / slots.max(1),
                pressure::LOW_PERCENT
            ),
            (true, false) => eprintln!("weir-sensor: the flow table has room again"),
            _ => {}
        }
    }

    /// Has the queues settled and the ticks read.
    fn look(&mut self) -> Result<()> {
        let ticks = self.kernel.settle()?;
        if !self.exact_clock {
            self.ticks = ticks;
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now::read().with_ticks(self.ticks)
    }
}
