//! A flow's slot: one cache line, and the words of it that each side may write.
//!
//! The kernel program writes everything but `closed`; user space writes only `closed`. Both read
//! all of it. See [`crate::handover`] for why that suffices.
#![expect(unsafe_code, reason = "memory that both sides write")]

use core::ptr;

use crate::key::FlowKey;

/// The length of a tick where the clock counts nanoseconds (the exact clock, capture files), as a
/// power of two: 1.048576 ms, so 32 bits last 52 days. With the timer's clock a tick is a jiffy.
/// User space extends ticks with its own clock.
pub const TICK_SHIFT: u32 = 20;

/// A slot with so many packets takes no more. One packet may stand for 65,535, which a hostile guest can
/// have at little cost, so that 32 bits could wrap between two looks of the sweep; this many leave room
/// for one more. It is one bit, so that it is tested with the key.
pub const PACKETS_FULL: u32 = 1 << 31;

/// One flow of one CPU, 64 octets.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "bytemuck", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Slot {
    /// The flow's key, as of its first packet.
    pub key: FlowKey,
    /// Octets by the IP length fields.
    pub octets: u64,
    /// Packets, see [`PACKETS_FULL`].
    pub packets: u32,
    /// First packet, in ticks of the monotonic clock, modulo 2³².
    pub first_tick: u32,
    /// Last packet, likewise.
    pub last_tick: u32,
    /// TCP flags of all packets, or-ed.
    pub tcp_flags: u8,
    /// Generation: changes whenever the kernel puts a new flow here.
    pub born: u8,
    /// The generation user space has closed. The slot holds a live flow iff `born != closed`.
    pub closed: u8,
    /// Observation point: index of the interface in the sensor's list, times two, plus one for
    /// packets that leave.
    pub hook: u8,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// A packet as the table accounts it, one cache line: it waits so in its CPU's queue, see
/// [`crate::stage`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Sighting {
    /// The flow it belongs to.
    pub key: FlowKey,
    /// The key's hash, see [`crate::table::Shape::hash`].
    pub hash: u64,
    /// Octets by the IP length field.
    pub octets: u64,
    /// When, in ticks.
    pub tick: u32,
    /// Packets: one, or the segments that the card will make of it.
    pub packets: u16,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// Where it was seen.
    pub hook: u8,
}

const _: () = assert!(size_of::<Sighting>() == 64);

/// The words of a slot as either side reads and writes them. The kernel program, the daemon and
/// the pcap table use [`SlotPtr`]; the model test has a twin of its own.
pub trait SlotWords {
    /// The generation the kernel wrote.
    fn born(&self) -> u8;
    /// The generation user space closed.
    fn closed(&self) -> u8;
    /// User space only.
    fn set_closed(&self, generation: u8);
    /// Whether the slot's key equals this one under `mask`, at this hook, and the slot can count on: with
    /// [`PACKETS_FULL`] packets or more it cannot, and the flow goes on in another.
    fn holds(&self, key: &FlowKey, mask: u64, hook: u8) -> bool;
    /// 0 if the slot's addresses, in so far as they differ within a family, are the key's.
    fn address_difference(&self, key: &FlowKey) -> u64;
    /// Kernel only: adds a packet to the flow.
    fn add(&self, sighting: &Sighting);
    /// Kernel only: puts a new flow in the slot, `born` last.
    fn open(&self, sighting: &Sighting, born: u8);
    /// Packets so far.
    fn packets(&self) -> u32;
    /// Octets so far.
    fn octets(&self) -> u64;
    /// A copy of all words; torn unless the reader owns the slot.
    fn copy(&self) -> Slot;
}

/// A slot in memory that both sides share. Packets come in the order of their ticks, or, as in capture
/// files, in any: then first and last are found by comparing.
#[derive(Clone, Copy)]
pub struct SlotPtr<const IN_ORDER: bool = true>(*mut Slot);

/// Reads a field of the slot.
macro_rules! load {
    ($slot:expr, $($field:tt)+) => {{
        // SAFETY: `SlotPtr::new`'s caller promised a valid, aligned slot; volatile because the
        // other side may write at any time.
        unsafe { ptr::read_volatile(&raw const (*$slot.0).$($field)+) }
    }};
}

impl SlotPtr {
    /// Wraps a slot's address.
    ///
    /// # Safety
    /// `slot` must stay valid for volatile reads and writes, and aligned, as long as the value is
    /// used; only one thread may use the kernel's writing methods and only one `set_closed`.
    #[inline(always)]
    #[must_use]
    pub unsafe fn new(slot: *mut Slot) -> Self {
        Self(slot)
    }

    /// The same slot for packets in any order.
    #[inline(always)]
    #[must_use]
    pub const fn in_any_order(self) -> SlotPtr<false> {
        SlotPtr(self.0)
    }

    /// The flow's IP protocol.
    #[inline(always)]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        FlowKey::protocol_in(load!(self, key.attributes))
    }

    /// TCP flags so far.
    #[inline(always)]
    #[must_use]
    pub fn tcp_flags(&self) -> u8 {
        load!(self, tcp_flags)
    }

    /// The tick of the first packet.
    #[inline(always)]
    #[must_use]
    pub fn first_tick(&self) -> u32 {
        load!(self, first_tick)
    }

    /// The tick of the last packet.
    #[inline(always)]
    #[must_use]
    pub fn last_tick(&self) -> u32 {
        load!(self, last_tick)
    }

    /// Copies the slot word by word: a whole one would pass over the stack, twice, which in the kernel
    /// is short and costs three times the instructions.
    ///
    /// # Safety
    /// `to` must be valid for volatile writes, aligned, and nobody else's meanwhile.
    #[inline(always)]
    pub unsafe fn copy_to(&self, to: *mut Slot) {
        let (from, to) = (self.0.cast::<u64>(), to.cast::<u64>());
        for index in 0..size_of::<Slot>() / size_of::<u64>() {
            // SAFETY: within the slot, see `new`.
            let word = unsafe { from.wrapping_add(index).read_volatile() };
            // SAFETY: within the slot that the caller vouches for.
            unsafe { to.wrapping_add(index).write_volatile(word) };
        }
    }
}

/// Whether a tick comes after another; they are less than half of their range apart.
#[inline(always)]
const fn is_later(tick: u32, than: u32) -> bool {
    tick.wrapping_sub(than).cast_signed() > 0
}

/// Writes a field of the slot.
macro_rules! store {
    ($slot:expr, $($field:ident).+, $value:expr) => {{
        let value = $value;
        // SAFETY: as for `load!`; the field has one writer, see the trait.
        unsafe { ptr::write_volatile(&raw mut (*$slot.0).$($field).+, value) }
    }};
}

impl<const IN_ORDER: bool> SlotWords for SlotPtr<IN_ORDER> {
    #[inline(always)]
    fn born(&self) -> u8 {
        load!(self, born)
    }

    #[inline(always)]
    fn closed(&self) -> u8 {
        load!(self, closed)
    }

    #[inline(always)]
    fn set_closed(&self, generation: u8) {
        store!(self, closed, generation);
    }

    #[inline(always)]
    fn holds(&self, key: &FlowKey, mask: u64, hook: u8) -> bool {
        // Most flows that are not the packet's end here, half-way.
        if self.address_difference(key) != 0 {
            return false;
        }
        let difference = (load!(self, key.source[0]) ^ key.source[0])
            | (load!(self, key.destination[0]) ^ key.destination[0])
            | ((load!(self, key.attributes) ^ key.attributes) & mask);
        // All in one word: a branch fewer than by one after the other.
        let rest = u32::from(load!(self, hook) ^ hook) | (load!(self, packets) & PACKETS_FULL);
        difference | u64::from(rest) == 0
    }

    #[inline(always)]
    fn address_difference(&self, key: &FlowKey) -> u64 {
        (load!(self, key.source[1]) ^ key.source[1])
            | (load!(self, key.destination[1]) ^ key.destination[1])
    }

    #[inline(always)]
    fn add(&self, sighting: &Sighting) {
        store!(
            self,
            octets,
            load!(self, octets).wrapping_add(sighting.octets)
        );
        store!(
            self,
            packets,
            load!(self, packets).wrapping_add(u32::from(sighting.packets))
        );
        if IN_ORDER || is_later(sighting.tick, load!(self, last_tick)) {
            store!(self, last_tick, sighting.tick);
        } else {
            // By how far each lies behind the last: a flow may last longer than half of the ticks' range.
            let last = load!(self, last_tick);
            let first = load!(self, first_tick);
            if last.wrapping_sub(sighting.tick) > last.wrapping_sub(first) {
                store!(self, first_tick, sighting.tick);
            }
        }
        store!(self, tcp_flags, load!(self, tcp_flags) | sighting.tcp_flags);
    }

    #[inline(always)]
    fn open(&self, sighting: &Sighting, born: u8) {
        store!(self, key, sighting.key);
        store!(self, octets, sighting.octets);
        store!(self, packets, u32::from(sighting.packets));
        store!(self, first_tick, sighting.tick);
        store!(self, last_tick, sighting.tick);
        store!(self, tcp_flags, sighting.tcp_flags);
        store!(self, hook, sighting.hook);
        store!(self, born, born);
    }

    #[inline(always)]
    fn packets(&self) -> u32 {
        load!(self, packets)
    }

    #[inline(always)]
    fn octets(&self) -> u64 {
        load!(self, octets)
    }

    #[inline(always)]
    fn copy(&self) -> Slot {
        // SAFETY: as for `load!`; a torn copy is allowed, the caller's protocol decides.
        unsafe { ptr::read_volatile(self.0) }
    }
}
