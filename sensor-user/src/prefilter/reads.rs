//! How a translated program reads the packet.
//!
//! The first octets, as far as the program reads at fixed offsets, are copied to the stack by one call;
//! what lies beyond, or at an offset that is computed, by a call each. The helpers see all of a packet,
//! however many buffers it is in. Where tc sees an Ethernet frame whose VLAN tag the kernel or the card
//! keeps beside it, the program reads the frame as it was on the wire: the tag lies at offset 12, as
//! libpcap has it, and what is behind it four octets further.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "places on a stack of 512 octets, sizes of a few"
)]

use super::{
    classic::{Instruction, Size},
    ebpf::{
        Comparison, Label, Operation,
        Register::{self, R0, R1, R2, R3, R4, R10},
        Width,
    },
    translate::{
        ACCUMULATOR, CONTEXT, Hook, INDEX, LENGTH, MEMORY, SCRATCH, SHIFT, Translator, context,
        helper,
    },
};

/// Octets of the frame on the stack: at least both addresses and two tags, and not too many.
const HEAD_OCTETS_MIN: u32 = 20;
const HEAD_OCTETS_MAX: u32 = 128;

/// Where a tag lies, and where it ends.
const TAG: u32 = 12;
const TAG_END: u32 = TAG + 4;

/// The frame's first octets on the stack.
#[derive(Clone, Copy)]
pub(super) struct Head {
    octets: u32,
    /// Where they begin, and the cleared area around them.
    start: i16,
    pub(super) area: i16,
}

impl Head {
    /// As many as these instructions read. Their IP header lies at a multiple of four: the verifier
    /// takes only aligned reads of the stack.
    pub(super) fn new(runs: &[(usize, Instruction)], ethernet: bool) -> Self {
        let end = |(_, instruction): &(usize, Instruction)| match *instruction {
            Instruction::Load(size, offset) => offset + size.octets(),
            Instruction::LoadHeaderLength(offset) => offset + 1,
            _ => 0,
        };
        let ends = runs.iter().map(end);
        let ends = ends.filter(|end| *end <= HEAD_OCTETS_MAX);
        let octets = ends.max().unwrap_or(0).max(HEAD_OCTETS_MIN);
        let before = if ethernet { 2 } else { 0 };
        let area = MEMORY - (before + octets as i16 + 7) / 8 * 8;
        Self {
            octets,
            start: area + before,
            area,
        }
    }

    /// Where an octet of it is.
    fn at(self, offset: u32) -> i16 {
        self.start + offset as i16
    }
}

/// A load at an offset that is computed and lies before the tag's end.
pub(super) struct Near {
    label: Label,
    size: Size,
    done: Label,
}

impl Translator<'_> {
    /// Whether the frame's tag may be beside it.
    fn may_be_tagged(&self) -> bool {
        self.place.ethernet && self.place.hook != Hook::Xdp
    }

    /// Copies the head to the stack.
    pub(super) fn load_first(&mut self) {
        let loaded = self.to.label();
        if self.may_be_tagged() {
            let untagged = self.to.label();
            self.tagged_head(untagged, loaded);
            self.to.place(untagged);
        }
        self.to.compute_64(Operation::Mov, R4, LENGTH);
        self.at_most(R4, self.head.octets);
        self.to.jump_if_64(Comparison::Less, R4, 1, self.filtered);
        self.copy(0, self.head.start);
        self.to.place(loaded);
    }

    /// Copies the head with the tag that lies beside the frame, and goes on at `loaded`; at
    /// `untagged` if there is none.
    fn tagged_head(&mut self, untagged: Label, loaded: Label) {
        self.to.clear(R10, SHIFT);
        self.to
            .load(Width::Four, R1, CONTEXT, context::SKB_VLAN_PRESENT);
        self.to.jump_if_32(Comparison::Equal, R1, 0, untagged);
        self.to
            .jump_if_64(Comparison::Less, LENGTH, TAG as i32, self.filtered);
        self.to.compute_32(Operation::Mov, R4, TAG as i32);
        self.copy(0, self.head.start);
        self.to
            .load(Width::Four, R0, CONTEXT, context::SKB_VLAN_PROTO);
        self.to.store(Width::Two, R10, self.head.at(TAG), R0);
        self.to
            .load(Width::Four, R0, CONTEXT, context::SKB_VLAN_TCI);
        self.to.big_endian(R0, 2);
        self.to.store(Width::Two, R10, self.head.at(TAG + 2), R0);
        let octets = (TAG_END - TAG) as i32;
        self.to.compute_32(Operation::Mov, R0, octets);
        self.to.store(Width::Eight, R10, SHIFT, R0);
        self.to.compute_64(Operation::Mov, R4, LENGTH);
        self.to.compute_64(Operation::Sub, R4, TAG as i32);
        self.to.compute_64(Operation::Add, LENGTH, octets);
        self.at_most(R4, self.head.octets - TAG_END);
        self.to.jump_if_64(Comparison::Less, R4, 1, loaded);
        self.copy(TAG, self.head.at(TAG_END));
        self.to.jump(loaded);
    }

    fn at_most(&mut self, register: Register, bound: u32) {
        let below = self.to.label();
        self.to
            .jump_if_64(Comparison::Less, register, bound as i32, below);
        self.to.compute_32(Operation::Mov, register, bound as i32);
        self.to.place(below);
    }

    /// Copies as many octets of the packet as the fourth register says to the stack.
    fn copy(&mut self, offset: u32, to: i16) {
        self.to.compute_32(Operation::Mov, R2, offset as i32);
        self.call_copy(to);
    }

    /// The same, from the offset in the second register.
    fn call_copy(&mut self, to: i16) {
        self.to.compute_64(Operation::Mov, R1, CONTEXT);
        self.to.compute_64(Operation::Mov, R3, R10);
        self.to.compute_64(Operation::Add, R3, i32::from(to));
        self.to.call(match self.place.hook {
            Hook::Xdp => helper::XDP_LOAD_BYTES,
            Hook::TcReceived | Hook::TcSent => helper::SKB_LOAD_BYTES,
        });
        self.to
            .jump_if_64(Comparison::NotEqual, R0, 0, self.filtered);
    }

    /// Loads what is at an offset.
    pub(super) fn load(&mut self, register: Register, size: Size, offset: u32) {
        // Classic offsets are so small that nothing overflows.
        let end = offset + size.octets();
        self.to
            .jump_if_64(Comparison::Less, LENGTH, end as i32, self.filtered);
        if end <= self.head.octets {
            self.load_head(register, size, offset);
            return;
        }
        self.to.compute_32(Operation::Mov, R2, offset as i32);
        if self.may_be_tagged() {
            self.to.load(Width::Eight, R0, R10, SHIFT);
            self.to.compute_64(Operation::Sub, R2, R0);
        }
        self.load_far(register, size);
    }

    /// From the head, in pieces as large as their places allow.
    fn load_head(&mut self, register: Register, size: Size, offset: u32) {
        let octets = size.octets();
        let place = self.head.at(offset);
        let piece = match octets {
            4 if place % 4 == 0 => 4,
            2 | 4 if place % 2 == 0 => 2,
            _ => 1,
        };
        self.load_stack(register, piece, place);
        for done in (piece..octets).step_by(piece as usize) {
            self.to
                .compute_32(Operation::Lsh, register, 8 * piece as i32);
            self.load_stack(R0, piece, place + done as i16);
            self.to.compute_32(Operation::Or, register, R0);
        }
    }

    fn load_stack(&mut self, register: Register, octets: u32, place: i16) {
        let width = match octets {
            4 => Width::Four,
            2 => Width::Two,
            _ => Width::One,
        };
        self.to.load(width, register, R10, place);
        if width != Width::One {
            self.to.big_endian(register, octets as i32);
        }
    }

    /// From the packet, at the offset in the second register.
    fn load_far(&mut self, register: Register, size: Size) {
        self.to.compute_32(Operation::Mov, R4, size.octets() as i32);
        self.call_copy(SCRATCH);
        self.load_stack(register, size.octets(), SCRATCH);
    }

    /// Loads what is at an offset from X.
    pub(super) fn load_indexed(&mut self, size: Size, offset: u32) {
        self.to.compute_32(Operation::Mov, R2, INDEX);
        // Twice is not at all, but the verifier knows no bounds of it any more. In a loop they would be
        // others each round, and it would tell rounds apart that are alike.
        self.to.big_endian(R2, 4);
        self.to.big_endian(R2, 4);
        self.to.compute_32(Operation::Mov, R0, offset.cast_signed());
        self.to.compute_64(Operation::Add, R2, R0);
        self.to.compute_64(Operation::Mov, R0, R2);
        self.to.compute_64(Operation::Add, R0, size.octets() as i32);
        self.to
            .jump_if_64(Comparison::Greater, R0, LENGTH, self.filtered);
        if !self.may_be_tagged() {
            self.load_far(ACCUMULATOR, size);
            return;
        }
        let (near, plain, done) = (self.to.label(), self.to.label(), self.to.label());
        self.to.load(Width::Eight, R0, R10, SHIFT);
        self.to.jump_if_64(Comparison::Equal, R0, 0, plain);
        // The verifier follows what is next first; the likely way is short, and it need not remember
        // all the others on it.
        self.to
            .jump_if_64(Comparison::Less, R2, TAG_END as i32, near);
        self.to.compute_64(Operation::Sub, R2, R0);
        self.to.place(plain);
        self.load_far(ACCUMULATOR, size);
        self.to.place(done);
        self.near.push(Near {
            label: near,
            size,
            done,
        });
    }

    /// A tagged frame's load from before the tag's end, at the offset in the second register: a read
    /// of the stack has to be at a place that the verifier knows, so each has its own.
    pub(super) fn load_near(&mut self, near: &Near) {
        self.to.place(near.label);
        for offset in 0..TAG_END {
            let other = self.to.label();
            self.to
                .jump_if_64(Comparison::NotEqual, R2, offset as i32, other);
            self.load_head(ACCUMULATOR, near.size, offset);
            self.to.jump(near.done);
            self.to.place(other);
        }
        self.to.jump(self.filtered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_aligned_and_the_stack_large_enough() {
        for (offset, octets) in [(0, 20), (26, 30), (124, 128), (125, 20), (1 << 29, 20)] {
            let runs = [(0, Instruction::Load(Size::Word, offset))];
            for (ethernet, network) in [(true, 14), (false, 0)] {
                let head = Head::new(&runs, ethernet);
                assert_eq!(head.octets, octets, "{offset}");
                assert_eq!(head.at(network) % 4, 0);
                assert!(head.area % 8 == 0 && head.area <= head.start && head.area >= -512);
                assert!(head.at(head.octets) <= MEMORY);
            }
        }
    }
}
