//! Hidden folders, in which large files are made, and what becomes of them when a process was killed there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{folders, large::sources, name, octets, sync_parent};
use crate::{
    StoreError,
    checksum::CHECKSUMS,
    footer,
    layout::{self, Rearranging},
    rotate,
};

pub(super) fn hidden_folder(shown: &Path) -> PathBuf {
    shown.with_file_name(format!(".{}", name(shown)))
}

fn shown_folder(hidden: &Path) -> PathBuf {
    hidden.with_file_name(name(hidden).trim_start_matches('.'))
}

/// Makes a hidden folder and what is to be in it. If that comes to nothing the folder goes: it would take
/// room that there may be none of, and that [`crate::expire`] does not know of.
pub(super) fn in_hidden<T, W>(
    hidden: &Path,
    make: impl FnOnce() -> Result<Result<T, W>, StoreError>,
) -> Result<Result<T, W>, StoreError> {
    fs::create_dir(hidden).map_err(StoreError::io("make", hidden))?;
    let made = make();
    if !matches!(made, Ok(Ok(_))) {
        let removed = fs::remove_dir_all(hidden).map_err(StoreError::io("remove", hidden));
        // Of two errors the first is told.
        return made.and_then(|left| removed.map(|()| left));
    }
    made
}

/// Clears hidden folders that a killed process left behind; whoever does has the right to rearrange.
///
/// # Errors
/// If something cannot be read, moved or removed: the first of them. The other folders are cleared all the same.
pub fn clear(root: &Path, _lock: &Rearranging) -> Result<(), StoreError> {
    let cleared = all(root)?.into_iter().map(|hidden| clear_hidden(&hidden));
    cleared.fold(Ok(()), Result::and)
}

/// Octets of what is in hidden folders, as far as it can be read; they come back, whatever becomes of it.
pub(crate) fn octets_under_way(root: &Path) -> u64 {
    let hidden = all(root).unwrap_or_default();
    let files = hidden
        .iter()
        .flat_map(|hidden| fs::read_dir(hidden).into_iter().flatten());
    files.flatten().map(|file| octets(&file.path())).sum()
}

/// The hidden folders.
fn all(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut hidden = folders(root, ".date=")?;
    for date in folders(root, "date=")? {
        match folders(&date, ".hour=") {
            // Its last file expired meanwhile.
            Err(_) if !date.exists() => {}
            found => hidden.extend(found?),
        }
    }
    Ok(hidden)
}

pub(super) fn clear_hidden(hidden: &Path) -> Result<(), StoreError> {
    let shown = shown_folder(hidden);
    let entries = fs::read_dir(hidden).map_err(StoreError::io("list", hidden))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if is_elsewhere(&path, &shown)? {
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

/// What is to be opened by nobody here: with a pipe that takes for ever.
fn is_no_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| !about.is_file())
}

/// Whether a file's flows are in files that readers see.
///
/// # Errors
/// If one of those cannot be read: a file that moved beside them would be there twice.
fn is_elsewhere(path: &Path, shown: &Path) -> Result<bool, StoreError> {
    let name = name(path);
    if name.ends_with(rotate::PARTIAL_SUFFIX) {
        return Ok(true);
    }
    if is_no_file(path) {
        return Ok(false);
    }
    let mut files = Vec::new();
    if shown.exists() {
        let entries = fs::read_dir(shown).map_err(StoreError::io("list", shown))?;
        for entry in entries {
            files.push(entry.map_err(StoreError::io("list", shown))?.path());
        }
        files.retain(|file| !is_no_file(file));
    }
    let this = (name, octets(path));
    let own = sources(path)?;
    for file in &files {
        if own.contains(&(super::name(file), octets(file))) || sources(file)?.contains(&this) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two files of one name were made of one window. It is read the same way each time, so their row groups
/// have the same checksums; their notes differ, since whoever recovers a window knows no accounts.
fn is_of_same_window(one: &Path, other: &Path) -> bool {
    let checksums = |path: &Path| {
        if is_no_file(path) {
            return None;
        }
        let footer = footer::read(path).ok()?;
        footer.note(CHECKSUMS).map(str::to_owned)
    };
    checksums(one).is_some_and(|own| checksums(other) == Some(own))
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
