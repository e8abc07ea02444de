//! The ways a flow's times are told: relative to sysUptime, before the export, or by the wall clock
//! in seconds, milliseconds or NTP's fractions. Here they become nanoseconds since 1970-01-01 UTC.

use crate::low32;

/// The exporter's clocks at one instant, as a datagram's header carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportTime {
    /// Wall clock, nanoseconds since 1970-01-01 UTC.
    pub unix_ns: u64,
    /// Milliseconds since the exporter booted; the wire has its low 32 bits.
    pub uptime_ms: u64,
}

/// A flow is this long after the header was filled at most; a later one is before the wrap.
const AHEAD_MAX_MS: u32 = 60_000;
/// A flow that is older is taken for one of another turn of sysUptime.
const AGE_MAX_MS: u64 = (u32::MAX - 2 * AHEAD_MAX_MS) as u64;
/// An exporter that is up for this long and says First = Last = 0 has no clock for flows. One that
/// has just booted, or counts from a capture's first packet, may mean it.
const UNTIMED_UPTIME_MS: i64 = 86_400_000;

impl ExportTime {
    /// A flow's time as the header's sysUptime would have shown it (wraps after 49.7 days, as
    /// collectors expect).
    #[must_use]
    pub fn relative_ms(&self, at_ns: u64) -> u32 {
        // A clock that was set back may put a flow after now: then it is now. One that was set ahead by years, as where
        // there is none at the boot, puts it back farther than there is a way to tell: then it is the boot.
        let age_ms = (self.unix_ns / 1_000_000).saturating_sub(at_ns / 1_000_000);
        let age_ms = if age_ms > AGE_MAX_MS {
            self.uptime_ms
        } else {
            age_ms
        };
        low32(self.uptime_ms.wrapping_sub(age_ms))
    }

    /// Whether [`relative_ms`](Self::relative_ms) has a way to tell this time: it is not after now, not before the boot,
    /// and not so far back that it is taken for one of another turn of sysUptime, which takes 49.7 days.
    #[must_use]
    pub fn is_relative(&self, at_ns: u64) -> bool {
        let age_ms = (self.unix_ns / 1_000_000).checked_sub(at_ns / 1_000_000);
        age_ms.is_some_and(|age_ms| age_ms <= AGE_MAX_MS.min(self.uptime_ms))
    }

    /// The wall-clock time of a flow's First or Last.
    ///
    /// The age is `uptime - at` in 32 bits. Some exporters fill the header before the record, so
    /// that `at` lies a little after: a small negative age is taken as such, anything else as up
    /// to 49.7 days in the past.
    ///
    /// It has whole milliseconds, as sysUptime has: what the wall clock says below would be another
    /// fraction in each datagram, of which no flow knows anything.
    #[must_use]
    #[inline]
    pub fn absolute_ns(&self, at: u32) -> u64 {
        let now_ns = self.unix_ns - self.unix_ns % 1_000_000;
        let age_ms = low32(self.uptime_ms).wrapping_sub(at);
        if age_ms >= u32::MAX - AHEAD_MAX_MS {
            let ahead_ms = u64::from(at.wrapping_sub(low32(self.uptime_ms)));
            return now_ns.saturating_add(ahead_ms * 1_000_000);
        }
        now_ns.saturating_sub(u64::from(age_ms) * 1_000_000)
    }

    /// When a flow started and ended, by its First and Last; never in the wrong order. Of an
    /// exporter that has no times (both are 0 long after it booted) it is the export's time.
    #[must_use]
    pub fn span_ns(&self, first: u32, last: u32) -> (u64, u64) {
        if self.is_untimed(first, last) {
            return (self.unix_ns, self.unix_ns);
        }
        let start_ns = self.absolute_ns(first);
        (start_ns, self.absolute_ns(last).max(start_ns))
    }

    #[inline]
    fn is_untimed(&self, first: u32, last: u32) -> bool {
        // Below zero is a boot that lies after the export, by seconds cut off.
        first == 0 && last == 0 && self.uptime_ms.cast_signed() > UNTIMED_UPTIME_MS
    }
}

/// What the times in records count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBase {
    /// When the datagram was exported, nanoseconds since 1970-01-01 UTC.
    pub export_ns: u64,
    /// Milliseconds since the exporter booted at that instant, if that is known.
    pub uptime_ms: Option<u64>,
}

impl From<ExportTime> for TimeBase {
    fn from(time: ExportTime) -> Self {
        Self {
            export_ns: time.unix_ns,
            uptime_ms: Some(time.uptime_ms),
        }
    }
}

impl TimeBase {
    /// Of an exporter that says when it booted (systemInitTimeMilliseconds, IE 160), if it does:
    /// IPFIX headers have no sysUptime.
    #[must_use]
    pub fn booted(export_ns: u64, boot_ms: Option<u64>) -> Self {
        // Export times have whole seconds and may so lie before the boot: a negative uptime, which
        // wraps as everything here does.
        let uptime_ms = boot_ms.map(|boot_ms| (export_ns / 1_000_000).wrapping_sub(boot_ms));
        Self {
            export_ns,
            uptime_ms,
        }
    }

    #[inline]
    fn export_time(&self) -> Option<ExportTime> {
        Some(ExportTime {
            unix_ns: self.export_ns,
            uptime_ms: self.uptime_ms?,
        })
    }

    /// The wall-clock time of a sysUptime, if it can be told.
    #[must_use]
    #[inline]
    pub fn uptime_ns(&self, at: u32) -> Option<u64> {
        Some(self.export_time()?.absolute_ns(at))
    }

    /// Whether these two are what an exporter without times says.
    #[must_use]
    #[inline]
    pub fn is_untimed(&self, first: u32, last: u32) -> bool {
        self.export_time()
            .is_some_and(|time| time.is_untimed(first, last))
    }
}

/// Nanoseconds since 1970 of NTP's 64 bits (RFC 7011 section 6.1.10): seconds since 1900 and a
/// fraction in units of 2⁻³² s.
#[must_use]
pub fn of_ntp_nanoseconds(ntp: u64) -> u64 {
    let fraction = u64::from(low32(ntp));
    ntp_seconds_ns(ntp) + ((fraction * 1_000_000_000) >> 32)
}

/// Likewise of dateTimeMicroseconds (section 6.1.9), whose low eleven bits mean nothing; to the
/// nearest microsecond.
#[must_use]
pub fn of_ntp_microseconds(ntp: u64) -> u64 {
    let fraction = u64::from(low32(ntp) & !0x7ff);
    ntp_seconds_ns(ntp) + ((fraction * 1_000_000 + (1 << 31)) >> 32) * 1000
}

/// The inverse of [`of_ntp_nanoseconds`].
#[must_use]
pub fn to_ntp_nanoseconds(unix_ns: u64) -> u64 {
    let fraction_ns = unix_ns % 1_000_000_000;
    // Rounded up, so that cutting off gives the same again.
    ntp_seconds(unix_ns) << 32 | (fraction_ns << 32).div_ceil(1_000_000_000)
}

/// The inverse of [`of_ntp_microseconds`]; the low eleven bits are zeros.
#[must_use]
pub fn to_ntp_microseconds(unix_ns: u64) -> u64 {
    let fraction_us = unix_ns % 1_000_000_000 / 1000;
    let fraction = (fraction_us << 32).div_ceil(1_000_000);
    ntp_seconds(unix_ns) << 32 | fraction & !0x7ff
}

/// Seconds since 1900, in 32 bits.
fn ntp_seconds(unix_ns: u64) -> u64 {
    u64::from(low32(unix_ns / 1_000_000_000).wrapping_add(UNIX_EPOCH_S))
}

/// Seconds from 1900 to 1970.
const UNIX_EPOCH_S: u32 = 2_208_988_800;

/// The seconds wrap in 2036; a time before 1970 is one after that.
fn ntp_seconds_ns(ntp: u64) -> u64 {
    u64::from(low32(ntp >> 32).wrapping_sub(UNIX_EPOCH_S)) * 1_000_000_000
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
    fn a_time_is_told_by_sys_uptime_if_it_comes_back() {
        let ms = 1_000_000;
        for (at_ns, is_relative) in [
            (NOW.unix_ns, true),
            (NOW.unix_ns + 1_000, true),
            (NOW.unix_ns + ms, false),
            (u64::MAX, false),
            (NOW.unix_ns - 49 * 86_400_000 * ms, true),
            (NOW.unix_ns - 50 * 86_400_000 * ms, false),
            (0, false),
        ] {
            assert_eq!(NOW.is_relative(at_ns), is_relative, "{at_ns}");
            let back = NOW.absolute_ns(NOW.relative_ms(at_ns)) / ms;
            assert_eq!(back == at_ns / ms, is_relative, "{at_ns}");
        }
        let booted = ExportTime {
            uptime_ms: 1000,
            ..NOW
        };
        assert!(booted.is_relative(NOW.unix_ns - 1000 * ms));
        assert!(!booted.is_relative(NOW.unix_ns - 1001 * ms));
        // The clock was set ahead by years under a flow: it is as old as can be told.
        let years_ago_ns = NOW.unix_ns - 3000 * 86_400_000 * ms;
        assert_eq!(booted.relative_ms(years_ago_ns), 0);
    }

    /// As nfcapd reads them, and as they were: the same flow's time is the same in whatever datagram.
    #[test]
    fn relative_times_have_whole_milliseconds_whatever_the_headers_nanoseconds() {
        let at_ns = NOW.unix_ns - 5_000_000;
        for below_ms in [0, 1, 500_000, 999_999] {
            let now = ExportTime {
                unix_ns: NOW.unix_ns + below_ms,
                ..NOW
            };
            assert_eq!(now.absolute_ns(now.relative_ms(at_ns)), at_ns);
            assert_eq!(now.absolute_ns(now.relative_ms(at_ns + 999_999)), at_ns);
            assert_eq!(now.absolute_ns(7), NOW.unix_ns + 2_000_000);
        }
    }

    #[test]
    fn a_flow_that_ends_after_the_header_was_filled_is_not_49_days_old() {
        assert_eq!(NOW.absolute_ns(7), NOW.unix_ns + 2_000_000);
        assert_eq!(NOW.absolute_ns(5), NOW.unix_ns);
    }

    #[test]
    fn a_flow_across_the_wrap_lasts_as_long_as_it_did() {
        let (start_ns, end_ns) = NOW.span_ns(u32::MAX - 994, 5);
        assert_eq!((end_ns, end_ns - start_ns), (NOW.unix_ns, 1_000_000_000));
    }

    #[test]
    fn an_end_before_its_start_is_at_its_start() {
        let now = ExportTime {
            uptime_ms: 10_000,
            ..NOW
        };
        let at_ns = NOW.unix_ns - 1_000_000_000;
        assert_eq!(now.span_ns(9000, 8000), (at_ns, at_ns));
    }

    #[test]
    fn zeros_mean_no_time_only_long_after_the_boot() {
        let up = |uptime_ms| ExportTime { uptime_ms, ..NOW };
        let week_ms = 7 * 86_400_000;
        assert_eq!(up(week_ms).span_ns(0, 0), (NOW.unix_ns, NOW.unix_ns));
        let boot_ns = NOW.unix_ns - 5_000_000_000;
        assert_eq!(up(5000).span_ns(0, 0), (boot_ns, boot_ns));
        let ago = |age_ms: u64| NOW.unix_ns - age_ms * 1_000_000;
        let expected = (ago(week_ms), ago(week_ms - 1));
        assert_eq!(up(week_ms).span_ns(0, 1), expected);
    }

    #[test]
    fn without_a_boot_time_uptimes_cannot_be_told() {
        let boot_ms = NOW.unix_ns / 1_000_000 - 5000;
        let known = TimeBase::booted(NOW.unix_ns, Some(boot_ms));
        assert_eq!(known.uptime_ns(2000), Some(NOW.unix_ns - 3_000_000_000));
        assert_eq!(TimeBase::booted(NOW.unix_ns, None).uptime_ns(2000), None);
    }

    #[test]
    fn a_boot_within_the_second_that_the_header_cuts_off_is_no_wrap() {
        let export_ns = 1_700_000_000_000_000_000;
        let base = TimeBase::booted(export_ns, Some(1_700_000_000_500));
        assert_eq!(base.uptime_ns(200), Some(export_ns + 700_000_000));
        assert!(!base.is_untimed(0, 0));
    }

    #[test]
    fn ntp_times_are_read_in_both_eras() {
        let second = |seconds: u64, fraction: u64| seconds << 32 | fraction;
        // 2020-01-01 00:00:00.5, 2036-02-07 06:28:16, which is second 0 of the next era.
        let cases = [
            (second(3_786_825_600, 1 << 31), 1_577_836_800_500_000_000),
            (second(0, 0), 2_085_978_496_000_000_000),
            (second(0, 5), 2_085_978_496_000_000_001),
        ];
        for (ntp, unix_ns) in cases {
            assert_eq!(of_ntp_nanoseconds(ntp), unix_ns);
        }
        // A microsecond is 4294.97 units; its low eleven bits may be anything.
        for units in [4096, 4294, 6143] {
            let found = of_ntp_microseconds(second(3_786_825_600, units));
            assert_eq!(found, 1_577_836_800_000_001_000, "{units} units");
        }
    }

    #[test]
    fn ntp_times_are_written_as_they_are_read() {
        for unix_ns in [
            0,
            1_577_836_800_999_999_999,
            1_577_836_800_000_000_001,
            1_577_836_800_123_456_789,
            2_085_978_496_000_000_000,
        ] {
            assert_eq!(of_ntp_nanoseconds(to_ntp_nanoseconds(unix_ns)), unix_ns);
            let us = unix_ns / 1000;
            assert_eq!(of_ntp_microseconds(to_ntp_microseconds(unix_ns)), us * 1000);
        }
    }
}
