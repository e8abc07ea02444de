//! Directories of other collectors: who comes from nfdump or flow-tools asks theirs first.

use std::{fs, path::Path};

/// Entries that are looked at, at most.
const LOOKED_AT_MAX: usize = 10_000;
/// Folders within folders, at most: nfcapd's may be of years, months, days and hours.
const DEPTH_MAX: usize = 4;

/// What to do with a directory that has no file of Weir's, if another collector's are in it.
#[must_use]
pub fn advice(root: &Path) -> Option<String> {
    let mut left = LOOKED_AT_MAX;
    let (whose, name) = first(root, 0, &mut left)?;
    Some(format!(
        "{} has files of {whose} ({name}), and none of Weir's: `weir-collector import -w DIR FILE…` takes them over, \
         and -r DIR reads them then",
        root.display()
    ))
}

/// Whose file is found first, and its name.
fn first(folder: &Path, depth: usize, left: &mut usize) -> Option<(&'static str, String)> {
    for entry in fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        *left = left.checked_sub(1)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().ok();
        let found = if kind.is_some_and(|kind| kind.is_dir()) && depth < DEPTH_MAX {
            first(&entry.path(), depth + 1, left)
        } else {
            whose(&name).map(|whose| (whose, name))
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Who gives files such names.
fn whose(name: &str) -> Option<&'static str> {
    let is_followed_by_digit = |prefix: &str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    if is_followed_by_digit("nfcapd.") || name.starts_with("nfcapd.current") {
        Some("nfdump")
    } else if is_followed_by_digit("ft-v") {
        Some("flow-tools")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_collectors_files_are_told_with_what_takes_them_over() {
        for (path, program) in [
            ("nfcapd.202611212300", "nfdump"),
            ("2026/11/21/23/nfcapd.202611212300", "nfdump"),
            ("nfcapd.current.4711", "nfdump"),
            ("2026-11/ft-v05.2026-11-21.231500+0000", "flow-tools"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            let says = advice(folder.path()).unwrap();
            assert!(
                says.contains(program) && says.contains("weir-collector import"),
                "{path}: {says}"
            );
        }
    }

    #[test]
    fn an_empty_directory_is_one_where_nothing_came_yet() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nfcapd.txt", "ft-values", "notes"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(advice(folder.path()), None);
        assert_eq!(advice(&folder.path().join("none")), None);
    }
}
