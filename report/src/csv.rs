//! Statistics and groups as CSV. Statistics have nfdump's columns, which other programs read: a block each, with a
//! heading of its own, and a summary behind the last one. Groups have the headings that `csv:` has for flows.
#![expect(clippy::cast_precision_loss, reason = "parts of a whole to one place")]

use serde_json::Value;

use crate::{
    element::{Element, KeyValue},
    functions,
    gather::{Counts, Gathering, Group},
    ranking::Order,
    text,
    write::{self, TimeWriter},
};

/// Columns of a statistic.
const STATISTIC: &str = "ts,te,td,pr,val,fl,flP,pkt,pktP,byt,bytP,pps,bps,bpp";
/// Columns behind the last statistic.
const SUMMARY: &str = "flows,bytes,packets,avg_bps,avg_pps,avg_bpp";
/// Elements that `csv:` has a heading of its own for.
const HEADINGS: [(&str, &str); 5] = [
    ("proto", "proto"),
    ("srcip", "srcAddr"),
    ("srcport", "srcPort"),
    ("dstip", "dstAddr"),
    ("dstport", "dstPort"),
];

/// Appends a statistic: of one element, or of a protocol and one. It needs times.
pub fn statistic(lines: &mut Vec<u8>, gathering: &Gathering, groups: &[Group], whole: &Counts) {
    if !lines.is_empty() {
        lines.push(b'\n');
    }
    lines.extend_from_slice(STATISTIC.as_bytes());
    put_more_headings(lines, gathering);
    for Group { keys, counts } in groups {
        let (first_ns, last_ns) = counts.times_ns;
        for time_ns in [first_ns, last_ns] {
            lines.extend_from_slice(text::time_to_second(time_ns).as_bytes());
            lines.push(b',');
        }
        write::put_thousandths(lines, counts.duration_ms());
        lines.push(b',');
        put_keys(lines, &gathering.keys, keys);
        for (part, whole) in [
            (counts.flows, whole.flows),
            (counts.packets, whole.packets),
            (counts.octets, whole.octets),
        ] {
            let share = 100.0 * part as f64 / whole.max(1) as f64;
            put(lines, &format!(",{part},{share:.1}"));
        }
        for rate in [Order::Pps, Order::Bps, Order::Bpp] {
            lines.push(b',');
            write::put(lines, rate.measure(counts));
        }
        put_more(lines, gathering, counts);
    }
}

/// Appends what all flows have.
pub fn summary(lines: &mut Vec<u8>, whole: &Counts) {
    let rate = |order: Order| order.measure(whole);
    let (flows, octets, packets) = (whole.flows, whole.octets, whole.packets);
    let (bps, pps, bpp) = (rate(Order::Bps), rate(Order::Pps), rate(Order::Bpp));
    put(
        lines,
        &format!("\nSummary\n{SUMMARY}\n{flows},{octets},{packets},{bps},{pps},{bpp}\n"),
    );
}

/// Appends groups, which need times.
pub fn groups(lines: &mut Vec<u8>, gathering: &Gathering, groups: &[Group]) {
    put(lines, "firstSeen,duration,");
    for key in &gathering.keys {
        let known = HEADINGS.iter().find(|(name, _)| *name == key.name);
        put(
            lines,
            known.map_or(key.name.as_str(), |(_, heading)| *heading),
        );
        lines.push(b',');
    }
    put(lines, "packets,bytes,flows");
    put_more_headings(lines, gathering);
    let times = TimeWriter::default();
    for Group { keys, counts } in groups {
        let (first_ns, last_ns) = counts.times_ns;
        times.put(lines, first_ns);
        lines.push(b',');
        write::put_thousandths(lines, functions::duration_ms(first_ns, last_ns));
        for (element, value) in gathering.keys.iter().zip(keys) {
            lines.push(b',');
            match protocol(element, value) {
                Some(number) => write::put_protocol(lines, number),
                None => put_value(lines, element, value),
            }
        }
        put(
            lines,
            &format!(",{},{},{}", counts.packets, counts.octets, counts.flows),
        );
        put_more(lines, gathering, counts);
    }
}

/// Appends protocol and value: `any` where a statistic is not told apart by protocols.
fn put_keys(lines: &mut Vec<u8>, elements: &[Element], values: &[KeyValue]) {
    let pairs = || elements.iter().zip(values);
    match pairs().find_map(|(element, value)| protocol(element, value)) {
        Some(number) => write::put_protocol(lines, number),
        None => put(lines, "any"),
    }
    lines.push(b',');
    if let Some((element, value)) = pairs().next_back() {
        match protocol(element, value) {
            Some(number) => write::put(lines, number.into()),
            None => put_value(lines, element, value),
        }
    }
}

/// A protocol's number.
fn protocol(element: &Element, value: &KeyValue) -> Option<u8> {
    match value {
        KeyValue::Number(number) if element.name == "proto" => u8::try_from(*number).ok(),
        _ => None,
    }
}

/// Appends a value without the name it has.
fn put_value(lines: &mut Vec<u8>, element: &Element, value: &KeyValue) {
    let field = match element.cell(value).json() {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    write::put_word(lines, field.as_bytes());
}

/// Appends the headings of what nfdump has not.
fn put_more_headings(lines: &mut Vec<u8>, gathering: &Gathering) {
    for element in &gathering.distinct {
        put(lines, &format!(",distinct({})", element.name));
    }
    if gathering.out.is_some() {
        put(lines, ",outPackets,outBytes");
    }
    lines.push(b'\n');
}

fn put_more(lines: &mut Vec<u8>, gathering: &Gathering, counts: &Counts) {
    for number in &counts.distinct {
        lines.push(b',');
        write::put(lines, *number);
    }
    if gathering.out.is_some() {
        put(
            lines,
            &format!(",{},{}", counts.out_packets, counts.out_octets),
        );
    }
    lines.push(b'\n');
}

fn put(lines: &mut Vec<u8>, text: &str) {
    lines.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filter::ranges, joined};

    fn gathering(keys: &[&str], distinct: &[&str]) -> Gathering {
        let elements = |names: &[&str]| {
            let names = names.iter();
            names.map(|name| Element::parse(name).unwrap()).collect()
        };
        Gathering {
            keys: elements(keys),
            distinct: elements(distinct),
            times: true,
            ..Gathering::default()
        }
    }

    fn group(keys: Vec<KeyValue>, distinct: Vec<u64>) -> Group {
        Group {
            keys,
            counts: Counts {
                flows: 2,
                packets: 10,
                octets: 5000,
                times_ns: (1_700_000_000_000_000_000, 1_700_000_002_000_000_000),
                distinct,
                out_packets: 3,
                out_octets: 900,
            },
        }
    }

    fn address() -> KeyValue {
        KeyValue::Address(ranges::number_of("192.0.2.1".parse().unwrap()))
    }

    #[test]
    fn statistics_have_nfdumps_columns() {
        let whole = Counts {
            flows: 4,
            packets: 10,
            octets: 50_000,
            times_ns: (1_700_000_000_000_000_000, 1_700_000_004_000_000_000),
            ..Counts::default()
        };
        let mut lines = Vec::new();
        let ports = vec![KeyValue::Number(6), KeyValue::Number(443)];
        for (keys, values) in [
            (&["srcip"][..], vec![address()]),
            (&["proto", "dstport"][..], ports),
            (&["proto"][..], vec![KeyValue::Number(17)]),
        ] {
            statistic(
                &mut lines,
                &gathering(keys, &[]),
                &[group(values, vec![])],
                &whole,
            );
        }
        summary(&mut lines, &whole);
        let times = "2023-11-14 22:13:20,2023-11-14 22:13:22,2.000";
        let counts = "2,50.0,10,100.0,5000,10.0,5,20000,500";
        let expected = format!(
            "{STATISTIC}\n{times},any,192.0.2.1,{counts}\n\n\
             {STATISTIC}\n{times},TCP,443,{counts}\n\n\
             {STATISTIC}\n{times},UDP,17,{counts}\n\n\
             Summary\n{SUMMARY}\n4,50000,10,100000,2,5000\n"
        );
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }

    #[test]
    fn groups_have_the_headings_of_flows() {
        let gathering = gathering(&["proto", "srcip", "tos"], &["dstip"]);
        let keys = vec![KeyValue::Number(6), address(), KeyValue::None];
        let mut lines = Vec::new();
        groups(&mut lines, &gathering, &[group(keys, vec![7])]);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "firstSeen,duration,proto,srcAddr,tos,packets,bytes,flows,distinct(dstip)\n\
             2023-11-14 22:13:20.000,2.000,TCP,192.0.2.1,,10,5000,2,7\n"
        );
        let mut gathering = gathering;
        gathering.out = Some(joined::out_counts(false));
        let mut lines = Vec::new();
        let values = vec![KeyValue::Number(6), address(), KeyValue::None];
        super::groups(&mut lines, &gathering, &[group(values, vec![7])]);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "firstSeen,duration,proto,srcAddr,tos,packets,bytes,flows,distinct(dstip),outPackets,outBytes\n\
             2023-11-14 22:13:20.000,2.000,TCP,192.0.2.1,,10,5000,2,7,3,900\n"
        );
    }
}
