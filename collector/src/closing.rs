//! Windows become Parquet on a thread of their own, so that rotation stops nobody. One that cannot be closed
//! now (a full disk, say) stays as it is, which readers see; it is tried again each minute, and at the end.

use std::{
    mem,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use weir_store::{
    form::Place,
    recover,
    rotate::{self, Rotated},
};

use crate::{clock::Patience, writer::Progress};

/// How often windows that stayed are tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// A window to be closed: the flows written to it, and what is noted in the file.
#[derive(Debug)]
pub struct Closing {
    /// Its file.
    pub window: PathBuf,
    /// Flows written to it, as far as that is known.
    pub flows: u64,
    /// What is noted.
    pub notes: Vec<(String, String)>,
    is_told: bool,
}

impl Closing {
    /// One of ours.
    #[must_use]
    pub fn new(window: PathBuf, flows: u64, notes: Vec<(String, String)>) -> Self {
        Self {
            window,
            flows,
            notes,
            is_told: false,
        }
    }

    /// One that an earlier collector left, and that could not be closed at start, which was told.
    #[must_use]
    pub fn recovered(window: PathBuf) -> Self {
        Self {
            is_told: true,
            ..Self::new(window, 0, recover::notes())
        }
    }
}

/// What the thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Windows that became files.
    pub windows: u64,
    /// Windows that did not, or not whole.
    pub kept: u64,
    /// Flows that were written to a window and could not be read back.
    pub flows_unreadable: u64,
}

/// Closes windows as they come, `kept` at once, until nobody sends any more. Each file is told to `told`, and
/// `progress` is kept.
#[must_use]
pub fn close_windows(
    place: Place<'_>,
    kept: Vec<Closing>,
    windows: &Receiver<Closing>,
    told: &Sender<PathBuf>,
    progress: &Mutex<Progress>,
) -> Closed {
    let mut closer = Closer {
        place,
        told,
        kept,
        done: Closed::default(),
    };
    let mut again = Patience::new(AGAIN);
    loop {
        match windows.recv_timeout(AGAIN) {
            Ok(closing) => closer.close(closing),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if again.is_over() {
            again = Patience::new(AGAIN);
            closer.again();
        }
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.windows_waiting = windows.len();
        progress.written.windows_closed = closer.done.windows;
        progress.written.windows_kept = closer.done.kept + closer.kept.len() as u64;
        progress.written.flows_unreadable = closer.done.flows_unreadable;
    }
    closer.again();
    closer.done.kept += closer.kept.len() as u64;
    closer.done
}

struct Closer<'a> {
    place: Place<'a>,
    told: &'a Sender<PathBuf>,
    kept: Vec<Closing>,
    done: Closed,
}

impl Closer<'_> {
    fn again(&mut self) {
        for closing in mem::take(&mut self.kept) {
            self.close(closing);
        }
    }

    fn close(&mut self, closing: Closing) {
        match rotate::close(self.place, &closing.window, &closing.notes) {
            Ok(rotated) => self.closed(&closing, rotated),
            Err(error) => {
                if !closing.is_told {
                    let window = closing.window.display();
                    eprintln!(
                        "weir-collector: {window} stays open, and is tried again each minute: {error}"
                    );
                }
                self.kept.push(Closing {
                    is_told: true,
                    ..closing
                });
            }
        }
    }

    fn closed(&mut self, closing: &Closing, rotated: Rotated) {
        let Rotated { path, flows, .. } = rotated;
        if flows < closing.flows {
            let missing = closing.flows - flows;
            self.done.kept += 1;
            self.done.flows_unreadable += missing;
            let window = closing.window.display();
            eprintln!("weir-collector: {missing} flows of {window} cannot be read back");
        }
        if let Some(path) = path {
            self.done.windows += 1;
            eprintln!("weir-collector: {flows} flows in {}", path.display());
            // Who is told ends later than all that tell.
            let _ = self.told.send(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crossbeam::channel::unbounded;
    use weir_store::{layout::Directory, schema::StoredFlow, window::Window};

    use super::*;

    const START_S: i64 = 1_795_237_200; // 2026-11-21 05:00:00 UTC

    #[test]
    fn d03_a_window_that_could_not_be_closed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let directory = Directory::lock(root).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        let flow = StoredFlow {
            received_ns: 1_795_237_200_000_000_000,
            ..StoredFlow::default()
        };
        window.append(&vec![flow; 10]).unwrap();
        // Something else is where the day's folder belongs.
        let obstacle = root.join("date=2026-11-21");
        fs::write(&obstacle, "").unwrap();
        let (told, files) = unbounded();
        let mut closer = Closer {
            place: root.into(),
            told: &told,
            kept: Vec::new(),
            done: Closed::default(),
        };
        closer.close(Closing::new(window.path().to_owned(), 10, Vec::new()));
        assert_eq!((closer.kept.len(), closer.done), (1, Closed::default()));
        assert!(window.path().exists());
        let partial = window.path().with_extension("parquet.partial");
        assert!(!partial.exists(), "what was begun takes no room");

        fs::remove_file(&obstacle).unwrap();
        let (sender, windows) = unbounded();
        drop(sender);
        let done = close_windows(
            root.into(),
            mem::take(&mut closer.kept),
            &windows,
            &told,
            &Mutex::default(),
        );
        let expected = Closed {
            windows: 1,
            ..Closed::default()
        };
        assert_eq!(done, expected);
        assert!(files.recv().unwrap().exists() && !window.path().exists());
    }
}
