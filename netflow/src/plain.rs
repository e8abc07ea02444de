//! Templates that tell each thing once and in one way, as most do. The members of a flow record are then read from
//! their places one after the other; [`crate::said`] takes fields as they come and settles what holds afterwards, which
//! takes three times as long. Both read such a record alike.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    Direction, EndReason, FlowRecord, TimeBase, low32,
    role::{Reading, Role, Slot},
    said,
    template::Place,
    when::{Times, When},
};

/// Where the members are, all of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    is_v6: bool,
    source: Place,
    destination: Place,
    next_hop: Place,
    bgp_next_hop: Place,
    source_mask: Place,
    destination_mask: Place,
    ip_version: Place,
    source_port: Place,
    destination_port: Place,
    icmp_type_code: Place,
    protocol: Place,
    tos: Place,
    tcp_flags: Place,
    octets: Place,
    packets: Place,
    start: (Reading, Place),
    end: (Reading, Place),
    ingress_ifindex: Place,
    egress_ifindex: Place,
    source_as: Place,
    destination_as: Place,
    vlan: Place,
    direction: Place,
    end_reason: Place,
}

impl Plain {
    /// None if a place in a flow is filled that is not here, or not as most fill it. A source and a destination there
    /// must be.
    pub fn of(fields: &[(Role, Place)]) -> Option<Self> {
        let is_v6 = fields
            .iter()
            .any(|(role, _)| matches!(role.slot, Slot::SourceV6 | Slot::DestinationV6));
        let mut plain = Self::nothing(is_v6);
        for (role, place) in fields {
            match role.slot {
                Slot::Start => plain.start = (role.reading, *place),
                Slot::End => plain.end = (role.reading, *place),
                slot => {
                    let (member, reading) = plain.member(slot)?;
                    if role.reading != reading || *member != Place::NONE {
                        return None;
                    }
                    *member = *place;
                }
            }
        }
        let has_addresses = plain.source != Place::NONE && plain.destination != Place::NONE;
        has_addresses.then_some(plain)
    }

    const fn nothing(is_v6: bool) -> Self {
        const NONE: Place = Place::NONE;
        Self {
            is_v6,
            source: NONE,
            destination: NONE,
            next_hop: NONE,
            bgp_next_hop: NONE,
            source_mask: NONE,
            destination_mask: NONE,
            ip_version: NONE,
            source_port: NONE,
            destination_port: NONE,
            icmp_type_code: NONE,
            protocol: NONE,
            tos: NONE,
            tcp_flags: NONE,
            octets: NONE,
            packets: NONE,
            // Of which no number is a time.
            start: (Reading::Number, NONE),
            end: (Reading::Number, NONE),
            ingress_ifindex: NONE,
            egress_ifindex: NONE,
            source_as: NONE,
            destination_as: NONE,
            vlan: NONE,
            direction: NONE,
            end_reason: NONE,
        }
    }

    /// The member that a place in a flow is, and how it is read.
    fn member(&mut self, slot: Slot) -> Option<(&mut Place, Reading)> {
        let address = if self.is_v6 {
            Reading::Ipv6
        } else {
            Reading::Ipv4
        };
        let number = Reading::Number;
        Some(match (slot, self.is_v6) {
            (Slot::SourceV4, false) | (Slot::SourceV6, true) => (&mut self.source, address),
            (Slot::DestinationV4, false) | (Slot::DestinationV6, true) => {
                (&mut self.destination, address)
            }
            (Slot::NextHopV4, false) | (Slot::NextHopV6, true) => (&mut self.next_hop, address),
            (Slot::BgpNextHopV4, false) | (Slot::BgpNextHopV6, true) => {
                (&mut self.bgp_next_hop, address)
            }
            (Slot::SourceMaskV4, false) | (Slot::SourceMaskV6, true) => {
                (&mut self.source_mask, number)
            }
            (Slot::DestinationMaskV4, false) | (Slot::DestinationMaskV6, true) => {
                (&mut self.destination_mask, number)
            }
            (Slot::IcmpTypeCode | Slot::IcmpTypeCodeV6, _) => (&mut self.icmp_type_code, number),
            (Slot::IpVersion, _) => (&mut self.ip_version, number),
            (Slot::SourcePort, _) => (&mut self.source_port, number),
            (Slot::DestinationPort, _) => (&mut self.destination_port, number),
            (Slot::Protocol, _) => (&mut self.protocol, number),
            (Slot::Tos, _) => (&mut self.tos, number),
            (Slot::TcpFlags, _) => (&mut self.tcp_flags, number),
            (Slot::Octets, _) => (&mut self.octets, number),
            (Slot::Packets, _) => (&mut self.packets, number),
            (Slot::IngressIfindex, _) => (&mut self.ingress_ifindex, number),
            (Slot::EgressIfindex, _) => (&mut self.egress_ifindex, number),
            (Slot::SourceAs, _) => (&mut self.source_as, number),
            (Slot::DestinationAs, _) => (&mut self.destination_as, number),
            (Slot::Vlan, _) => (&mut self.vlan, number),
            (Slot::Direction, _) => (&mut self.direction, number),
            (Slot::EndReason, _) => (&mut self.end_reason, number),
            _ => return None,
        })
    }

    /// The flow of a record, and whether it said when.
    #[inline]
    pub fn decode(&self, record: &[u8], base: TimeBase) -> (FlowRecord, bool) {
        let number = |place: Place| place.number(record);
        let number8 = |place: Place| number(place).to_le_bytes()[0];
        let number16 = |place: Place| {
            let [low, high, ..] = number(place).to_le_bytes();
            u16::from_le_bytes([low, high])
        };
        let number32 = |place: Place| low32(number(place));
        let when = |(reading, place): (Reading, Place)| {
            When::read(reading, place.value(record), base.export_ns)
        };
        let times = Times {
            start: when(self.start),
            end: when(self.end),
            ..Times::default()
        };
        let span_ns = times.span_ns(base);
        let (start_ns, end_ns) = span_ns.unwrap_or_else(|| times.untimed_span_ns(base.export_ns));
        let (source, destination) = (
            self.address(self.source, record),
            self.address(self.destination, record),
        );
        let protocol = number8(self.protocol);
        let icmp_type_code = number16(self.icmp_type_code);
        let has_type = icmp_type_code != 0 && matches!(protocol, said::ICMP | said::ICMPV6);
        // Some send IPv4 mapped into IPv6's fields.
        let is_mapped = || [source, destination].map(|address| address.to_ipv4_mapped().is_some());
        let v6 = self.is_v6 && (number8(self.ip_version) != 4 || is_mapped() != [true; 2]);
        let flow = FlowRecord {
            source,
            destination,
            next_hop: self.hop(self.next_hop, record),
            bgp_next_hop: self.hop(self.bgp_next_hop, record),
            v6,
            source_port: number16(self.source_port),
            destination_port: if has_type {
                icmp_type_code
            } else {
                number16(self.destination_port)
            },
            protocol,
            tos: number8(self.tos),
            tcp_flags: number16(self.tcp_flags),
            octets: number(self.octets),
            packets: number(self.packets),
            start_ns,
            end_ns,
            ingress_ifindex: number32(self.ingress_ifindex),
            egress_ifindex: number32(self.egress_ifindex),
            source_as: number32(self.source_as),
            destination_as: number32(self.destination_as),
            source_mask: number8(self.source_mask),
            destination_mask: number8(self.destination_mask),
            vlan: number16(self.vlan) & 0x0fff,
            direction: match number(self.direction) {
                1 => Direction::Egress,
                _ => Direction::Ingress,
            },
            end_reason: EndReason::from_number(number8(self.end_reason)),
            ..FlowRecord::default()
        };
        (flow, span_ns.is_some())
    }

    #[inline]
    fn address(&self, place: Place, record: &[u8]) -> Ipv6Addr {
        if !self.is_v6 {
            return Ipv4Addr::from(low32(place.number(record))).to_ipv6_mapped();
        }
        let octets = place.value(record).first_chunk();
        Ipv6Addr::from_bits(octets.map_or(0, |octets| u128::from_be_bytes(*octets)))
    }

    /// An address that is none if it is zero.
    #[inline]
    fn hop(&self, place: Place, record: &[u8]) -> Ipv6Addr {
        if !self.is_v6 && place.number(record) == 0 {
            return Ipv6Addr::UNSPECIFIED;
        }
        self.address(place, record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        Layout, Optional, data, element,
        set::Dialect,
        template::{Field, Template},
    };

    /// Elements that may be in such templates, and one that is kept aside, with octets that they may have.
    const FIELDS: [(u16, &[u16]); 28] = [
        (element::OCTETS, &[4, 8, 3]),
        (element::PACKETS, &[4, 8]),
        (element::PROTOCOL, &[1]),
        (element::TOS, &[1]),
        (element::TCP_FLAGS, &[1, 2]),
        (element::SOURCE_PORT, &[2, 4]),
        (element::DESTINATION_PORT, &[2]),
        (element::ICMP_TYPE_V4, &[2]),
        (element::INGRESS_IFINDEX, &[2, 4, 8]),
        (element::EGRESS_IFINDEX, &[4]),
        (element::SOURCE_AS, &[2, 4]),
        (element::DESTINATION_AS, &[4]),
        (element::VLAN, &[2]),
        (element::DIRECTION, &[1]),
        (element::END_REASON, &[1]),
        (element::IP_VERSION, &[1]),
        (element::START_UPTIME_MS, &[4]),
        (element::END_UPTIME_MS, &[4]),
        (element::START_MS, &[8]),
        (element::END_MS, &[8]),
        (element::END_S, &[4]),
        (element::START_US, &[8, 16]),
        (element::NEXT_HOP_V4, &[4]),
        (element::NEXT_HOP_V6, &[16]),
        (element::SOURCE_MASK_V4, &[1]),
        (element::DESTINATION_MASK_V6, &[1]),
        (element::FLOW_LABEL, &[3]),
        (95, &[4]),
    ];

    fn template(v6: bool, chosen: &[(usize, usize)]) -> Template {
        let addresses = if v6 {
            [(element::SOURCE_V6, 16), (element::DESTINATION_V6, 16)]
        } else {
            [(element::SOURCE_V4, 4), (element::DESTINATION_V4, 4)]
        };
        let addresses = addresses.map(|(element, octets)| Field::new(element, octets));
        let others = chosen.iter().map(|(index, octets)| {
            let (element, widths) = FIELDS[index % FIELDS.len()];
            Field::new(element, widths[octets % widths.len()])
        });
        let mut fields: Vec<_> = others.collect();
        fields.splice(0..0, addresses);
        fields.rotate_left(chosen.len() / 2);
        Template::new(256, None, fields).unwrap()
    }

    proptest! {
        #[test]
        fn a_plain_template_is_read_as_any_is(
            v6: bool,
            chosen in vec((0_usize..100, 0_usize..100), 0..20),
            octets in vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 400),
            uptime_ms in proptest::option::of(0_u64..1 << 33),
        ) {
            let template = template(v6, &chosen);
            let base = TimeBase { export_ns: 1_700_000_000_123_000_000, uptime_ms };
            let record = template.records(&octets).next().unwrap();
            let found = data::decode(&template, record, base);
            let expected = data::decode_any(&template, record, base);
            prop_assert_eq!(found.flow, expected.flow);
            prop_assert_eq!(found.timed, expected.timed);
            prop_assert_eq!(found.reverse(), expected.reverse());
            let aside = found.aside().map(|aside| (aside.element, aside.octets));
            let expected = expected.aside().map(|aside| (aside.element, aside.octets));
            prop_assert!(aside.eq(expected));
        }
    }

    /// What is fast without notice would be slow without notice.
    #[test]
    fn templates_as_most_exporters_have_them_are_plain() {
        for dialect in [Dialect::V9, Dialect::Ipfix] {
            for (v6, icmp) in [(false, false), (true, false), (false, true), (true, true)] {
                let layout = Layout {
                    optional: Optional::ROUTING,
                    ..Layout::WEIR
                };
                let fields = layout.fields(dialect, v6, icmp);
                let template = Template::new(256, None, fields).unwrap();
                assert!(template.plain().is_some(), "{dialect:?} {v6} {icmp}");
            }
        }
        for more in [element::OUT_OCTETS, element::SOURCE_MAC] {
            let addresses = [element::SOURCE_V4, element::DESTINATION_V4, more];
            let fields = addresses.map(|element| {
                Field::new(element, if element == element::SOURCE_MAC { 6 } else { 4 })
            });
            let template = Template::new(256, None, fields.to_vec()).unwrap();
            assert_eq!(template.plain(), None);
        }
    }
}
