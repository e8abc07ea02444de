//! Weir's sensor daemon, as a library for its binaries, tests and benches: it loads and attaches
//! the kernel program (or reads a capture file through the same walk and table), sweeps the flow
//! table by the clock, decides by a pure policy which flows to take, takes them exactly, and hands
//! records to the exporter. It does not parse packets or encode datagrams itself, and it links
//! neither Arrow nor a query engine.

// In place of the standard library's, which panic.
#[macro_use(eprint, eprintln, print)]
extern crate weir_service;

pub mod adopt;
pub mod attach;
pub mod capture;
pub mod clock;
pub mod confine;
pub mod control;
pub mod evicted;
pub mod expiry;
pub mod export;
pub mod extras;
pub mod filter;
pub mod fragments;
pub mod grace;
pub mod interface;
pub mod kernel;
pub mod link;
pub mod live;
pub mod log;
pub mod mapping;
pub mod metrics;
pub mod offline;
pub mod options;
pub mod output;
pub mod pair;
pub mod pin;
pub mod ports;
pub mod prefilter;
pub mod pressure;
pub mod record;
pub mod settle;
pub mod statistics;
pub mod summary;
pub mod sweep;
pub mod table;
