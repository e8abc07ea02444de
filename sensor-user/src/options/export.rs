//! How records leave, as the command line says it and the export thread takes it.

use std::net::IpAddr;

use clap::ValueEnum;
use weir_exporter::{Version, Way, batch::BatchOptions};
use weir_netflow::{
    Layout, Sampling,
    layout::{Softflowd, Times},
};
use weir_sensor_common::Fields;

use super::{
    Settings, Style,
    values::{Format, Track},
};
use crate::{export::How, interface, pair::Pairing, record};

/// Octets of a datagram of softflowd's, at most.
const SOFTFLOWD_OCTETS_MAX: usize = 1428;

/// `-P`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// UDP
    #[default]
    Udp,
    /// TCP
    Tcp,
    /// SCTP (refused: TCP is as reliable)
    Sctp,
}

/// `-A`: the unit of absolute times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Seconds
    Sec,
    /// Milliseconds
    Milli,
    /// Microseconds
    Micro,
    /// Nanoseconds
    Nano,
}

/// How records are to leave, beyond format and collectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ExportOptions {
    /// Transport of the datagrams; over TCP a collector that is away is looked for until it is back
    #[arg(
        short = 'P',
        long,
        value_name = "PROTOCOL",
        default_value = "udp",
        ignore_case = true,
        help_heading = "Export"
    )]
    pub transport: Transport,

    /// Give each datagram to one collector, in turn, instead of to all
    #[arg(short = 'l', long, help_heading = "Export")]
    pub balance: bool,

    /// One record for both directions of a conversation (RFC 5103, with -v 10)
    #[arg(short = 'b', long, help_heading = "Export")]
    pub biflow: bool,

    /// Absolute times in records, in this unit (with -v 9 or 10; left out: since the sensor's start in
    /// -v 9, milliseconds in -v 10)
    #[arg(
        short = 'A',
        long,
        value_name = "UNIT",
        ignore_case = true,
        help_heading = "Export"
    )]
    pub absolute_time: Option<TimeUnit>,

    /// Observation domain (v9's source id, v5's engine): by it a collector tells the sensors of a host apart (left
    /// out: the first interface's index, 0 with `-i any` and of files)
    #[arg(long, value_name = "NUMBER", help_heading = "Export")]
    pub domain: Option<u32>,

    /// MPLS labels in records, 0 to 10 (with -v 9 or 10); those after the fourth are 0
    #[arg(short = 'x', long, value_name = "LABELS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=10), help_heading = "Export")]
    pub mpls_labels: u8,

    /// TTL or hop limit of the datagrams (left out: the system's)
    #[arg(short = 'L', long, value_name = "HOPS", help_heading = "Export")]
    pub hop_limit: Option<u8>,

    /// Differentiated services code point of the datagrams, 0 to 63
    #[arg(long, value_name = "DSCP", value_parser = clap::value_parser!(u8).range(0..=63), help_heading = "Export")]
    pub dscp: Option<u8>,

    /// Interface the datagrams leave by
    #[arg(short = 'S', long, value_name = "IF", help_heading = "Export")]
    pub device: Option<String>,

    /// Address the datagrams are sent from
    #[arg(short = 'e', long, value_name = "ADDRESS", help_heading = "Export")]
    pub exporter_address: Option<IpAddr>,
}

impl From<TimeUnit> for Times {
    fn from(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::Sec => Self::Seconds,
            TimeUnit::Milli => Self::Milliseconds,
            TimeUnit::Micro => Self::Microseconds,
            TimeUnit::Nano => Self::Nanoseconds,
        }
    }
}

impl Settings {
    /// How records with these fields leave.
    #[must_use]
    pub fn export(&self, version: Version, fields: Fields, sampling: Sampling) -> How {
        let asked = &self.export_options;
        let as_softflowd = self.style == Style::Softflowd;
        let biflow = asked.biflow && version == Version::Ipfix;
        let new = BatchOptions::new(version);
        let batch = BatchOptions {
            // softflowd's is always 0.
            source_id: asked.domain.unwrap_or(match self.style {
                Style::Weir => self.first_ifindex(),
                Style::Softflowd => 0,
            }),
            sampling,
            layout: Layout {
                times: asked.absolute_time.map(Into::into),
                optional: record::optional(fields),
                labels: asked.mpls_labels,
                biflow,
                softflowd: as_softflowd.then(|| self.softflowd()),
                exporter: None,
            },
            datagram_octets_max: if as_softflowd && version.has_templates() {
                SOFTFLOWD_OCTETS_MAX
            } else {
                new.datagram_octets_max
            },
            ..new
        };
        How {
            batch,
            way: Way {
                source: asked.exporter_address,
                device: asked.device.clone(),
                hop_limit: asked.hop_limit,
                dscp: asked.dscp,
            },
            by_stream: asked.transport == Transport::Tcp,
            in_turn: asked.balance,
            announces: !as_softflowd && version.has_templates(),
            pairing: match (as_softflowd, biflow) {
                (false, false) => None,
                (false, true) => Some(Pairing::Biflow),
                (true, false) => Some(Pairing::Shared),
                (true, true) => Some(Pairing::SoftflowdBiflow),
            },
            key_mask: self.track.into(),
        }
    }

    /// What softflowd's options tell of the process; of several interfaces the first.
    fn softflowd(&self) -> Softflowd {
        let first = self.interfaces.first();
        let file = self.read.as_deref().map(|path| path.display().to_string());
        let own_name = first.map(|first| interface::own_name(&first.name));
        let name = own_name.clone().or(file);
        let mut interface = [0; 16];
        let octets = name.unwrap_or_default().into_bytes();
        for (octet, of_name) in interface.iter_mut().zip(octets) {
            *octet = of_name;
        }
        let ifindex = first.and_then(|first| {
            let given = first.ifindex.map(u32::from);
            given.or_else(|| interface::ifindex(own_name.as_deref()?))
        });
        Softflowd {
            vlan: matches!(self.track, Track::Vlan | Track::Ether),
            process: std::process::id(),
            ifindex: ifindex.unwrap_or(0),
            interface,
            exporter: self.export_options.exporter_address,
        }
    }
}

impl ExportOptions {
    /// What is asked for and not done, as a sentence.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        (self.transport == Transport::Sctp).then_some(
            "-P sctp: no collector in use takes it, and nothing here sends it: leave -P out, or use -P tcp",
        )
    }

    /// What has no effect with a format, or less than it says: a sentence each.
    #[must_use]
    pub fn notes(&self, format: Format) -> Vec<String> {
        /// Of a packet's labels so many are read.
        const LABELS_READ: u8 = 4;
        let has_templates = format.has_templates();
        let notes = [
            (
                self.biflow && format != Format::Ipfix,
                "-b is without effect: only -v 10 has records of both directions",
            ),
            (
                self.absolute_time.is_some() && !has_templates,
                "-A is without effect: times in -v 1 and 5 are relative to the sensor's start",
            ),
            (
                self.domain.is_some() && format == Format::V1,
                "--domain is without effect: -v 1 has no place for it",
            ),
            (
                self.mpls_labels > 0 && !has_templates,
                "-x is without effect: -v 1 and 5 have no place for MPLS labels",
            ),
            (
                self.mpls_labels > LABELS_READ && has_templates,
                "-x: the first four labels of a packet are read, those after them are 0 in records",
            ),
        ];
        let given = notes.into_iter().filter(|(given, _)| *given);
        given.map(|(_, note)| note.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse;

    fn export(line: &str) -> (How, Vec<String>) {
        let words = line.split_whitespace().map(Into::into);
        let Ok(settings) = parse(words) else {
            panic!("{line}")
        };
        let version = settings.format.version().unwrap();
        let how = settings.export(version, settings.fields(), Sampling::NONE);
        (how, settings.export_options.notes(settings.format))
    }

    #[test]
    fn by_its_own_name_records_are_of_one_direction_and_in_weirs_layout() {
        let (how, notes) = export("weir-sensor -r x -v 10");
        assert!(how.announces && !export("weir-sensor -r x -v 5").0.announces);
        assert_eq!(how.batch.layout, Layout::WEIR);
        assert_eq!(
            (how.pairing, how.in_turn, how.by_stream),
            (None, false, false)
        );
        assert_eq!(how.way, Way::default());
        assert!(notes.is_empty());
        let (how, _) = export("weir-sensor -r x -v 10 -b -A nano -x 3 --dscp 10 -L 9");
        assert_eq!(how.pairing, Some(Pairing::Biflow));
        assert_eq!(how.batch.layout.times, Some(Times::Nanoseconds));
        assert_eq!(
            (how.batch.layout.labels, how.batch.layout.biflow),
            (3, true)
        );
        assert_eq!((how.way.dscp, how.way.hop_limit), (Some(10), Some(9)));
    }

    #[test]
    fn by_softflowds_name_they_are_in_its_layout() {
        let line = "softflowd -r some-file-with-a-long-name -v 9 -T vlan -l -P tcp -e 192.0.2.1";
        let (how, _) = export(line);
        assert_eq!(how.pairing, Some(Pairing::Shared));
        assert!(how.in_turn && how.by_stream && !how.announces);
        assert_eq!(how.batch.datagram_octets_max, SOFTFLOWD_OCTETS_MAX);
        let softflowd = how.batch.layout.softflowd.unwrap();
        assert!(softflowd.vlan && softflowd.exporter == how.way.source);
        assert_eq!(&softflowd.interface, b"some-file-with-a");
        assert_eq!(softflowd.ifindex, 0);
        let (how, _) = export("softflowd -r x -v 10 -b");
        assert_eq!(how.pairing, Some(Pairing::SoftflowdBiflow));
    }

    #[test]
    fn what_a_format_has_no_place_for_is_told() {
        for (line, flags) in [
            ("-v 5 -b -A sec -x 2", "-b -A -x"),
            ("-v 9 -b -A sec -x 2", "-b"),
            ("-v 9 -x 5", "-x:"),
            ("-v 10 -b -A sec -x 4", ""),
        ] {
            let (how, notes) = export(&format!("softflowd -r x {line}"));
            let told: Vec<_> = notes
                .iter()
                .filter_map(|note| note.split(' ').next())
                .collect();
            assert_eq!(told.join(" "), flags, "{line}");
            let is_two_way = how.pairing.is_some_and(Pairing::is_biflow);
            assert_eq!(is_two_way, line.starts_with("-v 10"));
        }
    }
}
