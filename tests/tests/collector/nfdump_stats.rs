//! nfdump agrees on what is gathered: the same datagrams in both collectors, each statistic (-s) by each
//! order, and aggregations (-A) with and without prefix lengths; the same rows, and in the same order as
//! far as the order tells them apart. Weir is asked in nfdump's own words.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;
use weir_exporter::Version;
use weir_tests::process::{built, succeed};

use crate::both::{FLOWS, datagrams, nfcapd_collects, plain, weir_collects};

/// Elements that v5 and v9 carry here; `:p` splits by protocol.
const ELEMENTS: [&str; 14] = [
    "srcip",
    "dstip",
    "ip",
    "srcport",
    "dstport",
    "port",
    "proto",
    "srctos",
    "inif",
    "outif",
    "if",
    "srcip:p",
    "dstport:p",
    "port:p",
];
/// Those that only v5 carries here. Prefix lengths of v5 are read by Weir, but not by nfdump.
const V5_ELEMENTS: [&str; 3] = ["srcas", "dstas", "as"];
const ORDERS: [&str; 6] = ["flows", "packets", "bytes", "pps", "bps", "bpp"];
/// Aggregations: elements of -A, and the tokens that show them.
const AGGREGATIONS: [(&str, &str); 11] = [
    ("srcip", "%sa"),
    ("dstip,proto", "%da %pr"),
    ("srcip,dstip", "%sa %da"),
    ("srcport,dstport", "%sp %dp"),
    ("proto,srcip,srcport,dstip,dstport", "%pr %sa %sp %da %dp"),
    ("inif,outif", "%in %out"),
    ("srctos,proto", "%stos %pr"),
    // With a length for IPv6 beside it nfdump 1.7.1 takes all of IPv4 for one network.
    ("srcip4/24", "%sa"),
    ("srcip4/16,dstip4/8", "%sa %da"),
    ("dstip4/25,dstport", "%da %dp"),
    ("srcip4/1,proto", "%sa %pr"),
];

/// What was counted of a group: flows, packets, octets.
type Counts = [u64; 3];

/// A group: protocol and value as both write them, its counts, and what it is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    key: String,
    counts: Counts,
    measure: u64,
}

/// Weir, in nfdump's words.
fn weir(flows: &Path, words: &[&str]) -> Value {
    let mut command = built("weir").unwrap();
    command.args(["nfdump", "-o", "json", "-n", "0", "-R"]);
    let text = succeed(command.arg(flows).args(words));
    serde_json::from_str(&text).unwrap()
}

/// A protocol's number, by name or number.
fn protocol(word: &str) -> String {
    let number = match word.to_ascii_lowercase().as_str() {
        "icmp" => "1",
        "tcp" => "6",
        "udp" => "17",
        "gre" => "47",
        "icmp6" | "ipv6-icmp" => "58",
        other => return other.to_owned(),
    };
    number.to_owned()
}

/// A value as text.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> u64 {
    let number = value.as_u64();
    number.unwrap_or_else(|| panic!("{value} is no number"))
}

fn weirs_statistic(flows: &Path, element: &str, order: &str) -> Vec<Row> {
    let statistic = format!("{element}/{order}");
    let answer = weir(flows, &["-s", &statistic]);
    let rows = answer["statistics"][0]["rows"].as_array().unwrap();
    let is_split = element.ends_with(":p");
    let rows = rows.iter().map(|row| {
        let row = row.as_object().unwrap();
        // Keys stand first; one by itself is called so, two by their names.
        let mut fields = row.values();
        let first = text_of(fields.next().unwrap());
        let key = if is_split {
            format!("{} {}", protocol(&first), text_of(fields.next().unwrap()))
        } else if element == "proto" {
            protocol(&first)
        } else {
            first
        };
        let counts = ["flows", "packets", "octets"].map(|name| number(&row[name]));
        let measure = match order {
            "flows" => counts[0],
            "packets" => counts[1],
            "bytes" => counts[2],
            rate => number(&row[rate]),
        };
        Row {
            key,
            counts,
            measure,
        }
    });
    rows.collect()
}

/// nfdump's `ts,te,td,pr,val,fl,flP,pkt,pktP,byt,bytP,pps,bps,bpp`, whatever the columns of counts are
/// called.
fn nfdumps_statistic(flows: &Path, element: &str, order: &str) -> Vec<Row> {
    let mut command = Command::new("nfdump");
    let statistic = format!("{element}/{order}");
    command.args(["-N", "-6", "-o", "csv", "-n", "0", "-s", &statistic, "-R"]);
    let text = succeed(command.arg(flows));
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("ts,te,td,pr,val,fl,"));
    let fields = lines
        .skip(1)
        .map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    let rows = fields
        .take_while(|fields| fields.len() == 14)
        .map(|fields| {
            let number = |at: usize| fields[at].parse::<u64>().unwrap();
            let key = match element {
                "proto" => protocol(fields[4]),
                split if split.ends_with(":p") => format!("{} {}", protocol(fields[3]), fields[4]),
                _ => fields[4].to_owned(),
            };
            let at = match order {
                "flows" => 5,
                "packets" => 7,
                "bytes" => 9,
                "pps" => 11,
                "bps" => 12,
                _ => 13,
            };
            Row {
                key,
                counts: [number(5), number(7), number(9)],
                measure: number(at),
            }
        });
    rows.collect()
}

fn by_key(rows: &[Row]) -> BTreeMap<&str, &Row> {
    rows.iter().map(|row| (row.key.as_str(), row)).collect()
}

/// Fails unless both have the same groups with the same counts, each in the order it was asked for.
/// nfdump computes rates in floating point: a whole number may come out one less.
#[track_caller]
fn assert_same(ours: &[Row], theirs: &[Row], what: &str) {
    assert!(!theirs.is_empty(), "{what}: nfdump has no rows");
    let (our_keys, their_keys) = (by_key(ours), by_key(theirs));
    assert_eq!(our_keys.len(), ours.len(), "{what}: a key is there twice");
    assert_eq!(
        our_keys.keys().collect::<Vec<_>>(),
        their_keys.keys().collect::<Vec<_>>(),
        "{what}"
    );
    for (key, ours) in &our_keys {
        let theirs = their_keys[key];
        assert_eq!(ours.counts, theirs.counts, "{what}: {key}");
        assert!(
            ours.measure.abs_diff(theirs.measure) <= 1,
            "{what}: {key}: {} and {}",
            ours.measure,
            theirs.measure
        );
    }
    // The lines stand in one order but for equals, whose order is nobody's.
    for (our, their) in ours.iter().zip(theirs) {
        assert!(
            our.measure.abs_diff(their.measure) <= 1,
            "{what}: {our:?} stands where nfdump has {their:?}"
        );
    }
}

#[test]
fn every_statistic_has_nfdumps_rows_by_every_order() {
    for (version, seed) in [(Version::V5, 11), (Version::V9, 12)] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = datagrams(version, seed);
        let ours = weir_collects(folder.path(), &datagrams);
        let theirs = nfcapd_collects(folder.path(), &datagrams, &[]);
        let more: &[&str] = if version == Version::V5 {
            &V5_ELEMENTS
        } else {
            &[]
        };
        let mut differences = Vec::new();
        for element in ELEMENTS.iter().chain(more) {
            for order in ORDERS {
                let what = format!("{version:?}: -s {element}/{order}");
                let compared = std::panic::catch_unwind(|| {
                    let weirs = weirs_statistic(&ours, element, order);
                    assert_same(&weirs, &nfdumps_statistic(&theirs, element, order), &what);
                });
                if compared.is_err() {
                    differences.push(what);
                }
            }
        }
        assert!(differences.is_empty(), "these differ: {differences:#?}");
    }
}

/// Lines of the CSV of a statistic, by protocol and value, and those behind them.
fn csv_of(text: &str) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let heading = lines
        .find(|line| line.starts_with("ts,te,td,pr,val,fl,"))
        .unwrap();
    let columns = heading.split(',').count();
    let mut rows = BTreeMap::new();
    let mut behind = Vec::new();
    for line in lines {
        let mut fields: Vec<String> = line
            .split(',')
            .map(|field| field.trim().to_owned())
            .collect();
        if fields.len() == columns {
            // Names of protocols are not the same everywhere.
            fields[3] = protocol(&fields[3]);
            rows.insert(format!("{} {}", fields[3], fields[4]), fields);
        } else {
            behind.push(line.to_owned());
        }
    }
    (rows, behind)
}

/// Programs read it (nfsen-ng): the same columns, and the same in them. Rates and parts are rounded.
#[test]
fn statistics_as_csv_are_nfdumps() {
    let folder = tempfile::tempdir().unwrap();
    let datagrams = datagrams(Version::V5, 15);
    let ours = weir_collects(folder.path(), &datagrams);
    let theirs = nfcapd_collects(folder.path(), &datagrams, &[]);
    for statistic in [
        "srcip/bytes",
        "dstport/packets",
        "proto/flows",
        "srcip:p/bytes",
    ] {
        let words = ["-s", statistic, "-n", "0", "-o", "csv", "-R"];
        let mut weir = built("weir").unwrap();
        let (our_rows, our_summary) = csv_of(&succeed(weir.arg("nfdump").args(words).arg(&ours)));
        let mut nfdump = Command::new("nfdump");
        nfdump.env("TZ", "UTC").arg("-6").args(words);
        let (their_rows, their_summary) = csv_of(&succeed(nfdump.arg(&theirs)));
        assert!(!their_rows.is_empty(), "{statistic}");
        assert_eq!(
            our_rows.keys().collect::<Vec<_>>(),
            their_rows.keys().collect::<Vec<_>>(),
            "{statistic}"
        );
        for (key, our_fields) in &our_rows {
            for (our, their) in our_fields.iter().zip(&their_rows[key]) {
                let numbers = (our.parse::<f64>(), their.parse::<f64>());
                let is_alike = match numbers {
                    (Ok(our), Ok(their)) => (our - their).abs() <= 1.0,
                    _ => our == their,
                };
                assert!(is_alike, "{statistic}: {key}: {our} and {their}");
            }
        }
        assert_eq!(our_summary[..2], their_summary[..2], "{statistic}");
        let counts = |line: &str| {
            line.split(',')
                .take(3)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            counts(&our_summary[2]),
            counts(&their_summary[2]),
            "{statistic}"
        );
        // Without the summary, and all of it otherwise.
        let mut quiet = built("weir").unwrap();
        let (rows, behind) = csv_of(&succeed(
            quiet.args(["nfdump", "-q"]).args(words).arg(&ours),
        ));
        assert_eq!((rows, behind), (our_rows, vec![]), "{statistic}");
    }
}

/// Lines only, as nfdump's -q has it; and the least first.
#[test]
fn statistics_without_what_is_around_them() {
    let folder = tempfile::tempdir().unwrap();
    let ours = weir_collects(folder.path(), &datagrams(Version::V5, 15));
    let table = |more: &[&str]| {
        let mut command = built("weir").unwrap();
        let words = ["nfdump", "-s", "proto/flows", "-R"];
        succeed(command.args(words).arg(&ours).args(more))
    };
    let quiet = table(&["-q"]);
    let whole = table(&[]);
    let rows: Vec<&str> = whole
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("all "))
        .collect();
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&quiet), words(&rows.join("\n")));
    let mut command = built("weir").unwrap();
    let words = ["nfdump", "-q", "-o", "csv", "-s", "proto/flows:a", "-R"];
    let text = succeed(command.args(words).arg(&ours));
    let flows: Vec<u64> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(5).unwrap().parse().unwrap())
        .collect();
    assert!(flows.is_sorted() && flows.len() > 2, "{flows:?}");
}

/// Groups of an aggregation: keys as text, and counts.
type Groups = BTreeMap<Vec<String>, Counts>;

fn weirs_groups(flows: &Path, elements: &str) -> Groups {
    let answer = weir(flows, &["-A", elements]);
    let rows = answer["groups"].as_array().unwrap();
    let group = |row: &Value| {
        let row = row.as_object().unwrap();
        let is_key = |name: &str| !["octets", "packets", "flows"].contains(&name);
        let keys = row.iter().take_while(|(name, _)| is_key(name));
        let keys = keys.map(|(name, value)| normal(name, &text_of(value)));
        let counts = ["flows", "packets", "octets"].map(|name| number(&row[name]));
        (keys.collect::<Vec<_>>(), counts)
    };
    let groups: Groups = rows.iter().map(group).collect();
    assert_eq!(groups.len(), rows.len(), "{elements}: a key is there twice");
    without_icmp_types(elements, groups)
}

/// A key as both write it: addresses without the length they were cut to, protocols as numbers.
fn normal(name: &str, text: &str) -> String {
    match name {
        "proto" => protocol(text),
        _ => text.split('/').next().unwrap_or_default().to_owned(),
    }
}

fn nfdumps_groups(flows: &Path, elements: &str, tokens: &str) -> Groups {
    let format = format!("fmt:{tokens} %fl %pkt %byt");
    let mut command = Command::new("nfdump");
    command.args(["-q", "-N", "-6", "-A", elements, "-o", &format, "-R"]);
    let text = succeed(command.arg(flows));
    let names: Vec<&str> = tokens.split(' ').collect();
    let group = |line: &str| -> Option<(Vec<String>, Counts)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (keys, counts) = fields.split_at_checked(names.len())?;
        let counts: Vec<u64> = counts.iter().map_while(|word| word.parse().ok()).collect();
        let counts: Counts = counts.try_into().ok()?;
        let keys = names.iter().zip(keys).map(|(token, text)| match *token {
            "%pr" => protocol(text),
            "%dp" => plain(text),
            _ => (*text).to_owned(),
        });
        Some((keys.collect(), counts))
    };
    without_icmp_types(elements, text.lines().filter_map(group))
}

/// Where it aggregates by protocol and port, nfdump 1.7.1 has a line for each type and code of ICMP, and prints
/// them all as 0.0.
fn without_icmp_types(
    elements: &str,
    all: impl IntoIterator<Item = (Vec<String>, Counts)>,
) -> Groups {
    let place = |wanted| elements.split(',').position(|element| element == wanted);
    let mut groups = Groups::new();
    for (mut keys, counts) in all {
        if let (Some(protocol), Some(port)) = (place("proto"), place("dstport"))
            && matches!(keys[protocol].as_str(), "1" | "58")
        {
            "0".clone_into(&mut keys[port]);
        }
        let sum = groups.entry(keys).or_default();
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    groups
}

#[test]
fn aggregations_have_nfdumps_rows() {
    for (version, seed) in [(Version::V5, 13), (Version::V9, 14)] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = datagrams(version, seed);
        let ours = weir_collects(folder.path(), &datagrams);
        let theirs = nfcapd_collects(folder.path(), &datagrams, &[]);
        for (elements, tokens) in AGGREGATIONS {
            if version == Version::V9 && elements.contains('/') {
                continue;
            }
            let expected = nfdumps_groups(&theirs, elements, tokens);
            let flows: u64 = expected.values().map(|counts| counts[0]).sum();
            assert_eq!(flows, FLOWS as u64, "{version:?}: nfdump's -A {elements}");
            assert_eq!(
                weirs_groups(&ours, elements),
                expected,
                "{version:?}: -A {elements}"
            );
        }
    }
}
