//! Flows encoded anew and sent to another collector: what `--forward` and `replay` share. A datagram's header
//! says one sampling rate, so flows of each rate have datagrams, numbers and a domain of their own: 0 for
//! the first rate that is met, 1 for the next. Records of v9 and IPFIX have the fields that the flows of their
//! rate needed so far; what a format has no place for is counted.

use std::{
    net::{Ipv6Addr, SocketAddr},
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
use weir_netflow::{Direction, EndReason, ExportTime, FlowRecord, Optional, Sampling, fixed, v5};
use weir_store::schema::StoredFlow;

use crate::clock;

/// Sampling rates there may be; flows of more are counted as unsupported.
const RATES_MAX: usize = 64;
/// A datagram leaves when its first record has waited this long.
const DELAY_MAX_NS: u64 = 1_000_000_000;

/// A flow to be passed on.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// What can be encoded of it.
    pub record: FlowRecord,
    /// Whether it has elements beyond that.
    pub has_others: bool,
}

impl From<&StoredFlow> for Passed {
    fn from(flow: &StoredFlow) -> Self {
        Self {
            record: flow.record,
            has_others: !flow.others.is_empty(),
        }
    }
}

/// What became of the flows so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// As of any export.
    pub export: ExportCounters,
    /// Flows that were encoded without something they said.
    pub reduced: u64,
}

/// The way to one collector.
pub struct Outlet {
    version: Version,
    /// By their sampling interval.
    lanes: Vec<(u32, Batcher)>,
    destination: Destination,
    pace: Option<Pace>,
    counters: ExportCounters,
    reduced: u64,
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
            destination,
            pace,
            counters: ExportCounters::default(),
            reduced: 0,
            is_told: false,
        })
    }

    /// What became of the flows so far.
    #[must_use]
    pub fn account(&self) -> Account {
        Account {
            export: self.counters,
            reduced: self.reduced,
        }
    }

    /// Sends a flow, or has it wait for others.
    pub fn push(&mut self, flow: &Passed, now: &ExportTime) {
        let record = &flow.record;
        self.counters.records.add(record);
        let Some(lane) = self.lane(record.sampling_interval.max(1)) else {
            self.counters.records_unsupported.add(record);
            return;
        };
        let is_reduced = flow.has_others || !is_carried(self.version, record);
        if self.version.has_templates() {
            self.reduced += u64::from(is_reduced);
            self.widen(lane, Optional::of(record), now);
            return self.batch(lane, record, now);
        }
        let mut parts = 0;
        for part in fixed::parts(record) {
            parts += 1;
            self.batch(lane, &part, now);
        }
        match parts {
            0 => self.counters.records_unsupported.add(record),
            parts => {
                self.counters.records_split += parts - 1;
                self.reduced += u64::from(is_reduced);
            }
        }
    }

    /// Has a lane's records carry these fields, too.
    fn widen(&mut self, lane: usize, optional: Optional, now: &ExportTime) {
        let batcher = &mut self.lanes[lane].1;
        if !batcher.options().layout.optional.contains(optional)
            && let Some(datagram) = batcher.widen(optional, now)
        {
            self.send(lane, datagram, now);
        }
    }

    /// Sends the datagrams that have waited long enough.
    pub fn flush_if_due(&mut self, now: &ExportTime) {
        for lane in 0..self.lanes.len() {
            // A clock set back must not make it wait for long either.
            let opened_ns = self.lanes[lane].1.opened_ns();
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
        while let Some(datagram) = self.lanes[lane].1.flush(now) {
            self.send(lane, datagram, now);
        }
    }

    /// The lane of a sampling rate.
    fn lane(&mut self, interval: u32) -> Option<usize> {
        let known = self.lanes.iter().position(|(known, _)| *known == interval);
        if known.is_some() || self.lanes.len() >= RATES_MAX {
            return known;
        }
        let number = self.lanes.len();
        let options = BatchOptions {
            source_id: u32::try_from(number).unwrap_or(u32::MAX),
            sampling: Sampling {
                interval,
                random: false,
            },
            ..BatchOptions::new(self.version)
        };
        self.lanes.push((interval, Batcher::new(options)));
        Some(number)
    }

    fn batch(&mut self, lane: usize, record: &FlowRecord, now: &ExportTime) {
        if let Some(datagram) = self.lanes[lane].1.push(record, now) {
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
        let (refusals, error) = match self.destination.send(&datagram.octets) {
            Sent::Yes { refusals } => (refusals, None),
            Sent::No { refusals, error } => (refusals, Some(error)),
            Sent::Anew => {
                for record in self.lanes[lane].1.begin_anew(datagram) {
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
            self.lanes[lane].1.send_templates_again();
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
                "nothing listens at {address}: is the collector there running?"
            ));
        }
    }

    /// The path takes less than was thought: the datagram's records leave in shorter ones. It comes to this
    /// once for each length the path turns out to take, so it does not go deep.
    fn shorten(&mut self, lane: usize, datagram: Datagram, octets_max: usize, now: &ExportTime) {
        let batcher = &mut self.lanes[lane].1;
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

/// Whether a format has a place for all that a record says; times are exact to a millisecond.
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
