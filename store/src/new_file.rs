//! A closed file that is made of flows at once, without a window: what is imported or rewritten. Readers
//! see it whole or not at all; what a process that was killed left of it, `repair` clears away.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    StoreError,
    closed::ClosedWriter,
    form::Place,
    layout::{self, Directory},
    rotate,
    schema::{self, StoredFlow},
};

/// A file being made.
pub struct NewFile<'a> {
    directory: &'a Directory,
    partial: PathBuf,
    closed: PathBuf,
    writer: ClosedWriter,
}

impl<'a> NewFile<'a> {
    /// Begins one among the files of the time of `start_s`; `notes` go into its metadata.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(
        directory: &'a Directory,
        start_s: i64,
        notes: &[(String, String)],
    ) -> Result<Self, StoreError> {
        let window = directory.window_path(start_s);
        let stem = window.file_stem().and_then(|stem| stem.to_str());
        let stem = stem.unwrap_or("flows");
        let Place { root, form } = directory.place();
        let folder = layout::open_folder(root);
        let partial = folder.join(format!("{stem}{}", rotate::PARTIAL_SUFFIX));
        Ok(Self {
            directory,
            closed: form.layout.closed_path(root, start_s, stem),
            writer: ClosedWriter::create_as(&partial, notes, form.compression, &[])?,
            partial,
        })
    }

    /// Appends flows.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, flows: &[StoredFlow]) -> Result<(), StoreError> {
        let batch = schema::batch(flows).map_err(StoreError::arrow(&self.partial))?;
        self.writer.write(&batch)
    }

    /// Gives it its name; that, and how many flows are in it.
    ///
    /// # Errors
    /// If it cannot be finished; then nothing of it is left, but for [`StoreError::Unsynced`]: it is there then.
    pub fn finish(self) -> Result<(PathBuf, u64), StoreError> {
        let Self {
            directory,
            partial,
            closed,
            writer,
        } = self;
        let published = writer.finish().and_then(|flows| {
            rotate::publish(directory.root(), &partial, &closed)?;
            Ok((closed, flows))
        });
        published.inspect_err(|_| remove(&partial))
    }

    /// Leaves nothing of it.
    pub fn abandon(self) {
        let Self {
            partial, writer, ..
        } = self;
        drop(writer);
        remove(&partial);
    }
}

/// If it cannot be removed, `repair` will.
fn remove(partial: &Path) {
    let _ = fs::remove_file(partial);
}

#[cfg(test)]
mod tests {
    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{read, rows, verify};

    const START_S: i64 = 1_795_237_200;

    fn flow(packets: u64) -> StoredFlow {
        StoredFlow {
            record: FlowRecord {
                packets,
                ..FlowRecord::default()
            },
            received_ns: 1_795_237_200_000_000_000,
            ..StoredFlow::default()
        }
    }

    #[test]
    fn files_of_one_second_get_names_of_their_own_and_abandoned_ones_none() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut paths = Vec::new();
        for packets in 1..=2 {
            let notes = [("weir.imported".to_owned(), packets.to_string())];
            let mut file = NewFile::create(&directory, START_S, &notes).unwrap();
            file.write(&[flow(packets)]).unwrap();
            assert_eq!(read::list(folder.path()).unwrap().closed.len(), paths.len());
            let (path, flows) = file.finish().unwrap();
            assert_eq!(flows, 1);
            paths.push(path);
        }
        assert_ne!(paths[0], paths[1]);
        NewFile::create(&directory, START_S, &[]).unwrap().abandon();
        assert_eq!(read::list(folder.path()).unwrap().closed.len(), 2);
        let open = fs::read_dir(layout::open_folder(folder.path())).unwrap();
        let partial = open.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".partial")
        });
        assert_eq!(partial.count(), 0);
        let mut found = Vec::new();
        let verified = verify::read_sound(&paths[1], |batch| {
            found.extend(rows::flows(&batch).unwrap());
            Ok(())
        });
        assert!(verified.unwrap().faults.is_empty());
        assert_eq!(found, [flow(2)]);
    }
}
