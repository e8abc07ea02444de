//! Values at the end of a line, without formatting machinery.

use std::{fmt::Write as _, net::Ipv6Addr};

use arrow::array::{Array as _, FixedSizeBinaryArray};
use chrono::{DateTime, Datelike as _, Timelike as _};
use weir_netflow::record::display_address;

use crate::names;

/// Appends an address; zeros if it is not known, as nfdump does.
pub fn put_known(line: &mut String, addresses: &FixedSizeBinaryArray, row: usize) {
    if addresses.is_null(row) {
        line.push_str("0.0.0.0");
    } else {
        put_address(line, addresses.value(row));
    }
}

/// Appends a number.
pub fn put(line: &mut String, number: u64) {
    // Twenty digits hold any number of 64 bits.
    let (mut digits, mut at, mut left) = ([b'0'; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends a number with at least so many digits.
fn put_digits(line: &mut String, number: u64, digits: usize) {
    let start = line.len();
    put(line, number);
    for _ in line.len() - start..digits {
        line.insert(start, '0');
    }
}

/// Appends UTC, to the millisecond.
pub fn put_time(line: &mut String, unix_ns: i64) {
    let time = DateTime::from_timestamp_nanos(unix_ns);
    put_digits(line, u64::try_from(time.year()).unwrap_or(0), 4);
    for (mark, number) in [
        ('-', time.month()),
        ('-', time.day()),
        (' ', time.hour()),
        (':', time.minute()),
        (':', time.second()),
    ] {
        line.push(mark);
        put_digits(line, number.into(), 2);
    }
    line.push('.');
    put_digits(line, time.timestamp_subsec_millis().into(), 3);
}

/// Appends seconds since 1970-01-01 with milliseconds.
pub fn put_raw_time(line: &mut String, unix_ns: i64) {
    let ms = u64::try_from(unix_ns / 1_000_000).unwrap_or(0);
    put(line, ms / 1000);
    line.push('.');
    put_digits(line, ms % 1000, 3);
}

/// Appends a protocol's name, in capitals.
pub fn put_protocol(line: &mut String, protocol: u8) {
    let start = line.len();
    line.push_str(&names::protocol_name(protocol));
    line[start..].make_ascii_uppercase();
}

/// Whether an address is of IPv4.
#[must_use]
pub fn is_mapped(octets: &[u8]) -> bool {
    octets.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

/// Appends an address.
pub fn put_address(line: &mut String, octets: &[u8]) {
    if let Some([a, b, c, d]) = octets.get(12..).filter(|_| is_mapped(octets)) {
        put(line, (*a).into());
        for octet in [b, c, d] {
            line.push('.');
            put(line, (*octet).into());
        }
    } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
        // Writing to a string does not fail.
        let _ = write!(line, "{}", display_address(Ipv6Addr::from(octets)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_numbers_and_addresses_are_written_as_elsewhere() {
        let written = |write: &dyn Fn(&mut String)| {
            let mut line = String::new();
            write(&mut line);
            line
        };
        for ns in [0, 1, 1_700_000_000_123_456_789, 951_782_400_000_000_000] {
            let expected = DateTime::from_timestamp_nanos(ns).format("%F %T%.3f");
            assert_eq!(written(&|line| put_time(line, ns)), expected.to_string());
        }
        for number in [0, 7, 10, 999, 18_446_744_073_709_551_615] {
            assert_eq!(written(&|line| put(line, number)), number.to_string());
        }
        for address in ["0.0.0.0", "192.0.2.255", "2001:db8::1", "::", "::1"] {
            let octets = match address.parse().unwrap() {
                std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                std::net::IpAddr::V6(address) => address.octets(),
            };
            assert_eq!(written(&|line| put_address(line, &octets)), address);
        }
        assert_eq!(
            written(&|line| put_raw_time(line, 1_700_000_000_007_999_999)),
            "1700000000.007"
        );
        assert_eq!(written(&|line| put_protocol(line, 6)), "TCP");
    }
}
