//! Arithmetic on a bucket's tags: two words of four lanes, 16 bits a way, all four at a time.

use core::hint::black_box;

use super::WAYS;

const LANES_TOP: u64 = 0x8000_8000_8000_8000;
const LANES_LOW: u64 = 0x7fff_7fff_7fff_7fff;
const LANES_ONE: u64 = 0x0001_0001_0001_0001;

/// The lanes of `word` whose low 15 bits equal `tag`: bit 15 of each such lane. Exact: no lane's
/// sum can carry into the next.
#[inline(always)]
fn equal_lanes(word: u64, tag: u16) -> u64 {
    let difference = (word & LANES_LOW) ^ (u64::from(tag) * LANES_ONE);
    !(difference.wrapping_add(LANES_LOW)) & LANES_TOP
}

/// The ways of two buckets whose tags equal this one, a bit each. Of the four bits from bit 12 of each lane,
/// the first is of the first bucket's first word, the next of its second, the others of the second bucket.
#[inline(always)]
pub fn equal_ways([first, second]: [[u64; 2]; 2], tag: u16) -> u64 {
    equal_lanes(first[0], tag) >> 3
        | equal_lanes(first[1], tag) >> 2
        | equal_lanes(second[0], tag) >> 1
        | equal_lanes(second[1], tag)
}

/// The slot of the lowest of these ways, of which there must be one. It has no branches: which way it is
/// cannot be predicted.
#[inline(always)]
pub fn lowest_slot(matches: u64, [first, second]: [u32; 2]) -> u32 {
    let lowest = matches & matches.wrapping_neg();
    // Below it lie the top bits of as many lanes as its lane's number says.
    let lanes_below = (lowest.wrapping_sub(1) >> 15) & LANES_ONE;
    let lane = lanes_below.wrapping_mul(LANES_ONE) >> 48;
    // Which of the lane's four bits: 1, 2, 4, 8 become 0, 1, 2, 3.
    let bit = lowest >> (16 * lane) >> 12;
    let word = ((bit >> 1) - (bit >> 3)) as u32;
    let in_second = (word >> 1).wrapping_neg();
    let bucket = first ^ ((first ^ second) & in_second);
    bucket * WAYS + (word & 1) * 4 + lane as u32
}

/// The ways whose two parity bits are equal, a bit each.
#[inline(always)]
#[must_use]
pub fn free_ways(tags: [u64; 2], released: u8) -> u8 {
    !(parities(tags[0]) | (parities(tags[1]) << 4)) ^ released
}

/// The top bit of each lane, gathered into bits 0–3.
#[inline(always)]
fn parities(word: u64) -> u8 {
    const GATHER: u64 = (1 << 48) | (1 << 33) | (1 << 18) | (1 << 3);
    ((((word >> 15) & LANES_ONE).wrapping_mul(GATHER) >> 48) & 0xf) as u8
}

/// How many bits are set.
#[inline(always)]
pub fn ones(bits: u8) -> u8 {
    let pairs = bits.wrapping_sub((bits >> 1) & 0x55);
    let nibbles = (pairs & 0x33) + ((pairs >> 2) & 0x33);
    (nibbles + (nibbles >> 4)) & 0x0f
}

/// The number of the lowest set bit; 8 if none is.
#[inline(always)]
pub fn lowest(bits: u8) -> u32 {
    // No branches: the verifier would follow each of them to the end.
    u32::from(ones((bits & bits.wrapping_neg()).wrapping_sub(1)))
}

/// 1 if a bit of the word is set, else 0. That the two words it is made of belong together is hidden
/// from the compiler, which would see a comparison, and BPF has no way to one's outcome but a branch.
#[inline(always)]
pub fn any_bit(word: u64) -> u32 {
    ((word | black_box(word.wrapping_neg())) >> 63) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_match_exactly() {
        let tags = [0x8001_7fff_0001_0000u64, 0];
        assert_eq!(equal_lanes(tags[0], 1), 0x8000_0000_8000_0000);
        assert_eq!(equal_lanes(tags[0], 0), 0x8000);
        assert_eq!(equal_lanes(tags[0], 0x7fff), 0x0000_8000_0000_0000);
        assert_eq!(equal_lanes(0, 5), 0);
    }

    #[test]
    fn each_way_of_two_buckets_is_found_by_its_tag() {
        const TAG: u16 = 0x1234;
        let with = |ways: &[u32]| {
            // Another tag, and a parity bit that must not matter.
            let mut tags = [[0x9235_1235_9235_1235u64; 2]; 2];
            for way in ways {
                let word = &mut tags[(way / 8) as usize][(way / 4 % 2) as usize];
                *word ^= 1 << (16 * (way % 4));
            }
            equal_ways(tags, TAG)
        };
        assert_eq!(with(&[]), 0);
        for way in 0..16 {
            let matches = with(&[way]);
            let bucket = [70, 33][(way / 8) as usize];
            assert_eq!(matches.count_ones(), 1);
            assert_eq!(lowest_slot(matches, [70, 33]), bucket * WAYS + way % 8);
        }
        // One after the other, each once.
        let mut matches = with(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let mut slots = 0u32;
        for _ in 0..16 {
            slots ^= 1 << lowest_slot(matches, [0, 1]);
            matches &= matches - 1;
        }
        assert_eq!((slots, matches), (0xffff, 0));
    }

    #[test]
    fn any_bit_of_a_word_is_told() {
        assert_eq!(any_bit(0), 0);
        for bit in 0..64 {
            assert_eq!((any_bit(1 << bit), any_bit(u64::MAX << bit)), (1, 1));
        }
    }

    #[test]
    fn free_ways_are_those_with_equal_parity() {
        for kernel in 0..=255u8 {
            let mut tags = [0x1234_4321_0000_7fffu64; 2];
            for way in 0..8u32 {
                let word = &mut tags[(way / 4) as usize];
                *word &= !(1 << (16 * (way % 4) + 15));
                *word |= u64::from(kernel >> way & 1) << (16 * (way % 4) + 15);
            }
            for user in [0, 0xff, kernel, !kernel, 0x5a] {
                assert_eq!(free_ways(tags, user), !(kernel ^ user));
            }
        }
    }

    #[test]
    fn small_bit_counts() {
        for bits in 0..=255u8 {
            assert_eq!(u32::from(ones(bits)), bits.count_ones());
            if bits != 0 {
                assert_eq!(lowest(bits), bits.trailing_zeros());
            }
        }
    }
}
