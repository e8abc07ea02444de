//! Decoders of other crates panic on octets that contradict themselves. That is a fault of the octets, which whoever
//! reads them names; what the panic would say, of some line of a crate, is for nobody.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether a panic of this thread is one that is expected.
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Has a decoder work, with nothing in it that is our own; none if it panicked.
#[must_use]
pub fn caught<T>(decode: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !IS_EXPECTED.get() {
                usual(panicked);
            }
        }));
    });
    let before = IS_EXPECTED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(decode));
    IS_EXPECTED.set(before);
    done.ok()
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
}
