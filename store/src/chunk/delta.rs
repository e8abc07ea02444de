//! Parquet's differences of numbers (`Encodings.md`, `DELTA_BINARY_PACKED = 5`): each block of 128 has the least
//! of its differences, and what each is above that in as few bits as 32 of them need.

use super::hybrid::{put_bits, put_varint};

const BLOCK: usize = 128;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// Appends numbers.
pub fn put(numbers: &[i64], out: &mut Vec<u8>) {
    for header in [BLOCK, MINIBLOCKS, numbers.len()] {
        put_varint(header as u64, out);
    }
    let Some((first, others)) = numbers.split_first() else {
        put_zigzag(0, out);
        return;
    };
    put_zigzag(*first, out);
    let mut before = *first;
    for block in others.chunks(BLOCK) {
        let mut differences = [0_i64; BLOCK];
        for (difference, number) in differences.iter_mut().zip(block) {
            *difference = number.wrapping_sub(before);
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
