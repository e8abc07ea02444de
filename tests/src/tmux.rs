//! A program in a real terminal: tmux holds it, keys go in, screens come out.
#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Columns and lines of a screen, unless others are wanted.
const SIZE: (u16, u16) = (160, 30);
/// Patience with a screen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal; it goes when the value is dropped.
#[derive(Debug)]
pub struct Screen {
    /// Name of a tmux server of its own.
    server: String,
    lines: u16,
}

impl Screen {
    /// Runs a command of the shell in a new terminal of 160 by 30. When it has ended the screen says `ended` with its
    /// status, and `cooked` if lines are edited again as in a shell, else `raw`.
    ///
    /// # Errors
    /// If tmux cannot be run.
    pub fn run(command: &str) -> Result<Self> {
        Self::sized(command, SIZE)
    }

    /// Likewise, in one of so many columns and lines.
    ///
    /// # Errors
    /// If tmux cannot be run.
    pub fn sized(command: &str, (columns, lines): (u16, u16)) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let screen = Self {
            server: format!("weir-{}-{number}", std::process::id()),
            lines,
        };
        let script = format!(
            "{command}; echo ended $?; if stty -a | grep -qw -- -icanon; then echo raw; else echo cooked; fi; sleep 600"
        );
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let new = [
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
        ];
        let words = new.into_iter().chain([script.as_str()]);
        screen.tmux(words)?;
        Ok(screen)
    }

    /// Presses keys, by tmux's names (`Enter`, `Tab`, `BSpace`).
    ///
    /// # Errors
    /// If tmux cannot be run.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(["send-keys"].into_iter().chain(keys.iter().copied()))?;
        Ok(())
    }

    /// Types text.
    ///
    /// # Errors
    /// If tmux cannot be run.
    pub fn write(&self, text: &str) -> Result<()> {
        self.tmux(["send-keys", "-l", text])?;
        Ok(())
    }

    /// What is on the screen, as it is but for spaces at the ends of lines.
    ///
    /// # Errors
    /// If tmux cannot be run.
    pub fn text(&self) -> Result<String> {
        let output = self.tmux(["capture-pane", "-p"])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        Ok(lines.join("\n"))
    }

    /// What is on the screen: all its lines, each with one space between words.
    ///
    /// # Errors
    /// If tmux cannot be run.
    pub fn lines(&self) -> Result<Vec<String>> {
        let text = self.text()?;
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = text.lines().map(words).collect();
        lines.resize(self.lines.into(), String::new());
        Ok(lines)
    }

    /// Waits for a screen that is as it should be.
    ///
    /// # Errors
    /// If none comes; with the last one.
    pub fn wait_for(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines()?;
            if is_it(&lines) {
                return Ok(lines);
            }
            if Instant::now() > deadline {
                bail!("no {what} on the screen:\n{}", lines.join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn tmux<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Output> {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.server]).args(words);
        // Another tmux around the test is none of its business.
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        let output = command.output().context(
            "tmux (Debian's package of that name; `cargo xtask setup --peers` installs it)",
        )?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux(["kill-server"]);
    }
}
