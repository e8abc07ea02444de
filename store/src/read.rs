//! Finding and reading files, open and closed alike.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use arrow::{array::RecordBatch, ipc::reader::StreamReader};

use crate::{StoreError, layout, recover};

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

fn list_closed(folder: &Path, closed: &mut Vec<PathBuf>, depth: u32) -> Result<(), StoreError> {
    const DEPTH_MAX: u32 = 4;
    for entry in fs::read_dir(folder)
        .map_err(StoreError::io("list", folder))?
        .filter_map(Result::ok)
    {
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

/// Reads a window message by message, as far as they are whole.
///
/// # Errors
/// If the file cannot be opened, or `batch` fails.
pub fn window(
    path: &Path,
    mut batch: impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Ended, StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let octets = file.metadata().map_err(StoreError::io("read", path))?.len();
    let reader = match StreamReader::try_new(BufReader::new(file), None) {
        Ok(reader) => reader,
        Err(_) if octets == 0 => return Ok(Ended::Whole),
        Err(error) => return Ok(Ended::CutOff(error.to_string())),
    };
    if reader.schema() != crate::schema::schema() {
        return Ok(Ended::CutOff(
            "its columns are those of another version".to_owned(),
        ));
    }
    for message in reader {
        match message {
            Ok(rows) => batch(rows)?,
            Err(error) => return Ok(Ended::CutOff(error.to_string())),
        }
    }
    Ok(Ended::Whole)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::Ipv6Addr};

    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{
        layout::Directory,
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
    fn a_window_is_readable_while_written_and_becomes_parquet() {
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
    fn a_window_cut_at_any_octet_keeps_its_whole_messages() {
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
    fn windows_left_behind_are_closed_or_set_aside() {
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
    }
}
