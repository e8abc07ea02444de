//! IPFIX over TCP is a stream of messages, each with its length in its header (RFC 7011 section 10.4.2).
//! This finds where they begin and end; it reads nothing else of them.

/// IPFIX's version, and the octets of its header.
const VERSION: [u8; 2] = [0, 10];
const HEADER_OCTETS: usize = 16;
/// Octets that say where a message ends.
const PREFIX_OCTETS: usize = 4;

/// What came is no message. Where the next one would begin nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message begins with version {version} and length {length}")]
pub struct OutOfStep {
    /// Instead of 10.
    pub version: u16,
    /// Its length field.
    pub length: u16,
}

/// A stream, and the part of a message that has arrived: 65,535 octets at most, and what was read at once.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: Vec<u8>,
}

impl Framing {
    /// Takes octets of the stream; `message` gets each message that is whole.
    ///
    /// # Errors
    /// If what came is no message; messages before it were given.
    pub fn take(&mut self, octets: &[u8], mut message: impl FnMut(&[u8])) -> Result<(), OutOfStep> {
        self.buffer.extend_from_slice(octets);
        let mut rest = &self.buffer[..];
        let result = loop {
            let Some(prefix) = rest.first_chunk::<PREFIX_OCTETS>() else {
                break Ok(());
            };
            let [v0, v1, l0, l1] = *prefix;
            let length = u16::from_be_bytes([l0, l1]);
            if [v0, v1] != VERSION || usize::from(length) < HEADER_OCTETS {
                break Err(OutOfStep {
                    version: u16::from_be_bytes([v0, v1]),
                    length,
                });
            }
            let Some((whole, after)) = rest.split_at_checked(usize::from(length)) else {
                break Ok(());
            };
            message(whole);
            rest = after;
        };
        let taken = self.buffer.len() - rest.len();
        self.buffer.drain(..taken);
        result
    }

    /// Octets of a message that is not whole.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use weir_tests::traffic::Random;

    use super::*;

    fn message(octets: usize, fill: u8) -> Vec<u8> {
        let mut message = vec![fill; octets];
        message[..2].copy_from_slice(&VERSION);
        message[2..4].copy_from_slice(&u16::try_from(octets).unwrap().to_be_bytes());
        message
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let sizes = [16, 17, 1400, 65_535, 16, 300];
        let messages: Vec<_> = (0..)
            .zip(sizes)
            .map(|(fill, size)| message(size, fill))
            .collect();
        let stream = messages.concat();
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let piece_max = [1, 3, 100, 70_000][usize::try_from(seed % 4).unwrap()];
            let (mut framing, mut found) = (Framing::default(), Vec::new());
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let piece = usize::try_from(1 + random.below(piece_max)).unwrap();
                let (now, after) = rest.split_at(piece.min(rest.len()));
                framing
                    .take(now, |message| found.push(message.to_vec()))
                    .unwrap();
                assert!(framing.pending() <= 65_535);
                rest = after;
            }
            assert!(found == messages, "seed {seed}");
            assert_eq!(framing.pending(), 0);
        }
    }

    #[test]
    fn c03_what_is_no_message_ends_the_stream() {
        for (octets, version, length) in [
            ([0, 9, 0, 20], 9, 20),
            ([0, 10, 0, 0], 10, 0),
            ([0, 10, 0, 15], 10, 15),
            (*b"GET ", 0x4745, 0x5420),
        ] {
            let mut framing = Framing::default();
            let mut found = 0;
            let stream = [&message(20, 1)[..], &octets].concat();
            let result = framing.take(&stream, |_| found += 1);
            assert_eq!((found, result), (1, Err(OutOfStep { version, length })));
        }
    }
}
