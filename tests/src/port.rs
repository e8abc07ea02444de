//! Ports that nobody has, for programs that are told theirs.

use std::{
    io,
    net::{Ipv6Addr, TcpListener, UdpSocket},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below those from which Linux gives a socket one that names none (`ip_local_port_range` begins at 32,768): of those
/// a connection of anybody's may have taken any, a moment later.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A port of UDP and TCP that nobody has at any address, another at each call.
///
/// # Errors
/// If a socket cannot be opened for another reason, or all ports are taken.
pub fn free() -> io::Result<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    // Programs that run side by side begin at places of their own.
    let begin = process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(asked) % COUNT;
        let port = u16::try_from(port).map_err(io::Error::other)?;
        let address = (Ipv6Addr::UNSPECIFIED, port);
        let tried = UdpSocket::bind(address).and_then(|_| TcpListener::bind(address));
        match tried {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            tried => return tried.map(|_| port),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
