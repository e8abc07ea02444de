//! A socket to a collector, and what was asked about the way there: source address, interface, hops,
//! class of service.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// How datagrams go; what is `None` is the system's to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The address they are sent from.
    pub source: Option<IpAddr>,
    /// The interface they leave by.
    pub device: Option<String>,
    /// TTL or hop limit, of unicast and multicast; 0 keeps multicast on this host, and leaves unicast
    /// alone.
    pub hop_limit: Option<u8>,
    /// Differentiated services code point, six bits.
    pub dscp: Option<u8>,
}

/// Kinds of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UDP.
    Datagrams,
    /// TCP.
    Stream,
}

/// Opens a socket and connects it.
pub(crate) fn open(kind: Kind, address: SocketAddr, way: &Way) -> io::Result<OwnedFd> {
    let number = match kind {
        Kind::Datagrams => libc::SOCK_DGRAM,
        Kind::Stream => libc::SOCK_STREAM,
    };
    // SAFETY: the call takes no pointers.
    let socket = unsafe { libc::socket(family(address), number | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    if kind == Kind::Stream {
        // The longest wait for a connection (socket(7)).
        let wait = libc::timeval {
            tv_sec: 3,
            tv_usec: 0,
        };
        set(&socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &wait)?;
        // A collector that lost its power answers nothing: the kernel by itself would wait for a quarter of an
        // hour (tcp(7)).
        let wait_ms: libc::c_uint = 30_000;
        set(&socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &wait_ms)?;
    }
    prepare(&socket, address, way)?;
    let connected = Name::of(address).connect(&socket);
    connected.map_err(|error| match error.kind() {
        // A stream that finds no way looks for one again, by the error's number.
        io::ErrorKind::NetworkUnreachable if kind == Kind::Datagrams => {
            let ip = address.ip();
            told(&error, &format!("`ip route get {ip}` tells the way there"))
        }
        _ => error,
    })?;
    Ok(socket)
}

/// An error with what to do about it.
fn told(error: &io::Error, advice: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error}; {advice}"))
}

fn prepare(socket: &OwnedFd, address: SocketAddr, way: &Way) -> io::Result<()> {
    if let Some(device) = &way.device {
        bind_to(socket, device)
            .map_err(|error| io::Error::new(error.kind(), format!("by {device}: {error}")))?;
    }
    if let Some(source) = way.source {
        if source.is_ipv4() != address.is_ipv4() {
            let sentence = format!("from {source}: it is of the other family");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let bound = Name::of((source, 0).into()).bind(socket);
        bound.map_err(|error| {
            let error = io::Error::new(error.kind(), format!("from {source}: {error}"));
            told(&error, "`ip -brief address` lists the addresses there are")
        })?;
    }
    let (level, unicast, multicast, class) = if address.is_ipv4() {
        let (unicast, multicast) = (libc::IP_TTL, libc::IP_MULTICAST_TTL);
        (libc::IPPROTO_IP, unicast, multicast, libc::IP_TOS)
    } else {
        let (unicast, multicast) = (libc::IPV6_UNICAST_HOPS, libc::IPV6_MULTICAST_HOPS);
        (libc::IPPROTO_IPV6, unicast, multicast, libc::IPV6_TCLASS)
    };
    if let Some(hops) = way.hop_limit {
        let number = libc::c_int::from(hops);
        if hops > 0 {
            set(socket, level, unicast, &number)?;
        }
        set(socket, level, multicast, &number)?;
    }
    if let Some(dscp) = way.dscp {
        // The low two bits are for congestion (RFC 3168).
        set(socket, level, class, &(libc::c_int::from(dscp) << 2))?;
    }
    Ok(())
}

fn bind_to(socket: &OwnedFd, device: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(device.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the pointer and length are those of the name.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            device.as_ptr().cast(),
            length,
        )
    })
}

/// Sets an option that is a number or a structure of C.
fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length are those of the value.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            octets::<T>(),
        )
    })
}

/// A socket address as the kernel takes it.
enum Name {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl Name {
    fn of(address: SocketAddr) -> Self {
        let family = libc::sa_family_t::try_from(family(address)).unwrap_or(0);
        let port = address.port().to_be();
        match address {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: family,
                sin_port: port,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: family,
                sin6_port: port,
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    fn pointer(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        match self {
            Self::V4(name) => (
                std::ptr::from_ref(name).cast(),
                octets::<libc::sockaddr_in>(),
            ),
            Self::V6(name) => (
                std::ptr::from_ref(name).cast(),
                octets::<libc::sockaddr_in6>(),
            ),
        }
    }

    fn bind(&self, socket: &OwnedFd) -> io::Result<()> {
        let (name, length) = self.pointer();
        // SAFETY: the name is as long as the length says.
        check(unsafe { libc::bind(socket.as_raw_fd(), name, length) })
    }

    fn connect(&self, socket: &OwnedFd) -> io::Result<()> {
        let (name, length) = self.pointer();
        // SAFETY: as above.
        check(unsafe { libc::connect(socket.as_raw_fd(), name, length) })
    }
}

fn family(address: SocketAddr) -> libc::c_int {
    if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

fn octets<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn opened(address: SocketAddr, way: &Way) -> io::Result<UdpSocket> {
        open(Kind::Datagrams, address, way).map(UdpSocket::from)
    }

    #[test]
    fn datagrams_come_from_where_they_were_asked_to() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = Way {
            source: Some([127, 0, 0, 9].into()),
            hop_limit: Some(7),
            dscp: Some(46),
            ..Way::default()
        };
        let socket = opened(address, &way).unwrap();
        assert_eq!(socket.ttl().unwrap(), 7);
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 7);
        socket.send(b"x").unwrap();
        let (_, from) = listener.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 9]));
    }

    #[test]
    fn a_way_that_is_not_there_is_refused() {
        let address = ([127, 0, 0, 1], 9).into();
        let ways = [
            Way {
                source: Some([192, 0, 2, 1].into()),
                ..Way::default()
            },
            Way {
                source: Some([0u16; 8].into()),
                ..Way::default()
            },
            Way {
                device: Some("nosuchif0".to_owned()),
                ..Way::default()
            },
        ];
        for way in ways {
            assert!(opened(address, &way).is_err(), "{way:?}");
        }
        let unicast = opened(
            address,
            &Way {
                hop_limit: Some(0),
                ..Way::default()
            },
        );
        assert!(unicast.unwrap().ttl().unwrap() > 0);
    }
}
