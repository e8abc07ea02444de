//! The way to one destination.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result};
use weir_exporter::{
    Batcher, ExportCounters,
    batch::{BatchOptions, Datagram},
    destination::{Carrier, Rest, Sent},
    pace::Pace,
};
use weir_netflow::{ExportTime, FlowRecord, announce::Lost, fixed};

use super::{Exported, How, NS_PER_MS, account::Share, said::Said};
use crate::clock::Now;

/// A collector that shares the thread is waited for as long as its carrier waits, 40 ms, once in this time the number of
/// those that share it: if all are slow, half of the time is left.
pub(super) const WAITING_NS: u64 = 80_000_000;

/// The way to one destination: its own datagrams, sequence numbers, pace and errors.
pub(super) struct Lane {
    batcher: Batcher,
    destination: Option<Box<dyn Carrier>>,
    pace: Pace,
    counters: ExportCounters,
    /// A message of which a part has left: it is sent once all of it has.
    under_way: Option<Datagram>,
    reported: bool,
    /// How long it is until its carrier may wait anew: no time while nobody else waits with it.
    pub waits_each_ns: u64,
    /// When its waiting was counted anew, by the monotonic clock.
    waited_ns: u64,
    /// Whether records go this way.
    pub is_on: bool,
    /// Whether there was a time when they did not.
    is_partial: bool,
    share: Share,
    /// If it is told anything besides records.
    announcing: Option<Announcing>,
}

/// What a collector was told besides records.
#[derive(Clone, Copy, Debug, Default)]
struct Announcing {
    /// When it was told last, by the wall clock, nanoseconds since 1970-01-01 UTC; none: it has to be anew.
    last_ns: Option<u64>,
    /// What was lost on the way to it.
    unsent: Lost,
}

impl Lane {
    /// To an address, or to none. If it `waits`, a connection is there at once, or it is known why not.
    pub fn connect(how: &How, address: Option<SocketAddr>, waits: bool) -> Result<Self> {
        let carrier = address.map(|address| {
            how.carrier(address, waits)
                .with_context(|| format!("cannot send to {address}"))
        });
        Ok(Self {
            announcing: how.announces.then(Announcing::default),
            ..Self::new(how.batch, carrier.transpose()?)
        })
    }

    /// The same one, to which earlier records did not go.
    pub fn late(self) -> Self {
        Self {
            is_partial: true,
            ..self
        }
    }

    /// Where it goes; none: records are encoded and counted only.
    pub fn address(&self) -> Option<SocketAddr> {
        self.destination.as_ref().map(|way| way.address())
    }

    /// When the open datagram was opened, by the wall clock.
    pub fn opened_ns(&self) -> Option<u64> {
        self.batcher.opened_ns()
    }

    /// Has the collector told everything anew: templates with the next datagram, the rest before the next records.
    pub fn tell_again(&mut self) {
        self.batcher.send_templates_again();
        self.announce_again();
    }

    pub fn begin(&mut self) {
        if let Some(destination) = &mut self.destination {
            destination.begin();
        }
    }

    /// What comes from here on is the last: its carrier may wait so long with all of it, and not anew.
    pub fn begin_last(&mut self, waiting: Duration) {
        self.waits_each_ns = u64::MAX;
        if let Some(destination) = &mut self.destination {
            destination.may_wait_long(waiting);
        }
    }

    /// From here on records go this way, or do not.
    pub fn switch(&mut self, is_on: bool, said: &Said, now: &ExportTime) {
        if self.is_on && !is_on {
            self.finish(said, now);
            self.is_partial = true;
        }
        if !self.is_on && is_on {
            // Who listens there may have forgotten them, or be another.
            self.tell_again();
            self.begin();
            self.reported = false;
        }
        self.is_on = is_on;
    }

    pub fn new(options: BatchOptions, destination: Option<Box<dyn Carrier>>) -> Self {
        Self {
            batcher: Batcher::new(options),
            destination,
            pace: Pace::default(),
            counters: ExportCounters::default(),
            under_way: None,
            reported: false,
            waits_each_ns: 0,
            waited_ns: 0,
            is_on: true,
            is_partial: false,
            share: Share::default(),
            announcing: None,
        }
    }

    pub fn exported(&self, in_turn: bool) -> Exported {
        Exported {
            address: self.address(),
            is_partial: self.is_partial,
            in_turn,
            counters: self.counters,
            share: self.share.of(&self.counters),
        }
    }

    /// Whether its account is the account of the whole.
    pub fn stands_for_all(&self) -> bool {
        self.share.is_on()
    }

    /// From here on its account is the account of the whole, or is not.
    pub fn stand_for_all(&mut self, stands: bool, now: &ExportTime) {
        if stands && !self.share.is_on() {
            // It has what is in another's account.
            self.flush(now);
        }
        self.share.set(stands, &self.counters);
    }

    /// Datagrams so far, whatever became of them.
    pub fn datagrams(&self) -> u64 {
        let under_way = u64::from(self.under_way.is_some());
        self.counters.datagrams_sent + self.counters.datagrams_unsent + under_way
    }

    pub fn flush(&mut self, now: &ExportTime) {
        // What is taken back makes several datagrams, and opens the last of them.
        while let Some(datagram) = self.batcher.flush(now) {
            self.send(datagram, now);
        }
    }

    /// Sends what is left, and what has become of all: nothing comes after it, unless it is switched on
    /// again.
    pub fn finish(&mut self, said: &Said, now: &ExportTime) {
        self.flush(now);
        if self.datagrams() > 0 {
            self.announce(said, now);
        }
        if let Some(destination) = &mut self.destination {
            destination.finish();
            let rest = destination.rest();
            self.settle(rest, false, now);
        }
    }

    /// Whether the collector is to be told before more records come: at first, and as often as templates are
    /// repeated by time. (They are also repeated by datagrams, which on a busy way is all the time.)
    pub fn announcement_is_due(&self, now: &ExportTime) -> bool {
        let interval_ns = self.batcher.options().template_interval_ns;
        let is_due = |last_ns: u64| now.unix_ns.abs_diff(last_ns) >= interval_ns;
        self.announcing
            .is_some_and(|announcing| announcing.last_ns.is_none_or(is_due))
    }

    /// Tells the collector what was sent and lost so far, and what interfaces are called.
    pub fn announce(&mut self, said: &Said, now: &ExportTime) {
        let Some(announcing) = &mut self.announcing else {
            return;
        };
        announcing.last_ns = Some(now.unix_ns);
        let said = said.announcement(&self.counters, announcing.unsent);
        let mut parts = self.batcher.parts(&said);
        while let Some(datagram) = self.batcher.announce(&mut parts, now) {
            self.send(datagram, now);
            // If it was taken back all of it is told again, before the next records.
            if self.announcing.is_none_or(|told| told.last_ns.is_none()) {
                break;
            }
        }
    }

    /// What was told is not known any more.
    fn announce_again(&mut self) {
        if let Some(announcing) = &mut self.announcing {
            announcing.last_ns = None;
        }
    }

    pub fn export(&mut self, record: &FlowRecord, now: &ExportTime) {
        self.counters.records.add(record);
        let options = self.batcher.options();
        if !options.version.has_templates() {
            self.batch_parts(record, fixed::parts(record), now);
        } else if options.layout.is_narrow() {
            self.batch_parts(record, fixed::narrow_parts(record), now);
        } else {
            self.batch(record, now);
        }
    }

    /// A record whose counts may not fit, as others that fit; none if the version has no place for it.
    fn batch_parts(
        &mut self,
        record: &FlowRecord,
        parts: impl Iterator<Item = FlowRecord>,
        now: &ExportTime,
    ) {
        let mut count = 0;
        for part in parts {
            count += 1;
            self.batch(&part, now);
        }
        match count {
            0 => self.counters.records_unsupported.add(record),
            count => self.counters.records_split += count - 1,
        }
    }

    fn batch(&mut self, record: &FlowRecord, now: &ExportTime) {
        if let Some(datagram) = self.batcher.push(record, now) {
            self.send(datagram, now);
        }
    }

    fn send(&mut self, datagram: Datagram, now: &ExportTime) {
        let Some(destination) = &mut self.destination else {
            return self.counters.count_sent(&datagram);
        };
        let now_ns = Now::read().monotonic_ns;
        if now_ns >= self.waited_ns.saturating_add(self.waits_each_ns) {
            destination.may_wait_again();
            self.waited_ns = now_ns;
        }
        let wait_ns = self.pace.take(now_ns);
        if wait_ns > 0 {
            thread::sleep(Duration::from_nanos(wait_ns));
        }
        let sent = destination.send(&datagram.octets);
        let (rest, address) = (destination.rest(), destination.address());
        self.settle(rest, matches!(sent, Sent::Yes { .. }), now);
        let (refusals, error) = match sent {
            Sent::Yes { refusals } => (refusals, None),
            Sent::No { refusals, error } => (refusals, Some(error)),
            Sent::Anew => {
                eprintln!("weir-sensor: connected to {address}");
                self.reported = false;
                self.announce_again();
                for record in self.batcher.begin_anew(datagram) {
                    self.batch(&record, now);
                }
                return;
            }
            Sent::TooLong {
                refusals,
                octets_max,
            } => {
                self.counters.refusals += u64::from(refusals);
                return self.shorten(datagram, octets_max, now);
            }
        };
        self.counters.refusals += u64::from(refusals);
        if refusals > 0 {
            // A datagram before this one did not arrive, perhaps the one with the templates.
            self.batcher.send_templates_again();
        }
        if let Some(error) = &error {
            self.batcher.send_templates_again();
            self.count_unsent(&datagram, now);
            self.report(&format!(
                "cannot send to {address}: {error}; counting what is lost"
            ));
        } else {
            if rest == Rest::UnderWay {
                self.under_way = Some(datagram);
            } else {
                self.counters.count_sent(&datagram);
            }
            if refusals > 0 {
                self.report(&format!(
                    "datagrams to {address} come back: nothing listens there, or a router takes none as long; is the collector running?"
                ));
            }
        }
    }

    /// The path takes less than was thought: the datagram's records leave in shorter ones. It comes
    /// to this once for each length the path turns out to take, so it does not go deep.
    fn shorten(&mut self, datagram: Datagram, octets_max: usize, now: &ExportTime) {
        let least = self.batcher.options().datagram_octets_min();
        if let Some(destination) = &mut self.destination {
            let address = destination.address();
            if octets_max < least {
                destination.allow_fragments();
                eprintln!(
                    "weir-sensor: the path to {address} takes only {octets_max} octets, less than the {least} a datagram needs: datagrams leave in fragments"
                );
            } else {
                eprintln!(
                    "weir-sensor: the path to {address} takes datagrams of {octets_max} octets: they are kept as short from here on"
                );
            }
        }
        self.counters.datagrams_shortened += 1;
        if datagram.tally.records == 0 {
            self.announce_again();
        }
        for record in self.batcher.take_back(datagram, octets_max.max(least)) {
            self.batch(&record, now);
        }
    }

    /// Counts the message before, if a part of it was still to leave. It has left if the next one was taken.
    fn settle(&mut self, rest: Rest, next_is_taken: bool, now: &ExportTime) {
        if rest == Rest::UnderWay && !next_is_taken {
            return;
        }
        if let Some(before) = self.under_way.take() {
            match rest {
                Rest::Cut => self.count_unsent(&before, now),
                Rest::Left | Rest::UnderWay => self.counters.count_sent(&before),
            }
        }
    }

    fn count_unsent(&mut self, datagram: &Datagram, now: &ExportTime) {
        self.counters.count_unsent(datagram);
        let lost = self.counters.records_unsent;
        if let Some(Announcing { unsent, .. }) = &mut self.announcing {
            let now_ms = now.unix_ns / NS_PER_MS;
            *unsent = unsent.grown(lost.records, lost.packets, lost.octets, now_ms);
        }
    }

    /// Once: the counters tell the rest.
    fn report(&mut self, sentence: &str) {
        if !self.reported {
            eprintln!("weir-sensor: {sentence}");
            self.reported = true;
        }
    }
}
