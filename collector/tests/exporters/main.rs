//! Fault cases C5, C7, C9 to C15 and C17: what the collector believes and remembers of exporters, without a
//! socket.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod believed;
mod bounds;
mod connections;
mod templates;
mod waiting;

use std::{net::Ipv4Addr, sync::LazyLock};

use weir_collector::exporters::{Exporters, Settings, Source};
use weir_netflow::{ExportTime, FlowRecord, Layout, flow_template::FlowTemplate, v9};
use weir_store::schema::StoredFlow;

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// By which exporters send their flows here.
static FLOWS_V4: LazyLock<FlowTemplate> = LazyLock::new(|| v9::templates(&Layout::WEIR).v4);

fn source(number: u32) -> Source {
    Source {
        address: Ipv4Addr::from_bits(0x0a00_0000 + number).to_ipv6_mapped(),
        port: 2055,
        session: 0,
    }
}

fn header(domain: u32, sequence: u32) -> v9::Header {
    v9::Header {
        count: 1,
        time: ExportTime {
            unix_ns: NOW_NS,
            uptime_ms: 1_000_000,
        },
        sequence,
        source_id: domain,
    }
}

fn datagram(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let header = v9::encode_header(&header(domain, sequence));
    [&header[..], &sets.concat()].concat()
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap();
    [&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// A template with this id and these fields: type and octets.
fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
    for (element, octets) in fields {
        body.extend(element.to_be_bytes());
        body.extend(octets.to_be_bytes());
    }
    set(v9::TEMPLATE_SET, &body)
}

fn flow_template() -> Vec<u8> {
    let mut body = Vec::new();
    FLOWS_V4.encode_definition(&mut body);
    set(v9::TEMPLATE_SET, &body)
}

/// A set of one flow of so many packets.
fn flow(packets: u64) -> Vec<u8> {
    let record = FlowRecord {
        packets,
        octets: 100 * packets,
        ..FlowRecord::default()
    };
    let mut body = Vec::new();
    FLOWS_V4.encode_record(&mut body, &record, &header(0, 0).time);
    set(FLOWS_V4.id, &body)
}

fn exporters() -> Exporters {
    Exporters::new(Settings::default())
}

/// The packets of the flows that come out.
fn take(exporters: &mut Exporters, source: &Source, at_ns: u64, octets: &[u8]) -> Vec<u64> {
    let mut flows = Vec::new();
    exporters
        .datagram(octets, source, at_ns, &mut flows)
        .unwrap();
    packets(&flows)
}

fn packets(flows: &[StoredFlow]) -> Vec<u64> {
    flows.iter().map(|flow| flow.record.packets).collect()
}
