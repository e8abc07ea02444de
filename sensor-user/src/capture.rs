//! Capture files: pcap and pcapng, either byte order, micro- or nanoseconds, gzip or not, through
//! the same header walk as the kernel's.

mod blocks;
mod input;
mod link;

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
            Ok((_, block)) if interfaces.are_too_many(&block) => {
                return End::Partial("it describes more than 65536 interfaces".to_owned());
            }
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
pub fn supported(frame: &Frame<'_>) -> bool {
    opened(frame).is_some()
}

/// What was captured from where the link layer begins, and how that does.
#[inline]
fn opened<'a>(frame: &Frame<'a>) -> Option<(Captured<'a>, LinkHeader)> {
    let captured = frame.captured;
    if let Some(header) = link_header(frame.link) {
        return Some((captured, header));
    }
    let (offset, link) = link::named(&captured, frame.link)?;
    let packet = Captured {
        octets: captured.octets.get(offset..)?,
        wire_octets: captured.wire_octets.saturating_sub(offset),
    };
    Some((packet, link_header(link)?))
}

/// What stands before the network header, by link type.
#[derive(Clone, Copy)]
enum LinkHeader {
    Ethernet,
    /// An EtherType at this offset, and the payload at that one.
    EtherType(usize, usize),
    /// The network header at this offset.
    Raw(NetworkProtocol, usize),
    Ppp,
    /// BSD's address family in four octets, in either byte order.
    Family,
    /// What takes more than a line.
    Other(fn(&Captured<'_>) -> Result<Layers, Unmetered>),
}

const CISCO_HDLC: LinkHeader = LinkHeader::EtherType(2, 4);

fn link_header(link: Linktype) -> Option<LinkHeader> {
    // The upper bits of a pcap header's field tell the length of a frame check sequence.
    Some(match Linktype(link.0 & 0xffff) {
        Linktype(1) => LinkHeader::Ethernet,
        Linktype(113) => LinkHeader::EtherType(14, 16),
        Linktype(276) => LinkHeader::EtherType(0, 20),
        Linktype(104) => CISCO_HDLC,
        Linktype(12 | 14 | 101) => LinkHeader::Raw(NetworkProtocol::ByNibble, 0),
        Linktype(228) => LinkHeader::Raw(NetworkProtocol::V4, 0),
        Linktype(229) => LinkHeader::Raw(NetworkProtocol::V6, 0),
        Linktype(9 | 50) => LinkHeader::Ppp,
        Linktype(0 | 108) => LinkHeader::Family,
        // Infiniband, what switch chips put between or before the MAC addresses and the EtherType.
        Linktype(242) => LinkHeader::EtherType(40, 44),
        Linktype(281 | 282 | 284) => LinkHeader::EtherType(16, 18),
        Linktype(285) => LinkHeader::EtherType(20, 22),
        // OpenBSD's enc, Solaris's ipnet.
        Linktype(109) => LinkHeader::Raw(NetworkProtocol::ByNibble, 12),
        Linktype(226) => LinkHeader::Raw(NetworkProtocol::ByNibble, 24),
        Linktype(6) => LinkHeader::Other(link::token_ring),
        Linktype(10) => LinkHeader::Other(link::fddi),
        Linktype(51) => LinkHeader::Other(link::ppp_over_ethernet),
        Linktype(100) => LinkHeader::Other(link::logical_link),
        Linktype(105) => LinkHeader::Other(link::wireless),
        Linktype(107) => LinkHeader::Other(link::frame_relay),
        Linktype(117) => LinkHeader::Other(link::packet_filter_log),
        Linktype(127) => LinkHeader::Other(link::radiotap),
        Linktype(219) => LinkHeader::Other(link::labels),
        Linktype(239) => LinkHeader::Other(link::netfilter_log),
        _ => return None,
    })
}

/// Walks a captured frame of any supported link layer (numbers: <https://www.tcpdump.org/linktypes.html>).
///
/// # Errors
/// The reason why the frame is in no flow; `NonIp` for unknown link layers.
#[inline]
pub fn walk(frame: &Frame<'_>, tunnels: Tunnels) -> Result<Walked, Unmetered> {
    // Any packet may be a tunnel's.
    if tunnels == Tunnels::NONE
        && matches!(link_header(frame.link), Some(LinkHeader::Ethernet))
        && let Some(walked) = walk::plain_v4(&frame.captured)
    {
        return Ok(walked);
    }
    let (packet, header) = opened(frame).ok_or(Unmetered::NonIp)?;
    tunnel::walk(&packet, layers(&packet, header)?.network, tunnels)
}

/// What else is asked for of a captured frame, but for what only the walk knows.
#[must_use]
pub fn extra(frame: &Frame<'_>, which: Fields) -> Extra {
    let Some((packet, header)) = opened(frame) else {
        return Extra::default();
    };
    let ethernet = matches!(header, LinkHeader::Ethernet);
    extra::of_layers(&packet, layers(&packet, header), ethernet, 0, which)
}

fn layers(packet: &Captured<'_>, header: LinkHeader) -> Result<Layers, Unmetered> {
    match header {
        LinkHeader::Ethernet => walk::ethernet_layers(packet),
        LinkHeader::EtherType(at, payload) => {
            let ethertype = packet.u16(at).ok_or(Unmetered::TooShort)?;
            walk::layers(packet, ethertype, payload)
        }
        LinkHeader::Raw(protocol, offset) => Ok(Layers::plain(protocol, offset)),
        LinkHeader::Other(layers) => layers(packet),
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
