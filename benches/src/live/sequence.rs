//! Which flow each packet is of.

use weir_tests::traffic::Random;

/// In the sequence: a flow that was not sent before, as `weir_generate` has it.
pub const FRESH: u64 = u64::MAX;

/// How often which flow is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All equally often.
    Uniform,
    /// The n-th flow n to the power of minus the exponent as often as the first.
    Zipf(f64),
    /// Each once.
    Flood,
}

/// Draws flow numbers; the same for the same seed.
#[derive(Clone, Debug)]
pub struct Sequence {
    random: Random,
    flows: u32,
    /// Sums of the weights up to each flow; empty if all are equal.
    cumulated: Vec<f64>,
    fresh_share: f64,
}

impl Sequence {
    /// Flows below `flows`, and fresh ones for a share of the packets.
    #[must_use]
    pub fn new(flows: u32, distribution: Distribution, fresh_share: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let cumulated = match distribution {
            Distribution::Zipf(exponent) => (1..=flows)
                .map(|rank| {
                    sum += f64::from(rank).powf(-exponent);
                    sum
                })
                .collect(),
            Distribution::Uniform | Distribution::Flood => Vec::new(),
        };
        let fresh_share = if distribution == Distribution::Flood {
            1.0
        } else {
            fresh_share
        };
        Self {
            random: Random::new(seed),
            flows,
            cumulated,
            fresh_share,
        }
    }

    /// The next packet's flow.
    pub fn draw(&mut self) -> u64 {
        if self.fresh_share > 0.0 && self.fraction() < self.fresh_share {
            return FRESH;
        }
        let Some(sum) = self.cumulated.last().copied() else {
            return self.random.below(u64::from(self.flows));
        };
        let at = sum * self.fraction();
        let flow = self.cumulated.partition_point(|weights| *weights <= at);
        flow.min(self.cumulated.len() - 1) as u64
    }

    /// A number in `0.0..1.0`, of as many bits as it can have.
    fn fraction(&mut self) -> f64 {
        (self.random.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 200_000;

    fn share(mut sequence: Sequence, of: u64) -> f64 {
        let hits = (0..DRAWS).filter(|_| sequence.draw() == of).count();
        hits as f64 / f64::from(DRAWS)
    }

    #[test]
    fn uniform_flows_are_equally_often() {
        let sequence = Sequence::new(10, Distribution::Uniform, 0.0, 1);
        for flow in 0..10 {
            assert!(
                (share(sequence.clone(), flow) - 0.1).abs() < 0.005,
                "{flow}"
            );
        }
        assert!(share(sequence, 10) == 0.0);
    }

    #[test]
    fn zipf_flows_are_as_often_as_their_rank_says() {
        let all: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-1.1)).sum();
        let sequence = Sequence::new(1000, Distribution::Zipf(1.1), 0.0, 1);
        for (flow, rank) in [(0, 1.0_f64), (1, 2.0), (9, 10.0)] {
            let expected = rank.powf(-1.1) / all;
            assert!(
                (share(sequence.clone(), flow) - expected).abs() < 0.005,
                "{flow}"
            );
        }
        assert!(share(sequence, 1000) == 0.0);
    }

    #[test]
    fn fresh_flows_have_their_share() {
        let sequence = Sequence::new(4, Distribution::Uniform, 0.25, 1);
        assert!((share(sequence, FRESH) - 0.25).abs() < 0.005);
        let flood = Sequence::new(4, Distribution::Flood, 0.0, 1);
        assert!(share(flood, FRESH) > 0.999);
    }
}
