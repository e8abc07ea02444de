//! Small files become large ones while the collector receives, on a thread of its own with the lowest priority: an
//! hour's (by day, a day's) once it has been over for some time, and nothing was written to it for as long. One folder
//! at a time, the newest first, since that is what is asked for most. What the folder's files are for others comes
//! first: windows that are not closed yet, commands of `--on-rotate` that have not ended, room on the disk.
//!
//! Nobody waits for it. At the end what it has begun is given up, or left to the next start if it does not answer at
//! once: [`weir_store::recompact`] says why nothing is lost then.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Result;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use serde_json::{Value, json};
use weir_store::{
    StoreError,
    form::{Form, Place},
    layout::Rearranging,
    recompact::{self, Folder, Recompacted, Why},
    system,
};

use crate::{
    clock::{self, Patience},
    units::display_octets,
};

/// How often it is looked whether a folder is due, at most.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Looks that are left out after something went wrong: each try may write a whole large file.
const LOOKS_LEFT_OUT: u32 = 5;
/// How long a folder in which something is wrong is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(3600);
/// How long the thread is waited for at the end.
const LAST_WAIT: Duration = Duration::from_millis(500);
const LAST_LOOK: Duration = Duration::from_millis(5);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory that this process has locked.
    pub root: PathBuf,
    /// What large files are like.
    pub form: Form,
    /// Seconds after which an hour's or a day's files become one, if they do at all.
    pub after_s: Option<u64>,
    /// Closed files for which a command is to be run or runs.
    pub commanded: Arc<Mutex<Vec<PathBuf>>>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Folders whose files became one.
    pub folders: u64,
    /// Those files.
    pub files: u64,
    /// Tries that came to nothing, but for those that were told to stop.
    pub failed: u64,
}

impl Done {
    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self {
            folders,
            files,
            failed,
        } = self;
        json!({
            "folders_recompacted": folders,
            "files_recompacted": files,
            "recompactions_failed": failed,
        })
    }
}

/// The thread's near end.
#[derive(Debug)]
pub struct Recompacting {
    /// Nothing is sent: it ends when this is dropped.
    wanted: Option<Sender<()>>,
    progress: Arc<Mutex<Done>>,
    thread: thread::JoinHandle<()>,
}

impl Recompacting {
    /// Starts it. Without a time after which something is to be done it clears away what a process that was killed
    /// left, and ends.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(plan: Plan) -> Result<Self> {
        let (wanted, end) = bounded(0);
        let progress: Arc<Mutex<Done>> = Arc::default();
        let state = State::new(plan, end, Arc::clone(&progress));
        let thread = thread::Builder::new()
            .name("recompact".to_owned())
            .spawn(move || {
                // Datagrams must not wait for it; where it is not allowed, they may.
                let _ = system::let_others_first();
                state.run();
            })?;
        Ok(Self {
            wanted: Some(wanted),
            progress,
            thread,
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn progress(&self) -> Arc<Mutex<Done>> {
        Arc::clone(&self.progress)
    }

    /// Tells it to give up what it does; it is not waited for.
    pub fn stop(&mut self) {
        self.wanted = None;
    }

    /// Ends it; what it did. If it does not end at once it is left behind: it ends with the process, and the next
    /// one clears away what it had begun.
    #[must_use]
    pub fn finish(mut self) -> Done {
        self.stop();
        let patience = Patience::new(LAST_WAIT);
        while !self.thread.is_finished() && !patience.is_over() {
            thread::sleep(LAST_LOOK);
        }
        let has_died = self.thread.is_finished() && self.thread.join().is_err();
        let mut done = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if has_died {
            eprintln!(
                "weir-collector: the recompacting thread died: its last words are above, please report them"
            );
            done.failed += 1;
        }
        done
    }
}

/// Why a folder is left as it is, and when it is looked at again.
struct Left {
    why: Why,
    again: Patience,
}

struct State {
    plan: Plan,
    end: Receiver<()>,
    progress: Arc<Mutex<Done>>,
    left: BTreeMap<PathBuf, Left>,
    /// Why what a killed recompaction left could not be cleared; it is told once.
    uncleared: String,
    /// Whether something went wrong, and nothing well since: it is told once.
    is_failing: bool,
    /// When something is tried again.
    again: Option<Patience>,
    is_able: bool,
}

impl State {
    fn new(plan: Plan, end: Receiver<()>, progress: Arc<Mutex<Done>>) -> Self {
        Self {
            plan,
            end,
            progress,
            left: BTreeMap::new(),
            uncleared: String::new(),
            is_failing: false,
            again: None,
            is_able: true,
        }
    }

    fn run(mut self) {
        let Some(after_s) = self.plan.after_s else {
            // If somebody else rearranges files, he clears them too.
            if let Ok(lock) = Rearranging::lock(&self.plan.root)
                && let Err(error) = recompact::clear(&self.plan.root, &lock)
            {
                eprintln!("weir-collector: what a killed recompaction left stays: {error}");
            }
            return;
        };
        let look = Duration::from_secs(after_s.max(1)).min(LOOK_MAX);
        while self.is_able {
            // By the wall clock, as files' names and times are.
            let now_s = clock::unix_ns() / 1_000_000_000;
            let is_time = self.again.is_none_or(Patience::is_over);
            let has_more = is_time && self.step(now_s.saturating_sub(after_s), look);
            let wait = if has_more { Duration::ZERO } else { look };
            if self.end.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
    }

    /// Recompacts a folder that nothing was written to since `before_s` (seconds since 1970-01-01 UTC), if there is
    /// one; whether there may be another.
    fn step(&mut self, before_s: u64, look: Duration) -> bool {
        self.again = None;
        let found = match self.recompact_next(before_s) {
            Ok(Some(found)) => found,
            Ok(None) => return false,
            Err(why) => {
                self.fail(&why);
                self.again = Some(Patience::new(look * LOOKS_LEFT_OUT));
                return false;
            }
        };
        match found {
            Recompacted::Done {
                path,
                files,
                flows,
                octets_before,
                octets,
            } => {
                self.is_failing = false;
                self.count(|done| {
                    done.folders += 1;
                    done.files += files as u64;
                });
                eprintln!(
                    "weir-collector: {files} files are one: {flows} flows in {}, {} instead of {}",
                    path.display(),
                    display_octets(octets),
                    display_octets(octets_before)
                );
                true
            }
            Recompacted::Left { folder, why } => self.leave(folder, why, look),
            Recompacted::Due { .. } | Recompacted::Flat { .. } => false,
        }
    }

    /// Recompacts the newest folder that is due and that there is room for; nothing if none is due, or somebody else is
    /// at it.
    fn recompact_next(&mut self, before_s: u64) -> Result<Option<Recompacted>, String> {
        let Plan { root, form, .. } = &self.plan;
        let lock = match Rearranging::lock(root) {
            Ok(lock) => lock,
            Err(StoreError::Rearranged { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let text = |error: StoreError| error.to_string();
        // What cannot be cleared keeps its own hour, and no other.
        match recompact::clear(root, &lock) {
            Ok(()) => self.uncleared.clear(),
            Err(error) => {
                let says = error.to_string();
                if says != self.uncleared {
                    eprintln!("weir-collector: what a killed recompaction left stays: {says}");
                    self.uncleared = says;
                }
            }
        }
        let until_s = i64::try_from(before_s).unwrap_or(i64::MAX);
        let due = recompact::due(root, until_s).map_err(text)?;
        // Of those that expired, or became one by hand, nothing is to be remembered.
        let paths = due.iter().map(Folder::path);
        let mut left = mem::take(&mut self.left);
        self.left = paths.filter_map(|path| left.remove_entry(path)).collect();
        let newest_first = due.iter().rev();
        let mut ready = newest_first.filter(|folder| self.is_ready(folder, before_s));
        let Some(newest) = ready.next() else {
            return Ok(None);
        };
        // One that is too large for the disk is not to keep smaller ones from their turns, which give some of it back.
        let folder = match assert_room(root, newest) {
            Ok(()) => newest,
            Err(why) => ready
                .find(|folder| assert_room(root, folder).is_ok())
                .ok_or(why)?,
        };
        let place = Place { root, form: *form };
        let goes_on = || self.end.try_recv() != Err(TryRecvError::Disconnected);
        let made = recompact::recompact_folder(place, folder, &lock, &goes_on).map_err(text);
        // One folder that cannot be read is not to keep the others from their turns.
        if let Err(says) = &made {
            let (why, again) = (Why::Wrong(says.clone()), Patience::new(LEFT_ALONE));
            self.left
                .insert(folder.path().to_owned(), Left { why, again });
        }
        made.map(Some)
    }

    /// Whether nobody needs a folder's files as they are, and nothing was wrong with them a moment ago.
    fn is_ready(&self, folder: &Folder, before_s: u64) -> bool {
        let is_left = self.left.get(folder.path());
        let is_left = is_left.is_some_and(|left| !left.again.is_over());
        let is_quiet = folder.files().iter().all(|file| file.written_s <= before_s);
        let commanded = self.plan.commanded.lock();
        let commanded = commanded.unwrap_or_else(PoisonError::into_inner);
        let is_commanded = commanded
            .iter()
            .any(|path| path.parent() == Some(folder.path()));
        !folder.is_flat() && !is_left && is_quiet && !is_commanded
    }

    /// A folder stays as it is, for a look or longer; whether others may be done.
    fn leave(&mut self, folder: PathBuf, why: Why, look: Duration) -> bool {
        let wait = match why {
            Why::Stopped => return false,
            // Who closes windows says so if one cannot be closed.
            Why::Unfinished(_) => look,
            // Who expires files is no trouble.
            Why::Changed(_) => {
                self.count(|done| done.failed += 1);
                look
            }
            Why::Unable(_) => {
                self.count(|done| done.failed += 1);
                self.is_able = false;
                eprintln!(
                    "weir-collector: small files stay small: {why}; leave --recompact out for this directory"
                );
                return false;
            }
            Why::Wrong(_) => {
                self.count(|done| done.failed += 1);
                let is_told = self.left.get(&folder).is_some_and(|left| left.why == why);
                if !is_told {
                    let folder = folder.display();
                    eprintln!("weir-collector: {folder} is not recompacted: {why}");
                }
                LEFT_ALONE
            }
        };
        let again = Patience::new(wait);
        self.left.insert(folder, Left { why, again });
        true
    }

    /// Counts what went wrong, and tells it once.
    fn fail(&mut self, why: &str) {
        self.count(|done| done.failed += 1);
        if !self.is_failing {
            eprintln!("weir-collector: small files stay small for now: {why}");
        }
        self.is_failing = true;
    }

    fn count(&self, count: impl FnOnce(&mut Done)) {
        count(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Fails unless there is room for the large file, and as much again for what comes meanwhile: windows must not find the
/// disk full for its sake.
fn assert_room(root: &Path, folder: &Folder) -> Result<(), String> {
    let wanted = folder.octets().saturating_mul(2);
    let free = system::free_octets(root).map_err(|error| error.to_string())?;
    if free >= wanted {
        return Ok(());
    }
    Err(format!(
        "{} would need {} on the disk, and {} are left: free some, or raise --min-free",
        folder.path().display(),
        display_octets(wanted),
        display_octets(free)
    ))
}

#[cfg(test)]
mod tests;
