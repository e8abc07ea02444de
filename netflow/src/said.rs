//! What the fields of one record said, in whatever order they came, and what holds in the end: a
//! template may tell one thing in several ways, and fill some of them with zeros.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    Direction, EndReason, FlowRecord, TimeBase, low32, read,
    role::{Reading, Role, Slot},
    sampling::Rate,
    when::{Times, When},
};

pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

/// What a record said about one address family.
#[derive(Clone, Copy, Debug, Default)]
struct Family {
    source: Option<Ipv6Addr>,
    destination: Option<Ipv6Addr>,
    next_hop: Option<Ipv6Addr>,
    source_mask: u8,
    destination_mask: u8,
    /// Whether an address is not zero.
    is_filled: bool,
}

impl Family {
    fn is_said(&self) -> bool {
        self.source.is_some() || self.destination.is_some()
    }

    fn is_mapped(&self) -> bool {
        let mut addresses = [self.source, self.destination].into_iter().flatten();
        addresses.all(|address| address.to_ipv4_mapped().is_some())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Icmp {
    kind: Option<u8>,
    code: u8,
}

/// The other direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reverse {
    pub octets: u64,
    pub packets: u64,
    pub tos: u8,
    pub tcp_flags: u16,
    pub icmp_type_code: u16,
    /// Its own times, if it has any.
    pub start_ns: Option<u64>,
    pub end_ns: Option<u64>,
}

/// What the fields of a record said, before it is clear what holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// What can be said in one way only.
    flow: FlowRecord,
    v4: Family,
    v6: Family,
    ip_version: u8,
    icmp_type_code: u16,
    icmp: Icmp,
    icmp_v6: Icmp,
    out_octets: u64,
    out_packets: u64,
    /// When it was.
    pub times: Times,
    rate: Rate,
    /// The sampler's number.
    pub sampler: Option<u64>,
    reverse: Reverse,
    reverse_start: When,
    reverse_end: When,
}

impl Said {
    /// Takes a field's value; relative times may count from the export.
    pub fn take(&mut self, role: Role, value: &[u8], export_ns: u64) {
        match (role.slot, role.reading) {
            (Slot::Aside, _) => {}
            (slot, Reading::Number) => self.take_number(slot, read::number(value)),
            (slot, Reading::Dscp) => self.take_number(slot, read::number(value) << 2),
            (slot, Reading::Ipv4) => {
                let address = Ipv4Addr::from(read::u32(value, 0));
                self.take_address(slot, address.to_ipv6_mapped(), address.is_unspecified());
            }
            (slot, Reading::Ipv6) => {
                if let Ok(octets) = <[u8; 16]>::try_from(value) {
                    let address = Ipv6Addr::from(octets);
                    self.take_address(slot, address, address.is_unspecified());
                }
            }
            (slot, Reading::Mac) => self.take_mac(slot, value),
            (_, Reading::Float) => self.rate.probability = read::float(value),
            (slot, reading) => self.take_time(slot, When::read(reading, value, export_ns)),
        }
    }

    fn take_address(&mut self, slot: Slot, address: Ipv6Addr, is_zero: bool) {
        match slot {
            Slot::OuterSourceV4 | Slot::OuterSourceV6 => {
                take_either(&mut self.flow.outer_source, address, is_zero);
            }
            Slot::OuterDestinationV4 | Slot::OuterDestinationV6 => {
                take_either(&mut self.flow.outer_destination, address, is_zero);
            }
            Slot::BgpNextHopV4 | Slot::BgpNextHopV6 => {
                take_either(&mut self.flow.bgp_next_hop, address, is_zero);
            }
            _ => self.take_flow_address(slot, address, is_zero),
        }
    }

    /// Of two pairs of elements an exporter may fill either; of both the one of the frame as it came in holds.
    fn take_mac(&mut self, slot: Slot, value: &[u8]) {
        let (place, is_of_incoming) = match slot {
            Slot::SourceMac => (&mut self.flow.source_mac, true),
            Slot::OutSourceMac => (&mut self.flow.source_mac, false),
            Slot::InDestinationMac => (&mut self.flow.destination_mac, true),
            _ => (&mut self.flow.destination_mac, false),
        };
        if let Ok(address) = <[u8; 6]>::try_from(value)
            && address != [0; 6]
            && (is_of_incoming || *place == [0; 6])
        {
            *place = address;
        }
    }

    fn take_flow_address(&mut self, slot: Slot, address: Ipv6Addr, is_zero: bool) {
        let family = match slot {
            Slot::SourceV4 | Slot::DestinationV4 | Slot::NextHopV4 => &mut self.v4,
            _ => &mut self.v6,
        };
        match slot {
            Slot::SourceV4 | Slot::SourceV6 => family.source = Some(address),
            Slot::DestinationV4 | Slot::DestinationV6 => family.destination = Some(address),
            _ => {
                family.next_hop = (!is_zero).then_some(address);
                return;
            }
        }
        family.is_filled |= !is_zero;
    }

    fn take_time(&mut self, slot: Slot, when: When) {
        match slot {
            Slot::Start => self.times.start = when,
            Slot::End => self.times.end = when,
            Slot::ReverseStart => self.reverse_start = when,
            Slot::ReverseEnd => self.reverse_end = when,
            _ => self.times.observed = when,
        }
    }

    /// Takes a number.
    pub fn take_number(&mut self, slot: Slot, number: u64) {
        let [low, high, ..] = number.to_le_bytes();
        let (number16, number32) = (u16::from_le_bytes([low, high]), low32(number));
        let flow = &mut self.flow;
        match slot {
            Slot::Octets => flow.octets = number,
            Slot::Packets => flow.packets = number,
            Slot::OutOctets => self.out_octets = number,
            Slot::OutPackets => self.out_packets = number,
            Slot::Protocol => flow.protocol = low,
            Slot::Tos => flow.tos = low,
            Slot::TcpFlags => flow.tcp_flags = number16,
            Slot::SourcePort if number16 != 0 => flow.source_port = number16,
            Slot::DestinationPort if number16 != 0 => flow.destination_port = number16,
            Slot::IngressIfindex => flow.ingress_ifindex = number32,
            Slot::EgressIfindex => flow.egress_ifindex = number32,
            Slot::SourceAs => flow.source_as = number32,
            Slot::DestinationAs => flow.destination_as = number32,
            Slot::SourceMaskV4 => self.v4.source_mask = low,
            Slot::SourceMaskV6 => self.v6.source_mask = low,
            Slot::DestinationMaskV4 => self.v4.destination_mask = low,
            Slot::DestinationMaskV6 => self.v6.destination_mask = low,
            Slot::IpVersion => self.ip_version = low,
            Slot::Vlan if number16 != 0 => flow.vlan = number16 & 0x0fff,
            Slot::Dot1qVlan if flow.vlan == 0 => flow.vlan = number16 & 0x0fff,
            Slot::Direction if number == 1 => flow.direction = Direction::Egress,
            Slot::EndReason => flow.end_reason = EndReason::from_number(low),
            Slot::Duration => self.times.duration_ms = Some(number),
            Slot::Boot => self.times.boot_ms = (number != 0).then_some(number),
            _ => self.take_other_number(slot, number),
        }
    }

    fn take_other_number(&mut self, slot: Slot, number: u64) {
        let [low, high, ..] = number.to_le_bytes();
        let number16 = u16::from_le_bytes([low, high]);
        match slot {
            // Those of the flow's protocol; the others are zeros.
            Slot::UdpSourcePort | Slot::TcpSourcePort if self.flow.source_port == 0 => {
                self.flow.source_port = number16;
            }
            Slot::UdpDestinationPort | Slot::TcpDestinationPort
                if self.flow.destination_port == 0 =>
            {
                self.flow.destination_port = number16;
            }
            // Whichever is not zero, as IPv6 has it in the place of IPv4, too.
            Slot::IcmpTypeCode | Slot::IcmpTypeCodeV6 => self.icmp_type_code |= number16,
            Slot::IcmpKind => self.icmp.kind = Some(low),
            Slot::IcmpKindV6 => self.icmp_v6.kind = Some(low),
            Slot::IcmpCode => self.icmp.code = low,
            Slot::IcmpCodeV6 => self.icmp_v6.code = low,
            Slot::Sampler => self.sampler = Some(number),
            // Of both the first holds that says one.
            Slot::SamplingInterval if number != 0 => self.rate.interval = number,
            Slot::SamplerInterval if self.rate.interval == 0 => self.rate.interval = number,
            Slot::SamplingPackets => self.rate.packets = number,
            Slot::SamplingSpace => self.rate.space = Some(number),
            Slot::SamplingSize => self.rate.size = number,
            Slot::SamplingPopulation => self.rate.population = number,
            Slot::ReverseOctets => self.reverse.octets = number,
            Slot::ReversePackets => self.reverse.packets = number,
            Slot::ReverseTos => self.reverse.tos = low,
            Slot::ReverseTcpFlags => self.reverse.tcp_flags = number16,
            Slot::ReverseIcmpTypeCode => self.reverse.icmp_type_code |= number16,
            Slot::InnerVlan => self.flow.inner_vlan = number16 & 0x0fff,
            Slot::MplsLabel1 => self.flow.mpls_labels[0] = low32(number) & 0x00ff_ffff,
            Slot::MplsLabel2 => self.flow.mpls_labels[1] = low32(number) & 0x00ff_ffff,
            Slot::MplsLabel3 => self.flow.mpls_labels[2] = low32(number) & 0x00ff_ffff,
            Slot::MplsLabel4 => self.flow.mpls_labels[3] = low32(number) & 0x00ff_ffff,
            Slot::FlowLabel => self.flow.flow_label = low32(number) & 0x000f_ffff,
            _ => {}
        }
    }

    /// Whether it said of how many packets one was looked at.
    pub fn is_rate_told(&self) -> bool {
        self.rate.one_in().is_some()
    }

    /// Whether one of its addresses is not zero.
    pub fn has_addresses(&self) -> bool {
        self.v4.is_filled || self.v6.is_filled
    }

    /// Whether its octets, and its packets, are those that went out, since nothing is told of any that came in.
    pub fn is_of_out(&self) -> [bool; 2] {
        [self.flow.octets, self.flow.packets].map(|came_in| came_in == 0)
    }

    /// The flow, with the times it turned out to have. It is settled where it is: a record is large, and each that is
    /// made of another copies it.
    pub fn flow(&mut self, (start_ns, end_ns): (u64, u64)) -> &FlowRecord {
        self.flow.destination_port = self.destination_port();
        if self.flow.octets == 0 {
            self.flow.octets = self.out_octets;
        }
        if self.flow.packets == 0 {
            self.flow.packets = self.out_packets;
        }
        self.flow.sampling_interval = self.rate.one_in().unwrap_or(1);
        (self.flow.start_ns, self.flow.end_ns) = (start_ns, end_ns);
        self.settle_addresses();
        &self.flow
    }

    /// The other direction; none if nothing went that way.
    pub fn reverse(&self, base: TimeBase) -> Option<Reverse> {
        let base = self.times.base(base);
        let went = self.reverse.octets > 0 || self.reverse.packets > 0;
        went.then(|| Reverse {
            start_ns: self.reverse_start.ns(base),
            end_ns: self.reverse_end.ns(base),
            ..self.reverse
        })
    }

    /// Which family it is of: by the addresses, by ipVersion where it has both or neither.
    fn settle_addresses(&mut self) {
        let (flow, v4, v6) = (&mut self.flow, &self.v4, &self.v6);
        let is_v6 = match (v4.is_said(), v6.is_said()) {
            (true, false) => false,
            // Some send IPv4 mapped into IPv6's fields.
            (false, true) => self.ip_version != 4 || !v6.is_mapped(),
            (true, true) => self.ip_version == 6 || (self.ip_version != 4 && v6.is_filled),
            (false, false) => self.ip_version == 6,
        };
        let (family, other) = if is_v6 || (v6.is_said() && !v4.is_said()) {
            (v6, v4)
        } else {
            (v4, v6)
        };
        let or_zero = |address: Option<Ipv6Addr>| address.unwrap_or(Ipv6Addr::UNSPECIFIED);
        flow.v6 = is_v6;
        flow.source = or_zero(family.source);
        flow.destination = or_zero(family.destination);
        flow.next_hop = or_zero(family.next_hop.or(other.next_hop));
        flow.source_mask = family.source_mask;
        flow.destination_mask = family.destination_mask;
    }

    /// ICMP's type and code have its place. Fields for them occur in records of other protocols.
    fn destination_port(&self) -> u16 {
        let icmp = match self.flow.protocol {
            ICMPV6 if self.icmp_v6.kind.is_some() => self.icmp_v6,
            ICMP | ICMPV6 => self.icmp,
            _ => return self.flow.destination_port,
        };
        match icmp.kind {
            Some(kind) => u16::from_be_bytes([kind, icmp.code]),
            None if self.icmp_type_code != 0 => self.icmp_type_code,
            None => self.flow.destination_port,
        }
    }
}

/// A tunnel's endpoint and BGP's next hop have a field for each family, and fill one of them.
fn take_either(place: &mut Ipv6Addr, address: Ipv6Addr, is_zero: bool) {
    if !is_zero {
        *place = address;
    }
}
