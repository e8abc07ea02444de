//! What an exporter that reads a capture sends.

use std::{
    io,
    net::UdpSocket,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::wire;

/// Longer than a datagram is under way on the loopback.
const IDLE: Duration = Duration::from_millis(200);

/// Runs a program to its end, with `-n` and an address of ours; its output, and the datagrams that came
/// there.
///
/// # Errors
/// If it cannot be started, or there is no socket.
pub fn sent(command: &mut Command) -> io::Result<(Output, Vec<Vec<u8>>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    wire::enlarge_buffer(&socket)?;
    socket.set_read_timeout(Some(IDLE))?;
    command.arg("-n").arg(socket.local_addr()?.to_string());
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let (mut datagrams, mut buffer) = (Vec::new(), vec![0; 65_536]);
            loop {
                match socket.recv(&mut buffer) {
                    Ok(octets) => datagrams.push(buffer[..octets].to_vec()),
                    Err(_) if ended.load(Ordering::Relaxed) => return datagrams,
                    Err(_) => {}
                }
            }
        });
        let output = command.output();
        ended.store(true, Ordering::Relaxed);
        let datagrams = receiving.join().unwrap_or_default();
        output.map(|output| (output, datagrams))
    })
}
