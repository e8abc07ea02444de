//! Child processes that end with their owner, and what they wrote.
#![expect(clippy::disallowed_methods, reason = "a test waits")]
#![expect(unsafe_code, reason = "a system call")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A running program, killed when dropped; its output goes to a file.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Daemon {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let name = format!("{command:?}");
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| name.clone())?;
        Ok(Self {
            child,
            log: log.to_owned(),
            name,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has written `words`.
    ///
    /// # Errors
    /// If it ends before, or does not within ten seconds.
    pub fn wait_for(&mut self, words: &str) -> Result<()> {
        self.wait_long_for(words, Duration::from_secs(10))
    }

    /// The same of a program that is slow to start.
    ///
    /// # Errors
    /// If it ends before, or does not in time.
    pub fn wait_long_for(&mut self, words: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.log().contains(words) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            if Instant::now() > deadline {
                bail!("{} did not say `{words}`:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: the child has not been waited for, so the number is still its own.
            unsafe {
                libc::kill(pid, signal);
            }
        }
    }

    /// Tells it to end, and waits.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM);
        self.wait(Duration::from_secs(60))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} does not end:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end; what it printed.
///
/// # Panics
/// If it does not succeed, with what it said.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The user without any privileges.
pub const NOBODY: u32 = 65_534;

/// A program of ours as [`NOBODY`] runs it: a copy of it in a folder that everybody may enter, as they may not
/// enter the one that it is built in.
///
/// # Errors
/// If it cannot be copied.
pub fn unprivileged(program: &str, folder: &Path) -> Result<Command> {
    let copy = folder.join(program);
    fs::copy(binaries()?.join(program), &copy)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &NOBODY.to_string(), "--clear-groups"]);
    for set in ["--bounding-set", "--inh-caps"] {
        command.args([set, "-all"]);
    }
    command.arg(copy);
    Ok(command)
}

/// A program of ours, as cargo built it.
///
/// # Errors
/// As [`binaries`].
pub fn built(program: &str) -> Result<Command> {
    Ok(Command::new(binaries()?.join(program)))
}

/// Where cargo puts the binaries of this workspace: beside the running one.
///
/// # Errors
/// If this process does not know where it is.
pub fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a folder")?;
    // Test binaries are in `deps`.
    Ok(if folder.ends_with("deps") {
        folder.parent().context("a folder")?.to_owned()
    } else {
        folder.to_owned()
    })
}
