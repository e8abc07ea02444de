//! The frames that runs repeat, and where in them the kernel program writes.

use std::str::FromStr;

use weir_tests::traffic;

/// The longest frame, without the check sequence.
pub const OCTETS_MAX: usize = 1514;
/// The shortest, likewise.
pub const OCTETS_MIN: usize = 60;

const TCP: u8 = 6;
const TCP_HEADER_OCTETS: usize = 20;
/// Words of the IPv4 header that the program adds or replaces: length, checksum, source.
const WORDS_WRITTEN: [usize; 4] = [1, 5, 6, 7];

/// What the frames of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// IPv6, not IPv4.
    pub ipv6: bool,
    /// VLAN tag.
    pub vlan: Option<u16>,
}

/// Offsets and the sum that the program is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the low 32 bits of the source address.
    pub source_offset: u32,
    /// Of the IPv4 header checksum; 0 if there is none.
    pub checksum_offset: u32,
    /// Sum of the IPv4 header's other words, in this machine's order of octets.
    pub checksum_base: u32,
}

impl Kind {
    /// Octets of the shortest frame that holds all headers.
    #[must_use]
    pub fn octets_min(&self) -> usize {
        (self.segment_at() + TCP_HEADER_OCTETS).max(OCTETS_MIN)
    }

    /// A frame of as many octets, within the bounds: a SYN, which GRO never merges.
    #[must_use]
    pub fn frame(&self, octets: usize) -> Vec<u8> {
        const SYN: u8 = 0x02;
        let octets = octets.clamp(self.octets_min(), OCTETS_MAX);
        let mut segment = vec![0; octets - self.segment_at()];
        segment[0..2].copy_from_slice(&1024_u16.to_be_bytes());
        segment[2..4].copy_from_slice(&80_u16.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = SYN;
        let mut frame = if self.ipv6 {
            let net = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            let to = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1];
            traffic::ethernet(self.vlan, 0x86dd, &traffic::ipv6(net, to, TCP, &segment))
        } else {
            let packet = traffic::ipv4([0; 4], [198, 51, 100, 1], TCP, &segment);
            traffic::ethernet(self.vlan, 0x0800, &packet)
        };
        frame[..6].copy_from_slice(&self.destination);
        frame
    }

    /// Where the program writes, in frames of any length.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let network = u32::from(self.network_at());
        if self.ipv6 {
            return Layout {
                source_offset: network + 20,
                checksum_offset: 0,
                checksum_base: 0,
            };
        }
        let frame = self.frame(0);
        let header = &frame[usize::from(self.network_at())..self.segment_at()];
        Layout {
            source_offset: network + 12,
            checksum_offset: network + 10,
            checksum_base: header
                .chunks_exact(2)
                .enumerate()
                .filter(|(word, _)| !WORDS_WRITTEN.contains(word))
                .map(|(_, octets)| u32::from(u16::from_ne_bytes([octets[0], octets[1]])))
                .sum(),
        }
    }

    fn network_at(&self) -> u8 {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    fn segment_at(&self) -> usize {
        usize::from(self.network_at()) + if self.ipv6 { 40 } else { 20 }
    }
}

/// Frame sizes and the weight of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Vec<(usize, u16)>);

impl Sizes {
    /// Packets of which each size has its share exactly.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.0.iter().map(|(_, weight)| u64::from(*weight)).sum()
    }

    /// How many of some packets have which size; all of them together are exactly those packets.
    #[must_use]
    pub fn shares(&self, packets: u32) -> Vec<u32> {
        let all = self.turn();
        let (mut weights, mut before) = (0_u64, 0_u32);
        let share = |(_, weight): &(usize, u16)| {
            weights += u64::from(*weight);
            let end = u32::try_from(u64::from(packets) * weights / all.max(1)).unwrap_or(packets);
            let share = end - before;
            before = end;
            share
        };
        self.0.iter().map(share).collect()
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |part: &str| {
            let (octets, weight) = part.split_once(':').unwrap_or((part, "1"));
            match (octets.parse::<usize>(), weight.parse::<u16>()) {
                (Ok(octets), Ok(weight))
                    if (OCTETS_MIN..=OCTETS_MAX).contains(&octets) && weight > 0 =>
                {
                    Ok((octets, weight))
                }
                _ => Err(format!(
                    "`{part}`: write OCTETS or OCTETS:WEIGHT, with {OCTETS_MIN} to {OCTETS_MAX} octets and a weight of at least 1"
                )),
            }
        };
        text.split(',')
            .map(size)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Kind = Kind {
        destination: [2, 0, 0, 0, 0, 9],
        ipv6: false,
        vlan: None,
    };

    /// As the program does it.
    fn dress(frame: &mut [u8], layout: &Layout, address: u32) {
        let at = layout.source_offset as usize;
        frame[at..at + 4].copy_from_slice(&address.to_ne_bytes());
        let at = layout.checksum_offset as usize;
        if at == 0 {
            return;
        }
        let length = u16::from_ne_bytes([frame[at - 8], frame[at - 7]]);
        let sum = layout.checksum_base + u32::from(length) + (address & 0xffff) + (address >> 16);
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
        frame[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
    }

    #[test]
    fn the_checksum_is_right_whatever_was_there_before() {
        for vlan in [None, Some(7)] {
            let kind = Kind { vlan, ..PLAIN };
            let layout = kind.layout();
            for octets in [60, 61, 576, OCTETS_MAX] {
                let mut frame = kind.frame(octets);
                assert_eq!(frame.len(), octets);
                for address in [0, 1, 0xffff_ffff, 0x1234_abcd, 0xffff_0000] {
                    dress(&mut frame, &layout, address);
                    let sum: u32 = frame[usize::from(kind.network_at())..kind.segment_at()]
                        .chunks_exact(2)
                        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                        .sum();
                    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{octets} {address:x}");
                }
            }
        }
    }

    #[test]
    fn addresses_lie_where_the_layout_says() {
        let kind = Kind {
            ipv6: true,
            vlan: Some(100),
            ..PLAIN
        };
        let mut frame = kind.frame(0);
        assert_eq!(frame.len(), 78);
        dress(&mut frame, &kind.layout(), 0xffff_ffff);
        assert_eq!(frame[..6], [2, 0, 0, 0, 0, 9]);
        // Network header at 18, source address 8 octets into it.
        assert_eq!(frame[26..30], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(frame[38..42], [0xff; 4]);
        assert_eq!(frame[42..46], [0x20, 0x01, 0x0d, 0xb8]);
    }

    #[test]
    fn shares_are_exact() {
        let mix: Sizes = "60:7,576:4,1500".parse().unwrap();
        assert_eq!(mix.0, [(60, 7), (576, 4), (1500, 1)]);
        assert_eq!(mix.shares(1200), [700, 400, 100]);
        for packets in [0, 1, 2, 11, 64, 4095, 65_536] {
            assert_eq!(mix.shares(packets).iter().sum::<u32>(), packets);
        }
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for text in ["", "59", "1515", "60:0", "60:-1", "60,", "a:b"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }
}
