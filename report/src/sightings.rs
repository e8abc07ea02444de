//! Signatures over what is going on: who matches by flows that are open at the sensor and by records that
//! arrived in the last minutes. Pure: times are arguments.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
};

use weir_store::schema::StoredFlow;

use crate::{
    filter::{Filter, ranges::number_of, reference::fits},
    gather::Counts,
    live::ledger::{Open, Tuple},
    signatures::{By, Signature},
};

/// How long a record counts after it arrived, nanoseconds.
pub const KEPT_NS: u64 = 300_000_000_000;
/// How long a flow that is not open any more counts until it arrives, nanoseconds: sensor and collector each gather
/// for a second at most.
const UNDER_WAY_NS: u64 = 5_000_000_000;
/// Records that match and are kept, at most; beyond it those go that arrived first.
const KEPT_MAX: usize = 200_000;

/// A flow that matches.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    /// Place of the signature.
    signature: usize,
    /// What tells the flow apart.
    tuple: Tuple,
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

impl Sighting {
    fn key(&self) -> Key {
        (self.signature, self.tuple)
    }
}

/// A flow, as far as it is one signature's.
type Key = (usize, Tuple);

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
    /// What was open and is on its way to the collector.
    under_way: HashMap<Key, Sighting>,
    /// What arrived since the table was taken, in which it may have been open still.
    fresh: HashSet<Key>,
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
            under_way: HashMap::new(),
            fresh: HashSet::new(),
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
        for sighting in sightings(&self.signatures, &self.asked, flow, Some(until_ns)) {
            self.under_way.remove(&sighting.key());
            // Without a sensor nothing is ever open, and nobody would forget these.
            if !self.open.is_empty() {
                self.fresh.insert(sighting.key());
            }
            self.arrived.push_back(sighting);
        }
        let excess = self.arrived.len().saturating_sub(KEPT_MAX);
        self.arrived.drain(..excess);
    }

    /// Takes the sensor's table, in the place of the one before. What is not open any more arrives, and counts
    /// meanwhile: who matches would else match no more, and be told of again.
    pub fn table(&mut self, flows: &[Open], now_ns: u64) {
        let before = mem::take(&mut self.open);
        for Open { flow, .. } in flows {
            let found = sightings(&self.signatures, &self.asked, flow, None);
            self.open.extend(found);
        }
        let fresh = mem::take(&mut self.fresh);
        let open: HashSet<Key> = self.open.iter().map(Sighting::key).collect();
        let until_ns = Some(now_ns.saturating_add(UNDER_WAY_NS));
        for sighting in before {
            let key = sighting.key();
            if !open.contains(&key) && !fresh.contains(&key) {
                let sighting = Sighting {
                    until_ns,
                    ..sighting
                };
                self.under_way.insert(key, sighting);
            }
        }
    }

    /// Forgets what arrived long ago, and what did not arrive.
    pub fn forget(&mut self, now_ns: u64) {
        let is_kept =
            |sighting: &Sighting| sighting.until_ns.is_none_or(|until_ns| until_ns > now_ns);
        self.arrived.retain(is_kept);
        self.under_way.retain(|_, sighting| is_kept(sighting));
    }

    /// Who matches enough, the first one first.
    #[must_use]
    pub fn matches(&self) -> Vec<Match> {
        let mut hosts: HashMap<(usize, u128), Tally> = HashMap::new();
        let gone = self.under_way.values().chain(&self.arrived);
        for sighting in self.open.iter().chain(gone) {
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
        // All that is kept is of a few minutes, which hide no burst.
        let is_met =
            |found: &Match| self.signatures[found.signature].is_met_by(&found.counts, || false);
        let mut matches: Vec<Match> = counted.filter(is_met).collect();
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
            tuple: Tuple::of(flow),
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
        let table = [open(1, flow(1, 12, 300, 1)), open(2, flow(1, 13, 900, 1))];
        sightings.table(&table, 0);
        // Two other ends, and a flow that does not fit.
        assert!(matches(&sightings).is_empty());
        let table = [open(1, flow(1, 12, 300, 1)), open(3, flow(1, 13, 300, 2))];
        sightings.table(&table, SECOND_NS);
        assert_eq!(matches(&sightings), [(1, 3, 3, 2)]);
        // What was open arrives.
        sightings.arrived(&flow(1, 12, 300, 1), SECOND_NS, 0);
        sightings.table(&[open(3, flow(1, 13, 300, 2))], SECOND_NS);
        assert_eq!(matches(&sightings), [(1, 3, 3, 1)]);
        // The same other end again is none more.
        sightings.arrived(&flow(1, 12, 300, 3), SECOND_NS, 0);
        assert_eq!(matches(&sightings), [(1, 3, 4, 1)]);
        sightings.forget(SECOND_NS + KEPT_NS);
        assert!(matches(&sightings).is_empty());
    }

    #[test]
    fn a_flow_that_is_neither_open_nor_there_yet_counts_on_its_way() {
        let mut sightings = sightings(PROBE, "any");
        let table = [11_u8, 12, 13].map(|other| open(other.into(), flow(1, other, 300, 1)));
        sightings.table(&table, 0);
        assert_eq!(matches(&sightings), [(1, 3, 3, 3)]);
        sightings.table(&table[..1], SECOND_NS);
        sightings.forget(SECOND_NS);
        assert_eq!(matches(&sightings), [(1, 3, 3, 1)], "two have closed");
        sightings.arrived(&flow(1, 12, 300, 1), 2 * SECOND_NS, 0);
        sightings.table(&table[..1], 2 * SECOND_NS);
        sightings.forget(2 * SECOND_NS);
        assert_eq!(matches(&sightings), [(1, 3, 3, 1)], "one has arrived");
        sightings.forget(SECOND_NS + UNDER_WAY_NS);
        assert!(matches(&sightings).is_empty(), "the other never does");
    }

    #[test]
    fn without_a_sensor_nothing_but_arrivals_is_kept() {
        let mut sightings = sightings(PROBE, "any");
        sightings.arrived(&flow(1, 11, 300, 0), 0, 0);
        assert!(sightings.fresh.is_empty() && sightings.under_way.is_empty());
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
