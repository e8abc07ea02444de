//! Records as they arrive: the collector's open windows, read as they grow. A window that is closed is
//! read to its end, since its file was opened before.

use std::{collections::BTreeMap, path::PathBuf};

use weir_store::{StoreError, follow::Follower, read, rows, schema::StoredFlow};

/// The windows of a directory.
pub struct Arrivals {
    /// The collector's directory.
    root: PathBuf,
    windows: BTreeMap<PathBuf, Follower>,
}

impl Arrivals {
    /// Follows a directory's windows, from the beginning of those that are open.
    #[must_use]
    pub fn of(root: PathBuf) -> Self {
        Self {
            root,
            windows: BTreeMap::new(),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ledger::tests::flow;
    use weir_store::{layout::Directory, window::Window};

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
}
