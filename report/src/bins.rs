//! Octets and packets spread over the time that their flows lasted, in bins of equal length, so that a
//! long flow that was exported late is not a peak at its end.

use anyhow::{Result, bail};

use crate::question::Misasked;

/// Bins, at most.
const BINS_MAX: i64 = 10_000;

/// Lengths that people expect, nanoseconds: seconds, minutes, hours, days, weeks.
const LENGTHS_S: [i64; 18] = [
    1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
    604_800, 2_419_200,
];
const SECOND_NS: i64 = 1_000_000_000;

/// What is in a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Octets.
    pub octets: u64,
    /// Packets.
    pub packets: u64,
    /// Flows that began in it.
    pub flows: u64,
}

/// A stretch of time in bins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bins {
    /// Where it begins, nanoseconds since 1970-01-01 UTC.
    pub from_ns: i64,
    /// Length of a bin, nanoseconds.
    pub length_ns: i64,
    /// The bins.
    pub spans: Vec<Bin>,
    /// What lies before and after them, and of the first and the last one before and after the time asked for.
    pub outside: Bin,
    /// The time asked for, which may begin and end within a bin.
    asked_ns: (i64, i64),
}

impl Bins {
    /// Empty bins of a length that hold a stretch of time.
    ///
    /// # Errors
    /// If they were too many.
    pub fn new(from_ns: i64, to_ns: i64, length_ns: i64) -> Result<Self> {
        let length_ns = length_ns.max(1);
        let from_ns = from_ns.saturating_sub(from_ns.rem_euclid(length_ns));
        let span_ns = to_ns.saturating_sub(from_ns).max(1);
        let number = span_ns / length_ns + i64::from(span_ns % length_ns != 0);
        if number > BINS_MAX {
            bail!(Misasked(format!(
                "{number} intervals are too many: {BINS_MAX} are the most, so take longer ones"
            )));
        }
        let whole_ns = length_ns.saturating_mul(number);
        Ok(Self {
            from_ns,
            length_ns,
            spans: vec![Bin::default(); usize::try_from(number)?],
            outside: Bin::default(),
            asked_ns: (from_ns, from_ns.saturating_add(whole_ns)),
        })
    }

    /// The same of the time from and to then, as far as that is in them: what is before and after is outside, and rates
    /// of the first and of the last bin are of what is left of their time.
    #[must_use]
    pub fn cut(mut self, from_ns: Option<i64>, to_ns: Option<i64>) -> Self {
        let (first_ns, last_ns) = self.asked_ns;
        let from_ns = from_ns.map_or(first_ns, |from| from.clamp(first_ns, last_ns));
        let to_ns = to_ns.map_or(last_ns, |to| to.clamp(from_ns, last_ns));
        self.asked_ns = (from_ns, to_ns);
        self
    }

    /// How long the time asked for is, nanoseconds.
    #[must_use]
    pub fn asked_length_ns(&self) -> i64 {
        let (from_ns, to_ns) = self.asked_ns;
        to_ns.saturating_sub(from_ns)
    }

    /// A length that gives some dozens of bins.
    #[must_use]
    pub fn fitting_length_ns(from_ns: i64, to_ns: i64) -> i64 {
        const WANTED: i64 = 60;
        let span_s = to_ns.saturating_sub(from_ns) / SECOND_NS;
        let fitting = LENGTHS_S.iter().find(|length| span_s / **length < WANTED);
        let longest = LENGTHS_S[LENGTHS_S.len() - 1];
        let length_s = fitting.copied().unwrap_or(longest.max(span_s / WANTED));
        length_s.saturating_mul(SECOND_NS)
    }

    /// Spreads a flow. Octets and packets are shared out by time, to the last one: what the bins and
    /// the outside have is what was put in.
    pub fn add(&mut self, start_ns: i64, end_ns: i64, octets: u64, packets: u64) {
        let end_ns = end_ns.max(start_ns);
        let began = self.index_of(start_ns);
        self.of(began).flows += 1;
        if start_ns == end_ns || (began.is_some() && began == self.index_of(end_ns)) {
            self.put(began, octets, packets);
            return;
        }
        let mut at_ns = start_ns;
        let (mut octets_put, mut packets_put) = (0, 0);
        while at_ns < end_ns {
            let bin = self.index_of(at_ns);
            // Where this share ends: with the bin, where the time asked for begins or ends, or with the flow.
            let (from_ns, to_ns) = self.asked_ns;
            let until_ns = match bin {
                Some(bin) => to_ns.min(self.start_of(bin).saturating_add(self.length_ns)),
                None if at_ns < from_ns => from_ns,
                None => end_ns,
            };
            let until_ns = until_ns.min(end_ns);
            let passed = until_ns.abs_diff(start_ns);
            let whole = end_ns.abs_diff(start_ns);
            let octets_by_then = share(octets, passed, whole);
            let packets_by_then = share(packets, passed, whole);
            self.put(
                bin,
                octets_by_then - octets_put,
                packets_by_then - packets_put,
            );
            (octets_put, packets_put) = (octets_by_then, packets_by_then);
            at_ns = until_ns;
        }
    }

    /// Where a bin begins.
    #[must_use]
    pub fn start_of(&self, bin: usize) -> i64 {
        let number = i64::try_from(bin).unwrap_or(i64::MAX);
        self.from_ns
            .saturating_add(number.saturating_mul(self.length_ns))
    }

    /// Bits a second of each bin, in what of its time was asked for.
    #[must_use]
    pub fn bits_per_second(&self) -> Vec<u64> {
        let rates = self.spans.iter().zip(0..).map(|(bin, at)| {
            let length_ns = u128::from(self.part_ns(at).unsigned_abs());
            let rate = u128::from(bin.octets) * 8_000_000_000 / length_ns;
            u64::try_from(rate).unwrap_or(u64::MAX)
        });
        rates.collect()
    }

    /// How much of a bin was asked for, nanoseconds; a second at least, since a rate in less is that of single flows.
    fn part_ns(&self, bin: usize) -> i64 {
        let start_ns = self.start_of(bin);
        let (from_ns, to_ns) = self.asked_ns;
        let end_ns = to_ns.min(start_ns.saturating_add(self.length_ns));
        let part_ns = end_ns.saturating_sub(from_ns.max(start_ns));
        part_ns.max(SECOND_NS.min(self.length_ns))
    }

    fn index_of(&self, at_ns: i64) -> Option<usize> {
        let (from_ns, to_ns) = self.asked_ns;
        if !(from_ns..to_ns).contains(&at_ns) {
            return None;
        }
        let into = at_ns.checked_sub(self.from_ns)?;
        let bin = usize::try_from(into / self.length_ns).ok()?;
        (bin < self.spans.len()).then_some(bin)
    }

    fn of(&mut self, bin: Option<usize>) -> &mut Bin {
        match bin.and_then(|bin| self.spans.get_mut(bin)) {
            Some(bin) => bin,
            None => &mut self.outside,
        }
    }

    fn put(&mut self, bin: Option<usize>, octets: u64, packets: u64) {
        let bin = self.of(bin);
        bin.octets = bin.octets.saturating_add(octets);
        bin.packets = bin.packets.saturating_add(packets);
    }
}

/// What of a count has come when so much of the time has passed.
fn share(count: u64, passed: u64, whole: u64) -> u64 {
    let share = u128::from(count) * u128::from(passed) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(count)
}

/// The value that so many per cent are not above (nearest rank); 0 of none.
#[must_use]
pub fn percentile(values: &[u64], per_cent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// A bar of block characters, in eighths of a character.
#[must_use]
pub fn bar(value: u64, most: u64, width: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if most == 0 {
        return String::new();
    }
    let eighths = u128::from(value.min(most)) * u128::from(width) * 8 / u128::from(most);
    let eighths = usize::try_from(eighths).unwrap_or(0);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use weir_tests::traffic::Random;

    use super::*;

    #[test]
    fn a_flow_is_spread_over_its_time() {
        let mut bins = Bins::new(1000, 1040, 10).unwrap();
        bins.add(1005, 1025, 200, 20);
        let octets: Vec<_> = bins.spans.iter().map(|bin| bin.octets).collect();
        assert_eq!(octets, [50, 100, 50, 0]);
        bins.add(1039, 1039, 7, 1);
        // Half of it before the bins, half of the rest behind them.
        bins.add(960, 1080, 120, 12);
        let bin = |octets, packets, flows| Bin {
            octets,
            packets,
            flows,
        };
        assert_eq!(bins.spans[3], bin(17, 2, 1));
        assert_eq!(bins.outside, bin(80, 8, 1));
    }

    /// Of the first and of the last hour seven minutes were not asked for.
    #[test]
    fn rates_at_the_edges_are_of_the_time_asked_for() {
        const MINUTE_NS: i64 = 60 * SECOND_NS;
        let mut bins = Bins::new(7 * MINUTE_NS, 173 * MINUTE_NS, 60 * MINUTE_NS)
            .unwrap()
            .cut(Some(7 * MINUTE_NS), Some(173 * MINUTE_NS));
        assert_eq!(bins.asked_length_ns(), 166 * MINUTE_NS);
        // A megabyte a minute, all the time.
        bins.add(-60 * MINUTE_NS, 240 * MINUTE_NS, 300_000_000, 300);
        let octets: Vec<_> = bins.spans.iter().map(|bin| bin.octets).collect();
        assert_eq!(octets, [53_000_000, 60_000_000, 53_000_000]);
        assert_eq!(bins.outside.octets, 134_000_000);
        assert_eq!(bins.bits_per_second(), [133_333; 3]);
        // A moment at an edge makes no rate of its own.
        let mut bins = Bins::new(0, 60 * MINUTE_NS + 1, 60 * MINUTE_NS)
            .unwrap()
            .cut(None, Some(60 * MINUTE_NS + 1));
        bins.add(60 * MINUTE_NS, 60 * MINUTE_NS, 1000, 1);
        assert_eq!(bins.bits_per_second(), [0, 8000]);
    }

    /// Whatever the flows: what is in the bins and outside is what was put in.
    #[test]
    fn nothing_is_lost_between_bins() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let from = i64::try_from(random.below(10_000)).unwrap();
            let length = 1 + i64::try_from(random.below(100)).unwrap();
            let bins = Bins::new(from, from + 1 + length * 50, length).unwrap();
            let mut bins = bins.cut(Some(from), Some(from + length * 50));
            let mut whole = Bin::default();
            for _ in 0..100 {
                let start = i64::try_from(random.below(20_000)).unwrap();
                let end = start + i64::try_from(random.below(20_000)).unwrap() - 100;
                let (octets, packets) = (random.below(1 << 40), random.below(1000));
                bins.add(start, end, octets, packets);
                whole.octets += octets;
                whole.packets += packets;
                whole.flows += 1;
            }
            let mut found = bins.outside;
            for bin in &bins.spans {
                found.octets += bin.octets;
                found.packets += bin.packets;
                found.flows += bin.flows;
            }
            assert_eq!(found, whole);
        }
    }

    #[test]
    fn hostile_times_and_counts_are_survived() {
        let mut bins = Bins::new(0, 100, 10).unwrap();
        for (start, end) in [
            (i64::MIN, i64::MAX),
            (i64::MAX, i64::MIN),
            (i64::MIN, i64::MIN),
            (50, i64::MAX),
        ] {
            bins.add(start, end, u64::MAX, u64::MAX);
        }
        assert!(Bins::new(0, i64::MAX, 1).is_err());
        assert!(Bins::new(i64::MIN, i64::MAX, i64::MAX).is_ok());
        assert!(Bins::new(10, 5, 10).unwrap().spans.len() == 1);
        let mut none = Bins::new(0, 100, 10).unwrap().cut(Some(50), Some(20));
        none.add(0, 100, 7, 1);
        assert_eq!((none.asked_length_ns(), none.outside.octets), (0, 7));
        let mut all = Bins::new(i64::MIN, i64::MAX, i64::MAX).unwrap();
        all.add(i64::MIN, i64::MAX, u64::MAX, 1);
        assert_eq!(all.bits_per_second().len(), 1);
    }

    #[test]
    fn lengths_percentiles_and_bars() {
        const HOUR_NS: i64 = 3600 * SECOND_NS;
        assert_eq!(Bins::fitting_length_ns(0, HOUR_NS), 300 * SECOND_NS);
        assert_eq!(Bins::fitting_length_ns(0, 24 * HOUR_NS), 1800 * SECOND_NS);
        assert_eq!(Bins::fitting_length_ns(0, 1), SECOND_NS);
        let values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(
            (percentile(&values, 95), percentile(&values, 100)),
            (95, 100)
        );
        assert_eq!((percentile(&[7], 95), percentile(&[], 95)), (7, 0));
        assert_eq!(bar(5, 10, 4), "██");
        assert_eq!(bar(1, 16, 2), "▏");
        assert_eq!(bar(0, 0, 4), "");
    }
}
