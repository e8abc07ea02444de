//! A file in the place of an open window.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{entry, file};

// What a damaged window has Arrow panic about ends the window, and no program.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |octets: &[u8]| {
    entry::window(&file(), octets);
});
