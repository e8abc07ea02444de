//! Finding and reading files, open and closed alike.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    ipc::{Message, reader::StreamReader, root_as_message},
};

use crate::{StoreError, caught::caught, layout, recover, schema};

/// How an open window's file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// On a whole message.
    Whole,
    /// In the middle of one, or on one that cannot be; what came before it was read.
    CutOff(String),
}

/// The files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Closed windows, Parquet, by time.
    pub closed: Vec<PathBuf>,
    /// Open windows, by time.
    pub open: Vec<PathBuf>,
    /// Symbolic links where closed files or folders of them may be. They are not followed: whoever removes or writes
    /// files would do so elsewhere.
    pub links: Vec<PathBuf>,
}

impl Files {
    /// Links that lead elsewhere than into these directories, by their real paths: to what nobody looks at who reads
    /// those.
    pub fn links_elsewhere<'a>(
        &'a self,
        roots: &'a [impl AsRef<Path>],
    ) -> impl Iterator<Item = &'a PathBuf> {
        self.links.iter().filter(move |link| {
            let leads = link.canonicalize();
            !leads.is_ok_and(|leads| roots.iter().any(|root| leads.starts_with(root)))
        })
    }
}

/// Lists a directory's files.
///
/// # Errors
/// If it cannot be listed.
pub fn list(root: &Path) -> Result<Files, StoreError> {
    let mut files = Files {
        closed: Vec::new(),
        open: recover::list_windows(&layout::open_folder(root))?,
        links: Vec::new(),
    };
    list_closed(root, &mut files, 0)?;
    files
        .closed
        .sort_by(|one, other| by_time(one).cmp(&by_time(other)));
    files.open.sort();
    files.links.sort();
    Ok(files)
}

/// What closed files are sorted by: whose they are, if several collectors' directories lie in one, then their names,
/// which sort by time whichever folders of days and hours they lie in.
fn by_time(path: &Path) -> (Option<&Path>, Option<&OsStr>) {
    let is_of_time = |folder: &&Path| {
        let name = folder.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("date=") || name.starts_with("hour="))
    };
    let mut folders = path.ancestors().skip(1).skip_while(is_of_time);
    (folders.next(), path.file_name())
}

/// Lists the open windows alone, by time.
///
/// # Errors
/// If their folder cannot be listed.
pub fn list_open(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut open = recover::list_windows(&layout::open_folder(root))?;
    open.sort();
    Ok(open)
}

fn list_closed(folder: &Path, files: &mut Files, depth: u32) -> Result<(), StoreError> {
    const DEPTH_MAX: u32 = 4;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // An hour whose last file expired meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return Ok(()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        let hidden = name
            .to_str()
            .is_none_or(|name| name.starts_with(['.', '_']));
        let is_parquet = path.extension().is_some_and(|ending| ending == "parquet");
        match entry.file_type() {
            Ok(_) if hidden => {}
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => {
                list_closed(&path, files, depth + 1)?;
            }
            Ok(kind) if kind.is_file() && is_parquet => files.closed.push(path),
            Ok(kind) if kind.is_symlink() && (is_parquet || path.is_dir()) => {
                files.links.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a window that nobody writes to, message by message, as far as they are whole. Rows have all columns,
/// also those of a window of version 1.
///
/// # Errors
/// If the file cannot be read, or `batch` fails.
pub fn window(
    path: &Path,
    batch: impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Ended, StoreError> {
    messages(path, 0, batch)
}

/// Reads a window that a collector may be writing to. A write grows a file a few pages at a time: who looks
/// in the middle of one sees a message that lacks its end, and looks again until the end is there, or for
/// half a second, since after a collector's death it never comes.
///
/// # Errors
/// If the file cannot be read, or `batch` fails.
pub fn growing_window(
    path: &Path,
    batch: impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Ended, StoreError> {
    const LOOKS_MORE: u32 = 50;
    messages(path, LOOKS_MORE, batch)
}

fn messages(
    path: &Path,
    looks_more: u32,
    mut batch: impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Ended, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let (whole, octets) = settled(&mut file, looks_more).map_err(StoreError::io("read", path))?;
    file.rewind().map_err(StoreError::io("read", path))?;
    let ended = if whole == octets {
        Ended::Whole
    } else {
        Ended::CutOff(format!("octets {whole} to {octets} are no whole message"))
    };
    if whole == 0 {
        return Ok(ended);
    }
    Ok(match decode_safely(file.take(whole), path, &mut batch)? {
        None => ended,
        Some(reason) => Ended::CutOff(reason),
    })
}

/// Decodes whole messages; the reason why it did not get to their end, if so. What was checked of them may still make
/// the decoder panic: a bit flipped in a buffer's length. Such a window ends there. What `batch` does is not the
/// window's fault: if that panics, so does this.
pub(crate) fn decode_safely(
    input: impl Read,
    path: &Path,
    batch: &mut impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Option<String>, StoreError> {
    let contradicts = || Ok(Some("a message contradicts itself".to_owned()));
    let Some(opened) = caught(|| StreamReader::try_new(BufReader::new(input), None)) else {
        return contradicts();
    };
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let columns = reader.schema();
    let is_known = [schema::schema(), schema::earlier_schema()].contains(&columns);
    if !is_known {
        return Ok(Some(format!(
            "{}: its columns are those of another version",
            path.display()
        )));
    }
    loop {
        let next = caught(|| {
            let message = reader.next()?;
            Some(message.and_then(|rows| schema::with_all_columns(&rows)))
        });
        let Some(next) = next else {
            return contradicts();
        };
        match next {
            Some(Ok(rows)) => batch(rows)?,
            Some(Err(error)) => return Ok(Some(error.to_string())),
            None => return Ok(None),
        }
    }
}

/// Octets up to the end of the last whole message, and in all, once both are the same or there are no looks
/// left.
fn settled(file: &mut File, looks_more: u32) -> io::Result<(u64, u64)> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut left = looks_more;
    let mut whole = 0;
    loop {
        let octets = file.metadata()?.len();
        whole = whole_octets(file, whole, octets)?;
        if whole == octets || left == 0 {
            return Ok((whole, octets));
        }
        left -= 1;
        thread::sleep(PAUSE);
    }
}

/// Octets up to the end of the last whole message of those that begin at `from`.
pub(crate) fn whole_octets(file: &mut File, from: u64, octets: u64) -> io::Result<u64> {
    let mut whole = from;
    while let Some(length) = message_octets(file, whole, octets)? {
        whole += length;
    }
    Ok(whole)
}

/// Octets of the message that begins at `from`, if it is whole (Arrow columnar format, encapsulated
/// messages): a reader that trusts a damaged length would ask for any amount of memory.
pub(crate) fn message_octets(file: &mut File, from: u64, octets: u64) -> io::Result<Option<u64>> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    // What a window's messages say of their rows takes some kilobytes.
    const METADATA_OCTETS_MAX: u64 = 1 << 20;
    let mut head = [0; 8];
    let head_octets = head.len() as u64;
    if octets.saturating_sub(from) < head_octets {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(from))?;
    file.read_exact(&mut head)?;
    let [c0, c1, c2, c3, l0, l1, l2, l3] = head;
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    let rest = octets - from - head_octets;
    let is_possible = (1..=rest.min(METADATA_OCTETS_MAX)).contains(&length);
    if [c0, c1, c2, c3] != CONTINUATION || !is_possible {
        return Ok(None);
    }
    let mut metadata = Vec::new();
    Read::by_ref(file).take(length).read_to_end(&mut metadata)?;
    let message = root_as_message(&metadata).ok().filter(is_plain);
    let body = message.and_then(|message| u64::try_from(message.bodyLength()).ok());
    Ok(body
        .filter(|body| *body <= rest - length)
        .map(|body| head_octets + length + body))
}

/// Whether a message is of a kind that windows have. Theirs are not compressed: of one that is, the decoder would
/// take memory for whatever it says that it expands to.
fn is_plain(message: &Message<'_>) -> bool {
    let rows = message.header_as_record_batch();
    message.header_as_schema().is_some() || rows.is_some_and(|rows| rows.compression().is_none())
}

#[cfg(test)]
mod tests;
