//! How the header walk reads a packet, whoever holds it: the kernel (`xdp_md`), a capture file,
//! a test or the fuzzer.

/// A frame as captured. Every read is checked against what was captured; nothing is copied ahead.
pub trait Packet {
    /// The `N` octets at `offset`, or `None` if the capture ends before them. `N` is at least 2:
    /// a compiler turns the check for one octet into one that the kernel's verifier cannot use.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// `N` 32-bit words at `offset`, in network byte order, or `None` if the capture ends before
    /// them.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;

    /// Octets the frame had on the wire, which may be more than were captured.
    fn wire_octets(&self) -> usize;

    /// An offset the walk has reached. The kernel's reader forgets here how it was reached, so
    /// that the verifier examines the rest of the walk once, not once per path that leads to it.
    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        offset
    }

    /// A 16-bit number in network byte order.
    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        self.read(offset).map(u16::from_be_bytes)
    }

    /// A 32-bit number in network byte order.
    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        self.read(offset).map(u32::from_be_bytes)
    }
}

/// A captured frame in memory.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// The octets captured.
    pub octets: &'a [u8],
    /// The frame's length on the wire.
    pub wire_octets: usize,
}

impl<'a> Captured<'a> {
    /// A frame captured whole.
    #[must_use]
    pub fn whole(octets: &'a [u8]) -> Self {
        Self {
            octets,
            wire_octets: octets.len(),
        }
    }
}

impl Packet for Captured<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.octets.get(offset..)?.first_chunk::<N>().copied()
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let (words, _) = self.octets.get(offset..)?.as_chunks::<4>();
        words
            .first_chunk::<N>()
            .map(|words| words.map(u32::from_ne_bytes))
    }

    #[inline(always)]
    fn wire_octets(&self) -> usize {
        self.wire_octets
    }
}
