//! What the formats of fixed layout have in common: the header's first sixteen octets (v1, v5, v7,
//! v8) and a record's first thirty-six (v1, v5, v7). IPv4 only, 32-bit counters.
//!
//! Layouts as published by Cisco ("NetFlow Export Datagram Format").

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{ExportTime, FlowRecord, Malformed, Reverse, low32, read, v1, v5, v7, v8};

/// A datagram of any of them, as far as they are alike.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its version.
    pub version: u16,
    /// What tells an exporter's streams apart: the engine's type × 256 + its id (v5, v8), and for v8
    /// the aggregation × 65,536, each of which is a cache of its own; else 0.
    pub domain: u32,
    /// Records exported before it, modulo 2³²; v1 does not say.
    pub sequence: Option<u32>,
    /// The exporter's clocks.
    pub time: ExportTime,
    /// Its whole records.
    pub count: u16,
    /// Whether that is what its sender claimed, and nothing follows them.
    pub is_whole: bool,
    records: Records<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Records<'a> {
    V1(v1::Datagram<'a>),
    V5(v5::Datagram<'a>),
    V7(v7::Datagram<'a>),
    V8(v8::Datagram<'a>),
}

/// Reads a datagram of any of them.
///
/// # Errors
/// If it is of another version, or not as its own decoder wants it.
pub fn decode(datagram: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let engine = |engine_type, id| u32::from(u16::from_be_bytes([engine_type, id]));
    let version = read::u16(datagram, 0);
    let (header_octets, record_octets, domain, records) = match version {
        v1::VERSION => {
            let found = v1::decode(datagram)?;
            (v1::HEADER_OCTETS, v1::RECORD_OCTETS, 0, Records::V1(found))
        }
        v5::VERSION => {
            let found = v5::decode(datagram)?;
            let domain = engine(found.header.engine_type, found.header.engine_id);
            let records = Records::V5(found);
            (v5::HEADER_OCTETS, v5::RECORD_OCTETS, domain, records)
        }
        v7::VERSION => {
            let found = v7::decode(datagram)?;
            (v7::HEADER_OCTETS, v7::RECORD_OCTETS, 0, Records::V7(found))
        }
        v8::VERSION => {
            let found = v8::decode(datagram)?;
            let domain = engine(found.header.engine_type, found.header.engine_id);
            let domain = u32::from(found.header.aggregation) << 16 | domain;
            let record_octets = found.scheme.record_octets();
            (v8::HEADER_OCTETS, record_octets, domain, Records::V8(found))
        }
        version => return Err(Malformed::Version { version }),
    };
    let checked = check(datagram, header_octets, record_octets)?;
    Ok(Datagram {
        version,
        domain,
        sequence: (version != v1::VERSION).then(|| read::u32(datagram, HEADER_OCTETS)),
        time: checked.time,
        count: checked.count,
        is_whole: checked.claimed == checked.count && checked.unclaimed_records == 0,
        records,
    })
}

/// What the header of a datagram says that was refused for its count ([`Malformed::Count`]): it did arrive,
/// so that what is in it is not lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As in [`Datagram`].
    pub version: u16,
    /// Likewise.
    pub domain: u32,
    /// Likewise.
    pub sequence: u32,
    /// Likewise.
    pub time: ExportTime,
    /// The records its sender claimed.
    pub claimed: u16,
}

/// The most records that a claim is believed of: v5's, of which v7 has fewer.
const CLAIMED_MAX: u16 = 30;
/// The same of v8, whose shortest records have 28 octets.
const CLAIMED_MAX_V8: u16 = 51;

/// Reads the header of a datagram that [`decode`] refused for its count; nothing if it has no number (v1), or
/// claims more than is believed.
#[must_use]
pub fn refused(datagram: &[u8]) -> Option<Refused> {
    let version = read::u16(datagram, 0);
    let claimed = read::u16(datagram, 2);
    let engine = u32::from(read::u16(datagram, 20));
    let (domain, claimed_max) = match version {
        v5::VERSION => (engine, CLAIMED_MAX),
        v7::VERSION => (0, CLAIMED_MAX),
        v8::VERSION => {
            let aggregation = u32::from(*datagram.get(22)?);
            (aggregation << 16 | engine, CLAIMED_MAX_V8)
        }
        _ => return None,
    };
    (claimed <= claimed_max).then(|| Refused {
        version,
        domain,
        sequence: read::u32(datagram, HEADER_OCTETS),
        time: time(datagram),
        claimed,
    })
}

/// The clocks of a header that was checked.
fn time(datagram: &[u8]) -> ExportTime {
    ExportTime {
        uptime_ms: u64::from(read::u32(datagram, 4)),
        unix_ns: u64::from(read::u32(datagram, 8)) * 1_000_000_000
            + u64::from(read::u32(datagram, 12)),
    }
}

impl Datagram<'_> {
    /// Values in all of its records that a flow record has no place for.
    #[must_use]
    pub fn values_aside(&self) -> u64 {
        let each = match &self.records {
            Records::V1(_) | Records::V5(_) => 0,
            // What is invalid of fields and flows, and the router.
            Records::V7(_) => 3,
            Records::V8(found) => found.scheme.values_aside(),
        };
        u64::from(self.count) * each as u64
    }

    /// Appends its flows as `keep` makes them of records. How many there are is known beforehand, so each can be
    /// made in the place where it stays: a record is large, and one that is pushed is copied there.
    pub fn append_to<T>(&self, flows: &mut Vec<T>, mut keep: impl FnMut(FlowRecord) -> T) {
        match &self.records {
            Records::V1(found) => flows.extend(found.records().map(keep)),
            Records::V5(found) => flows.extend(found.records().map(keep)),
            Records::V7(found) => flows.extend(found.records().map(|record| keep(record.flow))),
            Records::V8(found) => flows.extend(found.records().map(|record| keep(record.flow))),
        }
    }

    /// Hands out its flows.
    pub fn for_each(&self, take: impl FnMut(FlowRecord)) {
        match &self.records {
            Records::V1(found) => found.records().for_each(take),
            Records::V5(found) => found.records().for_each(take),
            Records::V7(found) => found.records().map(|record| record.flow).for_each(take),
            Records::V8(found) => found.records().map(|record| record.flow).for_each(take),
        }
    }
}

/// Octets of the header that all have.
pub(crate) const HEADER_OCTETS: usize = 16;
/// AS_TRANS (RFC 6793): stands for an AS number that does not fit 16 bits.
const AS_TRANS: u16 = 23456;

/// Records whose counts fit these formats, from one whose counts may not: packets and octets are
/// spread over several, none is lost. IPv6 yields none. A record that somebody else made may say anything: look at
/// [`part_count`] before.
pub fn parts(record: &FlowRecord) -> impl Iterator<Item = FlowRecord> + use<> {
    spread(record, part_count(record))
}

/// How many of them there are: up to 2³² + 1.
#[must_use]
pub fn part_count(record: &FlowRecord) -> u64 {
    if record.v6 { 0 } else { parts_needed(record) }
}

/// Likewise for templates whose counters have 32 bits, which carry either family.
pub fn narrow_parts(record: &FlowRecord) -> impl Iterator<Item = FlowRecord> + use<> {
    spread(record, parts_needed(record))
}

fn parts_needed(record: &FlowRecord) -> u64 {
    let reverse = record.reverse.unwrap_or_default();
    let counts = [
        record.octets,
        record.packets,
        reverse.octets,
        reverse.packets,
    ];
    let largest = counts.into_iter().max().unwrap_or(0);
    largest.div_ceil(u64::from(u32::MAX)).max(1)
}

fn spread(record: &FlowRecord, count: u64) -> impl Iterator<Item = FlowRecord> + use<> {
    let record = *record;
    (0..count).map(move |index| FlowRecord {
        octets: share(record.octets, count, index),
        packets: share(record.packets, count, index),
        reverse: record.reverse.map(|reverse| Reverse {
            octets: share(reverse.octets, count, index),
            packets: share(reverse.packets, count, index),
            ..reverse
        }),
        ..record
    })
}

/// The `index`-th of `count` shares of `total`: they differ by one at most and add up.
fn share(total: u64, count: u64, index: u64) -> u64 {
    total / count + u64::from(index < total % count)
}

/// Version, count and clocks.
pub(crate) fn encode_header(version: u16, count: u16, time: &ExportTime) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    octets[0..2].copy_from_slice(&version.to_be_bytes());
    octets[2..4].copy_from_slice(&count.to_be_bytes());
    octets[4..8].copy_from_slice(&low32(time.uptime_ms).to_be_bytes());
    octets[8..12].copy_from_slice(&low32(time.unix_ns / 1_000_000_000).to_be_bytes());
    octets[12..16].copy_from_slice(&low32(time.unix_ns % 1_000_000_000).to_be_bytes());
    octets
}

/// Appends addresses, next hop, interfaces, counters, times and ports: 36 octets.
pub(crate) fn encode_record(datagram: &mut Vec<u8>, record: &FlowRecord, time: &ExportTime) {
    let narrow32 = |count: u64| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
    let ifindex = |index: u32| u16::try_from(index).unwrap_or(0).to_be_bytes();
    datagram.extend_from_slice(&v4(record.source));
    datagram.extend_from_slice(&v4(record.destination));
    datagram.extend_from_slice(&v4(record.next_hop));
    datagram.extend_from_slice(&ifindex(record.ingress_ifindex));
    datagram.extend_from_slice(&ifindex(record.egress_ifindex));
    datagram.extend_from_slice(&narrow32(record.packets));
    datagram.extend_from_slice(&narrow32(record.octets));
    datagram.extend_from_slice(&time.relative_ms(record.start_ns).to_be_bytes());
    datagram.extend_from_slice(&time.relative_ms(record.end_ns).to_be_bytes());
    datagram.extend_from_slice(&record.source_port.to_be_bytes());
    datagram.extend_from_slice(&record.destination_port.to_be_bytes());
}

/// Appends octets 37 to 45 of v5 and v7: TCP flags, protocol, ToS, AS numbers, masks.
pub(crate) fn encode_routing(datagram: &mut Vec<u8>, record: &FlowRecord) {
    let number = |number: u32| u16::try_from(number).unwrap_or(AS_TRANS).to_be_bytes();
    datagram.extend_from_slice(&[low8(record.tcp_flags), record.protocol, record.tos]);
    datagram.extend_from_slice(&number(record.source_as));
    datagram.extend_from_slice(&number(record.destination_as));
    datagram.extend_from_slice(&[record.source_mask, record.destination_mask]);
}

fn v4(address: Ipv6Addr) -> [u8; 4] {
    let v4 = address.to_ipv4_mapped();
    v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets()
}

/// The TCP flags that an octet holds.
pub(crate) fn low8(tcp_flags: u16) -> u8 {
    let [_, low] = tcp_flags.to_be_bytes();
    low
}

/// What a datagram's count comes to: the records its header counts, as far as they are whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    /// The count its sender claimed.
    pub claimed: u16,
    /// Whole records, and claimed.
    pub count: u16,
    /// Whole records' worth of octets beyond the count.
    pub unclaimed_records: usize,
    /// The exporter's clocks.
    pub time: ExportTime,
    /// The records' octets.
    pub records: &'a [u8],
}

impl<'a> Counted<'a> {
    /// With the header of its version.
    pub(crate) fn with<H>(self, header: H) -> Checked<'a, H> {
        Checked {
            header,
            claimed: self.claimed,
            unclaimed_records: self.unclaimed_records,
            records: self.records,
        }
    }
}

/// A datagram that was checked, with the header `H` of its version.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a, H> {
    /// Its header; `count` is the number of whole records.
    pub header: H,
    /// The count its sender claimed.
    pub claimed: u16,
    /// Whole records' worth of octets beyond the count.
    pub unclaimed_records: usize,
    pub(crate) records: &'a [u8],
}

/// Checks that it is of this version, and has a header of so many octets.
pub(crate) fn check_header(
    datagram: &[u8],
    version: u16,
    header_octets: usize,
) -> Result<(), Malformed> {
    let octets = datagram.len();
    if octets < header_octets {
        return Err(Malformed::TooShort { octets });
    }
    let found = read::u16(datagram, 0);
    if found != version {
        return Err(Malformed::Version { version: found });
    }
    Ok(())
}

/// Checks the count of a datagram whose header was checked; it is used as far as its octets allow.
/// Records claimed and none there is an error.
pub(crate) fn check(
    datagram: &[u8],
    header_octets: usize,
    record_octets: usize,
) -> Result<Counted<'_>, Malformed> {
    let body = datagram.get(header_octets..).unwrap_or_default();
    let claimed = read::u16(datagram, 2);
    let whole = body.len() / record_octets;
    let count = claimed.min(u16::try_from(whole).unwrap_or(u16::MAX));
    if claimed > 0 && count == 0 {
        return Err(Malformed::Count {
            count: claimed,
            octets: datagram.len(),
        });
    }
    Ok(Counted {
        claimed,
        count,
        unclaimed_records: whole - usize::from(count),
        time: time(datagram),
        records: &body[..usize::from(count) * record_octets],
    })
}

/// The first 36 octets of a record.
#[inline]
pub(crate) fn record(octets: &[u8], time: &ExportTime) -> FlowRecord {
    let v4 = |at: usize| Ipv4Addr::from(read::u32(octets, at));
    let next_hop = v4(8);
    let (start_ns, end_ns) = time.span_ns(read::u32(octets, 24), read::u32(octets, 28));
    FlowRecord {
        source: v4(0).to_ipv6_mapped(),
        destination: v4(4).to_ipv6_mapped(),
        next_hop: if next_hop.is_unspecified() {
            Ipv6Addr::UNSPECIFIED
        } else {
            next_hop.to_ipv6_mapped()
        },
        ingress_ifindex: u32::from(read::u16(octets, 12)),
        egress_ifindex: u32::from(read::u16(octets, 14)),
        packets: u64::from(read::u32(octets, 16)),
        octets: u64::from(read::u32(octets, 20)),
        start_ns,
        end_ns,
        source_port: read::u16(octets, 32),
        destination_port: read::u16(octets, 34),
        ..FlowRecord::default()
    }
}

/// As [`record`], with octets 37 to 45 of v5 and v7.
#[inline]
pub(crate) fn record_with_routing(octets: &[u8], time: &ExportTime) -> FlowRecord {
    // Filled in where it is: as parts of another record it would be copied.
    let mut flow = record(octets, time);
    flow.tcp_flags = u16::from(octets[37]);
    flow.protocol = octets[38];
    flow.tos = octets[39];
    flow.source_as = u32::from(read::u16(octets, 40));
    flow.destination_as = u32::from(read::u16(octets, 42));
    flow.source_mask = octets[44];
    flow.destination_mask = octets[45];
    flow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_do_not_fit_are_split_and_add_up() {
        let big = FlowRecord {
            octets: 3 * (1 << 32) + 1,
            packets: 5,
            ..FlowRecord::default()
        };
        let parts: Vec<_> = parts(&big).collect();
        assert_eq!(parts.len(), 4);
        assert_eq!(
            parts.iter().map(|part| part.octets).sum::<u64>(),
            big.octets
        );
        assert_eq!(parts.iter().map(|part| part.packets).sum::<u64>(), 5);
        assert!(parts.iter().all(|part| u32::try_from(part.octets).is_ok()));
        let both_ways = FlowRecord {
            v6: true,
            octets: 7,
            packets: 1,
            reverse: Some(Reverse {
                octets: 1 << 33,
                packets: 9,
                ..Reverse::default()
            }),
            ..FlowRecord::default()
        };
        let parts: Vec<_> = narrow_parts(&both_ways).collect();
        assert_eq!(parts.iter().map(|part| part.octets).sum::<u64>(), 7);
        let reverse = parts.iter().filter_map(|part| part.reverse);
        assert_eq!(reverse.map(|reverse| reverse.octets).sum::<u64>(), 1 << 33);
    }

    #[test]
    fn any_version_is_read_as_its_own_decoder_does() {
        let time = ExportTime {
            unix_ns: 1_700_000_000_000_000_500,
            uptime_ms: 100_000,
        };
        // An engine of type 3 and id 4; v8's aggregation 2.
        let more = [0, 0, 0, 9, 3, 4, 2, 2, 0, 0, 0, 0];
        let cases = [
            (1, 16, 48, 0, None),
            (5, 24, 48, 0x0304, Some(9)),
            (7, 24, 52, 0, Some(9)),
            (8, 28, 28, 0x0002_0304, Some(9)),
        ];
        for (version, header_octets, record_octets, domain, sequence) in cases {
            let mut datagram = encode_header(version, 2, &time).to_vec();
            datagram.extend_from_slice(&more[..header_octets - HEADER_OCTETS]);
            datagram.resize(header_octets + 2 * record_octets, 0);
            let found = decode(&datagram).unwrap();
            assert_eq!((found.version, found.domain), (version, domain));
            assert_eq!((found.sequence, found.time), (sequence, time));
            assert_eq!((found.count, found.is_whole), (2, true));
            let mut flows = 0;
            found.for_each(|_| flows += 1);
            assert_eq!(flows, 2);
            datagram.pop();
            assert!(!decode(&datagram).unwrap().is_whole, "v{version}");
            // Without a whole record it is refused, and says what its number was.
            datagram.truncate(header_octets + 5);
            let error = decode(&datagram).unwrap_err();
            assert!(
                matches!(error, Malformed::Count { count: 2, .. }),
                "{error}"
            );
            let expected = sequence.map(|sequence| Refused {
                version,
                domain,
                sequence,
                time,
                claimed: 2,
            });
            assert_eq!(refused(&datagram), expected);
            let claimed_max = if version == 8 { 51 } else { 30 };
            datagram[3] = claimed_max;
            let expected = expected.map(|expected| Refused {
                claimed: claimed_max.into(),
                ..expected
            });
            assert_eq!(refused(&datagram), expected);
            datagram[3] += 1;
            assert_eq!(refused(&datagram), None);
        }
        let refused = decode(&[0, 9]).unwrap_err();
        assert_eq!(refused, Malformed::Version { version: 9 });
    }

    #[test]
    fn ipv6_cannot_be_sent() {
        let v6 = FlowRecord {
            v6: true,
            ..FlowRecord::default()
        };
        assert_eq!(parts(&v6).count(), 0);
    }

    /// Fault cases C1 and C2.
    #[test]
    fn c01_c02_a_count_beyond_the_octets_is_cut_to_them() {
        let time = ExportTime {
            unix_ns: 1_700_000_000_000_000_500,
            uptime_ms: 100_000,
        };
        let mut datagram = encode_header(5, 55_582, &time).to_vec();
        datagram.resize(24 + 30 * 48 + 47, 0);
        let found = check(&datagram, 24, 48).unwrap();
        assert_eq!((found.claimed, found.count), (55_582, 30));
        assert_eq!((found.records.len(), found.unclaimed_records), (30 * 48, 0));
        assert_eq!(found.time, time);
        datagram[2..4].copy_from_slice(&[0, 28]);
        let found = check(&datagram, 24, 48).unwrap();
        assert_eq!((found.count, found.unclaimed_records), (28, 2));
        datagram.truncate(24 + 47);
        let (count, octets) = (28, 71);
        assert_eq!(
            check(&datagram, 24, 48).unwrap_err(),
            Malformed::Count { count, octets }
        );
        assert_eq!(
            check_header(&datagram[..23], 5, 24),
            Err(Malformed::TooShort { octets: 23 })
        );
        assert_eq!(
            check_header(&datagram, 1, 16),
            Err(Malformed::Version { version: 5 })
        );
    }
}
