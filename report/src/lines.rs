//! Flows as lines: batches become text side by side, and are written in their order.

use std::{
    io::Write,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::task;

use crate::{format::Format, row::Columns};

/// What makes lines of batches.
pub trait Lines: Send + Sync + 'static {
    /// Appends the lines of a batch, before which there were so many; returns how many flows they are.
    ///
    /// # Errors
    /// If a column is of another type.
    fn put(&self, batch: &RecordBatch, number: u64, text: &mut Vec<u8>) -> Result<u64>;
}

impl Lines for Format {
    fn put(&self, batch: &RecordBatch, number: u64, text: &mut Vec<u8>) -> Result<u64> {
        let columns = Columns::of(batch)?;
        for (row, number) in (0..batch.num_rows()).zip(number..) {
            self.line(&columns, row, number, text);
        }
        Ok(columns.flows(batch.num_rows()))
    }
}

/// Texts that were written, to be filled again: a batch's is some hundred kilobytes, and pages that are new
/// cost more than the letters in them.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// Prints a heading, and a line a row; returns how many flows these are.
///
/// # Errors
/// If reading fails, or nobody takes what is written.
pub async fn print(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>>,
    lines: impl Lines,
    mut heading: String,
    output: &mut impl Write,
) -> Result<u64> {
    let (lines, spare) = (Arc::new(lines), Spare::default());
    let side_by_side = thread::available_parallelism().map_or(1, NonZero::get);
    let mut begun = 0;
    let texts = batches.map(|batch| {
        let number = begun;
        begun += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        write(batch, number, Arc::clone(&lines), Arc::clone(&spare))
    });
    let mut texts = std::pin::pin!(texts.buffered(side_by_side));
    let mut printed = 0;
    while let Some((text, flows)) = texts.try_next().await? {
        output.write_all(std::mem::take(&mut heading).as_bytes())?;
        output.write_all(&text)?;
        // Where little fits, what was found is seen before the next is.
        output.flush()?;
        printed += flows;
        spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }
    output.write_all(heading.as_bytes())?;
    Ok(printed)
}

/// A batch's lines, and of how many flows they are. `number`: how many lines come before.
async fn write(
    batch: Result<RecordBatch, DataFusionError>,
    number: u64,
    lines: Arc<impl Lines>,
    spare: Spare,
) -> Result<(Vec<u8>, u64)> {
    let batch = batch?;
    let writing = task::spawn_blocking(move || -> Result<(Vec<u8>, u64)> {
        let mut text = spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default();
        text.clear();
        let flows = lines.put(&batch, number, &mut text)?;
        Ok((text, flows))
    });
    writing
        .await
        .context("a thread that writes lines died: this is a bug")?
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt64Array;
    use futures::stream;

    use super::*;

    fn numbers(numbers: Vec<u64>) -> RecordBatch {
        let column: arrow::array::ArrayRef = Arc::new(UInt64Array::from(numbers));
        RecordBatch::try_from_iter([("octets", column)]).unwrap()
    }

    fn printed(batches: Vec<Result<RecordBatch, DataFusionError>>) -> (Result<u64>, String) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut text = Vec::new();
        let format = Format::parse("fmt:%cnt %byt").unwrap();
        let heading = "Heading\n".to_owned();
        let batches = stream::iter(batches);
        let result = runtime.block_on(print(batches, format, heading, &mut text));
        (result, String::from_utf8(text).unwrap())
    }

    /// Large batches take longer than the small ones behind them.
    #[test]
    fn lines_are_in_their_order_whoever_is_done_first() {
        let lengths = [20_000, 1, 0, 30_000, 2, 5000];
        let mut next = 0;
        let batches = lengths.map(|length| {
            let first = next;
            next += length;
            Ok(numbers((first..next).collect()))
        });
        let (result, text) = printed(batches.into());
        assert_eq!(result.unwrap(), next);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("Heading"));
        for (expected, line) in (0..next).zip(lines.by_ref()) {
            let words: Vec<u64> = line
                .split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect();
            assert_eq!(words, [expected, expected]);
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn what_was_read_before_a_failure_is_printed() {
        let failure = DataFusionError::Execution("no".to_owned());
        let (result, text) = printed(vec![Ok(numbers(vec![7])), Err(failure)]);
        assert!(result.is_err());
        assert_eq!(text.lines().count(), 2);
        let (result, text) = printed(Vec::new());
        assert_eq!((result.unwrap(), text.as_str()), (0, "Heading\n"));
    }
}
