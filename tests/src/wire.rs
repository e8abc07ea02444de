//! Sending frames as they are, through a packet socket.
#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes of C structures, as C types"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "macros of C, one after the other"
)]
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::CString,
    io,
    net::UdpSocket,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// A packet socket bound to an interface of this thread's namespace.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Opens it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: a terminated string that outlives the call.
        let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if ifindex == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call takes no pointers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just opened and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zeros are a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_ifindex = ifindex.cast_signed();
        // SAFETY: the pointer and length are those of the address.
        let result = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { socket })
    }

    /// Sends a frame. One that the interface drops for want of room counts as sent: the interface
    /// counts it as dropped.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the pointer and length are those of the frame.
            let sent = unsafe {
                libc::send(
                    self.socket.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                )
            };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOBUFS) => return Ok(()),
                Some(libc::EAGAIN | libc::EINTR) => std::thread::yield_now(),
                _ => return Err(error),
            }
        }
    }
}

/// Sends a TCP segment that the card is to cut up into pieces of so many octets of payload (packet(7),
/// `PACKET_VNET_HDR`); the TCP header begins at `transport_offset`.
///
/// # Errors
/// What the operating system says.
pub fn send_uncut(
    interface: &str,
    frame: &[u8],
    transport_offset: u16,
    piece_octets: u16,
) -> io::Result<()> {
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM` and `VIRTIO_NET_HDR_GSO_TCPV4` (linux/virtio_net.h), and where TCP's checksum is.
    const NEEDS_CHECKSUM: u8 = 1;
    const TCP_V4: u8 = 1;
    const CHECKSUM_OFFSET: u16 = 16;
    const TCP_OCTETS: u16 = 20;
    const PACKET_VNET_HDR: libc::c_int = 15;
    let wire = Wire::open(interface)?;
    let on: libc::c_int = 1;
    // SAFETY: the pointer and length are those of a number.
    let result = unsafe {
        libc::setsockopt(
            wire.socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_VNET_HDR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let numbers = [
        transport_offset + TCP_OCTETS,
        piece_octets,
        transport_offset,
        CHECKSUM_OFFSET,
    ];
    let mut message = vec![NEEDS_CHECKSUM, TCP_V4];
    message.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    message.extend_from_slice(frame);
    wire.send(&message)
}

/// Pins this thread to a CPU.
///
/// # Errors
/// If there is no such CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: all zeros are an empty set, and the macros stay within it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Gives a socket the large buffer, whatever the machine's limit: who receives in a test may be kept
/// from its CPU for a while, and that is not what is tested.
///
/// # Errors
/// What the operating system says.
pub fn enlarge_buffer(socket: &UdpSocket) -> io::Result<()> {
    let octets: libc::c_int = 64 << 20;
    // SAFETY: the pointer and length are those of a number.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const octets).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
