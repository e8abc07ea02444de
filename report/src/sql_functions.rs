//! Functions for `weir sql`, by which addresses, protocols and services are asked for as people write them.

use std::{net::IpAddr, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, FixedSizeBinaryArray,
        FixedSizeBinaryBuilder, StringArray,
    },
    compute::cast,
    datatypes::{DataType, UInt8Type, UInt16Type},
};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::TypeSignature,
    prelude::SessionContext,
};

use crate::{
    filter::{
        ranges::{self, Ranges},
        sets::Items,
    },
    functions::{self, ADDRESS},
    names,
    over_columns::{self, OverColumns},
    text,
};

/// Has a session know them.
pub fn register(session: &SessionContext) {
    for what in [
        What::Ip,
        What::Prefix,
        What::InNet,
        What::AddressText,
        What::ProtocolName,
        What::Service,
    ] {
        let arities = what.arities().iter().copied().map(TypeSignature::Any);
        let takes = TypeSignature::OneOf(arities.collect());
        session.register_udf(over_columns::function(what, takes));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    /// An address, from text.
    Ip,
    /// An address cut to so many bits; the third argument is for IPv6.
    Prefix,
    /// Whether an address is in a network.
    InNet,
    /// An address as text.
    AddressText,
    /// A protocol's name.
    ProtocolName,
    /// A port's service, or its number.
    Service,
}

impl What {
    /// Numbers of arguments.
    fn arities(self) -> &'static [usize] {
        match self {
            Self::Prefix => &[2, 3],
            Self::InNet => &[2],
            _ => &[1],
        }
    }
}

impl OverColumns for What {
    fn name(&self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Prefix => "prefix",
            Self::InNet => "in_net",
            Self::AddressText => "addr_text",
            Self::ProtocolName => "proto_name",
            Self::Service => "service",
        }
    }

    fn made(&self) -> DataType {
        match self {
            Self::Ip | Self::Prefix => ADDRESS,
            Self::InNet => DataType::Boolean,
            Self::AddressText | Self::ProtocolName | Self::Service => DataType::Utf8,
        }
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let made: ArrayRef = match self {
            Self::Ip => parsed(&columns[0])?,
            Self::Prefix => prefix(columns)?,
            Self::InNet => in_net(&columns[0], &columns[1])?,
            Self::AddressText => {
                let addresses = stored(&columns[0])?.iter();
                let texts = addresses.map(|octets| octets.map(text::address));
                Arc::new(texts.collect::<StringArray>())
            }
            Self::ProtocolName => {
                let numbers = cast(&columns[0], &DataType::UInt8)?;
                let numbers = numbers.as_primitive::<UInt8Type>().iter();
                let names = numbers.map(|number| number.map(names::protocol_name));
                Arc::new(names.collect::<StringArray>())
            }
            Self::Service => {
                let ports = cast(&columns[0], &DataType::UInt16)?;
                let ports = ports.as_primitive::<UInt16Type>().iter();
                let name = |port: u16| {
                    names::service(port).map_or_else(|| port.to_string(), str::to_owned)
                };
                let names = ports.map(|port| port.map(name));
                Arc::new(names.collect::<StringArray>())
            }
        };
        Ok(made)
    }
}

fn refuse<T>(says: String) -> Result<T> {
    Err(DataFusionError::Execution(says))
}

/// A column of addresses as they are stored.
fn stored(column: &ArrayRef) -> Result<&FixedSizeBinaryArray> {
    match column.as_fixed_size_binary_opt() {
        Some(addresses) if addresses.value_length() == 16 => Ok(addresses),
        _ => refuse("an address fits here, such as src_addr or ip('192.0.2.1')".to_owned()),
    }
}

fn parsed(column: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(column, &DataType::Utf8)?;
    let mut made = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts.as_string::<i32>() {
        let Some(text) = text else {
            made.append_null();
            continue;
        };
        let Ok(address) = text.parse::<IpAddr>() else {
            return refuse(format!("`{text}` is no address: ip('192.0.2.1') fits"));
        };
        made.append_value(ranges::octets_of(ranges::number_of(address)))?;
    }
    Ok(Arc::new(made.finish()))
}

fn prefix(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let addresses = stored(&columns[0])?;
    let lengths = |column: &ArrayRef| -> Result<ArrayRef> {
        let lengths = cast(column, &DataType::UInt8)?;
        if lengths.null_count() > 0 {
            return refuse("a prefix length fits here, as in prefix(src_addr, 24)".to_owned());
        }
        Ok(lengths)
    };
    let v4 = lengths(&columns[1])?;
    let v6 = lengths(columns.last().unwrap_or(&columns[1]))?;
    let (v4, v6) = (
        v4.as_primitive::<UInt8Type>(),
        v6.as_primitive::<UInt8Type>(),
    );
    functions::addresses(addresses, |row, address| {
        ranges::cut(address, v4.value(row), v6.value(row))
    })
}

fn in_net(column: &ArrayRef, networks: &ArrayRef) -> Result<ArrayRef> {
    let addresses = stored(column)?;
    let networks = cast(networks, &DataType::Utf8)?;
    let mut known: Option<(String, Ranges)> = None;
    let mut within: Vec<Option<bool>> = Vec::with_capacity(addresses.len());
    for (row, network) in networks.as_string::<i32>().iter().enumerate() {
        let (Some(network), Some(address)) = (network, functions::address_at(addresses, row))
        else {
            within.push(None);
            continue;
        };
        // It is the same in all rows, as a rule.
        if known.as_ref().is_none_or(|(text, _)| text != network) {
            let found = Items::Addresses.item(network, |_| Vec::new());
            let found = found.map_err(|says| {
                DataFusionError::Execution(format!("`{network}` is no network: {says}"))
            })?;
            known = Some((network.to_owned(), Ranges::new(found)));
        }
        within.push(known.as_ref().map(|(_, ranges)| ranges.contains(address)));
    }
    Ok(Arc::new(BooleanArray::from(within)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(query: &str) -> Result<String> {
        let session = SessionContext::new();
        register(&session);
        let batches = session.sql(query).await?.collect().await?;
        let column = batches[0].column(0);
        let texts = match column.data_type() {
            DataType::FixedSizeBinary(16) => text::address(column.as_fixed_size_binary().value(0)),
            _ => cast(column, &DataType::Utf8)?
                .as_string::<i32>()
                .value(0)
                .to_owned(),
        };
        Ok(texts)
    }

    fn asked(query: &str) -> Result<String> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(answer(query))
    }

    #[test]
    fn addresses_and_names_are_as_people_write_them() {
        for (query, expected) in [
            ("select ip('10.1.2.3')", "10.1.2.3"),
            ("select ip('2001:db8::1')", "2001:db8::1"),
            ("select prefix(ip('10.1.2.3'), 24)", "10.1.2.0"),
            (
                "select prefix(ip('2001:db8:1:2::3'), 24, 48)",
                "2001:db8:1::",
            ),
            ("select addr_text(prefix(ip('10.1.2.3'), 8))", "10.0.0.0"),
            ("select in_net(ip('10.1.2.3'), '10.0.0.0/8')", "true"),
            ("select in_net(ip('11.1.2.3'), '10.0.0.0/8')", "false"),
            ("select proto_name(6)", "tcp"),
            ("select service(443)", "https"),
            ("select service(1)", "1"),
        ] {
            let found = asked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_a_sentence() {
        for (query, words) in [
            ("select ip('10.1.2')", "`10.1.2` is no address"),
            ("select prefix('10.1.2.3', 24)", "an address fits here"),
            (
                "select prefix(ip('10.1.2.3'), 300)",
                "a prefix length fits here",
            ),
            (
                "select in_net(ip('10.1.2.3'), 'ten/8')",
                "`ten/8` is no network",
            ),
        ] {
            let says = asked(query).unwrap_err().to_string();
            assert!(says.contains(words), "{query}: {says}");
        }
    }
}
