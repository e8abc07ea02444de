//! Weir's collector. The way of a datagram through it:
//!
//! 1. [`socket`] and [`receive`] take datagrams, 64 a call, in a thread for each part of the exporters
//!    ([`receiving`], [`shards`]). Over TCP [`streams`] does, from [`connections`] that [`framing`] cuts into
//!    messages.
//! 2. [`decode`], and [`sampled`] for sFlow, make flows of them by what is known of the [`exporter`]: its templates
//!    ([`saved`] and [`saving`] have them outlive the process), what it [`announced`], the [`copies`] that the
//!    network made. [`exporters`] keeps all of them within bounds ([`lru`]), [`prefix`] says who is allowed.
//! 3. [`loss`], and [`samples`] for sFlow, count exactly what was lost on the way; [`sums`] and [`statistics`] keep
//!    the account, [`metrics`] tells it to Prometheus.
//! 4. [`gathered`] has flows become columns, [`writer`] appends those to the store's open window, [`closing`] makes
//!    Parquet of it, [`upkeep`] has commands run ([`runner`]) and old files go, [`recompacting`] makes large files of
//!    small ones.
//!
//! [`opening`] opens what takes privileges, [`confine`] gives them up, and then [`daemon`] starts these threads;
//! [`reload`] takes settings over while it receives. What is passed on beside the files is [`onward`]: datagrams by
//! [`repeat`] ([`spoof`]), flows by [`forward`] ([`flow_filter`], [`outlet`]), lines by [`tap`] ([`goflow`]), each
//! behind a queue of its own ([`aside`]), with addresses changed by [`crypto_pan`] where that is wished.
//!
//! [`maintain`], [`import`], [`replay`] and [`anonymise`] are the subcommands over closed files. It links no aya and
//! looks at no packet but those that sFlow samples.

// In place of the standard library's, which panic.
#[macro_use(eprintln, println)]
extern crate weir_service;

pub mod announced;
pub mod anonymise;
pub mod aside;
pub mod clock;
pub mod closing;
pub mod confine;
pub mod connections;
pub mod copies;
pub mod crypto_pan;
pub mod daemon;
pub mod decode;
pub mod exporter;
pub mod exporters;
pub mod flow_filter;
pub mod forward;
pub mod framing;
pub mod gathered;
pub mod goflow;
pub mod import;
pub mod keeping;
pub mod loss;
pub mod lru;
pub mod maintain;
pub mod metrics;
pub mod onward;
pub mod opening;
pub mod options;
pub mod outlet;
pub mod prefix;
pub mod receive;
pub mod receiving;
pub mod recompacting;
pub mod reload;
pub mod repeat;
pub mod replay;
pub mod runner;
pub mod sampled;
pub mod samples;
pub mod saved;
pub mod saving;
pub mod shards;
pub mod socket;
pub mod spoof;
pub mod statistics;
pub mod streams;
pub mod sums;
pub mod talk;
pub mod tap;
pub mod units;
pub mod upkeep;
pub mod writer;
