//! The live table as the control thread sees it: through a mapping of its own, in slices, closing
//! nothing. What several CPUs saw of a flow is told as one.

use weir_sensor_common::{Extra, FlowKey, Slot};

use crate::{
    clock::Now,
    expiry::{Reason, State},
    pair::{self, reversed, turned},
    sweep::Taken,
    table::{Look, Place, Table},
};

/// Slots looked at before the thread turns to its clients again: a fraction of a millisecond.
const SLICE_SLOTS: u32 = 1024;

/// What a flow's record has whatever tells flows apart: ToS and VLAN.
const ALWAYS_TOLD: u64 = FlowKey::pack(0, 0, 0, 0xff, 0xffff);

/// The table.
pub struct View {
    table: Table,
}

/// How far a look at the whole table has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    region: u32,
    index: u32,
    /// Slots that changed as often as they were looked at; their flows were not told.
    pub changing: u64,
}

/// A flow as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The flow. Its reason means nothing.
    pub flow: Taken,
    /// What no other flow has at that time: slot and generation.
    pub number: u64,
}

/// Both directions of a conversation, as softflowd has them: first what the lower address sent. At
/// least one is there.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// What was seen of each.
    pub directions: [Option<Taken>; 2],
}

impl View {
    /// Looks at this table, which is to be one more mapping of the sensor's.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// Looks at the next slots; returns whether there are more.
    pub fn look_on(&self, cursor: &mut Cursor, mut found: impl FnMut(Seen)) -> bool {
        for _ in 0..SLICE_SLOTS {
            let Cursor { region, index, .. } = *cursor;
            if region == self.table.regions() {
                return false;
            }
            let place = Place { region, index };
            (cursor.region, cursor.index) = if index + 1 == self.table.slots() {
                (region + 1, 0)
            } else {
                (region, index + 1)
            };
            match self.table.look(place) {
                Look::Free => {}
                Look::Changing => cursor.changing += 1,
                Look::Flow(slot, extra) => {
                    if let Some(flow) = self.whole(place, &slot, extra) {
                        let number = self.number(place, &slot);
                        found(Seen { flow, number });
                    }
                }
            }
        }
        cursor.region < self.table.regions()
    }

    /// A flow that was seen before, if it is still there.
    #[must_use]
    pub fn again(&self, number: u64) -> Option<Seen> {
        let [.., generation] = number.to_be_bytes();
        let slots = u64::from(self.table.slots());
        let (region, index) = ((number >> 8) / slots, (number >> 8) % slots);
        let place = Place {
            region: u32::try_from(region).ok()?,
            index: u32::try_from(index).ok()?,
        };
        if place.region >= self.table.regions() {
            return None;
        }
        match self.table.look(place) {
            Look::Flow(slot, extra) if slot.born == generation => {
                let flow = self.whole(place, &slot, extra)?;
                Some(Seen { flow, number })
            }
            _ => None,
        }
    }

    /// The conversation that a flow belongs to. `None` if it is to be told at its other direction.
    #[must_use]
    pub fn conversation(&self, flow: Taken) -> Option<Conversation> {
        let (source, destination) = (flow.key.source_octets(), flow.key.destination_octets());
        let directions = if source == destination {
            // Which of two ports is the lower one decides nothing: each is by itself.
            [Some(flow), None]
        } else {
            let partner = self.partner(&flow);
            if source < destination {
                [Some(flow), partner]
            } else if partner.is_none() {
                [None, Some(flow)]
            } else {
                return None;
            }
        };
        Some(Conversation { directions })
    }

    /// The other direction: where this one was seen, as on a mirror port; else where packets go the
    /// other way, as on a host, unless this direction was seen there too and has its partner there.
    fn partner(&self, flow: &Taken) -> Option<Taken> {
        let (reversed, turned) = (reversed(&flow.key), turned(flow.extra.macs));
        let other_way = flow.hook ^ 1;
        self.find(&reversed, flow.hook, &turned).or_else(|| {
            let partner = self.find(&reversed, other_way, &turned)?;
            let seen_there = self.find(&flow.key, other_way, &flow.extra.macs);
            let is_ours = seen_there.is_none();
            is_ours.then_some(partner)
        })
    }

    /// What all CPUs saw of the flow in a slot; `None` if it is told with a region before this one.
    fn whole(&self, place: Place, slot: &Slot, extra: Extra) -> Option<Taken> {
        let mut flow = self.flow(slot, extra);
        for region in (0..self.table.regions()).filter(|region| *region != place.region) {
            let part = self.table.part(region, &slot.key, slot.hook, &extra.macs);
            if let Some((part, extra)) = part {
                if region < place.region {
                    return None;
                }
                flow.add(&self.flow(&part, extra));
            }
        }
        Some(flow)
    }

    /// What all CPUs saw of a flow.
    fn find(&self, key: &FlowKey, hook: u8, macs: &[u32; 3]) -> Option<Taken> {
        let mut parts = (0..self.table.regions())
            .filter_map(|region| self.table.part(region, key, hook, macs))
            .map(|(part, extra)| self.flow(&part, extra));
        let mut flow = parts.next()?;
        parts.for_each(|part| flow.add(&part));
        Some(flow)
    }

    /// A slot's flow, without what does not tell flows apart: that is its first packet's only.
    fn flow(&self, slot: &Slot, extra: Extra) -> Taken {
        let mut flow = Taken::of(slot, Reason::Flushed).with(extra);
        flow.key.attributes &= self.table.shape().key_mask | ALWAYS_TOLD;
        flow
    }

    fn number(&self, place: Place, slot: &Slot) -> u64 {
        let slots = u64::from(self.table.slots());
        (u64::from(place.region) * slots + u64::from(place.index)) << 8 | u64::from(slot.born)
    }
}

impl Conversation {
    /// As the policy sees it, which may have conversations over `in_pairs`: then one whose other direction was
    /// not seen has not ended, whatever it said.
    #[must_use]
    pub fn state(&self, now: &Now, in_pairs: bool) -> State {
        let states = self
            .directions
            .map(|direction| direction.map(|flow| flow.state(now)));
        match states {
            [Some(one), Some(other)] => pair::both(&one, &other),
            [Some(only), None] | [None, Some(only)] if in_pairs => pair::alone(&only),
            [Some(only), None] | [None, Some(only)] => only,
            [None, None] => State {
                protocol: 0,
                tcp_flags: 0,
                octets: 0,
                packets: 0,
                age_ns: 0,
                idle_ns: 0,
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! A table with some conversations in it, for the answers' tests too.
    use super::*;
    use crate::table::bucket_mask;
    use weir_sensor_common::{
        KeyMask,
        hash::Seed,
        slot::Sighting,
        table::{Shape, account},
    };

    /// A packet: addresses' last octets, ports, protocol, hook, octets, milliseconds.
    pub struct Packet(pub [u8; 2], pub [u16; 2], pub u8, pub u8, pub u64, pub u64);

    /// The instant that is so many milliseconds after a time in 2023.
    pub fn at(ms: u64) -> Now {
        Now::of_packet(1_700_000_000_000_000_000 + ms * 1_000_000, 0)
    }

    /// A view of a table with these packets in it.
    pub fn view(packets: &[Packet]) -> View {
        let shape = Shape {
            bucket_mask: bucket_mask(1000),
            seed: Seed::new([5, 4, 3, 2, 1]),
            key_mask: KeyMask::FULL.0,
        };
        let mut table = Table::anonymous(shape).unwrap();
        for Packet([from, to], [from_port, to_port], protocol, hook, octets, ms) in packets {
            let key = FlowKey {
                source: FlowKey::v4_mapped([10, 0, 0, *from]),
                destination: FlowKey::v4_mapped([10, 0, 0, *to]),
                attributes: FlowKey::pack(*from_port, *to_port, *protocol, 0, 0),
            };
            let sighting = Sighting {
                key,
                hash: shape.hash(&key, *hook),
                octets: *octets,
                tick: at(*ms).tick(),
                packets: 1,
                tcp_flags: if *protocol == 6 { 0x10 | *hook << 5 } else { 0 },
                hook: *hook,
            };
            account(&mut table.local(&mut Vec::new()), &shape, &sighting).unwrap();
        }
        View::new(table)
    }

    fn all(view: &View) -> Vec<Seen> {
        let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
        while view.look_on(&mut cursor, |flow| seen.push(flow)) {}
        assert_eq!(cursor.changing, 0);
        seen
    }

    /// What a conversation has: octets of each direction, 0 for none.
    fn conversations(view: &View) -> Vec<[u64; 2]> {
        let told = all(view)
            .into_iter()
            .filter_map(|seen| view.conversation(seen.flow));
        let octets = |flow: Option<Taken>| flow.map_or(0, |flow| flow.octets);
        let mut found: Vec<_> = told.map(|told| told.directions.map(octets)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn every_flow_is_seen_and_found_again() {
        let packets: Vec<_> = (0..200)
            .map(|n| Packet([n, 250], [1, 2], 17, 0, 100 + u64::from(n), 0))
            .collect();
        let view = view(&packets);
        let seen = all(&view);
        assert_eq!(seen.len(), 200);
        for one in seen {
            assert_eq!(view.again(one.number).unwrap().flow, one.flow);
            assert!(view.again(one.number ^ 1).is_none(), "another generation");
        }
        assert!(view.again(u64::MAX).is_none());
    }

    #[test]
    fn directions_are_paired_lower_address_first() {
        // A host: one direction comes in, the other leaves. Then a mirror port, then a scan.
        let view = view(&[
            Packet([9, 1], [80, 1234], 6, 1, 70, 0),
            Packet([1, 9], [1234, 80], 6, 0, 50, 0),
            Packet([2, 9], [5, 53], 17, 0, 30, 0),
            Packet([9, 2], [53, 5], 17, 0, 40, 0),
            Packet([9, 3], [7, 7], 17, 0, 20, 0),
            Packet([3, 4], [7, 7], 17, 0, 10, 0),
        ]);
        assert_eq!(conversations(&view), [[0, 20], [10, 0], [30, 40], [50, 70]]);
    }

    #[test]
    fn what_is_seen_at_two_places_is_paired_at_each() {
        let view = view(&[
            Packet([1, 9], [1, 2], 6, 0, 1, 0),
            Packet([1, 9], [1, 2], 6, 1, 2, 0),
            Packet([9, 1], [2, 1], 6, 0, 3, 0),
            Packet([9, 1], [2, 1], 6, 1, 4, 0),
        ]);
        assert_eq!(conversations(&view), [[1, 3], [2, 4]]);
        // One direction at both, the other at one: nothing is told twice, nothing left out.
        let view = view_of_three();
        assert_eq!(conversations(&view), [[1, 3], [2, 0]]);
    }

    fn view_of_three() -> View {
        view(&[
            Packet([1, 9], [1, 2], 6, 0, 1, 0),
            Packet([1, 9], [1, 2], 6, 1, 2, 0),
            Packet([9, 1], [2, 1], 6, 0, 3, 0),
        ])
    }

    /// softflowd's connections have ended when both directions have; a reset of one ends both.
    #[test]
    fn a_conversation_has_ended_when_both_directions_have() {
        const ACK: u8 = 0x10;
        const FIN: u8 = 0x11;
        const RST: u8 = 0x14;
        let view = view(&[
            Packet([9, 1], [80, 1234], 6, 1, 70, 0),
            Packet([1, 9], [1234, 80], 6, 0, 50, 0),
        ]);
        let mut told = all(&view)
            .into_iter()
            .filter_map(|seen| view.conversation(seen.flow));
        let [low, high] = told.next().unwrap().directions;
        let with = |flow: Option<Taken>, tcp_flags: Option<u8>| {
            let (flow, tcp_flags) = (flow?, tcp_flags?);
            Some(Taken { tcp_flags, ..flow })
        };
        for (there, back, in_pairs, expected) in [
            (Some(FIN), Some(ACK), true, ACK),
            (Some(ACK), Some(FIN), false, ACK),
            (Some(FIN), Some(FIN), true, FIN),
            (Some(RST), Some(ACK), true, RST),
            (Some(FIN), None, true, ACK),
            (None, Some(FIN), true, ACK),
            (None, Some(FIN), false, FIN),
        ] {
            let directions = [with(low, there), with(high, back)];
            let found = Conversation { directions }.state(&at(1000), in_pairs);
            assert_eq!(found.tcp_flags, expected, "{there:?} {back:?} {in_pairs}");
        }
    }

    #[test]
    fn a_flow_with_itself_is_told_once_for_each_port() {
        let view = view(&[
            Packet([1, 1], [1, 2], 17, 0, 1, 0),
            Packet([1, 1], [2, 1], 17, 0, 2, 0),
        ]);
        assert_eq!(conversations(&view), [[1, 0], [2, 0]]);
    }

    #[test]
    fn a_frame_that_comes_back_has_its_addresses_turned() {
        let there = Extra {
            macs: [0x0302_0100, 0x0706_0504, 0x0b0a_0908].map(u32::from_le),
            ..Extra::default()
        };
        let back = Extra {
            macs: turned(there.macs),
            ..Extra::default()
        };
        assert_eq!(there.destination_mac(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(back.source_mac(), there.destination_mac());
        assert_eq!(back.destination_mac(), there.source_mac());
    }
}
