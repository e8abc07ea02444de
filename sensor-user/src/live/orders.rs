//! What the control socket's clients ask of the running sensor, done between two sweeps.

use anyhow::Result;
use mio::{Poll, Waker};

use super::{Live, ORDERS};
use crate::{
    clock::Now,
    control::{
        Desk,
        answer::Facts,
        order::{Order, Outlook, Report, StatisticsReport},
        view::View,
    },
    sweep::Take,
};

impl Live {
    /// Starts the control thread, if there is to be one.
    pub(super) fn open_control(&mut self, poll: &Poll) -> Result<()> {
        let Some(socket) = self.service.control.take() else {
            return Ok(());
        };
        let facts = Facts {
            pid: std::process::id(),
            started_unix_ns: Now::read().unix_ns,
        };
        let view = View::new(self.kernel.second_table()?);
        let waker = Waker::new(poll.registry(), ORDERS)?;
        self.desk = Some(socket.serve(view, facts, waker)?);
        Ok(())
    }

    /// Does what was asked; whether the sensor is to end.
    pub(super) fn obey(&mut self) -> Result<bool> {
        let mut ends = false;
        // Those that come meanwhile wake the loop again: clients that ask one after the other keep it from nothing else.
        let waiting = self.desk.as_ref().map_or(0, Desk::waiting);
        for _ in 0..waiting {
            let Some(asked) = self.desk.as_ref().and_then(Desk::next_order) else {
                break;
            };
            ends |= matches!(asked.order, Order::Shutdown | Order::Exit);
            let report = self.carry_out(&asked.order)?;
            if let Some(desk) = &self.desk {
                desk.report(&asked, report);
            }
        }
        Ok(ends)
    }

    fn carry_out(&mut self, order: &Order) -> Result<Report> {
        match order {
            Order::Shutdown => eprintln!("weir-sensor: shutting down on request"),
            Order::Exit => {
                eprintln!("weir-sensor: ending on request, without exporting the table");
                self.discards = true;
            }
            Order::ExpireAll => {
                self.export.tell_again();
                let report = self.take_table();
                // Who is answered finds them at the collectors, and in the statistics.
                self.export.flush(&Now::read());
                return report;
            }
            Order::DeleteAll => {
                self.discards = true;
                let report = self.take_table();
                self.discards = false;
                return report;
            }
            Order::SendTemplate => self.export.tell_again(),
            Order::Statistics => {
                self.look()?;
                return Ok(Report::Statistics(Box::new(self.statistics_now())));
            }
            Order::Outlook => {
                // What waits in the CPUs' queues is put in the table, which is then looked at.
                self.look()?;
                return Ok(Report::Outlook(Box::new(Outlook {
                    timeouts: self.timeouts,
                    ticks: self.ticks,
                    in_pairs: self.export.wants_pairs(),
                    sampling_interval: self.recorder.sampling_interval,
                    interfaces: self.ports.reports(),
                })));
            }
            Order::Debug(on) => self.service.debug = *on,
            Order::Gather(on) => return Ok(self.gather(*on)),
            Order::SetTimeout(setting) => {
                if let Err(error) = self.timeouts.set(setting) {
                    return Ok(Report::Refused(error));
                }
                eprintln!("weir-sensor: timeout {setting} set on request");
            }
        }
        Ok(Report::Done)
    }

    /// Takes every flow that is in the table; how many there were.
    fn take_table(&mut self) -> Result<Report> {
        self.look()?;
        let flows = self.take(&self.now(), Take::Everything)?;
        Ok(Report::Flows(flows))
    }

    /// The account as of now.
    pub(super) fn statistics_now(&mut self) -> StatisticsReport {
        let mut statistics = self.statistics.clone();
        statistics.read_counters(&self.kernel.states, self.kernel.cpus);
        statistics.export = self.export.progress();
        // In the table, in the CPUs' queues, in the rings.
        statistics.leave();
        StatisticsReport {
            statistics,
            missed_frames: self.ports.missed(),
            in_pairs: self.export.wants_pairs(),
        }
    }

    /// Takes the programs off, or has them put on again at the next look at the interfaces.
    fn gather(&mut self, on: bool) -> Report {
        if let Some(folder) = self.ports.pinned_in() {
            return Report::Refused(format!(
                "pinned programs go on metering: end the sensor, and `weir-sensor --detach --pin {}` takes them off",
                folder.display()
            ));
        }
        if !on {
            self.ports.detach();
        }
        self.gathers = on;
        self.looked_ns = 0;
        Report::Done
    }
}
