//! Sums by keys of a few octets. What comes is summed in a table that stays in a core's cache. When that is full, what
//! is in it goes to parts by the keys' hashes: each part is written from its start to its end, and summed by itself in
//! the cache in the end. A table of millions of keys would have the core wait for main memory at each flow. Where keys
//! hardly come twice the first table is a detour, and flows go to the parts for a while.

use std::{
    hash::{BuildHasher as _, Hasher as _},
    mem,
};

use hashbrown::DefaultHashBuilder;

/// Entries of the table in the cache: a third of a megabyte, with keys of forty octets.
const CACHED: usize = 1 << 12;
/// Parts, a power of two: with twenty million keys one has forty thousand.
pub const PARTS: usize = 1 << 9;
/// Entries of a part that memory is taken for at once: an eighth of what it has, within these.
const CHUNK_MIN: usize = 1 << 6;
const CHUNK_MAX: usize = 1 << 9;
/// A part with so many entries is summed before the end, so that memory is taken for keys and not for flows.
const SUMMED: usize = 1 << 12;

/// A full table of fewer flows than so many to four keys was a detour, …
const FLOWS_TO_FOUR_KEYS: usize = 5;
/// … which is not taken for so many of the next.
const PASSING: usize = 16 * CACHED;

/// What was summed of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<const N: usize> {
    /// The key.
    pub key: [u8; N],
    /// Flows.
    pub flows: u64,
    /// Packets, as many as 64 bits hold.
    pub packets: u64,
    /// Octets, likewise.
    pub octets: u64,
    /// First and last time, nanoseconds since 1970-01-01 UTC.
    pub times_ns: (i64, i64),
}

impl<const N: usize> Entry<N> {
    /// Of no flow.
    pub const NONE: Self = Self {
        key: [0; N],
        flows: 0,
        packets: 0,
        octets: 0,
        times_ns: (0, 0),
    };

    fn has_key_of(&self, other: &Self) -> bool {
        let (own, others) = (words(&self.key), words(&other.key));
        let differ = own.iter().zip(others);
        differ.fold(0, |differ, (own, other)| {
            differ | (u64::from_le_bytes(*own) ^ u64::from_le_bytes(*other))
        }) == 0
    }

    fn add(&mut self, other: &Self) {
        self.flows = self.flows.saturating_add(other.flows);
        self.packets = self.packets.saturating_add(other.packets);
        self.octets = self.octets.saturating_add(other.octets);
        let (first, last) = other.times_ns;
        self.times_ns = (self.times_ns.0.min(first), self.times_ns.1.max(last));
    }
}

/// A key's octets by eight: it has no others. A function that hashes or compares octets of any number is called, one
/// of so many words is a few instructions in its place.
fn words<const N: usize>(key: &[u8; N]) -> &[[u8; 8]] {
    const { assert!(N.is_multiple_of(8)) };
    key.as_chunks().0
}

fn hash<const N: usize>(hasher: &DefaultHashBuilder, key: &[u8; N]) -> u64 {
    let mut state = hasher.build_hasher();
    for word in words(key) {
        state.write_u64(u64::from_le_bytes(*word));
    }
    state.finish()
}

/// Entries by their keys.
#[derive(Debug, Default)]
pub struct Table<const N: usize> {
    /// By the low bits of the hash, or behind that: the number of an entry, from 1 on, or 0.
    slots: Vec<u32>,
    entries: Vec<Entry<N>>,
}

impl<const N: usize> Table<N> {
    /// Forgets what is in it, and has room for so many.
    fn make_room(&mut self, entries: usize) {
        let slots = (entries * 2).next_power_of_two();
        self.slots.clear();
        self.slots.resize(slots, 0);
        self.entries.clear();
        self.entries.reserve(entries);
    }

    /// Adds what has a key of this hash; there must be room for one more.
    fn add(&mut self, hash: u64, entry: &Entry<N>) {
        let mask = self.slots.len() - 1;
        let mut slot = low(hash) & mask;
        loop {
            match self.slots[slot] {
                0 => {
                    self.entries.push(*entry);
                    // A part has less than 2^32 entries, or they would take 256 GiB.
                    self.slots[slot] = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                    return;
                }
                number => {
                    let found = &mut self.entries[number as usize - 1];
                    if found.has_key_of(entry) {
                        found.add(entry);
                        return;
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Sums all that came to a part; each key is there once then. Who takes the entries away takes their memory.
    pub fn sum<'a>(
        &'a mut self,
        parts: &[Part<N>],
        hasher: &DefaultHashBuilder,
    ) -> &'a mut Vec<Entry<N>> {
        self.make_room(parts.iter().map(Part::entries).sum());
        for entry in parts.iter().flat_map(Part::iter) {
            self.add(hash(hasher, &entry.key), entry);
        }
        &mut self.entries
    }
}

/// The low bits of a hash: all of them, where a pointer has as many.
fn low(hash: u64) -> usize {
    let [b0, b1, b2, b3, ..] = hash.to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3]) as usize
}

/// The part of a hash: by its high bits, since the low ones tell entries of a part apart.
fn part(hash: u64) -> usize {
    low(hash >> 32) >> (32 - PARTS.trailing_zeros())
}

/// What has keys whose hashes begin alike.
#[derive(Debug)]
pub struct Part<const N: usize> {
    /// What is written to: found without a look at the others.
    last: Vec<Entry<N>>,
    full: Vec<Vec<Entry<N>>>,
    entries: usize,
    /// So many entries are summed.
    limit: usize,
    /// Octets that the chunks take. Of millions of keys there are too many chunks to add them up each time.
    octets: usize,
}

impl<const N: usize> Part<N> {
    fn new() -> Self {
        Self {
            last: Vec::new(),
            full: Vec::new(),
            entries: 0,
            limit: SUMMED,
            octets: 0,
        }
    }

    /// Entries that came to it, and were not summed yet.
    pub fn entries(&self) -> usize {
        self.entries
    }

    fn iter(&self) -> impl Iterator<Item = &Entry<N>> {
        self.full.iter().flatten().chain(&self.last)
    }

    fn push(&mut self, entry: &Entry<N>) {
        if self.last.len() == self.last.capacity() {
            let entries = (self.entries / 8).clamp(CHUNK_MIN, CHUNK_MAX);
            let full = mem::replace(&mut self.last, Vec::with_capacity(entries));
            self.full.extend((!full.is_empty()).then_some(full));
            self.octets += octets(&self.last);
        }
        self.entries += 1;
        self.last.push(*entry);
    }

    /// Has each key once; the more of them differ, the later again.
    fn sum(&mut self, table: &mut Table<N>, hasher: &DefaultHashBuilder) {
        let before = self.entries;
        let summed = table.sum(std::slice::from_ref(self), hasher).clone();
        let times = if summed.len() > before / 2 { 8 } else { 2 };
        *self = Self {
            entries: summed.len(),
            limit: SUMMED.max(times * summed.len()),
            octets: octets(&summed),
            last: summed,
            full: Vec::new(),
        };
    }
}

/// Octets that entries take, and room for more of them.
fn octets<const N: usize>(chunk: &Vec<Entry<N>>) -> usize {
    chunk.capacity() * size_of::<Entry<N>>()
}

/// Sums in the making, of one reader.
#[derive(Debug)]
pub struct Sums<const N: usize> {
    hasher: DefaultHashBuilder,
    cached: Table<N>,
    parts: Vec<Part<N>>,
    octets: usize,
    /// Flows that the table was filled with.
    added: usize,
    /// So many more go past it.
    passing: usize,
    /// What a part is summed in.
    spare: Table<N>,
}

impl<const N: usize> Sums<N> {
    /// None yet. Those that are joined in the end must have the same hasher.
    pub fn new(hasher: DefaultHashBuilder) -> Self {
        let mut cached = Table::default();
        cached.make_room(CACHED);
        Self {
            hasher,
            cached,
            parts: (0..PARTS).map(|_| Part::new()).collect(),
            octets: 0,
            added: 0,
            passing: 0,
            spare: Table::default(),
        }
    }

    /// Adds flows.
    pub fn add(&mut self, entries: &[Entry<N>]) {
        for entry in entries {
            let hash = hash(&self.hasher, &entry.key);
            if self.passing > 0 {
                self.passing -= 1;
                self.push(hash, entry);
                continue;
            }
            if self.cached.entries.len() == CACHED {
                self.hand_over();
            }
            self.added += 1;
            self.cached.add(hash, entry);
        }
    }

    /// Octets that the parts take.
    pub fn octets(&self) -> usize {
        self.octets
    }

    fn hand_over(&mut self) {
        let mut cached = mem::take(&mut self.cached);
        for entry in &cached.entries {
            self.push(hash(&self.hasher, &entry.key), entry);
        }
        cached.make_room(CACHED);
        self.cached = cached;
        if self.added < CACHED / 4 * FLOWS_TO_FOUR_KEYS {
            self.passing = PASSING;
        }
        self.added = 0;
    }

    fn push(&mut self, hash: u64, entry: &Entry<N>) {
        let part = &mut self.parts[part(hash)];
        let before = part.octets;
        if part.entries >= part.limit {
            part.sum(&mut self.spare, &self.hasher);
        }
        part.push(entry);
        self.octets = self.octets - before + part.octets;
    }

    /// The parts, [`PARTS`] of them.
    pub fn finish(mut self) -> Vec<Part<N>> {
        self.hand_over();
        self.parts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Expected = BTreeMap<[u8; 8], (u64, u64, u64, (i64, i64))>;

    /// Flows of so many keys, as if by chance.
    fn flows(count: u64, keys: u64) -> Vec<Entry<8>> {
        let mut state = count;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        let flow = |_| {
            let start_ns = i64::try_from(draw()).unwrap();
            Entry {
                key: (draw() % keys).to_le_bytes(),
                flows: 1,
                packets: draw() % 100,
                octets: draw(),
                times_ns: (start_ns, start_ns + 7),
            }
        };
        (0..count).map(flow).collect()
    }

    fn expected(flows: &[Entry<8>]) -> Expected {
        let mut expected = Expected::new();
        for flow in flows {
            let none = (0, 0, 0, (i64::MAX, i64::MIN));
            let sum = expected.entry(flow.key).or_insert(none);
            let times_ns = (sum.3.0.min(flow.times_ns.0), sum.3.1.max(flow.times_ns.1));
            let octets = sum.2.saturating_add(flow.octets);
            *sum = (sum.0 + 1, sum.1 + flow.packets, octets, times_ns);
        }
        expected
    }

    /// By so many readers, and how many octets they took.
    fn summed(flows: &[Entry<8>], readers: usize) -> (Expected, usize) {
        let hasher = DefaultHashBuilder::default();
        let mut parts: Vec<Vec<Part<8>>> = (0..PARTS).map(|_| Vec::new()).collect();
        let mut octets = 0;
        for flows in flows.chunks(flows.len().div_ceil(readers).max(1)) {
            let mut sums = Sums::new(hasher.clone());
            for flows in flows.chunks(1000) {
                sums.add(flows);
            }
            octets += sums.octets();
            for (parts, part) in parts.iter_mut().zip(sums.finish()) {
                parts.push(part);
            }
        }
        let mut table = Table::default();
        let mut found = Expected::new();
        for parts in parts {
            for entry in table.sum(&parts, &hasher) {
                let sum = (entry.flows, entry.packets, entry.octets, entry.times_ns);
                assert_eq!(found.insert(entry.key, sum), None, "a key comes once");
            }
        }
        (found, octets)
    }

    #[test]
    fn sums_are_those_of_a_map_however_many_keys_and_readers_there_are() {
        for (count, keys) in [
            (0, 1),
            (1, 1),
            (50_000, 3),
            (50_000, 5000),
            (300_000, 1 << 40),
        ] {
            let flows = flows(count, keys);
            for readers in [1, 3] {
                assert!(
                    summed(&flows, readers).0 == expected(&flows),
                    "{count} of {keys}"
                );
            }
        }
    }

    /// Parts are summed before the end, many times, and nothing is lost by it.
    #[test]
    fn memory_is_taken_for_keys_and_not_for_flows() {
        let flows = flows(5_000_000, 75_000);
        let (found, octets) = summed(&flows, 1);
        assert_eq!(found.len(), 75_000);
        assert!(found == expected(&flows));
        let most = 2 * PARTS * SUMMED * size_of::<Entry<8>>();
        assert!(octets < most, "{octets} of {most}");
    }

    /// Also when parts were summed in between, which gives memory back. When that is, is as the hashes of a process
    /// fall: that it was at all is told by the entries that are left.
    #[test]
    fn octets_are_those_of_all_chunks() {
        for (count, keys, most) in [(20_000, 1 << 40, 20_000), (3_000_000, 75_000, 2_700_000)] {
            let mut sums = Sums::new(DefaultHashBuilder::default());
            for flows in flows(count, keys).chunks(100_000) {
                sums.add(flows);
                let chunks = |part: &Part<8>| {
                    octets(&part.last) + part.full.iter().map(octets).sum::<usize>()
                };
                assert_eq!(sums.octets(), sums.parts.iter().map(chunks).sum::<usize>());
            }
            let left: usize = sums.parts.iter().map(Part::entries).sum();
            let least = usize::try_from(count.min(keys)).unwrap() - CACHED;
            assert!((least..=most).contains(&left), "{left} of {keys} keys");
        }
    }

    #[test]
    fn sums_stop_at_what_64_bits_hold() {
        let mut flow = flows(1, 1)[0];
        flow.octets = u64::MAX - 1;
        let (found, _) = summed(&[flow; 3], 1);
        assert_eq!(found[&flow.key].2, u64::MAX);
    }
}
