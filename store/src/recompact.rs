//! The small files of an hour become one large one, its row groups sorted by source and destination:
//! smaller, fewer to open, and a search for a host reads little of it. An hour is the unit since its
//! folder is a partition that engines read as a column; where files lie by day ([`crate::form`]) it is the day.
//! Those of a flat layout stay: the directory itself cannot change places with another.
//!
//! Readers see the small files or the large one, never both or neither: the large one is made in a
//! hidden folder beside the hour's, and the two folders change places in one step ([`system::exchange`]).
//! Then the hidden one has the small files, and is cleared. Whoever comes after a process that was killed
//! looks at what is in a hidden folder ([`clear`]), file by file:
//!
//! - it is in the list of what the hour's large file was made of: it goes;
//! - its own list names a file that is in the hour: it is a large one that was not published, and goes;
//! - else its flows are nowhere else, and it moves into the hour; or only in a file of its name and its octets,
//!   whose place it takes then: a collector that was killed before the window was gone did not see this one, and
//!   closed the window again.
//!
//! So each flow is in one file that readers see, whenever the process was killed, and doing it again
//! changes nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow::{
    array::RecordBatch,
    compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
    error::ArrowError,
};
use serde_json::{Value, json};

use crate::{
    StoreError, account,
    checksum::CHECKSUMS,
    closed::ClosedWriter,
    expire::{self, ClosedFile},
    footer::{self, Ends},
    form::{Compression, Layout, Place},
    layout::{self, Rearranging},
    read, rotate, schema, system,
    verify::{self, Fault},
};

/// Flows sorted at a time, and so in a row group: some 40 MiB.
const SORTED_ROWS: usize = 1 << 18;
/// What they are sorted by.
const SORTED_BY: [&str; 3] = ["src_addr", "dst_addr", "flow_start"];
/// The note that lists what a large file was made of.
const SOURCES: &str = "weir.recompacted";
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;

/// What became of an hour, or a day.
#[derive(Debug)]
pub enum Recompacted {
    /// So many files became one.
    Done {
        /// The large file.
        path: PathBuf,
        /// Files it was made of.
        files: usize,
        /// Flows in it.
        flows: u64,
        /// Octets before.
        octets_before: u64,
        /// Octets of the large file.
        octets: u64,
    },
    /// It would be done.
    Due {
        /// The folder.
        folder: PathBuf,
        /// Files in it.
        files: usize,
    },
    /// These files lie without folders, and stay as they are.
    Flat {
        /// The directory.
        folder: PathBuf,
        /// Files it would have been.
        files: usize,
    },
    /// It is left as it is: something in it is wrong, or not finished.
    Left {
        /// The folder.
        folder: PathBuf,
        /// Why, as a sentence's end.
        reason: String,
    },
}

/// Recompacts each hour, or day, that ended before `before_s` (seconds since 1970-01-01 UTC) and has more than
/// one file; `report` is told of each. Large files are compressed as the place says. With `is_dry` nothing is
/// changed.
///
/// # Errors
/// If the directory cannot be read or written. What was done until then stays done.
pub fn recompact<'a>(
    place: impl Into<Place<'a>>,
    before_s: i64,
    is_dry: bool,
    mut report: impl FnMut(Recompacted),
) -> Result<(), StoreError> {
    let Place { root, form } = place.into();
    let lock = Rearranging::lock(root)?;
    if !is_dry {
        clear(root, &lock)?;
    }
    let mut flat_files = 0;
    for (period, files) in periods(root)? {
        if period.end_s() > before_s || files.len() < 2 {
            continue;
        }
        if period.suffix().is_none() {
            flat_files += files.len();
            continue;
        }
        report(if is_dry {
            Recompacted::Due {
                folder: period.layout.folder(root, period.start_s),
                files: files.len(),
            }
        } else {
            recompact_period(root, period, &files, form.compression)?
        });
    }
    if flat_files > 0 {
        report(Recompacted::Flat {
            folder: root.to_owned(),
            files: flat_files,
        });
    }
    Ok(())
}

/// The files of one folder, and when their windows began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Period {
    start_s: i64,
    layout: Layout,
}

impl Period {
    /// That of a file.
    fn of(file: &ClosedFile, layout: Layout) -> Self {
        Self {
            start_s: file.start_s - file.start_s.rem_euclid(length_s(layout)),
            layout,
        }
    }

    fn end_s(self) -> i64 {
        self.start_s + length_s(self.layout)
    }

    /// Name ending of its large file; none if there is no folder to exchange.
    fn suffix(self) -> Option<&'static str> {
        match self.layout {
            Layout::Hour => Some("-hour"),
            Layout::Day => Some("-day"),
            Layout::Flat => None,
        }
    }
}

fn length_s(layout: Layout) -> i64 {
    match layout {
        Layout::Hour => HOUR_S,
        Layout::Day | Layout::Flat => DAY_S,
    }
}

/// Closed files by their folders, and by the day where there are none.
fn periods(root: &Path) -> Result<BTreeMap<Period, Vec<ClosedFile>>, StoreError> {
    let mut periods: BTreeMap<Period, Vec<ClosedFile>> = BTreeMap::new();
    for file in expire::list(root)? {
        if let Some(layout) = Layout::of(root, &file.path) {
            let period = Period::of(&file, layout);
            periods.entry(period).or_default().push(file);
        }
    }
    Ok(periods)
}

fn recompact_period(
    root: &Path,
    period: Period,
    files: &[ClosedFile],
    compression: Compression,
) -> Result<Recompacted, StoreError> {
    let folder = period.layout.folder(root, period.start_s);
    let left = |reason| Recompacted::Left {
        folder: folder.clone(),
        reason,
    };
    if let Some(reason) = obstacle(root, &folder, files)? {
        return Ok(left(reason));
    }
    let hidden = hidden_folder(&folder);
    let suffix = period.suffix().unwrap_or_default();
    let name = format!("{}{suffix}.parquet", layout::window_stem(period.start_s));
    let exchanged = in_hidden(&hidden, || {
        let large = hidden.join(&name);
        let flows = match write_large(files, &large, compression)? {
            Ok(flows) => flows,
            Err(reason) => return Ok(Err(reason)),
        };
        let octets = octets(&large);
        layout::sync_folder(&hidden)?;
        Ok(match system::exchange(&folder, &hidden) {
            Ok(()) => Ok((flows, octets)),
            Err(error) => Err(format!(
                "this file system cannot exchange folders ({error})"
            )),
        })
    });
    let (flows, octets) = match exchanged? {
        Ok(made) => made,
        Err(reason) => return Ok(left(reason)),
    };
    sync_parent(&folder)?;
    clear_hidden(&hidden)?;
    Ok(Recompacted::Done {
        path: folder.join(name),
        files: files.len(),
        flows,
        octets_before: files.iter().map(|file| file.octets).sum(),
        octets,
    })
}

/// Makes a hidden folder and what is to be in it. If that comes to nothing the folder goes: it would take
/// room that there may be none of, and that [`expire`] does not know of.
fn in_hidden<T>(
    hidden: &Path,
    make: impl FnOnce() -> Result<Result<T, String>, StoreError>,
) -> Result<Result<T, String>, StoreError> {
    fs::create_dir(hidden).map_err(StoreError::io("make", hidden))?;
    let made = make();
    if !matches!(made, Ok(Ok(_))) {
        let removed = fs::remove_dir_all(hidden).map_err(StoreError::io("remove", hidden));
        // Of two errors the first is told.
        return made.and_then(|left| removed.map(|()| left));
    }
    made
}

/// Writes the flows of all files as one, under its name once it is whole; how many, or why not.
fn write_large(
    files: &[ClosedFile],
    large: &Path,
    compression: Compression,
) -> Result<Result<u64, String>, StoreError> {
    let partial = large.with_extension(rotate::PARTIAL_SUFFIX.trim_start_matches('.'));
    let written = write_sorted(files, &partial, compression)?;
    if written.is_ok() {
        keep_time(files, &partial)?;
        fs::rename(&partial, large).map_err(StoreError::io("rename", &partial))?;
    }
    Ok(written)
}

/// Why a folder cannot be recompacted now.
fn obstacle(
    root: &Path,
    folder: &Path,
    files: &[ClosedFile],
) -> Result<Option<String>, StoreError> {
    // The layout was another one that day: folders of hours would go out of sight with the day's files.
    if folders(folder, "").is_ok_and(|folders| !folders.is_empty()) {
        return Ok(Some("there are folders of hours in it, too".to_owned()));
    }
    for window in read::list(root)?.open {
        // Whoever closes it looks whether its closed file is there already.
        let is_closed = files
            .iter()
            .any(|file| file.path.file_stem() == window.file_stem());
        if is_closed {
            return Ok(Some(format!("{} is still there", window.display())));
        }
    }
    Ok(None)
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
    let (mut batches, mut rows) = (Vec::new(), 0);
    for file in files {
        let verified = verify::read_sound(&file.path, |batch| {
            rows += batch.num_rows();
            batches.push(batch);
            if rows >= SORTED_ROWS {
                rows = 0;
                write_group(&mut writer, &std::mem::take(&mut batches), partial)?;
            }
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

fn sorted(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let all = concat_batches(&schema::schema(), batches)?;
    let columns = SORTED_BY.iter().filter_map(|name| {
        Some(SortColumn {
            values: all.column_by_name(name)?.clone(),
            options: None,
        })
    });
    let order = lexsort_to_indices(&columns.collect::<Vec<_>>(), None)?;
    take_record_batch(&all, &order)
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

/// Clears hidden folders that a killed process left behind; whoever does has the right to rearrange.
///
/// # Errors
/// If something cannot be read, moved or removed.
pub fn clear(root: &Path, _lock: &Rearranging) -> Result<(), StoreError> {
    for hidden in folders(root, ".date=")? {
        clear_hidden(&hidden)?;
    }
    for date in folders(root, "date=")? {
        for hidden in folders(&date, ".hour=")? {
            clear_hidden(&hidden)?;
        }
    }
    Ok(())
}

fn folders(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    let is_one = |entry: &fs::DirEntry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_folder && name(&entry.path()).starts_with(prefix)
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter(is_one)
        .map(|entry| entry.path())
        .collect())
}

fn clear_hidden(hidden: &Path) -> Result<(), StoreError> {
    let shown = shown_folder(hidden);
    let entries = fs::read_dir(hidden).map_err(StoreError::io("list", hidden))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if is_elsewhere(&path, &shown) {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        } else {
            fs::create_dir_all(&shown).map_err(StoreError::io("make", &shown))?;
            let own = shown.join(name(&path));
            let to = if is_of_same_window(&path, &own) {
                own
            } else {
                free_name(&shown, &path)
            };
            fs::rename(&path, to).map_err(StoreError::io("rename", &path))?;
        }
    }
    if shown.exists() {
        layout::sync_folder(&shown)?;
    }
    fs::remove_dir(hidden).map_err(StoreError::io("remove", hidden))?;
    sync_parent(hidden)
}

/// Whether a file's flows are in files that readers see.
fn is_elsewhere(path: &Path, shown: &Path) -> bool {
    let name = name(path);
    if name.ends_with(rotate::PARTIAL_SUFFIX) {
        return true;
    }
    let files = fs::read_dir(shown).into_iter().flatten();
    let files: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
    let this = (name, octets(path));
    let is_source = files.iter().any(|file| sources(file).contains(&this));
    let own = sources(path);
    let is_unpublished = files
        .iter()
        .any(|file| own.contains(&(self::name(file), octets(file))));
    is_source || is_unpublished
}

/// Whether two files of one name were made of one window. It is read the same way each time, so their row groups
/// have the same checksums; their notes differ, since whoever recovers a window knows no accounts.
fn is_of_same_window(one: &Path, other: &Path) -> bool {
    let checksums = |path: &Path| {
        let footer = footer::read(path).ok()?;
        footer.note(CHECKSUMS).map(str::to_owned)
    };
    checksums(one).is_some_and(|own| checksums(other) == Some(own))
}

/// The files a large file was made of, by name and octets.
fn sources(path: &Path) -> Vec<(String, u64)> {
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

fn hidden_folder(shown: &Path) -> PathBuf {
    shown.with_file_name(format!(".{}", name(shown)))
}

fn shown_folder(hidden: &Path) -> PathBuf {
    hidden.with_file_name(name(hidden).trim_start_matches('.'))
}

/// A name in the folder that is not taken.
fn free_name(folder: &Path, path: &Path) -> PathBuf {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.unwrap_or("flows");
    let mut to = folder.join(name(path));
    let mut number = 0;
    while to.exists() {
        number += 1;
        to = folder.join(format!("{stem}-{number}.parquet"));
    }
    to
}

fn name(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default().to_owned()
}

fn octets(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.len())
}

fn sync_parent(folder: &Path) -> Result<(), StoreError> {
    folder.parent().map_or(Ok(()), layout::sync_folder)
}

#[cfg(test)]
mod tests;
