//! The same datagrams in both collectors, Weir's and nfcapd, for tests that hold Weir's answers against
//! nfdump's.

use std::{
    fs,
    net::{Ipv6Addr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher},
};
use weir_netflow::{ExportTime, FlowRecord, record::mapped_address};
use weir_tests::{
    filters::{ADDRESSES, COUNTS, FLAGS, PORTS, PROTOCOLS, SMALL, V4_ADDRESSES, pick},
    port,
    process::{Daemon, built},
    traffic::Random,
};

pub const FLOWS: usize = 600;
const SECOND_NS: u64 = 1_000_000_000;
/// Longest flow, in milliseconds.
const DURATIONS_MS: [u64; 8] = [0, 1, 2, 40, 144, 1500, 9999, 50_000];

pub fn address(text: &str) -> Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// A flow of few values that the format can carry, in the last minutes before `now_ns`.
fn flow(random: &mut Random, version: Version, now_ns: u64) -> FlowRecord {
    let v6 = version == Version::V9 && random.below(3) == 0;
    let addresses = if v6 {
        &ADDRESSES[V4_ADDRESSES..]
    } else {
        &ADDRESSES[..V4_ADDRESSES]
    };
    let protocol = pick(random, &PROTOCOLS);
    let end_ns = now_ns - SECOND_NS - random.below(60_000) * 1_000_000;
    let small = |random: &mut Random| u32::from(pick(random, &SMALL));
    let v5 = version == Version::V5;
    FlowRecord {
        source: address(pick(random, addresses)),
        destination: address(pick(random, addresses)),
        v6,
        // Where ICMP carries its type and code is no question here.
        source_port: match protocol {
            1 | 58 => 0,
            _ => pick(random, &PORTS),
        },
        // nfcapd takes them from v5's port, but not from v9's.
        destination_port: match protocol {
            1 | 58 if !v5 => 0,
            _ => pick(random, &PORTS),
        },
        protocol,
        tos: pick(random, &SMALL),
        tcp_flags: pick(random, &FLAGS).into(),
        // Some collectors leave out records of nothing.
        octets: pick(random, &COUNTS).max(1),
        packets: pick(random, &COUNTS).max(1),
        start_ns: end_ns - pick(random, &DURATIONS_MS) * 1_000_000,
        end_ns,
        ingress_ifindex: small(random),
        egress_ifindex: small(random),
        // nfdump looks up ASes that are zero in a file of its own, and fails without.
        source_as: if v5 { small(random) + 1 } else { 0 },
        destination_as: if v5 { small(random) + 1 } else { 0 },
        ..FlowRecord::default()
    }
}

/// Whole seconds, so that no format cuts the time.
pub fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs() * SECOND_NS
}

/// Datagrams of flows at random.
pub fn datagrams(version: Version, seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let now_ns = now_ns();
    let records: Vec<_> = (0..FLOWS)
        .map(|_| flow(&mut random, version, now_ns))
        .collect();
    encoded(version, now_ns, &records)
}

/// Datagrams of these flows, in this order.
pub fn encoded(version: Version, now_ns: u64, records: &[FlowRecord]) -> Vec<Vec<u8>> {
    let now = ExportTime {
        unix_ns: now_ns,
        uptime_ms: 3_600_000,
    };
    let mut batcher = Batcher::new(BatchOptions::new(version));
    let mut datagrams = Vec::new();
    for record in records {
        datagrams.extend(batcher.push(record, &now));
    }
    datagrams.extend(batcher.flush(&now));
    datagrams
        .into_iter()
        .map(|datagram| datagram.octets)
        .collect()
}

/// Sends to a port, slowly enough for a default buffer.
fn send(datagrams: &[Vec<u8>], port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(500));
}

/// Weir's files of the datagrams.
pub fn weir_collects(folder: &Path, datagrams: &[Vec<u8>]) -> PathBuf {
    let (port, flows) = (port::free().unwrap(), folder.join("weir"));
    let mut command = built("weir-collector").unwrap();
    command
        .arg("-w")
        .arg(&flows)
        .args(["-l", &format!("127.0.0.1:{port}")]);
    let mut collector = Daemon::start(command, &folder.join("weir.log")).unwrap();
    collector.wait_for("listening").unwrap();
    send(datagrams, port);
    assert!(collector.stop().unwrap().success());
    flows
}

/// nfcapd's files of the datagrams, compressed as an option says.
pub fn nfcapd_collects(folder: &Path, datagrams: &[Vec<u8>], compression: &[&str]) -> PathBuf {
    let (port, flows) = (port::free().unwrap(), folder.join("nfcapd"));
    fs::create_dir(&flows).unwrap();
    let mut command = Command::new("nfcapd");
    command.arg("-w").arg(&flows).args(compression);
    command.args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "3600"]);
    let daemon = Daemon::start(command, &folder.join("nfcapd.log")).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    send(datagrams, port);
    assert!(daemon.stop().unwrap().success());
    flows
}

/// ICMP's type and code as the port that they are in the record.
pub fn plain(word: &str) -> String {
    match word.split_once('.') {
        Some((kind, code)) if !code.contains('.') => {
            let number = |text: &str| text.parse::<u32>().unwrap();
            (number(kind) * 256 + number(code)).to_string()
        }
        _ => word.to_owned(),
    }
}
