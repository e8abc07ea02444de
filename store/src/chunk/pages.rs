//! The pages of a chunk, and what the footer says of it.

use std::{io::Write, mem, ops::Range};

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, Type},
    bloom_filter::Sbbf,
    column::{
        page::{CompressedPage, Page, PageWriter as _},
        writer::ColumnCloseResult,
    },
    errors::{ParquetError, Result},
    file::{
        metadata::ColumnChunkMetaData,
        statistics::Statistics,
        writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

use super::{Workspace, codec::Codec, hybrid, value::Value};

/// Rows of a page: a reader unpacks one of each column at a time, and its core's cache should hold them.
const PAGE_ROWS: usize = 1 << 16;
/// Octets of a page's values: readers, ours among them, refuse larger pages ([`crate::claims`]). Only long texts
/// come to that, of a file that another program wrote and `recompact` or `repair` writes anew.
pub const PAGE_OCTETS_MAX: usize = 8 << 20;

/// Rows of a page.
pub struct Rows<'a> {
    count: usize,
    /// Which of them have a value; all, if that is not told.
    has_value: Option<&'a [bool]>,
    /// Places of their values among the column's.
    pub values: Range<usize>,
}

impl<'a> Rows<'a> {
    /// Of a column whose rows all have a value.
    pub fn all(count: usize) -> Vec<Self> {
        let pages = (0..count).step_by(PAGE_ROWS).map(|at| {
            let values = at..count.min(at + PAGE_ROWS);
            Self {
                count: values.len(),
                has_value: None,
                values,
            }
        });
        pages.collect()
    }

    /// Of one whose rows have one or not.
    pub fn some(has_value: &'a [bool]) -> Vec<Self> {
        let mut at = 0;
        let pages = has_value.chunks(PAGE_ROWS).map(|has_value| {
            let values = has_value.iter().filter(|has_value| **has_value).count();
            at += values;
            Self {
                count: has_value.len(),
                has_value: Some(has_value),
                values: at - values..at,
            }
        });
        pages.collect()
    }

    /// The same in parts whose values have [`PAGE_OCTETS_MAX`] at most, unless one alone has more; `octets` tells
    /// how many one has, by its place among the column's.
    pub fn parts(self, octets: impl Fn(usize) -> usize) -> Vec<Self> {
        if self.values.clone().map(&octets).sum::<usize>() <= PAGE_OCTETS_MAX {
            return vec![self];
        }
        let mut parts = Vec::new();
        let (mut from_row, mut from) = (0, self.values.start);
        let (mut at, mut taken) = (from, 0);
        for row in 0..self.count {
            if self.has_value.is_some_and(|has_value| !has_value[row]) {
                continue;
            }
            let more = octets(at);
            if taken + more > PAGE_OCTETS_MAX && at > from {
                parts.push(self.part(from_row..row, from..at));
                (from_row, from, taken) = (row, at, 0);
            }
            taken += more;
            at += 1;
        }
        parts.push(self.part(from_row..self.count, from..at));
        parts
    }

    fn part(&self, rows: Range<usize>, values: Range<usize>) -> Self {
        Self {
            count: rows.len(),
            has_value: self.has_value.map(|has_value| &has_value[rows]),
            values,
        }
    }
}

/// A column chunk.
pub struct Chunk {
    octets: Bytes,
    closed: ColumnCloseResult,
}

impl Chunk {
    /// Appends it to a row group; it must be the next column's.
    pub fn append_to<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        group.append_column(&self.octets, self.closed)
    }
}

/// A chunk in the making.
pub struct Pages<'a> {
    column: &'a ColumnDescPtr,
    work: &'a mut Workspace,
    /// Whether pages are compressed: of a chunk all are or none is.
    compresses: bool,
    written: TrackedWrite<Vec<u8>>,
    rows: usize,
    uncompressed_octets: usize,
    dictionary_at: Option<i64>,
    data_at: Option<i64>,
    encodings: Vec<Encoding>,
}

impl<'a> Pages<'a> {
    /// Of a column.
    pub fn new(column: &'a ColumnDescPtr, work: &'a mut Workspace) -> Self {
        Self {
            column,
            work,
            compresses: true,
            written: TrackedWrite::new(Vec::new()),
            rows: 0,
            uncompressed_octets: 0,
            dictionary_at: None,
            data_at: None,
            // Of levels, where there are any.
            encodings: vec![Encoding::RLE],
        }
    }

    /// The same with pages as they are.
    pub fn uncompressed(self) -> Self {
        Self {
            compresses: false,
            ..self
        }
    }

    /// The column.
    pub fn column(&self) -> &'a ColumnDescPtr {
        self.column
    }

    /// The page before all others: different values, as they are.
    pub fn dictionary<T: Value>(&mut self, values: &[T]) -> Result<()> {
        let compress = if T::IS_TIME {
            Codec::compress_times
        } else {
            Codec::compress
        };
        let (buf, octets) = self.compressed(|out| T::put_all(values, out), compress)?;
        let page = Page::DictionaryPage {
            buf,
            num_values: number(values.len())?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.encodings.push(Encoding::PLAIN);
        self.dictionary_at = Some(self.append(page, octets)?);
        Ok(())
    }

    /// A page of rows, with their values.
    pub fn data(
        &mut self,
        rows: &Rows<'_>,
        encoding: Encoding,
        put_values: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let may_be_null = self.column.max_def_level() > 0;
        self.page(rows.count, encoding, |out| {
            if may_be_null {
                put_levels(rows, out);
            }
            put_values(out);
        })
    }

    fn page(
        &mut self,
        rows: usize,
        encoding: Encoding,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let (buf, octets) = self.compressed(put, Codec::compress)?;
        let page = Page::DataPage {
            buf,
            num_values: number(rows)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        let at = self.append(page, octets)?;
        self.data_at.get_or_insert(at);
        self.rows += rows;
        Ok(())
    }

    /// A page's octets, compressed, and how many they were.
    fn compressed(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>),
        compress: fn(&mut Codec, &[u8]) -> Result<Vec<u8>>,
    ) -> Result<(Bytes, usize)> {
        let mut octets = mem::take(&mut self.work.octets);
        octets.clear();
        put(&mut octets);
        let compressed = if self.compresses {
            compress(&mut self.work.codec, &octets)?
        } else {
            octets.clone()
        };
        let count = octets.len();
        self.work.octets = octets;
        Ok((compressed.into(), count))
    }

    /// Where it was written.
    fn append(&mut self, page: Page, uncompressed_octets: usize) -> Result<i64> {
        let page = CompressedPage::new(page, uncompressed_octets);
        let written = SerializedPageWriter::new(&mut self.written).write_page(page)?;
        self.uncompressed_octets += written.uncompressed_size;
        offset(written.offset)
    }

    /// The chunk.
    pub fn finish(mut self, statistics: Statistics, filter: Option<Sbbf>) -> Result<Chunk> {
        self.written.flush()?;
        let octets = self.written.into_inner()?;
        let compression = if self.compresses {
            self.work.codec.kind()
        } else {
            Compression::UNCOMPRESSED
        };
        let metadata = ColumnChunkMetaData::builder(self.column.clone())
            .set_compression(compression)
            .set_encodings(self.encodings)
            .set_total_compressed_size(offset(octets.len() as u64)?)
            .set_total_uncompressed_size(offset(self.uncompressed_octets as u64)?)
            .set_num_values(offset(self.rows as u64)?)
            .set_data_page_offset(self.data_at.unwrap_or(0))
            .set_dictionary_page_offset(self.dictionary_at)
            .set_statistics(statistics);
        let closed = ColumnCloseResult {
            bytes_written: octets.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: filter,
            column_index: None,
            offset_index: None,
        };
        Ok(Chunk {
            octets: octets.into(),
            closed,
        })
    }
}

/// A chunk of nulls, of whatever type.
pub fn of_nulls(column: &ColumnDescPtr, rows: usize, work: &mut Workspace) -> Result<Chunk> {
    let mut pages = Pages::new(column, work);
    pages.page(rows, Encoding::PLAIN, |out| {
        // A list that is null is one level of zero too: a row begins, and nothing is there.
        for level_max in [column.max_rep_level(), column.max_def_level()] {
            if level_max > 0 {
                let width = hybrid::width(level_max.unsigned_abs().into());
                sized(out, |out| hybrid::put_run(0, rows, width, out));
            }
        }
    })?;
    let nulls = Some(rows as u64);
    let statistics = match column.physical_type() {
        Type::INT32 => Statistics::int32(None, None, None, nulls, false),
        Type::INT64 => Statistics::int64(None, None, None, nulls, false),
        Type::FIXED_LEN_BYTE_ARRAY => {
            Statistics::fixed_len_byte_array(None, None, None, nulls, false)
        }
        _ => Statistics::byte_array(None, None, None, nulls, false),
    };
    pages.finish(statistics, None)
}

/// Which rows have a value, of a column that may be null.
fn put_levels(rows: &Rows<'_>, out: &mut Vec<u8>) {
    sized(out, |out| match rows.has_value {
        None => hybrid::put_run(1, rows.count, 1, out),
        Some(has_value) => {
            let levels: Vec<_> = has_value.iter().map(|has| u32::from(*has)).collect();
            hybrid::put(&levels, 1, out);
        }
    });
}

/// Appends something after how many octets it has.
fn sized(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    // A page of levels has some kilobytes.
    let octets = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&octets.to_le_bytes());
}

fn number(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|error| ParquetError::External(error.into()))
}

fn offset(octets: u64) -> Result<i64> {
    i64::try_from(octets).map_err(|error| ParquetError::External(error.into()))
}
