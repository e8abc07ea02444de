//! Finding and reading files, open and closed alike.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    ipc::{reader::StreamReader, root_as_message},
};

use crate::{StoreError, layout, recover, schema};

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
}

/// Lists a directory's files.
///
/// # Errors
/// If it cannot be listed.
pub fn list(root: &Path) -> Result<Files, StoreError> {
    let mut files = Files {
        closed: Vec::new(),
        open: recover::list_windows(&layout::open_folder(root))?,
    };
    list_closed(root, &mut files.closed, 0)?;
    files.closed.sort();
    files.open.sort();
    Ok(files)
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

fn list_closed(folder: &Path, closed: &mut Vec<PathBuf>, depth: u32) -> Result<(), StoreError> {
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
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !hidden && depth < DEPTH_MAX => {
                list_closed(&path, closed, depth + 1)?;
            }
            Ok(kind)
                if kind.is_file()
                    && !hidden
                    && path.extension().is_some_and(|ending| ending == "parquet") =>
            {
                closed.push(path);
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

/// Decodes whole messages. What was checked of them may still make the decoder panic: a bit flipped in a
/// buffer's length. Such a window ends there.
pub(crate) fn decode_safely(
    input: impl Read,
    path: &Path,
    batch: &mut impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Option<String>, StoreError> {
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(input, path, batch)));
    decoded.unwrap_or_else(|_| Ok(Some("a message contradicts itself".to_owned())))
}

/// Decodes whole messages; the reason why it did not get to their end, if so.
fn decode(
    input: impl Read,
    path: &Path,
    batch: &mut impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Option<String>, StoreError> {
    let reader = match StreamReader::try_new(BufReader::new(input), None) {
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
    for message in reader {
        let rows = message.and_then(|rows| schema::with_all_columns(&rows));
        match rows {
            Ok(rows) => batch(rows)?,
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
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
    if [c0, c1, c2, c3] != CONTINUATION || length == 0 || length > rest {
        return Ok(None);
    }
    let mut metadata = Vec::new();
    Read::by_ref(file).take(length).read_to_end(&mut metadata)?;
    let body = root_as_message(&metadata)
        .ok()
        .map(|message| message.bodyLength());
    let body = body.and_then(|body| u64::try_from(body).ok());
    Ok(body
        .filter(|body| *body <= rest - length)
        .map(|body| head_octets + length + body))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::Ipv6Addr};

    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{
        layout::Directory,
        others::Others,
        recover::{Recovered, recover},
        rotate,
        schema::StoredFlow,
        window::Window,
    };

    const START_S: i64 = 1_795_237_200;

    fn flows(number: u64) -> Vec<StoredFlow> {
        (0..number)
            .map(|packets| StoredFlow {
                record: FlowRecord {
                    packets,
                    octets: 100 * packets,
                    start_ns: 1_700_000_000_000_000_000 + packets,
                    ..FlowRecord::default()
                },
                received_ns: 1_700_000_000_000_000_000,
                exporter: Ipv6Addr::LOCALHOST,
                source_id: 7,
                version: 9,
                others: Others::NONE,
            })
            .collect()
    }

    fn rows(path: &Path) -> (usize, Ended) {
        let mut rows = 0;
        let ended = window(path, |batch| {
            rows += batch.num_rows();
            Ok(())
        })
        .unwrap();
        (rows, ended)
    }

    fn parquet_rows(path: &Path) -> i64 {
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
            File::open(path).unwrap(),
        )
        .unwrap();
        reader.metadata().file_metadata().num_rows()
    }

    #[test]
    fn d08_a_window_is_readable_while_written_and_becomes_parquet() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        for _ in 0..3 {
            window.append(&flows(100)).unwrap();
        }
        assert_eq!(rows(window.path()), (300, Ended::Whole));
        let files = list(folder.path()).unwrap();
        assert_eq!((files.open.len(), files.closed.len()), (1, 0));
        let rotated = rotate::close(folder.path(), window.path(), &[]).unwrap();
        assert_eq!((rotated.flows, &rotated.ended), (300, &Ended::Whole));
        assert_eq!(parquet_rows(&rotated.path.unwrap()), 300);
        let files = list(folder.path()).unwrap();
        assert_eq!((files.open.len(), files.closed.len()), (0, 1));
        assert_ne!(
            directory.window_path(START_S),
            window.path(),
            "a taken name is not given again"
        );
    }

    #[test]
    fn d08_a_message_that_is_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&flows(10)).unwrap();
        let octets = fs::read(window.path()).unwrap();
        let (first, rest) = octets.split_at(octets.len() - 100);
        let path = folder.path().join("growing.arrows");
        let mut file = File::create(&path).unwrap();
        file.write_all(first).unwrap();
        assert!(matches!(rows(&path), (0, Ended::CutOff(_))));
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut rows = 0;
                let ended = growing_window(&path, |batch| {
                    rows += batch.num_rows();
                    Ok(())
                });
                (rows, ended.unwrap())
            });
            thread::sleep(Duration::from_millis(100));
            file.write_all(rest).unwrap();
            assert_eq!(reader.join().unwrap(), (10, Ended::Whole));
        });
    }

    #[test]
    fn d05_a_window_cut_at_any_octet_keeps_its_whole_messages() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&flows(10)).unwrap();
        let first = fs::metadata(window.path()).unwrap().len();
        window.append(&flows(10)).unwrap();
        let octets = fs::read(window.path()).unwrap();
        for cut in (first..octets.len() as u64).step_by(61) {
            let path = folder.path().join("cut.arrows");
            File::create(&path)
                .unwrap()
                .write_all(&octets[..usize::try_from(cut).unwrap()])
                .unwrap();
            assert_eq!(rows(&path).0, 10, "cut at {cut}");
        }
    }

    #[test]
    fn d01_windows_left_behind_are_closed_or_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&flows(10)).unwrap();
        let octets = fs::read(window.path()).unwrap();
        fs::write(
            window.path(),
            [&octets[..], &octets[octets.len() / 2..]].concat(),
        )
        .unwrap();
        fs::write(directory.window_path(START_S + 60), "garbage").unwrap();
        let recovered = recover(&directory).unwrap();
        assert!(
            matches!(&recovered[0], Recovered::Closed(_, rotated) if rotated.flows == 10),
            "{recovered:?}"
        );
        assert!(
            matches!(&recovered[1], Recovered::SetAside(path) if path.exists()),
            "{recovered:?}"
        );
        assert!(recover(&directory).unwrap().is_empty());
        let kept: Vec<_> = fs::read_dir(layout::open_folder(folder.path()))
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .path()
                    .to_str()
                    .unwrap()
                    .ends_with(".unreadable")
            })
            .collect();
        assert_eq!(kept.len(), 2, "what was not read to its end is kept");
    }

    /// Fault case D12: a window that version 1 left behind is closed like any other, beside one of now; one
    /// whose columns nobody knows is set aside.
    #[test]
    fn d12_windows_of_version_1_are_read_and_closed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut earlier = Window::create_narrow(&directory.window_path(START_S)).unwrap();
        earlier.append(&flows(10)).unwrap();
        let mut window = Window::create(&directory.window_path(START_S + 60)).unwrap();
        window.append(&flows(20)).unwrap();
        let narrow = fs::metadata(earlier.path()).unwrap().len();
        assert!(narrow < fs::metadata(window.path()).unwrap().len());
        let mut columns = Vec::new();
        for path in [earlier.path(), window.path()] {
            let ended = super::window(path, |rows| {
                columns.push(rows.schema());
                Ok(())
            });
            assert_eq!(ended.unwrap(), Ended::Whole);
        }
        assert_eq!(columns, [schema::schema(), schema::schema()]);
        let foreign = directory.window_path(START_S + 120);
        let other = arrow::datatypes::Schema::empty();
        let mut file = File::create(&foreign).unwrap();
        arrow::ipc::writer::StreamWriter::try_new(&mut file, &other)
            .unwrap()
            .finish()
            .unwrap();
        let recovered = recover(&directory).unwrap();
        assert!(
            matches!(
                &recovered[..],
                [
                    Recovered::Closed(_, one),
                    Recovered::Closed(_, other),
                    Recovered::SetAside(aside)
                ] if one.flows == 10 && other.flows == 20 && aside.exists()
            ),
            "{recovered:?}"
        );
    }

    #[test]
    fn d06_a_window_with_a_flipped_bit_ends_there_or_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&flows(3)).unwrap();
        let octets = fs::read(window.path()).unwrap();
        let path = folder.path().join("flipped.arrows");
        for (at, bit) in (0..octets.len())
            .step_by(7)
            .flat_map(|at| [(at, 0x80), (at, 0x04)])
        {
            let mut flipped = octets.clone();
            flipped[at] ^= bit;
            fs::write(&path, &flipped).unwrap();
            assert!(rows(&path).0 <= 3, "octet {at}");
        }
    }

    #[test]
    fn d02_a_power_cut_after_the_rename_does_not_replace_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&flows(10)).unwrap();
        let header_only = fs::read(window.path()).unwrap()[..1000].to_vec();
        let closed = rotate::close(folder.path(), window.path(), &[])
            .unwrap()
            .path
            .unwrap();
        fs::write(window.path(), header_only).unwrap();
        recover(&directory).unwrap();
        assert_eq!(parquet_rows(&closed), 10);
        assert!(list(folder.path()).unwrap().open.is_empty());
        let aside = window.path().with_extension(layout::UNREADABLE);
        assert!(!aside.exists(), "nothing is in it that the file has not");
    }

    #[test]
    fn d01_what_could_not_be_read_is_kept_though_its_file_was_published() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        window.append(&flows(10)).unwrap();
        let octets = fs::read(window.path()).unwrap();
        let cut = [&octets[..], &octets[octets.len() / 2..]].concat();
        fs::write(window.path(), &cut).unwrap();
        rotate::close(folder.path(), window.path(), &[]).unwrap();
        let aside = window.path().with_extension(layout::UNREADABLE);
        // As if the process had been killed before it set the window aside.
        fs::rename(&aside, window.path()).unwrap();
        let recovered = recover(&directory).unwrap();
        assert!(
            matches!(&recovered[..], [Recovered::Closed(_, rotated)] if rotated.flows == 10),
            "{recovered:?}"
        );
        assert_eq!(fs::read(&aside).unwrap(), cut);
        assert!(!window.path().exists());
    }

    #[test]
    fn a_window_that_was_set_aside_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let path = directory.window_path(START_S);
        fs::write(&path, "garbage").unwrap();
        recover(&directory).unwrap();
        let other = directory.window_path(START_S);
        assert_ne!(
            other, path,
            "a second one would take the place of what was set aside"
        );
        fs::write(&other, "other garbage").unwrap();
        recover(&directory).unwrap();
        let kept = fs::read_to_string(path.with_extension(layout::UNREADABLE));
        assert_eq!(kept.unwrap(), "garbage");
    }
}
