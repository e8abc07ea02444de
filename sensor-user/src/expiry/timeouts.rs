//! After which times a flow is over: defaults, what `-t` says, and how often the table is swept by them.

use std::str::FromStr;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// A flow is looked at this often whatever the timeouts say: a slot counts packets in 32 bits, and
/// half of that come in this time only at 70 million a second.
const LOOK_NS_MAX: u64 = 30 * SECOND_NS;

/// Timeouts in nanoseconds; 0 means there is none, and the next rule of the cascade applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP flows, idle.
    pub tcp_ns: u64,
    /// TCP flows that saw RST, idle.
    pub tcp_rst_ns: u64,
    /// TCP flows that saw FIN, idle.
    pub tcp_fin_ns: u64,
    /// UDP flows, idle.
    pub udp_ns: u64,
    /// ICMP and ICMPv6 flows, idle.
    pub icmp_ns: u64,
    /// All others, idle; the last resort of those whose own timeout is 0.
    pub general_ns: u64,
    /// Flows that do not end: exported this long after their first packet, and begun anew.
    pub active_ns: u64,
    /// How often the table is swept, at least; 0 is softflowd's word for as soon as may be, here each second.
    pub sweep_ns: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_ns: 60 * SECOND_NS,
            tcp_rst_ns: 5 * SECOND_NS,
            tcp_fin_ns: 5 * SECOND_NS,
            udp_ns: 60 * SECOND_NS,
            icmp_ns: 60 * SECOND_NS,
            general_ns: 60 * SECOND_NS,
            active_ns: 300 * SECOND_NS,
            sweep_ns: SECOND_NS,
        }
    }
}

impl Timeouts {
    /// softflowd's defaults.
    #[must_use]
    pub const fn softflowd() -> Self {
        Self {
            tcp_ns: 3600 * SECOND_NS,
            tcp_rst_ns: 120 * SECOND_NS,
            tcp_fin_ns: 300 * SECOND_NS,
            udp_ns: 300 * SECOND_NS,
            icmp_ns: 300 * SECOND_NS,
            general_ns: 3600 * SECOND_NS,
            active_ns: 604_800 * SECOND_NS,
            sweep_ns: 60 * SECOND_NS,
        }
    }

    /// Those by which no flow is over for being idle: softflowd's for capture files, where it knows no time.
    #[must_use]
    pub const fn never_idle(self) -> Self {
        const NEVER: u64 = u64::MAX;
        Self {
            tcp_ns: NEVER,
            tcp_rst_ns: 0,
            tcp_fin_ns: 0,
            udp_ns: NEVER,
            icmp_ns: NEVER,
            general_ns: NEVER,
            ..self
        }
    }

    /// Sets what one `-t name=time` says.
    ///
    /// # Errors
    /// A sentence: no such name, no such time.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        const NAMES: &str = "tcp, tcp.rst, tcp.fin, udp, icmp, general, idle (all classes), active (or maxlife), expint";
        let (name, time) = setting
            .split_once('=')
            .ok_or_else(|| format!("`{setting}` is not name=time; names are {NAMES}"))?;
        let time_ns = Time::from_str(time)?.0;
        match name {
            "tcp" => self.tcp_ns = time_ns,
            "tcp.rst" => self.tcp_rst_ns = time_ns,
            "tcp.fin" => self.tcp_fin_ns = time_ns,
            "udp" => self.udp_ns = time_ns,
            "icmp" => self.icmp_ns = time_ns,
            "general" if time_ns == 0 => {
                return Err("general=0: the last resort cannot be switched off".to_owned());
            }
            "general" => self.general_ns = time_ns,
            "idle" if time_ns == 0 => {
                return Err("idle=0: idle flows would never be exported".to_owned());
            }
            "idle" => [self.tcp_ns, self.udp_ns, self.icmp_ns, self.general_ns] = [time_ns; 4],
            "active" | "maxlife" => self.active_ns = time_ns,
            "expint" => self.sweep_ns = time_ns,
            _ => return Err(format!("no timeout is called `{name}`; names are {NAMES}")),
        }
        Ok(())
    }

    /// Time between sweeps: often enough that no flow overstays by more than half its timeout.
    #[must_use]
    pub fn sweep_interval_ns(&self) -> u64 {
        const SHORTEST_NS: u64 = 1_000_000;
        let half_ns = self.shortest_ns() / 2;
        let sweep_ns = match self.sweep_ns {
            0 => SECOND_NS,
            sweep_ns => sweep_ns,
        };
        half_ns.min(sweep_ns).clamp(SHORTEST_NS, LOOK_NS_MAX)
    }

    /// The shortest of them: no flow is over sooner than this after a packet of it, nor after it
    /// was looked at and found to have longer.
    #[must_use]
    pub fn shortest_ns(&self) -> u64 {
        let timeouts = [
            self.tcp_ns,
            self.tcp_rst_ns,
            self.tcp_fin_ns,
            self.udp_ns,
            self.icmp_ns,
            self.general_ns,
            self.active_ns,
        ];
        let there = timeouts.into_iter().filter(|timeout_ns| *timeout_ns != 0);
        there.min().unwrap_or(0).min(LOOK_NS_MAX)
    }
}

/// A length of time as softflowd writes it: numbers with a unit (none or s, m, h, d, w, in either
/// case; `ms` besides), added up. `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no time: write 90, 1h30m or 500ms");
        let mut rest = text;
        let mut total_ns = 0u64;
        if rest.is_empty() {
            return Err(refuse());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
            let unit = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .map_or(rest.len(), |at| digits + at);
            let unit_ns = match rest[digits..unit].to_ascii_lowercase().as_str() {
                "" | "s" => SECOND_NS,
                "ms" => SECOND_NS / 1000,
                "m" => 60 * SECOND_NS,
                "h" => 3600 * SECOND_NS,
                "d" => 86_400 * SECOND_NS,
                "w" => 604_800 * SECOND_NS,
                _ => return Err(refuse()),
            };
            total_ns = number
                .checked_mul(unit_ns)
                .and_then(|ns| total_ns.checked_add(ns))
                .ok_or_else(refuse)?;
            rest = &rest[unit..];
        }
        Ok(Self(total_ns))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::expiry) fn timeouts(settings: &[&str]) -> Timeouts {
        let mut timeouts = Timeouts::default();
        for setting in settings {
            timeouts.set(setting).unwrap();
        }
        timeouts
    }

    #[test]
    fn times_add_up() {
        for (text, ms) in [
            ("90", 90_000),
            ("1h30m", 5_400_000),
            ("1H1s", 3_601_000),
            ("2w", 1_209_600_000),
            ("5ms", 5),
            ("1m5ms", 60_005),
        ] {
            assert_eq!(text.parse(), Ok(Time(ms * 1_000_000)), "{text}");
        }
        for text in ["", "x", "5y", "-1", "1..", "99999999999999w"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for setting in ["tcp", "tcp=", "ftp=3", "general=0", "idle=0"] {
            assert!(Timeouts::default().set(setting).is_err(), "{setting}");
        }
    }

    #[test]
    fn short_timeouts_are_swept_for_often() {
        assert_eq!(Timeouts::default().sweep_interval_ns(), SECOND_NS);
        assert_eq!(timeouts(&["idle=10ms"]).sweep_interval_ns(), 5_000_000);
        assert_eq!(timeouts(&["active=1ms"]).sweep_interval_ns(), 1_000_000);
        // It is told as it was said.
        let at_once = timeouts(&["expint=0"]);
        assert_eq!(
            (at_once.sweep_ns, at_once.sweep_interval_ns()),
            (0, SECOND_NS)
        );
    }
}
