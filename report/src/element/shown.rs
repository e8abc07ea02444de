//! The values that flows are gathered by: out of columns, and as people read them.

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};

use crate::{
    answer::Cell,
    filter::ranges,
    local_names::{self, What},
    names, text,
};

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Address,
    /// An address with the length it was cut to.
    Network(u8, u8),
    Number,
    Port,
    Protocol,
    Flags,
    Direction,
    EndReason,
    /// A MAC address, whose number it is.
    Mac,
    Text,
}

/// A value that flows were gathered by; its order is that of lines with equal counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// The flow has none.
    None,
    /// A number.
    Number(u64),
    /// An address.
    Address(u128),
    /// Words.
    Text(String),
}

impl Shown {
    /// A value as a cell of a table.
    #[must_use]
    pub fn cell(self, value: &KeyValue) -> Cell {
        let address = |number: u128| text::address(&ranges::octets_of(number));
        match (self, value) {
            (_, KeyValue::None) => Cell::Empty,
            (Self::Network(v4, v6), KeyValue::Address(number)) => {
                let bits = if ranges::is_v4(*number) { v4 } else { v6 };
                let whole = if ranges::is_v4(*number) { 32 } else { 128 };
                Cell::Text(if bits == whole {
                    address(*number)
                } else {
                    format!("{}/{bits}", address(*number))
                })
            }
            (_, KeyValue::Address(number)) => {
                let name = local_names::of(What::Name, *number);
                Cell::Text(address(*number)).named(name.as_deref())
            }
            (Self::Port, KeyValue::Number(number)) => {
                let name = u16::try_from(*number).ok().and_then(names::service);
                Cell::Number(*number).named(name)
            }
            (Self::Protocol, KeyValue::Number(number)) => {
                let name = u8::try_from(*number).map(names::protocol_name);
                Cell::Text(name.unwrap_or_else(|_| number.to_string()))
            }
            (Self::Flags, KeyValue::Number(number)) => {
                Cell::Text(text::tcp_flags(u16::try_from(*number).unwrap_or(0)))
            }
            (Self::Mac, KeyValue::Number(number)) => {
                let [_, _, octets @ ..] = number.to_be_bytes();
                Cell::Text(text::mac(&octets))
            }
            (Self::Direction, KeyValue::Number(number)) => Cell::Text(match number {
                0 => "ingress".to_owned(),
                1 => "egress".to_owned(),
                other => other.to_string(),
            }),
            (Self::EndReason, KeyValue::Number(number)) => Cell::Text(match number {
                0 => "unknown".to_owned(),
                1 => "idle".to_owned(),
                2 => "active".to_owned(),
                3 => "end of flow".to_owned(),
                4 => "forced".to_owned(),
                5 => "lack of resources".to_owned(),
                other => other.to_string(),
            }),
            (_, KeyValue::Number(number)) => Cell::Number(*number),
            (_, KeyValue::Text(text)) => Cell::Text(text.clone()),
        }
    }
}

/// A value of a column.
#[must_use]
pub fn key_value(column: &ArrayRef, row: usize) -> KeyValue {
    if column.is_null(row) {
        return KeyValue::None;
    }
    let number = |number: u64| KeyValue::Number(number);
    match column.data_type() {
        DataType::FixedSizeBinary(6) => {
            let octets = column.as_fixed_size_binary().value(row).iter();
            number(octets.fold(0, |number, octet| number << 8 | u64::from(*octet)))
        }
        DataType::FixedSizeBinary(_) => {
            let octets = <[u8; 16]>::try_from(column.as_fixed_size_binary().value(row));
            octets.map_or(KeyValue::None, |octets| {
                KeyValue::Address(u128::from_be_bytes(octets))
            })
        }
        DataType::UInt8 => number(column.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => number(column.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => number(column.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => number(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Utf8View => KeyValue::Text(text::plain(column.as_string_view().value(row))),
        DataType::Utf8 => KeyValue::Text(text::plain(column.as_string::<i32>().value(row))),
        _ => KeyValue::None,
    }
}
