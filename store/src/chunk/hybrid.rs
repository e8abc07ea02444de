//! Parquet's run length and bit packing hybrid (`Encodings.md`, "RLE = 3"), for indices and levels.

/// Bit-packed runs have whole groups of so many.
const GROUP: usize = 8;
/// A run of this many is written as one: a shorter one takes no more in a bit-packed run, which it would end.
const RUN_MIN: usize = 3 * GROUP;

/// Bits that hold numbers up to one.
pub fn width(greatest: usize) -> u32 {
    usize::BITS - greatest.leading_zeros()
}

/// Appends numbers of so many bits each, 32 at most.
pub fn put(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut packed_from, mut at) = (0, 0);
    while let Some(group) = numbers[at..].first_chunk::<GROUP>() {
        let first = group[0];
        // Looked at as a whole: where a single number changes cannot be foreseen, and most do.
        if *group == [first; GROUP] {
            let run = numbers[at..].iter().take_while(|number| **number == first);
            let run = run.count();
            if run >= RUN_MIN {
                put_packed(&numbers[packed_from..at], width, out);
                put_run(first, run, width, out);
                at += run;
                packed_from = at;
                continue;
            }
        }
        at += GROUP;
    }
    put_packed(&numbers[packed_from..], width, out);
}

/// Appends one number so many times.
pub fn put_run(number: u32, times: usize, width: u32, out: &mut Vec<u8>) {
    if times > 0 {
        put_varint(times as u64 * 2, out);
        let octets = width.div_ceil(8) as usize;
        out.extend_from_slice(&number.to_le_bytes()[..octets]);
    }
}

fn put_packed(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    put_varint(groups as u64 * 2 + 1, out);
    let end = out.len() + groups * width as usize;
    let numbers = numbers.iter().map(|number| u64::from(*number));
    put_bits(numbers, width, out);
    // The last group is filled up with zeros.
    out.resize(end, 0);
}

/// Appends numbers of so many bits each, 64 at most, from the lowest bit of an octet on.
pub fn put_bits(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let (mut waiting, mut bits) = (0_u64, 0);
    for number in numbers {
        waiting |= number << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&waiting.to_le_bytes());
            bits -= 64;
            // What of the number was shifted out.
            waiting = number.checked_shr(width - bits).unwrap_or(0);
        }
    }
    out.extend_from_slice(&waiting.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Appends a number of seven bits an octet, the lowest first (`ULEB128`).
pub fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}
