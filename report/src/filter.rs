//! The filter language: text to an expression over the files' columns. What is wrong is pointed at.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Result, anyhow};
use datafusion::{
    prelude::{Expr, col, lit},
    scalar::ScalarValue,
};
use pest::{
    Parser as _, Span,
    error::{Error, ErrorVariant},
    iterators::Pair,
};
use pest_derive::Parser;

#[derive(Parser)]
#[grammar = "filter.pest"]
struct Grammar;

/// Parses a filter.
///
/// # Errors
/// Several lines: the filter with a caret under what does not fit, and what would.
pub fn parse(text: &str) -> Result<Expr> {
    let mut pairs = Grammar::parse(Rule::filter, text).map_err(explain)?;
    let expression = pairs.next().ok_or_else(|| anyhow!("the filter is empty"))?;
    expression_of(expression).map_err(|error| explain(*error))
}

type Refusal = Box<Error<Rule>>;

fn explain(error: Error<Rule>) -> anyhow::Error {
    let error = error.renamed_rules(|rule| {
        match rule {
            Rule::EOI => "the end",
            Rule::expression
            | Rule::conjunction
            | Rule::factor
            | Rule::filter
            | Rule::primitive => "a condition",
            Rule::everything => "any",
            Rule::word_ip => "ip, host",
            Rule::word_net => "net",
            Rule::word_port => "port",
            Rule::word_proto => "proto",
            Rule::family => "ipv4, ipv6",
            Rule::host => "ip ADDRESS",
            Rule::network => "net ADDRESS/LENGTH",
            Rule::port => "port NUMBER",
            Rule::protocol => "proto NAME",
            Rule::protocol_name => "tcp, udp, icmp …",
            Rule::side => "src, dst",
            Rule::comparison => "a comparison",
            Rule::address => "an address",
            Rule::number => "a number",
            Rule::and => "and",
            Rule::or => "or",
            Rule::not | Rule::negation => "not",
            Rule::boundary | Rule::WHITESPACE => "a space",
        }
        .to_owned()
    });
    anyhow!("this filter cannot be understood:\n{error}")
}

#[expect(
    clippy::unnecessary_box_returns,
    reason = "as large as a page; boxed where it is passed on"
)]
fn refuse(span: Span<'_>, message: &str) -> Refusal {
    Box::new(Error::new_from_span(
        ErrorVariant::CustomError {
            message: message.to_owned(),
        },
        span,
    ))
}

fn expression_of(pair: Pair<'_, Rule>) -> Result<Expr, Refusal> {
    let span = pair.as_span();
    match pair.as_rule() {
        Rule::expression => fold(pair, Rule::or, Expr::or),
        Rule::conjunction => fold(pair, Rule::and, Expr::and),
        Rule::negation => {
            let inner = pair
                .into_inner()
                .find(|part| part.as_rule() != Rule::not)
                .ok_or_else(|| refuse(span, "a condition is missing"))?;
            Ok(!expression_of(inner)?)
        }
        Rule::everything => Ok(lit(true)),
        Rule::family => Ok(col("ip_version").eq(lit(if span.as_str().contains('6') {
            6u8
        } else {
            4u8
        }))),
        Rule::host => host(pair),
        Rule::network => network(pair),
        Rule::port => port(pair),
        Rule::protocol => protocol(pair),
        _ => Err(refuse(span, "this has no meaning here")),
    }
}

fn fold(
    pair: Pair<'_, Rule>,
    between: Rule,
    join: fn(Expr, Expr) -> Expr,
) -> Result<Expr, Refusal> {
    let span = pair.as_span();
    let mut parts = pair
        .into_inner()
        .filter(|part| part.as_rule() != between)
        .map(expression_of);
    let first = parts
        .next()
        .ok_or_else(|| refuse(span, "a condition is missing"))??;
    parts.try_fold(first, |left, right| Ok(join(left, right?)))
}

/// The columns a condition is about: those of one side, or of both.
fn either(side: Option<&Pair<'_, Rule>>, name: &str, condition: impl Fn(Expr) -> Expr) -> Expr {
    let on = |side: &str| condition(col(format!("{side}_{name}")));
    match side
        .map(|side| side.as_str().trim().to_ascii_lowercase())
        .as_deref()
    {
        Some("src") => on("src"),
        Some(_) => on("dst"),
        None => on("src").or(on("dst")),
    }
}

fn parts(pair: Pair<'_, Rule>) -> (Option<Pair<'_, Rule>>, Vec<Pair<'_, Rule>>) {
    let mut rest: Vec<_> = pair.into_inner().filter(|part| !is_word(part)).collect();
    let side = rest
        .first()
        .is_some_and(|first| first.as_rule() == Rule::side)
        .then(|| rest.remove(0));
    (side, rest)
}

fn is_word(pair: &Pair<'_, Rule>) -> bool {
    matches!(
        pair.as_rule(),
        Rule::word_ip | Rule::word_net | Rule::word_port | Rule::word_proto
    )
}

fn address(pair: &Pair<'_, Rule>) -> Result<IpAddr, Refusal> {
    pair.as_str()
        .parse()
        .map_err(|_| refuse(pair.as_span(), "this is no IPv4 or IPv6 address"))
}

fn mapped(address: IpAddr) -> u128 {
    u128::from(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    })
}

fn octets(address: u128) -> Expr {
    lit(ScalarValue::FixedSizeBinary(
        16,
        Some(Ipv6Addr::from(address).octets().to_vec()),
    ))
}

fn host(pair: Pair<'_, Rule>) -> Result<Expr, Refusal> {
    let span = pair.as_span();
    let (side, rest) = parts(pair);
    let [found] = &rest[..] else {
        return Err(refuse(span, "an address is missing"));
    };
    let found = mapped(address(found)?);
    Ok(either(side.as_ref(), "addr", |column| {
        column.eq(octets(found))
    }))
}

fn network(pair: Pair<'_, Rule>) -> Result<Expr, Refusal> {
    let span = pair.as_span();
    let (side, rest) = parts(pair);
    let [found, length] = &rest[..] else {
        return Err(refuse(span, "a network is missing"));
    };
    let found = address(found)?;
    let most = if found.is_ipv4() { 32 } else { 128 };
    let bits: u32 = number(length, most)?;
    let free = most - bits;
    let first = mapped(found) & u128::MAX.checked_shl(free).unwrap_or(0);
    // The free bits set; for IPv4 only its own 32 are.
    let last = first | !u128::MAX.checked_shl(free).unwrap_or(0);
    Ok(either(side.as_ref(), "addr", |column| {
        column
            .clone()
            .gt_eq(octets(first))
            .and(column.lt_eq(octets(last)))
    }))
}

fn number<N: TryFrom<u32>>(pair: &Pair<'_, Rule>, most: u32) -> Result<N, Refusal> {
    let too_large = || refuse(pair.as_span(), &format!("at most {most} fits here"));
    let number: u32 = pair.as_str().parse().map_err(|_| too_large())?;
    if number > most {
        return Err(too_large());
    }
    N::try_from(number).map_err(|_| too_large())
}

fn port(pair: Pair<'_, Rule>) -> Result<Expr, Refusal> {
    let span = pair.as_span();
    let (side, rest) = parts(pair);
    let (comparison, found) = match &rest[..] {
        [found] => ("=", found),
        [comparison, found] => (comparison.as_str(), found),
        _ => return Err(refuse(span, "a port is missing")),
    };
    let wanted: u16 = number(found, 65_535)?;
    Ok(either(side.as_ref(), "port", |column| match comparison {
        ">" => column.gt(lit(wanted)),
        ">=" => column.gt_eq(lit(wanted)),
        "<" => column.lt(lit(wanted)),
        "<=" => column.lt_eq(lit(wanted)),
        "!=" => column.not_eq(lit(wanted)),
        _ => column.eq(lit(wanted)),
    }))
}

fn protocol(pair: Pair<'_, Rule>) -> Result<Expr, Refusal> {
    let span = pair.as_span();
    let inner = pair
        .into_inner()
        .find(|part| !is_word(part))
        .ok_or_else(|| refuse(span, "a protocol is missing"))?;
    let wanted = match inner.as_rule() {
        Rule::number => number(&inner, 255)?,
        _ => protocol_number(inner.as_str().trim())
            .ok_or_else(|| refuse(span, "this protocol has no name here"))?,
    };
    Ok(col("protocol").eq(lit::<u8>(wanted)))
}

/// Names of protocols (IANA's numbers).
const PROTOCOLS: [(&str, u8); 10] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ospf", 89),
    ("sctp", 132),
];

fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, number)| *number)
}

/// A protocol's name, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    PROTOCOLS
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_understood() {
        for text in [
            "any",
            "tcp",
            "src ip 192.0.2.1",
            "host 2001:db8::1 and not dst port 53",
            "(proto udp or proto 132) and port >= 1024",
            "net 10.0.0.0/8 || dst net 2001:db8::/32",
            "ipv6 and icmp6",
            "not (src port 22 or src port 23)",
            "!tcp",
        ] {
            parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn a_network_is_a_range_of_its_family() {
        let text = parse("src net 192.0.2.77/24").unwrap().to_string();
        let expected = parse("src net 192.0.2.0/24").unwrap().to_string();
        assert_eq!(text, expected);
    }

    #[test]
    fn what_does_not_fit_is_pointed_at() {
        for (text, column) in [
            ("srcc ip 1.2.3.4", 1),
            ("src ip 1.2.3.4 und tcp", 16),
            ("port 70000", 6),
            ("src ip 1.2.3", 8),
            ("net 10.0.0.0/33", 14),
            ("tcp and", 8),
            ("tcpx", 1),
            ("port 80 )", 9),
        ] {
            let error = parse(text).unwrap_err().to_string();
            let caret = error
                .lines()
                .find(|line| line.contains('^'))
                .unwrap_or_else(|| panic!("{text}: {error}"));
            let offset = caret.find('^').unwrap() - caret.find("| ").unwrap() - 1;
            assert_eq!(offset, column, "{text}:\n{error}");
        }
    }
}
