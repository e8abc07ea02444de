//! The large file: the flows of small ones in the order of their addresses, and what those said of themselves.

use std::{
    fs::{self, File},
    path::Path,
};

use arrow::{
    array::{Array, RecordBatch},
    compute::{self, SortColumn},
    error::ArrowError,
};
use serde_json::{Value, json};

use super::name;
use crate::{
    StoreError, account,
    closed::{self, ClosedWriter},
    expire::ClosedFile,
    footer::{self, Ends},
    form::Compression,
    rotate, schema,
    verify::{self, Fault},
};

/// Flows sorted at a time, and so in a row group: some 1 GiB at most. Each has dictionaries of its own, which take the
/// less the more flows they are for.
const SORTED_ROWS: usize = closed::ROW_GROUP_ROWS;
/// What they are sorted by: a host's flows are together, and those to one service of as many packets have much in
/// common. Of the orders that begin with the source it takes least (the campus: 17.6 octets a flow; by source and
/// destination 18.0).
const SORTED_BY: [&str; 4] = ["src_addr", "dst_port", "packets", "flow_start"];
/// The note that lists what a large file was made of.
const SOURCES: &str = "weir.recompacted";

/// Writes the flows of all files as one, under its name once it is whole; how many, or why not.
pub(super) fn write_large(
    files: &[ClosedFile],
    large: &Path,
    compression: Compression,
) -> Result<Result<u64, String>, StoreError> {
    let partial = large.with_extension(rotate::PARTIAL_SUFFIX.trim_start_matches('.'));
    let written = write_sorted(files, &partial, compression)?;
    if written.is_ok() {
        // What it was made of goes after it.
        if let Some(fault) = verify::verify(&partial)?.faults.first() {
            return Ok(Err(format!("the large file would be damaged: {fault}")));
        }
        keep_time(files, &partial)?;
        fs::rename(&partial, large).map_err(StoreError::io("rename", &partial))?;
    }
    Ok(written)
}

/// Writes the flows of all files as one; how many, or why not.
fn write_sorted(
    files: &[ClosedFile],
    partial: &Path,
    compression: Compression,
) -> Result<Result<u64, String>, StoreError> {
    let sources = files.iter().map(source);
    let sources = match sources.collect::<Result<Value, StoreError>>() {
        Ok(sources) => sources,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let heard = match heard(files) {
        Ok(heard) => json!(heard).to_string(),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut notes = vec![
        (SOURCES.to_owned(), sources.to_string()),
        (footer::HEARD.to_owned(), heard),
    ];
    notes.extend(share(&sources).map(|share| (account::SHARE.to_owned(), share)));
    let mut writer = ClosedWriter::create_as(partial, &notes, compression, &SORTED_BY)?;
    let (mut batches, mut rows, mut others_octets) = (Vec::new(), 0, 0);
    for file in files {
        let verified = verify::read_sound(&file.path, |batch| {
            let more = closed::others_octets(&batch);
            if rows + batch.num_rows() > SORTED_ROWS
                || others_octets + more > closed::OTHERS_OCTETS_MAX
            {
                (rows, others_octets) = (0, 0);
                write_group(&mut writer, &std::mem::take(&mut batches), partial)?;
            }
            rows += batch.num_rows();
            others_octets += more;
            batches.push(batch);
            Ok(())
        });
        let path = file.path.display();
        match verified {
            // The next run finds what is left of the hour.
            Err(_) if !file.path.exists() => return Ok(Err(format!("{path} expired meanwhile"))),
            Err(error) => return Err(error),
            Ok(verified) => match verified.faults.first() {
                None => {}
                Some(fault @ Fault::Version(_)) => return Ok(Err(format!("{path}: {fault}"))),
                Some(fault) => {
                    return Ok(Err(format!("{path}: {fault}; `repair` comes first")));
                }
            },
        }
    }
    write_group(&mut writer, &batches, partial)?;
    Ok(Ok(writer.finish()?))
}

fn write_group(
    writer: &mut ClosedWriter,
    batches: &[RecordBatch],
    path: &Path,
) -> Result<(), StoreError> {
    if batches.is_empty() {
        return Ok(());
    }
    writer.write(&sorted(batches).map_err(StoreError::arrow(path))?)?;
    writer.end_row_group()
}

/// The rows of all batches, in order; without columns in which none has anything, which the writer knows.
fn sorted(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let of_all = |name: &str| -> Vec<&dyn Array> {
        let arrays = batches
            .iter()
            .filter_map(|batch| batch.column_by_name(name));
        arrays.map(AsRef::as_ref).collect()
    };
    let mut keys = Vec::with_capacity(SORTED_BY.len());
    for name in SORTED_BY {
        keys.push(SortColumn {
            values: compute::concat(&of_all(name))?,
            options: None,
        });
    }
    let order = compute::lexsort_to_indices(&keys, None)?;
    drop(keys);
    let places = batches.iter().enumerate();
    let places = places.flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)));
    let places: Vec<_> = places.collect();
    let order = order.values().iter();
    let order: Vec<_> = order.map(|row| places[*row as usize]).collect();
    let mut columns = Vec::new();
    for field in schema::schema().fields() {
        let arrays = of_all(field.name());
        if arrays.iter().any(|array| array.null_count() < array.len()) {
            let sorted = compute::interleave(&arrays, &order)?;
            columns.push((field.name().clone(), sorted, field.is_nullable()));
        }
    }
    RecordBatch::try_from_iter_with_nullable(columns)
}

/// What a large file says of one it was made of; the notes of that one go on in it.
fn source(file: &ClosedFile) -> Result<Value, StoreError> {
    let footer = footer::read(&file.path)?;
    Ok(json!({
        "file": name(&file.path),
        "octets": file.octets,
        "flows": footer.flows,
        "exporters": footer.note(account::TOTALS),
        "window": footer.note(account::SHARE),
        "recompacted": footer.note(SOURCES),
    }))
}

/// When something was received: what the files say, without the short times between them.
fn heard(files: &[ClosedFile]) -> Result<Vec<Ends>, StoreError> {
    /// Nobody calls a shorter time without datagrams a gap.
    const PAUSE_NS: i64 = 60_000_000_000;
    let mut spans = Vec::new();
    for file in files {
        spans.extend(footer::read(&file.path)?.heard_ns);
    }
    spans.sort_unstable();
    let mut heard: Vec<Ends> = Vec::new();
    for (first, last) in spans {
        match heard.last_mut() {
            Some(span) if first.saturating_sub(span.1) <= PAUSE_NS => span.1 = span.1.max(last),
            _ => heard.push((first, last)),
        }
    }
    Ok(heard)
}

/// What exporters sent and lost in all of the files, if each of them says.
fn share(sources: &Value) -> Option<String> {
    let sources = sources.as_array()?.iter();
    let share = |source: &Value| serde_json::from_str(source["window"].as_str()?).ok();
    let shares: Option<Vec<Value>> = sources.map(share).collect();
    Some(account::sum(&shares?).to_string())
}

/// The large file is as old as the latest of the small ones: its age must not begin anew.
fn keep_time(files: &[ClosedFile], large: &Path) -> Result<(), StoreError> {
    let times = files.iter().filter_map(|file| {
        let found = fs::metadata(&file.path).ok()?;
        found.modified().ok()
    });
    if let Some(latest) = times.max() {
        File::options()
            .append(true)
            .open(large)
            .and_then(|file| {
                file.set_modified(latest)?;
                file.sync_all()
            })
            .map_err(StoreError::io("date", large))?;
    }
    Ok(())
}

/// The files a large file was made of, by name and octets.
pub(super) fn sources(path: &Path) -> Vec<(String, u64)> {
    let footer = footer::read(path).ok();
    let note = footer.as_ref().and_then(|footer| footer.note(SOURCES));
    let listed = note.and_then(|note| serde_json::from_str::<Vec<Value>>(note).ok());
    let source = |source: &Value| {
        Some((
            source["file"].as_str()?.to_owned(),
            source["octets"].as_u64()?,
        ))
    };
    listed.iter().flatten().filter_map(source).collect()
}
