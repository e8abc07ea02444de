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
    fn sizes_are_shown() {
        assert_eq!(display_octets(900), "900 octets");
        assert_eq!(display_octets(1536), "1.5 KiB");
        assert_eq!(display_octets(5 << 40), "5.0 TiB");
    }
}
