//! Columns of a closed file, a row group at a time: each is read whole and looked at ([`claims`]) before a page of
//! it is decoded. What the engine's own reader does between a file and its first row (tasks for each read, footers
//! read again, statistics of dozens of columns) costs more than the rows of five minutes; this goes without.

use std::{fs::File, mem, os::unix::fs::FileExt as _, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::{Fields, SchemaRef},
    error::ArrowError,
};
use bytes::{Buf as _, Bytes, buf::Reader};
use parquet::{
    arrow::{
        FieldLevels, ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection},
        parquet_to_arrow_field_levels,
    },
    basic::Compression,
    column::page::{PageIterator, PageReader},
    errors::ParquetError,
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        reader::{ChunkReader, Length},
        serialized_reader::SerializedPageReader,
    },
    schema::types::{SchemaDescPtr, SchemaDescriptor},
};

use crate::{claims, footer::Opened, schema, system, unpacked::Unpacked};

/// Which columns are read, of all files alike.
#[derive(Clone, Debug)]
pub struct Wanted {
    schema: SchemaRef,
    /// How they are told in the file that was read last: mostly the next one tells them so, too.
    told: Option<Arc<Told>>,
}

/// How columns are told in files of a schema.
#[derive(Debug)]
struct Told {
    schema: SchemaDescPtr,
    levels: FieldLevels,
}

impl Wanted {
    /// Columns by their places in [`schema::schema`], in this order.
    ///
    /// # Errors
    /// If there is no such place.
    pub fn of(places: &[usize]) -> Result<Self, ArrowError> {
        let schema = schema::schema().project(places)?;
        Ok(Self {
            schema: Arc::new(schema),
            told: None,
        })
    }

    /// All columns.
    #[must_use]
    pub fn all() -> Self {
        Self {
            schema: schema::schema(),
            told: None,
        }
    }

    /// Their names and types.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn told(&mut self, schema: &SchemaDescPtr) -> Result<Arc<Told>, ParquetError> {
        if let Some(told) = &self.told
            && (Arc::ptr_eq(&told.schema, schema) || told.schema == *schema)
        {
            return Ok(Arc::clone(told));
        }
        let told = Arc::new(Told {
            schema: Arc::clone(schema),
            levels: self.levels(schema)?,
        });
        self.told = Some(Arc::clone(&told));
        Ok(told)
    }

    fn levels(&self, told: &SchemaDescriptor) -> Result<FieldLevels, ParquetError> {
        let roots = told.root_schema().get_fields();
        let wanted = roots.iter().enumerate();
        let wanted = wanted.filter(|(_, root)| self.schema.index_of(root.name()).is_ok());
        let mask = ProjectionMask::roots(told, wanted.map(|(at, _)| at));
        // Types are those of the schema, as far as it has the file's columns.
        let schema = schema::schema();
        let fields = roots.iter();
        let fields = fields.map(|root| schema.field_with_name(root.name()).ok().cloned());
        let fields: Option<Fields> = fields.collect::<Option<Vec<_>>>().map(Fields::from);
        parquet_to_arrow_field_levels(told, mask, fields.as_ref())
    }
}

impl Opened {
    /// Has the disk be at work for columns of a row group, before they are asked for.
    pub fn will_need(&self, group: usize, wanted: &Wanted) {
        let Some(group) = self.metadata().row_groups().get(group) else {
            return;
        };
        let columns = group.columns().iter().filter(|column| {
            let root = column.column_path().parts().first();
            root.is_some_and(|root| wanted.schema.index_of(root).is_ok())
        });
        for column in columns {
            let start = column.dictionary_page_offset();
            let start = start.unwrap_or(column.data_page_offset());
            // What is below zero is not read.
            if let (Ok(start), Ok(octets)) = (start.try_into(), column.compressed_size().try_into())
            {
                system::will_need(self.file(), start, octets);
            }
        }
    }

    /// The rows of a row group, in batches of so many; those of them alone that hold a row which is selected, if
    /// there is a selection.
    ///
    /// # Errors
    /// If a column is not to be read, or is not what it may be.
    pub fn batches(
        &self,
        group: usize,
        wanted: &mut Wanted,
        rows_max: usize,
        selection: Option<RowSelection>,
    ) -> Result<Batches, ParquetError> {
        let metadata = self.metadata();
        let told = wanted.told(&metadata.file_metadata().schema_descr_ptr())?;
        let missing = || ParquetError::General("there is no such row group".to_owned());
        let columns = GroupColumns {
            file: self.file(),
            metadata,
            group: metadata.row_groups().get(group).ok_or_else(missing)?,
        };
        let rows_left = selection
            .as_ref()
            .map_or(columns.num_rows(), RowSelection::row_count);
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(
            &told.levels,
            &columns,
            rows_max,
            selection,
        )?;
        Ok(Batches {
            reader,
            schema: Arc::clone(&wanted.schema),
            rows_left,
        })
    }
}

/// Batches of rows with the columns that are wanted; null, where the file has no such column.
pub struct Batches {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    /// Rows that the footer says there are, and that have not come yet.
    rows_left: usize,
}

impl Batches {
    fn as_wanted(&self, read: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        schema::check_values(read).map_err(|lacking| ArrowError::ExternalError(lacking.into()))?;
        let rows = read.num_rows();
        let fields = self.schema.fields().iter();
        let columns: Vec<ArrayRef> = fields
            .map(|field| match read.column_by_name(field.name()) {
                Some(column) => Arc::clone(column),
                None => new_null_array(field.data_type(), rows),
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let other_rows = || {
            let says = "a row group has not as many rows as its footer says";
            ArrowError::ParquetError(says.to_owned())
        };
        let Some(read) = self.reader.next() else {
            return (mem::take(&mut self.rows_left) > 0).then(|| Err(other_rows()));
        };
        Some(read.and_then(|read| {
            let left = self.rows_left.checked_sub(read.num_rows());
            self.rows_left = left.ok_or_else(other_rows)?;
            self.as_wanted(&read)
        }))
    }
}

/// A row group, whose columns are read as they are asked for.
struct GroupColumns<'a> {
    file: &'a File,
    metadata: &'a ParquetMetaData,
    group: &'a RowGroupMetaData,
}

impl GroupColumns<'_> {
    fn pages(&self, column: usize) -> Result<Box<dyn PageReader>, ParquetError> {
        let rows = self.num_rows();
        let column = self.group.column(column);
        let (start, octets) = column.byte_range();
        let length =
            usize::try_from(octets).map_err(|_| general("a column goes beyond the file"))?;
        let mut read = vec![0; length];
        self.file.read_exact_at(&mut read, start)?;
        let expanded_max = u64::try_from(column.uncompressed_size()).unwrap_or(0);
        let (expanded, values) = claims::check_read_pages(&read, expanded_max).map_err(general)?;
        // A map has any number of values a row, others one, or a null.
        if column.column_descr().max_rep_level() == 0 && values != rows as u64 {
            return Err(general("a column has not as many rows as the footer says"));
        }
        let column_read = Arc::new(Column {
            start,
            octets: read.into(),
        });
        if !matches!(column.compression(), Compression::ZSTD(_)) {
            let pages = SerializedPageReader::new(column_read, column, rows, None)?;
            return Ok(Box::new(pages));
        }
        let as_it_is = column.clone().into_builder();
        let as_it_is = as_it_is
            .set_compression(Compression::UNCOMPRESSED)
            .build()?;
        let pages = SerializedPageReader::new(column_read, &as_it_is, rows, None)?;
        Ok(Box::new(Unpacked::new(pages, expanded)))
    }
}

fn general(why: &str) -> ParquetError {
    ParquetError::General(why.to_owned())
}

impl RowGroups for GroupColumns<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.group.num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>, ParquetError> {
        Ok(Box::new(OnlyOne(Some(self.pages(column)?))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.group))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of the only row group there is.
struct OnlyOne(Option<Box<dyn PageReader>>);

impl Iterator for OnlyOne {
    type Item = Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OnlyOne {}

/// A column that was read, by its places in the file.
struct Column {
    start: u64,
    octets: Bytes,
}

impl Column {
    fn from(&self, place: u64) -> Result<Bytes, ParquetError> {
        let at = place.checked_sub(self.start).map(usize::try_from);
        match at {
            Some(Ok(at)) if at <= self.octets.len() => Ok(self.octets.slice(at..)),
            _ => Err(general("a page is outside of its column")),
        }
    }
}

impl Length for Column {
    fn len(&self) -> u64 {
        self.start.saturating_add(self.octets.len() as u64)
    }
}

impl ChunkReader for Column {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let octets = self.from(start)?;
        if length > octets.len() {
            return Err(general("a page goes beyond its column"));
        }
        Ok(octets.slice(..length))
    }
}

#[cfg(test)]
mod tests;
