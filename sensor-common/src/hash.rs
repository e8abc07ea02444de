//! The keyed hash of a flow key.
//!
//! NH, the universal hash inside UMAC (RFC 4418 section 5.2): each word's halves are added to
//! secret halves and multiplied, the products summed. Whatever two keys a stranger chooses, they
//! collide with probability 2⁻³² over the seed, which a multiply-and-xor chain cannot promise (a
//! flipped top bit passes through an odd multiplication unchanged whatever the seed). The five
//! multiplications do not wait for one another. A finaliser spreads the sum over all bits, since
//! bucket numbers and tag are cut from it.

/// Secret words drawn at random at each start.
pub type Seed = [u64; 5];

/// Hashes the words (attributes already masked) and the hook.
#[inline(always)]
#[must_use]
pub fn hash(words: &[u64; 5], hook: u8, seed: &Seed) -> u64 {
    let mut sum = u64::from(hook) << 40;
    sum = sum.wrapping_add(nh(words[0], seed[0]));
    sum = sum.wrapping_add(nh(words[1], seed[1]));
    sum = sum.wrapping_add(nh(words[2], seed[2]));
    sum = sum.wrapping_add(nh(words[3], seed[3]));
    sum = sum.wrapping_add(nh(words[4], seed[4]));
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sum ^ (sum >> 32)
}

#[inline(always)]
fn nh(word: u64, seed: u64) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    let low = (word & LOW).wrapping_add(seed & LOW) & LOW;
    let high = (word >> 32).wrapping_add(seed >> 32) & LOW;
    low.wrapping_mul(high)
}
