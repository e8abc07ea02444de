//! The cascade as a table, for a look at each flow of many.

use super::{AGE_MAX_NS, COUNT_MAX, FIN, RST, Timeouts, idle_rule};

/// Timeouts in ticks, by what of a flow decides which of them it has. In a mixed table [`super::expired`] takes other
/// branches by protocol and flags from flow to flow, which no processor foresees; here is none of those.
#[derive(Clone, Debug)]
pub struct Limits {
    /// By [`class`].
    idle_ticks: [u32; CLASSES],
    active_ticks: u32,
    shortest_ticks: u32,
    timeouts: Timeouts,
}

/// See [`class`].
const CLASSES: usize = ((FIN | RST) as usize + 1) << 8;

/// A flow as its slot tells it.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// IP protocol.
    pub protocol: u8,
    /// TCP flags seen.
    pub tcp_flags: u8,
    /// Octets so far.
    pub octets: u64,
    /// Packets so far.
    pub packets: u32,
    /// Ticks since its first packet.
    pub age_ticks: u32,
    /// Ticks since its last packet.
    pub idle_ticks: u32,
}

impl Limits {
    /// What the timeouts come to in ticks of this length.
    #[must_use]
    pub fn of(timeouts: &Timeouts, tick_length_ns: u64) -> Self {
        // As many as are not shorter than it. One too long for them is not lived to see, by `AGE_MAX_NS`.
        let ticks = |ns: u64| u32::try_from(ns.div_ceil(tick_length_ns)).unwrap_or(u32::MAX);
        let mut idle_ticks = [0; CLASSES];
        for protocol in 0..=u8::MAX {
            for tcp_flags in [0, FIN, RST, FIN | RST] {
                let (timeout_ns, _) = idle_rule(protocol, tcp_flags, timeouts);
                idle_ticks[class(protocol, tcp_flags)] = ticks(timeout_ns);
            }
        }
        let active_ns = match timeouts.active_ns {
            0 => AGE_MAX_NS,
            active_ns => active_ns.min(AGE_MAX_NS),
        };
        Self {
            idle_ticks,
            active_ticks: ticks(active_ns),
            shortest_ticks: ticks(timeouts.shortest_ns()),
            timeouts: *timeouts,
        }
    }

    /// How long the flow has if no packet of it comes; 0 if, and only if, it is [`super::expired`].
    #[inline]
    #[must_use]
    pub fn remaining_ticks(&self, flow: Counted) -> u32 {
        let idle_ticks = self.idle_ticks[class(flow.protocol, flow.tcp_flags)];
        let idle_ticks = idle_ticks.saturating_sub(flow.idle_ticks);
        let active_ticks = self.active_ticks.saturating_sub(flow.age_ticks);
        // A power of two: neither has reached it.
        let counts_on = (flow.octets | u64::from(flow.packets)) < COUNT_MAX;
        idle_ticks.min(active_ticks) * u32::from(counts_on)
    }

    /// As [`Timeouts::shortest_ns`].
    #[inline]
    #[must_use]
    pub fn shortest_ticks(&self) -> u32 {
        self.shortest_ticks
    }

    /// What they were made of.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

/// By FIN and RST, and then by protocol. They matter to TCP only: of others there are several of the same.
#[inline]
fn class(protocol: u8, tcp_flags: u8) -> usize {
    usize::from(tcp_flags & (FIN | RST)) << 8 | usize::from(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::{State, expired, timeouts::tests::timeouts};

    const TICK_NS: u64 = 4_000_000;

    /// Both sides of each limit, and what no limit is.
    fn around(limits: &Limits) -> Vec<u32> {
        let mut edges = limits.idle_ticks.to_vec();
        edges.extend([limits.active_ticks, limits.shortest_ticks, 0, 1 << 30]);
        edges.sort_unstable();
        edges.dedup();
        let sides = |edge: u32| [edge.saturating_sub(1), edge, edge.saturating_add(1)];
        let ticks = edges.into_iter().flat_map(sides);
        // No flow is as old as the range of ticks.
        ticks.filter(|ticks| *ticks < 3_900_000_000).collect()
    }

    fn assert_alike(limits: &Limits, flow: Counted) {
        let state = State {
            protocol: flow.protocol,
            tcp_flags: flow.tcp_flags,
            octets: flow.octets,
            packets: u64::from(flow.packets),
            age_ns: u64::from(flow.age_ticks) * TICK_NS,
            idle_ns: u64::from(flow.idle_ticks) * TICK_NS,
        };
        let is_over = expired(&state, limits.timeouts()).is_some();
        assert_eq!(limits.remaining_ticks(flow) == 0, is_over, "{flow:?}");
    }

    #[test]
    fn nothing_remains_exactly_if_the_cascade_says_so() {
        let none = "tcp=0 udp=0 icmp=0 tcp.rst=0 tcp.fin=0 active=0 general=70";
        let short = "tcp=10 udp=20ms icmp=30 general=41ms tcp.rst=2 tcp.fin=3ms";
        let of = [
            "",
            short,
            none,
            "idle=1ms active=2ms",
            "idle=5000w active=5000w",
        ];
        let of = of.map(|text| timeouts(&text.split_whitespace().collect::<Vec<_>>()));
        let classes = [
            (6, 0),
            (6, 1),
            (6, 4),
            (6, 0x1f),
            (17, 5),
            (1, 0),
            (58, 0),
            (47, 4),
            (255, 1),
        ];
        let counts = [
            (100, 1),
            ((1 << 31) - 1, 1),
            (1 << 31, 1),
            (0, 1 << 31),
            (1 << 40, u32::MAX),
        ];
        for timeouts in of
            .into_iter()
            .flat_map(|timeouts| [timeouts, timeouts.never_idle()])
        {
            let limits = Limits::of(&timeouts, TICK_NS);
            let ticks = around(&limits);
            let pairs = ticks
                .iter()
                .flat_map(|age| ticks.iter().map(move |idle| (*age, *idle)));
            for (age_ticks, idle_ticks) in pairs {
                for ((protocol, tcp_flags), (octets, packets)) in classes
                    .into_iter()
                    .flat_map(|class| counts.map(|counts| (class, counts)))
                {
                    assert_alike(
                        &limits,
                        Counted {
                            protocol,
                            tcp_flags,
                            octets,
                            packets,
                            age_ticks,
                            idle_ticks,
                        },
                    );
                }
            }
        }
    }
}
