//! A capture file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{entry, file};

fuzz_target!(|octets: &[u8]| {
    entry::capture_file(&file(), octets);
});
