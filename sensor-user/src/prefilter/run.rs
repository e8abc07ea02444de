//! Runs a program on the packets of capture files.

use super::classic::{
    Arithmetic, Condition, Instruction, MEMORY_WORDS, Operand, Program, Register, Size,
};

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What was captured of it.
    pub octets: &'a [u8],
    /// Its length on the wire.
    pub wire_octets: u32,
}

/// How often a program may jump back: `ip protochain` and `ip6 protochain` do, once for each header of
/// at least eight octets that they skip.
const JUMPS_BACK_MAX: u32 = 1 << 16;

/// Whether a packet is wanted. A program that asks for what a file does not have wants none.
#[must_use]
pub fn matches(program: &Program, packet: Packet<'_>) -> bool {
    matches_within(program, packet, JUMPS_BACK_MAX)
}

/// The same for a program that ends if it jumps back more often: in the kernel it may do so less often.
#[must_use]
pub fn matches_within(program: &Program, packet: Packet<'_>, jumps_back_max: u32) -> bool {
    let wanted = Machine::default().run(program, packet, jumps_back_max);
    wanted.unwrap_or(false)
}

#[derive(Default)]
struct Machine {
    accumulator: u32,
    index: u32,
    memory: [u32; MEMORY_WORDS],
}

impl Machine {
    /// `None` if it ends where classic BPF says that it ends with 0.
    fn run(&mut self, program: &Program, packet: Packet<'_>, jumps_back_max: u32) -> Option<bool> {
        let instructions = program.instructions();
        let mut jumps_back = 0;
        let mut at = 0;
        loop {
            let mut next = at + 1;
            match *instructions.get(at)? {
                Instruction::Load(size, offset) => {
                    self.accumulator = load(packet.octets, size, offset)?;
                }
                Instruction::LoadIndexed(size, offset) => {
                    let offset = self.index.checked_add(offset)?;
                    self.accumulator = load(packet.octets, size, offset)?;
                }
                Instruction::LoadAncillary(_) => return None,
                Instruction::LoadHeaderLength(offset) => {
                    self.index = 4 * (load(packet.octets, Size::Octet, offset)? & 0x0f);
                }
                Instruction::Set(register, value) => *self.register(register) = value,
                Instruction::Length(register) => *self.register(register) = packet.wire_octets,
                Instruction::Recall(register, word) => {
                    *self.register(register) = *self.memory.get(word)?;
                }
                Instruction::Keep(register, word) => {
                    *self.memory.get_mut(word)? = *self.register(register);
                }
                Instruction::IndexFromAccumulator => self.index = self.accumulator,
                Instruction::AccumulatorFromIndex => self.accumulator = self.index,
                Instruction::Arithmetic(arithmetic, operand) => {
                    self.accumulator =
                        compute(arithmetic, self.accumulator, self.operand(operand))?;
                }
                Instruction::Negate => self.accumulator = self.accumulator.wrapping_neg(),
                Instruction::Jump(to) => next = to,
                Instruction::Branch {
                    condition,
                    operand,
                    holds,
                    fails,
                } => {
                    let operand = self.operand(operand);
                    next = if self.holds(condition, operand) {
                        holds
                    } else {
                        fails
                    };
                }
                Instruction::Return(wanted) => return Some(wanted),
                Instruction::ReturnAccumulator => return Some(self.accumulator != 0),
            }
            if next <= at {
                jumps_back += 1;
                if jumps_back > jumps_back_max {
                    return None;
                }
            }
            at = next;
        }
    }

    fn register(&mut self, register: Register) -> &mut u32 {
        match register {
            Register::A => &mut self.accumulator,
            Register::X => &mut self.index,
        }
    }

    fn operand(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Constant(value) => value,
            Operand::X => self.index,
        }
    }

    fn holds(&self, condition: Condition, operand: u32) -> bool {
        let accumulator = self.accumulator;
        match condition {
            Condition::Equal => accumulator == operand,
            Condition::Greater => accumulator > operand,
            Condition::GreaterOrEqual => accumulator >= operand,
            Condition::AnyBit => accumulator & operand != 0,
        }
    }
}

fn load(packet: &[u8], size: Size, offset: u32) -> Option<u32> {
    let start = usize::try_from(offset).ok()?;
    let octets = packet.get(start..start.checked_add(size.octets() as usize)?)?;
    let big_endian = |value, octet: &u8| value << 8 | u32::from(*octet);
    Some(octets.iter().fold(0, big_endian))
}

fn compute(arithmetic: Arithmetic, accumulator: u32, operand: u32) -> Option<u32> {
    Some(match arithmetic {
        Arithmetic::Add => accumulator.wrapping_add(operand),
        Arithmetic::Subtract => accumulator.wrapping_sub(operand),
        Arithmetic::Multiply => accumulator.wrapping_mul(operand),
        Arithmetic::Divide => accumulator.checked_div(operand)?,
        Arithmetic::Remainder => accumulator.checked_rem(operand)?,
        Arithmetic::Or => accumulator | operand,
        Arithmetic::And => accumulator & operand,
        Arithmetic::ExclusiveOr => accumulator ^ operand,
        Arithmetic::ShiftLeft => accumulator.checked_shl(operand).unwrap_or(0),
        Arithmetic::ShiftRight => accumulator.checked_shr(operand).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::classic::Encoded, *};

    fn program(instructions: &[(u16, u8, u8, u32)]) -> Program {
        let encoded: Vec<_> = instructions
            .iter()
            .map(|&(code, jump_true, jump_false, k)| Encoded {
                code,
                jump_true,
                jump_false,
                k,
            })
            .collect();
        Program::new(&encoded).unwrap()
    }

    fn wanted(instructions: &[(u16, u8, u8, u32)], octets: &[u8]) -> bool {
        let packet = Packet {
            octets,
            wire_octets: 1000,
        };
        matches(&program(instructions), packet)
    }

    #[test]
    fn loads_are_big_endian_and_end_at_the_packets_end() {
        let packet = [0x12, 0x34, 0x56, 0x78, 0x9a];
        for (code, k, value) in [
            (0x20, 0, 0x1234_5678),
            (0x20, 1, 0x3456_789a),
            (0x28, 3, 0x789a),
            (0x30, 4, 0x9a),
        ] {
            let equal = [
                (code, 0, 0, k),
                (0x15, 0, 1, value),
                RETURN_ALL,
                RETURN_NONE,
            ];
            assert!(wanted(&equal, &packet), "{code:#x} {k}");
            // X instead of an offset.
            let indexed = [
                (0x01, 0, 0, k),
                (code + 0x20, 0, 0, 0),
                equal[1],
                equal[2],
                equal[3],
            ];
            assert!(wanted(&indexed, &packet), "{code:#x} {k} by X");
        }
        for (code, k) in [
            (0x20, 2),
            (0x28, 4),
            (0x30, 5),
            (0x30, u32::MAX >> 2),
            (0xb1, 5),
        ] {
            assert!(
                !wanted(&[(code, 0, 0, k), RETURN_ALL], &packet),
                "{code:#x} {k}"
            );
        }
        // X and the offset do not wrap around to the packet's beginning.
        let around = [(0x01, 0, 0, u32::MAX), (0x50, 0, 0, 1), RETURN_ALL];
        assert!(!wanted(&around, &packet));
    }

    const RETURN_ALL: (u16, u8, u8, u32) = (0x06, 0, 0, 262_144);
    const RETURN_NONE: (u16, u8, u8, u32) = (0x06, 0, 0, 0);
    const RETURN_A: (u16, u8, u8, u32) = (0x16, 0, 0, 0);

    /// A = a, X = x, an operation with X, and A is compared.
    fn is(operation: u16, a: u32, x: u32, result: u32) -> bool {
        let lines = [
            (0x00, 0, 0, a),
            (0x01, 0, 0, x),
            (0x04 | operation | 0x08, 0, 0, 0),
            (0x15, 0, 1, result),
            RETURN_ALL,
            RETURN_NONE,
        ];
        wanted(&lines, &[])
    }

    #[test]
    fn arithmetic_is_of_32_bits() {
        for (operation, a, x, result) in [
            (0x00, u32::MAX, 2, 1),
            (0x10, 1, 2, u32::MAX),
            (0x20, 1 << 31, 2, 0),
            (0x30, 7, 2, 3),
            (0x40, 5, 2, 7),
            (0x50, 6, 3, 2),
            (0x60, 1, 31, 1 << 31),
            (0x60, 1, 32, 0),
            (0x70, 1 << 31, 31, 1),
            (0x70, u32::MAX, 32, 0),
            (0x90, 7, 4, 3),
            (0xa0, 6, 3, 5),
        ] {
            assert!(is(operation, a, x, result), "{operation:#x} {a} {x}");
        }
        // A division by 0 ends the program, with whatever result.
        assert!(!is(0x30, 7, 0, 0) && !is(0x90, 7, 0, 7));
        assert!(wanted(
            &[
                (0x00, 0, 0, 1),
                (0x84, 0, 0, 0),
                (0x15, 0, 1, u32::MAX),
                RETURN_ALL,
                RETURN_NONE
            ],
            &[]
        ));
    }

    #[test]
    fn registers_memory_and_length() {
        // M[15] = length; X = M[15]; A = X.
        let lines = [
            (0x80, 0, 0, 0),
            (0x02, 0, 0, 15),
            (0x61, 0, 0, 15),
            (0x00, 0, 0, 0),
            (0x87, 0, 0, 0),
            (0x15, 0, 1, 1000),
            RETURN_A,
            RETURN_NONE,
        ];
        assert!(wanted(&lines, &[]));
        // X = 4 × 5 from an IPv4 header's first octet; A of nothing is 0.
        let lines = [
            (0xb1, 0, 0, 0),
            (0x87, 0, 0, 0),
            (0x15, 0, 1, 20),
            RETURN_ALL,
            RETURN_NONE,
        ];
        assert!(wanted(&lines, &[0x45]));
        assert!(!wanted(&[RETURN_A], &[]));
    }

    #[test]
    fn a_program_that_only_jumps_back_ends() {
        assert!(!wanted(&[(0x05, 0, 0, u32::MAX), RETURN_ALL], &[]));
    }
}
