//! The writing thread: flows into the open window, at least once a second; [`closing`] makes Parquet of
//! windows.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use arrow::array::RecordBatch;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use serde_json::{Value, json};
use weir_store::{
    StoreError, account,
    form::{Form, Place},
    layout::Directory,
    read::Ended,
    recover::{Recovered, recover},
    rotate::Rotated,
    schema, system,
    window::Window,
};

use crate::{
    clock::{self, Patience},
    closing::{self, Closed, Closing},
};

/// Flows written as one message, at least, unless the first has waited: each takes some KiB beside its columns.
const MESSAGE_FLOWS: usize = 4096;
/// Of so few flows at a time as connections may bring, no more are kept for one message: each is columns of its own.
const PARTS_MAX: usize = 256;
/// A message is written when its first flow has waited this long.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// Batches of flows under way to the thread.
const BATCHES_MAX: usize = 16;

/// What goes to the thread.
#[derive(Debug)]
pub enum Message {
    /// Flows to write.
    Rows(RecordBatch),
    /// The exporters' counts, to be kept with the window that is open.
    Account(Value),
}

/// What the thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Flows written to windows.
    pub flows: u64,
    /// Flows that could not be written.
    pub flows_unwritten: u64,
    /// Windows closed into Parquet.
    pub windows_closed: u64,
    /// Windows that could not be closed, or not whole; they stay.
    pub windows_kept: u64,
    /// Flows that were written to a window and could not be read back when it was closed.
    pub flows_unreadable: u64,
}

impl Written {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self {
            flows,
            flows_unwritten,
            windows_closed,
            windows_kept,
            flows_unreadable,
        } = self;
        json!({
            "records_written": flows,
            "records_unwritten": flows_unwritten,
            "windows_closed": windows_closed,
            "windows_kept": windows_kept,
            "records_unreadable": flows_unreadable,
        })
    }
}

/// What the thread did so far, and what it has before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// What it did.
    pub written: Written,
    /// Windows that are over and wait to be closed into Parquet.
    pub windows_waiting: usize,
}

/// The thread's near end.
#[derive(Debug)]
pub struct Writer {
    /// Where flows go.
    pub sender: Sender<Message>,
    progress: Arc<Mutex<Progress>>,
    thread: thread::JoinHandle<Written>,
}

impl Writer {
    /// Locks the directory, closes what was left open in it, and starts the thread. A window lasts so many
    /// milliseconds. Closed files are as `form` says, and told to `closed`.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn start(
        folder: &Path,
        rotation_ms: u64,
        form: Form,
        closed: Sender<PathBuf>,
    ) -> Result<Self> {
        let directory = Directory::lock(folder)?.with_form(form);
        let mut kept = Vec::new();
        for found in recover(&directory)? {
            report_recovered(&found);
            match found {
                Recovered::Closed(_, rotated) => {
                    if let Some(path) = rotated.path {
                        let _ = closed.send(path);
                    }
                }
                Recovered::SetAside(_) => {}
                Recovered::Failed(window, _) => kept.push(Closing::recovered(window)),
            }
        }
        let (sender, receiver) = bounded(BATCHES_MAX);
        let (windows, to_close) = unbounded();
        let root = folder.to_owned();
        let progress: Arc<Mutex<Progress>> = Arc::default();
        let told = Arc::clone(&progress);
        let closing_thread = thread::Builder::new()
            .name("rotate".to_owned())
            .spawn(move || {
                // Where all share a core, datagrams must not wait for a window to be closed; where it is not
                // allowed, they do.
                let _ = system::let_others_first();
                let place = Place { root: &root, form };
                closing::close_windows(place, kept, &to_close, &closed, &told)
            })?;
        let rotation_ms = i64::try_from(rotation_ms)?;
        let told = Arc::clone(&progress);
        let state = State::new(directory, rotation_ms, windows, told);
        let thread = thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || {
                let (mut written, directory) = state.run(&receiver);
                let closed = closing_thread.join().unwrap_or_else(|_| {
                    eprintln!(
                        "weir-collector: the rotating thread died: its last words are above, please report them; \
                         what it did not close stays open, and the next start closes it"
                    );
                    Closed::default()
                });
                // Only now may another collector have it.
                drop(directory);
                written.windows_closed = closed.windows;
                written.windows_kept = closed.kept;
                written.flows_unreadable = closed.flows_unreadable;
                written
            })?;
        Ok(Self {
            sender,
            progress,
            thread,
        })
    }

    /// What was done so far, as of the last flows written and the last window closed.
    #[must_use]
    pub fn progress(&self) -> Arc<Mutex<Progress>> {
        Arc::clone(&self.progress)
    }

    /// Writes what is left, closes the window, and ends the thread.
    ///
    /// # Errors
    /// If the thread had panicked.
    pub fn finish(self) -> Result<Written> {
        drop(self.sender);
        self.thread.join().map_err(|_| {
            anyhow!("the writing thread died: its last words are above, please report them")
        })
    }
}

fn report_recovered(found: &Recovered) {
    match found {
        Recovered::Closed(window, Rotated { flows, ended, .. }) => {
            let how = if *ended == Ended::Whole {
                ""
            } else {
                " (its last message was cut off)"
            };
            eprintln!(
                "weir-collector: recovered {flows} flows from {}{how}",
                window.display()
            );
        }
        Recovered::SetAside(path) => eprintln!(
            "weir-collector: a window cannot be read; it is kept as {}",
            path.display()
        ),
        Recovered::Failed(window, error) => {
            let window = window.display();
            eprintln!(
                "weir-collector: {window} stays open, and is tried again each minute: {error}"
            );
        }
    }
}

struct OpenWindow {
    window: Window,
    end_ms: i64,
}

/// The thread's own. Times are milliseconds since 1970-01-01 UTC.
struct State {
    directory: Directory,
    rotation_ms: i64,
    window: Option<OpenWindow>,
    pending: Vec<RecordBatch>,
    pending_flows: usize,
    patience: Option<Patience>,
    account: Value,
    /// What it was when the window before was closed.
    account_before: Value,
    /// Whether a flow had what the columns of version 1 do not hold.
    needs_all_columns: bool,
    windows: Sender<Closing>,
    written: Written,
    progress: Arc<Mutex<Progress>>,
    failing: bool,
}

impl State {
    fn new(
        directory: Directory,
        rotation_ms: i64,
        windows: Sender<Closing>,
        progress: Arc<Mutex<Progress>>,
    ) -> Self {
        Self {
            directory,
            rotation_ms: rotation_ms.max(1),
            window: None,
            pending: Vec::new(),
            pending_flows: 0,
            patience: None,
            account: Value::Null,
            account_before: Value::Null,
            needs_all_columns: false,
            windows,
            written: Written::default(),
            progress,
            failing: false,
        }
    }

    /// The directory is given back, so that it stays locked until the last window is closed.
    fn run(mut self, receiver: &Receiver<Message>) -> (Written, Directory) {
        loop {
            match receiver.recv_timeout(FLUSH_INTERVAL) {
                Ok(Message::Rows(rows)) => self.take(rows, now_ms()),
                Ok(Message::Account(account)) => self.account = account,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.patience.is_some_and(Patience::is_over) {
                self.flush(now_ms());
            }
            self.rotate_if_due(now_ms());
        }
        self.flush(now_ms());
        self.rotate();
        (self.written, self.directory)
    }

    fn take(&mut self, rows: RecordBatch, now_ms: i64) {
        self.patience
            .get_or_insert_with(|| Patience::new(FLUSH_INTERVAL));
        self.pending_flows += rows.num_rows();
        // Under load these are a message's worth, and are not copied again.
        self.pending.push(rows);
        if self.pending_flows >= MESSAGE_FLOWS || self.pending.len() >= PARTS_MAX {
            self.flush(now_ms);
        }
    }

    fn flush(&mut self, now_ms: i64) {
        self.patience = None;
        if self.pending.is_empty() {
            return;
        }
        let count = mem::take(&mut self.pending_flows) as u64;
        match self.write(now_ms) {
            Ok(()) => {
                if self.failing {
                    self.failing = false;
                    eprintln!(
                        "weir-collector: writing again; {} flows were lost meanwhile",
                        self.written.flows_unwritten
                    );
                }
                self.written.flows += count;
            }
            Err(error) => {
                if !self.failing {
                    self.failing = true;
                    eprintln!(
                        "weir-collector: {error}; going on, counting flows that cannot be written"
                    );
                }
                self.written.flows_unwritten += count;
            }
        }
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.written.flows = self.written.flows;
        progress.written.flows_unwritten = self.written.flows_unwritten;
        progress.windows_waiting = self.windows.len();
        drop(progress);
        self.pending.clear();
    }

    fn write(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if !self.append(now_ms)? {
            self.rotate();
            self.append(now_ms)?;
        }
        Ok(())
    }

    /// Appends what is pending; false if the window has not the columns for it.
    fn append(&mut self, now_ms: i64) -> Result<bool, StoreError> {
        if self.window.is_none() {
            self.needs_all_columns |= self.pending.iter().any(schema::has_all_columns);
            let start_ms = now_ms - now_ms.rem_euclid(self.rotation_ms);
            let path = self.directory.window_path(start_ms.div_euclid(1000));
            let window = if self.needs_all_columns {
                Window::create(&path)?
            } else {
                Window::create_narrow(&path)?
            };
            self.window = Some(OpenWindow {
                window,
                end_ms: start_ms + self.rotation_ms,
            });
        }
        match &mut self.window {
            Some(open) => open.window.append_rows(&self.pending),
            None => Ok(true),
        }
    }

    fn rotate_if_due(&mut self, now_ms: i64) {
        // A clock set far back ends the window too: it would otherwise never end.
        let due = self.window.as_ref().is_some_and(|open| {
            now_ms >= open.end_ms || now_ms < open.end_ms - 2 * self.rotation_ms
        });
        if due {
            self.flush(now_ms);
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        if let Some(open) = self.window.take() {
            let share = account::since(&self.account, &self.account_before);
            let notes = vec![
                (account::TOTALS.to_owned(), self.account.to_string()),
                (account::SHARE.to_owned(), share.to_string()),
            ];
            self.account_before = self.account.clone();
            let window = open.window.path().to_owned();
            let closing = Closing::new(window, open.window.flows(), notes);
            // The closing thread ends only after this sender is gone.
            let _ = self.windows.send(closing);
        }
    }
}

fn now_ms() -> i64 {
    i64::try_from(clock::unix_ns() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
