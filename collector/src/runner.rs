//! The commands of `--on-rotate` run below a process of their own. A filter of system calls cannot be taken off
//! again, and nobody knows what a command needs: so this program is started once more before the collector
//! gives its calls up ([`crate::confine`]), gets paths over a socket, and says what became of each. It has no
//! privileges, has nothing open but that socket and the standard files, and ends with the collector.
//!
//! What goes over the socket are texts that end with an octet 0, which no path has: there a path, back a path and
//! why its command failed, which is empty if it did not.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            net::UnixStream,
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    thread,
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::confine;

/// The first argument that makes this program such a process; the second is the command.
pub const WORD: &str = "run-commands";
/// This program, also when another one has its name by now.
const ITSELF: &str = "/proc/self/exe";

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The file it was run for.
    pub path: PathBuf,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// The process's near end.
#[derive(Debug)]
pub struct Runner {
    stream: UnixStream,
    /// What it said and has not finished.
    said: Vec<u8>,
    /// It ends when it is dropped, since its socket closes; the system takes it away after this process.
    _process: Option<Child>,
}

impl Runner {
    /// Starts the process, which has what this one has now.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &Path) -> Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let process = Command::new(ITSELF)
            .arg0("weir-collector")
            .arg(WORD)
            .arg(command)
            .stdin(OwnedFd::from(far))
            .spawn()
            .context("cannot start the process that runs the commands of --on-rotate")?;
        Ok(Self {
            _process: Some(process),
            ..Self::over(near)?
        })
    }

    /// One whose far end is served by somebody else.
    fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            said: Vec::new(),
            _process: None,
        })
    }

    /// Has the command run for a file. Few should run at a time: it never waits for room in the socket.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn run(&mut self, path: &Path) -> io::Result<()> {
        let order = [path.as_os_str().as_bytes(), &[0]].concat();
        self.stream.write_all(&order)
    }

    /// Commands that ended since this was asked last.
    ///
    /// # Errors
    /// If the process is gone, and with it what it knew.
    pub fn ended(&mut self) -> io::Result<Vec<Ended>> {
        let mut buffer = [0; 4096];
        let is_gone = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(octets) => self.said.extend_from_slice(&buffer[..octets]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let mut ended = Vec::new();
        while let Some((one, octets)) = first_of(&self.said) {
            self.said.drain(..octets);
            ended.push(one);
        }
        if is_gone && ended.is_empty() {
            return Err(io::Error::other("the process that runs them is gone"));
        }
        Ok(ended)
    }
}

/// The first command of those that were told whole, and the octets that told it.
fn first_of(said: &[u8]) -> Option<(Ended, usize)> {
    let is_end = |octet: &u8| *octet == 0;
    let path_octets = said.iter().position(is_end)?;
    let (path, rest) = (&said[..path_octets], &said[path_octets + 1..]);
    let failure_octets = rest.iter().position(is_end)?;
    let failure = String::from_utf8_lossy(&rest[..failure_octets]).into_owned();
    let ended = Ended {
        path: OsStr::from_bytes(path).into(),
        failure: Some(failure).filter(|failure| !failure.is_empty()),
    };
    Some((ended, path_octets + failure_octets + 2))
}

/// What the process does: runs the command for each file it is told at its standard input, until nobody can
/// tell it any more. Commands that still run then are left to themselves.
///
/// # Errors
/// If its input is none that it could answer at.
pub fn serve_input(command: &Path) -> Result<()> {
    // Whoever ends the collector may tell all its processes; what is left to run is still to be run. Unlike
    // ignored signals, caught ones are the default's again for commands.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    confine::give_up_privileges();
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    serve(UnixStream::from(input), command).context("the socket of the commands of --on-rotate")
}

fn serve(stream: UnixStream, command: &Path) -> io::Result<()> {
    let answers = Arc::new(Mutex::new(stream.try_clone()?));
    for path in BufReader::new(stream).split(0) {
        let path = PathBuf::from(OsString::from_vec(path?));
        let (command, answers) = (command.to_owned(), Arc::clone(&answers));
        let work = move || {
            let failure = run(&command, &path).err().unwrap_or_default();
            let path = path.as_os_str().as_bytes();
            let answer = [path, &[0], failure.as_bytes(), &[0]].concat();
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            // A collector that has ended does not want to know.
            let _ = answers.write_all(&answer);
        };
        thread::Builder::new()
            .name("command".to_owned())
            .spawn(work)?;
    }
    Ok(())
}

/// Runs the command for a file to its end; why it failed, if it did.
fn run(command: &Path, path: &Path) -> Result<(), String> {
    // No shell: a path is an argument, whatever is in it.
    let status = Command::new(command)
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Patience;

    /// A near end, and a thread that serves the far one.
    fn runner(command: &'static str) -> (Runner, thread::JoinHandle<io::Result<()>>) {
        let (near, far) = UnixStream::pair().unwrap();
        let serving = thread::spawn(move || serve(far, Path::new(command)));
        (Runner::over(near).unwrap(), serving)
    }

    /// So many commands that ended.
    fn ended(runner: &mut Runner, count: usize) -> Vec<Ended> {
        let patience = Patience::new(Duration::from_secs(20));
        let mut ended = Vec::new();
        while ended.len() < count && !patience.is_over() {
            ended.extend(runner.ended().unwrap());
            thread::sleep(Duration::from_millis(5));
        }
        ended
    }

    #[test]
    fn commands_are_run_and_what_became_of_each_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("a file; with spaces\nand lines");
        std::fs::write(&there, "").unwrap();
        let gone = folder.path().join("none");
        let (mut runner, serving) = runner("/bin/ls");
        assert!(runner.ended().unwrap().is_empty());
        runner.run(&there).unwrap();
        runner.run(&gone).unwrap();
        let mut found = ended(&mut runner, 2);
        found.sort_by_key(|ended| ended.failure.is_some());
        let well = Ended {
            path: there,
            failure: None,
        };
        assert_eq!(found[0], well);
        assert_eq!(found[1].path, gone);
        let why = found[1].failure.as_deref().unwrap();
        assert!(why.starts_with("exit status: "), "{why}");
        // It ends when nobody can tell it anything any more.
        drop(runner);
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_and_a_process_that_is_gone_are_told() {
        let (mut runner, serving) = runner("/no/such/program");
        runner.run(Path::new("file")).unwrap();
        let found = ended(&mut runner, 1);
        assert!(found[0].failure.is_some(), "{found:?}");
        drop((runner, serving));
        let (near, far) = UnixStream::pair().unwrap();
        let mut runner = Runner::over(near).unwrap();
        drop(far);
        runner.ended().unwrap_err();
        runner.run(Path::new("file")).unwrap_err();
    }
}
