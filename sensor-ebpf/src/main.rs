//! The kernel programs: read each frame's headers, account the packet in the CPU's own flow table,
//! and pass the frame on, whatever happened. They decide nothing about export.
//!
//! A packet goes through several programs, each of which ends in the next (a tail call). The usual packet is read and
//! queued by the first. Any other is walked by the second and queued by the third. When the queue is full the fourth
//! has what it needs of the table fetched, and the fifth accounts it. While live flows are few, the step that would queue a
//! packet accounts it if its flow is known (unless MAC addresses are in the key); so it does where queues are one packet
//! long, and goes on to the fifth if not. Where tunnels are entered, one more after the walk does that, once for each; where more is asked for than the
//! key, one before it reads that of every packet. Where there is a filter expression the first only counts the
//! packet: a program that user space makes of the expression (weir-sensor's `prefilter`) is next, and for what it
//! matches `wanted`, which does the rest of the first's work. So the verifier looks at each by itself, from a clean
//! slate; in one program their paths multiply beyond what it follows.
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

use weir_sensor_common::Switches;

use crate::meter::{Direction, Next};

/// The programs of a hook, first step first, and the map by which they go on; user space fills it
/// in, two places of it with programs of its own making.
macro_rules! steps {
    ($map:ident, #[$kind:meta] $context:ty, $direction:expr, $verdict:expr => $code:ty:
     $usual:ident $walk:ident $queue:ident $fetch:ident $account:ident
     $enter:ident $extra:ident $wanted:ident) => {
        #[map]
        static $map: ProgramArray = ProgramArray::with_max_entries(9, 0);

        #[$kind]
        pub fn $usual(context: $context) -> $code {
            let next = meter::usual(&context, $direction);
            go_on(&context, &$map, next);
            $verdict
        }

        #[$kind]
        pub fn $walk(context: $context) -> $code {
            let next = meter::unusual(&context, $direction);
            go_on(&context, &$map, next);
            $verdict
        }

        #[$kind]
        pub fn $queue(context: $context) -> $code {
            let next = meter::queue_walked(&context);
            go_on(&context, &$map, next);
            $verdict
        }

        #[$kind]
        pub fn $fetch(context: $context) -> $code {
            meter::fetch();
            go_on(&context, &$map, Next::Account);
            $verdict
        }

        #[$kind]
        pub fn $account(_context: $context) -> $code {
            meter::account_full();
            $verdict
        }

        #[$kind]
        pub fn $enter(context: $context) -> $code {
            let next = meter::enter(&context);
            go_on(&context, &$map, next);
            $verdict
        }

        #[$kind]
        pub fn $extra(context: $context) -> $code {
            let next = meter::extra(&context);
            go_on(&context, &$map, next);
            $verdict
        }

        #[$kind]
        pub fn $wanted(context: $context) -> $code {
            let next = meter::wanted(&context, $direction);
            go_on(&context, &$map, next);
            $verdict
        }
    };
}

// What XDP runs for each frame that is received.
steps! {
    XDP_STEPS, #[xdp(frags)] XdpContext, Direction::Received, xdp_verdict() => u32:
    weir_ingress weir_ingress_walk weir_ingress_queue weir_ingress_fetch weir_ingress_account
    weir_ingress_enter weir_ingress_extra weir_ingress_wanted
}

// What tc runs for each packet that is sent.
steps! {
    EGRESS_STEPS, #[classifier] TcContext, Direction::Sent, TC_ACT_UNSPEC => i32:
    weir_egress weir_egress_walk weir_egress_queue weir_egress_fetch weir_egress_account
    weir_egress_enter weir_egress_extra weir_egress_wanted
}

// What tc runs for each packet that is received, where XDP does not.
steps! {
    TC_INGRESS_STEPS, #[classifier] TcContext, Direction::Received, tc_verdict() => i32:
    weir_tc_ingress weir_tc_ingress_walk weir_tc_ingress_queue weir_tc_ingress_fetch
    weir_tc_ingress_account weir_tc_ingress_enter weir_tc_ingress_extra weir_tc_ingress_wanted
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
        Next::Queue => {
            unsafe { steps.tail_call(context, 1) };
            meter::lose_packet();
        }
        Next::Fetch => {
            unsafe { steps.tail_call(context, 2) };
            meter::lose_queue();
        }
        Next::Account => {
            unsafe { steps.tail_call(context, 3) };
            meter::lose_queue();
        }
        Next::Enter => {
            unsafe { steps.tail_call(context, 4) };
            meter::lose_packet();
        }
        Next::Extra => {
            unsafe { steps.tail_call(context, 5) };
            meter::lose_packet();
        }
        Next::Filter => {
            unsafe { steps.tail_call(context, 7) };
            meter::lose_packet();
        }
        Next::FilterRaw => {
            unsafe { steps.tail_call(context, 8) };
            meter::lose_packet();
        }
    }
}

#[inline(always)]
fn xdp_verdict() -> u32 {
    if options::switches().has(Switches::DROP) {
        XDP_DROP
    } else {
        XDP_PASS
    }
}

#[inline(always)]
fn tc_verdict() -> i32 {
    if options::switches().has(Switches::DROP) {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

/// What user space runs on a CPU to have the packets accounted that wait in its queue. Returns the
/// timer's tick: with the exact clock nobody needs it but whoever takes over a table without.
#[xdp(frags)]
pub fn weir_settle(_context: XdpContext) -> u32 {
    meter::account_waiting();
    options::timer_tick()
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
