//! An open window becomes a Parquet file: written beside it, synced, renamed into its place, the
//! folder synced, and only then is the window removed. Whatever happens in between, each flow is
//! in one file that readers see.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    StoreError,
    closed::ClosedWriter,
    footer, layout,
    read::{self, Ended},
};

/// Name ending of a closed file that is not finished.
pub(crate) const PARTIAL_SUFFIX: &str = ".parquet.partial";

/// What a rotation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The file; `None` if the window held no flow and is gone.
    pub path: Option<PathBuf>,
    /// Flows in it.
    pub flows: u64,
    /// How the window ended.
    pub ended: Ended,
}

/// Closes a window into `root`. `notes` are kept as the file's metadata. A window that cannot be read
/// to its end is kept too, under another name, beside the file with what could be read.
///
/// # Errors
/// If something cannot be read or written; the window stays, and a later try may succeed.
pub fn close(
    root: &Path,
    window: &Path,
    notes: &[(String, String)],
) -> Result<Rotated, StoreError> {
    let start_s = layout::window_start_s(window).unwrap_or(0);
    let name = window
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let stem = name.trim_end_matches(layout::WINDOW_SUFFIX);
    let closed = layout::closed_path(root, start_s, stem);
    if closed.exists() {
        // It was synced before it got this name: a power cut came before the window was removed.
        let flows = footer::read(&closed)?.flows;
        fs::remove_file(window).map_err(StoreError::io("remove", window))?;
        return Ok(Rotated {
            path: Some(closed),
            flows,
            ended: Ended::Whole,
        });
    }
    let partial = layout::open_folder(root).join(format!("{stem}{PARTIAL_SUFFIX}"));
    let (flows, ended) = write_parquet(window, &partial, notes)?;
    let path = if flows > 0 {
        publish(root, &partial, &closed)?;
        Some(closed)
    } else {
        fs::remove_file(&partial).map_err(StoreError::io("remove", &partial))?;
        None
    };
    if ended == Ended::Whole {
        fs::remove_file(window).map_err(StoreError::io("remove", window))?;
    } else {
        let aside = window.with_extension(layout::UNREADABLE);
        fs::rename(window, &aside).map_err(StoreError::io("rename", window))?;
    }
    Ok(Rotated { path, flows, ended })
}

/// Gives a synced file its name, so that a power cut cannot take it back.
pub(crate) fn publish(root: &Path, partial: &Path, closed: &Path) -> Result<(), StoreError> {
    // Whoever expires the last file of an hour removes its folder too.
    const TRIES: u32 = 3;
    let hour = closed.parent().unwrap_or(root);
    for tries_left in (0..TRIES).rev() {
        fs::create_dir_all(hour).map_err(StoreError::io("make", hour))?;
        for folder in folders(root, hour) {
            layout::assert_folder(folder)?;
        }
        match fs::rename(partial, closed) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries_left > 0 => {}
            Err(error) => return Err(StoreError::io("rename", partial)(error)),
        }
    }
    layout::sync_folder(root)?;
    folders(root, hour).try_for_each(layout::sync_folder)
}

/// Folders from the hour's up to below the root.
fn folders<'a>(root: &'a Path, hour: &'a Path) -> impl Iterator<Item = &'a Path> {
    let is_below = move |folder: &&Path| folder.starts_with(root) && *folder != root;
    hour.ancestors().take_while(is_below)
}

fn write_parquet(
    window: &Path,
    partial: &Path,
    notes: &[(String, String)],
) -> Result<(u64, Ended), StoreError> {
    let mut file = ClosedWriter::create(partial, notes)?;
    let ended = read::window(window, |batch| file.write(&batch))?;
    Ok((file.finish()?, ended))
}
