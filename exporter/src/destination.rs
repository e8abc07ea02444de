//! A collector's UDP socket. Errors are counted, never fatal: an ICMP error that the kernel kept
//! for us is read and the datagram sent again; a full device queue is waited for, as briefly as a full
//! connection; a datagram that is longer than the path takes comes back, with the length that would pass. Those
//! that had left before a router said so do not come back: each of its answers that is read counts as
//! a refusal.
#![expect(unsafe_code, reason = "socket options")]

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use crate::{
    socket::{self, Kind, Way},
    waits::Waits,
};

/// What takes datagrams to a collector: a socket, or what stands for one in a test.
pub trait Carrier: fmt::Debug + Send {
    /// Where it takes them.
    #[must_use]
    fn address(&self) -> SocketAddr;

    /// Sends a datagram.
    #[must_use]
    fn send(&mut self, octets: &[u8]) -> Sent;

    /// After sending, or the end: how the message is that was taken last, of which a part may have left only.
    /// None after it is taken before all of it has left.
    #[must_use]
    fn rest(&self) -> Rest {
        Rest::Left
    }

    /// Lets datagrams that are longer than the path takes leave in fragments from here on.
    fn allow_fragments(&mut self);

    /// What waiting for room it has done so far does not count any more: it may wait as long again.
    fn may_wait_again(&mut self) {}

    /// What is sent from here on is the last: it may wait for room so long in all, and longer with each message.
    fn may_wait_long(&mut self, _waiting: Duration) {}

    /// Sends what is not on its way yet, and ends: nothing comes after it, unless it begins again.
    fn finish(&mut self) {}

    /// Makes ready for what comes: before the first, and again after an end.
    fn begin(&mut self) {}
}

/// A connected socket.
#[derive(Debug)]
pub struct Destination {
    socket: UdpSocket,
    address: SocketAddr,
    way: Way,
    /// Octets that the path takes, as was told last.
    octets_max: usize,
    /// For room in the device's queue.
    waits: Waits,
}

/// What is with the rest of a message: a connection may take it in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is none: all of it has left.
    Left,
    /// It waits until there is room for it.
    UnderWay,
    /// It never left: the connection ended first.
    Cut,
}

/// What became of a datagram.
#[derive(Debug)]
pub enum Sent {
    /// It left; the number of ICMP errors about earlier ones that were read first: nobody listens, or a
    /// router takes none as long. What those were about is lost.
    Yes {
        /// Those errors.
        refusals: u32,
    },
    /// It did not: it, or one before it, is longer than the path takes.
    TooLong {
        /// ICMP errors read.
        refusals: u32,
        /// Octets that the path takes, without UDP and IP headers; less than was told before.
        octets_max: usize,
    },
    /// It did not: there is a new connection, or one from another address, of which the collector knows nothing.
    /// Numbers and templates begin anew (RFC 7011 sections 3.1 and 8.4).
    Anew,
    /// It did not, for this reason.
    No {
        /// ICMP errors read.
        refusals: u32,
        /// The reason.
        error: io::Error,
    },
}

impl Destination {
    /// Tries for a datagram in whose place errors of earlier ones are read.
    const TRIES_MAX: u32 = 20;
    /// The same where this machine's own errors look like these.
    const OTHERS_MAX: u32 = 3;

    /// Connects a socket to the collector.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_by(address, &Way::default())
    }

    /// Connects a socket to the collector, to be reached by this way.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect_by(address: SocketAddr, way: &Way) -> io::Result<Self> {
        let destination = Self {
            socket: socket::open(Kind::Datagrams, address, way)?.into(),
            address,
            way: way.clone(),
            octets_max: OCTETS_MAX,
            waits: Waits::default(),
        };
        // It would else wait for a device that takes nothing as long as that does so.
        destination.socket.set_nonblocking(true)?;
        destination.set_discovery(libc::IP_PMTUDISC_DO)?;
        Ok(destination)
    }

    /// A socket in the place of one whose own address is this machine's no more: the kernel finds no way from there,
    /// and keeps to it. `None` if that is not so, or the address was asked for, or there is no way yet.
    fn with_another_address(&self) -> Option<Self> {
        let own = self.socket.local_addr().ok()?.ip();
        let is_gone = UdpSocket::bind((own, 0)).is_err_and(|error| is_no_address(&error));
        if self.way.source.is_some() || !is_gone {
            return None;
        }
        Self::connect_by(self.address, &self.way).ok()
    }

    /// How the kernel deals with the path's MTU (ip(7), ipv6(7)). With `DO` it fragments nothing,
    /// tells routers not to, and remembers what they answer.
    fn set_discovery(&self, how: libc::c_int) -> io::Result<()> {
        let (level, option) = if self.address.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
        } else {
            // The values are the same.
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
        };
        // SAFETY: the pointer is to an integer, as large as the length says.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw const how).cast(),
                INTEGER_OCTETS,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Octets that the path takes, as far as the kernel knows.
    fn path_octets_max(&self) -> Option<usize> {
        let (level, option, headers_octets) = if self.address.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MTU, 20 + 8)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU, 40 + 8)
        };
        let mut mtu: libc::c_int = 0;
        let mut length = INTEGER_OCTETS;
        // SAFETY: both pointers are valid, and the length is the integer's.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw mut mtu).cast(),
                &raw mut length,
            )
        };
        let mtu = usize::try_from(mtu).ok().filter(|_| result == 0)?;
        Some(mtu.saturating_sub(headers_octets).min(OCTETS_MAX))
    }
}

fn is_no_address(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// The longest datagram there is: IPv4's length field has 16 bits.
const OCTETS_MAX: usize = 65_535 - 20 - 8;
const INTEGER_OCTETS: libc::socklen_t = 4;
const _: () = assert!(size_of::<libc::c_int>() == INTEGER_OCTETS as usize);

impl Carrier for Destination {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn send(&mut self, octets: &[u8]) -> Sent {
        let mut refusals = 0;
        // Tries that failed for what may be such an answer, or this machine's own trouble.
        let mut others = 0;
        let mut last = io::Error::other("not tried");
        // What is slow is this machine's own device: records may wait for it in the table.
        self.waits.renew_unless_granted();
        self.waits.begin();
        let mut tries = 0;
        while tries < Self::TRIES_MAX {
            tries += 1;
            match self.socket.send(octets) {
                Ok(_) => {
                    self.waits.stalled = false;
                    // What was in its way was about an earlier one, too.
                    refusals += others;
                    return Sent::Yes { refusals };
                }
                // The error belongs to an earlier datagram; this one was not sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    refusals += 1;
                    last = error;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => last = error,
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) =>
                {
                    if !self.waits.wait() {
                        self.waits.stalled = true;
                        return Sent::No { refusals, error };
                    }
                    tries -= 1;
                }
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    if let Some(octets_max) = self.path_octets_max() {
                        // What fits the kernel does not refuse by itself: this is a router's answer to
                        // an earlier datagram. (What does not fit it refuses first, and keeps that
                        // answer for the next.)
                        if octets.len() <= octets_max {
                            refusals += 1;
                        }
                        // Told once: a router that threw several datagrams away answers to each.
                        if octets_max < self.octets_max {
                            self.octets_max = octets_max;
                            return Sent::TooLong {
                                refusals,
                                octets_max,
                            };
                        }
                    }
                    last = error;
                }
                Err(error) => {
                    if let Some(anew) = self.with_another_address() {
                        *self = anew;
                        return Sent::Anew;
                    }
                    // A firewall's or router's answer looks like an error of this machine's own, which stays.
                    others += 1;
                    if others == Self::OTHERS_MAX {
                        return Sent::No { refusals, error };
                    }
                    last = error;
                }
            }
        }
        Sent::No {
            refusals,
            error: last,
        }
    }

    fn allow_fragments(&mut self) {
        // If it fails, so does sending, which is counted.
        let _ = self.set_discovery(libc::IP_PMTUDISC_WANT);
    }

    fn may_wait_long(&mut self, waiting: Duration) {
        self.waits.grant(waiting);
    }
}
