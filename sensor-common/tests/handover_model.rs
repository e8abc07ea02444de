//! The hand-over under a model checker: both halves of the real source run on a twin of a region,
//! and loom tries their interleavings (up to two preemptions) and the memory orders that C11
//! allows. A slot's payload is an `UnsafeCell` that loom watches: reading it while the kernel half
//! may write it fails the test, not only losing a packet. So is what lies beside the slot: here the
//! number of its flow.
//!
//! The twin is stronger than the kernel in one place only: user space's parity octet is read with
//! `Acquire`, which stands for the control dependency from that read to the stores that fill the
//! slot. A grace period is the lock that every run holds: getting it means that the runs before
//! have ended, and that the later ones see what was written.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "cells that loom watches")]

use std::panic;

use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};
use weir_sensor_common::{
    FlowKey, KeyMask, Slot, SlotWords, handover,
    hash::Seed,
    slot::Sighting,
    table::{Outcome, Region, SLOTS_MIN, Shape, WAYS, account, next_tag, update_known},
};

const BUCKETS: usize = (SLOTS_MIN / WAYS) as usize;

struct SlotTwin {
    born: AtomicU8,
    closed: AtomicU8,
    payload: UnsafeCell<Slot>,
    extra: UnsafeCell<u64>,
}

impl SlotTwin {
    fn with<R>(&self, read: impl FnOnce(&Slot) -> R) -> R {
        // SAFETY: loom reports an access that is not ordered after every write.
        self.payload.with(|slot| read(unsafe { &*slot }))
    }

    fn with_mut(&self, write: impl FnOnce(&mut Slot)) {
        // SAFETY: loom reports an access that is not exclusive.
        self.payload.with_mut(|slot| write(unsafe { &mut *slot }));
    }
}

#[derive(Clone, Copy)]
struct SlotRef(*const SlotTwin);

impl SlotRef {
    fn twin(&self) -> &SlotTwin {
        // SAFETY: the region outlives every reference made of it in these tests.
        unsafe { &*self.0 }
    }
}

impl SlotWords for SlotRef {
    fn born(&self) -> u8 {
        self.twin().born.load(Ordering::Relaxed)
    }

    fn closed(&self) -> u8 {
        self.twin().closed.load(Ordering::Relaxed)
    }

    fn set_closed(&self, generation: u8) {
        self.twin().closed.store(generation, Ordering::Relaxed);
    }

    fn holds(&self, key: &FlowKey, _mask: u64, hook: u8) -> bool {
        self.twin()
            .with(|slot| slot.key == *key && slot.hook == hook)
    }

    fn address_difference(&self, key: &FlowKey) -> u64 {
        u64::from(!self.holds(key, 0, 0))
    }

    fn add(&self, sighting: &Sighting) {
        self.twin().with_mut(|slot| {
            slot.packets += u32::from(sighting.packets);
            slot.octets += sighting.octets;
        });
    }

    fn open(&self, sighting: &Sighting, born: u8) {
        self.twin().with_mut(|slot| {
            slot.key = sighting.key;
            slot.packets = u32::from(sighting.packets);
            slot.octets = sighting.octets;
            slot.hook = sighting.hook;
        });
        self.twin().born.store(born, Ordering::Relaxed);
    }

    fn packets(&self) -> u32 {
        self.twin().with(|slot| slot.packets)
    }

    fn octets(&self) -> u64 {
        self.twin().with(|slot| slot.octets)
    }

    fn copy(&self) -> Slot {
        self.twin().with(|slot| *slot)
    }
}

struct Memory {
    slots: Vec<SlotTwin>,
    tags: Vec<UnsafeCell<[u64; 2]>>,
    released: Vec<AtomicU8>,
    /// Held by a run; getting it is a grace period.
    running: Mutex<()>,
}

// SAFETY: what is not atomic is watched by loom.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    fn new() -> Self {
        let slot = || SlotTwin {
            born: AtomicU8::new(0),
            closed: AtomicU8::new(0),
            payload: UnsafeCell::new(Slot::default()),
            extra: UnsafeCell::new(u64::MAX),
        };
        Self {
            slots: (0..SLOTS_MIN).map(|_| slot()).collect(),
            tags: (0..BUCKETS).map(|_| UnsafeCell::new([0; 2])).collect(),
            released: (0..BUCKETS).map(|_| AtomicU8::new(0)).collect(),
            running: Mutex::new(()),
        }
    }

    fn slot(&self, index: u32) -> SlotRef {
        SlotRef(&raw const self.slots[index as usize])
    }

    fn extra(&self, index: u32) -> u64 {
        // SAFETY: as for the payload.
        self.slots[index as usize]
            .extra
            .with(|extra| unsafe { *extra })
    }

    fn release(&self, index: u32) {
        let octet = &self.released[(index / WAYS) as usize];
        let released = handover::release(octet.load(Ordering::Relaxed), index % WAYS);
        octet.store(released, Ordering::Release);
    }
}

/// The kernel half's view, and what became of the packets it could not keep.
struct Kernel {
    memory: Arc<Memory>,
    /// The packet's flow.
    flow: u64,
    ring_full: bool,
    seems_full: bool,
    is_alone: bool,
    evicted_packets: u64,
    lost_packets: u64,
}

impl Region for Kernel {
    type Slot = SlotRef;

    fn tags(&self, buckets: [u32; 2]) -> Option<[[u64; 2]; 2]> {
        // SAFETY: as for the payload.
        let tags = |bucket: u32| self.memory.tags[bucket as usize].with(|tags| unsafe { *tags });
        Some(buckets.map(tags))
    }

    fn set_tag(&mut self, bucket: u32, way: u32, tag: u16, flip: u16) {
        self.memory.tags[bucket as usize].with_mut(|tags| {
            // SAFETY: as for the payload.
            let word = unsafe { &mut (*tags)[(way / 4) as usize] };
            let shift = 16 * (way % 4);
            let tag = next_tag(((*word >> shift) & 0xffff) as u16, tag, flip);
            *word = *word & !(0xffff << shift) | u64::from(tag) << shift;
        });
    }

    fn released(&self, buckets: [u32; 2]) -> Option<[u8; 2]> {
        Some(buckets.map(|bucket| self.memory.released[bucket as usize].load(Ordering::Acquire)))
    }

    fn slot(&self, index: u32) -> Option<SlotRef> {
        Some(self.memory.slot(index))
    }

    fn evict(&mut self, victim: &SlotRef, index: u32) -> bool {
        assert_eq!(self.memory.extra(index), victim.copy().key.source[1]);
        if self.ring_full {
            return false;
        }
        self.evicted_packets += u64::from(victim.packets());
        true
    }

    fn seems_full(&self) -> bool {
        self.seems_full
    }

    fn keep_extra(&mut self, index: u32) {
        let flow = self.flow;
        self.memory.slots[index as usize].extra.with_mut(|extra| {
            // SAFETY: as for the payload.
            unsafe { *extra = flow };
        });
    }
}

impl Kernel {
    fn packet(&mut self, flow: u32) -> Outcome {
        let memory = Arc::clone(&self.memory);
        let _run = memory.running.lock().unwrap();
        self.flow = u64::from(flow);
        if self.is_alone && update_known(self, &SHAPE, &sighting(flow)).unwrap() {
            return Outcome::Updated;
        }
        let accounted = account(self, &SHAPE, &sighting(flow)).unwrap();
        self.lost_packets += u64::from(accounted.lost_packets);
        accounted.outcome
    }
}

const SHAPE: Shape = Shape {
    bucket_mask: SLOTS_MIN / WAYS - 1,
    seed: Seed::new([3, 5, 7, 11, 13]),
    key_mask: KeyMask::FULL.0,
};

fn sighting(flow: u32) -> Sighting {
    let key = FlowKey {
        source: [0, u64::from(flow)],
        destination: [0, 1],
        attributes: 0,
    };
    Sighting {
        key,
        hash: SHAPE.hash(&key, 0),
        octets: 100,
        packets: 1,
        ..Sighting::default()
    }
}

/// How the user half may be broken, to show that the model would notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    NoGracePeriod,
    NoSecondLook,
}

/// Takes the flows in these slots as the sweep does; the packets collected.
fn take(memory: &Memory, indexes: &[u32], defect: Defect) -> u64 {
    let close = |index: &u32| Some((*index, handover::close(&memory.slot(*index))?));
    let tickets: Vec<_> = indexes.iter().filter_map(close).collect();
    if defect != Defect::NoGracePeriod {
        drop(memory.running.lock().unwrap());
    }
    let mut packets = 0;
    for (index, closed) in tickets {
        let slot = memory.slot(index);
        let taken = match defect {
            Defect::NoSecondLook => Some(slot.copy()),
            _ => handover::collect(&slot, closed),
        };
        if let Some(slot) = taken {
            assert_eq!(
                slot.octets,
                100 * u64::from(slot.packets),
                "a slot of two flows"
            );
            assert_eq!(memory.extra(index), slot.key.source[1]);
            packets += u64::from(slot.packets);
            memory.release(index);
        }
    }
    packets
}

/// Packets metered on one side, slots taken on the other.
#[derive(Clone, Copy)]
struct Scene {
    prefilled: u32,
    packets: &'static [u32],
    takes: &'static [&'static [u32]],
    ring_full: bool,
    /// Once it is filled.
    seems_full: bool,
    /// Queues are one packet long: a flow that is known is looked for first.
    is_alone: bool,
    defect: Defect,
}

/// Plays the scene in every order, and counts.
fn explore(scene: Scene) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 20_000;
    builder.check(move || {
        let memory = Arc::new(Memory::new());
        let mut kernel = Kernel {
            memory: Arc::clone(&memory),
            flow: 0,
            ring_full: scene.ring_full,
            seems_full: false,
            is_alone: scene.is_alone,
            evicted_packets: 0,
            lost_packets: 0,
        };
        for flow in 0..scene.prefilled {
            assert_eq!(kernel.packet(flow), Outcome::Created);
        }
        kernel.seems_full = scene.seems_full;
        let metering = thread::spawn(move || {
            for flow in scene.packets {
                kernel.packet(*flow);
            }
            kernel
        });
        let mut collected = 0;
        for slots in scene.takes {
            collected += take(&memory, slots, scene.defect);
        }
        let kernel = metering.join().unwrap();
        collected += take(&memory, ALL, Defect::None);
        let seen = u64::from(scene.prefilled) + scene.packets.len() as u64;
        assert_eq!(
            collected + kernel.evicted_packets + kernel.lost_packets,
            seen
        );
        assert_eq!(
            take(&memory, ALL, Defect::None),
            0,
            "something was taken twice"
        );
    });
}

/// Every slot: closing all makes a full table refuse.
const ALL: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Some slots of a full table.
const PLACES: &[u32] = &[0, 1, 2, 9];
/// Where the first two flows go; a test says so.
const FIRST: &[u32] = &[0, 8];

const RETURNS: Scene = Scene {
    prefilled: 1,
    packets: &[0, 0, 0],
    takes: &[FIRST, FIRST],
    ring_full: false,
    seems_full: false,
    is_alone: false,
    defect: Defect::None,
};
const FULL: Scene = Scene {
    prefilled: 16,
    packets: &[20, 21],
    takes: &[PLACES],
    ring_full: false,
    seems_full: false,
    is_alone: false,
    defect: Defect::None,
};

#[test]
fn a_flow_that_returns_while_it_is_taken() {
    explore(RETURNS);
}

#[test]
fn a_flow_that_returns_where_the_known_are_looked_for_first() {
    explore(Scene {
        packets: &[0, 0],
        takes: &[FIRST],
        is_alone: true,
        ..RETURNS
    });
}

#[test]
fn a_way_that_is_given_back_while_flows_open() {
    explore(Scene {
        prefilled: 2,
        packets: &[0, 2, 1],
        takes: &[FIRST],
        ..RETURNS
    });
}

#[test]
fn a_full_table_pushes_flows_out_while_they_are_taken() {
    explore(FULL);
}

#[test]
fn the_same_with_a_full_ring() {
    explore(Scene {
        packets: &[20, 0],
        ring_full: true,
        ..FULL
    });
}

#[test]
fn the_same_where_nothing_is_asked_first() {
    explore(Scene {
        seems_full: true,
        ..FULL
    });
}

/// Flows come to where others were taken, or push out what is being taken.
#[test]
fn a_table_seems_full_while_ways_are_given_back() {
    explore(Scene {
        prefilled: 2,
        packets: &[0, 2, 1],
        takes: &[FIRST, FIRST],
        seems_full: true,
        ..RETURNS
    });
}

#[test]
fn slots_are_pushed_out_again_and_again_while_they_are_taken() {
    explore(Scene {
        packets: &[30, 31, 32],
        takes: &[&[0, 1], &[0, 1]],
        ..FULL
    });
}

/// The model notices what the protocol is there to prevent.
#[test]
fn without_a_grace_period_it_would_fail() {
    let broken = Scene {
        defect: Defect::NoGracePeriod,
        ..RETURNS
    };
    assert!(panic::catch_unwind(|| explore(broken)).is_err());
}

/// As above.
#[test]
fn without_a_second_look_it_would_fail() {
    let broken = Scene {
        defect: Defect::NoSecondLook,
        ..FULL
    };
    assert!(panic::catch_unwind(|| explore(broken)).is_err());
}

#[test]
fn the_first_flows_live_where_the_scenes_take_them() {
    loom::model(|| {
        let memory = Arc::new(Memory::new());
        let mut kernel = Kernel {
            memory: Arc::clone(&memory),
            flow: 0,
            ring_full: false,
            seems_full: false,
            is_alone: false,
            evicted_packets: 0,
            lost_packets: 0,
        };
        kernel.packet(0);
        kernel.packet(1);
        let live = |index: &u32| handover::is_live(&memory.slot(*index));
        assert_eq!(ALL.iter().copied().filter(live).collect::<Vec<_>>(), FIRST);
    });
}
