//! Old closed files go, the oldest first: by age, by the size of all, by the space that is left. What
//! goes is decided first ([`decide`], a pure function) and removed afterwards. Open windows never go, what was set aside
//! does not, nor does anything that is not named as Weir names closed files, or lies elsewhere.
//!
//! What was set aside counts, but for no more than half of what all files may have, and of what is to be left: nobody
//! but a person makes room there, and sound files would go for it until none is left.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{StoreError, form::Layout, layout, read, recompact, system};

/// Files are written once a day at least where flows come: after that long without one, the clock may have been set.
const JUMP_S: u64 = 2 * 86_400;
/// Once files of so long were written by a clock, it is believed.
const BELIEVED_S: u64 = 86_400;
/// Name endings of what was set aside.
const ASIDE: [&str; 2] = [".unreadable", ".damaged"];

/// What is kept; nothing is said about what is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Files older than this go, seconds since they were written.
    pub age_max_s: Option<u64>,
    /// Octets of all files, the open windows' and those set aside included.
    pub octets_max: Option<u64>,
    /// Octets left on the file system.
    pub free_octets_min: Option<u64>,
}

impl Limits {
    /// Whether anything ever goes.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

/// Why a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is too old.
    Age,
    /// All files are too large together.
    Size,
    /// Too little space is left.
    Space,
}

/// A closed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedFile {
    /// Where.
    pub path: PathBuf,
    /// When its window began, seconds since 1970-01-01 UTC.
    pub start_s: i64,
    /// Octets.
    pub octets: u64,
    /// When it was written, seconds since 1970-01-01 UTC.
    pub written_s: u64,
}

/// What expiry did, or would do.
#[derive(Debug, Default)]
pub struct Expired {
    /// Files that went, the oldest first, and why.
    pub files: Vec<(ClosedFile, Reason)>,
    /// Files that could not be removed.
    pub failed: Vec<StoreError>,
    /// Octets of what is set aside, if for its sake all files stay larger than they may be, or less is left than is to
    /// be.
    pub aside_octets: Option<u64>,
    /// Whether files stay that are too old only if the clock is right.
    pub is_clock_doubted: bool,
}

/// What is said then.
pub const CLOCK_DOUBTED_SAYS: &str = "for days no file was written, and those that were since then may have the times of \
    a clock that is wrong: for a day --max-age counts from the file before them; if the clock is wrong, set it";

/// What is said of so much that is set aside, as people write sizes.
#[must_use]
pub fn aside_says(root: &Path, octets: &str) -> String {
    format!(
        "what is set aside in {} (.damaged, .unreadable) takes {octets}: other files go for it up to half of --max-size, \
         and until half of --min-free is left, so all stay larger, or less is left, than was asked for; look what of it \
         is still wanted, and remove it",
        layout::open_folder(root).display()
    )
}

/// Octets of what is not closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unclosed {
    /// Windows, and files that are being written.
    pub open: u64,
    /// What was set aside.
    pub aside: u64,
    /// What lies in hidden folders, and is gone by itself in a moment.
    pub under_way: u64,
    /// Closed files that are to go and cannot be removed.
    pub stuck: u64,
}

impl Unclosed {
    fn all(self) -> u64 {
        let others = self.open.saturating_add(self.stuck);
        others.saturating_add(self.aside)
    }

    /// Those that closed files make room for.
    fn counted(self, octets_max: u64) -> u64 {
        let others = self.open.saturating_add(self.stuck);
        others.saturating_add(self.aside.min(octets_max / 2))
    }

    /// What counts as left: also what closed files do not make room for, so that half of what is to be left is.
    fn left(self, free_octets: u64) -> u64 {
        let others = self.aside.saturating_add(self.under_way);
        free_octets.saturating_add(free_octets.min(others))
    }

    /// Those set aside, if for their sake not all is as it is to be when no more files go.
    fn aside_to_blame(self, octets: u64, free_octets: u64, limits: &Limits) -> Option<u64> {
        let is_over = limits
            .octets_max
            .is_some_and(|max| self.aside > max / 2 && octets.saturating_add(self.all()) > max);
        let is_short = limits.free_octets_min.is_some_and(|min| {
            let soon_octets = free_octets.saturating_add(free_octets.min(self.under_way));
            (1..=self.aside).contains(&min.saturating_sub(soon_octets))
        });
        (is_over || is_short).then_some(self.aside)
    }
}

/// Closed files of a directory, the oldest first; only those that lie where their name belongs.
///
/// # Errors
/// If it cannot be listed.
pub fn list(root: &Path) -> Result<Vec<ClosedFile>, StoreError> {
    let mut files: Vec<_> = read::list(root)?
        .closed
        .into_iter()
        .filter_map(|path| closed_file(root, path))
        .collect();
    files.sort_by(|one, other| (one.start_s, &one.path).cmp(&(other.start_s, &other.path)));
    Ok(files)
}

fn closed_file(root: &Path, path: PathBuf) -> Option<ClosedFile> {
    let start_s = layout::window_start_s(&path)?;
    Layout::of(root, &path)?;
    // It may have gone meanwhile.
    let found = fs::symlink_metadata(&path).ok()?;
    let written = found.modified().ok()?.duration_since(UNIX_EPOCH);
    Some(ClosedFile {
        start_s,
        octets: found.len(),
        written_s: written.map_or(0, |since| since.as_secs()),
        path,
    })
}

/// The time that ages count from if nobody looks what goes: the clock's, but no later than the newest file was written. A
/// clock that is years ahead when a machine boots would have all files go at once. Files that such a clock may have
/// written, days after the one before, are not believed until they are those of a day.
#[must_use]
pub fn careful_now_s(files: &[ClosedFile], now_s: u64) -> u64 {
    let mut written_s: Vec<_> = files.iter().map(|file| file.written_s).collect();
    written_s.sort_unstable();
    let Some(newest_s) = written_s.last().copied() else {
        return now_s;
    };
    let mut pairs = written_s.windows(2).rev();
    let believed_s = match pairs.find(|pair| pair[1] - pair[0] > JUMP_S) {
        Some(jump) if newest_s - jump[1] < BELIEVED_S => jump[0],
        _ => newest_s,
    };
    believed_s.min(now_s)
}

/// Whether a file is too old only if the newest one, which the clock is not behind, was written by a clock that was right.
fn is_clock_doubted(files: &[ClosedFile], limits: &Limits, careful_s: u64, now_s: u64) -> bool {
    let newest_s = files.iter().map(|file| file.written_s).max();
    let (Some(newest_s), Some(age_max_s)) = (newest_s, limits.age_max_s) else {
        return false;
    };
    let is_old = |file: &ClosedFile, at_s: u64| at_s.saturating_sub(file.written_s) > age_max_s;
    let mut files = files.iter();
    newest_s <= now_s && files.any(|file| is_old(file, newest_s) && !is_old(file, careful_s))
}

/// Which of the files go, by index. `free_octets` is what is left now.
#[must_use]
pub fn decide(
    files: &[ClosedFile],
    unclosed: Unclosed,
    free_octets: u64,
    limits: &Limits,
    now_s: u64,
) -> Vec<(usize, Reason)> {
    let mut octets: u64 = files.iter().map(|file| file.octets).sum();
    let mut free_octets = free_octets;
    let mut expired = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let age_s = now_s.saturating_sub(file.written_s);
        let reason = if limits.age_max_s.is_some_and(|max| age_s > max) {
            Reason::Age
        } else if limits
            .octets_max
            .is_some_and(|max| octets.saturating_add(unclosed.counted(max)) > max)
        {
            Reason::Size
        } else if limits
            .free_octets_min
            .is_some_and(|min| unclosed.left(free_octets) < min)
        {
            Reason::Space
        } else {
            // One that was restored may be older by its name and newer by its age: look at all.
            continue;
        };
        octets = octets.saturating_sub(file.octets);
        free_octets = free_octets.saturating_add(file.octets);
        expired.push((index, reason));
    }
    expired
}

/// Decides and, unless `is_dry`, removes, by what the clock says. One that cannot be removed does not keep the others:
/// where room is short the next ones go in its place.
///
/// # Errors
/// If the directory cannot be listed.
pub fn expire(
    root: &Path,
    limits: &Limits,
    now_s: u64,
    is_dry: bool,
) -> Result<Expired, StoreError> {
    expire_listed(root, &list(root)?, limits, now_s, is_dry)
}

/// The same by [`careful_now_s`].
///
/// # Errors
/// Likewise.
pub fn expire_carefully(root: &Path, limits: &Limits, now_s: u64) -> Result<Expired, StoreError> {
    let files = list(root)?;
    let careful_s = careful_now_s(&files, now_s);
    let mut expired = expire_listed(root, &files, limits, careful_s, false)?;
    expired.is_clock_doubted = is_clock_doubted(&files, limits, careful_s, now_s);
    Ok(expired)
}

fn expire_listed(
    root: &Path,
    files: &[ClosedFile],
    limits: &Limits,
    now_s: u64,
    is_dry: bool,
) -> Result<Expired, StoreError> {
    let mut unclosed = unclosed(root);
    let mut free_octets = u64::MAX;
    if limits.free_octets_min.is_some() {
        free_octets = system::free_octets(root).map_err(StoreError::io("read", root))?;
        unclosed.under_way = recompact::octets_under_way(root);
    }
    let mut expired = Expired::default();
    let mut left = files.to_vec();
    loop {
        let decided = decide(&left, unclosed, free_octets, limits, now_s);
        let stuck_before = unclosed.stuck;
        for (index, reason) in &decided {
            let file = &left[*index];
            let removed = if is_dry {
                Ok(())
            } else {
                remove(root, &file.path)
            };
            match removed {
                Ok(()) => {
                    free_octets = free_octets.saturating_add(file.octets);
                    expired.files.push((file.clone(), *reason));
                }
                Err(error) => {
                    unclosed.stuck = unclosed.stuck.saturating_add(file.octets);
                    expired.failed.push(error);
                }
            }
        }
        for (index, _) in decided.iter().rev() {
            left.remove(*index);
        }
        if unclosed.stuck == stuck_before {
            break;
        }
    }
    let octets: u64 = left.iter().map(|file| file.octets).sum();
    expired.aside_octets = unclosed.aside_to_blame(octets, free_octets, limits);
    Ok(expired)
}

/// What is in the folder of open windows.
fn unclosed(root: &Path) -> Unclosed {
    let entries = fs::read_dir(layout::open_folder(root))
        .into_iter()
        .flatten();
    let mut unclosed = Unclosed::default();
    for entry in entries.flatten() {
        let Some(file) = entry.metadata().ok().filter(fs::Metadata::is_file) else {
            continue;
        };
        let name = entry.file_name();
        let is_aside = name
            .to_str()
            .is_some_and(|name| ASIDE.iter().any(|ending| name.ends_with(ending)));
        if is_aside {
            unclosed.aside += file.len();
        } else {
            unclosed.open += file.len();
        }
    }
    unclosed
}

/// Removes a file, and the folders that are empty then. One that is gone already is what was wanted.
fn remove(root: &Path, path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", path)(error));
        }
        _ => {}
    }
    for folder in path
        .ancestors()
        .skip(1)
        .take_while(|folder| *folder != root)
    {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::layout::Directory;

    const START_S: i64 = 1_795_237_200;
    const NOW_S: u64 = 1_795_300_000;
    const OPEN: &str = "flows-20261121T050000Z.arrows";

    fn files(count: u64) -> Vec<ClosedFile> {
        (0..count)
            .map(|number| ClosedFile {
                path: PathBuf::from(number.to_string()),
                start_s: START_S + number.cast_signed(),
                octets: 100,
                written_s: NOW_S - 1000 * (count - number),
            })
            .collect()
    }

    fn decided(limits: &Limits, open_octets: u64, free_octets: u64) -> String {
        let unclosed = Unclosed {
            open: open_octets,
            ..Unclosed::default()
        };
        letters(&decide(&files(5), unclosed, free_octets, limits, NOW_S))
    }

    fn letters(decided: &[(usize, Reason)]) -> String {
        let letters = decided.iter().map(|(index, reason)| match reason {
            Reason::Age => format!("a{index}"),
            Reason::Size => format!("s{index}"),
            Reason::Space => format!("f{index}"),
        });
        letters.collect::<Vec<_>>().concat()
    }

    /// A folder, which no file is removed as, stands for a file that cannot be.
    #[test]
    fn d09_for_one_that_cannot_go_the_next_goes() {
        let root = tempfile::tempdir().unwrap();
        let files: Vec<_> = files(5)
            .into_iter()
            .map(|file| ClosedFile {
                path: root.path().join(&file.path),
                ..file
            })
            .collect();
        for (number, file) in files.iter().enumerate() {
            if number == 0 || number == 2 {
                fs::create_dir_all(file.path.join("held")).unwrap();
            } else {
                File::create(&file.path).unwrap();
            }
        }
        let limits = Limits {
            octets_max: Some(300),
            ..Limits::default()
        };
        let expired = expire_listed(root.path(), &files, &limits, NOW_S, false).unwrap();
        assert_eq!(expired.failed.len(), 2);
        let gone: Vec<_> = expired.files.iter().map(|(file, _)| &file.path).collect();
        assert_eq!(gone, [&files[1].path, &files[3].path]);
    }

    #[test]
    fn d09_files_go_for_what_is_set_aside_up_to_half_of_what_all_may_have() {
        let limits = Limits {
            octets_max: Some(400),
            ..Limits::default()
        };
        let decided = |open, aside| {
            let unclosed = Unclosed {
                open,
                aside,
                ..Unclosed::default()
            };
            letters(&decide(&files(5), unclosed, u64::MAX, &limits, NOW_S))
        };
        assert_eq!(decided(0, 100), "s0s1");
        assert_eq!(decided(0, 200), "s0s1s2");
        assert_eq!(decided(0, u64::MAX), "s0s1s2");
        assert_eq!(decided(100, u64::MAX), "s0s1s2s3");
    }

    #[test]
    fn d09_files_go_for_room_that_is_set_aside_until_half_of_what_is_to_be_left_is() {
        let limits = Limits {
            free_octets_min: Some(400),
            ..Limits::default()
        };
        let decided = |free_octets, aside, under_way| {
            let unclosed = Unclosed {
                aside,
                under_way,
                ..Unclosed::default()
            };
            let decided = decide(&files(5), unclosed, free_octets, &limits, NOW_S);
            let free_octets = free_octets + 100 * decided.len() as u64;
            let blamed = unclosed.aside_to_blame(0, free_octets, &limits);
            (letters(&decided), blamed.is_some())
        };
        let told = |letters: &str, is_told| (letters.to_owned(), is_told);
        assert_eq!(decided(200, 0, 0), told("f0f1", false));
        assert_eq!(decided(200, 100, 0), told("f0", true));
        assert_eq!(decided(200, 200, 0), told("", true));
        assert_eq!(decided(0, u64::MAX, 0), told("f0f1", true));
        assert_eq!(decided(400, u64::MAX, 0), told("", false));
        // What is under way counts likewise, and is nobody's fault.
        assert_eq!(decided(200, 100, 200), told("", false));
        assert_eq!(decided(0, 100, u64::MAX), told("f0f1", false));
        assert_eq!(decided(200, 100, 100), told("", true));
    }

    #[test]
    fn the_oldest_go_and_no_more_than_needed() {
        let none = Limits::default();
        let age = |age_max_s| Limits {
            age_max_s: Some(age_max_s),
            ..none
        };
        let size = |octets_max| Limits {
            octets_max: Some(octets_max),
            ..none
        };
        let space = |free_octets_min| Limits {
            free_octets_min: Some(free_octets_min),
            ..none
        };
        assert_eq!(decided(&none, u64::MAX, 0), "");
        assert_eq!(decided(&age(3000), 0, 0), "a0a1");
        assert_eq!(decided(&age(0), 0, 0), "a0a1a2a3a4");
        assert_eq!(decided(&size(500), 0, 0), "");
        assert_eq!(decided(&size(499), 0, 0), "s0");
        assert_eq!(decided(&size(500), 150, 0), "s0s1");
        assert_eq!(decided(&size(0), u64::MAX, 0), "s0s1s2s3s4");
        assert_eq!(decided(&space(250), 0, 50), "f0f1");
        assert_eq!(decided(&space(50), 0, 50), "");
        let all = Limits {
            octets_max: Some(300),
            free_octets_min: Some(350),
            ..age(4500)
        };
        assert_eq!(decided(&all, 0, 50), "a0s1f2");
    }

    /// Ages count from what the collector goes by, wherever its clock is.
    #[test]
    fn d09_a_clock_that_is_ahead_takes_no_file_that_is_as_new_as_the_others() {
        const YEAR_S: u64 = 365 * 86_400;
        const DAY_S: u64 = 86_400;
        let limits = Limits {
            age_max_s: Some(2500),
            ..Limits::default()
        };
        let decided = |files: &[ClosedFile], now_s| {
            let careful_s = careful_now_s(files, now_s);
            let decided = decide(files, Unclosed::default(), u64::MAX, &limits, careful_s);
            let is_doubted = is_clock_doubted(files, &limits, careful_s, now_s);
            (letters(&decided), is_doubted)
        };
        let told = |letters: &str, is_doubted| (letters.to_owned(), is_doubted);
        let mut files = files(5);
        assert_eq!(decided(&files, NOW_S), told("a0a1", false));
        assert_eq!(decided(&files, NOW_S + YEAR_S), told("a0a1", false));
        // One that was written while the clock was ahead does not make the others older, whether it was set since or not.
        files[4].written_s = NOW_S + YEAR_S;
        assert_eq!(decided(&files, NOW_S), told("a0", false));
        assert_eq!(decided(&files, NOW_S + YEAR_S), told("a0", true));
        // Nor do those of less than a day; then they are believed.
        let later = |written_s| ClosedFile {
            written_s,
            ..files[4].clone()
        };
        let with = |written_s| [&files[..], &[later(written_s)]].concat();
        let almost = with(NOW_S + YEAR_S + DAY_S - 1);
        assert_eq!(decided(&almost, NOW_S + 2 * YEAR_S), told("a0", true));
        let whole = with(NOW_S + YEAR_S + DAY_S);
        let all = told("a0a1a2a3a4", false);
        assert_eq!(decided(&whole, NOW_S + 2 * YEAR_S), all);
        assert_eq!(decided(&[], NOW_S), told("", false));
    }

    #[test]
    fn d09_by_hand_the_clock_counts_and_by_itself_the_newest_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let _directory = directory(root);
        let limits = Limits {
            age_max_s: Some(3600),
            ..Limits::default()
        };
        let expired = expire_carefully(root, &limits, u64::MAX).unwrap();
        assert_eq!(expired.files.len(), 0);
        let expired = expire(root, &limits, u64::MAX, true).unwrap();
        assert_eq!(expired.files.len(), 3);
    }

    /// A directory with files of three hours, one open window, and what looks like either.
    fn directory(root: &Path) -> Directory {
        let directory = Directory::lock(root).unwrap();
        fs::write(layout::open_folder(root).join(OPEN), [0u8; 1000]).unwrap();
        for hour in 0..3 {
            let start_s = START_S + 3600 * hour;
            let path = layout::closed_path(root, start_s, &layout::window_stem(start_s));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [0u8; 1000]).unwrap();
        }
        directory
    }

    #[test]
    fn d09_only_closed_files_of_this_directory_go() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = folder.path();
        let _directory = directory(root);
        let others = [
            "notes.parquet",
            "date=2026-11-21/hour=05/somebody.parquet",
            "date=2026-11-21/hour=05/flows-20261121T060000Z.parquet",
            "date=2026-11-21/flows-20261120T050000Z.parquet",
        ];
        for other in others {
            fs::write(root.join(other), "").unwrap();
        }
        let hour = elsewhere.path().join("hour=05");
        fs::create_dir(&hour).unwrap();
        let beyond = hour.join("flows-20261120T050000Z.parquet");
        File::create(&beyond).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.join("date=2026-11-20")).unwrap();

        let limits = Limits {
            age_max_s: Some(0),
            ..Limits::default()
        };
        let dry = expire(root, &limits, u64::MAX, true).unwrap();
        assert_eq!((dry.files.len(), list(root).unwrap().len()), (3, 3));
        let expired = expire(root, &limits, u64::MAX, false).unwrap();
        assert_eq!((expired.files.len(), expired.failed.len()), (3, 0));
        assert!(list(root).unwrap().is_empty());
        assert!(
            expire(root, &limits, u64::MAX, false)
                .unwrap()
                .files
                .is_empty()
        );
        assert!(layout::open_folder(root).join(OPEN).exists());
        assert!(beyond.exists() && others.iter().all(|other| root.join(other).exists()));
        assert!(
            !root.join("date=2026-11-21/hour=06").exists(),
            "empty folders go too"
        );
    }

    #[test]
    fn d09_a_file_that_vanishes_or_cannot_go_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let _directory = directory(root);
        let files = list(root).unwrap();
        fs::remove_file(&files[0].path).unwrap();
        remove(root, &files[0].path).unwrap();
        let size = Limits {
            octets_max: Some(2500),
            ..Limits::default()
        };
        // Two files and the open window of a thousand octets each: one too many.
        let expired = expire(root, &size, NOW_S, false).unwrap();
        let gone: Vec<_> = expired.files.iter().map(|(file, _)| &file.path).collect();
        assert_eq!(gone, [&files[1].path]);
    }

    #[test]
    fn d09_what_was_begun_or_set_aside_takes_room_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let _directory = directory(root);
        let open = layout::open_folder(root);
        fs::write(
            open.join("flows-20261121T040000Z.parquet.partial"),
            [0u8; 1000],
        )
        .unwrap();
        fs::write(
            open.join("flows-20261121T030000Z.arrows.unreadable"),
            [0u8; 1000],
        )
        .unwrap();
        let size = Limits {
            octets_max: Some(5000),
            ..Limits::default()
        };
        // Three files and three of a thousand octets that are not closed: one too many.
        let expired = expire(root, &size, NOW_S, false).unwrap();
        assert_eq!((expired.files.len(), expired.aside_octets), (1, None));
        // More than half of what all may have is set aside: the others stay, and it is said why.
        fs::write(
            open.join("flows-20261121T050000Z.parquet.damaged"),
            [0u8; 9000],
        )
        .unwrap();
        let size = Limits {
            octets_max: Some(8000),
            ..Limits::default()
        };
        let expired = expire(root, &size, NOW_S, false).unwrap();
        let found = (expired.files.len(), expired.aside_octets);
        assert_eq!(found, (0, Some(10_000)));
        let says = aside_says(root, "10.0 kB");
        assert!(says.contains("takes 10.0 kB"), "{says}");
    }
}
