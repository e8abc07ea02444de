//! The one file that reads a clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that reads the clock"
)]

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Wall clock, nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        })
}

/// Monotonic clock, nanoseconds since it was first asked.
#[must_use]
pub fn monotonic_ns() -> u64 {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(FIRST.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
