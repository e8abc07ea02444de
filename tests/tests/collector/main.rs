//! The collector and its files end to end, in one program: each file is a promise, or a group of fault cases.
#![expect(clippy::disallowed_methods, reason = "exporters have the time of day")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../both/mod.rs"]
mod both;
#[path = "../site/mod.rs"]
mod site;

mod columns;
mod crafted_files;
mod fault_cases_collector;
mod fault_cases_store;
mod full_disk;
mod lines;
mod live;
mod loss;
mod nfdump;
mod nfdump_formats;
mod nfdump_stats;
mod on_rotate;
mod pager;
mod passing;
mod power_loss;
mod recompacting;
mod streams;
