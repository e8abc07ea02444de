//! The open window: an Arrow IPC stream that grows by whole messages. Everything up to the last
//! one can be read at any time, also after `kill -9`; a write that fails (full disk) is cut off
//! again, so that the next one starts on a whole message. One that has the columns of version 1 only
//! takes no flow that has more; its writer begins another one then.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, Write as _},
    path::{Path, PathBuf},
};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    ipc::writer::{StreamEncoder, StreamWriter},
};

use crate::{
    StoreError,
    schema::{self, StoredFlow},
};

/// A window being written.
pub struct Window {
    path: PathBuf,
    file: File,
    encoder: StreamEncoder,
    whole_octets: u64,
    /// Whether a part of a message is behind them, which could not be cut off.
    is_torn: bool,
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
        let schema = StreamWriter::try_new(Vec::new(), &columns);
        let schema = schema.map_err(StoreError::arrow(path))?;
        let mut encoder = StreamEncoder::try_new(&columns).map_err(StoreError::arrow(path))?;
        // It puts the schema before the first message, which a window has even if no message can be written: that
        // one is thrown away, and what comes is messages alone.
        let empty = RecordBatch::new_empty(columns);
        encoder.encode(&empty).map_err(StoreError::arrow(path))?;
        let mut window = Self {
            path: path.to_owned(),
            file,
            encoder,
            whole_octets: 0,
            is_torn: false,
            flows: 0,
            has_all_columns,
        };
        if let Err(error) = window.write(&[schema.get_ref().as_slice().into()]) {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(window)
    }

    /// Appends flows as one message. False, and none of them, if they have what this window has no columns for.
    ///
    /// # Errors
    /// If they could not be written whole; the file is then as it was before.
    pub fn append(&mut self, flows: &[StoredFlow]) -> Result<bool, StoreError> {
        let rows = schema::rows(flows).map_err(StoreError::arrow(&self.path))?;
        self.append_rows(&[rows])
    }

    /// The same of flows that are columns already ([`crate::columns`]).
    ///
    /// # Errors
    /// Likewise.
    pub fn append_rows(&mut self, parts: &[RecordBatch]) -> Result<bool, StoreError> {
        let rows = schema::joined(parts).map_err(StoreError::arrow(&self.path))?;
        let encoded = match (self.has_all_columns, schema::has_all_columns(&rows)) {
            (false, true) => return Ok(false),
            (true, false) => {
                schema::with_all_columns(&rows).and_then(|rows| self.encoder.encode(&rows))
            }
            _ => self.encoder.encode(&rows),
        };
        self.write(&encoded.map_err(StoreError::arrow(&self.path))?)?;
        self.flows += rows.num_rows() as u64;
        Ok(true)
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

    /// Appends a message, whose pieces are where the columns were filled.
    fn write(&mut self, pieces: &[Buffer]) -> Result<(), StoreError> {
        // Behind a part of a message nothing could be read back.
        if self.is_torn {
            self.cut_off()
                .map_err(StoreError::io("shorten", &self.path))?;
        }
        match write_all(&mut self.file, pieces) {
            Ok(()) => {
                self.whole_octets += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                Ok(())
            }
            Err(error) => {
                self.is_torn = true;
                let _ = self.cut_off();
                Err(StoreError::io("write", &self.path)(error))
            }
        }
    }

    /// Cuts off what is behind the last whole message. A full disk may have no room for that either.
    fn cut_off(&mut self) -> io::Result<()> {
        self.file.set_len(self.whole_octets)?;
        self.is_torn = false;
        Ok(())
    }
}

/// Writes pieces one after the other, in one system call mostly.
fn write_all(file: &mut File, pieces: &[Buffer]) -> io::Result<()> {
    let pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let mut slices: Vec<_> = pieces.map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(octets) => IoSlice::advance_slices(&mut left, octets),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::read::{self, Ended};

    #[test]
    fn d04_what_could_not_be_cut_off_goes_before_the_next_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows-20261121T050000Z.arrows");
        let mut window = Window::create(&path).unwrap();
        let flows = vec![StoredFlow::default(); 10];
        assert!(window.append(&flows).unwrap());
        // As a write leaves it that fails on a disk where nothing can be cut off.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..100]].concat()).unwrap();
        window.is_torn = true;
        assert!(window.append(&flows).unwrap());
        let mut rows = 0;
        let ended = read::window(&path, |batch| {
            rows += batch.num_rows();
            Ok(())
        });
        assert_eq!((ended.unwrap(), rows), (Ended::Whole, 20));
    }
}
