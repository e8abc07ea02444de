//! What closed files are like, as far as it can be chosen: the folders they lie in and how they are compressed.
//! Readers find and read them all, whatever was chosen when they were written.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use parquet::basic::{self, ZstdLevel};

use crate::{footer, layout};

/// The folders of closed files, by the start of their windows, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// None: all lie in the directory itself.
    Flat,
    /// One a day.
    Day,
    /// One a day, and in it one an hour.
    #[default]
    Hour,
}

impl Layout {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Flat, Self::Day, Self::Hour];

    /// The folder of a window that began then, seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn folder(self, root: &Path, start_s: i64) -> PathBuf {
        match self {
            Self::Flat => root.to_owned(),
            Self::Day => layout::day_folder(root, start_s),
            Self::Hour => layout::hour_folder(root, start_s),
        }
    }

    /// Where a window goes when it is closed.
    #[must_use]
    pub fn closed_path(self, root: &Path, start_s: i64, stem: &str) -> PathBuf {
        self.folder(root, start_s).join(format!("{stem}.parquet"))
    }

    /// The layout a file lies in as its name says, if there is one.
    #[must_use]
    pub fn of(root: &Path, path: &Path) -> Option<Self> {
        let start_s = layout::window_start_s(path)?;
        let folder = path.parent()?;
        let lies_so = |layout: &Self| layout.folder(root, start_s) == folder;
        Self::ALL.into_iter().find(lies_so)
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "flat" => Ok(Self::Flat),
            "day" => Ok(Self::Day),
            "hour" => Ok(Self::Hour),
            _ => Err(format!("`{text}` is no layout: write hour, day or flat")),
        }
    }
}

/// How a closed file's columns are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, but for dictionaries and differences.
    None,
    /// Snappy.
    Snappy,
    /// LZ4 blocks, as Parquet's `LZ4_RAW`.
    Lz4,
    /// Zstandard at a level from 1 to 22; at the usual one of the kind of file if none is told.
    Zstd(Option<i32>),
}

/// Zstandard's usual level: closing a window is work beside receiving.
const LEVEL: i32 = 1;
/// That of large files, which are made once, at leisure, and read for years.
const LEVEL_OF_LARGE: i32 = 9;

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(None)
    }
}

impl Compression {
    /// That of a large file.
    pub(crate) fn of_large(self) -> Self {
        match self {
            Self::Zstd(None) => Self::Zstd(Some(LEVEL_OF_LARGE)),
            chosen => chosen,
        }
    }

    /// Zstandard's level, if that is how.
    pub(crate) fn zstd_level(self) -> Option<i32> {
        match self {
            Self::Zstd(level) => Some(level.unwrap_or(LEVEL)),
            Self::None | Self::Snappy | Self::Lz4 => None,
        }
    }

    /// That of a column; which level Zstandard had is written nowhere.
    pub(crate) fn of(codec: basic::Compression) -> Self {
        match codec {
            basic::Compression::UNCOMPRESSED => Self::None,
            basic::Compression::SNAPPY => Self::Snappy,
            basic::Compression::LZ4 | basic::Compression::LZ4_RAW => Self::Lz4,
            _ => Self::default(),
        }
    }

    /// As Parquet has it.
    pub(crate) fn codec(self) -> basic::Compression {
        match self {
            Self::None => basic::Compression::UNCOMPRESSED,
            Self::Snappy => basic::Compression::SNAPPY,
            Self::Lz4 => basic::Compression::LZ4_RAW,
            Self::Zstd(level) => {
                let level = ZstdLevel::try_new(level.unwrap_or(LEVEL));
                basic::Compression::ZSTD(level.unwrap_or_default())
            }
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str| {
            let level: Option<i32> = text.parse().ok();
            level.filter(|level| (1..=22).contains(level))
        };
        let compression = match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            None if text == "snappy" => Some(Self::Snappy),
            None if text == "lz4" => Some(Self::Lz4),
            None if text == "zstd" => Some(Self::default()),
            Some(("zstd", text)) => level(text).map(|level| Self::Zstd(Some(level))),
            _ => None,
        };
        compression.ok_or_else(|| {
            format!(
                "`{text}` is no compression: write zstd, zstd:1 to zstd:22, lz4, snappy or none"
            )
        })
    }
}

/// What closed files are to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Their folders.
    pub layout: Layout,
    /// Their compression.
    pub compression: Compression,
}

impl Form {
    /// What a closed file of a directory is like, as far as it says.
    #[must_use]
    pub fn of(root: &Path, path: &Path) -> Self {
        Self {
            layout: Layout::of(root, path).unwrap_or_default(),
            compression: Self::compression_of(path),
        }
    }

    /// How a closed file is compressed, as far as it says.
    #[must_use]
    pub fn compression_of(path: &Path) -> Compression {
        let opened = footer::Opened::open(path).ok();
        let compression = opened.map(|opened| opened.compression());
        compression.unwrap_or_default()
    }
}

/// A directory, and what closed files in it are to be like; by a path alone, as usual.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory.
    pub root: &'a Path,
    /// What files are to be like.
    pub form: Form,
}

impl<'a> From<&'a Path> for Place<'a> {
    fn from(root: &'a Path) -> Self {
        Self {
            root,
            form: Form::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{
        closed::ClosedWriter,
        layout::Directory,
        read,
        recover::{Recovered, recover},
        rotate,
        schema::{self, StoredFlow},
        verify,
        window::Window,
    };

    const START_S: i64 = 1_795_237_200; // 2026-11-21 05:00:00 UTC

    fn flows(count: u64) -> Vec<StoredFlow> {
        // A dictionary, whose indices every compression finds to be the same again and again.
        let flow = |number: u64| StoredFlow {
            record: FlowRecord {
                packets: number % 17,
                ..FlowRecord::default()
            },
            received_ns: 1_795_237_200_000_000_000,
            ..StoredFlow::default()
        };
        (0..count).map(flow).collect()
    }

    #[test]
    fn words_are_read() {
        assert_eq!("zstd".parse(), Ok(Compression::default()));
        assert_eq!("zstd:19".parse(), Ok(Compression::Zstd(Some(19))));
        assert_eq!("lz4".parse(), Ok(Compression::Lz4));
        for wrong in ["", "zstd:0", "zstd:23", "zstd:", "lz4:1", "gzip", "ZSTD"] {
            wrong.parse::<Compression>().unwrap_err();
        }
        assert_eq!("day".parse(), Ok(Layout::Day));
        "date".parse::<Layout>().unwrap_err();
    }

    #[test]
    fn large_files_have_a_level_of_their_own_unless_one_is_chosen() {
        let level = |word: &str| {
            let compression: Compression = word.parse().unwrap();
            (
                compression.zstd_level(),
                compression.of_large().zstd_level(),
            )
        };
        assert_eq!(level("zstd"), (Some(1), Some(9)));
        assert_eq!(level("zstd:1"), (Some(1), Some(1)));
        assert_eq!(level("zstd:19"), (Some(19), Some(19)));
        assert_eq!(level("lz4"), (None, None));
    }

    #[test]
    fn files_of_each_compression_are_sound_and_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.parquet");
        let mut octets = Vec::new();
        for word in ["none", "snappy", "lz4", "zstd", "zstd:19"] {
            let compression: Compression = word.parse().unwrap();
            let mut writer = ClosedWriter::create_as(&path, &[], compression, &[]).unwrap();
            writer.write(&schema::batch(&flows(5000)).unwrap()).unwrap();
            writer.finish().unwrap();
            let verified = verify::verify(&path).unwrap();
            assert_eq!(
                (verified.flows, verified.faults),
                (5000, Vec::new()),
                "{word}"
            );
            let expected = match compression {
                Compression::Zstd(_) => Compression::default(),
                others => others,
            };
            assert_eq!(Form::compression_of(&path), expected, "{word}");
            octets.push(fs::metadata(&path).unwrap().len());
        }
        assert!(
            octets[1..].iter().all(|less| *less < octets[0]),
            "{octets:?}"
        );
    }

    /// Each file lies in its layout's folder and is found with the others, by time; a window whose file lies in
    /// another layout's is not closed a second time.
    #[test]
    fn files_of_each_layout_are_found_and_none_is_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let directory = Directory::lock(root).unwrap();
        let mut windows = Vec::new();
        // The latest first, in the folder that comes first by its name.
        for (hours, layout, place) in [
            (
                2,
                Layout::Hour,
                "date=2026-11-21/hour=07/flows-20261121T070000Z.parquet",
            ),
            (1, Layout::Flat, "flows-20261121T060000Z.parquet"),
            (
                0,
                Layout::Day,
                "date=2026-11-21/flows-20261121T050000Z.parquet",
            ),
        ] {
            let start_s = START_S + 3600 * hours;
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            window.append(&flows(10)).unwrap();
            windows.push((window.path().to_owned(), fs::read(window.path()).unwrap()));
            let form = Form {
                layout,
                ..Form::default()
            };
            let rotated = rotate::close(Place { root, form }, window.path(), &[]).unwrap();
            assert_eq!(rotated.path, Some(root.join(place)));
            assert_eq!(Layout::of(root, &root.join(place)), Some(layout));
            assert_ne!(directory.window_path(start_s), window.path(), "it is taken");
        }
        let closed = read::list(root).unwrap().closed;
        let names: Vec<_> = closed.iter().filter_map(|path| path.file_name()).collect();
        assert!(names.len() == 3 && names.is_sorted(), "{closed:?}");
        // As if the process had been killed before the windows were removed.
        for (path, octets) in &windows {
            fs::write(path, octets).unwrap();
        }
        let recovered = recover(&directory).unwrap();
        assert!(
            recovered
                .iter()
                .all(|found| matches!(found, Recovered::Closed(..))),
            "{recovered:?}"
        );
        assert_eq!(read::list(root).unwrap().closed, closed);
    }
}
