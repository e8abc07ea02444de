//! A CPU's queue of packets that were read but not accounted yet.
//!
//! In a large table a packet's slot is in main memory, and the processor would stand still for it
//! at every packet: a run is longer than what it can look ahead. So packets are accounted several
//! at a time. A run puts its packet into its CPU's queue; when one fills it, a word of each
//! packet's slot is read, by loads that do not wait for one another, then the tags of those that
//! are not where they are looked for first, and then their slots; and then all are accounted, from
//! the cache. While live flows are few their slots stay there by themselves; then a packet whose flow is known is accounted
//! without the queue.
//!
//! How many of those loads are under way at a time is a matter of how few instructions lie between
//! them: the processor looks ahead some 250. So where a packet's flow may be is worked out when it is
//! queued, and noted as the numbers by which the kernel's maps are asked.
//!
//! Under a flood of new flows into a full table, each packet asks whether there is a free way, which is an octet of user
//! space's for either bucket and, where they are many, a line that has to come from afar. There packets learn from those
//! before them: if each flow that a full queue opened pushed another out, most packets of the next one do not ask, and
//! push out the flow that they find at home if it has one packet. The others ask; as soon as one of them finds a free
//! way, all do again, until none of a whole queue does: with a hundredth of the ways free that is one queue of two
//! hundred. So a flow that was pushed out in vain had one packet, in a table that was full but for that.
//!
//! The queue belongs to the CPU like its region: one writer. What waits there is neither lost nor
//! seen by the sweep; user space lets each CPU account it before a sweep (the program
//! `weir_settle`), and at the end, when nothing runs any more, takes it itself.

use crate::{counters::Block, slot::Sighting};

/// The longest queue.
pub const STAGES_MAX: u32 = 32;

/// One CPU's queue.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Packets that wait.
    pub waiting: u32,
    /// While they are fetched: how many are not at home.
    pub away: u32,
    /// Flows opened before the last full queue.
    pub opened: u64,
    /// Flows pushed out before it, handed over or not.
    pub pushed_out: u64,
    /// Not 0 if hardly a flow of the last full queue was there, and each that was opened pushed one out.
    pub full: u32,
    /// Not 0 while live flows are few: packets of those do not wait.
    pub few: u32,
    /// The packets.
    pub sightings: [Sighting; STAGES_MAX as usize],
    /// The slot where each is looked for first, as the array of all CPUs' slots numbers them: its home,
    /// until it is known to be elsewhere.
    pub likely: [u32; STAGES_MAX as usize],
    /// The page of tags of the two buckets where each may be, numbered likewise,
    pub pages: [u32; STAGES_MAX as usize],
    /// and the two buckets.
    pub buckets: [[u32; 2]; STAGES_MAX as usize],
    /// While they are fetched: those that are not at home.
    pub strays: [u32; STAGES_MAX as usize],
}

// What is said of the queue is one line, which the kernel reads at each packet, and the packets begin at the next.
const _: () = assert!(core::mem::offset_of!(Stage, sightings) == 64);

/// What belongs to one CPU beside its region of the table.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// What it counted.
    pub counters: Block,
    /// Flows pushed out of the table so far: the next one's place in the CPU's ring.
    pub evicted: u64,
    /// Packets since the last one that sampling chose.
    pub unsampled: u32,
    /// The program's own: the ring has room until so many were pushed out, and perhaps longer.
    pub room_until: u64,
    /// What waits to be accounted.
    pub stage: Stage,
}
