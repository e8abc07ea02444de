//! The one file that reads a clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that reads the clock"
)]
#![expect(unsafe_code, reason = "a system call")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock, nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}

/// The same in whole milliseconds, for what is received: nobody asks finer, and in files each other value takes room.
#[must_use]
pub fn received_ns() -> u64 {
    const NS_PER_MS: u64 = 1_000_000;
    unix_ns() / NS_PER_MS * NS_PER_MS
}

/// Nanoseconds since the machine's boot, on the clock that service managers go by.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: there is room for the answer. The call fails for clocks only that do not exist.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// A wait that is not changed by steps of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Patience(Instant);

impl Patience {
    /// Begins to wait.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    /// Whether it has been that long.
    #[must_use]
    pub fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}
