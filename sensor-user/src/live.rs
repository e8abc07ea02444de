//! The daemon's loop: signals, flows pushed out of the table, and the sweep by the clock. Packets
//! do not pass here; they drive nothing.

use std::{io, os::fd::AsRawFd as _, time::Duration};

use anyhow::{Context as _, Result};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use weir_sensor_common::Slot;

use crate::{
    clock::Now,
    expiry::{Reason, Timeouts},
    export::Export,
    grace,
    kernel::Kernel,
    record::Recorder,
    statistics::Statistics,
    sweep::{Sweep, Take, Taken},
};

const SIGNALS: Token = Token(0);
const EVICTED: Token = Token(1);

/// Evicted flows taken from the ring before the loop looks at the clock again.
const EVICTED_TURN_MAX: usize = 16_384;

/// The running sensor.
pub struct Live {
    kernel: Kernel,
    sweep: Sweep,
    timeouts: Timeouts,
    recorder: Recorder,
    export: Export,
    statistics: Statistics,
    debug_log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    swept_ns: u64,
}

impl Live {
    /// Takes over an attached program.
    ///
    /// # Errors
    /// If the debug log was asked for and cannot be read.
    pub fn new(
        mut kernel: Kernel,
        timeouts: Timeouts,
        recorder: Recorder,
        export: Export,
        debug_log: bool,
    ) -> Result<Self> {
        let debug_log = debug_log.then(|| kernel.debug_log()).transpose()?;
        Ok(Self {
            kernel,
            sweep: Sweep::default(),
            timeouts,
            recorder,
            export,
            statistics: Statistics::default(),
            debug_log,
            swept_ns: 0,
        })
    }

    /// Runs until SIGTERM or SIGINT, then detaches, exports everything and returns the account.
    ///
    /// # Errors
    /// If the operating system refuses what worked at start.
    pub fn run(mut self) -> Result<Statistics> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(16);
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        let ring = self.kernel.evicted.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&ring), EVICTED, Interest::READABLE)?;
        let mut more = false;
        loop {
            let wait = if more {
                Duration::ZERO
            } else {
                self.until_sweep()
            };
            match poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            if events.iter().any(|event| event.token() == SIGNALS)
                && signals
                    .pending()
                    .any(|signal| signal == SIGTERM || signal == SIGINT)
            {
                break;
            }
            more = self.take_evicted(EVICTED_TURN_MAX) == EVICTED_TURN_MAX;
            self.sweep_if_due()?;
            if let Some(log) = &mut self.debug_log {
                log.flush();
            }
        }
        self.stop()
    }

    fn until_sweep(&self) -> Duration {
        let due_ns = self.swept_ns + self.timeouts.sweep_interval_ns();
        // Rounded up: poll counts milliseconds, and waking early would spin.
        Duration::from_millis(
            due_ns
                .saturating_sub(Now::read().monotonic_ns)
                .div_ceil(1_000_000),
        )
    }

    fn sweep_if_due(&mut self) -> Result<()> {
        let now = Now::read();
        if now.monotonic_ns < self.swept_ns + self.timeouts.sweep_interval_ns() {
            return Ok(());
        }
        self.swept_ns = now.monotonic_ns;
        let timeouts = self.timeouts;
        self.take(&now, Take::Expired(&timeouts))
    }

    /// Closes, waits, collects.
    fn take(&mut self, now: &Now, take: Take<'_>) -> Result<()> {
        let Self {
            kernel,
            sweep,
            recorder,
            export,
            statistics,
            ..
        } = self;
        if sweep.close(&kernel.table, now, take) > 0 {
            grace::wait().context("waiting for a grace period")?;
            sweep.collect(&mut kernel.table, |taken| {
                statistics.count_taken(&taken);
                export.push(recorder.record(&taken, now), now);
            });
        }
        export.hand_over(now);
        Ok(())
    }

    fn take_evicted(&mut self, most: usize) -> usize {
        let Self {
            kernel,
            recorder,
            export,
            statistics,
            ..
        } = self;
        let now = Now::read();
        let mut taken = 0;
        while taken < most
            && let Some(item) = kernel.evicted.next()
        {
            taken += 1;
            if item.len() == size_of::<Slot>() {
                let flow = Taken::of(&bytemuck::pod_read_unaligned(&item), Reason::Forced);
                statistics.count_taken(&flow);
                export.push(recorder.record(&flow, &now), &now);
            }
        }
        if taken > 0 {
            export.hand_over(&now);
        }
        taken
    }

    fn stop(mut self) -> Result<Statistics> {
        // An interface that went away took the program with it.
        let _ = self.kernel.detach();
        grace::wait().context("waiting for a grace period")?;
        self.take_evicted(usize::MAX);
        self.take(&Now::read(), Take::Everything)?;
        self.statistics
            .read_counters(&self.kernel.counters, self.kernel.cpus);
        self.statistics.export = self.export.finish(&Now::read())?;
        Ok(self.statistics)
    }
}
