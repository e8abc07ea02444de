//! Flows as they arrive, for programs that want them at once: JSON lines or goflow2's protobuf, to a file,
//! a named pipe or standard output. Whoever reads slowly misses flows, which are counted; the collector
//! goes on.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileTypeExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result};
use chrono::DateTime;
use crossbeam::channel::Receiver;
use serde_json::{Value, json};
use weir_netflow::record::display_address;
use weir_store::schema::StoredFlow;

use crate::{aside::Aside, goflow};

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

/// The near end.
#[derive(Debug)]
pub struct Tap {
    shape: Shape,
    aside: Aside<Vec<StoredFlow>>,
    written: Arc<AtomicU64>,
}

impl Tap {
    /// Starts it; `-` is standard output.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn start(shape: Shape, path: &Path) -> Result<Self> {
        let output: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let file = open(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(file)
        };
        let written = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&written);
        let shown = path.display().to_string();
        let work = move |batches: Receiver<Vec<StoredFlow>>| {
            if let Err(error) = write(shape, output, &batches, &theirs) {
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
    batches: &Receiver<Vec<StoredFlow>>,
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

/// Appends a flow's line. Nothing in it needs to be escaped.
fn append_line(flow: &StoredFlow, octets: &mut Vec<u8>) -> io::Result<()> {
    let record = &flow.record;
    write!(
        octets,
        r#"{{"flow_start":"{}","flow_end":"{}","received":"{}","exporter":"{}","source_id":{},"version":{},"src_addr":"{}","dst_addr":"{}","next_hop":"#,
        Time(record.start_ns),
        Time(record.end_ns),
        Time(flow.received_ns),
        display_address(flow.exporter),
        flow.source_id,
        flow.version,
        display_address(record.source),
        display_address(record.destination),
    )?;
    if record.next_hop.is_unspecified() {
        octets.extend(b"null");
    } else {
        write!(octets, r#""{}""#, display_address(record.next_hop))?;
    }
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
    octets.extend(b"}\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_netflow::FlowRecord;
    use weir_store::schema;

    use super::*;

    #[test]
    fn a_line_has_the_stores_columns_in_their_order() {
        let flow = StoredFlow {
            record: FlowRecord {
                source: "::ffff:192.0.2.1".parse().unwrap(),
                octets: u64::MAX,
                start_ns: 1_700_000_000_123_456_789,
                ..FlowRecord::default()
            },
            received_ns: 0,
            exporter: "2001:db8::1".parse().unwrap(),
            source_id: 7,
            version: 9,
        };
        let mut octets = Vec::new();
        append_line(&flow, &mut octets).unwrap();
        let line: Value = serde_json::from_slice(&octets).unwrap();
        let names: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        let columns = schema::schema();
        let columns: Vec<_> = columns.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, columns);
        assert_eq!(line["flow_start"], "2023-11-14T22:13:20.123456789Z");
        assert_eq!(line["src_addr"], "192.0.2.1");
        assert_eq!((&line["octets"], &line["next_hop"]), (&json!(u64::MAX), &Value::Null));
    }
}
