//! What softflowd (1.1.0) says of itself in options, template 256 of either format: the interface and
//! the sampling rate in v9; the process, when it booted and the rate in IPFIX. Its sets are not
//! padded, which leaves those behind them unaligned; here they are (RFC 3954 section 5.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    ExportTime, Sampling,
    element::{self, Element},
    ipfix,
    layout::Softflowd,
    set, v9,
};

/// The options template's id.
pub const TEMPLATE_ID: u16 = 256;
/// Octets that [`encode_v9`] appends.
pub const V9_OCTETS: usize = 28 + 32;
/// Records that it appends, the template included.
pub const V9_RECORDS: usize = 2;

type Fields = [(Element, u16)];

/// v9's scope Interface, then interval, algorithm, name.
const V9_FIELDS: &Fields = &[
    (2, 4),
    (element::SAMPLING_INTERVAL, 4),
    (element::SAMPLING_ALGORITHM, 1),
    (element::INTERFACE_NAME, 16),
];

/// IPFIX's; the first is the scope.
const IPFIX_FIELDS: &Fields = &[
    (element::METERING_PROCESS, 4),
    (element::BOOT_MS, 8),
    (element::SAMPLING_PACKETS, 4),
    (element::SAMPLING_SPACE, 4),
    (element::SELECTOR_ALGORITHM, 2),
    (element::INTERFACE_NAME, 16),
];

/// What 1.1.1 has besides; here only if the exporter's address was chosen.
const EXPORTER_FIELDS: &Fields = &[
    (element::EXPORTER_V4, 4),
    (element::EXPORTER_V6, 16),
    (element::ORIGINAL_EXPORTER_V4, 4),
    (element::ORIGINAL_EXPORTER_V6, 16),
];

/// Appends v9's options template and its record.
pub fn encode_v9(datagram: &mut Vec<u8>, of: &Softflowd, sampling: &Sampling) {
    let mut definition = Vec::new();
    // Octets of scope and option fields.
    for word in [TEMPLATE_ID, 4, 12] {
        definition.extend_from_slice(&word.to_be_bytes());
    }
    push_fields(&mut definition, V9_FIELDS);
    let mut record = of.ifindex.to_be_bytes().to_vec();
    record.extend_from_slice(&sampling.interval.max(1).to_be_bytes());
    record.push(sampling.algorithm());
    record.extend_from_slice(&of.interface);
    set::push(datagram, v9::OPTIONS_TEMPLATE_SET, &definition);
    set::push(datagram, TEMPLATE_ID, &record);
}

/// Octets that [`encode_ipfix`] appends.
#[must_use]
pub const fn ipfix_octets(of: &Softflowd) -> usize {
    match of.exporter {
        None => 36 + 44,
        Some(_) => 52 + 84,
    }
}

/// Appends IPFIX's options template and its record.
pub fn encode_ipfix(
    datagram: &mut Vec<u8>,
    of: &Softflowd,
    sampling: &Sampling,
    time: &ExportTime,
) {
    let (mut definition, mut record) = (Vec::new(), Vec::new());
    let more = if of.exporter.is_some() {
        EXPORTER_FIELDS
    } else {
        &[]
    };
    let count = u16::try_from(IPFIX_FIELDS.len() + more.len()).unwrap_or(u16::MAX);
    // Fields, and scope fields among them.
    for word in [TEMPLATE_ID, count, 1] {
        definition.extend_from_slice(&word.to_be_bytes());
    }
    push_fields(&mut definition, IPFIX_FIELDS);
    push_fields(&mut definition, more);
    let boot_ms = (time.unix_ns / 1_000_000).saturating_sub(time.uptime_ms);
    record.extend_from_slice(&of.process.to_be_bytes());
    record.extend_from_slice(&boot_ms.to_be_bytes());
    record.extend_from_slice(&1u32.to_be_bytes());
    record.extend_from_slice(&(sampling.interval.max(1) - 1).to_be_bytes());
    record.extend_from_slice(&sampling.selector_algorithm().to_be_bytes());
    record.extend_from_slice(&of.interface);
    if let Some(exporter) = of.exporter {
        let (v4, v6) = match exporter {
            IpAddr::V4(v4) => (v4, Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(v6) => (Ipv4Addr::UNSPECIFIED, v6),
        };
        for _ in ["exporter", "original exporter"] {
            record.extend_from_slice(&v4.octets());
            record.extend_from_slice(&v6.octets());
        }
    }
    set::push(datagram, ipfix::OPTIONS_TEMPLATE_SET, &definition);
    set::push(datagram, TEMPLATE_ID, &record);
}

fn push_fields(definition: &mut Vec<u8>, fields: &Fields) {
    for (element, octets) in fields {
        definition.extend_from_slice(&element.to_be_bytes());
        definition.extend_from_slice(&octets.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        options::{self, Announcement, Sampler},
        set::{Dialect, Set},
    };

    const OF: Softflowd = Softflowd {
        vlan: false,
        process: 77,
        ifindex: 3,
        interface: *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0",
        exporter: None,
    };
    const SAMPLING: Sampling = Sampling {
        interval: 4,
        random: false,
    };
    const TIME: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_000_000_000,
        uptime_ms: 5000,
    };

    /// What a collector makes of the template and its record.
    fn read(dialect: Dialect, octets: &[u8], look: impl FnOnce(&Announcement<'_>, &[u8])) {
        let sets = set::decode(dialect, octets, 0).unwrap();
        let [Set::Templates(found), Set::Data { id: 256, octets }] = &sets[..] else {
            panic!("{sets:?}")
        };
        let template = found[0].template().unwrap();
        assert_eq!(template.record_count(octets), Some(1));
        let record = template.records(octets).next().unwrap();
        look(&options::read(template, record), record);
    }

    #[test]
    fn v9_tells_the_interface_and_its_rate() {
        let mut octets = Vec::new();
        encode_v9(&mut octets, &OF, &SAMPLING);
        assert_eq!(octets.len(), V9_OCTETS);
        read(Dialect::V9, &octets, |said, _| {
            assert_eq!(said.sampling, Some((Sampler::Interface(3), 4)));
            let interface = said.interface.unwrap();
            assert_eq!(
                (interface.ifindex, options::text(interface.name)),
                (3, "eth0".into())
            );
        });
    }

    #[test]
    fn ipfix_tells_when_it_booted_and_where_from() {
        for exporter in [None, Some(IpAddr::from([192, 0, 2, 1]))] {
            let of = Softflowd { exporter, ..OF };
            let mut octets = Vec::new();
            encode_ipfix(&mut octets, &of, &SAMPLING, &TIME);
            assert_eq!(octets.len(), ipfix_octets(&of));
            read(Dialect::Ipfix, &octets, |said, record| {
                assert_eq!(said.sampling, Some((Sampler::All, 4)));
                assert_eq!(said.boot_ms, Some(1_699_999_995_000));
                assert_eq!(record[..4], [0, 0, 0, 77]);
                // softflowd 1.1.1 has other octets of its socket's address here.
                if exporter.is_some() {
                    assert_eq!(record[38..42], [192, 0, 2, 1]);
                    assert_eq!(record[58..62], [192, 0, 2, 1]);
                }
            });
        }
    }
}
