//! Fields that records carry only if asked for, or if the flow that is passed on has them: which there are,
//! and their octets.
//!
//! MAC addresses are sent in v9 as RFC 3954 section 8 has them (56 source, 57 destination), as softflowd
//! does. IANA's registry, and so IPFIX, reads 57 as the destination behind the observation point, and
//! has 80 for the one before it: whichever an exporter fills is read (`role`, `said`).

use std::net::Ipv6Addr;

use crate::{FlowRecord, element, set::Dialect, template::Field};

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
    /// What a router adds: next hops of the record's family, AS numbers, prefix lengths.
    pub const ROUTING: Self = Self(1 << 5);
    /// How many sets of them there are.
    pub(crate) const SETS: u16 = 1 << 6;

    /// Those that a record has something to say in.
    #[must_use]
    pub fn of(record: &FlowRecord) -> Self {
        let is_routed = record.source_as != 0
            || record.destination_as != 0
            || record.source_mask != 0
            || record.destination_mask != 0
            || !record.next_hop.is_unspecified()
            || !record.bgp_next_hop.is_unspecified();
        let is_tunnelled =
            !record.outer_source.is_unspecified() || !record.outer_destination.is_unspecified();
        let said = [
            (
                Self::MAC,
                record.source_mac != [0; 6] || record.destination_mac != [0; 6],
            ),
            (Self::INNER_VLAN, record.inner_vlan != 0),
            (Self::MPLS, record.mpls_labels != [0; 4]),
            (Self::FLOW_LABEL, record.v6 && record.flow_label != 0),
            (Self::OUTER, is_tunnelled),
            (Self::ROUTING, is_routed),
        ];
        let said = said.into_iter().filter(|(_, is_said)| *is_said);
        said.fold(Self::NONE, |all, (which, _)| all.and(which))
    }

    /// Whether all of these are among them.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without others.
    #[must_use]
    pub(crate) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The set as a number below [`Self::SETS`].
    #[must_use]
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    #[cfg(test)]
    pub(crate) const fn of_number(number: u8) -> Self {
        Self(number)
    }

    /// Their fields in a template for IPv6 flows, or for IPv4 flows.
    pub(crate) fn fields(self, dialect: Dialect, v6: bool) -> impl Iterator<Item = Field> {
        FIELDS
            .into_iter()
            .filter(move |(which, of, _)| self.0 & which.0 != 0 && of.is_of(v6))
            .map(move |(_, _, field)| match (dialect, field.element) {
                (Dialect::Ipfix, element::DESTINATION_MAC) => Field {
                    element: element::IN_DESTINATION_MAC,
                    ..field
                },
                _ => field,
            })
    }
}

/// Whose templates a field is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Both,
    V4,
    V6,
}

impl Of {
    const fn is_of(self, v6: bool) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => !v6,
            Self::V6 => v6,
        }
    }
}

#[rustfmt::skip]
const FIELDS: [(Optional, Of, Field); 22] = [
    (Optional::MAC, Of::Both, Field::new(element::SOURCE_MAC, 6)),
    (Optional::MAC, Of::Both, Field::new(element::DESTINATION_MAC, 6)),
    (Optional::INNER_VLAN, Of::Both, Field::new(element::CUSTOMER_VLAN, 2)),
    (Optional::MPLS, Of::Both, Field::new(element::MPLS_LABEL_1, 3)),
    (Optional::MPLS, Of::Both, Field::new(element::MPLS_LABEL_2, 3)),
    (Optional::MPLS, Of::Both, Field::new(element::MPLS_LABEL_3, 3)),
    (Optional::MPLS, Of::Both, Field::new(element::MPLS_LABEL_4, 3)),
    (Optional::FLOW_LABEL, Of::V6, Field::new(element::FLOW_LABEL, 3)),
    (Optional::OUTER, Of::Both, Field::of_ntop(element::OUTER_SOURCE_V4, 4)),
    (Optional::OUTER, Of::Both, Field::of_ntop(element::OUTER_DESTINATION_V4, 4)),
    (Optional::OUTER, Of::Both, Field::of_ntop(element::OUTER_SOURCE_V6, 16)),
    (Optional::OUTER, Of::Both, Field::of_ntop(element::OUTER_DESTINATION_V6, 16)),
    (Optional::ROUTING, Of::V4, Field::new(element::NEXT_HOP_V4, 4)),
    (Optional::ROUTING, Of::V6, Field::new(element::NEXT_HOP_V6, 16)),
    (Optional::ROUTING, Of::V4, Field::new(element::BGP_NEXT_HOP_V4, 4)),
    (Optional::ROUTING, Of::V6, Field::new(element::BGP_NEXT_HOP_V6, 16)),
    (Optional::ROUTING, Of::Both, Field::new(element::SOURCE_AS, 4)),
    (Optional::ROUTING, Of::Both, Field::new(element::DESTINATION_AS, 4)),
    (Optional::ROUTING, Of::V4, Field::new(element::SOURCE_MASK_V4, 1)),
    (Optional::ROUTING, Of::V6, Field::new(element::SOURCE_MASK_V6, 1)),
    (Optional::ROUTING, Of::V4, Field::new(element::DESTINATION_MASK_V4, 1)),
    (Optional::ROUTING, Of::V6, Field::new(element::DESTINATION_MASK_V6, 1)),
];

/// Appends a field; zeros if it is none of these.
pub(crate) fn encode(datagram: &mut Vec<u8>, field: Field, record: &FlowRecord) {
    // The low end of a number, as many octets as the field has.
    let mut put = |number: u32| {
        let octets = number.to_be_bytes();
        datagram.extend_from_slice(&octets[4 - usize::from(field.octets.min(4))..]);
    };
    match (field.enterprise, field.element) {
        (0, element::SOURCE_MAC) => datagram.extend_from_slice(&record.source_mac),
        (0, element::DESTINATION_MAC | element::IN_DESTINATION_MAC) => {
            datagram.extend_from_slice(&record.destination_mac);
        }
        (0, element::CUSTOMER_VLAN) => put(u32::from(record.inner_vlan)),
        (0, element @ element::MPLS_LABEL_1..=element::MPLS_LABEL_4) => {
            put(record.mpls_labels[usize::from(element - element::MPLS_LABEL_1)]);
        }
        (0, element::FLOW_LABEL) => put(record.flow_label),
        (0, element::SOURCE_AS) => put(record.source_as),
        (0, element::DESTINATION_AS) => put(record.destination_as),
        (0, element::SOURCE_MASK_V4 | element::SOURCE_MASK_V6) => {
            put(u32::from(record.source_mask));
        }
        (0, element::DESTINATION_MASK_V4 | element::DESTINATION_MASK_V6) => {
            put(u32::from(record.destination_mask));
        }
        (0, element::NEXT_HOP_V4) => put(if_v4(record.next_hop)),
        (0, element::BGP_NEXT_HOP_V4) => put(if_v4(record.bgp_next_hop)),
        (0, element::NEXT_HOP_V6) => {
            datagram.extend_from_slice(&if_v6(record.next_hop).octets());
        }
        (0, element::BGP_NEXT_HOP_V6) => {
            datagram.extend_from_slice(&if_v6(record.bgp_next_hop).octets());
        }
        (element::NTOP_PEN, element::OUTER_SOURCE_V4) => put(if_v4(record.outer_source)),
        (element::NTOP_PEN, element::OUTER_DESTINATION_V4) => {
            put(if_v4(record.outer_destination));
        }
        (element::NTOP_PEN, element::OUTER_SOURCE_V6) => {
            datagram.extend_from_slice(&if_v6(record.outer_source).octets());
        }
        (element::NTOP_PEN, element::OUTER_DESTINATION_V6) => {
            datagram.extend_from_slice(&if_v6(record.outer_destination).octets());
        }
        _ => datagram.resize(datagram.len() + usize::from(field.octets), 0),
    }
}

/// 0 if it is IPv6, or none.
fn if_v4(address: Ipv6Addr) -> u32 {
    address.to_ipv4_mapped().map_or(0, u32::from)
}

/// Unspecified if it is IPv4, or none.
fn if_v6(address: Ipv6Addr) -> Ipv6Addr {
    match address.to_ipv4_mapped() {
        Some(_) => Ipv6Addr::UNSPECIFIED,
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        ExportTime, Layout,
        data::{self, DataRecord},
        flow_template::FlowTemplates,
        ipfix,
        set::{Definition, Set},
        template::Template,
        v9,
    };

    const ALL: Optional = Optional(0x3f);
    const TIME: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_000_000_000,
        uptime_ms: 100_000,
    };
    /// The templates of both formats.
    const FORMATS: [fn(Optional) -> FlowTemplates; 2] = [
        |optional| v9::templates(&layout(optional)),
        |optional| ipfix::templates(&layout(optional)),
    ];

    fn layout(optional: Optional) -> Layout {
        Layout {
            optional,
            ..Layout::WEIR
        }
    }

    fn example(v6: bool) -> FlowRecord {
        let mut record = FlowRecord {
            v6,
            start_ns: TIME.unix_ns,
            end_ns: TIME.unix_ns,
            source_mac: [2, 0, 0, 0, 0, 0x11],
            destination_mac: [2, 0, 0, 0, 0, 0x22],
            inner_vlan: 0x0abc,
            mpls_labels: [0x12_3450, 0x00_0101, 0, 0],
            flow_label: if v6 { 0xf_edcb } else { 0 },
            outer_source: Ipv4Addr::new(203, 0, 113, 1).to_ipv6_mapped(),
            outer_destination: Ipv4Addr::new(203, 0, 113, 2).to_ipv6_mapped(),
            next_hop: "2001:db8::a".parse().unwrap(),
            bgp_next_hop: "2001:db8::b".parse().unwrap(),
            source_as: 64_512,
            destination_as: 4_200_000_000,
            source_mask: 24,
            destination_mask: 15,
            ..FlowRecord::default()
        };
        if !v6 {
            record.source = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
            record.destination = Ipv4Addr::new(192, 0, 2, 2).to_ipv6_mapped();
            record.next_hop = Ipv4Addr::new(192, 0, 2, 3).to_ipv6_mapped();
            record.bgp_next_hop = Ipv4Addr::new(192, 0, 2, 4).to_ipv6_mapped();
        }
        record
    }

    fn there_and_back(templates: &FlowTemplates, record: &FlowRecord) -> FlowRecord {
        let flow = templates.of(record);
        let mut octets = Vec::new();
        flow.encode_record(&mut octets, record, &TIME);
        assert_eq!(octets.len(), flow.record_octets());
        let template = Template::new(flow.id, None, flow.fields.clone()).unwrap();
        let mut back = data::records(&template, &octets, TIME.into());
        back.next().unwrap().flow
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
                for templates in FORMATS.map(|of| of(ALL)) {
                    assert_eq!(there_and_back(&templates, &record), record, "{outer}");
                }
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
        let with_macs = FlowRecord {
            source_mac: record.source_mac,
            destination_mac: record.destination_mac,
            ..bare
        };
        let with_label = FlowRecord {
            flow_label: record.flow_label,
            ..bare
        };
        for templates in FORMATS {
            let sent = |optional| there_and_back(&templates(optional), &record);
            assert_eq!(sent(Optional::NONE), bare);
            assert_eq!(sent(Optional::MAC), with_macs);
            assert_eq!(sent(Optional::FLOW_LABEL), with_label);
        }
    }

    #[test]
    fn a_record_needs_the_fields_that_it_says_something_in_and_no_other() {
        assert_eq!(Optional::of(&FlowRecord::default()), Optional::NONE);
        assert_eq!(Optional::of(&example(true)), ALL);
        let routed = FlowRecord {
            destination_mask: 15,
            ..FlowRecord::default()
        };
        assert_eq!(Optional::of(&routed), Optional::ROUTING);
        assert!(ALL.contains(Optional::ROUTING) && !Optional::MAC.contains(ALL));
        assert!(Optional::NONE.contains(Optional::NONE));
    }

    #[test]
    fn octets_are_those_of_the_standards() {
        let sent = |dialect| {
            let mut octets = Vec::new();
            for field in ALL.fields(dialect, true) {
                encode(&mut octets, field, &example(true));
            }
            octets
        };
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
            0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, // next hop
            0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b, // BGP's
            0, 0, 0xfc, 0, 0xfa, 0x56, 0xea, 0,       // AS numbers
            24, 15,                                   // prefix lengths
        ];
        assert_eq!(sent(Dialect::V9), expected);
        assert_eq!(sent(Dialect::Ipfix), expected);
    }

    #[test]
    fn elements_are_those_of_each_format() {
        let some = Optional::MAC.and(Optional::OUTER).and(Optional::ROUTING);
        let definition = |templates: FlowTemplates| {
            let mut octets = Vec::new();
            templates.v4.encode_definition(&mut octets);
            assert_eq!(octets.len(), templates.v4.definition_octets());
            // After id, count and the usual fields.
            octets.split_off(4 + 17 * 4)
        };
        #[rustfmt::skip]
        let of_v9 = [
            0, 56, 0, 6, 0, 57, 0, 6,               // IN_SRC_MAC, OUT_DST_MAC
            0xe0, 0xf2, 0, 4, 0xe0, 0xf4, 0, 4,     // 57586, 57588
            0xe2, 0x0c, 0, 16, 0xe2, 0x0d, 0, 16,   // 57868, 57869
            0, 15, 0, 4, 0, 18, 0, 4,               // IPV4_NEXT_HOP, BGP_IPV4_NEXT_HOP
            0, 16, 0, 4, 0, 17, 0, 4,               // SRC_AS, DST_AS
            0, 9, 0, 1, 0, 13, 0, 1,                // SRC_MASK, DST_MASK
        ];
        assert_eq!(definition(v9::templates(&layout(some))), of_v9);
        #[rustfmt::skip]
        let of_ipfix = [
            0, 56, 0, 6, 0, 80, 0, 6,               // sourceMacAddress, destinationMacAddress
            0x80, 114, 0, 4, 0, 0, 0x8b, 0x30,      // ntop's 114
            0x80, 116, 0, 4, 0, 0, 0x8b, 0x30,
            0x81, 0x8c, 0, 16, 0, 0, 0x8b, 0x30,    // 396
            0x81, 0x8d, 0, 16, 0, 0, 0x8b, 0x30,
            0, 15, 0, 4, 0, 18, 0, 4,               // ipNextHopIPv4Address, bgpNextHopIPv4Address
            0, 16, 0, 4, 0, 17, 0, 4,               // bgpSourceAsNumber, bgpDestinationAsNumber
            0, 9, 0, 1, 0, 13, 0, 1,                // sourceIPv4PrefixLength, destinationIPv4PrefixLength
        ];
        assert_eq!(definition(ipfix::templates(&layout(some))), of_ipfix);
    }

    #[test]
    fn definitions_are_read_as_they_were_meant() {
        for templates in FORMATS.map(|of| of(ALL)) {
            let mut sets = Vec::new();
            templates.encode_definition(&mut sets);
            assert_eq!(sets.len(), templates.definition_octets());
            let read = crate::set::decode(templates.v4.dialect, &sets, 0).unwrap();
            let expected = templates.all().map(|flow| {
                let template = Template::new(flow.id, None, flow.fields.clone());
                Definition::Template(template.unwrap())
            });
            assert_eq!(read, [Set::Templates(expected.to_vec())]);
        }
    }

    #[test]
    fn a_definition_of_other_fields_has_another_id() {
        let ids = |optional| {
            let [v9, ipfix] = FORMATS.map(|of| of(optional));
            let ids = v9.all().map(|flow| flow.id);
            assert_eq!(ipfix.all().map(|flow| flow.id), ids);
            ids
        };
        let mut seen: Vec<_> = (0..64).flat_map(|set| ids(Optional(set))).collect();
        assert_eq!(seen[..4], [1024, 1025, 2048, 2049]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 256);
    }

    #[test]
    fn either_pair_of_mac_elements_is_read() {
        let fields = [
            Field::new(element::OUT_SOURCE_MAC, 6),
            Field::new(element::SOURCE_MAC, 6),
            Field::new(element::IN_DESTINATION_MAC, 6),
            Field::new(element::DESTINATION_MAC, 5),
        ];
        let template = Template::new(256, None, fields.to_vec()).unwrap();
        let octets = [[1; 6].as_slice(), &[0; 6], &[2; 6], &[3; 5]].concat();
        let mut records = data::records(&template, &octets, TIME.into());
        let DataRecord { flow, .. } = records.next().unwrap();
        assert_eq!((flow.source_mac, flow.destination_mac), ([1; 6], [2; 6]));
    }

    #[test]
    fn of_both_pairs_the_one_of_the_incoming_frame_holds_in_whatever_order() {
        let elements = [
            (element::SOURCE_MAC, 1),
            (element::IN_DESTINATION_MAC, 2),
            (element::OUT_SOURCE_MAC, 3),
            (element::DESTINATION_MAC, 4),
        ];
        for turn in 0..4 {
            let mut elements = elements;
            elements.rotate_left(turn);
            let fields = elements.map(|(element, _)| Field::new(element, 6));
            let octets = elements.map(|(_, octet)| [octet; 6]).concat();
            let template = Template::new(256, None, fields.to_vec()).unwrap();
            let mut records = data::records(&template, &octets, TIME.into());
            let DataRecord { flow, .. } = records.next().unwrap();
            let found = (flow.source_mac, flow.destination_mac);
            assert_eq!(found, ([1; 6], [2; 6]), "turned by {turn}");
        }
    }
}
