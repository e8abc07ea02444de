//! Later fragments belong to the flow of the first: what is remembered between them.

use crate::{
    key::FlowKey,
    walk::{FRAGMENT_OFFSET, MORE_FRAGMENTS, Walked},
};

/// What the pieces of a packet have in common (RFC 791 section 3.2, RFC 8200 section 4.5), without
/// padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    source: [u64; 2],
    destination: [u64; 2],
    /// Protocol and VLAN word as in the flow key, and the identification in the ports' place.
    rest: u64,
}

/// What a packet has to do with the memory of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Nothing.
    None,
    /// Its ports are to be remembered.
    Keep,
    /// Its ports are to be looked up.
    Recall,
}

const PORTS: u64 = 0xffff_ffff;
const TOS: u64 = FlowKey::pack(0, 0, 0, 0xff, 0);

/// What is to be done for a packet, and under which key.
#[inline(always)]
#[must_use]
pub fn memory(walked: &Walked) -> (Memory, FragmentKey) {
    let key = FragmentKey {
        source: walked.key.source,
        destination: walked.key.destination,
        rest: walked.key.attributes & !(PORTS | TOS) | u64::from(walked.fragment_id),
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

/// The ports, as they are remembered.
#[inline(always)]
#[must_use]
pub const fn ports(walked: &Walked) -> u32 {
    (walked.key.attributes & PORTS) as u32
}

/// Gives a later fragment the ports of its first.
#[inline(always)]
pub fn inherit(walked: &mut Walked, ports: u32) {
    walked.key.attributes |= u64::from(ports);
}
