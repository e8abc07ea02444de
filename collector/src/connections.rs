//! IPFIX over TCP: connections, a bounded number of them, each read as far as it is this turn's.

use std::{
    io::{self, Read as _},
    mem,
    net::SocketAddr,
    time::Duration,
};

use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};
use weir_netflow::record::mapped_address;

use crate::{
    exporters::Source,
    framing::{Framing, OutOfStep},
    socket,
};

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 256;
/// One that was silent for so long makes room for another, if there is no other room; nanoseconds.
const IDLE_MIN_NS: u64 = 600_000_000_000;
/// Octets read at once, and how often in a turn: others want to be heard too.
const READ_OCTETS: usize = 1 << 16;
const READS_MAX: usize = 16;
/// Wait for what cannot be waited for: room for a descriptor.
const RETRY: Duration = Duration::from_millis(200);

/// What became of a connection that waited.
#[derive(Debug)]
pub enum Accepted {
    /// It is read from now on; perhaps in the place of one that was silent for long.
    Taken(Option<Gone>),
    /// There are too many, or its exporter is not allowed.
    Refused(Source),
    /// The operating system refused it.
    Failed(io::Error),
}

/// A connection that is no more.
#[derive(Debug)]
pub struct Gone {
    /// Whose it was.
    pub source: Source,
    /// Why.
    pub ended: Ended,
    /// Octets that came and are no whole message.
    pub octets_left: usize,
}

/// Why a connection is no more.
#[derive(Debug)]
pub enum Ended {
    /// The exporter closed it, or the collector ends.
    Closed,
    /// It was silent for long, and another one wanted its place.
    Idle,
    /// Its templates are not known any more.
    Forgotten,
    /// What came is no message.
    Broken(OutOfStep),
    /// The operating system says so.
    Failed(io::Error),
}

struct Connection {
    stream: TcpStream,
    source: Source,
    framing: Framing,
    /// When something came last, nanoseconds since 1970-01-01 UTC.
    heard_ns: u64,
    /// There may be more to read: the poll tells only when something new has come.
    is_ready: bool,
}

/// The listener and its connections.
pub struct Connections {
    listener: TcpListener,
    listener_token: Token,
    /// Connections by place; the first one's token is the one after the listener's.
    places: Vec<Option<Connection>>,
    is_ready: bool,
    /// One could not be accepted: it waits still, and the poll does not tell of it again.
    has_failed: bool,
    sessions: u64,
    buffer: Vec<u8>,
}

impl Connections {
    /// Listens; the listener has this token, and connections those after it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn listen(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut listener = TcpListener::bind(address)?;
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self {
            listener,
            listener_token: token,
            places: Vec::new(),
            is_ready: false,
            has_failed: false,
            sessions: 0,
            buffer: vec![0; READ_OCTETS],
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The poll says that something came.
    pub fn ready(&mut self, token: Token) {
        if token == self.listener_token {
            self.is_ready = true;
        }
        let Some(place) = token.0.checked_sub(self.listener_token.0 + 1) else {
            return;
        };
        if let Some(Some(connection)) = self.places.get_mut(place) {
            connection.is_ready = true;
        }
    }

    /// Whether there may be more to read.
    #[must_use]
    pub fn is_any_ready(&self) -> bool {
        let mut open = self.places.iter().flatten();
        self.is_ready || open.any(|connection| connection.is_ready)
    }

    /// How long nothing has to be done unless the poll says so; `None` for ever.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        if self.is_any_ready() {
            return Some(Duration::ZERO);
        }
        self.has_failed.then_some(RETRY)
    }

    /// Accepts those that wait, if `allows` lets them in and there is room; `each` is told what became of
    /// each.
    pub fn accept(
        &mut self,
        registry: &Registry,
        now_ns: u64,
        allows: impl Fn(&Source) -> bool,
        mut each: impl FnMut(Accepted),
    ) {
        let may_wait = mem::take(&mut self.is_ready) | mem::take(&mut self.has_failed);
        if !may_wait {
            return;
        }
        for _ in 0..CONNECTIONS_MAX {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                // One that was gone before it was accepted is no trouble of ours.
                Err(error) if is_of_the_peer(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.has_failed = true;
                    return each(Accepted::Failed(error));
                }
            };
            let source = Source {
                address: mapped_address(peer.ip()),
                port: peer.port(),
                session: self.sessions + 1,
            };
            each(if allows(&source) {
                self.enter(stream, source, registry, now_ns)
            } else {
                Accepted::Refused(source)
            });
        }
        // More may wait, and the poll tells of each only once.
        self.is_ready = true;
    }

    fn enter(
        &mut self,
        mut stream: TcpStream,
        source: Source,
        registry: &Registry,
        now_ns: u64,
    ) -> Accepted {
        let Some(place) = self.free_place(now_ns) else {
            return Accepted::Refused(source);
        };
        let token = Token(self.listener_token.0 + 1 + place);
        let registered = socket::keep_alive(&stream)
            .and_then(|()| registry.register(&mut stream, token, Interest::READABLE));
        if let Err(error) = registered {
            return Accepted::Failed(error);
        }
        self.sessions += 1;
        let before = self.places[place].replace(Connection {
            stream,
            source,
            framing: Framing::default(),
            heard_ns: now_ns,
            is_ready: true,
        });
        Accepted::Taken(before.map(|idle| idle.end(Ended::Idle)))
    }

    /// A place that nobody has, or that the one which was silent the longest has had for long enough.
    fn free_place(&mut self, now_ns: u64) -> Option<usize> {
        if let Some(place) = self.places.iter().position(Option::is_none) {
            return Some(place);
        }
        if self.places.len() < CONNECTIONS_MAX {
            self.places.push(None);
            return Some(self.places.len() - 1);
        }
        let silent = self.places.iter().enumerate().filter_map(|(place, taken)| {
            let connection = taken.as_ref().filter(|connection| !connection.is_ready)?;
            let silent_ns = now_ns.saturating_sub(connection.heard_ns);
            (silent_ns >= IDLE_MIN_NS).then_some((silent_ns, place))
        });
        silent.max().map(|(_, place)| place)
    }

    /// Closes all of them; `ended` gets each.
    pub fn finish(self, ended: impl FnMut(Gone)) {
        let open = self.places.into_iter().flatten();
        open.map(|connection| connection.end(Ended::Closed))
            .for_each(ended);
    }

    /// Reads what came; `message` gets each message and says whether its connection goes on, and `ended` gets each
    /// connection that is no more.
    pub fn read(
        &mut self,
        now_ns: u64,
        mut message: impl FnMut(&[u8], &Source) -> bool,
        mut ended: impl FnMut(Gone),
    ) {
        for place in &mut self.places {
            let Some(connection) = place.as_mut().filter(|connection| connection.is_ready) else {
                continue;
            };
            let source = connection.source;
            let each = |octets: &[u8]| message(octets, &source);
            let end = connection.read(now_ns, &mut self.buffer, each);
            if let Some(end) = end
                && let Some(connection) = place.take()
            {
                ended(connection.end(end));
            }
        }
    }
}

impl Connection {
    /// Closes it with what it holds; the poll forgets it then.
    fn end(self, ended: Ended) -> Gone {
        Gone {
            source: self.source,
            ended,
            octets_left: self.framing.pending(),
        }
    }

    fn read(
        &mut self,
        now_ns: u64,
        buffer: &mut [u8],
        mut message: impl FnMut(&[u8]) -> bool,
    ) -> Option<Ended> {
        let mut goes_on = true;
        for _ in 0..READS_MAX {
            let octets = match self.stream.read(buffer) {
                Ok(0) => return Some(Ended::Closed),
                Ok(octets) => octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Some(Ended::Failed(error)),
            };
            self.heard_ns = now_ns;
            // The messages after it came, too, and are counted.
            let each = |octets: &[u8]| goes_on &= message(octets);
            if let Err(error) = self.framing.take(&buffer[..octets], each) {
                return Some(Ended::Broken(error));
            }
            if !goes_on {
                return Some(Ended::Forgotten);
            }
        }
        None
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{Ipv4Addr, TcpStream as Peer, UdpSocket},
        os::fd::OwnedFd,
    };

    use mio::{Events, Poll};

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// Connections, and what has them read.
    struct World {
        poll: Poll,
        connections: Connections,
        address: SocketAddr,
        /// Messages that came.
        messages: usize,
    }

    impl World {
        fn new() -> Self {
            let poll = Poll::new().unwrap();
            let any = (Ipv4Addr::LOCALHOST, 0).into();
            let connections = Connections::listen(any, poll.registry(), Token(0)).unwrap();
            Self {
                poll,
                address: connections.local_addr().unwrap(),
                connections,
                messages: 0,
            }
        }

        /// Takes what came until now: what became of those that connected, and which are no more.
        fn turn(&mut self, now_ns: u64) -> (Vec<Accepted>, Vec<Gone>) {
            let (mut accepted, mut gone) = (Vec::new(), Vec::new());
            let mut events = Events::with_capacity(1024);
            let wait = Some(Duration::from_millis(100));
            self.poll.poll(&mut events, wait).unwrap();
            for event in &events {
                self.connections.ready(event.token());
            }
            let each = |became| accepted.push(became);
            let registry = self.poll.registry();
            self.connections.accept(registry, now_ns, |_| true, each);
            let messages = &mut self.messages;
            self.connections.read(
                now_ns,
                |_, _| {
                    *messages += 1;
                    true
                },
                |connection| gone.push(connection),
            );
            (accepted, gone)
        }

        fn connect(&mut self, now_ns: u64) -> (Peer, Accepted) {
            let peer = Peer::connect(self.address).unwrap();
            let (mut accepted, _) = self.turn(now_ns);
            assert_eq!(accepted.len(), 1);
            (peer, accepted.remove(0))
        }
    }

    #[test]
    fn the_one_that_was_silent_the_longest_makes_room_when_there_is_none() {
        let mut world = World::new();
        let mut peers = Vec::new();
        for number in 0..CONNECTIONS_MAX as u64 {
            let (peer, accepted) = world.connect(number * SECOND_NS);
            assert!(matches!(accepted, Accepted::Taken(None)), "{accepted:?}");
            peers.push(peer);
        }
        // The first one says something, and not all of it.
        peers[0].write_all(&[0, 10, 0, 99]).unwrap();
        world.turn(300 * SECOND_NS);
        // Nobody was silent for long: the second one is since a second after the first came.
        let (_peer, accepted) = world.connect(600 * SECOND_NS);
        assert!(matches!(accepted, Accepted::Refused(_)), "{accepted:?}");
        let second = peers[1].local_addr().unwrap().port();
        let (_peer, accepted) = world.connect(601 * SECOND_NS);
        let Accepted::Taken(Some(gone)) = accepted else {
            panic!("{accepted:?}");
        };
        assert_eq!((gone.source.port, gone.octets_left), (second, 0));
        assert!(matches!(gone.ended, Ended::Idle));
        // Who ends in the middle of a message leaves the octets of it.
        drop(peers.remove(0));
        let (_, gone) = world.turn(602 * SECOND_NS);
        assert_eq!((gone.len(), gone[0].octets_left), (1, 4), "{gone:?}");
    }

    #[test]
    fn one_that_could_not_be_accepted_is_accepted_later() {
        let mut world = World::new();
        // Stands for a process that has no descriptor left: nobody connects to it.
        let broken = OwnedFd::from(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let broken = TcpListener::from_std(broken.into());
        let listener = mem::replace(&mut world.connections.listener, broken);
        let _peer = Peer::connect(world.address).unwrap();
        let (accepted, _) = world.turn(0);
        assert!(
            matches!(accepted[..], [Accepted::Failed(_)]),
            "{accepted:?}"
        );
        assert_eq!(world.connections.patience(), Some(RETRY));
        // Nothing new comes.
        world.connections.listener = listener;
        let (accepted, _) = world.turn(0);
        assert!(
            matches!(accepted[..], [Accepted::Taken(None)]),
            "{accepted:?}"
        );
        world.turn(0);
        assert_eq!(world.connections.patience(), None);
    }

    #[test]
    fn a_connection_that_is_reset_costs_nothing_that_came_before_and_no_other() {
        const MESSAGE: [u8; 16] = [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut world = World::new();
        let (mut reset, _) = world.connect(0);
        let (mut other, _) = world.connect(0);
        // Who closes a connection and has not read all of it resets it.
        let connection = world.connections.places[0].as_mut().unwrap();
        connection.stream.write_all(b"unread").unwrap();
        let mut waiting = [0; 6];
        assert_eq!(reset.peek(&mut waiting).unwrap(), waiting.len());
        reset
            .write_all(&[&MESSAGE[..], &MESSAGE[..5]].concat())
            .unwrap();
        let port = reset.local_addr().unwrap().port();
        drop(reset);
        other.write_all(&MESSAGE).unwrap();
        let (_, gone) = world.turn(0);
        let [gone] = &gone[..] else {
            panic!("{gone:?}");
        };
        assert_eq!((gone.source.port, gone.octets_left), (port, 5));
        let Ended::Failed(error) = &gone.ended else {
            panic!("{gone:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(world.messages, 2);
        other.write_all(&MESSAGE).unwrap();
        world.turn(0);
        assert_eq!(world.messages, 3);
    }

    /// What was read with the message that ends it is given, too: all that came is counted.
    #[test]
    fn a_connection_of_which_no_more_is_taken_is_closed() {
        const MESSAGE: [u8; 16] = [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut world = World::new();
        let (mut peer, _) = world.connect(0);
        let (mut other, _) = world.connect(0);
        peer.write_all(&[MESSAGE, MESSAGE, MESSAGE].concat())
            .unwrap();
        other.write_all(&MESSAGE).unwrap();
        let mut events = Events::with_capacity(16);
        let (mut messages, mut gone) = (0, Vec::new());
        while messages < 4 {
            world.poll.poll(&mut events, None).unwrap();
            for event in &events {
                world.connections.ready(event.token());
            }
            let port = peer.local_addr().unwrap().port();
            let message = |_: &[u8], source: &Source| {
                messages += 1;
                source.port != port
            };
            world.connections.read(0, message, |ended| gone.push(ended));
        }
        let [gone] = &gone[..] else {
            panic!("{gone:?}");
        };
        assert!(matches!(gone.ended, Ended::Forgotten));
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn peers_that_vanish_are_asked_whether_they_are_there() {
        let mut world = World::new();
        let (_peer, _) = world.connect(0);
        let connection = world.connections.places[0].as_ref().unwrap();
        let of = |level, option| socket::get(&connection.stream, level, option).unwrap();
        assert_eq!(of(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
        assert_eq!(of(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 60);
    }
}
