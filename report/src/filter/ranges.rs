//! Sets of addresses or numbers as ranges that neither overlap nor touch, in order. Addresses are
//! numbers of 128 bits, IPv4 as v4-mapped (RFC 4291 section 2.5.5.2), as they are stored.

use std::net::{IpAddr, Ipv6Addr};

use weir_netflow::record::mapped_address;

/// First bits of v4-mapped addresses.
const MAPPED: u128 = 0xffff_0000_0000;
/// Octets of an IPv4 address, as a mask.
const V4_BITS: u128 = 0xffff_ffff;

/// A set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// A set of ranges, each with its first and last member.
    #[must_use]
    pub fn new(mut pairs: Vec<(u128, u128)>) -> Self {
        pairs.retain(|(first, last)| first <= last);
        pairs.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(pairs.len());
        for (first, last) in pairs {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    #[cfg(test)]
    /// A set of one.
    #[must_use]
    pub fn one(member: u128) -> Self {
        Self(vec![(member, member)])
    }

    /// Its ranges, in order.
    #[must_use]
    pub fn pairs(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// Its members, if it has no range of more than one.
    #[must_use]
    pub fn singles(&self) -> Option<Vec<u128>> {
        let single = |(first, last): &(u128, u128)| (first == last).then_some(*first);
        self.0.iter().map(single).collect()
    }

    /// Whether it has this member.
    #[must_use]
    pub fn contains(&self, member: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= member);
        after > 0 && member <= self.0[after - 1].1
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        Self::new(self.0)
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (first, last) in &self.0 {
            // Where what is left of this range begins.
            let mut begin = Some(*first);
            let at = other.0.partition_point(|(_, end)| end < first);
            for (start, end) in &other.0[at..] {
                let Some(from) = begin.filter(|_| start <= last) else {
                    break;
                };
                if from < *start {
                    left.push((from, start - 1));
                }
                begin = end.checked_add(1).filter(|next| next <= last);
            }
            left.extend(begin.map(|from| (from, *last)));
        }
        Self(left)
    }
}

/// An address as its number.
#[must_use]
pub fn number_of(address: IpAddr) -> u128 {
    mapped_address(address).to_bits()
}

/// The octets of an address, as they are stored.
#[must_use]
pub fn octets_of(number: u128) -> [u8; 16] {
    Ipv6Addr::from(number).octets()
}

/// Whether an address is v4-mapped.
#[must_use]
pub const fn is_v4(number: u128) -> bool {
    number >> 32 == MAPPED >> 32
}

/// First and last address of a network; `bits` are those of its family, 32 or 128 at most.
#[must_use]
pub fn network(address: IpAddr, bits: u32) -> (u128, u128) {
    let most = if address.is_ipv4() { 32 } else { 128 };
    let number = number_of(address);
    let free = u128::MAX
        .checked_shr(128 - most + bits.min(most))
        .unwrap_or(0);
    (number & !free, number | free)
}

/// The members of a network, as ranges: one, or what lies before and behind the v4-mapped addresses where IPv6's
/// is around them, since IPv4 is no part of `::/0`.
#[must_use]
pub fn members(address: IpAddr, bits: u32) -> Vec<(u128, u128)> {
    const V4_LAST: u128 = MAPPED | V4_BITS;
    let (first, last) = network(address, bits);
    if (first, last) != (MAPPED, V4_LAST) && first <= MAPPED && last >= V4_LAST {
        vec![(first, MAPPED - 1), (V4_LAST + 1, last)]
    } else {
        vec![(first, last)]
    }
}

/// An address cut to so many bits of its family.
#[must_use]
pub fn cut(number: u128, v4_bits: u8, v6_bits: u8) -> u128 {
    let (bits, most) = if is_v4(number) {
        (v4_bits.min(32), 32)
    } else {
        (v6_bits.min(128), 128)
    };
    let free = u128::MAX
        .checked_shr(128 - most + u32::from(bits))
        .unwrap_or(0);
    let kept = number & !free;
    // A network of no bits is still one of its family.
    if most == 32 {
        MAPPED | kept & V4_BITS
    } else {
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(u128, u128)]) -> Ranges {
        Ranges::new(pairs.to_vec())
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let set = ranges(&[(7, 9), (1, 3), (4, 5), (8, 12), (20, 19)]);
        assert_eq!(set.pairs(), [(1, 5), (7, 12)]);
        assert_eq!(ranges(&[(0, u128::MAX), (5, 6)]).pairs(), [(0, u128::MAX)]);
    }

    /// Against sets of numbers written out.
    #[test]
    fn algebra_is_that_of_sets() {
        let members =
            |set: &Ranges| -> Vec<u128> { (0..40).filter(|at| set.contains(*at)).collect() };
        let sets = [
            ranges(&[]),
            ranges(&[(0, 39)]),
            ranges(&[(3, 3), (5, 9), (20, 25)]),
            ranges(&[(0, 2), (4, 6), (9, 21), (39, 39)]),
            ranges(&[(5, 9)]),
        ];
        for a in &sets {
            for b in &sets {
                let union = members(&a.clone().union(b));
                let difference = members(&a.difference(b));
                for at in 0..40 {
                    let (in_a, in_b) = (a.contains(at), b.contains(at));
                    assert_eq!(union.contains(&at), in_a || in_b, "{at} in {a:?} + {b:?}");
                    assert_eq!(
                        difference.contains(&at),
                        in_a && !in_b,
                        "{at} in {a:?} - {b:?}"
                    );
                }
            }
        }
        let all = ranges(&[(0, u128::MAX)]);
        assert_eq!(all.difference(&all), ranges(&[]));
        assert_eq!(
            all.difference(&Ranges::one(u128::MAX)),
            ranges(&[(0, u128::MAX - 1)])
        );
    }

    #[test]
    fn networks_are_ranges_of_their_family() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let of = |text: &str| number_of(address(text));
        assert_eq!(
            network(address("192.0.2.77"), 24),
            (of("192.0.2.0"), of("192.0.2.255"))
        );
        assert_eq!(
            network(address("192.0.2.77"), 0),
            (of("0.0.0.0"), of("255.255.255.255"))
        );
        assert_eq!(network(address("::1"), 0), (0, u128::MAX));
        for (text, bits, v4, v6) in [
            ("::", 0, false, true),
            ("::", 64, false, false),
            ("::", 95, false, false),
            ("::ffff:0:0", 96, true, false),
            ("::ffff:192.0.2.0", 120, true, false),
            ("2001:db8::", 32, false, true),
            ("0.0.0.0", 0, true, false),
        ] {
            let set = Ranges::new(members(address(text), bits));
            assert_eq!(set.contains(of("192.0.2.77")), v4, "{text}/{bits}");
            assert_eq!(set.contains(of("2001:db8::77")), v6, "{text}/{bits}");
            assert_eq!(set.contains(of("::1")), text == "::", "{text}/{bits}");
        }
        assert_eq!(network(address("::1"), 128), (1, 1));
        assert_eq!(cut(of("192.0.2.77"), 24, 64), of("192.0.2.0"));
        assert_eq!(cut(of("192.0.2.77"), 0, 64), of("0.0.0.0"));
        assert_eq!(cut(of("2001:db8::1:2"), 24, 64), of("2001:db8::"));
        assert_eq!(cut(of("2001:db8::1:2"), 24, 0), 0);
    }
}
