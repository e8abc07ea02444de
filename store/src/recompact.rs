//! The small files of an hour become one large one, its row groups sorted by source and service:
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

mod hidden;
mod large;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub use self::hidden::clear;
use self::{
    hidden::{clear_hidden, hidden_folder, in_hidden},
    large::write_large,
};
use crate::{
    StoreError,
    expire::{self, ClosedFile},
    form::{Compression, Layout, Place},
    layout::{self, Rearranging},
    read, system,
};

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
