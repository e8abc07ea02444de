//! NetFlow v1: a header of 16 octets, then up to 24 records of 48. IPv4 only, 32-bit counters, no
//! sequence number: what is lost on the way cannot be told.
//!
//! The record's first 36 octets are those of v5; then come two of padding, protocol, ToS and TCP
//! flags, and seven more of padding.

use crate::{ExportTime, FlowRecord, Malformed, fixed};

/// The version field.
pub const VERSION: u16 = 1;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 16;
/// Octets of a record.
pub const RECORD_OCTETS: usize = 48;
/// Records a datagram may hold. softflowd sends up to 30, which nfcapd drops; they are read.
pub const RECORDS_MAX: usize = 24;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Records that follow.
    pub count: u16,
    /// The exporter's clocks.
    pub time: ExportTime,
}

/// The header's octets.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; HEADER_OCTETS] {
    fixed::encode_header(VERSION, header.count, &header.time)
}

/// Appends a record.
pub fn encode_record(datagram: &mut Vec<u8>, record: &FlowRecord, time: &ExportTime) {
    fixed::encode_record(datagram, record, time);
    let tcp_flags = fixed::low8(record.tcp_flags);
    datagram.extend_from_slice(&[0, 0, record.protocol, record.tos, tcp_flags]);
    datagram.extend_from_slice(&[0; 7]);
}

/// Reads a datagram: its header, and its records as an iterator that cannot fail. The header's
/// count is replaced by the records that are whole, if those are fewer; `claimed` keeps it.
///
/// # Errors
/// If it is no v1 datagram, or claims records and holds none.
pub fn decode(datagram: &[u8]) -> Result<Datagram<'_>, Malformed> {
    fixed::check_header(datagram, VERSION, HEADER_OCTETS)?;
    let checked = fixed::check(datagram, HEADER_OCTETS, RECORD_OCTETS)?;
    Ok(checked.with(Header {
        count: checked.count,
        time: checked.time,
    }))
}

/// A datagram that was checked.
pub type Datagram<'a> = fixed::Checked<'a, Header>;

impl Datagram<'_> {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = FlowRecord> + '_ {
        self.records
            .chunks_exact(RECORD_OCTETS)
            .map(|octets| FlowRecord {
                protocol: octets[38],
                tos: octets[39],
                tcp_flags: u16::from(octets[40]),
                ..fixed::record(octets, &self.header.time)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TIME: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_000_000_500,
        uptime_ms: 100_000,
    };

    #[test]
    fn golden_datagram_and_back() {
        let flow = FlowRecord {
            source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
            next_hop: Ipv4Addr::new(192, 0, 2, 254).to_ipv6_mapped(),
            source_port: 0x1234,
            destination_port: 443,
            protocol: 6,
            tos: 0xb8,
            tcp_flags: 0x1b,
            octets: 0x0102_0304,
            packets: 0x0a0b,
            start_ns: TIME.unix_ns - 500 - 2_000_000_000,
            end_ns: TIME.unix_ns - 500 - 1_000_000_000,
            ingress_ifindex: 2,
            egress_ifindex: 3,
            ..FlowRecord::default()
        };
        let header = Header {
            count: 1,
            time: TIME,
        };
        let mut datagram = encode_header(&header).to_vec();
        encode_record(&mut datagram, &flow, &TIME);
        #[rustfmt::skip]
        assert_eq!(datagram, [
            0, 1, 0, 1,               // version, count
            0, 1, 0x86, 0xa0,         // sysUptime: 100000 ms
            0x65, 0x53, 0xf1, 0x00,   // seconds
            0, 0, 1, 0xf4,            // nanoseconds
            192, 0, 2, 1,             // source
            198, 51, 100, 7,          // destination
            192, 0, 2, 254,           // next hop
            0, 2, 0, 3,               // ifIndexes
            0, 0, 0x0a, 0x0b,         // packets
            1, 2, 3, 4,               // octets
            0, 1, 0x7e, 0xd0,         // First: 98000 ms
            0, 1, 0x82, 0xb8,         // Last: 99000 ms
            0x12, 0x34, 0x01, 0xbb,   // ports
            0, 0, 6, 0xb8, 0x1b,      // pad, protocol, ToS, flags
            0, 0, 0, 0, 0, 0, 0,      // pad
        ]);
        let decoded = decode(&datagram).unwrap();
        assert_eq!(decoded.header, header);
        assert_eq!(decoded.records().collect::<Vec<_>>(), [flow]);
    }

    #[test]
    fn more_records_than_allowed_are_read_all_the_same() {
        let mut datagram = encode_header(&Header {
            count: 29,
            time: TIME,
        })
        .to_vec();
        datagram.resize(HEADER_OCTETS + 29 * RECORD_OCTETS, 0);
        assert_eq!(decode(&datagram).unwrap().records().count(), 29);
    }
}
