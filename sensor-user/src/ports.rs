//! The interfaces that are metered, over time: they go down, come back, change their names, and
//! somebody takes programs off them.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use weir_sensor_common::interface::{Interface, NUMBER_MAX, RAW, RECEIVED};

use crate::{
    attach::{self, Change, How, Port},
    interface,
    kernel::Kernel,
    pin::Pins,
    statistics::Statistics,
};

/// Which interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These.
    Named(Vec<String>),
    /// All, also those that appear later.
    Any,
}

/// What an interface's flows are numbered by, and what is on it.
struct Entry {
    name: String,
    /// As flows are exported with; of the last port, if there is none now.
    ifindex: u32,
    port: Option<Port>,
}

/// All of them, by number.
pub struct Ports {
    entries: Vec<Entry>,
    wanted: Wanted,
    how: How,
    pins: Option<Pins>,
}

/// What is to be told and done after a look at the interfaces.
#[derive(Debug, Default)]
pub struct News {
    /// Sentences for the log.
    pub sentences: Vec<String>,
    /// Numbers of interfaces whose flows are over.
    pub over: Vec<u8>,
}

impl Ports {
    /// Attaches to every interface wanted.
    ///
    /// # Errors
    /// In the second value: a sentence about the first named one that cannot be; with `any`, if none
    /// can be.
    pub fn attach(
        kernel: &mut Kernel,
        wanted: Wanted,
        how: How,
        pins: Option<Pins>,
    ) -> (Self, Result<News>) {
        let mut ports = Self {
            entries: Vec::new(),
            wanted,
            how,
            pins,
        };
        let news = ports.attach_wanted(kernel);
        if let Some(pins) = &ports.pins {
            if news.is_ok() || pins.are_fed() {
                pins.remove_other_links();
            } else {
                pins.remove_table();
            }
        }
        (ports, news)
    }

    /// Whether the tables of dead sensors are fed by nobody any more: they are to be taken over,
    /// even if this sensor cannot start.
    #[must_use]
    pub fn replaced_others(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::are_fed)
    }

    fn attach_wanted(&mut self, kernel: &mut Kernel) -> Result<News> {
        let mut news = News::default();
        match self.wanted.clone() {
            Wanted::Named(names) => {
                for name in names {
                    if self.entries.iter().any(|entry| entry.name == name) {
                        bail!("-i {name} is given twice");
                    }
                    let sentence = self.add(kernel, &name)?;
                    news.sentences.push(sentence);
                }
            }
            Wanted::Any => {
                self.find_new(kernel, &mut news)?;
                if self.entries.iter().all(|entry| entry.port.is_none()) {
                    bail!(
                        "no interface could be metered:\n{}",
                        news.sentences.join("\n")
                    );
                }
            }
        }
        Ok(news)
    }

    /// ifIndex by number.
    #[must_use]
    pub fn ifindexes(&self) -> Vec<u32> {
        self.entries.iter().map(|entry| entry.ifindex).collect()
    }

    /// Whether programs and table stay when the process ends.
    #[must_use]
    pub fn are_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Notes sysUptime's zero where the next sensor finds it: it was moved.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn note_boot(&mut self) -> Result<()> {
        self.pins.as_mut().map_or(Ok(()), Pins::note_boot)
    }

    /// Notes what the account says of a pinned table, so that the next sensor does not say it again.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tell(&mut self, statistics: &Statistics) -> Result<()> {
        let pins = self.pins.as_mut();
        pins.map_or(Ok(()), |pins| pins.tell(statistics))
    }

    /// Takes the programs off, unless they are pinned: then they go on, into the table that is
    /// pinned with them.
    pub fn detach(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.port = None);
    }

    /// Looks what has become of them, and attaches again where something is missing.
    ///
    /// # Errors
    /// If the kernel refuses what never fails.
    pub fn look(&mut self, kernel: &mut Kernel) -> Result<News> {
        let mut news = News::default();
        let places = attach::places();
        for number in 0..self.entries.len() {
            let entry = &mut self.entries[number];
            match entry.port.as_ref().map(|port| port.change(&places)) {
                Some(None) => {}
                None => self.return_of(kernel, number, &mut news),
                Some(Some(Change::Gone)) => {
                    news.sentences.push(format!("{} is gone", entry.name));
                    news.over.extend(u8::try_from(number));
                    entry.port = None;
                    kernel.forget_interface(entry.ifindex)?;
                    self.return_of(kernel, number, &mut news);
                }
                Some(Some(Change::Renamed(name))) => {
                    news.sentences
                        .push(format!("{} was renamed to {name}", entry.name));
                    entry.name.clone_from(&name);
                    entry
                        .port
                        .iter_mut()
                        .for_each(|port| port.name.clone_from(&name));
                }
                Some(Some(Change::Detached)) => {
                    let name = entry.name.clone();
                    entry.port = None;
                    match self.put(kernel, number, &name) {
                        Ok(_) => news
                            .sentences
                            .push(format!("the program was taken off {name}: attached again")),
                        Err(error) => news
                            .sentences
                            .push(format!("the program was taken off {name}: {error:#}")),
                    }
                }
            }
        }
        if self.wanted == Wanted::Any {
            self.find_new(kernel, &mut news)?;
        }
        Ok(news)
    }

    /// Attaches to an interface that was gone, if it is back.
    fn return_of(&mut self, kernel: &mut Kernel, number: usize, news: &mut News) {
        let name = self.entries[number].name.clone();
        if interface::ifindex(&name).is_some() && self.put(kernel, number, &name).is_ok() {
            news.sentences
                .push(format!("{name} is back: attached again"));
        }
    }

    fn find_new(&mut self, kernel: &mut Kernel, news: &mut News) -> Result<()> {
        for name in interface::all()? {
            if self.entries.iter().any(|entry| entry.name == name) {
                continue;
            }
            match self.add(kernel, &name) {
                Ok(sentence) => news.sentences.push(sentence),
                Err(error) => {
                    // Its entry stays without a port, so that it is said once.
                    news.sentences
                        .push(format!("not metering {name}: {error:#}"));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, kernel: &mut Kernel, name: &str) -> Result<String> {
        let entry = Entry {
            name: name.to_owned(),
            ifindex: 0,
            port: None,
        };
        // The number of one that is gone is free: its flows were taken when it went.
        let gone =
            |entry: &Entry| entry.port.is_none() && interface::ifindex(&entry.name).is_none();
        let number = match self.entries.iter().position(gone) {
            Some(number) if self.wanted == Wanted::Any => {
                self.entries[number] = entry;
                number
            }
            _ => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.put(kernel, number, name)
    }

    /// Attaches to an interface under a number; says how.
    fn put(&mut self, kernel: &mut Kernel, number: usize, name: &str) -> Result<String> {
        let Some(ifindex) = interface::ifindex(name) else {
            bail!("there is no interface `{name}`: `ip -brief link` lists those there are");
        };
        if number > usize::from(NUMBER_MAX) {
            bail!("one sensor meters at most {} interfaces", NUMBER_MAX + 1);
        }
        let entry = |ifindex, flags| -> Result<Interface> {
            Ok(Interface {
                ifindex,
                number: u8::try_from(number)?,
                flags,
                reserved: [0; 2],
            })
        };
        let raw = if interface::is_raw(name) { RAW } else { 0 };
        kernel.set_interface(entry(ifindex, raw)?)?;
        let port = match Port::attach(kernel, name, self.how, self.pins.as_ref()) {
            Ok(port) => port,
            Err(error) => {
                kernel.forget_interface(ifindex)?;
                return Err(error);
            }
        };
        if port.received.is_some() {
            kernel.set_interface(entry(ifindex, raw | RECEIVED)?)?;
            // The kernel says of a packet where it was received last: on a bridge, bond or VLAN that
            // stands on this one. And a bond's programs run for the interfaces below it.
            for other in interface::uppers(name)
                .iter()
                .chain(&interface::lowers(name))
            {
                if let Some(other) = interface::ifindex(other) {
                    kernel.set_interface_if_free(entry(other, raw | RECEIVED)?)?;
                }
            }
        }
        let sentence = description(&port);
        let entry = &mut self.entries[number];
        entry.ifindex = port.ifindex;
        entry.port = Some(port);
        let ifindexes = self.ifindexes();
        if let Some(pins) = &mut self.pins {
            pins.set_ifindexes(&ifindexes)?;
        }
        Ok(sentence)
    }
}

/// What is seen on a port, and how.
fn description(port: &Port) -> String {
    let reason = port
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let received = port
        .received
        .map(|mode| format!("received packets with {mode}{reason}"));
    let sent = port.sent.then(|| "sent ones with tc".to_owned());
    let how: Vec<_> = received.into_iter().chain(sent).collect();
    let mut sentence = format!("metering {}: {}", port.name, how.join(", "));
    if port.may_miss_vlan_tags() {
        let name = &port.name;
        let _ = write!(
            sentence,
            "; if the card strips VLAN tags, XDP does not see them: `ethtool -K {name} rxvlan off`"
        );
    }
    sentence
}
