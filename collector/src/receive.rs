//! Receiving: many datagrams a system call, and the kernel's own count of those it dropped. One of the
//! files that may use `unsafe`.
#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes of C structures, as C types"
)]
#![expect(unsafe_code, reason = "system calls")]

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::AsRawFd as _,
    ptr,
};

use crate::exporters::Source;

/// Datagrams taken by one system call.
const BATCH: usize = 64;
/// The largest UDP payload is 65,507 octets.
const DATAGRAM_OCTETS: usize = 65_536;
/// From one buffer to the next: 33 cache lines more than a datagram. At a power of two the first lines of
/// all buffers, which are what most datagrams have, would share the same few sets of the caches, and the
/// first datagrams of a batch be out of them before they are read.
const STRIDE_OCTETS: usize = DATAGRAM_OCTETS + 33 * 64;
/// Sizes as the kernel wants them.
const NAME_OCTETS: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// A socket and its buffers, made once.
pub struct Receiver {
    socket: UdpSocket,
    buffers: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    dropped: u32,
    /// Datagrams the kernel dropped since the start.
    pub kernel_drops: u64,
}

impl Receiver {
    /// For a socket that was prepared ([`crate::socket::prepare`]).
    #[must_use]
    pub fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            buffers: vec![0; BATCH * STRIDE_OCTETS],
            names: vec![no_name(); BATCH],
            dropped: 0,
            kernel_drops: 0,
        }
    }

    /// The socket, to be polled.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Takes what is there, at most a batch; the number of datagrams.
    ///
    /// # Errors
    /// What the operating system says; that nothing is there is 0.
    pub fn receive(&mut self, mut datagram: impl FnMut(&[u8], Source)) -> io::Result<usize> {
        let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); BATCH];
        // SAFETY: all zeros are valid for these structures of integers and pointers.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (index, message) in messages.iter_mut().enumerate() {
            let buffer = &mut self.buffers[index * STRIDE_OCTETS..][..DATAGRAM_OCTETS];
            let vector = vectors[index].write(libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            });
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            message.msg_hdr.msg_namelen = NAME_OCTETS;
        }
        // SAFETY: each header points to buffers of ours that are as long as it says and outlive the
        // call.
        let taken = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if taken < 0 {
            let error = io::Error::last_os_error();
            return if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) {
                Ok(0)
            } else {
                Err(error)
            };
        }
        let taken = usize::try_from(taken).unwrap_or(0);
        for (index, message) in messages[..taken].iter().enumerate() {
            let octets = &self.buffers[index * STRIDE_OCTETS..][..message.msg_len as usize];
            datagram(octets, source(&self.names[index]));
        }
        Ok(taken)
    }
}

impl Receiver {
    /// Asks the kernel how many datagrams it dropped. It would say so with each one that is received (`SO_RXQ_OVFL`),
    /// for which it takes longer, and not before the next one is.
    pub fn count_drops(&mut self) {
        const SO_MEMINFO: libc::c_int = 55;
        const SK_MEMINFO_DROPS: usize = 8;
        let mut figures = [0u32; 9];
        let mut length = size_of_val(&figures) as libc::socklen_t;
        // SAFETY: the pointers are to an array and its length (kernel 4.12 fills nine numbers).
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                figures.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 {
            let dropped = figures[SK_MEMINFO_DROPS];
            self.kernel_drops += u64::from(dropped.wrapping_sub(self.dropped));
            self.dropped = dropped;
        }
    }
}

fn no_name() -> libc::sockaddr_storage {
    // SAFETY: all zeros are a valid `sockaddr_storage`.
    unsafe { mem::zeroed() }
}

/// The sender; IPv4 as v4-mapped.
fn source(name: &libc::sockaddr_storage) -> Source {
    let (address, port) = match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the kernel wrote; both fit the storage.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            (address.to_ipv6_mapped(), v4.sin_port)
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            (Ipv6Addr::from(v6.sin6_addr.s6_addr), v6.sin6_port)
        }
        _ => (Ipv6Addr::UNSPECIFIED, 0),
    };
    Source {
        address,
        port: u16::from_be(port),
        session: 0,
    }
}
