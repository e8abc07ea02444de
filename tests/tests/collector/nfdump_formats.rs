//! Formats as nfdump has them: the same flows in both collectors, printed by both, the same words in each line.
//! What is meant to differ is put into nfdump's words first (docs/answers.md has the list): names of protocols
//! instead of numbers, `[address]:port` of IPv6 instead of `address.port`, UTC instead of local time.

use std::{path::Path, process::Command};

use serde_json::Value;
use weir_exporter::Version;
use weir_netflow::FlowRecord;
use weir_tests::process::{built, succeed};

use crate::both::{
    FLOWS, address, datagrams, encoded, nfcapd_collects, now_ns, plain, weir_collects,
};

/// Tokens that both versions carry here, beside rates.
const TOKENS: &str = "fmt:%ts %te %tsr %tfs %td %tds %pr %sa %da %sp %dp %it %ic %in %out %smk %dmk %tos \
    %stos %dtos %dir %fwd %flg %pkt %byt %ipkt %ibyt %opkt %obyt %fl %bpp %svln %dvln";
/// Those that only v5 carries here: nfdump looks up what is zero in a file of its own.
const AS_TOKENS: &str = "fmt:%ts %sap %dap %byt %sas %das";
/// Those of countries, translation and firewalls, which these flows have not; nfdump's %eacl is decimal.
const ABSENT: &str = "fmt:%ts %gsap %gdap %xsap %xdap %iacl %byt";
const RATES: &str = "fmt:%ts %sap %dap %byt %pps %bps";

fn printed(command: &mut Command) -> String {
    // nfdump's times are local ones.
    succeed(command.env("TZ", "UTC"))
}

fn weir(flows: &Path, words: &[&str]) -> String {
    let mut command = built("weir").unwrap();
    printed(command.arg("flows").args(words).arg("-r").arg(flows))
}

fn nfdump(flows: &Path, words: &[&str]) -> String {
    let mut command = Command::new("nfdump");
    printed(command.args(words).arg("-R").arg(flows).arg("any"))
}

/// A line's words in nfdump's spelling.
fn words(line: &str) -> Vec<String> {
    let spelled = |word: &str| match word {
        "ICMP" => "1".to_owned(),
        "TCP" => "6".to_owned(),
        "UDP" => "17".to_owned(),
        "GRE" => "47".to_owned(),
        "ICMP6" => "58".to_owned(),
        _ => word.replace("]:", ".").replace('[', ""),
    };
    line.split_whitespace().map(spelled).collect()
}

/// Lines as words, in order.
fn lines(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().map(words);
    let mut lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

/// nfdump's lines by `-q -N -6` and these words, without what it says of itself.
fn theirs(flows: &Path, more: &[&str]) -> Vec<Vec<String>> {
    let mut lines = lines(&nfdump(flows, &[&["-q", "-N", "-6"], more].concat()));
    lines.retain(|line| !line[0].starts_with(char::is_alphabetic));
    lines
}

fn ours(flows: &Path, more: &[&str]) -> Vec<Vec<String>> {
    lines(&weir(flows, &[&["-q"], more].concat()))
}

/// Rates: nfdump divides fractions, and may cut one too many.
fn alike(one: &str, other: &str) -> bool {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.abs_diff(other) <= 1,
        _ => one == other,
    }
}

#[test]
fn lines_have_nfdumps_words() {
    for (version, seed) in [(Version::V5, 21), (Version::V9, 22)] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = datagrams(version, seed);
        let our_files = weir_collects(folder.path(), &datagrams);
        let their_files = nfcapd_collects(folder.path(), &datagrams, &[]);
        let mut formats = vec!["line", "long", TOKENS, "fmt:%line %tos"];
        if version == Version::V5 {
            formats.extend([AS_TOKENS, ABSENT]);
        }
        for format in formats {
            let our_lines = ours(&our_files, &["-o", format]);
            assert_eq!(our_lines.len(), FLOWS, "{version:?} {format}");
            let their_lines = theirs(&their_files, &["-o", format]);
            for (our_line, their_line) in our_lines.iter().zip(&their_lines) {
                assert_eq!(our_line, their_line, "{version:?} {format}");
            }
            assert_eq!(their_lines.len(), FLOWS, "{version:?} {format}");
        }
        for format in ["extended", RATES] {
            let our_lines = ours(&our_files, &["-o", format]);
            let their_lines = theirs(&their_files, &["-o", format]);
            assert_eq!(our_lines.len(), their_lines.len());
            for (our_line, their_line) in our_lines.iter().zip(&their_lines) {
                let pairs = our_line.iter().zip(their_line);
                let is_alike = pairs.clone().all(|(one, other)| alike(one, other));
                assert!(
                    is_alike && our_line.len() == their_line.len(),
                    "{version:?} {format}: {our_line:?} {their_line:?}"
                );
            }
        }
    }
}

/// The sides of a line of both directions, in an order that does not depend on which came first: nfdump takes the
/// one that was received first, Weir the one that began.
fn unordered(line: &[String]) -> Vec<String> {
    // Date, time, duration, protocol, one end, arrow, other end, out and in packets, octets, flows.
    let [
        date,
        time,
        td,
        protocol,
        from,
        arrow,
        to,
        opkt,
        ipkt,
        obyt,
        ibyt,
        flows,
    ] = line
    else {
        panic!("{line:?}");
    };
    assert_eq!(arrow, "<->");
    let mut sides = [[from, ipkt, ibyt], [to, opkt, obyt]];
    sides.sort();
    let all = [date, time, td, protocol].into_iter();
    let all = all.chain(sides.into_iter().flatten());
    all.chain([flows]).cloned().collect()
}

#[test]
fn both_directions_are_joined_as_nfdump_joins_them() {
    for (version, seed) in [(Version::V5, 23), (Version::V9, 24)] {
        let folder = tempfile::tempdir().unwrap();
        let datagrams = datagrams(version, seed);
        let our_files = weir_collects(folder.path(), &datagrams);
        let their_files = nfcapd_collects(folder.path(), &datagrams, &[]);
        let unordered = |lines: Vec<Vec<String>>| -> Vec<Vec<String>> {
            let mut lines: Vec<_> = lines.iter().map(|line| unordered(line)).collect();
            lines.sort();
            lines
        };
        let our_lines = unordered(ours(&our_files, &["-o", "biline"]));
        let their_lines = unordered(theirs(&their_files, &["-b", "-n", "0", "-o", "biline"]));
        assert!(our_lines.len() < FLOWS, "some are joined");
        for (our_line, their_line) in our_lines.iter().zip(&their_lines) {
            assert_eq!(our_line, their_line, "{version:?}");
        }
        assert_eq!(our_lines.len(), their_lines.len(), "{version:?}");
    }
}

/// A flow of a second and a half; its flags depend on its octets.
fn flow(
    from: (&str, u16),
    to: (&str, u16),
    protocol: u8,
    octets: u64,
    start_ns: u64,
) -> FlowRecord {
    let source = address(from.0);
    FlowRecord {
        source,
        destination: address(to.0),
        v6: source.to_ipv4_mapped().is_none(),
        source_port: from.1,
        destination_port: to.1,
        protocol,
        tos: 8,
        tcp_flags: if octets.is_multiple_of(200) {
            0x1b
        } else {
            0x12
        },
        octets,
        packets: octets / 100,
        start_ns,
        end_ns: start_ns + 1_500_000_000,
        source_as: 1,
        destination_as: 1,
        ..FlowRecord::default()
    }
}

/// Where requests are received before their answers, directions are the same, too.
#[test]
fn directions_and_guesses_are_nfdumps() {
    let (client, server) = (("10.1.0.1", 40_000), ("198.51.100.1", 443));
    let (asks, answers) = (("2001:db8::1", 50_000), ("2001:db8::53", 53));
    let now_ns = now_ns();
    let ago = |seconds: u64| now_ns - seconds * 1_000_000_000;
    let records = [
        flow(client, server, 6, 1200, ago(50)),
        flow(server, client, 6, 50_100, ago(49)),
        flow(client, server, 6, 300, ago(40)),
        flow(asks, answers, 17, 100, ago(30)),
        flow(answers, asks, 17, 400, ago(29)),
        // Only an answer: -B has the server behind the arrow.
        flow(("192.0.2.7", 123), ("10.1.0.2", 33_000), 17, 700, ago(20)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let datagrams = encoded(Version::V9, now_ns, &records);
    let our_files = weir_collects(folder.path(), &datagrams);
    let their_files = nfcapd_collects(folder.path(), &datagrams, &[]);
    for option in ["-b", "-B"] {
        for format in [
            "biline",
            "bilong",
            "fmt:%ts %sap %dap %pkt %byt %opkt %obyt %fl",
        ] {
            let our_lines = ours(&our_files, &[option, "-o", format]);
            let their_lines = theirs(&their_files, &[option, "-n", "0", "-o", format]);
            assert_eq!(our_lines, their_lines, "{option} {format}");
            assert_eq!(our_lines.len(), 3);
        }
    }
    // Without them nfdump joins nothing, whatever the format is called.
    for format in ["biline", "bilong"] {
        let our_lines = ours(&our_files, &["-o", &format!("fmt:%{format}")]);
        assert_eq!(our_lines, theirs(&their_files, &["-o", format]), "{format}");
        assert_eq!(our_lines.len(), records.len());
    }
    let usual = weir(&our_files, &["-q", "-b"]);
    assert_eq!(usual, weir(&our_files, &["-q", "-o", "biline"]));
    let turned = weir(
        &our_files,
        &["-q", "-B", "-o", "fmt:%sap %dap", "src port 123"],
    );
    assert_eq!(words(&turned), ["10.1.0.2:33000", "192.0.2.7:123"]);
}

/// nfdump 1.7.1's CSV has 48 columns; Weir's are the ten of 1.7.8. The values of those are the same.
#[test]
fn csv_has_nfdumps_values() {
    let folder = tempfile::tempdir().unwrap();
    let datagrams = datagrams(Version::V5, 25);
    let our_files = weir_collects(folder.path(), &datagrams);
    let their_files = nfcapd_collects(folder.path(), &datagrams, &[]);
    let text = weir(&our_files, &["-o", "csv"]);
    let mut our_lines = text.lines();
    assert_eq!(
        our_lines.next(),
        Some("firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,flows")
    );
    let mut ours: Vec<Vec<String>> = our_lines
        .map(|line| {
            let mut values: Vec<String> = line.split(',').map(str::to_owned).collect();
            values[6] = plain(&values[6]);
            // 1.7.1 has seconds only, and no flows.
            values[0].truncate("2026-11-21 05:00:00".len());
            assert_eq!(values.pop().as_deref(), Some("1"));
            values
        })
        .collect();
    ours.sort();
    let text = nfdump(&their_files, &["-o", "csv"]);
    let heading = text.lines().find(|line| line.starts_with("ts,te,"));
    let heading: Vec<&str> = heading.unwrap().split(',').collect();
    let places = ["ts", "td", "pr", "sa", "sp", "da", "dp", "ipkt", "ibyt"]
        .map(|name| heading.iter().position(|known| *known == name).unwrap());
    let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() == heading.len() && row[0] != "ts");
    let mut theirs: Vec<Vec<String>> = rows
        .map(|row| {
            let values = places.iter().map(|place| row[*place].trim().to_owned());
            values.collect()
        })
        .collect();
    theirs.sort();
    assert_eq!((ours.len(), theirs.len()), (FLOWS, FLOWS));
    for (our_row, their_row) in ours.iter().zip(&theirs) {
        assert_eq!(our_row, their_row);
    }
}

/// JSON has the columns' own names; the values are nfdump's.
#[test]
fn json_has_nfdumps_values() {
    let folder = tempfile::tempdir().unwrap();
    let datagrams = datagrams(Version::V9, 26);
    let our_files = weir_collects(folder.path(), &datagrams);
    let their_files = nfcapd_collects(folder.path(), &datagrams, &[]);
    let text = weir(&our_files, &["-o", "json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    let number = |flow: &Value, name: &str| flow[name].as_u64().unwrap_or(0).to_string();
    let word = |flow: &Value, name: &str| flow[name].as_str().unwrap_or_default().to_owned();
    // To the millisecond.
    let time = |flow: &Value, name: &str| word(flow, name).get(..23).unwrap().to_owned();
    let is_icmp = |flow: &Value| matches!(flow["protocol"].as_u64(), Some(1 | 58));
    let flows = document["flows"].as_array().unwrap().iter();
    let mut ours: Vec<Vec<String>> = flows
        .map(|flow| {
            // nfdump has no ports of ICMP.
            let port = |name: &str| {
                if is_icmp(flow) {
                    "0".to_owned()
                } else {
                    number(flow, name)
                }
            };
            vec![
                time(flow, "flow_start"),
                time(flow, "flow_end"),
                number(flow, "protocol"),
                word(flow, "src_addr"),
                word(flow, "dst_addr"),
                port("src_port"),
                port("dst_port"),
                number(flow, "packets"),
                number(flow, "octets"),
                number(flow, "tos"),
            ]
        })
        .collect();
    ours.sort();
    let text = nfdump(&their_files, &["-o", "json"]);
    let (from, to) = (text.find('[').unwrap(), text.rfind(']').unwrap());
    let flows: Vec<Value> = serde_json::from_str(&text[from..=to]).unwrap();
    let mut theirs: Vec<Vec<String>> = flows
        .iter()
        .map(|flow| {
            let address = |side: &str| {
                let [v4, v6] = ["4", "6"].map(|family| word(flow, &format!("{side}{family}_addr")));
                if v4.is_empty() { v6 } else { v4 }
            };
            vec![
                time(flow, "first"),
                time(flow, "last"),
                number(flow, "proto"),
                address("src"),
                address("dst"),
                number(flow, "src_port"),
                number(flow, "dst_port"),
                number(flow, "in_packets"),
                number(flow, "in_bytes"),
                number(flow, "src_tos"),
            ]
        })
        .collect();
    theirs.sort();
    assert_eq!((ours.len(), theirs.len()), (FLOWS, FLOWS));
    for (our_flow, their_flow) in ours.iter().zip(&theirs) {
        assert_eq!(our_flow, their_flow);
    }
}
