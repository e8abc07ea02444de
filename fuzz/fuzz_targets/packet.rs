//! A frame's way through the header walk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::entry;

fuzz_target!(|octets: &[u8]| entry::packet(octets));
