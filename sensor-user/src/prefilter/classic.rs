//! Classic BPF, which libpcap compiles filter expressions to (McCanne and Jacobson, "The BSD Packet
//! Filter", USENIX 1993; opcodes as in libpcap's `pcap/bpf.h`): decoded and checked once, so that who
//! runs it and who translates it meet no nonsense.
//!
//! The machine has an accumulator A, an index X and sixteen words of memory, all of 32 bits and 0 at
//! first. Loads are big-endian; one that goes beyond the packet ends the program with 0, as a division
//! by zero does. What is returned is how much of the packet is wanted; 0 is none of it.

use std::fmt;

/// Words of memory.
pub const MEMORY_WORDS: usize = 16;

/// An instruction as libpcap has it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What to do: class, size, mode or operation, and source.
    pub code: u16,
    /// Instructions to skip if a comparison holds …
    pub jump_true: u8,
    /// … and if it does not.
    pub jump_false: u8,
    /// The constant, offset or distance.
    pub k: u32,
}

/// How much is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One octet.
    Octet,
    /// Two.
    Half,
    /// Four.
    Word,
}

impl Size {
    /// In octets.
    #[must_use]
    pub fn octets(self) -> u32 {
        match self {
            Self::Octet => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The accumulator.
    A,
    /// The index.
    X,
}

/// The second operand of arithmetic and comparisons; the first is A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant.
    Constant(u32),
    /// The index.
    X,
}

/// What the kernel knows of a packet beside its octets, read at offsets from `SKF_AD_OFF`
/// (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancillary {
    /// Its type, of which `inbound` and `outbound` want to know whether it is `PACKET_OUTGOING`.
    Type,
    /// Its interface's number.
    Interface,
}

/// Arithmetic on A, modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient.
    Divide,
    /// Remainder.
    Remainder,
    /// Bits of either.
    Or,
    /// Bits of both.
    And,
    /// Bits of one of them.
    ExclusiveOr,
    /// Shift to the left; by 32 or more to 0.
    ShiftLeft,
    /// Shift to the right; by 32 or more to 0.
    ShiftRight,
}

/// A comparison of A, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Some bit is set in both.
    AnyBit,
}

/// An instruction. Targets are places in the program, and exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// A = what is in the packet at an offset.
    Load(Size, u32),
    /// A = what is there at X and an offset.
    LoadIndexed(Size, u32),
    /// A = what the kernel knows.
    LoadAncillary(Ancillary),
    /// X = four times the lower nibble of the octet at an offset: an IPv4 header's length.
    LoadHeaderLength(u32),
    /// A register = a constant.
    Set(Register, u32),
    /// A register = the packet's length on the wire.
    Length(Register),
    /// A register = a word of memory.
    Recall(Register, usize),
    /// A word of memory = a register.
    Keep(Register, usize),
    /// X = A.
    IndexFromAccumulator,
    /// A = X.
    AccumulatorFromIndex,
    /// A = A and something.
    Arithmetic(Arithmetic, Operand),
    /// A = −A.
    Negate,
    /// Go on elsewhere.
    Jump(usize),
    /// Go on at one of two places.
    Branch {
        /// By this comparison of A
        condition: Condition,
        /// with this.
        operand: Operand,
        /// If it holds.
        holds: usize,
        /// If it does not.
        fails: usize,
    },
    /// The packet is wanted or not.
    Return(bool),
    /// It is if A is not 0.
    ReturnAccumulator,
}

/// A checked program: it does not run off its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

/// Why instructions are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Which instruction.
    pub at: usize,
    /// Its code.
    pub code: u16,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, code } = self;
        write!(
            formatter,
            "libpcap compiled it to something unknown here (instruction {at}, code {code:#x})"
        )
    }
}

impl std::error::Error for Malformed {}

impl Program {
    /// Decodes and checks.
    ///
    /// # Errors
    /// Which instruction is none, or leads out of the program.
    pub fn new(encoded: &[Encoded]) -> Result<Self, Malformed> {
        let decode = |(at, instruction): (usize, &Encoded)| {
            let code = instruction.code;
            decode(*instruction, at, encoded.len()).ok_or(Malformed { at, code })
        };
        let instructions: Vec<_> = encoded
            .iter()
            .enumerate()
            .map(decode)
            .collect::<Result<_, _>>()?;
        if instructions.last().is_none_or(Instruction::goes_on) {
            let at = encoded.len().saturating_sub(1);
            let code = encoded.last().map_or(0, |last| last.code);
            return Err(Malformed { at, code });
        }
        Ok(Self { instructions })
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Whether it asks for what only a live packet has.
    #[must_use]
    pub fn has_ancillary(&self) -> bool {
        let mut instructions = self.instructions.iter();
        instructions.any(|instruction| matches!(instruction, Instruction::LoadAncillary(_)))
    }

    /// Which instructions may run. The kernel takes no program with others.
    #[must_use]
    pub fn reachable(&self) -> Vec<bool> {
        let mut reachable = vec![false; self.instructions.len()];
        let mut next = vec![0];
        while let Some(at) = next.pop() {
            if std::mem::replace(&mut reachable[at], true) {
                continue;
            }
            match self.instructions[at] {
                Instruction::Jump(to) => next.push(to),
                Instruction::Branch { holds, fails, .. } => next.extend([holds, fails]),
                instruction if instruction.goes_on() => next.push(at + 1),
                _ => {}
            }
        }
        reachable
    }
}

impl Instruction {
    /// Whether the instruction after it is next.
    fn goes_on(&self) -> bool {
        !matches!(
            self,
            Self::Jump(_) | Self::Branch { .. } | Self::Return(_) | Self::ReturnAccumulator
        )
    }
}

/// `SKF_AD_OFF` (linux/filter.h): offsets from here on are not of the packet.
const ANCILLARY: u32 = 0xffff_f000;
const ANCILLARY_TYPE: u32 = ANCILLARY + 4;
const ANCILLARY_INTERFACE: u32 = ANCILLARY + 8;

fn decode(encoded: Encoded, at: usize, len: usize) -> Option<Instruction> {
    const X: u16 = 0x08;
    let Encoded { code, k, .. } = encoded;
    let operand = if code & X != 0 {
        Operand::X
    } else {
        Operand::Constant(k)
    };
    let word = || usize::try_from(k).ok().filter(|word| *word < MEMORY_WORDS);
    let target = |distance: i64| {
        let to = i64::try_from(at).ok()? + 1 + distance;
        usize::try_from(to).ok().filter(|to| *to < len)
    };
    // Class, and size and mode, operation or what is returned.
    Some(match (code & 0x07, code & !0x07) {
        (0x00, 0x00) => Instruction::Set(Register::A, k),
        (0x00, 0x60) => Instruction::Recall(Register::A, word()?),
        (0x00, 0x80) => Instruction::Length(Register::A),
        (0x00, mode) => load(size(mode & 0x18)?, mode & !0x18, k)?,
        (0x01, 0x00) => Instruction::Set(Register::X, k),
        (0x01, 0x60) => Instruction::Recall(Register::X, word()?),
        (0x01, 0x80) => Instruction::Length(Register::X),
        (0x01, 0xb0) if k >= BEYOND => Instruction::Return(false),
        (0x01, 0xb0) => Instruction::LoadHeaderLength(k),
        (0x02, 0x00) => Instruction::Keep(Register::A, word()?),
        (0x03, 0x00) => Instruction::Keep(Register::X, word()?),
        (0x04, 0x80) => Instruction::Negate,
        (0x04, operation) => Instruction::Arithmetic(arithmetic(operation & !X, operand)?, operand),
        // The distance is signed.
        (0x05, 0x00) => Instruction::Jump(target(k.cast_signed().into())?),
        (0x05, comparison) => Instruction::Branch {
            condition: condition(comparison & !X)?,
            operand,
            holds: target(encoded.jump_true.into())?,
            fails: target(encoded.jump_false.into())?,
        },
        (0x06, 0x00) => Instruction::Return(k != 0),
        (0x06, 0x10) => Instruction::ReturnAccumulator,
        (0x07, 0x00) => Instruction::IndexFromAccumulator,
        (0x07, 0x80) => Instruction::AccumulatorFromIndex,
        _ => return None,
    })
}

/// No packet has so many octets; offsets below it do not overflow.
const BEYOND: u32 = 1 << 30;

fn load(size: Size, mode: u16, k: u32) -> Option<Instruction> {
    Some(match mode {
        0x40 => Instruction::LoadIndexed(size, k),
        0x20 if k < BEYOND => Instruction::Load(size, k),
        0x20 if k < ANCILLARY => Instruction::Return(false),
        0x20 if k == ANCILLARY_TYPE => Instruction::LoadAncillary(Ancillary::Type),
        0x20 if k == ANCILLARY_INTERFACE => Instruction::LoadAncillary(Ancillary::Interface),
        _ => return None,
    })
}

fn size(bits: u16) -> Option<Size> {
    match bits {
        0x00 => Some(Size::Word),
        0x08 => Some(Size::Half),
        0x10 => Some(Size::Octet),
        _ => None,
    }
}

fn arithmetic(operation: u16, operand: Operand) -> Option<Arithmetic> {
    // Nobody means these: division by 0, shifts out of the word.
    if matches!(
        (operation, operand),
        (0x30 | 0x90, Operand::Constant(0)) | (0x60 | 0x70, Operand::Constant(32..))
    ) {
        return None;
    }
    Some(match operation {
        0x00 => Arithmetic::Add,
        0x10 => Arithmetic::Subtract,
        0x20 => Arithmetic::Multiply,
        0x30 => Arithmetic::Divide,
        0x40 => Arithmetic::Or,
        0x50 => Arithmetic::And,
        0x60 => Arithmetic::ShiftLeft,
        0x70 => Arithmetic::ShiftRight,
        0x90 => Arithmetic::Remainder,
        0xa0 => Arithmetic::ExclusiveOr,
        _ => return None,
    })
}

fn condition(comparison: u16) -> Option<Condition> {
    Some(match comparison {
        0x10 => Condition::Equal,
        0x20 => Condition::Greater,
        0x30 => Condition::GreaterOrEqual,
        0x40 => Condition::AnyBit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(code: u16, jump_true: u8, jump_false: u8, k: u32) -> Encoded {
        Encoded {
            code,
            jump_true,
            jump_false,
            k,
        }
    }

    const ACCEPT: Encoded = Encoded {
        code: 0x06,
        jump_true: 0,
        jump_false: 0,
        k: 262_144,
    };

    #[test]
    fn what_tcpdump_prints_is_decoded() {
        // tcpdump -y EN10MB -dd 'ip[ip[0]]/ip[1]=3', shortened.
        let program = Program::new(&[
            encoded(0x28, 0, 0, 12),
            encoded(0x15, 0, 3, 0x0800),
            encoded(0xb1, 0, 0, 14),
            encoded(0x50, 0, 0, 14),
            encoded(0x3c, 0, 0, 0),
            ACCEPT,
        ]);
        let expected = [
            Instruction::Load(Size::Half, 12),
            Instruction::Branch {
                condition: Condition::Equal,
                operand: Operand::Constant(0x0800),
                holds: 2,
                fails: 5,
            },
            Instruction::LoadHeaderLength(14),
            Instruction::LoadIndexed(Size::Octet, 14),
            Instruction::Arithmetic(Arithmetic::Divide, Operand::X),
            Instruction::Return(true),
        ];
        assert_eq!(program.unwrap().instructions(), expected);
    }

    #[test]
    fn jumps_may_go_back_but_not_out() {
        let back = |k: i32| Program::new(&[ACCEPT, encoded(0x05, 0, 0, k.cast_unsigned()), ACCEPT]);
        assert_eq!(back(-2).unwrap().instructions()[1], Instruction::Jump(0));
        assert_eq!(back(0).unwrap().instructions()[1], Instruction::Jump(2));
        for out in [-3, 1, i32::MIN, i32::MAX] {
            assert!(back(out).is_err(), "{out}");
        }
        assert!(Program::new(&[encoded(0x15, 1, 0, 0), ACCEPT]).is_err());
    }

    #[test]
    fn nonsense_is_no_program() {
        for wrong in [
            // Division and remainder by 0, shifts out of the word.
            encoded(0x34, 0, 0, 0),
            encoded(0x94, 0, 0, 0),
            encoded(0x64, 0, 0, 32),
            encoded(0x74, 0, 0, 40),
            // Memory that is not there.
            encoded(0x60, 0, 0, 16),
            encoded(0x02, 0, 0, u32::MAX),
            // Ancillary data that libpcap asks for on its own sockets only: the VLAN tag.
            encoded(0x20, 0, 0, ANCILLARY + 44),
            // Codes of nothing.
            encoded(0xffff, 0, 0, 0),
            encoded(0x0106, 0, 0, 0),
            encoded(0x0104, 0, 0, 0),
            encoded(0x0115, 0, 0, 0),
            encoded(0x0128, 0, 0, 0),
            encoded(0x38, 0, 0, 0),
            encoded(0xc4, 0, 0, 0),
            encoded(0x55, 0, 0, 0),
            encoded(0x0e, 0, 0, 0),
        ] {
            let refused = Program::new(&[wrong, ACCEPT]);
            let code = wrong.code;
            assert_eq!(refused, Err(Malformed { at: 0, code }), "{wrong:?}");
        }
        assert!(Program::new(&[]).is_err());
        assert!(Program::new(&[ACCEPT, encoded(0x87, 0, 0, 0)]).is_err());
    }

    #[test]
    fn what_cannot_run_is_known() {
        let program = Program::new(&[encoded(0x05, 0, 0, 1), ACCEPT, ACCEPT]).unwrap();
        assert_eq!(program.reachable(), [true, false, true]);
    }
}
