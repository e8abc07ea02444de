//! The items of primitives, as the filter language has them. What is none is refused in a sentence.

use std::net::IpAddr;

use crate::filter::times;

/// An address.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address"))
}

/// A number of eight bits, decimal or hexadecimal.
pub fn octet(text: &str) -> Result<u8, String> {
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => lower.parse(),
    };
    number.map_err(|_| format!("a number up to 255 fits here, not `{text}`"))
}

/// A number, a name of one, or a range of both.
pub fn number_or_range(
    text: &str,
    most: u64,
    named: impl Fn(&str) -> Option<u64>,
) -> Result<String, String> {
    let number = |text: &str| {
        let number = text.parse().ok().or_else(|| named(text));
        number
            .filter(|number| *number <= most)
            .ok_or_else(|| format!("`{text}` is neither a name nor a number up to {most}"))
    };
    match text.split_once('-') {
        Some((first, last)) if first.bytes().all(|digit| digit.is_ascii_digit()) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(format!(
                    "{first}-{last} is no range: the lower number stands first"
                ));
            }
            Ok(format!("{first}-{last}"))
        }
        _ => number(text).map(|number| number.to_string()),
    }
}

/// `10/8`, `10.1/16`, `10.0.0.1`: what is left out at the end is zero.
pub fn prefix(text: &str) -> Result<String, String> {
    let (network, length) = match text.split_once('/') {
        Some((network, length)) => (network, Some(length)),
        None => (text, None),
    };
    let mut whole = network.to_owned();
    if !network.contains(':') {
        for _ in network.split('.').count()..4 {
            whole.push_str(".0");
        }
    }
    let found = address(&whole)?;
    let most = if found.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => most,
        Some(length) => length
            .parse::<u8>()
            .ok()
            .filter(|length| *length <= most)
            .ok_or_else(|| format!("a length up to {most} fits behind `{network}/`"))?,
    };
    Ok(format!("{found}/{length}"))
}

/// A network's prefix length.
#[must_use]
pub fn length_of(network: &str) -> u8 {
    let length = network.rsplit('/').next().unwrap_or_default();
    length.parse().unwrap_or(0)
}

/// `10.0.0.0 255.0.0.0`.
pub fn address_and_mask(text: &str) -> Result<String, String> {
    let (network, mask) = text
        .split_once(' ')
        .ok_or_else(|| "an address and a mask fit here".to_owned())?;
    let mask = u32::from(
        mask.parse::<std::net::Ipv4Addr>()
            .map_err(|_| format!("`{mask}` is no mask"))?,
    );
    if mask.leading_ones() + mask.trailing_zeros() < u32::BITS {
        return Err("a mask with gaps is no prefix: write its networks one by one".to_owned());
    }
    Ok(format!("{}/{}", address(network)?, mask.leading_ones()))
}

/// `gt 100`.
pub fn comparison(text: &str) -> Result<String, String> {
    let wrong = || format!("a comparison such as `gt 100` fits here, not `{text}`");
    let (sign, number) = text.split_once(' ').ok_or_else(wrong)?;
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    Ok(format!("{} {number}", sign_of(sign).ok_or_else(wrong)?))
}

fn sign_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "lt" => "<",
        "le" => "<=",
        "gt" => ">",
        "ge" => ">=",
        "eq" => "=",
        "ne" => "!=",
        _ => return None,
    })
}

/// `ge 2026-11-21 14:00:00`.
pub fn date(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "a comparison with a time such as `ge 2026-11-21 14:00:00` (UTC) fits here, not `{text}`"
        )
    };
    let (sign, time) = text.split_once(' ').ok_or_else(wrong)?;
    let time = time.trim().replacen(' ', "T", 1);
    let starts = time.starts_with(|first: char| first.is_ascii_digit());
    times::instant_ns(&time, 0)
        .filter(|_| starts)
        .ok_or_else(wrong)?;
    Ok(format!("{} {time}", sign_of(sign).ok_or_else(wrong)?))
}

/// ToS octets that are this one where the mask has bits, as ranges.
#[must_use]
pub fn octets_like(value: &str, mask: u8) -> String {
    let value: u8 = value.parse().unwrap_or(0);
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for octet in (0..=u8::MAX).filter(|octet| octet & mask == value & mask) {
        match ranges.last_mut() {
            Some((_, last)) if octet.checked_sub(1) == Some(*last) => *last = octet,
            _ => ranges.push((octet, octet)),
        }
    }
    let each = ranges
        .into_iter()
        .map(|(first, last)| format!("{first}-{last}"));
    each.collect::<Vec<_>>().join(" ")
}

/// TCP flags that are these where the mask has bits.
#[must_use]
pub fn flags(value: &str, mask: u8) -> String {
    let value: u8 = value.parse().unwrap_or(0);
    if mask == u8::MAX {
        return format!("flags = {value}");
    }
    // One letter at a time, which means the same behind `not`.
    let bits = "FSRPAUEC".chars().enumerate();
    let bits = bits.filter(|(bit, _)| mask >> bit & 1 == 1);
    let each = bits.map(|(bit, letter)| {
        if value >> bit & 1 == 1 {
            format!("flags {letter}")
        } else {
            format!("not flags {letter}")
        }
    });
    ["tcp".to_owned()]
        .into_iter()
        .chain(each)
        .collect::<Vec<_>>()
        .join(" and ")
}
