//! The log's limits: an exporter that sends garbage for days is told of once an hour, and a million of
//! them fill no disk. What was left out is said with the next line.

use std::net::Ipv6Addr;

use crate::lru::Lru;

/// What lines are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing of a datagram could be used.
    Refused,
    /// An exporter began anew.
    Restarted,
    /// Many units are missing.
    Gap,
    /// Something about a TCP connection.
    Stream,
    /// The collector's own troubles.
    Own,
}

/// The same is said again after this time.
const AGAIN_NS: u64 = 3_600_000_000_000;
/// Lines at once, and how often there may be one more.
const LINES_MAX: u64 = 20;
const LINE_NS: u64 = 10_000_000_000;
/// Exporters and kinds remembered.
const SAID_MAX: usize = 1024;

/// What may be said.
#[derive(Debug)]
pub struct Talk {
    said: Lru<(Ipv6Addr, Kind), u64>,
    lines: u64,
    counted_ns: u64,
    left_out: u64,
}

impl Default for Talk {
    fn default() -> Self {
        Self {
            said: Lru::new(SAID_MAX),
            lines: LINES_MAX,
            counted_ns: 0,
            left_out: 0,
        }
    }
}

impl Talk {
    /// Whether a line may be said now (nanoseconds since 1970-01-01 UTC); if so, how many were left out
    /// since the last.
    pub fn may_say(&mut self, exporter: Ipv6Addr, kind: Kind, now_ns: u64) -> Option<u64> {
        let more = now_ns.saturating_sub(self.counted_ns) / LINE_NS;
        // A clock that was set back begins to count there.
        if more > 0 || now_ns < self.counted_ns {
            self.lines = self.lines.saturating_add(more).min(LINES_MAX);
            self.counted_ns = now_ns;
        }
        let (said_ns, _) = self.said.get_or_insert_with((exporter, kind), || 0);
        let is_again = *said_ns > 0 && now_ns.abs_diff(*said_ns) < AGAIN_NS;
        if is_again || self.lines == 0 {
            self.left_out += 1;
            return None;
        }
        *said_ns = now_ns;
        self.lines -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// What is put after a line, if lines were left out before it.
#[must_use]
pub fn left_out(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => " (another line was left out)".to_owned(),
        count => format!(" ({count} lines were left out)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: u64 = 1_700_000_000_000_000_000;
    const SECOND_NS: u64 = 1_000_000_000;

    fn address(number: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from(number))
    }

    #[test]
    fn c20_garbage_for_days_is_told_of_once_an_hour() {
        let mut talk = Talk::default();
        let mut lines = 0;
        for second in 0..3 * 86_400 {
            for _ in 0..10 {
                let now_ns = NOW_NS + second * SECOND_NS;
                lines += u64::from(talk.may_say(address(1), Kind::Refused, now_ns).is_some());
            }
        }
        assert_eq!(lines, 72);
        // Something else, and somebody else, is told at once.
        let now_ns = NOW_NS + 3 * 86_400 * SECOND_NS - SECOND_NS;
        assert!(talk.may_say(address(1), Kind::Restarted, now_ns).is_some());
        let left_out = talk.may_say(address(2), Kind::Refused, now_ns);
        assert_eq!(left_out, Some(0));
    }

    #[test]
    fn c11_a_million_strangers_get_few_lines() {
        let mut talk = Talk::default();
        let (mut lines, mut told) = (0, 0);
        for number in 0..1_000_000u32 {
            // A hundred seconds in all.
            let now_ns = NOW_NS + u64::from(number) * 100_000;
            if let Some(left_out) = talk.may_say(address(number), Kind::Refused, now_ns) {
                lines += 1;
                told += 1 + left_out;
            }
        }
        assert!((20..=31).contains(&lines), "{lines}");
        assert!(told > 800_000, "{told}");
    }

    #[test]
    fn a_clock_set_back_does_not_silence_it() {
        let mut talk = Talk::default();
        for number in 0..40 {
            talk.may_say(address(number), Kind::Own, NOW_NS);
        }
        let before_ns = NOW_NS - 7200 * SECOND_NS;
        assert_eq!(talk.may_say(address(99), Kind::Own, before_ns), None);
        let later_ns = before_ns + 10 * SECOND_NS;
        assert_eq!(talk.may_say(address(99), Kind::Own, later_ns), Some(21));
    }
}
