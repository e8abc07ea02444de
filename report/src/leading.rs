//! The few that lead among many, kept while all go by.

use std::cmp::Reverse;

/// Those that are kept when all are wanted: memory has an end, and so has patience.
pub const ALL_MAX: usize = 1_000_000;

/// Those with the greatest measure; equal ones by their keys, the least first.
#[derive(Debug)]
pub struct Leading<K, V> {
    lines_max: usize,
    /// Up to twice as many as are wanted; those beyond go when it is full.
    found: Vec<(u64, K, V)>,
    /// What one must have to lead.
    least: u64,
}

impl<K: Ord, V> Leading<K, V> {
    /// None yet, and so many at most; 0: all, which are [`ALL_MAX`].
    #[must_use]
    pub fn new(lines_max: usize) -> Self {
        Self {
            lines_max: if lines_max == 0 { ALL_MAX } else { lines_max },
            found: Vec::new(),
            least: 0,
        }
    }

    /// Takes one that may lead; it is made only then.
    pub fn offer(&mut self, measure: u64, make: impl FnOnce() -> (K, V)) {
        if measure < self.least {
            return;
        }
        let (key, value) = make();
        self.found.push((measure, key, value));
        if self.found.len() >= self.lines_max.saturating_mul(2).saturating_add(64) {
            self.settle();
        }
    }

    /// Puts those that lead into order, and forgets the others.
    fn settle(&mut self) {
        self.found
            .sort_by(|(measure, key, _), (other_measure, other, _)| {
                (Reverse(measure), key).cmp(&(Reverse(other_measure), other))
            });
        self.found.truncate(self.lines_max);
        if self.found.len() == self.lines_max {
            self.least = self.found.last().map_or(0, |(measure, ..)| *measure);
        }
    }

    /// Those that lead, the first one first.
    #[must_use]
    pub fn finish(mut self) -> Vec<(K, V)> {
        self.settle();
        let found = self.found.into_iter();
        found.map(|(_, key, value)| (key, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_lead_are_those_of_a_full_sort() {
        let measures: Vec<u64> = (0..5000u64).map(|at| at * 7919 % 1009).collect();
        for lines in [1, 10, 999, 0] {
            let mut leading = Leading::new(lines);
            for (measure, at) in measures.iter().zip(0u64..) {
                leading.offer(*measure, || (at, ()));
            }
            let mut all: Vec<_> = measures.iter().zip(0u64..).collect();
            all.sort_by_key(|(measure, at)| (Reverse(**measure), *at));
            all.truncate(if lines == 0 { all.len() } else { lines });
            let leading: Vec<_> = leading.finish().into_iter().map(|(at, ())| at).collect();
            let expected: Vec<_> = all.into_iter().map(|(_, at)| at).collect();
            assert_eq!(leading, expected, "{lines}");
        }
    }
}
