//! Damaged closed files are saved as far as they can be: their sound row groups become a new file in
//! their place, and the damaged one is kept beside the open windows. What a process that was killed left
//! behind is cleared away. It runs while no collector does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use arrow::array::{Array as _, AsArray as _, RecordBatch};

use crate::{
    StoreError, account,
    closed::ClosedWriter,
    footer::{self, Footer},
    form::Form,
    layout::{self, Directory},
    rotate,
    verify::{self, Fault},
};

/// What large files are sorted by, first of all.
const SORTED_BY: &str = "src_addr";

/// Notes that go over into the new file.
const NOTES: [&str; 7] = [
    account::TOTALS,
    account::SHARE,
    footer::HEARD,
    "weir.recovered",
    "weir.recompacted",
    "weir.anonymised",
    "weir.imported",
];

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// It is as it was written.
    Sound,
    /// It was written by another version; it is left alone.
    OtherVersion(Fault),
    /// These flows were saved; the damaged file is kept under this name.
    Saved {
        /// Flows in the new file.
        flows: u64,
        /// The damaged file.
        aside: PathBuf,
        /// What was wrong.
        faults: Vec<Fault>,
    },
    /// Nothing could be read: it is kept under this name.
    SetAside {
        /// The damaged file.
        aside: PathBuf,
        /// What was wrong.
        faults: Vec<Fault>,
    },
}

/// Repairs a closed file. Readers see the damaged one or the new one, never both or none.
///
/// # Errors
/// If something cannot be read or written; the file is then as it was.
pub fn repair(directory: &Directory, path: &Path) -> Result<Repaired, StoreError> {
    let found = verify::verify(path)?;
    match &found.faults[..] {
        [] => return Ok(Repaired::Sound),
        [version @ Fault::Version(_)] => return Ok(Repaired::OtherVersion(version.clone())),
        _ => {}
    }
    let aside = aside_path(directory.root(), path);
    if found.flows == 0 {
        fs::rename(path, &aside).map_err(StoreError::io("rename", path))?;
        sync_both(path, &aside)?;
        return Ok(Repaired::SetAside {
            aside,
            faults: found.faults,
        });
    }
    let partial = layout::open_folder(directory.root()).join("repair.parquet.partial");
    let flows = save(path, &found.faults, &partial, &aside)?;
    sync_both(path, &aside)?;
    Ok(Repaired::Saved {
        flows,
        aside,
        faults: found.faults,
    })
}

/// Puts what is sound of a file in its place, and the file aside; how many flows were saved.
fn save(path: &Path, faults: &[Fault], partial: &Path, aside: &Path) -> Result<u64, StoreError> {
    let saved = write_sound(path, faults, partial).and_then(|flows| {
        // Both names lead to the damaged file until the new one takes the first.
        fs::hard_link(path, aside).map_err(StoreError::io("link", path))?;
        fs::rename(partial, path).map_err(StoreError::io("rename", partial))?;
        Ok(flows)
    });
    if saved.is_err() {
        // It would take room that there may be none of.
        let _ = fs::remove_file(partial);
    }
    saved
}

fn write_sound(path: &Path, faults: &[Fault], partial: &Path) -> Result<u64, StoreError> {
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let mut notes = vec![("weir.repaired".to_owned(), faults.join("; "))];
    notes.extend(notes_of(path));
    let compression = Form::compression_of(path);
    if !is_sorted(path) {
        let mut writer = ClosedWriter::create_as(partial, &notes, compression, &[])?;
        verify::read_sound(path, |batch| writer.write(&batch))?;
        return writer.finish();
    }
    let compression = compression.of_large();
    let mut writer = ClosedWriter::create_as(partial, &notes, compression, &[SORTED_BY])?;
    let mut last = Vec::new();
    verify::read_sound(path, |batch| {
        if begins_anew(&batch, &mut last) {
            writer.end_row_group()?;
        }
        writer.write(&batch)
    })?;
    writer.finish()
}

/// Whether it is a large file, whose row groups are sorted.
fn is_sorted(path: &Path) -> bool {
    footer::Opened::open(path).is_ok_and(|opened| {
        let mut groups = opened.metadata().row_groups().iter();
        groups.all(|group| group.sorting_columns().is_some())
    })
}

/// Whether rows come before the last ones in what they are sorted by: together they would not be sorted.
fn begins_anew(rows: &RecordBatch, last: &mut Vec<u8>) -> bool {
    let Some(column) = rows.column_by_name(SORTED_BY) else {
        return false;
    };
    let addresses = column.as_fixed_size_binary_opt();
    let Some(addresses) = addresses.filter(|addresses| !addresses.is_empty()) else {
        return false;
    };
    let is_before = addresses.value(0) < last.as_slice();
    *last = addresses.value(addresses.len() - 1).to_vec();
    is_before
}

/// A name beside the open windows that is not taken.
fn aside_path(root: &Path, path: &Path) -> PathBuf {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.unwrap_or("flows");
    let folder = layout::open_folder(root);
    let mut aside = folder.join(format!("{stem}.parquet.damaged"));
    let mut number = 0;
    while aside.exists() {
        number += 1;
        aside = folder.join(format!("{stem}-{number}.parquet.damaged"));
    }
    aside
}

fn sync_both(one: &Path, other: &Path) -> Result<(), StoreError> {
    let mut folders = [one, other].into_iter().filter_map(Path::parent);
    folders.try_for_each(layout::sync_folder)
}

/// Notes that stay true of a file's flows when they go to another file; none if they are not those that were
/// written.
#[must_use]
pub fn notes_of(path: &Path) -> Vec<(String, String)> {
    let Some(footer) = footer::read(path).ok().filter(Footer::has_sound_notes) else {
        return Vec::new();
    };
    let note = |key: &&str| Some(((*key).to_owned(), footer.note(key)?.to_owned()));
    NOTES.iter().filter_map(note).collect()
}

/// Removes rotations and repairs that were not finished: what they were made from is still there.
///
/// # Errors
/// If the folder cannot be read or a file not removed.
pub fn clear(directory: &Directory) -> Result<Vec<PathBuf>, StoreError> {
    let folder = layout::open_folder(directory.root());
    let entries = fs::read_dir(&folder).map_err(StoreError::io("list", &folder))?;
    let mut cleared = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_partial = name.is_some_and(|name| name.ends_with(rotate::PARTIAL_SUFFIX));
        if is_partial {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            cleared.push(path);
        }
    }
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::RowGroupMetaData;

    use super::*;
    use crate::{
        form::Compression,
        schema::{self, StoredFlow},
    };

    const START_S: i64 = 1_795_237_200;

    /// A closed file with row groups of a hundred flows.
    fn closed(root: &Path, groups: usize) -> PathBuf {
        let path = layout::closed_path(root, START_S, &layout::window_stem(START_S));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let notes = [("weir.exporters".to_owned(), "[]".to_owned())];
        let mut writer = ClosedWriter::create_as(&path, &notes, Compression::Lz4, &[]).unwrap();
        let flow = StoredFlow {
            received_ns: 1_700_000_000_000_000_000,
            source_id: 7,
            ..StoredFlow::default()
        };
        for _ in 0..groups {
            writer
                .write(&schema::batch(&vec![flow.clone(); 100]).unwrap())
                .unwrap();
            writer.end_row_group().unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn flip(path: &Path, at: usize) -> Vec<u8> {
        let mut octets = fs::read(path).unwrap();
        octets[at] ^= 1;
        fs::write(path, &octets).unwrap();
        octets
    }

    #[test]
    fn d06_what_is_sound_in_a_damaged_file_is_saved_and_the_rest_kept() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let path = closed(folder.path(), 3);
        assert_eq!(repair(&directory, &path).unwrap(), Repaired::Sound);
        let damaged = flip(&path, 10);
        let repaired = repair(&directory, &path).unwrap();
        let Repaired::Saved {
            flows: 200,
            aside,
            faults,
        } = &repaired
        else {
            panic!("{repaired:?}");
        };
        assert!(matches!(faults[..], [Fault::RowGroup(0, _)]), "{faults:?}");
        assert_eq!(fs::read(aside).unwrap(), damaged);
        assert_eq!(repair(&directory, &path).unwrap(), Repaired::Sound);
        assert_eq!(Form::compression_of(&path), Compression::Lz4);
        let notes = notes_of(&path);
        assert_eq!(notes, [("weir.exporters".to_owned(), "[]".to_owned())]);
        // Once more: the one that is kept is not overwritten.
        flip(&path, 10);
        repair(&directory, &path).unwrap();
        assert_eq!(fs::read(aside).unwrap(), damaged);
    }

    /// What a large file is stays so: its rows are sorted, in row groups that do not become one.
    #[test]
    fn d06_a_large_file_is_sorted_after_its_repair() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let path = layout::closed_path(folder.path(), START_S, &layout::window_stem(START_S));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let compression = Compression::default();
        let mut writer = ClosedWriter::create_as(&path, &[], compression, &[SORTED_BY]).unwrap();
        let flow = |number: u16| {
            let mut flow = StoredFlow::default();
            flow.record.source = std::net::Ipv6Addr::from_bits(number.into());
            flow
        };
        // The first gets damaged; the last begins where the one before it ends.
        for numbers in [0..10, 0..100, 50..150, 150..200] {
            let flows: Vec<_> = numbers.map(flow).collect();
            writer.write(&schema::batch(&flows).unwrap()).unwrap();
            writer.end_row_group().unwrap();
        }
        writer.finish().unwrap();
        flip(&path, 10);
        let repaired = repair(&directory, &path).unwrap();
        let Repaired::Saved { flows: 250, .. } = &repaired else {
            panic!("{repaired:?}");
        };
        let opened = footer::Opened::open(&path).unwrap();
        let groups = opened.metadata().row_groups();
        let rows: Vec<_> = groups.iter().map(RowGroupMetaData::num_rows).collect();
        assert_eq!(rows, [100, 150]);
        assert!(groups.iter().all(|group| group.sorting_columns().is_some()));
    }

    /// A bit of the footer that nobody stumbles over: of a statistic, which hides flows, or of an account.
    #[test]
    fn d06_a_footer_that_says_something_else_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let path = closed(folder.path(), 2);
        let octets = fs::read(&path).unwrap();
        // The least domain, of four octets; and what was noted of exporters.
        let domain = [4, 7, 0, 0, 0];
        let exporters = b"weir.exporters\x18\x02[]";
        for (said, notes) in [(&domain[..], 1), (&exporters[..], 0)] {
            fs::write(&path, &octets).unwrap();
            let mut windows = octets.windows(said.len());
            let at = windows.rposition(|window| window == said).unwrap() + said.len() - 1;
            flip(&path, at);
            let repaired = repair(&directory, &path).unwrap();
            let Repaired::Saved {
                flows: 200, faults, ..
            } = &repaired
            else {
                panic!("{repaired:?}");
            };
            assert!(matches!(faults[..], [Fault::Counts(_)]), "{faults:?}");
            assert_eq!(repair(&directory, &path).unwrap(), Repaired::Sound);
            assert_eq!(notes_of(&path).len(), notes);
        }
    }

    /// What a full disk does, by a name that is taken.
    #[test]
    fn d03_a_repair_that_fails_leaves_the_file_as_it_was_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = closed(folder.path(), 3);
        let damaged = flip(&path, 10);
        let faults = verify::verify(&path).unwrap().faults;
        let (partial, aside) = (folder.path().join("partial"), folder.path().join("aside"));
        fs::write(&aside, "another").unwrap();
        let refused = save(&path, &faults, &partial, &aside).unwrap_err();
        assert!(refused.to_string().starts_with("cannot link "), "{refused}");
        assert!(!partial.exists());
        assert_eq!(fs::read(&path).unwrap(), damaged);
        assert_eq!(fs::read(&aside).unwrap(), b"another");
    }

    #[test]
    fn d06_a_file_of_which_nothing_can_be_read_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let path = closed(folder.path(), 1);
        let octets = fs::read(&path).unwrap();
        fs::write(&path, &octets[..octets.len() / 2]).unwrap();
        let repaired = repair(&directory, &path).unwrap();
        let Repaired::SetAside { aside, .. } = &repaired else {
            panic!("{repaired:?}");
        };
        assert!(aside.exists() && !path.exists());
    }

    /// A bit of the columns' own description: nothing can be read, and nobody wrote another version.
    #[test]
    fn d06_a_file_whose_columns_are_not_what_it_says_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let path = closed(folder.path(), 1);
        let octets = fs::read(&path).unwrap();
        // The first is a column's name among the fields of the schema, before those of the row groups.
        let name = b"src_port";
        let mut windows = octets.windows(name.len());
        let at = windows.position(|window| window == name).unwrap();
        flip(&path, at);
        let repaired = repair(&directory, &path).unwrap();
        let Repaired::SetAside { aside, faults } = &repaired else {
            panic!("{repaired:?}");
        };
        assert!(
            matches!(faults[..], [Fault::Columns(_) | Fault::Footer(_)]),
            "{faults:?}"
        );
        assert!(aside.exists() && !path.exists());
    }

    #[test]
    fn d02_a_rotation_that_was_cut_off_is_cleared_and_its_window_stays() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let open = layout::open_folder(folder.path());
        let window = open.join("flows-20261121T050000Z.arrows");
        let partial = open.join("flows-20261121T050000Z.parquet.partial");
        fs::write(&window, "").unwrap();
        fs::write(&partial, "PAR1 and some").unwrap();
        assert_eq!(clear(&directory).unwrap(), [partial]);
        assert!(window.exists());
    }
}
