//! The open window: an Arrow IPC stream that grows by whole messages. Everything up to the last
//! one can be read at any time, also after `kill -9`; a write that fails (full disk) is cut off
//! again, so that the next one starts on a whole message. One that has the columns of version 1 only is
//! given no flow that has more; its writer begins another one then ([`schema::need_all_columns`]).

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use arrow::ipc::writer::StreamWriter;

use crate::{
    StoreError,
    schema::{self, StoredFlow},
};

/// A window being written.
pub struct Window {
    path: PathBuf,
    file: File,
    encoder: StreamWriter<Vec<u8>>,
    whole_octets: u64,
    flows: u64,
    has_all_columns: bool,
}

impl Window {
    /// Begins a window in a new file, with all columns.
    ///
    /// # Errors
    /// If the file cannot be made; then none is left.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, true)
    }

    /// Begins one with the columns of version 1, which take less.
    ///
    /// # Errors
    /// Likewise.
    pub fn create_narrow(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, false)
    }

    fn create_with(path: &Path, has_all_columns: bool) -> Result<Self, StoreError> {
        let columns = if has_all_columns {
            schema::schema()
        } else {
            schema::earlier_schema()
        };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(StoreError::io("create", path))?;
        let encoder =
            StreamWriter::try_new(Vec::new(), &columns).map_err(StoreError::arrow(path))?;
        let mut window = Self {
            path: path.to_owned(),
            file,
            encoder,
            whole_octets: 0,
            flows: 0,
            has_all_columns,
        };
        if let Err(error) = window.write_encoded() {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(window)
    }

    /// Whether it holds flows with what version 1 had no columns for.
    #[must_use]
    pub fn has_all_columns(&self) -> bool {
        self.has_all_columns
    }

    /// Appends flows as one message. Without all columns, what has none of them is left out.
    ///
    /// # Errors
    /// If they could not be written whole; the file is then as it was before.
    pub fn append(&mut self, flows: &[StoredFlow]) -> Result<(), StoreError> {
        let batch = if self.has_all_columns {
            schema::batch(flows)
        } else {
            schema::earlier_batch(flows)
        };
        let batch = batch.map_err(StoreError::arrow(&self.path))?;
        self.encoder
            .write(&batch)
            .map_err(StoreError::arrow(&self.path))?;
        self.write_encoded()?;
        self.flows += flows.len() as u64;
        Ok(())
    }

    /// Flows in it.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_encoded(&mut self) -> Result<(), StoreError> {
        let encoded = self.encoder.get_mut();
        let octets = encoded.len() as u64;
        let written = self.file.write_all(encoded);
        // Emptied, but not given back: the next message takes as much.
        encoded.clear();
        match written {
            Ok(()) => {
                self.whole_octets += octets;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.whole_octets);
                Err(StoreError::io("write", &self.path)(error))
            }
        }
    }
}
