//! Ground truth of loss: exporters, a relay that drops, doubles and reorders what they send and writes
//! down what it did, and the collector behind it. What it reports must be what was done. nfcapd gets the
//! same datagrams, and a table shows both.

use std::{
    collections::BTreeMap, fs, net::Ipv4Addr, path::Path, process::Command, thread, time::Duration,
};

use serde_json::Value;
use weir_netflow::{ExportTime, FlowRecord, Layout, Sampling, low32, v5, v9};
use weir_tests::{
    process::Daemon,
    relay::{Ledger, Mishaps, QUIET, Relay, Sent, Truth},
    traffic::Random,
};

use crate::site::{Site, push_set, socket, unix_ns};

/// Domains of an exporter; each sends as many datagrams, about.
const DOMAINS: u32 = 3;
const DATAGRAMS: u32 = 4000;
/// How many are sent at once, so that no collector's buffer overflows; and how long until the next.
const PACE: (u32, Duration) = (16, Duration::from_millis(2));
const TEMPLATE_EVERY: u32 = 20;
const NS_PER_MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V5,
    V9,
    Ipfix,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V5 => "v5",
            Self::V9 => "v9",
            Self::Ipfix => "IPFIX",
        }
    }
}

/// An exporter's domain.
struct Domain {
    version: Version,
    number: u32,
    start: u32,
    sequence: u32,
    datagrams: u32,
    booted_ns: u64,
}

impl Domain {
    /// The first one's numbers wrap soon.
    fn new(version: Version, number: u32) -> Self {
        let before_wrap = if version == Version::V9 { 300 } else { 5000 };
        Self {
            version,
            number,
            start: 0,
            sequence: if number == 0 {
                0u32.wrapping_sub(before_wrap)
            } else {
                1000 * number
            },
            datagrams: 0,
            booted_ns: unix_ns() - 5_000_000 * NS_PER_MS,
        }
    }

    fn restart(&mut self) {
        self.start += 1;
        self.sequence = 0;
        self.datagrams = 0;
        self.booted_ns = unix_ns() - 1000 * NS_PER_MS;
    }

    /// The next datagram, of so many records.
    fn datagram(&mut self, records: u16) -> (Vec<u8>, Sent) {
        let now_ns = unix_ns();
        let time = ExportTime {
            unix_ns: now_ns,
            uptime_ms: (now_ns - self.booted_ns) / NS_PER_MS,
        };
        let record = FlowRecord {
            packets: 1,
            octets: 40,
            protocol: 6,
            source: Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped(),
            start_ns: now_ns,
            end_ns: now_ns,
            ..FlowRecord::default()
        };
        // How many records IPFIX lost before its template came is not to be known: it comes at once.
        let has_template = self.datagrams < 10 || self.datagrams.is_multiple_of(TEMPLATE_EVERY);
        self.datagrams += 1;
        let (datagram, units) = match self.version {
            Version::V5 => (self.v5(&record, records, &time), u32::from(records)),
            Version::V9 => (self.v9(&record, records, &time, has_template), 1),
            Version::Ipfix => (self.ipfix(records, &time, has_template), u32::from(records)),
        };
        self.sequence = self.sequence.wrapping_add(units);
        let sent = Sent {
            stream: self.number,
            start: self.start,
            units: u64::from(units),
        };
        (datagram, sent)
    }

    fn v5(&self, record: &FlowRecord, records: u16, time: &ExportTime) -> Vec<u8> {
        let mut datagram = v5::encode_header(&v5::Header {
            count: records,
            time: *time,
            sequence: self.sequence,
            engine_type: 0,
            engine_id: u8::try_from(self.number).unwrap(),
            sampling: Sampling::NONE,
        })
        .to_vec();
        for _ in 0..records {
            v5::encode_record(&mut datagram, record, time);
        }
        datagram
    }

    fn v9(
        &self,
        record: &FlowRecord,
        records: u16,
        time: &ExportTime,
        has_template: bool,
    ) -> Vec<u8> {
        let flows = v9::templates(&Layout::WEIR).v4;
        let (mut definition, mut data) = (Vec::new(), Vec::new());
        flows.encode_definition(&mut definition);
        for _ in 0..records {
            flows.encode_record(&mut data, record, time);
        }
        let header = v9::encode_header(&v9::Header {
            count: records + u16::from(has_template),
            time: *time,
            sequence: self.sequence,
            source_id: self.number,
        });
        let mut datagram = header.to_vec();
        if has_template {
            push_set(&mut datagram, v9::TEMPLATE_SET, &definition);
        }
        push_set(&mut datagram, flows.id, &data);
        datagram
    }

    /// RFC 7011 section 3: octetDeltaCount and packetDeltaCount, of four octets each.
    fn ipfix(&self, records: u16, time: &ExportTime, has_template: bool) -> Vec<u8> {
        const TEMPLATE: [u8; 12] = [1, 0, 0, 2, 0, 1, 0, 4, 0, 2, 0, 4];
        const RECORD: [u8; 8] = [0, 0, 0, 40, 0, 0, 0, 1];
        let mut body = Vec::new();
        if has_template {
            push_set(&mut body, 2, &TEMPLATE);
        }
        push_set(&mut body, 256, &RECORD.repeat(usize::from(records)));
        let mut message = vec![0, 10];
        message.extend(u16::try_from(16 + body.len()).unwrap().to_be_bytes());
        message.extend(low32(time.unix_ns / 1_000_000_000).to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(self.number.to_be_bytes());
        message.extend(body);
        message
    }
}

/// Sends all domains' datagrams to the relay, and begins one domain anew in the middle.
fn send(version: Version, relay: &Relay, seed: u64) -> Vec<Sent> {
    let socket = socket();
    let mut random = Random::new(seed);
    let mut domains: Vec<_> = (0..DOMAINS)
        .map(|number| Domain::new(version, number))
        .collect();
    let mut all = Vec::new();
    let datagrams = DOMAINS * DATAGRAMS;
    for number in 0..datagrams {
        if number == datagrams / 2 {
            // What the relay holds back reaches the collector before.
            thread::sleep(3 * QUIET);
            if version == Version::Ipfix {
                // It tells no sysUptime, and its clock has whole seconds.
                thread::sleep(Duration::from_millis(2100));
            }
            domains[1].restart();
        }
        let domain = usize::try_from(random.below(DOMAINS.into())).unwrap();
        let records = u16::try_from(1 + random.below(29)).unwrap();
        let (datagram, sent) = domains[domain].datagram(records);
        socket.send_to(&datagram, relay.address()).unwrap();
        all.push(sent);
        relay.keep_up(all.len());
        if number.is_multiple_of(PACE.0) {
            thread::sleep(PACE.1);
        }
    }
    all
}

fn nfcapd(flows: &Path, port: u16) -> Daemon {
    fs::create_dir(flows).unwrap();
    let mut command = Command::new("nfcapd");
    command
        .arg("-w")
        .arg(flows)
        .args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "3600"])
        .args(["-B", "8000000"]);
    let mut daemon = Daemon::start(command, &flows.with_extension("log"))
        .unwrap_or_else(|error| panic!("{error}; `cargo xtask setup --peers` installs it"));
    daemon
        .wait_for("Startup nfcapd")
        .or_else(|_| daemon.wait_for("Init"))
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    daemon
}

/// What nfcapd says at its end: the number after a name.
fn nfcapd_said(log: &str, name: &str) -> String {
    let after = log.rsplit(name).next().filter(|_| log.contains(name));
    let number = after.map(|after| after.trim_start_matches([':', ' ']));
    let digits = number.map(|number| number.split(|c: char| !c.is_ascii_digit()).next());
    digits.flatten().unwrap_or("?").to_owned()
}

/// Of each domain: what the collector reports.
fn reported(json: &Value) -> BTreeMap<u32, (Truth, u64)> {
    let exporters = json["exporters"].as_array().unwrap();
    let domains = exporters.iter().map(|exporter| {
        let of = |name: &str| {
            let number = exporter[name].as_u64();
            number.unwrap_or_else(|| panic!("{name} in {exporter:#}"))
        };
        let truth = Truth {
            lost: of("lost"),
            reordered: of("reordered"),
            duplicated: of("duplicated"),
            restarts: of("restarts"),
            arrived: 0,
        };
        (
            u32::try_from(of("source_id")).unwrap(),
            (truth, of("doubtful")),
        )
    });
    domains.collect()
}

fn print_table(version: Version, truths: &BTreeMap<u32, Truth>, json: &Value, nfcapd_log: &str) {
    let name = version.name();
    println!(
        "{name:<22}{:>10}{:>10}{:>10}{:>10}",
        "lost", "reordered", "twice", "restarts"
    );
    let line = |label: String, truth: &Truth| {
        let Truth {
            lost,
            reordered,
            duplicated,
            restarts,
            ..
        } = truth;
        println!("{label:<22}{lost:>10}{reordered:>10}{duplicated:>10}{restarts:>10}");
    };
    for (domain, truth) in truths {
        line(format!("domain {domain}: done"), truth);
        if let Some((weir, _)) = reported(json).get(domain) {
            line(format!("domain {domain}: weir"), weir);
        }
    }
    let failures = nfcapd_said(nfcapd_log, "Sequence Errors");
    let flows = nfcapd_said(nfcapd_log, "Flows");
    println!("all: nfcapd           {failures:>10} sequence errors, {flows} flows");
}

/// Plays one version with some mishaps; the collector reports exactly those.
fn play(version: Version, mishaps: Mishaps, seed: u64) {
    let (site, other) = (Site::new(), Site::new());
    let weir = site.start("");
    let nfcapd = nfcapd(&other.path("nfcapd"), other.port);
    let targets = [site.address(), other.address()];
    let relay = Relay::start(&targets, mishaps, seed).unwrap();
    let sent = send(version, &relay, seed);
    let ledger: Ledger = relay.finish().unwrap();
    assert_eq!(
        ledger.taken,
        sent.len(),
        "datagrams never reached the relay"
    );
    let json = site.stop(weir);
    nfcapd.stop().unwrap();
    let nfcapd_log = fs::read_to_string(other.path("nfcapd.log")).unwrap();
    let truths = ledger.truths(&sent);
    print_table(version, &truths, &json, &nfcapd_log);

    assert_eq!(
        json["kernel_drops"], 0,
        "this machine is too busy: {json:#}"
    );
    assert_eq!(json["datagrams"], ledger.delivered.len());
    let reported = reported(&json);
    assert_eq!(reported.len(), truths.len());
    for (domain, truth) in &truths {
        let done = Truth {
            arrived: 0,
            ..*truth
        };
        let name = version.name();
        assert_eq!(
            reported[domain],
            (done, 0),
            "{name}, domain {domain}: {json:#}"
        );
    }
    // What came twice is stored once. (The units of v9 are datagrams.)
    if version != Version::V9 {
        let arrived: u64 = truths.values().map(|truth| truth.arrived).sum();
        assert_eq!(json["records"], arrived, "{json:#}");
        assert_eq!(json["records_written"], arrived, "{json:#}");
    }
    // The seed did draw all of it, and a domain began anew.
    let sum = |pick: fn(&Truth) -> u64| truths.values().map(pick).sum::<u64>();
    assert_eq!(sum(|truth| truth.lost) > 0, mishaps.loss > 0);
    assert_eq!(sum(|truth| truth.reordered) > 0, mishaps.delay > 0);
    assert_eq!(sum(|truth| truth.duplicated) > 0, mishaps.duplication > 0);
    assert_eq!(sum(|truth| truth.restarts), 1);
}

const NONE: Mishaps = Mishaps {
    loss: 0,
    duplication: 0,
    delay: 0,
    delay_max: 0,
};
const SOME: Mishaps = Mishaps {
    loss: 2,
    duplication: 1,
    delay: 5,
    delay_max: 8,
};
const MANY: Mishaps = Mishaps {
    loss: 36,
    duplication: 10,
    delay: 20,
    delay_max: 40,
};

#[test]
fn c15_v5_reported_is_what_was_done() {
    for (seed, mishaps) in (1..).zip([NONE, SOME, MANY]) {
        play(Version::V5, mishaps, seed);
    }
}

#[test]
fn c15_v9_reported_is_what_was_done() {
    for (seed, mishaps) in (1..).zip([NONE, SOME, MANY]) {
        play(Version::V9, mishaps, seed);
    }
}

#[test]
fn c15_ipfix_reported_is_what_was_done() {
    for (seed, mishaps) in (1..).zip([NONE, SOME, MANY]) {
        play(Version::Ipfix, mishaps, seed);
    }
}
