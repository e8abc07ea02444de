//! Datagrams that came lately, by their hash. Networks double datagrams, and an exporter never sends one
//! twice that has units in it: its number moves on. So one that is the same as another, octet for octet, is
//! a copy for certain, and what is in it was taken already. A number alone does not say so much: there are
//! exporters whose number stands still.

use std::collections::VecDeque;

use crate::loss::Numbered;

/// Datagrams remembered of each stream; copies come soon after one another.
const REMEMBERED: usize = 64;

/// The latest datagrams of a stream.
#[derive(Debug, Default)]
pub struct Copies {
    /// By themselves: nearly always all of them are gone through, for nothing.
    hashes: VecDeque<u64>,
    /// What the number of each counted.
    numbered: VecDeque<Numbered>,
}

impl Copies {
    /// What the number of a datagram that was taken counted, if it has this hash.
    #[must_use]
    pub fn numbered(&self, hash: u64) -> Option<&Numbered> {
        let index = self.hashes.iter().rposition(|taken| *taken == hash)?;
        self.numbered.get(index)
    }

    /// Remembers a datagram that was taken. One without units may come again as it is.
    pub fn took(&mut self, hash: u64, numbered: &Numbered) {
        if (numbered.units, numbered.units_unread) == (0, 0) {
            return;
        }
        if self.hashes.len() == REMEMBERED {
            self.hashes.pop_front();
            self.numbered.pop_front();
        }
        self.hashes.push_back(hash);
        self.numbered.push_back(*numbered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_if_they_have_units() {
        let units = |units, units_unread| Numbered {
            units,
            units_unread,
            ..Numbered::default()
        };
        let mut copies = Copies::default();
        copies.took(1, &units(0, 0));
        copies.took(2, &units(0, 5));
        assert_eq!(copies.numbered(1), None);
        assert_eq!(copies.numbered(2), Some(&units(0, 5)));
        for hash in 3..67 {
            copies.took(hash, &units(3, 0));
        }
        assert_eq!(copies.numbered(2), None);
        assert_eq!(copies.numbered(3), Some(&units(3, 0)));
        assert_eq!(copies.hashes.len(), REMEMBERED);
    }
}
