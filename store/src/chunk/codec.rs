//! A page, compressed. The parquet crate has the same libraries, and keeps them to itself.

use std::io;

use parquet::errors::{ParquetError, Result};
use zstd::bulk::Compressor;

use crate::form::Compression;

/// Compresses pages, one after the other.
pub struct Codec {
    compression: Compression,
    zstd: Option<Compressor<'static>>,
}

impl Codec {
    /// One of a kind.
    pub fn new(compression: Compression) -> Result<Self> {
        let zstd = match compression {
            Compression::Zstd(level) => Some(Compressor::new(level).map_err(error)?),
            _ => None,
        };
        Ok(Self { compression, zstd })
    }

    /// As Parquet has it.
    pub fn kind(&self) -> parquet::basic::Compression {
        self.compression.codec()
    }

    /// Whether pages become smaller by it.
    pub fn compresses(&self) -> bool {
        self.compression != Compression::None
    }

    /// A page's octets, compressed.
    pub fn compress(&mut self, octets: &[u8]) -> Result<Vec<u8>> {
        if let Some(zstd) = &mut self.zstd {
            return zstd.compress(octets).map_err(error);
        }
        match self.compression {
            Compression::Snappy => {
                let compressed = snap::raw::Encoder::new().compress_vec(octets);
                compressed.map_err(|error| ParquetError::External(error.into()))
            }
            Compression::Lz4 => Ok(lz4_flex::block::compress(octets)),
            Compression::None | Compression::Zstd(_) => Ok(octets.to_vec()),
        }
    }
}

fn error(error: io::Error) -> ParquetError {
    ParquetError::External(error.into())
}
