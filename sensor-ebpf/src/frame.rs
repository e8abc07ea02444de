//! The frame as XDP and tc see it: direct reads, each checked against the end of the first buffer.
#![expect(unsafe_code, reason = "packet memory")]

use core::{array, hint, mem::MaybeUninit, ptr};

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_xdp_get_buff_len,
    programs::{TcContext, XdpContext},
};
use weir_sensor_common::{FlowKey, Packet, walk::HEADERS_OCTETS_MAX};

/// Reads a field of the context afresh. A pointer to the packet that the compiler keeps in 32 bits,
/// which is what the context declares, is no pointer to the verifier any more.
macro_rules! fresh {
    ($context:expr, $field:ident) => {
        // SAFETY: the context is the one this run was given.
        unsafe { ptr::read_volatile(&raw const (*$context).$field) as usize }
    };
}

/// What runs the program: where the frame is, and what the kernel knows about it besides.
pub trait Source: EbpfContext {
    /// Address of the first octet.
    fn start(&self) -> usize;
    /// Address after the last octet of the first buffer.
    fn end(&self) -> usize;
    /// Octets over all its buffers.
    fn octets(&self) -> usize;
    /// ifIndex of the interface this is run for.
    fn ifindex(&self) -> u32;
    /// ifIndex of the interface the packet came in at; 0 if it was made here.
    fn came_in_at(&self) -> u32;
    /// The VLAN tag that the card took out of the frame, as in [`FlowKey`]'s VLAN word; 0 if none.
    fn stripped_vlan(&self) -> u16;
    /// Packets that the card will make of it, or that were merged into it. `payload_octets` are those without the
    /// headers that each of them has.
    fn segments(&self, payload_octets: u32) -> u32;
    /// Has so many octets in the first buffer, if the sender left them elsewhere and they are there.
    fn pull(&self, octets: u32);
}

impl Source for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        fresh!(self.ctx, data)
    }

    #[inline(always)]
    fn end(&self) -> usize {
        fresh!(self.ctx, data_end)
    }

    /// Kernel 5.18.
    #[inline(always)]
    fn octets(&self) -> usize {
        // SAFETY: the context is the one this run was given.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn came_in_at(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn segments(&self, _payload_octets: u32) -> u32 {
        1
    }

    #[inline(always)]
    fn pull(&self, _octets: u32) {}
}

impl Source for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        fresh!(self.skb.skb, data)
    }

    #[inline(always)]
    fn end(&self) -> usize {
        fresh!(self.skb.skb, data_end)
    }

    #[inline(always)]
    fn octets(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the one this run was given.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    fn came_in_at(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb.skb).ingress_ifindex }
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        // SAFETY: as above.
        let skb = unsafe { &*self.skb.skb };
        if skb.vlan_present == 0 {
            return 0;
        }
        (skb.vlan_tci & 0x0fff) as u16 | FlowKey::TAGGED
    }

    #[inline(always)]
    fn segments(&self, payload_octets: u32) -> u32 {
        // SAFETY: as above.
        let skb = unsafe { &*self.skb.skb };
        // What a guest sent has a size, but no number yet.
        if skb.gso_segs == 0 && skb.gso_size != 0 {
            payload_octets.div_ceil(skb.gso_size)
        } else {
            skb.gso_segs
        }
    }

    #[inline(always)]
    fn pull(&self, octets: u32) {
        let wanted = self.len().min(octets);
        if self.start() + (wanted as usize) > self.end() {
            // Without them the packet is counted as too short.
            let _ = self.pull_data(wanted);
        }
    }
}

/// A frame, to be walked.
pub struct Frame<'a, S>(pub &'a S);

/// Zero, but in writable memory, so that the verifier does not know it.
static mut UNKNOWN_ZERO: u64 = 0;

impl<S: Source> Frame<'_, S> {
    /// The address of `octets` octets at `offset`, if they are in the first buffer.
    #[inline(always)]
    fn at(&self, offset: usize, octets: usize) -> Option<usize> {
        // A bound for the verifier; headers lie far below it.
        if offset > HEADERS_OCTETS_MAX + 64 {
            return None;
        }
        let start = self.0.start() + offset;
        (start + octets <= self.0.end()).then_some(start)
    }
}

impl<S: Source> Packet for Frame<'_, S> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.at(offset, N)?;
        let mut octets = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the octets lie between the frame's start and end.
        unsafe {
            ptr::copy_nonoverlapping(start as *const u8, octets.as_mut_ptr().cast(), N);
            Some(octets.assume_init())
        }
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let start = self.at(offset, 4 * N)? as *const u32;
        // SAFETY: as above.
        Some(array::from_fn(|index| unsafe {
            start.add(index).read_unaligned()
        }))
    }

    #[inline(always)]
    fn wire_octets(&self) -> usize {
        self.0.octets()
    }

    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        // SAFETY: nothing writes it; volatile so that the compiler does not fold it.
        let zero = unsafe { ptr::read_volatile(&raw const UNKNOWN_ZERO) };
        // Here, and not where it is used first: till then the verifier would know the offset.
        hint::black_box((offset | zero as usize) & (2 * HEADERS_OCTETS_MAX - 1))
    }
}
