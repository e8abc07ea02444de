//! Which folder is next, and what holds it up.

use std::{
    fs::{self, File},
    time::UNIX_EPOCH,
};

use weir_store::{layout::Directory, new_file::NewFile, read, schema::StoredFlow};

use super::*;

/// 2026-11-21 05:00:00 UTC.
const START_S: i64 = 1_795_237_200;
const END_S: u64 = 1_795_240_800;
/// When the files were written.
const WRITTEN_S: u64 = END_S + 100;
const LATER_S: u64 = END_S + 100_000;
const LOOK: Duration = Duration::from_secs(1);

/// Closes a file of one flow.
fn close(directory: &Directory, start_s: i64) -> PathBuf {
    let mut file = NewFile::create(directory, start_s, &[]).unwrap();
    let flow = StoredFlow {
        received_ns: 1_795_237_200_000_000_000,
        ..StoredFlow::default()
    };
    file.write(&[flow]).unwrap();
    let (path, _) = file.finish().unwrap();
    let written = UNIX_EPOCH + Duration::from_secs(WRITTEN_S);
    let file = File::options().append(true).open(&path).unwrap();
    file.set_modified(written).unwrap();
    path
}

/// Three files of an hour.
fn hour(root: &Path, start_s: i64) -> Vec<PathBuf> {
    let directory = Directory::lock(root).unwrap();
    (0..3)
        .map(|window| close(&directory, start_s + 300 * window))
        .collect()
}

fn plan(root: &Path, after_s: Option<u64>) -> Plan {
    Plan {
        root: root.to_owned(),
        form: Form::default(),
        after_s,
        commanded: Arc::default(),
    }
}

/// One that goes on as long as the sender is there.
fn state(plan: Plan) -> (State, Sender<()>) {
    let (wanted, end) = bounded(0);
    (State::new(plan, end, Arc::default()), wanted)
}

fn done(state: &State) -> (u64, u64, u64) {
    let Done {
        folders,
        files,
        failed,
    } = *state.progress.lock().unwrap();
    (folders, files, failed)
}

fn count(root: &Path) -> usize {
    read::list(root).unwrap().closed.len()
}

#[test]
fn an_hour_is_due_once_it_is_over_and_quiet_and_its_commands_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let paths = hour(root, START_S);
    let plan = plan(root, Some(600));
    let commanded = Arc::clone(&plan.commanded);
    let (mut state, _wanted) = state(plan);
    // It is not over; a file was written to it since.
    assert!(!state.step(END_S - 1, LOOK));
    assert!(!state.step(WRITTEN_S - 1, LOOK));
    commanded.lock().unwrap().push(paths[1].clone());
    assert!(!state.step(LATER_S, LOOK));
    assert_eq!((count(root), done(&state)), (3, (0, 0, 0)));
    commanded.lock().unwrap().clear();
    assert!(state.step(WRITTEN_S, LOOK));
    assert_eq!((count(root), done(&state)), (1, (1, 3, 0)));
    assert!(!state.step(LATER_S, LOOK));
    assert_eq!(done(&state), (1, 3, 0));
}

#[test]
fn an_hour_waits_for_its_windows_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    hour(root, START_S - 3600);
    hour(root, START_S);
    let window = root.join(".open/flows-20261121T055500Z.arrows");
    fs::write(&window, "").unwrap();
    let (mut state, _wanted) = state(plan(root, Some(600)));
    assert!(state.step(LATER_S, LOOK_MAX));
    assert_eq!((count(root), done(&state)), (6, (0, 0, 0)));
    assert!(state.step(LATER_S, LOOK_MAX));
    assert_eq!((count(root), done(&state)), (4, (1, 3, 0)));
    assert!(!state.step(LATER_S, LOOK_MAX));
    // A later look.
    state.left.clear();
    fs::remove_file(&window).unwrap();
    assert!(state.step(LATER_S, LOOK_MAX));
    assert_eq!((count(root), done(&state)), (2, (2, 6, 0)));
}

#[test]
fn a_folder_in_which_something_is_wrong_does_not_hold_up_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    hour(root, START_S - 3600);
    let paths = hour(root, START_S);
    let mut octets = fs::read(&paths[0]).unwrap();
    octets[10] ^= 1;
    fs::write(&paths[0], &octets).unwrap();
    let (mut state, _wanted) = state(plan(root, Some(600)));
    // Its time of writing is that of this test now.
    let later_s = clock::unix_ns() / 1_000_000_000 + LATER_S;
    // The newest comes first, and is left alone for some time.
    assert!(state.step(later_s, LOOK));
    assert_eq!((count(root), done(&state)), (6, (0, 0, 1)));
    assert!(state.step(later_s, LOOK));
    assert_eq!((count(root), done(&state)), (4, (1, 3, 1)));
    assert!(!state.step(later_s, LOOK));
    assert_eq!(done(&state), (1, 3, 1));
    // Once it has gone, nothing is remembered of it.
    for path in &paths {
        fs::remove_file(path).unwrap();
    }
    assert!(!state.step(later_s, LOOK));
    assert!(state.left.is_empty());
}

#[test]
fn who_is_told_to_end_or_not_alone_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    hour(root, START_S);
    let (mut state, wanted) = state(plan(root, Some(600)));
    let lock = Rearranging::lock(root).unwrap();
    assert!(!state.step(LATER_S, LOOK));
    drop((lock, wanted));
    assert!(!state.step(LATER_S, LOOK));
    assert_eq!((count(root), done(&state)), (3, (0, 0, 0)));
    // The thread ends, whatever is due.
    state.run();
    assert_eq!(count(root), 3);
}

/// Told once, and not tried again at once; what went wrong is over when something goes well.
#[test]
fn a_directory_that_cannot_be_written_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    hour(root, START_S);
    let (mut state, _wanted) = state(plan(root, Some(600)));
    // Something that is no folder is where the lock's folder belongs.
    let (open, aside) = (root.join(".open"), root.join(".aside"));
    fs::rename(&open, &aside).unwrap();
    fs::write(&open, "").unwrap();
    assert!(!state.step(LATER_S, LOOK));
    assert!(state.is_failing && state.again.is_some_and(|again| !again.is_over()));
    fs::remove_file(&open).unwrap();
    fs::rename(&aside, &open).unwrap();
    assert!(state.step(LATER_S, LOOK));
    assert!(!state.is_failing && state.again.is_none());
    assert_eq!((count(root), done(&state)), (1, (1, 3, 1)));
}

#[test]
fn the_thread_clears_away_what_was_left_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let paths = hour(root, START_S);
    let hidden = root.join("date=2026-11-21/.hour=05");
    for after_s in [None, Some(1_000_000_000_000)] {
        fs::create_dir(&hidden).unwrap();
        let partial = "flows-20261121T050000Z-hour.parquet.partial";
        fs::write(hidden.join(partial), "PAR1").unwrap();
        let recompacting = Recompacting::start(plan(root, after_s)).unwrap();
        let patience = Patience::new(Duration::from_secs(20));
        while hidden.exists() && !patience.is_over() {
            thread::sleep(LAST_LOOK);
        }
        assert!(!hidden.exists());
        assert_eq!(recompacting.finish(), Done::default());
    }
    assert!(paths.iter().all(|path| path.exists()));
}

#[test]
fn a_thread_that_died_is_a_recompaction_that_failed() {
    let recompacting = Recompacting {
        wanted: None,
        progress: Arc::default(),
        thread: thread::spawn(|| panic!("as it does in a test")),
    };
    assert_eq!(recompacting.finish().failed, 1);
}

#[test]
fn an_hour_that_there_is_no_room_for_does_not_hold_up_smaller_ones() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    hour(root, START_S - 3600);
    let paths = hour(root, START_S);
    // A file with a hole, larger than the disk may ever be left.
    let file = File::options().append(true).open(&paths[0]).unwrap();
    if file.set_len(1 << 43).is_err() {
        return;
    }
    let (mut state, _wanted) = state(plan(root, Some(600)));
    let later_s = clock::unix_ns() / 1_000_000_000 + LATER_S;
    assert!(state.step(later_s, LOOK));
    assert_eq!((count(root), done(&state)), (4, (1, 3, 0)));
    // It is told once there is nothing else to do.
    assert!(!state.step(later_s, LOOK));
    assert_eq!((count(root), done(&state)), (4, (1, 3, 1)));
    assert!(state.is_failing);
}

#[test]
fn there_is_room_for_what_comes_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let paths = hour(root, START_S);
    let due = || recompact::due(root, i64::MAX).unwrap().remove(0);
    assert_room(root, &due()).unwrap();
    // A file with a hole, larger than the disk may ever be left.
    let file = File::options().append(true).open(&paths[0]).unwrap();
    if file.set_len(1 << 43).is_ok() {
        let why = assert_room(root, &due()).unwrap_err();
        assert!(why.contains("would need 16.0 TiB on the disk"), "{why}");
    }
}
