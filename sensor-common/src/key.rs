//! The flow key: what makes two packets belong to the same flow.
//!
//! It is kept as five machine words so that the kernel compares and hashes it without touching
//! single octets. One form serves both families: an IPv4 address is stored v4-mapped
//! (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2). A packet that carries IPv6 with a v4-mapped
//! address would share that form, so its protocol family is told apart by [`FlowKey::FAMILY_V6`]
//! in the VLAN word.

/// A flow key, 40 octets without padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "bytemuck", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FlowKey {
    /// Source address: 16 octets in network order, read as two native words.
    pub source: [u64; 2],
    /// Destination address, likewise.
    pub destination: [u64; 2],
    /// Source port (bits 0–15), destination port (16–31), protocol (32–39), `ToS` (40–47),
    /// VLAN word (48–63: VLAN id in 12 bits, then [`FlowKey::FAMILY_V6`] and
    /// [`FlowKey::TAGGED`]).
    pub attributes: u64,
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// Bit of the VLAN word: the packet was IPv6.
    pub const FAMILY_V6: u16 = 1 << 12;
    /// Bit of the VLAN word: the frame carried a VLAN tag (a priority tag has VLAN id 0).
    pub const TAGGED: u16 = 1 << 13;
    /// Bit of the VLAN word that is 0 in every key. In a [`KeyMask`] it says that MAC addresses
    /// tell flows apart; these are not here but in [`crate::extra::Extra`].
    const MACS: u16 = 1 << 14;

    const PROTOCOL_SHIFT: u32 = 32;
    const TOS_SHIFT: u32 = 40;
    const VLAN_SHIFT: u32 = 48;

    /// The two words of a v4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn v4_mapped(address: [u8; 4]) -> [u64; 2] {
        let [a, b, c, d] = address;
        [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
    }

    /// The two words of an IPv6 address.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::many_single_char_names, reason = "sixteen octets in order")]
    pub const fn v6(address: [u8; 16]) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
        [
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ]
    }

    /// Packs the attributes' word; ports in host order.
    #[inline(always)]
    #[must_use]
    pub const fn pack(
        source_port: u16,
        destination_port: u16,
        protocol: u8,
        tos: u8,
        vlan: u16,
    ) -> u64 {
        source_port as u64
            | (destination_port as u64) << 16
            | (protocol as u64) << Self::PROTOCOL_SHIFT
            | (tos as u64) << Self::TOS_SHIFT
            | (vlan as u64) << Self::VLAN_SHIFT
    }

    /// Puts another tag in the VLAN word's place; `vlan` is an id and [`FlowKey::TAGGED`].
    #[inline(always)]
    pub fn set_vlan(&mut self, vlan: u16) {
        const TAG: u64 = FlowKey::pack(0, 0, 0, 0, 0x0fff | FlowKey::TAGGED);
        self.attributes = self.attributes & !TAG | u64::from(vlan) << Self::VLAN_SHIFT;
    }

    /// The VLAN word without the family, as [`FlowKey::set_vlan`] takes it.
    #[inline(always)]
    #[must_use]
    pub const fn vlan_tag(&self) -> u16 {
        self.field16(Self::VLAN_SHIFT) & (0x0fff | Self::TAGGED)
    }

    /// The key's five words, as hashed and compared.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 5] {
        [
            self.source[0],
            self.source[1],
            self.destination[0],
            self.destination[1],
            self.attributes,
        ]
    }

    /// Source address, 16 octets in network order.
    #[must_use]
    pub fn source_octets(&self) -> [u8; 16] {
        octets(self.source)
    }

    /// Destination address, 16 octets in network order.
    #[must_use]
    pub fn destination_octets(&self) -> [u8; 16] {
        octets(self.destination)
    }

    /// Source port; 0 where the protocol has none.
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        self.field16(0)
    }

    /// Destination port; `type * 256 + code` for ICMP.
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        self.field16(16)
    }

    /// IP protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        Self::protocol_in(self.attributes)
    }

    pub(crate) const fn protocol_in(attributes: u64) -> u8 {
        attributes.to_le_bytes()[4]
    }

    /// IPv4 `ToS` or IPv6 traffic class of the flow's first packet.
    #[must_use]
    pub const fn tos(&self) -> u8 {
        self.attributes.to_le_bytes()[5]
    }

    /// Outermost VLAN id of the flow's first packet; 0 if untagged.
    #[must_use]
    pub const fn vlan(&self) -> u16 {
        self.field16(Self::VLAN_SHIFT) & 0x0fff
    }

    /// Whether the packets were IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.field16(Self::VLAN_SHIFT) & Self::FAMILY_V6 != 0
    }

    #[inline(always)]
    const fn field16(&self, shift: u32) -> u16 {
        let [low, high, ..] = (self.attributes >> shift).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// An address's octets in network order.
pub(crate) fn octets([high, low]: [u64; 2]) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&high.to_ne_bytes());
    octets[8..].copy_from_slice(&low.to_ne_bytes());
    octets
}

/// Which of the attributes' bits tell flows apart (`-T`, softflowd's track levels). Addresses,
/// interface, direction and family always do. Fields left out keep the value of the flow's first
/// packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMask(pub u64);

impl KeyMask {
    const FAMILY: u64 = FlowKey::pack(0, 0, 0, 0, FlowKey::FAMILY_V6);
    /// Addresses only.
    pub const IP: Self = Self(Self::FAMILY);
    /// Addresses and protocol.
    pub const PROTO: Self = Self(Self::IP.0 | FlowKey::pack(0, 0, 0xff, 0, 0));
    /// Addresses, protocol and ports: the 5-tuple.
    pub const FULL: Self = Self(Self::PROTO.0 | FlowKey::pack(0xffff, 0xffff, 0, 0, 0));
    /// The 5-tuple and the outermost VLAN tag.
    pub const VLAN: Self = Self(Self::FULL.0 | FlowKey::pack(0, 0, 0, 0, 0x0fff | FlowKey::TAGGED));
    /// The 5-tuple, VLAN and `ToS`: everything the key holds.
    pub const TOS: Self = Self(Self::VLAN.0 | FlowKey::pack(0, 0, 0, 0xff, 0));
    /// The 5-tuple, VLAN and both MAC addresses.
    pub const ETHER: Self = Self(Self::VLAN.0 | Self::MACS);
    const MACS: u64 = FlowKey::pack(0, 0, 0, 0, FlowKey::MACS);

    /// Whether MAC addresses tell flows apart.
    #[inline(always)]
    #[must_use]
    pub const fn has_macs(self) -> bool {
        self.0 & Self::MACS != 0
    }

    /// Whether the outermost VLAN tag does.
    #[must_use]
    pub const fn has_vlan(self) -> bool {
        self.0 & FlowKey::pack(0, 0, 0, 0, FlowKey::TAGGED) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_packed() {
        let key = FlowKey {
            source: FlowKey::v4_mapped([192, 0, 2, 1]),
            destination: FlowKey::v6([0xfe; 16]),
            attributes: FlowKey::pack(0x1234, 0xabcd, 17, 0xb8, 0x0abc | FlowKey::FAMILY_V6),
        };
        assert_eq!(
            key.source_octets(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]
        );
        assert_eq!(key.destination_octets(), [0xfe; 16]);
        assert_eq!(
            (key.source_port(), key.destination_port()),
            (0x1234, 0xabcd)
        );
        assert_eq!((key.protocol(), key.tos(), key.vlan()), (17, 0xb8, 0x0abc));
        assert!(key.is_v6());
    }

    #[test]
    fn the_widest_mask_covers_every_bit_in_use() {
        let all = FlowKey::pack(
            0xffff,
            0xffff,
            0xff,
            0xff,
            0x0fff | FlowKey::FAMILY_V6 | FlowKey::TAGGED,
        );
        assert_eq!(KeyMask::TOS.0, all);
        assert_eq!(KeyMask::ETHER.0 & !all, KeyMask::MACS, "a bit of no key");
        assert!(KeyMask::ETHER.has_macs() && !KeyMask::TOS.has_macs());
        assert!(KeyMask::VLAN.has_vlan() && !KeyMask::FULL.has_vlan());
    }
}
