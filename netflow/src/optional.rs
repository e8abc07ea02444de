//! Fields that records carry only if asked for: which there are, and their octets.
//!
//! MAC addresses are sent as RFC 3954 section 8 has them (56 source, 57 destination), as softflowd
//! does. IANA's registry reads 57 as the destination behind the observation point, and has 80 and 81
//! for the other two: whichever pair an exporter fills is read.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    FlowRecord,
    element::{self, Element},
    low32,
    v9::{Field, field, number},
};

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optional(u8);

impl Optional {
    /// None.
    pub const NONE: Self = Self(0);
    /// MAC addresses.
    pub const MAC: Self = Self(1);
    /// The second VLAN tag's id.
    pub const INNER_VLAN: Self = Self(1 << 1);
    /// The first four MPLS labels.
    pub const MPLS: Self = Self(1 << 2);
    /// IPv6 flow label, in IPv6 records.
    pub const FLOW_LABEL: Self = Self(1 << 3);
    /// The tunnel's endpoints, of either family.
    pub const OUTER: Self = Self(1 << 4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set as a number below 32.
    #[must_use]
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// Their fields in a template for IPv6 flows, or for IPv4 flows.
    pub(crate) fn fields(self, v6: bool) -> impl Iterator<Item = Field> {
        FIELDS
            .into_iter()
            .filter(move |(which, _)| self.0 & which.0 != 0 && (v6 || *which != Self::FLOW_LABEL))
            .map(|(_, field)| field)
    }
}

const FIELDS: [(Optional, Field); 12] = [
    (Optional::MAC, field(element::SOURCE_MAC, 6)),
    (Optional::MAC, field(element::DESTINATION_MAC, 6)),
    (Optional::INNER_VLAN, field(element::CUSTOMER_VLAN, 2)),
    (Optional::MPLS, field(element::MPLS_LABEL_1, 3)),
    (Optional::MPLS, field(element::MPLS_LABEL_2, 3)),
    (Optional::MPLS, field(element::MPLS_LABEL_3, 3)),
    (Optional::MPLS, field(element::MPLS_LABEL_4, 3)),
    (Optional::FLOW_LABEL, field(element::FLOW_LABEL, 3)),
    (Optional::OUTER, field(element::OUTER_SOURCE_V4, 4)),
    (Optional::OUTER, field(element::OUTER_DESTINATION_V4, 4)),
    (Optional::OUTER, field(element::OUTER_SOURCE_V6, 16)),
    (Optional::OUTER, field(element::OUTER_DESTINATION_V6, 16)),
];

/// Appends a field; zeros if it is none of these.
pub(crate) fn encode(datagram: &mut Vec<u8>, field: Field, record: &FlowRecord) {
    // The low end of a number, as many octets as the field has.
    let mut put = |number: u32| {
        let octets = number.to_be_bytes();
        datagram.extend_from_slice(&octets[4 - usize::from(field.octets.min(4))..]);
    };
    match field.element {
        element::CUSTOMER_VLAN => put(u32::from(record.inner_vlan)),
        element::MPLS_LABEL_1..=element::MPLS_LABEL_4 => {
            put(record.mpls_labels[usize::from(field.element - element::MPLS_LABEL_1)]);
        }
        element::FLOW_LABEL => put(record.flow_label),
        element::OUTER_SOURCE_V4 => put(outer_v4(record.outer_source)),
        element::OUTER_DESTINATION_V4 => put(outer_v4(record.outer_destination)),
        element::OUTER_SOURCE_V6 => {
            datagram.extend_from_slice(&outer_v6(record.outer_source).octets());
        }
        element::OUTER_DESTINATION_V6 => {
            datagram.extend_from_slice(&outer_v6(record.outer_destination).octets());
        }
        element::SOURCE_MAC => datagram.extend_from_slice(&record.source_mac),
        element::DESTINATION_MAC => datagram.extend_from_slice(&record.destination_mac),
        _ => datagram.resize(datagram.len() + usize::from(field.octets), 0),
    }
}

/// 0 if it is IPv6, or none.
fn outer_v4(address: Ipv6Addr) -> u32 {
    address.to_ipv4_mapped().map_or(0, u32::from)
}

/// Unspecified if it is IPv4, or none.
fn outer_v6(address: Ipv6Addr) -> Ipv6Addr {
    match address.to_ipv4_mapped() {
        Some(_) => Ipv6Addr::UNSPECIFIED,
        None => address,
    }
}

/// Reads a field into the record, if it is one of these; zeros say nothing.
pub(crate) fn decode(record: &mut FlowRecord, element: Element, value: &[u8]) {
    if value.iter().all(|octet| *octet == 0) {
        return;
    }
    let low = low32(number(value));
    match element {
        element::SOURCE_MAC | element::OUT_SOURCE_MAC => mac(&mut record.source_mac, value),
        element::DESTINATION_MAC | element::IN_DESTINATION_MAC => {
            mac(&mut record.destination_mac, value);
        }
        element::CUSTOMER_VLAN => {
            let [a, b, ..] = low.to_le_bytes();
            record.inner_vlan = u16::from_le_bytes([a, b]) & 0x0fff;
        }
        element::MPLS_LABEL_1..=element::MPLS_LABEL_4 => {
            let depth = usize::from(element - element::MPLS_LABEL_1);
            record.mpls_labels[depth] = low & 0x00ff_ffff;
        }
        element::FLOW_LABEL => record.flow_label = low & 0x000f_ffff,
        element::OUTER_SOURCE_V4 => record.outer_source = Ipv4Addr::from(low).to_ipv6_mapped(),
        element::OUTER_DESTINATION_V4 => {
            record.outer_destination = Ipv4Addr::from(low).to_ipv6_mapped();
        }
        element::OUTER_SOURCE_V6 => v6(&mut record.outer_source, value),
        element::OUTER_DESTINATION_V6 => v6(&mut record.outer_destination, value),
        _ => {}
    }
}

fn mac(address: &mut [u8; 6], value: &[u8]) {
    if let Ok(octets) = value.try_into() {
        *address = octets;
    }
}

fn v6(address: &mut Ipv6Addr, value: &[u8]) {
    if let Ok(octets) = <[u8; 16]>::try_from(value) {
        *address = Ipv6Addr::from(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ExportTime,
        v9::{FlowTemplates, Header, Template, records},
    };

    const ALL: Optional = Optional(0x1f);
    const HEADER: Header = Header {
        count: 1,
        time: ExportTime {
            unix_ns: 1_700_000_000_000_000_000,
            uptime_ms: 100_000,
        },
        sequence: 0,
        source_id: 0,
    };

    fn example(v6: bool) -> FlowRecord {
        let mut record = FlowRecord {
            v6,
            start_ns: HEADER.time.unix_ns,
            end_ns: HEADER.time.unix_ns,
            source_mac: [2, 0, 0, 0, 0, 0x11],
            destination_mac: [2, 0, 0, 0, 0, 0x22],
            inner_vlan: 0x0abc,
            mpls_labels: [0x12_3450, 0x00_0101, 0, 0],
            flow_label: if v6 { 0xf_edcb } else { 0 },
            outer_source: Ipv4Addr::new(203, 0, 113, 1).to_ipv6_mapped(),
            outer_destination: Ipv4Addr::new(203, 0, 113, 2).to_ipv6_mapped(),
            ..FlowRecord::default()
        };
        if !v6 {
            record.source = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
            record.destination = Ipv4Addr::new(192, 0, 2, 2).to_ipv6_mapped();
        }
        record
    }

    fn there_and_back(optional: Optional, record: &FlowRecord) -> FlowRecord {
        let templates = FlowTemplates::new(optional);
        let flow = templates.of(record);
        let mut octets = Vec::new();
        flow.encode_record(&mut octets, record, &HEADER.time);
        assert_eq!(octets.len(), flow.record_octets());
        let template = Template {
            id: flow.id,
            scope_fields: 0,
            fields: flow.fields.to_vec(),
        };
        let mut back = records(&template, &octets, &HEADER);
        back.next().unwrap()
    }

    #[test]
    fn all_of_them_come_back() {
        for v6 in [false, true] {
            let tunnels = ["::ffff:203.0.113.1", "2001:db8::1", "::"];
            for outer in tunnels {
                let record = FlowRecord {
                    outer_source: outer.parse().unwrap(),
                    ..example(v6)
                };
                assert_eq!(there_and_back(ALL, &record), record, "{outer}");
            }
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        let record = example(true);
        let bare = FlowRecord {
            v6: true,
            start_ns: record.start_ns,
            end_ns: record.end_ns,
            ..FlowRecord::default()
        };
        assert_eq!(there_and_back(Optional::NONE, &record), bare);
        let with_macs = FlowRecord {
            source_mac: record.source_mac,
            destination_mac: record.destination_mac,
            ..bare
        };
        assert_eq!(there_and_back(Optional::MAC, &record), with_macs);
        let with_label = FlowRecord {
            flow_label: record.flow_label,
            ..bare
        };
        assert_eq!(there_and_back(Optional::FLOW_LABEL, &record), with_label);
    }

    #[test]
    fn octets_are_those_of_the_standards() {
        let mut octets = Vec::new();
        for field in ALL.fields(true) {
            encode(&mut octets, field, &example(true));
        }
        #[rustfmt::skip]
        let expected = [
            2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x22, // MAC addresses
            0x0a, 0xbc,                               // dot1qCustomerVlanId
            0x12, 0x34, 0x50, 0, 1, 1,                // label stack entries without TTL
            0, 0, 0, 0, 0, 0,
            0x0f, 0xed, 0xcb,                         // flow label
            203, 0, 113, 1, 203, 0, 113, 2,           // the tunnel's endpoints, IPv4
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(octets, expected);
    }

    #[test]
    fn a_definition_of_other_fields_has_another_id() {
        let ids = |optional| {
            let templates = FlowTemplates::new(optional);
            [templates.v4.id, templates.v6.id]
        };
        let mut seen: Vec<_> = (0..32).flat_map(|set| ids(Optional(set))).collect();
        assert_eq!(seen[..2], [1024, 2048]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 64);
        // softflowd's templates for ICMP.
        assert!(!seen.contains(&1025) && !seen.contains(&2049));
    }

    #[test]
    fn either_pair_of_mac_elements_is_read() {
        let mut record = FlowRecord::default();
        decode(&mut record, element::OUT_SOURCE_MAC, &[1; 6]);
        decode(&mut record, element::SOURCE_MAC, &[0; 6]);
        decode(&mut record, element::IN_DESTINATION_MAC, &[2; 6]);
        decode(&mut record, element::DESTINATION_MAC, &[3; 5]);
        assert_eq!(
            (record.source_mac, record.destination_mac),
            ([1; 6], [2; 6])
        );
    }
}
