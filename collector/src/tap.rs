//! Flows as they arrive, for programs that want them at once: JSON lines or goflow2's protobuf, to a file,
//! a named pipe or standard output. Whoever reads slowly misses flows, which are counted; the collector
//! goes on.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::Ipv6Addr,
    os::unix::fs::FileTypeExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result};
use chrono::DateTime;
use serde_json::{Value, json};
use weir_netflow::record::display_address;
use weir_store::schema::StoredFlow;

use crate::{
    aside::{Aside, Pieces},
    goflow,
};

/// Batches of flows that wait for the reader.
const BATCHES_MAX: usize = 64;

/// What flows look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A line each: the store's columns by their names.
    Json,
    /// goflow2's messages.
    Protobuf,
}

impl Shape {
    /// The option, and the account's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    fn append(self, flow: &StoredFlow, octets: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Json => append_line(flow, octets),
            Self::Protobuf => {
                goflow::append(flow, octets);
                Ok(())
            }
        }
    }
}

/// Where flows are to go; nothing is written yet.
pub struct Opened {
    shape: Shape,
    output: Box<dyn Write + Send>,
    /// Its name in messages.
    shown: String,
}

/// The near end.
#[derive(Debug)]
pub struct Tap {
    shape: Shape,
    aside: Aside<Vec<StoredFlow>>,
    written: Arc<AtomicU64>,
}

impl Tap {
    /// Opens a file, which may take privileges; `-` is standard output.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(shape: Shape, path: &Path) -> Result<Opened> {
        let output: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let file = open(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(file)
        };
        Ok(Opened {
            shape,
            output,
            shown: path.display().to_string(),
        })
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(opened: Opened) -> Result<Self> {
        let Opened {
            shape,
            output,
            shown,
        } = opened;
        let written = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&written);
        let work = move |batches: Pieces<Vec<StoredFlow>>| {
            if let Err(error) = write(shape, output, batches, &theirs) {
                eprintln!(
                    "weir-collector: {shown} gets no more flows: {error}; they are counted as left out until the next start"
                );
            }
        };
        Ok(Self {
            shape,
            aside: Aside::start(shape.name(), BATCHES_MAX, work)?,
            written,
        })
    }

    /// Gives it flows; it never waits.
    pub fn offer(&self, flows: &[StoredFlow]) {
        self.aside.offer(flows.len() as u64, || flows.to_vec());
    }

    /// What its flows look like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Flows that wait, that were written, and that were left out.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let written = self.written.load(Ordering::Relaxed);
        (self.aside.waiting(), written, self.aside.left_out())
    }

    /// Ends it; its name and account.
    #[must_use]
    pub fn finish(self) -> (&'static str, Value) {
        let offered = self.aside.finish();
        let written = self.written.load(Ordering::Relaxed);
        let account = json!({
            "flows_written": written,
            "flows_left_out": offered.saturating_sub(written),
        });
        (self.shape.name(), account)
    }
}

/// Opens a file to append to. A named pipe is opened for reading too, since else this would wait until
/// somebody else reads, and end when they stop.
fn open(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    let mut options = OpenOptions::new();
    if is_pipe {
        options.read(true).write(true);
    } else {
        options.append(true).create(true);
    }
    options.open(path)
}

/// Writes batches until there are no more, or one could not be written whole.
fn write(
    shape: Shape,
    mut output: impl Write,
    batches: Pieces<Vec<StoredFlow>>,
    written: &AtomicU64,
) -> io::Result<()> {
    let mut octets = Vec::new();
    for flows in batches {
        octets.clear();
        for flow in &flows {
            shape.append(flow, &mut octets)?;
        }
        output.write_all(&octets)?;
        output.flush()?;
        written.fetch_add(flows.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// As `weir flows --json` shows times.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::from_timestamp_nanos(i64::try_from(self.0).unwrap_or(i64::MAX));
        write!(formatter, "{}", time.format("%Y-%m-%dT%H:%M:%S%.9fZ"))
    }
}

/// Appends a flow's line: the store's columns in their order, without those that a flow has not. Nothing in
/// it needs to be escaped.
fn append_line(flow: &StoredFlow, octets: &mut Vec<u8>) -> io::Result<()> {
    let record = &flow.record;
    write!(
        octets,
        r#"{{"flow_start":"{}","flow_end":"{}","received":"{}","exporter":"{}","source_id":{},"version":{},"src_addr":"{}","dst_addr":"{}""#,
        Time(record.start_ns),
        Time(record.end_ns),
        Time(flow.received_ns),
        display_address(flow.exporter),
        flow.source_id,
        flow.version,
        display_address(record.source),
        display_address(record.destination),
    )?;
    append_address(octets, "next_hop", record.next_hop)?;
    for (name, number) in [
        ("ip_version", if record.v6 { 6 } else { 4 }),
        ("protocol", record.protocol.into()),
        ("src_port", record.source_port.into()),
        ("dst_port", record.destination_port.into()),
        ("tcp_flags", record.tcp_flags.into()),
        ("tos", record.tos.into()),
        ("octets", record.octets),
        ("packets", record.packets),
        ("ingress_ifindex", record.ingress_ifindex.into()),
        ("egress_ifindex", record.egress_ifindex.into()),
        ("src_as", record.source_as.into()),
        ("dst_as", record.destination_as.into()),
        ("src_mask", record.source_mask.into()),
        ("dst_mask", record.destination_mask.into()),
        ("vlan", record.vlan.into()),
        ("direction", u64::from(record.direction as u8)),
        ("end_reason", u64::from(record.end_reason as u8)),
        ("sampling_interval", record.sampling_interval.into()),
    ] {
        write!(octets, r#","{name}":{number}"#)?;
    }
    if flow.needs_all_columns() {
        append_later(flow, octets)?;
    }
    octets.extend(b"}\n");
    Ok(())
}

/// Appends what few flows have.
fn append_later(flow: &StoredFlow, octets: &mut Vec<u8>) -> io::Result<()> {
    let record = &flow.record;
    append_address(octets, "bgp_next_hop", record.bgp_next_hop)?;
    for (name, mac) in [
        ("src_mac", record.source_mac),
        ("dst_mac", record.destination_mac),
    ] {
        if mac != [0; 6] {
            let [a, b, c, d, e, f] = mac;
            write!(
                octets,
                r#","{name}":"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}""#
            )?;
        }
    }
    let [label_1, label_2, label_3, label_4] = record.mpls_labels;
    for (name, number) in [
        ("inner_vlan", record.inner_vlan.into()),
        ("mpls_label_1", label_1),
        ("mpls_label_2", label_2),
        ("mpls_label_3", label_3),
        ("mpls_label_4", label_4),
        ("flow_label", record.flow_label),
    ] {
        if number != 0 {
            write!(octets, r#","{name}":{number}"#)?;
        }
    }
    append_address(octets, "outer_src_addr", record.outer_source)?;
    append_address(octets, "outer_dst_addr", record.outer_destination)?;
    if !flow.others.is_empty() {
        octets.extend(br#","others":{"#);
        for (number, (key, value)) in flow.others.named().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(octets, r#"{comma}"{key}":""#)?;
            for octet in value {
                write!(octets, "{octet:02x}")?;
            }
            octets.push(b'"');
        }
        octets.push(b'}');
    }
    Ok(())
}

fn append_address(octets: &mut Vec<u8>, name: &str, address: Ipv6Addr) -> io::Result<()> {
    if address.is_unspecified() {
        return Ok(());
    }
    write!(octets, r#","{name}":"{}""#, display_address(address))
}

#[cfg(test)]
mod tests {
    use weir_netflow::FlowRecord;
    use weir_store::{
        others::{Gathering, Other, Others},
        schema,
    };

    use super::*;

    /// The names in a flow's line, and the line.
    fn line(flow: &StoredFlow) -> (Vec<String>, Value) {
        let mut octets = Vec::new();
        append_line(flow, &mut octets).unwrap();
        let line: Value = serde_json::from_slice(&octets).unwrap();
        let names = line.as_object().unwrap().keys().cloned().collect();
        (names, line)
    }

    #[test]
    fn a_line_has_the_stores_columns_in_their_order() {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let mut gathering = Gathering::default();
        let other = Other {
            enterprise: 6871,
            element: 14,
            octets: &[1, 0xab],
        };
        gathering.add(&other, 2);
        let flow = StoredFlow {
            record: FlowRecord {
                source: address("::ffff:192.0.2.1"),
                octets: u64::MAX,
                start_ns: 1_700_000_000_123_456_789,
                ..FlowRecord::default()
            },
            received_ns: 0,
            exporter: address("2001:db8::1"),
            source_id: 7,
            version: 9,
            others: Others::NONE,
        };
        let full = StoredFlow {
            record: FlowRecord {
                next_hop: address("2001:db8::2"),
                bgp_next_hop: address("2001:db8::3"),
                source_mac: [2, 0, 0, 0, 0, 0x1f],
                destination_mac: [2; 6],
                inner_vlan: 1,
                mpls_labels: [1, 2, 3, 4],
                flow_label: 5,
                outer_source: address("2001:db8::4"),
                outer_destination: address("2001:db8::5"),
                ..flow.record
            },
            others: gathering.finish(),
            ..flow.clone()
        };
        let columns = schema::schema();
        let columns: Vec<_> = columns
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let (names, line_of_all) = line(&full);
        assert_eq!(names, columns);
        assert_eq!(line_of_all["src_mac"], "02:00:00:00:00:1f");
        assert_eq!(line_of_all["others"], json!({"6871.14": "01ab"}));
        let (names, line) = line(&flow);
        let always = columns.iter().take(schema::EARLIER_COLUMNS);
        assert!(names.iter().eq(always.filter(|name| *name != "next_hop")));
        assert_eq!(line["flow_start"], "2023-11-14T22:13:20.123456789Z");
        assert_eq!(line["src_addr"], "192.0.2.1");
        assert_eq!(line["octets"], json!(u64::MAX));
    }
}
