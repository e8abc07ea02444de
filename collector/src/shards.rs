//! The exporters in parts that several receiving threads share: an exporter's address says which part
//! it is in, so that its datagrams meet the same state whichever socket they came through.

use std::{
    hash::{BuildHasher as _, RandomState},
    mem,
    net::Ipv6Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::{
    exporters::{Exporters, Key, Refused, Remembered, Settings, Source},
    keeping::Sink,
    loss::Step,
    statistics::Statistics,
    sums::Sums,
};

/// Parts that several threads share, however many they are: with more, one exporter's templates would not fit
/// in its part, and with fewer threads would wait for one another.
const PARTS: usize = 16;
/// Shares of the whole that a part may have: exporters are not spread evenly, and one that is pushed out comes
/// back at once and pushes out the next.
const SHARES_EACH: usize = 2;

/// All exporters, in parts.
#[derive(Debug)]
pub struct Shards {
    parts: Vec<Mutex<Exporters>>,
    /// Counts of ended connections that made room for others'.
    others: Mutex<Option<Sums>>,
    hasher: RandomState,
}

impl Shards {
    /// For so many receiving threads. What the settings allow is for one; several have at most twice that, so
    /// that each part has room for what falls to it by chance.
    #[must_use]
    pub fn new(settings: &Settings, threads: usize) -> Self {
        let (count, shares) = if threads > 1 {
            (PARTS, SHARES_EACH)
        } else {
            (1, 1)
        };
        let share = |all: usize| (all * shares).div_ceil(count);
        let settings = Settings {
            exporters_max: share(settings.exporters_max),
            template_fields_max: share(settings.template_fields_max),
            waiting_octets_max: share(settings.waiting_octets_max),
            interfaces_max: share(settings.interfaces_max),
            sources_max: share(settings.sources_max),
            ended_max: share(settings.ended_max),
            ..settings.clone()
        };
        let part = |_| Mutex::new(Exporters::new(settings.clone()));
        Self {
            parts: (0..count).map(part).collect(),
            others: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Takes a datagram: [`Exporters::datagram`].
    ///
    /// # Errors
    /// If nothing of it could be used; it is counted.
    pub fn datagram(
        &self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        sink: &mut impl Sink,
    ) -> Result<Option<Step>, Refused> {
        self.of(source.address)
            .datagram(octets, source, received_ns, sink)
    }

    /// The part of an exporter.
    pub fn of(&self, address: Ipv6Addr) -> MutexGuard<'_, Exporters> {
        let part = match self.parts.len() as u64 {
            1 => 0,
            count => self.hasher.hash_one(address) % count,
        };
        lock(&self.parts[usize::try_from(part).unwrap_or(0)])
    }

    /// A TCP connection of this exporter ended.
    pub fn end_session(&self, address: Ipv6Addr, session: u64) {
        let left = self.of(address).end_session(session);
        if let Some(left) = left {
            lock(&self.others).get_or_insert_default().add(&left);
        }
    }

    /// Does something with each part in turn.
    pub fn each(&self, work: impl FnMut(MutexGuard<'_, Exporters>)) {
        self.parts.iter().map(lock).for_each(work);
    }

    /// Takes over who is listened to and the sampling rates; the rest of these settings is not looked at.
    pub fn take_over(&self, settings: &Settings) {
        self.each(|mut part| {
            part.settings.allowed.clone_from(&settings.allowed);
            part.settings.pin_port = settings.pin_port;
            part.settings.default_one_in = settings.default_one_in;
            part.settings.forced_one_in = settings.forced_one_in;
        });
    }

    /// Counts something that is no exporter's.
    pub fn count(&self, count: impl FnOnce(&mut Statistics)) {
        count(&mut lock(&self.parts[0]).statistics);
    }

    /// All counts.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut all = Statistics::default();
        self.each(|part| all.add(&part.statistics));
        all
    }

    /// Each exporter's account, as JSON, in a stable order; last those without one of their own.
    #[must_use]
    pub fn accounts(&self) -> Value {
        let mut accounts = self.listed(Exporters::accounts);
        if let Value::Array(accounts) = &mut accounts {
            accounts.extend(self.others());
        }
        accounts
    }

    /// The account of ended connections that made room for others', all together, if there were any.
    #[must_use]
    pub fn others(&self) -> Option<Value> {
        lock(&self.others).map(Sums::others_to_json)
    }

    /// The counts of each exporter alone, likewise.
    #[must_use]
    pub fn counts(&self) -> Value {
        self.listed(Exporters::counts)
    }

    /// What exporters call their interfaces, likewise.
    #[must_use]
    pub fn interface_names(&self) -> Value {
        self.listed(Exporters::interface_names)
    }

    fn listed(&self, of: fn(&Exporters) -> Vec<(Key, Value)>) -> Value {
        let mut all = Vec::new();
        self.each(|part| all.extend(of(&part)));
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, value)| value).collect()
    }

    /// Exporters heard, and records and datagrams lost.
    #[must_use]
    pub fn heard_and_lost(&self) -> (usize, u64, u64) {
        let (mut heard, mut records, mut datagrams) = (0, 0, 0);
        self.each(|part| {
            let lost = part.lost();
            heard += part.heard_count();
            records += lost.0;
            datagrams += lost.1;
        });
        (heard, records, datagrams)
    }

    /// Whether anything that outlives the collector changed since this was asked.
    #[must_use]
    pub fn take_changed(&self) -> bool {
        let mut changed = false;
        self.each(|mut part| changed |= mem::take(&mut part.changed));
        changed
    }

    /// All templates and rates that outlive the collector, in a stable order.
    #[must_use]
    pub fn remembered(&self) -> Vec<Remembered> {
        let mut remembered = Vec::new();
        self.each(|part| remembered.extend(part.remembered()));
        remembered.sort_by_key(|exporter| exporter.key);
        remembered
    }

    /// Takes templates that outlived an earlier collector.
    pub fn remember(&self, remembered: Vec<Remembered>) {
        for exporter in remembered {
            self.of(exporter.key.address).remember(exporter);
        }
    }
}

/// A thread that died in the middle left counts behind that are still right.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
