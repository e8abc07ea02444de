//! A row group's columns as Parquet's column chunks. The file around them, page headers, the footer and the map
//! of elements without a column are the parquet crate's; the values in the pages are made here. The crate chooses
//! an encoding before it knows the values, and hashes each value of each column: closing a window took it five
//! times what nfcapd takes for a flow in all (docs/measuring-notes.md has the figures).
//!
//! | file | what it does |
//! |---|---|
//! | `value.rs` | the kinds of values, and how Parquet writes one |
//! | `column.rs` | a column's values, out of the row group's batches, and its encoding |
//! | `dictionary.rs` | the different values, and each row's index among them, if that is worth it |
//! | `hybrid.rs`, `delta.rs` | Parquet's encodings of indices, and of differences between numbers |
//! | `pages.rs` | the pages of a chunk, and what the footer says of it |
//! | `codec.rs` | a page, compressed |

mod codec;
mod column;
mod delta;
mod dictionary;
mod hybrid;
mod pages;
#[cfg(test)]
mod tests;
mod value;

use std::io::Write;

use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    datatypes::Field,
};
use parquet::{
    arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    errors::{ParquetError, Result},
    file::writer::{SerializedFileWriter, SerializedRowGroupWriter},
    schema::types::ColumnDescPtr,
};

use self::codec::Codec;
use crate::{form::Compression, schema};

/// What the columns of a row group are made with, one after the other.
struct Workspace {
    codec: Codec,
    indices: Vec<u32>,
    octets: Vec<u8>,
}

/// Appends rows as one row group. A column of the schema that they have not is null.
///
/// # Errors
/// If it cannot be written, or a column is not of the schema's type.
pub fn write_row_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    rows: &[RecordBatch],
    compression: Compression,
) -> Result<()> {
    let columns = file.schema_descr().columns().to_vec();
    let by_library = ArrowRowGroupWriterFactory::new(file, schema::schema());
    let number = file.flushed_row_groups().len();
    let mut work = Workspace {
        codec: Codec::new(compression)?,
        indices: Vec::new(),
        octets: Vec::new(),
    };
    let mut group = file.next_row_group()?;
    let count = rows.iter().map(RecordBatch::num_rows).sum();
    let mut at = 0;
    for field in schema::schema().fields() {
        let is_its = |column: &&_| is_of(column, field);
        let leaves = columns[at..].iter().take_while(is_its).count();
        let end = at + leaves;
        let arrays = arrays(rows, field)?;
        if arrays.iter().all(|array| array.null_count() == array.len()) {
            for column in &columns[at..end] {
                pages::of_nulls(column, count, &mut work)?.append_to(&mut group)?;
            }
        } else if leaves == 1 {
            column::chunk(&columns[at], &arrays, &mut work)?.append_to(&mut group)?;
        } else {
            let mut writers = by_library.create_column_writers(number)?;
            let writers = writers.drain(at..end).collect();
            append_by_library(field, &arrays, writers, &mut group)?;
        }
        at = end;
    }
    group.close()?;
    Ok(())
}

fn is_of(column: &ColumnDescPtr, field: &Field) -> bool {
    column.path().parts().first() == Some(field.name())
}

/// A column's arrays; none if the rows do not have it.
fn arrays(rows: &[RecordBatch], field: &Field) -> Result<Vec<ArrayRef>> {
    let mut arrays = Vec::with_capacity(rows.len());
    for batch in rows {
        match batch.column_by_name(field.name()) {
            Some(array) if array.data_type() == field.data_type() => arrays.push(array.clone()),
            None if field.is_nullable() => {}
            _ => {
                let says = format!("no column {} as Weir writes it", field.name());
                return Err(ParquetError::General(says));
            }
        }
    }
    if arrays.is_empty() || arrays.len() == rows.len() {
        return Ok(arrays);
    }
    // Some have it and some have not.
    let all = rows.iter().map(|batch| {
        let array = batch.column_by_name(field.name()).cloned();
        array.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    });
    Ok(all.collect())
}

fn append_by_library<W: Write + Send>(
    field: &Field,
    arrays: &[ArrayRef],
    mut writers: Vec<ArrowColumnWriter>,
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<()> {
    for array in arrays {
        for (writer, values) in writers.iter_mut().zip(compute_leaves(field, array)?) {
            writer.write(&values)?;
        }
    }
    for writer in writers {
        writer.close()?.append_to_row_group(group)?;
    }
    Ok(())
}
