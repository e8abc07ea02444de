//! Which settings can change while the sensor meters, and which cannot.

use super::Settings;

impl Settings {
    /// The options that other settings have different and that a running sensor cannot take over, by their
    /// long names. What it can: timeouts and collectors.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "two for each setting")]
    pub fn fixed_changes(&self, other: &Self) -> Vec<&'static str> {
        // Whoever adds a setting decides about it here.
        let Self {
            style: _,
            check: _,
            notes: _,
            interfaces,
            read,
            psamp_port,
            filter,
            direction,
            xdp,
            tc,
            promiscuous,
            sampling,
            sampling_random,
            pin,
            detach,
            drop,
            drop_anyway,
            collectors: _,
            format,
            track_ipv6,
            export_options,
            timeouts: _,
            flows_per_cpu,
            track,
            tunnels,
            fields_asked,
            join_fragments,
            exact_clock,
            ring_octets,
            control,
            daemon,
            pidfile,
            debug,
            statistics_json,
            cpu_clocks,
            debug_log,
            metrics,
            seccomp,
        } = self;
        let compared = [
            ("interface", *interfaces == other.interfaces),
            ("read", *read == other.read),
            ("psamp-port", *psamp_port == other.psamp_port),
            ("filter", *filter == other.filter),
            ("direction", *direction == other.direction),
            ("xdp", *xdp == other.xdp),
            ("tc", *tc == other.tc),
            ("no-promiscuous", *promiscuous == other.promiscuous),
            ("sampling", *sampling == other.sampling),
            ("sampling-random", *sampling_random == other.sampling_random),
            ("pin", *pin == other.pin),
            ("detach", *detach == other.detach),
            ("drop", *drop == other.drop),
            ("drop-anyway", *drop_anyway == other.drop_anyway),
            ("netflow-version", *format == other.format),
            ("track-ipv6", *track_ipv6 == other.track_ipv6),
            (
                "transport and its like",
                *export_options == other.export_options,
            ),
            ("max-flows", *flows_per_cpu == other.flows_per_cpu),
            ("track", *track == other.track),
            ("tunnels", *tunnels == other.tunnels),
            ("fields", *fields_asked == other.fields_asked),
            ("fragments", *join_fragments == other.join_fragments),
            ("exact-clock", *exact_clock == other.exact_clock),
            ("ring", *ring_octets == other.ring_octets),
            ("control", *control == other.control),
            ("daemon", *daemon == other.daemon),
            ("pidfile", *pidfile == other.pidfile),
            ("debug", *debug == other.debug),
            ("statistics-json", *statistics_json == other.statistics_json),
            ("cpu-clocks", *cpu_clocks == other.cpu_clocks),
            ("debug-log", *debug_log == other.debug_log),
            ("metrics", *metrics == other.metrics),
            ("no-seccomp", *seccomp == other.seccomp),
        ];
        let different = compared.into_iter().filter(|(_, is_same)| !is_same);
        different.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Settings, parse};

    fn settings(line: &str) -> Settings {
        let words = format!("weir-sensor {line}");
        let words: Vec<OsString> = words.split_whitespace().map(Into::into).collect();
        match parse(words) {
            Ok(settings) => settings,
            Err(refusal) => panic!("{line}: {}", refusal.sentence()),
        }
    }

    #[test]
    fn timeouts_and_collectors_may_change_and_the_rest_is_named() {
        let before = settings("-i eth0 -n a:1 -t idle=5");
        let may = settings("-i eth0 -n b:2,c:3 -t active=9 -t expint=3");
        assert!(before.fixed_changes(&may).is_empty());
        let other = settings("-i eth1 -n a:1 -m 1000 -T vlan -s 10");
        let named = ["interface", "sampling", "max-flows", "track"];
        assert_eq!(before.fixed_changes(&other), named);
    }
}
