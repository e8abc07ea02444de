//! Address prefixes, for the list of exporters that are allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use weir_netflow::record::display_address;

/// The first octets of v4-mapped addresses (RFC 4291 section 2.5.5.2) are these many bits.
const V4_MAPPED_BITS: u32 = 96;

/// All addresses that begin alike; IPv4 as v4-mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: u128,
    bits: u32,
}

impl Prefix {
    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        masked(address.to_bits(), self.bits) == self.address
    }
}

/// The first bits of an address; the others are zero.
fn masked(address: u128, bits: u32) -> u128 {
    address & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{address}` is no address: write 192.0.2.0/24 or 2001:db8::1"))?;
        let (mapped, bits_max, before) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 32, V4_MAPPED_BITS),
            IpAddr::V6(v6) => (v6, 128, 0),
        };
        let bits = match bits.map(str::parse::<u32>) {
            None => bits_max,
            Some(Ok(bits)) if bits <= bits_max => bits,
            Some(_) => return Err(format!("a prefix of {address} has 0 to {bits_max} bits")),
        };
        let bits = before + bits;
        let prefix = Self {
            address: masked(mapped.to_bits(), bits),
            bits,
        };
        // A host's address with a network's length is a slip more often than not.
        if prefix.address == mapped.to_bits() {
            Ok(prefix)
        } else {
            Err(format!(
                "{text} has bits beyond its length: did you mean {prefix}?"
            ))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = display_address(Ipv6Addr::from_bits(self.address));
        let before = if address.is_ipv4() && self.bits >= V4_MAPPED_BITS {
            V4_MAPPED_BITS
        } else {
            0
        };
        write!(formatter, "{address}/{}", self.bits - before)
    }
}

#[cfg(test)]
mod tests {
    use weir_netflow::record::mapped_address;

    use super::*;

    fn contains(prefix: &str, address: &str) -> bool {
        let mapped = mapped_address(address.parse().unwrap());
        prefix.parse::<Prefix>().unwrap().contains(mapped)
    }

    #[test]
    fn a_prefix_contains_what_begins_alike() {
        for (prefix, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.1.2.3", "2001:db8::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("128.0.0.0/1", "200.0.0.0", "127.255.255.255"),
        ] {
            assert!(contains(prefix, inside), "{inside} in {prefix}");
            assert!(!contains(prefix, outside), "{outside} in {prefix}");
        }
        assert!(contains("::/0", "192.0.2.1") && contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn what_is_none_is_told() {
        for (text, words) in [
            ("192.0.2.0/33", "0 to 32 bits"),
            ("2001:db8::/129", "0 to 128 bits"),
            ("192.0.2.0/", "0 to 32 bits"),
            ("router", "is no address"),
            ("192.0.2.9/24", "did you mean 192.0.2.0/24?"),
        ] {
            let error = text.parse::<Prefix>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
