//! eBPF instructions (RFC 9669) and what joins them: labels that are placed after they were jumped
//! to. Instructions of version 3 (kernel 5.1: comparisons of 32 bits).

/// An instruction as the kernel takes it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination and source, four bits each.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The general registers: 0 has results, 1 to 5 arguments, which calls spoil, 10 the stack's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "they are numbers")]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Octets that a load or store moves; the code's size bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "they are numbers")]
pub enum Width {
    Four = 0x00,
    Two = 0x08,
    One = 0x10,
    Eight = 0x18,
}

/// Arithmetic; the code's operation bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "as RFC 9669 section 4.1 has them")]
pub enum Operation {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Neg = 0x80,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// Comparisons, unsigned; the code's operation bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "as RFC 9669 section 4.3 has them")]
pub enum Comparison {
    Equal = 0x10,
    Greater = 0x20,
    GreaterOrEqual = 0x30,
    AnyBit = 0x40,
    NotEqual = 0x50,
    Less = 0xa0,
}

/// The second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant; operations of 64 bits extend its sign.
    Immediate(i32),
    /// A register.
    Register(Register),
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(immediate: i32) -> Self {
        Self::Immediate(immediate)
    }
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A jump is farther than 2¹⁵ instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFar;

/// Instruction classes.
const CLASS_LOAD_WIDE: u8 = 0x00;
const CLASS_LOAD: u8 = 0x01;
const CLASS_STORE_IMMEDIATE: u8 = 0x02;
const CLASS_STORE: u8 = 0x03;
const CLASS_ARITHMETIC_32: u8 = 0x04;
const CLASS_JUMP: u8 = 0x05;
const CLASS_JUMP_32: u8 = 0x06;
const CLASS_ARITHMETIC_64: u8 = 0x07;
/// The second operand is a register.
const SOURCE_REGISTER: u8 = 0x08;
/// Loads and stores of plain memory.
const MODE_MEMORY: u8 = 0x60;

/// A program in the making.
#[derive(Debug, Default)]
pub struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label is, once it is placed.
    labels: Vec<Option<usize>>,
    /// Instructions that jump, and to which label.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label, to be placed once.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label before the next instruction.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// Whether anything jumps to it so far.
    #[must_use]
    pub fn is_used(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, to)| *to == label)
    }

    /// Arithmetic of 32 bits; the upper half becomes 0.
    pub fn compute_32(&mut self, operation: Operation, to: Register, with: impl Into<Operand>) {
        self.operate(CLASS_ARITHMETIC_32, operation as u8, to, with.into());
    }

    /// Arithmetic of 64 bits.
    pub fn compute_64(&mut self, operation: Operation, to: Register, with: impl Into<Operand>) {
        self.operate(CLASS_ARITHMETIC_64, operation as u8, to, with.into());
    }

    /// Turns the lower two or four octets from big-endian to this machine's order, which is the same
    /// the other way round; the rest becomes 0.
    pub fn big_endian(&mut self, register: Register, octets: i32) {
        const TO_BIG_ENDIAN: u8 = 0xd0 | SOURCE_REGISTER;
        let code = CLASS_ARITHMETIC_32 | TO_BIG_ENDIAN;
        self.push(code, register, Register::R0, 0, 8 * octets);
    }

    /// Loads what is at an address and an offset; the rest becomes 0.
    pub fn load(&mut self, width: Width, to: Register, address: Register, offset: i16) {
        let code = CLASS_LOAD | MODE_MEMORY | width as u8;
        self.push(code, to, address, offset, 0);
    }

    /// Stores a register at an address and an offset.
    pub fn store(&mut self, width: Width, address: Register, offset: i16, from: Register) {
        let code = CLASS_STORE | MODE_MEMORY | width as u8;
        self.push(code, address, from, offset, 0);
    }

    /// Stores eight octets of 0.
    pub fn clear(&mut self, address: Register, offset: i16) {
        let code = CLASS_STORE_IMMEDIATE | MODE_MEMORY | Width::Eight as u8;
        self.push(code, address, Register::R0, offset, 0);
    }

    /// Loads the address of a map, by the descriptor that this process has of it.
    pub fn load_map(&mut self, to: Register, descriptor: i32) {
        /// What the immediate is (RFC 9669 section 5.4).
        const MAP_BY_DESCRIPTOR: Register = Register::R1;
        let code = CLASS_LOAD_WIDE | Width::Eight as u8;
        self.push(code, to, MAP_BY_DESCRIPTOR, 0, descriptor);
        // The upper half of the immediate.
        self.push(0, Register::R0, Register::R0, 0, 0);
    }

    /// Calls one of the kernel's helpers by its number (linux/bpf.h).
    pub fn call(&mut self, helper: i32) {
        const CALL: u8 = 0x80;
        self.push(CLASS_JUMP | CALL, Register::R0, Register::R0, 0, helper);
    }

    /// Ends the program with what is in the first register.
    pub fn exit(&mut self) {
        const EXIT: u8 = 0x90;
        self.push(CLASS_JUMP | EXIT, Register::R0, Register::R0, 0, 0);
    }

    /// Goes on at a label.
    pub fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(CLASS_JUMP, Register::R0, Register::R0, 0, 0);
    }

    /// Does so if a comparison of the lower 32 bits holds.
    pub fn jump_if_32(
        &mut self,
        comparison: Comparison,
        register: Register,
        with: impl Into<Operand>,
        label: Label,
    ) {
        self.jumps.push((self.instructions.len(), label));
        self.operate(CLASS_JUMP_32, comparison as u8, register, with.into());
    }

    /// Does so if a comparison of 64 bits holds.
    pub fn jump_if_64(
        &mut self,
        comparison: Comparison,
        register: Register,
        with: impl Into<Operand>,
        label: Label,
    ) {
        self.jumps.push((self.instructions.len(), label));
        self.operate(CLASS_JUMP, comparison as u8, register, with.into());
    }

    /// The program.
    ///
    /// # Errors
    /// If a jump is too far for an instruction.
    pub fn finish(mut self) -> Result<Vec<Instruction>, TooFar> {
        for (at, label) in self.jumps {
            // Whoever asks for a label places it.
            let to = self.labels[label.0].ok_or(TooFar)?;
            let distance =
                i64::try_from(to).map_err(|_| TooFar)? - i64::try_from(at).map_err(|_| TooFar)? - 1;
            self.instructions[at].offset = i16::try_from(distance).map_err(|_| TooFar)?;
        }
        Ok(self.instructions)
    }

    fn operate(&mut self, class: u8, operation: u8, to: Register, with: Operand) {
        match with {
            Operand::Immediate(immediate) => {
                self.push(class | operation, to, Register::R0, 0, immediate);
            }
            Operand::Register(from) => {
                self.push(class | operation | SOURCE_REGISTER, to, from, 0, 0);
            }
        }
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        let (to, from) = (to as u8, from as u8);
        let registers = if cfg!(target_endian = "big") {
            to << 4 | from
        } else {
            from << 4 | to
        };
        self.instructions.push(Instruction {
            code,
            registers,
            offset,
            immediate,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Register::{R0, R1, R2, R6, R7, R8, R9, R10},
        *,
    };

    fn encoded(make: impl FnOnce(&mut Assembler)) -> Vec<(u8, u8, i16, i32)> {
        let mut assembler = Assembler::default();
        make(&mut assembler);
        let instructions = assembler.finish().unwrap().into_iter();
        instructions
            .map(|one| (one.code, one.registers, one.offset, one.immediate))
            .collect()
    }

    /// As `llvm-mc -triple bpfel` encodes them.
    #[cfg(target_endian = "little")]
    #[test]
    fn instructions_are_the_kernels() {
        let found = encoded(|to| {
            to.compute_64(Operation::Mov, R6, R1); // r6 = r1
            to.compute_32(Operation::Add, R7, -1); // w7 += -1
            to.big_endian(R7, 2); // r7 = be16 r7
            to.load(Width::Two, R7, R10, -12); // r7 = *(u16 *)(r10 - 12)
            to.store(Width::Four, R10, -8, R8); // *(u32 *)(r10 - 8) = r8
            to.clear(R10, -16); // *(u64 *)(r10 - 16) = 0
            to.load_map(R2, 5); // r2 = map_fd 5 ll
            to.call(12); // call 12
            to.exit(); // exit
        });
        let expected = [
            (0xbf, 0x16, 0, 0),
            (0x04, 0x07, 0, -1),
            (0xdc, 0x07, 0, 16),
            (0x69, 0xa7, -12, 0),
            (0x63, 0x8a, -8, 0),
            (0x7a, 0x0a, -16, 0),
            (0x18, 0x12, 0, 5),
            (0x00, 0x00, 0, 0),
            (0x85, 0x00, 0, 12),
            (0x95, 0x00, 0, 0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn jumps_go_where_the_label_is() {
        let found = encoded(|to| {
            let (back, on) = (to.label(), to.label());
            to.place(back);
            to.jump_if_32(Comparison::Equal, R7, 6, on);
            to.jump_if_64(Comparison::Greater, R0, R9, on);
            to.jump(back);
            to.place(on);
            to.exit();
        });
        let codes_and_offsets: Vec<_> = found.iter().map(|one| (one.0, one.2)).collect();
        assert_eq!(
            codes_and_offsets,
            [(0x16, 2), (0x2d, 1), (0x05, -3), (0x95, 0)]
        );
    }

    #[test]
    fn a_jump_that_is_too_far_is_refused() {
        let far = |instructions: usize| {
            let mut assembler = Assembler::default();
            let label = assembler.label();
            assembler.jump(label);
            (0..instructions).for_each(|_| assembler.exit());
            assembler.place(label);
            assembler.exit();
            assembler.finish().map(|_| ())
        };
        assert_eq!(far(32_767), Ok(()));
        assert_eq!(far(32_768), Err(TooFar));
    }
}
