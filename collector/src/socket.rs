//! UDP sockets with what the standard library has no word for: a port that several sockets share, both
//! families, large buffers, multicast groups. One of the files that may use `unsafe`.
#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes of C structures, as C types"
)]
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::CString,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd},
    str::FromStr,
};

/// Buffer asked for: some seconds of a busy exporter.
pub const RECEIVE_BUFFER_OCTETS: usize = 32 << 20;

/// A raw socket for packets whose IP header we write ourselves (raw(7), `IPPROTO_RAW`); it never waits.
///
/// # Errors
/// Without `CAP_NET_RAW`, or what else the operating system says.
pub fn raw(is_v6: bool) -> io::Result<UdpSocket> {
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let socket = unsafe { libc::socket(family, kind, libc::IPPROTO_RAW) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(socket) }))
}

/// A multicast group to receive, and the interface to join it on; else where its route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: IpAddr,
    /// The interface's name.
    pub interface: Option<String>,
}

impl FromStr for Join {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (group, interface) = match text.split_once('@') {
            Some((group, interface)) => (group, Some(interface.to_owned())),
            None => (text, None),
        };
        match group.parse::<IpAddr>() {
            Ok(group) if group.is_multicast() => Ok(Self { group, interface }),
            _ => Err(format!(
                "`{group}` is no multicast group: write 239.0.0.1 or ff05::1@eth0"
            )),
        }
    }
}

impl fmt::Display for Join {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.group)?;
        match &self.interface {
            Some(interface) => write!(formatter, " on {interface}"),
            None => Ok(()),
        }
    }
}

/// Opens a socket, or several that share a port: the kernel deals datagrams to them by their addresses
/// and ports. An IPv6 socket takes IPv4 too.
///
/// # Errors
/// What the operating system says.
pub fn open(listen: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let listen = match bind(listen, false) {
        Ok(socket) if count <= 1 => return Ok(vec![socket]),
        // Nobody else has the port: another collector of the same user could share it otherwise, and
        // get half of the datagrams. The port that was chosen for 0 stays chosen.
        Ok(socket) => socket.local_addr()?,
        Err(error) => return Err(error),
    };
    (0..count).map(|_| bind(listen, true)).collect()
}

/// Whether this machine has no IPv6: all of its addresses could not be listened on.
#[must_use]
pub fn is_without_v6(listen: SocketAddr, error: &io::Error) -> bool {
    let is_any = listen.is_ipv6() && listen.ip().is_unspecified();
    let why = error.raw_os_error();
    is_any && matches!(why, Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bind(listen: SocketAddr, is_shared: bool) -> io::Result<UdpSocket> {
    let family = if listen.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let socket = unsafe { libc::socket(family, kind, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(socket) });
    if listen.is_ipv6() {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &0)?;
    }
    if is_shared {
        set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1)?;
    }
    let result = match listen {
        SocketAddr::V4(v4) => bind_to(&socket, &address_v4(v4)),
        SocketAddr::V6(v6) => bind_to(&socket, &address_v6(&v6)),
    };
    result.map(|()| socket)
}

fn address_v4(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: in_addr(*address.ip()),
        sin_zero: [0; 8],
    }
}

fn address_v6(address: &SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr {
            s6_addr: address.ip().octets(),
        },
        sin6_scope_id: address.scope_id(),
    }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: address.to_bits().to_be(),
    }
}

fn bind_to<A>(socket: &UdpSocket, address: &A) -> io::Result<()> {
    // SAFETY: the pointer and length are those of the address, a structure of its family.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(address).cast(),
            size_of::<A>() as libc::socklen_t,
        )
    };
    told(result)
}

/// Has the kernel count what it drops, and buffer as much as it grants: those octets. Root may exceed the
/// system's limit.
///
/// # Errors
/// What the operating system says.
pub fn prepare(socket: &UdpSocket) -> io::Result<usize> {
    let wanted = libc::c_int::try_from(RECEIVE_BUFFER_OCTETS).unwrap_or(libc::c_int::MAX);
    if set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).is_err() {
        set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &wanted)?;
    }
    // A socket gets the groups that any socket of the machine has joined, unless told not to; several
    // that share a port would each get a copy. Older kernels have no word for it in IPv6 (4.20).
    let _ = set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &0);
    let _ = set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, &0);
    receive_buffer(socket)
}

/// Has the kernel ask a peer that was silent for a minute whether it is still there, and end the connection a
/// minute later if nobody answers: one that lost its power or its way says no word of it.
///
/// # Errors
/// What the operating system says.
pub fn keep_alive(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, &60)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, &10)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, &6)
}

/// Joins a multicast group.
///
/// # Errors
/// If there is no such interface, or what the operating system says.
pub fn join(socket: &UdpSocket, join: &Join) -> io::Result<()> {
    let ifindex = match &join.interface {
        Some(name) => ifindex(name)?,
        None => 0,
    };
    match join.group {
        IpAddr::V4(group) => {
            let request = libc::ip_mreqn {
                imr_multiaddr: in_addr(group),
                imr_address: in_addr(Ipv4Addr::UNSPECIFIED),
                imr_ifindex: ifindex.cast_signed(),
            };
            set(socket, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)
        }
        IpAddr::V6(group) => {
            let request = libc::ipv6_mreq {
                ipv6mr_multiaddr: libc::in6_addr {
                    s6_addr: group.octets(),
                },
                ipv6mr_interface: ifindex,
            };
            set(
                socket,
                libc::IPPROTO_IPV6,
                libc::IPV6_ADD_MEMBERSHIP,
                &request,
            )
        }
    }
}

fn ifindex(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a terminated string that outlives the call.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if ifindex == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ifindex)
}

fn set<V>(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &V,
) -> io::Result<()> {
    // SAFETY: the pointer and length are those of `value`, of the type the option wants.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<V>() as libc::socklen_t,
        )
    };
    told(result)
}

fn told(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The buffer's size; the kernel doubles what was asked for, to cover its own overhead.
fn receive_buffer(socket: &UdpSocket) -> io::Result<usize> {
    let octets = get(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
    Ok(usize::try_from(octets).unwrap_or(0) / 2)
}

/// An option that is a number.
pub(crate) fn get(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointers are to a value and its length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    told(result).map(|()| value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn groups_are_read() {
        let join: Join = "239.1.2.3@eth0".parse().unwrap();
        assert_eq!(join.interface.as_deref(), Some("eth0"));
        assert_eq!(join.to_string(), "239.1.2.3 on eth0");
        "ff05::1".parse::<Join>().unwrap();
        for wrong in ["192.0.2.1", "eth0", "", "@lo"] {
            wrong.parse::<Join>().unwrap_err();
        }
    }

    #[test]
    fn several_sockets_share_a_port_and_nobody_else_does() {
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let sockets = open(local, 4).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(
            sockets
                .iter()
                .all(|socket| socket.local_addr().unwrap() == address)
        );
        for count in [1, 2] {
            let error = open(address, count).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        // Exporters with many ports reach more than one of them, each datagram one.
        for _ in 0..64 {
            let exporter = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            exporter.send_to(b"datagram", address).unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        let taken = sockets.iter().map(|socket| {
            let mut buffer = [0; 16];
            std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
        });
        let taken: Vec<_> = taken.collect();
        assert_eq!(taken.iter().sum::<usize>(), 64, "{taken:?}");
        assert!(
            taken.iter().filter(|count| **count > 0).count() > 1,
            "{taken:?}"
        );
    }

    #[test]
    fn a_buffer_is_granted_and_both_families_are_taken() {
        let any = (std::net::Ipv6Addr::UNSPECIFIED, 0).into();
        let socket = open(any, 1).unwrap().remove(0);
        assert!(prepare(&socket).unwrap() > 0);
        let port = socket.local_addr().unwrap().port();
        let exporter = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        exporter
            .send_to(b"v4", (Ipv4Addr::LOCALHOST, port))
            .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 2);
    }

    #[test]
    fn a_group_is_joined_on_both_families_of_a_socket() {
        let any = (std::net::Ipv6Addr::UNSPECIFIED, 0).into();
        let socket = open(any, 1).unwrap().remove(0);
        join(&socket, &"239.1.2.3@lo".parse().unwrap()).unwrap();
        let none = join(&socket, &"239.1.2.3@nosuchif0".parse().unwrap());
        assert_eq!(none.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
