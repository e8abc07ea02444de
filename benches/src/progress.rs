//! What is under way in a bench of many minutes, and how long it may still take. Without a terminal
//! each line is printed as it comes.

use std::{borrow::Cow, time::Duration};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error; it goes when dropped.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of so many steps.
    pub fn new(steps: u64) -> Result<Self> {
        let style =
            ProgressStyle::with_template("  {bar:24} {elapsed} of about {duration}  {wide_msg}")?;
        let bar = ProgressBar::new(steps).with_style(style);
        // Seldom: what is measured is the machine's processor time.
        bar.enable_steady_tick(Duration::from_secs(1));
        Ok(Self { bar })
    }

    /// What is done now.
    pub fn begin(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// So many steps are done.
    pub fn step(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
