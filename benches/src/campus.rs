//! Flows as the border router of a campus exports them: hosts whose popularity falls with their rank
//! (log-uniform, which is Zipf's law with exponent 1), services by their weight, sizes and durations over
//! several decades, an answer to most of what is asked, and some scanning. The same for the same seed;
//! times have whole milliseconds, so that every format carries them.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers below a small bound become addresses, ports and counts"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_netflow::FlowRecord;
use weir_tests::traffic::Random;

const NS_PER_MS: u64 = 1_000_000;
/// Hosts of the campus, and those it talks to.
const INSIDE: u64 = 20_000;
const OUTSIDE: u64 = 2_000_000;
/// 198.18.0.0/15, which is set aside for benches (RFC 2544).
const INSIDE_V4: u32 = 0xc612_0000;
const INSIDE_V4_HOSTS: u64 = 1 << 17;
const INSIDE_V6: u128 = 0x2001_0db8_0001 << 80;
const OUTSIDE_V6: u128 = 0x2001_0db8_8000 << 80;
/// Of all that is begun: probes that nobody answers.
const PROBE_PERCENT: u64 = 3;
/// Of the rest: what is answered.
const ANSWER_PERCENT: u64 = 93;
/// Of flows of both families.
const V6_PERCENT: u64 = 20;
/// A flow is exported this long after its last packet, at most.
const IDLE_MS: u64 = 15_000;
const DURATION_MAX_MS: f64 = 300_000.0;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SYN: u16 = 0x02;
/// Of TCP flows that went both ways: most saw the end, some were cut by a timeout, some reset.
const TCP_FLAGS: [u16; 8] = [0x1b, 0x1b, 0x1b, 0x1b, 0x1f, 0x1a, 0x18, 0x16];

/// Which addresses flows have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// IPv4, and IPv6 for a fifth.
    Both,
}

/// A service, how often it is asked for, the most packets of a flow, and octets of a packet on average, of
/// those who ask and of those who answer.
struct Service {
    protocol: u8,
    port: u16,
    weight: u64,
    packets_max: f64,
    octets: (u64, u64),
}

const fn service(
    protocol: u8,
    port: u16,
    weight: u64,
    packets_max: f64,
    octets: (u64, u64),
) -> Service {
    Service {
        protocol,
        port,
        weight,
        packets_max,
        octets,
    }
}

static SERVICES: [Service; 14] = [
    service(TCP, 443, 380, 4000.0, (150, 1100)),
    service(UDP, 443, 130, 6000.0, (130, 1150)),
    service(UDP, 53, 220, 2.5, (70, 180)),
    service(TCP, 80, 80, 1500.0, (180, 1000)),
    service(UDP, 123, 30, 1.5, (76, 76)),
    service(ICMP, 0, 25, 20.0, (84, 84)),
    service(TCP, 993, 20, 300.0, (120, 600)),
    service(TCP, 25, 15, 200.0, (700, 80)),
    service(TCP, 22, 12, 5000.0, (110, 200)),
    service(TCP, 445, 12, 3000.0, (300, 900)),
    service(TCP, 3389, 6, 8000.0, (100, 500)),
    service(UDP, 3478, 10, 2000.0, (180, 200)),
    service(UDP, 51_820, 5, 20_000.0, (600, 900)),
    // Between any ports.
    service(UDP, 0, 55, 500.0, (300, 300)),
];

/// Draws flows.
#[derive(Clone, Debug)]
pub struct Campus {
    random: Random,
    family: Family,
    /// What comes after the flow that was drawn last.
    answer: Option<FlowRecord>,
}

/// A host by its rank, the most popular first, and the side it is on.
#[derive(Clone, Copy)]
struct Host {
    rank: u64,
    inside: bool,
}

impl Campus {
    /// The flows of a seed.
    #[must_use]
    pub fn new(family: Family, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            family,
            answer: None,
        }
    }

    /// The next flow, of those exported at an instant (nanoseconds since 1970-01-01 UTC).
    pub fn flow(&mut self, exported_ns: u64) -> FlowRecord {
        if let Some(answer) = self.answer.take() {
            return answer;
        }
        let v6 = match self.family {
            Family::V4 => false,
            Family::V6 => true,
            Family::Both => self.random.below(100) < V6_PERCENT,
        };
        let exported_ms = exported_ns / NS_PER_MS - self.random.below(IDLE_MS);
        if self.random.below(100) < PROBE_PERCENT {
            return self.probe(v6, exported_ms);
        }
        let (asking, answer) = self.conversation(v6, exported_ms);
        self.answer = (self.random.below(100) < ANSWER_PERCENT).then_some(answer);
        asking
    }

    fn probe(&mut self, v6: bool, end_ms: u64) -> FlowRecord {
        const SCANNERS: u64 = 40;
        const PORTS: [u16; 6] = [22, 23, 445, 3389, 5900, 8080];
        let from = Host {
            rank: 1000 + self.random.below(SCANNERS),
            inside: false,
        };
        // Scanners try all of them alike.
        let to = Host {
            rank: self.random.below(INSIDE),
            inside: true,
        };
        let port = PORTS[self.random.below(PORTS.len() as u64) as usize];
        FlowRecord {
            source_port: self.high_port(),
            destination_port: port,
            protocol: TCP,
            tcp_flags: SYN,
            octets: if v6 { 60 } else { 40 },
            packets: 1,
            start_ns: end_ms * NS_PER_MS,
            end_ns: end_ms * NS_PER_MS,
            ..between(from, to, v6)
        }
    }

    fn conversation(&mut self, v6: bool, end_ms: u64) -> (FlowRecord, FlowRecord) {
        let service = self.service();
        let inside = Host {
            rank: self.rank(INSIDE),
            inside: true,
        };
        let outside = Host {
            rank: self.rank(OUTSIDE),
            inside: false,
        };
        // A tenth asks for what the campus offers, of its few servers.
        let (from, to) = if self.random.below(10) == 0 {
            let rank = inside.rank % 50;
            (outside, Host { rank, ..inside })
        } else {
            (inside, outside)
        };
        let is_icmp = service.protocol == ICMP;
        let protocol = if is_icmp && v6 {
            ICMPV6
        } else {
            service.protocol
        };
        let (source_port, destination_port) = match (service.protocol, service.port) {
            (ICMP, _) => (0, if v6 { 128 << 8 } else { 8 << 8 }),
            (_, 0) => (self.high_port(), self.high_port()),
            (_, port) => (self.high_port(), port),
        };
        let packets = self.log_uniform(service.packets_max);
        let duration_ms = match packets {
            1 => 0,
            _ => self.log_uniform(DURATION_MAX_MS),
        };
        let tcp_flags = match service.protocol {
            TCP => TCP_FLAGS[self.random.below(TCP_FLAGS.len() as u64) as usize],
            _ => 0,
        };
        let asking = FlowRecord {
            source_port,
            destination_port,
            protocol,
            tcp_flags,
            tos: if self.random.below(20) == 0 { 0x28 } else { 0 },
            octets: self.octets(packets, service.octets.0),
            packets,
            start_ns: end_ms.saturating_sub(duration_ms) * NS_PER_MS,
            end_ns: end_ms * NS_PER_MS,
            ..between(from, to, v6)
        };
        // As many packets, give or take a few, and a little later.
        let packets = (packets * (8 + self.random.below(7)) / 10).max(1);
        let late_ns = self.random.below(80).min(duration_ms) * NS_PER_MS;
        let answer = FlowRecord {
            source_port: if is_icmp { 0 } else { destination_port },
            destination_port: match (is_icmp, v6) {
                (true, false) => 0,
                (true, true) => 129 << 8,
                (false, _) => source_port,
            },
            protocol,
            tcp_flags,
            octets: self.octets(packets, service.octets.1),
            packets,
            start_ns: asking.start_ns + late_ns,
            end_ns: asking.end_ns,
            ..between(to, from, v6)
        };
        (asking, answer)
    }

    fn service(&mut self) -> &'static Service {
        let mut at = self
            .random
            .below(SERVICES.iter().map(|service| service.weight).sum());
        for service in &SERVICES {
            if at < service.weight {
                return service;
            }
            at -= service.weight;
        }
        &SERVICES[0]
    }

    fn octets(&mut self, packets: u64, average: u64) -> u64 {
        let size = 40 + self.random.below(2 * average.saturating_sub(40) + 1);
        packets * size + self.random.below(packets.min(1000) + 1)
    }

    fn high_port(&mut self) -> u16 {
        (32_768 + self.random.below(28_232)) as u16
    }

    /// From 0 to below `end`: half of the draws are below its square root.
    fn rank(&mut self, end: u64) -> u64 {
        self.log_uniform(end as f64) - 1
    }

    /// From 1 to below `most`, each factor of ten as often as the next.
    fn log_uniform(&mut self, most: f64) -> u64 {
        let fraction = (self.random.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        most.powf(fraction) as u64
    }
}

/// Who a flow is between, and what the router knows of them.
fn between(from: Host, to: Host, v6: bool) -> FlowRecord {
    let next_hop = match (v6, to.inside) {
        (true, _) => Ipv6Addr::UNSPECIFIED,
        (false, true) => Ipv4Addr::new(198, 19, 255, 1).to_ipv6_mapped(),
        (false, false) => Ipv4Addr::new(198, 19, 255, 2).to_ipv6_mapped(),
    };
    FlowRecord {
        source: from.address(v6),
        destination: to.address(v6),
        next_hop,
        v6,
        ingress_ifindex: from.ifindex(),
        egress_ifindex: to.ifindex(),
        source_as: from.system(),
        destination_as: to.system(),
        source_mask: from.mask(),
        destination_mask: to.mask(),
        ..FlowRecord::default()
    }
}

impl Host {
    /// Neighbours by rank are none by address.
    fn address(self, v6: bool) -> Ipv6Addr {
        let mixed = (self.rank + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match (v6, self.inside) {
            (false, true) => {
                let host = (self.rank * 40_503 % INSIDE_V4_HOSTS) as u32;
                Ipv4Addr::from_bits(INSIDE_V4 + host).to_ipv6_mapped()
            }
            (false, false) => {
                // From 11.0.0.0 on, below 187.0.0.0: not where the campus is.
                let host = (mixed >> 32) % 0xb000_0000;
                Ipv4Addr::from_bits(0x0b00_0000 + host as u32).to_ipv6_mapped()
            }
            (true, true) => {
                let subnet = u128::from(self.rank % 200) << 64;
                Ipv6Addr::from_bits(INSIDE_V6 | subnet | u128::from(mixed))
            }
            (true, false) => {
                let subnet = u128::from(self.rank % 50_000) << 64;
                Ipv6Addr::from_bits(OUTSIDE_V6 | subnet | u128::from(mixed))
            }
        }
    }

    fn ifindex(self) -> u32 {
        let first = if self.inside { 1 } else { 10 };
        first + u32::from(self.rank.is_multiple_of(5))
    }

    fn system(self) -> u32 {
        if self.inside {
            return 0;
        }
        1000 + (self.rank / 64 % 50_000) as u32
    }

    fn mask(self) -> u8 {
        if self.inside {
            return 15;
        }
        (12 + self.rank / 64 % 13) as u8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const EXPORTED_NS: u64 = 1_795_237_200_000_000_000;

    fn flows(family: Family) -> Vec<FlowRecord> {
        let mut campus = Campus::new(family, 7);
        (0..50_000).map(|_| campus.flow(EXPORTED_NS)).collect()
    }

    #[test]
    fn a_seed_has_its_flows_and_another_has_others() {
        assert_eq!(flows(Family::Both), flows(Family::Both));
        let mut other = Campus::new(Family::Both, 8);
        assert_ne!(flows(Family::Both)[0], other.flow(EXPORTED_NS));
    }

    #[test]
    fn families_have_their_share() {
        let share = |family| {
            let flows = flows(family);
            flows.iter().filter(|flow| flow.v6).count() * 100 / flows.len()
        };
        assert_eq!((share(Family::V4), share(Family::V6)), (0, 100));
        assert!((18..22).contains(&share(Family::Both)));
    }

    #[test]
    fn flows_are_what_routers_send() {
        for flow in flows(Family::Both) {
            assert!(flow.packets > 0 && flow.octets >= 40 * flow.packets);
            assert!(u32::try_from(flow.octets).is_ok(), "v5 has 32 bits");
            assert!(flow.start_ns <= flow.end_ns && flow.end_ns <= EXPORTED_NS);
            assert_eq!(flow.start_ns % NS_PER_MS + flow.end_ns % NS_PER_MS, 0);
            assert_eq!(flow.source.to_ipv4_mapped().is_none(), flow.v6);
        }
    }

    #[test]
    fn few_hosts_have_most_flows_and_many_have_few() {
        let mut counts = HashMap::new();
        let flows = flows(Family::V4);
        for flow in &flows {
            *counts.entry(flow.source).or_insert(0_usize) += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable();
        let leading: usize = counts.iter().rev().take(100).sum();
        assert!(leading * 100 / flows.len() > 20, "{leading}");
        assert!(counts.len() > 5_000, "{}", counts.len());
    }

    #[test]
    fn most_flows_are_answered() {
        let flows = flows(Family::V4);
        let answered = flows.windows(2).filter(|pair| {
            pair[0].source == pair[1].destination && pair[0].destination == pair[1].source
        });
        let percent = answered.count() * 200 / flows.len();
        assert!((88..98).contains(&percent), "{percent}");
    }
}
