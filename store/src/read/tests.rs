//! Windows as they are found: growing, cut off, damaged, made by others; and what becomes of them.

use std::io::Write as _;

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
            ..StoredFlow::default()
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
    for cut in (0..octets.len() as u64).step_by(61) {
        let path = folder.path().join("cut.arrows");
        fs::write(&path, &octets[..usize::try_from(cut).unwrap()]).unwrap();
        let whole = if cut < first { 0 } else { 10 };
        let (rows, ended) = rows(&path);
        assert_eq!(rows, whole, "cut at {cut}");
        assert!(cut <= first || ended != Ended::Whole, "cut at {cut}");
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
    assert!(earlier.append(&flows(10)).unwrap());
    // What it has no columns for it does not take, and nothing of the flows with it.
    let mut wide = flows(3);
    wide[2].record.flow_label = 7;
    assert!(!earlier.append(&wide).unwrap());
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
fn d10_nothing_is_made_where_a_symbolic_link_leads() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = Directory::lock(folder.path()).unwrap();
    let mut window = Window::create(&directory.window_path(START_S)).unwrap();
    window.append(&flows(10)).unwrap();
    let hour = layout::hour_folder(folder.path(), START_S);
    let day = hour.parent().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), day).unwrap();
    let refused = rotate::close(folder.path(), window.path(), &[]).unwrap_err();
    assert!(matches!(refused, StoreError::NoFolder { .. }), "{refused}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // What was written stays, and becomes a file where one may be.
    fs::remove_file(day).unwrap();
    let rotated = rotate::close(folder.path(), window.path(), &[]).unwrap();
    assert_eq!(rotated.flows, 10);
}

/// Who opens a pipe waits for somebody to write to it; and a name that is taken is taken, whatever has it.
#[test]
fn d10_pipes_and_links_are_no_windows_and_keep_their_names() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = Directory::lock(folder.path()).unwrap();
    let victim = elsewhere.path().join("victim.arrows");
    let mut window = Window::create(&victim).unwrap();
    window.append(&flows(10)).unwrap();
    let taken = [0, 60, 120].map(|after_s| directory.window_path(START_S + after_s));
    let [pipe, link, dangling] = &taken;
    let mut mkfifo = std::process::Command::new("mkfifo");
    assert!(mkfifo.arg(pipe).status().unwrap().success());
    std::os::unix::fs::symlink(&victim, link).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("nothing"), dangling).unwrap();
    assert!(recover(&directory).unwrap().is_empty());
    assert!(list(folder.path()).unwrap().open.is_empty());
    assert!(victim.exists());
    for (path, after_s) in taken.iter().zip([0, 60, 120]) {
        let other = directory.window_path(START_S + after_s);
        assert_ne!(&other, path);
        Window::create(&other).unwrap();
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

/// A message of rows, without any column: a flatbuffer of three tables, each behind the list of where its fields are
/// (Message.fbs of Arrow's columnar format, flatbuffers' internals). With the last one it says that it is compressed.
fn rows_message(is_compressed: bool) -> Vec<u8> {
    let compression = if is_compressed { 4 } else { 0 };
    let parts = [
        // The continuation, the octets of what follows, and where the first table is in it.
        &[0xff, 0xff, 0xff, 0xff, 64, 0, 0, 0, 16, 0, 0, 0][..],
        // Message: version 5, a record batch, and where that is; a body of no octets.
        &[12, 0, 20, 0, 16, 0, 18, 0, 4, 0, 8, 0],
        &[12, 0, 0, 0, 28, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0],
        // RecordBatch: no length, nodes or buffers.
        &[12, 0, 8, 0, 0, 0, 0, 0, 0, 0, compression, 0],
        &[12, 0, 0, 0, 8, 0, 0, 0],
        // BodyCompression: by LZ4, which is what is meant if nothing is said.
        &[4, 0, 4, 0, 4, 0, 0, 0],
    ];
    parts.concat()
}

/// A window with a message that is compressed, as somebody may make one: what it would expand to is theirs to say,
/// and the decoder would take memory for it.
#[test]
fn d07_messages_that_expand_are_not_expanded() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let mut window = Window::create(&directory.window_path(START_S)).unwrap();
    window.append(&flows(1000)).unwrap();
    let ours = fs::read(window.path()).unwrap();
    let path = folder.path().join("theirs.arrows");
    for is_compressed in [false, true] {
        let octets = [&ours[..], &rows_message(is_compressed)].concat();
        fs::write(&path, &octets).unwrap();
        let mut file = File::open(&path).unwrap();
        let whole = whole_octets(&mut file, 0, octets.len() as u64).unwrap();
        let expected = if is_compressed {
            ours.len()
        } else {
            octets.len()
        };
        assert_eq!(whole, expected as u64, "{is_compressed}");
    }
    // What came before it is read.
    assert!(matches!(rows(&path), (1000, Ended::CutOff(_))));
    assert_eq!(rows(window.path()), (1000, Ended::Whole));
}

/// All of what a message says of its rows is read at once.
#[test]
fn d07_a_message_that_says_more_than_any_does_is_not_read() {
    const MORE: u32 = 2 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.arrows");
    let mut message = rows_message(false);
    for (more, is_read) in [(0, true), (MORE, false)] {
        message.resize(message.len() + usize::try_from(more).unwrap(), 0);
        message[4..8].copy_from_slice(&(64 + more).to_le_bytes());
        fs::write(&path, &message).unwrap();
        let mut file = File::open(&path).unwrap();
        let octets = message.len() as u64;
        let found = message_octets(&mut file, 0, octets).unwrap();
        assert_eq!(found, is_read.then_some(octets), "{more}");
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

/// Names are times: a file of another collector's, copied into the directory, may have that of the window that is open.
#[test]
fn d08_a_file_of_the_windows_name_and_of_other_flows_costs_it_nothing() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = Directory::lock(folder.path()).unwrap();
    let mut window = Window::create(&directory.window_path(START_S)).unwrap();
    window.append(&flows(10)).unwrap();
    let closed = layout::closed_path(folder.path(), START_S, &layout::window_stem(START_S));
    fs::create_dir_all(closed.parent().unwrap()).unwrap();
    let octets = fs::read(window.path()).unwrap();
    let assert_kept = || {
        let refused = rotate::close(folder.path(), window.path(), &[]).unwrap_err();
        assert!(
            matches!(&refused, StoreError::NameTaken { path } if *path == closed),
            "{refused}"
        );
        assert_eq!(fs::read(window.path()).unwrap(), octets);
    };
    for number in [5, 10, 20] {
        let theirs = Directory::lock(other.path()).unwrap();
        let mut their_window = Window::create(&theirs.window_path(START_S)).unwrap();
        let mut their_flows = flows(number);
        their_flows[0].received_ns += 1;
        their_window.append(&their_flows).unwrap();
        let rotated = rotate::close(other.path(), their_window.path(), &[]).unwrap();
        fs::rename(rotated.path.unwrap(), &closed).unwrap();
        assert_kept();
    }
    // Its own, but damaged since: what is in the window is whole.
    fs::remove_file(&closed).unwrap();
    rotate::close(folder.path(), window.path(), &[]).unwrap();
    fs::write(window.path(), &octets).unwrap();
    let whole = fs::read(&closed).unwrap();
    let mut damaged = whole.clone();
    damaged[10] ^= 1;
    fs::write(&closed, damaged).unwrap();
    assert_kept();
    fs::write(&closed, whole).unwrap();
    let rotated = rotate::close(folder.path(), window.path(), &[]).unwrap();
    assert_eq!((rotated.flows, rotated.path), (10, Some(closed)));
    assert!(!window.path().exists());
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
