//! The flows of a directory as one table, open and closed files alike, and what it covers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use arrow::array::RecordBatch;
use datafusion::{
    datasource::MemTable,
    prelude::{DataFrame, ParquetReadOptions, SessionContext},
};
use weir_store::{
    read::{self, Ended},
    schema,
};

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
    // A window may be closed between the list and the look, or a closed file recompacted; then what became
    // of it is in the next list.
    const LOOKS: usize = 5;
    let mut found = look(root)?;
    for _ in 1..LOOKS {
        if !found.moved {
            break;
        }
        found = look(root)?;
    }
    let window = MemTable::try_new(schema::schema(), vec![found.batches])?;
    let mut flows = context.read_table(Arc::new(window))?;
    if !found.closed.is_empty() {
        let parquet = context
            .read_parquet(found.closed, ParquetReadOptions::default())
            .await?;
        let columns: Vec<_> = schema::schema()
            .fields()
            .iter()
            .map(|field| datafusion::prelude::col(field.name()))
            .collect();
        flows = parquet.select(columns)?.union(flows)?;
    }
    Ok((flows, found.coverage))
}

/// What one look at the directory found.
#[derive(Default)]
struct Look {
    coverage: Coverage,
    closed: Vec<String>,
    batches: Vec<RecordBatch>,
    /// A file was there and then was not.
    moved: bool,
}

fn look(root: &Path) -> Result<Look> {
    let files = read::list(root)?;
    let mut found = Look::default();
    for path in &files.closed {
        match flows_of(path) {
            Ok(flows) => {
                found.coverage.closed += 1;
                found.coverage.flows += flows;
                found.closed.push(
                    path.to_str()
                        .context("a path that is not UTF-8")?
                        .to_owned(),
                );
            }
            // It expired meanwhile, or is in a larger file now.
            Err(_) if !path.exists() => found.moved = true,
            Err(error) => found
                .coverage
                .unreadable
                .push((path.clone(), error.to_string())),
        }
    }
    for path in &files.open {
        // A window is removed after its Parquet file appears: with both there, that one counts.
        let rotated = files
            .closed
            .iter()
            .any(|closed| closed.file_stem() == path.file_stem());
        if !rotated {
            found.window(path);
        }
    }
    Ok(found)
}

impl Look {
    fn window(&mut self, path: &Path) {
        let before = self.batches.len();
        let batches = &mut self.batches;
        let ended = read::window(path, |batch| {
            batches.push(batch);
            Ok(())
        });
        let flows: usize = self.batches[before..]
            .iter()
            .map(RecordBatch::num_rows)
            .sum();
        let coverage = &mut self.coverage;
        match ended {
            // A message that is being written looks cut off; it is read the next time.
            Ok(Ended::CutOff(reason)) if flows == 0 => {
                coverage.unreadable.push((path.to_owned(), reason));
            }
            Ok(_) => {
                coverage.open += 1;
                coverage.flows += flows as u64;
            }
            Err(_) if !path.exists() => self.moved = true,
            Err(error) => coverage
                .unreadable
                .push((path.to_owned(), error.to_string())),
        }
    }
}

/// Flows in a closed file, if it is one of ours.
fn flows_of(path: &Path) -> Result<u64> {
    if let Some(column) = read::foreign_column(path)? {
        bail!("it has no column {column} as Weir writes it");
    }
    Ok(read::parquet_flows(path)?)
}
