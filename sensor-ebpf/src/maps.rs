//! What the program shares with user space: the table's three arrays and the counters, which user
//! space maps into its memory (`BPF_F_MMAPABLE`, kernel 5.5), and the ring of evicted flows
//! (kernel 5.8). The loader sets the real sizes.
#![expect(unsafe_code, reason = "memory that both sides write")]

use core::mem;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, RingBuf},
};
use weir_sensor_common::{
    Counter, Slot, SlotWords,
    counters::Block,
    slot::SlotPtr,
    table::{Region, Shape, WAYS},
};

#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(16, BPF_F_MMAPABLE);

/// Eight 16-bit tags a bucket.
#[map]
static TAGS: Array<[u64; 2]> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// One octet a bucket, eight buckets an element: array elements are multiples of eight octets.
#[map]
static RELEASED: Array<[u8; 8]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static COUNTERS: Array<Block> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static EVICTED: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The counters of one CPU.
pub struct Counts(*mut Block);

impl Counts {
    #[inline(always)]
    pub fn of(cpu: u32) -> Option<Self> {
        COUNTERS.get_ptr_mut(cpu).map(Self)
    }

    #[inline(always)]
    pub fn add(&self, counter: Counter, count: u64) {
        // SAFETY: the block is this CPU's, and only the run on it writes; the index is below the
        // number of counters.
        unsafe {
            let value = &raw mut (*self.0).values[counter as usize];
            value.write_volatile(value.read_volatile().wrapping_add(count));
        }
    }
}

/// The part of the table that belongs to one CPU.
pub struct CpuRegion {
    first_bucket: u32,
}

impl CpuRegion {
    #[inline(always)]
    pub fn of(cpu: u32, shape: &Shape) -> Self {
        Self {
            first_bucket: cpu * (shape.bucket_mask + 1),
        }
    }
}

impl Region for CpuRegion {
    type Slot = SlotPtr;

    #[inline(always)]
    fn tags(&self, bucket: u32) -> Option<[u64; 2]> {
        let tags = TAGS.get_ptr(self.first_bucket + bucket)?;
        // SAFETY: the map returned a valid element, and only this CPU writes it.
        Some(unsafe { *tags })
    }

    #[inline(always)]
    fn set_tag(&mut self, bucket: u32, way: u32, tag: u16) {
        if let Some(tags) = TAGS.get_ptr_mut(self.first_bucket + bucket) {
            let lane = (way & (WAYS - 1)) as usize;
            // Lane 0 is the low end of the first word.
            let lane = if cfg!(target_endian = "big") {
                lane ^ 3
            } else {
                lane
            };
            // SAFETY: as above; the lane is one of the element's eight.
            unsafe { tags.cast::<u16>().add(lane).write(tag) }
        }
    }

    #[inline(always)]
    fn released(&self, bucket: u32) -> Option<u8> {
        let bucket = self.first_bucket + bucket;
        let octets = RELEASED.get_ptr(bucket / 8)?;
        // SAFETY: the map returned a valid element; user space writes it, hence volatile.
        Some(unsafe {
            octets
                .cast::<u8>()
                .add((bucket & 7) as usize)
                .read_volatile()
        })
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<SlotPtr> {
        let slot = SLOTS.get_ptr_mut(self.first_bucket * WAYS + index)?;
        // SAFETY: the map returned a valid element; this CPU's run is its one writer.
        Some(unsafe { SlotPtr::new(slot) })
    }

    #[inline(always)]
    fn evict(&mut self, victim: &SlotPtr) -> bool {
        // As words: the ring aligns records to eight octets only.
        let Some(mut entry) = EVICTED.reserve::<[u64; 8]>(0) else {
            return false;
        };
        // SAFETY: a slot is eight words without padding.
        entry.write(unsafe { mem::transmute::<Slot, [u64; 8]>(victim.copy()) });
        entry.submit(0);
        true
    }
}
