//! Settings read anew while the sensor meters (SIGHUP): timeouts and collectors change, the rest is named and
//! stays. Names are looked up on a thread of its own, which the loop does not wait for; a file that is wrong
//! changes nothing.

use std::{ffi::OsString, net::SocketAddr, thread};

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use weir_service::privileges;

use super::Live;
use crate::{
    clock::Now,
    options::{self, Settings},
};

/// What it takes to read them again.
#[derive(Debug)]
pub struct Reload {
    line: Vec<OsString>,
    /// What the sensor was started with; timeouts and collectors as last read.
    settings: Settings,
    reading: Option<Receiver<Result<Fresh, String>>>,
    /// The signal came again meanwhile: the file may have changed after it was read.
    again: bool,
}

/// Settings that were read, and the addresses of their collectors.
#[derive(Debug)]
struct Fresh {
    settings: Settings,
    addresses: Vec<SocketAddr>,
}

impl Reload {
    /// From the command line, whose files have absolute paths, and what came of it.
    #[must_use]
    pub fn new(line: Vec<OsString>, settings: Settings) -> Self {
        Self {
            line,
            settings,
            reading: None,
            again: false,
        }
    }

    /// Starts to read; false if there is no thread to be had.
    fn begin(&mut self) -> bool {
        let (sender, receiver) = bounded(1);
        let line = self.line.clone();
        let work = move || {
            // Names are asked of strangers.
            let _ = privileges::keep(0);
            // Nobody waits for it any more if the sensor ends.
            let _ = sender.send(read(line));
        };
        let thread = thread::Builder::new().name("reload".to_owned()).spawn(work);
        self.reading = thread.is_ok().then_some(receiver);
        thread.is_ok()
    }
}

fn read(line: Vec<OsString>) -> Result<Fresh, String> {
    let settings = options::parse(line).map_err(|refusal| refusal.sentence())?;
    match settings.refusal() {
        Some(sentence) => Err(sentence),
        None => Ok(Fresh {
            addresses: settings.addresses()?,
            settings,
        }),
    }
}

impl Live {
    /// Has the settings read again.
    pub(super) fn begin_reload(&mut self) {
        let Some(reload) = &mut self.service.reload else {
            return;
        };
        if reload.reading.is_some() {
            reload.again = true;
            return;
        }
        self.service.notify.reloading(Now::read().monotonic_ns);
        if !reload.begin() {
            eprintln!(
                "weir-sensor: the settings stay as they were: there is no thread to read them"
            );
            self.service.notify.ready("metering");
        }
    }

    /// Takes over what was read, if it was.
    pub(super) fn end_reload(&mut self) {
        let Some(reload) = &mut self.service.reload else {
            return;
        };
        let fresh = match reload.reading.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(fresh)) => fresh,
            Some(Err(TryRecvError::Disconnected)) => Err("reading them failed".to_owned()),
        };
        reload.reading = None;
        let is_again = std::mem::take(&mut reload.again);
        match fresh.and_then(|fresh| self.take_over_settings(fresh)) {
            Ok(done) => eprintln!("weir-sensor: the settings were read again: {done}"),
            Err(why) => eprintln!("weir-sensor: the settings stay as they were: {why}"),
        }
        self.service.notify.ready("metering");
        if is_again {
            self.begin_reload();
        }
    }

    /// What has changed, in words.
    fn take_over_settings(&mut self, fresh: Fresh) -> Result<String, String> {
        let Fresh {
            settings,
            addresses,
        } = fresh;
        let redirected = self
            .export
            .redirect(&addresses, &Now::read())
            .map_err(|error| format!("{error:#}"))?;
        // A collector that was restarted meanwhile knows nothing, and what interfaces are called may have changed.
        self.export.tell_again();
        let mut done = Vec::new();
        if self.timeouts != settings.timeouts {
            done.push("timeouts changed".to_owned());
        }
        self.timeouts = settings.timeouts;
        let list = |addresses: &[SocketAddr]| {
            let names: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            names.join(", ")
        };
        if !redirected.added.is_empty() {
            done.push(format!("now also exporting to {}", list(&redirected.added)));
        }
        if !redirected.ended.is_empty() {
            done.push(format!("no longer to {}", list(&redirected.ended)));
        }
        if let Some(reload) = &mut self.service.reload {
            let fixed = reload.settings.fixed_changes(&settings);
            if !fixed.is_empty() {
                let names = fixed.join(", ");
                done.push(format!("{names} cannot change while it runs: restart it"));
            }
            reload.settings.timeouts = settings.timeouts;
            reload.settings.collectors = settings.collectors;
        }
        if done.is_empty() {
            done.push("nothing has changed".to_owned());
        }
        Ok(done.join("; "))
    }
}
