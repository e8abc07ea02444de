//! When what outlives the collector is saved: soon after it changed, hourly in any case, since a file of
//! yesterday is not used ([`saved`]), and at the end.

use std::{io, path::PathBuf};

use crate::{saved, shards::Shards};

/// What exporters call their interfaces, as JSON: too much for each file of flows. It is for people and
/// programs, and not read again here, since exporters say it often.
pub const INTERFACES: &str = "interfaces.json";
/// The file is written anew when it is older, whether or not anything changed, seconds.
const REFRESH_S: u64 = 3600;

/// The file, and how old it is.
#[derive(Debug)]
pub struct Saving {
    folder: PathBuf,
    /// When it was written, seconds since 1970-01-01 UTC; none if it must be written anew.
    written_s: Option<u64>,
    is_failing: bool,
}

impl Saving {
    /// Nothing was saved yet into this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            written_s: None,
            is_failing: false,
        }
    }

    /// Saves if something changed, the last try failed, or the file is old.
    pub fn look(&mut self, shards: &Shards, now_s: u64) {
        let has_changed = shards.take_changed();
        let is_old = |written_s: u64| written_s.abs_diff(now_s) >= REFRESH_S;
        if has_changed || self.written_s.is_none_or(is_old) {
            self.save(shards, now_s);
        }
    }

    /// Saves.
    pub fn save(&mut self, shards: &Shards, now_s: u64) {
        let result = saved::write(&self.folder, &shards.remembered(), now_s)
            .and_then(|()| self.save_names(shards));
        if let Err(error) = &result
            && !self.is_failing
        {
            eprintln!(
                "weir-collector: templates cannot be saved: {error}; after a restart exporters have to repeat them"
            );
        }
        self.is_failing = result.is_err();
        self.written_s = result.is_ok().then_some(now_s);
    }

    /// Until an exporter says some, those that were said to an earlier collector stay.
    fn save_names(&self, shards: &Shards) -> io::Result<()> {
        let names = shards.interface_names();
        if names.as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        saved::replace(&self.folder, INTERFACES, &format!("{names}\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::exporters::Settings;

    const NOW_S: u64 = 1_700_000_000;

    /// When the file says it was written.
    fn written_s(folder: &Path) -> Option<u64> {
        let text = fs::read_to_string(folder.join(saved::FILE_NAME)).ok()?;
        text.split(' ').nth(2)?.parse().ok()
    }

    #[test]
    fn c12_the_file_never_grows_old_and_a_failed_try_is_repeated() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("not yet");
        let shards = Shards::new(&Settings::default(), 1);
        let mut saving = Saving::new(folder.clone());
        saving.look(&shards, NOW_S);
        assert!(saving.is_failing);
        fs::create_dir(&folder).unwrap();
        saving.look(&shards, NOW_S + 30);
        assert_eq!(written_s(&folder), Some(NOW_S + 30));
        // Nothing changed: it stays, for an hour.
        saving.look(&shards, NOW_S + 60);
        assert_eq!(written_s(&folder), Some(NOW_S + 30));
        saving.look(&shards, NOW_S + 30 + REFRESH_S);
        assert_eq!(written_s(&folder), Some(NOW_S + 30 + REFRESH_S));
        // A clock that was set back does not keep it from being written.
        saving.look(&shards, NOW_S - REFRESH_S);
        assert_eq!(written_s(&folder), Some(NOW_S - REFRESH_S));
    }
}
