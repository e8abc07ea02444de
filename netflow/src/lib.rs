//! The flow record every version can carry, and the wire formats: NetFlow v5 and v9 (RFC 3954),
//! encode and decode side by side in one file each. It does no I/O, reads no clock and keeps no
//! state about peers: datagrams come as octets, times as arguments, templates as values the
//! caller stores.

pub mod element;
pub mod optional;
pub mod record;
pub mod v5;
pub mod v9;

pub use optional::Optional;
pub use record::{Direction, EndReason, FlowRecord};

/// The exporter's clocks at one instant, as a datagram's header carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportTime {
    /// Wall clock, nanoseconds since 1970-01-01 UTC.
    pub unix_ns: u64,
    /// Milliseconds since the exporter booted; the wire has its low 32 bits.
    pub uptime_ms: u64,
}

impl ExportTime {
    /// A flow's time as the header's sysUptime would have shown it (wraps after 49.7 days, as
    /// collectors expect).
    #[must_use]
    pub fn relative_ms(&self, at_ns: u64) -> u32 {
        // A clock that was set back may put a flow after now: then it is now.
        let age_ms = (self.unix_ns / 1_000_000).saturating_sub(at_ns / 1_000_000);
        low32(self.uptime_ms.wrapping_sub(age_ms))
    }

    /// The wall-clock time of a flow's First or Last.
    ///
    /// The age is `uptime - at` in 32 bits. Some exporters fill the header before the record, so
    /// that `at` lies a little after: a small negative age is taken as such, anything else as up
    /// to 49.7 days in the past.
    #[must_use]
    pub fn absolute_ns(&self, at: u32) -> u64 {
        const AHEAD_MAX_MS: u32 = 60_000;
        let age_ms = low32(self.uptime_ms).wrapping_sub(at);
        if age_ms >= u32::MAX - AHEAD_MAX_MS {
            return self.unix_ns + u64::from(at.wrapping_sub(low32(self.uptime_ms))) * 1_000_000;
        }
        self.unix_ns.saturating_sub(u64::from(age_ms) * 1_000_000)
    }
}

/// The low 32 bits, where a format wraps by definition.
#[must_use]
pub const fn low32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Why octets are not a datagram of the version they claim. Offsets count from the datagram's
/// first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its header does.
    #[error("{octets} octets are too short for a header")]
    TooShort {
        /// Octets received.
        octets: usize,
    },
    /// The version is not the decoder's.
    #[error("version {version} is not known")]
    Version {
        /// The version field.
        version: u16,
    },
    /// A v5 record count that its octets do not hold.
    #[error("count {count} does not fit {octets} octets")]
    Count {
        /// The count field.
        count: u16,
        /// Octets received.
        octets: usize,
    },
    /// A `FlowSet` whose length is below its own header or beyond the datagram.
    #[error("FlowSet length {length} at octet {offset} is out of range")]
    SetLength {
        /// The length field.
        length: u16,
        /// Where the `FlowSet` begins.
        offset: usize,
    },
    /// A template that cannot describe a record.
    #[error("template {id} at octet {offset}: {reason}")]
    Template {
        /// The template's id.
        id: u16,
        /// Where the definition begins.
        offset: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Big-endian reads from a slice; zero beyond its end, for callers that have checked the length.
pub(crate) mod read {
    pub fn u16(octets: &[u8], at: usize) -> u16 {
        octets
            .get(at..at + 2)
            .map_or(0, |field| u16::from_be_bytes([field[0], field[1]]))
    }

    pub fn u32(octets: &[u8], at: usize) -> u32 {
        octets.get(at..at + 4).map_or(0, |field| {
            u32::from_be_bytes([field[0], field[1], field[2], field[3]])
        })
    }
}

/// How packets were chosen before they were metered; counters are never scaled by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One packet in this many; 1 if all.
    pub interval: u32,
    /// Whether it was drawn at random, instead of every so-manieth.
    pub random: bool,
}

impl Sampling {
    /// Every packet.
    pub const NONE: Self = Self {
        interval: 1,
        random: false,
    };

    /// The algorithm's number: v9's `SAMPLING_ALGORITHM` and v5's mode (RFC 3954 section 8).
    #[must_use]
    pub const fn algorithm(&self) -> u8 {
        if self.random { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_123_000_000,
        uptime_ms: (1 << 32) + 5,
    };

    #[test]
    fn times_come_back_across_the_uptime_wrap() {
        for age_ms in [0, 1, 5, 6, 1000, 49 * 24 * 3_600_000] {
            let at_ns = NOW.unix_ns - age_ms * 1_000_000;
            assert_eq!(
                NOW.absolute_ns(NOW.relative_ms(at_ns)),
                at_ns,
                "{age_ms} ms ago"
            );
        }
    }

    #[test]
    fn a_flow_that_ends_after_the_header_was_filled_is_not_49_days_old() {
        assert_eq!(NOW.absolute_ns(7), NOW.unix_ns + 2_000_000);
        assert_eq!(NOW.absolute_ns(5), NOW.unix_ns);
    }
}
