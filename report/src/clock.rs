//! The one file that reads a clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that reads the clock"
)]

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall clock, nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        })
}
