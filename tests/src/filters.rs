//! Filters at random, from the grammar, over few values that flows at random have too: for tests that
//! hold one reading of a filter against another.

use crate::traffic::Random;

/// Whose language the filters are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// What nfdump 1.7 understands, of the elements that NetFlow v5 and v9 carry, as far as its
    /// versions agree on the meaning.
    Nfdump,
    /// All of Weir's.
    Weir,
}

/// Addresses of flows.
pub const ADDRESSES: [&str; 10] = [
    "10.1.0.1",
    "10.1.0.2",
    "10.1.3.77",
    "198.51.100.1",
    "198.51.100.200",
    "192.0.2.7",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:1::1",
    "fe80::1",
];
/// How many of them are IPv4; they come first.
pub const V4_ADDRESSES: usize = 6;
/// Ports of flows.
pub const PORTS: [u16; 9] = [0, 22, 53, 80, 443, 769, 2048, 8080, 65_535];
/// Protocols of flows.
pub const PROTOCOLS: [u8; 5] = [1, 6, 17, 47, 58];
/// Octets, packets and milliseconds of flows, and what they are compared with.
pub const COUNTS: [u64; 10] = [0, 1, 2, 3, 40, 144, 1500, 9999, 1_000_000, 4_000_000_000];
/// ToS, VLANs, interfaces, AS numbers, prefix lengths of flows.
pub const SMALL: [u8; 6] = [0, 1, 2, 8, 24, 200];
/// TCP flags of flows.
pub const FLAGS: [u8; 7] = [0, 0x02, 0x12, 0x1b, 0x14, 0x10, 0x3f];

const NETWORKS: [&str; 7] = [
    "10.1.0.0/16",
    "10.0.0.0/8",
    "10.1.3.64/26",
    "198.51.100.0/25",
    "192.0.2.7/32",
    "2001:db8::/32",
    "2001:db8::/64",
];

/// One of them.
pub fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    let at = random.below(from.len() as u64);
    from[usize::try_from(at).unwrap_or(0)]
}

/// A filter.
#[must_use]
pub fn filter(random: &mut Random, dialect: Dialect) -> String {
    let mut generator = Generator { random, dialect };
    generator.expression(3, false)
}

struct Generator<'a> {
    random: &'a mut Random,
    dialect: Dialect,
}

impl Generator<'_> {
    fn one_in(&mut self, number: u64) -> bool {
        self.random.below(number) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        pick(self.random, from)
    }

    fn is_weir(&self) -> bool {
        self.dialect == Dialect::Weir
    }

    /// `negated`: it stands behind an odd number of `not`.
    fn expression(&mut self, depth: u32, negated: bool) -> String {
        if depth == 0 {
            return self.condition(negated);
        }
        let kinds = if self.is_weir() { 7 } else { 6 };
        match self.random.below(kinds) {
            0 | 1 => self.condition(negated),
            2 => self.join("and", depth, negated),
            3 => self.join("or", depth, negated),
            4 => format!("not ({})", self.expression(depth - 1, !negated)),
            5 => format!("({})", self.expression(depth - 1, negated)),
            _ => format!("conn ({})", self.expression(depth - 1, negated)),
        }
    }

    /// Without parentheses, so that what binds first is tested.
    fn join(&mut self, word: &str, depth: u32, negated: bool) -> String {
        let left = self.expression(depth - 1, negated);
        let right = self.expression(depth - 1, negated);
        format!("{left} {word} {right}")
    }

    fn condition(&mut self, negated: bool) -> String {
        if self.is_weir() && self.one_in(3) {
            return self.own_condition();
        }
        match self.random.below(13) {
            0 => self.pick(&["any", "ipv4", "ipv6"]).to_owned(),
            1 | 2 => {
                let side = self.side();
                let name = self.pick(&["ip", "host"]);
                format!("{side}{name} {}", self.pick(&ADDRESSES))
            }
            3 => format!("{}net {}", self.side(), self.pick(&NETWORKS)),
            4 => format!("{}ip in [{}]", self.side(), self.address_list()),
            5 | 6 => {
                let (side, comparison) = (self.side(), self.comparison());
                format!("{side}port {comparison}{}", self.pick(&PORTS))
            }
            7 => {
                let side = self.side();
                let (first, second) = (self.pick(&PORTS), self.pick(&PORTS));
                format!("{side}port in [ {first} {second} ]")
            }
            8 => self.protocol(),
            9 => self.flags(negated),
            10 | 11 => {
                let name = self.pick(&["packets", "bytes", "duration", "pps", "bps", "bpp"]);
                let comparison = self.comparison();
                let count = self.count();
                format!("{name} {comparison}{count}")
            }
            _ => self.small(),
        }
    }

    fn side(&mut self) -> &'static str {
        self.pick(&["", "src ", "dst "])
    }

    fn comparison(&mut self) -> &'static str {
        self.pick(&[
            "", "= ", "== ", "> ", "< ", ">= ", "<= ", "gt ", "LT ", "eq ",
        ])
    }

    fn count(&mut self) -> String {
        match self.random.below(4) {
            0 => format!("{}k", self.random.below(10)),
            1 => format!("0x{:x}", self.pick(&COUNTS)),
            _ => self.pick(&COUNTS).to_string(),
        }
    }

    fn address_list(&mut self) -> String {
        let length = 1 + self.random.below(4);
        let mut items = Vec::new();
        for _ in 0..length {
            // nfdump 1.7.1 takes single addresses only.
            items.push(if self.is_weir() && self.one_in(3) {
                self.pick(&NETWORKS)
            } else {
                self.pick(&ADDRESSES)
            });
        }
        items.join(self.pick(&[" ", ", "]))
    }

    fn protocol(&mut self) -> String {
        match self.random.below(4) {
            0 => format!("icmp-type {}", self.pick(&[0, 3, 8])),
            1 => format!("icmp-code {}", self.pick(&[0, 1, 3])),
            2 => format!("proto {}", self.pick(&PROTOCOLS)),
            _ => format!("proto {}", self.pick(&["tcp", "udp", "icmp", "gre"])),
        }
    }

    /// nfdump's versions do not agree on several flags behind `not`, so there it is one.
    fn flags(&mut self, negated: bool) -> String {
        let letters = if negated && !self.is_weir() {
            self.pick(&["S", "A", "F", "R", "P", "U"])
        } else {
            self.pick(&["S", "A", "SA", "F", "AFRPU", "X"])
        };
        format!("flags {letters}")
    }

    fn small(&mut self) -> String {
        let number = self.pick(&SMALL);
        match self.random.below(4) {
            0 => format!("tos {number}"),
            1 => format!("{}if {number}", self.pick(&["", "in ", "out "])),
            // nfdump looks ASes that were not exported up in a file of its own, and fails without.
            2 if self.is_weir() => format!("{}as {}", self.side(), self.pick(&SMALL[1..])),
            _ => format!("src tos {number}"),
        }
    }

    fn own_condition(&mut self) -> String {
        let side = self.pick(&["src", "dst"]);
        match self.random.below(25) {
            19..=23 => self.rare_condition(side),
            14 => format!("{side} mac 0:0:0:0:0:{:x}", self.pick(&SMALL)),
            24 => {
                let (one, other) = (self.pick(&SMALL), self.pick(&SMALL));
                format!("{side} mac in [0:0:0:0:0:{one:x} 0-0-0-0-0-{other:x}]")
            }
            15 => format!("mpls label {}{}", self.comparison(), self.pick(&SMALL)),
            16 => format!("inner vlan {}{}", self.comparison(), self.pick(&SMALL)),
            17 => format!("{side} tun ip {}", self.pick(&ADDRESSES)),
            18 => format!(
                "bgpnext ip {} or flow label > {}",
                self.pick(&ADDRESSES),
                self.pick(&SMALL)
            ),
            0 => format!("{side} port != {}", self.pick(&PORTS)),
            1 => format!(
                "port not in [{}-{}]",
                self.random.below(60),
                60 + self.random.below(9000)
            ),
            2 => format!(
                "{side} in [{}] - [{}]",
                self.address_list(),
                self.address_list()
            ),
            3 => format!("{side} not in @private + [{}]", self.address_list()),
            4 => {
                let comparison = self.pick(&["=", "!=", "<", ">="]);
                format!("src port {comparison} dst port")
            }
            5 => format!("packets {} bytes", self.pick(&["=", "<", ">"])),
            6 => format!("{side} port {}", self.pick(&["https", "domain", "ssh"])),
            7 => format!(
                "first seen {}2023-11-14T22:13:{:02}",
                self.comparison(),
                self.random.below(60)
            ),
            8 => format!("last {}s", self.random.below(60)),
            9 => format!("src or dst ip {}", self.pick(&ADDRESSES)),
            10 => format!(
                "src and dst port {}{}",
                self.comparison(),
                self.pick(&PORTS)
            ),
            11 => format!("next ip {}", self.pick(&ADDRESSES)),
            12 => format!(
                "{side} mask > {} or received > 2023-11-14T22:13:{:02}",
                self.pick(&SMALL),
                self.random.below(60)
            ),
            _ => format!("src ip {} dst ip", self.pick(&["=", "!="])),
        }
    }

    /// What few exporters send.
    fn rare_condition(&mut self, side: &str) -> String {
        let comparison = self.comparison();
        let small = self.pick(&SMALL);
        match self.random.below(11) {
            0 => format!("{side} vlan {comparison}{small}"),
            1 => {
                let name = self.pick(&["ttl", "min ttl", "max ttl"]);
                format!("{name} {comparison}{small}")
            }
            2 => self.pick(&["ttl equal", "port in nat pblock"]).to_owned(),
            3 => format!("{side} nat ip {}", self.pick(&ADDRESSES)),
            4 => format!("{side} nat port {comparison}{}", self.pick(&PORTS)),
            5 => {
                let name = self.pick(&["any", "eos", "label2", "label6"]);
                format!("mpls {name} {comparison}{small}")
            }
            6 => {
                let name = self.pick(&["ingress ACL", "egress ACE", "ingress XACE", "egress vrf"]);
                format!("{name} {comparison}{small}")
            }
            7 => format!("asa user {}", self.pick(&["alice", "bob"])),
            8 => self.two_fields(),
            9 => {
                let name = self.pick(&["client", "server", "app"]);
                let number = self.pick(&["5", "5us", "1ms", "1s", "16000017"]);
                format!("{name} latency {comparison}{number}")
            }
            _ => {
                let names = [
                    "prev as",
                    "next as",
                    "dst tos",
                    "ethertype",
                    "fwdstat",
                    "nat event",
                    "out bytes",
                ];
                format!("{} {comparison}{small}", self.pick(&names))
            }
        }
    }

    /// A field against another, both of which may be missing.
    fn two_fields(&mut self) -> String {
        let equality = self.pick(&["=", "!="]);
        let comparison = self.pick(&["=", "!=", "<", ">="]);
        match self.random.below(12) {
            0 => format!("src mac {equality} dst mac"),
            1 => format!("src nat ip {equality} src ip"),
            2 => format!("next ip {equality} bgp next ip"),
            3 => format!("src tun ip {equality} dst ip"),
            4 => format!("src nat port {comparison} src port"),
            5 => format!("src vlan {comparison} dst vlan"),
            6 => format!("dst tos {comparison} src tos"),
            7 => format!("min ttl {comparison} max ttl"),
            8 => format!("next as {comparison} dst as"),
            9 => format!("ingress vrf {comparison} egress vrf"),
            10 => format!("client latency {comparison} server latency"),
            _ => format!("bytes {comparison} out bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_filters() {
        let filters = |seed| -> Vec<String> {
            let mut random = Random::new(seed);
            (0..50)
                .map(|_| filter(&mut random, Dialect::Weir))
                .collect()
        };
        assert_eq!(filters(1), filters(1));
        assert_ne!(filters(1), filters(2));
    }
}
