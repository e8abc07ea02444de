//! The control socket: softflowctl's protocol, words and layouts, and some words more.
//!
//! A client sends a line and is sent an answer. A thread of its own (`server`) does that, so that no
//! client delays metering: it reads the live table through a second mapping (`view`), without closing
//! anything, and asks the sensor's loop for what only the loop knows or may do (`order`), which answers
//! between two sweeps. `client` is one connection, `command` the words, `answer` what becomes of them;
//! `statistics`, `flows`, `top` and `live` are the longer answers, made in steps (`task`) of values as softflowd
//! lays them out (`text`), of all flows or some (`selection`). `socket` is the place in the file system.

pub mod answer;
mod client;
pub mod command;
pub mod flows;
pub mod live;
pub mod order;
pub mod selection;
mod server;
mod socket;
pub mod statistics;
pub mod task;
pub mod text;
pub mod top;
pub mod view;

pub use socket::Socket;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Poll, Waker, net::UnixListener};
use weir_service::privileges;

use answer::Facts;
use order::{Order, Report};
use server::Server;
use view::View;

/// Orders and reports under way: more than there are clients, since one that leaves leaves its order.
const UNDER_WAY_MAX: usize = 64;

const _: () = assert!(UNDER_WAY_MAX > server::CLIENTS_MAX);

/// An order, and who gave it.
#[derive(Debug)]
pub struct Asked {
    client: usize,
    /// What is to be done.
    pub order: Order,
}

/// A report, and who waits for it.
#[derive(Debug)]
struct Reported {
    client: usize,
    report: Report,
}

/// The loop's end of the control thread, which ends with it.
pub struct Desk {
    orders: Receiver<Asked>,
    reports: Sender<Reported>,
    waker: Arc<Waker>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Socket {
    /// Starts the thread; `loop_waker` wakes the loop that is to look at its desk.
    ///
    /// # Errors
    /// If the operating system has no thread, or nothing to wait with.
    pub fn serve(self, view: View, facts: Facts, loop_waker: Waker) -> Result<Desk> {
        let (orders_in, orders) = bounded(UNDER_WAY_MAX);
        let (reports, reports_out) = bounded(UNDER_WAY_MAX);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), server::WAKER)?);
        let ending = Arc::new(AtomicBool::new(false));
        let server = Server {
            poll,
            listener: UnixListener::from_std(self.listener),
            place: Some(self.place),
            view,
            facts,
            orders: orders_in,
            reports: reports_out,
            loop_waker,
            ending: Arc::clone(&ending),
            clients: BTreeMap::new(),
            at_the_door: None,
            next: 0,
        };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                // It has all it needs, and strangers talk to it. If it fails it keeps what the loop has.
                let _ = privileges::keep(0);
                if let Err(error) = server.run() {
                    eprintln!("weir-sensor: the control socket is closed: {error}");
                }
            })
            .context("starting the control thread")?;
        Ok(Desk {
            orders,
            reports,
            waker,
            ending,
            thread: Some(thread),
        })
    }
}

impl Desk {
    /// Orders that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.orders.len()
    }

    /// The next order, if there is one.
    #[must_use]
    pub fn next_order(&self) -> Option<Asked> {
        self.orders.try_recv().ok()
    }

    /// Reports on an order.
    pub fn report(&self, asked: &Asked, report: Report) {
        let reported = Reported {
            client: asked.client,
            report,
        };
        // If there is no room the thread has not looked for long; its client will be given up.
        let _ = self.reports.try_send(reported);
        let _ = self.waker.wake();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
