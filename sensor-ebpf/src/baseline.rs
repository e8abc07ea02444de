//! For benches only, behind the feature `baseline`: the same walk accounted in a kernel hash map,
//! and no accounting at all. Two more programs in the object, loaded by nobody else.
#![expect(
    unsafe_code,
    reason = "map values shared between CPUs, as peers use them"
)]

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action::XDP_PASS},
    macros::{map, xdp},
    maps::{Array, HashMap},
    programs::XdpContext,
};
use weir_sensor_common::{FlowKey, walk};

use crate::{
    frame::Frame,
    meter::{self, Direction},
    options::{self, constants},
};

/// What the kernel's table keeps for a flow: as much as a slot beside its key.
#[repr(C)]
#[derive(Clone, Copy)]
struct Value {
    octets: u64,
    packets: u64,
    first_tick: u32,
    last_tick: u32,
    tcp_flags: u64,
    rest: [u64; 4],
}

#[map]
static BASELINE: HashMap<FlowKey, Value> = HashMap::with_max_entries(16, 0);

/// Source addresses that frames are given before they are metered, one after the other, so that a
/// test run of one frame is traffic of many flows; and where in them the next frame is.
#[map]
static SOURCES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static POSITION: Array<u64> = Array::with_max_entries(1, 0);

constants! { SOURCES_MASK: u32 = 0; }

/// Gives the frame its next source address; what follows meters it.
#[inline(always)]
pub fn next_source(context: &XdpContext) -> Option<()> {
    const SOURCE: usize = 26;
    let position = POSITION.get_ptr_mut(0)?;
    // SAFETY: a valid element, and test runs are alone on it.
    let index = unsafe { *position };
    // SAFETY: as above.
    unsafe { *position = index + 1 };
    let source = *SOURCES.get(index as u32 & SOURCES_MASK.get())?;
    let start = context.data() + SOURCE;
    if start + 4 > context.data_end() {
        return None;
    }
    // SAFETY: within the frame, checked above.
    unsafe { (start as *mut u32).write_unaligned(source as u32) };
    Some(())
}

/// Nothing at all: what a test run costs on this machine.
#[xdp(frags)]
pub fn bench_noop(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// The walk and the address alone: what the others are compared with.
#[xdp(frags)]
pub fn bench_walk(context: XdpContext) -> u32 {
    let _ = next_source(&context);
    match walk::ethernet(&Frame(&context)) {
        Ok(walked) if walked.octets == 0 => 1,
        _ => XDP_PASS,
    }
}

/// Weir's table: what [`crate::weir_ingress`] does.
#[xdp(frags)]
pub fn bench_weir(context: XdpContext) -> u32 {
    let _ = next_source(&context);
    let next = meter::usual(&context, Direction::Received);
    crate::go_on(&context, &crate::XDP_STEPS, next);
    crate::xdp_verdict()
}

/// A kernel hash map.
#[xdp(frags)]
pub fn bench_hash(context: XdpContext) -> u32 {
    let _ = next_source(&context);
    let _ = hash(&context);
    XDP_PASS
}

#[inline(always)]
fn hash(context: &XdpContext) -> Option<()> {
    let walked = walk::ethernet(&Frame(context)).ok()?;
    let tick = options::tick(options::switches());
    let mut key = walked.key;
    key.attributes &= options::shape().key_mask;
    if let Some(value) = BASELINE.get_ptr_mut(&key) {
        // SAFETY: the map returned a valid element; shared, hence volatile.
        unsafe {
            let value = &mut *value;
            value.octets += walked.octets;
            value.packets += 1;
            value.last_tick = tick;
            value.tcp_flags |= u64::from(walked.tcp_flags);
        }
        return Some(());
    }
    let value = Value {
        octets: walked.octets,
        packets: 1,
        first_tick: tick,
        last_tick: tick,
        tcp_flags: u64::from(walked.tcp_flags),
        rest: [0; 4],
    };
    BASELINE.insert(&key, &value, 0).ok()
}
