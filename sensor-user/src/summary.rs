//! What the flows were like that were taken out of the table: least, mean and most, in all and by
//! protocol, as softflowd's statistics tell them.

use crate::{clock::Now, sweep::Taken};

/// Least, mean and most of a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many values there were.
    pub count: u64,
    /// The least of them.
    pub least: u64,
    /// The greatest of them.
    pub most: u64,
    sum: u128,
}

impl Spread {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        self.least = if self.count == 0 {
            value
        } else {
            self.least.min(value)
        };
        self.most = self.most.max(value);
        self.sum += u128::from(value);
        self.count += 1;
    }

    /// Their mean; 0 if there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean, to 15 digits")]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }
}

/// The flows of one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolSummary {
    /// Octets in all of them.
    pub octets: u64,
    /// Packets in all of them.
    pub packets: u64,
    /// From first to last packet, in nanoseconds.
    pub duration_ns: Spread,
}

/// All flows taken so far.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Octets of a flow.
    pub octets: Spread,
    /// Packets of a flow.
    pub packets: Spread,
    /// From a flow's first packet to its last, in nanoseconds.
    pub duration_ns: Spread,
    /// By protocol number.
    protocols: Vec<ProtocolSummary>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            octets: Spread::default(),
            packets: Spread::default(),
            duration_ns: Spread::default(),
            protocols: vec![ProtocolSummary::default(); usize::from(u8::MAX) + 1],
        }
    }
}

impl Summary {
    /// Adds a flow.
    pub fn count(&mut self, taken: &Taken, now: &Now) {
        let duration_ns = now.between(taken.first_tick, taken.last_tick);
        self.octets.add(taken.octets);
        self.packets.add(taken.packets);
        self.duration_ns.add(duration_ns);
        let protocol = &mut self.protocols[usize::from(taken.key.protocol())];
        protocol.octets = protocol.octets.saturating_add(taken.octets);
        protocol.packets = protocol.packets.saturating_add(taken.packets);
        protocol.duration_ns.add(duration_ns);
    }

    /// The protocols that were seen, by number.
    pub fn protocols(&self) -> impl Iterator<Item = (u8, &ProtocolSummary)> {
        (0..=u8::MAX)
            .zip(&self.protocols)
            .filter(|(_, protocol)| protocol.packets > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_mean_and_most_of_values() {
        let mut spread = Spread::default();
        assert_eq!((spread.least, spread.most), (0, 0));
        for value in [7, 3, 20] {
            spread.add(value);
        }
        assert_eq!((spread.count, spread.least, spread.most), (3, 3, 20));
        assert!((spread.mean() - 10.0).abs() < 1e-9);
    }
}
