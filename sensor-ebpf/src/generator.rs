//! For benches only, behind the feature `generator`: frames of many flows out of an interface, made
//! by a test run of one frame with `BPF_F_TEST_XDP_LIVE_FRAMES` (kernel 5.18), and what receives
//! them doing less than a sensor does.
//!
//! The kernel hands the same pages out again with what was last written to them, so a frame's
//! fields are always replaced whole and never changed by a difference.
#![expect(unsafe_code, reason = "packet memory and a helper")]

use aya_ebpf::{
    bindings::{
        BPF_F_MMAPABLE,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    helpers::generated::bpf_redirect,
    macros::{map, xdp},
    maps::Array,
    programs::XdpContext,
};

use crate::options::constants;

/// Flow numbers in the order in which they are sent, a power of two of them.
#[map]
static GENERATOR_SEQUENCE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Frames made so far. One thread runs the program, so nobody else writes it.
#[map]
static GENERATOR_POSITION: Array<u64> = Array::with_max_entries(1, 0);

/// In the sequence: a flow that was not sent before.
const FRESH: u64 = u64::MAX;
/// Octets from the IPv4 total length to the header checksum.
const LENGTH_TO_CHECKSUM: u32 = 8;

constants! {
    GENERATOR_IFINDEX: u32 = 0;
    /// The sequence's length minus one.
    GENERATOR_MASK: u32 = 0;
    /// Not zero: every flow is fresh, and the sequence is not read.
    GENERATOR_FLOOD: u8 = 0;
    /// Number of the flow that a fresh one at position 0 would be.
    GENERATOR_FIRST_FRESH: u32 = 0;
    /// Where the low 32 bits of the source address lie in the frame.
    GENERATOR_SOURCE_OFFSET: u32 = 0;
    /// Where the IPv4 header checksum lies; 0 for IPv6, which has none.
    GENERATOR_CHECKSUM_OFFSET: u32 = 0;
    /// Sum of the IPv4 header's 16-bit words but for length, checksum and source, in this machine's
    /// order of octets: the one's complement sum does not mind (RFC 1071 section 2B).
    GENERATOR_CHECKSUM_BASE: u32 = 0;
}

/// Gives the frame its flow and sends it out of the interface.
#[xdp]
pub fn weir_generate(context: XdpContext) -> u32 {
    let interface = GENERATOR_IFINDEX.get();
    // The loader attaches the program to the interface as well (it says why); what the interface
    // receives is not the generator's. A test run's frames come from `lo`.
    if context.ingress_ifindex() as u32 == interface {
        return XDP_PASS;
    }
    match dress(&context) {
        // SAFETY: the helper has no preconditions.
        Some(()) => unsafe { bpf_redirect(interface, 0) as u32 },
        None => XDP_DROP,
    }
}

/// Writes the next flow's address, and the checksum that belongs to it.
#[inline(always)]
fn dress(context: &XdpContext) -> Option<()> {
    let address = next_flow()?.wrapping_mul(0x9e37_79b1);
    let source = field::<4>(context, GENERATOR_SOURCE_OFFSET.get())?;
    // SAFETY: within the frame, as `field` checked.
    unsafe { source.write(address.to_ne_bytes()) };
    let offset = GENERATOR_CHECKSUM_OFFSET.get();
    if offset == 0 {
        return Some(());
    }
    let length = field::<2>(context, offset.wrapping_sub(LENGTH_TO_CHECKSUM))?;
    // SAFETY: as above.
    let length = u16::from_ne_bytes(unsafe { length.read() });
    let sum =
        GENERATOR_CHECKSUM_BASE.get() + u32::from(length) + (address & 0xffff) + (address >> 16);
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    let place = field::<2>(context, offset)?;
    // SAFETY: as above.
    unsafe { place.write(checksum.to_ne_bytes()) };
    Some(())
}

#[inline(always)]
fn next_flow() -> Option<u32> {
    let position = GENERATOR_POSITION.get_ptr_mut(0)?;
    // SAFETY: a valid element that nobody else writes.
    let at = unsafe { *position };
    // SAFETY: as above.
    unsafe { *position = at.wrapping_add(1) };
    let fresh = GENERATOR_FIRST_FRESH.get().wrapping_add(at as u32);
    if GENERATOR_FLOOD.get() != 0 {
        return Some(fresh);
    }
    let flow = *GENERATOR_SEQUENCE.get(at as u32 & GENERATOR_MASK.get())?;
    Some(if flow == FRESH { fresh } else { flow as u32 })
}

/// A field of the frame, if the frame holds it.
#[inline(always)]
fn field<const N: usize>(context: &XdpContext, offset: u32) -> Option<*mut [u8; N]> {
    // The bound is for the verifier: headers lie below it.
    let start = context.data() + (offset & 63) as usize;
    if start + N > context.data_end() {
        return None;
    }
    Some(start as *mut [u8; N])
}

/// The receiver that does nothing: what generator and wire cost.
#[xdp]
pub fn weir_drop(_context: XdpContext) -> u32 {
    XDP_DROP
}
