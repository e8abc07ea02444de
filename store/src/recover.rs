//! At start: windows that a collector left behind (killed, power cut) are closed like any other,
//! as far as they can be read; what cannot be read at all is set aside under another name. Nothing
//! is deleted that is not in a closed file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    StoreError,
    form::Place,
    layout::{self, Directory, WINDOW_SUFFIX},
    read::Ended,
    rotate::{self, Rotated},
};

/// What became of a window found at start.
#[derive(Debug)]
pub enum Recovered {
    /// It was closed; its last message may have been cut off.
    Closed(PathBuf, Rotated),
    /// Nothing in it could be read: it is kept under this name.
    SetAside(PathBuf),
    /// It could not be closed now (no room, say); it stays, and may be tried again.
    Failed(PathBuf, StoreError),
}

/// Closes every window there is.
///
/// # Errors
/// If the folder cannot be listed.
pub fn recover(directory: &Directory) -> Result<Vec<Recovered>, StoreError> {
    let folder = layout::open_folder(directory.root());
    let mut windows = list_windows(&folder)?;
    windows.sort();
    Ok(windows
        .into_iter()
        .map(|window| recover_window(directory.place(), window))
        .collect())
}

/// What is noted in files of windows whose collector did not close them.
#[must_use]
pub fn notes() -> Vec<(String, String)> {
    vec![("weir.recovered".to_owned(), "true".to_owned())]
}

fn recover_window(place: Place<'_>, window: PathBuf) -> Recovered {
    match rotate::close(place, &window, &notes()) {
        Ok(Rotated {
            path: None,
            ended: Ended::CutOff(_),
            ..
        }) => Recovered::SetAside(window.with_extension(layout::UNREADABLE)),
        Ok(rotated) => Recovered::Closed(window, rotated),
        Err(error) => Recovered::Failed(window, error),
    }
}

/// Open windows in the folder: files, and no symbolic links to them or pipes, at which who opens them would wait.
///
/// # Errors
/// If it cannot be listed.
pub(crate) fn list_windows(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.ends_with(WINDOW_SUFFIX))
        })
        .collect())
}
