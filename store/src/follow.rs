//! An open window that is read as it grows. The file stays open: what was appended before it was closed
//! and removed can still be read.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use arrow::array::RecordBatch;

use crate::{
    StoreError,
    read::{decode_safely, message_octets, whole_octets},
};

/// Octets of the message with the columns, at most; ours has some two thousand.
const COLUMNS_OCTETS_MAX: u64 = 1 << 20;

/// A window, and how far it was read.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: File,
    /// The first message, which every reader has to be given.
    columns: Vec<u8>,
    read_octets: u64,
}

impl Follower {
    /// Opens a window, of which nothing was read yet.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            file: File::open(path).map_err(StoreError::io("open", path))?,
            path: path.to_owned(),
            columns: Vec::new(),
            read_octets: 0,
        })
    }

    /// Reads the messages that were appended since, as far as they are whole. The reason, if one is
    /// not what it should be; the window is then read no further.
    ///
    /// # Errors
    /// If the file cannot be read, or `batch` fails.
    pub fn read_on(
        &mut self,
        mut batch: impl FnMut(RecordBatch) -> Result<(), StoreError>,
    ) -> Result<Option<String>, StoreError> {
        let path = self.path.clone();
        let failed = || StoreError::io("read", &path);
        let octets = self.file.metadata().map_err(failed())?.len();
        if self.columns.is_empty() {
            let length = message_octets(&mut self.file, 0, octets).map_err(failed())?;
            let Some(length) = length else {
                return Ok(None);
            };
            if length > COLUMNS_OCTETS_MAX {
                return Ok(Some("its columns take more than a MiB".to_owned()));
            }
            self.file.rewind().map_err(failed())?;
            let first = Read::by_ref(&mut self.file);
            let read = first.take(length).read_to_end(&mut self.columns);
            read.map_err(failed())?;
            self.read_octets = length;
        }
        let from = self.read_octets;
        let whole = whole_octets(&mut self.file, from, octets).map_err(failed())?;
        if whole == from {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(from)).map_err(failed())?;
        self.read_octets = whole;
        let appended = Read::by_ref(&mut self.file).take(whole - from);
        decode_safely(self.columns.as_slice().chain(appended), &path, &mut batch)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{layout::Directory, schema::StoredFlow, window::Window};

    fn flows(number: u64) -> Vec<StoredFlow> {
        let flow = |packets| StoredFlow {
            record: FlowRecord {
                packets,
                ..FlowRecord::default()
            },
            received_ns: 1_700_000_000_000_000_000,
            ..StoredFlow::default()
        };
        (0..number).map(flow).collect()
    }

    fn read_on(follower: &mut Follower) -> usize {
        let mut rows = 0;
        let trouble = follower.read_on(|batch| {
            rows += batch.num_rows();
            Ok(())
        });
        assert_eq!(trouble.unwrap(), None);
        rows
    }

    #[test]
    fn what_is_appended_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(1_795_237_200)).unwrap();
        let mut follower = Follower::open(window.path()).unwrap();
        assert_eq!(read_on(&mut follower), 0);
        window.append(&flows(10)).unwrap();
        window.append(&flows(5)).unwrap();
        assert_eq!(read_on(&mut follower), 15);
        assert_eq!(read_on(&mut follower), 0);
        window.append(&flows(7)).unwrap();
        // It is closed, and gone from the folder.
        fs::remove_file(window.path()).unwrap();
        assert_eq!(read_on(&mut follower), 7);
    }
}
