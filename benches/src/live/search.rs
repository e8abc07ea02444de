//! The search for the highest rate that passes, after RFC 2544 section 26.1: from the first rate up
//! or down until one passed and one failed, then the interval between them is halved.

/// Below this nothing is tried.
const LEAST_PPS: u64 = 1000;
/// How much lower the next rate is while none has passed, and how much higher while none has failed.
const DOWN: u64 = 4;
const UP: u64 = 2;
/// A generator that makes less than this share of what is wanted has reached its limit.
const KEPT_PERCENT: u64 = 90;

/// Where a search begins, and when its result is near enough.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Packets a second of the first trial; 0: as fast as it goes.
    pub first_pps: u64,
    /// How near the result is to the next rate that failed.
    pub precision_percent: u64,
    /// An end for machines whose results contradict one another.
    pub trials_max: u32,
}

impl Bounds {
    /// From the top, to a twentieth.
    pub const FINE: Self = Self {
        first_pps: 0,
        precision_percent: 5,
        trials_max: 20,
    };
}

/// What the trials so far say.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    bounds: Bounds,
    passed_pps: u64,
    failed_pps: Option<u64>,
    /// What passed was all that the generator makes.
    all_passed: bool,
    trials: u32,
}

impl Search {
    /// A search without trials.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            passed_pps: 0,
            failed_pps: None,
            all_passed: false,
            trials: 0,
        }
    }

    /// Takes in a trial: the rate that was wanted, the one that was really offered, and whether it
    /// passed.
    pub fn record(&mut self, wanted_pps: u64, offered_pps: u64, passed: bool) {
        self.trials += 1;
        if passed {
            self.passed_pps = self.passed_pps.max(offered_pps);
            self.all_passed =
                wanted_pps == 0 || offered_pps < wanted_pps.saturating_mul(KEPT_PERCENT) / 100;
        } else {
            let lowest = self.failed_pps.unwrap_or(u64::MAX);
            self.failed_pps = Some(lowest.min(offered_pps));
        }
    }

    /// The rate to try next (0: as fast as it goes); none if the result is near enough or the
    /// generator is the limit.
    #[must_use]
    pub fn next_pps(&self) -> Option<u64> {
        if self.trials == 0 {
            return Some(self.bounds.first_pps);
        }
        if self.trials >= self.bounds.trials_max || self.generator_is_limit() {
            return None;
        }
        match (self.passed_pps, self.failed_pps) {
            (passed, None) => Some(passed.saturating_mul(UP).max(LEAST_PPS)),
            (0, Some(failed)) => (failed > LEAST_PPS).then(|| (failed / DOWN).max(LEAST_PPS)),
            (passed, Some(failed)) => {
                let wide = failed * 100 > passed * (100 + self.bounds.precision_percent);
                wide.then(|| (passed * failed).isqrt())
            }
        }
    }

    /// The highest rate that passed, if one did.
    #[must_use]
    pub fn highest_pps(&self) -> Option<u64> {
        (self.passed_pps > 0).then_some(self.passed_pps)
    }

    /// Whether no trial failed up to what the generator makes: the receiver can do more.
    #[must_use]
    pub fn generator_is_limit(&self) -> bool {
        self.failed_pps.is_none() && self.all_passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trials with a receiver that manages `limit` packets a second and a generator that makes
    /// `most`.
    fn searched(bounds: Bounds, limit: u64, most: u64) -> Search {
        let mut search = Search::new(bounds);
        while let Some(wanted) = search.next_pps() {
            let offered = if wanted == 0 { most } else { wanted.min(most) };
            search.record(wanted, offered, offered <= limit);
        }
        search
    }

    #[test]
    fn finds_the_limit_within_the_precision() {
        for limit in [1500, 29_000, 290_000, 740_000, 7_999_999] {
            let search = searched(Bounds::FINE, limit, 8_000_000);
            let highest = search.highest_pps().unwrap();
            assert!(
                highest <= limit && limit * 100 <= highest * 105,
                "{limit}: {highest}"
            );
            assert!(search.trials < Bounds::FINE.trials_max, "{limit}");
        }
    }

    #[test]
    fn a_first_rate_that_is_near_saves_trials() {
        for first_pps in [150_000, 290_000, 600_000] {
            let bounds = Bounds {
                first_pps,
                precision_percent: 10,
                trials_max: 8,
            };
            let search = searched(bounds, 290_000, 8_000_000);
            let highest = search.highest_pps().unwrap();
            assert!(
                highest <= 290_000 && 290_000 * 100 <= highest * 110,
                "{first_pps}: {highest}"
            );
            assert!(search.trials <= 7, "{first_pps}: {}", search.trials);
        }
    }

    #[test]
    fn one_trial_is_enough_when_the_generator_is_the_limit() {
        let search = searched(Bounds::FINE, 10_000_000, 8_000_000);
        assert_eq!(search.highest_pps(), Some(8_000_000));
        assert_eq!(search.trials, 1);
        assert!(search.generator_is_limit());
        // The same when it was not asked for all it can make at first.
        let bounds = Bounds {
            first_pps: 5_000_000,
            ..Bounds::FINE
        };
        let search = searched(bounds, 10_000_000, 8_000_000);
        assert_eq!(search.highest_pps(), Some(8_000_000));
        assert!(search.generator_is_limit() && search.trials == 2);
    }

    #[test]
    fn nothing_passes() {
        let search = searched(Bounds::FINE, 0, 8_000_000);
        assert_eq!(search.highest_pps(), None);
        assert!(!search.generator_is_limit());
    }
}
