//! Standard error to syslog, a line a message, where there is no terminal any more. A syslog that
//! does not read loses messages; it delays nothing.

use std::{
    io::{self, BufRead, BufReader, PipeWriter},
    os::unix::net::UnixDatagram,
    thread::{self, JoinHandle},
};

const SOCKET: &str = "/dev/log";
/// Facility daemon, severity notice (RFC 3164 section 4.1.1).
const PRIORITY: u8 = 3 * 8 + 5;

/// Starts a thread that forwards what is written into the pipe, until its last writer is gone. Lines begin
/// with the name of one of the `programs`, which syslog puts before them itself.
///
/// # Errors
/// If there is no pipe or no thread to be had.
pub fn start(
    name: &'static str,
    programs: &'static [&'static str],
) -> io::Result<(PipeWriter, JoinHandle<()>)> {
    let (reader, writer) = io::pipe()?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let thread = thread::Builder::new()
        .name("syslog".to_owned())
        .spawn(move || {
            forward(BufReader::new(reader), |line| {
                let _ = socket.send_to(message(name, programs, line).as_bytes(), SOCKET);
            });
        })?;
    Ok((writer, thread))
}

fn forward(mut reader: impl BufRead, mut send: impl FnMut(&str)) {
    let mut line = Vec::new();
    // Octets that are no text must not end it: nobody would read standard error then.
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|octets| octets > 0)
    {
        let text = String::from_utf8_lossy(&line);
        if !text.trim_end().is_empty() {
            send(text.trim_end());
        }
        line.clear();
    }
}

fn message(name: &str, programs: &[&str], line: &str) -> String {
    let mut programs = programs.iter();
    let line = programs
        .find_map(|program| line.strip_prefix(*program)?.strip_prefix(": "))
        .unwrap_or(line);
    format!("<{PRIORITY}>{name}[{}]: {line}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_messages() {
        let said = b"weir-sensor: metering eth0\n\nPackets seen  7\n\xff\nend";
        let mut sent = Vec::new();
        forward(&said[..], |line| sent.push(line.to_owned()));
        assert_eq!(
            sent,
            [
                "weir-sensor: metering eth0",
                "Packets seen  7",
                "\u{fffd}",
                "end"
            ]
        );
        let message = message("softflowd", &["softflowd", "weir-sensor"], &sent[0]);
        assert!(message.starts_with("<29>softflowd[") && message.ends_with("]: metering eth0"));
    }
}
