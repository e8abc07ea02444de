//! How the templates of v9 and IPFIX are laid out: in Weir's way, or in softflowd's (1.1.0), to the
//! octet, for collectors that know no other.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    Optional,
    element::{self, Element, REVERSE_PEN},
    set::Dialect,
    template::Field,
};

/// MPLS label stack entries that have an element (IE 70–79).
pub const LABELS_MAX: u8 = 10;

/// How records tell when their flows began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// By sysUptime in milliseconds (IE 22 and 21); IPFIX tells what that counts from in options.
    Uptime,
    /// In seconds since 1970 (IE 150, 151).
    Seconds,
    /// In milliseconds (IE 152, 153).
    Milliseconds,
    /// In microseconds, by NTP's format (IE 154, 155).
    Microseconds,
    /// In nanoseconds, likewise (IE 156, 157).
    Nanoseconds,
}

impl Times {
    const fn fields(self) -> [Field; 2] {
        let (start, end, octets): (Element, Element, u16) = match self {
            Self::Uptime => (element::START_UPTIME_MS, element::END_UPTIME_MS, 4),
            Self::Seconds => (element::START_S, element::END_S, 4),
            Self::Milliseconds => (element::START_MS, element::END_MS, 8),
            Self::Microseconds => (element::START_US, element::END_US, 8),
            Self::Nanoseconds => (element::START_NS, element::END_NS, 8),
        };
        [Field::new(start, octets), Field::new(end, octets)]
    }
}

/// What softflowd's templates and options depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softflowd {
    /// Whether records have VLAN ids: its track levels `vlan` and `ether`.
    pub vlan: bool,
    /// The process's number.
    pub process: u32,
    /// The interface's ifIndex, 0 for a capture file.
    pub ifindex: u32,
    /// The interface's name, or the file's, filled up with zeros.
    pub interface: [u8; 16],
    /// The address that datagrams are sent from, if one was chosen.
    pub exporter: Option<IpAddr>,
}

/// What records have, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Times other than the format's own, which are sysUptime in v9 and milliseconds in IPFIX.
    pub times: Option<Times>,
    /// Fields on request.
    pub optional: Optional,
    /// MPLS label stack entries, at most [`LABELS_MAX`]; those beyond the fourth are 0. Instead of
    /// [`Optional::MPLS`], if there are any.
    pub labels: u8,
    /// Both directions in one record (RFC 5103; IPFIX only).
    pub biflow: bool,
    /// In softflowd's way: counters of 32 bits, VLAN ids only if its track level has them.
    pub softflowd: Option<Softflowd>,
    /// Who exported the flows first (IPv4 as v4-mapped), in each record (IE 130 or 131), where somebody passes them on;
    /// in Weir's own way, with neither labels nor both directions in one record.
    pub exporter: Option<Ipv6Addr>,
}

impl Layout {
    /// Weir's own way, with nothing on request.
    pub const WEIR: Self = Self {
        times: None,
        optional: Optional::NONE,
        labels: 0,
        biflow: false,
        softflowd: None,
        exporter: None,
    };

    /// Whether times cannot be read without knowing when the sensor booted, which IPFIX has no place
    /// for but in options.
    #[must_use]
    pub const fn needs_boot(&self) -> bool {
        matches!(self.times(Dialect::Ipfix), Times::Uptime)
    }

    /// Whether counters have 32 bits, so that larger counts take several records.
    #[must_use]
    pub const fn is_narrow(&self) -> bool {
        self.softflowd.is_some()
    }

    const fn times(&self, dialect: Dialect) -> Times {
        match (self.times, dialect) {
            (Some(times), _) => times,
            (None, Dialect::Ipfix) if self.softflowd.is_none() => Times::Milliseconds,
            (None, _) => Times::Uptime,
        }
    }

    /// The template's id. One of other fields has another id, so that a collector that missed a new
    /// definition does not read records by the old one; softflowd has the same four always.
    pub(crate) fn id(&self, v6: bool, icmp: bool) -> u16 {
        const OTHERS: u16 = 4096;
        const KINDS: u16 = 4;
        const TIMES: u16 = 6;
        // softflowd's.
        let base = if v6 { 2048 } else { 1024 };
        let icmp = u16::from(icmp);
        if self.softflowd.is_some() {
            return base + icmp;
        }
        let optional = u16::from(self.optional.number());
        let exporter = match self.exporter_field().map(|field| field.element) {
            None => 0,
            Some(element::EXPORTER_V4) => 1,
            Some(_) => 2,
        };
        if self.times.is_none() && self.labels == 0 && !self.biflow {
            return base + 2 * (Optional::SETS * exporter + optional) + icmp;
        }
        let times = self.times.map_or(0, |times| times as u16 + 1);
        let labels = u16::from(self.labels.min(LABELS_MAX));
        let others = match exporter {
            0 => (labels * 2 + u16::from(self.biflow)) * TIMES + times,
            exporter => (u16::from(LABELS_MAX) * 2 + 1 + exporter) * TIMES + times,
        };
        OTHERS + KINDS * (others * Optional::SETS + optional) + 2 * u16::from(v6) + icmp
    }

    /// The template's fields.
    pub(crate) fn fields(&self, dialect: Dialect, v6: bool, icmp: bool) -> Vec<Field> {
        let count_octets = if self.is_narrow() { 4 } else { 8 };
        let addresses = if v6 {
            [(element::SOURCE_V6, 16), (element::DESTINATION_V6, 16)]
        } else {
            [(element::SOURCE_V4, 4), (element::DESTINATION_V4, 4)]
        };
        let mut fields: Vec<Field> = addresses.into_iter().map(field).collect();
        fields.extend(self.times(dialect).fields());
        let common = [
            (element::OCTETS, count_octets),
            (element::PACKETS, count_octets),
            (element::INGRESS_IFINDEX, 4),
            (element::EGRESS_IFINDEX, 4),
            (element::DIRECTION, 1),
            (element::END_REASON, 1),
        ];
        fields.extend(common.into_iter().map(field));
        if icmp {
            fields.extend([field((icmp_element(v6), 2)), field((element::PROTOCOL, 1))]);
        } else {
            let transport = [
                (element::SOURCE_PORT, 2),
                (element::DESTINATION_PORT, 2),
                (element::PROTOCOL, 1),
                (element::TCP_FLAGS, 1),
            ];
            fields.extend(transport.into_iter().map(field));
        }
        fields.extend([field((element::IP_VERSION, 1)), field((element::TOS, 1))]);
        self.add_layers(&mut fields, dialect, v6);
        if self.biflow && dialect == Dialect::Ipfix {
            self.add_reverse(&mut fields, count_octets, v6, icmp);
        }
        // softflowd has them behind the reverse direction.
        let labels = u16::from(self.labels.min(LABELS_MAX));
        fields.extend((0..labels).map(|label| field((element::MPLS_LABEL_1 + label, 3))));
        fields.extend(self.exporter_field());
        fields
    }

    /// The field that tells the exporter, which is the last one.
    fn exporter_field(&self) -> Option<Field> {
        let exporter = self.exporter.filter(|_| self.softflowd.is_none())?;
        Some(field(match exporter.to_ipv4_mapped() {
            Some(_) => (element::EXPORTER_V4, 4),
            None => (element::EXPORTER_V6, 16),
        }))
    }

    /// What is below the network header, and the optional fields.
    fn add_layers(&self, fields: &mut Vec<Field>, dialect: Dialect, v6: bool) {
        let optional = if self.labels == 0 {
            self.optional
        } else {
            self.optional.without(Optional::MPLS)
        };
        if let Some(softflowd) = self.softflowd {
            if softflowd.vlan {
                fields.extend([(element::VLAN, 2), (element::POST_VLAN, 2)].map(field));
            }
            // It has RFC 3954's MAC elements in IPFIX, too.
            fields.extend(optional.fields(Dialect::V9, v6));
        } else {
            fields.push(field((element::VLAN, 2)));
            fields.extend(optional.fields(dialect, v6));
        }
    }

    fn add_reverse(&self, fields: &mut Vec<Field>, count_octets: u16, v6: bool, icmp: bool) {
        let transport = if icmp {
            (icmp_element(v6), 2)
        } else {
            (element::TCP_FLAGS, 1)
        };
        let reverse = [
            (element::OCTETS, count_octets),
            (element::PACKETS, count_octets),
            (element::TOS, 1),
            transport,
        ];
        fields.extend(reverse.map(|(element, octets)| Field {
            enterprise: REVERSE_PEN,
            element,
            octets,
        }));
        if self.softflowd.is_none() {
            fields.push(field((element::BIFLOW_DIRECTION, 1)));
        }
    }
}

const fn field((element, octets): (Element, u16)) -> Field {
    Field::new(element, octets)
}

const fn icmp_element(v6: bool) -> Element {
    if v6 {
        element::ICMP_TYPE_V6
    } else {
        element::ICMP_TYPE_V4
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SOFTFLOWD: Layout = Layout {
        softflowd: Some(Softflowd {
            vlan: false,
            process: 1,
            ifindex: 2,
            interface: *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0",
            exporter: None,
        }),
        ..Layout::WEIR
    };

    fn octets(layout: &Layout, dialect: Dialect) -> [u16; 4] {
        [(false, false), (false, true), (true, false), (true, true)].map(|(v6, icmp)| {
            let fields = layout.fields(dialect, v6, icmp);
            fields.iter().map(|field| field.octets).sum()
        })
    }

    /// Of records that Debian's softflowd sends.
    #[test]
    fn softflowds_records_have_its_octets() {
        for dialect in [Dialect::V9, Dialect::Ipfix] {
            assert_eq!(octets(&SOFTFLOWD, dialect), [42, 39, 66, 63]);
        }
        let biflow = Layout {
            biflow: true,
            ..SOFTFLOWD
        };
        assert_eq!(octets(&biflow, Dialect::Ipfix), [52, 50, 76, 74]);
        assert_eq!(octets(&biflow, Dialect::V9), [42, 39, 66, 63]);
    }

    #[test]
    fn softflowds_fields_are_in_its_order() {
        let layout = Layout {
            times: Some(Times::Milliseconds),
            optional: Optional::MAC,
            labels: 2,
            softflowd: SOFTFLOWD.softflowd.map(|softflowd| Softflowd {
                vlan: true,
                ..softflowd
            }),
            ..SOFTFLOWD
        };
        for dialect in [Dialect::V9, Dialect::Ipfix] {
            let fields = layout.fields(dialect, false, true);
            let elements: Vec<_> = fields.iter().map(|field| field.element).collect();
            let expected = [
                8, 12, 152, 153, 1, 2, 10, 14, 61, 136, 32, 4, 60, 5, 58, 59, 56, 57, 70, 71,
            ];
            assert_eq!(elements, expected);
        }
    }

    #[test]
    fn templates_of_different_fields_have_different_ids() {
        let times = [
            Times::Uptime,
            Times::Seconds,
            Times::Milliseconds,
            Times::Microseconds,
            Times::Nanoseconds,
        ];
        let times: Vec<_> = times.map(Some).into_iter().chain([None]).collect();
        let mut seen = HashSet::new();
        for (times, labels, biflow, optional) in times.iter().flat_map(|times| {
            let rest = (0..=LABELS_MAX).flat_map(|labels| [false, true].map(|on| (labels, on)));
            rest.flat_map(move |(labels, biflow)| {
                (0..64).map(move |optional| (*times, labels, biflow, optional))
            })
        }) {
            let layout = Layout {
                times,
                labels,
                biflow,
                optional: Optional::of_number(optional),
                ..Layout::WEIR
            };
            for (v6, icmp) in [(false, false), (false, true), (true, false), (true, true)] {
                let id = layout.id(v6, icmp);
                assert!(id >= 1024 && seen.insert(id), "{layout:?}: {id}");
            }
        }
        let exporters = ["::ffff:192.0.2.1", "2001:db8::1"].map(|exporter| exporter.parse().ok());
        for (exporter, times, optional) in exporters.into_iter().flat_map(|exporter| {
            let of_times = move |times: &Option<Times>| {
                let times = *times;
                (0..64).map(move |optional| (exporter, times, optional))
            };
            times.iter().flat_map(of_times)
        }) {
            let layout = Layout {
                times,
                optional: Optional::of_number(optional),
                exporter,
                ..Layout::WEIR
            };
            for (v6, icmp) in [(false, false), (false, true), (true, false), (true, true)] {
                assert!(seen.insert(layout.id(v6, icmp)), "{layout:?}");
            }
        }
        assert_eq!(Layout::WEIR.id(false, false), 1024);
        assert_eq!(Layout::WEIR.id(true, true), 2049);
    }
}
