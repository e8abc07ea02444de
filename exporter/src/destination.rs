//! A collector's UDP socket. Errors are counted, never fatal: an ICMP error that the kernel kept
//! for us is read and the datagram sent again; a full device queue is waited for, briefly.

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

/// What takes datagrams to a collector: a socket, or what stands for one in a test.
pub trait Carrier: fmt::Debug + Send {
    /// Where it takes them.
    fn address(&self) -> SocketAddr;

    /// Sends a datagram.
    fn send(&mut self, octets: &[u8]) -> Sent;
}

/// A connected socket.
#[derive(Debug)]
pub struct Destination {
    socket: UdpSocket,
    address: SocketAddr,
}

/// What became of a datagram.
#[derive(Debug)]
pub enum Sent {
    /// It left; the number of ICMP errors about earlier ones that were read first.
    Yes {
        /// Those errors.
        refusals: u32,
    },
    /// It did not, for this reason.
    No {
        /// ICMP errors read.
        refusals: u32,
        /// The reason.
        error: io::Error,
    },
}

impl Destination {
    /// Tries for a datagram the device has no room for.
    const TRIES_MAX: u32 = 20;
    /// Wait between them.
    const RETRY_WAIT: Duration = Duration::from_millis(2);

    /// Connects a socket to the collector.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = if address.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        Ok(Self { socket, address })
    }
}

impl Carrier for Destination {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn send(&mut self, octets: &[u8]) -> Sent {
        let mut refusals = 0;
        let mut last = io::Error::other("not tried");
        for _ in 0..Self::TRIES_MAX {
            match self.socket.send(octets) {
                Ok(_) => return Sent::Yes { refusals },
                // The error belongs to an earlier datagram; this one was not sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    refusals += 1;
                    last = error;
                }
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)
                    ) =>
                {
                    last = error;
                    std::thread::sleep(Self::RETRY_WAIT);
                }
                Err(error) => return Sent::No { refusals, error },
            }
        }
        Sent::No {
            refusals,
            error: last,
        }
    }
}
