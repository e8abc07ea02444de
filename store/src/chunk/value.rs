//! The kinds of values, and how Parquet writes one (`Encodings.md`, "Plain").

use std::hash::Hash;

use parquet::{
    data_type::{ByteArray, FixedLenByteArray},
    file::statistics::Statistics,
};

use super::delta;

/// A value as Arrow has it.
pub trait Stored: Copy {
    /// As Parquet has it.
    type Value: Value;

    /// Likewise.
    fn value(self) -> Self::Value;
}

impl Stored for u8 {
    type Value = u32;

    fn value(self) -> u32 {
        self.into()
    }
}

impl Stored for u16 {
    type Value = u32;

    fn value(self) -> u32 {
        self.into()
    }
}

impl Stored for u32 {
    type Value = Self;

    fn value(self) -> Self {
        self
    }
}

impl Stored for u64 {
    type Value = Self;

    fn value(self) -> Self {
        self
    }
}

impl Stored for i64 {
    type Value = Self;

    fn value(self) -> Self {
        self
    }
}

impl Stored for [u8; 16] {
    type Value = u128;

    fn value(self) -> u128 {
        u128::from_be_bytes(self)
    }
}

impl Stored for [u8; 6] {
    type Value = Self;

    fn value(self) -> Self {
        self
    }
}

impl Stored for &str {
    type Value = Self;

    fn value(self) -> Self {
        self
    }
}

/// Appends many values.
pub type PutAll<T> = fn(&[T], &mut Vec<u8>);

/// A value of a column. Its order is that of the column's statistics.
pub trait Value: Copy + Ord + Hash {
    /// Octets that one takes, about.
    const OCTETS: usize;
    /// What its distances from each other may all be multiples of, the largest first; none if they are no
    /// numbers.
    const SCALES: &'static [u64] = &[];
    /// Whether it is an address: those of a network begin alike.
    const IS_ADDRESS: bool = false;
    /// Whether it is a time.
    const IS_TIME: bool = false;
    /// Appends many as differences, if they are numbers.
    const PUT_DIFFERENCES: Option<PutAll<Self>> = None;

    /// How far it is from a smaller one.
    fn above(self, _least: Self) -> u64 {
        0
    }

    /// What is so far from one.
    fn at(least: Self, _above: u64) -> Self {
        least
    }

    /// Octets that it takes.
    fn octets(&self) -> usize {
        Self::OCTETS
    }

    /// Appends it.
    fn put(self, out: &mut Vec<u8>);

    /// Appends many.
    fn put_all(values: &[Self], out: &mut Vec<u8>) {
        out.reserve(values.len() * Self::OCTETS);
        for value in values {
            value.put(out);
        }
    }

    /// Of a chunk with values from the least to the greatest, and so many nulls.
    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics;
}

/// Numbers of up to 32 bits are written as 32 bits.
impl Value for u32 {
    const OCTETS: usize = 4;
    const SCALES: &'static [u64] = &[1];
    const PUT_DIFFERENCES: Option<PutAll<Self>> = Some(delta::put_numbers);

    fn above(self, least: Self) -> u64 {
        u64::from(self.wrapping_sub(least))
    }

    fn at(least: Self, above: u64) -> Self {
        // It was a difference of two of these.
        least.saturating_add(u32::try_from(above).unwrap_or(u32::MAX))
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics {
        let [least, greatest] = [least, greatest].map(|value| Some(value.cast_signed()));
        Statistics::int32(least, greatest, None, Some(nulls), false)
    }
}

impl Value for u64 {
    const OCTETS: usize = 8;
    const SCALES: &'static [u64] = &[1];
    const PUT_DIFFERENCES: Option<PutAll<Self>> = Some(delta::put_counts);

    fn above(self, least: Self) -> u64 {
        self.wrapping_sub(least)
    }

    fn at(least: Self, above: u64) -> Self {
        least.wrapping_add(above)
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn put_all(values: &[Self], out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + values.len() * Self::OCTETS, 0);
        let (places, _) = out[at..].as_chunks_mut();
        for (place, value) in places.iter_mut().zip(values) {
            *place = value.to_le_bytes();
        }
    }

    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics {
        let [least, greatest] = [least, greatest].map(|value| Some(value.cast_signed()));
        Statistics::int64(least, greatest, None, Some(nulls), false)
    }
}

/// A time, nanoseconds since 1970-01-01 UTC.
impl Value for i64 {
    const OCTETS: usize = 8;
    /// Most exporters know milliseconds, some microseconds.
    const SCALES: &'static [u64] = &[1_000_000, 1_000, 1];
    const IS_TIME: bool = true;
    const PUT_DIFFERENCES: Option<PutAll<Self>> = Some(delta::put_times);

    fn above(self, least: Self) -> u64 {
        self.wrapping_sub(least).cast_unsigned()
    }

    fn at(least: Self, above: u64) -> Self {
        least.wrapping_add(above.cast_signed())
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics {
        Statistics::int64(Some(least), Some(greatest), None, Some(nulls), false)
    }
}

/// An address as a number.
impl Value for u128 {
    const OCTETS: usize = 16;
    const IS_ADDRESS: bool = true;

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics {
        fixed(&least.to_be_bytes(), &greatest.to_be_bytes(), nulls)
    }
}

/// A MAC address.
impl Value for [u8; 6] {
    const OCTETS: usize = 6;

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self);
    }

    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics {
        fixed(&least, &greatest, nulls)
    }
}

/// A text of its own length; who exported, which is short and mostly the same.
impl Value for &str {
    const OCTETS: usize = 16;

    fn octets(&self) -> usize {
        size_of::<u32>() + self.len()
    }

    fn put(self, out: &mut Vec<u8>) {
        // Arrow's offsets have 32 bits.
        let octets = u32::try_from(self.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&octets.to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }

    fn statistics(least: Self, greatest: Self, nulls: u64) -> Statistics {
        let [least, greatest] = [least, greatest].map(|value| Some(ByteArray::from(value)));
        Statistics::byte_array(least, greatest, None, Some(nulls), false)
    }
}

fn fixed(least: &[u8], greatest: &[u8], nulls: u64) -> Statistics {
    let array = |octets: &[u8]| Some(FixedLenByteArray::from(octets.to_vec()));
    Statistics::fixed_len_byte_array(array(least), array(greatest), None, Some(nulls), false)
}
