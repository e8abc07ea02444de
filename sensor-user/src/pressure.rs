//! What a filling table changes: idle timeouts become shorter before flows have to be pushed out,
//! and go back by themselves. A pure function of how full the table was at the last sweep.

use crate::expiry::Timeouts;

/// Above this share of the slots, in percent, timeouts are halved at each sweep. Flows are pushed
/// out from 75 % on.
const HIGH_PERCENT: u64 = 60;
/// Below this one they are doubled again, up to what was asked for.
pub const LOW_PERCENT: u64 = 40;
/// At most to a sixty-fourth, but never below a second.
const HALVINGS_MAX: u32 = 6;
const SHORTEST_NS: u64 = 1_000_000_000;

/// How hard the table is pressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    halvings: u32,
}

impl Pressure {
    /// After a sweep that found so many live slots.
    #[must_use]
    pub fn after(self, live: u64, slots: u64) -> Self {
        let percent = live * 100 / slots.max(1);
        let halvings = if percent > HIGH_PERCENT {
            (self.halvings + 1).min(HALVINGS_MAX)
        } else if percent < LOW_PERCENT {
            self.halvings.saturating_sub(1)
        } else {
            self.halvings
        };
        Self { halvings }
    }

    /// Whether timeouts are shortened.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.halvings > 0
    }

    /// The timeouts under this pressure. The active timeout stays: it frees nothing.
    #[must_use]
    pub fn shorten(self, timeouts: &Timeouts) -> Timeouts {
        let shorter = |timeout_ns: u64| {
            let least_ns = timeout_ns.min(SHORTEST_NS);
            (timeout_ns >> self.halvings).max(least_ns)
        };
        Timeouts {
            tcp_ns: shorter(timeouts.tcp_ns),
            tcp_rst_ns: shorter(timeouts.tcp_rst_ns),
            tcp_fin_ns: shorter(timeouts.tcp_fin_ns),
            udp_ns: shorter(timeouts.udp_ns),
            icmp_ns: shorter(timeouts.icmp_ns),
            general_ns: shorter(timeouts.general_ns),
            ..*timeouts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_shorten_above_the_high_mark_and_return_below_the_low_one() {
        let timeouts = Timeouts::default();
        let mut pressure = Pressure::default();
        assert_eq!(pressure.shorten(&timeouts), timeouts);
        for _ in 0..20 {
            pressure = pressure.after(61, 100);
        }
        let short = pressure.shorten(&timeouts);
        assert_eq!((short.udp_ns, short.tcp_fin_ns), (SHORTEST_NS, SHORTEST_NS));
        assert_eq!(short.active_ns, timeouts.active_ns);
        assert_eq!(
            pressure.after(50, 100),
            pressure,
            "between the marks it stays"
        );
        for _ in 0..HALVINGS_MAX {
            assert!(pressure.is_on());
            pressure = pressure.after(39, 100);
        }
        assert_eq!(pressure.shorten(&timeouts), timeouts);
    }

    #[test]
    fn what_is_short_or_off_stays_so() {
        let mut timeouts = Timeouts::default();
        timeouts.set("tcp.rst=200ms").unwrap();
        timeouts.set("icmp=0").unwrap();
        let short = Pressure { halvings: 6 }.shorten(&timeouts);
        assert_eq!((short.tcp_rst_ns, short.icmp_ns), (200_000_000, 0));
    }
}
