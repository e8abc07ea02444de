//! Going to the background, as daemons did before service managers: the parent waits until the child
//! does its work, so that whoever started it learns of every failure, and finds the process number written.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeWriter, Read as _, Write as _},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::ExitCode,
    thread::JoinHandle,
};

use anyhow::{Context as _, Result, bail};

use crate::syslog;

/// Which of the two processes this is.
pub enum Fork {
    /// The one that was started; it ends with this status.
    Parent(ExitCode),
    /// The one that goes on.
    Child(Daemon),
}

/// The process in the background. When the value is dropped the process number is removed and
/// everything said so far is with syslog.
pub struct Daemon {
    ready: PipeWriter,
    pidfile: PathBuf,
    /// Under which name it speaks to syslog.
    name: &'static str,
    /// The names it can be called by, as its messages begin.
    programs: &'static [&'static str],
    /// Once it is ready.
    syslog: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Divides the process. Only while it has one thread. `programs` are the names it can be called by: one
    /// of those that runs already keeps its pidfile.
    ///
    /// # Errors
    /// A sentence: another one has this pidfile, or there are no processes left.
    pub fn fork(
        pidfile: &Path,
        name: &'static str,
        programs: &'static [&'static str],
    ) -> Result<Fork> {
        // As softflowd has it: it is in `/` by the time it writes the file.
        let pidfile = Path::new("/").join(pidfile);
        refuse_second(&pidfile, programs)?;
        let (mut told, ready) = io::pipe()?;
        // SAFETY: there is one thread, so nothing is in the middle of anything.
        let child = unsafe { libc::fork() };
        if child < 0 {
            return Err(io::Error::last_os_error()).context("cannot go to the background");
        }
        if child > 0 {
            drop(ready);
            // Without a word the child ended, and has said why.
            let is_ready = told.read(&mut [0]).is_ok_and(|octets| octets == 1);
            return Ok(Fork::Parent(if is_ready {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }));
        }
        // SAFETY: the call has no preconditions. It fails only for leaders of a process group, which a
        // new process is not.
        unsafe { libc::setsid() };
        Ok(Fork::Child(Self {
            ready,
            pidfile,
            name,
            programs,
            syslog: None,
        }))
    }

    /// Writes the process number, leaves the terminal, and has the parent end.
    ///
    /// # Errors
    /// A sentence: the file cannot be written, or there is no thread for syslog.
    pub fn ready(&mut self) -> Result<()> {
        let left = self.leave_terminal();
        if left.is_err() {
            // What there is of it names a process that ends.
            let _ = fs::remove_file(&self.pidfile);
        }
        left
    }

    fn leave_terminal(&mut self) -> Result<()> {
        fs::write(&self.pidfile, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {}", self.pidfile.display()))?;
        std::env::set_current_dir("/")?;
        let (stderr, thread) = syslog::start(self.name, self.programs)?;
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        replace(libc::STDIN_FILENO, &null)?;
        replace(libc::STDOUT_FILENO, &null)?;
        replace(libc::STDERR_FILENO, &stderr)?;
        self.syslog = Some(thread);
        self.ready.write_all(&[1])?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(thread) = self.syslog.take() else {
            return;
        };
        // The pipe's last end closes; the thread ends when it has forwarded what is in it.
        if let Ok(null) = File::create("/dev/null")
            && replace(libc::STDERR_FILENO, &null).is_ok()
        {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.pidfile);
    }
}

/// Puts a file in a standard one's place.
fn replace(standard: libc::c_int, file: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: the call takes no pointers; nothing here owns the standard descriptors.
    if unsafe { libc::dup2(file.as_raw_fd(), standard) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Fails if the pidfile names one that runs. A number that another program has by now is none, nor is our own:
/// in a container, where numbers begin again, a file that was left may have it each time.
fn refuse_second(pidfile: &Path, programs: &[&'static str]) -> Result<()> {
    let text = fs::read_to_string(pidfile).unwrap_or_default();
    let Ok(pid) = text.trim().parse::<u32>() else {
        return Ok(());
    };
    if pid == std::process::id() {
        return Ok(());
    }
    if let Some(program) = program_name(Path::new(&format!("/proc/{pid}")), programs) {
        bail!(
            "{} says that {program} runs as process {pid}: end it, or give this one another file with -p",
            pidfile.display()
        );
    }
    Ok(())
}

/// By which of these names the process is called whose folder in /proc this is; `None` if by none of them.
#[must_use]
pub fn program_name(process: &Path, programs: &[&'static str]) -> Option<&'static str> {
    let found = fs::read_to_string(process.join("comm")).ok()?;
    programs.iter().copied().find(|name| *name == found.trim())
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn a_pidfile_that_names_another_one_that_runs_is_kept_and_our_own_number_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let pidfile = folder.path().join("pid");
        let refused = |pid: u32, programs: &[&'static str]| {
            fs::write(&pidfile, format!("{pid}\n")).unwrap();
            refuse_second(&pidfile, programs).is_err()
        };
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let is_refused = refused(other.id(), &["sleep"]);
        let is_refused_as_another = refused(other.id(), &["wake"]);
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(is_refused && !is_refused_as_another);

        let ours: &'static str = fs::read_to_string("/proc/self/comm").unwrap().leak();
        assert!(!refused(process::id(), &[ours.trim()]));
    }
}
