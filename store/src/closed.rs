//! A closed file being written: Parquet, with checksums of its row groups, a count of its flows and the
//! ends of their times in the footer's metadata. [`crate::footer`] reads it.
//!
//! | key | value |
//! |---|---|
//! | `weir.schema_version` | version of the columns: [`crate::schema`] |
//! | `weir.flows` | flows in the file |
//! | `weir.first_ns` | the first `flow_start`, nanoseconds since 1970-01-01 UTC |
//! | `weir.last_ns` | the last `flow_end`, likewise |
//! | `weir.checksums` | of its row groups: [`crate::checksum`] |
//! | `weir.footer` | of what the footer says: [`crate::footer_checksum`] |
//! | `weir.exporters` | the exporters' accounts since the collector's start when the window was closed, as JSON: [`crate::account`] |
//! | `weir.window` | what of that came to be in this window: datagrams, records, losses; to the second |
//! | `weir.recovered` | `true` if the collector that wrote the window did not close it |
//! | `weir.recompacted` | the files it was made of, with their flows and exporters, as JSON |
//! | `weir.heard` | when those files' flows were received: the first and the last, nanoseconds since 1970-01-01 UTC, as JSON |
//! | `weir.repaired` | what was left out of a damaged file |

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    compute,
    datatypes::TimestampNanosecondType,
};
use parquet::{
    arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        writer::SerializedFileWriter,
    },
};

use crate::{
    StoreError,
    checksum::{self, Block, Hashing},
    chunk,
    footer_checksum::{self, FOOTER},
    form::Compression,
    layout, schema,
};

/// Rows in a row group.
pub const ROW_GROUP_ROWS: usize = 1 << 20;
/// Octets of elements without a column in a row group, above which there is another one: 2^20 flows may have 2 GiB,
/// and a reader refuses a column of more than 1 GiB.
const OTHERS_OCTETS_MAX: usize = 256 << 20;
/// The metadata's key for the number of flows.
pub const FLOWS: &str = "weir.flows";
/// The metadata's key for the version of the columns.
pub const VERSION: &str = "weir.schema_version";
const FIRST_NS: &str = "weir.first_ns";
const LAST_NS: &str = "weir.last_ns";

/// A file being written.
pub struct ClosedWriter {
    path: PathBuf,
    writer: SerializedFileWriter<Hashing>,
    /// What goes into the metadata.
    notes: Vec<(String, String)>,
    compression: Compression,
    blocks: Vec<Block>,
    /// Of the row group in progress: which encoding is best is known when all of it is there.
    rows: Vec<RecordBatch>,
    rows_count: usize,
    others_octets: usize,
    flows: u64,
    first_ns: Option<i64>,
    last_ns: Option<i64>,
}

impl ClosedWriter {
    /// Begins one; `notes` go into its metadata.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path, notes: &[(String, String)]) -> Result<Self, StoreError> {
        Self::create_as(path, notes, Compression::default(), &[])
    }

    /// Begins one that is compressed so, and whose row groups are sorted by columns of these names.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create_as(
        path: &Path,
        notes: &[(String, String)],
        compression: Compression,
        sorted_by: &[&str],
    ) -> Result<Self, StoreError> {
        let schema = schema::schema();
        let sorting = sorted_by.iter().filter_map(|name| {
            let index = schema.index_of(name).ok()?;
            Some(SortingColumn {
                column_idx: i32::try_from(index).ok()?,
                descending: false,
                nulls_first: false,
            })
        });
        let sorting: Vec<_> = sorting.collect();
        let version = (VERSION.to_owned(), schema::SCHEMA_VERSION.to_owned());
        let mut properties = properties()
            .set_compression(compression.codec())
            .set_sorting_columns(Some(sorting).filter(|columns| !columns.is_empty()))
            .build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let columns = ArrowSchemaConverter::new().convert(&schema);
        let columns = columns
            .map_err(StoreError::parquet(path))?
            .root_schema_ptr();
        let file = Hashing::new(layout::create_file(path)?);
        let writer = SerializedFileWriter::new(file, columns, Arc::new(properties))
            .map_err(StoreError::parquet(path))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            notes: [&[version][..], notes].concat(),
            compression,
            blocks: Vec::new(),
            rows: Vec::new(),
            rows_count: 0,
            others_octets: 0,
            flows: 0,
            first_ns: None,
            last_ns: None,
        })
    }

    /// Appends flows.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let more = others_octets(batch);
        let others_octets = self.others_octets + more;
        if self.rows_count + batch.num_rows() > ROW_GROUP_ROWS || others_octets > OTHERS_OCTETS_MAX
        {
            self.end_row_group()?;
        }
        self.others_octets += more;
        let mut at = 0;
        while at < batch.num_rows() {
            let rows = (batch.num_rows() - at).min(ROW_GROUP_ROWS - self.rows_count);
            self.rows.push(batch.slice(at, rows));
            self.rows_count += rows;
            at += rows;
            if self.rows_count == ROW_GROUP_ROWS {
                self.end_row_group()?;
            }
        }
        self.flows += batch.num_rows() as u64;
        let times = |name| {
            let column = batch.column_by_name(name)?;
            column.as_primitive_opt::<TimestampNanosecondType>()
        };
        let first_ns = times("flow_start").and_then(compute::min);
        let last_ns = times("flow_end").and_then(compute::max);
        self.first_ns = self.first_ns.into_iter().chain(first_ns).min();
        self.last_ns = self.last_ns.max(last_ns);
        Ok(())
    }

    /// Ends a row group here; without rows since the last, nothing happens. The file's octets up to its end are
    /// hashed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end_row_group(&mut self) -> Result<(), StoreError> {
        if self.rows_count == 0 {
            return Ok(());
        }
        chunk::write_row_group(&mut self.writer, &self.rows, self.compression)
            .map_err(StoreError::parquet(&self.path))?;
        self.rows.clear();
        (self.rows_count, self.others_octets) = (0, 0);
        self.writer
            .flush()
            .map_err(StoreError::io("write", &self.path))?;
        let row_groups = self.writer.flushed_row_groups().len();
        self.blocks
            .push(self.writer.inner_mut().end_block(row_groups));
        Ok(())
    }

    /// Has the disk keep the row groups that have ended: all of a large file at its end would hold up what others
    /// write then.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.writer.inner_mut().sync();
        synced.map_err(StoreError::io("sync", &self.path))
    }

    /// Writes the footer, and has the disk keep all of it; how many flows there are.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<u64, StoreError> {
        self.end_row_group()?;
        let text = |time_ns: Option<i64>| time_ns.map(|time_ns| time_ns.to_string());
        for (key, value) in [
            (FLOWS, Some(self.flows.to_string())),
            (FIRST_NS, text(self.first_ns)),
            (LAST_NS, text(self.last_ns)),
            (checksum::CHECKSUMS, Some(checksum::encode(&self.blocks))),
        ] {
            self.notes
                .extend(value.map(|value| (key.to_owned(), value)));
        }
        let notes = self.notes.iter();
        let notes = notes.map(|(key, value)| (key.as_str(), value.as_str()));
        let checksum = footer_checksum::encode(self.writer.flushed_row_groups(), notes);
        self.notes.push((FOOTER.to_owned(), checksum));
        for (key, value) in self.notes {
            self.writer
                .append_key_value_metadata(KeyValue::new(key, value));
        }
        let hashing = self
            .writer
            .into_inner()
            .map_err(StoreError::parquet(&self.path))?;
        let file: File = hashing.into_file();
        file.sync_all()
            .map_err(StoreError::io("sync", &self.path))?;
        Ok(self.flows)
    }
}

/// Octets of the elements without a column.
fn others_octets(batch: &RecordBatch) -> usize {
    let others = batch.column_by_name("others");
    let octets = others.and_then(|others| others.to_data().get_slice_memory_size().ok());
    octets.unwrap_or(0)
}

fn properties() -> WriterPropertiesBuilder {
    // A file has an index of the pages of all columns or of none, and `chunk` makes none.
    WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
}
