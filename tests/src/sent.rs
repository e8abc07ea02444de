//! What an exporter sends to sockets of ours, and over TCP.

use std::{
    io,
    net::UdpSocket,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::wire;

/// Longer than a datagram is under way on the loopback: what has sent it has ended by then.
const IDLE: Duration = Duration::from_millis(50);
/// Octets of IPFIX's message header (RFC 7011 section 3.1).
const MESSAGE_HEADER_OCTETS: usize = 16;

/// Datagrams, or messages of a stream, in the order they came.
pub type Datagrams = Vec<Vec<u8>>;

/// A socket at an address of this machine, with room for all that comes while its reader is kept from its CPU.
///
/// # Errors
/// What the operating system says.
pub fn listen(address: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    wire::enlarge_buffer(&socket)?;
    socket.set_read_timeout(Some(IDLE))?;
    Ok(socket)
}

/// What comes to a socket until sending has ended and nothing is under way any more: until a read of it times out.
#[must_use]
pub fn receive(socket: &UdpSocket, has_ended: &AtomicBool) -> Datagrams {
    let (mut datagrams, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        match socket.recv(&mut buffer) {
            Ok(octets) => datagrams.push(buffer[..octets].to_vec()),
            Err(_) if has_ended.load(Ordering::Relaxed) => return datagrams,
            Err(_) => {}
        }
    }
}

/// Ends receiving when it is dropped: also when the sender panics, whose threads would be waited for for ever.
struct Sending<'a>(&'a AtomicBool);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What comes to each of the sockets while something is done, and what that came to.
#[must_use]
pub fn received<R>(sockets: &[UdpSocket], work: impl FnOnce() -> R) -> (Vec<Datagrams>, R) {
    let has_ended = &AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(move || receive(socket, has_ended)))
            .collect();
        let sending = Sending(has_ended);
        let done = work();
        drop(sending);
        let datagrams = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default());
        (datagrams.collect(), done)
    })
}

/// Runs a program to its end, with `-n` and an address of ours; its output, and the datagrams that came
/// there.
///
/// # Errors
/// If it cannot be started, or there is no socket.
pub fn sent(command: &mut Command) -> io::Result<(Output, Datagrams)> {
    let socket = listen("127.0.0.1:0")?;
    command.arg("-n").arg(socket.local_addr()?.to_string());
    let (mut datagrams, output) = received(&[socket], || command.output());
    Ok((output?, datagrams.pop().unwrap_or_default()))
}

/// IPFIX's messages in what came over TCP, by their lengths (RFC 7011 section 10.4); `None` if the last one is
/// not whole.
#[must_use]
pub fn messages(stream: &[u8]) -> Option<Datagrams> {
    let (mut rest, mut messages) = (stream, Vec::new());
    while let [_, _, high, low, ..] = *rest {
        let octets = usize::from(u16::from_be_bytes([high, low]));
        let (message, behind) = rest.split_at_checked(octets.max(MESSAGE_HEADER_OCTETS))?;
        messages.push(message.to_vec());
        rest = behind;
    }
    rest.is_empty().then_some(messages)
}
