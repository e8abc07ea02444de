//! Crypto-PAn (Xu, Fan, Ammar, Moon, ICNP 2002): addresses become others so that two which begin alike still
//! begin alike for as many bits, and without the key nobody can tell which was which. IPv4 as the authors
//! published it, IPv6 the same over 128 bits. There is a crate or two of that name, none of them maintained;
//! the cipher is RustCrypto's.
//!
//! Of a flow the addresses are changed: source, destination, next hop, a tunnel's ends. MAC addresses, which
//! name a host too, are left out. The exporter's address, ports, AS and interfaces stay.

use std::{
    fmt, fs,
    io::Read as _,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt as _,
    path::Path,
    str::FromStr,
};

use aes::{
    Aes128, Block,
    cipher::{BlockEncrypt as _, KeyInit as _},
};
use anyhow::{Context as _, Result, bail};
use weir_store::{others::Others, schema::StoredFlow};

const KEY_OCTETS: usize = 32;
/// Digits of a key, and a line's end.
const FILE_OCTETS_MAX: u64 = 128;

/// A key: 128 bits for the cipher, 128 for what pads the addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_OCTETS]);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

impl FromStr for Key {
    type Err = ();

    /// 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.trim().as_bytes();
        let (pairs, []) = digits.as_chunks::<2>() else {
            return Err(());
        };
        let octet = |[high, low]: &[u8; 2]| -> Option<u8> {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from((digit(*high)? << 4) | digit(*low)?).ok()
        };
        let octets: Option<Vec<u8>> = pairs.iter().map(octet).collect();
        let octets: [u8; KEY_OCTETS] = octets.ok_or(())?.try_into().map_err(|_| ())?;
        Ok(Self(octets))
    }
}

impl Key {
    /// Reads a key's file, which nobody else may read: who has it can undo what it does.
    ///
    /// # Errors
    /// If others may read it, or it holds no key.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = fs::File::open(path).with_context(|| {
            format!("cannot read the key {shown}: `openssl rand -hex 32 > {shown}` makes one")
        })?;
        let mode = file.metadata()?.mode();
        if mode & 0o077 != 0 {
            bail!("others may read or write the key {shown}: `chmod 600 {shown}`");
        }
        let mut octets = Vec::new();
        file.take(FILE_OCTETS_MAX).read_to_end(&mut octets)?;
        Self::of(&octets).with_context(|| {
            format!("{shown} holds no key: it needs 32 octets, or 64 hexadecimal digits")
        })
    }

    fn of(octets: &[u8]) -> Option<Self> {
        if let Ok(octets) = octets.try_into() {
            return Some(Self(octets));
        }
        str::from_utf8(octets).ok()?.parse().ok()
    }
}

/// What changes addresses.
#[derive(Clone)]
pub struct CryptoPan {
    cipher: Aes128,
    pad: u128,
}

impl fmt::Debug for CryptoPan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CryptoPan(…)")
    }
}

impl CryptoPan {
    /// With a key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let (mut cipher_key, mut pad) = ([0; 16], [0; 16]);
        cipher_key.copy_from_slice(&key.0[..16]);
        pad.copy_from_slice(&key.0[16..]);
        let cipher = Aes128::new(&cipher_key.into());
        let mut block = Block::from(pad);
        cipher.encrypt_block(&mut block);
        Self {
            cipher,
            pad: u128::from_be_bytes(block.into()),
        }
    }

    /// Changes a flow's addresses; those that are not there stay so. What no column has goes: there may be
    /// addresses in it (those that NAT translated, say), and MAC addresses go.
    pub fn anonymise(&self, flow: &mut StoredFlow) {
        flow.others = Others::NONE;
        let record = &mut flow.record;
        for address in [
            &mut record.source,
            &mut record.destination,
            &mut record.next_hop,
            &mut record.bgp_next_hop,
            &mut record.outer_source,
            &mut record.outer_destination,
        ] {
            *address = self.address(*address);
        }
        record.source_mac = [0; 6];
        record.destination_mac = [0; 6];
    }

    /// An address instead of another, of the same family; IPv4 as v4-mapped.
    #[must_use]
    pub fn address(&self, address: Ipv6Addr) -> Ipv6Addr {
        if address.is_unspecified() {
            return address;
        }
        match address.to_ipv4_mapped() {
            Some(v4) => self.v4(v4).to_ipv6_mapped(),
            None => Ipv6Addr::from_bits(self.changed::<128>(address.to_bits())),
        }
    }

    fn v4(&self, address: Ipv4Addr) -> Ipv4Addr {
        let bits = u128::from(address.to_bits()) << 96;
        let [a, b, c, d, ..] = self.changed::<32>(bits).to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Flips each of the first bits by the cipher of all bits before it, with the pad's bits from it on. No
    /// block depends on another: the cipher has them all at once.
    fn changed<const BITS: usize>(&self, address: u128) -> u128 {
        let mut blocks = [Block::default(); BITS];
        for (before, block) in (0u32..).zip(&mut blocks) {
            let rest = u128::MAX >> before;
            *block = Block::from(((address & !rest) | (self.pad & rest)).to_be_bytes());
        }
        self.cipher.encrypt_blocks(&mut blocks);
        let mut changed = address;
        for (before, block) in (0u32..).zip(&blocks) {
            changed ^= u128::from(block[0] >> 7) << (127 - before);
        }
        changed
    }
}

/// Reads a key's file, and makes of it what changes addresses.
///
/// # Errors
/// As [`Key::read`].
pub fn open(path: &Path) -> Result<CryptoPan> {
    Ok(CryptoPan::new(&Key::read(path)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use weir_netflow::{FlowRecord, record::mapped_address};
    use weir_store::others::{Gathering, Other};

    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        mapped_address(text.parse().unwrap())
    }

    /// The authors' key and the first lines of their sample trace.
    #[test]
    fn ipv4_is_as_the_authors_published_it() {
        let key = Key([
            21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143,
            131, 121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
        ]);
        let pan = CryptoPan::new(&key);
        for (before, after) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("192.102.249.13", "252.138.62.131"),
        ] {
            assert_eq!(pan.address(address(before)), address(after), "{before}");
        }
    }

    /// The vectors that yacryptopan's documentation gives.
    #[test]
    fn ipv6_is_as_others_have_it() {
        let key = Key::of(b"32-char-str-for-AES-key-and-pad.").unwrap();
        let pan = CryptoPan::new(&key);
        for (before, after) in [
            ("192.0.2.1", "192.0.125.244"),
            ("2001:db8::1", "27fe:8bc7:fee:1e:1e1f:f0fe:f0e1:83fd"),
        ] {
            assert_eq!(pan.address(address(before)), address(after), "{before}");
        }
        assert_eq!(pan.address(Ipv6Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED);
    }

    #[test]
    fn what_begins_alike_still_does_for_as_many_bits() {
        let pan = CryptoPan::new(&Key([7; 32]));
        let base = address("2001:db8:1:2:3:4:5:6");
        for bit in 0..128u32 {
            let other = Ipv6Addr::from_bits(base.to_bits() ^ (1 << (127 - bit)));
            let differ = pan.address(base).to_bits() ^ pan.address(other).to_bits();
            assert_eq!(differ.leading_zeros(), bit);
        }
        let base = address("192.0.2.77");
        for bit in 96..128u32 {
            let other = Ipv6Addr::from_bits(base.to_bits() ^ (1 << (127 - bit)));
            let differ = pan.address(base).to_bits() ^ pan.address(other).to_bits();
            assert_eq!(differ.leading_zeros(), bit);
        }
    }

    #[test]
    fn a_key_is_octets_or_digits_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let digits = "00112233445566778899aabbccddeeff".repeat(2);
        for (octets, is_key) in [
            (vec![9; 32], true),
            (digits.clone().into_bytes(), true),
            (format!("{}\n", digits.to_uppercase()).into_bytes(), true),
            (digits.as_bytes()[1..].to_vec(), false),
            (digits.replace('7', "g").into_bytes(), false),
            (vec![9; 33], false),
            (Vec::new(), false),
        ] {
            fs::write(&path, &octets).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(Key::read(&path).is_ok(), is_key, "{octets:?}");
        }
        fs::write(&path, &digits).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let says = Key::read(&path).unwrap_err().to_string();
        assert!(says.contains("chmod 600"), "{says}");
        let says = format!("{:#}", Key::read(&folder.path().join("none")).unwrap_err());
        assert!(says.contains("openssl rand -hex 32"), "{says}");
    }

    #[test]
    fn no_address_of_a_flow_stays() {
        let address: Ipv6Addr = "::ffff:192.0.2.7".parse().unwrap();
        let mut gathering = Gathering::default();
        let translated = Other {
            enterprise: 0,
            element: 225,
            octets: &[192, 0, 2, 7],
        };
        gathering.add(&translated, 4);
        let mut flow = StoredFlow {
            record: FlowRecord {
                source: address,
                destination: address,
                next_hop: address,
                bgp_next_hop: address,
                outer_source: address,
                outer_destination: address,
                source_mac: [2; 6],
                destination_mac: [2; 6],
                ..FlowRecord::default()
            },
            received_ns: 0,
            exporter: Ipv6Addr::LOCALHOST,
            source_id: 0,
            version: 10,
            others: gathering.finish(),
        };
        CryptoPan::new(&Key([7; KEY_OCTETS])).anonymise(&mut flow);
        let said = format!("{flow:?}");
        assert!(!said.contains("192.0.2.7"), "{said}");
        assert!(!said.contains("192, 0, 2, 7"), "{said}");
        assert!(!said.contains("[2, 2, 2, 2, 2, 2]"), "{said}");
    }
}
