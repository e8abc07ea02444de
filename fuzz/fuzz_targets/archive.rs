//! A file of nfdump's or flow-tools'.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{entry, file};

fuzz_target!(|octets: &[u8]| {
    entry::archive(&file(), octets);
});
