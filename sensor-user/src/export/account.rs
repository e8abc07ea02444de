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
}

impl Exported {
    /// The account of the whole: of destinations that take turns the sum. Else each gets everything, and
    /// it is that of the first which was one all the time; if none was, the first one's.
    #[must_use]
    pub fn whole(all: &[Self]) -> ExportCounters {
        if all.iter().any(|exported| exported.in_turn) {
            return all
                .iter()
                .fold(ExportCounters::default(), |mut sum, exported| {
                    sum.merge(&exported.counters);
                    sum
                });
        }
        let mut steady = all.iter().filter(|exported| !exported.is_partial);
        let first = steady.next().or(all.first());
        first.map(|first| first.counters).unwrap_or_default()
    }

    /// Counts as lost what was given to a thread that died, and is in no counter.
    pub(super) fn lose_the_rest(all: &mut [Self], known: &[Known], given: Tally) {
        if !all.iter().any(|exported| exported.in_turn) {
            for (exported, known) in all.iter_mut().zip(known) {
                exported.counters.lose_the_rest(known.total(given));
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
    }
}
