//! What becomes known while files are read: how far the reading got, and which files could not be read
//! to their end. A query and the answer made of it share it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use weir_store::layout;

use crate::progress::Bar;

/// Shared by a query and its answer.
#[derive(Clone, Debug, Default)]
pub struct Reading(Arc<State>);

#[derive(Debug, Default)]
struct State {
    octets: AtomicU64,
    octets_read: AtomicU64,
    left_out: Mutex<Vec<(PathBuf, String)>>,
    bar: Bar,
    /// Of directories whose files are read.
    locks: Mutex<Vec<(PathBuf, Option<File>)>>,
}

impl Reading {
    /// Keeps a directory's closed files where they are until the answer is there.
    pub fn hold(&self, root: &Path) {
        let mut locks = self.0.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.iter().all(|(held, _)| held != root) {
            locks.push((root.to_owned(), layout::lock_for_reading(root)));
        }
    }

    /// So many octets of files will be read, too.
    pub fn expect(&self, octets: u64) {
        self.0.octets.fetch_add(octets, Ordering::Relaxed);
    }

    /// So many octets were read, or turned out not to be needed.
    pub fn done(&self, octets: u64) {
        self.0.octets_read.fetch_add(octets, Ordering::Relaxed);
    }

    /// Octets read, and octets of all.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let octets = self.0.octets.load(Ordering::Relaxed);
        let read = self.0.octets_read.load(Ordering::Relaxed);
        (read.min(octets), octets)
    }

    /// What shows it on a terminal.
    #[must_use]
    pub fn bar(&self) -> &Bar {
        &self.0.bar
    }

    /// A file, or what was not read of it yet, is left out. Several queries of one answer come upon the
    /// same damage: it is named once.
    pub fn leave_out(&self, path: PathBuf, reason: String) {
        let mut left_out = self.lock();
        if left_out.iter().all(|(known, _)| *known != path) {
            left_out.push((path, reason));
        }
    }

    /// Whether a file is left out, or the rest of it.
    #[must_use]
    pub fn is_left_out(&self, path: &Path) -> bool {
        let left_out = self.lock();
        left_out.iter().any(|(known, _)| known == path)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PathBuf, String)>> {
        let left_out = self.0.left_out.lock();
        left_out.unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that were left out, or the rest of them, and why; by name.
    #[must_use]
    pub fn left_out(&self) -> Vec<(PathBuf, String)> {
        let mut left_out = self.lock().clone();
        left_out.sort();
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_named_once() {
        let reading = Reading::default();
        for (path, reason) in [("/b", "first"), ("/a", "other"), ("/b", "again")] {
            reading.leave_out(path.into(), reason.to_owned());
        }
        let named: Vec<_> = reading.left_out();
        assert_eq!(
            named,
            [
                ("/a".into(), "other".to_owned()),
                ("/b".into(), "first".to_owned())
            ]
        );
    }

    /// A query that is run twice reads twice; one that is cut short reads less.
    #[test]
    fn progress_is_never_beyond_the_whole() {
        let reading = Reading::default();
        assert_eq!(reading.progress(), (0, 0));
        reading.expect(10);
        reading.done(4);
        assert_eq!(reading.progress(), (4, 10));
        reading.done(40);
        assert_eq!(reading.progress(), (10, 10));
    }
}
