//! The kernel program: reads each frame's headers, accounts the packet in the CPU's own flow
//! table, and passes the frame on, whatever happened. It decides nothing about export.
//!
//! This file is the summary; [`frame`] reads the frame, [`maps`] holds what user space sees, and
//! the walk and the table are `weir-sensor-common`'s.
#![expect(missing_docs, reason = "the macros make undocumented symbols")]
#![expect(unsafe_code, reason = "symbols that the loader looks for")]
#![no_std]
#![no_main]

#[cfg(feature = "baseline")]
mod baseline;
mod frame;
mod maps;
mod options;

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use weir_sensor_common::{
    Counter, Unmetered, Walked,
    slot::Sighting,
    stage::STAGES_MAX,
    table::{Outcome, Shape, account, fetch_home, fetch_tags},
    walk,
};

use crate::{
    frame::Frame,
    maps::{CpuRegion, CpuState},
};

/// What XDP runs for each frame that is received.
#[xdp(frags)]
pub fn weir_ingress(context: XdpContext) -> u32 {
    // The one thing that may fail here is a map smaller than it should be; the frame passes.
    let _ = meter(&context);
    XDP_PASS
}

/// What user space runs on a CPU to have the packets accounted that wait in its queue. Returns the
/// tick.
#[xdp(frags)]
pub fn weir_settle(context: XdpContext) -> u32 {
    let _ = settle(&context);
    options::tick()
}

/// Queues the packet, and accounts the queue if it is full (see [`weir_sensor_common::stage`]).
#[inline(always)]
fn meter(context: &XdpContext) -> Option<()> {
    let cpu = options::cpu();
    let state = CpuState::of(cpu)?;
    state.add(Counter::Packets, 1);
    let frame = Frame::new(context);
    let hook = options::hook();
    let waiting = if let Some(walked) = walk::plain_v4(&frame) {
        let hash = options::shape().hash_v4(&walked.key, hook);
        queue(&state, &walked, hash, hook)
    } else {
        match walk::ethernet(&frame) {
            Ok(walked) => {
                let hash = options::shape().hash(&walked.key, hook);
                queue(&state, &walked, hash, hook)
            }
            Err(reason) => {
                unmetered(context, &state, reason);
                return Some(());
            }
        }
    };
    let full = options::stages();
    if waiting >= full {
        account_queue(context, &state, cpu, full)?;
    }
    Some(())
}

#[inline(always)]
fn unmetered(context: &XdpContext, state: &CpuState, reason: Unmetered) {
    if options::debug_log() {
        debug!(
            context,
            "frame of {} octets in no flow",
            context.data_end() - context.data()
        );
    }
    state.add(counter(reason), 1);
}

#[inline(always)]
fn queue(state: &CpuState, walked: &Walked, hash: u64, hook: u8) -> u32 {
    state.add(Counter::IpOctets, walked.octets);
    state.push(&Sighting {
        key: walked.key,
        hash,
        octets: walked.octets,
        tick: options::tick(),
        packets: 1,
        tcp_flags: walked.tcp_flags,
        hook,
    })
}

#[inline(always)]
fn settle(context: &XdpContext) -> Option<()> {
    let cpu = options::cpu();
    let state = CpuState::of(cpu)?;
    account_queue(context, &state, cpu, state.waiting())
}

/// Accounts the first `count` packets of the queue, which are all.
#[inline(always)]
fn account_queue(context: &XdpContext, state: &CpuState, cpu: u32, count: u32) -> Option<()> {
    let shape = options::shape();
    let mut region = CpuRegion::of(cpu, &shape, *state);
    if options::stages() > 1 {
        for index in 0..STAGES_MAX {
            if index >= count {
                break;
            }
            fetch_home(&region, &shape, state.sighting(index).hash)?;
        }
        for index in 0..STAGES_MAX {
            if index >= count {
                break;
            }
            fetch_tags(&region, &shape, state.sighting(index).hash)?;
        }
    }
    for index in 0..STAGES_MAX {
        if index >= count {
            break;
        }
        account_one(context, state, &mut region, &shape, state.sighting(index))?;
    }
    state.clear();
    Some(())
}

#[inline(always)]
fn account_one(
    context: &XdpContext,
    state: &CpuState,
    region: &mut CpuRegion,
    shape: &Shape,
    sighting: &Sighting,
) -> Option<()> {
    let accounted = account(region, shape, sighting)?;
    match accounted.outcome {
        Outcome::Updated => return Some(()),
        Outcome::Created => {}
        Outcome::CreatedEvicting => state.add(Counter::FlowsEvicted, 1),
        Outcome::CreatedLosing => {
            state.add(Counter::LostRingFlows, 1);
            state.add(Counter::LostRingPackets, u64::from(accounted.lost_packets));
            state.add(Counter::LostRingOctets, accounted.lost_octets);
            if options::debug_log() {
                debug!(
                    context,
                    "ring full: lost a flow of {} packets", accounted.lost_packets
                );
            }
        }
        Outcome::Busy => {
            state.add(Counter::LostBusyPackets, u64::from(accounted.lost_packets));
            state.add(Counter::LostBusyOctets, accounted.lost_octets);
            return Some(());
        }
    }
    state.add(Counter::FlowsCreated, 1);
    Some(())
}

#[inline(always)]
fn counter(reason: Unmetered) -> Counter {
    match reason {
        Unmetered::NonIp => Counter::NonIp,
        Unmetered::TooShort => Counter::TooShort,
        Unmetered::BadIp => Counter::BadIp,
        Unmetered::TooDeep => Counter::TooDeep,
    }
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
