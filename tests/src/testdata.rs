//! The captures and datagrams that lie beside the repository.

use std::path::{Path, PathBuf};

/// Their folder; none if it is not there, which is said. Their licences keep them out of the
/// repository.
///
/// # Panics
/// If they are missing where CI runs, which has them.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/testdata");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing, and CI has it",
        folder.display()
    );
    eprintln!("skipped: {} is not there", folder.display());
    None
}

/// Fails with a line for each file that differs and should not, or should and does not.
///
/// # Panics
/// Then.
pub fn judge(differences: &[(String, String)], allowed: &[(&str, &str)]) {
    let unexpected: Vec<_> = differences
        .iter()
        .filter(|(file, _)| !allowed.iter().any(|(name, _)| name == file))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    for (name, reason) in allowed {
        assert!(
            differences.iter().any(|(file, _)| file == name),
            "{name} no longer deviates ({reason}): take it off the list"
        );
    }
}
