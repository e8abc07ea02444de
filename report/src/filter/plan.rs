//! A filter as an expression over the files' columns. Literals have the columns' own types, so that
//! Parquet's statistics and Bloom filters rule out what they can, and conditions are joined as trees
//! of little depth, since `DataFusion` walks expressions by recursion.

use arrow::datatypes::DataType;
use datafusion::{
    prelude::{Expr, bitwise_and, bitwise_shift_right, cast, col, lit},
    scalar::ScalarValue,
};
use weir_netflow::record::display_address;

use super::{
    ast::{Comparison, Field, Filter, Kind, Test, latency_keys, mpls_element},
    ranges::{self, Ranges},
};
use crate::{
    functions,
    local_names::What,
    others::{self, OtherKind},
};

/// Members of a set that are written out as a list.
const LISTED_MAX: usize = 256;
/// Ranges of a set that are written out as comparisons; for more there is a function.
const COMPARED_MAX: usize = 16;

/// The expression of a filter.
#[must_use]
pub fn plan(filter: &Filter) -> Expr {
    match filter {
        Filter::All(parts) => joined(parts, &plan, Expr::and, true),
        Filter::Any(parts) => joined(parts, &plan, Expr::or, false),
        Filter::Not(inner) => !plan(inner),
        Filter::Test(test) => planned(test),
    }
}

/// Joins parts in halves of halves.
fn joined<T>(
    parts: &[T],
    each: &impl Fn(&T) -> Expr,
    join: fn(Expr, Expr) -> Expr,
    of_none: bool,
) -> Expr {
    match parts {
        [] => lit(of_none),
        [part] => each(part),
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            join(
                joined(left, each, join, of_none),
                joined(right, each, join, of_none),
            )
        }
    }
}

fn planned(test: &Test) -> Expr {
    match test {
        Test::Number {
            field,
            comparison,
            value,
        } => number(*field, *comparison, *value),
        Test::Within { field, ranges } => within(*field, ranges),
        Test::Fields {
            left,
            comparison,
            right,
        } => fields(*left, *comparison, *right),
        Test::Flags { mask, every } => {
            let bits = bitwise_and(col("tcp_flags"), lit(*mask));
            if *every {
                bits.eq(lit(*mask))
            } else {
                bits.not_eq(lit(0u16))
            }
        }
        Test::Word { field, word } => present(&[*field], value_of(*field).eq(lit(word.clone()))),
        Test::Time {
            field,
            comparison,
            at_ms,
        } => time(*field, *comparison, *at_ms),
    }
}

/// A field's value, in its own type.
fn value_of(field: Field) -> Expr {
    match field {
        Field::SourceAddress => col("src_addr"),
        Field::DestinationAddress => col("dst_addr"),
        Field::NextHop
        | Field::BgpNextHop
        | Field::OuterSource
        | Field::OuterDestination
        | Field::SourceMac
        | Field::DestinationMac
        | Field::InnerVlan
        | Field::FlowLabel => col(nullable_column(field).unwrap_or_default()),
        // Label, traffic class, bottom of stack (RFC 3032 section 2.1).
        Field::MplsLabel(place) => mpls(place, 4, 0xf_ffff),
        Field::MplsExp(place) => mpls(place, 1, 7),
        Field::MplsBottom(place) => mpls(place, 0, 1),
        Field::Other(element) => other(OtherKind::Said, element),
        Field::OtherOrZero(element) => other(OtherKind::Number, element),
        Field::OtherPart(element, place) => other(OtherKind::Part(place), element),
        Field::OtherWord(element) => other(OtherKind::Word, element),
        Field::OtherAddress(v4, v6) => others::other_expression(OtherKind::Address, [v4, v6]),
        Field::Latency(seconds) => {
            others::other_expression(OtherKind::Microseconds, latency_keys(seconds))
        }
        Field::SourceCountry => country_of("src_addr"),
        Field::DestinationCountry => country_of("dst_addr"),
        Field::OuterSourceCountry => country_of("outer_src_addr"),
        Field::OuterDestinationCountry => country_of("outer_dst_addr"),
        Field::Exporter => col("exporter"),
        Field::SourcePort => col("src_port"),
        Field::DestinationPort => col("dst_port"),
        Field::Protocol => col("protocol"),
        Field::IpVersion => col("ip_version"),
        Field::TcpFlags => col("tcp_flags"),
        Field::Tos => col("tos"),
        Field::Packets => col("packets"),
        Field::Octets => col("octets"),
        Field::Flows => col("flows"),
        Field::IngressIfindex => col("ingress_ifindex"),
        Field::EgressIfindex => col("egress_ifindex"),
        Field::SourceAs => col("src_as"),
        Field::DestinationAs => col("dst_as"),
        Field::SourceMask => col("src_mask"),
        Field::DestinationMask => col("dst_mask"),
        Field::Vlan => col("vlan"),
        Field::Direction => col("direction"),
        Field::SamplingInterval => col("sampling_interval"),
        Field::SourceId => col("source_id"),
        Field::EngineType => {
            let shifted = bitwise_shift_right(col("source_id"), lit(8u32));
            bitwise_and(shifted, lit(0xffu32))
        }
        Field::EngineId => bitwise_and(col("source_id"), lit(0xffu32)),
        Field::Version => col("version"),
        Field::IcmpType => bitwise_shift_right(col("dst_port"), lit(8u16)),
        Field::IcmpCode => bitwise_and(col("dst_port"), lit(0xffu16)),
        Field::DurationMs => functions::duration_expression(),
        Field::PacketsPerSecond => functions::packets_per_second_expression(),
        Field::BitsPerSecond => functions::bits_per_second_expression(),
        Field::OctetsPerPacket => functions::octets_per_packet_expression(),
        Field::Start => col("flow_start"),
        Field::End => col("flow_end"),
        Field::Received => col("received"),
    }
}

/// The country of the address in a column; null if none is known.
fn country_of(column: &str) -> Expr {
    functions::known_expression(col(column), What::Country)
}

/// What has no column.
fn other(kind: OtherKind, element: u16) -> Expr {
    others::other_expression(kind, [element, element])
}

/// An entry of the MPLS label stack, from 1; null if there is none.
fn mpls_entry(place: u8) -> Expr {
    match mpls_column(place) {
        Some(column) => cast(col(column), DataType::UInt64),
        None => other(OtherKind::Said, mpls_element(place)),
    }
}

/// A part of it.
fn mpls(place: u8, shift: u64, mask: u64) -> Expr {
    bitwise_and(
        bitwise_shift_right(mpls_entry(place), lit(shift)),
        lit(mask),
    )
}

/// The column of a field that not every record has.
fn nullable_column(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::NextHop => "next_hop",
        Field::BgpNextHop => "bgp_next_hop",
        Field::OuterSource => "outer_src_addr",
        Field::OuterDestination => "outer_dst_addr",
        Field::SourceMac => "src_mac",
        Field::DestinationMac => "dst_mac",
        Field::InnerVlan => "inner_vlan",
        Field::FlowLabel => "flow_label",
        _ => return None,
    })
}

/// What is null where a record does not have a field, if not every record has it.
fn said(field: Field) -> Option<Expr> {
    match field {
        Field::MplsLabel(place) | Field::MplsExp(place) | Field::MplsBottom(place) => {
            Some(mpls_entry(place))
        }
        Field::Other(_)
        | Field::OtherPart(..)
        | Field::OtherAddress(..)
        | Field::OtherWord(_)
        | Field::Latency(_)
        | Field::SourceCountry
        | Field::DestinationCountry
        | Field::OuterSourceCountry
        | Field::OuterDestinationCountry => Some(value_of(field)),
        _ => nullable_column(field).map(col),
    }
}

fn mpls_column(place: u8) -> Option<&'static str> {
    Some(match place {
        1 => "mpls_label_1",
        2 => "mpls_label_2",
        3 => "mpls_label_3",
        4 => "mpls_label_4",
        _ => return None,
    })
}

/// A number in the type of a field's value. The parser has seen to it that it fits.
fn literal(field: Field, value: u64) -> Expr {
    let most = match field {
        Field::IcmpType | Field::IcmpCode => Field::DestinationPort.most(),
        Field::EngineType | Field::EngineId | Field::FlowLabel => Field::SourceId.most(),
        Field::MplsLabel(_)
        | Field::MplsExp(_)
        | Field::MplsBottom(_)
        | Field::Other(_)
        | Field::OtherOrZero(_)
        | Field::OtherPart(..) => u64::MAX,
        Field::SourceMac | Field::DestinationMac => {
            let [_, _, octets @ ..] = value.to_be_bytes();
            return lit(ScalarValue::FixedSizeBinary(6, Some(octets.to_vec())));
        }
        field => field.most(),
    };
    match most {
        0xff => lit(u8::try_from(value).unwrap_or(u8::MAX)),
        0xffff => lit(u16::try_from(value).unwrap_or(u16::MAX)),
        0xffff_ffff => lit(u32::try_from(value).unwrap_or(u32::MAX)),
        _ => lit(value),
    }
}

fn compared(left: Expr, comparison: Comparison, right: Expr) -> Expr {
    match comparison {
        Comparison::Equal => left.eq(right),
        Comparison::NotEqual => left.not_eq(right),
        Comparison::Less => left.lt(right),
        Comparison::LessOrEqual => left.lt_eq(right),
        Comparison::Greater => left.gt(right),
        Comparison::GreaterOrEqual => left.gt_eq(right),
    }
}

fn number(field: Field, comparison: Comparison, value: u64) -> Expr {
    if field != Field::IcmpType {
        let test = compared(value_of(field), comparison, literal(field, value));
        return present(&[field], test);
    }
    // The upper octet of a port is compared as the port, which has statistics.
    let compare = |comparison: Comparison, port: u64| {
        let port = literal(Field::DestinationPort, port);
        compared(col("dst_port"), comparison, port)
    };
    let first = value.min(0xff) << 8;
    cut(comparison, compare, first, first | 0xff)
}

/// A comparison of a cut value (an upper octet, whole milliseconds) as comparisons of the value
/// itself, which `first` to `last` are cut to the same.
fn cut<T: Copy>(
    comparison: Comparison,
    compare: impl Fn(Comparison, T) -> Expr,
    first: T,
    last: T,
) -> Expr {
    match comparison {
        Comparison::Equal => {
            compare(Comparison::GreaterOrEqual, first).and(compare(Comparison::LessOrEqual, last))
        }
        Comparison::NotEqual => {
            compare(Comparison::Less, first).or(compare(Comparison::Greater, last))
        }
        Comparison::Less | Comparison::GreaterOrEqual => compare(comparison, first),
        Comparison::LessOrEqual | Comparison::Greater => compare(comparison, last),
    }
}

fn time(field: Field, comparison: Comparison, at_ms: i64) -> Expr {
    let first_ns = at_ms.saturating_mul(1_000_000);
    let compare = |comparison: Comparison, at_ns: i64| {
        let at = ScalarValue::TimestampNanosecond(Some(at_ns), Some("UTC".into()));
        compared(value_of(field), comparison, lit(at))
    };
    cut(
        comparison,
        compare,
        first_ns,
        first_ns.saturating_add(999_999),
    )
}

fn fields(left: Field, comparison: Comparison, right: Field) -> Expr {
    let of = |field: Field| match field.kind() {
        Kind::Number => cast(value_of(field), DataType::UInt64),
        _ => value_of(field),
    };
    present(&[left, right], compared(of(left), comparison, of(right)))
}

/// A test on fields that may be null; what is not there passes no test.
fn present(fields: &[Field], test: Expr) -> Expr {
    let values = fields.iter().filter_map(|field| said(*field));
    values.fold(test, |test, value| value.is_not_null().and(test))
}

fn within(field: Field, ranges: &Ranges) -> Expr {
    let value = value_of(field);
    match field.kind() {
        Kind::Address => present(&[field], members(ranges, &value, &value, address)),
        Kind::AddressText => texts(ranges, value),
        Kind::Number | Kind::Mac | Kind::Time | Kind::Word | Kind::Microseconds => {
            let wide = match field.kind() {
                Kind::Mac => value.clone(),
                _ => cast(value.clone(), DataType::UInt64),
            };
            let test = members(ranges, &value, &wide, |number| {
                literal(field, u64::try_from(number).unwrap_or(u64::MAX))
            });
            present(&[field], test)
        }
    }
}

fn address(number: u128) -> Expr {
    let octets = ranges::octets_of(number).to_vec();
    lit(ScalarValue::FixedSizeBinary(16, Some(octets)))
}

/// Membership of a value in a set whose members are written as `literal` does. A large set is a
/// function of the value as `wide`; its ends are compared before, which statistics may rule out.
fn members(ranges: &Ranges, value: &Expr, wide: &Expr, literal: impl Fn(u128) -> Expr) -> Expr {
    let between = |(first, last): &(u128, u128)| {
        if first == last {
            return value.clone().eq(literal(*first));
        }
        let above = value.clone().gt_eq(literal(*first));
        above.and(value.clone().lt_eq(literal(*last)))
    };
    if let Some(singles) = ranges.singles()
        && (2..=LISTED_MAX).contains(&singles.len())
    {
        let list = singles.into_iter().map(&literal).collect();
        return value.clone().in_list(list, false);
    }
    match ranges.pairs() {
        [first, .., last] if ranges.pairs().len() > COMPARED_MAX => {
            let ends = between(&(first.0, last.1));
            let within = functions::within_expression(wide.clone(), ranges.clone());
            ends.and(within)
        }
        pairs => joined(pairs, &between, Expr::or, false),
    }
}

/// Membership of an address that is stored as people write it.
fn texts(ranges: &Ranges, value: Expr) -> Expr {
    let text = |number: u128| lit(display_address(number.into()).to_string());
    match ranges.singles() {
        Some(singles) if singles.len() <= LISTED_MAX => {
            let each = |number: &u128| value.clone().eq(text(*number));
            joined(&singles, &each, Expr::or, false)
        }
        _ => functions::within_expression(value, ranges.clone()),
    }
}
