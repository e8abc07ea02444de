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
//!
//! A collector may go on meanwhile. A window that began in the hour and is not closed yet would put its file into the
//! folder that goes, where nobody saw it until the folder is cleared; so an hour waits for its windows, and is looked at
//! again right before the folders change places. Readers that have taken [`layout::lock_for_reading`], as `weir` does, are
//! waited for then. Memory is taken for one row group (`large.rs`): some 450 MiB at most, however large the hour is.

mod hidden;
mod large;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

pub use self::hidden::clear;
pub(crate) use self::hidden::octets_under_way;
use self::{
    hidden::{clear_hidden, hidden_folder, in_hidden},
    large::{Making, Piece, write_large},
};
use crate::{
    StoreError,
    expire::{self, ClosedFile},
    form::{Layout, Place},
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
    /// It is left as it is.
    Left {
        /// The folder.
        folder: PathBuf,
        /// Why.
        why: Why,
    },
}

/// Why a folder is left as it is; shown, it is a sentence's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something in it is wrong.
    Wrong(String),
    /// A window of its time is not closed yet.
    Unfinished(String),
    /// Its files changed meanwhile: the next time may be better.
    Changed(String),
    /// The file system has no way to exchange folders: no time will be better.
    Unable(String),
    /// Whoever asked did not want it any more.
    Stopped,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(reason)
            | Self::Unfinished(reason)
            | Self::Changed(reason)
            | Self::Unable(reason) => formatter.write_str(reason),
            Self::Stopped => formatter.write_str("it was told to stop"),
        }
    }
}

/// The files of a folder whose time is over; of a flat layout, those of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    period: Period,
    path: PathBuf,
    files: Vec<ClosedFile>,
}

impl Folder {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, two at least, the oldest first.
    #[must_use]
    pub fn files(&self) -> &[ClosedFile] {
        &self.files
    }

    /// Octets of its files.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.files.iter().map(|file| file.octets).sum()
    }

    /// Whether it is the directory itself, whose files stay as they are.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.period.suffix().is_none()
    }
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
    let place: Place<'a> = place.into();
    let lock = Rearranging::lock(place.root)?;
    if !is_dry {
        clear(place.root, &lock)?;
    }
    let mut flat_files = 0;
    for folder in due(place.root, before_s)? {
        if folder.is_flat() {
            flat_files += folder.files.len();
        } else if is_dry {
            report(Recompacted::Due {
                files: folder.files.len(),
                folder: folder.path,
            });
        } else {
            report(recompact_folder(place, &folder, &lock, &|| true)?);
        }
    }
    if flat_files > 0 {
        report(Recompacted::Flat {
            folder: place.root.to_owned(),
            files: flat_files,
        });
    }
    Ok(())
}

/// Folders whose time ended before `before_s` (seconds since 1970-01-01 UTC) and that have more than one file, the
/// oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn due(root: &Path, before_s: i64) -> Result<Vec<Folder>, StoreError> {
    let mut periods: BTreeMap<Period, Vec<ClosedFile>> = BTreeMap::new();
    for file in expire::list(root)? {
        if let Some(layout) = Layout::of(root, &file.path) {
            let period = Period::of(&file, layout);
            periods.entry(period).or_default().push(file);
        }
    }
    let due = periods
        .into_iter()
        .filter(|(period, files)| period.end_s() <= before_s && files.len() > 1);
    let folder = |(period, files): (Period, Vec<ClosedFile>)| Folder {
        path: period.layout.folder(root, period.start_s),
        period,
        files,
    };
    Ok(due.map(folder).collect())
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

    fn has(self, start_s: i64) -> bool {
        (self.start_s..self.end_s()).contains(&start_s)
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

/// Recompacts one; whoever does has the right to rearrange. `goes_on` is asked each few thousand flows, and once it says
/// no the folder is left as it is.
///
/// # Errors
/// If the directory cannot be read or written; the folder is as it was, or its large file is in its place.
pub fn recompact_folder(
    place: Place<'_>,
    folder: &Folder,
    _lock: &Rearranging,
    goes_on: &dyn Fn() -> bool,
) -> Result<Recompacted, StoreError> {
    let Folder {
        period,
        path,
        files,
    } = folder;
    let left = |why| Recompacted::Left {
        folder: path.clone(),
        why,
    };
    let Some(suffix) = period.suffix() else {
        let says = "there is no folder to exchange".to_owned();
        return Ok(left(Why::Wrong(says)));
    };
    if let Some(why) = obstacle(place.root, folder)? {
        return Ok(left(why));
    }
    let hidden = hidden_folder(path);
    let name = format!("{}{suffix}.parquet", layout::window_stem(period.start_s));
    let making = Making {
        compression: place.form.compression.of_large(),
        piece: Piece::default(),
        goes_on,
    };
    let exchanged = in_hidden(&hidden, || {
        let large = hidden.join(&name);
        let flows = match write_large(files, &large, making)? {
            Ok(flows) => flows,
            Err(why) => return Ok(Err(why)),
        };
        let octets = octets(&large);
        layout::sync_folder(&hidden)?;
        // Who has listed the small files reads them first. And it took its time: are they still the same?
        let readers = layout::wait_for_readers(place.root, goes_on)?;
        if !goes_on() {
            return Ok(Err(Why::Stopped));
        }
        let Some(_readers) = readers else {
            let why = "somebody has been reading the directory for over half a minute";
            return Ok(Err(Why::Wrong(why.to_owned())));
        };
        if let Some(why) = obstacle(place.root, folder)? {
            return Ok(Err(why));
        }
        Ok(match system::exchange(path, &hidden) {
            Ok(()) => Ok((flows, octets)),
            Err(error) => Err(unexchanged(&error)),
        })
    });
    let (flows, octets) = match exchanged? {
        Ok(made) => made,
        Err(why) => return Ok(left(why)),
    };
    sync_parent(path)?;
    clear_hidden(&hidden)?;
    Ok(Recompacted::Done {
        path: path.join(name),
        files: files.len(),
        flows,
        octets_before: folder.octets(),
        octets,
    })
}

fn unexchanged(error: &io::Error) -> Why {
    if system::is_no_such_way(error) {
        Why::Unable(format!(
            "this file system cannot exchange folders ({error})"
        ))
    } else if error.kind() == io::ErrorKind::NotFound {
        Why::Changed(format!("the folders could not be exchanged ({error})"))
    } else {
        // A mount point, or another file system below: it would be so the next time, too.
        Why::Wrong(format!("the folders could not be exchanged ({error})"))
    }
}

/// Why a folder cannot be recompacted now.
fn obstacle(root: &Path, folder: &Folder) -> Result<Option<Why>, StoreError> {
    let Folder {
        period,
        path,
        files,
    } = folder;
    // The layout was another one that day: folders of hours would go out of sight with the day's files.
    if folders(path, "").is_ok_and(|folders| !folders.is_empty()) {
        let says = "there are folders of hours in it, too".to_owned();
        return Ok(Some(Why::Wrong(says)));
    }
    // Whoever closes one puts its file into the folder, or looks whether it is there already. What was closed before
    // this look is seen by the next one.
    for window in read::list_open(root)? {
        let start_s = layout::window_start_s(&window);
        if start_s.is_some_and(|start_s| period.has(start_s)) {
            let says = format!("{} is still there", window.display());
            return Ok(Some(Why::Unfinished(says)));
        }
    }
    let entries = fs::read_dir(path).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    let is_closed = |path: &PathBuf| {
        let is_parquet = path.extension().is_some_and(|ending| ending == "parquet");
        is_parquet && Layout::of(root, path).is_some()
    };
    let now: BTreeSet<PathBuf> = paths.filter(is_closed).collect();
    let is_same = now.len() == files.len() && files.iter().all(|file| now.contains(&file.path));
    let says = || Why::Changed("its files changed meanwhile".to_owned());
    Ok((!is_same).then(says))
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
