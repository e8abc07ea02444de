//! Makes an eBPF program of a classic one, as a step of the kernel programs: packets that match go on
//! with the step after it, all others are counted and end there.
//!
//! `reads.rs` is how it reads the packet; the rest of the instructions have their like.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "places on a stack of 512 octets, counters' indexes"
)]

use std::mem::offset_of;

use weir_sensor_common::{Counter, stage::Cpu, walk::V6_EXTENSIONS_MAX};

use super::{
    classic::{
        Ancillary, Arithmetic, Condition, Instruction, MEMORY_WORDS, Operand, Program,
        Register as Classic, Size,
    },
    ebpf::{
        self, Assembler, Comparison, Label, Operation,
        Register::{self, R0, R1, R2, R3, R6, R7, R8, R9, R10},
        TooFar, Width,
    },
    reads::{Head, Near},
};

/// How often a loop of the program may jump back. Only `ip protochain` and `ip6 protochain` do, once for
/// each header they skip; a packet with a longer chain is not matched. The verifier follows every round,
/// and what that costs it grows by the square; the walk skips as many headers.
pub const ROUNDS_MAX: u32 = V6_EXTENSIONS_MAX as u32;

/// Where the program will run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP (kernel 5.18: `bpf_xdp_load_bytes`).
    Xdp,
    /// tc, for packets that are received.
    TcReceived,
    /// tc, for packets that are sent.
    TcSent,
}

/// What the program is part of.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where it runs.
    pub hook: Hook,
    /// Whether frames have an Ethernet header.
    pub ethernet: bool,
    /// What becomes of the packets there.
    pub verdict: i32,
    /// Descriptor of the map of steps.
    pub steps: i32,
    /// The step that packets go on with if they match.
    pub next_step: u32,
    /// Descriptor of the map with the CPUs' counters.
    pub cpus: i32,
}

/// Numbers of helpers (linux/bpf.h).
pub(super) mod helper {
    pub const MAP_LOOKUP_ELEM: i32 = 1;
    pub const GET_SMP_PROCESSOR_ID: i32 = 8;
    pub const TAIL_CALL: i32 = 12;
    pub const SKB_LOAD_BYTES: i32 = 26;
    pub const XDP_GET_BUFF_LEN: i32 = 188;
    pub const XDP_LOAD_BYTES: i32 = 189;
}

/// Offsets in `struct __sk_buff` and `struct xdp_md` (linux/bpf.h).
pub(super) mod context {
    pub const SKB_LEN: i16 = 0;
    pub const SKB_VLAN_PRESENT: i16 = 20;
    pub const SKB_VLAN_TCI: i16 = 24;
    /// In network byte order.
    pub const SKB_VLAN_PROTO: i16 = 28;
    pub const SKB_IFINDEX: i16 = 40;
    pub const XDP_INGRESS_IFINDEX: i16 = 12;
}

// What the registers hold throughout.
pub(super) const CONTEXT: Register = R6;
pub(super) const ACCUMULATOR: Register = R7;
pub(super) const INDEX: Register = R8;
/// Octets of the frame, with its tag.
pub(super) const LENGTH: Register = R9;

// What the stack holds, from its end on.
/// Eight octets for what a call needs for a moment.
pub(super) const SCRATCH: i16 = -8;
/// By how much offsets behind the VLAN tag are to be lowered.
pub(super) const SHIFT: i16 = -16;
/// How often the loop may still jump back.
const ROUNDS: i16 = -24;
pub(super) const MEMORY: i16 = ROUNDS - 4 * MEMORY_WORDS as i16;

/// The program, for a hook's place.
///
/// # Errors
/// If it is so long that jumps in it are too far for the kernel's instructions.
pub fn translate(program: &Program, place: &Place) -> Result<Vec<ebpf::Instruction>, TooFar> {
    let reachable = program.reachable();
    let runs: Vec<(usize, Instruction)> = (0..)
        .zip(program.instructions().iter().copied())
        .filter(|(at, _)| reachable[*at])
        .collect();
    let mut to = Assembler::default();
    let (matched, filtered) = (to.label(), to.label());
    let labels = reachable.iter().map(|_| to.label()).collect();
    let mut loops = vec![None; reachable.len()];
    for (at, instruction) in &runs {
        if let Instruction::Jump(head) = *instruction
            && head <= *at
        {
            loops[head].get_or_insert_with(|| to.label());
        }
    }
    let mut translator = Translator {
        to,
        place,
        head: Head::new(&runs, place.ethernet),
        matched,
        filtered,
        labels,
        loops,
        near: Vec::new(),
    };
    translator.begin(&runs);
    for (index, (at, instruction)) in runs.iter().enumerate() {
        let next = runs.get(index + 1).map(|(next, _)| *next);
        translator.instruction(*at, *instruction, next);
    }
    translator.end();
    translator.to.finish()
}

/// The program in the making.
pub(super) struct Translator<'a> {
    pub(super) to: Assembler,
    pub(super) place: &'a Place,
    pub(super) head: Head,
    matched: Label,
    /// Where packets end that do not match.
    pub(super) filtered: Label,
    /// Of the classic instructions.
    labels: Vec<Label>,
    /// Where a loop begins at one of them: for its later rounds.
    loops: Vec<Option<Label>>,
    /// What is still to be written.
    pub(super) near: Vec<Near>,
}

impl Translator<'_> {
    fn begin(&mut self, runs: &[(usize, Instruction)]) {
        self.to.compute_64(Operation::Mov, CONTEXT, R1);
        if self.place.hook == Hook::Xdp {
            self.to.call(helper::XDP_GET_BUFF_LEN);
            self.to.compute_32(Operation::Mov, LENGTH, R0);
        } else {
            self.to.load(Width::Four, LENGTH, CONTEXT, context::SKB_LEN);
        }
        self.to.compute_32(Operation::Mov, ACCUMULATOR, 0);
        self.to.compute_32(Operation::Mov, INDEX, 0);
        let recalls = |(_, instruction): &(usize, Instruction)| {
            matches!(instruction, Instruction::Recall(..))
        };
        // What is copied to the stack has a length that the verifier does not know.
        self.clear(self.head.area, MEMORY);
        if runs.iter().any(recalls) {
            self.clear(MEMORY, ROUNDS);
        }
        self.load_first();
    }

    /// Clears a part of the stack.
    fn clear(&mut self, from: i16, end: i16) {
        for offset in (from..end).step_by(8) {
            self.to.clear(R10, offset);
        }
    }

    fn instruction(&mut self, at: usize, instruction: Instruction, next: Option<usize>) {
        self.to.place(self.labels[at]);
        if let Some(round) = self.loops[at] {
            let rounds = ROUNDS_MAX.cast_signed();
            self.to.compute_32(Operation::Mov, R0, rounds);
            self.to.store(Width::Eight, R10, ROUNDS, R0);
            self.to.place(round);
        }
        match instruction {
            Instruction::Load(size, offset) => self.load(ACCUMULATOR, size, offset),
            Instruction::LoadIndexed(size, offset) => self.load_indexed(size, offset),
            Instruction::LoadAncillary(which) => self.load_ancillary(which),
            Instruction::LoadHeaderLength(offset) => {
                self.load(INDEX, Size::Octet, offset);
                self.to.compute_32(Operation::And, INDEX, 0x0f);
                self.to.compute_32(Operation::Lsh, INDEX, 2);
            }
            Instruction::Set(register, value) => {
                let value = value.cast_signed();
                self.to.compute_32(Operation::Mov, of(register), value);
            }
            Instruction::Length(register) => {
                self.to.compute_32(Operation::Mov, of(register), LENGTH);
            }
            Instruction::Recall(register, word) => {
                self.to.load(Width::Four, of(register), R10, memory(word));
            }
            Instruction::Keep(register, word) => {
                self.to.store(Width::Four, R10, memory(word), of(register));
            }
            Instruction::IndexFromAccumulator => {
                self.to.compute_32(Operation::Mov, INDEX, ACCUMULATOR);
            }
            Instruction::AccumulatorFromIndex => {
                self.to.compute_32(Operation::Mov, ACCUMULATOR, INDEX);
            }
            Instruction::Arithmetic(arithmetic, operand) => self.arithmetic(arithmetic, operand),
            Instruction::Negate => self.to.compute_32(Operation::Neg, ACCUMULATOR, 0),
            Instruction::Jump(to) => match self.loops[to] {
                Some(round) if to <= at => self.next_round(round),
                _ => self.to.jump(self.labels[to]),
            },
            Instruction::Branch {
                condition,
                operand,
                holds,
                fails,
            } => {
                let comparison = comparison(condition);
                let (operand, holds) = (value(operand), self.labels[holds]);
                self.to.jump_if_32(comparison, ACCUMULATOR, operand, holds);
                if next != Some(fails) {
                    self.to.jump(self.labels[fails]);
                }
            }
            Instruction::Return(true) => self.to.jump(self.matched),
            Instruction::Return(false) => self.to.jump(self.filtered),
            Instruction::ReturnAccumulator => {
                self.to
                    .jump_if_32(Comparison::NotEqual, ACCUMULATOR, 0, self.matched);
                self.to.jump(self.filtered);
            }
        }
    }

    fn load_ancillary(&mut self, which: Ancillary) {
        /// `PACKET_HOST` and `PACKET_OUTGOING` (linux/if_packet.h).
        const HOST: i32 = 0;
        const OUTGOING: i32 = 4;
        let (hook, to) = (self.place.hook, &mut self.to);
        match (which, hook) {
            (Ancillary::Type, Hook::TcSent) => {
                to.compute_32(Operation::Mov, ACCUMULATOR, OUTGOING);
            }
            (Ancillary::Type, Hook::Xdp | Hook::TcReceived) => {
                to.compute_32(Operation::Mov, ACCUMULATOR, HOST);
            }
            (Ancillary::Interface, Hook::Xdp) => {
                let offset = context::XDP_INGRESS_IFINDEX;
                to.load(Width::Four, ACCUMULATOR, CONTEXT, offset);
            }
            (Ancillary::Interface, Hook::TcReceived | Hook::TcSent) => {
                to.load(Width::Four, ACCUMULATOR, CONTEXT, context::SKB_IFINDEX);
            }
        }
    }

    fn arithmetic(&mut self, arithmetic: Arithmetic, operand: Operand) {
        let done = self.to.label();
        if operand == Operand::X {
            match arithmetic {
                Arithmetic::Divide | Arithmetic::Remainder => {
                    self.to
                        .jump_if_32(Comparison::Equal, INDEX, 0, self.filtered);
                }
                Arithmetic::ShiftLeft | Arithmetic::ShiftRight => {
                    let shifts = self.to.label();
                    self.to.jump_if_32(Comparison::Less, INDEX, 32, shifts);
                    self.to.compute_32(Operation::Mov, ACCUMULATOR, 0);
                    self.to.jump(done);
                    self.to.place(shifts);
                }
                _ => {}
            }
        }
        let operation = match arithmetic {
            Arithmetic::Add => Operation::Add,
            Arithmetic::Subtract => Operation::Sub,
            Arithmetic::Multiply => Operation::Mul,
            Arithmetic::Divide => Operation::Div,
            Arithmetic::Remainder => Operation::Mod,
            Arithmetic::Or => Operation::Or,
            Arithmetic::And => Operation::And,
            Arithmetic::ExclusiveOr => Operation::Xor,
            Arithmetic::ShiftLeft => Operation::Lsh,
            Arithmetic::ShiftRight => Operation::Rsh,
        };
        self.to.compute_32(operation, ACCUMULATOR, value(operand));
        self.to.place(done);
    }

    /// Jumps back, if it may.
    fn next_round(&mut self, round: Label) {
        self.to.load(Width::Eight, R0, R10, ROUNDS);
        self.to.jump_if_64(Comparison::Equal, R0, 0, self.filtered);
        self.to.compute_64(Operation::Sub, R0, 1);
        self.to.store(Width::Eight, R10, ROUNDS, R0);
        self.to.jump(round);
    }

    fn end(&mut self) {
        for near in std::mem::take(&mut self.near) {
            self.load_near(&near);
        }
        // The kernel takes no instruction that cannot be reached.
        if self.to.is_used(self.matched) {
            self.to.place(self.matched);
            self.to.compute_64(Operation::Mov, R1, CONTEXT);
            self.to.load_map(R2, self.place.steps);
            let next_step = self.place.next_step.cast_signed();
            self.to.compute_32(Operation::Mov, R3, next_step);
            self.to.call(helper::TAIL_CALL);
            // It does not come back, unless the kernel cannot run the step.
            self.count_and_exit(Counter::StepMissing);
        }
        self.to.place(self.filtered);
        self.count_and_exit(Counter::Filtered);
    }

    /// Only the run on this CPU writes its counters.
    fn count_and_exit(&mut self, counter: Counter) {
        let offset =
            (offset_of!(Cpu, counters.values) + size_of::<u64>() * counter as usize) as i16;
        self.to.call(helper::GET_SMP_PROCESSOR_ID);
        self.to.store(Width::Four, R10, SCRATCH, R0);
        self.to.load_map(R1, self.place.cpus);
        self.to.compute_64(Operation::Mov, R2, R10);
        self.to.compute_64(Operation::Add, R2, i32::from(SCRATCH));
        self.to.call(helper::MAP_LOOKUP_ELEM);
        let missing = self.to.label();
        self.to.jump_if_64(Comparison::Equal, R0, 0, missing);
        self.to.load(Width::Eight, R1, R0, offset);
        self.to.compute_64(Operation::Add, R1, 1);
        self.to.store(Width::Eight, R0, offset, R1);
        self.to.place(missing);
        self.to.compute_32(Operation::Mov, R0, self.place.verdict);
        self.to.exit();
    }
}

fn of(register: Classic) -> Register {
    match register {
        Classic::A => ACCUMULATOR,
        Classic::X => INDEX,
    }
}

fn memory(word: usize) -> i16 {
    MEMORY + 4 * word as i16
}

fn value(operand: Operand) -> ebpf::Operand {
    match operand {
        Operand::Constant(value) => value.cast_signed().into(),
        Operand::X => INDEX.into(),
    }
}

fn comparison(condition: Condition) -> Comparison {
    match condition {
        Condition::Equal => Comparison::Equal,
        Condition::Greater => Comparison::Greater,
        Condition::GreaterOrEqual => Comparison::GreaterOrEqual,
        Condition::AnyBit => Comparison::AnyBit,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::classic::Encoded, *};

    const fn encoded(code: u16, jump_true: u8, jump_false: u8, k: u32) -> Encoded {
        Encoded {
            code,
            jump_true,
            jump_false,
            k,
        }
    }

    const RETURN: Encoded = encoded(0x06, 0, 0, 1);
    const PLACE: Place = Place {
        hook: Hook::TcSent,
        ethernet: true,
        verdict: 0,
        steps: 3,
        next_step: 6,
        cpus: 4,
    };

    fn translated(lines: &[Encoded]) -> Result<usize, TooFar> {
        let program = Program::new(lines).unwrap();
        translate(&program, &PLACE).map(|instructions| instructions.len())
    }

    #[test]
    fn what_cannot_be_reached_is_left_out() {
        let over = encoded(0x05, 0, 0, 1);
        let load = encoded(0x30, 0, 0, 0);
        let with = translated(&[over, load, RETURN]).unwrap();
        let without = translated(&[encoded(0x05, 0, 0, 0), RETURN]).unwrap();
        assert_eq!(with, without);
        // Nothing matches: there is no step to go on with.
        let nothing = encoded(0x06, 0, 0, 0);
        assert!(translated(&[nothing]).unwrap() < translated(&[RETURN]).unwrap());
    }

    #[test]
    fn a_program_that_is_too_long_is_refused() {
        let load = encoded(0x30, 0, 0, 200);
        let program = |loads: usize| {
            let mut lines = vec![load; loads];
            lines.push(RETURN);
            translated(&lines)
        };
        assert!(program(1000).is_ok());
        assert_eq!(program(5000), Err(TooFar));
    }
}
