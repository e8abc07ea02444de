//! What user space fixes before the program is loaded. These are read-only to the program, and
//! the verifier knows their values: it removes the branches of options that are off.
#![expect(unsafe_code, reason = "helpers and constants that the loader sets")]

use core::ptr;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_jiffies64};
use weir_sensor_common::{Fields, hash::Seed, slot::TICK_SHIFT, table::Shape, tunnel::Tunnels};

#[unsafe(no_mangle)]
static BUCKET_MASK: u32 = 1;
#[unsafe(no_mangle)]
static KEY_MASK: u64 = u64::MAX;
#[unsafe(no_mangle)]
static SEED: Seed = Seed::new([0; 5]);
#[unsafe(no_mangle)]
static STAGES: u32 = 1;
#[unsafe(no_mangle)]
static RING_MASK: u32 = 0;
#[unsafe(no_mangle)]
static SEVERAL: u8 = 0;
#[unsafe(no_mangle)]
static RAW: u8 = 0;
#[unsafe(no_mangle)]
static DROP: u8 = 0;
#[unsafe(no_mangle)]
static FILTER: u8 = 0;
#[unsafe(no_mangle)]
static JOIN_FRAGMENTS: u8 = 0;
#[unsafe(no_mangle)]
static V4_ONLY: u8 = 0;
#[unsafe(no_mangle)]
static TUNNELS: u8 = 0;
#[unsafe(no_mangle)]
static EXTRA: u8 = 0;
#[unsafe(no_mangle)]
static SAMPLING: u32 = 1;
#[unsafe(no_mangle)]
static SAMPLING_RANDOM: u8 = 0;
#[unsafe(no_mangle)]
static EXACT_CLOCK: u8 = 0;
#[unsafe(no_mangle)]
static DEBUG_LOG: u8 = 0;

#[inline(always)]
pub fn load<T: Copy>(option: &'static T) -> T {
    // SAFETY: a reference is valid; volatile because the loader replaces the value.
    unsafe { ptr::read_volatile(option) }
}

/// An option that may be off, as it is until the loader sets it. With the feature `bare` the
/// compiler takes that for granted, and what belongs to the option is not in the object.
#[inline(always)]
fn optional<T: Copy>(option: &'static T) -> T {
    if cfg!(feature = "bare") {
        *option
    } else {
        load(option)
    }
}

#[inline(always)]
pub fn shape() -> Shape {
    Shape {
        bucket_mask: load(&BUCKET_MASK),
        seed: load(&SEED),
        key_mask: load(&KEY_MASK),
    }
}

/// Length of a CPU's queue.
#[inline(always)]
pub fn stages() -> u32 {
    load(&STAGES)
}

/// Entries of a CPU's ring of evicted flows, a power of two, minus one.
#[inline(always)]
pub fn ring_mask() -> u32 {
    load(&RING_MASK)
}

/// Whether there are several interfaces: which one it is has then to be looked up.
#[inline(always)]
pub fn several() -> bool {
    optional(&SEVERAL) != 0
}

/// Whether the one interface has no Ethernet header (tunnels, PPP).
#[inline(always)]
pub fn raw() -> bool {
    optional(&RAW) != 0
}

/// Whether received frames end here instead of going on.
#[inline(always)]
pub fn drop() -> bool {
    optional(&DROP) != 0
}

/// Whether packets pass a filter first, which user space makes of an expression.
#[inline(always)]
pub fn filter() -> bool {
    optional(&FILTER) != 0
}

/// Whether later fragments inherit ports.
#[inline(always)]
pub fn fragments() -> bool {
    optional(&JOIN_FRAGMENTS) != 0
}

/// Whether IPv6 is counted as no IP.
#[inline(always)]
pub fn v4_only() -> bool {
    optional(&V4_ONLY) != 0
}

/// Which tunnels are entered.
#[inline(always)]
pub fn tunnels() -> Tunnels {
    Tunnels(optional(&TUNNELS))
}

/// What is read of a packet beside its key.
#[inline(always)]
pub fn extra() -> Fields {
    Fields(load(&EXTRA))
}

/// One packet in so many is metered.
#[inline(always)]
pub fn sampling() -> u32 {
    optional(&SAMPLING)
}

/// Whether it is drawn at random, instead of counted off.
#[inline(always)]
pub fn sampling_random() -> bool {
    optional(&SAMPLING_RANDOM) != 0
}

#[inline(always)]
pub fn debug_log() -> bool {
    optional(&DEBUG_LOG) != 0
}

/// The CPU this run is on; it stays there until it ends.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

/// Now, in ticks. The timer's clock (kernel 5.5) is as fine as the timer interrupt (1–10 ms), and
/// the verifier makes a load of it; the exact one is a call that reads the hardware behind a fence.
#[inline(always)]
pub fn tick() -> u32 {
    if optional(&EXACT_CLOCK) != 0 {
        // SAFETY: the helper has no preconditions.
        (unsafe { bpf_ktime_get_ns() } >> TICK_SHIFT) as u32
    } else {
        timer_tick()
    }
}

/// Now, in the timer's ticks, whatever flows are stamped with.
#[inline(always)]
pub fn timer_tick() -> u32 {
    // SAFETY: the helper has no preconditions.
    (unsafe { bpf_jiffies64() }) as u32
}
