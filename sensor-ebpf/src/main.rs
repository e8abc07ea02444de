//! The kernel programs: read each frame's headers, account the packet in the CPU's own flow table,
//! and pass the frame on, whatever happened. They decide nothing about export.
//!
//! A packet goes through up to four programs, each of which ends in the next (a tail call): the
//! usual packet is read and queued by the first, any other is walked by the second, and when the
//! queue is full the third has what it needs of the table fetched and the fourth accounts it. Where
//! more is asked for than the key, one more between the first and the second reads that of every
//! packet. So the verifier looks at each by itself, from a clean slate; in one program their paths
//! multiply beyond what it follows.
//!
//! This file is the summary; [`meter`] is what the steps do, [`frame`] reads the frame, [`maps`]
//! holds what user space sees, and the walk and the table are `weir-sensor-common`'s.
#![expect(missing_docs, reason = "the macros make undocumented symbols")]
#![expect(unsafe_code, reason = "symbols that the loader looks for, tail calls")]
#![no_std]
#![no_main]

#[cfg(feature = "baseline")]
mod baseline;
mod frame;
#[cfg(feature = "generator")]
mod generator;
mod maps;
mod meter;
mod options;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    macros::{classifier, map, xdp},
    maps::ProgramArray,
    programs::{TcContext, XdpContext},
};

use crate::meter::{Direction, Next};

/// The steps after the first, by [`Next`]; user space fills them in.
#[map]
static XDP_STEPS: ProgramArray = ProgramArray::with_max_entries(4, 0);
#[map]
static EGRESS_STEPS: ProgramArray = ProgramArray::with_max_entries(4, 0);
#[map]
static TC_INGRESS_STEPS: ProgramArray = ProgramArray::with_max_entries(4, 0);

/// What XDP runs for each frame that is received.
#[xdp(frags)]
pub fn weir_ingress(context: XdpContext) -> u32 {
    let next = meter::usual(&context, Direction::Received);
    go_on(&context, &XDP_STEPS, next);
    xdp_verdict()
}

#[xdp(frags)]
pub fn weir_ingress_extra(context: XdpContext) -> u32 {
    let next = meter::extra(&context);
    go_on(&context, &XDP_STEPS, next);
    xdp_verdict()
}

#[xdp(frags)]
pub fn weir_ingress_walk(context: XdpContext) -> u32 {
    let next = meter::unusual(&context, Direction::Received);
    go_on(&context, &XDP_STEPS, next);
    xdp_verdict()
}

#[xdp(frags)]
pub fn weir_ingress_fetch(context: XdpContext) -> u32 {
    meter::fetch();
    go_on(&context, &XDP_STEPS, Next::Account);
    xdp_verdict()
}

#[xdp(frags)]
pub fn weir_ingress_account(_context: XdpContext) -> u32 {
    meter::account_full();
    xdp_verdict()
}

/// What tc runs for each packet that is sent.
#[classifier]
pub fn weir_egress(context: TcContext) -> i32 {
    meter::pull_headers(&context, meter::USUAL_OCTETS);
    let next = meter::usual(&context, Direction::Sent);
    go_on(&context, &EGRESS_STEPS, next);
    TC_ACT_UNSPEC
}

#[classifier]
pub fn weir_egress_extra(context: TcContext) -> i32 {
    meter::pull_headers(&context, meter::UNUSUAL_OCTETS);
    let next = meter::extra(&context);
    go_on(&context, &EGRESS_STEPS, next);
    TC_ACT_UNSPEC
}

#[classifier]
pub fn weir_egress_walk(context: TcContext) -> i32 {
    meter::pull_headers(&context, meter::UNUSUAL_OCTETS);
    let next = meter::unusual(&context, Direction::Sent);
    go_on(&context, &EGRESS_STEPS, next);
    TC_ACT_UNSPEC
}

#[classifier]
pub fn weir_egress_fetch(context: TcContext) -> i32 {
    meter::fetch();
    go_on(&context, &EGRESS_STEPS, Next::Account);
    TC_ACT_UNSPEC
}

#[classifier]
pub fn weir_egress_account(_context: TcContext) -> i32 {
    meter::account_full();
    TC_ACT_UNSPEC
}

/// What tc runs for each packet that is received, where XDP does not.
#[classifier]
pub fn weir_tc_ingress(context: TcContext) -> i32 {
    meter::pull_headers(&context, meter::USUAL_OCTETS);
    let next = meter::usual(&context, Direction::Received);
    go_on(&context, &TC_INGRESS_STEPS, next);
    tc_verdict()
}

#[classifier]
pub fn weir_tc_ingress_extra(context: TcContext) -> i32 {
    meter::pull_headers(&context, meter::UNUSUAL_OCTETS);
    let next = meter::extra(&context);
    go_on(&context, &TC_INGRESS_STEPS, next);
    tc_verdict()
}

#[classifier]
pub fn weir_tc_ingress_walk(context: TcContext) -> i32 {
    meter::pull_headers(&context, meter::UNUSUAL_OCTETS);
    let next = meter::unusual(&context, Direction::Received);
    go_on(&context, &TC_INGRESS_STEPS, next);
    tc_verdict()
}

#[classifier]
pub fn weir_tc_ingress_fetch(context: TcContext) -> i32 {
    meter::fetch();
    go_on(&context, &TC_INGRESS_STEPS, Next::Account);
    tc_verdict()
}

#[classifier]
pub fn weir_tc_ingress_account(_context: TcContext) -> i32 {
    meter::account_full();
    tc_verdict()
}

/// Goes on with the next step, if there is one. It does not come back, unless the kernel cannot run
/// that step; then the packets that needed it are counted as lost.
#[inline(always)]
fn go_on(context: &impl EbpfContext, steps: &ProgramArray, next: Next) {
    // SAFETY: nothing here needs to be dropped.
    match next {
        Next::Done => {}
        Next::Walk => {
            unsafe { steps.tail_call(context, 0) };
            meter::lose_packet();
        }
        Next::Fetch => {
            unsafe { steps.tail_call(context, 1) };
            meter::lose_queue();
        }
        Next::Account => {
            unsafe { steps.tail_call(context, 2) };
            meter::lose_queue();
        }
        Next::Extra => {
            unsafe { steps.tail_call(context, 3) };
            meter::lose_packet();
        }
    }
}

#[inline(always)]
fn xdp_verdict() -> u32 {
    if options::drop() { XDP_DROP } else { XDP_PASS }
}

#[inline(always)]
fn tc_verdict() -> i32 {
    if options::drop() {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

/// What user space runs on a CPU to have the packets accounted that wait in its queue. Returns the
/// tick.
#[xdp(frags)]
pub fn weir_settle(_context: XdpContext) -> u32 {
    meter::account_waiting();
    options::tick()
}
/// A panic that could be reached would be an endless loop, and the verifier refuses those at load.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
