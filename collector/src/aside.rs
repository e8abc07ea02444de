//! Work beside receiving, on a thread of its own behind a short queue. Whoever gives never waits: what does
//! not fit is left out, and shows as the difference between what was offered and what was done.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use crossbeam::channel::{Receiver, Sender, bounded};

use crate::clock::Patience;

/// How long a thread that may be stuck (a pipe that nobody reads) is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// The thread's near end.
#[derive(Debug)]
pub struct Aside<T> {
    sender: Sender<T>,
    offered: AtomicU64,
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
        work: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> Result<Self> {
        let (sender, receiver) = bounded(pieces_max);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(receiver))?;
        Ok(Self {
            sender,
            offered: AtomicU64::new(0),
            thread,
        })
    }

    /// Gives it a piece that counts as so many, if there is room.
    pub fn offer(&self, units: u64, piece: impl FnOnce() -> T) {
        self.offered.fetch_add(units, Ordering::Relaxed);
        // It is not made if it would not fit.
        if !self.sender.is_full() {
            let _ = self.sender.try_send(piece());
        }
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
        drop(go);
        assert_eq!(aside.finish(), 30);
        assert_eq!(done.load(Ordering::Relaxed), 12);
    }
}
