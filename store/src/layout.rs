//! Where files lie.
//!
//! ```text
//! DIR/date=2026-11-21/hour=05/flows-20261121T050000Z.parquet   closed windows
//! DIR/.open/lock                                               held by the collector
//! DIR/.open/flows-20261121T051000Z.arrows                      the open window
//! DIR/.open/flows-20261121T050500Z.parquet.partial             a rotation under way
//! DIR/.open/flows-20261121T050000Z.arrows.unreadable           set aside
//! DIR/.open/flows-20261121T050000Z.parquet.damaged             set aside by `repair`
//! DIR/.open/recompact.lock                                     held by `recompact` and `repair`
//! DIR/.open/readers.lock                                       shared by who reads closed files
//! DIR/.open/templates                                          the collector's templates
//! DIR/.open/interfaces.json                                    what exporters call their interfaces
//! DIR/date=2026-11-21/.hour=05                                 a recompaction under way
//! ```
//!
//! Dates and hours are those of the window's start, in UTC, as hive partitions, which engines read
//! as columns; names that begin with a dot they leave alone. Names sort by time. An hour that was
//! recompacted has one file, `flows-20261121T050000Z-hour.parquet`. Closed files may lie in folders of days, or in
//! no folders, instead ([`crate::form`]):
//!
//! ```text
//! DIR/date=2026-11-21/flows-20261121T050000Z.parquet           a layout by day
//! DIR/.date=2026-11-21                                         its recompaction under way
//! DIR/flows-20261121T050000Z.parquet                           a flat one
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use chrono::DateTime;

use crate::{
    StoreError,
    form::{Form, Layout, Place},
};

/// Folder of what is not closed yet.
const OPEN: &str = ".open";
/// Name ending of an open window.
pub const WINDOW_SUFFIX: &str = ".arrows";

/// What readers share, and who lets closed files change places wants for itself.
const READERS: &str = "readers.lock";

/// Extension of a window that is set aside.
pub(crate) const UNREADABLE: &str = "arrows.unreadable";

/// A directory that this process alone writes.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    form: Form,
    _lock: File,
}

impl Directory {
    /// Makes the directory if there is none, so that a power cut does not take it back with what is in it, and
    /// locks it.
    ///
    /// # Errors
    /// If it cannot be made or written, or another collector has it.
    pub fn lock(root: &Path) -> Result<Self, StoreError> {
        let open = root.join(OPEN);
        let missing = |folder: &&Path| !folder.exists();
        let made: Vec<_> = open.ancestors().take_while(missing).collect();
        fs::create_dir_all(&open).map_err(refused("make", &open))?;
        assert_folder(&open)?;
        made.into_iter()
            .filter_map(Path::parent)
            .try_for_each(|parent| {
                let is_here = parent.as_os_str().is_empty();
                sync_folder(if is_here { Path::new(".") } else { parent })
            })?;
        match lock_file(&open.join("lock"))? {
            Some(lock) => {
                // It is there before the first reader; without it readers do without.
                let _ = create_file(&open.join(READERS));
                Ok(Self {
                    root: root.to_owned(),
                    form: Form::default(),
                    _lock: lock,
                })
            }
            None => Err(StoreError::Locked {
                path: root.to_owned(),
            }),
        }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same, with other closed files from now on.
    #[must_use]
    pub fn with_form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    /// Where closed files go, and what they are like.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        Place {
            root: &self.root,
            form: self.form,
        }
    }

    /// Path of an open window that began then; one that is not taken.
    #[must_use]
    pub fn window_path(&self, start_s: i64) -> PathBuf {
        let stem = window_stem(start_s);
        let mut name = format!("{stem}{WINDOW_SUFFIX}");
        let mut number = 0;
        while self.is_taken(start_s, &name) {
            number += 1;
            name = format!("{stem}-{number}{WINDOW_SUFFIX}");
        }
        open_folder(&self.root).join(name)
    }

    fn is_taken(&self, start_s: i64, name: &str) -> bool {
        let stem = name.trim_end_matches(WINDOW_SUFFIX);
        let window = open_folder(&self.root).join(name);
        // A symbolic link takes a name too, wherever it leads.
        let is_there = |path: PathBuf| fs::symlink_metadata(path).is_ok();
        is_there(window.with_extension(UNREADABLE))
            || is_there(window)
            || Layout::ALL
                .into_iter()
                .any(|layout| is_there(layout.closed_path(&self.root, start_s, stem)))
    }
}

/// The right to rearrange closed files; a collector may go on writing others.
#[derive(Debug)]
pub struct Rearranging {
    _lock: File,
}

impl Rearranging {
    /// Takes it.
    ///
    /// # Errors
    /// If the directory is none of a collector's, or another process has it.
    pub fn lock(root: &Path) -> Result<Self, StoreError> {
        let open = open_folder(root);
        if root.is_dir() && !open.try_exists().unwrap_or(true) {
            return Err(StoreError::NoCollectors {
                path: root.to_owned(),
            });
        }
        assert_folder(&open)?;
        match lock_file(&open.join("recompact.lock"))? {
            Some(lock) => Ok(Self { _lock: lock }),
            None => Err(StoreError::Rearranged {
                path: root.to_owned(),
            }),
        }
    }
}

/// Keeps closed files where they are as long as what is given lives: between finding them and reading them they would
/// go when an hour is recompacted. Nothing, where nobody made the lock or somebody does not give it back: then they
/// may.
#[must_use]
pub fn lock_for_reading(root: &Path) -> Option<File> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(5);
    let lock = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(open_folder(root).join(READERS))
        .ok()?;
    for _ in 0..TRIES {
        match lock.try_lock_shared() {
            Ok(()) => return Some(lock),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// Waits until nobody reads closed files; nothing after half a minute, since a reader may hang, or if it is not to go
/// on. Who comes meanwhile waits as long as what is given lives.
///
/// # Errors
/// If the lock cannot be made.
pub(crate) fn wait_for_readers(
    root: &Path,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<File>, StoreError> {
    const TRIES: u32 = 300;
    const PAUSE: Duration = Duration::from_millis(100);
    let lock = create_file(&open_folder(root).join(READERS))?;
    for _ in 0..TRIES {
        if lock.try_lock().is_ok() {
            return Ok(Some(lock));
        }
        if !goes_on() {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(None)
}

/// A lock on a file, or nothing if another process has it. It ends with the process that has it.
fn lock_file(path: &Path) -> Result<Option<File>, StoreError> {
    let lock = create_file(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

/// Makes a file, or empties the one that is there. What a symbolic link points to is left alone: who may
/// put one here need not be who may write there.
pub(crate) fn create_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(refused("write", path))
}

/// What is said if something cannot be made or written.
fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => StoreError::NotOurs {
            path: path.to_owned(),
        },
        _ => StoreError::io(action, path)(error),
    }
}

/// Refuses what is no folder, a symbolic link to one included.
pub(crate) fn assert_folder(path: &Path) -> Result<(), StoreError> {
    let found = fs::symlink_metadata(path).map_err(StoreError::io("open", path))?;
    if found.is_dir() {
        Ok(())
    } else {
        Err(StoreError::NoFolder {
            path: path.to_owned(),
        })
    }
}

/// The folder of open windows.
#[must_use]
pub fn open_folder(root: &Path) -> PathBuf {
    root.join(OPEN)
}

/// The folder of a day's closed files, or of its hours'.
#[must_use]
pub fn day_folder(root: &Path, start_s: i64) -> PathBuf {
    root.join(utc(start_s).format("date=%Y-%m-%d").to_string())
}

/// The folder of an hour's closed files.
#[must_use]
pub fn hour_folder(root: &Path, start_s: i64) -> PathBuf {
    day_folder(root, start_s).join(utc(start_s).format("hour=%H").to_string())
}

/// Name of a window without its ending.
#[must_use]
pub fn window_stem(start_s: i64) -> String {
    format!("flows-{}", utc(start_s).format("%Y%m%dT%H%M%SZ"))
}

/// Where a window goes when it is closed, as usual.
#[must_use]
pub fn closed_path(root: &Path, start_s: i64, stem: &str) -> PathBuf {
    Layout::default().closed_path(root, start_s, stem)
}

/// The file that a window became, whichever layout it was closed into.
#[must_use]
pub fn find_closed(root: &Path, start_s: i64, stem: &str) -> Option<PathBuf> {
    let paths = Layout::ALL.map(|layout| layout.closed_path(root, start_s, stem));
    paths.into_iter().find(|path| path.exists())
}

/// The start of a window, by its file's name.
#[must_use]
pub fn window_start_s(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?;
    let time = name.strip_prefix("flows-")?.get(..16)?;
    let time = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?;
    Some(time.and_utc().timestamp())
}

fn utc(unix_s: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(unix_s, 0).unwrap_or_default()
}

/// Makes a directory entry survive a power cut.
///
/// # Errors
/// What the operating system says.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_utc_and_come_back() {
        let start_s = 1_795_237_200; // 2026-11-21 05:00:00 UTC
        let path = closed_path(Path::new("/d"), start_s, &window_stem(start_s));
        assert_eq!(
            path,
            Path::new("/d/date=2026-11-21/hour=05/flows-20261121T050000Z.parquet")
        );
        assert_eq!(window_start_s(&path), Some(start_s));
    }

    #[test]
    fn d10_one_collector_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::lock(folder.path()).unwrap();
        assert!(matches!(
            Directory::lock(folder.path()),
            Err(StoreError::Locked { .. })
        ));
        drop(first);
        Directory::lock(folder.path()).unwrap();
    }

    #[test]
    fn d10_symbolic_links_are_not_followed() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = elsewhere.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let link = std::os::unix::fs::symlink::<&Path, PathBuf>;
        // The folder of open windows.
        link(elsewhere.path(), open_folder(folder.path())).unwrap();
        let refused = Directory::lock(folder.path()).unwrap_err();
        assert!(matches!(refused, StoreError::NoFolder { .. }), "{refused}");
        // The lock, which is emptied when it is made.
        fs::remove_file(open_folder(folder.path())).unwrap();
        fs::create_dir(open_folder(folder.path())).unwrap();
        link(&victim, open_folder(folder.path()).join("lock")).unwrap();
        Directory::lock(folder.path()).unwrap_err();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn readers_share_a_lock_and_who_rearranges_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(lock_for_reading(root).is_none());
        drop(Directory::lock(root).unwrap());
        let readers = [lock_for_reading(root), lock_for_reading(root)];
        assert!(readers.iter().all(Option::is_some));
        // It gives up when it is told to, and has nothing that readers wait for.
        let asked = std::cell::Cell::new(0);
        let is_asked_twice = || asked.replace(asked.get() + 1) < 1;
        drop(wait_for_readers(root, &is_asked_twice).unwrap());
        assert_eq!(asked.get(), 2);
        drop(readers);
        let alone = wait_for_readers(root, &|| panic!("nobody reads")).unwrap();
        assert!(lock_for_reading(root).is_none());
        drop(alone);
        assert!(lock_for_reading(root).is_some());
    }

    /// Nothing an exporter says is part of a path: only times are.
    #[test]
    fn d11_paths_have_one_form() {
        let stem = window_stem(1_795_237_200);
        let path = closed_path(Path::new("d"), 1_795_237_200, &stem);
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"=-./".contains(&octet);
        assert!(path.to_str().unwrap().bytes().all(allowed), "{path:?}");
        for name in [
            "flows-..",
            "flows-20261121T0500",
            "flows-20261321T050000Z",
            "..",
            "flows-../../../etc/pas",
        ] {
            assert_eq!(window_start_s(Path::new(name)), None, "{name}");
        }
    }
}
