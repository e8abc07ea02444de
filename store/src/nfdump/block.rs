//! A block's octets, compressed or not. What a file makes of a few octets is bounded: no block of nfdump's
//! is larger than [`BLOCK_OCTETS_MAX`], whatever is in it.

use std::io::Read as _;

use super::{BLOCK_OCTETS_MAX, lzo};

/// How a file's blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// LZO1X; read only.
    Lzo = 1,
    /// bzip2; read only.
    Bzip2 = 2,
    /// LZ4 blocks, without their frames.
    Lz4 = 3,
    /// Zstandard; nfdump 1.7.2 and newer.
    Zstd = 4,
}

impl Compression {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Lzo,
            2 => Self::Bzip2,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }
}

/// A block's octets as they were before they were compressed; else what is wrong with them.
pub fn expand(compression: Compression, octets: Vec<u8>) -> Result<Vec<u8>, String> {
    let expanded = match compression {
        Compression::None => octets,
        Compression::Lzo => lzo::expand(&octets, BLOCK_OCTETS_MAX)?,
        Compression::Bzip2 => {
            let mut expanded = Vec::new();
            let decoder = bzip2::read::BzDecoder::new(&octets[..]);
            // One more than may be, so that it shows.
            let mut bounded = decoder.take(BLOCK_OCTETS_MAX as u64 + 1);
            let read = bounded.read_to_end(&mut expanded);
            read.map_err(|error| error.to_string())?;
            expanded
        }
        Compression::Lz4 => {
            let mut expanded = vec![0; BLOCK_OCTETS_MAX];
            let length = lz4_flex::block::decompress_into(&octets, &mut expanded)
                .map_err(|error| error.to_string())?;
            expanded.truncate(length);
            expanded
        }
        Compression::Zstd => {
            zstd::bulk::decompress(&octets, BLOCK_OCTETS_MAX).map_err(|error| error.to_string())?
        }
    };
    if expanded.len() > BLOCK_OCTETS_MAX {
        return Err("it is larger than any of nfdump's".to_owned());
    }
    Ok(expanded)
}

/// A block's octets compressed; an error if they cannot be, which for LZO and bzip2 is always.
pub fn compress(compression: Compression, octets: &[u8]) -> Result<Vec<u8>, String> {
    match compression {
        Compression::None => Ok(octets.to_vec()),
        Compression::Lz4 => Ok(lz4_flex::block::compress(octets)),
        // nfdump's default.
        Compression::Zstd => zstd::bulk::compress(octets, 3).map_err(|error| error.to_string()),
        Compression::Lzo | Compression::Bzip2 => {
            Err("LZO and bzip2 are only read: write LZ4".to_owned())
        }
    }
}
