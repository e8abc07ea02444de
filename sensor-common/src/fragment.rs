//! Later fragments belong to the flow of the first: what is remembered between them.

use crate::{
    key::FlowKey,
    walk::{FRAGMENT_OFFSET, MORE_FRAGMENTS, Walked},
};

/// What the pieces of a packet have in common: addresses, identification, and in IPv4 the protocol (RFC 791
/// section 3.2). In IPv6 pieces name the header they begin with, which may be options where the first one's
/// chain goes on to UDP, and need not be the same in all of them (RFC 8200 section 4.5). Without padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    source: [u64; 2],
    destination: [u64; 2],
    /// VLAN word and, of IPv4, protocol as in the flow key, and the identification in the ports' place.
    rest: u64,
}

/// What a packet has to do with the memory of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Nothing.
    None,
    /// Its protocol and ports are to be remembered.
    Keep,
    /// They are to be looked up.
    Recall,
}

const PORTS: u64 = 0xffff_ffff;
const PROTOCOL: u64 = FlowKey::pack(0, 0, 0xff, 0, 0);
const FAMILY_V6: u64 = FlowKey::pack(0, 0, 0, 0, FlowKey::FAMILY_V6);
const TOS: u64 = FlowKey::pack(0, 0, 0, 0xff, 0);

/// What is to be done for a packet, and under which key.
#[inline(always)]
#[must_use]
pub fn memory(walked: &Walked) -> (Memory, FragmentKey) {
    let attributes = walked.key.attributes;
    let v6 = u64::from(attributes & FAMILY_V6 != 0);
    let key = FragmentKey {
        source: walked.key.source,
        destination: walked.key.destination,
        rest: attributes & !(PORTS | TOS | (v6 * PROTOCOL)) | u64::from(walked.fragment_id),
    };
    let memory = if walked.fragment & FRAGMENT_OFFSET != 0 {
        Memory::Recall
    } else if walked.fragment & MORE_FRAGMENTS != 0 {
        Memory::Keep
    } else {
        Memory::None
    };
    (memory, key)
}

/// A first fragment's protocol and ports, as they are remembered.
#[inline(always)]
#[must_use]
pub const fn transport(walked: &Walked) -> u64 {
    walked.key.attributes & (PROTOCOL | PORTS)
}

/// Gives a later fragment the protocol and ports of its first.
#[inline(always)]
pub fn inherit(walked: &mut Walked, transport: u64) {
    walked.key.attributes = walked.key.attributes & !(PROTOCOL | PORTS) | transport;
}
