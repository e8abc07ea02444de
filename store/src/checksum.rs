//! Checksums of a closed file's row groups. Parquet has some for pages, which the writer does not
//! make; these are in the footer's key-value metadata, where other readers pass them by:
//!
//! ```text
//! weir.checksums = xxh64 GROUPS:END:HASH GROUPS:END:HASH …
//! ```
//!
//! Each entry is a *block*: the octets up to END (the first from the file's first octet on, the others
//! from the END before), which hold the row groups up to number GROUPS. HASH is XXH64 with seed 0, in
//! hexadecimal. What the footer says has one of its own ([`crate::footer_checksum`]).

use std::{
    fs::File,
    hash::Hasher as _,
    io::{self, Read as _, Seek as _, Write},
};

use twox_hash::XxHash64;

/// The metadata's key.
pub const CHECKSUMS: &str = "weir.checksums";
const ALGORITHM: &str = "xxh64";
const READ_OCTETS: usize = 1 << 16;

/// Octets that hold whole row groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Row groups up to its end.
    pub row_groups: usize,
    /// The first octet after it.
    pub end: u64,
    /// Hash of its octets.
    pub hash: u64,
}

/// The blocks as metadata.
#[must_use]
pub fn encode(blocks: &[Block]) -> String {
    let entries = blocks.iter().map(|block| {
        let Block {
            row_groups,
            end,
            hash,
        } = block;
        format!(" {row_groups}:{end}:{hash:016x}")
    });
    entries.fold(ALGORITHM.to_owned(), |text, entry| text + &entry)
}

/// The blocks from metadata; nothing if they are not as they are written here.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<Block>> {
    let mut words = text.split(' ');
    if words.next() != Some(ALGORITHM) {
        return None;
    }
    let block = |word: &str| {
        let mut parts = word.splitn(3, ':');
        Some(Block {
            row_groups: parts.next()?.parse().ok()?,
            end: parts.next()?.parse().ok()?,
            hash: u64::from_str_radix(parts.next()?, 16).ok()?,
        })
    };
    let blocks: Vec<_> = words.map(block).collect::<Option<_>>()?;
    let ascend =
        |pair: &[Block]| pair[0].end <= pair[1].end && pair[0].row_groups <= pair[1].row_groups;
    blocks.windows(2).all(ascend).then_some(blocks)
}

/// Blocks of a file whose octets are not those that were written, by their index.
///
/// # Errors
/// If the file cannot be read.
pub fn damaged(file: &mut File, blocks: &[Block]) -> io::Result<Vec<usize>> {
    let mut damaged = Vec::new();
    let mut buffer = vec![0; READ_OCTETS];
    let mut at = 0;
    file.rewind()?;
    for (index, block) in blocks.iter().enumerate() {
        let mut hasher = XxHash64::with_seed(0);
        while at < block.end {
            let wanted = usize::try_from(block.end - at).unwrap_or(READ_OCTETS);
            let read = file.read(&mut buffer[..wanted.min(READ_OCTETS)])?;
            if read == 0 {
                break;
            }
            hasher.write(&buffer[..read]);
            at += read as u64;
        }
        if at < block.end || hasher.finish() != block.hash {
            damaged.push(index);
        }
    }
    Ok(damaged)
}

/// A file whose octets are hashed as they are written.
pub struct Hashing {
    file: File,
    hasher: XxHash64,
    octets: u64,
}

impl Hashing {
    /// From its first octet on.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            file,
            hasher: XxHash64::with_seed(0),
            octets: 0,
        }
    }

    /// Ends a block here.
    pub fn end_block(&mut self, row_groups: usize) -> Block {
        let hasher = std::mem::replace(&mut self.hasher, XxHash64::with_seed(0));
        Block {
            row_groups,
            end: self.octets,
            hash: hasher.finish(),
        }
    }

    /// Has the disk keep what was written.
    ///
    /// # Errors
    /// If it does not.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The file.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Write for Hashing {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.file.write(octets)?;
        self.hasher.write(&octets[..written]);
        self.octets += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_a_flipped_bit_names_its_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut hashing = Hashing::new(File::create(&path).unwrap());
        let mut blocks = Vec::new();
        for (row_groups, octets) in [(1, 10), (2, 100_000), (4, 1)] {
            hashing.write_all(&vec![7; octets]).unwrap();
            blocks.push(hashing.end_block(row_groups));
        }
        hashing.write_all(b"footer").unwrap();
        let text = encode(&blocks);
        assert_eq!(decode(&text).as_deref(), Some(&blocks[..]));
        assert_eq!(decode("xxh64"), Some(vec![]));
        for wrong in [
            "",
            "md5 1:2:3",
            "xxh64 1:2",
            "xxh64 1:2:g",
            "xxh64 1:9:0 2:8:0",
            "xxh64  ",
        ] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }

        let octets = std::fs::read(&path).unwrap();
        for (at, expected) in [
            (0, vec![0]),
            (9, vec![0]),
            (10, vec![1]),
            (100_010, vec![2]),
        ] {
            let mut flipped = octets.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            let found = damaged(&mut File::open(&path).unwrap(), &blocks).unwrap();
            assert_eq!(found, expected, "octet {at}");
        }
        std::fs::write(&path, &octets[..500]).unwrap();
        let found = damaged(&mut File::open(&path).unwrap(), &blocks).unwrap();
        assert_eq!(found, [1, 2]);
    }
}
