//! flow-tools' files, read: stream version 3 with records of export version 5, or of 1005 (version 5 with
//! tags, of which nothing is kept).
//!
//! ```text
//! magic cf 10, byte order (1: low octet first, 2: high), stream version (3), where the records are (32 bits)
//! fields: kind (16), octets (16), value: 2 the export version, 8 flags, 10 flows, 11 lost, …
//! records of 64 or 72 octets, in one zlib stream if the flag "compressed" is set
//! ```
//!
//! A record has the clocks of the datagram it came in, so that its times are as precise as they were. Sources:
//! flow-tools' ftlib.h (`fts3rec_v5`, `FT_TLV_…`).

use std::{
    fs::File,
    io::{self, BufReader, Read},
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use flate2::read::ZlibDecoder;
use weir_netflow::{ExportTime, FlowRecord};

use crate::{StoreError, others::Others, schema::StoredFlow};

/// The first two octets of a file.
pub const MAGIC: [u8; 2] = [0xcf, 0x10];

const STREAM_VERSION: u8 = 3;
const FIXED_OCTETS: usize = 8;
/// A header with the names of very many interfaces.
const HEADER_OCTETS_MAX: usize = 1 << 20;
const COMPRESSED: u32 = 2;
/// Records taken at a time.
const BLOCK_RECORDS: usize = 8192;

const EXPORT_VERSION: u16 = 2;
const FLAGS: u16 = 8;
const FLOWS: u16 = 10;
const LOST: u16 = 11;
const MISORDERED: u16 = 12;
const CORRUPT: u16 = 13;
const RESETS: u16 = 14;

/// What a file says of itself; of a stream that was not closed nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// Flows in it.
    pub flows: Option<u32>,
    /// Flows that flow-capture missed, as it counted.
    pub lost: u32,
    /// Datagrams that came late.
    pub misordered: u32,
    /// Datagrams that were none.
    pub corrupt: u32,
    /// Gaps that flow-capture took for restarts; large losses are among them.
    pub resets: u32,
}

/// Numbers in the order of the machine that wrote.
#[derive(Clone, Copy, Debug)]
enum Order {
    LowFirst,
    HighFirst,
}

impl Order {
    fn u16(self, octets: &[u8], at: usize) -> u16 {
        let field = octets.get(at..).and_then(|rest| rest.first_chunk());
        let field = field.copied().unwrap_or_default();
        match self {
            Self::LowFirst => u16::from_le_bytes(field),
            Self::HighFirst => u16::from_be_bytes(field),
        }
    }

    fn u32(self, octets: &[u8], at: usize) -> u32 {
        let field = octets.get(at..).and_then(|rest| rest.first_chunk());
        let field = field.copied().unwrap_or_default();
        match self {
            Self::LowFirst => u32::from_le_bytes(field),
            Self::HighFirst => u32::from_be_bytes(field),
        }
    }
}

/// A file being read.
pub struct Reader {
    path: PathBuf,
    input: Box<dyn Read>,
    order: Order,
    record_octets: usize,
    stated: Stated,
    flows: u64,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is of a kind that is not.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let mut input = BufReader::new(file);
        let mut fixed = [0; FIXED_OCTETS];
        input
            .read_exact(&mut fixed)
            .map_err(|error| header_error(path, error))?;
        let (order, length) =
            order_and_length(fixed).map_err(|reason| StoreError::foreign(path, reason))?;
        let mut fields = vec![0; length - FIXED_OCTETS];
        input
            .read_exact(&mut fields)
            .map_err(|error| header_error(path, error))?;
        let Header {
            version,
            flags,
            stated,
        } = header(order, &fields);
        let record_octets = match version {
            5 => 64,
            1005 => 72,
            version => {
                let reason = format!(
                    "its records are of export version {version}: of flow-tools' files those of 5 and 1005 are read"
                );
                return Err(StoreError::foreign(path, reason));
            }
        };
        let input: Box<dyn Read> = if flags & COMPRESSED == 0 {
            Box::new(input)
        } else {
            Box::new(BufReader::new(ZlibDecoder::new(input)))
        };
        Ok(Self {
            path: path.to_owned(),
            input,
            order,
            record_octets,
            stated,
            flows: 0,
        })
    }

    /// Appends the next flows; whether there were any.
    ///
    /// # Errors
    /// If they cannot be read; what came before is sound.
    pub fn next_block(&mut self, flows: &mut Vec<StoredFlow>) -> Result<bool, StoreError> {
        let octets_max = BLOCK_RECORDS * self.record_octets;
        let mut octets = Vec::with_capacity(octets_max);
        let mut bounded = self.input.by_ref().take(octets_max as u64);
        let read = bounded.read_to_end(&mut octets);
        let records = octets.chunks_exact(self.record_octets);
        let rest = records.remainder().len();
        let before = flows.len();
        flows.extend(records.map(|record| flow(self.order, record)));
        self.flows += (flows.len() - before) as u64;
        match read {
            // A zlib stream that is cut off is one, too.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(StoreError::io("read", &self.path)(error))
            }
            Ok(_) if rest == 0 => Ok(flows.len() > before),
            _ => Err(StoreError::foreign(
                &self.path,
                "it ends in the middle of a record",
            )),
        }
    }

    /// What the file says of itself.
    #[must_use]
    pub fn stated(&self) -> &Stated {
        &self.stated
    }

    /// Flows found so far.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// Whether more was found already than the file says it holds: there is no need to read to its end, which may
    /// be far.
    #[must_use]
    pub fn exceeds(&self) -> bool {
        let stated = self.stated.flows;
        stated.is_some_and(|stated| self.flows > u64::from(stated))
    }

    /// Whether all was found that the file says it holds, when it was read to its end.
    ///
    /// # Errors
    /// What differs, as a sentence's end.
    pub fn check(&self) -> Result<(), String> {
        match self.stated.flows {
            Some(stated) if u64::from(stated) != self.flows => Err(format!(
                "its header says {stated} flows; found were {}",
                self.flows
            )),
            _ => Ok(()),
        }
    }
}

fn order_and_length(fixed: [u8; FIXED_OCTETS]) -> Result<(Order, usize), String> {
    if fixed[..2] != MAGIC {
        return Err("it is no file of flow-tools'".to_owned());
    }
    let order = match fixed[2] {
        1 => Order::LowFirst,
        2 => Order::HighFirst,
        other => return Err(format!("its byte order is {other}, which is none")),
    };
    if fixed[3] != STREAM_VERSION {
        return Err(format!(
            "its stream has version {}: `flow-cat OLD > NEW` makes one of version 3, which is read",
            fixed[3]
        ));
    }
    let length = usize::try_from(order.u32(&fixed, 4)).unwrap_or(usize::MAX);
    if (FIXED_OCTETS..=HEADER_OCTETS_MAX).contains(&length) {
        Ok((order, length))
    } else {
        Err(format!("its header claims {length} octets"))
    }
}

struct Header {
    version: u16,
    flags: u32,
    stated: Stated,
}

/// The fields of a header; those that go beyond its end are padding.
fn header(order: Order, fields: &[u8]) -> Header {
    let (mut version, mut flags, mut stated) = (0, 0, Stated::default());
    let mut rest = fields;
    while rest.len() >= 4 {
        let (kind, length) = (order.u16(rest, 0), usize::from(order.u16(rest, 2)));
        let Some(value) = rest.get(4..4 + length) else {
            break;
        };
        let number = order.u32(value, 0);
        match kind {
            EXPORT_VERSION => version = order.u16(value, 0),
            FLAGS => flags = number,
            FLOWS => stated.flows = Some(number),
            LOST => stated.lost = number,
            MISORDERED => stated.misordered = number,
            CORRUPT => stated.corrupt = number,
            RESETS => stated.resets = number,
            _ => {}
        }
        rest = &rest[4 + length..];
    }
    Header {
        version,
        flags,
        stated,
    }
}

/// Why a header could not be read.
fn header_error(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            StoreError::foreign(path, "it ends in the middle of its header")
        }
        _ => StoreError::io("read", path)(error),
    }
}

/// `fts3rec_v5`.
fn flow(order: Order, octets: &[u8]) -> StoredFlow {
    let u16 = |at: usize| order.u16(octets, at);
    let u32 = |at: usize| order.u32(octets, at);
    let address = |at: usize| Ipv4Addr::from_bits(u32(at)).to_ipv6_mapped();
    let time = ExportTime {
        unix_ns: u64::from(u32(0)) * 1_000_000_000 + u64::from(u32(4)),
        uptime_ms: u32(8).into(),
    };
    let (start_ns, end_ns) = time.span_ns(u32(40), u32(44));
    let next_hop = match u32(24) {
        0 => Ipv6Addr::UNSPECIFIED,
        _ => address(24),
    };
    let record = FlowRecord {
        source: address(16),
        destination: address(20),
        next_hop,
        ingress_ifindex: u16(28).into(),
        egress_ifindex: u16(30).into(),
        packets: u32(32).into(),
        octets: u32(36).into(),
        start_ns,
        end_ns,
        source_port: u16(48),
        destination_port: u16(50),
        protocol: octets[52],
        tos: octets[53],
        tcp_flags: octets[54].into(),
        source_mask: octets[58],
        destination_mask: octets[59],
        source_as: u16(60).into(),
        destination_as: u16(62).into(),
        ..FlowRecord::default()
    };
    StoredFlow {
        record,
        received_ns: time.unix_ns,
        exporter: address(12),
        source_id: u32::from(u16::from_be_bytes([octets[56], octets[57]])),
        version: 5,
        others: Others::NONE,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    /// A file of `flows`, as flow-capture on such a machine writes it.
    fn file(is_low_first: bool, version: u16, is_compressed: bool, flows: u32) -> Vec<u8> {
        let u16 = |number: u16| {
            if is_low_first {
                number.to_le_bytes()
            } else {
                number.to_be_bytes()
            }
        };
        let u32 = |number: u32| {
            if is_low_first {
                number.to_le_bytes()
            } else {
                number.to_be_bytes()
            }
        };
        let mut fields = Vec::new();
        let mut field = |kind: u16, value: &[u8]| {
            let length = u16::try_from(value.len()).unwrap();
            fields.extend([&u16(kind)[..], &u16(length), value].concat());
        };
        field(1, &u16(1));
        field(EXPORT_VERSION, &u16(version));
        field(FLAGS, &u32(1 + 2 * u32::from(is_compressed)));
        field(FLOWS, &u32(flows));
        field(LOST, &u32(17));
        field(15, b"collector\0");
        let mut octets = vec![0xcf, 0x10, if is_low_first { 1 } else { 2 }, 3];
        octets.extend(u32(u32::try_from(8 + fields.len() + 3).unwrap()));
        octets.extend(&fields);
        // Padding.
        octets.extend([0; 3]);
        let mut records = Vec::new();
        for number in 0..flows {
            // Exported at 1,700,000,000.5 s, an hour after the boot; the flow took two seconds.
            for word in [1_700_000_000, 500_000_000, 3_600_000, 0xc000_0209] {
                records.extend(u32(word));
            }
            for word in [0xc000_0201, 0xc000_0202, 0xc000_0203] {
                records.extend(u32(word));
            }
            records.extend([u16(3), u16(4)].concat());
            for word in [1 + number, 100 + number, 3_597_000, 3_599_000] {
                records.extend(u32(word));
            }
            records.extend([u16(1025), u16(80)].concat());
            records.extend([6, 8, 0x1b, 0, 2, 3, 24, 16]);
            records.extend([u16(65_001), u16(65_002)].concat());
            if version == 1005 {
                records.extend([u32(1), u32(2)].concat());
            }
        }
        if is_compressed {
            let mut encoder = ZlibEncoder::new(octets, Compression::default());
            encoder.write_all(&records).unwrap();
            encoder.finish().unwrap()
        } else {
            [octets, records].concat()
        }
    }

    fn read(octets: &[u8]) -> Result<(Vec<StoredFlow>, Reader), StoreError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ft-v05");
        fs::write(&path, octets).unwrap();
        let mut reader = Reader::open(&path)?;
        let mut flows = Vec::new();
        while reader.next_block(&mut flows)? {}
        Ok((flows, reader))
    }

    #[test]
    fn both_byte_orders_both_versions_compressed_or_not() {
        for is_low_first in [true, false] {
            for version in [5, 1005] {
                for is_compressed in [false, true] {
                    let octets = file(is_low_first, version, is_compressed, 20_000);
                    let (flows, reader) = read(&octets).unwrap();
                    assert_eq!(flows.len(), 20_000);
                    assert_eq!(reader.check(), Ok(()));
                    assert_eq!((reader.stated().lost, reader.flows()), (17, 20_000));
                    let StoredFlow {
                        record,
                        received_ns,
                        exporter,
                        source_id,
                        version,
                        ref others,
                    } = flows[7];
                    assert!(others.is_empty());
                    assert_eq!(received_ns, 1_700_000_000_500_000_000);
                    assert_eq!(record.start_ns, 1_699_999_997_500_000_000);
                    assert_eq!(record.end_ns, 1_699_999_999_500_000_000);
                    assert_eq!((record.packets, record.octets), (8, 107));
                    assert_eq!((record.source_port, record.tcp_flags), (1025, 0x1b));
                    assert_eq!((record.source_mask, record.destination_as), (24, 65_002));
                    let last = [exporter, record.source, record.destination, record.next_hop]
                        .map(|address| address.octets()[15]);
                    assert_eq!(last, [9, 1, 2, 3]);
                    assert_eq!((source_id, version), (0x0203, 5));
                }
            }
        }
    }

    /// A hundred flows by its header, and a stream of a few octets that makes a million of them.
    #[test]
    fn d07_a_stream_that_expands_is_taken_piece_by_piece_and_left_soon() {
        const FLOWS: usize = 1_000_000;
        let sound = file(true, 5, true, 100);
        let header_octets = usize::try_from(u32::from_le_bytes(*sound[4..].first_chunk().unwrap()));
        let mut octets = sound[..header_octets.unwrap()].to_vec();
        let mut encoder = ZlibEncoder::new(&mut octets, Compression::default());
        encoder.write_all(&vec![0; 64 * FLOWS]).unwrap();
        encoder.finish().unwrap();
        assert!(octets.len() < 100_000, "{} octets", octets.len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb");
        fs::write(&path, octets).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let mut flows = Vec::new();
        let (mut all, mut first) = (0, None);
        while reader.next_block(&mut flows).unwrap() {
            assert!(flows.len() <= BLOCK_RECORDS);
            all += flows.len();
            flows.clear();
            first.get_or_insert((reader.exceeds(), all));
        }
        assert_eq!((first, all), (Some((true, BLOCK_RECORDS)), FLOWS));
        reader.check().unwrap_err();
        // Fields of the header that claim more than there is end it.
        let mut fields = sound.clone();
        fields[10..12].copy_from_slice(&[0xff; 2]);
        assert!(read(&fields).is_err());
        let (_, whole) = read(&sound).unwrap();
        assert!(!whole.exceeds());
    }

    #[test]
    fn damaged_and_foreign_files_are_named() {
        let whole = file(true, 5, true, 100);
        let says = |octets: &[u8]| match read(octets) {
            Ok((_, reader)) => reader.check().unwrap_err(),
            Err(error) => error.to_string(),
        };
        let changed = |at: usize, octet: u8| {
            let mut octets = whole.clone();
            octets[at] = octet;
            octets
        };
        for (octets, words) in [
            (whole[..5].to_vec(), "in the middle of its header"),
            (changed(0, 0), "no file of flow-tools'"),
            (changed(2, 3), "byte order is 3"),
            (changed(3, 1), "`flow-cat OLD > NEW`"),
            (changed(7, 0x7f), "its header claims"),
            (file(true, 7, false, 1), "export version 7"),
            (
                file(true, 5, false, 2)[..180].to_vec(),
                "in the middle of a record",
            ),
        ] {
            let said = says(&octets);
            assert!(said.contains(words), "{words}: {said}");
        }
        let short = file(true, 5, false, 100);
        let said = says(&short[..short.len() - 64]);
        assert!(
            said.contains("its header says 100 flows; found were 99"),
            "{said}"
        );
        // No octet of it makes the reader panic, or take much memory.
        for (at, octet) in whole.iter().enumerate() {
            let _ = read(&changed(at, octet ^ 0x55));
        }
    }
}
