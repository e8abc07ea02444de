//! The generator: frames of a realistic mix, the same for the same seed, with an account of what
//! they are.
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers below a small bound become addresses and ports"
)]

use std::ops::Range;

/// xorshift64*: enough for traffic, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; any seed will do.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }
}

/// Frames and what they should be counted as.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// In the order they are sent.
    pub frames: Vec<Vec<u8>>,
    /// Those that carry IP.
    pub ip_packets: u64,
    /// Octets of those, by the IP length.
    pub ip_octets: u64,
    /// Those that do not.
    pub non_ip_packets: u64,
}

/// An end of a conversation.
#[derive(Clone, Copy, Debug)]
enum Host {
    V4([u8; 4]),
    V6([u8; 16]),
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// One conversation's frames, in its own order.
struct Conversation {
    frames: Vec<Vec<u8>>,
    vlan: Option<u16>,
}

impl Conversation {
    fn new(vlan: Option<u16>) -> Self {
        Self {
            frames: Vec::new(),
            vlan,
        }
    }

    fn tcp(&mut self, from: (Host, u16), to: (Host, u16), flags: u8, payload: usize) {
        let mut segment = vec![0; 20 + payload];
        segment[0..2].copy_from_slice(&from.1.to_be_bytes());
        segment[2..4].copy_from_slice(&to.1.to_be_bytes());
        segment[12] = 5 << 4;
        segment[13] = flags;
        self.ip(from.0, to.0, TCP, &segment);
    }

    fn udp(&mut self, from: (Host, u16), to: (Host, u16), payload: usize) {
        let mut datagram = vec![0; 8 + payload];
        datagram[0..2].copy_from_slice(&from.1.to_be_bytes());
        datagram[2..4].copy_from_slice(&to.1.to_be_bytes());
        datagram[4..6].copy_from_slice(&narrow(8 + payload).to_be_bytes());
        self.ip(from.0, to.0, UDP, &datagram);
    }

    fn echo(&mut self, from: Host, to: Host, kind: [u8; 2]) {
        let mut message = vec![0; 64];
        message[0] = if matches!(from, Host::V4(_)) {
            kind[0]
        } else {
            kind[1]
        };
        let protocol = if matches!(from, Host::V4(_)) {
            ICMP
        } else {
            ICMPV6
        };
        self.ip(from, to, protocol, &message);
    }

    fn ip(&mut self, from: Host, to: Host, protocol: u8, payload: &[u8]) {
        let frame = match (from, to) {
            (Host::V4(from), Host::V4(to)) => {
                ethernet(self.vlan, 0x0800, &ipv4(from, to, protocol, payload))
            }
            (Host::V6(from), Host::V6(to)) => {
                ethernet(self.vlan, 0x86dd, &ipv6(from, to, protocol, payload))
            }
            _ => return,
        };
        self.frames.push(frame);
    }
}

/// An Ethernet frame, padded to the least length as a card would pad it.
#[must_use]
pub fn ethernet(vlan: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    const LEAST: usize = 60;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    if let Some(vlan) = vlan {
        frame.extend_from_slice(&[0x81, 0]);
        frame.extend_from_slice(&vlan.to_be_bytes());
    }
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame.resize(frame.len().max(LEAST), 0);
    frame
}

/// An IPv4 packet.
#[must_use]
pub fn ipv4(from: [u8; 4], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&narrow(20 + payload.len()).to_be_bytes());
    packet.extend_from_slice(&from);
    packet.extend_from_slice(&to);
    let sum: u32 = packet
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !narrow(((folded & 0xffff) + (folded >> 16)) as usize);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// An IPv6 packet.
#[must_use]
pub fn ipv6(from: [u8; 16], to: [u8; 16], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&narrow(payload.len()).to_be_bytes());
    packet.extend_from_slice(&[protocol, 64]);
    packet.extend_from_slice(&from);
    packet.extend_from_slice(&to);
    packet.extend_from_slice(payload);
    packet
}

fn narrow(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Conversations under way at a time.
const ACTIVE: usize = 64;

/// A mix of about `conversations` conversations: web over IPv4 and IPv6, some in a VLAN, DNS, pings,
/// a port scan, and a little that is not IP; interleaved as they would be on a wire.
#[must_use]
pub fn mix(conversations: u32, seed: u64) -> Traffic {
    let mut random = Random::new(seed);
    let mut queues: Vec<_> = (0..conversations)
        .map(|number| conversation(number, &mut random))
        .collect();
    queues.push(scan(conversations / 4));
    queues.push(arp(conversations / 20 + 1));
    let mut traffic = Traffic::default();
    let mut cursors: Vec<(Conversation, usize)> = Vec::new();
    while !queues.is_empty() || !cursors.is_empty() {
        while cursors.len() < ACTIVE
            && let Some(queue) = queues.pop()
        {
            cursors.push((queue, 0));
        }
        let index = random.below(cursors.len() as u64) as usize;
        let (queue, at) = &mut cursors[index];
        match queue.frames.get_mut(*at) {
            Some(frame) => {
                traffic.push(std::mem::take(frame));
                *at += 1;
            }
            None => {
                cursors.swap_remove(index);
            }
        }
    }
    traffic
}

fn conversation(number: u32, random: &mut Random) -> Conversation {
    let client_port = 1024 + random.below(60_000) as u16;
    let v6 = number % 5 == 4;
    let client = host(v6, 1, random.below(200) as u8);
    let server = host(v6, 2, zipf(random));
    let vlan = (number % 7 == 6).then_some(100 + (number % 3) as u16);
    let mut conversation = Conversation::new(vlan);
    match number % 10 {
        0..=5 | 9 => web(
            &mut conversation,
            (client, client_port),
            (server, 443),
            random,
        ),
        6 | 7 => {
            conversation.udp(
                (client, client_port),
                (server, 53),
                30 + random.below(30) as usize,
            );
            conversation.udp(
                (server, 53),
                (client, client_port),
                60 + random.below(400) as usize,
            );
        }
        _ => {
            for _ in 0..=random.below(4) {
                conversation.echo(client, server, [8, 128]);
                conversation.echo(server, client, [0, 129]);
            }
        }
    }
    conversation
}

fn web(
    conversation: &mut Conversation,
    client: (Host, u16),
    server: (Host, u16),
    random: &mut Random,
) {
    conversation.tcp(client, server, SYN, 0);
    conversation.tcp(server, client, SYN | ACK, 0);
    conversation.tcp(client, server, ACK, 0);
    for _ in 0..=random.below(4) {
        conversation.tcp(client, server, PSH | ACK, 100 + random.below(600) as usize);
        for _ in 0..=random.below(12) {
            conversation.tcp(server, client, ACK, 1400);
        }
        conversation.tcp(client, server, ACK, 0);
    }
    conversation.tcp(client, server, FIN | ACK, 0);
    conversation.tcp(server, client, FIN | ACK, 0);
    conversation.tcp(client, server, ACK, 0);
}

/// One source, many ports, nobody answers.
fn scan(ports: u32) -> Conversation {
    let mut conversation = Conversation::new(None);
    for port in 1..=narrow(ports as usize) {
        conversation.tcp(
            (Host::V4([203, 0, 113, 66]), 44_444),
            (host(false, 2, 9), port),
            SYN,
            0,
        );
    }
    conversation
}

fn arp(requests: u32) -> Conversation {
    let mut conversation = Conversation::new(None);
    conversation
        .frames
        .extend((0..requests).map(|_| ethernet(None, 0x0806, &[0; 28])));
    conversation
}

fn host(v6: bool, side: u8, number: u8) -> Host {
    if v6 {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        address[7] = side;
        address[15] = number;
        Host::V6(address)
    } else if side == 1 {
        Host::V4([10, 1, 0, number])
    } else {
        Host::V4([198, 51, 100, number])
    }
}

/// A few servers get most.
fn zipf(random: &mut Random) -> u8 {
    let magnitude = random.below(7);
    random.below(1 << magnitude) as u8
}

impl Traffic {
    /// Those of the frames that are to be kept, accounted anew.
    #[must_use]
    pub fn filtered(self, keep: impl Fn(&[u8]) -> bool) -> Self {
        let mut traffic = Self::default();
        self.frames
            .into_iter()
            .filter(|frame| keep(frame))
            .for_each(|frame| traffic.push(frame));
        traffic
    }

    /// Adds a frame and accounts it.
    fn push(&mut self, frame: Vec<u8>) {
        let network = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
        let number = |at: usize| u64::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        match number(network - 2) {
            0x0800 => {
                self.ip_packets += 1;
                self.ip_octets += number(network + 2);
            }
            0x86dd => {
                self.ip_packets += 1;
                self.ip_octets += 40 + number(network + 4);
            }
            _ => self.non_ip_packets += 1,
        }
        self.frames.push(frame);
    }
}

/// A pcap file of these frames (Ethernet, microseconds), stamped by `unix_us`.
pub fn capture_file<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    unix_us: impl Fn(u64) -> u64,
) -> Vec<u8> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const VERSION_2_4: u32 = 0x0004_0002;
    const ETHERNET: u32 = 1;
    let mut file = Vec::new();
    let put = |file: &mut Vec<u8>, field: u32| file.extend_from_slice(&field.to_le_bytes());
    for field in [MAGIC, VERSION_2_4, 0, 0, u32::from(u16::MAX), ETHERNET] {
        put(&mut file, field);
    }
    for (frame, index) in frames.zip(0..) {
        let (octets, at_us) = (frame.len() as u64, unix_us(index));
        for field in [at_us / 1_000_000, at_us % 1_000_000, octets, octets] {
            put(&mut file, u32::try_from(field).unwrap_or(u32::MAX));
        }
        file.extend_from_slice(frame);
    }
    file
}

/// A frame with something to read in every optional field: VLAN tags 3 and 4, MPLS labels 0x12345 and
/// 16, and in VXLAN from 203.0.113.1 to 203.0.113.2 an IPv6 packet with the flow label 0xcdef1.
#[must_use]
pub fn layered_frame() -> Vec<u8> {
    const LABELS: [u8; 8] = [0x12, 0x34, 0x50, 64, 0, 1, 1, 64];
    const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 7, 0];
    const OUTER_TAG: [u8; 4] = [0x88, 0xa8, 0, 3];
    const ENDPOINTS: [[u8; 4]; 2] = [[203, 0, 113, 1], [203, 0, 113, 2]];
    let datagram = |port: u16, payload: &[u8]| {
        let octets = narrow(8 + payload.len());
        let header = [40_000, port, octets, 0].map(u16::to_be_bytes);
        [header.as_flattened(), payload].concat()
    };
    let mut inside = ipv6([0x20; 16], [0x21; 16], UDP, &datagram(53, &[]));
    inside[1..4].copy_from_slice(&[0x0c, 0xde, 0xf1]);
    let tunnel = [&VXLAN[..], &ethernet(None, 0x86dd, &inside)].concat();
    let [from, to] = ENDPOINTS;
    let outside = ipv4(from, to, UDP, &datagram(4789, &tunnel));
    let frame = ethernet(Some(4), 0x8847, &[&LABELS[..], &outside].concat());
    [&frame[..12], &OUTER_TAG, &frame[12..]].concat()
}

/// Every packet a new flow: SYNs of 40 octets from sources that do not repeat within 2²⁴.
#[must_use]
pub fn flood_frame(number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let mut conversation = Conversation::new(None);
    conversation.tcp(
        (Host::V4([11, a, b, c]), 1024),
        (Host::V4([198, 51, 100, 1]), 80),
        SYN,
        0,
    );
    conversation.frames.pop().unwrap_or_default()
}

/// Frames of these numbers: flows of a packet of 40 octets each.
#[must_use]
pub fn flood_frames(numbers: Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(flood_frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_frames() {
        let (a, b) = (mix(100, 7), mix(100, 7));
        assert_eq!(a.frames, b.frames);
        assert_ne!(a.frames, mix(100, 8).frames);
        assert_eq!(a.ip_packets + a.non_ip_packets, a.frames.len() as u64);
        assert!(a.non_ip_packets > 0 && a.frames.iter().any(|frame| frame[12..14] == [0x81, 0]));
    }
}
