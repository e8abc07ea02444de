//! Datagrams of sFlow, each behind its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::entry;

fuzz_target!(|octets: &[u8]| entry::datagrams(&[0, 0, 0, 5], octets));
