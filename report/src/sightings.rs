//! Signatures over what is going on: who matches by flows that are open at the sensor and by records that
//! arrived in the last minutes. Pure: times are arguments.

use std::collections::{HashMap, HashSet, VecDeque};

use weir_store::schema::StoredFlow;

use crate::{
    filter::{Filter, ranges::number_of, reference::fits},
    gather::Counts,
    live::ledger::Open,
    signatures::{By, Signature},
};

/// How long a record counts after it arrived, nanoseconds.
const KEPT_NS: u64 = 300_000_000_000;
/// Records that match and are kept, at most; beyond it those go that arrived first.
const KEPT_MAX: usize = 200_000;

/// A flow that matches.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    /// Place of the signature.
    signature: usize,
    /// Who is listed.
    host: u128,
    /// The other end.
    other: u128,
    /// First and last packet, nanoseconds since 1970-01-01 UTC.
    times_ns: (i64, i64),
    packets: u64,
    octets: u64,
    /// Until when it counts, by the monotonic clock; nothing of one that is open.
    until_ns: Option<u64>,
}

/// Who matches a signature, and by how much.
#[derive(Clone, Debug)]
pub struct Match {
    /// Place of the signature.
    pub signature: usize,
    /// The host's address.
    pub host: u128,
    /// What it is by.
    pub counts: Counts,
    /// How many of these flows are open.
    pub open: u64,
}

/// All flows that match.
pub struct Sightings {
    signatures: Vec<Signature>,
    /// What flows must fit besides.
    asked: Filter,
    open: Vec<Sighting>,
    arrived: VecDeque<Sighting>,
}

impl Sightings {
    /// None yet, of these signatures, among flows that fit a filter.
    #[must_use]
    pub fn new(signatures: Vec<Signature>, asked: Filter) -> Self {
        Self {
            signatures,
            asked,
            open: Vec::new(),
            arrived: VecDeque::new(),
        }
    }

    /// The signatures, in their places.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Takes a record that arrived so long ago, nanoseconds. One that would be forgotten by now does not count:
    /// what is read first may be a window of hours.
    pub fn arrived(&mut self, flow: &StoredFlow, now_ns: u64, age_ns: u64) {
        let left_ns = KEPT_NS.saturating_sub(age_ns);
        if left_ns == 0 {
            return;
        }
        let until_ns = now_ns.saturating_add(left_ns);
        let found = sightings(&self.signatures, &self.asked, flow, Some(until_ns));
        self.arrived.extend(found);
        let excess = self.arrived.len().saturating_sub(KEPT_MAX);
        self.arrived.drain(..excess);
    }

    /// Takes the sensor's table, in the place of the one before: what is not open any more arrives.
    pub fn table(&mut self, flows: &[Open]) {
        self.open.clear();
        for Open { flow, .. } in flows {
            let found = sightings(&self.signatures, &self.asked, flow, None);
            self.open.extend(found);
        }
    }

    /// Forgets what arrived long ago.
    pub fn forget(&mut self, now_ns: u64) {
        let is_old =
            |sighting: &Sighting| sighting.until_ns.is_some_and(|until_ns| until_ns <= now_ns);
        while self.arrived.front().is_some_and(is_old) {
            self.arrived.pop_front();
        }
    }

    /// Who matches enough, the first one first.
    #[must_use]
    pub fn matches(&self) -> Vec<Match> {
        let mut hosts: HashMap<(usize, u128), Tally> = HashMap::new();
        for sighting in self.open.iter().chain(&self.arrived) {
            let host = hosts.entry((sighting.signature, sighting.host));
            host.or_default().add(sighting);
        }
        let counted = hosts.into_iter().map(|((signature, host), tally)| {
            let mut counts = tally.counts;
            counts.distinct = vec![tally.others.len() as u64];
            Match {
                signature,
                host,
                counts,
                open: tally.open,
            }
        });
        let mut matches: Vec<Match> = counted
            .filter(|found| self.signatures[found.signature].is_met_by(&found.counts))
            .collect();
        matches.sort_by_key(|found| (found.counts.times_ns, found.signature, found.host));
        matches
    }
}

/// What adds up of a host.
#[derive(Default)]
struct Tally {
    counts: Counts,
    open: u64,
    others: HashSet<u128>,
}

impl Tally {
    fn add(&mut self, sighting: &Sighting) {
        let counts = &mut self.counts;
        let (first_ns, last_ns) = sighting.times_ns;
        counts.times_ns = match counts.flows {
            0 => sighting.times_ns,
            _ => (
                counts.times_ns.0.min(first_ns),
                counts.times_ns.1.max(last_ns),
            ),
        };
        counts.flows += 1;
        counts.packets = counts.packets.saturating_add(sighting.packets);
        counts.octets = counts.octets.saturating_add(sighting.octets);
        self.open += u64::from(sighting.until_ns.is_none());
        self.others.insert(sighting.other);
    }
}

/// A flow, once for each signature that it matches.
fn sightings<'a>(
    signatures: &'a [Signature],
    asked: &'a Filter,
    flow: &'a StoredFlow,
    until_ns: Option<u64>,
) -> impl Iterator<Item = Sighting> + 'a {
    let record = &flow.record;
    let ends = [record.source, record.destination].map(|address| number_of(address.into()));
    let time = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let times_ns = (time(record.start_ns), time(record.end_ns));
    let signatures = signatures.iter().enumerate();
    let matching =
        signatures.filter(move |(_, known)| fits(&known.filter, flow) && fits(asked, flow));
    matching.map(move |(signature, known)| {
        let [source, destination] = ends;
        let (host, other) = match known.by {
            By::Source => (source, destination),
            By::Destination => (destination, source),
        };
        Sighting {
            signature,
            host,
            other,
            times_ns,
            packets: record.packets,
            octets: record.octets,
            until_ns,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        filter::{Surroundings, parse, sets::Library},
        live::ledger::tests::{SECOND_NS, flow},
        signatures,
    };

    fn filter(text: &str) -> Filter {
        let around = Surroundings {
            now_ns: 0,
            library: &Library::new("/no/such/folder".into()),
            resolve: |_| Vec::new(),
        };
        parse(text, &around).unwrap()
    }

    fn sightings(text: &str, asked: &str) -> Sightings {
        let read = signatures::read(text, |text| Ok(filter(text))).unwrap();
        Sightings::new(read, filter(asked))
    }

    fn open(number: u64, flow: StoredFlow) -> Open {
        Open { number, flow }
    }

    /// Hosts' last octets, different other ends, flows, open ones.
    fn matches(sightings: &Sightings) -> Vec<(u128, u64, u64, u64)> {
        let found = sightings.matches();
        let row = |found: &Match| {
            let counts = &found.counts;
            (
                found.host & 0xff,
                counts.distinct[0],
                counts.flows,
                found.open,
            )
        };
        found.iter().map(row).collect()
    }

    const PROBE: &str = "[probe]\nfilter = 'packets = 3'\ntargets = 3";

    #[test]
    fn open_flows_and_those_that_arrived_count_together_and_once() {
        let mut sightings = sightings(PROBE, "any");
        sightings.arrived(&flow(1, 11, 300, 0), 0, 0);
        sightings.table(&[open(1, flow(1, 12, 300, 1)), open(2, flow(1, 13, 900, 1))]);
        // Two other ends, and a flow that does not fit.
        assert!(matches(&sightings).is_empty());
        sightings.table(&[open(1, flow(1, 12, 300, 1)), open(3, flow(1, 13, 300, 2))]);
        assert_eq!(matches(&sightings), [(1, 3, 3, 2)]);
        // What was open arrives.
        sightings.arrived(&flow(1, 12, 300, 1), SECOND_NS, 0);
        sightings.table(&[open(3, flow(1, 13, 300, 2))]);
        assert_eq!(matches(&sightings), [(1, 3, 3, 1)]);
        // The same other end again is none more.
        sightings.arrived(&flow(1, 12, 300, 3), SECOND_NS, 0);
        assert_eq!(matches(&sightings), [(1, 3, 4, 1)]);
        sightings.forget(SECOND_NS + KEPT_NS);
        assert!(matches(&sightings).is_empty());
    }

    #[test]
    fn what_was_there_before_the_first_look_counts_for_what_is_left_of_its_time() {
        let mut sightings = sightings(PROBE, "any");
        for (other, age_s) in [(11, 299), (12, 100), (13, 300)] {
            sightings.arrived(&flow(1, other, 300, 0), 0, age_s * SECOND_NS);
        }
        assert!(matches(&sightings).is_empty(), "the third is too old");
        sightings.arrived(&flow(1, 13, 300, 0), 0, 0);
        assert_eq!(matches(&sightings), [(1, 3, 3, 0)]);
        sightings.forget(SECOND_NS);
        assert!(matches(&sightings).is_empty(), "so is the first by now");
    }

    #[test]
    fn whoever_is_hit_may_be_listed_and_a_filter_may_narrow_it() {
        let text = "[hit]\nfilter = 'dst port 80'\nby = 'destination'\ntargets = 2";
        for (asked, expected) in [("any", &[(9, 2, 2, 0)][..]), ("src ip 10.0.0.1", &[][..])] {
            let mut sightings = sightings(text, asked);
            sightings.arrived(&flow(1, 9, 300, 0), 0, 0);
            sightings.arrived(&flow(2, 9, 300, 0), 0, 0);
            assert_eq!(matches(&sightings), expected, "{asked}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut sightings = sightings(PROBE, "any");
        for second in 0..KEPT_MAX as u64 + 10 {
            sightings.arrived(&flow(1, 2, 300, second), second, 0);
        }
        assert_eq!(sightings.arrived.len(), KEPT_MAX);
        assert_eq!(sightings.arrived[0].until_ns, Some(10 + KEPT_NS));
    }
}
