//! One connection: a line comes in, an answer goes out, and it is over. All of it is bounded: the
//! line, what waits to be sent, and the time that a client may take for either.

use std::io::{self, Read, Write};

use weir_service::control::LINE_OCTETS_MAX;

use super::{
    answer::{Answer, Facts},
    command::{Command, HELP},
    order::{Order, Report},
    task::Task,
    view::View,
};
use crate::clock::Now;

/// While so much waits to be sent, no more of an answer is made.
const OUTPUT_OCTETS_MAX: usize = 64 << 10;

const SECOND_NS: u64 = 1_000_000_000;
/// Time for the request.
const REQUEST_NS: u64 = 5 * SECOND_NS;
/// Time for the loop's report: while an export is slow the loop waits for it.
const REPORT_NS: u64 = 60 * SECOND_NS;
/// Time for the next octet to be taken.
const TAKE_NS: u64 = 30 * SECOND_NS;
/// Time for everything.
const ALL_NS: u64 = 600 * SECOND_NS;

/// A client.
pub struct Client<S> {
    stream: S,
    state: State,
    /// What came in so far.
    input: Vec<u8>,
    /// What is to be sent, and how much of it was.
    output: String,
    sent: usize,
    /// When patience with what it is at now is at its end, by the monotonic clock.
    deadline_ns: u64,
    /// When it is in any case.
    ends_ns: u64,
}

enum State {
    /// Its line is not complete.
    Asking,
    /// The loop has been asked.
    Waiting(Command),
    /// An answer is being made.
    Making(Box<dyn Task>),
    /// All of the answer was made.
    Made,
}

/// What a client needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The loop's report on this.
    Ask(Order),
    /// Another turn, soon.
    Turn,
    /// Something from outside: its octets, room for ours, a report.
    Event,
    /// Nothing: it is served, or gone.
    Nothing,
}

impl<S: Read + Write> Client<S> {
    /// Someone who just connected through a stream that does not block.
    #[must_use]
    pub fn new(stream: S, now: &Now) -> Self {
        Self {
            stream,
            state: State::Asking,
            input: Vec::new(),
            output: String::new(),
            sent: 0,
            deadline_ns: now.monotonic_ns + REQUEST_NS,
            ends_ns: now.monotonic_ns + ALL_NS,
        }
    }

    /// Whether it has not said yet what it wants.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking)
    }

    /// When it will be given up.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns.min(self.ends_ns)
    }

    /// Goes on as far as can be without waiting.
    pub fn turn(&mut self, view: &View, now: &Now) -> Next {
        if now.monotonic_ns >= self.deadline_ns() {
            return Next::Nothing;
        }
        if self.is_asking() {
            match self.read_line() {
                Ok(None) => return Next::Event,
                Ok(Some(line)) => {
                    if let Some(order) = self.begin(&line, now) {
                        return Next::Ask(order);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.state = State::Made;
                    self.output = format!("Refused: longer than {LINE_OCTETS_MAX} octets\n");
                }
                Err(_) => return Next::Nothing,
            }
        }
        self.make(view, now);
        if self.write(now).is_err() {
            return Next::Nothing;
        }
        match &self.state {
            State::Made if self.output.is_empty() => Next::Nothing,
            State::Making(_) if self.output.len() < OUTPUT_OCTETS_MAX => Next::Turn,
            _ => Next::Event,
        }
    }

    /// Takes the loop's report.
    pub fn take(&mut self, report: Report, facts: Facts, now: &Now) {
        self.deadline_ns = now.monotonic_ns + TAKE_NS;
        match std::mem::replace(&mut self.state, State::Made) {
            State::Waiting(command) => match Answer::of(command, report, facts) {
                Answer::Text(text) => self.output.push_str(&text),
                Answer::Task(task) => self.state = State::Making(task),
            },
            other => self.state = other,
        }
    }

    /// A whole line, or what there is when there will be no more. Of one that is too long nothing is understood: what
    /// came of it may be another request.
    fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut buffer = [0; 256];
        loop {
            let end = self.input.iter().position(|octet| *octet == b'\n');
            if end.unwrap_or(self.input.len()) > LINE_OCTETS_MAX {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            if let Some(end) = end {
                let line = String::from_utf8_lossy(&self.input[..end]);
                return Ok(Some(line.into_owned()));
            }
            match self.stream.read(&mut buffer) {
                // softflowd, too, is content with a line that ends with the connection's half.
                Ok(0) if !self.input.is_empty() => self.input.push(b'\n'),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(octets) => self.input.extend_from_slice(&buffer[..octets]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Understands the line; what the loop is to be asked, if anything.
    fn begin(&mut self, line: &str, now: &Now) -> Option<Order> {
        self.deadline_ns = now.monotonic_ns + REPORT_NS;
        self.state = State::Made;
        match Command::parse(line) {
            Err(answer) => self.output.push_str(&answer),
            Ok(command) => match command.order() {
                None => self.output.push_str(HELP),
                Some(order) => {
                    self.state = State::Waiting(command);
                    return Some(order);
                }
            },
        }
        None
    }

    /// Makes a little more of the answer, if there is room for it.
    fn make(&mut self, view: &View, now: &Now) {
        if let State::Making(task) = &mut self.state
            && self.output.len() < OUTPUT_OCTETS_MAX
            && !task.step(view, now, &mut self.output)
        {
            self.state = State::Made;
        }
    }

    /// Sends what there is, as far as it is taken.
    fn write(&mut self, now: &Now) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output.as_bytes()[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(octets) => {
                    self.sent += octets;
                    self.deadline_ns = now.monotonic_ns + TAKE_NS;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        // A client that reads nothing of an answer in the making has its time run; one whose answer
        // is slow in coming has not.
        if matches!(self.state, State::Making(_)) {
            self.deadline_ns = now.monotonic_ns + TAKE_NS;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        flows::tests::outlook,
        view::tests::{Packet, at, view},
    };

    /// The far end of a connection.
    #[derive(Default)]
    struct Wire {
        /// Octets that come, in pieces; then nothing for now, or the end.
        pieces: Vec<&'static [u8]>,
        ends: bool,
        /// Octets that are taken, and how many more will be.
        taken: Vec<u8>,
        room: usize,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.pieces.is_empty() {
                return if self.ends {
                    Ok(0)
                } else {
                    Err(io::ErrorKind::WouldBlock.into())
                };
            }
            let piece = self.pieces.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    impl Write for Wire {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let octets = &octets[..octets.len().min(self.room)];
            self.taken.extend_from_slice(octets);
            self.room -= octets.len();
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FACTS: Facts = Facts {
        pid: 1,
        started_unix_ns: 0,
    };

    fn client(pieces: &[&'static [u8]], ends: bool, room: usize) -> Client<Wire> {
        let wire = Wire {
            pieces: pieces.to_vec(),
            ends,
            room,
            ..Wire::default()
        };
        Client::new(wire, &at(0))
    }

    fn text(client: &Client<Wire>) -> String {
        String::from_utf8(client.stream.taken.clone()).unwrap()
    }

    #[test]
    fn a_line_may_come_in_pieces_and_the_rest_is_not_read() {
        let view = view(&[]);
        let mut client = client(&[b"shut", b"down\nexit\n"], false, 1000);
        assert_eq!(client.turn(&view, &at(0)), Next::Ask(Order::Shutdown));
        assert_eq!(client.turn(&view, &at(1)), Next::Event);
        client.take(Report::Done, FACTS, &at(2));
        assert_eq!(client.turn(&view, &at(3)), Next::Nothing);
        assert_eq!(text(&client), "softflowd[1]: Shutting down gracefully...\n");
    }

    #[test]
    fn a_line_that_ends_with_the_connection_counts() {
        let view = view(&[]);
        let mut client = client(&[b"help"], true, 1000);
        assert_eq!(client.turn(&view, &at(0)), Next::Nothing);
        assert_eq!(text(&client), HELP);
    }

    #[test]
    fn silence_and_garbage_are_over_in_time() {
        let view = view(&[]);
        let mut silent = client(&[], false, 1000);
        assert_eq!(silent.turn(&view, &at(4999)), Next::Event);
        assert_eq!(silent.turn(&view, &at(5000)), Next::Nothing);
        let mut gone = client(&[], true, 1000);
        assert_eq!(gone.turn(&view, &at(0)), Next::Nothing);
        let mut babbling = client(&[&[b'x'; 256], b"\n"], false, 1000);
        assert_eq!(babbling.turn(&view, &at(0)), Next::Nothing);
        let expected = format!("Unknown control command \"{}\"\n", "x".repeat(63));
        assert_eq!(text(&babbling), expected);
        // What comes first of it might be a request by itself.
        let mut too_long = vec![&b"statistics "[..]];
        too_long.extend([&[b' '; 256][..]; 16]);
        let mut too_long = client(&too_long, false, 1000);
        assert_eq!(too_long.turn(&view, &at(0)), Next::Nothing);
        assert_eq!(text(&too_long), "Refused: longer than 4096 octets\n");
        let mut binary = client(&[b"\xff\x00\n"], false, 1000);
        assert_eq!(binary.turn(&view, &at(0)), Next::Nothing);
        assert_eq!(text(&binary), "Unknown control command \"\u{fffd}?\"\n");
    }

    #[test]
    fn a_slow_reader_waits_alone_and_not_for_ever() {
        let packets: Vec<_> = (0..200)
            .map(|n| Packet([n, 250], [1, 2], 17, 0, 100, 0))
            .collect();
        let view = view(&packets);
        let mut client = client(&[b"dump-flows\n"], false, 100);
        assert_eq!(client.turn(&view, &at(0)), Next::Ask(Order::Outlook));
        client.take(Report::Outlook(Box::new(outlook())), FACTS, &at(0));
        let mut turns = 0;
        while client.turn(&view, &at(0)) == Next::Turn {
            turns += 1;
            assert!(turns < 1000 && client.output.len() < 2 * OUTPUT_OCTETS_MAX);
        }
        assert_eq!(client.stream.taken.len(), 100);
        // It takes a little more, and has its time again from then on.
        client.stream.room = 1;
        assert_eq!(client.turn(&view, &at(29_000)), Next::Event);
        assert_eq!(client.turn(&view, &at(58_000)), Next::Event);
        assert_eq!(client.turn(&view, &at(59_000)), Next::Nothing);
    }

    #[test]
    fn a_whole_answer_arrives() {
        let packets: Vec<_> = (0..200)
            .map(|n| Packet([n, 250], [1, 2], 17, 0, 100, 0))
            .collect();
        let view = view(&packets);
        let mut client = client(&[b"dump-flows\n"], false, usize::MAX);
        assert_eq!(client.turn(&view, &at(0)), Next::Ask(Order::Outlook));
        client.take(Report::Outlook(Box::new(outlook())), FACTS, &at(0));
        while client.turn(&view, &at(0)) != Next::Nothing {}
        assert_eq!(text(&client).matches("ACTIVE ").count(), 200);
    }
}
