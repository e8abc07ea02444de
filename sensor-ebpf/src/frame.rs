//! The frame as XDP sees it: direct reads, each checked against the end of the first buffer.
#![expect(unsafe_code, reason = "packet memory")]

use core::{array, mem::MaybeUninit, ptr};

use aya_ebpf::{helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};
use weir_sensor_common::{Packet, walk::HEADERS_OCTETS_MAX};

pub struct Frame<'a> {
    context: &'a XdpContext,
}

/// Zero, but in writable memory, so that the verifier does not know it.
static mut UNKNOWN_ZERO: u64 = 0;

impl<'a> Frame<'a> {
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }
}

impl Frame<'_> {
    /// The address of `octets` octets at `offset`, if they are in the first buffer.
    #[inline(always)]
    fn at(&self, offset: usize, octets: usize) -> Option<usize> {
        // A bound for the verifier; headers lie far below it.
        if offset > HEADERS_OCTETS_MAX + 64 {
            return None;
        }
        let start = self.context.data() + offset;
        (start + octets <= self.context.data_end()).then_some(start)
    }
}

impl Packet for Frame<'_> {
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

    /// The whole frame, over all its buffers (kernel 5.18).
    #[inline(always)]
    fn wire_octets(&self) -> usize {
        // SAFETY: the context is the one this run was given.
        unsafe { bpf_xdp_get_buff_len(self.context.ctx) as usize }
    }

    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        // SAFETY: nothing writes it; volatile so that the compiler does not fold it.
        let zero = unsafe { ptr::read_volatile(&raw const UNKNOWN_ZERO) };
        (offset | zero as usize) & (2 * HEADERS_OCTETS_MAX - 1)
    }
}
