//! A page, compressed. The parquet crate has the same libraries, and keeps them to itself.

use std::io;

use parquet::errors::{ParquetError, Result};
use zstd::bulk::Compressor;

use crate::form::Compression;

/// Zstandard's level for times in a row, at least. Each is the one before and a few milliseconds more, of which the
/// first levels find little: 5.5 octets a time, from this one on 2.9, in as much time again.
const TIMES_LEVEL_MIN: i32 = 3;

/// Compresses pages, one after the other.
pub struct Codec {
    compression: Compression,
    zstd: Option<Compressor<'static>>,
    zstd_of_times: Option<Compressor<'static>>,
}

impl Codec {
    /// One of a kind.
    pub fn new(compression: Compression) -> Result<Self> {
        let level = compression.zstd_level();
        let zstd = |level: Option<i32>| level.map(Compressor::new).transpose().map_err(error);
        Ok(Self {
            compression,
            zstd: zstd(level)?,
            zstd_of_times: zstd(level.map(|level| level.max(TIMES_LEVEL_MIN)))?,
        })
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

    /// The same of a dictionary of times, in their order.
    pub fn compress_times(&mut self, octets: &[u8]) -> Result<Vec<u8>> {
        match &mut self.zstd_of_times {
            Some(zstd) => zstd.compress(octets).map_err(error),
            None => self.compress(octets),
        }
    }
}

fn error(error: io::Error) -> ParquetError {
    ParquetError::External(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a million flows has two hundred thousand milliseconds in which some began.
    #[test]
    fn times_in_a_row_take_little() {
        let (mut time_ns, mut number) = (1_795_237_200_000_000_000_i64, 1_u64);
        let mut octets = Vec::new();
        for _ in 0..200_000 {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            time_ns += 1_000_000 * (1 + i64::from(number >> 63 != 0));
            octets.extend_from_slice(&time_ns.to_le_bytes());
        }
        let mut codec = Codec::new(Compression::default()).unwrap();
        let as_others = codec.compress(&octets).unwrap();
        let as_times = codec.compress_times(&octets).unwrap();
        assert!(
            as_times.len() * 3 < as_others.len() * 2,
            "{} and {}",
            as_times.len(),
            as_others.len()
        );
        let back = zstd::bulk::decompress(&as_times, octets.len()).unwrap();
        assert_eq!(back, octets);
        let mut codec = Codec::new(Compression::None).unwrap();
        assert_eq!(codec.compress_times(&octets).unwrap(), octets);
    }
}
