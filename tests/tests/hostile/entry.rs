//! Each way in for octets that strangers choose, as a function of octets: it returns, or there is a defect.
//! `main.rs` calls them with what it changed, the targets of `fuzz/` with what a fuzzer finds.

use std::{fs, net::Ipv4Addr, path::Path};

use weir_collector::{
    exporters::{Exporters, Settings, Source},
    framing::Framing,
    keeping::Sink,
};
use weir_sensor::capture;
use weir_sensor_common::{
    Fields, extra,
    packet::Captured,
    tunnel::{self, Tunnels},
    walk,
};
use weir_store::{
    columns::FlowsBuilder,
    flow_tools,
    follow::Follower,
    footer::Opened,
    nfdump, read,
    schema::{self, StoredFlow},
    verify,
};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const MS_NS: u64 = 1_000_000;
const TUNNELS: Tunnels = Tunnels(0x1f);
const FIELDS: Fields = Fields(0x1f);
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A frame: the header walk by its short and its long way, into tunnels, and what is read beside the key.
pub fn packet(octets: &[u8]) {
    let packet = Captured::whole(octets);
    let found = walk::ethernet(&packet);
    if let Some(plain) = walk::plain_v4(&packet) {
        assert_eq!(Ok(plain), found);
    }
    let inside = walk::ethernet_link(&packet).and_then(|link| tunnel::walk(&packet, link, TUNNELS));
    assert_eq!(inside.is_ok(), found.is_ok());
    let _ = tunnel::walk(&packet, walk::Network::RAW, TUNNELS);
    for is_raw in [false, true] {
        let _ = extra::read(&packet, is_raw, 0, FIELDS);
    }
}

/// A collector that hears one exporter, and what it must have counted.
pub struct Collector {
    exporters: Exporters,
    /// Hears the same, and makes columns.
    twin: Exporters,
    source: Source,
    flows: Vec<StoredFlow>,
    datagrams: u64,
    applied: u64,
    records: u64,
    /// Those of them that the twin took member by member.
    plain: u64,
}

impl Collector {
    /// One that knows nothing yet; over UDP if `session` is 0.
    pub fn new(session: u64) -> Self {
        Self {
            exporters: Exporters::new(Settings::default()),
            twin: Exporters::new(Settings::default()),
            source: Source {
                address: Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
                port: 2055,
                session,
            },
            flows: Vec::new(),
            datagrams: 0,
            applied: 0,
            records: 0,
            plain: 0,
        }
    }

    /// A datagram: it is applied or refused by name, and its flows are as they may be.
    pub fn take(&mut self, octets: &[u8]) {
        self.datagrams += 1;
        self.flows.clear();
        let now_ns = NOW_NS + self.datagrams * MS_NS;
        let taken = self
            .exporters
            .datagram(octets, &self.source, now_ns, &mut self.flows);
        self.applied += u64::from(taken.is_ok());
        self.records += self.flows.len() as u64;
        for StoredFlow { record, .. } in &self.flows {
            assert!(record.start_ns <= record.end_ns && record.sampling_interval > 0);
        }
        let counted = &self.exporters.statistics;
        let refused = counted.unknown_version + counted.malformed;
        assert_eq!(counted.datagrams, self.datagrams);
        assert_eq!(self.datagrams, self.applied + refused);
        assert_eq!(counted.records, self.records);
        let mut columns = Columns::default();
        let twin_taken = self
            .twin
            .datagram(octets, &self.source, now_ns, &mut columns);
        assert_eq!(twin_taken, taken);
        let rows = columns.columns().unwrap().finish().unwrap();
        assert_eq!(rows, schema::rows(&self.flows).unwrap());
        self.plain += (rows.num_rows() - columns.one_by_one) as u64;
        assert_eq!(&self.twin.statistics, counted);
    }

    /// The end: its accounts can be told. How many datagrams were applied, their flows, and those of them that may be
    /// read member by member.
    pub fn finish(mut self) -> (u64, u64, u64) {
        self.exporters.finish();
        self.twin.finish();
        assert_eq!(self.twin.accounts(), self.exporters.accounts());
        let _ = self.exporters.remembered();
        (self.applied, self.records, self.plain)
    }
}

/// Flows as columns, in their order.
#[derive(Default)]
struct Columns {
    rows: Vec<StoredFlow>,
    /// Flows that were rows.
    one_by_one: usize,
    builder: FlowsBuilder,
}

impl Sink for Columns {
    fn flows(&mut self) -> &mut Vec<StoredFlow> {
        &mut self.rows
    }

    fn columns(&mut self) -> Option<&mut FlowsBuilder> {
        self.one_by_one += self.rows.len();
        self.builder.take(&self.rows);
        self.rows.clear();
        Some(&mut self.builder)
    }
}

/// Datagrams one after the other, each behind its length in two octets, all beginning as a version does.
pub fn datagrams(beginning: &[u8], octets: &[u8]) {
    let mut collector = Collector::new(0);
    let mut rest = octets;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (datagram, after) = after.split_at(length.min(after.len()));
        let mut datagram = datagram.to_vec();
        for (octet, wanted) in datagram.iter_mut().zip(beginning) {
            *octet = *wanted;
        }
        collector.take(&datagram);
        rest = after;
    }
    collector.finish();
}

/// A connection of IPFIX.
pub fn stream(octets: &[u8]) {
    const SEGMENT_OCTETS: usize = 100;
    let (mut framing, mut collector) = (Framing::default(), Collector::new(1));
    for segment in octets.chunks(SEGMENT_OCTETS) {
        if framing
            .take(segment, |message| collector.take(message))
            .is_err()
        {
            break;
        }
        assert!(u16::try_from(framing.pending()).is_ok());
    }
    collector.finish();
}

/// A file in the place of an open window, read whole and as `weir live` follows it; how many flows it gives.
pub fn window(path: &Path, octets: &[u8]) -> usize {
    fs::write(path, octets).unwrap();
    let mut flows = 0;
    let ended = read::window(path, |batch| {
        flows += batch.num_rows();
        Ok(())
    });
    // Whatever is in it, it can be read.
    ended.unwrap();
    let mut follower = Follower::open(path).unwrap();
    follower.read_on(|_| Ok(())).unwrap();
    flows
}

/// A closed file; how many of its flows are sound.
pub fn closed(path: &Path, octets: &[u8]) -> u64 {
    fs::write(path, octets).unwrap();
    if let Ok(opened) = Opened::open(path) {
        let _ = opened.footer();
        let _ = opened.may_have("src_addr", [0; 16]);
    }
    // Whatever is in it, it can be looked at.
    let verified = verify::verify(path).unwrap();
    verified.flows
}

/// A file of nfdump's or flow-tools' to be imported; how many flows it gives if it is nfdump's, and is what
/// it says of itself.
pub fn archive(path: &Path, octets: &[u8]) -> Option<usize> {
    fs::write(path, octets).unwrap();
    let mut flows = Vec::new();
    // An error names the file; it is left out.
    if let Ok(mut reader) = flow_tools::Reader::open(path) {
        while let Ok(true) = reader.next_block(&mut flows) {
            flows.clear();
        }
        let _ = reader.check();
    }
    let mut found = 0;
    let mut reader = nfdump::Reader::open(path).ok()?;
    while reader.next_block(&mut flows).ok()? {
        found += flows.len();
        flows.clear();
    }
    reader.check().ok()?;
    Some(found)
}

/// A capture file; how many frames it gives.
pub fn capture_file(path: &Path, octets: &[u8]) -> usize {
    fs::write(path, octets).unwrap();
    let mut frames = 0;
    // An error is a file that is no capture.
    let _ = capture::read(path, |frame| {
        frames += 1;
        let _ = capture::walk(&frame, TUNNELS);
        let _ = capture::extra(&frame, FIELDS);
    });
    assert!(frames <= octets.len() || octets.starts_with(&GZIP));
    frames
}
