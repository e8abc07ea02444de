//! The flow table, kernel half: find a packet's flow, or open one, or make room for one.
//!
//! A CPU's region is an array of 8-way buckets. A flow may live in two buckets, both cut from its
//! hash; it is opened in the emptier one. Three arrays make a region:
//!
//! - `tags`, 16 octets a bucket, kernel-written: for each way 15 bits of the hash and a parity bit;
//! - `slots`, 64 octets a way: see [`crate::slot`];
//! - `released`, 1 octet a bucket, written by user space: a parity bit for each way.
//!
//! A way is *free* when its two parity bits are equal. The kernel flips its bit to take a way,
//! user space flips the other to give it back: two words with one writer each say what one word
//! with two writers would. So a new flow finds a free way without touching a slot, and a flow
//! that is already there costs one line of slots at home, elsewhere two of slots and two of tags;
//! `released` is read only when a flow is opened.
//!
//! On request there is a fourth, a line a way: what the slot has no room for ([`crate::extra`]).
//! The region knows the packet's own; this file says when the two are compared or copied.
#![expect(
    clippy::cast_possible_truncation,
    reason = "bits are cut from a hash and from words of tags"
)]

mod lanes;
mod shape;

use crate::{
    key::FlowKey,
    slot::{Sighting, SlotWords},
};
use lanes::{any_bit, equal_ways, lowest, lowest_slot, ones};

pub use lanes::free_ways;
use shape::tag;
pub use shape::{PAGE, Places, Shape};

/// Slots in a bucket.
pub const WAYS: u32 = 8;

/// The smallest region: a flow needs two different buckets.
pub const SLOTS_MIN: u32 = 2 * WAYS;

/// The largest region: bucket numbers are cut from 24 bits of the hash.
pub const SLOTS_MAX: u32 = 1 << 27;

/// Slots of other flows looked at before one is pushed out.
const VICTIMS_TRIED: u32 = 4;

/// For [`Region::set_tag`]: the way was free and is taken.
pub const FLIP: u16 = 0x8000;
/// For [`Region::set_tag`]: the way stays taken, by another flow.
pub const KEEP: u16 = 0;

/// A tag that takes an old one's place, see [`Region::set_tag`].
#[inline(always)]
#[must_use]
pub const fn next_tag(old: u16, tag: u16, flip: u16) -> u16 {
    (old ^ flip) & FLIP | tag
}

/// A CPU's region, as the side that meters sees it.
pub trait Region {
    /// How a slot is reached.
    type Slot: SlotWords;
    /// The eight tags of each of a flow's two buckets, four to a word.
    fn tags(&self, buckets: [u32; 2]) -> Option<[[u64; 2]; 2]>;
    /// Replaces the 15 bits of one tag; of the parity bit, `flip` says whether it is flipped ([`FLIP`]) or
    /// kept ([`KEEP`]).
    fn set_tag(&mut self, bucket: u32, way: u32, tag: u16, flip: u16);
    /// User space's parity bits of each of a flow's two buckets.
    fn released(&self, buckets: [u32; 2]) -> Option<[u8; 2]>;
    /// The slot of a way; `index` is `bucket * WAYS + way`.
    fn slot(&self, index: u32) -> Option<Self::Slot>;
    /// Hands a way's flow over to user space; false if there was no room for it.
    fn evict(&mut self, victim: &Self::Slot, index: u32) -> bool;
    /// Whether there is hardly a free way, by what became of the packets before: then a flow of one packet is pushed
    /// out without a look for one.
    fn seems_full(&self) -> bool {
        false
    }

    /// Whether the MAC addresses beside a way's slot are the packet's. Asked only if they tell
    /// flows apart.
    fn has_macs(&self, _index: u32) -> bool {
        true
    }
    /// Has fetched what [`Region::has_macs`] looks at.
    fn fetch_macs(&self, _index: u32) {}
    /// Puts what was read of the packet beside a way's slot, if anything was to be read.
    fn keep_extra(&mut self, _index: u32) {}
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its flow was there.
    Updated,
    /// It opened a flow in a free way.
    Created,
    /// It opened a flow in the place of another, which was handed over.
    CreatedEvicting,
    /// As before, but the other flow could not be handed over.
    CreatedLosing,
    /// Neither a free way nor one that may be pushed out: the packet is in no flow.
    Busy,
}

/// What became of a packet, and the packets that are now in no flow and in no record: a lost
/// flow's, or the packet itself. All fields have a value in every case: a register that has none
/// is one the verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// What became of the packet.
    pub outcome: Outcome,
    /// Packets lost by it, to be counted.
    pub lost_packets: u32,
    /// Octets lost by it, to be counted.
    pub lost_octets: u64,
}

impl Accounted {
    #[inline(always)]
    fn lossless(outcome: Outcome) -> Self {
        Self {
            outcome,
            lost_packets: 0,
            lost_octets: 0,
        }
    }
}

/// 1 if the packet's flow is hardly at its home, else 0; without a branch, which would be
/// mispredicted each time it is.
#[inline(always)]
pub fn strays<R: Region>(region: &R, shape: &Shape, sighting: &Sighting) -> Option<u32> {
    let slot = region.slot(shape.home(sighting.hash))?;
    Some(differs(&slot, &sighting.key))
}

/// The same of a slot that was found.
#[inline(always)]
#[must_use]
pub fn differs(slot: &impl SlotWords, key: &FlowKey) -> u32 {
    any_bit(slot.address_difference(key))
}

/// Has the tags fetched of both buckets where a flow of this hash may be.
#[inline(always)]
pub fn fetch_tags<R: Region>(region: &R, shape: &Shape, hash: u64) -> Option<()> {
    region.tags(shape.places(hash).buckets)?;
    Some(())
}

/// The slot that the tags point to, which is fetched; the home if they point to none.
#[inline(always)]
pub fn find<R: Region>(region: &R, shape: &Shape, hash: u64) -> Option<u32> {
    let buckets = shape.places(hash).buckets;
    let tags = region.tags(buckets)?;
    let Some(index) = pointed_at(tags, buckets, hash) else {
        return Some(shape.home(hash));
    };
    region.slot(index)?.born();
    if shape.tells_macs_apart() {
        region.fetch_macs(index);
    }
    Some(index)
}

/// The slot that the tags of the two buckets of a flow of this hash point to, if to any.
#[inline(always)]
#[must_use]
pub fn pointed_at(tags: [[u64; 2]; 2], buckets: [u32; 2], hash: u64) -> Option<u32> {
    let matches = equal_ways(tags, tag(hash));
    // Hardly ever where flows are known, and always where they are new: a branch that is predicted.
    (matches != 0).then(|| lowest_slot(matches, buckets))
}

/// Adds the packet to its flow if that is there and live, else does nothing; for tables where MAC addresses do not tell
/// flows apart. `None` only if the region is smaller than `shape` says.
#[inline(always)]
pub fn update_known<R: Region>(region: &R, shape: &Shape, sighting: &Sighting) -> Option<bool> {
    let home = shape.home(sighting.hash);
    if update(region, &region.slot(home)?, home, shape, sighting, false) {
        return Some(true);
    }
    let places = shape.places(sighting.hash);
    let tags = region.tags(places.buckets)?;
    update_equal(region, &places, tags, shape, sighting, false)
}

/// Accounts one packet. `None` only if the region is smaller than `shape` says.
#[inline(always)]
pub fn account<R: Region>(region: &mut R, shape: &Shape, sighting: &Sighting) -> Option<Accounted> {
    account_at(region, shape, sighting, shape.home(sighting.hash))
}

/// The same, looking first at the slot `likely`, which [`find`] told.
#[inline(always)]
pub fn account_at<R: Region>(
    region: &mut R,
    shape: &Shape,
    sighting: &Sighting,
    likely: u32,
) -> Option<Accounted> {
    let with_macs = shape.tells_macs_apart();
    let slot = region.slot(likely)?;
    if update(region, &slot, likely, shape, sighting, with_macs) {
        return Some(Accounted::lossless(Outcome::Updated));
    }
    let places = shape.places(sighting.hash);
    let tags = region.tags(places.buckets)?;
    if update_equal(region, &places, tags, shape, sighting, with_macs)? {
        return Some(Accounted::lossless(Outcome::Updated));
    }
    let (free_first, free_second) = if region.seems_full() && is_single(&slot) {
        (0, 0)
    } else {
        let released = region.released(places.buckets)?;
        (
            free_ways(tags[0], released[0]),
            free_ways(tags[1], released[1]),
        )
    };
    if free_first | free_second == 0 {
        return replace(region, &places, likely, slot, sighting);
    }
    let (bucket, free) = choose(&places, free_first, free_second);
    let way = if free >> places.home & 1 != 0 {
        places.home
    } else {
        lowest(free)
    };
    let index = bucket * WAYS + way;
    let slot = region.slot(index)?;
    region.keep_extra(index);
    slot.open(sighting, next_generation(slot.born(), slot.closed()));
    region.set_tag(bucket, way, places.tag, FLIP);
    Some(Accounted::lossless(Outcome::Created))
}

/// The bucket a new flow goes to: the first while its home there is free and half the bucket is,
/// else the emptier. So most flows live at home, and yet hardly any finds both buckets full before
/// the table is.
#[inline(always)]
fn choose(places: &Places, free_first: u8, free_second: u8) -> (u32, u8) {
    let at_home = free_first >> places.home & 1 != 0 && ones(free_first) >= WAYS as u8 / 2;
    if at_home || ones(free_first) >= ones(free_second) {
        (places.buckets[0], free_first)
    } else {
        (places.buckets[1], free_second)
    }
}

/// Adds the packet to the slot's flow if it is the packet's, live.
#[inline(always)]
fn update<R: Region>(
    region: &R,
    slot: &R::Slot,
    index: u32,
    shape: &Shape,
    sighting: &Sighting,
    with_macs: bool,
) -> bool {
    let found = slot.born() != slot.closed()
        && slot.holds(&sighting.key, shape.key_mask, sighting.hook)
        && (!with_macs || region.has_macs(index));
    if found {
        slot.add(sighting);
    }
    found
}

/// Adds the packet to its flow if a way whose tag equals the flow's holds it, live. Both buckets are
/// asked at once: that no tag is equal is one branch, which is predicted where all flows are new.
#[inline(always)]
fn update_equal<R: Region>(
    region: &R,
    places: &Places,
    tags: [[u64; 2]; 2],
    shape: &Shape,
    sighting: &Sighting,
    with_macs: bool,
) -> Option<bool> {
    let mut matches = equal_ways(tags, places.tag);
    // A bound the verifier sees: two buckets have so many ways.
    for _ in 0..2 * WAYS {
        if matches == 0 {
            break;
        }
        let index = lowest_slot(matches, places.buckets);
        if update(
            region,
            &region.slot(index)?,
            index,
            shape,
            sighting,
            with_macs,
        ) {
            return Some(true);
        }
        matches &= matches.wrapping_sub(1);
    }
    Some(false)
}

/// Pushes a flow out of a full pair of buckets and puts the new one in its place. Flows of one
/// packet are taken first, so that a flood of new flows mostly pushes out its own. The slot `likely` was
/// looked at already and is in one of the two: its line is here.
#[inline(always)]
fn replace<R: Region>(
    region: &mut R,
    places: &Places,
    likely: u32,
    slot: R::Slot,
    sighting: &Sighting,
) -> Option<Accounted> {
    let (is_live, index, slot) = victim(region, places, likely, slot)?;
    if !is_live {
        return Some(Accounted {
            outcome: Outcome::Busy,
            lost_packets: u32::from(sighting.packets),
            lost_octets: sighting.octets,
        });
    }
    let (packets, octets) = (slot.packets(), slot.octets());
    let accounted = if region.evict(&slot, index) {
        Accounted::lossless(Outcome::CreatedEvicting)
    } else {
        Accounted {
            outcome: Outcome::CreatedLosing,
            lost_packets: packets,
            lost_octets: octets,
        }
    };
    region.keep_extra(index);
    slot.open(sighting, next_generation(slot.born(), slot.closed()));
    region.set_tag(index / WAYS, index % WAYS, places.tag, KEEP);
    Some(accounted)
}

/// Whether the slot holds a live flow of one packet: such are pushed out first.
#[inline(always)]
fn is_single(slot: &impl SlotWords) -> bool {
    slot.born() != slot.closed() && slot.packets() == 1
}

/// Of a few flows of two full buckets, `slot`'s first, the first of one packet, else the last one; and whether
/// it is a live one: all may be in the middle of a hand-over. There is a slot in either case: a register
/// without a value is one that the verifier refuses.
#[inline(always)]
fn victim<R: Region>(
    region: &R,
    places: &Places,
    mut index: u32,
    mut slot: R::Slot,
) -> Option<(bool, u32, R::Slot)> {
    let mut is_live = slot.born() != slot.closed();
    if is_live && slot.packets() == 1 {
        return Some((true, index, slot));
    }
    let [first, second] = places.buckets;
    for turn in 1..VICTIMS_TRIED {
        // By arithmetic: the verifier follows no index into an array on the stack.
        let bucket = first ^ ((first ^ second) & 0u32.wrapping_sub(turn & 1));
        let other = bucket * WAYS + ((places.home + turn * 3) & (WAYS - 1));
        let candidate = region.slot(other)?;
        if candidate.born() != candidate.closed() {
            (is_live, index, slot) = (true, other, candidate);
            if slot.packets() == 1 {
                break;
            }
        }
    }
    Some((is_live, index, slot))
}

/// A generation that differs from the last one and from the one user space closed.
#[inline(always)]
fn next_generation(born: u8, closed: u8) -> u8 {
    let next = born.wrapping_add(1);
    if next == closed {
        next.wrapping_add(1)
    } else {
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_keeps_or_flips_its_parity() {
        for parity in [0, FLIP] {
            assert_eq!(next_tag(parity | 0x7123, 0x0456, KEEP), parity | 0x0456);
            assert_eq!(
                next_tag(parity | 0x7123, 0x0456, FLIP),
                (parity ^ FLIP) | 0x0456
            );
        }
    }

    #[test]
    fn a_new_generation_is_neither_the_last_nor_the_closed_one() {
        for born in 0..=255 {
            for closed in 0..=255 {
                let next = next_generation(born, closed);
                assert!(next != born && next != closed);
            }
        }
    }
}
