//! Addresses as keys of groups: the engine groups by numbers much faster than by octets, and 16 octets are a
//! number of 128 bits as they lie in memory. It is no number to be reckoned with, but equal ones are equal.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Decimal128Array, FixedSizeBinaryArray},
    buffer::{Buffer, ScalarBuffer},
    datatypes::{DataType, Decimal128Type},
};
use datafusion::{
    error::Result,
    logical_expr::{ExprSchemable as _, TypeSignature},
    prelude::{DataFrame, Expr},
};

use crate::{
    functions::ADDRESS,
    over_columns::{self, OverColumns},
};

const KEY: DataType = DataType::Decimal128(38, 0);

/// A value to group by in place of one of these flows', and whether it is another, so that [`value_of`] has to be
/// asked for the first.
///
/// # Errors
/// If the value is not one of these flows.
pub fn key_of(value: Expr, flows: &DataFrame) -> Result<(Expr, bool)> {
    let is_address = value.get_type(flows.schema())? == ADDRESS;
    let key = if is_address {
        over_columns::function(AsNumber, TypeSignature::Exact(vec![ADDRESS])).call(vec![value])
    } else {
        value
    };
    Ok((key, is_address))
}

/// The address again.
#[must_use]
pub fn value_of(key: Expr) -> Expr {
    over_columns::function(AsAddress, TypeSignature::Exact(vec![KEY])).call(vec![key])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsNumber;

impl OverColumns for AsNumber {
    fn name(&self) -> &'static str {
        "address_as_number"
    }

    fn made(&self) -> DataType {
        KEY
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let addresses = columns[0].as_fixed_size_binary();
        let octets = addresses.values();
        let numbers = if octets.as_ptr().align_offset(align_of::<i128>()) == 0 {
            ScalarBuffer::new(octets.clone(), 0, addresses.len())
        } else {
            let (each, _) = octets.as_chunks::<16>();
            each.iter()
                .map(|octets| i128::from_ne_bytes(*octets))
                .collect()
        };
        let numbers = Decimal128Array::try_new(numbers, addresses.nulls().cloned())?;
        Ok(Arc::new(numbers.with_data_type(KEY)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsAddress;

impl OverColumns for AsAddress {
    fn name(&self) -> &'static str {
        "number_as_address"
    }

    fn made(&self) -> DataType {
        ADDRESS
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let numbers = columns[0].as_primitive::<Decimal128Type>();
        let octets: Buffer = numbers.values().inner().clone();
        let nulls = numbers.nulls().cloned();
        let addresses = FixedSizeBinaryArray::try_new(16, octets, nulls)?;
        Ok(Arc::new(addresses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_itself_again_wherever_it_lies_in_memory() {
        let octets: Vec<u8> = (0..=255).collect();
        let addresses = |from: usize| {
            let buffer = Buffer::from_vec(octets.clone()).slice_with_length(from, 160);
            Arc::new(FixedSizeBinaryArray::new(16, buffer, None)) as ArrayRef
        };
        for from in [0, 1, 7, 16] {
            let whole = addresses(from);
            for part in [whole.clone(), whole.slice(3, 4)] {
                let numbers = AsNumber.of(&[Arc::clone(&part)]).unwrap();
                assert_eq!(numbers.data_type(), &KEY);
                for numbers in [numbers.clone(), numbers.slice(1, 2)] {
                    let again = AsAddress.of(&[Arc::clone(&numbers)]).unwrap();
                    let expected = if numbers.len() == part.len() {
                        part.clone()
                    } else {
                        part.slice(1, 2)
                    };
                    assert_eq!(&again, &expected);
                }
            }
        }
    }

    #[test]
    fn an_address_that_is_missing_stays_missing() {
        let values = [Some([7; 16]), None, Some([9; 16])].into_iter();
        let addresses = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap();
        let addresses: ArrayRef = Arc::new(addresses);
        let again = AsAddress.of(&[AsNumber.of(&[Arc::clone(&addresses)]).unwrap()]);
        assert_eq!(&again.unwrap(), &addresses);
    }
}
