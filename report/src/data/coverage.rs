//! What an answer covers: which files, which time, and what is missing.

use std::{collections::BTreeMap, path::PathBuf};

use weir_store::{footer::Ends, layout};

use crate::{
    account::{Accounts, Stream},
    reading::Reading,
};

/// What an answer is drawn from.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Closed files of the time asked for.
    pub closed: usize,
    /// Open windows read.
    pub open: usize,
    /// Closed files that hold nothing that fits, and were not read.
    pub skipped: usize,
    /// Flows in closed files and open windows.
    pub flows: u64,
    /// First and last time of flows in them.
    pub flows_ns: Option<Ends>,
    /// When each file's flows were received, in order.
    pub received_ns: Vec<Ends>,
    /// The same of all files, those included that hold nothing of the time asked for.
    pub heard_ns: Vec<Ends>,
    /// How many of those are of each directory and the ones before it; a collector's folder in one is one, too.
    pub directory_ends: Vec<usize>,
    /// Until when the directory was heard that was silent first, of those with files in them.
    pub heard_to_ns: Option<i64>,
    /// The time asked for, where it has an end.
    pub asked_ns: (Option<i64>, Option<i64>),
    /// Smallest and largest sampling interval in the files read.
    pub sampling: Option<(u32, u32)>,
    /// Whether counts are multiplied by it.
    pub is_scaled: bool,
    /// Until when each stream was heard, by the closed files up to the end of the time asked for, also those that
    /// hold nothing of it; to the end of a file, nanoseconds since 1970-01-01 UTC.
    pub streams_ns: BTreeMap<Stream, i64>,
    /// What the exporters' accounts say of those files.
    pub accounts: Accounts,
    /// Files without an account: open ones, and those that were recovered.
    pub unaccounted: usize,
    /// Files that could not be opened, and why; see [`Self::left_out`].
    pub unreadable: Vec<(PathBuf, String)>,
    /// When the first flow of each closed file was received, nanoseconds since 1970-01-01 UTC.
    pub began_ns: BTreeMap<PathBuf, i64>,
    /// What came of reading the others.
    pub reading: Reading,
}

/// Flows still open at their exporters are exported after this long, nanoseconds: the usual active
/// timeout.
const EXPORT_DELAY_NS: i64 = 300_000_000_000;
/// A stretch without any datagram that is longer is a gap, nanoseconds.
const GAP_NS: i64 = 600_000_000_000;

impl Coverage {
    /// When the last flow was received, of the files that the answer is drawn from.
    #[must_use]
    pub fn last_received_ns(&self) -> Option<i64> {
        self.received_ns.iter().map(|(_, last)| *last).max()
    }

    /// Files that could not be read, or not to their end, and why. It is known when all was read.
    #[must_use]
    pub fn left_out(&self) -> Vec<(PathBuf, String)> {
        let mut left_out = self.unreadable.clone();
        left_out.extend(self.reading.left_out());
        left_out
    }

    /// Until when all flows have arrived, if exporters export open flows every five minutes; where a file
    /// is left out, until the flows that were in it.
    #[must_use]
    pub fn complete_to_ns(&self) -> Option<i64> {
        let left_out = self.left_out();
        let missing = left_out.iter().filter_map(|(path, _)| {
            let by_name_ns = || Some(layout::window_start_s(path)?.saturating_mul(1_000_000_000));
            self.began_ns.get(path).copied().or_else(by_name_ns)
        });
        let last_ns = || self.heard_ns.iter().map(|(_, last)| *last).max();
        let heard_ns = self.heard_to_ns.or_else(last_ns);
        let received = [heard_ns?].into_iter().chain(missing).min()?;
        Some(received.saturating_sub(EXPORT_DELAY_NS))
    }

    /// Stretches in which a directory received nothing, as far as they are in the time asked for. Files that hold
    /// nothing of that time say too when somebody was heard: it is no gap that they were left out.
    #[must_use]
    pub fn gaps_ns(&self) -> Vec<Ends> {
        let ends = self.directory_ends.iter().copied();
        let mut gaps = Vec::new();
        let mut from = 0;
        for to in ends.chain([self.heard_ns.len()]) {
            gaps.extend(self.gaps_of(self.heard_ns.get(from..to).unwrap_or_default()));
            from = to;
        }
        gaps.sort_unstable();
        gaps.dedup_by(|(from, to), (_, before)| {
            let is_joined = *from <= *before;
            if is_joined {
                *before = (*before).max(*to);
            }
            is_joined
        });
        gaps
    }

    /// Whom nobody heard in a gap: what one collector missed another may have.
    #[must_use]
    pub fn unheard(&self) -> &'static str {
        if self.directory_ends.len() > 1 {
            "in one of the directories no exporter"
        } else {
            "no exporter"
        }
    }

    /// Stretches between those of one directory.
    fn gaps_of(&self, heard_ns: &[Ends]) -> Vec<Ends> {
        let (asked_from, asked_to) = self.asked_ns;
        let cut = |(from, to): Ends| {
            let from = from.max(asked_from.unwrap_or(i64::MIN));
            let to = to.min(asked_to.unwrap_or(i64::MAX));
            (from < to).then_some((from, to))
        };
        let mut spans = heard_ns.to_vec();
        spans.sort_unstable();
        let mut gaps = Vec::new();
        let mut heard: Option<i64> = None;
        for (first, last) in spans {
            if let Some(heard) = heard
                && first.saturating_sub(heard) > GAP_NS
            {
                gaps.extend(cut((heard, first)));
            }
            heard = heard.max(Some(last));
        }
        gaps
    }

    /// Notes until when a directory was heard, of which all but so many of [`Self::heard_ns`] are.
    pub(super) fn end_directory(&mut self, before: usize) {
        let heard_ns = self.heard_ns.iter().skip(before);
        let last_ns = heard_ns.map(|(_, last)| *last).max();
        self.heard_to_ns = self.heard_to_ns.into_iter().chain(last_ns).min();
        self.directory_ends.push(self.heard_ns.len());
    }

    /// Notes who was heard in a closed file.
    pub(super) fn hear(&mut self, share: &Accounts, (first_ns, last_ns): Ends) {
        if self.asked_ns.1.is_some_and(|to_ns| first_ns >= to_ns) {
            return;
        }
        let heard = share.iter().filter(|(_, counts)| counts.datagrams > 0);
        for (stream, _) in heard {
            match self.streams_ns.get_mut(stream) {
                Some(heard_ns) => *heard_ns = last_ns.max(*heard_ns),
                None => {
                    self.streams_ns.insert(stream.clone(), last_ns);
                }
            }
        }
    }

    /// Takes in the sampling intervals of flows that are read.
    pub(super) fn sampled(&mut self, ends: Option<(u32, u32)>) {
        let known = self.sampling.into_iter().chain(ends);
        self.sampling = known.reduce(|(least, most), (other_least, other_most)| {
            (least.min(other_least), most.max(other_most))
        });
    }

    /// Counts the flows of a file, and when they were.
    pub(super) fn include(
        &mut self,
        flows: u64,
        start: Option<Ends>,
        end: Option<Ends>,
        received: Option<Ends>,
    ) {
        self.flows = self.flows.saturating_add(flows);
        self.received_ns.extend(received);
        for (first, last) in start.into_iter().chain(end) {
            let (from, to) = self.flows_ns.unwrap_or((first, last));
            self.flows_ns = Some((from.min(first), to.max(last)));
        }
    }
}
