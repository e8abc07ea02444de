//! A closed file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{entry, file};

// What a damaged file has Parquet panic about is a fault of that file, and ends no program.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |octets: &[u8]| {
    entry::closed(&file(), octets);
});
