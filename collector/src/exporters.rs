//! What the collector knows about all exporters. Keyed by address and domain, since source ports
//! change; bounded, the least recently heard leaves, and those heard only a few times before others.

mod told;

use std::{
    collections::{BTreeSet, HashSet},
    net::Ipv6Addr,
};

use hashbrown::DefaultHashBuilder;
use weir_netflow::{Malformed, options::Sampler, template::Template};

use crate::{
    exporter::{Exporter, Held, Intake, RATE_NOT_TOLD},
    keeping::Nothing,
    lru::Lru,
    prefix::Prefix,
    statistics::Statistics,
    sums::{Sums, Unit, numbering},
};

/// Datagrams after which an exporter stays while strangers come and go.
const PROVEN_DATAGRAMS: u64 = 16;
/// A port is held until the exporter was silent for that long: it may have restarted.
const PORT_HELD_NS: u64 = 300_000_000_000;

/// What is to be believed, and how much remembered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Exporters that are listened to; all, if there is none.
    pub allowed: Vec<Prefix>,
    /// Whether an exporter is held to the port it was first heard from.
    pub pin_port: bool,
    /// Exporters (address and domain) remembered.
    pub exporters_max: usize,
    /// Fields of all templates remembered, some sixteen octets each; each template counts for sixteen besides.
    pub template_fields_max: usize,
    /// Octets of all data that waits for its template.
    pub waiting_octets_max: usize,
    /// Interfaces whose names are remembered: some 200 octets each.
    pub interfaces_max: usize,
    /// Sources of samples whose numbers are accounted: some KiB each at most.
    pub sources_max: usize,
    /// Streams whose connections ended that have counts of their own.
    pub ended_max: usize,
    /// Whether what is in copies of datagrams is stored again.
    pub keep_copies: bool,
    /// Of how many packets one was looked at, where the exporter does not tell.
    pub default_one_in: u32,
    /// The same, whatever exporters tell.
    pub forced_one_in: Option<u32>,
}

/// What sampling intervals are where exporters do not tell, or whatever they tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    default: u32,
    forced: Option<u32>,
}

impl Rates {
    /// The sampling interval of a flow, by what its exporter told.
    pub fn one_in(self, told: u32) -> u32 {
        self.forced.unwrap_or(match told {
            RATE_NOT_TOLD => self.default,
            told => told,
        })
    }
}

impl Settings {
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            default: self.default_one_in,
            forced: self.forced_one_in,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            pin_port: false,
            exporters_max: 4096,
            template_fields_max: 1 << 21,
            waiting_octets_max: 32 << 20,
            interfaces_max: 1 << 16,
            sources_max: 1 << 15,
            ended_max: 1024,
            keep_copies: false,
            default_one_in: 1,
            forced_one_in: None,
        }
    }
}

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// IPv4 as v4-mapped.
    pub address: Ipv6Addr,
    /// Its source port.
    pub port: u16,
    /// Which TCP connection; 0 for UDP.
    pub session: u64,
}

/// Why nothing of a datagram is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no datagram.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its exporter is a stranger.
    #[error("it is in no prefix of --allow")]
    NotAllowed,
    /// It may be forged.
    #[error("it sends from port {port} now, and --pin-port holds it to {held}")]
    OtherPort {
        /// The port it came from.
        port: u16,
        /// The one it was heard from before.
        held: u16,
    },
    /// It is of a connection whose templates made room for others', which come once in a connection.
    #[error(
        "its connection is closed, so that it says its templates anew: they were forgotten, since there are too many exporters"
    )]
    Forgotten,
}

/// One stream of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The exporter; IPv4 as v4-mapped.
    pub address: Ipv6Addr,
    /// Export version; [`weir_netflow::sflow::VERSION_NUMBER`] for sFlow.
    pub version: u16,
    /// Observation domain; v5, v8: engine type × 256 + id; v8: + aggregation × 65,536; sFlow: sub-agent.
    pub domain: u32,
    /// TCP connection: its templates and numbers end with it (RFC 7011 section 8.4). 0 for UDP.
    pub session: u64,
}

impl Key {
    /// The stream that it is of: whichever connection.
    fn stream(&self) -> Self {
        Self {
            session: 0,
            ..*self
        }
    }
}

/// What outlives the collector of one exporter's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Which.
    pub key: Key,
    /// Of which packets one in so many is looked at.
    pub rates: Vec<(Sampler, u32)>,
    /// When it booted, milliseconds since 1970-01-01 UTC, if it said so: what times may count from.
    pub booted_ms: Option<u64>,
    /// Its templates.
    pub templates: Vec<Template>,
}

/// All exporters.
#[derive(Debug)]
pub struct Exporters {
    pub(crate) settings: Settings,
    map: Lru<Key, Exporter>,
    /// What was counted.
    pub statistics: Statistics,
    pub(crate) held: Held,
    pub(crate) hasher: DefaultHashBuilder,
    /// Connections of which something made room for others, until they end.
    forgotten_sessions: HashSet<u64>,
    /// Counts of connections that ended, by their streams.
    ended: Lru<Key, Sums>,
    /// Records and datagrams lost by exporters that made room for others, or whose connection ended.
    lost_by_forgotten: (u64, u64),
    /// Whether templates, rates or names changed; whoever saves them clears it.
    pub changed: bool,
}

impl Exporters {
    /// None heard yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            map: Lru::new(settings.exporters_max),
            ended: Lru::new(settings.ended_max),
            forgotten_sessions: HashSet::new(),
            settings,
            statistics: Statistics::default(),
            held: Held::default(),
            hasher: DefaultHashBuilder::default(),
            lost_by_forgotten: (0, 0),
            changed: false,
        }
    }

    /// Whether an exporter is listened to.
    #[must_use]
    pub fn allows(&self, address: Ipv6Addr) -> bool {
        let allowed = &self.settings.allowed;
        allowed.is_empty() || allowed.iter().any(|prefix| prefix.contains(address))
    }

    /// The exporter a datagram is from.
    pub(crate) fn heard(
        &mut self,
        key: Key,
        source: &Source,
        received_ns: u64,
    ) -> Result<&mut Exporter, Refused> {
        if key.session != 0 && self.forgotten_sessions.contains(&key.session) {
            return Err(Refused::Forgotten);
        }
        if let Some(exporter) = self.map.peek(&key) {
            let is_silent = received_ns.abs_diff(exporter.heard_ns) > PORT_HELD_NS;
            let is_other = exporter.datagrams > 0 && exporter.port != source.port;
            if self.settings.pin_port && is_other && !is_silent {
                return Err(Refused::OtherPort {
                    port: source.port,
                    held: exporter.port,
                });
            }
            if exporter.datagrams % PROVEN_DATAGRAMS == PROVEN_DATAGRAMS - 1 {
                self.map.prove(&key);
            }
        } else if self.map.is_full() {
            self.forget_oldest();
        }
        let new = || Exporter::new(numbering(key.version));
        let (exporter, _) = self.map.get_or_insert_with(key, new);
        exporter.datagrams += 1;
        exporter.port = source.port;
        exporter.heard_ns = received_ns;
        Ok(exporter)
    }

    /// Octets of data that waits for its template that all exporters may hold beyond what they do.
    pub(crate) fn waiting_octets_left(&self) -> usize {
        let waiting_octets_max = self.settings.waiting_octets_max;
        waiting_octets_max.saturating_sub(self.held.waiting_octets)
    }

    /// Makes room; false if there is nothing that could make any.
    fn forget_oldest(&mut self) -> bool {
        let Some((key, oldest)) = self.map.pop_oldest() else {
            return false;
        };
        self.statistics.exporters_forgotten += u64::from(oldest.datagrams > 0);
        if key.session != 0 && oldest.templates().next().is_some() {
            self.forgotten_sessions.insert(key.session);
        }
        self.forget(key, oldest);
        true
    }

    /// Accounts an exporter that was taken out.
    fn forget(&mut self, key: Key, mut forgotten: Exporter) {
        self.changed |= forgotten.templates().next().is_some();
        let held = forgotten.held();
        self.held.waiting_octets -= held.waiting_octets;
        self.held.template_fields -= held.template_fields;
        self.held.interfaces -= held.interfaces;
        self.held.sources -= held.sources;
        forgotten.give_up(&mut self.statistics);
        let lost = forgotten.sequence.counts().lost;
        match Unit::of_stream(key.version, forgotten.sequence.counts_other_unit()) {
            Some(Unit::Datagrams) => self.lost_by_forgotten.1 += lost,
            _ => self.lost_by_forgotten.0 += lost,
        }
    }

    /// An exporter holds more or less than before. Of too many templates, those of the exporter that
    /// was not heard the longest go, with all that is known of it; of too many interfaces and sources, these alone.
    pub(crate) fn hold(&mut self, before: Held, after: Held) {
        self.held.waiting_octets += after.waiting_octets;
        self.held.waiting_octets -= before.waiting_octets;
        self.held.template_fields += after.template_fields;
        self.held.template_fields -= before.template_fields;
        self.held.interfaces += after.interfaces;
        self.held.interfaces -= before.interfaces;
        self.held.sources += after.sources;
        self.held.sources -= before.sources;
        let fields_max = self.settings.template_fields_max;
        while self.held.template_fields > fields_max && self.forget_oldest() {}
        let Settings {
            interfaces_max,
            sources_max,
            ..
        } = self.settings;
        if self.held.interfaces > interfaces_max || self.held.sources > sources_max {
            self.forget_details();
        }
    }

    /// Takes the names of interfaces or the sources of the exporters that were not heard the longest, whichever are too
    /// many, until an eighth of their room is free: whoever would have them looked for with each datagram would hold up
    /// all others.
    fn forget_details(&mut self) {
        let kept = |held: usize, max: usize| {
            if held > max {
                max - max.div_ceil(8)
            } else {
                held
            }
        };
        let interfaces = kept(self.held.interfaces, self.settings.interfaces_max);
        let sources = kept(self.held.sources, self.settings.sources_max);
        let (all, counted, changed) = (&mut self.held, &mut self.statistics, &mut self.changed);
        self.map.oldest_first(|exporter| {
            let held = exporter.held();
            if all.interfaces > interfaces {
                exporter.announced.forget_interfaces();
                all.interfaces -= held.interfaces;
                counted.interfaces_forgotten += held.interfaces as u64;
                *changed |= held.interfaces > 0;
            }
            if all.sources > sources {
                exporter.samples.restart();
                all.sources -= held.sources;
                counted.sources_forgotten += held.sources as u64;
            }
            all.interfaces > interfaces || all.sources > sources
        });
    }

    /// Gives up on data that has waited too long for its template.
    pub fn expire(&mut self, now_ns: u64) {
        let (counted, held) = (&mut self.statistics, &mut self.held);
        for exporter in self.map.values_mut() {
            held.waiting_octets -= exporter.held().waiting_octets;
            exporter.expire(now_ns, counted);
            held.waiting_octets += exporter.held().waiting_octets;
        }
    }

    /// Gives up on all data that waits: nobody sends any more.
    pub fn finish(&mut self) {
        for exporter in self.map.values_mut() {
            exporter.give_up(&mut self.statistics);
        }
        self.held.waiting_octets = 0;
    }

    /// A TCP connection ended, and with it its templates and numbers; its counts stay. Those of streams that
    /// make room for it are returned.
    pub fn end_session(&mut self, session: u64) -> Option<Sums> {
        self.forgotten_sessions.remove(&session);
        let keys: Vec<_> = self
            .map
            .iter()
            .filter(|(key, _)| key.session == session)
            .map(|(key, _)| *key)
            .collect();
        let mut left: Option<Sums> = None;
        for key in keys {
            let Some(exporter) = self.map.remove(&key) else {
                continue;
            };
            let sums = Sums::of(&exporter).ended();
            self.forget(key, exporter);
            let (stream, evicted) = self.ended.get_or_insert_with(key.stream(), Sums::default);
            stream.add(&sums);
            if let Some((_, evicted)) = evicted {
                left.get_or_insert_default().add(&evicted);
            }
        }
        left
    }

    /// Templates that outlive the collector. Those of connections end with them.
    #[must_use]
    pub fn remembered(&self) -> Vec<Remembered> {
        let of_udp = self.map.iter().filter(|(key, _)| key.session == 0);
        let remembered = of_udp.map(|(key, exporter)| Remembered {
            key: *key,
            rates: exporter.announced.rates(),
            booted_ms: exporter.announced.boot_ms(),
            templates: exporter.templates().cloned().collect(),
        });
        remembered
            .filter(|remembered| !remembered.templates.is_empty())
            .collect()
    }

    /// Takes templates that outlived an earlier collector.
    pub fn remember(&mut self, remembered: Remembered) {
        let Remembered {
            key,
            rates,
            booted_ms,
            templates,
        } = remembered;
        let mut exporter = Exporter::new(numbering(key.version));
        for (sampler, one_in) in rates {
            exporter.announced.set_rate(sampler, one_in);
        }
        exporter.announced.remember_boot(booted_ms);
        // No data waits yet.
        let mut intake = Intake {
            waiting_octets_max: 0,
            in_session: false,
            sender: key.address,
            counted: Statistics::default(),
            learned: BTreeSet::new(),
            keep: &mut Nothing,
        };
        for template in templates {
            exporter.learn(template, &mut intake);
        }
        let held = exporter.held();
        if self.map.peek(&key).is_some() {
            return;
        }
        if self.map.is_full() {
            self.forget_oldest();
        }
        self.map.insert(key, exporter);
        self.hold(Held::default(), held);
    }
}
