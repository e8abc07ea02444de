//! The engine: how many of its parts work side by side, how much memory they may take, and where they
//! spill what is more.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Weak},
};

use anyhow::{Context as _, Result};
use clap::Args;
use datafusion::{
    error::DataFusionError,
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SessionConfig, SessionContext},
};

use crate::{filter::sets, interrupt, memory};

/// A query needs some memory to spill with, octets.
const LEAST_OCTETS: u64 = 16 << 20;

/// How much a query may take.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Memory that a query may take before it spills to disk, as 500M or 4G; half of the machine's
    /// otherwise, or of the control group's
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Folder to spill to; the system's for temporary files otherwise
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
}

fn size(text: &str) -> Result<u64, String> {
    let octets = sets::number(text).filter(|octets| *octets >= LEAST_OCTETS);
    octets.ok_or_else(|| "17M is the least: a size such as 500M or 4G fits here".to_owned())
}

/// In which order flows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are found, by as many readers as there are processors.
    AsFound,
    /// As their files were received, by one.
    AsReceived,
}

impl Limits {
    /// A session for the queries of one answer.
    ///
    /// # Errors
    /// If the folder to spill to cannot be used.
    pub fn session(&self, order: Order) -> Result<SessionContext> {
        let octets = self.memory.unwrap_or_else(memory::share_octets);
        let octets = usize::try_from(octets.max(LEAST_OCTETS)).unwrap_or(usize::MAX);
        let mut config = SessionConfig::new();
        if order == Order::AsReceived {
            config = config.with_target_partitions(1);
        }
        // What each sort keeps to merge what it spilled; the default is for larger machines.
        let reserved = octets / 16 / config.target_partitions().max(1);
        let reserved = reserved.min(config.options().execution.sort_spill_reservation_bytes);
        config = config.with_sort_spill_reservation_bytes(reserved);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime(octets)?)
            .with_default_features()
            .build();
        Ok(SessionContext::new_with_state(state))
    }

    fn runtime(&self, octets: usize) -> Result<Arc<RuntimeEnv>> {
        let mode = match &self.temp_dir {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(octets)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()
            .with_context(|| match &self.temp_dir {
                Some(folder) => format!("cannot spill to {}", folder.display()),
                None => "cannot spill".to_owned(),
            })?;
        let spilled = Arc::downgrade(&runtime);
        interrupt::before_exit(move || remove_spilled(&spilled));
        Ok(runtime)
    }
}

/// Removes what was spilled; at an orderly end it goes with the session.
fn remove_spilled(runtime: &Weak<RuntimeEnv>) {
    if let Some(runtime) = runtime.upgrade() {
        for folder in runtime.disk_manager.temp_dir_paths() {
            // Nothing could be done about it now.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// What to do about a query that took all it was given, in a sentence.
#[must_use]
pub fn exhausted(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let error = cause.downcast_ref::<DataFusionError>()?;
        let DataFusionError::ResourcesExhausted(what) = error.find_root() else {
            return None;
        };
        let what = what.lines().next().unwrap_or_default();
        Some(format!(
            "this takes more memory than it may have, or more room in the folder for temporary files: ask \
             for less time or fewer elements, or give it more with --memory and --temp-dir ({what})"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_factors_and_a_least() {
        assert_eq!(size("500M"), Ok(500_000_000));
        assert_eq!(size("4g"), Ok(4_000_000_000));
        for wrong in ["1k", "much", "", "0"] {
            assert!(size(wrong).unwrap_err().contains("500M or 4G"), "{wrong}");
        }
    }

    #[test]
    fn exhausted_memory_is_told_with_a_way_out() {
        let inner = DataFusionError::ResourcesExhausted("Failed to allocate\nmore".to_owned());
        let error = anyhow::Error::from(inner.context("aggregating")).context("answering");
        let says = exhausted(&error).unwrap();
        assert!(
            says.contains("--memory") && says.ends_with("(Failed to allocate)"),
            "{says}"
        );
        assert!(exhausted(&anyhow::anyhow!("other")).is_none());
    }
}
