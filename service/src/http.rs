//! The least of HTTP/1.1 (RFC 9112) that a scraper needs: `GET /metrics`, one answer a connection. A thread of
//! its own; whatever clients do, there are a few of them at a time, for a short time each, and a page is made a
//! few times a second at most.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    thread,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

use crate::privileges;

const LISTENER: Token = Token(0);
const FIRST_CLIENT: usize = 1;
/// Connections at a time; one more ends the oldest.
const CLIENTS_MAX: usize = 16;
/// Connections taken before the clients have their turn.
const ACCEPTED_MAX: usize = 64;
/// Octets of a request.
const REQUEST_OCTETS_MAX: usize = 8192;
/// How long a connection lasts.
const CLIENT_NS: u64 = 10_000_000_000;
/// A page that is not older is told again.
const FRESH_NS: u64 = 250_000_000;
/// Wait for what cannot be waited for: room for a descriptor.
const RETRY: Duration = Duration::from_millis(200);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Makes the page; `None` if it cannot be had now.
pub type MakePage = Box<dyn FnMut() -> Option<String> + Send>;

/// A listening socket.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).map(Self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Starts the thread, which ends with the process. `monotonic_ns` reads a clock; `program` begins what is
    /// said about errors.
    ///
    /// # Errors
    /// If there is no thread to be had, or nothing to wait with.
    pub fn serve(
        self,
        page: MakePage,
        monotonic_ns: fn() -> u64,
        program: &'static str,
    ) -> io::Result<()> {
        let Self(mut listener) = self;
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let server = Server {
            poll,
            listener,
            clients: BTreeMap::new(),
            next: FIRST_CLIENT,
            page,
            made: None,
        };
        let work = move || {
            // Telling figures needs none; what cannot be given up is not there.
            let _ = privileges::keep(0);
            if let Err(error) = server.run(monotonic_ns) {
                crate::eprintln!("{program}: figures are told no more: {error}");
            }
        };
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(work)
            .map(drop)
    }
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// By their tokens, which are in the order of their coming.
    clients: BTreeMap<usize, Client>,
    next: usize,
    page: MakePage,
    /// The last page, and when it was made.
    made: Option<(u64, String)>,
}

struct Client {
    stream: TcpStream,
    deadline_ns: u64,
    exchange: Exchange,
}

/// How far a connection is.
enum Exchange {
    /// What it asked so far.
    Asking(Vec<u8>),
    /// What is left of the answer.
    Answering(Vec<u8>),
}

impl Server {
    fn run(mut self, monotonic_ns: fn() -> u64) -> io::Result<()> {
        let mut events = Events::with_capacity(2 * CLIENTS_MAX);
        let mut wait = None;
        loop {
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let retry = self.accept(monotonic_ns());
            let ids: Vec<usize> = self.clients.keys().copied().collect();
            for id in ids {
                // Making a page takes time.
                let now_ns = monotonic_ns();
                let stays = self.turn(id, now_ns).unwrap_or(false);
                if !stays {
                    self.clients.remove(&id);
                }
            }
            wait = retry.or_else(|| self.patience(monotonic_ns()));
        }
    }

    /// Takes those who wait to be connected. When it is to be tried again, if nobody calls before.
    fn accept(&mut self, now_ns: u64) -> Option<Duration> {
        for _ in 0..ACCEPTED_MAX {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) =>
                {
                    continue;
                }
                // No descriptors, or no memory: clients leave, and then there will be.
                Err(_) => return Some(RETRY),
            };
            if self.clients.len() >= CLIENTS_MAX {
                self.clients.pop_first();
            }
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self
                .poll
                .registry()
                .register(&mut stream, Token(self.next), interest);
            if registered.is_ok() {
                let client = Client {
                    stream,
                    deadline_ns: now_ns + CLIENT_NS,
                    exchange: Exchange::Asking(Vec::new()),
                };
                self.clients.insert(self.next, client);
                self.next += 1;
            }
        }
        Some(Duration::ZERO)
    }

    /// A client's turn; whether it stays.
    fn turn(&mut self, id: usize, now_ns: u64) -> io::Result<bool> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(false);
        };
        if now_ns >= client.deadline_ns {
            return Ok(false);
        }
        if let Exchange::Asking(request) = &mut client.exchange {
            let is_open = read(&mut client.stream, request)?;
            let answer = match asked(request) {
                None => return Ok(is_open),
                Some(Asked::Page) => {
                    let is_fresh = |made_ns: u64| now_ns.saturating_sub(made_ns) < FRESH_NS;
                    if !self
                        .made
                        .as_ref()
                        .is_some_and(|(made_ns, _)| is_fresh(*made_ns))
                    {
                        self.made = (self.page)().map(|page| (now_ns, page));
                    }
                    match &self.made {
                        Some((_, page)) => answer("200 OK", page),
                        None => answer(
                            "503 Service Unavailable",
                            "the figures are not to be had now\n",
                        ),
                    }
                }
                Some(Asked::Other(status)) => answer(status, ""),
            };
            client.exchange = Exchange::Answering(answer);
        }
        if let Exchange::Answering(left) = &mut client.exchange {
            if !write(&mut client.stream, left)? {
                return Ok(true);
            }
            let _ = client.stream.shutdown(Shutdown::Write);
        }
        Ok(false)
    }

    /// How long nothing has to be done unless something happens.
    fn patience(&self, now_ns: u64) -> Option<Duration> {
        let deadlines = self.clients.values().map(|client| client.deadline_ns);
        let wait_ns = deadlines.min()?.saturating_sub(now_ns);
        // Rounded up: poll counts milliseconds, and waking early would spin.
        Some(Duration::from_millis(wait_ns.div_ceil(1_000_000)))
    }
}

/// Reads what is there; whether more may come.
fn read(stream: &mut impl Read, request: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 1024];
    while request.len() < REQUEST_OCTETS_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(octets) => request.extend_from_slice(&buffer[..octets]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes what can be written; whether that was all.
fn write(stream: &mut impl Write, left: &mut Vec<u8>) -> io::Result<bool> {
    while !left.is_empty() {
        match stream.write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(octets) => drop(left.drain(..octets)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Page,
    /// Something else; the status that says so.
    Other(&'static str),
}

/// What is asked, once it has been asked to the end.
fn asked(request: &[u8]) -> Option<Asked> {
    let has_ended = request.windows(4).any(|octets| octets == b"\r\n\r\n")
        || request.windows(2).any(|octets| octets == b"\n\n");
    if !has_ended {
        let is_too_long = request.len() >= REQUEST_OCTETS_MAX;
        return is_too_long.then_some(Asked::Other("431 Request Header Fields Too Large"));
    }
    let line = request.split(|octet| *octet == b'\n').next()?.trim_ascii();
    let mut words = line.split(|octet| *octet == b' ');
    let (method, target, version) = (words.next()?, words.next(), words.next());
    let (Some(target), Some(version), None) = (target, version, words.next()) else {
        return Some(Asked::Other("400 Bad Request"));
    };
    let path = target.split(|octet| *octet == b'?').next()?;
    Some(match (method, path) {
        _ if !version.starts_with(b"HTTP/1.") => Asked::Other("505 HTTP Version Not Supported"),
        (b"GET", b"/metrics") => Asked::Page,
        (b"GET", _) => Asked::Other("404 Not Found"),
        _ => Asked::Other("405 Method Not Allowed"),
    })
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let kind = if status.starts_with("200") {
        CONTENT_TYPE
    } else {
        "text/plain; charset=utf-8"
    };
    // RFC 9110 section 15.5.6 wants it.
    let allow = if status.starts_with("405") {
        "Allow: GET\r\n"
    } else {
        ""
    };
    let octets = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {octets}\r\n{allow}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{
        net,
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn requests_are_understood_or_refused() {
        let other = |status| Some(Asked::Other(status));
        for (request, expected) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                Some(Asked::Page),
            ),
            ("GET /metrics?a=b HTTP/1.0\n\n", Some(Asked::Page)),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
            ("", None),
            ("GET / HTTP/1.1\r\n\r\n", other("404 Not Found")),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                other("405 Method Not Allowed"),
            ),
            (
                "GET /metrics HTTP/2\r\n\r\n",
                other("505 HTTP Version Not Supported"),
            ),
            ("GET /metrics\r\n\r\n", other("400 Bad Request")),
            ("\r\n\r\n", other("400 Bad Request")),
            ("a b c d\r\n\r\n", other("400 Bad Request")),
        ] {
            assert_eq!(asked(request.as_bytes()), expected, "{request:?}");
        }
        let long = vec![b'a'; REQUEST_OCTETS_MAX];
        assert_eq!(asked(&long), other("431 Request Header Fields Too Large"));
        assert_eq!(asked(&[0xff, 0, b'\n', b'\n']), other("400 Bad Request"));
    }

    /// A clock that stands still unless a test moves it.
    static CLOCK_NS: AtomicU64 = AtomicU64::new(1);

    fn clock_ns() -> u64 {
        CLOCK_NS.load(Ordering::Relaxed)
    }

    fn get(address: SocketAddr) -> String {
        let mut stream = net::TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn silent_and_slow_clients_hold_up_nobody() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut pages = 0;
        let make = move || {
            pages += 1;
            Some(format!("page {pages} {}\n", "x".repeat(1 << 20)))
        };
        listener.serve(Box::new(make), clock_ns, "test").unwrap();
        let silent: Vec<_> = (0..200)
            .map(|_| net::TcpStream::connect(address).unwrap())
            .collect();
        let mut slow = net::TcpStream::connect(address).unwrap();
        slow.write_all(b"GET /metr").unwrap();
        // One that asks and does not take its answer.
        let mut deaf = net::TcpStream::connect(address).unwrap();
        deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        for _ in 0..50 {
            let answer = get(address);
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n"),
                "{}",
                &answer[..80]
            );
            assert!(
                answer.contains("\r\n\r\npage 1 "),
                "one page while the clock stands"
            );
            assert!(answer.len() > 1 << 20);
        }
        CLOCK_NS.fetch_add(FRESH_NS, Ordering::Relaxed);
        assert!(get(address).contains("\r\n\r\npage 2 "));
        drop((silent, slow, deaf));
    }
}
