//! Times and sizes as people write them.

/// Seconds of a time: a number and `s`, `m`, `h`, `d` or `w`; without a letter, seconds.
///
/// # Errors
/// If it is none.
pub fn seconds(text: &str) -> Result<u64, String> {
    let units = [
        ("s", 1),
        ("m", 60),
        ("h", 3600),
        ("d", 86_400),
        ("w", 604_800),
    ];
    scaled(text, &units).ok_or_else(|| format!("`{text}` is no time: write 90, 12h or 30d"))
}

/// Milliseconds of a window's time: seconds, with up to three decimals.
///
/// # Errors
/// If it is none, or shorter than a tenth of a second or longer than a day.
pub fn window_ms(text: &str) -> Result<u64, String> {
    const DAY_MS: u64 = 86_400_000;
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| digits.bytes().all(|octet| octet.is_ascii_digit());
    let thousandths: Option<u64> = match decimals.len() {
        1..=3 if is_number(decimals) => format!("{decimals:0<3}").parse().ok(),
        _ => None,
    };
    let whole: Option<u64> = whole.parse().ok().filter(|_| is_number(whole));
    let time_ms = whole.and_then(|whole| whole.checked_mul(1000)?.checked_add(thousandths?));
    time_ms
        .filter(|time_ms| (100..=DAY_MS).contains(time_ms))
        .ok_or_else(|| format!("`{text}` is no time of a window: write seconds, from 0.1 to 86400"))
}

/// Octets of a size: a number and `K`, `M`, `G` or `T`, powers of 1024; without a letter, octets.
///
/// # Errors
/// If it is none.
pub fn octets(text: &str) -> Result<u64, String> {
    let units = [
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
        ("T", 1 << 40),
    ];
    scaled(text, &units).ok_or_else(|| format!("`{text}` is no size: write 500M, 20G or 2T"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
        .unwrap_or((text, 1));
    // `parse` takes a sign too.
    let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_number)?;
    number.checked_mul(scale)
}

/// Octets for people, of three digits about.
#[must_use]
pub fn display_octets(octets: u64) -> String {
    let units = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match units.iter().find(|(size, _)| octets >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", octets / size, octets % size * 10 / size),
        None => format!("{octets} octets"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("12h"), Ok(43_200));
        assert_eq!(seconds("30d"), Ok(2_592_000));
        assert_eq!(octets("2T"), Ok(2 << 40));
        assert_eq!(octets("512"), Ok(512));
        for wrong in [
            "",
            "d",
            "-1",
            "+1",
            "1.5h",
            "3 d",
            "99999999999999999999",
            "99999999999w0",
        ] {
            seconds(wrong).unwrap_err();
        }
        for wrong in ["", "G", "1g", "-5M", "99999999999T", "10%"] {
            octets(wrong).unwrap_err();
        }
    }

    #[test]
    fn times_of_windows_are_read() {
        for (text, time_ms) in [("300", 300_000), ("0.1", 100), ("0.6", 600), ("1.25", 1250)] {
            assert_eq!(window_ms(text), Ok(time_ms));
        }
        assert_eq!(window_ms("86400.000"), Ok(86_400_000));
        for wrong in [
            "",
            ".",
            ".5",
            "1.",
            "0",
            "0.09",
            "86400.001",
            "1.2345",
            "-1",
            "+1",
            "1.-5",
            "1e3",
            "5m",
        ] {
            window_ms(wrong).unwrap_err();
        }
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(display_octets(900), "900 octets");
        assert_eq!(display_octets(1536), "1.5 KiB");
        assert_eq!(display_octets(5 << 40), "5.0 TiB");
    }
}
