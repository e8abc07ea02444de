//! What the tokens of a format show of a flow.

use arrow::{
    array::{Array as _, PrimitiveArray},
    datatypes::ArrowPrimitiveType,
};

use super::{
    Columns, Texts,
    put::{is_mapped, put, put_address, put_known, put_protocol, put_raw_time, put_time},
};
use crate::{filter::ranges, functions, text};

/// What a token shows. The side is 0 for the source, 1 for the destination; times are start, end and
/// receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A time, UTC.
    Time(usize),
    /// A time, seconds since 1970-01-01.
    RawTime(usize),
    /// Seconds from first to last packet.
    Duration,
    /// Protocol by name.
    Protocol,
    /// An address.
    Address(usize),
    /// Address and port.
    Endpoint(usize),
    /// A port; ICMP type and code.
    Port(usize),
    /// ICMP type.
    IcmpType,
    /// ICMP code.
    IcmpCode,
    /// An address cut to the exporter's prefix length.
    Network(usize),
    /// Next hop.
    NextHop,
    /// Exporter.
    Exporter,
    /// Source AS.
    SourceAs,
    /// Destination AS.
    DestinationAs,
    /// Source prefix length.
    SourceMask,
    /// Destination prefix length.
    DestinationMask,
    /// Incoming interface.
    Input,
    /// Outgoing interface.
    Output,
    /// Packets.
    Packets,
    /// Octets.
    Octets,
    /// What a record of one direction has none of.
    Zero,
    /// Flows in a record.
    One,
    /// TCP flags.
    Flags,
    /// ToS.
    Tos,
    /// I for ingress, E for egress.
    Direction,
    /// Why the flow was exported, as a number.
    EndReason,
    /// Next hop by BGP.
    BgpNextHop,
    /// A MAC address.
    Mac(usize),
    /// Id of the second VLAN tag.
    InnerVlan,
    /// An MPLS label, 0 to 3.
    Mpls(usize),
    /// All MPLS labels that are kept.
    MplsStack,
    /// IPv6 flow label.
    FlowLabel,
    /// An end of the tunnel around the packets.
    Tunnel(usize),
    /// VLAN id.
    Vlan,
    /// Bits a second.
    Bps,
    /// Packets a second.
    Pps,
    /// Octets a packet.
    Bpp,
    /// Export version.
    Version,
    /// Observation domain.
    SourceId,
    /// Engine type and id of v5.
    Engine,
    /// Sampling interval.
    Sampling,
    /// 4 or 6.
    IpVersion,
    /// How many flows were printed before.
    Count,
    /// The end of a line.
    NewLine,
}

impl Columns<'_> {
    /// Appends a value. `number`: how many flows were printed before.
    pub fn show(&self, shown: Shown, row: usize, number: u64, line: &mut String) {
        let octets = self.octets.value(row);
        let packets = self.packets.value(row);
        match shown {
            Shown::Time(which) => put_time(line, self.times[which].value(row)),
            Shown::RawTime(which) => put_raw_time(line, self.times[which].value(row)),
            Shown::Duration => line.push_str(&text::seconds(self.duration_ms(row))),
            Shown::Protocol => put_protocol(line, self.protocol.value(row)),
            Shown::Address(side) => put_address(line, self.addresses[side].value(row)),
            Shown::Endpoint(side) => self.put_endpoint(line, side, row),
            Shown::Port(side) => self.put_port(line, side, row),
            Shown::IcmpType => put(line, u64::from(self.ports[1].value(row) / 256)),
            Shown::IcmpCode => put(line, u64::from(self.ports[1].value(row) % 256)),
            Shown::Network(side) => self.put_network(line, side, row),
            Shown::NextHop => put_known(line, self.next_hop, row),
            Shown::Exporter => line.push_str(self.exporter(row)),
            Shown::SourceAs => put(line, self.as_numbers[0].value(row).into()),
            Shown::DestinationAs => put(line, self.as_numbers[1].value(row).into()),
            Shown::SourceMask => put(line, self.masks[0].value(row).into()),
            Shown::DestinationMask => put(line, self.masks[1].value(row).into()),
            Shown::Input => put(line, self.interfaces[0].value(row).into()),
            Shown::Output => put(line, self.interfaces[1].value(row).into()),
            Shown::Packets => put(line, packets),
            Shown::Octets => put(line, octets),
            Shown::Zero => line.push('0'),
            Shown::One => line.push('1'),
            Shown::Flags => line.push_str(&text::tcp_flags(self.tcp_flags.value(row))),
            Shown::Tos => put(line, self.tos.value(row).into()),
            Shown::Direction => line.push(if self.direction.value(row) == 0 {
                'I'
            } else {
                'E'
            }),
            Shown::EndReason => put(line, self.end_reason.value(row).into()),
            Shown::Vlan => put(line, self.vlan.value(row).into()),
            Shown::Bps => put(
                line,
                functions::bits_per_second(octets, self.duration_ms(row)),
            ),
            Shown::Pps => put(line, functions::per_second(packets, self.duration_ms(row))),
            Shown::Bpp => put(line, functions::octets_per_packet(octets, packets)),
            Shown::Version => put(line, self.version.value(row).into()),
            Shown::SourceId => put(line, self.source_id.value(row).into()),
            Shown::Engine => {
                let id = self.source_id.value(row);
                put(line, u64::from(id >> 8 & 0xff));
                line.push('/');
                put(line, u64::from(id & 0xff));
            }
            Shown::Sampling => put(line, self.sampling.value(row).into()),
            Shown::IpVersion => {
                line.push(if is_mapped(self.addresses[0].value(row)) {
                    '4'
                } else {
                    '6'
                });
            }
            Shown::Count => put(line, number),
            Shown::NewLine => line.push('\n'),
            _ => self.show_optional(shown, row, line),
        }
    }

    /// What few records have.
    fn show_optional(&self, shown: Shown, row: usize, line: &mut String) {
        match shown {
            Shown::BgpNextHop => put_known(line, self.bgp_next_hop, row),
            Shown::Tunnel(side) => put_known(line, self.tunnel[side], row),
            Shown::Mac(side) => {
                let mac = self.macs[side];
                let octets: &[u8] = if mac.is_null(row) {
                    &[0; 6]
                } else {
                    mac.value(row)
                };
                line.push_str(&text::mac(octets));
            }
            Shown::InnerVlan => put(line, known(self.inner_vlan, row).into()),
            Shown::FlowLabel => put(line, known(self.flow_label, row).into()),
            Shown::Mpls(place) => {
                line.push_str(&text::mpls(known(self.mpls_labels[place], row)));
            }
            Shown::MplsStack => self.put_labels(line, row),
            _ => {}
        }
    }

    fn duration_ms(&self, row: usize) -> u64 {
        functions::duration_ms(self.times[0].value(row), self.times[1].value(row))
    }

    fn exporter(&self, row: usize) -> &str {
        match self.exporter {
            Texts::Plain(texts) => texts.value(row),
            Texts::View(texts) => texts.value(row),
        }
    }

    /// ICMP's destination port is its type and code, with a dot between.
    fn put_port(&self, line: &mut String, side: usize, row: usize) {
        let port = self.ports[side].value(row);
        if side == 1 && matches!(self.protocol.value(row), 1 | 58) {
            put(line, u64::from(port / 256));
            line.push('.');
            put(line, u64::from(port % 256));
        } else {
            put(line, port.into());
        }
    }

    fn put_endpoint(&self, line: &mut String, side: usize, row: usize) {
        let octets = self.addresses[side].value(row);
        if is_mapped(octets) {
            put_address(line, octets);
        } else {
            line.push('[');
            put_address(line, octets);
            line.push(']');
        }
        line.push(':');
        self.put_port(line, side, row);
    }

    /// Labels from the top, as far as there are any.
    fn put_labels(&self, line: &mut String, row: usize) {
        let labels = self.mpls_labels.iter().enumerate();
        for (place, labels) in labels.filter(|(_, labels)| !labels.is_null(row)) {
            if place > 0 {
                line.push(' ');
            }
            line.push_str(&text::mpls(labels.value(row)));
        }
    }

    fn put_network(&self, line: &mut String, side: usize, row: usize) {
        let bits = self.masks[side].value(row);
        let octets = self.addresses[side].value(row);
        let address = <[u8; 16]>::try_from(octets).map_or(0, u128::from_be_bytes);
        let network = ranges::cut(address, bits, bits);
        put_address(line, &ranges::octets_of(network));
        line.push('/');
        put(line, bits.into());
    }
}

/// A number; 0 if it is not known.
fn known<T: ArrowPrimitiveType>(numbers: &PrimitiveArray<T>, row: usize) -> T::Native {
    if numbers.is_null(row) {
        T::Native::default()
    } else {
        numbers.value(row)
    }
}
