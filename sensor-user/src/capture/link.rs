//! Link layers that only capture files have, down to the network header or to another link layer. Numbers and layouts:
//! <https://www.tcpdump.org/linktypes.html>.

use pcap_parser::Linktype;
use weir_sensor_common::{
    Packet as _, Unmetered,
    packet::Captured,
    walk::{self, Layers, NetworkProtocol, number},
};

/// In an EtherType's place: there is none, LLC follows.
const LLC: u16 = 0;
/// Whose numbers follow in SNAP: EtherTypes, or kinds of bridged frames, of which Ethernet's are two (IEEE 802.1).
const ETHERTYPES: [u8; 3] = [0; 3];
const BRIDGED: [u8; 3] = [0, 0x80, 0xc2];
const BRIDGED_WITH_CHECK: u16 = 1;
const BRIDGED_WITHOUT: u16 = 7;
/// PPP among the numbers of network layers (ISO/IEC TR 9577).
const NETWORK_LAYER_PPP: u8 = 0xcf;

/// A header that names the link layer of what follows, or that only one has: where that begins, and its number. All the
/// header's numbers are little-endian.
pub(super) fn named(packet: &Captured<'_>, link: Linktype) -> Option<(usize, Linktype)> {
    let (octets, number) = match link.0 & 0xffff {
        // Which way the frame went, in an octet, before PPP, Cisco HDLC and Frame Relay.
        204 => return Some((1, Linktype(50))),
        205 => return Some((1, Linktype(104))),
        206 => return Some((1, Linktype(107))),
        // What two kinds of drivers put before IEEE 802.11, the second also under the first one's number.
        119 | 163 => return Some((radio_octets(packet)?, Linktype(105))),
        // Hilscher's netANALYZER.
        240 => return Some((4, Linktype(1))),
        // Per-Packet Information.
        192 => (u32::from(packet.u16(2)?.swap_bytes()), packet.u32(4)?),
        // macOS's pktap, in files of its own tcpdump by a number that is for private use: by its form, too.
        149 | 258 => {
            const PACKET_FOLLOWS: u32 = 1;
            const OCTETS_MIN: u32 = 108;
            let octets = packet.u32(0)?.swap_bytes();
            if octets < OCTETS_MIN || packet.u32(4)?.swap_bytes() != PACKET_FOLLOWS {
                return None;
            }
            (octets, packet.u32(8)?)
        }
        _ => return None,
    };
    let number = i32::try_from(number.swap_bytes()).ok()?;
    Some((octets as usize, Linktype(number)))
}

/// How long a driver's header before IEEE 802.11 is: AVS's begins with its version and tells, Prism's has one length.
fn radio_octets(packet: &Captured<'_>) -> Option<usize> {
    const AVS: u32 = 0x0008_0211;
    const PRISM_OCTETS: usize = 144;
    if packet.u32(0)? >> 12 == AVS {
        usize::try_from(packet.u32(4)?).ok()
    } else {
        Some(PRISM_OCTETS)
    }
}

/// PPPoE from its own header on (RFC 2516 section 4).
pub(super) fn ppp_over_ethernet(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    walk::ppp(packet, 6)
}

/// LLC from the start on, as over ATM (RFC 2684 section 5), also before PPP (RFC 2364 section 4).
pub(super) fn logical_link(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    const PPP: [u8; 4] = [0xfe, 0xfe, 3, NETWORK_LAYER_PPP];
    if packet.octets.starts_with(&PPP) {
        walk::ppp(packet, PPP.len())
    } else {
        behind_llc(packet, 0)
    }
}

/// LLC of a link layer that has no place before it for what Ethernet has there: it may be followed by tags, or by a
/// bridged Ethernet frame, which two octets fill up (RFC 2684 section 5.2).
fn behind_llc(packet: &Captured<'_>, offset: usize) -> Result<Layers, Unmetered> {
    const SNAP_OCTETS: usize = 8;
    const PADDING_OCTETS: usize = 2;
    let Some([0xaa, 0xaa, 3, a, b, c, high, low]) = packet.read::<SNAP_OCTETS>(offset) else {
        return walk::layers(packet, LLC, offset);
    };
    let payload = offset + SNAP_OCTETS;
    match ([a, b, c], u16::from_be_bytes([high, low])) {
        (ETHERTYPES, ethertype) if ethertype > number::LENGTH_MAX => {
            walk::layers(packet, ethertype, payload)
        }
        (BRIDGED, BRIDGED_WITH_CHECK | BRIDGED_WITHOUT) => {
            bridged(packet, payload + PADDING_OCTETS)
        }
        _ => walk::layers(packet, LLC, offset),
    }
}

/// A whole Ethernet frame.
fn bridged(packet: &Captured<'_>, offset: usize) -> Result<Layers, Unmetered> {
    let ethertype = packet.u16(offset + 12).ok_or(Unmetered::TooShort)?;
    walk::layers(packet, ethertype, offset + 14)
}

/// MPLS labels from the start on.
pub(super) fn labels(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    walk::layers(packet, number::ETHERTYPE_MPLS, 0)
}

/// FDDI: frame control and two addresses, then LLC.
pub(super) fn fddi(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    behind_llc(packet, 13)
}

/// Token Ring (IEEE 802.5): access and frame control, two addresses, a route if the second one's first bit says so, and
/// LLC in frames of its kind.
pub(super) fn token_ring(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    const KIND: u8 = 0xc0;
    const LLC_FRAME: u8 = 0x40;
    const IS_ROUTED: u8 = 0x80;
    const ROUTE_OCTETS: u8 = 0x1f;
    let [_access, control] = packet.read::<2>(0).ok_or(Unmetered::TooShort)?;
    if control & KIND != LLC_FRAME {
        return Err(Unmetered::NonIp);
    }
    let [source, _] = packet.read::<2>(8).ok_or(Unmetered::TooShort)?;
    let mut offset = 14;
    if source & IS_ROUTED != 0 {
        let [octets, _] = packet.read::<2>(offset).ok_or(Unmetered::TooShort)?;
        offset += usize::from(octets & ROUTE_OCTETS);
    }
    behind_llc(packet, offset)
}

/// Frame Relay: an address, whose last octet is odd (ITU-T Q.922 section 3.3), then what RFC 2427 has or PPP (RFC 1973),
/// or an EtherType, which is Cisco's way.
pub(super) fn frame_relay(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    const ADDRESS_OCTETS_MAX: usize = 4;
    const UNNUMBERED: u8 = 3;
    const PADDING: u8 = 0;
    const SNAP: u8 = 0x80;
    const IPV4: u8 = 0xcc;
    const IPV6: u8 = 0x8e;
    let mut address = packet.octets.iter().take(ADDRESS_OCTETS_MAX);
    let last = address.position(|octet| octet & 1 != 0);
    let mut offset = last.ok_or(Unmetered::NonIp)? + 1;
    let [control, mut protocol] = packet.read::<2>(offset).ok_or(Unmetered::TooShort)?;
    offset += 2;
    if control != UNNUMBERED {
        return walk::layers(packet, u16::from_be_bytes([control, protocol]), offset);
    }
    if protocol == PADDING {
        protocol = *packet.octets.get(offset).ok_or(Unmetered::TooShort)?;
        offset += 1;
    }
    match protocol {
        IPV4 => Ok(Layers::plain(NetworkProtocol::V4, offset)),
        IPV6 => Ok(Layers::plain(NetworkProtocol::V6, offset)),
        NETWORK_LAYER_PPP => walk::ppp(packet, offset),
        SNAP => {
            let [a, b, c, high, low] = packet.read::<5>(offset).ok_or(Unmetered::TooShort)?;
            offset += 5;
            match ([a, b, c], u16::from_be_bytes([high, low])) {
                (ETHERTYPES, ethertype) => walk::layers(packet, ethertype, offset),
                (BRIDGED, BRIDGED_WITH_CHECK | BRIDGED_WITHOUT) => bridged(packet, offset),
                _ => Err(Unmetered::NonIp),
            }
        }
        _ => Err(Unmetered::NonIp),
    }
}

/// IEEE 802.11.
pub(super) fn wireless(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    data_frame(packet, 0, false)
}

/// IEEE 802.11 behind what the radio says, in little-endian numbers: two octets, its length, which fields there are, as
/// bits of a word, and of another if the topmost is set, and the fields, each at a multiple of its length
/// (<https://www.radiotap.org>).
pub(super) fn radiotap(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    const TIMER: u32 = 1;
    const FLAGS: u32 = 1 << 1;
    const ANOTHER_WORD: u32 = 1 << 31;
    const PADDED: u8 = 0x20;
    let word = |offset| {
        let word = packet.u32(offset).map(u32::swap_bytes);
        word.ok_or(Unmetered::TooShort)
    };
    let octets = packet.u16(2).ok_or(Unmetered::TooShort)?.swap_bytes();
    let octets = usize::from(octets);
    let fields = word(4)?;
    let (mut offset, mut last) = (8, fields);
    while last & ANOTHER_WORD != 0 && offset < octets {
        last = word(offset)?;
        offset += 4;
    }
    if fields & TIMER != 0 {
        offset = offset.next_multiple_of(8) + 8;
    }
    let flags = packet.octets.get(offset).copied().unwrap_or(0);
    let is_padded = fields & FLAGS != 0 && flags & PADDED != 0;
    data_frame(packet, octets, is_padded)
}

/// A data frame of IEEE 802.11 (section 9.3.2), if it is neither encrypted nor has several packets in it. Its header may be
/// filled up to a multiple of four octets.
fn data_frame(packet: &Captured<'_>, offset: usize, is_padded: bool) -> Result<Layers, Unmetered> {
    const VERSION_AND_TYPE: u8 = 0x0f;
    const DATA: u8 = 0x08;
    const WITHOUT_DATA: u8 = 0x40;
    const QUALITY: u8 = 0x80;
    const BETWEEN_STATIONS: u8 = 0x03;
    const ENCRYPTED: u8 = 0x40;
    const MORE_CONTROL: u8 = 0x80;
    const SEVERAL: u8 = 0x80;
    let [kind, flags] = packet.read::<2>(offset).ok_or(Unmetered::TooShort)?;
    if kind & VERSION_AND_TYPE != DATA || kind & WITHOUT_DATA != 0 || flags & ENCRYPTED != 0 {
        return Err(Unmetered::NonIp);
    }
    let mut octets = 24;
    if flags & BETWEEN_STATIONS == BETWEEN_STATIONS {
        octets += 6;
    }
    if kind & QUALITY != 0 {
        let [control, _] = packet
            .read::<2>(offset + octets)
            .ok_or(Unmetered::TooShort)?;
        if control & SEVERAL != 0 {
            return Err(Unmetered::NonIp);
        }
        octets += 2;
        if flags & MORE_CONTROL != 0 {
            octets += 4;
        }
    }
    if is_padded {
        octets = octets.next_multiple_of(4);
    }
    behind_llc(packet, offset + octets)
}

/// OpenBSD's pflog: how long its header is without padding, in one octet.
pub(super) fn packet_filter_log(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    let [octets, _family] = packet.read::<2>(0).ok_or(Unmetered::TooShort)?;
    let offset = usize::from(octets).next_multiple_of(4);
    Ok(Layers::plain(NetworkProtocol::ByNibble, offset))
}

/// Linux's nflog: attributes, each with its length and its kind, in the byte order of who captured. Kinds are below 64;
/// the upper two bits of the sixteen tell that attributes are within one, or that its numbers are big-endian.
pub(super) fn netfilter_log(packet: &Captured<'_>) -> Result<Layers, Unmetered> {
    const HEADER_OCTETS: usize = 4;
    const PAYLOAD: u16 = 9;
    const KIND: u16 = 0x3fff;
    const KIND_HIGH: u8 = 0x3f;
    let mut offset = 4;
    loop {
        let [a, b, c, d] = packet.read::<4>(offset).ok_or(Unmetered::TooShort)?;
        let (octets, kind) = if d & KIND_HIGH == 0 {
            (u16::from_le_bytes([a, b]), u16::from(c))
        } else {
            (
                u16::from_be_bytes([a, b]),
                u16::from_be_bytes([c, d]) & KIND,
            )
        };
        if kind == PAYLOAD {
            let offset = offset + HEADER_OCTETS;
            return Ok(Layers::plain(NetworkProtocol::ByNibble, offset));
        }
        let octets = usize::from(octets);
        if octets < HEADER_OCTETS {
            return Err(Unmetered::NonIp);
        }
        offset += octets.next_multiple_of(4);
    }
}
