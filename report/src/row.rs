//! The values of one flow after the other, straight from the columns of a batch (`columns.rs`) to the octets of a
//! line.

mod columns;

use std::net::IpAddr;

use arrow::array::{Array as _, FixedSizeBinaryArray};

pub use self::columns::Columns;
use self::columns::{at, known, octets};
use crate::{
    filter::{ast::latency_keys, ranges},
    functions,
    local_names::{self, What},
    others, text,
    tokens::Shown,
    write,
};

impl Columns<'_> {
    /// Appends a value. `number`: how many lines were printed before.
    pub fn show(&self, shown: Shown, row: usize, number: u64, line: &mut Vec<u8>) {
        match shown {
            Shown::Time(which) => self.time_writer.put(line, at(self.times[which], row)),
            Shown::RawTime(which) => write::put_raw_time(line, at(self.times[which], row)),
            Shown::Duration => write::put_thousandths(line, self.duration_ms(row)),
            Shown::Protocol => write::put_protocol(line, at(self.protocol, row)),
            Shown::Address(side) => write::put_address(line, self.address(side, row)),
            Shown::Endpoint(side) => self.put_endpoint(line, side, row),
            Shown::Port(side) => self.put_port(line, side, row),
            Shown::Packets => write::put(line, at(self.packets, row)),
            Shown::Octets => write::put(line, at(self.octets, row)),
            Shown::OutPackets => write::put(line, at(self.out_packets, row)),
            Shown::OutOctets => write::put(line, at(self.out_octets, row)),
            Shown::Flows => write::put(line, self.flows.get(row).copied().unwrap_or(1)),
            Shown::Flags => write::put_flags(line, self.flags(row)),
            Shown::Tos => write::put(line, at(self.tos, row).into()),
            Shown::As(side) => write::put(line, at(self.as_numbers[side], row).into()),
            Shown::Mask(side) => write::put(line, at(self.masks[side], row).into()),
            Shown::Interface(side) => write::put(line, at(self.interfaces[side], row).into()),
            Shown::Vlan => write::put(line, at(self.vlan, row).into()),
            Shown::Exporter => write::put_word(line, self.exporter(row).as_bytes()),
            Shown::Version => write::put(line, at(self.version, row).into()),
            Shown::SourceId => write::put(line, at(self.source_id, row).into()),
            Shown::Sampling => write::put(line, at(self.sampling, row).into()),
            Shown::EndReason => write::put(line, at(self.end_reason, row).into()),
            Shown::Count => write::put(line, number),
            Shown::NewLine => line.push(b'\n'),
            Shown::Missing(shown) => line.extend_from_slice(shown.as_bytes()),
            _ => self.show_derived(shown, row, line),
        }
    }

    /// What is computed from several columns, and what few records have.
    fn show_derived(&self, shown: Shown, row: usize, line: &mut Vec<u8>) {
        match shown {
            Shown::IcmpType => write::put(line, (self.icmp(row) / 256).into()),
            Shown::IcmpCode => write::put(line, (self.icmp(row) % 256).into()),
            Shown::Network(side) => self.put_network(line, side, row),
            Shown::Direction => line.push(match at(self.direction, row) {
                0 => b'I',
                _ => b'E',
            }),
            Shown::Bps => {
                let octets = at(self.octets, row);
                let rate = functions::bits_per_second(octets, self.duration_ms(row));
                write::put(line, rate);
            }
            Shown::Pps => {
                let packets = at(self.packets, row);
                write::put(line, functions::per_second(packets, self.duration_ms(row)));
            }
            Shown::Bpp => {
                let (octets, packets) = (at(self.octets, row), at(self.packets, row));
                write::put(line, functions::octets_per_packet(octets, packets));
            }
            Shown::Engine => {
                let id = at(self.source_id, row);
                write::put(line, (id >> 8 & 0xff).into());
                line.push(b'/');
                write::put(line, (id & 0xff).into());
            }
            Shown::IpVersion => {
                let is_v4 = write::is_v4(self.address(0, row));
                line.push(if is_v4 { b'4' } else { b'6' });
            }
            Shown::NextHop => put_known(line, self.next_hop, row),
            Shown::BgpNextHop => put_known(line, self.bgp_next_hop, row),
            Shown::Tunnel(side) => put_known(line, self.tunnel[side], row),
            Shown::Mac(side) => {
                let mac = octets(self.macs[side], row).unwrap_or(&[0; 6]);
                line.extend_from_slice(text::mac(mac).as_bytes());
            }
            Shown::InnerVlan => write::put(line, known(self.inner_vlan, row).into()),
            Shown::FlowLabel => write::put(line, known(self.flow_label, row).into()),
            Shown::Mpls(place) => put_label(line, known(self.mpls_labels[place], row)),
            Shown::MplsStack => self.put_labels(line, row),
            _ => self.show_other(shown, row, line),
        }
    }

    /// What has no column, and what is in no file of flows.
    fn show_other(&self, shown: Shown, row: usize, line: &mut Vec<u8>) {
        let other = |key: &str| self.other(key, row);
        match shown {
            Shown::OtherNumber(key) => write::put(line, other(key).map_or(0, others::number_of)),
            Shown::OtherLabel(key) => {
                let entry = other(key).map_or(0, others::number_of);
                put_label(line, u32::try_from(entry).unwrap_or(0));
            }
            Shown::OtherAddress(v4, v6) => put_other_address(line, other(v4), other(v6)),
            Shown::OtherEndpoint(v4, v6, port) => {
                put_other_address(line, other(v4), other(v6));
                line.push(b':');
                write::put(line, other(port).map_or(0, others::number_of));
            }
            Shown::OtherAccessList(key) => {
                let parts = other(key).unwrap_or(&[0; 12]).chunks(4).take(3);
                for (place, part) in parts.enumerate() {
                    let space = if place > 0 { " " } else { "" };
                    let part = format!("{space}{:#x}", others::number_of(part));
                    line.extend_from_slice(part.as_bytes());
                }
            }
            Shown::OtherTime(key) => self.put_event_time(line, other(key)),
            Shown::Latency(seconds) => {
                let [whole, over] = latency_keys(seconds);
                let us = others::microseconds_of([other(&whole), other(&over)]);
                write::put_thousandths(line, us.unwrap_or(0));
            }
            Shown::Ttls => {
                for (place, key) in ["52", "53"].into_iter().enumerate() {
                    if place > 0 {
                        line.push(b' ');
                    }
                    write::put(line, other(key).map_or(0, others::number_of));
                }
            }
            Shown::Fragments => {
                // fragmentFlags (IANA): a reserved bit, do not fragment, more fragments.
                let flags = other("197").map_or(0, others::number_of);
                line.extend_from_slice(if flags & 0x40 == 0 { b"--" } else { b"DF" });
                line.extend_from_slice(if flags & 0x20 == 0 { b"--" } else { b"MF" });
            }
            Shown::OtherWord(key) => {
                let word = other(key).unwrap_or_default();
                // v9 fills words up with zeros.
                let end = word.iter().position(|octet| *octet == 0);
                write::put_word(line, &word[..end.unwrap_or(word.len())]);
            }
            Shown::Known(what, side) => self.put_known_of(line, what, side, row),
            Shown::GeoExporter => self.put_exporter_and_country(line, row),
            Shown::GeoAddress(side) => self.put_address_and_country(line, side, row),
            Shown::GeoEndpoint(side) => {
                self.put_address_and_country(line, side, row);
                line.push(b':');
                self.put_port(line, side, row);
            }
            _ => {}
        }
    }

    /// What local files know of an address.
    fn put_known_of(&self, line: &mut Vec<u8>, what: What, side: usize, row: usize) {
        let address = <[u8; 16]>::try_from(self.address(side, row));
        let address = address.map_or(0, u128::from_be_bytes);
        let name = local_names::of(what, address);
        write::put_word(line, name.as_deref().unwrap_or("..").as_bytes());
    }

    fn put_address_and_country(&self, line: &mut Vec<u8>, side: usize, row: usize) {
        write::put_address(line, self.address(side, row));
        line.push(b'(');
        self.put_known_of(line, What::Country, side, row);
        line.push(b')');
    }

    fn put_exporter_and_country(&self, line: &mut Vec<u8>, row: usize) {
        let exporter = self.exporter(row);
        let address = exporter.parse::<IpAddr>().map(ranges::number_of);
        let country = address
            .ok()
            .and_then(|it| local_names::of(What::Country, it));
        line.extend_from_slice(exporter.as_bytes());
        line.push(b'(');
        write::put_word(line, country.as_deref().unwrap_or("..").as_bytes());
        line.push(b')');
    }

    /// A time in milliseconds, as nfdump shows it where it is missing, too.
    fn put_event_time(&self, line: &mut Vec<u8>, octets: Option<&[u8]>) {
        match octets
            .map(others::number_of)
            .and_then(|ms| i64::try_from(ms).ok())
        {
            Some(ms) => self.time_writer.put(line, ms.saturating_mul(1_000_000)),
            None => line.extend_from_slice(b"0000-00-00 00:00:00.000"),
        }
    }

    /// ICMP's destination port is its type and code, with a dot between.
    fn put_port(&self, line: &mut Vec<u8>, side: usize, row: usize) {
        let port = at(self.ports[side], row);
        if side == 1 && self.is_icmp(row) {
            write::put(line, (port / 256).into());
            line.push(b'.');
            write::put(line, (port % 256).into());
        } else {
            write::put(line, port.into());
        }
    }

    fn put_endpoint(&self, line: &mut Vec<u8>, side: usize, row: usize) {
        let address = self.address(side, row);
        if write::is_v4(address) {
            write::put_address(line, address);
        } else {
            line.push(b'[');
            write::put_address(line, address);
            line.push(b']');
        }
        line.push(b':');
        self.put_port(line, side, row);
    }

    /// Labels from the top, as far as there are any.
    fn put_labels(&self, line: &mut Vec<u8>, row: usize) {
        let labels = self.mpls_labels.iter().flatten().enumerate();
        for (place, labels) in labels.filter(|(_, labels)| !labels.is_null(row)) {
            if place > 0 {
                line.push(b' ');
            }
            put_label(line, labels.value(row));
        }
    }

    fn put_network(&self, line: &mut Vec<u8>, side: usize, row: usize) {
        let bits = at(self.masks[side], row);
        let address = <[u8; 16]>::try_from(self.address(side, row));
        let network = ranges::cut(address.map_or(0, u128::from_be_bytes), bits, bits);
        write::put_address(line, &ranges::octets_of(network));
        line.push(b'/');
        write::put(line, bits.into());
    }
}

/// Appends an address; zeros if it is not known, as nfdump does.
fn put_known(line: &mut Vec<u8>, addresses: Option<&FixedSizeBinaryArray>, row: usize) {
    match octets(addresses, row) {
        Some(address) => write::put_address(line, address),
        None => line.extend_from_slice(b"0.0.0.0"),
    }
}

fn put_other_address(line: &mut Vec<u8>, v4: Option<&[u8]>, v6: Option<&[u8]>) {
    let v4 = v4.and_then(|octets| <[u8; 4]>::try_from(octets).ok());
    let mapped = v4.map(|octets| std::net::Ipv4Addr::from(octets).to_ipv6_mapped().octets());
    match (mapped, v6) {
        (Some(address), _) => write::put_address(line, &address),
        (None, Some(address)) => write::put_address(line, address),
        (None, None) => line.extend_from_slice(b"0.0.0.0"),
    }
}

fn put_label(line: &mut Vec<u8>, entry: u32) {
    line.extend_from_slice(text::mpls(entry).as_bytes());
}

#[cfg(test)]
mod tests;
