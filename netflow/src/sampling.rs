//! How packets were chosen before they were metered, and the words exporters have for it.

/// How packets were chosen before they were metered; counters are never scaled by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One packet in this many; 1 if all.
    pub interval: u32,
    /// Whether it was drawn at random, instead of every so-manieth.
    pub random: bool,
}

impl Sampling {
    /// Every packet.
    pub const NONE: Self = Self {
        interval: 1,
        random: false,
    };

    /// The algorithm's number: v9's `SAMPLING_ALGORITHM` and v5's mode (RFC 3954 section 8).
    #[must_use]
    pub const fn algorithm(&self) -> u8 {
        if self.random { 2 } else { 1 }
    }

    /// IPFIX's selectorAlgorithm (IE 304, RFC 5477 section 8.2.1): systematic by count, or each
    /// packet with the same probability.
    #[must_use]
    pub const fn selector_algorithm(&self) -> u16 {
        if self.random { 4 } else { 1 }
    }
}

/// A sampling rate as it is told, in options or in the record itself. What was not said is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// One in so many (34 and 50; RFC 3954 section 8).
    pub interval: u64,
    /// Packets taken in a row (305, RFC 5477 section 8.2.2).
    pub packets: u64,
    /// Packets left out after those (306).
    pub space: Option<u64>,
    /// Packets drawn (309) …
    pub size: u64,
    /// … out of so many (310).
    pub population: u64,
    /// The probability of each packet (311).
    pub probability: f64,
}

impl Rate {
    /// The rate as one packet in so many, rounded; none if it was not told.
    #[must_use]
    pub fn one_in(&self) -> Option<u32> {
        let one_in = if self.size > 0 && self.population > 0 {
            rounded(self.population, self.size)
        } else if self.packets > 0 {
            // Without a space it is what v9 calls the interval.
            self.space.map_or(self.packets, |space| {
                rounded(self.packets.saturating_add(space), self.packets)
            })
        } else if self.interval > 0 {
            self.interval
        } else {
            return of_probability(self.probability);
        };
        Some(u32::try_from(one_in).unwrap_or(u32::MAX).max(1))
    }
}

fn rounded(population: u64, size: u64) -> u64 {
    population.saturating_add(size / 2) / size
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is at least 1, and a cast from a float stops at the largest number"
)]
fn of_probability(probability: f64) -> Option<u32> {
    (probability > 0.0 && probability <= 1.0).then(|| (1.0 / probability).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rate told by the numbers of 34, 305, 306, 309 and 310.
    fn told(interval: u64, row: (u64, Option<u64>), drawn: (u64, u64)) -> Option<u32> {
        let rate = Rate {
            interval,
            packets: row.0,
            space: row.1,
            size: drawn.0,
            population: drawn.1,
            probability: 0.0,
        };
        rate.one_in()
    }

    #[test]
    fn each_way_to_tell_a_rate_is_understood() {
        let (no_row, none_drawn) = ((0, None), (0, 0));
        assert_eq!(told(0, no_row, none_drawn), None);
        assert_eq!(told(100, no_row, none_drawn), Some(100));
        assert_eq!(told(0, (1, Some(9)), none_drawn), Some(10));
        assert_eq!(told(0, (1, Some(0)), none_drawn), Some(1));
        assert_eq!(told(0, (2, Some(3)), none_drawn), Some(3));
        assert_eq!(told(0, (1000, None), none_drawn), Some(1000));
        // As an ASR sends it: a row of one, beside 1 out of 256.
        assert_eq!(told(0, (1, None), (1, 256)), Some(256));
    }

    #[test]
    fn rates_that_cannot_be_are_in_range() {
        let (no_row, none_drawn) = ((0, None), (0, 0));
        assert_eq!(told(u64::MAX, no_row, none_drawn), Some(u32::MAX));
        assert_eq!(told(0, (u64::MAX, Some(u64::MAX)), none_drawn), Some(1));
        assert_eq!(told(0, no_row, (u64::MAX, 1)), Some(1));
    }

    #[test]
    fn a_probability_is_a_rate() {
        let of = |probability| {
            let none = Rate::default();
            Rate {
                probability,
                ..none
            }
            .one_in()
        };
        assert_eq!(of(0.001), Some(1000));
        assert_eq!(of(1.0), Some(1));
        assert_eq!(of(f64::MIN_POSITIVE), Some(u32::MAX));
        for impossible in [f64::NAN, 0.0, -1.0, 1.5] {
            assert_eq!(of(impossible), None, "{impossible}");
        }
    }
}
