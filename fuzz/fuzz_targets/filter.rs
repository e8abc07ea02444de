//! The filter language: text is planned, or the error says where it does not fit. `weir` is a program and no
//! library, so its files are compiled here; `fuzz/filter` leads pest to the grammar.
#![no_main]
#![allow(dead_code, reason = "a part of them is for the program")]

#[path = "../../report/src/filter/mod.rs"]
mod filter;
#[path = "../../report/src/functions.rs"]
mod functions;
#[path = "../../report/src/local_names.rs"]
mod local_names;
#[path = "../../report/src/names.rs"]
mod names;
#[path = "../../report/src/others.rs"]
mod others;
#[path = "../../report/src/over_columns.rs"]
mod over_columns;

use filter::{Surroundings, plan, sets::Library};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // It could be one of this machine's files.
    if text.contains('@') && text.contains('/') {
        return;
    }
    let library = Library::new("/no/such/folder".into());
    let around = Surroundings {
        now_ns: 1_700_000_000_000_000_000,
        library: &library,
        resolve: |_| Vec::new(),
    };
    match filter::parse(text, &around) {
        Ok(filter) => drop(plan::plan(&filter)),
        Err(error) => drop(error.to_string()),
    }
});
