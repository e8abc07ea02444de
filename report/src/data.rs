//! The flows of directories as one table, open and closed files alike, and what it covers. Files that
//! cannot hold what is asked for are left out before any row is read.

mod coverage;
mod foreign;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    num::NonZero,
    panic,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::{Result, anyhow, bail};
use arrow::{
    array::{AsArray as _, RecordBatch},
    compute,
    datatypes::{ArrowPrimitiveType, TimestampNanosecondType, UInt32Type},
};
use datafusion::{
    datasource::MemTable,
    prelude::{DataFrame, Expr, SessionContext, col, lit},
};
use weir_store::{
    StoreError, account,
    footer::{Ends, Footer, Opened},
    layout,
    read::{self, Ended, Files},
    schema,
};

use crate::{
    account::Accounts,
    filter::{
        Filter,
        ast::Field,
        prune::{self, Known},
        ranges,
    },
    functions,
    reading::Reading,
    scan::{Group, Groups},
};

pub use coverage::Coverage;

/// Readers of footers for each processor: they mostly wait for the disk.
const READERS_A_CPU: usize = 4;

/// The flows of directories that may fit a filter: all of the schema's columns, and `flows`, which is 1.
///
/// # Errors
/// If one cannot be listed, or has another collector's files and none of Weir's.
pub fn open(
    context: &SessionContext,
    roots: &[PathBuf],
    filter: &Filter,
    reading: &Reading,
) -> Result<(DataFrame, Coverage)> {
    // A window may be closed between the list and the look, or a closed file recompacted; then what
    // became of it is in the next list.
    const LOOKS: usize = 5;
    // What is said of files later names them by their whole paths; who names a directory twice means it once.
    let whole = |root: &PathBuf| root.canonicalize().unwrap_or_else(|_| root.clone());
    let roots: BTreeSet<PathBuf> = roots.iter().map(whole).collect();
    for root in &roots {
        reading.hold(root);
    }
    let mut found = look(&roots, filter)?;
    for _ in 1..LOOKS {
        if !found.moved {
            break;
        }
        found = look(&roots, filter)?;
    }
    let window = MemTable::try_new(schema::schema(), vec![found.batches])?;
    let mut flows = context.read_table(Arc::new(window))?.select(columns())?;
    if !found.groups.is_empty() {
        let groups = Groups {
            groups: found.groups,
            reading: reading.clone(),
        };
        let closed = context.read_table(Arc::new(groups))?;
        flows = closed.select(columns())?.union(flows)?;
    }
    found.coverage.reading = reading.clone();
    Ok((flows, found.coverage))
}

fn columns() -> Vec<Expr> {
    let schema = schema::schema();
    let stored = schema.fields().iter().map(|field| col(field.name()));
    stored.chain([lit(1u64).alias("flows")]).collect()
}

/// The same flows with octets and packets of all traffic, where exporters looked at one packet in so many.
///
/// # Errors
/// If the flows have not the store's columns.
pub fn scaled(flows: DataFrame) -> Result<DataFrame> {
    let fields = flows.schema().fields().iter();
    let columns = fields.map(|field| match field.name().as_str() {
        name @ ("octets" | "packets") => {
            functions::scaled_expression(col(name), col("sampling_interval")).alias(name)
        }
        name => col(name),
    });
    let columns: Vec<Expr> = columns.collect();
    Ok(flows.select(columns)?)
}

/// What one look at the directory found.
#[derive(Default)]
struct Look {
    coverage: Coverage,
    groups: Vec<Group>,
    batches: Vec<RecordBatch>,
    /// A file was there and then was not.
    moved: bool,
}

fn look(roots: &BTreeSet<PathBuf>, filter: &Filter) -> Result<Look> {
    let mut found = Look::default();
    found.coverage.asked_ns = prune::stretch_ns(filter);
    let (parts, roots): (Vec<&PathBuf>, Vec<&PathBuf>) =
        roots.iter().partition(|root| is_part(root, roots));
    for root in &roots {
        let files = list(root, &roots, &parts)?;
        let known = (
            found.coverage.heard_ns.len(),
            found.coverage.unreadable.len(),
        );
        found.links(&files, &roots);
        for files in by_collector(root, files) {
            let before = found.coverage.heard_ns.len();
            found.directory(&files, filter);
            found.coverage.end_directory(before);
        }
        let coverage = &found.coverage;
        // No flow at all would be a wrong answer, and one that looks right.
        if known == (coverage.heard_ns.len(), coverage.unreadable.len())
            && !found.moved
            && !layout::open_folder(root).exists()
            && let Some(advice) = foreign::advice(root)
        {
            bail!(advice);
        }
    }
    // Those of each directory are in this order.
    let by_time = |group: &Group| layout::window_start_s(&group.path);
    found.groups.sort_by_cached_key(by_time);
    Ok(found)
}

/// Whether a directory is a part of another one: it lies in that, and has no windows of its own. Of a rotation the
/// other may have the window while the closed file is here: who looks at both together counts it once.
fn is_part(root: &Path, roots: &BTreeSet<PathBuf>) -> bool {
    let mut outer = root.ancestors().skip(1);
    outer.any(|outer| roots.contains(outer)) && !layout::open_folder(root).exists()
}

/// The files of a directory, and of those parts of it that are asked for by themselves, as they may lie deeper than one
/// looks. What is in another directory within this one counts there.
fn list(root: &Path, roots: &[&PathBuf], parts: &[&PathBuf]) -> Result<Files> {
    let list = |root: &Path| read::list(root).map_err(|error| unlisted(root, error));
    let inner = roots
        .iter()
        .filter(|inner| **inner != root && inner.starts_with(root));
    let inner: Vec<_> = inner.collect();
    let is_here = |path: &Path| inner.iter().all(|inner| !path.starts_with(inner));
    let mut files = list(root)?;
    for part in parts {
        if part.starts_with(root) && is_here(part) {
            let Files { closed, links, .. } = list(part)?;
            if closed.is_empty()
                && let Some(advice) = foreign::advice(part)
            {
                bail!(advice);
            }
            let known: HashSet<_> = files.closed.iter().cloned().collect();
            let more = closed.into_iter().filter(|path| !known.contains(path));
            files.closed.extend(more);
            files.links.extend(links);
        }
    }
    files.closed.retain(|path| is_here(path));
    files.links.retain(|path| is_here(path));
    files.links.sort();
    files.links.dedup();
    Ok(files)
}

/// The files of a directory by the collectors whose folders `collector=NAME` lie side by side in it: what one of them
/// heard says nothing of the others. Those in no such folder, the open windows among them, are the directory's own.
fn by_collector(root: &Path, Files { closed, open, .. }: Files) -> Vec<Files> {
    let is_collectors = |folder: &&Path| {
        let name = folder.file_name();
        name.is_some_and(|name| name.as_encoded_bytes().starts_with(b"collector="))
    };
    let mut shares: BTreeMap<Option<PathBuf>, Files> = BTreeMap::new();
    for path in closed {
        let folders = path.ancestors().skip(1);
        let mut below = folders.take_while(|folder| *folder != root);
        let collector = below.find(is_collectors).map(Path::to_owned);
        shares.entry(collector).or_default().closed.push(path);
    }
    if !open.is_empty() || shares.is_empty() {
        shares.entry(None).or_default().open = open;
    }
    shares.into_values().collect()
}

/// Why a directory's files are not known, and what to do: who asks for the first time has no collector yet, or
/// is not in its group.
fn unlisted(root: &Path, error: StoreError) -> anyhow::Error {
    let kind = match &error {
        StoreError::Io { error, .. } => error.kind(),
        _ => io::ErrorKind::Other,
    };
    let is_file = root.is_file();
    let is_ours = root.extension().is_some_and(|end| end == "parquet");
    let root = root.display();
    match kind {
        _ if is_file && is_ours => anyhow!(
            "{root} is a file: -r names a directory, whose files are all read: to ask it alone, put it into one of its own"
        ),
        _ if is_file => anyhow!(
            "{root} is a file: -r names the directory a collector writes to (its -w), and `weir-collector import -w DIR \
             FILE` takes over files of nfdump and flow-tools"
        ),
        io::ErrorKind::NotFound => anyhow!(
            "there is no {root}: no collector has written there; -r DIR names the directory one writes to (its -w)"
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "you may not read {root}: `adduser NAME weir`, as root, lets NAME read what the collector's unit writes, \
             once NAME has logged in again"
        ),
        _ => error.into(),
    }
}

/// A closed file, before any row is read.
struct Closed {
    footer: Footer,
    /// Whether flows of the time asked for may be in it.
    is_then: bool,
    /// Row groups that flows that fit may be in.
    groups: Vec<Group>,
}

impl Closed {
    fn look(path: &Path, filter: &Filter) -> Result<Self, String> {
        // The file's name is told beside the reason.
        let named = format!("{}: ", path.display());
        let opened = Opened::open(path).map_err(|error| {
            let says = error.to_string();
            says.strip_prefix(&named).unwrap_or(&says).to_owned()
        })?;
        let footer = opened.footer();
        if let Some(column) = &footer.foreign_column {
            return Err(format!("it has no column {column} as Weir writes it"));
        }
        let file = File {
            opened: &opened,
            times_ns: [footer.start_ns, footer.end_ns, footer.received_ns],
            group: None,
        };
        let is_then = prune::may_hold(filter, &file);
        let mut groups = Vec::new();
        let path = Arc::new(path.to_owned());
        let numbers = if is_then { 0..opened.groups() } else { 0..0 };
        for number in numbers {
            let file = File {
                opened: &opened,
                times_ns: opened.group_times_ns(number),
                group: Some(number),
            };
            if prune::may_hold(filter, &file) {
                groups.push(Group {
                    path: Arc::clone(&path),
                    number,
                    octets: opened.group_octets(number),
                    times_ns: file.times_ns,
                });
            }
        }
        Ok(Self {
            footer,
            is_then,
            groups,
        })
    }
}

/// Looks at files side by side: a footer is a few reads, and there may be thousands of files.
fn closed(paths: &[PathBuf], filter: &Filter) -> Vec<Result<Closed, String>> {
    let readers = thread::available_parallelism().map_or(1, NonZero::get) * READERS_A_CPU;
    let share = paths.len().div_ceil(readers).max(1);
    let look = |part: &[PathBuf]| -> Vec<_> {
        let part = part.iter();
        part.map(|path| Closed::look(path, filter)).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = paths
            .chunks(share)
            .map(|part| scope.spawn(move || look(part)))
            .collect();
        let looked = parts.into_iter().flat_map(|part| {
            let looked = part.join();
            looked.unwrap_or_else(|panic| panic::resume_unwind(panic))
        });
        looked.collect()
    })
}

impl Look {
    /// Looks at the files of a directory, or of a collector's folder in it.
    fn directory(&mut self, files: &Files, filter: &Filter) {
        let mut before = Accounts::default();
        for (path, closed) in files.closed.iter().zip(closed(&files.closed, filter)) {
            match closed {
                Ok(closed) => self.file(path, &closed, &mut before),
                // It expired meanwhile, or is in a larger file now.
                Err(_) if !path.exists() => self.moved = true,
                Err(reason) => self.coverage.unreadable.push((path.clone(), reason)),
            }
        }
        for path in &files.open {
            // A window is removed after its Parquet file appears: with both there, that one counts.
            let rotated = files
                .closed
                .iter()
                .any(|closed| closed.file_stem() == path.file_stem());
            if !rotated {
                self.window(path, filter);
            }
        }
    }

    /// Names what lies elsewhere, unless that is asked for by itself: another collector's directory, say, that was linked
    /// into this one.
    fn links(&mut self, files: &Files, roots: &[&PathBuf]) {
        for link in files.links_elsewhere(roots) {
            let says =
                "it is a symbolic link, which is not followed: name with -r where it leads, too";
            self.coverage
                .unreadable
                .push((link.clone(), says.to_owned()));
        }
    }

    fn file(&mut self, path: &Path, closed: &Closed, before: &mut Accounts) {
        let footer = &closed.footer;
        let accounts = footer.note(account::TOTALS).and_then(Accounts::parse);
        // Files of version 1 have no note of their own share.
        let share = footer.note(account::SHARE).and_then(Accounts::parse);
        let share = share.or_else(|| Some(accounts.as_ref()?.since(before)));
        *before = accounts.unwrap_or_else(|| before.clone());
        let coverage = &mut self.coverage;
        coverage.heard_ns.extend(&footer.heard_ns);
        if let (Some(share), Some(ends)) = (&share, footer.received_ns) {
            coverage.hear(share, ends);
        }
        if !closed.is_then {
            return;
        }
        coverage.closed += 1;
        let Footer {
            flows,
            start_ns,
            end_ns,
            received_ns,
            ..
        } = footer;
        coverage.include(*flows, *start_ns, *end_ns, *received_ns);
        if let Some((first, _)) = received_ns {
            coverage.began_ns.insert(path.to_owned(), *first);
        }
        match share {
            Some(share) => coverage.accounts.add(&share),
            None => coverage.unaccounted += 1,
        }
        if !closed.groups.is_empty() {
            coverage.sampled(footer.sampling_interval);
        } else if *flows > 0 {
            coverage.skipped += 1;
        }
        self.groups.extend_from_slice(&closed.groups);
    }

    fn window(&mut self, path: &Path, filter: &Filter) {
        let before = self.batches.len();
        let batches = &mut self.batches;
        let ended = read::growing_window(path, |batch| {
            batches.push(batch);
            Ok(())
        });
        let read = &self.batches[before..];
        let flows: usize = read.iter().map(RecordBatch::num_rows).sum();
        let coverage = &mut self.coverage;
        match ended {
            Ok(ended) => {
                // One that is being written was waited for: nobody writes the end of this one any more.
                if let Ended::CutOff(reason) = ended {
                    let reason = format!("after its first {flows} flows, {reason}");
                    coverage.unreadable.push((path.to_owned(), reason));
                    if flows == 0 {
                        return;
                    }
                }
                let [start, end, received] = ["flow_start", "flow_end", "received"]
                    .map(|column| ends::<TimestampNanosecondType>(read, column));
                coverage.heard_ns.extend(received);
                if !prune::may_hold(filter, &OpenWindow([start, end, received])) {
                    self.batches.truncate(before);
                    return;
                }
                coverage.open += 1;
                coverage.unaccounted += 1;
                coverage.include(flows as u64, start, end, received);
                coverage.sampled(ends::<UInt32Type>(read, "sampling_interval"));
            }
            Err(_) if !path.exists() => self.moved = true,
            Err(error) => coverage
                .unreadable
                .push((path.to_owned(), error.to_string())),
        }
    }
}

/// Least and greatest value of a column in batches.
fn ends<T>(batches: &[RecordBatch], column: &str) -> Option<(T::Native, T::Native)>
where
    T: ArrowPrimitiveType,
    T::Native: Ord,
{
    let of_batch = |batch: &RecordBatch| {
        let values = batch.column_by_name(column)?.as_primitive_opt::<T>()?;
        Some((compute::min(values)?, compute::max(values)?))
    };
    batches.iter().filter_map(of_batch).reduce(
        |(least, greatest), (other_least, other_greatest)| {
            (least.min(other_least), greatest.max(other_greatest))
        },
    )
}

/// The ends of a time, of those of `flow_start`, `flow_end` and `received`.
fn of_field([start, end, received]: [Option<Ends>; 3], field: Field) -> Option<Ends> {
    match field {
        Field::Start => start,
        Field::End => end,
        Field::Received => received,
        _ => None,
    }
}

/// A closed file or a row group of one, as the filter asks about it.
struct File<'a> {
    opened: &'a Opened,
    /// Ends of `flow_start`, `flow_end` and `received`.
    times_ns: [Option<Ends>; 3],
    /// The row group, whose Bloom filters are read; the times of a file are known anyway.
    group: Option<usize>,
}

impl Known for File<'_> {
    fn ends_ns(&self, field: Field) -> Option<Ends> {
        of_field(self.times_ns, field)
    }

    fn may_have(&self, field: Field, address: u128) -> bool {
        let column = match field {
            Field::SourceAddress => "src_addr",
            Field::DestinationAddress => "dst_addr",
            _ => return true,
        };
        let octets = ranges::octets_of(address);
        self.group
            .is_none_or(|group| self.opened.group_may_have(group, column, octets))
    }
}

/// An open window, likewise: the ends of `flow_start`, `flow_end` and `received`.
struct OpenWindow([Option<Ends>; 3]);

impl Known for OpenWindow {
    fn ends_ns(&self, field: Field) -> Option<Ends> {
        of_field(self.0, field)
    }

    fn may_have(&self, _field: Field, _address: u128) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
