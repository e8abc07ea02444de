//! The hand-over, user half: take a flow out of the table without losing a packet of it.
//!
//! Words: a *run* is one execution of the program for one packet; a CPU executes its runs one
//! after the other (XDP and tc run with bottom halves off). A *grace period* is a wait after
//! which every run that had begun before it has ended (`synchronize_rcu`, reached through
//! `membarrier`); runs that begin after it see all that user space wrote before it.
//!
//! A slot is **live** when `born != closed`, **closing** or **free** when they are equal; the
//! parity bits (see [`crate::table`]) tell free from the rest. User space takes a flow so:
//!
//! 1. [`close`]: read `born = g`; if live, write `closed = g`.
//! 2. One grace period, for any number of closed slots at once.
//! 3. [`collect`]: read `born` again. If it is still `g` (and `closed` is: one sweep may have closed
//!    the slot twice, with another flow in between), the slot's words are final: read them.
//! 4. [`release`]: flip the way's parity bit. The kernel may use the slot again.
//!
//! Why nothing is lost or counted twice, by what a run may do between 1 and 3:
//!
//! - *It read `closed` before 1 and found its flow here*: it adds its packet. It ends within the
//!   grace period, so 3 sees the packet.
//! - *It read `closed` after 1*: the slot is not live, so it neither adds, nor pushes the flow out,
//!   nor (parity unequal) opens another flow here. The returning flow opens a new slot.
//! - *It read `closed` before 1 and pushed the flow out*: the flow's words went to the ring
//!   or to the loss counters, and it wrote `born = h`, `h != g`. Step 3 sees `h` and leaves the
//!   slot alone: it holds another, live flow (`closed = g != h`). There is at most one such run a
//!   CPU, because the next one reads `closed` after 1.
//! - *`born` cannot come back to `g`* while `closed == g`: a run writes a generation that differs
//!   from the last (`g`) and from `closed`; the in-flight run of the previous case may have read
//!   an older `closed`, but it writes the successor of `g`, which is not `g`. So 3 cannot mistake
//!   another flow for the one it closed, however often eight bits wrap.
//! - *Step 1 itself may read a torn or stale slot* while a run opens a flow in it. The decision to
//!   expire may then be made on another flow's times: that flow is exported early, in two records.
//!   Nothing is read for good before 3.
//!
//! What lies beside the slot ([`crate::extra`]) is written by the run that writes `born`, before it,
//! and read after step 3: all this holds for it, too.
//!
//! After 4 the kernel writes the slot, `born` last; user space leaves it alone until `born`
//! differs from `closed`. The tests (`tests/handover_model.rs`) run both halves of this source
//! under a model checker.

use crate::slot::{Slot, SlotWords};

/// A slot closed by [`close`], waiting for the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    generation: u8,
}

/// Whether the slot holds a flow that may be closed.
#[inline(always)]
pub fn is_live(slot: &impl SlotWords) -> bool {
    slot.born() != slot.closed()
}

/// Step 1. `None` if there is no live flow here. Only one thread may close slots of a region.
#[inline(always)]
pub fn close(slot: &impl SlotWords) -> Option<Closed> {
    let generation = slot.born();
    if generation == slot.closed() {
        return None;
    }
    slot.set_closed(generation);
    Some(Closed { generation })
}

/// Step 3, after the grace period: the flow's final words, or `None` if the kernel pushed it out
/// meanwhile. If `Some`, the way must then be released.
#[inline(always)]
pub fn collect(slot: &impl SlotWords, closed: Closed) -> Option<Slot> {
    let still = slot.born() == closed.generation && slot.closed() == closed.generation;
    still.then(|| slot.copy())
}

/// Step 4: the bucket's parity octet with this way's bit flipped.
#[inline(always)]
#[must_use]
pub const fn release(released: u8, way: u32) -> u8 {
    released ^ (1 << way)
}
