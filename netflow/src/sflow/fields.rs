//! Reading XDR (RFC 4506) from left to right; what goes beyond the octets is `None`.

use std::net::Ipv6Addr;

use super::mapped;
use crate::read;

/// Types of addresses.
const UNKNOWN: u32 = 0;
const IPV4: u32 = 1;
const IPV6: u32 = 2;

/// Octets, and how far they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(octets)?;
        self.rest = rest;
        Some(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    pub fn word(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub fn ipv4(&mut self) -> Option<Ipv6Addr> {
        self.chunk().map(mapped)
    }

    pub fn ipv6(&mut self) -> Option<Ipv6Addr> {
        self.chunk::<16>().map(Ipv6Addr::from)
    }

    /// An address with its type before it; unspecified if it is unknown, or of zeros.
    pub fn address(&mut self) -> Option<Ipv6Addr> {
        match self.word()? {
            UNKNOWN => Some(Ipv6Addr::UNSPECIFIED),
            IPV4 => match self.chunk()? {
                [0, 0, 0, 0] => Some(Ipv6Addr::UNSPECIFIED),
                octets => Some(mapped(octets)),
            },
            IPV6 => self.ipv6(),
            _ => None,
        }
    }

    /// A MAC address, which is padded to eight octets.
    pub fn mac(&mut self) -> Option<[u8; 6]> {
        let [a, b, c, d, e, f, _, _] = self.chunk()?;
        Some([a, b, c, d, e, f])
    }

    /// Octets with their number before them; the last padding may be missing.
    pub fn opaque(&mut self) -> Option<&'a [u8]> {
        let octets = usize::try_from(self.word()?).ok()?;
        let taken = self.take(octets)?;
        let padding = octets.next_multiple_of(4) - octets;
        self.rest = self.rest.get(padding..).unwrap_or_default();
        Some(taken)
    }

    /// Words with their number before them; the last of them, 0 if there is none.
    pub fn words_last(&mut self) -> Option<u32> {
        let count = usize::try_from(self.word()?).ok()?;
        let words = self.take(count.checked_mul(4)?)?;
        Some(match words.len() {
            0 => 0,
            octets => read::u32(words, octets - 4),
        })
    }
}
