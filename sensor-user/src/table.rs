//! The flow table's memory as user space sees it: the kernel's, mapped, or one of our own for
//! capture files. Finding, closing and releasing slots happens here; the protocol is argued in
//! `weir_sensor_common::handover`.
#![expect(unsafe_code, reason = "memory that the kernel writes")]

mod look;

pub use look::Look;

use std::{
    io, iter,
    sync::atomic::{Ordering, fence},
};

use weir_sensor_common::{
    Extra, Slot, SlotWords as _, extra, handover,
    slot::SlotPtr,
    table::{Region, SLOTS_MAX, SLOTS_MIN, Shape, WAYS, free_ways, next_tag},
};

use crate::{extras::Extras, mapping::Mapping};

/// Regions of equal size, one a CPU.
pub struct Table {
    slots: Mapping<Slot>,
    tags: Mapping<[u64; 2]>,
    released: Mapping<u8>,
    /// Beside the slots.
    extras: Extras,
    regions: u32,
    shape: Shape,
}

/// A slot's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which CPU's region.
    pub region: u32,
    /// Index of the slot within it.
    pub index: u32,
}

impl Table {
    /// A table over memory that is there: `regions * (bucket_mask + 1)` buckets.
    #[must_use]
    pub fn new(
        slots: Mapping<Slot>,
        tags: Mapping<[u64; 2]>,
        released: Mapping<u8>,
        regions: u32,
        shape: Shape,
    ) -> Self {
        Self {
            slots,
            tags,
            released,
            extras: Extras::default(),
            regions,
            shape,
        }
    }

    /// The same with an array beside the slots, of as many elements.
    #[must_use]
    pub fn with_extras(self, extras: Extras) -> Self {
        Self { extras, ..self }
    }

    /// One region of our own, without a kernel.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn anonymous(shape: Shape) -> io::Result<Self> {
        let buckets = shape.bucket_mask as usize + 1;
        Ok(Self::new(
            Mapping::anonymous(buckets * WAYS as usize)?,
            Mapping::anonymous(buckets)?,
            Mapping::anonymous(buckets)?,
            1,
            shape,
        ))
    }

    /// A table of so many regions, each with what is in this one's first: flows that all CPUs have seen.
    #[cfg(test)]
    pub(crate) fn seen_by(&self, regions: u32) -> io::Result<Self> {
        fn copies<T>(of: &Mapping<T>, len: u32, regions: u32) -> io::Result<Mapping<T>> {
            let (len, regions) = (len as usize, regions as usize);
            let copies = Mapping::anonymous(len * regions)?;
            for region in 0..regions {
                // SAFETY: both ranges are valid, and nobody else knows the second.
                unsafe {
                    of.at(0)
                        .copy_to_nonoverlapping(copies.at(region * len), len);
                }
            }
            Ok(copies)
        }
        Ok(Self::new(
            copies(&self.slots, self.slots(), regions)?,
            copies(&self.tags, self.buckets(), regions)?,
            copies(&self.released, self.buckets(), regions)?,
            regions,
            self.shape,
        ))
    }

    /// Regions.
    #[must_use]
    pub fn regions(&self) -> u32 {
        self.regions
    }

    /// Slots in a region.
    #[must_use]
    pub fn slots(&self) -> u32 {
        (self.shape.bucket_mask + 1) * WAYS
    }

    /// Octets of memory in all.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.slots.octets() + self.tags.octets() + self.released.octets() + self.extras.octets()
    }

    /// The slot at a place.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self, place: Place) -> SlotPtr {
        let slot = self.slots.at(self.index(place));
        // SAFETY: the mapping outlives the borrow of `self` in every use here; `Table` is not
        // `Sync`, so one thread closes slots.
        unsafe { SlotPtr::new(slot) }
    }

    #[inline(always)]
    fn index(&self, place: Place) -> usize {
        place.region as usize * self.slots() as usize + place.index as usize
    }

    /// What lies beside a slot, of the flow's first packet; torn while a program may write it.
    #[inline]
    #[must_use]
    pub fn extra(&self, place: Place) -> Extra {
        self.extras.get(self.index(place))
    }

    /// Buckets in a region.
    #[must_use]
    pub fn buckets(&self) -> u32 {
        self.shape.bucket_mask + 1
    }

    /// The ways of a bucket that were taken by the side that meters and not given back since, a bit each, whatever
    /// state their flows are in. A flow just opened may not be among them yet.
    #[inline(always)]
    #[must_use]
    pub fn taken(&self, region: u32, bucket: u32) -> u8 {
        let whole = (region * self.buckets() + bucket) as usize;
        // SAFETY: valid elements; volatile because the kernel may write them.
        let tags = unsafe { self.tags.at(whole).read_volatile() };
        // SAFETY: as above.
        let released = unsafe { self.released.at(whole).read_volatile() };
        !free_ways(tags, released)
    }

    /// The places of these ways of a bucket.
    #[inline(always)]
    pub fn places(
        &self,
        region: u32,
        bucket: u32,
        ways: u8,
    ) -> impl Iterator<Item = Place> + use<> {
        let (first, mut ways) = (bucket * WAYS, u32::from(ways));
        iter::from_fn(move || {
            let way = (ways != 0).then(|| ways.trailing_zeros())?;
            ways &= ways.wrapping_sub(1);
            Some(Place {
                region,
                index: first | way,
            })
        })
    }

    /// Has the slots of these ways of a bucket fetched, and does not wait for them.
    #[inline(always)]
    pub fn fetch_slots(&self, region: u32, bucket: u32, ways: u8) {
        let index = bucket * WAYS;
        self.slots
            .fetch_some(self.index(Place { region, index }), ways);
    }

    /// The places of all ways that are taken.
    pub fn all_occupied(&self) -> impl Iterator<Item = Place> {
        let buckets = move |region| (0..self.buckets()).map(move |bucket| (region, bucket));
        let all = (0..self.regions()).flat_map(buckets);
        all.flat_map(|(region, bucket)| {
            let taken = self.taken(region, bucket);
            self.places(region, bucket, taken)
        })
    }

    /// A copy of a slot; torn while a program may write it.
    #[must_use]
    pub fn copy(&self, place: Place) -> Slot {
        self.slot(place).copy()
    }

    /// Gives a collected slot back to the side that meters.
    pub fn release(&mut self, place: Place) {
        let bucket = place.region * (self.shape.bucket_mask + 1) + place.index / WAYS;
        let octet = self.released.at(bucket as usize);
        // It is written after the slot was read: the kernel may overwrite that from here on.
        fence(Ordering::Release);
        // SAFETY: a valid octet that only this thread writes.
        let released = unsafe { octet.read_volatile() };
        // SAFETY: as above; volatile because the kernel reads it.
        unsafe { octet.write_volatile(handover::release(released, place.index % WAYS)) };
    }

    /// The live slot that holds the flow of these words and MAC addresses in a region, if there is
    /// one: what other CPUs saw of it.
    #[must_use]
    pub fn find(&self, region: u32, slot: &Slot, macs: &[u32; 3]) -> Option<Place> {
        let hash = self.shape.hash_with(&slot.key, slot.hook, macs);
        for bucket in self.shape.places(hash).buckets {
            for way in 0..WAYS {
                let place = Place {
                    region,
                    index: bucket * WAYS + way,
                };
                let candidate = self.slot(place);
                if candidate.holds(&slot.key, self.shape.key_mask, slot.hook)
                    && handover::is_live(&candidate)
                    && self.has_macs(place, macs)
                {
                    return Some(place);
                }
            }
        }
        None
    }

    /// Whether the MAC addresses beside a slot are these, if they tell flows apart.
    #[inline(always)]
    fn has_macs(&self, place: Place, macs: &[u32; 3]) -> bool {
        !self.shape.tells_macs_apart() || extra::same_macs(&self.extra(place).macs, macs)
    }

    /// The first region as the side that meters sees it; evicted flows go to `evicted`.
    pub fn local<'a>(&'a mut self, evicted: &'a mut Vec<Slot>) -> LocalRegion<'a> {
        LocalRegion {
            table: self,
            evicted,
            beside: None,
        }
    }

    /// The table's shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// Buckets minus one for a region that holds `flows` flows: a third more slots, rounded up to a
/// power of two, since beyond three quarters full some flows find both their buckets taken.
#[must_use]
pub fn bucket_mask(flows: u32) -> u32 {
    let slots = (u64::from(flows) * 4).div_ceil(3).next_power_of_two();
    let slots = slots.clamp(u64::from(SLOTS_MIN), u64::from(SLOTS_MAX));
    u32::try_from(slots).unwrap_or(SLOTS_MAX) / WAYS - 1
}

/// A region that this thread meters into, whose packets may come in any order.
pub struct LocalRegion<'a> {
    table: &'a mut Table,
    evicted: &'a mut Vec<Slot>,
    /// The packet's, and where those of evicted flows go.
    beside: Option<(&'a Extra, &'a mut Vec<Extra>)>,
}

impl<'a> LocalRegion<'a> {
    /// To account a packet of which this was read; what lies beside evicted flows goes to `evicted`.
    #[must_use]
    pub fn with(self, extra: &'a Extra, evicted: &'a mut Vec<Extra>) -> Self {
        Self {
            beside: Some((extra, evicted)),
            ..self
        }
    }

    /// Has a slot fetched, and does not wait for it.
    #[inline(always)]
    pub fn fetch(&self, index: u32) {
        self.table.slots.fetch(self.table.index(place(index)));
    }
}

/// The first region's slot of this index.
const fn place(index: u32) -> Place {
    Place { region: 0, index }
}

impl Region for LocalRegion<'_> {
    type Slot = SlotPtr<false>;

    #[inline(always)]
    fn tags(&self, buckets: [u32; 2]) -> Option<[[u64; 2]; 2]> {
        // SAFETY: a valid element that only this thread touches; volatile so that it is also read where nothing is
        // done with it, as by `fetch_tags`.
        Some(buckets.map(|bucket| unsafe { self.table.tags.at(bucket as usize).read_volatile() }))
    }

    #[inline(always)]
    fn set_tag(&mut self, bucket: u32, way: u32, tag: u16, flip: u16) {
        // SAFETY: as above.
        let tags = unsafe { &mut *self.table.tags.at(bucket as usize) };
        let shift = 16 * (way & 3);
        let word = &mut tags[(way >> 2) as usize];
        let tag = next_tag(((*word >> shift) & 0xffff) as u16, tag, flip);
        *word = *word & !(0xffff << shift) | u64::from(tag) << shift;
    }

    #[inline(always)]
    fn released(&self, buckets: [u32; 2]) -> Option<[u8; 2]> {
        // SAFETY: as above.
        Some(buckets.map(|bucket| unsafe { *self.table.released.at(bucket as usize) }))
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<SlotPtr<false>> {
        Some(self.table.slot(place(index)).in_any_order())
    }

    #[inline(always)]
    fn evict(&mut self, victim: &SlotPtr<false>, index: u32) -> bool {
        self.evicted.push(victim.copy());
        if let Some((_, evicted)) = &mut self.beside {
            evicted.push(self.table.extra(place(index)));
        }
        true
    }

    #[inline(always)]
    fn has_macs(&self, index: u32) -> bool {
        match &self.beside {
            Some((extra, _)) => self.table.has_macs(place(index), &extra.macs),
            None => true,
        }
    }

    #[inline(always)]
    fn fetch_macs(&self, index: u32) {
        // A volatile read, which no compiler leaves out.
        let _ = self.table.extra(place(index));
    }

    #[inline(always)]
    fn keep_extra(&mut self, index: u32) {
        if let Some((extra, _)) = &self.beside {
            let at = self.table.index(place(index));
            self.table.extras.set(at, extra);
        }
    }
}
