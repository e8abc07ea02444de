//! What user space fixes before the program is loaded. These are read-only to the program, and
//! the verifier knows their values: it removes the branches of options that are off.
#![expect(unsafe_code, reason = "helpers and constants that the loader sets")]

use core::cell::UnsafeCell;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_jiffies64};
use weir_sensor_common::{Fields, Switches, hash::Seed, slot::TICK_SHIFT, table::Shape};

/// What the loader replaces. To the compiler it is something that others may write, so that it does not rely on what is
/// here, nor does the linker, to which its name belongs to others (`no_mangle`); unlike a volatile read, one of this is
/// left out or put off where that is better.
#[repr(transparent)]
pub struct Constant<T>(UnsafeCell<T>);

// SAFETY: nobody writes it once the program is loaded.
unsafe impl<T> Sync for Constant<T> {}

impl<T: Copy> Constant<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: as above.
        unsafe { *self.0.get() }
    }
}

/// Constants by the names that the loader looks for, in a section that the program cannot write: only then the verifier
/// takes them for constants.
macro_rules! constants {
    ($($(#[$attribute:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $(
            $(#[$attribute])*
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".rodata.constants")]
            static $name: $crate::options::Constant<$type> = $crate::options::Constant::new($value);
        )*
    };
}
#[cfg(any(feature = "baseline", feature = "generator"))]
pub(crate) use constants;

constants! {
    BUCKET_MASK: u32 = 1;
    KEY_MASK: u64 = u64::MAX;
    SEED: Seed = Seed::new([0; 5]);
    STAGES: u32 = 1;
    RING_MASK: u32 = 0;
    SWITCHES: u32 = 0;
    SAMPLING: u32 = 1;
}

/// What is switched on. With the feature `bare` nothing is, which the compiler then knows, and what belongs to the
/// options is not in the object.
#[inline(always)]
pub fn switches() -> Switches {
    if cfg!(feature = "bare") {
        Switches::NONE
    } else {
        Switches(SWITCHES.get())
    }
}

#[inline(always)]
pub fn shape() -> Shape {
    Shape {
        bucket_mask: BUCKET_MASK.get(),
        seed: SEED.get(),
        key_mask: KEY_MASK.get(),
    }
}

/// Length of a CPU's queue.
#[inline(always)]
pub fn stages() -> u32 {
    STAGES.get()
}

/// Entries of a CPU's ring of evicted flows, a power of two, minus one.
#[inline(always)]
pub fn ring_mask() -> u32 {
    RING_MASK.get()
}

/// What is read of a packet beside its key.
#[inline(always)]
pub fn fields() -> Fields {
    switches().fields()
}

/// One packet in so many is metered, if [`Switches::SAMPLING`] is on.
#[inline(always)]
pub fn sampling() -> u32 {
    SAMPLING.get()
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
pub fn tick(on: Switches) -> u32 {
    if on.has(Switches::EXACT_CLOCK) {
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
