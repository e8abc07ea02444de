//! What the targets call and what they begin with: the very files of `tests/tests/hostile`.

use std::path::PathBuf;

#[path = "../../tests/tests/hostile/entry.rs"]
pub mod entry;
#[path = "../../tests/tests/hostile/inputs.rs"]
pub mod inputs;

/// A place for what is read as a file, of this process alone.
pub fn file() -> PathBuf {
    std::env::temp_dir().join(format!("weir-fuzz-{}", std::process::id()))
}
