//! What the program shares with user space, which maps it into its memory (`BPF_F_MMAPABLE`,
//! kernel 5.5): the table's three arrays, the CPUs' counters and queues, and their rings of flows
//! that were pushed out. The loader sets the real sizes.
//!
//! The rings are plain arrays with one writer and one reader each. The kernel's own ring buffer
//! takes a lock for each entry, which every CPU shares and which waits until the cache lines that
//! were touched ahead (see [`weir_sensor_common::stage`]) have arrived: under a flood that was half
//! the cost of a packet. It serves as the bell that wakes user space when a ring fills.
//!
//! What is read of packets beside their keys lies in side arrays, at the places that the queues'
//! packets, the slots and the rings' entries have in theirs. While nothing is asked for they have
//! one element, and the verifier removes what would use them.
#![expect(unsafe_code, reason = "memory that both sides write")]

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_FORCE_WAKEUP},
    cty::c_void,
    helpers::bpf_map_lookup_elem,
    macros::map,
    maps::{Array, LruHashMap, RingBuf},
};
use weir_sensor_common::{
    Counter, Extra, Fields, Slot, SlotWords, Walked, extra,
    fragment::{self, FragmentKey, Memory},
    interface::{INTERFACES_MAX, Interface},
    slot::{Sighting, SlotPtr},
    stage::{Cpu, STAGES_MAX},
    table::{PAGE, Places, Region, Shape, WAYS, next_tag},
};

use crate::{meter::Found, options};

#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(16, BPF_F_MMAPABLE);

/// Eight 16-bit tags a bucket, a page of buckets an element: those of a flow are in one.
#[map]
static TAGS: Array<[[u64; 2]; PAGE as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One octet a bucket, likewise.
#[map]
static RELEASED: Array<[u8; PAGE as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static CPUS: Array<Cpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// As many flows an element as a queue may push out.
#[map]
static EVICTED: Array<[Slot; STAGES_MAX as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// How many of them user space has taken: one line a CPU, which only user space writes.
#[map]
static TAKEN: Array<[u64; 8]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Live flows are few until so many were opened on a CPU; only user space writes it.
#[map]
static FEW_UNTIL: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Beside `SLOTS`: of each flow's first packet.
#[map]
static EXTRAS: Array<Extra> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Beside the CPUs' queues, [`STAGES_MAX`] a CPU.
#[map]
static EXTRA_STAGE: Array<Extra> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Beside `EVICTED`.
#[map]
static EVICTED_EXTRA: Array<Extra> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What a CPU's step has found in a packet's headers, for the next step.
#[map]
static FOUND: Array<Found> = Array::with_max_entries(1, 0);

/// The interfaces metered, by ifIndex modulo the length; one that is not in it has another ifIndex.
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(1, 0);

/// Protocol and ports of first fragments; the least recently used give way (kernel 4.10).
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, u64> = LruHashMap::with_max_entries(1, 0);

#[map]
static BELL: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The element of this number, which stays where it is: aya's way there puts it on the stack first.
/// Between loads that are to be under way together each instruction counts.
///
/// # Safety
/// `number` must point to memory that the verifier lets helpers read.
#[inline(always)]
unsafe fn element<T>(array: &'static Array<T>, number: *const u32) -> Option<*mut T> {
    // An `Array` is its map's definition and nothing else; the loader puts the map in its place.
    let map = ptr::from_ref(array).cast_mut().cast::<c_void>();
    // SAFETY: the map is one, and the caller vouches for the number.
    let element = unsafe { bpf_map_lookup_elem(map, number.cast::<c_void>()) }.cast::<T>();
    (!element.is_null()).then_some(element)
}

/// A bucket's tags in the element of its page.
///
/// # Safety
/// `page` must be a valid element.
#[inline(always)]
unsafe fn tags_in(page: *mut [[u64; 2]; PAGE as usize], bucket: u32) -> *mut [u64; 2] {
    // SAFETY: one of the element's buckets.
    unsafe { page.cast::<[u64; 2]>().add((bucket % PAGE) as usize) }
}

/// User space's parity bits of a bucket in the element of its page.
///
/// # Safety
/// `page` must be a valid element.
#[inline(always)]
unsafe fn released_in(page: *mut [u8; PAGE as usize], bucket: u32) -> *mut u8 {
    // SAFETY: one of the element's buckets.
    unsafe { page.cast::<u8>().add((bucket % PAGE) as usize) }
}

/// An interface that is metered, if it is.
#[inline(always)]
pub fn interface(ifindex: u32) -> Option<&'static Interface> {
    INTERFACES
        .get(ifindex % INTERFACES_MAX)
        .filter(|interface| interface.ifindex == ifindex)
}

/// Gives a later fragment the protocol and ports of its first, and remembers a first one's.
#[inline(always)]
pub fn join_fragments(walked: &mut Walked) {
    let (memory, key) = fragment::memory(walked);
    match memory {
        Memory::None => {}
        // A memory that cannot take it costs ports, no packet.
        Memory::Keep => {
            let _ = FRAGMENTS.insert(&key, fragment::transport(walked), 0);
        }
        Memory::Recall => {
            // SAFETY: read at once; an entry reused meanwhile gives some other packet's ports.
            if let Some(transport) = unsafe { FRAGMENTS.get(&key) } {
                fragment::inherit(walked, *transport);
            }
        }
    }
}

/// Where a step leaves the next one what it found in the headers.
#[inline(always)]
pub fn found(cpu: u32) -> Option<&'static mut Found> {
    // SAFETY: a valid element that only the run on this CPU uses, and each step once.
    FOUND.get_ptr_mut(cpu).map(|found| unsafe { &mut *found })
}

/// Where in `EXTRA_STAGE` lies what belongs to a place of a CPU's queue.
#[inline(always)]
fn staged(cpu: u32, index: u32) -> u32 {
    cpu * STAGES_MAX + (index & (STAGES_MAX - 1))
}

/// Notes what was read of the packet that will have this place in the queue.
#[inline(always)]
pub fn stage_extra(cpu: u32, index: u32, extra: &Extra) {
    if let Some(place) = EXTRA_STAGE.get_ptr_mut(staged(cpu, index)) {
        // SAFETY: a valid element that only the run on this CPU writes.
        unsafe { place.write(*extra) };
    }
}

/// Adds what only the walk knows; returns the packet's MAC addresses.
#[inline(always)]
pub fn complete_extra(cpu: u32, index: u32, flow_label: u32) -> [u32; 3] {
    let Some(place) = EXTRA_STAGE.get_ptr_mut(staged(cpu, index)) else {
        return [0; 3];
    };
    if options::fields().has(Fields::FLOW_LABEL) {
        // SAFETY: a valid element that only the run on this CPU writes.
        unsafe { (*place).flow_label = flow_label };
    }
    // SAFETY: as above.
    unsafe { (*place).macs }
}

/// Copies word by word: a whole one would pass over the stack, which is short.
///
/// # Safety
/// Both must be valid elements, the second one that the kernel half alone writes now.
#[inline(always)]
unsafe fn copy_extra(from: *const Extra, to: *mut Extra) {
    for index in 0..size_of::<Extra>() / size_of::<u64>() {
        // SAFETY: within the element; volatile, since user space reads it, and so before what
        // says that it is there.
        unsafe {
            let word = from.cast::<u64>().add(index).read_volatile();
            to.cast::<u64>().add(index).write_volatile(word);
        }
    }
}

/// A place of the rings, as they lie one after the other.
#[inline(always)]
fn ring_entry(place: u32) -> Option<*mut Slot> {
    let part = EVICTED.get_ptr_mut(place / STAGES_MAX)?;
    // SAFETY: one of the element's entries.
    Some(unsafe { part.cast::<Slot>().add((place % STAGES_MAX) as usize) })
}

/// As much of a ring as an element holds.
pub struct RingPart(*const Slot);

impl RingPart {
    /// Has one of its entries fetched.
    #[inline(always)]
    pub fn fetch(&self, index: u32) {
        // SAFETY: one of the element's entries.
        let entry = unsafe { self.0.add((index & (STAGES_MAX - 1)) as usize) };
        // SAFETY: as above; volatile so that it is read though nothing is done with it.
        let _ = unsafe { entry.cast::<u64>().read_volatile() };
    }
}

/// What belongs to one CPU beside its region: counters and queue.
#[derive(Clone, Copy)]
pub struct CpuState(*mut Cpu);

impl CpuState {
    #[inline(always)]
    pub fn of(cpu: u32) -> Option<Self> {
        CPUS.get_ptr_mut(cpu).map(Self)
    }

    #[inline(always)]
    pub fn add(&self, counter: Counter, count: u64) {
        // SAFETY: the block is this CPU's, and only the run on it writes; the index is below the
        // number of counters.
        unsafe {
            let value = &raw mut (*self.0).counters.values[counter as usize];
            value.write_volatile(value.read_volatile().wrapping_add(count));
        }
    }

    /// Counts packets for sampling: whether this is the one in so many.
    #[inline(always)]
    pub fn every(&self, interval: u32) -> bool {
        // SAFETY: as above.
        unsafe {
            let left = &raw mut (*self.0).unsampled;
            let next = *left + 1;
            *left = if next >= interval { 0 } else { next };
            next >= interval
        }
    }

    /// Puts a packet into the queue; returns how many wait then.
    #[inline(always)]
    pub fn push(&self, sighting: &Sighting) -> u32 {
        // SAFETY: the queue is this CPU's, and `at` checks the index.
        unsafe {
            let waiting = &raw mut (*self.0).stage.waiting;
            let index = *waiting;
            self.at(index).write(*sighting);
            *waiting = index + 1;
            index + 1
        }
    }

    /// Packets in the queue.
    #[inline(always)]
    pub fn waiting(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).stage.waiting }
    }

    /// A packet of the queue.
    #[inline(always)]
    pub fn sighting(&self, index: u32) -> &Sighting {
        // SAFETY: as above; nothing else refers to the queue while the program runs.
        unsafe { &*self.at(index) }
    }

    /// Notes where the flow of a packet in the queue may be.
    #[inline(always)]
    pub fn set_places(&self, index: u32, places: &Places, first_bucket: u32) {
        let index = (index & (STAGES_MAX - 1)) as usize;
        let [first, second] = places.buckets;
        let (first, second) = (first_bucket + first, first_bucket + second);
        // SAFETY: as above; the index is within the arrays.
        unsafe {
            (*self.0).stage.likely[index] = first * WAYS + places.home;
            (*self.0).stage.pages[index] = first / PAGE;
            (*self.0).stage.buckets[index] = [first, second];
        }
    }

    /// The slot where a packet of the queue is looked for first, as [`SLOTS`] numbers it.
    #[inline(always)]
    pub fn likely(&self, index: u32) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).stage.likely[(index & (STAGES_MAX - 1)) as usize] }
    }

    #[inline(always)]
    pub fn set_likely(&self, index: u32, slot: u32) {
        // SAFETY: as above.
        unsafe { (*self.0).stage.likely[(index & (STAGES_MAX - 1)) as usize] = slot };
    }

    /// That slot itself.
    #[inline(always)]
    pub fn likely_slot(&self, index: u32) -> Option<SlotPtr> {
        // SAFETY: the number is in an element of a map. The map returned a valid element; this CPU's
        // run is its one writer.
        unsafe { Some(SlotPtr::new(element(&SLOTS, self.likely_number(index))?)) }
    }

    /// Has that slot fetched, and what is compared with it.
    #[inline(always)]
    pub fn fetch_likely(&self, index: u32, with_macs: bool) {
        if let Some(slot) = self.likely_slot(index) {
            // A volatile read of shared memory, which no compiler leaves out.
            slot.born();
        }
        // SAFETY: as above.
        if with_macs && let Some(extra) = unsafe { element(&EXTRAS, self.likely_number(index)) } {
            // SAFETY: a valid element.
            let _ = unsafe { extra.cast::<u64>().read_volatile() };
        }
    }

    #[inline(always)]
    fn likely_number(&self, index: u32) -> *const u32 {
        // SAFETY: as above.
        unsafe { &raw const (*self.0).stage.likely[(index & (STAGES_MAX - 1)) as usize] }
    }

    /// The two buckets where the flow of a packet in the queue may be, as [`TAGS`] numbers them.
    #[inline(always)]
    pub fn buckets(&self, index: u32) -> [u32; 2] {
        // SAFETY: as above.
        unsafe { (*self.0).stage.buckets[(index & (STAGES_MAX - 1)) as usize] }
    }

    /// Has their tags fetched, each bucket's by a word of its line.
    #[inline(always)]
    pub fn fetch_tags(&self, index: u32) {
        if let Some(page) = self.page_of(&TAGS, index) {
            for bucket in self.buckets(index) {
                // SAFETY: within the element; volatile so that it is read though nothing is done with it.
                let _ = unsafe { tags_in(page, bucket).cast::<u64>().read_volatile() };
            }
        }
    }

    /// Their tags.
    #[inline(always)]
    pub fn tags(&self, index: u32) -> Option<[[u64; 2]; 2]> {
        let page = self.page_of(&TAGS, index)?;
        // SAFETY: within the element, which only this CPU writes.
        let tags = |bucket| unsafe { tags_in(page, bucket).read_volatile() };
        Some(self.buckets(index).map(tags))
    }

    /// The element of their page.
    #[inline(always)]
    fn page_of<T>(&self, array: &'static Array<T>, index: u32) -> Option<*mut T> {
        // SAFETY: as above; the number is in an element of a map.
        unsafe {
            let pages = (&raw const (*self.0).stage.pages).cast::<u32>();
            element(array, pages.add((index & (STAGES_MAX - 1)) as usize))
        }
    }

    /// Flows opened since this was asked last.
    #[inline(always)]
    pub fn opened(&self) -> u64 {
        // SAFETY: as above.
        unsafe {
            let opened = (*self.0).counters.values[Counter::FlowsCreated as usize];
            let before = (*self.0).stage.opened;
            (*self.0).stage.opened = opened;
            opened.wrapping_sub(before)
        }
    }

    /// Flows pushed out since this was asked last.
    #[inline(always)]
    pub fn pushed_out(&self) -> u64 {
        // SAFETY: as above.
        unsafe {
            let handed_over = (*self.0).counters.values[Counter::FlowsEvicted as usize];
            let lost = (*self.0).counters.values[Counter::LostRingFlows as usize];
            let pushed_out = handed_over.wrapping_add(lost);
            let before = (*self.0).stage.pushed_out;
            (*self.0).stage.pushed_out = pushed_out;
            pushed_out.wrapping_sub(before)
        }
    }

    /// Whether hardly a packet of the next queue needs to ask for a free way.
    #[inline(always)]
    pub fn seems_full(&self) -> bool {
        // SAFETY: as above; volatile, see `away`.
        unsafe { (&raw const (*self.0).stage.full).read_volatile() != 0 }
    }

    #[inline(always)]
    pub fn set_seems_full(&self, full: bool) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0).stage.full).write_volatile(u32::from(full)) };
    }

    /// The part of the CPU's ring after the one that the next flow pushed out goes to.
    #[inline(always)]
    pub fn next_ring_part(&self, cpu: u32) -> Option<RingPart> {
        let mask = options::ring_mask();
        // SAFETY: as above.
        let evicted = unsafe { (*self.0).evicted } as u32;
        let place = (mask + 1) * cpu + (evicted.wrapping_add(STAGES_MAX) & mask);
        let part = EVICTED.get_ptr(place / STAGES_MAX)?;
        Some(RingPart(part.cast()))
    }

    /// The `nth` packet of the queue that is not at home.
    #[inline(always)]
    pub fn stray(&self, nth: u32) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).stage.strays[(nth & (STAGES_MAX - 1)) as usize] }
    }

    #[inline(always)]
    pub fn set_stray(&self, nth: u32, index: u32) {
        // SAFETY: as above.
        unsafe { (*self.0).stage.strays[(nth & (STAGES_MAX - 1)) as usize] = index };
    }

    /// How many of the queue's packets are not at home, as it was noted. The verifier does not remember
    /// what lies in a map: it would follow what comes next once for each number that it may be.
    #[inline(always)]
    pub fn away(&self) -> u32 {
        // SAFETY: as above; volatile so that it comes from there.
        unsafe { (&raw const (*self.0).stage.away).read_volatile() }
    }

    #[inline(always)]
    pub fn set_away(&self, strays: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0).stage.away).write_volatile(strays) };
    }

    /// Whether packets of flows that are there are accounted without the queue.
    #[inline(always)]
    pub fn has_few(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).stage.few != 0 }
    }

    /// Empties the queue. Whether live flows are few is asked only now: a packet that is accounted at once must not
    /// overtake one of its flow that waits.
    #[inline(always)]
    pub fn clear(&self, cpu: u32) {
        let few = FEW_UNTIL.get_ptr(cpu).is_some_and(|until| {
            // SAFETY: a valid element; user space writes it, hence volatile.
            let until = unsafe { until.read_volatile() };
            // SAFETY: as above.
            unsafe { (*self.0).counters.values[Counter::FlowsCreated as usize] < until }
        });
        // SAFETY: as above.
        unsafe {
            (*self.0).stage.few = u32::from(few);
            (*self.0).stage.waiting = 0;
        }
    }

    #[inline(always)]
    fn at(&self, index: u32) -> *mut Sighting {
        // SAFETY: the state is valid, and the index below the queue's length.
        unsafe {
            (&raw mut (*self.0).stage.sightings)
                .cast::<Sighting>()
                .add((index & (STAGES_MAX - 1)) as usize)
        }
    }
}

/// The part of the table that belongs to one CPU.
pub struct CpuRegion {
    cpu: u32,
    first_bucket: u32,
    state: CpuState,
    /// Where in `EXTRA_STAGE` the packet's lies that is accounted.
    staged: u32,
    /// Whether the packet that is accounted need not ask for a free way.
    seems_full: bool,
}

/// One packet in so many asks for a free way even if there seems to be none.
const ASKS_EVERY: u32 = 8;

impl CpuRegion {
    #[inline(always)]
    pub fn of(cpu: u32, shape: &Shape, state: CpuState) -> Self {
        Self {
            cpu,
            first_bucket: cpu * (shape.bucket_mask + 1),
            state,
            staged: staged(cpu, 0),
            seems_full: false,
        }
    }

    /// The region's first bucket, as [`TAGS`] numbers it.
    #[inline(always)]
    pub fn first_bucket(&self) -> u32 {
        self.first_bucket
    }

    /// The numbers of a region's buckets among those of all CPUs.
    #[inline(always)]
    fn whole(&self, [first, second]: [u32; 2]) -> [u32; 2] {
        [self.first_bucket + first, self.first_bucket + second]
    }

    /// To account the packet at this place of the queue.
    #[inline(always)]
    pub fn for_packet(self, index: u32) -> Self {
        Self {
            staged: staged(self.cpu, index),
            seems_full: index % ASKS_EVERY != 0 && self.state.seems_full(),
            ..self
        }
    }

    #[inline(always)]
    fn extra(&self, index: u32) -> Option<*mut Extra> {
        EXTRAS.get_ptr_mut(self.first_bucket * WAYS + index)
    }

    /// Whether the ring has room for one more flow than were pushed out so far. What user space has taken is
    /// asked only when the room last seen is used up: it writes that line flow by flow, on another CPU.
    #[inline(always)]
    fn has_room(&self, evicted: u64, mask: u32) -> bool {
        // SAFETY: the state is this CPU's, and only the run on it writes the field.
        if evicted != unsafe { (*self.state.0).room_until } {
            return true;
        }
        let Some(taken) = TAKEN.get_ptr(self.cpu) else {
            return false;
        };
        // SAFETY: a valid element; user space writes it, hence volatile.
        let taken = unsafe { taken.cast::<u64>().read_volatile() };
        let room_until = taken.wrapping_add(u64::from(mask) + 1);
        // SAFETY: as above.
        unsafe { (*self.state.0).room_until = room_until };
        evicted != room_until
    }

    /// Wakes user space. If the bell rings already there is no place, and no need.
    #[inline(always)]
    fn ring_bell(&self) {
        let _ = BELL.output::<u64>(u64::from(self.cpu), BPF_RB_FORCE_WAKEUP.into());
    }
}

impl Region for CpuRegion {
    type Slot = SlotPtr;

    #[inline(always)]
    fn tags(&self, buckets: [u32; 2]) -> Option<[[u64; 2]; 2]> {
        let [first, second] = self.whole(buckets);
        let page = TAGS.get_ptr_mut(first / PAGE)?;
        // SAFETY: within the element, which only this CPU writes; volatile so that it is also read where
        // nothing is done with it.
        let tags = |bucket| unsafe { tags_in(page, bucket).read_volatile() };
        Some([tags(first), tags(second)])
    }

    #[inline(always)]
    fn set_tag(&mut self, bucket: u32, way: u32, tag: u16, flip: u16) {
        let [bucket, _] = self.whole([bucket; 2]);
        if let Some(page) = TAGS.get_ptr_mut(bucket / PAGE) {
            let lane = (way & (WAYS - 1)) as usize;
            // Lane 0 is the low end of the first word.
            let lane = if cfg!(target_endian = "big") {
                lane ^ 3
            } else {
                lane
            };
            // SAFETY: as above; the lane is one of the bucket's eight.
            unsafe {
                let place = tags_in(page, bucket).cast::<u16>().add(lane);
                place.write(next_tag(place.read(), tag, flip));
            }
        }
    }

    #[inline(always)]
    fn released(&self, buckets: [u32; 2]) -> Option<[u8; 2]> {
        let [first, second] = self.whole(buckets);
        let page = RELEASED.get_ptr_mut(first / PAGE)?;
        // SAFETY: within the element; user space writes it, hence volatile.
        let released = |bucket| unsafe { released_in(page, bucket).read_volatile() };
        Some([released(first), released(second)])
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<SlotPtr> {
        let slot = SLOTS.get_ptr_mut(self.first_bucket * WAYS + index)?;
        // SAFETY: the map returned a valid element; this CPU's run is its one writer.
        Some(unsafe { SlotPtr::new(slot) })
    }

    #[inline(always)]
    fn evict(&mut self, victim: &SlotPtr, index: u32) -> bool {
        let mask = options::ring_mask();
        // SAFETY: the state is this CPU's, and only the run on it writes the field.
        let evicted = unsafe { (*self.state.0).evicted };
        if !self.has_room(evicted, mask) {
            return false;
        }
        let place = (mask + 1) * self.cpu + (evicted as u32 & mask);
        let Some(entry) = ring_entry(place) else {
            return false;
        };
        // SAFETY: a valid element that user space does not read before the count says so.
        unsafe { victim.copy_to(entry) };
        if options::fields() != Fields::NONE
            && let Some(beside) = EVICTED_EXTRA.get_ptr_mut(place)
            && let Some(extra) = self.extra(index)
        {
            // SAFETY: likewise; the other belongs to a slot of this CPU.
            unsafe { copy_extra(extra, beside) };
        }
        // SAFETY: as for the count above; volatile, and so after the entry.
        unsafe { (&raw mut (*self.state.0).evicted).write_volatile(evicted.wrapping_add(1)) };
        // Three times on its way to full, and whenever a quarter more has come.
        if evicted as u32 & (mask >> 2) == mask >> 2 {
            self.ring_bell();
        }
        true
    }

    #[inline(always)]
    fn seems_full(&self) -> bool {
        self.seems_full
    }

    #[inline(always)]
    fn has_macs(&self, index: u32) -> bool {
        let Some(extra) = self.extra(index) else {
            return false;
        };
        let Some(packet) = EXTRA_STAGE.get_ptr(self.staged) else {
            return false;
        };
        // SAFETY: a valid element, which no other run writes meanwhile.
        let found = unsafe { &(*extra).macs };
        // SAFETY: as above.
        let wanted = unsafe { &(*packet).macs };
        extra::same_macs(found, wanted)
    }

    #[inline(always)]
    fn fetch_macs(&self, index: u32) {
        if let Some(extra) = self.extra(index) {
            // SAFETY: a valid element; volatile so that it is read though nothing is done with it.
            let _ = unsafe { extra.cast::<u64>().read_volatile() };
        }
    }

    #[inline(always)]
    fn keep_extra(&mut self, index: u32) {
        if options::fields() == Fields::NONE {
            return;
        }
        if let Some(packet) = EXTRA_STAGE.get_ptr(self.staged)
            && let Some(extra) = self.extra(index)
        {
            // SAFETY: valid elements; the slot beside the second is this run's to write.
            unsafe { copy_extra(packet, extra) };
        }
    }
}
