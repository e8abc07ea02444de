//! Times and durations as people write them. Times are UTC unless they carry an offset; what is left
//! out of the end of one is its beginning (`2026-11-21T09` is nine o'clock sharp), as in nfdump.

use chrono::NaiveDate;

/// Nanoseconds in a second.
const SECOND_NS: i64 = 1_000_000_000;
/// Nanoseconds in a day.
pub const DAY_NS: i64 = 86_400 * SECOND_NS;

/// A duration such as `90s`, `15m`, `2h`, `3d` or `1w`, or several in one word, which add up (`1h30m`), in
/// nanoseconds.
#[must_use]
pub fn duration_ns(text: &str) -> Option<i64> {
    let (mut sum_ns, mut rest) = (0_i64, text);
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let next = behind.find(|letter: char| letter.is_ascii_digit());
        let (unit, behind) = behind.split_at(next.unwrap_or(behind.len()));
        let part_ns = unit_ns(unit)?.checked_mul(number.parse().ok()?)?;
        sum_ns = sum_ns.checked_add(part_ns)?;
        if behind.is_empty() {
            return Some(sum_ns);
        }
        rest = behind;
    }
}

/// A unit of time, in nanoseconds. A capital M is none: who writes it may mean months.
#[must_use]
pub fn unit_ns(unit: &str) -> Option<i64> {
    if unit == "M" {
        return None;
    }
    Some(match unit.to_ascii_lowercase().as_str() {
        "us" => SECOND_NS / 1_000_000,
        "ms" => SECOND_NS / 1000,
        "s" | "sec" | "second" | "seconds" => SECOND_NS,
        "m" | "min" | "minute" | "minutes" => 60 * SECOND_NS,
        "h" | "hour" | "hours" => 3600 * SECOND_NS,
        "d" | "day" | "days" => DAY_NS,
        "w" | "week" | "weeks" => 7 * DAY_NS,
        _ => return None,
    })
}

/// A time, in nanoseconds since 1970-01-01 UTC: `now`, `today`, `yesterday`, `14:30` (today), or a
/// date or one of these words, with or without a time of day and an offset (ISO 8601).
#[must_use]
pub fn instant_ns(text: &str, now_ns: i64) -> Option<i64> {
    let midnight_ns = now_ns.saturating_sub(now_ns.rem_euclid(DAY_NS));
    match text.to_ascii_lowercase().as_str() {
        "now" => return Some(now_ns),
        "today" => return Some(midnight_ns),
        "yesterday" => return midnight_ns.checked_sub(DAY_NS),
        _ => {}
    }
    if let Some(time_ns) = time_of_day_ns(text) {
        return midnight_ns.checked_add(time_ns);
    }
    if let Some((day, time)) = text.split_once(' ')
        && day.bytes().all(|letter| letter.is_ascii_alphabetic())
        // The present has a time of day already.
        && !day.eq_ignore_ascii_case("now")
    {
        return instant_ns(day, now_ns)?.checked_add(time_of_day_ns(time)?);
    }
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    let (time, offset_ns) = without_offset(time)?;
    let midnight = date_of(date)?.and_hms_opt(0, 0, 0)?.and_utc();
    let time_ns = if time.is_empty() {
        0
    } else {
        time_or_hour_ns(time)?
    };
    midnight
        .timestamp_nanos_opt()?
        .checked_add(time_ns)?
        .checked_sub(offset_ns)
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, with `-` or `/`.
fn date_of(text: &str) -> Option<NaiveDate> {
    let mut parts = text.split(['-', '/']);
    let year = parts.next().filter(|year| year.len() == 4)?;
    let month = parts.next().map_or(Some(1), number)?;
    let day = parts.next().map_or(Some(1), number)?;
    if parts.next().is_some() {
        return None;
    }
    NaiveDate::from_ymd_opt(i32::try_from(number(year)?).ok()?, month, day)
}

/// A time of day and the offset from UTC behind it.
fn without_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, 0));
    };
    let (time, offset) = text.split_at(at);
    if !offset.is_ascii() {
        return None;
    }
    let digits: String = offset[1..]
        .chars()
        .filter(|letter| *letter != ':')
        .collect();
    let offset_ns = match digits.len() {
        2 => number(&digits)? * 3600,
        4 => number(&digits[..2])? * 3600 + number(&digits[2..])? * 60,
        _ => return None,
    };
    let offset_ns = i64::from(offset_ns) * SECOND_NS;
    Some((
        time,
        if offset.starts_with('-') {
            -offset_ns
        } else {
            offset_ns
        },
    ))
}

/// `HH`, or a time of day.
fn time_or_hour_ns(text: &str) -> Option<i64> {
    if text.contains(':') {
        return time_of_day_ns(text);
    }
    let hour = number(text).filter(|hour| *hour < 24)?;
    Some(i64::from(hour) * 3600 * SECOND_NS)
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`, since midnight.
fn time_of_day_ns(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Option<Vec<u32>> = clock.split(':').map(number).collect();
    let parts = parts?;
    let (hour, minute, second) = match parts[..] {
        [hour, minute] if fraction.is_empty() => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let fraction_ns = match fraction {
        "" => 0,
        digits => number(&format!("{digits:0<9}"))?,
    };
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some(seconds * SECOND_NS + i64::from(fraction_ns))
}

/// A number of digits only.
fn number(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 05:00:00 UTC.
    const NOW_NS: i64 = 1_795_237_200 * SECOND_NS;
    const HOUR_NS: i64 = 3600 * SECOND_NS;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("15min", 900),
            ("2h", 7200),
            ("1w", 604_800),
            ("1h30m", 5400),
            ("1d2h3min4s", 93_784),
        ] {
            assert_eq!(duration_ns(text), Some(seconds * SECOND_NS), "{text}");
        }
        assert_eq!(duration_ns("20ms"), Some(20_000_000));
        for text in [
            "",
            "2",
            "h",
            "2 h",
            "-2h",
            "2y",
            "99999999999999999999h",
            "1h30",
            "1hm",
            "h30m",
            "15000w15000w",
            "9999999999w",
            "1M",
            "1h1M",
        ] {
            assert_eq!(duration_ns(text), None, "{text}");
        }
    }

    #[test]
    fn times_may_be_cut_short_and_carry_an_offset() {
        for (text, expected) in [
            ("now", NOW_NS),
            ("today", NOW_NS - 5 * HOUR_NS),
            ("Yesterday", NOW_NS - 29 * HOUR_NS),
            ("04:30", NOW_NS - HOUR_NS / 2),
            ("yesterday 05:00", NOW_NS - DAY_NS),
            ("2026-11-21", NOW_NS - 5 * HOUR_NS),
            ("2026/11/21", NOW_NS - 5 * HOUR_NS),
            ("2026-11-21T05", NOW_NS),
            ("2026-11-21T05:00Z", NOW_NS),
            ("2026-11-21 05:00:00", NOW_NS),
            ("2026-11-21T05:00:00.25", NOW_NS + SECOND_NS / 4),
            ("2026-11-21T06:00:00+01:00", NOW_NS),
            ("2026-11-21T00:30-0430", NOW_NS),
            ("1970", 0),
        ] {
            assert_eq!(instant_ns(text, NOW_NS), Some(expected), "{text}");
        }
        for text in [
            "",
            "26-11-21",
            "2026-13",
            "2026-02-30",
            "2026-11-21T24",
            "2026-11-21T05:60",
            "2026-11-21T05:00:00.1234567890",
            "2026-11-21T05:00+1",
            "9999-01-01",
            "T05:00",
            "+-+",
            "now 05:00",
            "5",
            "2026-11-21-01",
            "٢٠٢٦",
        ] {
            assert_eq!(instant_ns(text, NOW_NS), None, "{text}");
        }
    }
}
