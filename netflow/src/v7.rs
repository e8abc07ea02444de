//! NetFlow v7, of Catalyst switches: a header of 24 octets, then up to 27 records of 52. IPv4 only,
//! 32-bit counters.
//!
//! The record is v5's with two fields of flags, which say "among other things what flow fields are
//! invalid" (Cisco does not say by which bits), and the router that the switch spared the work.

use std::net::Ipv4Addr;

use crate::{ExportTime, FlowRecord, Malformed, fixed, read};

/// The version field.
pub const VERSION: u16 = 7;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 24;
/// Octets of a record.
pub const RECORD_OCTETS: usize = 52;
/// Records a datagram may hold on Ethernet; one more is read, as from larger frames.
pub const RECORDS_MAX: usize = 27;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Records that follow.
    pub count: u16,
    /// The exporter's clocks.
    pub time: ExportTime,
    /// Records exported before this datagram, modulo 2³².
    pub sequence: u32,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The flow. What the switch's flow mask leaves out (ports and protocol, the source, too, where
    /// it keeps destinations only) is 0.
    pub flow: FlowRecord,
    /// Which fields are invalid, as the switch says it; 0: all are valid.
    pub invalid_fields: u8,
    /// Which flows are invalid, likewise.
    pub invalid_flows: u16,
    /// The router that was bypassed (`router_sc`).
    pub router_shortcut: Ipv4Addr,
}

/// The header's octets.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    octets[..16].copy_from_slice(&fixed::encode_header(VERSION, header.count, &header.time));
    octets[16..20].copy_from_slice(&header.sequence.to_be_bytes());
    octets
}

/// Appends a record.
pub fn encode_record(datagram: &mut Vec<u8>, record: &Record, time: &ExportTime) {
    fixed::encode_record(datagram, &record.flow, time);
    datagram.push(record.invalid_fields);
    fixed::encode_routing(datagram, &record.flow);
    datagram.extend_from_slice(&record.invalid_flows.to_be_bytes());
    datagram.extend_from_slice(&record.router_shortcut.octets());
}

/// Reads a datagram: its header, and its records as an iterator that cannot fail. The header's
/// count is replaced by the records that are whole, if those are fewer; `claimed` keeps it.
///
/// # Errors
/// If it is no v7 datagram, or claims records and holds none.
pub fn decode(datagram: &[u8]) -> Result<Datagram<'_>, Malformed> {
    fixed::check_header(datagram, VERSION, HEADER_OCTETS)?;
    let checked = fixed::check(datagram, HEADER_OCTETS, RECORD_OCTETS)?;
    Ok(checked.with(Header {
        count: checked.count,
        time: checked.time,
        sequence: read::u32(datagram, 16),
    }))
}

/// A datagram that was checked.
pub type Datagram<'a> = fixed::Checked<'a, Header>;

impl Datagram<'_> {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.records
            .chunks_exact(RECORD_OCTETS)
            .map(|octets| Record {
                flow: fixed::record_with_routing(octets, &self.header.time),
                invalid_fields: octets[36],
                invalid_flows: read::u16(octets, 46),
                router_shortcut: Ipv4Addr::from(read::u32(octets, 48)),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_datagram_and_back() {
        let time = ExportTime {
            unix_ns: 1_700_000_000_000_000_500,
            uptime_ms: 100_000,
        };
        let record = Record {
            flow: FlowRecord {
                source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
                destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
                source_port: 0x1234,
                destination_port: 443,
                protocol: 6,
                tos: 0xb8,
                tcp_flags: 0x1b,
                octets: 0x0102_0304,
                packets: 0x0a0b,
                start_ns: time.unix_ns - 500 - 2_000_000_000,
                end_ns: time.unix_ns - 500 - 1_000_000_000,
                ingress_ifindex: 2,
                egress_ifindex: 3,
                source_as: 64_512,
                destination_as: 64_513,
                source_mask: 24,
                destination_mask: 16,
                ..FlowRecord::default()
            },
            invalid_fields: 0x40,
            invalid_flows: 0x0102,
            router_shortcut: Ipv4Addr::new(10, 0, 0, 1),
        };
        let header = Header {
            count: 1,
            time,
            sequence: 7,
        };
        let mut datagram = encode_header(&header).to_vec();
        encode_record(&mut datagram, &record, &time);
        #[rustfmt::skip]
        assert_eq!(datagram, [
            0, 7, 0, 1,               // version, count
            0, 1, 0x86, 0xa0,         // sysUptime: 100000 ms
            0x65, 0x53, 0xf1, 0x00,   // seconds
            0, 0, 1, 0xf4,            // nanoseconds
            0, 0, 0, 7,               // sequence
            0, 0, 0, 0,               // reserved
            192, 0, 2, 1,             // source
            198, 51, 100, 7,          // destination
            0, 0, 0, 0,               // next hop
            0, 2, 0, 3,               // ifIndexes
            0, 0, 0x0a, 0x0b,         // packets
            1, 2, 3, 4,               // octets
            0, 1, 0x7e, 0xd0,         // First: 98000 ms
            0, 1, 0x82, 0xb8,         // Last: 99000 ms
            0x12, 0x34, 0x01, 0xbb,   // ports
            0x40, 0x1b, 6, 0xb8,      // invalid fields, flags, protocol, ToS
            0xfc, 0x00, 0xfc, 0x01,   // AS numbers
            24, 16,                   // masks
            1, 2,                     // invalid flows
            10, 0, 0, 1,              // router_sc
        ]);
        let decoded = decode(&datagram).unwrap();
        assert_eq!(decoded.header, header);
        assert_eq!(decoded.records().collect::<Vec<_>>(), [record]);
    }
}
