//! The flows of a directory as one table, open and closed files alike, and what it covers.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use datafusion::{
    datasource::MemTable,
    prelude::{DataFrame, ParquetReadOptions, SessionContext},
};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use weir_store::{read, schema};

/// What an answer is drawn from.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Closed files read.
    pub closed: usize,
    /// Open windows read.
    pub open: usize,
    /// Flows in them.
    pub flows: u64,
    /// Files that could not be read, or not to their end, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// The flows of a directory.
///
/// # Errors
/// If it cannot be listed.
pub async fn open(context: &SessionContext, root: &Path) -> Result<(DataFrame, Coverage)> {
    let files = read::list(root)?;
    let mut coverage = Coverage::default();
    let mut closed = Vec::new();
    for path in &files.closed {
        match rows(path) {
            Ok(rows) => {
                coverage.closed += 1;
                coverage.flows += rows;
                closed.push(
                    path.to_str()
                        .context("a path that is not UTF-8")?
                        .to_owned(),
                );
            }
            Err(error) => coverage.unreadable.push((path.clone(), error.to_string())),
        }
    }
    let mut batches = Vec::new();
    for path in &files.open {
        // A window is removed after its Parquet file appears: with both there, that one counts.
        let rotated = files
            .closed
            .iter()
            .any(|closed| closed.file_stem() == path.file_stem());
        if !rotated {
            open_window(path, &mut batches, &mut coverage);
        }
    }
    if files.closed.is_empty() && files.open.is_empty() && !root.is_dir() {
        bail!("{} is no directory", root.display());
    }
    let window = MemTable::try_new(schema::schema(), vec![batches])?;
    let mut flows = context.read_table(Arc::new(window))?;
    if !closed.is_empty() {
        let options = ParquetReadOptions::default();
        let parquet = context.read_parquet(closed, options).await?;
        let columns: Vec<_> = schema::schema()
            .fields()
            .iter()
            .map(|field| datafusion::prelude::col(field.name()))
            .collect();
        flows = parquet.select(columns)?.union(flows)?;
    }
    Ok((flows, coverage))
}

fn open_window(path: &Path, batches: &mut Vec<arrow::array::RecordBatch>, coverage: &mut Coverage) {
    let before = batches.len();
    let ended = read::window(path, |batch| {
        batches.push(batch);
        Ok(())
    });
    match ended {
        // A message that is being written looks cut off; it is read the next time.
        Ok(_) => {
            coverage.open += 1;
            coverage.flows += batches[before..]
                .iter()
                .map(|batch| batch.num_rows() as u64)
                .sum::<u64>();
        }
        Err(error) => coverage
            .unreadable
            .push((path.to_owned(), error.to_string())),
    }
}

/// Rows in a Parquet file, by its footer.
fn rows(path: &Path) -> Result<u64> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let metadata = reader.metadata().file_metadata();
    let found = metadata.schema_descr().columns();
    let missing = schema::schema()
        .fields()
        .iter()
        .find(|field| !found.iter().any(|column| column.name() == field.name()))
        .cloned();
    if let Some(field) = missing {
        bail!("it has no column {}: it is no file of Weir's", field.name());
    }
    Ok(u64::try_from(metadata.num_rows())?)
}
