//! What the collector passes on: datagrams repeated, flows encoded anew, lines and messages for other
//! programs, other addresses, files replayed. Each flow is where it should be, or in a counter.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher},
};
use weir_netflow::{ExportTime, FlowRecord};
use weir_store::{
    form::{Compression, Form, Layout},
    read,
};
use weir_tests::{netns, process::built};

use crate::site::{Site, expect, of, socket, unix_ns, v9_datagram};

/// Flows with destination ports from 1 on, each of as many packets.
const FLOWS: u16 = 200;
const PACKETS: u64 = 200 * 201 / 2;
/// Datagrams of 20 flows for a reader that does not read.
const DATAGRAMS: u32 = 3000;

/// Sends datagrams slowly enough for a small buffer.
fn send(socket: &UdpSocket, to: SocketAddr, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        socket.send_to(datagram, to).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

fn datagrams() -> Vec<Vec<u8>> {
    let now = ExportTime {
        unix_ns: unix_ns(),
        uptime_ms: 3_600_000,
    };
    let mut batcher = Batcher::new(BatchOptions::new(Version::V9));
    let mut datagrams = Vec::new();
    for port in 1..=FLOWS {
        let [high, low] = port.to_be_bytes();
        let record = FlowRecord {
            source: std::net::Ipv4Addr::new(10, 1, high, low).to_ipv6_mapped(),
            destination: std::net::Ipv4Addr::new(10, 2, 0, 1).to_ipv6_mapped(),
            source_port: 40_000,
            destination_port: port,
            protocol: 6,
            packets: port.into(),
            octets: 100 * u64::from(port),
            start_ns: now.unix_ns - 2_000_000_000,
            end_ns: now.unix_ns - 1_000_000_000,
            ..FlowRecord::default()
        };
        datagrams.extend(batcher.push(&record, &now));
    }
    datagrams.extend(batcher.flush(&now));
    datagrams
        .into_iter()
        .map(|datagram| datagram.octets)
        .collect()
}

/// A target that takes datagrams, and its address.
fn target() -> (UdpSocket, String) {
    let target = socket();
    target
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let address = target.local_addr().unwrap().to_string();
    (target, address)
}

/// So many datagrams, and whom they came from.
fn receive(target: &UdpSocket, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65_536];
    let mut one = || {
        let (length, from) = target.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    };
    (0..count).map(|_| one()).collect()
}

/// Whether an account of a part balances.
#[track_caller]
fn assert_repeated(account: &Value, datagrams: u64) {
    let parts = ["repeat_sent", "repeat_failed", "repeat_left_out"];
    let sum: u64 = parts.iter().map(|name| of(account, name)).sum();
    assert_eq!(sum, datagrams, "{account:#}");
}

#[test]
fn each_datagram_is_repeated_unchanged_and_a_dead_target_costs_the_others_nothing() {
    let site = Site::new();
    let (alive, address) = target();
    // Nobody listens there any more.
    let dead = socket().local_addr().unwrap().to_string();
    let daemon = site.start(&format!("--repeat {dead},{address} --allow 127.0.0.1"));
    let exporter = socket();
    let mut sent: Vec<_> = (0..100)
        .map(|number| v9_datagram(1, number, 5, true))
        .collect();
    sent.push(b"no datagram of any version".to_vec());
    send(&exporter, site.address(), &sent);
    // Of a stranger nothing goes on.
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    send(&stranger, site.address(), &sent[..3]);
    let received = receive(&alive, sent.len());
    let octets: Vec<_> = received.into_iter().map(|(octets, _)| octets).collect();
    assert_eq!(octets, sent);
    let found = site.stop(daemon);
    expect(
        &found,
        "datagrams=104 not_allowed=3 records=500 records_written=500",
    );
    assert_repeated(&found["repeat"][0], 101);
    assert_repeated(&found["repeat"][1], 101);
    assert_eq!(of(&found["repeat"][1], "repeat_sent"), 101);
}

#[test]
fn repeated_datagrams_come_from_the_exporter_if_that_is_asked_for() {
    assert!(netns::possible(), "root is needed");
    let site = Site::new();
    let (v4, v4_address) = target();
    let v6 = UdpSocket::bind("[::1]:0").unwrap();
    v6.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let v6_address = v6.local_addr().unwrap();
    let daemon = site.start(&format!(
        "--repeat {v4_address},{v6_address} --repeat-source"
    ));
    let sent: Vec<_> = (0..9)
        .map(|number| v9_datagram(1, number, 3, true))
        .collect();
    let exporter = UdpSocket::bind("127.0.0.7:0").unwrap();
    send(&exporter, site.address(), &sent);
    let exporter_v6 = UdpSocket::bind("[::1]:0").unwrap();
    let to = SocketAddr::new("::1".parse().unwrap(), site.port);
    send(&exporter_v6, to, &sent[..4]);
    for (target, exporter, sent) in [(&v4, &exporter, &sent[..]), (&v6, &exporter_v6, &sent[..4])] {
        let from = exporter.local_addr().unwrap();
        let expected: Vec<_> = sent.iter().map(|octets| (octets.clone(), from)).collect();
        assert_eq!(receive(target, sent.len()), expected);
    }
    let found = site.stop(daemon);
    // An exporter's address of one family is none of the other.
    expect(
        &found["repeat"][0],
        "repeat_sent=9 repeat_failed=4 repeat_left_out=0",
    );
    expect(
        &found["repeat"][1],
        "repeat_sent=4 repeat_failed=9 repeat_left_out=0",
    );
}

#[test]
fn flows_that_a_filter_keeps_are_forwarded_in_each_format() {
    let site = Site::new();
    let others = ["v5", "v9", "ipfix"].map(|version| (version, Site::new()));
    let mut options = String::new();
    let mut daemons = Vec::new();
    for (version, other) in &others {
        daemons.push(other.start(""));
        let address = other.address();
        write!(options, "--forward {version}:{address}=port>39999 ").unwrap();
    }
    let daemon = site.start(&options);
    send(&socket(), site.address(), &datagrams());
    // The last datagram leaves before the end, too.
    thread::sleep(Duration::from_millis(1500));
    let found = site.stop(daemon);
    expect(&found, "records=200 records_written=200");
    for (number, (version, other)) in others.iter().enumerate() {
        let account = &found["forward"][number];
        expect(
            account,
            "forward_filtered=0 forward_exported=200 forward_unsent=0 forward_left_out=0",
        );
        other.stop(daemons.remove(0));
        assert_eq!(other.totals(), (u64::from(FLOWS), PACKETS), "{version}");
    }
}

#[test]
fn what_a_filter_does_not_keep_is_counted_as_that() {
    let (site, other) = (Site::new(), Site::new());
    let other_daemon = other.start("");
    let mut command = Site::command();
    command.arg("--forward").arg(format!(
        "ipfix:{}=dst port > 150 or src ip 10.1.0.1",
        other.address()
    ));
    let daemon = site.start_as(command, &site.flows(), "");
    send(&socket(), site.address(), &datagrams());
    let found = site.stop(daemon);
    expect(
        &found["forward"][0],
        "forward_filtered=149 forward_exported=51 forward_left_out=0",
    );
    other.stop(other_daemon);
    let packets = 1 + (151..=200).sum::<u64>();
    assert_eq!(other.totals(), (51, packets));
}

/// Lengths of the messages in a file, each behind its length as a varint.
fn messages(mut octets: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while !octets.is_empty() {
        let (mut length, mut shift) = (0, 0);
        loop {
            let (first, rest) = octets.split_first().unwrap();
            octets = rest;
            length |= usize::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                break;
            }
        }
        octets = &octets[length..];
        lengths.push(length);
    }
    lengths
}

#[test]
fn flows_are_written_as_lines_and_messages_as_they_come() {
    let site = Site::new();
    let (lines, protobuf) = (site.path("flows.json"), site.path("flows.pb"));
    let options = format!(
        "--json {} --protobuf {}",
        lines.display(),
        protobuf.display()
    );
    let daemon = site.start(&options);
    send(&socket(), site.address(), &datagrams());
    thread::sleep(Duration::from_millis(500));
    // They are there before any window is closed.
    let text = fs::read_to_string(&lines).unwrap();
    let flows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(flows.len(), usize::from(FLOWS));
    assert_eq!(
        flows.iter().map(|flow| of(flow, "packets")).sum::<u64>(),
        PACKETS
    );
    assert_eq!(flows[0]["exporter"], "127.0.0.1");
    let lengths = messages(&fs::read(&protobuf).unwrap());
    assert_eq!(lengths.len(), usize::from(FLOWS));
    assert!(
        lengths.iter().all(|length| (40..200).contains(length)),
        "{lengths:?}"
    );
    let found = site.stop(daemon);
    for tap in ["json", "protobuf"] {
        expect(&found[tap], "flows_written=200 flows_left_out=0");
    }
}

#[test]
fn a_reader_that_does_not_read_stops_nobody_and_misses_what_is_counted() {
    let site = Site::new();
    let pipe = site.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let daemon = site.start(&format!("--json {}", pipe.display()));
    let exporter = socket();
    let sent: Vec<_> = (0..DATAGRAMS)
        .map(|number| v9_datagram(1, number, 20, true))
        .collect();
    send(&exporter, site.address(), &sent);
    let found = site.stop(daemon);
    let flows = 20 * u64::from(DATAGRAMS);
    expect(&found, &format!("records={flows} records_written={flows}"));
    let (written, left_out) = (
        of(&found["json"], "flows_written"),
        of(&found["json"], "flows_left_out"),
    );
    assert_eq!(written + left_out, flows);
    // A pipe has room for few of them.
    assert!(left_out > flows / 2, "{left_out} of {flows}");
}

/// Source addresses in a directory.
fn sources(flows: &Path) -> BTreeSet<String> {
    let mut command = built("weir").unwrap();
    command
        .args(["flows", "-o", "csv:%sa,%da", "-r"])
        .arg(flows);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let addresses = text.lines().filter_map(|line| line.split_once(','));
    let is_address = |text: &&str| text.parse::<std::net::IpAddr>().is_ok();
    let sources = addresses.map(|(source, _)| source).filter(is_address);
    sources.map(str::to_owned).collect()
}

#[test]
fn addresses_are_anonymised_on_write_as_they_are_afterwards() {
    let (site, other) = (Site::new(), Site::new());
    let key = other.path("key");
    fs::write(&key, "00112233445566778899aabbccddeeff".repeat(2)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let datagrams = datagrams();
    for (site, options) in [
        (&site, "--layout flat --compression none".to_owned()),
        (&other, format!("--anonymise {}", key.display())),
    ] {
        let daemon = site.start(&options);
        send(&socket(), site.address(), &datagrams);
        expect(&site.stop(daemon), "records_written=200");
    }
    let afterwards = other.path("afterwards");
    let (is_success, said) = site.maintain(
        "anonymise",
        &format!("{} --key {}", afterwards.display(), key.display()),
    );
    assert!(is_success && said.contains("200 flows of "), "{said}");
    let (plain, on_write) = (sources(&site.flows()), sources(&other.flows()));
    assert_eq!((plain.len(), on_write.len()), (200, 200));
    assert_eq!(on_write, sources(&afterwards));
    assert!(plain.is_disjoint(&on_write));
    // Files lie and are compressed as they did.
    let form = Form {
        layout: Layout::Flat,
        compression: Compression::None,
    };
    let files = read::list(&afterwards).unwrap().closed;
    let is_so = |path: &PathBuf| Form::of(&afterwards, path) == form;
    assert!(!files.is_empty() && files.iter().all(is_so), "{files:?}");
    // All of one /16 are still in one.
    let networks: BTreeSet<_> = on_write
        .iter()
        .map(|address| address.split('.').take(2).collect::<Vec<_>>())
        .collect();
    assert_eq!(networks.len(), 1, "{networks:?}");
    // A key that others can read is none.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let options = format!("{} --key {}", other.path("never").display(), key.display());
    let (is_success, said) = site.maintain("anonymise", &options);
    assert!(!is_success && said.contains("chmod 600"), "{said}");
}

#[test]
fn files_are_replayed_in_each_format_at_any_speed() {
    let site = Site::new();
    let daemon = site.start("");
    let datagrams = datagrams();
    let (first, second) = datagrams.split_at(datagrams.len() / 2);
    let exporter = socket();
    send(&exporter, site.address(), first);
    thread::sleep(Duration::from_secs(2));
    send(&exporter, site.address(), second);
    site.stop(daemon);
    for (version, speed, seconds_min) in [("5", "full", 0), ("9", "2", 1), ("10", "recorded", 2)] {
        let other = Site::new();
        let daemon = other.start("");
        let began = std::time::Instant::now();
        let options = format!("--to {} -v {version} --speed {speed}", other.address());
        let (is_success, said) = site.maintain("replay", &options);
        let took_s = began.elapsed().as_secs();
        assert!(is_success, "{said}");
        assert!(said.contains("200 flows read, 0 outside"), "{said}");
        assert!(said.contains("; 200 records sent"), "{said}");
        assert!(
            (seconds_min..seconds_min + 8).contains(&took_s),
            "{speed}: {took_s} s"
        );
        other.stop(daemon);
        assert_eq!(other.totals(), (u64::from(FLOWS), PACKETS), "v{version}");
    }
    let options =
        "--to 127.0.0.1:9 --speed full --from 2001-01-01T00:00 --to-time 2001-01-02T00:00";
    let (is_success, said) = site.maintain("replay", options);
    assert!(
        is_success && said.contains("200 flows read, 200 outside"),
        "{said}"
    );
    // Nothing was sent, and so there is no last one.
    assert!(!said.contains("the last was received"), "{said}");
    // A file that may not be read holds up no other; root may read any but for two capabilities.
    assert!(netns::possible(), "root is needed to give them up");
    let shut = site.flows().join("flows-20260101T000000Z.parquet");
    fs::write(&shut, "").unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o0)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    command.arg(Site::command().get_program());
    command.arg("replay").arg(site.flows());
    command.args(["--to", "127.0.0.1:9", "--speed", "full"]);
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        !output.status.success() && said.contains("200 flows read, 0 outside"),
        "{said}"
    );
}
