//! Flow records into datagrams, datagrams to a collector. [`batch`] gathers records until a datagram is full or
//! old, and knows when templates are due; [`mod@format`] makes its octets, by version. [`pace`] says when it may
//! leave, by a [`destination`]'s UDP or a [`stream`]'s TCP, whose [`socket`]s are opened as was asked, and for whose
//! room is waited within bounds (`waits`). [`counters`] have each record as sent, or by the reason why not. It knows
//! nothing of tables or packets, and reads no clock.

pub mod batch;
pub mod counters;
pub mod destination;
pub mod format;
pub mod pace;
pub mod socket;
pub mod stream;
mod waits;

pub use batch::Batcher;
pub use counters::ExportCounters;
pub use destination::Destination;
pub use format::Version;
pub use socket::Way;
pub use stream::Stream;
