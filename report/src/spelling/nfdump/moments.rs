//! nfdump's ways to tell times, as conditions: names of files, and `-t`.

use crate::{filter::times, text};

/// The time in a name of nfcapd's files, `nfcapd.YYYYMMDDhhmm` with or without seconds.
///
/// # Errors
/// A sentence, if it tells none.
pub fn file_time(name: &str) -> Result<String, String> {
    let digits = name.strip_prefix("nfcapd.").unwrap_or(name);
    let is_time = matches!(digits.len(), 12 | 14) && digits.bytes().all(|it| it.is_ascii_digit());
    if !is_time {
        return Err(format!(
            "`{name}` tells no time as nfcapd.202611211400 does: say the directory, and the time in the filter (`from \
             14:00 to 15:00`)"
        ));
    }
    let part = |from: usize, to: usize| &digits[from..to];
    let seconds = digits.get(12..14).unwrap_or("00");
    Ok(format!(
        "{}-{}-{}T{}:{}:{seconds}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12)
    ))
}

/// What was received from the beginning of one file to the end of another. The names tell beginnings;
/// nfcapd's files are of five minutes, which the language has no sum for: the next five are named.
#[must_use]
pub fn span(first: &str, last: &str) -> String {
    format!(
        "received >= {first} and received < {}",
        five_minutes_on(last)
    )
}

fn five_minutes_on(time: &str) -> String {
    const FIVE_MINUTES_NS: i64 = 300_000_000_000;
    times::instant_ns(time, 0)
        .map(|ns| ns.saturating_add(FIVE_MINUTES_NS))
        .map_or_else(
            || time.to_owned(),
            |ns| text::time_to_second(ns).replace(' ', "T"),
        )
}

/// `-t YYYY/MM/dd.hh:mm:ss[-YYYY/MM/dd.hh:mm:ss]`: flows that lie in it as a whole.
///
/// # Errors
/// A sentence, if those are no times.
pub fn window(text: &str) -> Result<String, String> {
    let time = |text: &str| {
        let time = text.replace('/', "-").replacen('.', "T", 1);
        match times::instant_ns(&time, 0) {
            Some(_) if time.starts_with(|first: char| first.is_ascii_digit()) => Ok(time),
            _ => Err(format!(
                "-t takes times such as 2026/11/21.14:00:00-2026/11/21.15:00:00, not `{text}`: `last 10m` in the \
                 filter is the last ten minutes"
            )),
        }
    };
    Ok(match text.split_once('-') {
        Some((first, last)) => format!(
            "first seen >= {} and last seen <= {}",
            time(first)?,
            time(last)?
        ),
        None => format!("first seen >= {}", time(text)?),
    })
}
