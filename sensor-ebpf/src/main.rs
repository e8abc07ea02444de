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
    table::{Outcome, account},
    walk,
};

use crate::{
    frame::Frame,
    maps::{Counts, CpuRegion},
};

/// What XDP runs for each frame that is received.
#[xdp(frags)]
pub fn weir_ingress(context: XdpContext) -> u32 {
    // The one thing that may fail here is a map smaller than it should be; the frame passes.
    let _ = meter(&context);
    XDP_PASS
}

#[inline(always)]
fn meter(context: &XdpContext) -> Option<()> {
    let cpu = options::cpu();
    let counts = Counts::of(cpu)?;
    counts.add(Counter::Packets, 1);
    match walk::ethernet(&Frame::new(context)) {
        Ok(walked) => metered(context, &counts, cpu, &walked),
        Err(reason) => {
            if options::debug_log() {
                debug!(
                    context,
                    "frame of {} octets in no flow",
                    context.data_end() - context.data()
                );
            }
            counts.add(counter(reason), 1);
            Some(())
        }
    }
}

#[inline(always)]
fn metered(context: &XdpContext, counts: &Counts, cpu: u32, walked: &Walked) -> Option<()> {
    counts.add(Counter::IpPackets, 1);
    counts.add(Counter::IpOctets, walked.octets);
    let sighting = Sighting {
        key: walked.key,
        hook: options::hook(),
        octets: walked.octets,
        tcp_flags: walked.tcp_flags,
        tick: options::tick(),
    };
    let shape = options::shape();
    let accounted = account(&mut CpuRegion::of(cpu, &shape), &shape, &sighting)?;
    match accounted.outcome {
        Outcome::Updated => return Some(()),
        Outcome::Created => {}
        Outcome::CreatedEvicting => counts.add(Counter::FlowsEvicted, 1),
        Outcome::CreatedLosing => {
            counts.add(Counter::LostRingFlows, 1);
            counts.add(Counter::LostRingPackets, u64::from(accounted.lost_packets));
            counts.add(Counter::LostRingOctets, accounted.lost_octets);
            if options::debug_log() {
                debug!(
                    context,
                    "ring full: lost a flow of {} packets", accounted.lost_packets
                );
            }
        }
        Outcome::Busy => {
            counts.add(Counter::LostBusyPackets, 1);
            counts.add(Counter::LostBusyOctets, accounted.lost_octets);
            return Some(());
        }
    }
    counts.add(Counter::FlowsCreated, 1);
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
