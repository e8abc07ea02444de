//! Looks at the table that close nothing: for people who ask what is in it now.
//!
//! The kernel program may write a slot while it is read, and says so only afterwards: it writes the
//! flow's words, then the generation, then the tag in its bucket. So a slot is believed only if
//!
//! - it is live before and after, and of one generation: else a new flow was put there meanwhile;
//! - two copies, one after the other, are of the same flow: else its words were being written between
//!   them, and the generation not yet;
//! - its key belongs where it lies, by its hash, and to the tag there: else both copies are of a writer
//!   that stood still in the middle, since half a key, or one whose tag is still its predecessor's,
//!   fails that but for one case in thousands of millions.
//!
//! What lies beside the slot is written before its words; where it is part of the key, the hash answers
//! for it too. Elsewhere it may be that of the flow which is about to be put there.
//!
//! Counters may be a packet apart from one another. Nothing here is for accounts: those are made of
//! what was closed, see `weir_sensor_common::handover`.
#![expect(unsafe_code, reason = "memory that the kernel writes")]

use std::sync::atomic::{Ordering, fence};

use weir_sensor_common::{Extra, FlowKey, Slot, SlotWords as _, handover, table::WAYS};

use super::{Place, Table};

/// What is in a slot.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// No live flow.
    Free,
    /// This one, and what lies beside it.
    Flow(Slot, Extra),
    /// It changed as often as it was looked at.
    Changing,
}

/// Looks at a slot that is being written before it is left.
const LOOKS_MAX: u32 = 4;

const TAG: u64 = 0x7fff;

impl Table {
    /// What is in the slot at a place.
    #[must_use]
    pub fn look(&self, place: Place) -> Look {
        let slot = self.slot(place);
        for _ in 0..LOOKS_MAX {
            if !handover::is_live(&slot) {
                return Look::Free;
            }
            let first = slot.copy();
            fence(Ordering::Acquire);
            let extra = self.extra(place);
            fence(Ordering::Acquire);
            let second = slot.copy();
            fence(Ordering::Acquire);
            if is_same_flow(&first, &second)
                && second.born == slot.born()
                && second.born != second.closed
                && self.belongs(place, &second, &extra.macs)
            {
                return Look::Flow(second, extra);
            }
            std::hint::spin_loop();
        }
        Look::Changing
    }

    /// What a CPU saw of the flow of this key and, if they tell flows apart, these MAC addresses.
    #[must_use]
    pub fn part(
        &self,
        region: u32,
        key: &FlowKey,
        hook: u8,
        macs: &[u32; 3],
    ) -> Option<(Slot, Extra)> {
        let shape = self.shape();
        let wanted = Slot {
            key: *key,
            hook,
            ..Slot::default()
        };
        let places = shape.places(shape.hash_with(key, hook, macs));
        let ways = places
            .buckets
            .into_iter()
            .flat_map(|bucket| (0..WAYS).map(move |way| bucket * WAYS + way));
        ways.map(|index| Place { region, index })
            .filter(|place| self.tag(*place) == u64::from(places.tag))
            .find_map(|place| match self.look(place) {
                Look::Flow(slot, extra)
                    if self.is_one_flow(&slot, &wanted) && self.are_one(&extra.macs, macs) =>
                {
                    Some((slot, extra))
                }
                _ => None,
            })
    }

    /// Whether two slots' keys are of one flow.
    fn is_one_flow(&self, slot: &Slot, other: &Slot) -> bool {
        let key_mask = self.shape().key_mask;
        let (mine, others) = (slot.key, other.key);
        mine.source == others.source
            && mine.destination == others.destination
            && (mine.attributes ^ others.attributes) & key_mask == 0
            && slot.hook == other.hook
    }

    /// Whether two frames' MAC addresses are of one flow.
    fn are_one(&self, macs: &[u32; 3], others: &[u32; 3]) -> bool {
        !self.shape().tells_macs_apart() || macs == others
    }

    /// Whether a slot's key may lie at this place, and has the tag that is there.
    fn belongs(&self, place: Place, slot: &Slot, macs: &[u32; 3]) -> bool {
        let shape = self.shape();
        let places = shape.places(shape.hash_with(&slot.key, slot.hook, macs));
        places.buckets.contains(&(place.index / WAYS)) && self.tag(place) == u64::from(places.tag)
    }

    /// The bits of the hash that the bucket has of a way.
    fn tag(&self, place: Place) -> u64 {
        let bucket = place.region * (self.shape().bucket_mask + 1) + place.index / WAYS;
        let way = place.index % WAYS;
        // SAFETY: a valid element; volatile because the kernel may write it.
        let tags = unsafe { self.tags.at(bucket as usize).read_volatile() };
        tags[(way / 4) as usize] >> (16 * (way % 4)) & TAG
    }
}

/// Whether two copies of a slot are of the same flow: what does not change while it lives is equal.
fn is_same_flow(first: &Slot, second: &Slot) -> bool {
    (first.key, first.hook, first.first_tick, first.born)
        == (second.key, second.hook, second.first_tick, second.born)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{extras::Extras, mapping::Mapping, table::bucket_mask};
    use weir_sensor_common::{
        KeyMask,
        hash::Seed,
        slot::Sighting,
        table::{Shape, account, update_known},
    };

    fn shape() -> Shape {
        Shape {
            bucket_mask: bucket_mask(100),
            seed: Seed::new([1, 22, 333, 4444, 55_555]),
            key_mask: KeyMask::FULL.0,
        }
    }

    fn sighting(flow: u8) -> Sighting {
        let key = FlowKey {
            source: FlowKey::v4_mapped([10, 0, 0, flow]),
            destination: FlowKey::v4_mapped([192, 0, 2, 1]),
            attributes: FlowKey::pack(u16::from(flow), 80, 6, 0, 0),
        };
        Sighting {
            key,
            hash: shape().hash(&key, 0),
            octets: 40,
            packets: 1,
            ..Sighting::default()
        }
    }

    fn table(flows: u8) -> Table {
        let mut table = Table::anonymous(shape()).unwrap();
        for flow in 0..flows {
            for _ in 0..=flow {
                let mut evicted = Vec::new();
                account(&mut table.local(&mut evicted), &shape(), &sighting(flow)).unwrap();
                assert!(evicted.is_empty());
            }
        }
        table
    }

    fn places(table: &Table) -> Vec<Place> {
        (0..table.slots())
            .map(|index| Place { region: 0, index })
            .collect()
    }

    fn flows(table: &Table) -> Vec<(Place, Slot)> {
        let look = |place: Place| match table.look(place) {
            Look::Flow(slot, _) => Some((place, slot)),
            Look::Free => None,
            Look::Changing => panic!("nobody writes"),
        };
        places(table).into_iter().filter_map(look).collect()
    }

    fn part(table: &Table, key: &FlowKey, hook: u8) -> Option<Slot> {
        table.part(0, key, hook, &[0; 3]).map(|(slot, _)| slot)
    }

    #[test]
    fn each_flow_is_seen_once_and_found_by_its_key() {
        let table = table(50);
        let mut packets: Vec<u32> = flows(&table).iter().map(|(_, slot)| slot.packets).collect();
        packets.sort_unstable();
        assert_eq!(packets, (1..=50).collect::<Vec<_>>());
        for flow in 0..50 {
            let found = part(&table, &sighting(flow).key, 0).unwrap();
            assert_eq!(found.packets, u32::from(flow) + 1);
            assert!(part(&table, &sighting(flow).key, 1).is_none());
        }
        assert!(part(&table, &sighting(50).key, 0).is_none());
    }

    #[test]
    fn a_flow_that_is_known_takes_its_packet_and_no_other_does() {
        let mut table = table(100);
        let takes = |table: &mut Table, flow| {
            let mut evicted = Vec::new();
            update_known(&table.local(&mut evicted), &shape(), &sighting(flow)).unwrap()
        };
        let strays = (0..100)
            .filter(|&flow| {
                let home = shape().home(sighting(flow).hash);
                table
                    .slot(Place {
                        region: 0,
                        index: home,
                    })
                    .copy()
                    .key
                    != sighting(flow).key
            })
            .count();
        assert!((10..50).contains(&strays), "{strays} of 100 not at home");
        for flow in 0..100 {
            assert!(takes(&mut table, flow));
        }
        assert!(!takes(&mut table, 100));
        let (place, slot) = flows(&table)[1];
        handover::close(&table.slot(place)).unwrap();
        let closed = u8::try_from(slot.packets - 2).unwrap();
        assert!(!takes(&mut table, closed), "it is about to be taken");
        for flow in (0..100).filter(|&flow| flow != closed) {
            let found = part(&table, &sighting(flow).key, 0).unwrap();
            assert_eq!(found.packets, u32::from(flow) + 2);
        }
    }

    #[test]
    fn what_is_closed_is_not_seen() {
        let table = table(3);
        let (place, slot) = flows(&table)[1];
        handover::close(&table.slot(place)).unwrap();
        assert_eq!(flows(&table).len(), 2);
        assert!(part(&table, &slot.key, slot.hook).is_none());
    }

    #[test]
    fn frames_that_tell_flows_apart_are_told_apart() {
        let shape = Shape {
            seed: shape().seed.with_macs([666_666, 7_777_777]),
            key_mask: KeyMask::ETHER.0,
            ..shape()
        };
        let extras = Extras::new(Mapping::anonymous(1024).unwrap());
        let mut table = Table::anonymous(shape).unwrap().with_extras(extras);
        assert!(table.slots() <= 1024);
        let macs = [[1, 2, 3], [4, 5, 6]];
        for macs in macs {
            let extra = Extra {
                macs,
                ..Extra::default()
            };
            let sighting = Sighting {
                hash: shape.hash_with(&sighting(7).key, 0, &macs),
                ..sighting(7)
            };
            let mut evicted = (Vec::new(), Vec::new());
            let mut region = table.local(&mut evicted.0).with(&extra, &mut evicted.1);
            account(&mut region, &shape, &sighting).unwrap();
        }
        assert_eq!(flows(&table).len(), 2);
        for macs in macs {
            let (_, extra) = table.part(0, &sighting(7).key, 0, &macs).unwrap();
            assert_eq!(extra.macs, macs);
        }
        assert!(part(&table, &sighting(7).key, 0).is_none());
    }

    /// A writer that stands still in the middle: new words, but the generation and the tag are the
    /// old flow's.
    #[test]
    fn a_slot_in_the_middle_of_being_written_is_not_believed() {
        let table = table(3);
        let (place, old) = flows(&table)[0];
        let new = sighting(77);
        let mut half = new;
        half.key.destination = FlowKey::v4_mapped([203, 0, 113, 9]);
        for written in [new, half] {
            table.slot(place).open(&written, old.born);
            assert!(matches!(table.look(place), Look::Changing));
        }
        assert!(part(&table, &new.key, 0).is_none());
        // The writer goes on, and nothing of the old flow is seen.
        let back = Sighting {
            key: old.key,
            ..sighting(0)
        };
        table.slot(place).open(&back, old.born.wrapping_add(1));
        assert!(matches!(table.look(place), Look::Flow(..)));
    }
}
