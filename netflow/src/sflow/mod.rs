//! sFlow version 5 (sflow.org, "sFlow Version 5", July 2004): a datagram of samples, each of a packet
//! ([`FlowSample`]) or of counters. Everything is XDR: big-endian words of 32 bits, opaque data padded to
//! them.
//!
//! As for data sets, what has no length that can be spoils the datagram; a sample that contradicts itself
//! within its length spoils itself only. Counter samples are told from others and not read.

mod fields;
mod sample;

use std::net::{Ipv4Addr, Ipv6Addr};

use self::fields::Cursor;
pub use self::sample::{DataSource, FlowSample, SampledHeader, SampledRecord, header_protocol};
use crate::{Malformed, read};

/// The version field, of 32 bits: NetFlow's, of 16, is 0 there.
pub const VERSION: u32 = 5;
/// What stands for it where versions of NetFlow stand too, whose 5 is another format.
pub const VERSION_NUMBER: u16 = 105;
/// sFlow's private enterprise number, as in its MIB: whose a record is that sFlow itself defines, where
/// IANA's elements have 0.
pub const PEN: u32 = 14_706;
/// Octets of a sample's format and length.
const SAMPLE_HEADER_OCTETS: usize = 8;
/// Octets of a header whose agent has an IPv4 address; with an IPv6 address it is twelve longer.
const HEADER_OCTETS_MIN: usize = 28;

/// Formats of samples, as [`format_number`] has them.
const FLOW_SAMPLE: u32 = 1;
const COUNTER_SAMPLE: u32 = 2;
const FLOW_SAMPLE_EXPANDED: u32 = 3;
const COUNTER_SAMPLE_EXPANDED: u32 = 4;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The agent's address; IPv4 as v4-mapped, unspecified if it has none.
    pub agent: Ipv6Addr,
    /// Which of the agent's processes sent it: each numbers by itself.
    pub sub_agent: u32,
    /// Datagrams sent before it, and it, modulo 2³².
    pub sequence: u32,
    /// Milliseconds since the agent booted, modulo 2³².
    pub uptime_ms: u32,
    /// Samples in it.
    pub samples: u32,
}

/// A datagram whose samples are all within it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its header.
    pub header: Header,
    samples: &'a [u8],
}

/// A sample.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time is looked at, and none is kept"
)]
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// Of a packet.
    Flow(FlowSample<'a>),
    /// Of counters; they are not read.
    Counters,
    /// Of another kind: of a vendor, or from after 2004.
    Other,
    /// Its fields go beyond its length.
    Malformed,
}

/// Whether octets begin as a datagram of sFlow does, of this version.
#[must_use]
pub fn is_version(octets: &[u8]) -> bool {
    octets.first_chunk() == Some(&VERSION.to_be_bytes())
}

/// Reads a datagram's header, whatever its samples are.
///
/// # Errors
/// If it is of another version, or ends before its header does.
pub fn decode_header(datagram: &[u8]) -> Result<Header, Malformed> {
    split_header(datagram).map(|(header, _)| header)
}

/// The header, and what follows it.
fn split_header(datagram: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let octets = datagram.len();
    if octets < HEADER_OCTETS_MIN {
        return Err(Malformed::TooShort { octets });
    }
    if !is_version(datagram) {
        let version = read::u16(datagram, 0);
        return Err(Malformed::Version { version });
    }
    let mut cursor = Cursor::new(&datagram[4..]);
    let header = header(&mut cursor).ok_or(Malformed::TooShort { octets })?;
    Ok((header, cursor.rest()))
}

/// Reads a datagram's header and cuts it into samples.
///
/// # Errors
/// If it is of another version, ends before its header does, or a sample goes beyond it.
pub fn decode(datagram: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let (header, samples) = split_header(datagram)?;
    let start = datagram.len() - samples.len();
    let mut rest = samples;
    for number in 0..header.samples {
        let offset = start + samples.len() - rest.len();
        let (_, _, after) = split(rest).ok_or(Malformed::Sample { number, offset })?;
        rest = after;
    }
    Ok(Datagram {
        header,
        samples: &samples[..samples.len() - rest.len()],
    })
}

fn header(cursor: &mut Cursor<'_>) -> Option<Header> {
    Some(Header {
        agent: cursor.address()?,
        sub_agent: cursor.word()?,
        sequence: cursor.word()?,
        uptime_ms: cursor.word()?,
        samples: cursor.word()?,
    })
}

/// A sample's format and octets, and what follows it. Records within a sample are framed alike.
fn split(octets: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (header, rest) = octets.split_at_checked(SAMPLE_HEADER_OCTETS)?;
    let length = usize::try_from(read::u32(header, 4)).ok()?;
    let (body, after) = rest.split_at_checked(length)?;
    Some((read::u32(header, 0), body, after))
}

/// Whose a format is, and its number: 20 and 12 bits.
fn format_number(format: u32) -> (u32, u32) {
    (format >> 12, format & 0xfff)
}

impl<'a> Datagram<'a> {
    /// Its samples in order.
    pub fn samples(&self) -> impl Iterator<Item = Sample<'a>> + use<'a> {
        let mut rest = self.samples;
        std::iter::from_fn(move || {
            let (format, body, after) = split(rest)?;
            rest = after;
            let flow = |is_expanded| {
                FlowSample::read(body, is_expanded).map_or(Sample::Malformed, Sample::Flow)
            };
            Some(match format_number(format) {
                (0, FLOW_SAMPLE) => flow(false),
                (0, FLOW_SAMPLE_EXPANDED) => flow(true),
                (0, COUNTER_SAMPLE | COUNTER_SAMPLE_EXPANDED) => Sample::Counters,
                _ => Sample::Other,
            })
        })
    }
}

/// An IPv4 address as v4-mapped.
fn mapped(octets: [u8; 4]) -> Ipv6Addr {
    Ipv4Addr::from(octets).to_ipv6_mapped()
}

#[cfg(test)]
mod tests;
