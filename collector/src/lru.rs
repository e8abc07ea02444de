//! A map that never holds more than so many entries: a new one takes the place of the one that was
//! not asked for the longest. Entries may be *proven*; others leave before them, so that a flood of
//! keys that come once (spoofed addresses, say) does not push out what is known for long. Each step
//! costs the same, however full the map is.

use std::hash::{Hash, RandomState};

use hashbrown::HashMap;

/// No entry.
const NONE: usize = usize::MAX;
/// Lists of entries, the latest first.
const FRESH: usize = 0;
const PROVEN: usize = 1;

/// The map. Keys are hashed with a random seed, since strangers choose them.
#[derive(Debug)]
pub struct Lru<K, V> {
    index: HashMap<K, usize, RandomState>,
    entries: Vec<Entry<K, V>>,
    lists: [List; 2],
    capacity: usize,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    list: usize,
    newer: usize,
    older: usize,
}

#[derive(Clone, Copy, Debug)]
struct List {
    newest: usize,
    oldest: usize,
    length: usize,
}

impl List {
    const EMPTY: Self = Self {
        newest: NONE,
        oldest: NONE,
        length: 0,
    };
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// An empty map for so many entries, one at least; it takes memory only as they come.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            index: HashMap::with_hasher(RandomState::new()),
            entries: Vec::new(),
            lists: [List::EMPTY; 2],
            capacity: capacity.max(1),
        }
    }

    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a new entry takes another's place.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// The value of a key, without having asked for it.
    #[must_use]
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.place(key).map(|at| &self.entries[at].value)
    }

    /// The value of a key, now the latest that was asked for.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key)?;
        self.touch(at);
        Some(&mut self.entries[at].value)
    }

    /// The value of a key, made if there is none; and the entry that made room for it.
    pub fn get_or_insert_with(
        &mut self,
        key: K,
        make: impl FnOnce() -> V,
    ) -> (&mut V, Option<(K, V)>) {
        if let Some(at) = self.place(&key) {
            self.touch(at);
            return (&mut self.entries[at].value, None);
        }
        let evicted = if self.is_full() {
            self.pop_oldest()
        } else {
            None
        };
        let at = self.entries.len();
        self.entries.push(Entry {
            key,
            value: make(),
            list: FRESH,
            newer: NONE,
            older: NONE,
        });
        self.index.insert(key, at);
        self.link(at, FRESH);
        (&mut self.entries[at].value, evicted)
    }

    /// Sets the value of a key; the entry that made room for it, if it is new.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        if let Some(known) = self.get(&key) {
            *known = value;
            return None;
        }
        self.get_or_insert_with(key, || value).1
    }

    /// From now on entries that are not proven leave before this one. Three quarters of the room are
    /// for proven ones: with more, the one not asked for the longest is proven no more.
    pub fn prove(&mut self, key: &K) {
        let Some(at) = self.place(key) else {
            return;
        };
        if self.entries[at].list == PROVEN {
            return;
        }
        self.unlink(at);
        self.link(at, PROVEN);
        let oldest = self.lists[PROVEN].oldest;
        if self.lists[PROVEN].length > self.capacity.div_ceil(4) * 3 && oldest != at {
            self.unlink(oldest);
            self.link(oldest, FRESH);
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key)?;
        Some(self.remove_at(at).1)
    }

    /// Takes out the entry that would make room.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let at = self
            .lists
            .iter()
            .map(|list| list.oldest)
            .find(|oldest| *oldest != NONE)?;
        Some(self.remove_at(at))
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|entry| (&entry.key, &entry.value))
    }

    /// All values, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }

    /// Has `each` look at the values, those that would make room first before others, until it says that it goes no
    /// further.
    pub fn oldest_first(&mut self, mut each: impl FnMut(&mut V) -> bool) {
        for list in self.lists {
            let mut at = list.oldest;
            while at != NONE {
                if !each(&mut self.entries[at].value) {
                    return;
                }
                at = self.entries[at].newer;
            }
        }
    }

    /// Where a key's entry is: mostly it is one that was asked for last.
    fn place(&self, key: &K) -> Option<usize> {
        let is_there = |at: &usize| self.entries.get(*at).is_some_and(|it| it.key == *key);
        let mut newest = self.lists.iter().map(|list| list.newest);
        newest
            .find(is_there)
            .or_else(|| self.index.get(key).copied())
    }

    fn touch(&mut self, at: usize) {
        let list = self.entries[at].list;
        if self.lists[list].newest != at {
            self.unlink(at);
            self.link(at, list);
        }
    }

    fn link(&mut self, at: usize, list: usize) {
        let newest = self.lists[list].newest;
        let entry = &mut self.entries[at];
        (entry.list, entry.newer, entry.older) = (list, NONE, newest);
        match newest {
            NONE => self.lists[list].oldest = at,
            newest => self.entries[newest].newer = at,
        }
        self.lists[list].newest = at;
        self.lists[list].length += 1;
    }

    fn unlink(&mut self, at: usize) {
        let Entry {
            list, newer, older, ..
        } = self.entries[at];
        self.point(list, newer, older, older, newer);
        self.lists[list].length -= 1;
    }

    /// Has the neighbours of an entry, or the list's ends, point to other entries.
    fn point(&mut self, list: usize, newer: usize, older: usize, to_older: usize, to_newer: usize) {
        match newer {
            NONE => self.lists[list].newest = to_older,
            newer => self.entries[newer].older = to_older,
        }
        match older {
            NONE => self.lists[list].oldest = to_newer,
            older => self.entries[older].newer = to_newer,
        }
    }

    fn remove_at(&mut self, at: usize) -> (K, V) {
        self.unlink(at);
        let removed = self.entries.swap_remove(at);
        self.index.remove(&removed.key);
        // The last entry stands there now.
        if let Some(&Entry {
            key,
            list,
            newer,
            older,
            ..
        }) = self.entries.get(at)
        {
            self.index.insert(key, at);
            self.point(list, newer, older, at, at);
        }
        (removed.key, removed.value)
    }
}

#[cfg(test)]
mod tests {
    use weir_tests::traffic::Random;

    use super::*;

    /// What the map must do, done slowly: lists of keys, the latest first.
    #[derive(Default)]
    struct Plain {
        fresh: Vec<u64>,
        proven: Vec<u64>,
    }

    impl Plain {
        const CAPACITY: usize = 8;

        fn touch(&mut self, key: u64) -> bool {
            for list in [&mut self.fresh, &mut self.proven] {
                if let Some(at) = list.iter().position(|known| *known == key) {
                    list.remove(at);
                    list.insert(0, key);
                    return true;
                }
            }
            false
        }

        fn insert(&mut self, key: u64) -> Option<u64> {
            if self.touch(key) {
                return None;
            }
            let full = self.fresh.len() + self.proven.len() == Self::CAPACITY;
            let evicted = full.then(|| self.fresh.pop().or_else(|| self.proven.pop()));
            self.fresh.insert(0, key);
            evicted.flatten()
        }

        fn prove(&mut self, key: u64) {
            if let Some(at) = self.fresh.iter().position(|known| *known == key) {
                self.fresh.remove(at);
                self.proven.insert(0, key);
            }
            if self.proven.len() > 6 {
                let oldest = self.proven.pop().unwrap();
                self.fresh.insert(0, oldest);
            }
        }

        fn remove(&mut self, key: u64) -> bool {
            let before = self.fresh.len() + self.proven.len();
            self.fresh.retain(|known| *known != key);
            self.proven.retain(|known| *known != key);
            self.fresh.len() + self.proven.len() < before
        }
    }

    #[test]
    fn it_does_what_plain_lists_do() {
        let mut random = Random::new(5);
        let (mut lru, mut plain) = (Lru::new(Plain::CAPACITY), Plain::default());
        for _ in 0..20_000 {
            let key = random.below(20);
            match random.below(8) {
                0 => {
                    lru.prove(&key);
                    plain.prove(key);
                }
                1 => assert_eq!(lru.remove(&key).is_some(), plain.remove(key)),
                2 | 3 => {
                    let touched = plain.touch(key);
                    assert_eq!(lru.get(&key).copied(), touched.then_some(key * 3));
                }
                _ => {
                    let evicted = lru.insert(key, key * 3);
                    assert_eq!(evicted, plain.insert(key).map(|key| (key, key * 3)));
                }
            }
            assert_eq!(lru.len(), plain.fresh.len() + plain.proven.len());
        }
        let fresh_first = plain.proven.iter().chain(&plain.fresh).rev();
        let expected: Vec<_> = fresh_first.map(|key| key * 3).collect();
        let mut seen = Vec::new();
        lru.oldest_first(|value| {
            seen.push(*value);
            seen.len() < expected.len()
        });
        assert_eq!(seen, expected);
        while let Some((key, _)) = lru.pop_oldest() {
            let oldest = plain.fresh.pop().or_else(|| plain.proven.pop());
            assert_eq!(Some(key), oldest);
        }
        assert!(plain.proven.is_empty());
    }

    #[test]
    fn c11_keys_that_come_once_do_not_push_out_proven_ones() {
        let mut lru = Lru::new(100);
        for key in 0..50 {
            lru.insert(key, ());
            lru.prove(&key);
        }
        for key in 1000..101_000 {
            lru.insert(key, ());
            assert!(lru.len() <= 100);
        }
        assert!((0..50).all(|key| lru.peek(&key).is_some()));
    }
}
