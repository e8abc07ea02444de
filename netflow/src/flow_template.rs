//! The templates flows are sent by, for v9 and IPFIX alike: definitions and records, encoded.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    ExportTime, FlowRecord, element,
    layout::Layout,
    optional,
    said::{ICMP, ICMPV6},
    set::{self, Dialect},
    template::Field,
    time,
};

/// A template the sensor sends. Ids, order and types are softflowd's, so that collectors which
/// know it know this; in Weir's own way counters are 64 bits wide, the VLAN id stands at the end, and
/// optional fields after that (see [`Layout`]).
#[derive(Clone, Debug)]
pub struct FlowTemplate {
    /// The format it is written in.
    pub(crate) dialect: Dialect,
    /// Its id.
    pub id: u16,
    /// Its fields, all of them of fixed size.
    pub fields: Vec<Field>,
    /// Who exported the flows first, if the last field is that.
    pub(crate) exporter: Option<Ipv6Addr>,
}

/// The templates a sensor sends: ICMP has its type and code in an element of its own, since there are
/// collectors that find them nowhere else.
#[derive(Clone, Debug)]
pub struct FlowTemplates {
    /// For IPv4 flows.
    pub v4: FlowTemplate,
    /// For ICMP flows.
    pub icmp_v4: FlowTemplate,
    /// For IPv6 flows.
    pub v6: FlowTemplate,
    /// For ICMPv6 flows.
    pub icmp_v6: FlowTemplate,
}

impl FlowTemplates {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// Those of a layout.
    pub(crate) fn new(dialect: Dialect, layout: &Layout) -> Self {
        let template = |v6, icmp| FlowTemplate {
            dialect,
            id: layout.id(v6, icmp),
            fields: layout.fields(dialect, v6, icmp),
            exporter: layout.exporter.filter(|_| layout.softflowd.is_none()),
        };
        Self {
            v4: template(false, false),
            icmp_v4: template(false, true),
            v6: template(true, false),
            icmp_v6: template(true, true),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&FlowTemplate; Self::COUNT] {
        [&self.v4, &self.icmp_v4, &self.v6, &self.icmp_v6]
    }

    /// The template for a record's family and protocol. ICMP of the other family is none: its type
    /// has no element there.
    #[must_use]
    pub fn of(&self, record: &FlowRecord) -> &FlowTemplate {
        match (record.v6, record.protocol) {
            (false, ICMP) => &self.icmp_v4,
            (false, _) => &self.v4,
            (true, ICMPV6) => &self.icmp_v6,
            (true, _) => &self.v6,
        }
    }

    /// Octets of the template set that defines them.
    #[must_use]
    pub fn definition_octets(&self) -> usize {
        let definitions = self.all().map(FlowTemplate::definition_octets);
        set::HEADER_OCTETS + definitions.iter().sum::<usize>()
    }

    /// Octets of the longest record.
    #[must_use]
    pub fn record_octets_max(&self) -> usize {
        let octets = self.all().map(FlowTemplate::record_octets);
        octets.into_iter().max().unwrap_or(0)
    }

    /// Appends the template set that defines them.
    pub fn encode_definition(&self, datagram: &mut Vec<u8>) {
        let length = u16::try_from(self.definition_octets()).unwrap_or(u16::MAX);
        let (id, _) = self.v4.dialect.template_sets();
        datagram.extend_from_slice(&id.to_be_bytes());
        datagram.extend_from_slice(&length.to_be_bytes());
        for template in self.all() {
            template.encode_definition(datagram);
        }
    }
}

/// Octets of an enterprise number (RFC 7011 section 3.2).
const ENTERPRISE_OCTETS: usize = 4;

impl FlowTemplate {
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
        let (of_record, exporter) = match (self.exporter, self.fields.split_last()) {
            (Some(exporter), Some((_, of_record))) => (of_record, Some(exporter)),
            _ => (&*self.fields, None),
        };
        for field in of_record {
            encode_field(datagram, *field, record, time);
        }
        if let Some(exporter) = exporter {
            match exporter.to_ipv4_mapped() {
                Some(exporter) => datagram.extend_from_slice(&exporter.octets()),
                None => datagram.extend_from_slice(&exporter.octets()),
            }
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
    let number = match field.element {
        _ if field.enterprise == element::REVERSE_PEN => reverse_number(field, record),
        _ if field.enterprise != 0 => return optional::encode(datagram, field, record),
        element::SOURCE_V6 => return datagram.extend_from_slice(&record.source.octets()),
        element::DESTINATION_V6 => return datagram.extend_from_slice(&record.destination.octets()),
        element::SOURCE_V4 => v4(record.source),
        element::DESTINATION_V4 => v4(record.destination),
        element::START_UPTIME_MS => u64::from(time.relative_ms(record.start_ns)),
        element::END_UPTIME_MS => u64::from(time.relative_ms(record.end_ns)),
        element::START_MS => record.start_ns / 1_000_000,
        element::END_MS => record.end_ns / 1_000_000,
        element::START_S => record.start_ns / 1_000_000_000,
        element::END_S => record.end_ns / 1_000_000_000,
        element::START_US => time::to_ntp_microseconds(record.start_ns),
        element::END_US => time::to_ntp_microseconds(record.end_ns),
        element::START_NS => time::to_ntp_nanoseconds(record.start_ns),
        element::END_NS => time::to_ntp_nanoseconds(record.end_ns),
        element::OCTETS => record.octets,
        element::PACKETS => record.packets,
        element::INGRESS_IFINDEX => u64::from(record.ingress_ifindex),
        element::EGRESS_IFINDEX => u64::from(record.egress_ifindex),
        element::DIRECTION => record.direction as u64,
        element::END_REASON => record.end_reason as u64,
        element::SOURCE_PORT => u64::from(record.source_port),
        element::DESTINATION_PORT | element::ICMP_TYPE_V4 | element::ICMP_TYPE_V6 => {
            u64::from(record.destination_port)
        }
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
        // A sensor that looks on changes no tag.
        element::VLAN | element::POST_VLAN => u64::from(record.vlan),
        element::BIFLOW_DIRECTION => match record.reverse {
            Some(reverse) if reverse.is_arbitrary => ARBITRARY,
            _ => INITIATOR,
        },
        _ => return optional::encode(datagram, field, record),
    };
    let octets = number.to_be_bytes();
    datagram.extend_from_slice(&octets[8 - usize::from(field.octets.min(8))..]);
}

/// biflowDirection: the record's source sent the first packet that was seen (RFC 5103 section 6.3).
const INITIATOR: u64 = 1;
/// Which of the two sent it is not known.
const ARBITRARY: u64 = 0;

/// What a field of the reverse direction says; zeros if nothing went that way. ICMP is never of two
/// directions: a reply has another type.
fn reverse_number(field: Field, record: &FlowRecord) -> u64 {
    let reverse = record.reverse.unwrap_or_default();
    match field.element {
        element::OCTETS => reverse.octets,
        element::PACKETS => reverse.packets,
        element::TOS => u64::from(reverse.tos),
        element::TCP_FLAGS => u64::from(reverse.tcp_flags),
        _ => 0,
    }
}
