//! A collector's TCP connection (RFC 7011 section 10.4). Nothing here waits for the collector: one
//! that is away is looked for by a thread beside, one that takes nothing for a while is given a
//! moment once, and one that takes a little now and then as long in all, until the caller has it
//! wait again. What cannot leave meanwhile is for the caller to count.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Weak, mpsc},
    thread,
    time::Duration,
};

use crate::{
    destination::{Carrier, Rest, Sent},
    socket::{self, Kind, Way},
    waits::Waits,
};

/// A connection, or the search for one.
#[derive(Debug)]
pub struct Stream {
    address: SocketAddr,
    way: Way,
    state: State,
    /// The end of a message of which the kernel took the beginning.
    rest: Vec<u8>,
    /// There was such an end when the connection ended.
    cut: bool,
    /// For room in its buffer.
    waits: Waits,
}

#[derive(Debug)]
enum State {
    Connected(TcpStream),
    Looking(Search),
    /// Neither: it has not begun yet, or has ended.
    Closed,
}

/// A thread that connects. It ends when it has, or when nobody waits for that any more.
#[derive(Debug)]
struct Search {
    found: mpsc::Receiver<TcpStream>,
    _wanted: Arc<()>,
}

impl Stream {
    /// How long is waited at the end for room for the rest of a message.
    const LAST_WAIT: Duration = Duration::from_secs(1);
    /// Wait between attempts to connect, at first and at most.
    const LOOK_WAIT: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(16)];

    /// Connects to the collector. One that is not there is looked for once the carrier begins, by a thread
    /// with the privileges of the one that has it begin.
    ///
    /// # Errors
    /// If the way there is none.
    pub fn connect(address: SocketAddr, way: Way) -> io::Result<Self> {
        let state = match connected(address, &way) {
            Ok(stream) => State::Connected(stream),
            Err(error) if is_absence(&error) => State::Closed,
            Err(error) => return Err(error),
        };
        Ok(Self {
            state,
            ..Self::later(address, way)
        })
    }

    /// To a collector that is looked for when something is to be sent, without waiting for it now.
    #[must_use]
    pub fn later(address: SocketAddr, way: Way) -> Self {
        Self {
            address,
            way,
            state: State::Closed,
            rest: Vec::new(),
            cut: false,
            waits: Waits::default(),
        }
    }

    /// Writes to the connection, first what is left of the message before.
    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let State::Connected(stream) = &mut self.state else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if is_closed(stream) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.waits.begin();
        write_all(stream, &mut self.rest, &mut self.waits)?;
        if !self.rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut message = message.to_vec();
        let octets = message.len();
        write_all(stream, &mut message, &mut self.waits)?;
        if message.len() == octets {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.rest = message;
        Ok(())
    }

    /// Looks for the collector again.
    fn look(&mut self) {
        self.give_up_rest();
        self.waits.stalled = false;
        // If no thread can be had now, there is one the next time.
        if let Ok(search) = Search::start(self.address, &self.way) {
            self.state = State::Looking(search);
        }
    }

    /// What is left of a message is of no use to another connection.
    fn give_up_rest(&mut self) {
        self.cut = !self.rest.is_empty();
        self.rest.clear();
    }
}

impl Carrier for Stream {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn send(&mut self, octets: &[u8]) -> Sent {
        self.cut = false;
        self.begin();
        if let State::Looking(search) = &self.state
            && let Ok(stream) = search.found.try_recv()
        {
            self.state = State::Connected(stream);
            return Sent::Anew;
        }
        match self.write(octets) {
            Ok(()) => {
                self.waits.stalled = false;
                Sent::Yes { refusals: 0 }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.waits.stalled = true;
                let error = io::Error::new(error.kind(), "it takes nothing for now");
                Sent::No { refusals: 0, error }
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                let error = io::Error::new(error.kind(), "it is not there; looking for it");
                Sent::No { refusals: 0, error }
            }
            // What the kernel had taken may not have arrived either.
            Err(error) => {
                self.look();
                Sent::No { refusals: 1, error }
            }
        }
    }

    fn rest(&self) -> Rest {
        match (self.rest.is_empty(), self.cut) {
            (false, _) => Rest::UnderWay,
            (true, true) => Rest::Cut,
            (true, false) => Rest::Left,
        }
    }

    fn allow_fragments(&mut self) {}

    fn may_wait_again(&mut self) {
        self.waits.renew();
    }

    fn may_wait_long(&mut self, waiting: Duration) {
        self.waits.grant(waiting);
    }

    fn finish(&mut self) {
        if let State::Connected(stream) = &mut self.state {
            // If it fails the collector is gone, and knows that it has half a message.
            self.waits.grant(Self::LAST_WAIT);
            self.waits.begin();
            let _ = write_all(stream, &mut self.rest, &mut self.waits);
        }
        self.waits = Waits::default();
        self.give_up_rest();
        self.state = State::Closed;
    }

    fn begin(&mut self) {
        if matches!(self.state, State::Closed) {
            self.look();
        }
    }
}

impl Search {
    fn start(address: SocketAddr, way: &Way) -> io::Result<Self> {
        let (sender, found) = mpsc::sync_channel(1);
        let (wanted, way) = (Arc::new(()), way.clone());
        let still_wanted = Arc::downgrade(&wanted);
        thread::Builder::new()
            .name("connect".to_owned())
            .spawn(move || look(address, &way, &still_wanted, &sender))?;
        Ok(Self {
            found,
            _wanted: wanted,
        })
    }
}

fn look(address: SocketAddr, way: &Way, wanted: &Weak<()>, found: &mpsc::SyncSender<TcpStream>) {
    let [mut wait, wait_max] = Stream::LOOK_WAIT;
    while wanted.strong_count() > 0 {
        if let Ok(stream) = connected(address, way) {
            // It fails only if nobody waits.
            let _ = found.send(stream);
            return;
        }
        thread::sleep(wait);
        wait = (wait * 2).min(wait_max);
    }
}

fn connected(address: SocketAddr, way: &Way) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket::open(Kind::Stream, address, way)?);
    stream.set_nonblocking(true)?;
    // Messages are as long as they are to be.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the collector is not there, which may change; anything else is a mistake.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EINPROGRESS
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ECONNRESET
                | libc::EHOSTDOWN
        )
    )
}

/// Whether the collector has closed the connection: what is written then is lost, and is told only at
/// the message after. Collectors send nothing.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(octets) => octets == 0,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        ),
    }
}

/// Writes what it can, and takes that from the front of `octets`; for room it waits as often as `waits` has it.
fn write_all(stream: &mut TcpStream, octets: &mut Vec<u8>, waits: &mut Waits) -> io::Result<()> {
    while !octets.is_empty() {
        match stream.write(octets) {
            Ok(written) => drop(octets.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !waits.wait() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn send_until(stream: &mut Stream, wanted: impl Fn(&Sent) -> bool) -> u32 {
        for tries in 0..1000 {
            if wanted(&stream.send(b"message")) {
                return tries;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never")
    }

    #[test]
    fn a_collector_that_comes_back_is_found_and_told_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::connect(address, Way::default()).unwrap();
        assert!(matches!(stream.send(b"first"), Sent::Yes { .. }));
        let (mut connection, _) = listener.accept().unwrap();
        let mut first = [0; 5];
        connection.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"first");
        drop(connection);
        send_until(&mut stream, |sent| {
            matches!(sent, Sent::No { refusals: 1, .. })
        });
        send_until(&mut stream, |sent| matches!(sent, Sent::Anew));
        assert!(matches!(stream.send(b"again"), Sent::Yes { .. }));
        stream.finish();
        drop(stream);
        let (mut connection, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        connection.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"again");
    }

    #[test]
    fn after_its_end_it_begins_with_another_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::connect(address, Way::default()).unwrap();
        for _ in 0..2 {
            assert!(matches!(stream.send(b"first"), Sent::Yes { .. }));
            stream.finish();
            let (mut connection, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            connection.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"first");
            stream.begin();
            send_until(&mut stream, |sent| matches!(sent, Sent::Anew));
        }
    }

    #[test]
    fn a_collector_that_is_not_there_yet_is_waited_for_by_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut stream = Stream::connect(address, Way::default()).unwrap();
        assert!(matches!(stream.send(b"x"), Sent::No { refusals: 0, .. }));
        let _listener = TcpListener::bind(address).unwrap();
        send_until(&mut stream, |sent| matches!(sent, Sent::Anew));
    }

    /// Sends until the kernel has a part of a message only, and no room for more while nobody reads. It may be
    /// full at a message's end: then some whole ones are read.
    fn send_until_part(stream: &mut Stream, connection: &mut TcpStream) {
        for _ in 0..100_000 {
            stream.may_wait_again();
            if matches!(stream.send(&[7; 1001]), Sent::No { .. }) {
                thread::sleep(Duration::from_millis(20));
                if stream.rest() == Rest::UnderWay
                    && matches!(stream.send(b"x"), Sent::No { refusals: 0, .. })
                {
                    return;
                }
                if stream.rest() == Rest::Left {
                    connection.read_exact(&mut vec![0; 40 * 1001]).unwrap();
                }
            }
        }
        panic!("never")
    }

    /// A stream that the kernel has a part of a message of, and the collector's end.
    fn sent_in_part() -> (TcpListener, Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::connect(address, Way::default()).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        send_until_part(&mut stream, &mut connection);
        (listener, stream, connection)
    }

    /// It would else wait with every message, and who shares its thread with it.
    #[test]
    fn a_collector_that_takes_a_little_is_not_waited_for_again_and_again() {
        let (_listener, mut stream, connection) = sent_in_part();
        assert_eq!((stream.waits.stalled, stream.waits.left), (true, 0));
        connection.set_read_timeout(Some(Waits::STEP)).unwrap();
        send_until(&mut stream, |sent| {
            let _ = io::copy(&mut (&connection).take(40_000), &mut io::sink());
            matches!(sent, Sent::Yes { .. })
        });
        assert_eq!((stream.waits.stalled, stream.waits.left), (false, 0));
        stream.may_wait_again();
        assert_eq!(stream.waits.left, Waits::EACH);
    }

    #[test]
    fn with_the_last_messages_it_waits_longer_but_not_again_and_again() {
        let (_listener, mut stream, _connection) = sent_in_part();
        stream.may_wait_long(Waits::STEP * (2 * Waits::EACH_AT_LAST));
        for _ in 0..3 {
            assert!(matches!(stream.send(b"x"), Sent::No { refusals: 0, .. }));
            assert_eq!(stream.waits.left, Waits::EACH_AT_LAST);
        }
    }

    #[test]
    fn a_message_cut_off_is_told_and_the_next_connection_begins_with_a_whole_one() {
        let (listener, mut stream, connection) = sent_in_part();
        // While nobody reads nothing is decided about it.
        assert!(matches!(stream.send(b"x"), Sent::No { refusals: 0, .. }));
        assert_eq!(stream.rest(), Rest::UnderWay);
        drop(connection);
        send_until(&mut stream, |sent| {
            matches!(sent, Sent::No { refusals: 1, .. })
        });
        assert_eq!(stream.rest(), Rest::Cut);
        send_until(&mut stream, |sent| matches!(sent, Sent::Anew));
        assert_eq!(stream.rest(), Rest::Left);
        assert!(matches!(stream.send(b"again"), Sent::Yes { .. }));
        stream.finish();
        assert_eq!(stream.rest(), Rest::Left);
        let (mut connection, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        connection.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"again");
    }

    #[test]
    fn what_is_left_of_a_message_at_the_end_is_told() {
        for reads in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let mut stream = Stream::connect(address, Way::default()).unwrap();
            let (mut connection, _) = listener.accept().unwrap();
            send_until_part(&mut stream, &mut connection);
            let reader = thread::spawn(move || {
                let mut all = Vec::new();
                if reads {
                    connection.read_to_end(&mut all).unwrap();
                }
                // It is closed once it is dropped.
                (connection, all.len())
            });
            stream.finish();
            let expected = if reads { Rest::Left } else { Rest::Cut };
            assert_eq!(stream.rest(), expected);
            drop(stream);
            let (_connection, octets) = reader.join().unwrap();
            assert!(octets.is_multiple_of(1001) && (octets > 0) == reads);
        }
    }

    #[test]
    fn a_collector_that_reads_nothing_gets_whole_messages_in_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::connect(address, Way::default()).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        let (mut sent, mut refused) = (0, 0);
        while refused < 3 {
            match stream.send(&[7; 1400]) {
                Sent::Yes { .. } => sent += 1,
                Sent::No { refusals: 0, .. } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            connection.read_to_end(&mut all).unwrap();
            all.len()
        });
        stream.finish();
        drop(stream);
        assert_eq!(reader.join().unwrap(), sent * 1400);
    }
}
