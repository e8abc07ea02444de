//! The templates flows are sent by, for v9 and IPFIX alike: definitions and records, encoded.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    ExportTime, FlowRecord, Optional,
    element::{self, Element},
    optional,
    set::{self, Dialect},
    template::Field,
};

/// A template the sensor sends. Ids, order and types are softflowd's, so that collectors which
/// know it know this; counters are 64 bits wide, the VLAN id stands at the end, and optional fields
/// after that.
#[derive(Clone, Debug)]
pub struct FlowTemplate {
    /// The format it is written in.
    pub(crate) dialect: Dialect,
    /// Its id.
    pub id: u16,
    /// Its fields, all of them of fixed size.
    pub fields: Cow<'static, [Field]>,
}

/// The templates a sensor sends.
#[derive(Clone, Debug)]
pub struct FlowTemplates {
    /// For IPv4 flows.
    pub v4: FlowTemplate,
    /// For IPv6 flows.
    pub v6: FlowTemplate,
}

impl FlowTemplates {
    /// These with optional fields.
    pub(crate) fn new(v4: &FlowTemplate, v6: &FlowTemplate, optional: Optional) -> Self {
        Self {
            v4: v4.with(optional.number(), optional.fields(v4.dialect, false)),
            v6: v6.with(optional.number(), optional.fields(v6.dialect, true)),
        }
    }

    /// The template for a record's family.
    #[must_use]
    pub fn of(&self, record: &FlowRecord) -> &FlowTemplate {
        if record.v6 { &self.v6 } else { &self.v4 }
    }

    /// Octets of the template set that defines both.
    #[must_use]
    pub fn definition_octets(&self) -> usize {
        set::HEADER_OCTETS + self.v4.definition_octets() + self.v6.definition_octets()
    }

    /// Appends the template set that defines both.
    pub fn encode_definition(&self, datagram: &mut Vec<u8>) {
        let length = u16::try_from(self.definition_octets()).unwrap_or(u16::MAX);
        let (id, _) = self.v4.dialect.template_sets();
        datagram.extend_from_slice(&id.to_be_bytes());
        datagram.extend_from_slice(&length.to_be_bytes());
        self.v4.encode_definition(datagram);
        self.v6.encode_definition(datagram);
    }
}

/// Octets of an enterprise number (RFC 7011 section 3.2).
const ENTERPRISE_OCTETS: usize = 4;
/// The id of softflowd's template for IPv4.
pub(crate) const ID_V4: u16 = 1024;
/// The id of the one for IPv6.
pub(crate) const ID_V6: u16 = 2048;

/// Fields of IPv4 flows that start and end with these elements of so many octets.
pub(crate) const fn fields_v4(start: Element, end: Element, time_octets: u16) -> [Field; 17] {
    fields(
        [
            Field::new(element::SOURCE_V4, 4),
            Field::new(element::DESTINATION_V4, 4),
        ],
        [Field::new(start, time_octets), Field::new(end, time_octets)],
    )
}

/// Fields of IPv6 flows, likewise.
pub(crate) const fn fields_v6(start: Element, end: Element, time_octets: u16) -> [Field; 17] {
    fields(
        [
            Field::new(element::SOURCE_V6, 16),
            Field::new(element::DESTINATION_V6, 16),
        ],
        [Field::new(start, time_octets), Field::new(end, time_octets)],
    )
}

const fn fields(addresses: [Field; 2], times: [Field; 2]) -> [Field; 17] {
    let [source, destination] = addresses;
    let [start, end] = times;
    [
        source,
        destination,
        start,
        end,
        Field::new(element::OCTETS, 8),
        Field::new(element::PACKETS, 8),
        Field::new(element::INGRESS_IFINDEX, 4),
        Field::new(element::EGRESS_IFINDEX, 4),
        Field::new(element::DIRECTION, 1),
        Field::new(element::END_REASON, 1),
        Field::new(element::SOURCE_PORT, 2),
        Field::new(element::DESTINATION_PORT, 2),
        Field::new(element::PROTOCOL, 1),
        Field::new(element::TCP_FLAGS, 1),
        Field::new(element::IP_VERSION, 1),
        Field::new(element::TOS, 1),
        Field::new(element::VLAN, 2),
    ]
}

impl FlowTemplate {
    /// The same with more fields, the `number`-th set of them. Its id differs, so that a collector
    /// that missed a new definition does not read records by the old one. It is even, since odd ones
    /// are softflowd's for ICMP.
    fn with(&self, number: u8, more: impl Iterator<Item = Field>) -> Self {
        Self {
            dialect: self.dialect,
            id: self.id + 2 * u16::from(number),
            fields: self.fields.iter().copied().chain(more).collect(),
        }
    }

    /// Octets of a record.
    #[must_use]
    pub fn record_octets(&self) -> usize {
        self.fields
            .iter()
            .map(|field| usize::from(field.octets))
            .sum()
    }

    /// Octets of the definition in a template set.
    #[must_use]
    pub fn definition_octets(&self) -> usize {
        let has_number = |field: &&Field| self.dialect == Dialect::Ipfix && field.enterprise != 0;
        let enterprise_numbers = self.fields.iter().filter(has_number).count();
        4 + set::FIELD_OCTETS * self.fields.len() + ENTERPRISE_OCTETS * enterprise_numbers
    }

    /// Appends the definition.
    pub fn encode_definition(&self, datagram: &mut Vec<u8>) {
        let count = u16::try_from(self.fields.len()).unwrap_or(u16::MAX);
        datagram.extend_from_slice(&self.id.to_be_bytes());
        datagram.extend_from_slice(&count.to_be_bytes());
        encode_fields(datagram, self.dialect, &self.fields);
    }

    /// Appends a record.
    pub fn encode_record(&self, datagram: &mut Vec<u8>, record: &FlowRecord, time: &ExportTime) {
        for field in &*self.fields {
            encode_field(datagram, *field, record, time);
        }
    }
}

/// Appends field specifiers. In v9 ntop's elements have numbers of their own beyond the others.
pub(crate) fn encode_fields(datagram: &mut Vec<u8>, dialect: Dialect, fields: &[Field]) {
    for field in fields {
        let element = match (dialect, field.enterprise) {
            (Dialect::Ipfix, 1..) => field.element | set::ENTERPRISE,
            (Dialect::V9, element::NTOP_PEN) => field.element + set::NTOP_V9_BASE,
            _ => field.element,
        };
        datagram.extend_from_slice(&element.to_be_bytes());
        datagram.extend_from_slice(&field.octets.to_be_bytes());
        if dialect == Dialect::Ipfix && field.enterprise != 0 {
            datagram.extend_from_slice(&field.enterprise.to_be_bytes());
        }
    }
}

fn encode_field(datagram: &mut Vec<u8>, field: Field, record: &FlowRecord, time: &ExportTime) {
    let v4 = |address: Ipv6Addr| {
        u64::from(u32::from(
            address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
        ))
    };
    if field.enterprise != 0 {
        return optional::encode(datagram, field, record);
    }
    let number = match field.element {
        element::SOURCE_V6 => return datagram.extend_from_slice(&record.source.octets()),
        element::DESTINATION_V6 => return datagram.extend_from_slice(&record.destination.octets()),
        element::SOURCE_V4 => v4(record.source),
        element::DESTINATION_V4 => v4(record.destination),
        element::START_UPTIME_MS => u64::from(time.relative_ms(record.start_ns)),
        element::END_UPTIME_MS => u64::from(time.relative_ms(record.end_ns)),
        element::START_MS => record.start_ns / 1_000_000,
        element::END_MS => record.end_ns / 1_000_000,
        element::OCTETS => record.octets,
        element::PACKETS => record.packets,
        element::INGRESS_IFINDEX => u64::from(record.ingress_ifindex),
        element::EGRESS_IFINDEX => u64::from(record.egress_ifindex),
        element::DIRECTION => record.direction as u64,
        element::END_REASON => record.end_reason as u64,
        element::SOURCE_PORT => u64::from(record.source_port),
        element::DESTINATION_PORT => u64::from(record.destination_port),
        element::PROTOCOL => u64::from(record.protocol),
        element::TCP_FLAGS => u64::from(record.tcp_flags),
        element::IP_VERSION => {
            if record.v6 {
                6
            } else {
                4
            }
        }
        element::TOS => u64::from(record.tos),
        element::VLAN => u64::from(record.vlan),
        _ => return optional::encode(datagram, field, record),
    };
    let octets = number.to_be_bytes();
    datagram.extend_from_slice(&octets[8 - usize::from(field.octets.min(8))..]);
}
