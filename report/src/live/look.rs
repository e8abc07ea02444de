//! Looking, again and again: the sensor is asked, what arrived is read, the ledger is kept.

use std::{
    net::Ipv6Addr,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    time::Duration,
};

use anyhow::{Error, Result, bail};
use weir_service::control;

use super::{
    arrivals::Arrivals,
    ledger::{Ledger, Shown},
    sensor::Sensor,
};
use crate::clock;

/// How long nothing comes until that is said, nanoseconds.
const SILENT_NS: i64 = 60_000_000_000;

/// Which flows the sensor is asked for: all, those of a host, or those between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// One end.
    pub host: Option<Ipv6Addr>,
    /// The other one.
    pub peer: Option<Ipv6Addr>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Look {
    /// When, nanoseconds since 1970-01-01 UTC.
    pub at_ns: i64,
    /// Where.
    pub source: String,
    /// The flows.
    pub flows: Vec<Shown>,
    /// Flows in the sensor's table, of those asked for.
    pub open_flows: Option<u64>,
    /// How many of them it told: those with most octets.
    pub told_flows: u64,
    /// When the newest flow in the directory was received, nanoseconds since 1970-01-01 UTC.
    pub last_received_ns: Option<i64>,
    /// Of how many packets one was looked at, at most, of the flows in the directory.
    pub sampling_interval_max: u32,
    /// What is amiss, as a sentence.
    pub trouble: Option<String>,
}

impl Look {
    /// Since when nothing was received, if that is a while ago.
    #[must_use]
    pub fn silent_since_ns(&self) -> Option<i64> {
        let silent_ns = |last_ns: i64| self.at_ns.saturating_sub(last_ns);
        self.last_received_ns
            .filter(|last_ns| silent_ns(*last_ns) > SILENT_NS)
    }
}

/// What looks.
pub struct Looker {
    sensor: Option<Sensor>,
    arrivals: Option<Arrivals>,
    ledger: Ledger,
    source: String,
    /// When the newest flow was received that is known of, nanoseconds since 1970-01-01 UTC.
    last_received_ns: Option<i64>,
    /// As in [`Look`].
    sampling_interval_max: u32,
    /// When closed files may be asked for it again, by the monotonic clock.
    closed_again_ns: u64,
}

impl Looker {
    /// Looks at what the command line names, else at the sensor there is.
    ///
    /// # Errors
    /// If there is nothing to look at.
    pub fn open(control: Option<&Path>, directory: Option<&Path>) -> Result<Self> {
        let found = match (control, directory) {
            (None, None) => match control::find() {
                Ok(found) => Some(found),
                Err(unclear) => {
                    bail!("{unclear}, or the directory of a collector's flows with -r DIR")
                }
            },
            _ => None,
        };
        let control = control.or(found.as_deref());
        if let Some(path) = control {
            Sensor::look_for(path).map_err(Error::msg)?;
        }
        if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
            bail!(
                "{} is no directory: -r takes the collector's -w",
                directory.display()
            );
        }
        let sources = [control, directory].into_iter().flatten();
        let sources: Vec<_> = sources.map(|path| path.display().to_string()).collect();
        Ok(Self {
            sensor: control.map(|path| Sensor {
                path: path.to_owned(),
            }),
            arrivals: directory.map(|directory| Arrivals::of(directory.to_owned())),
            ledger: Ledger::default(),
            source: sources.join(" and "),
            last_received_ns: None,
            sampling_interval_max: 1,
            closed_again_ns: 0,
        })
    }

    /// Looks once.
    pub fn look(&mut self, narrowed: Narrowed) -> Look {
        let mut look = Look {
            source: self.source.clone(),
            ..Look::default()
        };
        let mut table = None;
        if let Some(sensor) = &self.sensor {
            match sensor.table(narrowed) {
                Ok(told) => {
                    self.sampling_interval_max =
                        self.sampling_interval_max.max(told.sampling_interval);
                    look.open_flows = Some(told.flows);
                    look.told_flows = told.table.flows.len() as u64;
                    table = Some(told.table);
                }
                Err(sentence) => look.trouble = Some(sentence),
            }
        }
        let now_ns = clock::monotonic_ns();
        if let Some(arrivals) = &mut self.arrivals {
            let (ledger, last_ns) = (&mut self.ledger, &mut self.last_received_ns);
            let sampling = &mut self.sampling_interval_max;
            let trouble = arrivals.read(|flow| {
                ledger.arrived(flow, now_ns);
                *last_ns = (*last_ns).max(i64::try_from(flow.received_ns).ok());
                *sampling = (*sampling).max(flow.record.sampling_interval);
            });
            look.trouble = look.trouble.or(trouble);
        }
        self.ledger.look(table.as_ref(), now_ns);
        look.at_ns = clock::unix_ns();
        look.last_received_ns = self.last_received_ns;
        if look.last_received_ns.is_none() || look.silent_since_ns().is_some() {
            self.ask_closed(now_ns);
            look.last_received_ns = self.last_received_ns;
        }
        look.sampling_interval_max = self.sampling_interval_max;
        look.flows = self.ledger.flows().collect();
        look
    }

    /// Looks in closed files for the newest flow, which open windows do not have. To list them takes a while, so that is
    /// not done with each look.
    fn ask_closed(&mut self, now_ns: u64) {
        if let Some(arrivals) = &self.arrivals
            && now_ns >= self.closed_again_ns
        {
            self.closed_again_ns = now_ns.saturating_add(SILENT_NS.unsigned_abs());
            self.last_received_ns = self.last_received_ns.max(arrivals.last_closed_ns());
        }
    }

    /// Looks until nobody takes what was seen; at once when something else is wanted.
    pub fn follow(
        mut self,
        interval: Duration,
        narrowed: &Receiver<Narrowed>,
        looks: &SyncSender<Look>,
    ) {
        let mut wanted = Narrowed::default();
        loop {
            if looks.send(self.look(wanted)).is_err() {
                return;
            }
            match narrowed.recv_timeout(interval) {
                Ok(other) => wanted = narrowed.try_iter().last().unwrap_or(other),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_netflow::FlowRecord;
    use weir_store::{layout::Directory, rotate, schema::StoredFlow, window::Window};

    use super::*;
    use crate::live::ledger::tests::flow;

    #[test]
    fn where_nothing_comes_any_more_it_is_known_since_when() {
        const START_S: i64 = 1_700_000_100;
        const START_NS: i64 = START_S * 1_000_000_000;
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let received = |at_ns: i64| StoredFlow {
            received_ns: at_ns.unsigned_abs(),
            record: FlowRecord {
                sampling_interval: if at_ns == START_NS { 10 } else { 1 },
                ..flow(1, 2, 100, 0).record
            },
            ..flow(1, 2, 100, 0)
        };
        let look = || {
            let mut looker = Looker::open(None, Some(folder.path())).unwrap();
            let look = looker.look(Narrowed::default());
            (
                look.flows.len(),
                look.last_received_ns,
                look.silent_since_ns(),
            )
        };
        assert_eq!(look(), (0, None, None));
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window
            .append(&[received(START_NS), received(START_NS + 7)])
            .unwrap();
        let last_ns = Some(START_NS + 7);
        assert_eq!(look(), (1, last_ns, last_ns), "while it is open");
        let mut looker = Looker::open(None, Some(folder.path())).unwrap();
        assert_eq!(looker.look(Narrowed::default()).sampling_interval_max, 10);
        rotate::close(folder.path(), window.path(), &[]).unwrap();
        assert_eq!(look(), (0, last_ns, last_ns), "when it is closed");
        let now_ns = clock::unix_ns();
        let mut window = Window::create(&directory.window_path(START_S + 300)).unwrap();
        window.append(&[received(now_ns)]).unwrap();
        assert_eq!(look(), (1, Some(now_ns), None), "as flows come");
    }
}
