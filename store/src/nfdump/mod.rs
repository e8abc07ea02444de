//! nfdump's files of layout 2, as version 1.7 writes them: [`Reader`] and [`Writer`] side by side. Numbers
//! are those of the machine that wrote (all are little-endian here, and others are refused).
//!
//! ```text
//! header, 40 octets: magic a50c, layout 2, version of nfdump (32 bits), created (seconds, 64),
//!     compression (8), encryption (8), blocks of the appendix (16), 0 (32), where the appendix is (64),
//!     block size (32, not used), data blocks (32)
//! blocks: records (32), octets (32), type 3 (16), flags (16), then those octets, compressed each by itself
//! records: type (16), octets with this header (16), …
//!     11: a flow ([`record`])      7: an exporter
//!     0x8001, 0x8002 in the appendix: the file's name, and its statistics ([`Totals`])
//! ```
//!
//! A file that nfcapd has not closed says that it has no blocks and no appendix: it is read to its end,
//! and has no statistics to be held against: octets behind the records that a block says it has are counted,
//! and told. Sources: nfdump 1.7's nffileV2.h, nfxV3.h, exporter.h.

mod block;
mod lzo;
mod octets;
mod reader;
mod record;
mod totals;
mod writer;

pub use block::Compression;
pub use reader::{Found, Reader};
pub use record::not_carried;
pub use totals::Totals;
pub use writer::Writer;

/// The first two octets of a file, on machines that put the low octet first.
pub const MAGIC: [u8; 2] = 0xa50c_u16.to_le_bytes();

const HEADER_OCTETS: usize = 40;
const BLOCK_HEADER_OCTETS: usize = 12;
/// nfdump's buffers: no block is larger, compressed or not.
const BLOCK_OCTETS_MAX: usize = 5 << 20;
const LAYOUT: u16 = 2;
/// Written as the version of nfdump: the first that reads such files.
const NFDUMP_VERSION: u32 = 0x0107_0100;

const DATA_BLOCK: u16 = 3;
const FLOW: u16 = 11;
const EXPORTER: u16 = 7;
/// Exporters' counts, samplers of two kinds, names of applications, interfaces and VRFs: no flows.
const NO_FLOWS: [u16; 6] = [8, 9, 12, 13, 14, 15];
const IDENT: u16 = 0x8001;
const STATISTICS: u16 = 0x8002;

/// Protocols whose type and code stand in the place of the destination's port.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests;
