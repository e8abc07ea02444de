//! When a record's flow began and ended: each field's time as far as it alone tells it, and what holds of all of them
//! in the end.

use crate::{TimeBase, low32, read, role::Reading, time};

/// A time as far as its field alone tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum When {
    #[default]
    Unsaid,
    Uptime(u32),
    At(u64),
}

impl When {
    /// Of a field's octets.
    #[inline]
    pub fn read(reading: Reading, value: &[u8], export_ns: u64) -> Self {
        match reading {
            Reading::SecondsMicroseconds => Self::of_pair(value),
            _ => Self::of(reading, read::number(value), export_ns),
        }
    }

    /// Of a number. Inlined, as what follows: what is handed over in memory is waited for.
    #[inline]
    pub fn of(reading: Reading, number: u64, export_ns: u64) -> Self {
        match reading {
            Reading::UptimeMs => Self::Uptime(low32(number)),
            Reading::DeltaMicroseconds => {
                Self::At(export_ns.saturating_sub(number.saturating_mul(1000)))
            }
            // No flow is of 1900 or 1970.
            _ if number == 0 => Self::Unsaid,
            Reading::Seconds => Self::At(number.saturating_mul(1_000_000_000)),
            Reading::Milliseconds => Self::At(number.saturating_mul(1_000_000)),
            Reading::NtpMicroseconds => Self::At(time::of_ntp_microseconds(number)),
            Reading::NtpNanoseconds => Self::At(time::of_ntp_nanoseconds(number)),
            Reading::Number
            | Reading::Dscp
            | Reading::Float
            | Reading::Ipv4
            | Reading::Ipv6
            | Reading::Mac
            | Reading::SecondsMicroseconds => Self::Unsaid,
        }
    }

    /// Seconds and microseconds since 1970, each half of the octets.
    fn of_pair(value: &[u8]) -> Self {
        let (seconds, microseconds) = value.split_at(value.len() / 2);
        let (seconds, microseconds) = (read::number(seconds), read::number(microseconds));
        if seconds == 0 {
            return Self::Unsaid;
        }
        let ns = seconds.saturating_mul(1_000_000_000);
        Self::At(ns.saturating_add(microseconds.saturating_mul(1000)))
    }

    #[inline]
    pub fn ns(self, base: TimeBase) -> Option<u64> {
        match self {
            Self::Unsaid => None,
            Self::Uptime(at) => base.uptime_ns(at),
            Self::At(at_ns) => Some(at_ns),
        }
    }
}

/// What a record said of time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub start: When,
    pub end: When,
    /// When it was seen, of what has no beginning and end.
    pub observed: When,
    pub duration_ms: Option<u64>,
    /// When the exporter booted, milliseconds since 1970-01-01 UTC.
    pub boot_ms: Option<u64>,
}

impl Times {
    /// What relative times count from: the record may say when the exporter booted.
    pub fn base(&self, base: TimeBase) -> TimeBase {
        match self.boot_ms {
            Some(boot_ms) => TimeBase::booted(base.export_ns, Some(boot_ms)),
            None => base,
        }
    }

    /// When it started and ended, never in the wrong order; none if it did not say, or in a way that
    /// cannot be told.
    #[inline]
    pub fn span_ns(&self, base: TimeBase) -> Option<(u64, u64)> {
        let base = self.base(base);
        let (mut start_ns, mut end_ns) = (self.start.ns(base), self.end.ns(base));
        if let (When::Uptime(first), When::Uptime(last)) = (self.start, self.end)
            && base.is_untimed(first, last)
        {
            (start_ns, end_ns) = (None, None);
        }
        let observed_ns = self.observed.ns(base);
        let duration_ns = self.duration_ms.map(|ms| ms.saturating_mul(1_000_000));
        let start_ns = start_ns
            .or_else(|| Some(end_ns?.saturating_sub(duration_ns.unwrap_or(0))))
            .or(observed_ns)?;
        let end_ns = end_ns
            .or_else(|| Some(start_ns.saturating_add(duration_ns?)))
            .or(observed_ns)
            .unwrap_or(start_ns);
        Some((start_ns, end_ns.max(start_ns)))
    }

    /// The times of a record that tells none: it ended by the export at the latest, and may say how long it lasted,
    /// by itself or by two sysUptimes of which nobody knows what they count from.
    #[inline]
    pub fn untimed_span_ns(&self, export_ns: u64) -> (u64, u64) {
        let duration_ms = match (self.duration_ms, self.start, self.end) {
            (Some(duration_ms), ..) => duration_ms,
            (None, When::Uptime(first), When::Uptime(last)) => {
                u64::try_from(last.wrapping_sub(first).cast_signed()).unwrap_or(0)
            }
            _ => 0,
        };
        let duration_ns = duration_ms.saturating_mul(1_000_000);
        (export_ns.saturating_sub(duration_ns), export_ns)
    }
}
