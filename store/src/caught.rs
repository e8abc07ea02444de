//! Decoders of other crates panic on octets that contradict themselves. That is a fault of the octets, which whoever
//! reads them names; what the panic would say, of some line of a crate, is for nobody.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Once,
};

use crate::StoreError;

thread_local! {
    /// Whether a panic of this thread is one that is expected.
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
    /// What the last one that was expected said, and where.
    static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has a decoder work, with nothing in it that is our own; none if it panicked.
#[must_use]
pub fn caught<T>(decode: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if IS_EXPECTED.get() {
                WORDS.set(panicked.to_string().replace('\n', " "));
            } else {
                usual(panicked);
            }
        }));
    });
    let before = IS_EXPECTED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(decode));
    IS_EXPECTED.set(before);
    done.ok()
}

/// Has something be done with a file that is not to end a thread which has other files to see to.
///
/// # Errors
/// If it fails; or, as [`StoreError::Panicked`], if it panicked.
pub(crate) fn caught_at<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    caught(work).unwrap_or_else(|| {
        Err(StoreError::Panicked {
            path: path.to_owned(),
            words: WORDS.take(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_the_next_one_is_not_expected() {
        assert_eq!(caught(|| 7), Some(7));
        let within: Option<Option<()>> = caught(|| caught(|| panic!("of the octets")));
        assert_eq!(within, Some(None));
        assert!(!IS_EXPECTED.get());
    }

    #[test]
    fn what_a_panic_says_is_told_with_its_file() {
        let path = Path::new("window");
        let failed = caught_at::<()>(path, || panic!("as it does in a test")).unwrap_err();
        let says = failed.to_string();
        assert!(
            says.starts_with("window: ") && says.ends_with(": as it does in a test"),
            "{says}"
        );
        assert!(says.contains("caught.rs:"), "{says}");
    }
}
