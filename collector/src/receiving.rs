//! A receiving thread: datagrams from its socket, through the exporters' state, to the writer.

use std::{
    io,
    net::Ipv6Addr,
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use crossbeam::channel::Sender;
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use weir_netflow::record::display_address;

use crate::{
    clock,
    exporters::{Refused, Source},
    gathered::{Gathered, WAIT_MAX},
    keeping::Sink,
    loss::Step,
    onward::Onward,
    receive::Receiver,
    repeat::Datagrams,
    shards::Shards,
    talk::{Kind, Talk, left_out},
    writer::Message,
};

const TOLD: Token = Token(0);
const SOCKET: Token = Token(1);
/// Batches taken before it is looked whether the end was told.
const TURN_MAX: usize = 64;
/// How long it waits for datagrams before it shows that it is there.
const IDLE: Duration = Duration::from_millis(500);
/// Turns taken to empty the socket's buffer at the end.
const LAST_TURNS_MAX: usize = 64;
/// Times in a row that receiving may fail: an error that stays is the end.
const FAILURES_MAX: u64 = 64;
/// A gap from this many units on is worth a line.
const GAP_TOLD_MIN: u64 = 10_000;

/// What the receiving threads share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The exporters.
    pub shards: Arc<Shards>,
    /// Where flows go.
    pub writer: Sender<Message>,
    /// What else is done with what comes.
    pub onward: Arc<Onward>,
    /// What may be said.
    pub talk: Arc<Mutex<Talk>>,
}

impl Common {
    /// Takes a datagram or message; its flows go to `sink`. What is wrong with it is said, within limits. False if
    /// nothing more will be taken of its connection.
    pub fn take(
        &self,
        octets: &[u8],
        source: &Source,
        received_ns: u64,
        sink: &mut impl Sink,
    ) -> bool {
        let result = self.shards.datagram(octets, source, received_ns, sink);
        let goes_on = !matches!(result, Err(Refused::Forgotten));
        match result {
            Ok(Some(Step::Restart)) => {
                self.say(source, Kind::Restarted, received_ns, || {
                    "the exporter restarted, or somebody sends in its name".to_owned()
                });
            }
            Ok(Some(Step::Gap(units))) if units >= GAP_TOLD_MIN => {
                self.say(source, Kind::Gap, received_ns, || {
                    format!("{units} of what it sent did not arrive")
                });
            }
            Ok(_) => {}
            Err(error) => self.say_refused(source, &error, received_ns),
        }
        goes_on
    }

    fn say_refused(&self, source: &Source, error: &Refused, received_ns: u64) {
        self.say(source, Kind::Refused, received_ns, || error.to_string());
    }

    /// Says something about an exporter, if it may be said.
    pub fn say(&self, source: &Source, kind: Kind, now_ns: u64, what: impl FnOnce() -> String) {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = talk.may_say(source.address, kind, now_ns) else {
            return;
        };
        drop(talk);
        let whose = match kind {
            Kind::Own => String::new(),
            _ => format!("{}: ", display_address(source.address)),
        };
        let (what, before) = (what(), left_out(before));
        eprintln!("weir-collector: {whose}{what}{before}");
    }

    /// Says something of the collector's own troubles, likewise.
    pub fn say_own(&self, now_ns: u64, what: impl FnOnce() -> String) {
        let own = Source {
            address: Ipv6Addr::UNSPECIFIED,
            port: 0,
            session: 0,
        };
        self.say(&own, Kind::Own, now_ns, what);
    }
}

/// How far a receiving thread is.
#[derive(Debug, Default)]
pub struct Progress {
    turns: AtomicU64,
    kernel_drops: AtomicU64,
}

impl Progress {
    /// Turns it has taken: some each second while it lives and what it received can be given on.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Datagrams the kernel dropped before it, so far.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.kernel_drops.load(Ordering::Relaxed)
    }
}

/// A receiving thread's near end.
#[derive(Debug)]
pub struct Receiving {
    waker: Waker,
    progress: Arc<Progress>,
    thread: thread::JoinHandle<Result<u64>>,
}

impl Receiving {
    /// Starts it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(receiver: Receiver, common: Common, number: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), TOLD)?;
        let socket = receiver.socket().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&socket), SOCKET, Interest::READABLE)?;
        let progress: Arc<Progress> = Arc::default();
        let work = Work {
            receiver,
            common,
            progress: Arc::clone(&progress),
            gathered: Gathered::default(),
            failures: 0,
        };
        let thread = thread::Builder::new()
            .name(format!("receive-{number}"))
            .spawn(move || work.run(poll))?;
        Ok(Self {
            waker,
            progress,
            thread,
        })
    }

    /// Whether it ended before it was told to.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.thread.is_finished()
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Has it take what is in the socket's buffer, and end; how many datagrams the kernel dropped.
    ///
    /// # Errors
    /// Why it ended before.
    pub fn finish(self) -> Result<u64> {
        self.waker.wake()?;
        self.thread.join().map_err(|_| {
            anyhow!("a receiving thread died: its last words are above, please report them")
        })?
    }
}

struct Work {
    receiver: Receiver,
    common: Common,
    progress: Arc<Progress>,
    /// Flows that the writer has not got yet.
    gathered: Gathered,
    /// Times that receiving has failed since it last did not.
    failures: u64,
}

impl Work {
    fn run(mut self, poll: Poll) -> Result<u64> {
        let ended = self.until_told(poll);
        // What was received before it ended, however it did, has been received.
        self.gathered.hand_over(&self.common)?;
        ended
    }

    fn until_told(&mut self, mut poll: Poll) -> Result<u64> {
        let mut events = Events::with_capacity(4);
        let mut more = false;
        loop {
            let wait = match (more, self.gathered.is_empty()) {
                (true, _) => Duration::ZERO,
                (false, false) => WAIT_MAX,
                (false, true) => IDLE,
            };
            match poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            let told = events.iter().any(|event| event.token() == TOLD);
            more = self.turn()?;
            self.progress.turns.fetch_add(1, Ordering::Relaxed);
            self.receiver.count_drops();
            let dropped = self.receiver.kernel_drops;
            self.progress.kernel_drops.store(dropped, Ordering::Relaxed);
            if told {
                // What is in the socket's buffer has reached us; what comes after has not.
                for _ in 0..LAST_TURNS_MAX {
                    if !self.turn()? {
                        break;
                    }
                }
                self.receiver.count_drops();
                return Ok(self.receiver.kernel_drops);
            }
        }
    }

    /// Takes what is there; true if there may be more.
    fn turn(&mut self) -> Result<bool> {
        let Self {
            receiver,
            common,
            gathered,
            failures,
            ..
        } = self;
        for _ in 0..TURN_MAX {
            let received_ns = clock::received_ns();
            let mut datagrams = Datagrams::default();
            let repeats = common.onward.repeats();
            let taken = receiver.receive(|octets, source| {
                // Of exporters that are not allowed nothing goes on.
                if repeats && common.shards.of(source.address).allows(source.address) {
                    datagrams.push(octets, &source);
                }
                gathered.take(octets, &source, received_ns, common);
            });
            common.onward.repeat(datagrams);
            let taken = match taken {
                Ok(taken) => taken,
                Err(error) => {
                    // What was received before has been received, and what waits in the buffer still does.
                    *failures += 1;
                    if *failures > FAILURES_MAX {
                        return Err(error).context("receiving");
                    }
                    common.shards.count(|counted| counted.receive_errors += 1);
                    common.say_own(received_ns, || {
                        format!("receiving failed, and is tried again: {error}")
                    });
                    return Ok(true);
                }
            };
            *failures = 0;
            if gathered.is_due(received_ns) {
                gathered.hand_over(common)?;
            }
            if taken == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener, UdpSocket},
        os::fd::OwnedFd,
    };

    use crossbeam::channel::{Receiver as Messages, unbounded};
    use weir_netflow::{ExportTime, FlowRecord, Sampling, v5};

    use super::*;
    use crate::exporters::Settings;

    fn work(socket: UdpSocket) -> (Work, Messages<Message>) {
        let (writer, messages) = unbounded();
        let common = Common {
            shards: Arc::new(Shards::new(&Settings::default(), 1)),
            writer,
            onward: Arc::default(),
            talk: Arc::default(),
        };
        let work = Work {
            receiver: Receiver::new(socket),
            common,
            progress: Arc::default(),
            gathered: Gathered::default(),
            failures: 0,
        };
        (work, messages)
    }

    /// A datagram of one flow.
    fn datagram(sequence: u32) -> Vec<u8> {
        let time = ExportTime {
            unix_ns: 1_795_237_200_000_000_000,
            uptime_ms: 100_000,
        };
        let header = v5::Header {
            count: 1,
            time,
            sequence,
            engine_type: 0,
            engine_id: 0,
            sampling: Sampling::NONE,
        };
        let mut octets = v5::encode_header(&header).to_vec();
        v5::encode_record(&mut octets, &FlowRecord::default(), &time);
        octets
    }

    /// The kernel tells a connected socket that nobody listens where it sent something, before it gives what
    /// waits in its buffer.
    #[test]
    fn an_error_of_a_socket_is_counted_and_costs_nothing_that_waits_behind_it() {
        let local = (Ipv4Addr::LOCALHOST, 0);
        let (socket, exporter) = (UdpSocket::bind(local).unwrap(), UdpSocket::bind(local));
        let theirs = exporter.unwrap().local_addr().unwrap();
        // Nobody has that port now.
        socket.connect(theirs).unwrap();
        let ours = socket.local_addr().unwrap();
        socket.send(b"to nobody").unwrap();
        let exporter = UdpSocket::bind(theirs).unwrap();
        for sequence in 0..3 {
            exporter.send_to(&datagram(sequence), ours).unwrap();
        }
        let (mut work, messages) = work(socket);
        assert!(work.turn().unwrap(), "there may be more");
        let counted = work.common.shards.statistics();
        assert_eq!((counted.receive_errors, counted.datagrams), (1, 0));
        assert!(!work.turn().unwrap());
        let counted = work.common.shards.statistics();
        assert_eq!((counted.receive_errors, counted.datagrams), (1, 3));
        work.gathered.hand_over(&work.common).unwrap();
        let Ok(Message::Rows(flows)) = messages.try_recv() else {
            panic!("no flows came");
        };
        assert_eq!((flows.num_rows(), work.failures), (3, 0));
    }

    #[test]
    fn an_error_that_stays_is_the_end() {
        // Nothing is received from what only listens.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (mut work, _messages) = work(OwnedFd::from(listener).into());
        for _ in 0..FAILURES_MAX {
            assert!(work.turn().unwrap());
        }
        let error = format!("{:#}", work.turn().unwrap_err());
        assert!(error.starts_with("receiving: "), "{error}");
        let counted = work.common.shards.statistics();
        assert_eq!(counted.receive_errors, FAILURES_MAX);
    }
}
