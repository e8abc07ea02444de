//! What the steps do with a packet.
#![expect(clippy::cast_possible_truncation, reason = "bounded before")]
#![expect(unsafe_code, reason = "helpers")]

use core::hint::black_box;

use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_log_ebpf::debug;
use weir_sensor_common::{
    Counter, Fields, Switches, Unmetered, Walked, extra,
    interface::{self, RECEIVED},
    slot::Sighting,
    stage::STAGES_MAX,
    table::{self, Outcome, Shape, WAYS, account_at, update_known},
    tunnel::{self, TUNNELS_MAX, Tunnels},
    walk,
};

use crate::{
    frame::{Frame, Source},
    maps::{self, CpuRegion, CpuState},
    options,
};

/// Which way a packet goes; the number is the direction bit of an observation point.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    Received = 0,
    Sent = 1,
}

/// What the second step leaves to the third.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    pub walked: Walked,
    /// Where the packet was seen.
    pub hook: u8,
    /// Tunnels looked into.
    pub depth: u8,
}

/// What a step leaves to be done.
#[derive(Clone, Copy)]
pub enum Next {
    Done,
    /// Ask the filter for frames with an Ethernet header whether the packet is wanted.
    Filter,
    /// Ask the filter for frames without one.
    FilterRaw,
    /// Read of the packet what is asked for beside its key.
    Extra,
    /// Walk the packet's headers.
    Walk,
    /// Look whether there is a packet inside the packet.
    Enter,
    /// Queue the packet that was walked.
    Queue,
    /// Have fetched what the queue, which is full, needs of the table.
    Fetch,
    /// Account the queue.
    Account,
}

/// The first step: counts the packet, and goes on to [`queue`] if it is the usual kind and there is no filter.
#[inline(always)]
pub fn usual<S: Source>(source: &S, direction: Direction) -> Next {
    let cpu = options::cpu();
    // Missing maps are the one thing that may fail here; there is nothing to count in then.
    let Some(state) = CpuState::of(cpu) else {
        return Next::Done;
    };
    state.add(Counter::Packets, 1);
    let on = options::switches();
    if on.leave_the_usual() {
        // The compiler knows then what is off: it makes a way of its own for the usual sensor.
        first_look(source, state, cpu, direction, Switches::NONE)
    } else if !on.has(Switches::FILTER) {
        first_look(source, state, cpu, direction, on)
    } else if is_raw(source, on) {
        Next::FilterRaw
    } else {
        Next::Filter
    }
}

/// The step after the filter: goes on with a packet that it matches as the first step does with any
/// where there is none.
#[inline(always)]
pub fn wanted<S: Source>(source: &S, direction: Direction) -> Next {
    let cpu = options::cpu();
    match CpuState::of(cpu) {
        Some(state) => first_look(source, state, cpu, direction, options::switches()),
        None => Next::Done,
    }
}

/// Queues the packet if it is the usual kind.
#[inline(always)]
fn first_look<S: Source>(
    source: &S,
    state: CpuState,
    cpu: u32,
    direction: Direction,
    on: Switches,
) -> Next {
    source.pull(USUAL_OCTETS);
    let Some((hook, raw)) = hook(source, &state, direction, on) else {
        return Next::Done;
    };
    // After that: of one in so many packets, those that are forwarded would else count where they leave, too.
    if left_out(&state, on) {
        state.add(Counter::SampledOut, 1);
        return Next::Done;
    }
    if on.fields() != Fields::NONE {
        return Next::Extra;
    }
    // Any packet may be a tunnel's.
    if raw || on.tunnels() != Tunnels::NONE {
        return Next::Walk;
    }
    let Some(mut walked) = walk::plain_v4(&Frame(source)) else {
        return Next::Walk;
    };
    add_stripped_vlan(source, &mut walked);
    let packets = whole(source, &state, &mut walked);
    // A call to the compiler: over it, it would have to keep what follows.
    let tick = options::tick(on);
    let shape = options::shape();
    let hash = shape.hash_v4(&walked.key, hook);
    let sighting = sighting(&walked, packets, hash, hook, tick);
    queue(&state, cpu, &shape, &sighting, on.fields())
}

/// The step before the second, where more than the key is asked for: notes it at the place that the
/// packet will have in the queue. If the packet gets none, the next one's is noted there.
#[inline(always)]
pub fn extra<S: Source>(source: &S) -> Next {
    source.pull(UNUSUAL_OCTETS);
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return Next::Done;
    };
    let on = options::switches();
    // Hidden: the compiler would make a way of its own for an interface that is not known, and leave out on it to give
    // values to registers that it then copies. Such a copy is one that the verifier refuses.
    let raw = black_box(is_raw(source, on));
    let extra = extra::read(&Frame(source), raw, source.stripped_vlan(), on.fields());
    maps::stage_extra(cpu, state.waiting(), &extra);
    Next::Walk
}

/// The second step: walks any packet's headers.
#[inline(always)]
pub fn unusual<S: Source>(source: &S, direction: Direction) -> Next {
    source.pull(UNUSUAL_OCTETS);
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return Next::Done;
    };
    let on = options::switches();
    let Some((hook, raw)) = hook(source, &state, direction, on) else {
        return Next::Done;
    };
    let Some(found) = maps::found(cpu) else {
        state.add(Counter::StepMissing, 1);
        return Next::Done;
    };
    (found.hook, found.depth) = (hook, 0);
    let frame = Frame(source);
    let network = if raw {
        walk::Network::RAW
    } else {
        match walk::ethernet_link(&frame) {
            Ok(network) => network,
            Err(reason) => return in_no_flow(source, &state, reason),
        }
    };
    match walk::network(&frame, network) {
        Ok(walked) if on.has(Switches::V4_ONLY) && walked.key.is_v6() => {
            in_no_flow(source, &state, Unmetered::NonIp)
        }
        Ok(mut walked) => {
            // Before tunnels are entered and fragments joined: both go by the tags.
            add_stripped_vlan(source, &mut walked);
            found.walked = walked;
            if on.tunnels() == Tunnels::NONE {
                Next::Queue
            } else {
                Next::Enter
            }
        }
        Err(reason) => in_no_flow(source, &state, reason),
    }
}

/// The step after the second, where tunnels are entered: goes on with the packet inside, if there is
/// one, and comes again for what is inside of that.
#[inline(always)]
pub fn enter<S: Source>(source: &S) -> Next {
    source.pull(UNUSUAL_OCTETS);
    let Some(found) = maps::found(options::cpu()) else {
        lose_packet();
        return Next::Done;
    };
    if found.depth >= TUNNELS_MAX {
        return Next::Queue;
    }
    found.depth += 1;
    match tunnel::enter(&Frame(source), &found.walked, options::switches().tunnels()) {
        Some(inner) => {
            found.walked = inner;
            Next::Enter
        }
        None => Next::Queue,
    }
}

#[inline(always)]
fn in_no_flow<S: Source>(source: &S, state: &CpuState, reason: Unmetered) -> Next {
    if options::switches().has(Switches::DEBUG_LOG) {
        debug!(source, "frame of {} octets in no flow", source.octets());
    }
    state.add(reason.counter(), 1);
    Next::Done
}

/// The third step: goes on to [`queue`] with what the second found.
#[inline(always)]
pub fn queue_walked<S: Source>(source: &S) -> Next {
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return Next::Done;
    };
    let Some(&mut Found {
        mut walked, hook, ..
    }) = maps::found(cpu)
    else {
        state.add(Counter::StepMissing, 1);
        return Next::Done;
    };
    state.add(Counter::Fragments, fragments(&walked));
    let on = options::switches();
    if on.has(Switches::FRAGMENTS) {
        maps::join_fragments(&mut walked);
    }
    let packets = whole(source, &state, &mut walked);
    let shape = options::shape();
    let hash = if on.fields() == Fields::NONE {
        shape.hash(&walked.key, hook)
    } else {
        let macs = maps::complete_extra(cpu, state.waiting(), walked.flow_label);
        shape.hash_with(&walked.key, hook, &macs)
    };
    let tick = options::tick(on);
    let sighting = sighting(&walked, packets, hash, hook, tick);
    queue(&state, cpu, &shape, &sighting, on.fields())
}

/// Repeats the expression for each place of the longest queue, which is a number that the compiler knows. A shorter
/// queue is not asked for: that, and the way round, were half of what fetching a line takes, and the numbers of old
/// that lie there are fetched in vain. In a loop where a place lies was worked out for each, a third of the
/// instructions between two loads; the processor looks ahead some 250 of them.
macro_rules! each_place {
    (|$index:ident| $fetch:expr) => {
        each_place!(
            @ $index $fetch;
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        )
    };
    (@ $index:ident $fetch:expr; $($place:literal)*) => {
        $({
            let $index: u32 = $place;
            $fetch;
        })*
    };
}

const _: () = assert!(STAGES_MAX == 32);

/// The fourth step: has fetched what a full queue needs of the table, with as many loads under way
/// at a time as there can be, and notes where each packet's flow seems to be. Branches that depend
/// on what is fetched are mispredicted, and what comes after them then waits; so first all homes are
/// read, then the tags of the flows that are elsewhere, and then their slots. Where they may be was worked out
/// when they were queued.
#[inline(always)]
pub fn fetch() {
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return;
    };
    let count = options::stages();
    let with_macs = options::shape().tells_macs_apart();
    // Asked once, and not for each: between two loads instructions count.
    if with_macs {
        each_place!(|index| state.fetch_likely(index, true));
    } else {
        each_place!(|index| state.fetch_likely(index, false));
    }
    // Where nearly all flows are new, as in a flood, none is at home, no tag points to a slot, and what comes
    // next need not wait for the homes.
    let (opened, pushed_out) = (state.opened(), state.pushed_out());
    let are_new = opened > u64::from(count - count / 4);
    let is_full = are_new && pushed_out == opened;
    state.set_seems_full(is_full);
    // For what the next queue pushes out: this one's lines of the ring were fetched with the last one's.
    if is_full && let Some(part) = state.next_ring_part(cpu) {
        each_place!(|index| part.fetch(index));
    }
    if are_new {
        each_place!(|index| state.fetch_tags(index));
        return;
    }
    let mut strays = 0;
    for index in 0..STAGES_MAX {
        if index >= count {
            break;
        }
        if let Some(slot) = state.likely_slot(index) {
            state.set_stray(strays, index);
            strays += table::differs(&slot, &state.sighting(index).key);
        }
    }
    state.set_away(strays);
    let strays = state.away();
    for nth in 0..STAGES_MAX {
        if nth >= strays {
            break;
        }
        state.fetch_tags(state.stray(nth));
    }
    let strays = state.away();
    for nth in 0..STAGES_MAX {
        if nth >= strays {
            break;
        }
        let index = state.stray(nth);
        let hash = state.sighting(index).hash;
        if let Some(tags) = state.tags(index)
            && let Some(slot) = table::pointed_at(tags, state.buckets(index), hash)
        {
            state.set_likely(index, slot);
            state.fetch_likely(index, with_macs);
        }
    }
}

/// The fifth step: accounts a full queue.
#[inline(always)]
pub fn account_full() {
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return;
    };
    let shape = options::shape();
    let first_slot = CpuRegion::of(cpu, &shape, state).first_bucket() * WAYS;
    let with_macs = shape.tells_macs_apart();
    for index in 0..STAGES_MAX {
        if index >= options::stages() {
            break;
        }
        let likely = state.likely(index).wrapping_sub(first_slot);
        if with_macs {
            // There are more ways through it then than the verifier follows once for each packet.
            weir_account(index, likely);
        } else {
            let _ = account_one(&state, cpu, index, likely, &shape);
        }
    }
    state.clear(cpu);
}

/// Accounts what waits, little as it may be.
#[inline(always)]
pub fn account_waiting() {
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return;
    };
    // The sweep that follows gives ways back, and it may be long until a queue is full.
    state.set_seems_full(false);
    let waiting = state.waiting();
    for index in 0..STAGES_MAX {
        if index >= waiting {
            break;
        }
        weir_account(index, options::shape().home(state.sighting(index).hash));
    }
    state.clear(cpu);
}

/// Accounts the packet at this place of the queue, looking first at the slot `likely` of the region. To the verifier
/// it is a global function (Linux 5.6), which is looked at once, whatever its callers know, and not once for each
/// packet of a queue. The call costs some nanoseconds. Its arguments have to be numbers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn weir_account(index: u32, likely: u32) -> u32 {
    let cpu = options::cpu();
    if let Some(state) = CpuState::of(cpu) {
        let index = index & (STAGES_MAX - 1);
        let _ = account_one(&state, cpu, index, likely, &options::shape());
    }
    0
}

/// A step that the packet needs cannot be run.
#[inline(always)]
pub fn lose_packet() {
    if let Some(state) = CpuState::of(options::cpu()) {
        state.add(Counter::StepMissing, 1);
    }
}

/// The queue's step cannot be run.
#[inline(always)]
pub fn lose_queue() {
    let cpu = options::cpu();
    let Some(state) = CpuState::of(cpu) else {
        return;
    };
    for index in 0..STAGES_MAX {
        if index >= options::stages() {
            break;
        }
        let sighting = state.sighting(index);
        state.add(Counter::LostBusyPackets, u64::from(sighting.packets));
        state.add(Counter::LostBusyOctets, sighting.octets);
    }
    state.clear(cpu);
}

/// Octets of headers that the usual packet has: Ethernet, IPv4, TCP up to its flags.
const USUAL_OCTETS: u32 = 50;
/// Octets of headers that nearly any packet has.
const UNUSUAL_OCTETS: u32 = 192;

/// Whether sampling leaves the packet out.
#[inline(always)]
fn left_out(state: &CpuState, on: Switches) -> bool {
    if !on.has(Switches::SAMPLING) {
        return false;
    }
    let interval = options::sampling();
    if on.has(Switches::SAMPLING_RANDOM) {
        // SAFETY: the helper has no preconditions.
        let draw = unsafe { bpf_get_prandom_u32() };
        (u64::from(draw) * u64::from(interval)) >> 32 != 0
    } else {
        !state.every(interval)
    }
}

/// 1 for a piece of a fragmented packet, else 0. Without a branch: the verifier would follow the rest
/// of the program once for each outcome.
#[inline(always)]
fn fragments(walked: &Walked) -> u64 {
    const ALL: u64 = 0xffff;
    (u64::from(walked.fragment) + ALL) >> 16
}

/// The VLAN tag that the card took out, which was the frame's first.
#[inline(always)]
fn add_stripped_vlan<S: Source>(source: &S, walked: &mut Walked) {
    let vlan = source.stripped_vlan();
    if vlan != 0 {
        walked.key.set_vlan(vlan);
    }
}

/// The packets it stands for, which the kernel knows and its headers do not say: theirs are then counted too (of a
/// tunnel that is not entered, those outside). Returns their number.
#[inline(always)]
fn whole<S: Source>(source: &S, state: &CpuState, walked: &mut Walked) -> u16 {
    let segments = source
        .segments((walked.octets as u32).saturating_sub(u32::from(walked.headers_octets)))
        .clamp(1, u32::from(u16::MAX));
    if segments > 1 {
        walked.octets += u64::from(segments - 1) * u64::from(walked.headers_octets);
        state.add(Counter::Packets, u64::from(segments - 1));
    }
    state.add(Counter::IpOctets, walked.octets);
    segments as u16
}

/// The packet's observation point, and whether it has no Ethernet header. `None` if it is not to be
/// metered here, which is then counted.
#[inline(always)]
fn hook<S: Source>(
    source: &S,
    state: &CpuState,
    direction: Direction,
    on: Switches,
) -> Option<(u8, bool)> {
    if !on.has(Switches::SEVERAL) {
        return Some((direction as u8, on.has(Switches::RAW)));
    }
    let ifindex = source.ifindex();
    let Some(interface) = maps::interface(ifindex) else {
        state.add(Counter::StepMissing, 1);
        return None;
    };
    if direction == Direction::Sent {
        let came_in_at = source.came_in_at();
        // 0 is no interface, but it is what an empty place of the table holds, without the flag.
        if came_in_at != ifindex
            && maps::interface(came_in_at).is_some_and(|interface| interface.has(RECEIVED))
        {
            state.add(Counter::AlreadyMetered, 1);
            return None;
        }
    }
    Some((
        interface.number << 1 | direction as u8,
        interface.has(interface::RAW),
    ))
}

/// Whether the frame has no Ethernet header.
#[inline(always)]
fn is_raw<S: Source>(source: &S, on: Switches) -> bool {
    if !on.has(Switches::SEVERAL) {
        return on.has(Switches::RAW);
    }
    maps::interface(source.ifindex()).is_some_and(|interface| interface.has(interface::RAW))
}

/// The packet as it waits in the queue.
#[inline(always)]
fn sighting(walked: &Walked, packets: u16, hash: u64, hook: u8, tick: u32) -> Sighting {
    Sighting {
        key: walked.key,
        hash,
        octets: walked.octets,
        tick,
        packets,
        tcp_flags: walked.tcp_flags,
        hook,
    }
}

/// Queues the packet. Where live flows are few or queues one packet long, and MAC addresses are not in the key, it is
/// looked for in the table before, and if its flow is there, as nearly always, that is all. What opens flows is in a
/// step of its own, so that this one has its registers for itself.
#[inline(always)]
fn queue(state: &CpuState, cpu: u32, shape: &Shape, sighting: &Sighting, fields: Fields) -> Next {
    let region = CpuRegion::of(cpu, shape, *state);
    let is_alone = options::stages() == 1;
    // The first half is what the compiler knows on the usual way.
    let is_found_by_key = fields == Fields::NONE || !shape.tells_macs_apart();
    if (is_alone || state.has_few())
        && is_found_by_key
        && update_known(&region, shape, sighting) == Some(true)
    {
        return Next::Done;
    }
    let waiting = state.push(sighting);
    state.set_places(
        waiting - 1,
        &shape.places(sighting.hash),
        region.first_bucket(),
    );
    if is_alone {
        Next::Account
    } else if waiting >= options::stages() {
        Next::Fetch
    } else {
        Next::Done
    }
}

/// Accounts a packet of the queue. `None` only if a map is smaller than it should be.
#[inline(always)]
fn account_one(state: &CpuState, cpu: u32, index: u32, likely: u32, shape: &Shape) -> Option<()> {
    let mut region = CpuRegion::of(cpu, shape, *state).for_packet(index);
    let accounted = account_at(&mut region, shape, state.sighting(index), likely)?;
    match accounted.outcome {
        Outcome::Updated => return Some(()),
        Outcome::Created => {}
        Outcome::CreatedEvicting => state.add(Counter::FlowsEvicted, 1),
        Outcome::CreatedLosing => {
            state.add(Counter::LostRingFlows, 1);
            state.add(Counter::LostRingPackets, u64::from(accounted.lost_packets));
            state.add(Counter::LostRingOctets, accounted.lost_octets);
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
