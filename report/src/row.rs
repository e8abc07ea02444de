//! The values of one flow after the other, appended to a line; what is printed most has no
//! formatting machinery behind it.

use std::{fmt::Write as _, net::Ipv6Addr};

use anyhow::{Context as _, Result};
use arrow::{
    array::{
        Array as _, AsArray as _, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray,
        StringViewArray,
    },
    datatypes::{
        ArrowPrimitiveType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use chrono::{DateTime, Datelike as _, Timelike as _};
use weir_netflow::record::display_address;

use crate::{filter::ranges, functions, names, text};

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

/// Names of the columns that tokens show.
pub const COLUMNS: [&str; 37] = [
    "flow_start",
    "flow_end",
    "received",
    "protocol",
    "src_addr",
    "dst_addr",
    "src_port",
    "dst_port",
    "tcp_flags",
    "tos",
    "packets",
    "octets",
    "ingress_ifindex",
    "egress_ifindex",
    "src_as",
    "dst_as",
    "src_mask",
    "dst_mask",
    "vlan",
    "direction",
    "end_reason",
    "version",
    "source_id",
    "sampling_interval",
    "next_hop",
    "exporter",
    "bgp_next_hop",
    "src_mac",
    "dst_mac",
    "inner_vlan",
    "mpls_label_1",
    "mpls_label_2",
    "mpls_label_3",
    "mpls_label_4",
    "flow_label",
    "outer_src_addr",
    "outer_dst_addr",
];

/// A batch's columns, as their types.
pub struct Columns<'a> {
    times: [&'a PrimitiveArray<TimestampNanosecondType>; 3],
    protocol: &'a PrimitiveArray<UInt8Type>,
    addresses: [&'a FixedSizeBinaryArray; 2],
    ports: [&'a PrimitiveArray<UInt16Type>; 2],
    tcp_flags: &'a PrimitiveArray<UInt16Type>,
    tos: &'a PrimitiveArray<UInt8Type>,
    packets: &'a PrimitiveArray<UInt64Type>,
    octets: &'a PrimitiveArray<UInt64Type>,
    interfaces: [&'a PrimitiveArray<UInt32Type>; 2],
    as_numbers: [&'a PrimitiveArray<UInt32Type>; 2],
    masks: [&'a PrimitiveArray<UInt8Type>; 2],
    vlan: &'a PrimitiveArray<UInt16Type>,
    direction: &'a PrimitiveArray<UInt8Type>,
    end_reason: &'a PrimitiveArray<UInt8Type>,
    version: &'a PrimitiveArray<UInt8Type>,
    source_id: &'a PrimitiveArray<UInt32Type>,
    sampling: &'a PrimitiveArray<UInt32Type>,
    next_hop: &'a FixedSizeBinaryArray,
    bgp_next_hop: &'a FixedSizeBinaryArray,
    macs: [&'a FixedSizeBinaryArray; 2],
    inner_vlan: &'a PrimitiveArray<UInt16Type>,
    mpls_labels: [&'a PrimitiveArray<UInt32Type>; 4],
    flow_label: &'a PrimitiveArray<UInt32Type>,
    tunnel: [&'a FixedSizeBinaryArray; 2],
    exporter: Texts<'a>,
}

enum Texts<'a> {
    Plain(&'a StringArray),
    View(&'a StringViewArray),
}

impl<'a> Columns<'a> {
    /// The columns of a batch that has all of [`COLUMNS`].
    ///
    /// # Errors
    /// If one is missing, or of another type.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        macro_rules! column {
            ($name:literal, $type:ty) => {
                batch
                    .column_by_name($name)
                    .and_then(|column| column.as_primitive_opt::<$type>())
                    .context(concat!("column ", $name))?
            };
        }
        let addresses = |name: &'static str| {
            batch
                .column_by_name(name)
                .and_then(|column| column.as_fixed_size_binary_opt())
                .with_context(|| format!("column {name}"))
        };
        let exporter = batch
            .column_by_name("exporter")
            .context("column exporter")?;
        Ok(Self {
            times: [
                column!("flow_start", TimestampNanosecondType),
                column!("flow_end", TimestampNanosecondType),
                column!("received", TimestampNanosecondType),
            ],
            protocol: column!("protocol", UInt8Type),
            addresses: [addresses("src_addr")?, addresses("dst_addr")?],
            ports: [
                column!("src_port", UInt16Type),
                column!("dst_port", UInt16Type),
            ],
            tcp_flags: column!("tcp_flags", UInt16Type),
            tos: column!("tos", UInt8Type),
            packets: column!("packets", UInt64Type),
            octets: column!("octets", UInt64Type),
            interfaces: [
                column!("ingress_ifindex", UInt32Type),
                column!("egress_ifindex", UInt32Type),
            ],
            as_numbers: [column!("src_as", UInt32Type), column!("dst_as", UInt32Type)],
            masks: [
                column!("src_mask", UInt8Type),
                column!("dst_mask", UInt8Type),
            ],
            vlan: column!("vlan", UInt16Type),
            direction: column!("direction", UInt8Type),
            end_reason: column!("end_reason", UInt8Type),
            version: column!("version", UInt8Type),
            source_id: column!("source_id", UInt32Type),
            sampling: column!("sampling_interval", UInt32Type),
            next_hop: addresses("next_hop")?,
            bgp_next_hop: addresses("bgp_next_hop")?,
            macs: [addresses("src_mac")?, addresses("dst_mac")?],
            inner_vlan: column!("inner_vlan", UInt16Type),
            mpls_labels: [
                column!("mpls_label_1", UInt32Type),
                column!("mpls_label_2", UInt32Type),
                column!("mpls_label_3", UInt32Type),
                column!("mpls_label_4", UInt32Type),
            ],
            flow_label: column!("flow_label", UInt32Type),
            tunnel: [addresses("outer_src_addr")?, addresses("outer_dst_addr")?],
            exporter: match exporter.as_string_view_opt() {
                Some(views) => Texts::View(views),
                None => Texts::Plain(exporter.as_string_opt::<i32>().context("column exporter")?),
            },
        })
    }

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

/// Appends an address; zeros if it is not known, as nfdump does.
fn put_known(line: &mut String, addresses: &FixedSizeBinaryArray, row: usize) {
    if addresses.is_null(row) {
        line.push_str("0.0.0.0");
    } else {
        put_address(line, addresses.value(row));
    }
}

/// Appends a number.
fn put(line: &mut String, number: u64) {
    // Twenty digits hold any number of 64 bits.
    let (mut digits, mut at, mut left) = ([b'0'; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends a number with at least so many digits.
fn put_digits(line: &mut String, number: u64, digits: usize) {
    let start = line.len();
    put(line, number);
    for _ in line.len() - start..digits {
        line.insert(start, '0');
    }
}

/// Appends UTC, to the millisecond.
fn put_time(line: &mut String, unix_ns: i64) {
    let time = DateTime::from_timestamp_nanos(unix_ns);
    put_digits(line, u64::try_from(time.year()).unwrap_or(0), 4);
    for (mark, number) in [
        ('-', time.month()),
        ('-', time.day()),
        (' ', time.hour()),
        (':', time.minute()),
        (':', time.second()),
    ] {
        line.push(mark);
        put_digits(line, number.into(), 2);
    }
    line.push('.');
    put_digits(line, time.timestamp_subsec_millis().into(), 3);
}

/// Appends seconds since 1970-01-01 with milliseconds.
fn put_raw_time(line: &mut String, unix_ns: i64) {
    let ms = u64::try_from(unix_ns / 1_000_000).unwrap_or(0);
    put(line, ms / 1000);
    line.push('.');
    put_digits(line, ms % 1000, 3);
}

fn put_protocol(line: &mut String, protocol: u8) {
    let start = line.len();
    line.push_str(&names::protocol_name(protocol));
    line[start..].make_ascii_uppercase();
}

fn is_mapped(octets: &[u8]) -> bool {
    octets.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

fn put_address(line: &mut String, octets: &[u8]) {
    if let Some([a, b, c, d]) = octets.get(12..).filter(|_| is_mapped(octets)) {
        put(line, (*a).into());
        for octet in [b, c, d] {
            line.push('.');
            put(line, (*octet).into());
        }
    } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
        // Writing to a string does not fail.
        let _ = write!(line, "{}", display_address(Ipv6Addr::from(octets)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_numbers_and_addresses_are_written_as_elsewhere() {
        let written = |write: &dyn Fn(&mut String)| {
            let mut line = String::new();
            write(&mut line);
            line
        };
        for ns in [0, 1, 1_700_000_000_123_456_789, 951_782_400_000_000_000] {
            let expected = DateTime::from_timestamp_nanos(ns).format("%F %T%.3f");
            assert_eq!(written(&|line| put_time(line, ns)), expected.to_string());
        }
        for number in [0, 7, 10, 999, 18_446_744_073_709_551_615] {
            assert_eq!(written(&|line| put(line, number)), number.to_string());
        }
        for address in ["0.0.0.0", "192.0.2.255", "2001:db8::1", "::", "::1"] {
            let octets = match address.parse().unwrap() {
                std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                std::net::IpAddr::V6(address) => address.octets(),
            };
            assert_eq!(written(&|line| put_address(line, &octets)), address);
        }
        assert_eq!(
            written(&|line| put_raw_time(line, 1_700_000_000_007_999_999)),
            "1700000000.007"
        );
        assert_eq!(written(&|line| put_protocol(line, 6)), "TCP");
    }
}
