//! Datagrams of v1, v5, v7 and v8, each behind its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::entry;

fuzz_target!(|octets: &[u8]| entry::datagrams(&[], octets));
