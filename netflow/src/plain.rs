//! Templates that tell each thing once and in one way, as most do. The members of a flow record are then read from
//! their places one after the other; [`crate::said`] takes fields as they come and settles what holds afterwards, which
//! takes three times as long. Both read such a record alike.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    Direction, EndReason, FlowRecord, TimeBase, low32,
    role::{PLAIN_SLOTS, Reading, Role, Slot},
    said,
    template::Place,
    when::{Times, When},
};

/// Where the members are, all of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    is_v6: bool,
    /// By the place in a flow that they fill, of either family by that of IPv4.
    members: [Number; PLAIN_SLOTS],
    /// How beginning and end are read.
    times: [Reading; 2],
}

/// Eight octets of each record, of which some are a number. So no branch depends on how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    at: u16,
    /// Bits behind it.
    shift: u8,
    mask: u64,
}

impl Number {
    /// There is none: it is 0 wherever it is read.
    const NONE: Self = Self {
        at: 0,
        shift: 0,
        mask: 0,
    };

    /// The octets of a field are read with those before them, or from a record's first on, which has eight.
    fn of(place: Place) -> Self {
        let (to, octets) = (place.to(), place.octets());
        Self {
            at: to.saturating_sub(8),
            shift: 8 * 8_u16.saturating_sub(to).to_le_bytes()[0],
            mask: u64::MAX >> (64 - 8 * u32::from(octets.clamp(1, 8))),
        }
    }

    #[inline]
    fn read(self, record: &[u8]) -> u64 {
        let at = usize::from(self.at);
        let octets = record.get(at..at + 8).and_then(<[u8]>::first_chunk);
        let octets = octets.map_or(0, |octets| u64::from_be_bytes(*octets));
        octets.wrapping_shr(self.shift.into()) & self.mask
    }
}

impl Plain {
    /// None if a place in a flow is filled that is not here, or not as most fill it. A source and a destination there
    /// must be.
    pub fn of(fields: &[(Role, Place)]) -> Option<Self> {
        let is_v6 = fields
            .iter()
            .any(|(role, _)| matches!(role.slot, Slot::SourceV6 | Slot::DestinationV6));
        let mut plain = Self {
            is_v6,
            members: [Number::NONE; PLAIN_SLOTS],
            // Of which no number is a time.
            times: [Reading::Number; 2],
        };
        for (role, place) in fields {
            let slot = plain.take(*role)?;
            plain.members[slot as usize] = Number::of(*place);
        }
        let has = |slot: Slot| plain.members[slot as usize] != Number::NONE;
        (has(Slot::SourceV4) && has(Slot::DestinationV4)).then_some(plain)
    }

    /// Where a member is kept that a field is.
    fn take(&mut self, role: Role) -> Option<Slot> {
        let (slot, reading) = match (role.slot, self.is_v6) {
            (Slot::Start, _) if role.reading != Reading::SecondsMicroseconds => {
                self.times[0] = role.reading;
                (Slot::Start, role.reading)
            }
            (Slot::End, _) if role.reading != Reading::SecondsMicroseconds => {
                self.times[1] = role.reading;
                (Slot::End, role.reading)
            }
            (
                slot
                @ (Slot::SourceV4 | Slot::DestinationV4 | Slot::NextHopV4 | Slot::BgpNextHopV4),
                false,
            ) => (slot, Reading::Ipv4),
            (Slot::SourceV6, true) => (Slot::SourceV4, Reading::Ipv6),
            (Slot::DestinationV6, true) => (Slot::DestinationV4, Reading::Ipv6),
            (Slot::NextHopV6, true) => (Slot::NextHopV4, Reading::Ipv6),
            (Slot::BgpNextHopV6, true) => (Slot::BgpNextHopV4, Reading::Ipv6),
            (slot @ (Slot::SourceMaskV4 | Slot::DestinationMaskV4), false) => {
                (slot, Reading::Number)
            }
            (Slot::SourceMaskV6, true) => (Slot::SourceMaskV4, Reading::Number),
            (Slot::DestinationMaskV6, true) => (Slot::DestinationMaskV4, Reading::Number),
            (Slot::IcmpTypeCodeV6, _) => (Slot::IcmpTypeCode, Reading::Number),
            (
                slot @ (Slot::IcmpTypeCode
                | Slot::IpVersion
                | Slot::SourcePort
                | Slot::DestinationPort
                | Slot::Protocol
                | Slot::Tos
                | Slot::TcpFlags
                | Slot::Octets
                | Slot::Packets
                | Slot::IngressIfindex
                | Slot::EgressIfindex
                | Slot::SourceAs
                | Slot::DestinationAs
                | Slot::Vlan
                | Slot::Direction
                | Slot::EndReason),
                _,
            ) => (slot, Reading::Number),
            _ => return None,
        };
        let is_new = self.members.get(slot as usize) == Some(&Number::NONE);
        (is_new && role.reading == reading).then_some(slot)
    }

    /// Fills in the flow of a record, which is none yet; whether it said when. Each member is written where it is to be
    /// before the next one is read: by way of a record that is made at once most of them would go through the stack.
    #[inline]
    pub fn fill(&self, flow: &mut FlowRecord, record: &[u8], base: TimeBase) -> bool {
        let number = |slot: Slot| self.members[slot as usize].read(record);
        let number8 = |slot: Slot| number(slot).to_le_bytes()[0];
        let number16 = |slot: Slot| {
            let [low, high, ..] = number(slot).to_le_bytes();
            u16::from_le_bytes([low, high])
        };
        let number32 = |slot: Slot| low32(number(slot));
        let [start, end] = self.times;
        let times = Times {
            start: When::of(start, number(Slot::Start), base.export_ns),
            end: When::of(end, number(Slot::End), base.export_ns),
            ..Times::default()
        };
        let span_ns = times.span_ns(base);
        (flow.start_ns, flow.end_ns) =
            span_ns.unwrap_or_else(|| times.untimed_span_ns(base.export_ns));
        flow.source = self.address(Slot::SourceV4, record);
        flow.destination = self.address(Slot::DestinationV4, record);
        flow.next_hop = self.hop(Slot::NextHopV4, record);
        flow.bgp_next_hop = self.hop(Slot::BgpNextHopV4, record);
        flow.source_port = number16(Slot::SourcePort);
        flow.destination_port = number16(Slot::DestinationPort);
        flow.protocol = number8(Slot::Protocol);
        let icmp_type_code = number16(Slot::IcmpTypeCode);
        if icmp_type_code != 0 && matches!(flow.protocol, said::ICMP | said::ICMPV6) {
            flow.destination_port = icmp_type_code;
        }
        flow.tos = number8(Slot::Tos);
        flow.tcp_flags = number16(Slot::TcpFlags);
        flow.octets = number(Slot::Octets);
        flow.packets = number(Slot::Packets);
        flow.ingress_ifindex = number32(Slot::IngressIfindex);
        flow.egress_ifindex = number32(Slot::EgressIfindex);
        flow.source_as = number32(Slot::SourceAs);
        flow.destination_as = number32(Slot::DestinationAs);
        flow.source_mask = number8(Slot::SourceMaskV4);
        flow.destination_mask = number8(Slot::DestinationMaskV4);
        flow.vlan = number16(Slot::Vlan) & 0x0fff;
        if number(Slot::Direction) == 1 {
            flow.direction = Direction::Egress;
        }
        flow.end_reason = EndReason::from_number(number8(Slot::EndReason));
        if self.is_v6 {
            // Some send IPv4 mapped into IPv6's fields.
            let is_mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
            flow.v6 = number8(Slot::IpVersion) != 4
                || !is_mapped(flow.source)
                || !is_mapped(flow.destination);
        }
        span_ns.is_some()
    }

    #[inline]
    fn address(&self, slot: Slot, record: &[u8]) -> Ipv6Addr {
        let member = self.members[slot as usize];
        if !self.is_v6 {
            return Ipv4Addr::from(low32(member.read(record))).to_ipv6_mapped();
        }
        // As a number it would be the last eight of its sixteen octets; one that is none begins before the record.
        let from = usize::from(member.at).checked_sub(8);
        let octets = from.and_then(|from| record.get(from..from + 16)?.first_chunk::<16>());
        octets.map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets))
    }

    /// An address that is none if it is zero.
    #[inline]
    fn hop(&self, slot: Slot, record: &[u8]) -> Ipv6Addr {
        if !self.is_v6 && self.members[slot as usize].read(record) == 0 {
            return Ipv6Addr::UNSPECIFIED;
        }
        self.address(slot, record)
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

    /// A collector counts a template's fields, and some besides: how one is read must not take a multiple of them.
    #[test]
    fn a_plain_template_takes_little_memory() {
        assert!(size_of::<Plain>() <= 400, "{}", size_of::<Plain>());
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
