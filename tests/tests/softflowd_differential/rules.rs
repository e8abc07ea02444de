//! What differs by intention, and which frames it keeps from the comparison.

use std::collections::BTreeMap;

use weir_sensor::capture::{self, Frame};
use weir_sensor_common::{Walked, tunnel::Tunnels};

/// What differs by intention. The names are those of the list of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Weir reads link layers that softflowd takes for no IP, and labels are no octets of the flow.
    LinkLayer,
    /// softflowd meters packets whose header contradicts itself.
    BadHeader,
    /// Octets are those of the IP header, softflowd's those of the frame: where they say more or less.
    Length,
    /// Likewise the padding of short frames; these are cut, and both read the rest.
    Padding,
    /// softflowd stops at headers that Weir follows, and has later IPv6 fragments as protocol 0.
    ExtensionHeaders,
    /// softflowd takes no ports from a transport header that is cut off.
    TruncatedTransport,
    /// It reads ports of TCP and UDP only.
    OtherPorts,
    /// It writes ICMP of the other family in a record that its template does not describe.
    OtherFamilysIcmp,
    /// It has the ToS of the packet that created the entry, and 0 for the other direction.
    Tos,
    /// At levels `vlan` and `ether` it has the two directions of tagged traffic as two flows.
    TaggedTimes,
    /// Its biflows of ICMP lose the type if the higher address sent.
    IcmpBiflows,
}

pub const NAMES: [(Rule, &str); 11] = [
    (Rule::LinkLayer, "link layers"),
    (Rule::BadHeader, "bad headers"),
    (Rule::Length, "octets"),
    (Rule::Padding, "padding"),
    (Rule::ExtensionHeaders, "extension headers"),
    (Rule::TruncatedTransport, "truncated headers"),
    (Rule::OtherPorts, "ports of SCTP, DCCP, UDP-Lite"),
    (Rule::OtherFamilysIcmp, "ICMP of the other family"),
    (Rule::Tos, "ToS"),
    (Rule::TaggedTimes, "tagged conversations"),
    (Rule::IcmpBiflows, "biflows of ICMP"),
];

/// How often each rule applied.
pub type Applied = BTreeMap<Rule, u64>;

/// A frame as both programs get it.
pub struct Kept {
    pub octets: Vec<u8>,
    pub wire_octets: usize,
    pub unix_us: u64,
}

pub const ETHERNET: i32 = 1;
const RAW: i32 = 101;
const COOKED: i32 = 113;

/// Where softflowd finds an IP header, and whether it is IPv6's; none if it does not.
fn ip_header(link: i32, octets: &[u8]) -> Option<(usize, bool)> {
    let u16_at = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
    let (ethertype, offset) = match link {
        RAW => {
            let v6 = match octets.first()? >> 4 {
                4 => false,
                6 => true,
                _ => return None,
            };
            return Some((0, v6));
        }
        COOKED => (u16_at(14)?, 16),
        ETHERNET => match u16_at(12)? {
            // A priority tag's id is 0, which is none to softflowd.
            0x8100 if u16_at(14)? & 0x0fff != 0 => (u16_at(16)?, 18),
            ethertype => (ethertype, 14),
        },
        _ => return None,
    };
    match ethertype {
        0x0800 => Some((offset, false)),
        0x86dd => Some((offset, true)),
        _ => None,
    }
}

/// The frame for both programs, or the rule that keeps it from them; none if it is no IP to either.
pub fn classify(frame: &Frame<'_>, applied: &mut Applied) -> Option<Kept> {
    let (octets, wire_octets) = (frame.captured.octets, frame.captured.wire_octets);
    let found = ip_header(frame.link.0, octets);
    let walked = capture::walk(frame, Tunnels::NONE);
    let mut apply = |rule| *applied.entry(rule).or_default() += 1;
    let ((offset, v6), walked) = match (found, walked) {
        (Some(found), Ok(walked)) => (found, walked),
        (None, Ok(_)) => {
            apply(Rule::LinkLayer);
            return None;
        }
        (Some(_), Err(_)) => {
            apply(Rule::BadHeader);
            return None;
        }
        (None, Err(_)) => return None,
    };
    if walked.key.is_v6() != v6 {
        apply(Rule::BadHeader);
        return None;
    }
    let length_at = if v6 { offset + 4 } else { offset + 2 };
    let said = u16::from_be_bytes([octets[length_at], octets[length_at + 1]]);
    let said = usize::from(said) + if v6 { 40 } else { 0 };
    let end = offset + said;
    if said as u64 != walked.octets || (v6 && said == 40) || wire_octets < end {
        apply(Rule::Length);
        return None;
    }
    if wire_octets > end {
        apply(Rule::Padding);
    }
    let octets = &octets[..octets.len().min(end)];
    if let Some(rule) = transport_rule(octets, offset, &walked) {
        apply(rule);
        return None;
    }
    Some(Kept {
        octets: octets.to_vec(),
        wire_octets: end,
        unix_us: frame.unix_ns / 1000,
    })
}

/// What differs behind the IP header that begins at `offset`.
fn transport_rule(octets: &[u8], offset: usize, walked: &Walked) -> Option<Rule> {
    let (v6, protocol) = (walked.key.is_v6(), walked.key.protocol());
    let is_plain = if v6 {
        is_plain_v6(&octets[offset..])
    } else {
        // An authentication header is followed, too.
        octets[offset + 9] == protocol
    };
    if !is_plain {
        return Some(Rule::ExtensionHeaders);
    }
    if (v6 && protocol == 1) || (!v6 && protocol == 58) {
        return Some(Rule::OtherFamilysIcmp);
    }
    if matches!(protocol, 33 | 132 | 136) {
        return Some(Rule::OtherPorts);
    }
    let is_later_piece = walked.fragment & 0x1fff != 0;
    let needed = match protocol {
        _ if is_later_piece => 0,
        6 => 20,
        17 | 1 | 58 => 8,
        _ => 0,
    };
    let there = match usize::from(walked.transport_offset) {
        0 => 0,
        at => octets.len().saturating_sub(at),
    };
    (there < needed).then_some(Rule::TruncatedTransport)
}

/// Whether there are only extension headers that both follow alike, down to another header.
fn is_plain_v6(packet: &[u8]) -> bool {
    let (mut header, mut at) = (packet[6], 40);
    for _ in 0..8 {
        match header {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                let Some([next, length]) = packet.get(at..at + 2) else {
                    return false;
                };
                header = *next;
                at += 8 * (usize::from(*length) + 1);
            }
            // Fragment, authentication, nothing, mobility, HIP, shim6.
            44 | 51 | 59 | 135 | 139 | 140 => return false,
            _ => return at <= packet.len(),
        }
    }
    false
}
