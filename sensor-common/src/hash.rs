//! The keyed hash of a flow key.
//!
//! NH, the universal hash inside UMAC (RFC 4418 section 5.2): each word's halves are added to
//! secret halves and multiplied, the products summed. Whatever two keys a stranger chooses, they
//! collide with probability 2⁻³² over the seed, which a multiply-and-xor chain cannot promise (a
//! flipped top bit passes through an odd multiplication unchanged whatever the seed). The five
//! multiplications do not wait for one another. A finaliser spreads the sum over all bits, since
//! bucket numbers and tag are cut from it.

/// The secret, drawn at random at each start.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "bytemuck", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Seed {
    /// A word of secret for each word of the key.
    words: [u64; 5],
    /// What the two address words that are 0 in every IPv4 key add to the sum.
    v4: u64,
    /// Secret for the MAC addresses, where they are in the key.
    macs: [u64; 2],
}

impl Seed {
    /// The secret of these random words.
    #[must_use]
    pub const fn new(words: [u64; 5]) -> Self {
        Self {
            words,
            v4: nh(0, words[0]).wrapping_add(nh(0, words[2])),
            macs: [0; 2],
        }
    }

    /// The same with secret for keys that have MAC addresses, which would be hashed without any.
    #[must_use]
    pub const fn with_macs(self, macs: [u64; 2]) -> Self {
        Self { macs, ..self }
    }
}

/// Hashes the words (attributes already masked) and the hook.
#[inline(always)]
#[must_use]
pub const fn hash(words: &[u64; 5], hook: u8, seed: &Seed) -> u64 {
    finish(sum(words, hook, seed))
}

/// The same for a key that has the frame's MAC addresses, see [`crate::extra::Extra::macs`].
#[inline(always)]
#[must_use]
pub const fn hash_with_macs(words: &[u64; 5], hook: u8, macs: &[u32; 3], seed: &Seed) -> u64 {
    let first = macs[0] as u64 | (macs[1] as u64) << 32;
    let sum = sum(words, hook, seed)
        .wrapping_add(nh(first, seed.macs[0]))
        .wrapping_add(nh(macs[2] as u64, seed.macs[1]));
    finish(sum)
}

#[inline(always)]
const fn sum(words: &[u64; 5], hook: u8, seed: &Seed) -> u64 {
    let mut sum = (hook as u64) << 40;
    sum = sum.wrapping_add(nh(words[0], seed.words[0]));
    sum = sum.wrapping_add(nh(words[1], seed.words[1]));
    sum = sum.wrapping_add(nh(words[2], seed.words[2]));
    sum = sum.wrapping_add(nh(words[3], seed.words[3]));
    sum.wrapping_add(nh(words[4], seed.words[4]))
}

/// The same as [`hash`] for an IPv4 key, whose words 0 and 2 are 0.
#[inline(always)]
#[must_use]
pub const fn hash_v4(words: &[u64; 5], hook: u8, seed: &Seed) -> u64 {
    let mut sum = ((hook as u64) << 40).wrapping_add(seed.v4);
    sum = sum.wrapping_add(nh(words[1], seed.words[1]));
    sum = sum.wrapping_add(nh(words[3], seed.words[3]));
    sum = sum.wrapping_add(nh(words[4], seed.words[4]));
    finish(sum)
}

#[inline(always)]
const fn finish(mut sum: u64) -> u64 {
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sum ^ (sum >> 32)
}

#[inline(always)]
const fn nh(word: u64, seed: u64) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    let low = (word & LOW).wrapping_add(seed & LOW) & LOW;
    let high = (word >> 32).wrapping_add(seed >> 32) & LOW;
    low.wrapping_mul(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_keys_hash_alike_by_either_way() {
        let seed = Seed::new([0x1234_5678_9abc_def0, u64::MAX, 3, 1 << 63, 0xffff_ffff]);
        for word in [0, 1, 0xffff_0000, u64::MAX] {
            let words = [0, word, 0, !word, word ^ 0x4d];
            assert_eq!(hash(&words, 5, &seed), hash_v4(&words, 5, &seed));
        }
    }

    #[test]
    fn each_octet_of_the_mac_addresses_enters_the_hash() {
        let seed = Seed::new([0; 5]).with_macs([0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321]);
        let of = |macs: [u8; 12]| {
            let words = [0, 4, 8]
                .map(|at| u32::from_ne_bytes([macs[at], macs[at + 1], macs[at + 2], macs[at + 3]]));
            hash_with_macs(&[7; 5], 1, &words, &seed)
        };
        for at in 0..12 {
            for bit in 0..8 {
                let mut macs = [0; 12];
                macs[at] = 1 << bit;
                assert_ne!(of(macs), of([0; 12]), "bit {bit} of octet {at}");
            }
        }
    }
}
