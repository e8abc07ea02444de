//! Capture files: pcap and pcapng, either byte order, micro- or nanoseconds, gzip or not, through
//! the same header walk as the kernel's.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    ops::ControlFlow,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;
use pcap_parser::{
    Block, Linktype, PcapBlockOwned, PcapError, create_reader, traits::PcapReaderIterator,
};
use weir_sensor_common::{
    Extra, Fields, Packet, Unmetered, Walked, extra,
    packet::Captured,
    tunnel::{self, Tunnels},
    walk::{self, Layers, NetworkProtocol, number},
};

/// A frame and its time.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What was captured of it.
    pub captured: Captured<'a>,
    /// Its link layer.
    pub link: Linktype,
    /// When, nanoseconds since 1970-01-01 UTC; the last frame's if the file does not say.
    pub unix_ns: u64,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Whole.
    Whole,
    /// In the middle of something, or in something that cannot be; the frames before it were read.
    Partial(String),
}

/// Octets a block may have: larger than any frame (BIG TCP's are below 512 KiB).
const BLOCK_OCTETS_MAX: usize = 16 << 20;
const BUFFER_OCTETS: usize = 1 << 20;

/// Reads a file (`-`: standard input), frame by frame.
///
/// # Errors
/// If it cannot be opened, or is no capture at all.
pub fn read(path: &Path, mut frame: impl FnMut(Frame<'_>)) -> Result<End> {
    read_until(path, |found| {
        frame(found);
        ControlFlow::Continue(())
    })
}

/// As [`read`], but no further than to a frame that breaks off, with the reason.
///
/// # Errors
/// As there.
pub fn read_until(
    path: &Path,
    mut frame: impl FnMut(Frame<'_>) -> ControlFlow<String>,
) -> Result<End> {
    let name = path.display();
    let input = open(path).with_context(|| format!("cannot read {name}"))?;
    let mut reader = match create_reader(BUFFER_OCTETS, input) {
        Ok(reader) => reader,
        Err(PcapError::Eof) => bail!("{name} is empty: it is no capture"),
        Err(PcapError::ReadError) => bail!("cannot read {name}: reading failed"),
        Err(_) => bail!("{name} is neither pcap nor pcapng"),
    };
    let mut clock = FileClock::default();
    let mut interfaces = Interfaces::default();
    loop {
        match reader.next() {
            Ok((octets, block)) => {
                if let Some(found) = interfaces.frame(&block, &mut clock)
                    && let ControlFlow::Break(reason) = frame(found)
                {
                    return Ok(End::Partial(reason));
                }
                reader.consume(octets);
            }
            Err(PcapError::Eof) => return Ok(interfaces.end()),
            Err(PcapError::Incomplete(_)) => {
                if let Some(end) = refill(reader.as_mut(), &interfaces) {
                    return Ok(end);
                }
            }
            Err(PcapError::BufferTooSmall) => {
                let octets = reader.data().len() * 2;
                if octets > BLOCK_OCTETS_MAX || !reader.grow(octets.max(2 * BUFFER_OCTETS)) {
                    return Ok(End::Partial(
                        "a frame or block is too large to be one".to_owned(),
                    ));
                }
            }
            Err(PcapError::UnexpectedEof) => {
                return Ok(End::Partial("it ends in the middle of a frame".to_owned()));
            }
            Err(PcapError::ReadError) => return Ok(End::Partial("reading failed".to_owned())),
            Err(_) => return Ok(End::Partial("a block contradicts itself".to_owned())),
        }
    }
}

fn refill(reader: &mut dyn PcapReaderIterator, interfaces: &Interfaces) -> Option<End> {
    let before = reader.data().len();
    if reader.refill().is_err() {
        return Some(End::Partial("reading failed".to_owned()));
    }
    if reader.data().len() > before {
        return None;
    }
    if !reader.reader_exhausted() {
        let octets = before * 2;
        let grown = octets <= BLOCK_OCTETS_MAX && reader.grow(octets.max(2 * BUFFER_OCTETS));
        return (!grown)
            .then(|| End::Partial("a frame or block is too large to be one".to_owned()));
    }
    Some(if before == 0 {
        interfaces.end()
    } else {
        End::Partial("it ends in the middle of a frame".to_owned())
    })
}

fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path)?)
    };
    let mut input = BufReader::with_capacity(BUFFER_OCTETS, Full(input));
    if input.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(Full(MultiGzDecoder::new(input))));
    }
    Ok(Box::new(input))
}

/// Reads until the buffer is full or the input ends: the parser takes a short first read, as from
/// a pipe, for a short file.
struct Full<R>(R);

impl<R: Read> Read for Full<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(octets) => filled += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before the error counts first; the next read meets it again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The file's time: never backwards by default, since it is the clock that expires flows.
#[derive(Debug, Default)]
struct FileClock {
    last_ns: u64,
}

/// A pcapng section's interfaces, or a pcap file's one.
#[derive(Debug, Default)]
struct Interfaces {
    list: Vec<Interface>,
    /// Frames of interfaces that were never described, and blocks whose frames are not read.
    orphans: u64,
}

#[derive(Debug)]
struct Interface {
    link: Linktype,
    snap_octets: u32,
    /// Units of a second, and seconds to add.
    resolution: u64,
    offset_s: i64,
}

impl Interfaces {
    /// The frame in a block, if there is one; interface definitions are kept.
    fn frame<'a>(
        &mut self,
        block: &'a PcapBlockOwned<'a>,
        clock: &mut FileClock,
    ) -> Option<Frame<'a>> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() {
                    1_000_000_000
                } else {
                    1_000_000
                };
                self.list = vec![Interface {
                    link: header.network,
                    snap_octets: header.snaplen,
                    resolution,
                    offset_s: 0,
                }];
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.list.first()?;
                let fraction_ns =
                    u64::from(packet.ts_usec) * (1_000_000_000 / interface.resolution);
                clock.last_ns = u64::from(packet.ts_sec) * 1_000_000_000 + fraction_ns;
                let octets = packet
                    .data
                    .get(..packet.caplen as usize)
                    .unwrap_or(packet.data);
                Some(frame(interface, octets, packet.origlen, clock))
            }
            PcapBlockOwned::NG(block) => self.ng_frame(block, clock),
        }
    }

    fn ng_frame<'a>(&mut self, block: &'a Block<'a>, clock: &mut FileClock) -> Option<Frame<'a>> {
        match block {
            Block::SectionHeader(_) => {
                self.list.clear();
                None
            }
            Block::InterfaceDescription(description) => {
                self.list.push(Interface {
                    link: description.linktype,
                    snap_octets: description.snaplen,
                    resolution: resolution(description.if_tsresol),
                    offset_s: description.if_tsoffset,
                });
                None
            }
            Block::EnhancedPacket(packet) => {
                let interface = self.known(packet.if_id as usize)?;
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                clock.last_ns = interface.unix_ns(units);
                let octets = packet
                    .data
                    .get(..packet.caplen as usize)
                    .unwrap_or(packet.data);
                Some(frame(interface, octets, packet.origlen, clock))
            }
            Block::SimplePacket(packet) => {
                let interface = self.known(0)?;
                let snap = if interface.snap_octets == 0 {
                    u32::MAX
                } else {
                    interface.snap_octets
                };
                let captured = packet.origlen.min(snap) as usize;
                let octets = packet.data.get(..captured).unwrap_or(packet.data);
                Some(frame(interface, octets, packet.origlen, clock))
            }
            Block::Unknown(block) if block.block_type == OBSOLETE_PACKET_BLOCK => {
                self.orphans += 1;
                None
            }
            _ => None,
        }
    }

    fn known(&mut self, index: usize) -> Option<&Interface> {
        if index >= self.list.len() {
            self.orphans += 1;
        }
        self.list.get(index)
    }

    /// How a file that was read to its end ended.
    fn end(&self) -> End {
        match self.orphans {
            0 => End::Whole,
            orphans => End::Partial(format!(
                "{orphans} frames belong to no interface it describes, or are in obsolete blocks"
            )),
        }
    }
}

/// The Packet Block of early pcapng, which nobody has written since 2012.
const OBSOLETE_PACKET_BLOCK: u32 = 2;

/// Units of a second, from `if_tsresol`: a power of ten, or of two if the top bit is set.
fn resolution(if_tsresol: u8) -> u64 {
    let exponent = u32::from(if_tsresol & 0x7f);
    let base: u64 = if if_tsresol & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(1_000_000)
}

impl Interface {
    fn unix_ns(&self, units: u64) -> u64 {
        let seconds = i128::from(units / self.resolution) + i128::from(self.offset_s);
        let fraction_ns =
            u128::from(units % self.resolution) * 1_000_000_000 / u128::from(self.resolution);
        let ns = seconds * 1_000_000_000 + i128::try_from(fraction_ns).unwrap_or(0);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

fn frame<'a>(
    interface: &Interface,
    octets: &'a [u8],
    wire_octets: u32,
    clock: &FileClock,
) -> Frame<'a> {
    Frame {
        captured: Captured {
            octets,
            wire_octets: (wire_octets as usize).max(octets.len()),
        },
        link: interface.link,
        unix_ns: clock.last_ns,
    }
}

/// Whether [`walk`] knows the link layer.
#[must_use]
pub fn supported(link: Linktype) -> bool {
    link_header(link).is_some()
}

/// What stands before the network header, by link type.
#[derive(Clone, Copy)]
enum LinkHeader {
    Ethernet,
    /// An EtherType at this offset, and the payload at that one.
    EtherType(usize, usize),
    Raw(NetworkProtocol),
    Ppp,
    /// BSD's address family in four octets, in either byte order.
    Family,
}

fn link_header(link: Linktype) -> Option<LinkHeader> {
    // The upper bits of a pcap header's field tell the length of a frame check sequence.
    Some(match Linktype(link.0 & 0xffff) {
        Linktype(1) => LinkHeader::Ethernet,
        Linktype(113) => LinkHeader::EtherType(14, 16),
        Linktype(276) => LinkHeader::EtherType(0, 20),
        Linktype(104) => LinkHeader::EtherType(2, 4),
        Linktype(12 | 14 | 101) => LinkHeader::Raw(NetworkProtocol::ByNibble),
        Linktype(228) => LinkHeader::Raw(NetworkProtocol::V4),
        Linktype(229) => LinkHeader::Raw(NetworkProtocol::V6),
        Linktype(9 | 50) => LinkHeader::Ppp,
        Linktype(0 | 108) => LinkHeader::Family,
        _ => return None,
    })
}

/// Walks a captured frame of any supported link layer (numbers: <https://www.tcpdump.org/linktypes.html>).
///
/// # Errors
/// The reason why the frame is in no flow; `NonIp` for unknown link layers.
pub fn walk(frame: &Frame<'_>, tunnels: Tunnels) -> Result<Walked, Unmetered> {
    let packet = &frame.captured;
    let header = link_header(frame.link).ok_or(Unmetered::NonIp)?;
    // Any packet may be a tunnel's.
    if tunnels == Tunnels::NONE
        && matches!(header, LinkHeader::Ethernet)
        && let Some(walked) = walk::plain_v4(packet)
    {
        return Ok(walked);
    }
    tunnel::walk(packet, layers(packet, header)?.network, tunnels)
}

/// What else is asked for of a captured frame, but for what only the walk knows.
#[must_use]
pub fn extra(frame: &Frame<'_>, which: Fields) -> Extra {
    let packet = &frame.captured;
    let Some(header) = link_header(frame.link) else {
        return Extra::default();
    };
    let ethernet = matches!(header, LinkHeader::Ethernet);
    extra::of_layers(packet, layers(packet, header), ethernet, 0, which)
}

fn layers(packet: &Captured<'_>, header: LinkHeader) -> Result<Layers, Unmetered> {
    match header {
        LinkHeader::Ethernet => walk::ethernet_layers(packet),
        LinkHeader::EtherType(at, payload) => {
            let ethertype = packet.u16(at).ok_or(Unmetered::TooShort)?;
            walk::layers(packet, ethertype, payload)
        }
        LinkHeader::Raw(protocol) => Ok(Layers::plain(protocol, 0)),
        LinkHeader::Ppp => {
            const ADDRESS_AND_CONTROL: u16 = 0xff03;
            let at = if packet.u16(0) == Some(ADDRESS_AND_CONTROL) {
                2
            } else {
                0
            };
            walk::ppp(packet, at)
        }
        LinkHeader::Family => {
            let field = packet.read(0).ok_or(Unmetered::TooShort)?;
            Ok(Layers::plain(family(field)?, 4))
        }
    }
}

/// AF_INET is 2 everywhere, AF_INET6 is 24, 28 or 30 on the BSDs and 10 on Linux.
fn family(field: [u8; 4]) -> Result<NetworkProtocol, Unmetered> {
    match u32::from_be_bytes(field).min(u32::from_le_bytes(field)) {
        2 => Ok(NetworkProtocol::V4),
        10 | 24 | 28 | 30 => Ok(NetworkProtocol::V6),
        _ => Err(Unmetered::NonIp),
    }
}

const _: () = assert!(number::LENGTH_MAX < number::ETHERTYPE_IPV4);
