//! The search for the highest rate without loss, after RFC 2544 section 26.1: start as fast as it
//! goes, then halve the interval between what passed and what failed.

/// How near the result is to the next rate that failed.
const PRECISION_PERCENT: u64 = 5;
/// Below this nothing is tried; the interval is halved on a logarithmic scale, which has no zero.
const LEAST_PPS: u64 = 1000;
/// An end for machines whose results contradict one another.
const TRIALS_MAX: u32 = 16;

/// What the trials so far say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    passed_pps: u64,
    failed_pps: Option<u64>,
    trials: u32,
}

impl Search {
    /// Takes in a trial: the rate that was really offered, and whether nothing was lost.
    pub fn record(&mut self, offered_pps: u64, lossless: bool) {
        self.trials += 1;
        if lossless {
            self.passed_pps = self.passed_pps.max(offered_pps);
        } else {
            let lowest = self.failed_pps.unwrap_or(u64::MAX);
            self.failed_pps = Some(lowest.min(offered_pps));
        }
    }

    /// The rate to try next; none if the result is near enough or the generator is the limit.
    #[must_use]
    pub fn next_pps(&self) -> Option<u64> {
        let failed = self.failed_pps?;
        let passed = self.passed_pps.max(LEAST_PPS);
        let wide = failed * 100 > passed * (100 + PRECISION_PERCENT);
        (wide && self.trials < TRIALS_MAX).then(|| (passed * failed).isqrt())
    }

    /// The highest rate without loss, if there was one.
    #[must_use]
    pub fn highest_pps(&self) -> Option<u64> {
        (self.passed_pps > 0).then_some(self.passed_pps)
    }

    /// Whether nothing was lost at all: the receiver can do more than the generator.
    #[must_use]
    pub fn generator_is_limit(&self) -> bool {
        self.failed_pps.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trials with a receiver that manages `limit` packets a second and a generator that makes
    /// `most`.
    fn searched(limit: u64, most: u64) -> Search {
        let mut search = Search::default();
        let mut rate = most;
        loop {
            search.record(rate, rate <= limit);
            match search.next_pps() {
                Some(next) => rate = next.min(most),
                None => return search,
            }
        }
    }

    #[test]
    fn finds_the_limit_within_the_precision() {
        for limit in [1500, 29_000, 290_000, 740_000, 7_999_999] {
            let search = searched(limit, 8_000_000);
            let highest = search.highest_pps().unwrap();
            assert!(
                highest <= limit && limit * 100 <= highest * 105,
                "{limit}: {highest}"
            );
            assert!(search.trials < TRIALS_MAX, "{limit}");
        }
    }

    #[test]
    fn one_trial_is_enough_when_the_generator_is_the_limit() {
        let search = searched(10_000_000, 8_000_000);
        assert_eq!(search.highest_pps(), Some(8_000_000));
        assert_eq!(search.trials, 1);
        assert!(search.generator_is_limit());
    }

    #[test]
    fn nothing_passes() {
        assert_eq!(searched(0, 8_000_000).highest_pps(), None);
    }
}
