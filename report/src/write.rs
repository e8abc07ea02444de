//! Numbers, times and addresses as text, appended to octets. Millions of lines a second are made of these, so
//! none has formatting machinery behind it, and none allocates.

use std::{net::Ipv6Addr, sync::LazyLock};

use chrono::{Datelike as _, NaiveDate};

use crate::names;

/// Digits that hold any number of 64 bits.
const DIGITS_MAX: usize = 20;
/// Letters of an IPv4 address, at most.
const V4_LETTERS_MAX: usize = 15;
/// What an IPv4 address begins with among the 16 octets it is stored in.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// The two digits of each number below a hundred.
static PAIRS: [[u8; 2]; 100] = pairs();

/// Names of all protocols, as nfdump shows them: in capitals.
static PROTOCOLS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = (0..=u8::MAX).map(names::protocol_name);
    names.map(|name| name.to_ascii_uppercase()).collect()
});

const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut tens, mut at) = (b'0', 0);
    while at < pairs.len() {
        let mut ones = b'0';
        while ones <= b'9' {
            pairs[at] = [tens, ones];
            ones += 1;
            at += 1;
        }
        tens += 1;
    }
    pairs
}

/// The digits of a number below a hundred.
fn pair(number: u64) -> [u8; 2] {
    PAIRS[usize::try_from(number % 100).unwrap_or(0)]
}

/// Appends a number.
pub fn put(line: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut left) = ([b'0'; DIGITS_MAX], DIGITS_MAX, number);
    while left >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair(left));
        left /= 100;
    }
    let [tens, ones] = pair(left);
    at -= 1;
    digits[at] = ones;
    if left >= 10 {
        at -= 1;
        digits[at] = tens;
    }
    line.extend_from_slice(&digits[at..]);
}

/// Appends the three digits of a number below a thousand.
fn put_thousandths(line: &mut Vec<u8>, number: u64) {
    let [tens, ones] = pair(number);
    line.extend_from_slice(&[pair(number / 100)[1], tens, ones]);
}

/// Appends milliseconds as seconds.
pub fn put_seconds(line: &mut Vec<u8>, ms: u64) {
    put(line, ms / 1000);
    line.push(b'.');
    put_thousandths(line, ms % 1000);
}

/// Appends a time, UTC, to the millisecond.
pub fn put_time(line: &mut Vec<u8>, unix_ns: i64) {
    /// 1970-01-01, counted from the year 1.
    const EPOCH_DAY: i64 = 719_163;
    const DAY_MS: i64 = 86_400_000;
    let ms = unix_ns.div_euclid(1_000_000);
    let day = i32::try_from(ms.div_euclid(DAY_MS) + EPOCH_DAY).unwrap_or(0);
    // Times of 64 bits are from 1677 to 2262.
    let date = NaiveDate::from_num_days_from_ce_opt(day).unwrap_or_default();
    let year = u64::from(date.year().unsigned_abs());
    let [y0, y1] = pair(year / 100);
    let [y2, y3] = pair(year);
    let [m0, m1] = pair(date.month().into());
    let [d0, d1] = pair(date.day().into());
    let ms = ms.rem_euclid(DAY_MS).unsigned_abs();
    let [h0, h1] = pair(ms / 3_600_000);
    let [n0, n1] = pair(ms / 60_000 % 60);
    let [s0, s1] = pair(ms / 1000 % 60);
    line.extend_from_slice(&[
        y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b' ', h0, h1, b':', n0, n1, b':', s0, s1, b'.',
    ]);
    put_thousandths(line, ms % 1000);
}

/// Appends seconds since 1970-01-01 with milliseconds.
pub fn put_raw_time(line: &mut Vec<u8>, unix_ns: i64) {
    put_seconds(line, u64::try_from(unix_ns / 1_000_000).unwrap_or(0));
}

/// Appends a protocol's name, or its number.
pub fn put_protocol(line: &mut Vec<u8>, protocol: u8) {
    line.extend_from_slice(PROTOCOLS[usize::from(protocol)].as_bytes());
}

/// Appends TCP flags as letters, dots where they are not set.
pub fn put_flags(line: &mut Vec<u8>, flags: u16) {
    let mut letters = *b"CEUAPRSF";
    for (place, letter) in letters.iter_mut().enumerate() {
        if flags >> (7 - place) & 1 == 0 {
            *letter = b'.';
        }
    }
    line.extend_from_slice(&letters);
}

/// Appends what an exporter or a file calls something: what would end a line or a field, or move a terminal's
/// cursor, is a dot.
pub fn put_word(line: &mut Vec<u8>, word: &[u8]) {
    let is_safe = |octet: u8| (octet.is_ascii_graphic() || octet == b' ') && octet != b',';
    let octets = word.iter().copied();
    line.extend(octets.map(|octet| if is_safe(octet) { octet } else { b'.' }));
}

/// Whether an address of 16 octets is one of IPv4.
#[must_use]
pub fn is_v4(address: &[u8]) -> bool {
    address.starts_with(&MAPPED)
}

/// Appends an address of 16 octets as people write it (RFC 5952); others are left out.
pub fn put_address(line: &mut Vec<u8>, address: &[u8]) {
    let Ok(octets) = <[u8; 16]>::try_from(address) else {
        return;
    };
    if is_v4(&octets) {
        put_v4(line, [octets[12], octets[13], octets[14], octets[15]]);
    } else {
        put_v6(line, Ipv6Addr::from(octets).segments());
    }
}

fn put_v4(line: &mut Vec<u8>, octets: [u8; 4]) {
    let (mut letters, mut at) = ([b'.'; V4_LETTERS_MAX + 1], 0);
    for octet in octets {
        let [tens, ones] = pair(octet.into());
        if octet >= 100 {
            letters[at] = b'0' + octet / 100;
            at += 1;
        }
        if octet >= 10 {
            letters[at] = tens;
            at += 1;
        }
        letters[at] = ones;
        // The dot is there already.
        at += 2;
    }
    line.extend_from_slice(&letters[..at - 1]);
}

fn put_v6(line: &mut Vec<u8>, words: [u16; 8]) {
    let (from, to) = longest_zeros(&words);
    for (at, word) in words.into_iter().enumerate() {
        if (from..to).contains(&at) {
            if at == from {
                line.extend_from_slice(b"::");
            }
            continue;
        }
        // Behind the zeros there are colons already.
        if at > 0 && at != to {
            line.push(b':');
        }
        put_hexadecimal(line, word);
    }
}

/// The first of the longest runs of zeros, from and to before which word; none if it is of one word only.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let (mut longest, mut from) = ((0, 0), 0);
    for (at, word) in words.iter().enumerate() {
        if *word != 0 {
            from = at + 1;
        } else if at + 1 - from > longest.1 - longest.0 {
            longest = (from, at + 1);
        }
    }
    if longest.1 - longest.0 > 1 {
        longest
    } else {
        (0, 0)
    }
}

fn put_hexadecimal(line: &mut Vec<u8>, word: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (4 - word.leading_zeros() / 4).max(1);
    for place in (0..digits).rev() {
        line.push(DIGITS[usize::from(word >> (4 * place) & 0xf)]);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use chrono::DateTime;
    use weir_tests::traffic::Random;

    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn numbers_are_written_as_elsewhere() {
        let powers = (0..=19).map(|power| 10u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in around.chain([7, 42, 12_345, u64::MAX - 1, u64::MAX]) {
            assert_eq!(written(|line| put(line, number)), number.to_string());
        }
        for (ms, expected) in [(0, "0.000"), (61_007, "61.007"), (99, "0.099")] {
            assert_eq!(written(|line| put_seconds(line, ms)), expected);
        }
    }

    #[test]
    fn times_are_written_as_elsewhere() {
        let mut random = Random::new(7);
        let years = (0..500).map(|_| i64::from_le_bytes(random.below(u64::MAX).to_le_bytes()));
        let known = [
            0,
            1,
            -1,
            1_700_000_000_123_456_789,
            951_782_400_000_000_000,
            i64::MIN,
            i64::MAX,
        ];
        for ns in known.into_iter().chain(years) {
            // To the millisecond before, also before 1970.
            let cut = DateTime::from_timestamp_millis(ns.div_euclid(1_000_000)).unwrap();
            let expected = cut.format("%F %T%.3f").to_string();
            assert_eq!(written(|line| put_time(line, ns)), expected, "{ns}");
        }
        let raw = written(|line| put_raw_time(line, 1_700_000_000_007_999_999));
        assert_eq!(raw, "1700000000.007");
    }

    #[test]
    fn addresses_are_written_as_elsewhere() {
        let mut random = Random::new(8);
        let mut addresses: Vec<Ipv6Addr> = ["::", "::1", "2001:db8::1", "1::", "fe80::1:0:0:1"]
            .map(|text| text.parse().unwrap())
            .into();
        for _ in 0..2000 {
            // Many words of zeros, so that there are runs of them, and words of each length.
            let words = [(); 8].map(|()| match random.below(6) {
                0..4 => 0,
                4 => u16::try_from(random.below(300)).unwrap(),
                _ => u16::try_from(random.below(65_536)).unwrap(),
            });
            addresses.push(Ipv6Addr::from(words));
            let bits = u32::try_from(random.below(1 << 32)).unwrap();
            addresses.push(Ipv4Addr::from_bits(bits).to_ipv6_mapped());
        }
        for address in addresses {
            let expected = address
                .to_ipv4_mapped()
                .map_or(IpAddr::V6(address), IpAddr::V4);
            let shown = written(|line| put_address(line, &address.octets()));
            assert_eq!(shown, expected.to_string());
        }
        assert_eq!(written(|line| put_address(line, &[1, 2, 3])), "");
    }

    #[test]
    fn words_flags_and_protocols() {
        assert_eq!(written(|line| put_flags(line, 0x12)), "...A..S.");
        assert_eq!(written(|line| put_flags(line, 0xff)), "CEUAPRSF");
        assert_eq!(written(|line| put_protocol(line, 6)), "TCP");
        assert_eq!(written(|line| put_protocol(line, 253)), "253");
        let hostile = b"eth0,\x1b[2J\nx y";
        assert_eq!(written(|line| put_word(line, hostile)), "eth0..[2J.x y");
    }
}
