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
    /// What is amiss, as a sentence.
    pub trouble: Option<String>,
}

/// What looks.
pub struct Looker {
    sensor: Option<Sensor>,
    arrivals: Option<Arrivals>,
    ledger: Ledger,
    source: String,
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
                    look.open_flows = Some(told.flows);
                    look.told_flows = told.table.flows.len() as u64;
                    table = Some(told.table);
                }
                Err(sentence) => look.trouble = Some(sentence),
            }
        }
        let now_ns = clock::monotonic_ns();
        if let Some(arrivals) = &mut self.arrivals {
            let ledger = &mut self.ledger;
            let trouble = arrivals.read(|flow| ledger.arrived(flow, now_ns));
            look.trouble = look.trouble.or(trouble);
        }
        self.ledger.look(table.as_ref(), now_ns);
        look.at_ns = clock::unix_ns();
        look.flows = self.ledger.flows().collect();
        look
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
