//! Where in a table a flow may be: what its hash is made of, and which places that names.

use super::WAYS;
use crate::{
    hash::{Seed, hash, hash_v4, hash_with_macs},
    key::{FlowKey, KeyMask},
};

/// Buckets whose tags, 16 octets each, are one page of memory. Both buckets of a flow are of one page, so
/// that the second costs neither a walk of the page tables nor a question to the kernel's map of its own. They
/// balance as well as all buckets do: at three quarters 0.004 % of the flows find both full in either case.
pub const PAGE: u32 = 256;

/// What a table is parametrised by; constants once the program is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Buckets in a region, a power of two, minus one.
    pub bucket_mask: u32,
    /// Secret of the hash.
    pub seed: Seed,
    /// Which attributes tell flows apart.
    pub key_mask: u64,
}

/// The places a flow may be in.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// First choice and second choice, always different and of one page, see [`PAGE`].
    pub buckets: [u32; 2],
    /// The way of the first bucket where the flow is looked for before any tag is read, and where
    /// it is put if that is free.
    pub home: u32,
    /// 15 bits that a bucket's tags are compared with.
    pub tag: u16,
}

impl Shape {
    /// The keyed hash of a flow: of the attributes that tell flows apart, and the hook.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self, key: &FlowKey, hook: u8) -> u64 {
        let mut words = key.words();
        words[4] &= self.key_mask;
        hash(&words, hook, &self.seed)
    }

    /// The same for an IPv4 key, in fewer steps.
    #[inline(always)]
    #[must_use]
    pub fn hash_v4(&self, key: &FlowKey, hook: u8) -> u64 {
        let mut words = key.words();
        words[4] &= self.key_mask;
        hash_v4(&words, hook, &self.seed)
    }

    /// The keyed hash of a flow whose packets have these MAC addresses, be they part of the key or
    /// not.
    #[inline(always)]
    #[must_use]
    pub fn hash_with(&self, key: &FlowKey, hook: u8, macs: &[u32; 3]) -> u64 {
        if !self.tells_macs_apart() {
            return self.hash(key, hook);
        }
        let mut words = key.words();
        words[4] &= self.key_mask;
        hash_with_macs(&words, hook, macs, &self.seed)
    }

    /// Whether MAC addresses tell flows apart.
    #[inline(always)]
    #[must_use]
    pub const fn tells_macs_apart(&self) -> bool {
        KeyMask(self.key_mask).has_macs()
    }

    /// Where a flow may be, by its hash.
    #[inline(always)]
    #[must_use]
    pub fn places(&self, hash: u64) -> Places {
        let first = hash as u32 & self.bucket_mask;
        let other = (hash >> 24) as u32 & self.bucket_mask & (PAGE - 1);
        // Another one: where it would be the same, the next.
        let other = other | u32::from(other == 0);
        Places {
            buckets: [first, first ^ other],
            home: (hash >> 45) as u32 & (WAYS - 1),
            tag: tag(hash),
        }
    }

    /// The slot where a flow is looked for first.
    #[inline(always)]
    #[must_use]
    pub fn home(&self, hash: u64) -> u32 {
        (hash as u32 & self.bucket_mask) * WAYS + ((hash >> 45) as u32 & (WAYS - 1))
    }
}

/// The bits of a hash that tags have.
#[inline(always)]
pub const fn tag(hash: u64) -> u16 {
    (hash >> 49) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flows_buckets_are_two_of_one_page_whatever_the_table() {
        for bits in 1..=20 {
            let shape = Shape {
                bucket_mask: (1 << bits) - 1,
                seed: Seed::new([0; 5]),
                key_mask: 0,
            };
            for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 24, 0xff << 24] {
                let [first, second] = shape.places(hash).buckets;
                assert_ne!(first, second, "{bits} bits, {hash:x}");
                assert_eq!(first / PAGE, second / PAGE, "{bits} bits, {hash:x}");
                assert!(first <= shape.bucket_mask && second <= shape.bucket_mask);
            }
        }
    }
}
