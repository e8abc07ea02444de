//! IPFIX over TCP: connections, a bounded number of them, each read as far as it is this turn's.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
};

use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};

use crate::{
    exporters::Source,
    framing::{Framing, OutOfStep},
};

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 256;
/// Octets read at once, and how often in a turn: others want to be heard too.
const READ_OCTETS: usize = 1 << 16;
const READS_MAX: usize = 16;

/// What became of a connection that waited.
#[derive(Debug)]
pub enum Accepted {
    /// It is read from now on.
    Taken,
    /// There are too many, or its exporter is not allowed.
    Refused(Source),
    /// The operating system refused it.
    Failed(io::Error),
}

/// Why a connection is no more.
#[derive(Debug)]
pub enum Ended {
    /// The exporter closed it.
    Closed,
    /// The exporter closed it in the middle of a message.
    CutOff,
    /// What came is no message.
    Broken(OutOfStep),
    /// The operating system says so.
    Failed(io::Error),
}

struct Connection {
    stream: TcpStream,
    source: Source,
    framing: Framing,
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

    /// Accepts those that wait, if `allows` lets them in and there is room; `each` is told what became of
    /// each.
    pub fn accept(
        &mut self,
        registry: &Registry,
        allows: impl Fn(&Source) -> bool,
        mut each: impl FnMut(Accepted),
    ) {
        if !std::mem::take(&mut self.is_ready) {
            return;
        }
        for _ in 0..CONNECTIONS_MAX {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                // One that was gone before it was accepted is no trouble of ours.
                Err(error) if is_of_the_peer(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return each(Accepted::Failed(error)),
            };
            let source = Source {
                address: match peer.ip() {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                },
                port: peer.port(),
                session: self.sessions + 1,
            };
            each(if allows(&source) {
                self.enter(stream, source, registry)
            } else {
                Accepted::Refused(source)
            });
        }
        // More may wait, and the poll tells of each only once.
        self.is_ready = true;
    }

    fn enter(&mut self, mut stream: TcpStream, source: Source, registry: &Registry) -> Accepted {
        let Some(place) = self.free_place() else {
            return Accepted::Refused(source);
        };
        let token = Token(self.listener_token.0 + 1 + place);
        if let Err(error) = registry.register(&mut stream, token, Interest::READABLE) {
            return Accepted::Failed(error);
        }
        self.sessions += 1;
        self.places[place] = Some(Connection {
            stream,
            source,
            framing: Framing::default(),
            is_ready: true,
        });
        Accepted::Taken
    }

    fn free_place(&mut self) -> Option<usize> {
        if let Some(place) = self.places.iter().position(Option::is_none) {
            return Some(place);
        }
        if self.places.len() >= CONNECTIONS_MAX {
            return None;
        }
        self.places.push(None);
        Some(self.places.len() - 1)
    }

    /// Reads what came; `message` gets each message, and `ended` each connection that is no more.
    pub fn read(
        &mut self,
        mut message: impl FnMut(&[u8], &Source),
        mut ended: impl FnMut(&Source, &Ended),
    ) {
        for place in &mut self.places {
            let Some(connection) = place.as_mut().filter(|connection| connection.is_ready) else {
                continue;
            };
            let source = connection.source;
            let end = connection.read(&mut self.buffer, |octets| message(octets, &source));
            if let Some(end) = end {
                // Closed with what it holds; the poll forgets it then.
                *place = None;
                ended(&source, &end);
            }
        }
    }
}

impl Connection {
    fn read(&mut self, buffer: &mut [u8], mut message: impl FnMut(&[u8])) -> Option<Ended> {
        for _ in 0..READS_MAX {
            let octets = match self.stream.read(buffer) {
                Ok(0) if self.framing.pending() == 0 => return Some(Ended::Closed),
                Ok(0) => return Some(Ended::CutOff),
                Ok(octets) => octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Some(Ended::Failed(error)),
            };
            if let Err(error) = self.framing.take(&buffer[..octets], &mut message) {
                return Some(Ended::Broken(error));
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
