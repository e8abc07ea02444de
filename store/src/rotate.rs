//! An open window becomes a Parquet file: written beside it, synced, renamed into its place, the
//! folder synced, and only then is the window removed. Whatever happens in between, each flow is
//! in one file that readers see.

use std::{
    fs, io, iter,
    path::{Path, PathBuf},
};

use arrow::array::RecordBatch;

use crate::{
    StoreError,
    caught::caught_at,
    closed::ClosedWriter,
    form::{Compression, Place},
    layout,
    read::{self, Ended},
    rows,
    schema::StoredFlow,
    system, verify,
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

/// Closes a window into a directory. `notes` are kept as the file's metadata. A window that cannot be read
/// to its end is kept too, under another name, beside the file with what could be read.
///
/// # Errors
/// If something cannot be read or written; the window stays, and a later try may succeed.
pub fn close<'a>(
    place: impl Into<Place<'a>>,
    window: &Path,
    notes: &[(String, String)],
) -> Result<Rotated, StoreError> {
    let place: Place<'a> = place.into();
    close_by(place, window, |partial| {
        write_parquet(window, partial, notes, place.form.compression)
    })
}

/// The same, with what writes the file. If that panics the window stays like one that could not be written: whoever
/// closes it has others to close.
fn close_by(
    place: Place<'_>,
    window: &Path,
    write: impl FnOnce(&Path) -> Result<(u64, Ended), StoreError>,
) -> Result<Rotated, StoreError> {
    let Place { root, form } = place;
    let start_s = layout::window_start_s(window).unwrap_or(0);
    let name = window
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let stem = name.trim_end_matches(layout::WINDOW_SUFFIX);
    if let Some(closed) = layout::find_closed(root, start_s, stem) {
        return caught_at(window, || close_again(root, window, closed));
    }
    let closed = form.layout.closed_path(root, start_s, stem);
    let partial = layout::open_folder(root).join(format!("{stem}{PARTIAL_SUFFIX}"));
    let made = caught_at(window, || write(&partial)).and_then(|(flows, ended)| {
        if flows > 0 {
            publish(root, &partial, &closed)?;
        }
        Ok((flows, ended))
    });
    // Of a file without flows, or one that was only begun: it would take room, of which there may be none.
    let _ = fs::remove_file(&partial);
    let (flows, ended) = made?;
    let path = (flows > 0).then_some(closed);
    done_with(window, &ended)?;
    Ok(Rotated { path, flows, ended })
}

/// Is done with a window whose file is there: the process ended before it was, or the file's name could not be synced.
fn close_again(root: &Path, window: &Path, closed: PathBuf) -> Result<Rotated, StoreError> {
    // It was synced before it got this name.
    keep_name(root, &closed, layout::sync_folder)?;
    let (mut in_window, mut first) = (0, None);
    let ended = read::window(window, |batch| {
        in_window += batch.num_rows() as u64;
        note_first(&mut first, &batch, window)
    })?;
    let mut first_closed = None;
    let verified = verify::read_as_it_comes(&closed, |batch| {
        note_first(&mut first_closed, &batch, &closed)
    })?;
    let flows = verified.flows;
    // Names are times: somebody may have put another collector's file there. And of one that is damaged the window is
    // the only whole copy.
    let is_other = in_window > flows || (first.is_some() && first != first_closed);
    if is_other || !verified.faults.is_empty() {
        return Err(StoreError::NameTaken { path: closed });
    }
    // All that can be read is in the file; what comes after it may be the only copy. A window that a
    // power cut left with less than the file has nothing that the file has not.
    let ended = if in_window < flows {
        Ended::Whole
    } else {
        ended
    };
    done_with(window, &ended)?;
    Ok(Rotated {
        path: Some(closed),
        flows,
        ended,
    })
}

/// Keeps the first flow of those that are read. A file has its window's flows in their order.
fn note_first(
    first: &mut Option<StoredFlow>,
    batch: &RecordBatch,
    path: &Path,
) -> Result<(), StoreError> {
    if first.is_none() {
        let row = batch.slice(0, batch.num_rows().min(1));
        *first = rows::flows(&row).map_err(StoreError::arrow(path))?.pop();
    }
    Ok(())
}

/// Removes a window, or sets it aside if there is more in it than could be read.
fn done_with(window: &Path, ended: &Ended) -> Result<(), StoreError> {
    if *ended == Ended::Whole {
        return fs::remove_file(window).map_err(StoreError::io("remove", window));
    }
    let aside = window.with_extension(layout::UNREADABLE);
    fs::rename(window, &aside).map_err(StoreError::io("rename", window))
}

/// Gives a synced file its name, so that a power cut cannot take it back.
///
/// # Errors
/// If it does not get it; or, as [`StoreError::Unsynced`], if it has it and a power cut might take it back.
pub(crate) fn publish(root: &Path, partial: &Path, closed: &Path) -> Result<(), StoreError> {
    give_name(root, partial, closed)?;
    keep_name(root, closed, layout::sync_folder)
}

/// Renames a file, and makes the folders that it goes into. A name that somebody else took meanwhile stays his.
fn give_name(root: &Path, partial: &Path, closed: &Path) -> Result<(), StoreError> {
    // Whoever expires the last file of an hour removes its folder too, again and again if little is kept.
    const TRIES: u32 = 100;
    let hour = closed.parent().unwrap_or(root);
    for tries_left in (0..TRIES).rev() {
        let published = make_folders(root, hour).and_then(|()| {
            system::rename_new(partial, closed).map_err(StoreError::io("rename", partial))
        });
        match published {
            Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                let path = closed.to_owned();
                return Err(StoreError::NameTaken { path });
            }
            Err(StoreError::Io { error, .. })
                if error.kind() == io::ErrorKind::NotFound && tries_left > 0 => {}
            done => return done,
        }
    }
    Ok(())
}

/// Syncs the folders that a file's name is in.
fn keep_name(
    root: &Path,
    closed: &Path,
    sync: impl Fn(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let hour = closed.parent().unwrap_or(root);
    for folder in iter::once(root).chain(folders(root, hour)) {
        match sync(folder) {
            // The file was in it, and has expired already.
            Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(StoreError::Io { error, .. }) => {
                let path = closed.to_owned();
                return Err(StoreError::Unsynced { path, error });
            }
            done => done?,
        }
    }
    Ok(())
}

/// Makes the folders down to the hour's. Each is looked at before the next is made in it: where a symbolic link
/// leads, nothing is made.
fn make_folders(root: &Path, hour: &Path) -> Result<(), StoreError> {
    let mut folders: Vec<_> = folders(root, hour).collect();
    folders.reverse();
    for folder in folders {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("make", folder)(error));
            }
            _ => layout::assert_folder(folder)?,
        }
    }
    Ok(())
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
    compression: Compression,
) -> Result<(u64, Ended), StoreError> {
    let mut file = ClosedWriter::create_as(partial, notes, compression, &[])?;
    let ended = read::window(window, |batch| file.write(&batch))?;
    Ok((file.finish()?, ended))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;
    use crate::{
        expire::{self, Limits},
        layout::Directory,
        window::Window,
    };

    const START_S: i64 = 1_795_237_200; // 2026-11-21 05:00:00 UTC

    #[test]
    fn d03_a_window_whose_file_makes_the_writer_panic_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let directory = Directory::lock(root).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&[StoredFlow::default()]).unwrap();
        let failed = close_by(root.into(), window.path(), |partial| {
            fs::write(partial, "PAR1").unwrap();
            panic!("as it does in a test")
        });
        let says = failed.unwrap_err().to_string();
        assert!(says.contains("please report it: "), "{says}");
        // What was begun takes no room, and the next try has all of it.
        assert_eq!(fs::read_dir(root).unwrap().count(), 1);
        let partial = window.path().with_extension("parquet.partial");
        assert!(window.path().exists() && !partial.exists());
        assert_eq!(close(root, window.path(), &[]).unwrap().flows, 1);
    }

    /// Who reads the window for it must not take that for the window's end.
    #[test]
    fn d03_a_window_whose_rows_make_the_writer_panic_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let directory = Directory::lock(root).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&[StoredFlow::default()]).unwrap();
        window.append(&[StoredFlow::default()]).unwrap();
        let mut batches = 0;
        let failed = close_by(root.into(), window.path(), |partial| {
            fs::write(partial, "PAR1").unwrap();
            let ended = read::window(window.path(), |_| {
                batches += 1;
                assert!(batches < 2, "as it does in a test");
                Ok(())
            })?;
            Ok((1, ended))
        });
        let says = failed.unwrap_err().to_string();
        assert!(says.contains("as it does in a test"), "{says}");
        assert_eq!(read::list_open(root).unwrap(), [window.path()]);
        assert_eq!(close(root, window.path(), &[]).unwrap().flows, 2);
    }

    /// Somebody keeps nothing, and removes each file as soon as it is there, with the hour's folder and the day's.
    #[test]
    fn publishing_goes_on_whatever_expires_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let open = layout::open_folder(root);
        fs::create_dir(&open).unwrap();
        let is_over = AtomicBool::new(false);
        let keep_nothing = || {
            let limits = Limits {
                octets_max: Some(0),
                ..Limits::default()
            };
            let mut files = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Its list may be older than a folder.
                let expired = expire::expire(root, &limits, 0, false);
                files += expired.map_or(0, |expired| expired.files.len());
            }
            files
        };
        thread::scope(|scope| {
            let expiring = scope.spawn(keep_nothing);
            let published = (0..300).try_for_each(|number| {
                let stem = format!("flows-20261121T050000Z-{number}");
                let partial = open.join(format!("{stem}{PARTIAL_SUFFIX}"));
                fs::write(&partial, "flows").map_err(StoreError::io("write", &partial))?;
                publish(root, &partial, &layout::closed_path(root, START_S, &stem))
            });
            is_over.store(true, Ordering::Relaxed);
            assert!(expiring.join().unwrap() > 0);
            published.unwrap();
        });
    }

    #[test]
    fn a_file_that_expired_before_its_folder_was_synced_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let closed = layout::closed_path(root, START_S, "flows-20261121T050000Z");
        let partial = root.join("partial");
        fs::write(&partial, "flows").unwrap();
        give_name(root, &partial, &closed).unwrap();
        fs::remove_dir_all(layout::day_folder(root, START_S)).unwrap();
        keep_name(root, &closed, layout::sync_folder).unwrap();
    }

    /// Whoever is told that a file could not be written writes it again.
    #[test]
    fn a_file_whose_folder_cannot_be_synced_is_said_to_be_there() {
        let root = Path::new("flows");
        let closed = layout::closed_path(root, START_S, "flows-20261121T050000Z");
        let sync = |folder: &Path| {
            if folder.ends_with("hour=05") {
                let full = io::ErrorKind::StorageFull.into();
                return Err(StoreError::io("sync", folder)(full));
            }
            Ok(())
        };
        let told = keep_name(root, &closed, sync).unwrap_err();
        assert!(matches!(&told, StoreError::Unsynced { path, .. } if *path == closed));
        assert!(told.to_string().contains("readers see its flows"), "{told}");
    }
}
