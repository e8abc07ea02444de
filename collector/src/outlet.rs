//! Flows encoded anew and sent to another collector: what `--forward` and `replay` share. A datagram's header
//! says one sampling rate, and its records one exporter, so flows of each rate and exporter have datagrams,
//! numbers and a domain of their own: 0 for the first that is met, 1 for the next. Where there are too many, one that was
//! silent for some minutes gives its place to another, and if that has the same rate its domain, too. Records of v9 and IPFIX say who
//! exported them first, and have the fields that the flows of their domain needed so far; what a format has no
//! place for is counted. v5, which cannot tell an exporter, has a domain for each rate only.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use weir_exporter::{
    Batcher, Destination, ExportCounters, Version,
    batch::{BatchOptions, Datagram},
    destination::{Carrier as _, Sent},
    pace::Pace,
};
use weir_netflow::{
    Direction, EndReason, ExportTime, FlowRecord, Layout, Optional, Sampling, element, fixed,
    layout::Times, v5,
};
use weir_store::{others::Other, schema::StoredFlow};

use crate::clock;

/// Lanes there may be, each with a datagram that is being filled. Flows that would need another one leave without their
/// exporter's address, in a lane of their rate, until one is idle.
const LANES_MAX: usize = 1024;
/// Of those, for rates; flows of yet more rates are counted as unsupported, until a lane is idle.
const RATES_MAX: usize = 64;
/// As many as there are lanes: so far ahead is the next domain of a lane, and no two have the same.
const DOMAIN_STEP: u32 = 1 << 10;
/// A lane that nothing came for so long is another exporter's or rate's, if one needs it.
const IDLE_NS: u64 = 300_000_000_000;
/// If none is idle, that is not looked at again for so long.
const LOOK_NS: u64 = 1_000_000_000;
/// Records that large flows become beyond one each, where counters have 32 bits, in a second: they have some 280 TB.
/// What says more is not true, and somebody's few datagrams would be millions, which keep others' flows from leaving.
const PARTS_A_SECOND: u64 = 1 << 16;
const SECOND_NS: u64 = 1_000_000_000;
/// Clocks differ by that much: a time so far ahead is now. One that is further ahead is told by the wall clock.
const AHEAD_MAX_NS: u64 = 1_000_000_000;
/// A datagram leaves when its first record has waited this long.
const DELAY_MAX_NS: u64 = 1_000_000_000;

/// A flow to be passed on.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// What can be encoded of it.
    pub record: FlowRecord,
    /// Who exported it first, as far as that is known: whom the flow names, since its sender may have passed it on, else
    /// its sender. Nothing proves what a flow names; it is believed here alone, not in files or accounts.
    pub exporter: Ipv6Addr,
    /// Whether it has elements beyond that.
    pub has_others: bool,
}

impl From<&StoredFlow> for Passed {
    fn from(flow: &StoredFlow) -> Self {
        // It may have been passed on before.
        let mut first = flow.others.iter().filter_map(|other| exporter(&other));
        let is_known = |address: &Ipv6Addr| {
            !address.is_unspecified() && address.to_ipv4_mapped() != Some(Ipv4Addr::UNSPECIFIED)
        };
        Self {
            record: flow.record,
            exporter: first.find(is_known).unwrap_or(flow.exporter),
            has_others: flow.others.iter().any(|other| exporter(&other).is_none()),
        }
    }
}

/// The exporter's address, if an element is that.
pub(crate) fn exporter(other: &Other<'_>) -> Option<Ipv6Addr> {
    match (other.enterprise, other.element) {
        (0, element::EXPORTER_V4) => {
            let octets: [u8; 4] = other.octets.try_into().ok()?;
            Some(Ipv4Addr::from(octets).to_ipv6_mapped())
        }
        (0, element::EXPORTER_V6) => {
            let octets: [u8; 16] = other.octets.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}

/// What became of the flows so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// As of any export.
    pub export: ExportCounters,
    /// Flows that were encoded without something they said.
    pub reduced: u64,
    /// Domains that became another exporter's.
    pub reused: u64,
}

/// Whose flows share a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Whose {
    interval: u32,
    /// `::` if it is not told.
    exporter: Ipv6Addr,
}

impl Whose {
    fn layout(&self) -> Layout {
        Layout {
            exporter: Some(self.exporter).filter(|exporter| !exporter.is_unspecified()),
            ..Layout::WEIR
        }
    }
}

/// The datagrams of one domain.
struct Lane {
    batcher: Batcher,
    domain: u32,
    whose: Whose,
    /// When its latest flow came.
    used_ns: u64,
}

/// The way to one collector.
pub struct Outlet {
    version: Version,
    lanes: Vec<Lane>,
    /// The lane of each, by their numbers.
    known: HashMap<Whose, usize>,
    /// The one before, and its lane: neighbours mostly share one.
    last: Option<(Whose, usize)>,
    /// When none was idle, for an exporter and for a rate.
    looked_ns: [Option<u64>; 2],
    destination: Destination,
    pace: Option<Pace>,
    counters: ExportCounters,
    reduced: u64,
    reused: u64,
    /// Since when, and how many records beyond one each flows became in this second.
    split: (u64, u64),
    is_told: bool,
}

impl Outlet {
    /// Opens a socket; without a pace datagrams leave as fast as they are made.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(address: SocketAddr, version: Version, pace: Option<Pace>) -> Result<Self> {
        let destination =
            Destination::connect(address).with_context(|| format!("cannot send to {address}"))?;
        Ok(Self {
            version,
            lanes: Vec::new(),
            known: HashMap::new(),
            last: None,
            looked_ns: [None; 2],
            destination,
            pace,
            counters: ExportCounters::default(),
            reduced: 0,
            reused: 0,
            split: (0, 0),
            is_told: false,
        })
    }

    /// What became of the flows so far.
    #[must_use]
    pub fn account(&self) -> Account {
        Account {
            export: self.counters,
            reduced: self.reduced,
            reused: self.reused,
        }
    }

    /// Sends a flow, or has it wait for others.
    pub fn push(&mut self, flow: &Passed, now: &ExportTime) {
        let record = &flow.record;
        self.counters.records.add(record);
        let tells_exporter = self.version.has_templates() && !flow.exporter.is_unspecified();
        let whose = Whose {
            interval: record.sampling_interval.max(1),
            exporter: if tells_exporter {
                flow.exporter
            } else {
                Ipv6Addr::UNSPECIFIED
            },
        };
        let Some(lane) = self.lane(whose, now) else {
            self.counters.records_unsupported.add(record);
            return;
        };
        self.lanes[lane].used_ns = now.unix_ns;
        let is_timed = is_told_by_uptime(record, now);
        let is_reduced = flow.has_others || !is_carried(self.version, record);
        if self.version.has_templates() {
            let is_told = self.layout(lane).exporter.is_some();
            self.reduced += u64::from(is_reduced || is_told != tells_exporter);
            self.widen(lane, Optional::of(record), now);
            if !is_timed && self.version == Version::V9 {
                self.tell_wall_clock(lane, now);
            }
            return self.batch(lane, record, now);
        }
        let parts = fixed::part_count(record);
        if parts == 0 || !self.may_split(parts - 1, now) {
            self.counters.records_unsupported.add(record);
            return;
        }
        for part in fixed::parts(record) {
            self.batch(lane, &part, now);
        }
        self.counters.records_split += parts - 1;
        self.reduced += u64::from(is_reduced || !is_timed);
    }

    /// Whether a flow may become so many records more than one.
    fn may_split(&mut self, more: u64, now: &ExportTime) -> bool {
        let (since_ns, parts) = &mut self.split;
        if now.unix_ns.abs_diff(*since_ns) >= SECOND_NS {
            (*since_ns, *parts) = (now.unix_ns, 0);
        }
        let may_split = more <= PARTS_A_SECOND - *parts;
        *parts += if may_split { more } else { 0 };
        may_split
    }

    /// Has a lane's records carry these fields, too.
    fn widen(&mut self, lane: usize, optional: Optional, now: &ExportTime) {
        if !self.layout(lane).optional.contains(optional)
            && let Some(datagram) = self.lanes[lane].batcher.widen(optional, now)
        {
            self.send(lane, datagram, now);
        }
    }

    /// Has a lane's records tell their times by the wall clock from here on: sysUptime's 32 bits are too few for them.
    fn tell_wall_clock(&mut self, lane: usize, now: &ExportTime) {
        let times = Some(Times::Milliseconds);
        if self.layout(lane).times != times {
            self.flush_lane(lane, now);
            let layout = *self.layout(lane);
            let batcher = &mut self.lanes[lane].batcher;
            batcher.relayout(Layout { times, ..layout });
        }
    }

    fn layout(&self, lane: usize) -> &Layout {
        &self.lanes[lane].batcher.options().layout
    }

    /// Sends the datagrams that have waited long enough.
    pub fn flush_if_due(&mut self, now: &ExportTime) {
        for lane in 0..self.lanes.len() {
            // A clock set back must not make it wait for long either.
            let opened_ns = self.lanes[lane].batcher.opened_ns();
            if opened_ns.is_some_and(|ns| now.unix_ns.abs_diff(ns) >= DELAY_MAX_NS) {
                self.flush_lane(lane, now);
            }
        }
    }

    /// Sends what is left.
    pub fn flush(&mut self, now: &ExportTime) {
        (0..self.lanes.len()).for_each(|lane| self.flush_lane(lane, now));
    }

    fn flush_lane(&mut self, lane: usize, now: &ExportTime) {
        // What is taken back makes several datagrams, and opens the last of them.
        while let Some(datagram) = self.lanes[lane].batcher.flush(now) {
            self.send(lane, datagram, now);
        }
    }

    /// The lane of a sampling rate and an exporter; if there are too many and none is idle, that of the rate; none if of
    /// these, too.
    fn lane(&mut self, whose: Whose, now: &ExportTime) -> Option<usize> {
        if let Some((last, lane)) = self.last
            && last == whose
        {
            return Some(lane);
        }
        let of_rate = Whose {
            exporter: Ipv6Addr::UNSPECIFIED,
            ..whose
        };
        let lanes_max = if whose == of_rate {
            LANES_MAX
        } else {
            LANES_MAX - RATES_MAX
        };
        let lane = if let Some(lane) = self.known.get(&whose) {
            *lane
        } else if self.lanes.len() < lanes_max {
            self.open_lane(whose)
        } else if let Some(lane) = self.idle_lane(whose, now) {
            self.take_over(lane, whose, now);
            lane
        } else if whose == of_rate {
            return None;
        } else {
            // It may have one of its own soon.
            return self.lane(of_rate, now);
        };
        self.last = Some((whose, lane));
        Some(lane)
    }

    fn open_lane(&mut self, whose: Whose) -> usize {
        let number = self.lanes.len();
        let domain = u32::try_from(number).unwrap_or(u32::MAX);
        let batcher = self.batcher(domain, whose);
        self.lanes.push(Lane {
            batcher,
            domain,
            whose,
            used_ns: 0,
        });
        self.known.insert(whose, number);
        number
    }

    fn batcher(&self, domain: u32, whose: Whose) -> Batcher {
        Batcher::new(BatchOptions {
            source_id: domain,
            sampling: Sampling {
                interval: whose.interval,
                random: false,
            },
            layout: whose.layout(),
            ..BatchOptions::new(self.version)
        })
    }

    /// The lane that was not used the longest, if that is long enough; one of the same rate before all others. Exporters
    /// leave rates theirs.
    fn idle_lane(&mut self, whose: Whose, now: &ExportTime) -> Option<usize> {
        let is_of_rate = whose.exporter.is_unspecified();
        let looked = usize::from(is_of_rate);
        if self.looked_ns[looked].is_some_and(|ns| now.unix_ns.abs_diff(ns) < LOOK_NS) {
            return None;
        }
        let is_rates = |lane: &Lane| lane.whose.exporter.is_unspecified();
        let rates = self.lanes.iter().filter(|lane| is_rates(lane)).count();
        let may_take = |lane: &Lane| is_of_rate || !is_rates(lane) || rates > RATES_MAX;
        let is_idle = |lane: &Lane| now.unix_ns.saturating_sub(lane.used_ns) >= IDLE_NS;
        let lanes = self.lanes.iter().enumerate();
        let idle = lanes
            .filter(|(_, lane)| is_idle(lane) && may_take(lane))
            .min_by_key(|(_, lane)| (lane.whose.interval != whose.interval, lane.used_ns))
            .map(|(number, _)| number);
        if idle.is_none() {
            self.looked_ns[looked] = Some(now.unix_ns);
        }
        idle
    }

    /// Makes a lane another's. With the same rate its domain's numbers go on, so that nobody who counts them misses any,
    /// and templates of other fields have other ids. Another rate has another domain: who missed the datagram that
    /// announces it would go on by the rate before.
    fn take_over(&mut self, lane: usize, whose: Whose, now: &ExportTime) {
        // Before anything changes: what is too long for the path is encoded once more.
        self.flush_lane(lane, now);
        let before = self.lanes[lane].whose;
        if before.interval == whose.interval {
            self.lanes[lane].batcher.relayout(whose.layout());
            self.reused += 1;
        } else {
            let domain = self.lanes[lane].domain.wrapping_add(DOMAIN_STEP);
            self.lanes[lane].batcher = self.batcher(domain, whose);
            self.lanes[lane].domain = domain;
        }
        self.lanes[lane].whose = whose;
        self.known.remove(&before);
        self.known.insert(whose, lane);
    }

    fn batch(&mut self, lane: usize, record: &FlowRecord, now: &ExportTime) {
        if let Some(datagram) = self.lanes[lane].batcher.push(record, now) {
            self.send(lane, datagram, now);
        }
    }

    fn send(&mut self, lane: usize, datagram: Datagram, now: &ExportTime) {
        if let Some(pace) = &mut self.pace {
            let wait_ns = pace.take(clock::monotonic_ns());
            if wait_ns > 0 {
                thread::sleep(Duration::from_nanos(wait_ns));
            }
        }
        // Nobody else waits with it.
        self.destination.may_wait_again();
        let (refusals, error) = match self.destination.send(&datagram.octets) {
            Sent::Yes { refusals } => (refusals, None),
            Sent::No { refusals, error } => (refusals, Some(error)),
            Sent::Anew => {
                for lane in &mut self.lanes {
                    lane.batcher.send_templates_again();
                }
                for record in self.lanes[lane].batcher.begin_anew(datagram) {
                    self.batch(lane, &record, now);
                }
                return;
            }
            Sent::TooLong {
                refusals,
                octets_max,
            } => {
                self.counters.refusals += u64::from(refusals);
                return self.shorten(lane, datagram, octets_max, now);
            }
        };
        self.counters.refusals += u64::from(refusals);
        if refusals > 0 || error.is_some() {
            // What did not arrive may have been the one with the templates.
            self.lanes[lane].batcher.send_templates_again();
        }
        let address = self.destination.address();
        if let Some(error) = error {
            self.counters.count_unsent(&datagram);
            self.tell(&format!(
                "cannot send to {address}: {error}; counting what is lost"
            ));
            return;
        }
        self.counters.count_sent(&datagram);
        if refusals > 0 {
            self.tell(&format!(
                "what was sent to {address} was refused there or on the way: is the collector there running?"
            ));
        }
    }

    /// The path takes less than was thought: the datagram's records leave in shorter ones. It comes to this
    /// once for each length the path turns out to take, so it does not go deep.
    fn shorten(&mut self, lane: usize, datagram: Datagram, octets_max: usize, now: &ExportTime) {
        let batcher = &mut self.lanes[lane].batcher;
        let least = batcher.options().datagram_octets_min();
        if octets_max < least {
            self.destination.allow_fragments();
        }
        self.counters.datagrams_shortened += 1;
        for record in batcher.take_back(datagram, octets_max.max(least)) {
            self.batch(lane, &record, now);
        }
    }

    /// Once: the counters tell the rest.
    fn tell(&mut self, sentence: &str) {
        if !self.is_told {
            eprintln!("weir-collector: {sentence}");
            self.is_told = true;
        }
    }
}

/// Whether the times of a record can be told by sysUptime.
fn is_told_by_uptime(record: &FlowRecord, now: &ExportTime) -> bool {
    let ahead = ExportTime {
        unix_ns: now.unix_ns.saturating_add(AHEAD_MAX_NS),
        ..*now
    };
    ahead.is_relative(record.start_ns) && ahead.is_relative(record.end_ns)
}

/// Whether a format has a place for all that a record says but its times, which are exact to a millisecond.
fn is_carried(version: Version, record: &FlowRecord) -> bool {
    // TCP flags are an octet in all of them.
    let is_octet = record.tcp_flags <= 0xff;
    let is_family = |address: Ipv6Addr| {
        address.is_unspecified() || address.to_ipv4_mapped().is_none() == record.v6
    };
    let are_family = is_family(record.next_hop) && is_family(record.bgp_next_hop);
    if version.has_templates() {
        return is_octet && are_family;
    }
    let is_narrow = |number: u32| u16::try_from(number).is_ok();
    let numbers = [
        record.ingress_ifindex,
        record.egress_ifindex,
        record.source_as,
        record.destination_as,
    ];
    is_octet
        && are_family
        && numbers.into_iter().all(is_narrow)
        && record.sampling_interval <= v5::SAMPLING_INTERVAL_MAX
        && Optional::ROUTING.contains(Optional::of(record))
        && record.bgp_next_hop.is_unspecified()
        && record.vlan == 0
        && record.direction == Direction::Ingress
        && record.end_reason == EndReason::Unknown
}

#[cfg(test)]
mod tests;
