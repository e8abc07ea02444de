//! Where every counter goes at the end.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::statistics::Statistics;

/// The place, opened at the start, while the sensor may still do so.
#[derive(Debug)]
pub enum Output {
    /// Nowhere.
    None,
    /// Standard output.
    Standard,
    /// A file.
    File(File),
}

impl Output {
    /// Opens it; `-` is standard output. What is in a file stays until there is something better.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::None);
        };
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path);
        file.map(Self::File)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes every counter as JSON.
    ///
    /// # Errors
    /// If the disk is full, for one.
    pub fn write(&self, statistics: &Statistics) -> Result<()> {
        let text = format!("{:#}\n", statistics.to_json());
        match self {
            Self::None => {}
            // Whoever reads it may have enough, as `head` does.
            Self::Standard => print!("{text}"),
            Self::File(file) => {
                // What is no file on a disk has no length.
                let _ = file.set_len(0);
                let mut file = file;
                file.write_all(text.as_bytes())
                    .context("cannot write the statistics")?;
            }
        }
        Ok(())
    }
}
