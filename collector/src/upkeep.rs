//! What is done after a rotation, on a thread of its own: a command is run for each closed file, and old
//! files go. Neither holds up the writer.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use serde_json::{Value, json};
use weir_store::expire::{self, Expired, Limits};

use crate::{
    clock::{self, Patience},
    runner::Runner,
    units,
};

/// Commands that run at a time.
const RUNNING_MAX: usize = 4;
/// Files whose command has not begun; more are not told, and counted.
const WAITING_MAX: usize = 64;
/// How often is looked whether commands ended, or old files are to go.
const LOOK: Duration = Duration::from_millis(200);
const EXPIRE: Duration = Duration::from_secs(60);
/// How long commands that still run are waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Commands that ended well.
    pub commands: u64,
    /// Commands that did not, or did not end.
    pub commands_failed: u64,
    /// Closed files whose command was never run.
    pub commands_skipped: u64,
    /// Files that expired.
    pub files_expired: u64,
}

impl Done {
    /// Counts a command that failed, and says why.
    fn failed(&mut self, path: &Path, why: &str) {
        self.commands_failed += 1;
        let path = path.display();
        eprintln!("weir-collector: the --on-rotate command for {path} failed: {why}");
    }

    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self {
            commands,
            commands_failed,
            commands_skipped,
            files_expired,
        } = self;
        json!({
            "commands": commands,
            "commands_failed": commands_failed,
            "commands_skipped": commands_skipped,
            "files_expired": files_expired,
        })
    }
}

/// The thread's near end.
#[derive(Debug)]
pub struct Upkeep {
    limits: Arc<Mutex<Limits>>,
    progress: Arc<Mutex<Done>>,
    commanded: Arc<Mutex<Vec<PathBuf>>>,
    thread: thread::JoinHandle<Done>,
}

impl Upkeep {
    /// Starts it for a directory that this process has locked; it is told of each closed file, for which
    /// `runner` runs a command.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        root: &Path,
        runner: Option<Runner>,
        limits: Limits,
        closed: Receiver<PathBuf>,
    ) -> Result<Self> {
        let limits = Arc::new(Mutex::new(limits));
        let progress = Arc::default();
        let commanded = Arc::default();
        let state = State {
            root: root.to_owned(),
            runner,
            limits: Arc::clone(&limits),
            progress: Arc::clone(&progress),
            commanded: Arc::clone(&commanded),
            waiting: VecDeque::new(),
            running: Vec::new(),
            done: Done::default(),
            is_failing: false,
            is_aside_told: false,
            is_clock_told: false,
        };
        let thread = thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(move || state.run(&closed))?;
        Ok(Self {
            limits,
            progress,
            commanded,
            thread,
        })
    }

    /// What is kept; who changes it changes that from the next look on, which is within a minute.
    #[must_use]
    pub fn limits(&self) -> Arc<Mutex<Limits>> {
        Arc::clone(&self.limits)
    }

    /// What was done so far, as of the last look.
    #[must_use]
    pub fn progress(&self) -> Arc<Mutex<Done>> {
        Arc::clone(&self.progress)
    }

    /// Closed files whose command waits or runs, as of the last look: they must stay where they are.
    #[must_use]
    pub fn commanded(&self) -> Arc<Mutex<Vec<PathBuf>>> {
        Arc::clone(&self.commanded)
    }

    /// Waits until it has run what is left to run. Whoever tells it of closed files must have ended.
    ///
    /// # Errors
    /// If the thread had panicked.
    pub fn finish(self) -> Result<Done> {
        self.thread.join().map_err(|_| {
            anyhow!("the upkeep thread died: its last words are above, please report them")
        })
    }
}

struct State {
    root: PathBuf,
    runner: Option<Runner>,
    limits: Arc<Mutex<Limits>>,
    progress: Arc<Mutex<Done>>,
    commanded: Arc<Mutex<Vec<PathBuf>>>,
    waiting: VecDeque<PathBuf>,
    running: Vec<PathBuf>,
    done: Done,
    is_failing: bool,
    /// Whether it is told that too much is set aside.
    is_aside_told: bool,
    /// Whether it is told that the clock may be wrong.
    is_clock_told: bool,
}

impl State {
    fn run(mut self, closed: &Receiver<PathBuf>) -> Done {
        let mut next_expiry = self.expire();
        loop {
            *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = self.done;
            let commanded = self.running.iter().chain(&self.waiting).cloned();
            *self
                .commanded
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = commanded.collect();
            let wait = if self.running.is_empty() {
                EXPIRE
            } else {
                LOOK
            };
            match closed.recv_timeout(wait) {
                Ok(path) => {
                    self.queue(path);
                    next_expiry = self.expire();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look();
            if next_expiry.is_over() {
                next_expiry = self.expire();
            }
        }
        self.finish()
    }

    fn queue(&mut self, path: PathBuf) {
        if self.runner.is_none() {
            return;
        }
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(path);
            return;
        }
        self.done.commands_skipped += 1;
        eprintln!(
            "weir-collector: the --on-rotate commands do not keep up: none is run for {}",
            path.display()
        );
    }

    /// Sees which commands ended, and has more run.
    fn look(&mut self) {
        let Some(runner) = &mut self.runner else {
            return;
        };
        match runner.ended() {
            Ok(ended) => {
                for one in ended {
                    self.running.retain(|path| *path != one.path);
                    match one.failure {
                        None => self.done.commands += 1,
                        Some(why) => self.done.failed(&one.path, &why),
                    }
                }
            }
            Err(error) => {
                for path in self.running.drain(..) {
                    self.done.failed(&path, &error.to_string());
                }
            }
        }
        while self.running.len() < RUNNING_MAX
            && let Some(path) = self.waiting.pop_front()
        {
            match runner.run(&path) {
                Ok(()) => self.running.push(path),
                Err(error) => self.done.failed(&path, &error.to_string()),
            }
        }
    }

    /// Has old files go; when to look again.
    fn expire(&mut self) -> Patience {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.is_any() {
            let now_s = clock::unix_ns() / 1_000_000_000;
            let expired = expire::expire_carefully(&self.root, &limits, now_s);
            let failure = match expired {
                Ok(Expired {
                    files,
                    failed,
                    aside_octets,
                    is_clock_doubted,
                }) => {
                    self.tell_aside(aside_octets);
                    self.tell_clock(is_clock_doubted);
                    self.done.files_expired += files.len() as u64;
                    let octets: u64 = files.iter().map(|(file, _)| file.octets).sum();
                    if let Some((latest, _)) = files.last() {
                        eprintln!(
                            "weir-collector: {} files expired, {}, up to {}",
                            files.len(),
                            units::display_octets(octets),
                            latest.path.display()
                        );
                    }
                    failed.into_iter().next()
                }
                Err(error) => Some(error),
            };
            // Once, until it works again.
            if let Some(error) = &failure
                && !self.is_failing
            {
                eprintln!("weir-collector: old files stay: {error}");
            }
            self.is_failing = failure.is_some();
        }
        Patience::new(EXPIRE)
    }

    /// Tells that all files stay too large for the sake of what is set aside; once, until that is over.
    fn tell_aside(&mut self, octets: Option<u64>) {
        if let Some(octets) = octets
            && !self.is_aside_told
        {
            let says = expire::aside_says(&self.root, &units::display_octets(octets));
            eprintln!("weir-collector: {says}");
        }
        self.is_aside_told = octets.is_some();
    }

    /// Tells that files stay since the clock may be wrong; once, until that is over.
    fn tell_clock(&mut self, is_doubted: bool) {
        if is_doubted && !self.is_clock_told {
            eprintln!("weir-collector: {}", expire::CLOCK_DOUBTED_SAYS);
        }
        self.is_clock_told = is_doubted;
    }

    /// Nobody tells of more files: runs the commands that are left.
    fn finish(mut self) -> Done {
        let patience = Patience::new(LAST_WAIT);
        self.look();
        while !self.running.is_empty() && !patience.is_over() {
            thread::sleep(LOOK);
            self.look();
        }
        for path in &self.running {
            self.done
                .failed(path, "it still runs; it is left to itself");
        }
        self.done.commands_skipped += self.waiting.len() as u64;
        self.done
    }
}
