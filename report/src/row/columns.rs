//! A batch's columns, as their types, and what a row has in them.

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

use crate::{functions, others, tokens::LABELS, write::TimeWriter};

/// A batch's columns, as their types; a column that is not there has no values.
pub struct Columns<'a> {
    pub(super) times: [&'a [i64]; 3],
    pub(super) protocol: &'a [u8],
    addresses: [Option<&'a FixedSizeBinaryArray>; 2],
    pub(super) ports: [&'a [u16]; 2],
    tcp_flags: &'a [u16],
    pub(super) tos: &'a [u8],
    pub(super) packets: &'a [u64],
    pub(super) octets: &'a [u64],
    pub(super) out_packets: &'a [u64],
    pub(super) out_octets: &'a [u64],
    pub(super) flows: &'a [u64],
    pub(super) interfaces: [&'a [u32]; 2],
    pub(super) as_numbers: [&'a [u32]; 2],
    pub(super) masks: [&'a [u8]; 2],
    pub(super) vlan: &'a [u16],
    pub(super) direction: &'a [u8],
    pub(super) end_reason: &'a [u8],
    pub(super) version: &'a [u8],
    pub(super) source_id: &'a [u32],
    pub(super) sampling: &'a [u32],
    pub(super) next_hop: Option<&'a FixedSizeBinaryArray>,
    pub(super) bgp_next_hop: Option<&'a FixedSizeBinaryArray>,
    pub(super) macs: [Option<&'a FixedSizeBinaryArray>; 2],
    pub(super) inner_vlan: Option<&'a PrimitiveArray<UInt16Type>>,
    pub(super) mpls_labels: [Option<&'a PrimitiveArray<UInt32Type>>; 4],
    pub(super) flow_label: Option<&'a PrimitiveArray<UInt32Type>>,
    pub(super) tunnel: [Option<&'a FixedSizeBinaryArray>; 2],
    others: Option<&'a MapArray>,
    exporter: Texts<'a>,
    pub(super) time_writer: TimeWriter,
}

enum Texts<'a> {
    None,
    Plain(&'a StringArray),
    View(&'a StringViewArray),
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
            time_writer: TimeWriter::default(),
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

    pub(super) fn duration_ms(&self, row: usize) -> u64 {
        functions::duration_ms(at(self.times[0], row), at(self.times[1], row))
    }

    pub(super) fn address(&self, side: usize, row: usize) -> &'a [u8] {
        octets(self.addresses[side], row).unwrap_or(&[0; 16])
    }

    pub(super) fn exporter(&self, row: usize) -> &'a str {
        match self.exporter {
            Texts::None => "",
            Texts::Plain(texts) => texts.value(row),
            Texts::View(texts) => texts.value(row),
        }
    }

    pub(super) fn flags(&self, row: usize) -> u16 {
        const TCP: u8 = 6;
        match at(self.protocol, row) {
            TCP => at(self.tcp_flags, row),
            _ => 0,
        }
    }

    pub(super) fn is_icmp(&self, row: usize) -> bool {
        matches!(at(self.protocol, row), 1 | 58)
    }

    /// ICMP type and code; 0 of other protocols.
    pub(super) fn icmp(&self, row: usize) -> u16 {
        if self.is_icmp(row) {
            at(self.ports[1], row)
        } else {
            0
        }
    }

    /// The octets of an element that has no column.
    pub(super) fn other(&self, key: &str, row: usize) -> Option<&'a [u8]> {
        others::other(self.others?, key, row)
    }
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

fn texts<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<Texts<'a>> {
    let texts = column(batch, name, |column| match column.as_string_view_opt() {
        Some(views) => Some(Texts::View(views)),
        None => column.as_string_opt::<i32>().map(Texts::Plain),
    })?;
    Ok(texts.unwrap_or(Texts::None))
}

/// A value; 0 of a column that is not there.
pub(super) fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

/// A number; 0 if it is not known.
pub(super) fn known<T: ArrowPrimitiveType>(
    numbers: Option<&PrimitiveArray<T>>,
    row: usize,
) -> T::Native {
    let numbers = numbers.filter(|numbers| numbers.is_valid(row));
    numbers
        .map(|numbers| numbers.value(row))
        .unwrap_or_default()
}

/// Octets, if they are known.
pub(super) fn octets(values: Option<&FixedSizeBinaryArray>, row: usize) -> Option<&[u8]> {
    let values = values.filter(|values| values.is_valid(row))?;
    Some(values.value(row))
}
