//! Pacing: how fast datagrams may leave, so that a collector with a default socket buffer
//! (212,992 octets, some 90 full datagrams with the kernel's overhead) does not lose bursts.

/// A token bucket counted in datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    interval_ns: u64,
    burst: u64,
    /// The time up to which what was sent has used the rate.
    used_until_ns: u64,
}

impl Default for Pace {
    /// Half of what a default socket buffer takes in a scheduler's tick.
    fn default() -> Self {
        Self::new(24_000, 24)
    }
}

impl Pace {
    /// `rate` datagrams a second, `burst` at once.
    #[must_use]
    pub fn new(rate: u64, burst: u64) -> Self {
        Self {
            interval_ns: 1_000_000_000 / rate.max(1),
            burst: burst.max(1),
            used_until_ns: 0,
        }
    }

    /// Takes a datagram's turn; nanoseconds to wait before it may leave. Time is monotonic.
    pub fn take(&mut self, now_ns: u64) -> u64 {
        let earliest = now_ns.saturating_sub(self.interval_ns * self.burst);
        self.used_until_ns = self.used_until_ns.max(earliest) + self.interval_ns;
        self.used_until_ns.saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let mut pace = Pace::new(1000, 8);
        let now = 1_000_000_000;
        let waits: Vec<_> = (0..10).map(|_| pace.take(now)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 1_000_000, 2_000_000]);
        assert_eq!(pace.take(now + 60_000_000_000), 0);
    }
}
