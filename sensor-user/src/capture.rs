//! Capture files: pcap and pcapng, either byte order, micro- or nanoseconds, gzip or not, through
//! the same header walk as the kernel's.

mod blocks;
mod input;

use std::{ops::ControlFlow, path::Path};

use anyhow::{Context as _, Result, bail};
use pcap_parser::{Linktype, PcapError, create_reader, traits::PcapReaderIterator};
use weir_sensor_common::{
    Extra, Fields, Packet, Unmetered, Walked, extra,
    packet::Captured,
    tunnel::{self, Tunnels},
    walk::{self, Layers, NetworkProtocol, number},
};

use crate::signals::Interrupt;
use blocks::{FileClock, Interfaces, Next};

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
/// What is read at a time: it stays in the second-level cache until it was looked at.
const BUFFER_OCTETS: usize = 1 << 18;

/// Reads a file (`-`: standard input), frame by frame.
///
/// # Errors
/// If it cannot be opened, or is no capture at all.
pub fn read(path: &Path, mut frame: impl FnMut(Frame<'_>)) -> Result<End> {
    read_until(path, None, |found| {
        frame(found);
        ControlFlow::Continue(())
    })
}

/// As [`read`], but no further than to a frame that breaks off, with the reason, or to a signal, if it is to be
/// interrupted.
///
/// # Errors
/// As there.
pub fn read_until(
    path: &Path,
    interrupt: Option<&Interrupt>,
    frame: impl FnMut(Frame<'_>) -> ControlFlow<String>,
) -> Result<End> {
    let name = path.display();
    let opened = input::open(path, interrupt);
    let (input, failure) = opened.with_context(|| format!("cannot read {name}"))?;
    let mut reader = match (create_reader(BUFFER_OCTETS, input), failure.get()) {
        (Ok(reader), _) => reader,
        (Err(_), Some(error)) => bail!("cannot read {name}: {error}"),
        (Err(PcapError::Eof), None) => bail!("{name} is empty: it is no capture"),
        (Err(_), None) => bail!("{name} is neither pcap nor pcapng"),
    };
    let end = frames(reader.as_mut(), frame);
    Ok(match failure.get() {
        Some(error) => End::Partial(format!("reading failed: {error}")),
        None => end,
    })
}

/// Reads frames up to the end, whatever that is.
fn frames(
    reader: &mut dyn PcapReaderIterator,
    mut frame: impl FnMut(Frame<'_>) -> ControlFlow<String>,
) -> End {
    let mut clock = FileClock::default();
    let mut interfaces = Interfaces::default();
    loop {
        match interfaces.frames(reader.data(), &mut clock, &mut frame) {
            // What is left is moved once, when more is read.
            ControlFlow::Continue((octets, next)) => {
                reader.consume_noshift(octets);
                if next == Next::Refill {
                    if let Some(end) = refill(reader, &interfaces) {
                        return end;
                    }
                    continue;
                }
            }
            ControlFlow::Break(reason) => return End::Partial(reason),
        }
        match reader.next() {
            Ok((octets, block)) => {
                if let Some(found) = interfaces.frame(&block, &mut clock)
                    && let ControlFlow::Break(reason) = frame(found)
                {
                    return End::Partial(reason);
                }
                reader.consume_noshift(octets);
            }
            Err(PcapError::Eof) => return interfaces.end(),
            Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => {
                if let Some(end) = refill(reader, &interfaces) {
                    return end;
                }
            }
            Err(PcapError::UnexpectedEof) => {
                return End::Partial("it ends in the middle of a frame".to_owned());
            }
            Err(_) => return End::Partial("a block contradicts itself".to_owned()),
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

const CISCO_HDLC: LinkHeader = LinkHeader::EtherType(2, 4);

fn link_header(link: Linktype) -> Option<LinkHeader> {
    // The upper bits of a pcap header's field tell the length of a frame check sequence.
    Some(match Linktype(link.0 & 0xffff) {
        Linktype(1) => LinkHeader::Ethernet,
        Linktype(113) => LinkHeader::EtherType(14, 16),
        Linktype(276) => LinkHeader::EtherType(0, 20),
        Linktype(104) => CISCO_HDLC,
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
#[inline]
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
            /// To one or to all: Cisco's framing, by the same numbers in files.
            const CISCO: [u16; 2] = [0x0f00, 0x8f00];
            match packet.u16(0) {
                Some(ADDRESS_AND_CONTROL) => walk::ppp(packet, 2),
                Some(start) if CISCO.contains(&start) => layers(packet, CISCO_HDLC),
                _ => walk::ppp(packet, 0),
            }
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

#[cfg(test)]
mod tests;
