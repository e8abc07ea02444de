//! A capture file's octets, unpacked if it is compressed.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
    sync::{Arc, OnceLock},
};

use flate2::read::MultiGzDecoder;

use super::BUFFER_OCTETS;

/// Why the octets ended, if that is not their end.
pub(super) type Failure = Arc<OnceLock<io::Error>>;

/// Opens a file (`-`: standard input). Whatever goes wrong with reading later ends it, and is kept aside: what came
/// before counts, however little that is.
pub(super) fn open(path: &Path) -> io::Result<(Box<dyn Read + Send>, Failure)> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let failure = Failure::default();
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path)?)
    };
    let mut input = BufReader::with_capacity(BUFFER_OCTETS, Full::new(input, &failure));
    if input.fill_buf()?.starts_with(&GZIP) {
        let unpacked = Full::new(MultiGzDecoder::new(input), &failure);
        return Ok((Box::new(unpacked), failure));
    }
    Ok((Box::new(input), failure))
}

/// Reads until the buffer is full or the input ends: the parser takes a short first read, as from
/// a pipe, for a short file.
struct Full<R> {
    input: R,
    failure: Failure,
}

impl<R> Full<R> {
    fn new(input: R, failure: &Failure) -> Self {
        Self {
            input,
            failure: Arc::clone(failure),
        }
    }
}

impl<R: Read> Read for Full<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && self.failure.get().is_none() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(octets) => filled += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // There was none before.
                    let _ = self.failure.set(error);
                }
            }
        }
        Ok(filled)
    }
}
