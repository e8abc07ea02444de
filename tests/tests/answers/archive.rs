//! Generated days of a campus, and the files of them that a collector would have left.

use std::{net::Ipv6Addr, process::Command};

use serde_json::{Value, json};
use weir_netflow::{FlowRecord, record::mapped_address};
use weir_store::{
    layout::Directory,
    others::{Gathering, Other, Others},
    rotate,
    schema::StoredFlow,
    window::Window,
};
use weir_tests::{
    process::{built, succeed},
    traffic::Random,
};

/// 2026-11-20 00:00:00 UTC, where the days begin.
pub const BEGIN_S: u64 = 1_795_132_800;
pub const HOURS: u64 = 48;
pub const HOUR_S: u64 = 3600;
pub const SECOND_NS: u64 = 1_000_000_000;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SYN: u16 = 0x02;
const TALKED: u16 = 0x1b;

/// What is told of a flow.
#[derive(Clone, Copy)]
struct Told {
    record: FlowRecord,
    received_ns: u64,
    exporter: Ipv6Addr,
    /// Octets and packets that left, if they are counted apart.
    out: Option<[u64; 2]>,
}

/// One flow, and a few words to change it.
#[derive(Clone, Copy)]
pub struct Flow(Told);

impl Flow {
    /// Begins so many seconds into the days.
    pub fn new(at_s: u64, from: &str, to: &str, protocol: u8, port: u16) -> Self {
        let start_ns = (BEGIN_S + at_s) * SECOND_NS;
        let source = address(from);
        Self(Told {
            record: FlowRecord {
                source,
                destination: address(to),
                v6: source.to_ipv4_mapped().is_none(),
                source_port: 40_000,
                destination_port: port,
                protocol,
                tcp_flags: if protocol == TCP { TALKED } else { 0 },
                packets: 10,
                octets: 5000,
                start_ns,
                end_ns: start_ns + 2 * SECOND_NS,
                ingress_ifindex: 1,
                ..FlowRecord::default()
            },
            received_ns: start_ns + 3 * SECOND_NS,
            exporter: address("192.0.2.1"),
            out: None,
        })
    }

    /// When a collector had it, nanoseconds since 1970-01-01 UTC.
    pub fn received_ns(&self) -> u64 {
        self.0.received_ns
    }

    pub fn stored(&self) -> StoredFlow {
        StoredFlow {
            record: self.0.record,
            received_ns: self.0.received_ns,
            exporter: self.0.exporter,
            source_id: 7,
            version: 9,
            others: self.0.out.map_or(Others::NONE, out_counters),
        }
    }

    pub fn counts(mut self, packets: u64, octets: u64) -> Self {
        (self.0.record.packets, self.0.record.octets) = (packets, octets);
        self
    }

    /// Of which so much left.
    pub fn out(mut self, packets: u64, octets: u64) -> Self {
        self.0.out = Some([octets, packets]);
        self
    }

    pub fn flags(mut self, flags: u16) -> Self {
        self.0.record.tcp_flags = flags;
        self
    }

    pub fn lasts(mut self, seconds: u64) -> Self {
        self.0.record.end_ns = self.0.record.start_ns + seconds * SECOND_NS;
        self.0.received_ns = self.0.record.end_ns + SECOND_NS;
        self
    }

    pub fn exporter(mut self, exporter: &str) -> Self {
        self.0.exporter = address(exporter);
        self
    }

    pub fn interface(mut self, ifindex: u32) -> Self {
        self.0.record.ingress_ifindex = ifindex;
        self
    }

    /// Of which one packet in so many was looked at.
    pub fn sampled(mut self, interval: u32) -> Self {
        self.0.record.sampling_interval = interval;
        self
    }

    /// Below one MPLS label stack entry.
    pub fn labelled(mut self, entry: u32) -> Self {
        self.0.record.mpls_labels[0] = entry;
        self
    }

    /// The same of the opposite direction.
    pub fn back(mut self) -> Self {
        let record = &mut self.0.record;
        std::mem::swap(&mut record.source, &mut record.destination);
        std::mem::swap(&mut record.source_port, &mut record.destination_port);
        self
    }
}

/// v9's OUT counters beside IN: octets and packets are its elements 23 and 24.
fn out_counters(counters: [u64; 2]) -> Others {
    let mut gathering = Gathering::default();
    for (element, counter) in (23..).zip(counters) {
        let octets = counter.to_be_bytes();
        let other = Other {
            enterprise: 0,
            element,
            octets: &octets,
        };
        gathering.add(&other, octets.len());
    }
    gathering.finish()
}

fn address(text: &str) -> Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// Two days of a campus: web and names, both directions, and nothing else.
pub fn days() -> Vec<Flow> {
    let mut random = Random::new(42);
    let mut flows = Vec::new();
    for at_s in (0..HOURS * HOUR_S).step_by(60) {
        let client = format!("10.1.0.{}", 100 + random.below(50));
        let server = format!("198.51.100.{}", 1 + random.below(40));
        let web = Flow::new(at_s, &client, &server, TCP, 443);
        flows.extend([web.counts(12, 2000), web.back().counts(20, 25_000)]);
        let names = Flow::new(at_s + 5, &client, "10.0.0.53", UDP, 53).counts(1, 70);
        flows.extend([names, names.back().counts(1, 200)]);
    }
    flows
}

/// A directory of hourly files, as a collector leaves it.
pub struct Archive {
    pub folder: tempfile::TempDir,
}

impl Archive {
    /// Files of when the flows were received; the last hour may be open. Of each file the first
    /// exporter's account says that so many datagrams were lost by then.
    pub fn new(flows: &[Flow], is_open: bool, lost: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut flows: Vec<StoredFlow> = flows.iter().map(Flow::stored).collect();
        flows.sort_by_key(|flow| flow.received_ns);
        let hour = |flow: &StoredFlow| flow.received_ns / SECOND_NS / HOUR_S;
        let mut datagrams = 0;
        let files: Vec<_> = flows
            .chunk_by(|one, other| hour(one) == hour(other))
            .collect();
        for (at, file) in files.iter().enumerate() {
            let start_s = i64::try_from(hour(&file[0]) * HOUR_S).unwrap();
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            window.append(file).unwrap();
            datagrams += file.len();
            if is_open && at + 1 == files.len() {
                break;
            }
            let lost = if at > 0 { lost } else { 0 };
            let account = json!([{
                "exporter": "192.0.2.1", "version": 9, "source_id": 7, "datagrams": datagrams,
                "records": datagrams, "lost": lost, "lost_unit": "datagrams",
                "reordered": 0, "duplicated": 0, "restarts": 0,
            }]);
            let notes = [("weir.exporters".to_owned(), account.to_string())];
            rotate::close(folder.path(), window.path(), &notes).unwrap();
        }
        Self { folder }
    }

    pub fn of(planted: impl IntoIterator<Item = Flow>) -> Self {
        let mut flows = days();
        flows.extend(planted);
        Self::new(&flows, false, 0)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = built("weir").unwrap();
        command.args(arguments).arg("-r").arg(self.folder.path());
        command.arg("--library").arg(self.folder.path());
        command
    }

    /// What is printed.
    #[track_caller]
    pub fn text(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"][..]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Values of a field in all rows.
pub fn column(rows: &Value, name: &str) -> Vec<Value> {
    let rows = rows.as_array().unwrap_or_else(|| panic!("rows: {rows}"));
    rows.iter().map(|row| row[name].clone()).collect()
}
