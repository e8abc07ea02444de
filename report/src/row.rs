//! The values of one flow after the other, straight from the columns of a batch to the octets of a line.

use anyhow::{Context as _, Result};
use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, FixedSizeBinaryArray, MapArray, PrimitiveArray,
        RecordBatch, StringArray, StringViewArray,
    },
    datatypes::{
        ArrowPrimitiveType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use crate::{
    filter::ranges,
    functions, local_names, text,
    tokens::{LABELS, Shown},
    write,
};

/// A batch's columns, as their types; a column that is not there has no values.
pub struct Columns<'a> {
    times: [&'a [i64]; 3],
    protocol: &'a [u8],
    addresses: [Option<&'a FixedSizeBinaryArray>; 2],
    ports: [&'a [u16]; 2],
    tcp_flags: &'a [u16],
    tos: &'a [u8],
    packets: &'a [u64],
    octets: &'a [u64],
    out_packets: &'a [u64],
    out_octets: &'a [u64],
    flows: &'a [u64],
    interfaces: [&'a [u32]; 2],
    as_numbers: [&'a [u32]; 2],
    masks: [&'a [u8]; 2],
    vlan: &'a [u16],
    direction: &'a [u8],
    end_reason: &'a [u8],
    version: &'a [u8],
    source_id: &'a [u32],
    sampling: &'a [u32],
    next_hop: Option<&'a FixedSizeBinaryArray>,
    bgp_next_hop: Option<&'a FixedSizeBinaryArray>,
    macs: [Option<&'a FixedSizeBinaryArray>; 2],
    inner_vlan: Option<&'a PrimitiveArray<UInt16Type>>,
    mpls_labels: [Option<&'a PrimitiveArray<UInt32Type>>; 4],
    flow_label: Option<&'a PrimitiveArray<UInt32Type>>,
    tunnel: [Option<&'a FixedSizeBinaryArray>; 2],
    others: Option<&'a MapArray>,
    exporter: Texts<'a>,
}

enum Texts<'a> {
    None,
    Plain(&'a StringArray),
    View(&'a StringViewArray),
}

/// A column as its type, if it is there.
fn column<'a, T>(
    batch: &'a RecordBatch,
    name: &'static str,
    typed: impl FnOnce(&'a ArrayRef) -> Option<T>,
) -> Result<Option<T>> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let typed = typed(column).with_context(|| format!("column {name} is of another type"))?;
    Ok(Some(typed))
}

fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<Option<&'a PrimitiveArray<T>>> {
    column(batch, name, |column| column.as_primitive_opt::<T>())
}

/// The values of a column that is never null.
fn values<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a [T::Native]> {
    let values: &'a [T::Native] = match primitive::<T>(batch, name)? {
        Some(found) => found.values(),
        None => &[],
    };
    Ok(values)
}

fn binary<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<Option<&'a FixedSizeBinaryArray>> {
    column(batch, name, |column| column.as_fixed_size_binary_opt())
}

impl<'a> Columns<'a> {
    /// The columns of a batch, as far as it has them.
    ///
    /// # Errors
    /// If one is of another type.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        let times = |name| values::<TimestampNanosecondType>(batch, name);
        let u8s = |name| values::<UInt8Type>(batch, name);
        let u16s = |name| values::<UInt16Type>(batch, name);
        let u32s = |name| values::<UInt32Type>(batch, name);
        let u64s = |name| values::<UInt64Type>(batch, name);
        let optional = |name| primitive::<UInt32Type>(batch, name);
        let binary = |name| binary(batch, name);
        Ok(Self {
            times: [times("flow_start")?, times("flow_end")?, times("received")?],
            protocol: u8s("protocol")?,
            addresses: [binary("src_addr")?, binary("dst_addr")?],
            ports: [u16s("src_port")?, u16s("dst_port")?],
            tcp_flags: u16s("tcp_flags")?,
            tos: u8s("tos")?,
            packets: u64s("packets")?,
            octets: u64s("octets")?,
            out_packets: u64s("out_packets")?,
            out_octets: u64s("out_octets")?,
            flows: u64s("flows")?,
            interfaces: [u32s("ingress_ifindex")?, u32s("egress_ifindex")?],
            as_numbers: [u32s("src_as")?, u32s("dst_as")?],
            masks: [u8s("src_mask")?, u8s("dst_mask")?],
            vlan: u16s("vlan")?,
            direction: u8s("direction")?,
            end_reason: u8s("end_reason")?,
            version: u8s("version")?,
            source_id: u32s("source_id")?,
            sampling: u32s("sampling_interval")?,
            next_hop: binary("next_hop")?,
            bgp_next_hop: binary("bgp_next_hop")?,
            macs: [binary("src_mac")?, binary("dst_mac")?],
            inner_vlan: primitive::<UInt16Type>(batch, "inner_vlan")?,
            mpls_labels: [
                optional(LABELS[0])?,
                optional(LABELS[1])?,
                optional(LABELS[2])?,
                optional(LABELS[3])?,
            ],
            flow_label: optional("flow_label")?,
            tunnel: [binary("outer_src_addr")?, binary("outer_dst_addr")?],
            others: column(batch, "others", |column| column.as_map_opt())?,
            exporter: texts(batch, "exporter")?,
        })
    }

    /// How many flows so many rows are.
    #[must_use]
    pub fn flows(&self, rows: usize) -> u64 {
        if self.flows.is_empty() {
            return rows as u64;
        }
        let flows = self.flows.iter();
        flows.fold(0, |sum: u64, flows| sum.saturating_add(*flows))
    }

    /// Appends a value. `number`: how many lines were printed before.
    pub fn show(&self, shown: Shown, row: usize, number: u64, line: &mut Vec<u8>) {
        match shown {
            Shown::Time(which) => write::put_time(line, at(self.times[which], row)),
            Shown::RawTime(which) => write::put_raw_time(line, at(self.times[which], row)),
            Shown::Duration => write::put_seconds(line, self.duration_ms(row)),
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
            Shown::Exporter => line.extend_from_slice(self.exporter(row).as_bytes()),
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
            Shown::OtherNumber(key) => write::put(line, other(key).map_or(0, number_of)),
            Shown::OtherLabel(key) => {
                let entry = other(key).map_or(0, number_of);
                put_label(line, u32::try_from(entry).unwrap_or(0));
            }
            Shown::OtherAddress(v4, v6) => put_other_address(line, other(v4), other(v6)),
            Shown::OtherWord(key) => {
                let word = other(key).unwrap_or_default();
                // v9 fills words up with zeros.
                let end = word.iter().position(|octet| *octet == 0);
                write::put_word(line, &word[..end.unwrap_or(word.len())]);
            }
            Shown::Known(what, side) => {
                let address = <[u8; 16]>::try_from(self.address(side, row));
                let address = address.map_or(0, u128::from_be_bytes);
                let name = local_names::of(what, address);
                write::put_word(line, name.as_deref().unwrap_or("..").as_bytes());
            }
            _ => {}
        }
    }

    fn duration_ms(&self, row: usize) -> u64 {
        functions::duration_ms(at(self.times[0], row), at(self.times[1], row))
    }

    fn address(&self, side: usize, row: usize) -> &'a [u8] {
        octets(self.addresses[side], row).unwrap_or(&[0; 16])
    }

    fn exporter(&self, row: usize) -> &'a str {
        match self.exporter {
            Texts::None => "",
            Texts::Plain(texts) => texts.value(row),
            Texts::View(texts) => texts.value(row),
        }
    }

    fn flags(&self, row: usize) -> u16 {
        const TCP: u8 = 6;
        match at(self.protocol, row) {
            TCP => at(self.tcp_flags, row),
            _ => 0,
        }
    }

    fn is_icmp(&self, row: usize) -> bool {
        matches!(at(self.protocol, row), 1 | 58)
    }

    /// ICMP type and code; 0 of other protocols.
    fn icmp(&self, row: usize) -> u16 {
        if self.is_icmp(row) {
            at(self.ports[1], row)
        } else {
            0
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

    /// The octets of an element that has no column.
    fn other(&self, key: &str, row: usize) -> Option<&'a [u8]> {
        let map = self.others.filter(|map| map.is_valid(row))?;
        let keys = map.keys().as_string_opt::<i32>()?;
        let values = map.values().as_binary_opt::<i32>()?;
        let offset = |at: usize| usize::try_from(map.value_offsets()[at]).ok();
        let mut entries = offset(row)?..offset(row + 1)?;
        let entry = entries.find(|entry| keys.value(*entry) == key)?;
        values.is_valid(entry).then(|| values.value(entry))
    }
}

fn texts<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<Texts<'a>> {
    let texts = column(batch, name, |column| match column.as_string_view_opt() {
        Some(views) => Some(Texts::View(views)),
        None => column.as_string_opt::<i32>().map(Texts::Plain),
    })?;
    Ok(texts.unwrap_or(Texts::None))
}

/// A value; 0 of a column that is not there.
fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

/// A number; 0 if it is not known.
fn known<T: ArrowPrimitiveType>(numbers: Option<&PrimitiveArray<T>>, row: usize) -> T::Native {
    let numbers = numbers.filter(|numbers| numbers.is_valid(row));
    numbers
        .map(|numbers| numbers.value(row))
        .unwrap_or_default()
}

/// Octets, if they are known.
fn octets(values: Option<&FixedSizeBinaryArray>, row: usize) -> Option<&[u8]> {
    let values = values.filter(|values| values.is_valid(row))?;
    Some(values.value(row))
}

/// A number as it was sent: its last octets, if it is one of more than 64 bits.
fn number_of(octets: &[u8]) -> u64 {
    let octets = octets.iter();
    octets.fold(0, |number, octet| number << 8 | u64::from(*octet))
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
mod tests {
    use std::net::Ipv6Addr;

    use weir_netflow::{Direction, FlowRecord, record::mapped_address};
    use weir_store::{
        others::{Gathering, Other, Others},
        schema::{self, StoredFlow},
    };

    use super::*;
    use crate::tokens::TOKENS;

    fn others(elements: &[(u16, Vec<u8>)]) -> Others {
        let mut gathering = Gathering::default();
        for (element, octets) in elements {
            let other = Other {
                enterprise: 0,
                element: *element,
                octets,
            };
            assert!(gathering.add(&other, octets.len()));
        }
        gathering.finish()
    }

    fn address(text: &str) -> Ipv6Addr {
        mapped_address(text.parse().unwrap())
    }

    /// A flow that has something in each place.
    fn flow() -> StoredFlow {
        StoredFlow {
            record: FlowRecord {
                source: address("10.1.2.3"),
                destination: address("2001:db8::7"),
                source_port: 40_000,
                destination_port: 443,
                protocol: 6,
                tcp_flags: 0x1b,
                tos: 8,
                octets: 12_345,
                packets: 67,
                start_ns: 1_700_000_000_123_000_000,
                end_ns: 1_700_000_001_500_000_000,
                ingress_ifindex: 3,
                egress_ifindex: 4,
                source_as: 64_500,
                destination_as: 64_501,
                source_mask: 24,
                destination_mask: 48,
                vlan: 17,
                direction: Direction::Egress,
                sampling_interval: 100,
                next_hop: address("192.0.2.9"),
                bgp_next_hop: address("2001:db8::9"),
                source_mac: [2, 0, 0, 0, 0, 1],
                destination_mac: [2, 0, 0, 0, 0, 2],
                inner_vlan: 18,
                mpls_labels: [0x10, 0x20, 0x30, 0x41],
                flow_label: 99,
                outer_source: address("192.0.2.11"),
                outer_destination: address("192.0.2.12"),
                ..FlowRecord::default()
            },
            received_ns: 1_700_000_002_000_000_000,
            exporter: address("192.0.2.1"),
            source_id: 0x0203,
            version: 9,
            others: others(&[
                (55, vec![5]),
                (89, vec![64]),
                (74, vec![0, 1, 0x41]),
                (82, b"eth0\0\0".to_vec()),
                (225, vec![198, 51, 100, 7]),
                (282, address("2001:db8::5").octets().to_vec()),
            ]),
        }
    }

    fn shown(batch: &RecordBatch, shown: Shown) -> String {
        let mut line = Vec::new();
        let columns = Columns::of(batch).unwrap();
        columns.show(shown, 0, 7, &mut line);
        String::from_utf8(line).unwrap()
    }

    /// Else the engine would read more than is asked for, or what is shown would be zeros.
    #[test]
    fn a_token_is_shown_of_its_own_columns_alone() {
        let whole = schema::batch(&[flow()]).unwrap();
        for token in &TOKENS {
            let names = token.4.columns().iter();
            let places: Vec<usize> = names
                .map(|name| whole.schema().index_of(name).unwrap())
                .collect();
            let part = whole.project(&places).unwrap();
            assert_eq!(shown(&part, token.4), shown(&whole, token.4), "{token:?}");
        }
    }

    #[test]
    fn values_are_shown_as_nfdump_has_them() {
        let batch = schema::batch(&[flow()]).unwrap();
        for (token, expected) in [
            ("ts", "2023-11-14 22:13:20.123"),
            ("tsr", "1700000000.123"),
            ("td", "1.377"),
            ("sap", "10.1.2.3:40000"),
            ("dap", "[2001:db8::7]:443"),
            ("flg", "...AP.SF"),
            ("dir", "E"),
            ("bps", "71721"),
            ("bpp", "184"),
            ("sn", "10.1.2.0/24"),
            ("dn", "2001:db8::/48"),
            ("nh", "192.0.2.9"),
            ("eng", "2/3"),
            ("opkt", "0"),
            ("fl", "1"),
            ("it", "0"),
            ("cnt", "7"),
            ("mpls4", "4-0-1"),
            ("mpls", "1-0-0 2-0-0 3-0-0 4-0-1"),
            // What has no column is found by its number.
            ("dtos", "5"),
            ("fwd", "64"),
            ("mpls5", "20-0-1"),
            ("inam", "eth0"),
            ("xsa", "198.51.100.7"),
            ("nda", "2001:db8::5"),
            ("xsp", "0"),
            ("sc", ".."),
            ("cl", "0.000"),
        ] {
            let found = TOKENS.iter().find(|known| known.0 == token).unwrap();
            assert_eq!(shown(&batch, found.4), expected, "{token}");
        }
    }

    #[test]
    fn ports_of_icmp_are_type_and_code_and_flags_are_those_of_tcp() {
        let mut echo = flow();
        echo.record.protocol = 1;
        echo.record.destination_port = 8 * 256 + 3;
        let batch = schema::batch(&[echo]).unwrap();
        for (token, expected) in [
            (Shown::Port(1), "8.3"),
            (Shown::IcmpType, "8"),
            (Shown::IcmpCode, "3"),
            (Shown::Port(0), "40000"),
            (Shown::Flags, "........"),
        ] {
            assert_eq!(shown(&batch, token), expected);
        }
    }
}
