//! Datagrams of v9, each behind its length: templates, options, data.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::entry;

fuzz_target!(|octets: &[u8]| entry::datagrams(&[0, 9], octets));
