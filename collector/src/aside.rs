//! Work beside receiving, on a thread of its own behind a short queue. Whoever gives never waits: what does
//! not fit is left out, and shows as the difference between what was offered and what was done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::clock::Patience;

/// How long a thread that may be stuck (a pipe that nobody reads) is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// What pieces in a queue may count together: one piece may be of many flows.
const WAITING_MAX: u64 = 1 << 18;

/// The pieces as they come.
#[derive(Debug)]
pub struct Pieces<T> {
    receiver: Receiver<(u64, T)>,
    waiting: Arc<AtomicU64>,
}

impl<T> Pieces<T> {
    /// The next one, if it comes within that time.
    ///
    /// # Errors
    /// If it does not, or there are no more.
    pub fn next_within(&self, wait: Duration) -> Result<T, RecvTimeoutError> {
        let (units, piece) = self.receiver.recv_timeout(wait)?;
        self.waiting.fetch_sub(units, Ordering::Relaxed);
        Ok(piece)
    }
}

impl<T> Iterator for Pieces<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (units, piece) = self.receiver.recv().ok()?;
        self.waiting.fetch_sub(units, Ordering::Relaxed);
        Some(piece)
    }
}

/// The thread's near end.
#[derive(Debug)]
pub struct Aside<T> {
    sender: Sender<(u64, T)>,
    waiting: Arc<AtomicU64>,
    offered: AtomicU64,
    left_out: AtomicU64,
    thread: thread::JoinHandle<()>,
}

impl<T: Send + 'static> Aside<T> {
    /// Starts it with a queue of so many pieces.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        name: &str,
        pieces_max: usize,
        work: impl FnOnce(Pieces<T>) + Send + 'static,
    ) -> Result<Self> {
        let (sender, receiver) = bounded(pieces_max);
        let waiting = Arc::new(AtomicU64::new(0));
        let pieces = Pieces {
            receiver,
            waiting: Arc::clone(&waiting),
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(pieces))?;
        Ok(Self {
            sender,
            waiting,
            offered: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            thread,
        })
    }

    /// Gives it a piece that counts as so many, if there is room.
    pub fn offer(&self, units: u64, piece: impl FnOnce() -> T) {
        self.offered.fetch_add(units, Ordering::Relaxed);
        // It is not made if it would not fit.
        let is_room = self.waiting.load(Ordering::Relaxed) < WAITING_MAX;
        if is_room && !self.sender.is_full() {
            self.waiting.fetch_add(units, Ordering::Relaxed);
            if self.sender.try_send((units, piece())).is_ok() {
                return;
            }
            self.waiting.fetch_sub(units, Ordering::Relaxed);
        }
        self.left_out.fetch_add(units, Ordering::Relaxed);
    }

    /// What the pieces in the queue count now.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What pieces counted that there was no room for; what a thread that died had in its queue shows at the
    /// end only.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Has it do what is in its queue, and end; how many were offered in all. A thread that is stuck is
    /// left behind.
    pub fn finish(self) -> u64 {
        drop(self.sender);
        let patience = Patience::new(LAST_WAIT);
        while !self.thread.is_finished() && !patience.is_over() {
            thread::sleep(LOOK);
        }
        self.offered.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn large_pieces_fill_the_queue_sooner() {
        let (go, gone) = bounded::<()>(0);
        let done = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&done);
        let aside = Aside::start("test", 64, move |pieces| {
            let _ = gone.recv();
            pieces.for_each(|piece: u64| {
                counted.fetch_add(piece, Ordering::Relaxed);
            });
        })
        .unwrap();
        for _ in 0..10 {
            aside.offer(WAITING_MAX / 4, || 1);
        }
        drop(go);
        assert_eq!(aside.finish(), 10 * (WAITING_MAX / 4));
        assert_eq!(done.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_nobody_waits() {
        let done = Arc::new(AtomicU64::new(0));
        let (go, gone) = bounded::<()>(0);
        let counted = Arc::clone(&done);
        let aside = Aside::start("test", 4, move |receiver| {
            let _ = gone.recv();
            for piece in receiver {
                counted.fetch_add(piece, Ordering::Relaxed);
            }
        })
        .unwrap();
        for _ in 0..10 {
            aside.offer(3, || 3);
        }
        assert_eq!((aside.waiting(), aside.left_out()), (12, 18));
        drop(go);
        assert_eq!(aside.finish(), 30);
        assert_eq!(done.load(Ordering::Relaxed), 12);
    }
}
