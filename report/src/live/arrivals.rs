//! Records as they arrive: the collector's open windows, read as they grow. A window that is closed is
//! read to its end, since its file was opened before.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use weir_store::{
    StoreError, follow::Follower, footer, layout, read, rows, schema::StoredFlow, verify,
};

/// The longest window, seconds.
const WINDOW_MAX_S: u64 = 86_400;

/// The windows of a directory.
pub struct Arrivals {
    /// The collector's directory.
    root: PathBuf,
    windows: BTreeMap<PathBuf, Follower>,
    /// What was received since then and is in closed files is still to be read, nanoseconds since 1970-01-01 UTC.
    closed_since_ns: Option<u64>,
}

impl Arrivals {
    /// Follows a directory's windows, from the beginning of those that are open.
    #[must_use]
    pub fn of(root: PathBuf) -> Self {
        Self {
            root,
            windows: BTreeMap::new(),
            closed_since_ns: None,
        }
    }

    /// Likewise, and shows first what was received since then in windows that are closed already. `since_ns`:
    /// nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn since(root: PathBuf, since_ns: u64) -> Self {
        Self {
            closed_since_ns: Some(since_ns),
            ..Self::of(root)
        }
    }

    /// Shows what has arrived since the last call; what could not be read, as a sentence.
    pub fn read(&mut self, mut arrived: impl FnMut(&StoredFlow)) -> Option<String> {
        let mut trouble = None;
        let listed = match read::list_open(&self.root) {
            Ok(listed) => listed,
            // Windows that were forgotten would be read from their beginning again.
            Err(error) => return Some(error.to_string()),
        };
        for path in &listed {
            if !self.windows.contains_key(path) {
                match Follower::open(path) {
                    Ok(follower) => drop(self.windows.insert(path.clone(), follower)),
                    // It was closed between the list and the look.
                    Err(_) if !path.exists() => {}
                    Err(error) => trouble = Some(error.to_string()),
                }
            }
        }
        if let Some(since_ns) = self.closed_since_ns.take() {
            // A window that is closed meanwhile is open here, and is read as such.
            trouble = self.read_closed(since_ns, &mut arrived).or(trouble);
        }
        for (path, window) in &mut self.windows {
            let ended = window.read_on(|batch| {
                let flows = rows::flows(&batch).map_err(StoreError::arrow(path))?;
                flows.iter().for_each(&mut arrived);
                Ok::<(), StoreError>(())
            });
            match ended {
                Ok(None) => {}
                Ok(Some(reason)) => trouble = Some(format!("{}: {reason}", path.display())),
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        // What is not listed any more was read to its end just now.
        self.windows.retain(|path, _| listed.contains(path));
        trouble
    }

    /// When the last flow was received that is in the newest closed file, nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn last_closed_ns(&self) -> Option<i64> {
        let listed = read::list(&self.root).ok()?;
        last_received_ns(listed.closed.last()?)
    }

    /// Shows what was received since then and is in closed files; what could not be read, as a sentence.
    fn read_closed(&self, since_ns: u64, arrived: &mut impl FnMut(&StoredFlow)) -> Option<String> {
        let listed = match read::list(&self.root) {
            Ok(listed) => listed.closed,
            Err(error) => return Some(error.to_string()),
        };
        let is_followed = |path: &Path| {
            let mut followed = self.windows.keys();
            followed.any(|window| window.file_stem() == path.file_stem())
        };
        let mut trouble = None;
        for path in listed {
            if is_followed(&path) || !may_have_since(&path, since_ns) {
                continue;
            }
            let read = verify::read_sound(&path, |batch| {
                let flows = rows::flows(&batch).map_err(StoreError::arrow(&path))?;
                let recent = flows.iter().filter(|flow| flow.received_ns >= since_ns);
                recent.for_each(&mut *arrived);
                Ok(())
            });
            match read {
                Ok(verified) => {
                    let fault = verified.faults.first();
                    trouble = fault
                        .map(|fault| format!("{}: {fault}", path.display()))
                        .or(trouble);
                }
                Err(_) if !path.exists() => {}
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        trouble
    }
}

/// Whether a closed file may have flows that were received since then, by its name and its footer.
fn may_have_since(path: &Path, since_ns: u64) -> bool {
    let since_s = i64::try_from((since_ns / 1_000_000_000).saturating_sub(WINDOW_MAX_S));
    let begins_s = layout::window_start_s(path);
    if let (Some(begins_s), Ok(since_s)) = (begins_s, since_s)
        && begins_s < since_s
    {
        return false;
    }
    let last_ns = last_received_ns(path).and_then(|last_ns| u64::try_from(last_ns).ok());
    last_ns.is_none_or(|last_ns| last_ns >= since_ns)
}

/// When the last flow of a closed file was received, by its footer. Why that cannot be read is told by who reads the
/// file.
fn last_received_ns(path: &Path) -> Option<i64> {
    let (_, last_ns) = footer::read(path).ok()?.received_ns?;
    Some(last_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ledger::tests::{SECOND_NS, flow};
    use weir_store::{layout::Directory, rotate, window::Window};

    #[test]
    fn records_are_read_as_they_were_written_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut arrivals = Arrivals::of(folder.path().to_owned());
        let mut window = Window::create(&directory.window_path(1_795_237_200)).unwrap();
        let mut written = flow(1, 2, 700, 0);
        written.exporter = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        written.record.source_as = 64_500;
        window
            .append(&[written.clone(), flow(3, 4, 100, 1)])
            .unwrap();
        let mut seen = Vec::new();
        assert_eq!(arrivals.read(|flow| seen.push(flow.clone())), None);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], written);
        window.append(&[flow(5, 6, 100, 2)]).unwrap();
        std::fs::remove_file(window.path()).unwrap();
        assert_eq!(arrivals.read(|flow| seen.push(flow.clone())), None);
        assert_eq!(seen.len(), 3);
        assert!(arrivals.windows.is_empty());
    }

    /// Who looks once, just after a window was closed, sees what was in it.
    #[test]
    fn what_was_received_a_moment_ago_is_in_closed_files_too() {
        const START_S: i64 = 1_795_237_200;
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let start_ns = START_S.unsigned_abs() * SECOND_NS;
        let received = |octets: u64, second: u64| StoredFlow {
            received_ns: start_ns + second * SECOND_NS,
            ..flow(1, 2, octets, 0)
        };
        for (start_s, flows) in [
            // Of the day before yesterday, of half an hour ago, and across the time that is asked for.
            (START_S - 2 * 86_400, [received(1, 1000), received(1, 1001)]),
            (START_S, [received(2, 0), received(2, 1)]),
            (START_S + 900, [received(3, 900), received(4, 1100)]),
        ] {
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            window.append(&flows).unwrap();
            rotate::close(folder.path(), window.path(), &[]).unwrap();
        }
        // It is being closed: its file is there, and so is the window.
        let mut window = Window::create(&directory.window_path(START_S + 1200)).unwrap();
        window.append(&[received(5, 1200)]).unwrap();
        let place = std::fs::read(window.path()).unwrap();
        rotate::close(folder.path(), window.path(), &[]).unwrap();
        std::fs::write(window.path(), place).unwrap();

        let since_ns = start_ns + 1000 * SECOND_NS;
        let mut arrivals = Arrivals::since(folder.path().to_owned(), since_ns);
        let mut seen = Vec::new();
        let trouble = arrivals.read(|flow| seen.push(flow.record.octets));
        assert_eq!((trouble, &seen[..]), (None, &[4, 5][..]));
        let trouble = arrivals.read(|flow| seen.push(flow.record.octets));
        assert_eq!((trouble, seen.len()), (None, 2), "once");
    }
}
