//! Parquet's differences of numbers (`Encodings.md`, `DELTA_BINARY_PACKED = 5`): each block of 128 has the least
//! of its differences, and what each is above that in as few bits as 32 of them need.

use super::hybrid::{put_bits, put_varint};

const BLOCK: usize = 128;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// Appends times.
pub fn put_times(numbers: &[i64], out: &mut Vec<u8>) {
    put(numbers, |number| number, i64::wrapping_sub, out);
}

/// Appends numbers of 64 bits without a sign, which Parquet has as ones with a sign of the same bits.
pub fn put_counts(numbers: &[u64], out: &mut Vec<u8>) {
    let difference = |number: u64, before| number.wrapping_sub(before).cast_signed();
    put(numbers, u64::cast_signed, difference, out);
}

/// Likewise of 32 bits: their differences have 32 bits too, as the decoder has.
pub fn put_numbers(numbers: &[u32], out: &mut Vec<u8>) {
    let signed = |number: u32| i64::from(number.cast_signed());
    let difference = |number: u32, before| i64::from(number.wrapping_sub(before).cast_signed());
    put(numbers, signed, difference, out);
}

fn put<T: Copy>(
    numbers: &[T],
    signed: impl Fn(T) -> i64,
    difference_of: impl Fn(T, T) -> i64,
    out: &mut Vec<u8>,
) {
    for header in [BLOCK, MINIBLOCKS, numbers.len()] {
        put_varint(header as u64, out);
    }
    let Some((first, others)) = numbers.split_first() else {
        put_zigzag(0, out);
        return;
    };
    put_zigzag(signed(*first), out);
    let mut before = *first;
    for block in others.chunks(BLOCK) {
        let mut differences = [0_i64; BLOCK];
        for (difference, number) in differences.iter_mut().zip(block) {
            *difference = difference_of(*number, before);
            before = *number;
        }
        put_block(&differences[..block.len()], out);
    }
}

fn put_block(differences: &[i64], out: &mut Vec<u8>) {
    let least = differences.iter().copied().min().unwrap_or(0);
    put_zigzag(least, out);
    let above = |difference: &i64| difference.wrapping_sub(least).cast_unsigned();
    let widths_at = out.len();
    // A miniblock that is not there has none; the last one is filled up with zeros.
    out.resize(widths_at + MINIBLOCKS, 0);
    for (miniblock, differences) in differences.chunks(MINIBLOCK).enumerate() {
        let all = differences.iter().map(above).fold(0, |all, one| all | one);
        let width = u64::BITS - all.leading_zeros();
        let [octet, ..] = width.to_le_bytes();
        out[widths_at + miniblock] = octet;
        let end = out.len() + MINIBLOCK * width as usize / 8;
        put_bits(differences.iter().map(above), width, out);
        out.resize(end, 0);
    }
}

fn put_zigzag(number: i64, out: &mut Vec<u8>) {
    put_varint(((number << 1) ^ (number >> 63)).cast_unsigned(), out);
}
