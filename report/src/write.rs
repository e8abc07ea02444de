//! Numbers, times and addresses as text, appended to octets. Millions of lines a second are made of these, so
//! none has formatting machinery behind it, none allocates, and what differs in length from line to line is made
//! with few branches, which would be guessed wrong, and copied as a whole ([`put_first`]).

use std::{cell::Cell, net::Ipv6Addr, sync::LazyLock};

use chrono::{Datelike as _, NaiveDate};

use crate::names;

/// Letters of a protocol's name, at most.
const NAME_LETTERS_MAX: usize = 16;
/// Letters of a date and of the blank behind it.
const DATE_LETTERS: usize = 11;
/// Letters of a time, to the millisecond.
const TIME_LETTERS: usize = DATE_LETTERS + 12;
const DAY_MS: i64 = 86_400_000;
/// Eight times the letter 0.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
/// What an IPv4 address begins with among the 16 octets it is stored in.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// The two digits of each number below a hundred.
static PAIRS: [[u8; 2]; 100] = pairs();

/// The digits of each octet, and the dot behind them.
static DOTTED: [[u8; 4]; 256] = dotted();

/// Names of all protocols, as nfdump shows them: in capitals.
static PROTOCOLS: LazyLock<Vec<Name>> = LazyLock::new(|| (0..=u8::MAX).map(Name::of).collect());

struct Name {
    letters: [u8; NAME_LETTERS_MAX],
    count: usize,
}

impl Name {
    fn of(protocol: u8) -> Self {
        let name = names::protocol_name(protocol).to_ascii_uppercase();
        let mut letters = [0; NAME_LETTERS_MAX];
        for (letter, place) in name.bytes().zip(&mut letters) {
            *place = letter;
        }
        Self {
            letters,
            count: name.len().min(NAME_LETTERS_MAX),
        }
    }
}

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

const fn dotted() -> [[u8; 4]; 256] {
    let mut dotted = [[0; 4]; 256];
    let (mut hundreds, mut tens, mut ones, mut at) = (b'0', b'0', b'0', 0);
    while at < dotted.len() {
        dotted[at] = match (hundreds, tens) {
            (b'0', b'0') => [ones, b'.', 0, 0],
            (b'0', _) => [tens, ones, b'.', 0],
            _ => [hundreds, tens, ones, b'.'],
        };
        at += 1;
        ones += 1;
        if ones > b'9' {
            ones = b'0';
            tens += 1;
        }
        if tens > b'9' {
            tens = b'0';
            hundreds += 1;
        }
    }
    dotted
}

/// Appends the first so many of some letters. All are copied, and those behind them taken back: a copy whose length
/// is known here is a move or two, any other a call.
fn put_first<const N: usize>(line: &mut Vec<u8>, letters: &[u8; N], count: usize) {
    let end = line.len() + count;
    line.extend_from_slice(letters);
    line.truncate(end);
}

/// The digits of a number below a hundred.
fn pair(number: u64) -> [u8; 2] {
    PAIRS[usize::try_from(number % 100).unwrap_or(0)]
}

/// The eight digits of a number below 10^8, the first of them in the lowest octet. Numbers of four digits in lanes of
/// 32 bits become ones of two in 16, and these ones of one in 8; what is multiplied and cut is exactly a division by
/// 100, and by 10, of numbers that small.
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

/// Appends a number.
pub fn put(line: &mut Vec<u8>, number: u64) {
    const EIGHT_DIGITS: u64 = 100_000_000;
    if number >= EIGHT_DIGITS {
        put(line, number / EIGHT_DIGITS);
        let letters = eight_digits(number % EIGHT_DIGITS) | ZEROS;
        line.extend_from_slice(&letters.to_le_bytes());
        return;
    }
    let digits = eight_digits(number);
    // Zeros in front are left out; the last digit stands whatever it is.
    let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
    let letters = (digits | ZEROS) >> (8 * zeros);
    let count = usize::try_from(8 - zeros).unwrap_or(0);
    put_first(line, &letters.to_le_bytes(), count);
}

/// A point and the three digits of a number below a thousand.
fn thousandths(number: u64) -> [u8; 4] {
    let [tens, ones] = pair(number);
    [b'.', pair(number / 100)[1], tens, ones]
}

/// Appends thousandths as whole ones: milliseconds as seconds, microseconds as milliseconds.
pub fn put_thousandths(line: &mut Vec<u8>, number: u64) {
    put(line, number / 1000);
    line.extend_from_slice(&thousandths(number % 1000));
}

/// Writes times, and keeps the date of the last one: the next one mostly has the same.
#[derive(Debug)]
pub struct TimeWriter {
    /// Days since 1970-01-01, and that day's date with a blank behind it.
    last: Cell<(i64, [u8; DATE_LETTERS])>,
}

impl Default for TimeWriter {
    fn default() -> Self {
        Self {
            last: Cell::new((0, *b"1970-01-01 ")),
        }
    }
}

impl TimeWriter {
    /// Appends a time, UTC, to the millisecond.
    pub fn put(&self, line: &mut Vec<u8>, unix_ns: i64) {
        let ms = unix_ns.div_euclid(1_000_000);
        let date = self.date(ms.div_euclid(DAY_MS));
        let ms = ms.rem_euclid(DAY_MS).unsigned_abs();
        let [h0, h1] = pair(ms / 3_600_000);
        let [n0, n1] = pair(ms / 60_000 % 60);
        let [s0, s1] = pair(ms / 1000 % 60);
        let [point, t0, t1, t2] = thousandths(ms % 1000);
        let mut letters = [0; TIME_LETTERS];
        letters[..DATE_LETTERS].copy_from_slice(&date);
        letters[DATE_LETTERS..]
            .copy_from_slice(&[h0, h1, b':', n0, n1, b':', s0, s1, point, t0, t1, t2]);
        line.extend_from_slice(&letters);
    }

    /// Appends a time, UTC, to the nanosecond, as RFC 3339 has it.
    pub fn put_json(&self, line: &mut Vec<u8>, unix_ns: i64) {
        const LETTERS: usize = TIME_LETTERS - 4;
        let start = line.len();
        self.put(line, unix_ns);
        // All behind the second is written anew.
        line.truncate(start + LETTERS);
        line[start + DATE_LETTERS - 1] = b'T';
        let ns = unix_ns.rem_euclid(1_000_000_000).unsigned_abs();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = (eight_digits(ns / 10) | ZEROS).to_le_bytes();
        let [_, last] = pair(ns);
        line.extend_from_slice(&[b'.', t0, t1, t2, t3, t4, t5, t6, t7, last, b'Z']);
    }

    fn date(&self, day: i64) -> [u8; DATE_LETTERS] {
        let (last, date) = self.last.get();
        if last == day {
            return date;
        }
        let date = date_of(day);
        self.last.set((day, date));
        date
    }
}

/// A day's date, counted from 1970-01-01, and a blank.
fn date_of(day: i64) -> [u8; DATE_LETTERS] {
    /// 1970-01-01, counted from the year 1.
    const EPOCH_DAY: i64 = 719_163;
    let day = i32::try_from(day + EPOCH_DAY).unwrap_or(0);
    // Times of 64 bits are from 1677 to 2262.
    let date = NaiveDate::from_num_days_from_ce_opt(day).unwrap_or_default();
    let year = u64::from(date.year().unsigned_abs());
    let [y0, y1] = pair(year / 100);
    let [y2, y3] = pair(year);
    let [m0, m1] = pair(date.month().into());
    let [d0, d1] = pair(date.day().into());
    [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b' ']
}

/// Appends seconds since 1970-01-01 with milliseconds.
pub fn put_raw_time(line: &mut Vec<u8>, unix_ns: i64) {
    put_thousandths(line, u64::try_from(unix_ns / 1_000_000).unwrap_or(0));
}

/// Appends a protocol's name, or its number.
pub fn put_protocol(line: &mut Vec<u8>, protocol: u8) {
    let name = &PROTOCOLS[usize::from(protocol)];
    put_first(line, &name.letters, name.count);
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

/// Appends what an exporter or a file calls something: what would end a line or a field, move a terminal's cursor, or be
/// a spreadsheet's formula, is a dot.
pub fn put_word(line: &mut Vec<u8>, word: &[u8]) {
    let is_safe =
        |octet: u8| (octet.is_ascii_graphic() || octet == b' ') && !b",\"".contains(&octet);
    let octets = word.iter().copied();
    let start = line.len();
    line.extend(octets.map(|octet| if is_safe(octet) { octet } else { b'.' }));
    if word.len() > 1
        && let Some(first) = line.get_mut(start)
        && b"=+-@".contains(first)
    {
        *first = b'.';
    }
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

fn put_v4(line: &mut Vec<u8>, [o0, o1, o2, o3]: [u8; 4]) {
    let (letters, count) = two_dotted(o0, o1);
    put_first(line, &letters, count);
    let (letters, count) = two_dotted(o2, o3);
    // No dot is behind the last one.
    put_first(line, &letters, count - 1);
}

/// Two octets, each with the dot behind it, and how many letters these are.
fn two_dotted(first: u8, second: u8) -> ([u8; 8], usize) {
    let count = |octet: u8| 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
    let letters = |octet: u8| u64::from(u32::from_le_bytes(DOTTED[usize::from(octet)]));
    let both = letters(first) | (letters(second) << (8 * count(first)));
    (both.to_le_bytes(), count(first) + count(second))
}

fn put_v6(line: &mut Vec<u8>, words: [u16; 8]) {
    let (from, to) = longest_zeros(&words);
    put_words(line, &words[..from]);
    if from < to {
        line.extend_from_slice(b"::");
    }
    put_words(line, &words[to..]);
}

/// Appends words with colons between them.
fn put_words(line: &mut Vec<u8>, words: &[u16]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &word in words {
        let letters = [12u32, 8, 4, 0].map(|shift| DIGITS[usize::from(word >> shift & 0xf)]);
        // The last digit stands whatever it is.
        let zeros = (word | 1).leading_zeros() / 4;
        let digits = u64::from(u32::from_le_bytes(letters) >> (8 * zeros));
        let count = 4 - zeros;
        let letters = digits | (u64::from(b':') << (8 * count));
        let count = usize::try_from(count + 1).unwrap_or(0);
        put_first(line, &letters.to_le_bytes(), count);
    }
    if !words.is_empty() {
        line.pop();
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
        let many = (0..100_000)
            .step_by(7)
            .chain((0..100_000_000).step_by(9973));
        for number in around.chain(many).chain([u64::MAX - 1, u64::MAX]) {
            assert_eq!(written(|line| put(line, number)), number.to_string());
        }
        for (ms, expected) in [(0, "0.000"), (61_007, "61.007"), (99, "0.099")] {
            assert_eq!(written(|line| put_thousandths(line, ms)), expected);
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
        let times = TimeWriter::default();
        for ns in known.into_iter().chain(years) {
            // To the millisecond before, also before 1970.
            let cut = DateTime::from_timestamp_millis(ns.div_euclid(1_000_000)).unwrap();
            let expected = cut.format("%F %T%.3f").to_string();
            assert_eq!(written(|line| times.put(line, ns)), expected, "{ns}");
            let expected = DateTime::from_timestamp_nanos(ns).format("%FT%T%.9fZ");
            let json = written(|line| times.put_json(line, ns));
            assert_eq!(json, expected.to_string());
            let expected = cut.format("%F %T%.3f").to_string();
            // And again, of the day that is known.
            assert_eq!(written(|line| times.put(line, ns)), expected, "{ns}");
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
        // Octets of each value in each place.
        let octets =
            (0..=u8::MAX).map(|octet| [octet, !octet, octet.rotate_left(1), octet.wrapping_mul(3)]);
        addresses.extend(octets.map(|octets| Ipv4Addr::from(octets).to_ipv6_mapped()));
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
        for protocol in 0..=u8::MAX {
            let name = names::protocol_name(protocol).to_ascii_uppercase();
            assert_eq!(written(|line| put_protocol(line, protocol)), name);
        }
        let hostile = b"eth0,\x1b[2J\nx y";
        assert_eq!(written(|line| put_word(line, hostile)), "eth0..[2J.x y");
        for (word, shown) in [
            ("=cmd|'x'!A1", ".cmd|'x'!A1"),
            ("a=\"1\"", "a=.1."),
            ("-", "-"),
        ] {
            assert_eq!(written(|line| put_word(line, word.as_bytes())), shown);
        }
    }
}
