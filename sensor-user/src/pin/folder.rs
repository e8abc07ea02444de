//! The folder of pins: who uses it, what is in it, and how that is removed.

#![expect(unsafe_code, reason = "a system call")]

use std::{
    ffi::CString,
    fs::{self, File, TryLockError},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};

use super::IDENTITY;
use crate::{filter, interface};

const LINK: &str = "link-";
const PROMISCUOUS: &str = "promiscuous-";

/// Holds a folder: one sensor uses it at a time.
pub fn lock(folder: &Path) -> Result<File> {
    let file = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another weir-sensor uses {}: end it first",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Fails for a folder that is not in a BPF file system: what lies there is no sensor's.
pub fn check(folder: &Path) -> Result<()> {
    let said = || format!("cannot look at {}", folder.display());
    let path = CString::new(folder.as_os_str().as_bytes()).with_context(said)?;
    // SAFETY: an all-zero value is a valid one.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated string, and a place for the answer.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut answer) } != 0 {
        return Err(io::Error::last_os_error()).with_context(said);
    }
    // `BPF_FS_MAGIC` (linux/magic.h), in the type that this C library's statfs(2) gives.
    if answer.f_type != 0xcafe_4a11 {
        bail!(
            "{} is not in a BPF file system, as /sys/fs/bpf/weir is (`mount -t bpf bpf /sys/fs/bpf`)",
            folder.display()
        );
    }
    Ok(())
}

/// What tells who a table is.
pub fn open_identity(table: &Path) -> Result<Array<MapData, u64>> {
    let path = table.join(IDENTITY);
    let map =
        MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Map::Array(map).try_into()?)
}

/// Numbers of the tables in a folder.
pub fn tables(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let list = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(list)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("table-"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// Where an attachment is pinned: by number, since names change.
pub fn link_path(folder: &Path, ifindex: u32, hook: &str) -> PathBuf {
    folder.join(format!("{LINK}{ifindex}-{hook}"))
}

/// Attachments that are pinned in a folder.
pub fn links(folder: &Path) -> Vec<PathBuf> {
    named(folder, |name| link_ifindex(name).is_some())
}

/// Those of an interface.
pub fn links_of(folder: &Path, ifindex: u32) -> Vec<PathBuf> {
    named(folder, |name| link_ifindex(name) == Some(ifindex))
}

fn link_ifindex(name: &str) -> Option<u32> {
    let (ifindex, _) = name.strip_prefix(LINK)?.split_once('-')?;
    ifindex.parse().ok()
}

/// Marks of the interfaces that are in promiscuous mode as long as something is pinned here: empty folders, since a BPF
/// file system has no files but pins.
pub fn promiscuous(folder: &Path) -> Vec<PathBuf> {
    named(folder, |name| marked_ifindex(name).is_some())
}

fn marked_ifindex(name: &str) -> Option<u32> {
    name.strip_prefix(PROMISCUOUS)?.parse().ok()
}

/// Where such a mark is.
pub fn promiscuous_mark(folder: &Path, ifindex: u32) -> PathBuf {
    folder.join(format!("{PROMISCUOUS}{ifindex}"))
}

/// Takes promiscuous mode back from a marked interface, if that is still there, and then the mark.
pub fn end_promiscuous(mark: &Path) {
    let name = mark.file_name().and_then(|name| name.to_str());
    if let Some(ifindex) = name.and_then(marked_ifindex)
        && let Some(name) = interface::name(ifindex)
        && let Err(error) = interface::set_promiscuous(ifindex, false)
    {
        eprintln!(
            "weir-sensor: {name} stays in promiscuous mode: {error}; `ip link set dev {name} promisc off` ends it"
        );
    }
    let _ = fs::remove_dir(mark);
}

fn named(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes what is pinned of a table, also of another version's, which may have other maps. Its identity
/// goes first: a table without one holds nothing.
pub fn remove_table(table: &Path) {
    let _ = fs::remove_file(table.join(IDENTITY));
    let _ = fs::remove_dir_all(table);
}

/// Takes tc filters of dead sensors off interfaces, those that are still there; how many.
pub fn remove_filters(ifindexes: impl Iterator<Item = u32>) -> Result<usize> {
    ifindexes
        .filter_map(interface::name)
        .map(|name| filter::remove_dead(&name))
        .sum()
}
