//! Weir's collector: takes datagrams from any exporter ([`socket`], [`receive`], [`receiving`]; IPFIX over
//! TCP: [`streams`], [`connections`], [`framing`]), decodes them ([`decode`], [`sampled`]) with what is known of
//! the exporter ([`exporter`], [`announced`], [`copies`], [`exporters`], [`shards`], [`lru`], [`prefix`],
//! [`saved`], [`saving`]), counts exactly what was lost on the way ([`loss`], [`samples`], [`sums`], [`statistics`]), and
//! writes windows of flat files ([`writer`], [`closing`]). What takes privileges is opened before they are given
//! up and threads start ([`opening`]). [`upkeep`] follows rotations ([`runner`]), [`reload`] takes settings over while it
//! receives, [`maintain`] looks after closed files, [`metrics`] tells Prometheus, [`confine`] gives up what is not
//! needed, [`talk`] keeps the log short. What is passed on beside the files is [`onward`]: datagrams by
//! [`repeat`] ([`spoof`]), flows by [`forward`] ([`flow_filter`], [`outlet`]) and [`tap`] ([`goflow`]), each behind
//! a queue of its own ([`aside`]); [`crypto_pan`] changes addresses. [`import`], [`replay`] and [`anonymise`]
//! are about closed files again. It links no aya and looks at no packet but those that sFlow samples.

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
pub mod goflow;
pub mod import;
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
