//! Flow records into datagrams, datagrams to a collector: batching, templates, sequence numbers,
//! pacing, and what could not be sent. It knows nothing of tables or packets, and reads no clock.

pub mod batch;
pub mod counters;
pub mod destination;
pub mod format;
pub mod pace;
pub mod socket;
pub mod stream;

pub use batch::Batcher;
pub use counters::ExportCounters;
pub use destination::Destination;
pub use format::Version;
pub use socket::Way;
pub use stream::Stream;
