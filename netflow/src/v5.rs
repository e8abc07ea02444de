//! NetFlow v5: a header of 24 octets, then up to 30 records of 48. IPv4 only, 32-bit counters.
//!
//! What other formats share of the layout is in [`fixed`].

use crate::{ExportTime, FlowRecord, Malformed, Sampling, fixed, read};

/// The version field.
pub const VERSION: u16 = 5;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 24;
/// Octets of a record.
pub const RECORD_OCTETS: usize = 48;
/// Records a datagram may hold.
pub const RECORDS_MAX: usize = 30;

/// The largest sampling interval that a header can say.
pub const SAMPLING_INTERVAL_MAX: u32 = 0x3fff;

/// Bits of the header's sampling field: an interval below, a mode above.
const SAMPLING_INTERVAL: u16 = 0x3fff;
const SAMPLING_MODE_SHIFT: u32 = 14;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Records that follow.
    pub count: u16,
    /// The exporter's clocks.
    pub time: ExportTime,
    /// Records exported before this datagram, modulo 2³².
    pub sequence: u32,
    /// Slot or type of the engine.
    pub engine_type: u8,
    /// Number of the engine.
    pub engine_id: u8,
    /// How packets were chosen; the interval has 14 bits.
    pub sampling: Sampling,
}

/// Appends a record.
pub fn encode_record(datagram: &mut Vec<u8>, record: &FlowRecord, time: &ExportTime) {
    fixed::encode_record(datagram, record, time);
    datagram.push(0);
    fixed::encode_routing(datagram, record);
    datagram.extend_from_slice(&[0, 0]);
}

/// The header's octets.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    let Sampling { interval, .. } = header.sampling;
    let sampling = if interval > 1 {
        u16::from(header.sampling.algorithm()) << SAMPLING_MODE_SHIFT
            | u16::try_from(interval).map_or(SAMPLING_INTERVAL, |n| n.min(SAMPLING_INTERVAL))
    } else {
        0
    };
    octets[..16].copy_from_slice(&fixed::encode_header(VERSION, header.count, &header.time));
    octets[16..20].copy_from_slice(&header.sequence.to_be_bytes());
    octets[20] = header.engine_type;
    octets[21] = header.engine_id;
    octets[22..24].copy_from_slice(&sampling.to_be_bytes());
    octets
}

/// Reads a datagram: its header, and its records as an iterator that cannot fail. The header's
/// count is replaced by the records that are whole, if those are fewer; `claimed` keeps it.
///
/// # Errors
/// If it is no v5 datagram, or claims records and holds none.
pub fn decode(datagram: &[u8]) -> Result<Datagram<'_>, Malformed> {
    fixed::check_header(datagram, VERSION, HEADER_OCTETS)?;
    let checked = fixed::check(datagram, HEADER_OCTETS, RECORD_OCTETS)?;
    let sampling = read::u16(datagram, 22);
    Ok(checked.with(Header {
        count: checked.count,
        time: checked.time,
        sequence: read::u32(datagram, 16),
        engine_type: datagram[20],
        engine_id: datagram[21],
        sampling: Sampling {
            interval: u32::from(sampling & SAMPLING_INTERVAL).max(1),
            random: sampling >> SAMPLING_MODE_SHIFT == 2,
        },
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
                sampling_interval: self.header.sampling.interval,
                ..fixed::record_with_routing(octets, &self.header.time)
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

    fn example() -> FlowRecord {
        FlowRecord {
            source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
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
            egress_ifindex: 70_000,
            source_as: 64_512,
            destination_as: 4_200_000_000,
            source_mask: 24,
            destination_mask: 16,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn golden_record() {
        let mut octets = Vec::new();
        encode_record(&mut octets, &example(), &TIME);
        #[rustfmt::skip]
        let expected = [
            192, 0, 2, 1,             // source
            198, 51, 100, 7,          // destination
            0, 0, 0, 0,               // next hop
            0, 2,                     // input ifIndex
            0, 0,                     // output ifIndex: 70000 does not fit
            0, 0, 0x0a, 0x0b,         // packets
            1, 2, 3, 4,               // octets
            0, 1, 0x7e, 0xd0,         // First: 98000 ms
            0, 1, 0x82, 0xb8,         // Last: 99000 ms
            0x12, 0x34, 0x01, 0xbb,   // ports
            0, 0x1b, 6, 0xb8,         // pad, flags, protocol, ToS
            0xfc, 0x00,               // source AS 64512
            0x5b, 0xa0,               // destination AS: AS_TRANS
            24, 16, 0, 0,             // masks, pad
        ];
        assert_eq!(octets, expected);
    }

    #[test]
    fn golden_header_and_back() {
        let header = Header {
            count: 1,
            time: TIME,
            sequence: 7,
            engine_type: 1,
            engine_id: 2,
            sampling: Sampling {
                interval: 10,
                random: true,
            },
        };
        let mut datagram = encode_header(&header).to_vec();
        #[rustfmt::skip]
        assert_eq!(datagram, [
            0, 5, 0, 1, 0, 1, 0x86, 0xa0, 0x65, 0x53, 0xf1, 0x00, 0, 0, 1, 0xf4,
            0, 0, 0, 7, 1, 2, 0x80, 10,
        ]);
        encode_record(&mut datagram, &example(), &TIME);
        let decoded = decode(&datagram).unwrap();
        assert_eq!(decoded.header, header);
        let record = decoded.records().next().unwrap();
        let expected = FlowRecord {
            egress_ifindex: 0,
            destination_as: 23456,
            sampling_interval: 10,
            ..example()
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn a_count_beyond_the_octets_is_cut_to_them() {
        let header = Header {
            count: 55_582,
            time: TIME,
            sequence: 0,
            engine_type: 0,
            engine_id: 0,
            sampling: Sampling::NONE,
        };
        let mut datagram = encode_header(&header).to_vec();
        datagram.resize(HEADER_OCTETS + 30 * RECORD_OCTETS, 0);
        let decoded = decode(&datagram).unwrap();
        assert_eq!(
            (
                decoded.claimed,
                decoded.header.count,
                decoded.records().count()
            ),
            (55_582, 30, 30)
        );
        assert_eq!(
            decode(&datagram[..30]).unwrap_err(),
            Malformed::Count {
                count: 55_582,
                octets: 30
            }
        );
        assert_eq!(
            decode(&datagram[..23]).unwrap_err(),
            Malformed::TooShort { octets: 23 }
        );
    }
}
