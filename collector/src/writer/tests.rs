//! Steps of the clock, and whose the directory is.

use std::collections::HashSet;

use weir_store::{footer, layout, read, rotate, schema::StoredFlow};

use super::*;

const MINUTE_MS: i64 = 60_000;
/// Where a clock is at, seconds from its start: it goes on, and is set. Twice there are many years between.
const STEPS_S: &str = "0 30 59 60 61 59 30 0 3600 3630 0 30 61 -3600 -3570 0 59 60 120 86400 0 30 -1577880000 0 3155760000 60 0 30 61 ";

fn flows(number: usize) -> RecordBatch {
    let flow = StoredFlow {
        received_ns: 1_700_000_000_000_000_000,
        ..StoredFlow::default()
    };
    schema::rows(&vec![flow; number]).unwrap()
}

/// Where a clock may be set while flows come: back and forth by seconds, the hour that summer time is about, to
/// another century. Windows are closed late, some of them after the clock came by again.
#[test]
fn d08_steps_of_the_clock_lose_nothing_and_overwrite_nothing() {
    const START_MS: i64 = 1_795_237_200_000; // 2026-11-21 05:00:00 UTC
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let (windows, to_close) = unbounded();
    let mut state = State::new(directory, MINUTE_MS, windows, Arc::default());
    let (mut sent, mut closed) = (0, HashSet::new());
    let close = |closing: Closing, closed: &mut HashSet<PathBuf>| {
        let rotated = rotate::close(folder.path(), &closing.window, &closing.notes).unwrap();
        assert_eq!(rotated.flows, closing.flows);
        let path = rotated.path.unwrap();
        assert!(closed.insert(path.clone()), "{} twice", path.display());
    };
    // Three rounds: all times come again, with files there.
    for (number, step_s) in (1..).zip(STEPS_S.repeat(3).split_whitespace()) {
        let now_ms = START_MS + 1000 * step_s.parse::<i64>().unwrap();
        state.rotate_if_due(now_ms);
        state.take(flows(number), now_ms);
        state.flush(now_ms);
        sent += number as u64;
        let open = state.window.as_ref().unwrap();
        // It ends by itself, within two of its times from now.
        assert!(
            (0..=2 * MINUTE_MS).contains(&(open.end_ms - now_ms)),
            "{step_s}"
        );
        if number % 4 == 0 {
            to_close
                .try_iter()
                .for_each(|closing| close(closing, &mut closed));
        }
    }
    state.rotate();
    to_close
        .try_iter()
        .for_each(|closing| close(closing, &mut closed));
    let files = read::list(folder.path()).unwrap();
    assert!(files.open.is_empty());
    assert_eq!(files.closed.iter().cloned().collect::<HashSet<_>>(), closed);
    let in_files: u64 = files
        .closed
        .iter()
        .map(|path| footer::read(path).unwrap().flows)
        .sum();
    assert_eq!((in_files, state.written.flows), (sent, sent));
    assert_eq!(state.written.flows_unwritten, 0);
}

/// Several windows begin in one second; each has a name of its own.
#[test]
fn d08_windows_shorter_than_a_second_have_names_of_their_own() {
    const START_MS: i64 = 1_795_237_200_000;
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let (windows, to_close) = unbounded();
    let mut state = State::new(directory, 100, windows, Arc::default());
    for tenth in 0..25 {
        let now_ms = START_MS + 100 * tenth;
        state.rotate_if_due(now_ms);
        state.take(flows(1), now_ms);
        state.flush(now_ms);
    }
    state.rotate();
    let names: HashSet<_> = to_close.try_iter().map(|closing| closing.window).collect();
    assert_eq!(names.len(), 25);
    let starts: HashSet<_> = names
        .iter()
        .map(|name| layout::window_start_s(name))
        .collect();
    assert_eq!(starts.len(), 3);
}

/// What waited together, of which some has more columns than the window that is open, and than the other batches; and
/// what comes when no window can be begun.
#[test]
fn flows_of_either_width_are_in_windows_or_counted() {
    const START_MS: i64 = 1_795_237_200_000;
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let (windows, to_close) = unbounded();
    let mut state = State::new(directory, MINUTE_MS, windows, Arc::default());
    let write = |state: &mut State, batches: Vec<RecordBatch>| {
        for rows in batches {
            state.take(rows, START_MS);
        }
        state.flush(START_MS);
    };
    let mut wide = StoredFlow::default();
    wide.record.flow_label = 7;
    let wide = schema::rows(&[wide]).unwrap();
    assert!(schema::has_all_columns(&wide) && !schema::has_all_columns(&flows(1)));
    write(&mut state, vec![flows(3)]);
    write(&mut state, vec![flows(2), wide, flows(4)]);
    // Those that are wide take what is not.
    write(&mut state, vec![flows(5), flows(6)]);
    state.rotate();
    let mut in_windows = Vec::new();
    for closing in to_close.try_iter() {
        let rotated = rotate::close(folder.path(), &closing.window, &closing.notes).unwrap();
        assert_eq!(rotated.flows, closing.flows);
        in_windows.push(rotated.flows);
    }
    assert_eq!(in_windows, [3, 18]);
    std::fs::remove_dir_all(layout::open_folder(folder.path())).unwrap();
    write(&mut state, vec![flows(7), flows(8)]);
    std::fs::create_dir(layout::open_folder(folder.path())).unwrap();
    write(&mut state, vec![flows(9)]);
    assert_eq!(
        (state.written.flows, state.written.flows_unwritten),
        (30, 15)
    );
    assert_eq!((state.pending.len(), state.pending_flows), (0, 0));
}

#[test]
fn d10_the_directory_is_locked_until_the_last_window_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    // Who closes the window waits here until it is asked for.
    let (closed, told) = bounded(0);
    let writer = Writer::start(folder.path(), 86_400_000, Form::default(), closed).unwrap();
    writer.sender.send(Message::Rows(flows(10))).unwrap();
    let finishing = thread::spawn(move || writer.finish().unwrap());
    let open = layout::open_folder(folder.path());
    let is_closed = || {
        let mut names = std::fs::read_dir(&open).unwrap().flatten();
        !names.any(|entry| entry.file_name().to_string_lossy().ends_with(".arrows"))
    };
    let patience = Patience::new(Duration::from_secs(10));
    thread::sleep(Duration::from_millis(200));
    while !is_closed() && !patience.is_over() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!finishing.is_finished());
    let refused = Directory::lock(folder.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    told.recv().unwrap();
    assert_eq!(finishing.join().unwrap().windows_closed, 1);
    Directory::lock(folder.path()).unwrap();
}
