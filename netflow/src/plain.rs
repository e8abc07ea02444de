//! Templates that tell each thing once and in one way, as most do. The members of a flow record are then read from
//! their places one after the other; [`crate::said`] takes fields as they come and settles what holds afterwards, which
//! takes three times as long. Both read such a record alike.
//!
//! Of a set of such records each member can be read of all before the next one ([`PlainRecords`]), which is faster where
//! columns are wanted.

use std::{
    iter,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    Direction, EndReason, FlowRecord, TimeBase, low32,
    role::{PLAIN_SLOTS, Reading, Role, Slot},
    said,
    template::{Place, Template},
    when::{Times, When},
};

/// Records that are lent at once ([`records`]): so many stay in a core's first cache while columns take them.
const TOGETHER_MAX: usize = 64;

/// Where the members are, all of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// A record's flow as its octets have it; whether it said when.
    #[inline]
    pub fn record<'a>(&'a self, octets: &'a [u8], base: TimeBase) -> (PlainRecord<'a>, bool) {
        let (span_ns, is_timed) = self.span_ns(octets, base);
        let record = PlainRecord {
            plain: self,
            octets,
            span_ns,
        };
        (record, is_timed)
    }

    /// When it began and ended; whether it said so.
    #[inline]
    fn span_ns(&self, octets: &[u8], base: TimeBase) -> ((u64, u64), bool) {
        let number = |slot: Slot| self.members[slot as usize].read(octets);
        let [start, end] = self.times;
        let times = Times {
            start: When::of(start, number(Slot::Start), base.export_ns),
            end: When::of(end, number(Slot::End), base.export_ns),
            ..Times::default()
        };
        match times.span_ns(base) {
            Some(span_ns) => (span_ns, true),
            None => (times.untimed_span_ns(base.export_ns), false),
        }
    }
}

/// A record of a plain template: what its flow has, member by member as in [`FlowRecord`].
#[derive(Clone, Copy, Debug)]
pub struct PlainRecord<'a> {
    plain: &'a Plain,
    octets: &'a [u8],
    span_ns: (u64, u64),
}

#[expect(missing_docs, reason = "they are as the members of a flow record")]
impl PlainRecord<'_> {
    #[inline]
    fn number(self, slot: Slot) -> u64 {
        self.plain.members[slot as usize].read(self.octets)
    }

    #[inline]
    fn number8(self, slot: Slot) -> u8 {
        self.number(slot).to_le_bytes()[0]
    }

    #[inline]
    fn number16(self, slot: Slot) -> u16 {
        let [low, high, ..] = self.number(slot).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    #[inline]
    fn number32(self, slot: Slot) -> u32 {
        low32(self.number(slot))
    }

    #[inline]
    fn address(self, slot: Slot) -> Ipv6Addr {
        if !self.plain.is_v6 {
            return Ipv4Addr::from(self.number32(slot)).to_ipv6_mapped();
        }
        // As a number it would be the last eight of its sixteen octets; one that is none begins before the record.
        let from = usize::from(self.plain.members[slot as usize].at).checked_sub(8);
        let octets = from.and_then(|from| self.octets.get(from..from + 16)?.first_chunk::<16>());
        octets.map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets))
    }

    /// An address that is none if it is zero.
    #[inline]
    fn hop(self, slot: Slot) -> Ipv6Addr {
        if !self.plain.is_v6 && self.number(slot) == 0 {
            return Ipv6Addr::UNSPECIFIED;
        }
        self.address(slot)
    }

    #[must_use]
    #[inline]
    pub fn start_ns(self) -> u64 {
        self.span_ns.0
    }

    #[must_use]
    #[inline]
    pub fn end_ns(self) -> u64 {
        self.span_ns.1
    }

    #[must_use]
    #[inline]
    pub fn source(self) -> Ipv6Addr {
        self.address(Slot::SourceV4)
    }

    #[must_use]
    #[inline]
    pub fn destination(self) -> Ipv6Addr {
        self.address(Slot::DestinationV4)
    }

    #[must_use]
    #[inline]
    pub fn next_hop(self) -> Ipv6Addr {
        self.hop(Slot::NextHopV4)
    }

    #[must_use]
    #[inline]
    pub fn bgp_next_hop(self) -> Ipv6Addr {
        self.hop(Slot::BgpNextHopV4)
    }

    #[must_use]
    #[inline]
    pub fn v6(self) -> bool {
        // Some send IPv4 mapped into IPv6's fields.
        let is_mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
        self.plain.is_v6
            && (self.number8(Slot::IpVersion) != 4
                || !is_mapped(self.source())
                || !is_mapped(self.destination()))
    }

    #[must_use]
    #[inline]
    pub fn protocol(self) -> u8 {
        self.number8(Slot::Protocol)
    }

    #[must_use]
    #[inline]
    pub fn source_port(self) -> u16 {
        self.number16(Slot::SourcePort)
    }

    #[must_use]
    #[inline]
    pub fn destination_port(self) -> u16 {
        let icmp_type_code = self.number16(Slot::IcmpTypeCode);
        if icmp_type_code != 0 && matches!(self.protocol(), said::ICMP | said::ICMPV6) {
            return icmp_type_code;
        }
        self.number16(Slot::DestinationPort)
    }

    #[must_use]
    #[inline]
    pub fn tcp_flags(self) -> u16 {
        self.number16(Slot::TcpFlags)
    }

    #[must_use]
    #[inline]
    pub fn tos(self) -> u8 {
        self.number8(Slot::Tos)
    }

    #[must_use]
    #[inline]
    pub fn octets(self) -> u64 {
        self.number(Slot::Octets)
    }

    #[must_use]
    #[inline]
    pub fn packets(self) -> u64 {
        self.number(Slot::Packets)
    }

    #[must_use]
    #[inline]
    pub fn ingress_ifindex(self) -> u32 {
        self.number32(Slot::IngressIfindex)
    }

    #[must_use]
    #[inline]
    pub fn egress_ifindex(self) -> u32 {
        self.number32(Slot::EgressIfindex)
    }

    #[must_use]
    #[inline]
    pub fn source_as(self) -> u32 {
        self.number32(Slot::SourceAs)
    }

    #[must_use]
    #[inline]
    pub fn destination_as(self) -> u32 {
        self.number32(Slot::DestinationAs)
    }

    #[must_use]
    #[inline]
    pub fn source_mask(self) -> u8 {
        self.number8(Slot::SourceMaskV4)
    }

    #[must_use]
    #[inline]
    pub fn destination_mask(self) -> u8 {
        self.number8(Slot::DestinationMaskV4)
    }

    #[must_use]
    #[inline]
    pub fn vlan(self) -> u16 {
        self.number16(Slot::Vlan) & 0x0fff
    }

    #[must_use]
    #[inline]
    pub fn direction(self) -> Direction {
        if self.number(Slot::Direction) == 1 {
            Direction::Egress
        } else {
            Direction::Ingress
        }
    }

    #[must_use]
    #[inline]
    pub fn end_reason(self) -> EndReason {
        EndReason::from_number(self.number8(Slot::EndReason))
    }

    /// Fills in its flow, which is none yet. Each member is written where it is to be before the next one is read: by
    /// way of a record that is made at once most of them would go through the stack.
    #[inline]
    pub(crate) fn fill(self, flow: &mut FlowRecord) {
        (flow.start_ns, flow.end_ns) = self.span_ns;
        flow.source = self.source();
        flow.destination = self.destination();
        flow.next_hop = self.next_hop();
        flow.bgp_next_hop = self.bgp_next_hop();
        flow.v6 = self.v6();
        flow.protocol = self.protocol();
        flow.source_port = self.source_port();
        flow.destination_port = self.destination_port();
        flow.tcp_flags = self.tcp_flags();
        flow.tos = self.tos();
        flow.octets = self.octets();
        flow.packets = self.packets();
        flow.ingress_ifindex = self.ingress_ifindex();
        flow.egress_ifindex = self.egress_ifindex();
        flow.source_as = self.source_as();
        flow.destination_as = self.destination_as();
        flow.source_mask = self.source_mask();
        flow.destination_mask = self.destination_mask();
        flow.vlan = self.vlan();
        flow.direction = self.direction();
        flow.end_reason = self.end_reason();
    }
}

/// Some records of a plain template, one after the other.
#[derive(Debug)]
pub struct PlainRecords<'a> {
    /// A copy, which nobody changes while columns are written: so it is not read again for each record.
    plain: Plain,
    octets: &'a [u8],
    record_octets: usize,
    starts_ns: [u64; TOGETHER_MAX],
    ends_ns: [u64; TOGETHER_MAX],
    untimed: usize,
}

/// The records of a data set, some at a time; none if their template is not plain, or says what a [`PlainRecord`] does
/// not.
pub fn records<'a>(
    template: &'a Template,
    octets: &'a [u8],
    base: TimeBase,
) -> Option<impl Iterator<Item = PlainRecords<'a>>> {
    let plain = template.plain()?;
    if template.has_aside() {
        return None;
    }
    let record_octets = template.record_octets_min();
    let octets = &octets[..octets.len() - octets.len() % record_octets];
    let together = octets.chunks(TOGETHER_MAX * record_octets);
    Some(together.map(move |octets| PlainRecords::of(plain, octets, record_octets, base)))
}

impl<'a> PlainRecords<'a> {
    #[inline]
    fn of(plain: &'a Plain, octets: &'a [u8], record_octets: usize, base: TimeBase) -> Self {
        let mut records = Self {
            plain: *plain,
            octets,
            record_octets,
            starts_ns: [0; TOGETHER_MAX],
            ends_ns: [0; TOGETHER_MAX],
            untimed: 0,
        };
        for (index, octets) in octets.chunks_exact(record_octets).enumerate() {
            // One by one: a pair would be waited for on its way through the stack.
            let ((start_ns, end_ns), is_timed) = plain.span_ns(octets, base);
            records.starts_ns[index] = start_ns;
            records.ends_ns[index] = end_ns;
            records.untimed += usize::from(!is_timed);
        }
        records
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.octets.len() / self.record_octets
    }

    /// Whether any says a next hop by BGP: all else that they say, nearly every flow has.
    #[must_use]
    pub fn has_bgp_next_hop(&self) -> bool {
        let is_told = self.plain.members[Slot::BgpNextHopV4 as usize] != Number::NONE;
        is_told
            && self
                .iter()
                .any(|record| !record.bgp_next_hop().is_unspecified())
    }

    /// Those that did not say when; they ended at the export's time.
    #[must_use]
    pub fn untimed(&self) -> usize {
        self.untimed
    }

    /// Each of them.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PlainRecord<'_>> {
        let records = self.octets.chunks_exact(self.record_octets);
        let spans_ns = iter::zip(&self.starts_ns, &self.ends_ns);
        iter::zip(records, spans_ns).map(|(octets, (start_ns, end_ns))| PlainRecord {
            plain: &self.plain,
            octets,
            span_ns: (*start_ns, *end_ns),
        })
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
    const FIELDS: [(u16, &[u16]); 31] = [
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
        (element::BGP_NEXT_HOP_V4, &[4]),
        (element::BGP_NEXT_HOP_V6, &[16]),
        (element::PADDING, &[1, 3]),
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
            octets in vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 400..4000),
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
            // And as well where many are read at once, up to the last that is whole.
            let together = records(&template, &octets, base);
            prop_assert_eq!(together.is_some(), template.plain().is_some() && !found.has_aside());
            if let Some(together) = together {
                let (mut flows, mut timed) = (Vec::new(), 0);
                for records in together {
                    timed += records.count() - records.untimed();
                    flows.extend(records.iter().map(|record| {
                        let mut flow = FlowRecord::default();
                        record.fill(&mut flow);
                        flow
                    }));
                }
                let each: Vec<_> = data::records(&template, &octets, base).collect();
                prop_assert!(flows.into_iter().eq(each.iter().map(|record| record.flow)));
                prop_assert_eq!(timed, each.iter().filter(|record| record.timed).count());
            }
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
        let base = TimeBase::booted(0, None);
        for dialect in [Dialect::V9, Dialect::Ipfix] {
            for (v6, icmp) in [(false, false), (true, false), (false, true), (true, true)] {
                let layout = Layout {
                    optional: Optional::ROUTING,
                    ..Layout::WEIR
                };
                let fields = layout.fields(dialect, v6, icmp);
                let template = Template::new(256, None, fields).unwrap();
                assert!(template.plain().is_some(), "{dialect:?} {v6} {icmp}");
                let mut fields = layout.fields(dialect, v6, icmp);
                fields.push(Field::new(element::PADDING, 3));
                let template = Template::new(256, None, fields.clone()).unwrap();
                assert!(
                    records(&template, &[], base).is_some(),
                    "{dialect:?} {v6} {icmp}"
                );
                // 210 of somebody else is no padding.
                fields.push(Field::of_ntop(element::PADDING, 3));
                let template = Template::new(256, None, fields).unwrap();
                assert!(
                    records(&template, &[], base).is_none(),
                    "{dialect:?} {v6} {icmp}"
                );
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
