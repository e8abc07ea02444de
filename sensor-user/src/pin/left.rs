//! `--detach`: all that dead sensors left in a folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use weir_netflow::Sampling;

use super::{
    Dead,
    dead::Foreign,
    folder::{check, end_promiscuous, links, lock, promiscuous, remove_filters, tables},
};
use crate::{grace, link};

/// What dead sensors left in a folder, which goes with it.
pub struct Left {
    /// Their tables, by age.
    pub tables: Vec<Dead>,
    foreign: Foreign,
    folder: PathBuf,
    _lock: File,
}

impl Left {
    /// Opens what is in a folder; its programs go on.
    ///
    /// # Errors
    /// A sentence: nothing is there, it is in use, or it cannot be opened.
    pub fn open(folder: &Path) -> Result<Self> {
        check(folder).context("nothing of a sensor's is there")?;
        let mut numbers = tables(folder)?;
        numbers.sort_unstable();
        let lock = lock(folder)?;
        let (tables, foreign) = Dead::open_all(folder, &numbers)?;
        Ok(Self {
            tables,
            foreign,
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// How the packets of their flows were chosen; if there are several tables, of the newest one's.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.tables.last().map_or(Sampling::NONE, Dead::sampling)
    }

    /// Takes the programs off, and waits until they have ended: nobody feeds the tables any more. Returns
    /// how many attachments there were.
    ///
    /// # Errors
    /// A sentence.
    pub fn take_off(&self) -> Result<usize> {
        let links = links(&self.folder);
        for path in &links {
            link::detach(path)
                .with_context(|| format!("cannot take off what {} holds", path.display()))?;
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        for mark in promiscuous(&self.folder) {
            end_promiscuous(&mark);
        }
        let filters = remove_filters(self.tables.iter().flat_map(Dead::ifindexes))?;
        grace::wait()?;
        Ok(links.len() + filters)
    }

    /// Removes the tables that cannot be read, since another version laid them out, and says so; whether
    /// there were any. Only once the programs are off.
    #[must_use]
    pub fn remove_foreign(&self) -> bool {
        self.foreign.remove(&self.folder)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // It fails while something is in it.
        let _ = fs::remove_dir(&self.folder);
    }
}
