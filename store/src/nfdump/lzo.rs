//! LZO1X, expanded: what `nfcapd -z` wrote for years. There is no maintained crate for it. The format is
//! that of the Linux kernel's documentation ("LZO stream format as understood by Linux' LZO decompressor").
//!
//! An instruction copies octets from what is expanded already, and then none to three from the input
//! (`state`), which its low bits count; or a run from the input. What an instruction below 16 means depends
//! on what the last one copied.

/// After a run of four or more from the input.
const AFTER_RUN: usize = 4;

/// Expands `input`, to `octets_max` at most.
pub fn expand(input: &[u8], octets_max: usize) -> Result<Vec<u8>, String> {
    let mut expanding = Expanding {
        input,
        at: 0,
        output: Vec::new(),
        octets_max,
    };
    expanding.run()?;
    Ok(expanding.output)
}

struct Expanding<'a> {
    input: &'a [u8],
    at: usize,
    output: Vec<u8>,
    octets_max: usize,
}

impl Expanding<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut state = 0;
        // The first octet may be a run by itself.
        if let Some(first @ 18..) = self.input.first().copied() {
            self.at = 1;
            let length = usize::from(first) - 17;
            self.literals(length)?;
            state = length.min(AFTER_RUN);
        }
        loop {
            let instruction = usize::from(self.octet()?);
            let (length, distance, trailing) = match instruction {
                0..16 if state == 0 => {
                    let length = 3 + self.long(instruction, 15)?;
                    self.literals(length)?;
                    state = AFTER_RUN;
                    continue;
                }
                0..16 => {
                    let high = usize::from(self.octet()?);
                    let distance = (high << 2) + (instruction >> 2) + 1;
                    if state == AFTER_RUN {
                        (3, distance + 2048, instruction)
                    } else {
                        (2, distance, instruction)
                    }
                }
                16..32 => {
                    let length = 2 + self.long(instruction & 7, 7)?;
                    let low = self.pair()?;
                    let distance = ((instruction & 8) << 11) + (low >> 2);
                    if distance == 0 {
                        return self.end();
                    }
                    (length, distance + 16_384, low)
                }
                32..64 => {
                    let length = 2 + self.long(instruction & 31, 31)?;
                    let low = self.pair()?;
                    (length, (low >> 2) + 1, low)
                }
                _ => {
                    let high = usize::from(self.octet()?);
                    let distance = (high << 3) + ((instruction >> 2) & 7) + 1;
                    ((instruction >> 5) + 1, distance, instruction)
                }
            };
            self.matched(length, distance)?;
            state = trailing & 3;
            self.literals(state)?;
        }
    }

    /// What follows the end's mark is no part of the block.
    fn end(&self) -> Result<(), String> {
        if self.at == self.input.len() {
            Ok(())
        } else {
            Err("octets after its end".to_owned())
        }
    }

    fn octet(&mut self) -> Result<u8, String> {
        let octet = self.input.get(self.at).copied();
        self.at += 1;
        octet.ok_or_else(|| "it ends too early".to_owned())
    }

    fn pair(&mut self) -> Result<usize, String> {
        Ok(usize::from(u16::from_le_bytes([
            self.octet()?,
            self.octet()?,
        ])))
    }

    /// A length: what the instruction says, or if that is 0, `base` and 255 for each octet of zero and
    /// what the first other one says.
    fn long(&mut self, said: usize, base: usize) -> Result<usize, String> {
        if said > 0 {
            return Ok(said);
        }
        let mut length = base;
        loop {
            match self.octet()? {
                0 => length += 255,
                last => return Ok(length + usize::from(last)),
            }
        }
    }

    fn literals(&mut self, length: usize) -> Result<(), String> {
        let from_here = self.input.get(self.at..).unwrap_or_default();
        let Some(run) = from_here.get(..length) else {
            return Err("it ends too early".to_owned());
        };
        self.room_for(length)?;
        self.output.extend_from_slice(run);
        self.at += length;
        Ok(())
    }

    /// Copies from what is expanded; the two may overlap, and octets then repeat.
    fn matched(&mut self, length: usize, distance: usize) -> Result<(), String> {
        self.room_for(length)?;
        let Some(start) = self.output.len().checked_sub(distance) else {
            return Err("it refers to what is before it".to_owned());
        };
        for from in start..start + length {
            self.output.push(self.output[from]);
        }
        Ok(())
    }

    fn room_for(&self, length: usize) -> Result<(), String> {
        if length > self.octets_max - self.output.len() {
            return Err("it is larger than any of nfdump's".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mark at the end.
    const END: [u8; 3] = [0x11, 0, 0];

    fn expanded(parts: &[&[u8]]) -> Result<Vec<u8>, String> {
        expand(&[&parts.concat()[..], &END].concat(), 1000)
    }

    #[test]
    fn each_instruction_is_followed() {
        // A run of the first octet, then one of an instruction after nothing trailing.
        assert_eq!(expanded(&[&[17 + 4], b"abcd"]).unwrap(), b"abcd");
        assert_eq!(expanded(&[&[1], b"abcd"]).unwrap(), b"abcd");
        let long = [b'x'; 18 + 255 + 7];
        assert_eq!(expanded(&[&[0, 0, 7], &long]).unwrap(), long);
        // 64 and more: length 5 from 4 back (2 low bits: none trailing), overlapping.
        let near = [0b1000_1100, 0];
        assert_eq!(expanded(&[&[21], b"abcd", &near]).unwrap(), b"abcdabcda");
        // 32 to 63: length 2 + 31 + 1 from 1 back, one trailing.
        let far = [0b0010_0000, 1, 0b0000_0001, 0, b'!'];
        let mut wanted = b"abcd".to_vec();
        wanted.extend([b'd'; 34]);
        wanted.push(b'!');
        assert_eq!(expanded(&[&[21], b"abcd", &far]).unwrap(), wanted);
        // Below 16 after one trailing octet: two from 5 back.
        let short = [0b0000_0000, 1];
        wanted.extend_from_within(wanted.len() - 5..wanted.len() - 3);
        assert_eq!(expanded(&[&[21], b"abcd", &far, &short]).unwrap(), wanted);
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        for (octets, words) in [
            (&[][..], "ends too early"),
            (&[21, b'a'], "ends too early"),
            (&[0, 0], "ends too early"),
            (&[21, b'a', b'b', b'c', b'd', 0b1001_1100, 0], "before it"),
            (
                &[21, b'a', b'b', b'c', b'd', 0x11, 0, 0, 7],
                "after its end",
            ),
        ] {
            let says = expand(octets, 1000).unwrap_err();
            assert!(says.contains(words), "{octets:?}: {says}");
        }
        let bomb = [&[21][..], b"abcd", &[32], &[0; 100], &[1, 1, 0]].concat();
        let says = expand(&bomb, 1000).unwrap_err();
        assert!(says.contains("larger"), "{says}");
        // Nothing of any octets makes it panic.
        for seed in 0..2000u32 {
            let octet = |at: u32| seed.wrapping_mul(0x9e37_79b1 ^ at).to_be_bytes()[1];
            let octets: Vec<u8> = (0..64).map(octet).collect();
            let _ = expand(&octets, 4096);
        }
    }
}
