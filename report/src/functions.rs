//! What is computed from a flow's columns: durations, rates, networks and membership in large sets; as
//! plain functions, and as functions of `DataFusion` over columns.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, FixedSizeBinaryArray,
        FixedSizeBinaryBuilder, StringBuilder, UInt64Array,
    },
    datatypes::{
        DataType, Decimal128Type, TimeUnit, TimestampNanosecondType, UInt8Type, UInt32Type,
        UInt64Type,
    },
};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::{ScalarUDF, TypeSignature},
    prelude::{Expr, col},
};

use crate::{
    filter::ranges::{self, Ranges},
    local_names::{self, What as Known},
    others,
    over_columns::{self, OverColumns},
};

/// How addresses are stored: 16 octets.
pub const ADDRESS: DataType = DataType::FixedSizeBinary(16);
/// What counts are added up in: exporters choose them, two may be more than 64 bits hold, and the engine's
/// sums wrap. A sum of these has the same type, also one of sums.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// Milliseconds from first to last packet, both times cut to milliseconds as nfdump stores them; 0 if
/// the last comes before the first.
#[must_use]
pub fn duration_ms(start_ns: i64, end_ns: i64) -> u64 {
    let span = end_ns.div_euclid(1_000_000) - start_ns.div_euclid(1_000_000);
    u64::try_from(span).unwrap_or(0)
}

/// So many a second, cut to a whole number; 0 for a flow without duration.
#[must_use]
pub fn per_second(count: u64, duration_ms: u64) -> u64 {
    ratio(u128::from(count) * 1000, duration_ms)
}

/// Bits a second, likewise.
#[must_use]
pub fn bits_per_second(octets: u64, duration_ms: u64) -> u64 {
    ratio(u128::from(octets) * 8000, duration_ms)
}

/// Octets a packet, likewise.
#[must_use]
pub fn octets_per_packet(octets: u64, packets: u64) -> u64 {
    average(octets, packets)
}

/// A sum's share for each of so many, cut to a whole number; 0 of none.
#[must_use]
pub fn average(sum: u64, number: u64) -> u64 {
    ratio(u128::from(sum), number)
}

fn ratio(above: u128, below: u64) -> u64 {
    match u128::from(below) {
        0 => 0,
        below => u64::try_from(above / below).unwrap_or(u64::MAX),
    }
}

/// Duration in milliseconds, from the columns `flow_start` and `flow_end`.
#[must_use]
pub fn duration_expression() -> Expr {
    Rate::DurationMs.expression(vec![col("flow_start"), col("flow_end")])
}

/// Milliseconds by which a flow ended after it was received, 0 if it ended before, as it should.
#[must_use]
pub fn ahead_expression() -> Expr {
    Rate::DurationMs.expression(vec![col("received"), col("flow_end")])
}

/// Milliseconds between a flow's end and when it was received, 0 if it ended after.
#[must_use]
pub fn behind_expression() -> Expr {
    Rate::DurationMs.expression(vec![col("flow_end"), col("received")])
}

/// Packets a second, from the flow's columns.
#[must_use]
pub fn packets_per_second_expression() -> Expr {
    packets_per_second_of(col("packets"))
}

/// So many packets a second, in the flow's time.
#[must_use]
pub fn packets_per_second_of(packets: Expr) -> Expr {
    let columns = vec![packets, col("flow_start"), col("flow_end")];
    Rate::PacketsPerSecond.expression(columns)
}

/// Bits a second, from the flow's columns.
#[must_use]
pub fn bits_per_second_expression() -> Expr {
    bits_per_second_of(col("octets"))
}

/// Bits of so many octets a second, likewise.
#[must_use]
pub fn bits_per_second_of(octets: Expr) -> Expr {
    let columns = vec![octets, col("flow_start"), col("flow_end")];
    Rate::BitsPerSecond.expression(columns)
}

/// Octets a packet, from the flow's columns.
#[must_use]
pub fn octets_per_packet_expression() -> Expr {
    octets_per_packet_of(col("octets"), col("packets"))
}

/// Octets a packet, of so many.
#[must_use]
pub fn octets_per_packet_of(octets: Expr, packets: Expr) -> Expr {
    Rate::OctetsPerPacket.expression(vec![octets, packets])
}

/// What a count is of all packets, if so many of them stand for each that was looked at (0 is 1).
#[must_use]
pub fn scaled(count: u64, interval: u32) -> u64 {
    count.saturating_mul(interval.max(1).into())
}

/// A count of all packets, from one of those that were looked at.
#[must_use]
pub fn scaled_expression(count: Expr, interval: Expr) -> Expr {
    exact(Scaled, vec![DataType::UInt64, DataType::UInt32]).call(vec![count, interval])
}

/// A count, to be added up.
#[must_use]
pub fn addend_expression(count: Expr) -> Expr {
    exact(Widened, vec![DataType::UInt64]).call(vec![count])
}

/// A sum of those as a count again; if it is more than 64 bits hold, as many as they hold.
#[must_use]
pub fn sum_expression(sum: Expr) -> Expr {
    exact(Saturated, vec![WIDE]).call(vec![sum])
}

/// An address cut to a prefix of so many bits of its family.
#[must_use]
pub fn network_expression(address: Expr, v4_bits: u8, v6_bits: u8) -> Expr {
    let network = Network {
        name: format!("network_{v4_bits}_{v6_bits}"),
        v4_bits,
        v6_bits,
    };
    exact(network, vec![ADDRESS]).call(vec![address])
}

/// An address cut to a prefix whose length is in another column.
#[must_use]
pub fn own_network_expression(address: Expr, bits: Expr) -> Expr {
    exact(OwnNetwork, vec![ADDRESS, DataType::UInt8]).call(vec![address, bits])
}

/// What local files know of an address.
#[must_use]
pub fn known_expression(address: Expr, what: Known) -> Expr {
    exact(OfAddress(what), vec![ADDRESS]).call(vec![address])
}

/// Whether an address (as octets or as text) or a number of 64 bits is in a set.
#[must_use]
pub fn within_expression(value: Expr, ranges: Ranges) -> Expr {
    let within = Within(Arc::new(ranges));
    over_columns::function(within, TypeSignature::Any(1)).call(vec![value])
}

/// A function of columns of these types.
fn exact(function: impl OverColumns, types: Vec<DataType>) -> ScalarUDF {
    over_columns::function(function, TypeSignature::Exact(types))
}

/// A number computed from counts and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rate {
    DurationMs,
    PacketsPerSecond,
    BitsPerSecond,
    OctetsPerPacket,
}

impl Rate {
    fn expression(self, columns: Vec<Expr>) -> Expr {
        let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let types = match self {
            Self::DurationMs => vec![time(), time()],
            Self::PacketsPerSecond | Self::BitsPerSecond => {
                vec![DataType::UInt64, time(), time()]
            }
            Self::OctetsPerPacket => vec![DataType::UInt64, DataType::UInt64],
        };
        exact(self, types).call(columns)
    }
}

impl OverColumns for Rate {
    fn name(&self) -> &'static str {
        match self {
            Self::DurationMs => "duration_ms",
            Self::PacketsPerSecond => "packets_per_second",
            Self::BitsPerSecond => "bits_per_second",
            Self::OctetsPerPacket => "octets_per_packet",
        }
    }

    fn made(&self) -> DataType {
        DataType::UInt64
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let counts = |at: usize| columns[at].as_primitive::<UInt64Type>().values();
        let durations = |at: usize| {
            let starts = columns[at].as_primitive::<TimestampNanosecondType>();
            let ends = columns[at + 1].as_primitive::<TimestampNanosecondType>();
            let pairs = starts.values().iter().zip(ends.values().iter());
            pairs.map(|(start, end)| duration_ms(*start, *end))
        };
        let values: Vec<u64> = match self {
            Self::DurationMs => durations(0).collect(),
            Self::PacketsPerSecond => {
                let both = counts(0).iter().zip(durations(1));
                both.map(|(count, duration)| per_second(*count, duration))
                    .collect()
            }
            Self::BitsPerSecond => {
                let both = counts(0).iter().zip(durations(1));
                both.map(|(octets, duration)| bits_per_second(*octets, duration))
                    .collect()
            }
            Self::OctetsPerPacket => {
                let both = counts(0).iter().zip(counts(1));
                both.map(|(octets, packets)| octets_per_packet(*octets, *packets))
                    .collect()
            }
        };
        Ok(Arc::new(UInt64Array::from(values)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled;

impl OverColumns for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
    }

    fn made(&self) -> DataType {
        DataType::UInt64
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let counts = columns[0].as_primitive::<UInt64Type>().values().iter();
        let intervals = columns[1].as_primitive::<UInt32Type>().values().iter();
        let both = counts.zip(intervals);
        let values: Vec<u64> = both
            .map(|(count, interval)| scaled(*count, *interval))
            .collect();
        Ok(Arc::new(UInt64Array::from(values)))
    }
}

/// The engine's own cast looks whether each number has as many digits as the type may have.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Widened;

impl OverColumns for Widened {
    fn name(&self) -> &'static str {
        "widened"
    }

    fn made(&self) -> DataType {
        WIDE
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let counts = columns[0].as_primitive::<UInt64Type>();
        let wide = counts.unary::<_, Decimal128Type>(i128::from);
        Ok(Arc::new(wide.with_data_type(WIDE)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Saturated;

impl OverColumns for Saturated {
    fn name(&self) -> &'static str {
        "saturated"
    }

    fn made(&self) -> DataType {
        DataType::UInt64
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let sums = columns[0].as_primitive::<Decimal128Type>().iter();
        let saturated = |sum: i128| u64::try_from(sum).unwrap_or(u64::MAX);
        let counts: UInt64Array = sums.map(|sum| sum.map(saturated)).collect();
        Ok(Arc::new(counts))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Network {
    /// Another one for other lengths: expressions are told apart by it.
    name: String,
    v4_bits: u8,
    v6_bits: u8,
}

impl OverColumns for Network {
    fn name(&self) -> &str {
        &self.name
    }

    fn made(&self) -> DataType {
        ADDRESS
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        addresses(columns[0].as_fixed_size_binary(), |_, address| {
            ranges::cut(address, self.v4_bits, self.v6_bits)
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OwnNetwork;

impl OverColumns for OwnNetwork {
    fn name(&self) -> &'static str {
        "own_network"
    }

    fn made(&self) -> DataType {
        ADDRESS
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let bits = columns[1].as_primitive::<UInt8Type>();
        addresses(columns[0].as_fixed_size_binary(), |row, address| {
            ranges::cut(address, bits.value(row), bits.value(row))
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfAddress(Known);

impl OverColumns for OfAddress {
    fn name(&self) -> &'static str {
        match self.0 {
            Known::Name => "known_name",
            Known::Country => "known_country",
            Known::AsName => "known_as_name",
        }
    }

    fn made(&self) -> DataType {
        DataType::Utf8
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let addresses = columns[0].as_fixed_size_binary();
        // The same addresses come again and again.
        let mut found: HashMap<u128, Option<String>> = HashMap::new();
        let mut made = StringBuilder::new();
        for row in 0..addresses.len() {
            let Some(address) = address_at(addresses, row) else {
                made.append_null();
                continue;
            };
            let known = found
                .entry(address)
                .or_insert_with(|| local_names::of(self.0, address));
            made.append_option(known.as_deref());
        }
        Ok(Arc::new(made.finish()))
    }
}

/// Addresses made of addresses, row by row; nulls stay.
///
/// # Errors
/// Never: each has 16 octets.
pub fn addresses(
    column: &FixedSizeBinaryArray,
    of: impl Fn(usize, u128) -> u128,
) -> Result<ArrayRef> {
    let mut made = FixedSizeBinaryBuilder::with_capacity(column.len(), 16);
    for row in 0..column.len() {
        match address_at(column, row) {
            Some(address) => made.append_value(ranges::octets_of(of(row, address)))?,
            None => made.append_null(),
        }
    }
    Ok(Arc::new(made.finish()))
}

/// The address in a row, if there is one.
#[must_use]
pub fn address_at(column: &FixedSizeBinaryArray, row: usize) -> Option<u128> {
    if column.is_null(row) {
        return None;
    }
    let octets = <[u8; 16]>::try_from(column.value(row)).ok()?;
    Some(u128::from_be_bytes(octets))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Within(Arc<Ranges>);

impl OverColumns for Within {
    fn name(&self) -> &'static str {
        "within"
    }

    fn made(&self) -> DataType {
        DataType::Boolean
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let members = members(&columns[0])?;
        let within = members.map(|member| member.is_some_and(|it| self.0.contains(it)));
        let within: BooleanArray = within.map(Some).collect();
        Ok(Arc::new(within))
    }
}

/// Addresses or numbers as members of sets; what is null or no address is none.
fn members(column: &ArrayRef) -> Result<Box<dyn Iterator<Item = Option<u128>> + '_>> {
    let rows = 0..column.len();
    let of_text = |text: &str| text.parse::<IpAddr>().ok().map(ranges::number_of);
    let members: Box<dyn Iterator<Item = Option<u128>> + '_> = match column.data_type() {
        DataType::FixedSizeBinary(16) => {
            let column = column.as_fixed_size_binary();
            Box::new(rows.map(move |row| address_at(column, row)))
        }
        // MAC addresses.
        DataType::FixedSizeBinary(6) => {
            let column = column.as_fixed_size_binary();
            Box::new(rows.map(move |row| {
                let octets = column.is_valid(row).then(|| column.value(row));
                octets.map(|octets| u128::from(others::number_of(octets)))
            }))
        }
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            Box::new(rows.map(move |row| of_text(column.value(row))))
        }
        DataType::Utf8View => {
            let column = column.as_string_view();
            Box::new(rows.map(move |row| of_text(column.value(row))))
        }
        DataType::UInt64 => {
            let column = column.as_primitive::<UInt64Type>();
            Box::new(rows.map(move |row| Some(column.value(row).into())))
        }
        other => {
            let says = format!("no set has members of type {other}");
            return Err(DataFusionError::Execution(says));
        }
    };
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_for_all_packets() {
        for (count, interval, all) in [(7, 10, 70), (7, 1, 7), (7, 0, 7), (u64::MAX, 2, u64::MAX)] {
            assert_eq!(scaled(count, interval), all, "{count} of one in {interval}");
        }
    }

    #[test]
    fn rates_are_whole_numbers_and_never_divide_by_zero() {
        assert_eq!(duration_ms(1_999_999, 3_000_000), 2);
        assert_eq!(duration_ms(3_000_000, 1_000_000), 0);
        assert_eq!(duration_ms(i64::MIN, i64::MAX), 18_446_744_073_709);
        assert_eq!(per_second(3, 2000), 1);
        assert_eq!(per_second(3, 0), 0);
        assert_eq!(bits_per_second(u64::MAX, 1), u64::MAX);
        assert_eq!(bits_per_second(1500, 1000), 12_000);
        assert_eq!(octets_per_packet(100, 3), 33);
        assert_eq!(octets_per_packet(100, 0), 0);
    }
}
