//! Flags that softflowd has and that are taken here, and why each changes nothing.

/// Flags that softflowd has and that cannot mean anything here.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct WithoutEffect {
    /// IPv6 is always metered (by the name softflowd, with -v 1 and 5, only with this)
    #[arg(
        short = '6',
        long,
        help_heading = "Without effect, for softflowd's users"
    )]
    pub track_ipv6: bool,

    /// Capture files always go by their packets' time
    #[arg(
        short = 'a',
        long,
        help_heading = "Without effect, for softflowd's users"
    )]
    pub packet_time: bool,

    /// There is no capture buffer: packets are metered where they arrive
    #[arg(
        short = 'B',
        long,
        value_name = "OCTETS",
        help_heading = "Without effect, for softflowd's users"
    )]
    pub pcap_buffer: Option<u64>,

    /// There is no snapshot length: headers are read as far as they go
    #[arg(
        short = 'C',
        long,
        value_name = "OCTETS",
        help_heading = "Without effect, for softflowd's users"
    )]
    pub snaplen: Option<u64>,

    /// Each CPU meters its own packets anyway
    #[arg(
        short = 'M',
        long,
        help_heading = "Without effect, for softflowd's users"
    )]
    pub threads: bool,

    /// The direction in records is the interface's own, received or sent
    #[arg(short = 'H', long, value_name = "MAC", value_parser = mac, help_heading = "Without effect, for softflowd's users")]
    pub direction_mac: Option<String>,

    /// Times are right across the wrap of sysUptime, which so need not be restarted
    #[arg(
        short = 'I',
        long,
        value_name = "TIME",
        help_heading = "Without effect, for softflowd's users"
    )]
    pub uptime_restart: Option<String>,
}

impl WithoutEffect {
    /// A sentence for each that is given; `read` if a capture file is metered.
    #[must_use]
    pub fn notes(&self, read: bool) -> Vec<String> {
        let given = [
            (self.track_ipv6, "-6", "IPv6 is metered anyway"),
            (
                self.packet_time && !read,
                "-a",
                "interfaces are metered by the clock, capture files by their packets' time",
            ),
            (
                self.pcap_buffer.is_some(),
                "-B",
                "packets are metered where they arrive, not buffered",
            ),
            (
                self.snaplen.is_some(),
                "-C",
                "headers are read as far as they go",
            ),
            (self.threads, "-M", "each CPU meters its own packets anyway"),
            (
                self.direction_mac.is_some(),
                "-H",
                "the direction in records is the interface's own, received or sent",
            ),
            (
                self.uptime_restart.is_some(),
                "-I",
                "times are right across the wrap of sysUptime",
            ),
        ];
        given
            .into_iter()
            .filter(|(given, _, _)| *given)
            .map(|(_, flag, why)| format!("{flag} is without effect: {why}"))
            .collect()
    }
}

/// Six octets in hexadecimal, with colons or hyphens between them.
///
/// # Errors
/// A sentence, if it is something else.
pub fn mac(text: &str) -> Result<String, String> {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let is_octet = |octet: &&str| {
        matches!(octet.len(), 1 | 2) && octet.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    if octets.len() == 6 && octets.iter().all(is_octet) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no MAC address: write 02:00:5e:10:00:01"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_have_six_octets() {
        for right in ["02:00:5e:10:00:01", "2-0-5E-10-0-1"] {
            assert_eq!(mac(right).as_deref(), Ok(right));
        }
        for wrong in ["", "02:00:5e:10:00", "02:00:5e:10:00:1g", "+2:0:0:0:0:1"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
