//! The folder of pins: who uses it, what is in it, and how that is removed.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};

use super::IDENTITY;
use crate::{filter, interface};

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

/// Attachments that are pinned in a folder.
pub fn links(folder: &Path) -> Vec<PathBuf> {
    named(folder, "link-")
}

/// Marks of the interfaces that are in promiscuous mode as long as something is pinned here: empty folders, since a BPF
/// file system has no files but pins.
pub fn promiscuous(folder: &Path) -> Vec<PathBuf> {
    named(folder, PROMISCUOUS)
}

/// Where such a mark is.
pub fn promiscuous_mark(folder: &Path, ifindex: u32) -> PathBuf {
    folder.join(format!("{PROMISCUOUS}{ifindex}"))
}

/// Takes promiscuous mode back from a marked interface, if that is still there, and then the mark.
pub fn end_promiscuous(mark: &Path) {
    let name = mark.file_name().and_then(|name| name.to_str());
    let ifindex = name.and_then(|name| name.strip_prefix(PROMISCUOUS)?.parse().ok());
    if let Some(name) = ifindex.and_then(interface::name)
        && let Err(error) = interface::set_promiscuous(&name, false)
    {
        eprintln!(
            "weir-sensor: {name} stays in promiscuous mode: {error}; `ip link set dev {name} promisc off` ends it"
        );
    }
    let _ = fs::remove_dir(mark);
}

fn named(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
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
