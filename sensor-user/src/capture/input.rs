//! A capture file's octets, unpacked if it is compressed, until it ends or a signal ends it.
#![expect(unsafe_code, reason = "waiting for octets or a signal: a system call")]

use std::{
    ffi::c_int,
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    sync::{Arc, OnceLock},
};

use flate2::read::MultiGzDecoder;

use crate::{
    clock::Now,
    signals::{self, Interrupt},
};

/// What is read ahead of an unpacker. More is asked for at a time by the parser, whose octets then come without a
/// copy in between.
const AHEAD_OCTETS: usize = 1 << 16;
/// How long reading goes on after a signal: whoever writes the pipe may have had the same Ctrl-C, and still writes
/// what it has, as tcpdump does.
const LAST_WORDS_NS: u64 = 500_000_000;
/// How often it is looked whether a signal came, while nothing else does.
const LOOK_MS: c_int = 100;

/// Why the octets ended, if that is not their end.
pub(super) type Failure = Arc<OnceLock<io::Error>>;

/// Opens a file (`-`: standard input). Whatever goes wrong with reading later ends it, and is kept aside: what came
/// before counts, however little that is.
pub(super) fn open(
    path: &Path,
    interrupt: Option<&Interrupt>,
) -> io::Result<(Box<dyn Read + Send>, Failure)> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let failure = Failure::default();
    let input = if path == Path::new("-") {
        // Without the library's buffer, in which octets would wait unseen.
        File::from(io::stdin().as_fd().try_clone_to_owned()?)
    } else {
        File::open(path)?
    };
    // Not before: a signal ends the wait for a named pipe's other end as it ends any program.
    if let Some(interrupt) = interrupt {
        interrupt.listen()?;
    }
    let input = Interruptible {
        input,
        interrupt: interrupt.cloned().unwrap_or_default(),
        until_ns: None,
    };
    let mut input = BufReader::with_capacity(AHEAD_OCTETS, Full::new(input, &failure));
    let start = input.fill_buf()?;
    if start.starts_with(&GZIP) {
        let unpacked = Full::new(MultiGzDecoder::new(input), &failure);
        return Ok((Box::new(unpacked), failure));
    }
    if let Some(program) = compressor(start) {
        return Err(io::Error::other(format!(
            "it is compressed, and not by gzip: unpack it (`{program} -dc`, and `-r -` reads what that writes)"
        )));
    }
    // What was read ahead is less than the parser's first read.
    Ok((Box::new(Full::new(input, &failure)), failure))
}

/// The program that compressed what begins so, of those whose files are not unpacked here.
fn compressor(start: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&str, &[u8]); 4] = [
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("xz", &[0xfd, b'7', b'z', b'X', b'Z', 0]),
        ("bzip2", b"BZh"),
        ("lz4", &[0x04, 0x22, 0x4d, 0x18]),
    ];
    let found = BEGINNINGS
        .iter()
        .find(|(_, octets)| start.starts_with(octets));
    found.map(|(program, _)| *program)
}

/// A file that a signal ends.
struct Interruptible {
    input: File,
    interrupt: Interrupt,
    /// When it is over, once a signal came, by the monotonic clock.
    until_ns: Option<u64>,
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(signal) = self.interrupt.signal() {
                let now_ns = Now::read().monotonic_ns;
                let until_ns = *self.until_ns.get_or_insert(now_ns + LAST_WORDS_NS);
                if now_ns >= until_ns {
                    let name = signals::name(signal);
                    return Err(io::Error::other(format!("{name} ended it")));
                }
            }
            if is_readable(&self.input)? {
                return self.input.read(buffer);
            }
        }
    }
}

/// Whether reading does not wait, after waiting for that a little.
fn is_readable(input: &File) -> io::Result<bool> {
    let mut asked = libc::pollfd {
        fd: input.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one element, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut asked, 1, LOOK_MS) };
    if ready >= 0 {
        return Ok(ready > 0);
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        error => Err(error),
    }
}

/// Reads until the buffer is full or the input ends: the parser takes a short first read, as from
/// a pipe, for a short file.
struct Full<R> {
    input: R,
    failure: Failure,
    /// Whether it failed. Another one's failure ends this one when it has had all that the other read before.
    is_over: bool,
}

impl<R> Full<R> {
    fn new(input: R, failure: &Failure) -> Self {
        Self {
            input,
            failure: Arc::clone(failure),
            is_over: false,
        }
    }
}

impl<R: Read> Read for Full<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && !self.is_over {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(octets) => filled += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_over = true;
                    // An unpacker's is that of the file it reads, if there was one.
                    let _ = self.failure.set(error);
                }
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails after its octets.
    struct Failing(&'static [u8]);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("gone")),
                octets => Ok(octets),
            }
        }
    }

    /// A signal is such a failure: the first seconds of a quiet link are all in what was read ahead.
    #[test]
    fn what_was_read_ahead_of_a_failure_is_not_lost() {
        let failure = Failure::default();
        let mut ahead = BufReader::new(Full::new(Failing(b"read ahead"), &failure));
        ahead.fill_buf().unwrap();
        assert!(failure.get().is_some());
        let mut octets = Vec::new();
        let mut input = Full::new(ahead, &failure);
        input.read_to_end(&mut octets).unwrap();
        assert_eq!(octets, b"read ahead");
    }
}
