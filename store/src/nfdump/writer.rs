//! A file being written. Its header says that it has no blocks until it is finished.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    mem,
    path::{Path, PathBuf},
};

use super::{
    BLOCK_HEADER_OCTETS, Compression, DATA_BLOCK, HEADER_OCTETS, IDENT, LAYOUT, MAGIC,
    NFDUMP_VERSION, STATISTICS, Totals, block,
    octets::{put_u16, put_u32, put_u64},
    record,
};
use crate::{StoreError, layout, schema::StoredFlow};

/// Octets of records that a block has at most, before they are compressed: nfdump's own.
const BLOCK_OCTETS: usize = 1 << 20;
/// More than any record has.
const RECORD_OCTETS_MAX: usize = 1024;
/// The file's name, which nfdump shows as its ident.
const NAME: &str = "weir";

/// A file being written.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    compression: Compression,
    created_s: u64,
    records: u32,
    block: Vec<u8>,
    blocks: u32,
    written_octets: u64,
    totals: Totals,
}

impl Writer {
    /// Begins one, said to be made at `created_s` (seconds since 1970-01-01 UTC).
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(
        path: &Path,
        compression: Compression,
        created_s: u64,
    ) -> Result<Self, StoreError> {
        Self::begin(layout::create_file(path)?, path, compression, created_s)
    }

    /// The same in a file that was made there and has nothing in it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(
        file: File,
        path: &Path,
        compression: Compression,
        created_s: u64,
    ) -> Result<Self, StoreError> {
        let mut writer = Self {
            path: path.to_owned(),
            file,
            compression,
            created_s,
            records: 0,
            block: Vec::with_capacity(BLOCK_OCTETS),
            blocks: 0,
            written_octets: 0,
            totals: Totals::new(),
        };
        writer.write(&writer.header(0))?;
        Ok(writer)
    }

    /// Appends a flow.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, flow: &StoredFlow) -> Result<(), StoreError> {
        if self.block.len() + RECORD_OCTETS_MAX > BLOCK_OCTETS {
            self.end_block()?;
        }
        record::encode(flow, &mut self.block);
        self.records += 1;
        self.totals.add(&flow.record);
        Ok(())
    }

    /// Writes what is left and the statistics, and has the disk keep it; what is in the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<Totals, StoreError> {
        self.end_block()?;
        let (blocks, appendix) = (self.blocks, self.written_octets);
        let name = [NAME.as_bytes(), &[0]].concat();
        let mut statistics = Vec::with_capacity(Totals::OCTETS);
        self.totals.encode(&mut statistics);
        for (kind, value) in [(IDENT, name), (STATISTICS, statistics)] {
            put_u16(&mut self.block, kind);
            // Four octets of header, and less than 200.
            put_u16(
                &mut self.block,
                u16::try_from(4 + value.len()).unwrap_or(u16::MAX),
            );
            self.block.extend(value);
            self.records += 1;
        }
        self.end_block()?;
        self.blocks = blocks;
        let header = self.header(appendix);
        let failed = StoreError::io("write", &self.path);
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.sync_all())
            .map_err(failed)?;
        Ok(self.totals)
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        if self.records == 0 {
            return Ok(());
        }
        let octets = block::compress(self.compression, &self.block)
            .map_err(|reason| StoreError::foreign(&self.path, reason))?;
        self.block.clear();
        let mut whole = Vec::with_capacity(BLOCK_HEADER_OCTETS + octets.len());
        put_u32(&mut whole, mem::take(&mut self.records));
        put_u32(&mut whole, u32::try_from(octets.len()).unwrap_or(u32::MAX));
        put_u16(&mut whole, DATA_BLOCK);
        put_u16(&mut whole, 0);
        whole.extend(octets);
        self.blocks += 1;
        self.write(&whole)
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(octets);
        written.map_err(StoreError::io("write", &self.path))?;
        self.written_octets += octets.len() as u64;
        Ok(())
    }

    /// The header; `appendix` is where that begins, 0 while there is none.
    fn header(&self, appendix: u64) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEADER_OCTETS);
        octets.extend(MAGIC);
        put_u16(&mut octets, LAYOUT);
        put_u32(&mut octets, NFDUMP_VERSION);
        put_u64(&mut octets, self.created_s);
        // Not encrypted.
        octets.extend([self.compression as u8, 0]);
        put_u16(&mut octets, u16::from(appendix > 0));
        put_u32(&mut octets, 0);
        put_u64(&mut octets, appendix);
        put_u32(&mut octets, 0);
        put_u32(&mut octets, if appendix > 0 { self.blocks } else { 0 });
        octets
    }
}
