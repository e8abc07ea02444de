//! What the flows were like that were taken out of the table: least, mean and most, in all and by
//! protocol, as softflowd's statistics tell them. Where both directions of a conversation leave together they
//! are one flow here, which is what softflowd counts.

use weir_netflow::FlowRecord;

use crate::expiry::Reason;

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
    /// How many there were, by [`Reason`].
    pub reasons: [u64; Reason::ALL.len()],
    /// By protocol number.
    protocols: Vec<ProtocolSummary>,
    /// The latest flow, in none of the above: its other direction may come next.
    open: Option<Flow>,
}

/// A flow, of one direction or both.
#[derive(Clone, Copy, Debug)]
struct Flow {
    protocol: u8,
    octets: u64,
    packets: u64,
    start_ns: u64,
    end_ns: u64,
    reason: Reason,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            octets: Spread::default(),
            packets: Spread::default(),
            duration_ns: Spread::default(),
            reasons: [0; Reason::ALL.len()],
            open: None,
            protocols: vec![ProtocolSummary::default(); usize::from(u8::MAX) + 1],
        }
    }
}

impl Summary {
    /// Adds a flow by its record, or the other direction of the one before it.
    pub fn count(&mut self, record: &FlowRecord, reason: Reason, is_other_direction: bool) {
        let mut flow = Flow {
            protocol: record.protocol,
            octets: record.octets,
            packets: record.packets,
            start_ns: record.start_ns,
            end_ns: record.end_ns,
            reason,
        };
        match self.open.take() {
            Some(open) if is_other_direction => {
                flow.octets = flow.octets.saturating_add(open.octets);
                flow.packets = flow.packets.saturating_add(open.packets);
                flow.start_ns = flow.start_ns.min(open.start_ns);
                flow.end_ns = flow.end_ns.max(open.end_ns);
            }
            Some(open) => self.close(&open),
            None => {}
        }
        self.open = Some(flow);
    }

    fn close(&mut self, flow: &Flow) {
        let duration_ns = flow.end_ns.saturating_sub(flow.start_ns);
        self.octets.add(flow.octets);
        self.packets.add(flow.packets);
        self.duration_ns.add(duration_ns);
        self.reasons[flow.reason as usize] += 1;
        let protocol = &mut self.protocols[usize::from(flow.protocol)];
        protocol.octets = protocol.octets.saturating_add(flow.octets);
        protocol.packets = protocol.packets.saturating_add(flow.packets);
        protocol.duration_ns.add(duration_ns);
    }

    /// With the latest flow, whether or not its other direction comes yet.
    #[must_use]
    pub fn whole(&self) -> Self {
        let mut whole = self.clone();
        if let Some(open) = whole.open.take() {
            whole.close(&open);
        }
        whole
    }

    /// How many flows there were.
    #[must_use]
    pub const fn flows(&self) -> u64 {
        self.octets.count
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

    #[test]
    fn both_directions_are_one_flow_from_the_first_packet_of_either_to_the_last() {
        let record = |octets, packets, start_ns, end_ns| FlowRecord {
            protocol: 6,
            octets,
            packets,
            start_ns,
            end_ns,
            ..FlowRecord::default()
        };
        let mut summary = Summary::default();
        summary.count(&record(100, 2, 50, 60), Reason::TcpFin, false);
        assert_eq!((summary.flows(), summary.whole().flows()), (0, 1));
        summary.count(&record(1000, 3, 40, 55), Reason::TcpFin, true);
        summary.count(&record(7, 1, 90, 90), Reason::Tcp, false);
        let whole = summary.whole();
        assert_eq!(whole.flows(), 2);
        assert_eq!((whole.octets.least, whole.octets.most), (7, 1100));
        assert_eq!((whole.packets.least, whole.packets.most), (1, 5));
        assert_eq!((whole.duration_ns.least, whole.duration_ns.most), (0, 20));
        assert_eq!(whole.reasons[Reason::TcpFin as usize], 1);
        let protocols: Vec<_> = whole.protocols().collect();
        let [(6, protocol)] = protocols[..] else {
            panic!("{protocols:?}")
        };
        assert_eq!((protocol.octets, protocol.packets), (1107, 6));
        assert_eq!(protocol.duration_ns.count, 2);
    }
}
