//! Valid inputs with a few changes, as links, broken programs and attackers make them: the same for the same
//! seed.

use crate::traffic::Random;

/// Changes to one input, at most.
const CHANGES_MAX: u64 = 6;
/// Octets of what comes of it, at most.
const OCTETS_MAX: usize = 1 << 16;
/// Octets that half of the changes are among: headers, counts and lengths.
const HEAD_OCTETS: usize = 64;
/// Numbers at which something turns.
const EDGES: [u32; 12] = [
    0,
    1,
    2,
    3,
    4,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    u32::MAX,
];

/// One of the inputs, changed.
#[must_use]
pub fn mutated(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = one_of(random, inputs).to_vec();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(random, &mut octets, inputs);
    }
    octets.truncate(OCTETS_MAX);
    octets
}

fn change(random: &mut Random, octets: &mut Vec<u8>, inputs: &[Vec<u8>]) {
    let at = place(random, octets.len());
    let edge = EDGES[below(random, EDGES.len())].to_be_bytes();
    match random.below(9) {
        0 => {
            if let Some(octet) = octets.get_mut(at) {
                *octet ^= 1u8 << random.below(8);
            }
        }
        1 => put(octets, at, &random.draw().to_be_bytes()[..1]),
        2 => put(octets, at, &edge[3..]),
        3 => put(octets, at, &edge[2..]),
        4 => put(octets, at, &edge),
        // A count or length that is off by a little.
        5 => {
            if let Some(number) = octets.get(at..).and_then(<[u8]>::first_chunk) {
                let off = [1, 2, 4, u16::MAX][below(random, 4)];
                let number = u16::from_be_bytes(*number).wrapping_add(off);
                put(octets, at, &number.to_be_bytes());
            }
        }
        6 => {
            let end = at + below(random, octets.len() - at + 1).min(HEAD_OCTETS);
            octets.drain(at..end);
        }
        7 => {
            let end = at + below(random, octets.len() - at + 1).min(HEAD_OCTETS);
            let twice = octets[at..end].to_vec();
            octets.splice(at..at, twice);
        }
        // It ends there, or as another does.
        _ => {
            octets.truncate(at);
            if random.below(2) == 0 {
                let other = one_of(random, inputs);
                octets.extend_from_slice(&other[place(random, other.len())..]);
            }
        }
    }
}

fn one_of<'a>(random: &mut Random, inputs: &'a [Vec<u8>]) -> &'a [u8] {
    let at = below(random, inputs.len());
    inputs.get(at).map_or(&[][..], Vec::as_slice)
}

/// A place in so many octets, or their end if there are none.
fn place(random: &mut Random, octets: usize) -> usize {
    if random.below(2) == 0 {
        below(random, octets.min(HEAD_OCTETS))
    } else {
        below(random, octets)
    }
}

/// A number below `end`; 0 if that is 0.
fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

/// Overwrites what is there, as far as there is something.
fn put(octets: &mut [u8], at: usize, new: &[u8]) {
    let room = octets.get_mut(at..).unwrap_or_default();
    for (old, new) in room.iter_mut().zip(new) {
        *old = *new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_changes() {
        let inputs = [vec![7; 100], Vec::new(), vec![9; OCTETS_MAX]];
        let changed = |seed| -> Vec<Vec<u8>> {
            let mut random = Random::new(seed);
            (0..300).map(|_| mutated(&mut random, &inputs)).collect()
        };
        assert_eq!(changed(1), changed(1));
        assert_ne!(changed(1), changed(2));
        let changed = changed(3);
        assert!(changed.iter().all(|octets| octets.len() <= OCTETS_MAX));
        let is_new = |octets: &&Vec<u8>| !inputs.contains(octets);
        assert!(changed.iter().filter(is_new).count() > 200);
    }
}
