//! The control thread: one loop over the listening socket and its clients, of whom there are a few at
//! a time. It closes nothing in the table and never waits for one of them.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender};
use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{UnixListener, UnixStream},
};

use super::{
    Asked, Reported,
    answer::Facts,
    client::{Client, Next},
    order::Report,
    socket::Place,
    view::View,
};
use crate::clock::Now;

const LISTENER: Token = Token(0);
pub(super) const WAKER: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// Connections at a time; an answer may take some three megabytes while it is made. One more ends that
/// which has been silent longest.
pub(super) const CLIENTS_MAX: usize = 16;
/// Connections taken before the clients have their turn.
const ACCEPTED_MAX: usize = 64;
/// Wait for what cannot be waited for: room for a descriptor.
const RETRY: Duration = Duration::from_millis(200);
/// At the end, time for answers to be taken.
const FAREWELL_NS: u64 = 500_000_000;

/// The thread's state.
pub(super) struct Server {
    pub poll: Poll,
    pub listener: UnixListener,
    /// Removed at the end.
    pub place: Option<Place>,
    pub view: View,
    pub facts: Facts,
    pub orders: Sender<Asked>,
    pub reports: Receiver<Reported>,
    /// Wakes the sensor's loop.
    pub loop_waker: Waker,
    pub ending: Arc<AtomicBool>,
    /// By their tokens, which are in the order of their coming.
    pub clients: BTreeMap<usize, Client<UnixStream>>,
    /// One for whom there is no room yet.
    pub at_the_door: Option<UnixStream>,
    pub next: usize,
}

impl Server {
    /// Serves until it is told to end.
    ///
    /// # Errors
    /// If the operating system refuses what worked at the start.
    pub fn run(mut self) -> io::Result<()> {
        self.next = FIRST_CLIENT;
        let registry = self.poll.registry();
        registry.register(&mut self.listener, LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(2 * CLIENTS_MAX);
        let mut wait = None;
        let mut ends_ns = None;
        loop {
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Now::read();
            if self.ending.load(Ordering::Acquire) && ends_ns.is_none() {
                self.place = None;
                ends_ns = Some(now.monotonic_ns + FAREWELL_NS);
            }
            let retry = if ends_ns.is_none() {
                self.accept(&now)
            } else {
                None
            };
            self.take_reports(&now);
            let is_busy = self.turns(&now);
            if let Some(ends_ns) = ends_ns
                && (self.clients.is_empty() || now.monotonic_ns >= ends_ns)
            {
                return Ok(());
            }
            wait = if is_busy {
                Some(Duration::ZERO)
            } else {
                retry.or_else(|| self.patience(&now))
            };
        }
    }

    /// Takes those who wait to be connected. When it is to be tried again, if nobody calls before.
    fn accept(&mut self, now: &Now) -> Option<Duration> {
        for _ in 0..ACCEPTED_MAX {
            let stream = match self.at_the_door.take() {
                Some(stream) => stream,
                None => match self.listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    // No descriptors, or no memory: clients leave, and then there will be.
                    Err(_) => return Some(RETRY),
                },
            };
            if self.clients.len() >= CLIENTS_MAX && !self.end_a_silent_one() {
                // All of them are being served; the others wait in the kernel's queue.
                self.at_the_door = Some(stream);
                return Some(RETRY);
            }
            self.welcome(stream, now);
        }
        Some(Duration::ZERO)
    }

    fn welcome(&mut self, mut stream: UnixStream, now: &Now) {
        let token = Token(self.next);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self
            .poll
            .registry()
            .register(&mut stream, token, interest)
            .is_ok()
        {
            self.clients.insert(self.next, Client::new(stream, now));
            self.turn(self.next, now);
            self.next += 1;
        }
    }

    /// Ends the connection that has been silent longest; whether there is one.
    fn end_a_silent_one(&mut self) -> bool {
        let mut clients = self.clients.iter();
        let silent = clients.find_map(|(id, client)| client.is_asking().then_some(*id));
        silent.is_some_and(|id| self.clients.remove(&id).is_some())
    }

    fn take_reports(&mut self, now: &Now) {
        while let Ok(Reported { client, report }) = self.reports.try_recv() {
            if let Some(client) = self.clients.get_mut(&client) {
                client.take(report, self.facts, now);
            }
        }
    }

    /// A turn for each client; whether one of them has more to do at once.
    fn turns(&mut self, now: &Now) -> bool {
        let ids: Vec<usize> = self.clients.keys().copied().collect();
        let mut is_busy = false;
        for id in ids {
            is_busy |= self.turn(id, now);
        }
        is_busy
    }

    /// A client's turn; whether it has more to do at once.
    fn turn(&mut self, id: usize, now: &Now) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        match client.turn(&self.view, now) {
            Next::Turn => return true,
            Next::Event => {}
            Next::Nothing => {
                self.clients.remove(&id);
            }
            Next::Ask(order) => {
                let asked = Asked { client: id, order };
                if self.orders.try_send(asked).is_ok() {
                    // If it cannot be woken it will look within a second.
                    let _ = self.loop_waker.wake();
                } else {
                    let busy = "the sensor is busy: ask again".to_owned();
                    client.take(Report::Refused(busy), self.facts, now);
                    return true;
                }
            }
        }
        false
    }

    /// How long nothing has to be done unless something happens.
    fn patience(&self, now: &Now) -> Option<Duration> {
        let deadlines = self.clients.values().map(Client::deadline_ns);
        let next_ns = deadlines.min()?;
        // Rounded up: poll counts milliseconds, and waking early would spin.
        let wait_ms = next_ns.saturating_sub(now.monotonic_ns).div_ceil(1_000_000);
        Some(Duration::from_millis(wait_ms))
    }
}
