//! The large file: the flows of small ones in the order of their addresses, and what those said of themselves.

use std::{
    fs::{self, File},
    io, mem,
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, RecordBatch},
    compute::{self, SortColumn},
    datatypes::UInt16Type,
    error::ArrowError,
};
use parquet::errors::ParquetError;
use serde_json::{Value, json};

use super::{Why, name};
use crate::{
    StoreError, account,
    closed::{self, ClosedWriter},
    expire::ClosedFile,
    footer::{self, Ends},
    form::Compression,
    rotate, schema,
    verify::{self, Fault},
};

/// Octets of what the files say of their exporters, which the large one says again: whoever reads its footer holds them.
const NOTES_OCTETS_MAX: usize = 64 << 20;
/// What they are sorted by: a host's flows are together, those to one service and from one, and among these those of as
/// many packets and octets, which have much in common. Of the orders that begin with the source it takes least (worked
/// out for the campus: half an octet a flow less than by ports as they are, packets and time).
const SORTED_BY: [&str; 6] = [
    "src_addr", "dst_port", "src_port", "protocol", "packets", "octets",
];
/// Ports from here on are drawn for a connection and name no service: for the order they are alike.
const DRAWN_PORTS: u16 = 32_768;
/// The note that lists what a large file was made of.
const SOURCES: &str = "weir.recompacted";

/// What is sorted at a time, and becomes a row group. Each has dictionaries of its own, which take the less the more
/// flows they are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Flows at most, but for those of one batch.
    pub rows: usize,
    /// Octets they take in memory at most; while they are sorted and encoded it is half as much more.
    pub octets: usize,
}

impl Default for Piece {
    /// Flows without rare columns take 150 to 200 octets.
    fn default() -> Self {
        Self {
            rows: closed::ROW_GROUP_ROWS,
            octets: 256 << 20,
        }
    }
}

/// How a large file is made.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub compression: Compression,
    pub piece: Piece,
    /// Asked again and again; once it says no, nothing comes of it.
    pub goes_on: &'a dyn Fn() -> bool,
}

impl Making<'_> {
    /// An error once it does not go on.
    fn going_on(&self, path: &Path) -> Result<(), StoreError> {
        if (self.goes_on)() {
            return Ok(());
        }
        let interrupted = io::ErrorKind::Interrupted.into();
        Err(StoreError::io("go on with", path)(interrupted))
    }
}

/// Writes the flows of all files as one, under its name once it is whole; how many, or why not.
pub(super) fn write_large(
    files: &[ClosedFile],
    large: &Path,
    making: Making<'_>,
) -> Result<Result<u64, Why>, StoreError> {
    let partial = large.with_extension(rotate::PARTIAL_SUFFIX.trim_start_matches('.'));
    let written = write_sorted(files, &partial, making)?;
    if written.is_ok() {
        // What it was made of goes after it.
        let verified = match verify::read_as_it_comes(&partial, |_| making.going_on(&partial)) {
            Err(_) if !(making.goes_on)() => return Ok(Err(Why::Stopped)),
            verified => verified?,
        };
        if let Some(fault) = verified.faults.first() {
            let says = format!("the large file would be damaged: {fault}");
            return Ok(Err(Why::Wrong(says)));
        }
        keep_time(files, &partial)?;
        fs::rename(&partial, large).map_err(StoreError::io("rename", &partial))?;
    }
    Ok(written)
}

/// Writes the flows of all files as one; how many, or why not. A piece of them is in memory at a time.
pub(super) fn write_sorted(
    files: &[ClosedFile],
    partial: &Path,
    making: Making<'_>,
) -> Result<Result<u64, Why>, StoreError> {
    let notes = match notes(files) {
        Ok(notes) => notes,
        Err(reason) => return Ok(Err(Why::Wrong(reason))),
    };
    let mut writer = ClosedWriter::create_as(partial, &notes, making.compression, &SORTED_BY[..1])?;
    let mut gathered = Gathered::default();
    for file in files {
        let verified = verify::read_as_it_comes(&file.path, |batch| {
            making.going_on(&file.path)?;
            let (batch, octets) = lean(&batch).map_err(StoreError::arrow(&file.path))?;
            if !gathered.has_room(batch.num_rows(), octets, making.piece) {
                write_group(&mut writer, mem::take(&mut gathered), partial)?;
            }
            gathered.add(batch, octets);
            Ok(())
        });
        let path = file.path.display();
        match verified {
            Err(_) if !(making.goes_on)() => return Ok(Err(Why::Stopped)),
            // The next run finds what is left of the hour.
            Err(_) if !file.path.exists() => {
                return Ok(Err(Why::Changed(format!("{path} expired meanwhile"))));
            }
            Err(error) => return Err(error),
            Ok(verified) => match verified.faults.first() {
                None => {}
                Some(fault @ Fault::Version(_)) => {
                    return Ok(Err(Why::Wrong(format!("{path}: {fault}"))));
                }
                Some(fault) => {
                    let says = format!("{path}: {fault}; `repair` comes first");
                    return Ok(Err(Why::Wrong(says)));
                }
            },
        }
    }
    write_group(&mut writer, gathered, partial)?;
    Ok(Ok(writer.finish()?))
}

/// Flows that are sorted next.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    rows: usize,
    octets: usize,
}

impl Gathered {
    fn has_room(&self, rows: usize, octets: usize, piece: Piece) -> bool {
        self.batches.is_empty()
            || (self.rows + rows <= piece.rows && self.octets + octets <= piece.octets)
    }

    fn add(&mut self, batch: RecordBatch, octets: usize) {
        self.rows += batch.num_rows();
        self.octets += octets;
        self.batches.push(batch);
    }
}

/// Rows whose columns of nulls are those that all share, and the octets that the others take.
fn lean(batch: &RecordBatch) -> Result<(RecordBatch, usize), ArrowError> {
    let columns = batch.columns().iter().enumerate();
    let has_values = columns.filter(|(_, column)| column.null_count() < column.len());
    let has_values: Vec<usize> = has_values.map(|(at, _)| at).collect();
    let own = batch.project(&has_values)?;
    // Room that the reader took for more rows than there were was never written to.
    let octets = own.columns().iter();
    let octets = octets.map(|column| column.to_data().get_slice_memory_size());
    let octets = octets.sum::<Result<usize, ArrowError>>()?;
    Ok((schema::with_all_columns(&own)?, octets))
}

fn write_group(
    writer: &mut ClosedWriter,
    gathered: Gathered,
    path: &Path,
) -> Result<(), StoreError> {
    if gathered.batches.is_empty() {
        return Ok(());
    }
    let rows = sorted(gathered.batches).map_err(StoreError::arrow(path))?;
    writer.write(&rows)?;
    writer.end_row_group()?;
    writer.sync()
}

/// The rows of all batches, in order; without columns in which none has anything, which the writer knows. Batches have
/// all columns, and each column goes once it is sorted: both ways of all would take twice the memory.
fn sorted(batches: Vec<RecordBatch>) -> Result<RecordBatch, ArrowError> {
    let order = order(&batches)?;
    let columns = |batch: RecordBatch| batch.columns().to_vec().into_iter();
    let mut unsorted: Vec<_> = batches.into_iter().map(columns).collect();
    let mut sorted = Vec::new();
    for field in schema::schema().fields() {
        let arrays: Vec<ArrayRef> = unsorted.iter_mut().filter_map(Iterator::next).collect();
        if arrays.iter().any(|array| array.null_count() < array.len()) {
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            let column = compute::interleave(&arrays, &order)?;
            sorted.push((field.name().clone(), column, field.is_nullable()));
        }
    }
    RecordBatch::try_from_iter_with_nullable(sorted)
}

/// The rows in order: in which batch each is, and where in it.
pub(super) fn order(batches: &[RecordBatch]) -> Result<Vec<(usize, usize)>, ArrowError> {
    let mut keys = Vec::with_capacity(SORTED_BY.len());
    for name in SORTED_BY {
        let arrays = batches.iter();
        let arrays = arrays.filter_map(|batch| batch.column_by_name(name));
        let arrays: Vec<&dyn Array> = arrays.map(AsRef::as_ref).collect();
        let values = compute::concat(&arrays)?;
        let values: ArrayRef = match values.as_primitive_opt::<UInt16Type>() {
            Some(ports) => Arc::new(ports.unary::<_, UInt16Type>(|port| port.min(DRAWN_PORTS))),
            None => values,
        };
        keys.push(SortColumn {
            values,
            options: None,
        });
    }
    let order = compute::lexsort_to_indices(&keys, None)?;
    drop(keys);
    let places = batches.iter().enumerate();
    let places = places.flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)));
    let places: Vec<_> = places.collect();
    let order = order.values().iter();
    Ok(order.map(|row| places[*row as usize]).collect())
}

/// What the large file says of itself; or why it cannot be made.
fn notes(files: &[ClosedFile]) -> Result<Vec<(String, String)>, String> {
    let (mut sources, mut octets) = (Vec::new(), 0);
    for file in files {
        let source = source(file).map_err(|error| error.to_string())?;
        octets += source.to_string().len();
        if octets > NOTES_OCTETS_MAX {
            let says = "its files have more accounts of exporters than one file may have";
            return Err(says.to_owned());
        }
        sources.push(source);
    }
    let heard = heard(files).map_err(|error| error.to_string())?;
    let sources = Value::Array(sources);
    let mut notes = vec![
        (SOURCES.to_owned(), sources.to_string()),
        (footer::HEARD.to_owned(), json!(heard).to_string()),
    ];
    notes.extend(share(&sources).map(|share| (account::SHARE.to_owned(), share)));
    Ok(notes)
}

/// What a large file says of one it was made of; the notes of that one go on in it.
fn source(file: &ClosedFile) -> Result<Value, StoreError> {
    let footer = footer::read(&file.path)?;
    let note = |key: &str| footer.note(key).map(parsed);
    let window = note(account::SHARE);
    let is_summed = window.as_ref().is_some_and(Value::is_array);
    Ok(json!({
        "file": name(&file.path),
        "octets": file.octets,
        "flows": footer.flows,
        "exporters": note(account::TOTALS),
        "window": window,
        "recompacted": note(SOURCES).map(|sources| flat(sources, is_summed)),
    }))
}

/// A note as JSON; as text if it is none.
fn parsed(note: &str) -> Value {
    serde_json::from_str(note).unwrap_or_else(|_| note.into())
}

/// A list of sources, and behind each what it was made of itself. An hour may get late files any number of times:
/// lists in lists would at last be too deep to be read. What they sent and lost is left out if the file that lists them
/// has the sum.
fn flat(sources: Value, is_summed: bool) -> Value {
    let Value::Array(mut rest) = sources else {
        return sources;
    };
    rest.reverse();
    let mut all = Vec::new();
    while let Some(mut source) = rest.pop() {
        // Earlier versions wrote these as texts.
        for part in ["exporters", "window", "recompacted"] {
            if let Some(told) = source[part].as_str().map(parsed) {
                source[part] = told;
            }
        }
        let earlier = source.get_mut("recompacted").map(Value::take);
        if is_summed && let Some(source) = source.as_object_mut() {
            source.remove("window");
        }
        all.push(source);
        if let Some(Value::Array(earlier)) = earlier {
            rest.extend(earlier.into_iter().rev());
        }
    }
    all.into()
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
    let share = |source: &Value| Some(source["window"].clone()).filter(Value::is_array);
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

/// The files a large file was made of, by name and octets; none if it was made of none, or is no Parquet file.
///
/// # Errors
/// If it or its list cannot be read, so that nobody knows.
pub(super) fn sources(path: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let footer = match footer::read(path) {
        Ok(footer) => footer,
        Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(StoreError::Parquet { error, .. }) if !matches!(error, ParquetError::External(_)) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let Some(note) = footer.note(SOURCES) else {
        return Ok(Vec::new());
    };
    let source = |source: &Value| {
        Some((
            source["file"].as_str()?.to_owned(),
            source["octets"].as_u64()?,
        ))
    };
    let listed: Option<Vec<Value>> = serde_json::from_str(note).ok();
    let listed = listed.and_then(|listed| listed.iter().map(source).collect());
    listed.ok_or_else(|| {
        // Not `repair`, which asks this itself, and of which less would be known after it.
        let says = "what it was made of cannot be read, so nobody knows whether its flows are in other files, too: \
                    move it out of the directory, run `weir-collector repair`, and keep it until its time's flows are \
                    seen to be in other files";
        StoreError::parquet(path)(ParquetError::General(says.to_owned()))
    })
}
