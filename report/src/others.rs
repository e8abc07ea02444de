//! Elements that no column has: read out of the column `others` by their keys, as numbers, addresses and words; row
//! by row, and as expressions.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, FixedSizeBinaryBuilder, MapArray, StringArray,
        UInt64Array,
    },
    datatypes::DataType,
};
use datafusion::{
    error::Result,
    logical_expr::TypeSignature,
    prelude::{Expr, col},
};

use crate::{
    filter::ranges,
    functions::ADDRESS,
    over_columns::{self, OverColumns},
};

/// An element that has no column, by its keys in the column `others`, of which the first that is there holds.
#[must_use]
pub fn other_expression(kind: OtherKind, keys: [impl ToString; 2]) -> Expr {
    let keys = keys.map(|key| key.to_string());
    let name = format!("other_{kind:?}_{}_{}", keys[0], keys[1]).to_ascii_lowercase();
    let other = Other { name, kind, keys };
    over_columns::function(other, TypeSignature::Any(1)).call(vec![col("others")])
}

/// What an element that has no column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtherKind {
    /// A number; 0 of flows that have none, as nfdump has it.
    Number,
    /// A number; null of flows that have none.
    Said,
    /// One of several numbers of 32 bits, from 0; likewise.
    Part(usize),
    /// An MPLS label stack entry, of which the label; 0 of flows that have none.
    Label,
    /// An address of either family.
    Address,
    /// Words.
    Word,
    /// Microseconds, by two elements: whole seconds, and what is over; null of flows that have neither.
    Microseconds,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Other {
    /// Another one for other elements: expressions are told apart by it.
    name: String,
    kind: OtherKind,
    keys: [String; 2],
}

impl OverColumns for Other {
    fn name(&self) -> &str {
        &self.name
    }

    fn made(&self) -> DataType {
        match self.kind {
            OtherKind::Number
            | OtherKind::Said
            | OtherKind::Part(_)
            | OtherKind::Label
            | OtherKind::Microseconds => DataType::UInt64,
            OtherKind::Address => ADDRESS,
            OtherKind::Word => DataType::Utf8,
        }
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        // A column of nothing but nulls may be of another type.
        let map = columns[0].as_map_opt();
        let value = |row: usize| {
            let mut keys = self.keys.iter();
            keys.find_map(|key| other(map?, key, row))
        };
        let rows = 0..columns[0].len();
        let number = |row: usize| value(row).map_or(0, number_of);
        let made: ArrayRef = match self.kind {
            OtherKind::Number => Arc::new(UInt64Array::from_iter_values(rows.map(number))),
            OtherKind::Said => {
                let numbers: UInt64Array = rows.map(|row| value(row).map(number_of)).collect();
                Arc::new(numbers)
            }
            OtherKind::Part(place) => {
                let part = |row: usize| value(row).and_then(|octets| part_of(octets, place));
                let parts: UInt64Array = rows.map(part).collect();
                Arc::new(parts)
            }
            OtherKind::Label => {
                let labels = rows.map(|row| number(row) >> 4);
                Arc::new(UInt64Array::from_iter_values(labels))
            }
            OtherKind::Address => {
                let mut made = FixedSizeBinaryBuilder::with_capacity(rows.len(), 16);
                for row in rows {
                    match value(row).and_then(address_of) {
                        Some(address) => made.append_value(ranges::octets_of(address))?,
                        None => made.append_null(),
                    }
                }
                Arc::new(made.finish())
            }
            OtherKind::Word => {
                let words: StringArray = rows.map(|row| value(row).map(word_of)).collect();
                Arc::new(words)
            }
            OtherKind::Microseconds => {
                let part = |key: usize, row: usize| other(map?, &self.keys[key], row);
                let whole = |row: usize| microseconds_of([part(0, row), part(1, row)]);
                Arc::new(rows.map(whole).collect::<UInt64Array>())
            }
        };
        Ok(made)
    }
}

/// The octets of an element that has no column, in a row of `others`.
#[must_use]
pub fn other<'a>(others: &'a MapArray, key: &str, row: usize) -> Option<&'a [u8]> {
    if others.is_null(row) {
        return None;
    }
    let keys = others.keys().as_string_opt::<i32>()?;
    let values = others.values().as_binary_opt::<i32>()?;
    let offset = |at: usize| usize::try_from(others.value_offsets()[at]).ok();
    let mut entries = offset(row)?..offset(row + 1)?;
    let entry = entries.find(|entry| keys.value(*entry) == key)?;
    values.is_valid(entry).then(|| values.value(entry))
}

/// An address as it was sent; one of zeros is none.
#[must_use]
pub fn address_of(octets: &[u8]) -> Option<u128> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| ranges::number_of(octets.into()));
    let v6 = || <[u8; 16]>::try_from(octets).map(u128::from_be_bytes);
    let is_zero = octets.iter().all(|octet| *octet == 0);
    v4.or_else(|_| v6()).ok().filter(|_| !is_zero)
}

/// A number as it was sent: its last octets, if it is one of more than 64 bits.
#[must_use]
pub fn number_of(octets: &[u8]) -> u64 {
    let octets = octets.iter();
    octets.fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// One of several numbers of 32 bits.
#[must_use]
pub fn part_of(octets: &[u8], place: usize) -> Option<u64> {
    octets.chunks(4).nth(place).map(number_of)
}

/// Whole seconds and the microseconds beside them, of which one is enough, in microseconds.
#[must_use]
pub fn microseconds_of(parts: [Option<&[u8]>; 2]) -> Option<u64> {
    if parts == [None; 2] {
        return None;
    }
    let [seconds, over] = parts.map(|part| part.map_or(0, number_of));
    Some(seconds.saturating_mul(1_000_000).saturating_add(over))
}

/// Words as they were sent, without the zeros that v9 fills up with; what would move a terminal's cursor is a dot.
#[must_use]
pub fn word_of(octets: &[u8]) -> String {
    let word = octets.iter().copied().take_while(|octet| *octet != 0);
    let is_safe = |octet: u8| octet.is_ascii_graphic() || octet == b' ';
    word.map(|octet| {
        if is_safe(octet) {
            char::from(octet)
        } else {
            '.'
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_without_a_column_are_read_by_their_keys() {
        assert_eq!(number_of(&[1, 0]), 256);
        assert_eq!(address_of(&[0; 4]), None);
        assert_eq!(address_of(&[0; 16]), None);
        assert_eq!(address_of(&[1, 2, 3]), None);
        let v4 = ranges::number_of("192.0.2.1".parse().unwrap());
        assert_eq!(address_of(&[192, 0, 2, 1]), Some(v4));
        assert_eq!(address_of(&ranges::octets_of(v4)), Some(v4));
        assert_eq!(part_of(&[0, 0, 0, 1, 0, 0, 1, 0], 1), Some(256));
        assert_eq!(part_of(&[0, 0, 0, 1], 1), None);
        let parts = |seconds, over| microseconds_of([seconds, over]);
        assert_eq!(parts(Some(&[0, 2][..]), Some(&[1, 0][..])), Some(2_000_256));
        assert_eq!(parts(None, Some(&[7][..])), Some(7));
        assert_eq!(parts(Some(&[0xff; 8][..]), None), Some(u64::MAX));
        assert_eq!(parts(None, None), None);
        assert_eq!(word_of(b"eth0\0\0"), "eth0");
        assert_eq!(word_of(b"a\x1b[2J"), "a.[2J");
    }
}
