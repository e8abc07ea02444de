//! Figures for Prometheus: its thread asks, the loop answers between two sweeps, with the account as of then.

use std::{
    io::{self, Read as _, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Interest, Poll, unix::pipe};

use super::{Live, SCRAPES};
use crate::{clock::Now, control::order::StatisticsReport, metrics};

/// How long the thread waits for the loop, which may itself wait for a slow export.
const PATIENCE: Duration = Duration::from_secs(5);

/// The loop's end.
pub(super) struct Scrapes {
    bell: pipe::Receiver,
    asked: Receiver<()>,
    reports: Sender<Box<StatisticsReport>>,
}

impl Live {
    /// Starts the thread, if there is to be one.
    pub(super) fn open_metrics(&mut self, poll: &Poll) -> Result<()> {
        let Some(listener) = self.service.metrics.take() else {
            return Ok(());
        };
        let (ring, mut bell) = pipe::new()?;
        poll.registry()
            .register(&mut bell, SCRAPES, Interest::READABLE)?;
        let (ask, asked) = bounded(1);
        let (reports, reported) = bounded::<Box<StatisticsReport>>(1);
        let make_page = move || {
            // One that came too late for whoever asked.
            let _ = reported.try_recv();
            let _ = ask.try_send(());
            // A bell that cannot take it is ringing already.
            let _ = (&ring).write_all(&[0]);
            let report = reported.recv_timeout(PATIENCE).ok()?;
            let page = metrics::page(&report.statistics, report.missed_frames);
            Some(page.encode("weir_sensor"))
        };
        let address = listener.local_addr()?;
        listener
            .serve(
                Box::new(make_page),
                || Now::read().monotonic_ns,
                "weir-sensor",
            )
            .context("starting the thread for --metrics")?;
        eprintln!("weir-sensor: figures at http://{address}/metrics");
        self.scrapes = Some(Scrapes {
            bell,
            asked,
            reports,
        });
        Ok(())
    }

    /// Answers who asks for figures.
    pub(super) fn answer_scrapes(&mut self) -> Result<()> {
        let Some(scrapes) = &mut self.scrapes else {
            return Ok(());
        };
        scrapes.quiet()?;
        if scrapes.asked.try_recv().is_err() {
            return Ok(());
        }
        self.look()?;
        let report = Box::new(self.statistics_now());
        if let Some(scrapes) = &self.scrapes {
            // If there is one already it was not fetched in time, and nobody waits.
            let _ = scrapes.reports.try_send(report);
        }
        Ok(())
    }
}

impl Scrapes {
    /// Quiets the bell, which rings once for each time.
    fn quiet(&mut self) -> io::Result<()> {
        let mut octets = [0; 64];
        loop {
            match self.bell.read(&mut octets) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
