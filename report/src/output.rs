//! Where answers are written: through a pager and with marks on a terminal, plain into a pipe or a file.

use std::{
    env,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;

use crate::{interrupt, reading::Reading};

/// Octets that are gathered before they are written.
const GATHERED: usize = 1 << 16;
/// The pager, unless PAGER says otherwise.
const PAGER: &str = "less";
/// What `less` is told, unless LESS says otherwise: it ends by itself if all fits the screen, lets colours
/// through, and leaves the screen as it is.
const LESS: &str = "FRX";

/// Letters of a heading.
pub const BOLD: &str = "\x1b[1m";
/// Letters of a warning.
pub const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Whether the command line forbids a pager.
static PAGES: AtomicBool = AtomicBool::new(true);

/// Forbids a pager for this process, or allows one.
pub fn allow_pager(allowed: bool) {
    PAGES.store(allowed, Ordering::Relaxed);
}

/// What stands before and behind marked letters; nothing where there are no colours, or none are wanted
/// (no-color.org).
#[must_use]
pub fn marks(is_terminal: bool, mark: &'static str) -> (&'static str, &'static str) {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_terminal && !unwanted {
        (mark, PLAIN)
    } else {
        ("", "")
    }
}

/// Standard output. The terminal is touched when the first octet is written, so that a bar may be there
/// until then.
pub struct Output {
    reading: Reading,
    is_terminal: bool,
    pages: bool,
    writer: Option<Box<dyn Write>>,
    pager: Option<Child>,
}

impl Output {
    /// Output of what is being read; `pages`: if it is for people.
    #[must_use]
    pub fn new(reading: &Reading, pages: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            reading: reading.clone(),
            is_terminal,
            pages: pages && is_terminal && PAGES.load(Ordering::Relaxed),
            writer: None,
            pager: None,
        }
    }

    /// What stands before and behind a heading.
    #[must_use]
    pub fn marks(&self) -> (&'static str, &'static str) {
        marks(self.is_terminal, BOLD)
    }

    /// Writes what is gathered, and waits until a pager was left.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        Ok(())
    }

    fn writer(&mut self) -> &mut Box<dyn Write> {
        let Self {
            reading,
            is_terminal,
            pages,
            writer,
            pager,
        } = self;
        writer.get_or_insert_with(|| -> Box<dyn Write> {
            if *is_terminal {
                reading.bar().hide();
            }
            *pager = if *pages { start_pager() } else { None };
            match pager.as_mut().and_then(|pager| pager.stdin.take()) {
                Some(pipe) => Box::new(BufWriter::with_capacity(GATHERED, pipe)),
                None => Box::new(BufWriter::with_capacity(GATHERED, io::stdout().lock())),
            }
        })
    }
}

impl Write for Output {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.writer().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Some(writer) => writer.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for Output {
    /// The shell must not ask for the next command while a pager has the terminal.
    fn drop(&mut self) {
        // Its pipe is closed: that is its end of file.
        self.writer = None;
        if let Some(mut pager) = self.pager.take() {
            // It is waited for without being reaped: until it is no more told to end at a signal, its number
            // stays its own.
            interrupt::wait_for_pager(pager.id());
            interrupt::pager(None);
            let _ = pager.wait();
        }
    }
}

/// Starts a pager; `None` if there is none, or none is wanted.
fn start_pager() -> Option<Child> {
    let chosen = env::var("PAGER").ok();
    let command = wanted(chosen.as_deref(), &env::var_os("PATH").unwrap_or_default())?;
    let mut shell = Command::new("sh");
    // The shell makes way for the pager, whose process id is then the child's.
    shell.arg("-c").arg(format!("exec {command}"));
    shell.stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        shell.env("LESS", LESS);
    }
    let pager = shell.spawn().ok()?;
    interrupt::pager(Some(pager.id()));
    Some(pager)
}

/// The pager's command line: what the operator chose, or `less`. None if it is not installed, or there would be no
/// answer; what only the shell can tell is left to it.
fn wanted(chosen: Option<&str>, path: &std::ffi::OsStr) -> Option<String> {
    let command = chosen.unwrap_or(PAGER).trim();
    let program = command.split_whitespace().next()?;
    if command == "cat" {
        return None;
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._+-".contains(letter);
    let is_there = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        env::split_paths(path).any(|folder| folder.join(program).is_file())
    };
    (is_there || !program.chars().all(is_plain)).then(|| command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_the_operators_or_less_if_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().as_os_str();
        assert_eq!(wanted(None, path), None);
        std::fs::write(folder.path().join(PAGER), "").unwrap();
        assert_eq!(wanted(None, path).as_deref(), Some("less"));
        let whole = folder.path().join("less");
        for command in [
            "less -S",
            whole.to_str().unwrap(),
            "~/bin/page",
            "$MY_PAGER",
        ] {
            assert_eq!(wanted(Some(command), path).as_deref(), Some(command));
        }
        for command in ["", " cat ", "more -s", "/no/such/folder/less"] {
            assert_eq!(wanted(Some(command), path), None, "{command}");
        }
    }

    #[test]
    fn nothing_is_marked_in_a_pipe() {
        assert_eq!(marks(false, BOLD), ("", ""));
    }
}
