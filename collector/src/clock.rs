//! The one file that reads a clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that reads the clock"
)]

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Wall clock, nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}

/// Nanoseconds since this was first asked, not changed by steps of the wall clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(STARTED.elapsed().as_nanos()).unwrap_or(u64::MAX)
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
