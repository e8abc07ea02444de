//! What became of the records at each destination, and what each was given.

use std::net::SocketAddr;

use weir_exporter::{ExportCounters, counters::Tally};

/// What the near end knows of a lane.
#[derive(Debug)]
pub(super) struct Known {
    pub address: Option<SocketAddr>,
    /// What it was given, up to when it ended last; of those that take turns, what all were meanwhile.
    given: Tally,
    /// What all was given when it began last, unless it has ended.
    pub since: Option<Tally>,
}

impl Known {
    pub fn new(address: Option<SocketAddr>, given: Tally) -> Self {
        Self {
            address,
            given: Tally::default(),
            since: Some(given),
        }
    }

    /// What it was given, of all that was.
    pub fn total(&self, given: Tally) -> Tally {
        let mut total = self.given;
        if let Some(since) = self.since {
            total.merge(given.without(since));
        }
        total
    }

    /// It is one that records go to from here on, or is not.
    pub fn set(&mut self, is_on: bool, given: Tally) {
        self.given = self.total(given);
        self.since = is_on.then_some(given);
    }
}

/// What of a lane's account is the account of the whole: what it had while it was the one that stands for all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    /// Until it was that last.
    until: ExportCounters,
    /// The lane's account when it became that, if it is.
    since: Option<ExportCounters>,
}

impl Share {
    pub fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Of a lane with this account.
    pub fn of(&self, counters: &ExportCounters) -> ExportCounters {
        let mut share = self.until;
        if let Some(since) = &self.since {
            share.merge(&counters.without(since));
        }
        share
    }

    pub fn set(&mut self, is_on: bool, counters: &ExportCounters) {
        if is_on != self.is_on() {
            self.until = self.of(counters);
            self.since = is_on.then_some(*counters);
        }
    }
}

/// What became of the records at one destination.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The destination; none: they were encoded and counted only.
    pub address: Option<SocketAddr>,
    /// Whether it was one for a part of the time only.
    pub is_partial: bool,
    /// Whether it got a share of the records, and the others the rest.
    pub in_turn: bool,
    /// The account.
    pub counters: ExportCounters,
    /// What of it is the account of the whole.
    pub share: ExportCounters,
}

impl Exported {
    /// The account of the whole. Of destinations that take turns it is all of theirs; else each gets everything, and
    /// it is one's at a time: the first one's, and when that has ended, another's from then on.
    #[must_use]
    pub fn whole(all: &[Self]) -> ExportCounters {
        let mut whole = ExportCounters::default();
        for exported in all {
            whole.merge(&exported.share);
        }
        whole
    }

    /// Counts as lost what was given to a thread that died, and is in no counter.
    pub(super) fn lose_the_rest(all: &mut [Self], known: &[Known], given: Tally) {
        if !all.iter().any(|exported| exported.in_turn) {
            for (exported, known) in all.iter_mut().zip(known) {
                exported.counters.lose_the_rest(known.total(given));
            }
            let mut whole = Self::whole(all);
            whole.lose_the_rest(given);
            for exported in all.iter_mut() {
                exported.share = std::mem::take(&mut whole);
            }
            return;
        }
        let mut left = given;
        for exported in all.iter_mut() {
            let got = exported.counters.records;
            exported.counters.lose_the_rest(got);
            left = left.without(got);
        }
        // Whose turn it would have been nobody knows: the first one's that has not ended.
        let first = known.iter().position(|known| known.since.is_some());
        if let Some(first) = all.get_mut(first.unwrap_or(0)) {
            let mut got = first.counters.records;
            got.merge(left);
            first.counters.lose_the_rest(got);
        }
        for exported in all {
            exported.share = exported.counters;
        }
    }
}
