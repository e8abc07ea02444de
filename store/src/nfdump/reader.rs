//! A file being read, block by block. Nothing in it is trusted: lengths are held against what is there, and
//! a block takes 5 MiB at most.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use super::{
    BLOCK_HEADER_OCTETS, BLOCK_OCTETS_MAX, Compression, DATA_BLOCK, EXPORTER, FLOW, HEADER_OCTETS,
    LAYOUT, MAGIC, NO_FLOWS, STATISTICS, Totals, block,
    octets::{u16, u32, u64},
    record,
};
use crate::{StoreError, schema::StoredFlow};

/// Octets of an exporter's record, and Linux's number of IPv4.
const EXPORTER_OCTETS: usize = 32;
const AF_INET: u16 = 2;
/// More appendices than any file has.
const APPENDIX_BLOCKS_MAX: u16 = 16;

/// What was found in a file so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records of flows.
    pub records: u64,
    /// Flows that nfdump counts in them: more, where it had aggregated.
    pub flows: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Octets of both directions.
    pub octets: u64,
    /// Records that are of no known kind, or contradict themselves.
    pub unread: u64,
    /// Octets of blocks behind the last record that each block says it has.
    pub octets_behind: u64,
}

/// A file being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    compression: Compression,
    /// Data blocks that are still to come; none if nfcapd has not closed the file.
    blocks_left: Option<u32>,
    /// Addresses and domains of exporters, by nfdump's numbers.
    exporters: HashMap<u16, (Ipv6Addr, u32)>,
    stated: Option<Totals>,
    found: Found,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is of a kind that is not.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let mut input = BufReader::new(file);
        let mut header = [0; HEADER_OCTETS];
        let read = read_fully(&mut input, &mut header).map_err(StoreError::io("read", path))?;
        if read < HEADER_OCTETS {
            return Err(StoreError::foreign(path, "it ends within its header"));
        }
        let compression =
            compression(&header).map_err(|reason| StoreError::foreign(path, reason))?;
        let appendix_blocks = u16(&header, 18).min(APPENDIX_BLOCKS_MAX);
        let mut reader = Self {
            path: path.to_owned(),
            input,
            compression,
            blocks_left: (appendix_blocks > 0).then(|| u32(&header, 36)),
            exporters: HashMap::new(),
            stated: None,
            found: Found::default(),
        };
        if appendix_blocks > 0 {
            let appendix = u64(&header, 24);
            reader
                .read_appendix(appendix, appendix_blocks)
                .map_err(|reason| StoreError::foreign(path, format!("its appendix: {reason}")))?;
        }
        Ok(reader)
    }

    /// Appends the flows of the next block; whether there was one.
    ///
    /// # Errors
    /// If it cannot be read, or contradicts itself; what came before is sound.
    pub fn next_block(&mut self, flows: &mut Vec<StoredFlow>) -> Result<bool, StoreError> {
        if self.blocks_left == Some(0) {
            return Ok(false);
        }
        let block = self.read_block().and_then(|block| match block {
            None if self.blocks_left.is_some() => Err("it ends before its last block".to_owned()),
            block => Ok(block),
        });
        let taken = block.and_then(|block| match block {
            Some((records, octets)) => {
                self.take_records(records, &octets, flows)?;
                Ok(true)
            }
            None => Ok(false),
        });
        if let Some(left) = &mut self.blocks_left {
            *left -= 1;
        }
        taken.map_err(|reason| StoreError::foreign(&self.path, reason))
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// What the file says it holds, if nfcapd closed it.
    #[must_use]
    pub fn stated(&self) -> Option<&Totals> {
        self.stated.as_ref()
    }

    /// Whether more was found already than the file says it holds: there is no need to read to its end, which may
    /// be far.
    #[must_use]
    pub fn exceeds(&self) -> bool {
        let stated = self.stated.as_ref();
        stated.is_some_and(|stated| self.found.records > stated.flows[0])
    }

    /// Whether all was found that the file says it holds, when it was read to its end.
    ///
    /// # Errors
    /// What differs, as a sentence's end.
    pub fn check(&self) -> Result<(), String> {
        let found = &self.found;
        if found.unread > 0 {
            return Err(format!(
                "{} of its records are of no known kind or contradict themselves",
                found.unread
            ));
        }
        let Some(stated) = &self.stated else {
            // Nothing tells whether these are flows.
            return match found.octets_behind {
                0 => Ok(()),
                octets => Err(format!(
                    "it was never closed, and {octets} octets lie behind the records that its blocks say they have"
                )),
            };
        };
        // nfcapd counts records; nfdump the flows that they stand for.
        let are_flows_told = [found.records, found.flows].contains(&stated.flows[0]);
        let (packets, octets) = (stated.packets[0], stated.octets[0]);
        if are_flows_told && (packets, octets) == (found.packets, found.octets) {
            return Ok(());
        }
        Err(format!(
            "its statistics say {} flows, {packets} packets and {octets} octets; found were {} flows, {} packets and {} octets",
            stated.flows[0], found.records, found.packets, found.octets
        ))
    }

    fn read_appendix(&mut self, at: u64, blocks: u16) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        self.input.seek(SeekFrom::Start(at)).map_err(said)?;
        for _ in 0..blocks {
            let Some((records, octets)) = self.read_block()? else {
                return Err("it is cut off".to_owned());
            };
            each_record(records, &octets, |kind, record| {
                if kind == STATISTICS {
                    self.stated = Totals::decode(record.get(4..).unwrap_or_default());
                }
            })?;
        }
        let start = SeekFrom::Start(HEADER_OCTETS as u64);
        self.input.seek(start).map_err(said)?;
        Ok(())
    }

    /// The next block's number of records and its octets; nothing at the end of the file.
    fn read_block(&mut self) -> Result<Option<(u32, Vec<u8>)>, String> {
        let said = |error: io::Error| error.to_string();
        let mut header = [0; BLOCK_HEADER_OCTETS];
        match read_fully(&mut self.input, &mut header).map_err(said)? {
            0 => return Ok(None),
            BLOCK_HEADER_OCTETS => {}
            _ => return Err("it ends in the middle of a block".to_owned()),
        }
        let length = usize::try_from(u32(&header, 4)).unwrap_or(usize::MAX);
        if length == 0 || length > BLOCK_OCTETS_MAX {
            return Err(format!("a block of {length} octets"));
        }
        if u16(&header, 8) != DATA_BLOCK {
            return Err(format!(
                "a block of kind {}, which is not known",
                u16(&header, 8)
            ));
        }
        let mut octets = vec![0; length];
        if read_fully(&mut self.input, &mut octets).map_err(said)? < length {
            return Err("it ends in the middle of a block".to_owned());
        }
        let octets = block::expand(self.compression, octets)
            .map_err(|reason| format!("a block cannot be expanded: {reason}"))?;
        Ok(Some((u32(&header, 0), octets)))
    }

    fn take_records(
        &mut self,
        records: u32,
        octets: &[u8],
        flows: &mut Vec<StoredFlow>,
    ) -> Result<(), String> {
        let behind = each_record(records, octets, |kind, record| match kind {
            FLOW => self.take_flow(record, flows),
            EXPORTER if record.len() >= EXPORTER_OCTETS => self.take_exporter(record),
            kind if NO_FLOWS.contains(&kind) => {}
            _ => self.found.unread += 1,
        })?;
        self.found.octets_behind += behind as u64;
        Ok(())
    }

    fn take_flow(&mut self, octets: &[u8], flows: &mut Vec<StoredFlow>) {
        let Some(mut decoded) = record::decode(octets) else {
            self.found.unread += 1;
            return;
        };
        if let Some((address, domain)) = self.exporters.get(&decoded.exporter_number) {
            if !decoded.has_exporter {
                decoded.flow.exporter = *address;
            }
            if !decoded.has_domain && *domain != 0 {
                decoded.flow.source_id = *domain;
            }
        }
        self.found.records += 1;
        self.found.flows = self.found.flows.wrapping_add(decoded.flows);
        let reverse = decoded.reverse();
        for flow in [Some(decoded.flow), reverse].into_iter().flatten() {
            let found = &mut self.found;
            found.packets = found.packets.wrapping_add(flow.record.packets);
            found.octets = found.octets.wrapping_add(flow.record.octets);
            flows.push(flow);
        }
    }

    /// `exporter_info_record_t`: version (32), address (128), family (16), number (16), domain (32).
    fn take_exporter(&mut self, record: &[u8]) {
        let address = match u16(record, 24) {
            // The low half of the address's low half.
            AF_INET => record::address_v4(record, 16),
            _ => record::address_v6(record, 8),
        };
        let (number, domain) = (u16(record, 26), u32(record, 28));
        self.exporters.insert(number, (address, domain));
    }
}

/// How the blocks are compressed, if the file is of a kind that is read.
fn compression(header: &[u8; HEADER_OCTETS]) -> Result<Compression, String> {
    let [low, high, ..] = *header;
    if [high, low] == MAGIC {
        return Err("a machine that puts the high octet first wrote it: export it there, with `nfdump -o csv`".to_owned());
    }
    if [low, high] != MAGIC {
        return Err("it is no file of nfdump's".to_owned());
    }
    match u16(header, 2) {
        LAYOUT => {}
        1 => {
            return Err(
                "nfdump 1.6 wrote it: `nfdump -r OLD -w NEW` of nfdump 1.7 makes one that is read"
                    .to_owned(),
            );
        }
        layout => {
            return Err(format!(
                "its layout is {layout}: only layout 2 is read, which nfdump 1.7 writes"
            ));
        }
    }
    if header[17] != 0 {
        return Err(
            "it is encrypted: `nfdump -r OLD -w NEW` with its key makes one that is not".to_owned(),
        );
    }
    let number = header[16];
    Compression::from_number(number).ok_or_else(|| {
        format!(
            "its compression ({number}) is not known: `nfdump -r OLD -w NEW` makes one that is read"
        )
    })
}

/// Does something with each record of a block: its kind, and its octets with their header. How many octets
/// are left behind the last.
fn each_record(
    records: u32,
    octets: &[u8],
    mut take: impl FnMut(u16, &[u8]),
) -> Result<usize, String> {
    let mut rest = octets;
    for _ in 0..records {
        let length = usize::from(u16(rest, 2));
        if length < 4 || length > rest.len() {
            return Err("a record goes beyond its block".to_owned());
        }
        let (record, behind) = rest.split_at(length);
        take(u16(record, 0), record);
        rest = behind;
    }
    Ok(rest.len())
}

/// Reads until the buffer is full or the file ends; how many octets.
fn read_fully(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(octets) => filled += octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
