//! The interfaces that are metered, over time: they go down, come back, change their names, and
//! somebody takes programs off them.

mod missed;
mod pause;
mod related;
mod words;

use std::path::Path;

use anyhow::{Result, bail};
use weir_sensor_common::interface::{Interface, NUMBER_MAX, RAW, RECEIVED};

use crate::{
    attach::{self, Change, How, Port},
    interface,
    kernel::Kernel,
    pin::Pins,
    statistics::Statistics,
};
use missed::Missed;
use pause::Pause;
use words::{description, seen};

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
    /// Its programs were taken off on request: what they metered may still be in the table, under its number.
    rests: bool,
    /// Frames that its card had no room for.
    missed: Missed,
    /// Before it is tried again, if it could not be attached to.
    pause: Pause,
}

impl Entry {
    /// Its number is free then: its flows were taken when it went.
    fn is_gone(&self) -> bool {
        self.port.is_none() && !self.rests && interface::ifindex(&self.name).is_none()
    }

    /// It could not be attached to, which was said.
    fn refused(&mut self) {
        let there = interface::ifindex(&self.name);
        self.pause = there.map_or_else(Pause::default, Pause::begun);
    }
}

/// An interface, as it is told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// The ifIndex its flows are exported with.
    pub ifindex: u32,
    /// Which packets are seen, and how; `None` if none are now.
    pub seen: Option<String>,
}

/// All of them, by number.
pub struct Ports {
    entries: Vec<Entry>,
    /// Those without programs of ours that the programs were told of, see [`Ports::related_to`].
    related: Vec<Interface>,
    /// ifIndexes where dead sensors' programs meter what is received, and of what stands on those; only
    /// while this sensor starts.
    received_by_dead: Vec<u32>,
    /// Frames that cards had no room for whose numbers were given to others.
    missed_by_others: u64,
    wanted: Wanted,
    how: How,
    pins: Option<Pins>,
}

/// What is to be told and done after a look at the interfaces.
#[derive(Debug, Default)]
pub struct News {
    /// Sentences for the log.
    pub sentences: Vec<String>,
    /// Numbers of interfaces whose flows are over. They are to be taken before other interfaces get
    /// these numbers, which is what [`Ports::attach_missing`] does.
    pub over: Vec<u8>,
}

impl Ports {
    /// Attaches to every interface wanted.
    ///
    /// # Errors
    /// In the second value, which else has sentences for the log: a sentence about the first named one
    /// that cannot be; with `any`, if none can be.
    pub fn attach(
        kernel: &mut Kernel,
        wanted: Wanted,
        how: How,
        pins: Option<Pins>,
    ) -> (Self, Result<Vec<String>>) {
        let mut ports = Self {
            entries: Vec::new(),
            related: Vec::new(),
            received_by_dead: Vec::new(),
            missed_by_others: 0,
            wanted,
            how,
            pins,
        };
        let attached = ports.attach_wanted(kernel);
        if let Some(pins) = &ports.pins {
            if attached.is_ok() || pins.are_fed() && pins.had_predecessors() {
                pins.remove_others();
            } else if pins.had_predecessors() {
                // Theirs go on.
                pins.remove_table();
            } else {
                pins.take_back();
                for port in ports
                    .entries
                    .iter_mut()
                    .filter_map(|entry| entry.port.take())
                {
                    port.take_off();
                }
            }
        }
        let attached = attached.and_then(|sentences| {
            ports.forget_dead(kernel)?;
            Ok(sentences)
        });
        (ports, attached)
    }

    /// Whether the tables of dead sensors are fed by nobody any more: they are to be taken over,
    /// even if this sensor cannot start.
    #[must_use]
    pub fn replaced_others(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::are_fed)
    }

    fn attach_wanted(&mut self, kernel: &mut Kernel) -> Result<Vec<String>> {
        self.announce_dead(kernel)?;
        let mut sentences = Vec::new();
        match self.wanted.clone() {
            Wanted::Named(names) => {
                for name in names {
                    if self.entries.iter().any(|entry| entry.name == name) {
                        bail!("-i {name} is given twice");
                    }
                    self.add(kernel, &name)?;
                }
                for number in 0..self.entries.len() {
                    sentences.push(self.put_sent(kernel, number)?);
                }
            }
            Wanted::Any => {
                self.find_new(kernel, &mut sentences)?;
                if self.entries.iter().all(|entry| entry.port.is_none()) {
                    bail!("no interface could be metered:\n{}", sentences.join("\n"));
                }
            }
        }
        Ok(sentences)
    }

    /// ifIndex by number.
    #[must_use]
    pub fn ifindexes(&self) -> Vec<u32> {
        self.entries.iter().map(|entry| entry.ifindex).collect()
    }

    /// What is metered now, by number.
    #[must_use]
    pub fn reports(&self) -> Vec<PortReport> {
        let report = |entry: &Entry| PortReport {
            name: entry.name.clone(),
            ifindex: entry.ifindex,
            seen: entry.port.as_ref().map(seen),
        };
        self.entries.iter().map(report).collect()
    }

    /// Frames that the cards had no room for since they were attached to.
    pub fn missed(&mut self) -> u64 {
        let missed = |entry: &mut Entry| {
            let now = interface::missed(&entry.name);
            // One that is gone, or another of its name, which is not metered yet.
            let now = now.filter(|_| entry.port.is_some());
            entry.missed.count(entry.ifindex, now)
        };
        let of_entries: u64 = self.entries.iter_mut().map(missed).sum();
        of_entries + self.missed_by_others
    }

    /// Whether programs and table stay when the process ends.
    #[must_use]
    pub fn are_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Where they are then.
    #[must_use]
    pub fn pinned_in(&self) -> Option<&Path> {
        self.pins.as_ref().map(Pins::folder)
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
    /// pinned with them, and so does promiscuous mode.
    pub fn detach(&mut self) {
        if !self.are_pinned() {
            for entry in &mut self.entries {
                entry.rests |= entry.port.take().is_some();
            }
        }
    }

    /// Looks what has become of them, and puts programs back that were taken off.
    ///
    /// # Errors
    /// If the kernel refuses what never fails.
    pub fn look(&mut self, kernel: &mut Kernel) -> Result<News> {
        let mut news = News::default();
        // As long as they are there.
        self.missed();
        let places = attach::places();
        for number in 0..self.entries.len() {
            let entry = &mut self.entries[number];
            let is_metered_below = entry.port.is_some()
                && self.wanted == Wanted::Any
                && interface::stands_on_others(&entry.name);
            if is_metered_below {
                news.sentences.push(format!(
                    "{} has interfaces below it now: it is metered there",
                    entry.name
                ));
                news.over.extend(u8::try_from(number));
                self.let_go(kernel, number)?;
                continue;
            }
            let change = match &entry.port {
                Some(port) => port.change(&places),
                None if entry.rests => attach::moved(entry.ifindex, &entry.name),
                None => None,
            };
            match change {
                None => {}
                Some(Change::Gone) => {
                    news.sentences.push(format!("{} is gone", entry.name));
                    news.over.extend(u8::try_from(number));
                    self.let_go(kernel, number)?;
                }
                Some(Change::Renamed(name)) => {
                    news.sentences
                        .push(format!("{} was renamed to {name}", entry.name));
                    entry.name.clone_from(&name);
                    entry
                        .port
                        .iter_mut()
                        .for_each(|port| port.name.clone_from(&name));
                }
                Some(Change::Detached) => {
                    let name = entry.name.clone();
                    entry.port = None;
                    match self.put(kernel, number, &name) {
                        Ok(_) => news
                            .sentences
                            .push(format!("the program was taken off {name}: attached again")),
                        Err(error) => {
                            news.sentences
                                .push(format!("the program was taken off {name}: {error:#}"));
                            news.over.extend(u8::try_from(number));
                            self.entries[number].refused();
                        }
                    }
                }
            }
        }
        Ok(news)
    }

    /// Takes the programs off, pinned ones too: they would go on in another network namespace, if the interface went
    /// there.
    fn let_go(&mut self, kernel: &mut Kernel, number: usize) -> Result<()> {
        let entry = &mut self.entries[number];
        (entry.port, entry.rests) = (None, false);
        let ifindex = entry.ifindex;
        if let Some(pins) = &self.pins {
            pins.let_go(ifindex);
        }
        kernel.forget_interface(ifindex)
    }

    /// Attaches to interfaces that are back, and with `any` to new ones; returns sentences for the log.
    /// Only once the flows of those that are gone were taken: their numbers are given away. One that cannot be
    /// attached to is tried again after one look, two, four, at most sixty.
    ///
    /// # Errors
    /// If the kernel refuses what never fails.
    pub fn attach_missing(&mut self, kernel: &mut Kernel) -> Result<Vec<String>> {
        let mut sentences = Vec::new();
        if self.wanted == Wanted::Any {
            self.let_some_be_found_anew();
        }
        for number in 0..self.entries.len() {
            let Some((name, ifindex)) = self.comes_back(number) else {
                continue;
            };
            if !self.entries[number].pause.is_over(ifindex) {
                continue;
            }
            match self.put(kernel, number, &name) {
                Ok(_) => {
                    let entry = &mut self.entries[number];
                    entry.pause = Pause::default();
                    entry.name.clone_from(&name);
                    sentences.push(format!("{name} is back: attached again"));
                }
                Err(error) => {
                    if self.entries[number].pause.grow() {
                        sentences.push(format!("{name} is back, but not metered: {error:#}"));
                    }
                }
            }
        }
        if self.wanted == Wanted::Any {
            self.find_new(kernel, &mut sentences)?;
        }
        self.follow_related(kernel)?;
        Ok(sentences)
    }

    /// An interface that an entry waits for, if it is there: its name, and its ifIndex.
    fn comes_back(&self, number: usize) -> Option<(String, u32)> {
        let Entry {
            name,
            ifindex,
            port,
            rests,
            ..
        } = &self.entries[number];
        if port.is_some() {
            return None;
        }
        // One that was renamed may come back by the name it was asked for.
        let asked_for = match &self.wanted {
            Wanted::Named(names) => names.get(number),
            Wanted::Any => None,
        };
        let names = [Some(name), asked_for].into_iter().flatten();
        let mut there = names.filter_map(|name| Some((name.clone(), interface::ifindex(name)?)));
        there.find(|(name, there)| {
            let is_free = match self.wanted {
                Wanted::Any => !interface::stands_on_others(name),
                Wanted::Named(_) => !self.is_metered(*there),
            };
            // Another one of its name has to wait until the next look has seen that it is gone.
            is_free && (!*rests || there == ifindex)
        })
    }

    /// Forgets as many of those that were too many as there are numbers by now.
    fn let_some_be_found_anew(&mut self) {
        let numbers = usize::from(NUMBER_MAX) + 1;
        let free = self
            .entries
            .iter()
            .take(numbers)
            .filter(|entry| entry.is_gone())
            .count();
        let too_many = self.entries.len().saturating_sub(numbers);
        self.entries
            .truncate(self.entries.len() - free.min(too_many));
    }

    fn find_new(&mut self, kernel: &mut Kernel, sentences: &mut Vec<String>) -> Result<()> {
        // Its entry stays without a port, so that it is said once.
        let refused = |name: &str, error: anyhow::Error| format!("not metering {name}: {error:#}");
        let mut found = Vec::new();
        for name in interface::all()? {
            if self.entries.iter().any(|entry| entry.name == name) {
                continue;
            }
            match self.add(kernel, &name) {
                Ok(number) => found.push(number),
                Err(error) => {
                    sentences.push(refused(&name, error));
                    let mut entries = self.entries.iter_mut();
                    let entry = entries.find(|entry| entry.name == name);
                    entry.into_iter().for_each(Entry::refused);
                }
            }
        }
        for number in found {
            let put = self.put_sent(kernel, number);
            if put.is_err() {
                self.take_pinned_off(number);
            }
            let entry = &mut self.entries[number];
            sentences.push(put.unwrap_or_else(|error| {
                entry.refused();
                refused(&entry.name, error)
            }));
        }
        Ok(())
    }

    /// Attaches what sees received packets to an interface that has no number yet; says which it has.
    fn add(&mut self, kernel: &mut Kernel, name: &str) -> Result<usize> {
        let entry = Entry {
            name: name.to_owned(),
            ifindex: 0,
            port: None,
            rests: false,
            missed: Missed::default(),
            pause: Pause::default(),
        };
        let number = match self.entries.iter().position(Entry::is_gone) {
            Some(number) if self.wanted == Wanted::Any => {
                self.missed_by_others += self.entries[number].missed.so_far();
                self.entries[number] = entry;
                number
            }
            _ => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.put_received(kernel, number, name)?;
        Ok(number)
    }

    /// Attaches to an interface under a number; says how.
    fn put(&mut self, kernel: &mut Kernel, number: usize, name: &str) -> Result<String> {
        let put = self.put_received(kernel, number, name);
        let put = put.and_then(|()| self.put_sent(kernel, number));
        if put.is_err() {
            self.take_pinned_off(number);
        }
        put
    }

    /// One that cannot be metered whole is not metered at all: what is pinned would go on, for an interface that the
    /// programs do not know.
    fn take_pinned_off(&self, number: usize) {
        if let Some(pins) = &self.pins {
            pins.let_go(self.entries[number].ifindex);
        }
    }

    /// Attaches what sees received packets.
    fn put_received(&mut self, kernel: &mut Kernel, number: usize, name: &str) -> Result<()> {
        let Some(ifindex) = interface::ifindex(name) else {
            bail!("there is no interface `{name}`: `ip -brief link` lists those there are");
        };
        if number > usize::from(NUMBER_MAX) {
            bail!("one sensor meters at most {} interfaces", NUMBER_MAX + 1);
        }
        // Each time: another one may have its name by now.
        self.how.refuse_to_cut_off(name)?;
        let mut entry = numbered(number, name, ifindex)?;
        if self.received_by_dead.contains(&ifindex) {
            entry.flags |= RECEIVED;
        }
        kernel.set_interface(entry)?;
        let port = match Port::attach(kernel, name, entry, self.how, self.pins.as_ref()) {
            Ok(port) => port,
            Err(error) => {
                self.forget(kernel, ifindex)?;
                return Err(error);
            }
        };
        let entry = &mut self.entries[number];
        entry.ifindex = port.ifindex;
        (entry.port, entry.rests) = (Some(port), false);
        entry.missed.count(entry.ifindex, interface::missed(name));
        let related = self.related_to(number)?;
        self.relate(kernel, related)?;
        let ifindexes = self.ifindexes();
        if let Some(pins) = &mut self.pins {
            pins.set_ifindexes(&ifindexes)?;
        }
        Ok(())
    }

    /// Attaches what sees sent packets, where received ones are seen by now; says how it is metered. What was
    /// received on any interface is known only once all that are attached to together see what they receive.
    fn put_sent(&mut self, kernel: &mut Kernel, number: usize) -> Result<String> {
        let Entry { ifindex, port, .. } = &mut self.entries[number];
        let Some(attached) = port else {
            bail!("the interface is gone");
        };
        if let Err(error) = attached.attach_sent(kernel, self.how, self.pins.as_ref()) {
            let ifindex = *ifindex;
            *port = None;
            self.forget(kernel, ifindex)?;
            return Err(error);
        }
        Ok(description(attached))
    }

    /// Has the programs forget an interface that cannot be metered. If it stands on a metered one they are
    /// told so again with the next look.
    fn forget(&mut self, kernel: &mut Kernel, ifindex: u32) -> Result<()> {
        self.related.retain(|known| known.ifindex != ifindex);
        kernel.forget_interface(ifindex)
    }

    fn is_metered(&self, ifindex: u32) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.port.is_some() && entry.ifindex == ifindex)
    }
}

/// An interface as the programs know it.
fn numbered(number: usize, name: &str, ifindex: u32) -> Result<Interface> {
    Ok(Interface {
        ifindex,
        number: u8::try_from(number)?,
        flags: if interface::is_raw(name) { RAW } else { 0 },
        reserved: [0; 2],
    })
}
