//! Times, protocols and addresses as the control socket's answers have them.

use std::{fmt::Write as _, fs, net::Ipv6Addr};

use weir_netflow::record::display_address;

const SECOND_NS: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;

/// A time as `YYYY-MM-DDTHH:MM:SS`, UTC.
#[must_use]
pub fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / SECOND_NS;
    let (year, month, day) = date(seconds / DAY_S);
    let second = seconds % DAY_S;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}",
        second % 60
    )
}

/// The same with milliseconds.
#[must_use]
pub fn utc_ms(unix_ns: u64) -> String {
    format!("{}.{:03}", utc(unix_ns), unix_ns % SECOND_NS / 1_000_000)
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the day that comes and goes is a year's last, and the months
/// before it have a rhythm of 153 days in five. A cycle of the calendar is 400 years, 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE_DAYS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (cycle, day) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, january_or_february) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * cycle + year + january_or_february, month, day)
}

/// A duration in seconds, without more digits than it has: `60`, `0.5`.
#[must_use]
pub fn seconds(ns: u64) -> String {
    let mut text = (ns / SECOND_NS).to_string();
    let fraction = ns % SECOND_NS;
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text
}

/// The names of protocols, from the system's database, as far as it has them.
#[derive(Clone, Debug, Default)]
pub struct Protocols(Vec<(u8, String)>);

impl Protocols {
    /// Reads the database (protocols(5)); without one no protocol has a name.
    #[must_use]
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/protocols").unwrap_or_default())
    }

    pub(super) fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let name = words.next()?;
            Some((words.next()?.parse().ok()?, name.to_owned()))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    /// A protocol's name, or `Unknown`.
    #[must_use]
    pub fn name(&self, number: u8) -> &str {
        let entry = self.0.iter().find(|(known, _)| *known == number);
        entry.map_or("Unknown", |(_, name)| name)
    }
}

/// An address as people write it.
#[must_use]
pub fn address(octets: [u8; 16]) -> String {
    display_address(Ipv6Addr::from(octets)).to_string()
}

/// The same with a port; IPv6 in brackets.
#[must_use]
pub fn endpoint(octets: [u8; 16], port: u16) -> String {
    std::net::SocketAddr::new(display_address(Ipv6Addr::from(octets)), port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_700_000_000, "2023-11-14T22:13:20"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (4_294_967_296, "2106-02-07T06:28:16"),
        ] {
            assert_eq!(utc(unix_s * SECOND_NS), text);
        }
        assert_eq!(utc_ms(1_999_999_999), "1970-01-01T00:00:01.999");
    }

    #[test]
    fn seconds_have_no_more_digits_than_they_need() {
        for (ns, text) in [
            (0, "0"),
            (60_000_000_000, "60"),
            (500_000_000, "0.5"),
            (1, "0.000000001"),
        ] {
            assert_eq!(seconds(ns), text);
        }
    }

    #[test]
    fn protocols_have_the_systems_names() {
        let protocols = Protocols::parse("# names\nip\t0\tIP\nicmp 1 ICMP # all\n\ntcp 6\nodd x\n");
        assert_eq!((protocols.name(6), protocols.name(1)), ("tcp", "icmp"));
        assert_eq!(protocols.name(253), "Unknown");
    }

    #[test]
    fn addresses_are_written_as_usual() {
        let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1];
        assert_eq!(address(v4), "192.0.2.1");
        assert_eq!(endpoint(v4, 53), "192.0.2.1:53");
        let mut v6 = [0; 16];
        (v6[0], v6[1], v6[15]) = (0xfe, 0x80, 1);
        assert_eq!(endpoint(v6, 53), "[fe80::1]:53");
    }
}
