//! The values of one flow after the other, appended to a line: out of the columns here, by what a token
//! shows (`show`); what is printed most has no formatting machinery behind it (`put`).

mod put;
mod show;

use anyhow::{Context as _, Result};
use arrow::{
    array::{
        AsArray as _, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray,
        StringViewArray,
    },
    datatypes::{TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
};

pub use show::Shown;

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
}
