//! What is read of a packet beside its key, on request: MAC addresses, the inner VLAN tag, MPLS
//! labels, the IPv6 flow label, the endpoints of the tunnel it came through. It lies in arrays beside
//! the queue, the slots and the rings, which have one element while nothing is asked for.
//!
//! All but the flow label is what stands before and in the *outermost* network header, where
//! [`crate::walk`] finds it: this asks the same functions. The flow label is of the header that the
//! key is of, and so the walk's to tell ([`crate::walk::Walked::flow_label`]).

use crate::{
    key::{self, FlowKey, KeyMask},
    packet::Packet,
    walk::{self, Layers, Network, NetworkProtocol, Unmetered},
};

/// Which of it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub u8);

impl Fields {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The frame's MAC addresses.
    pub const MAC: Self = Self(1);
    /// The second VLAN tag.
    pub const INNER_VLAN: Self = Self(1 << 1);
    /// The first MPLS labels.
    pub const MPLS: Self = Self(1 << 2);
    /// The IPv6 flow label.
    pub const FLOW_LABEL: Self = Self(1 << 3);
    /// The addresses of the outermost network header.
    pub const OUTER: Self = Self(1 << 4);

    /// What the key itself needs.
    #[must_use]
    pub const fn of_key(mask: KeyMask) -> Self {
        if mask.has_macs() {
            Self::MAC
        } else {
            Self::NONE
        }
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of these is among them.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }
}

/// MPLS labels kept, from the top of the stack.
pub const LABELS_MAX: usize = 4;

/// What was read: one cache line. All zero where nothing was asked for, or nothing is there.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "bytemuck", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Extra {
    /// Destination and source MAC address: the frame's first twelve octets, read as native words.
    pub macs: [u32; 3],
    /// The second VLAN tag: its id, and [`FlowKey::TAGGED`].
    pub inner_vlan: u16,
    /// Nothing.
    pub reserved: u16,
    /// Label stack entries without their TTL (RFC 3032 section 2.1): 20 bits of label, three of
    /// traffic class, one that says that it is the last.
    pub labels: [[u8; 3]; LABELS_MAX],
    /// IPv6 flow label, 20 bits.
    pub flow_label: u32,
    /// Source address of the outermost network header, as in [`FlowKey`].
    pub outer_source: [u64; 2],
    /// Its destination address, likewise.
    pub outer_destination: [u64; 2],
}

const _: () = assert!(size_of::<Extra>() == 64);

impl Extra {
    /// The frame's source MAC address.
    #[must_use]
    pub fn source_mac(&self) -> [u8; 6] {
        self.mac(6)
    }

    /// The frame's destination MAC address.
    #[must_use]
    pub fn destination_mac(&self) -> [u8; 6] {
        self.mac(0)
    }

    /// The MAC address at this offset in the frame.
    fn mac(&self, offset: usize) -> [u8; 6] {
        let frame = self.macs.map(u32::to_ne_bytes);
        let mut address = [0; 6];
        address.copy_from_slice(&frame.as_flattened()[offset..offset + 6]);
        address
    }

    /// The second VLAN tag's id; 0 if there is none.
    #[must_use]
    pub const fn inner_vlan_id(&self) -> u16 {
        self.inner_vlan & 0x0fff
    }

    /// The label stack entries as numbers of 24 bits.
    #[must_use]
    pub fn label_entries(&self) -> [u32; LABELS_MAX] {
        self.labels
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Source and destination of the tunnel that the key's packet came through, 16 octets each in
    /// network order. `None` if it came through none: the outermost addresses are then the key's.
    #[must_use]
    pub fn tunnel(&self, key: &FlowKey) -> Option<([u8; 16], [u8; 16])> {
        let outer = [self.outer_source, self.outer_destination];
        if outer == [[0; 2]; 2] || outer == [key.source, key.destination] {
            return None;
        }
        let [source, destination] = outer.map(key::octets);
        Some((source, destination))
    }
}

/// Whether two frames have the same MAC addresses.
#[inline(always)]
#[must_use]
pub const fn same_macs(one: &[u32; 3], other: &[u32; 3]) -> bool {
    (one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) == 0
}

/// Reads it of an Ethernet frame, or of one without a link layer (`raw`). `stripped_vlan` is the tag
/// that the card took out, in the form of [`Network::vlan`]: the frame's first is then the second.
#[inline(always)]
pub fn read(packet: &impl Packet, raw: bool, stripped_vlan: u16, which: Fields) -> Extra {
    let layers = if raw {
        Ok(Layers::plain(NetworkProtocol::ByNibble, 0))
    } else {
        walk::ethernet_layers(packet)
    };
    of_layers(packet, layers, !raw, stripped_vlan, which)
}

/// As [`read`], of a frame whose link layer was followed; `ethernet` if it begins with MAC addresses.
#[inline(always)]
pub fn of_layers(
    packet: &impl Packet,
    layers: Result<Layers, Unmetered>,
    ethernet: bool,
    stripped_vlan: u16,
    which: Fields,
) -> Extra {
    let mut extra = Extra::default();
    if ethernet && which.has(Fields::MAC) {
        extra.macs = packet.words::<3>(0).unwrap_or_default();
    }
    let Ok(mut layers) = layers else {
        return extra;
    };
    layers.network.offset = packet.settle(layers.network.offset);
    layers.labels_offset = packet.settle(layers.labels_offset);
    if which.has(Fields::INNER_VLAN) {
        extra.inner_vlan = if stripped_vlan == 0 {
            layers.inner_vlan
        } else {
            layers.network.vlan
        };
    }
    if which.has(Fields::MPLS) && layers.labels_offset != 0 {
        extra.labels = labels(packet, layers.labels_offset);
    }
    if which.has(Fields::OUTER)
        && let Some([source, destination]) = endpoints(packet, layers.network)
    {
        extra.outer_source = source;
        extra.outer_destination = destination;
    }
    extra
}

/// The label stack from its top. What follows its bottom is masked and not skipped: the verifier
/// would follow all that comes then once for each length that the stack may have.
#[inline(always)]
fn labels(packet: &impl Packet, offset: usize) -> [[u8; 3]; LABELS_MAX] {
    const BOTTOM_OF_STACK_SHIFT: u32 = 8;
    let mut labels = [[0; 3]; LABELS_MAX];
    let mut mask = u32::MAX;
    for (index, label) in labels.iter_mut().enumerate() {
        let Some(entry) = packet.u32(offset + 4 * index) else {
            break;
        };
        let [a, b, c, _ttl] = (entry & mask).to_be_bytes();
        *label = [a, b, c];
        mask &= (entry >> BOTTOM_OF_STACK_SHIFT & 1).wrapping_sub(1);
    }
    labels
}

/// The addresses of a network header.
#[inline(always)]
fn endpoints(packet: &impl Packet, network: Network) -> Option<[[u64; 2]; 2]> {
    let (offset, v6) = walk::header(packet, network).ok()?;
    if v6 {
        let source = packet.read::<16>(offset + 8)?;
        let destination = packet.read::<16>(offset + 24)?;
        Some([FlowKey::v6(source), FlowKey::v6(destination)])
    } else {
        let [source, destination] = packet.words::<2>(offset + 12)?;
        Some([source, destination].map(|address| FlowKey::v4_mapped(address.to_ne_bytes())))
    }
}
