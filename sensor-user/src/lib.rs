//! Weir's sensor daemon, as a library for its binaries, tests and benches. The way of a packet through it:
//!
//! 1. [`kernel`] loads the kernel's programs, [`attach`] puts them on an interface and [`ports`] keeps them there;
//!    [`prefilter`] makes the one of a filter expression. They account each packet in memory that is mapped here:
//!    the flow [`table`], what lies beside it ([`extras`]), what was pushed out of it ([`evicted`]), what waits
//!    before it ([`settle`]). With `-r`, [`offline`] sends the frames of a [`capture`] through the same walk into
//!    a table of its own.
//! 2. [`expiry`] says which flows are over, sooner under [`pressure`]: pure functions. [`sweep`] closes those,
//!    waits for a [`grace`] period and takes each out whole.
//! 3. [`record`] makes a record of a flow, [`pair`] one of both directions, and [`export`] has a thread that
//!    gives them to `weir-exporter`, which makes datagrams.
//!
//! [`live`] is the loop that does this by the clock, with orders from the [`control`] socket in between. At its
//! end stand the account ([`statistics`], [`output`]) and, where `--pin` asks for it, what outlives the process
//! ([`pin`], [`link`]) for the next one to [`adopt`]. [`options`] are what was asked for; [`confine`] is what
//! the process may still do once it meters.
//!
//! Packets are parsed by `weir-sensor-common`, datagrams encoded by `weir-netflow`; neither Arrow nor a query engine
//! is linked.

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
pub mod netlink;
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
pub mod signals;
pub mod statistics;
pub mod summary;
pub mod sweep;
pub mod table;
