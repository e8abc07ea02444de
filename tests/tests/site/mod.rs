//! What the collector's end-to-end tests share: a collector on a loopback port with a folder of its own,
//! and datagrams to send to it. Arguments are words with spaces between.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use weir_netflow::{ExportTime, FlowRecord, Layout, v9};
use weir_tests::{
    port,
    process::{Daemon, built, succeed},
};

pub use weir_tests::account::{expect, of};

/// Longer than a datagram is under way on loopback, and the collector takes to do what is to be done.
pub const UNDER_WAY: Duration = Duration::from_millis(300);
/// Longer than it is under way alone: a collector that is told to end takes what is in its socket.
const DELIVERED: Duration = Duration::from_millis(100);

/// Flows of each datagram of [`send`].
pub const FLOWS: u16 = 20;

/// A collector's place: a folder, and a port that was free.
pub struct Site {
    folder: tempfile::TempDir,
    pub port: u16,
}

impl Site {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: port::free().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn flows(&self) -> PathBuf {
        self.path("flows")
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Starts a collector at the port, on all addresses of both families.
    pub fn start(&self, arguments: &str) -> Daemon {
        self.start_in(&self.flows(), arguments)
    }

    pub fn start_in(&self, flows: &Path, arguments: &str) -> Daemon {
        self.start_as(Self::command(), flows, arguments)
    }

    /// Starts a collector by a command that already says something of its own: its environment, who traces
    /// it, arguments with spaces in them.
    pub fn start_as(&self, mut command: Command, flows: &Path, arguments: &str) -> Daemon {
        command
            .arg("-w")
            .arg(flows)
            .args(["-l", &format!("[::]:{}", self.port), "--statistics-json"])
            .arg(self.path("collector.json"))
            .args(arguments.split_whitespace());
        let mut daemon = Daemon::start(command, &self.path("log")).unwrap();
        daemon.wait_for("listening").unwrap();
        daemon
    }

    pub fn command() -> Command {
        built("weir-collector").unwrap()
    }

    /// Ends it as a service manager does; what it counted.
    pub fn stop(&self, daemon: Daemon) -> Value {
        thread::sleep(DELIVERED);
        let status = daemon.stop().unwrap();
        let log = self.log();
        assert!(status.success() && !log.contains("panicked"), "{log}");
        let json = fs::read_to_string(self.path("collector.json")).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Runs `weir-collector WORD DIR ARGUMENTS`: whether it succeeded, and what it said.
    pub fn maintain(&self, word: &str, arguments: &str) -> (bool, String) {
        let mut command = Self::command();
        command.arg(word).arg(self.flows());
        let output = command.args(arguments.split_whitespace()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (output.status.success(), said)
    }

    /// Flows and packets in its files, as `weir` sees them.
    pub fn totals(&self) -> (u64, u64) {
        let mut command = built("weir").unwrap();
        command.args(["top", "--json", "-r"]).arg(self.flows());
        let answer: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
        (
            of(&answer["total"], "flows"),
            of(&answer["total"], "packets"),
        )
    }

    /// Names of files in the folder of open windows that end so.
    pub fn open(&self, ending: &str) -> Vec<String> {
        let entries = fs::read_dir(self.flows().join(".open")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).collect()
    }

    /// Closed files, by name.
    pub fn closed(&self) -> Vec<PathBuf> {
        let mut closed = Vec::new();
        let mut folders = vec![self.flows()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() && !name.starts_with('.') {
                    folders.push(path);
                } else if name.ends_with(".parquet") {
                    closed.push(path);
                }
            }
        }
        closed.sort();
        closed
    }
}

/// Sends datagrams of these numbers, of one exporter.
pub fn send(site: &Site, numbers: Range<u32>) {
    let socket = socket();
    for number in numbers {
        let datagram = v9_datagram(0, number, FLOWS, number.is_multiple_of(10));
        socket.send_to(&datagram, site.address()).unwrap();
        if number.is_multiple_of(16) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A site whose collector has closed one file of so many datagrams.
pub fn with_closed_file(datagrams: u32) -> Site {
    let site = Site::new();
    let daemon = site.start("-t 86400");
    send(&site, 0..datagrams);
    let found = site.stop(daemon);
    expect(&found, "kernel_drops=0 windows_kept=0");
    assert_eq!(site.closed().len(), 1);
    site
}

pub fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// A flow of a packet, at a moment.
pub fn record(at_ns: u64) -> FlowRecord {
    FlowRecord {
        packets: 1,
        octets: 40,
        protocol: 17,
        start_ns: at_ns,
        end_ns: at_ns,
        ..FlowRecord::default()
    }
}

/// A v9 datagram of so many flows of a packet each, with or without the template.
pub fn v9_datagram(domain: u32, sequence: u32, flows: u16, has_template: bool) -> Vec<u8> {
    let template = v9::templates(&Layout::WEIR).v4;
    let now_ns = unix_ns();
    let time = ExportTime {
        unix_ns: now_ns,
        uptime_ms: 5_000_000 + now_ns / 1_000_000 % 1_000_000_000,
    };
    let record = record(now_ns);
    let (mut definition, mut data) = (Vec::new(), Vec::new());
    template.encode_definition(&mut definition);
    for _ in 0..flows {
        template.encode_record(&mut data, &record, &time);
    }
    let header = v9::encode_header(&v9::Header {
        count: flows + u16::from(has_template),
        time,
        sequence,
        source_id: domain,
    });
    let mut datagram = header.to_vec();
    if has_template {
        push_set(&mut datagram, v9::TEMPLATE_SET, &definition);
    }
    push_set(&mut datagram, template.id, &data);
    datagram
}

pub fn push_set(datagram: &mut Vec<u8>, id: u16, body: &[u8]) {
    datagram.extend(id.to_be_bytes());
    datagram.extend(u16::try_from(4 + body.len()).unwrap().to_be_bytes());
    datagram.extend(body);
}
