//! NetFlow v9 (RFC 3954): a header of 20 octets, then FlowSets: templates, options templates, and
//! data that only a template explains.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    Direction, EndReason, ExportTime, FlowRecord, Malformed, Optional, Sampling,
    element::{self, Element},
    low32, optional, read,
};

/// The version field.
pub const VERSION: u16 = 9;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 20;
/// Octets of a FlowSet's header.
pub const SET_HEADER_OCTETS: usize = 4;
/// FlowSet id of templates.
pub const TEMPLATE_SET: u16 = 0;
/// FlowSet id of options templates.
pub const OPTIONS_TEMPLATE_SET: u16 = 1;
/// Template ids, and so data FlowSet ids, begin here.
pub const TEMPLATE_ID_MIN: u16 = 256;

/// A datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Records of all kinds that follow; exporters disagree about it, nothing here relies on it.
    pub count: u16,
    /// The exporter's clocks; the wire has whole seconds.
    pub time: ExportTime,
    /// Datagrams exported before this one (RFC 3954 section 5.1), modulo 2³².
    pub sequence: u32,
    /// Observation domain.
    pub source_id: u32,
}

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub element: Element,
    /// Its octets.
    pub octets: u16,
}

pub(crate) const fn field(element: Element, octets: u16) -> Field {
    Field { element, octets }
}

/// A template, or an options template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: u16,
    /// Fields that say what the rest is about; none in a flow template.
    pub scope_fields: usize,
    /// All fields in order, the scope's first.
    pub fields: Vec<Field>,
}

impl Template {
    /// Fields a template may have; more is refused, so that one datagram cannot take much memory.
    pub const FIELDS_MAX: usize = 1024;

    /// Octets of a record.
    #[must_use]
    pub fn record_octets(&self) -> usize {
        self.fields
            .iter()
            .map(|field| usize::from(field.octets))
            .sum()
    }

    /// Whether its records are about the exporter, not about flows.
    #[must_use]
    pub fn is_options(&self) -> bool {
        self.scope_fields > 0
    }
}

/// A template the sensor sends. Ids, order and types are softflowd's, so that collectors which
/// know it know this; counters are 64 bits wide and the VLAN id stands at the end.
#[derive(Clone, Debug)]
pub struct FlowTemplate {
    /// Its id.
    pub id: u16,
    /// Its fields.
    pub fields: Cow<'static, [Field]>,
}

/// IPv4 flows, without optional fields.
pub static FLOWS_V4: FlowTemplate = FlowTemplate {
    id: 1024,
    fields: Cow::Borrowed(V4_FIELDS),
};

const V4_FIELDS: &[Field] = &[
    field(element::SOURCE_V4, 4),
    field(element::DESTINATION_V4, 4),
    field(element::START_UPTIME_MS, 4),
    field(element::END_UPTIME_MS, 4),
    field(element::OCTETS, 8),
    field(element::PACKETS, 8),
    field(element::INGRESS_IFINDEX, 4),
    field(element::EGRESS_IFINDEX, 4),
    field(element::DIRECTION, 1),
    field(element::END_REASON, 1),
    field(element::SOURCE_PORT, 2),
    field(element::DESTINATION_PORT, 2),
    field(element::PROTOCOL, 1),
    field(element::TCP_FLAGS, 1),
    field(element::IP_VERSION, 1),
    field(element::TOS, 1),
    field(element::VLAN, 2),
];

/// IPv6 flows, without optional fields.
pub static FLOWS_V6: FlowTemplate = FlowTemplate {
    id: 2048,
    fields: Cow::Borrowed(V6_FIELDS),
};

const V6_FIELDS: &[Field] = &[
    field(element::SOURCE_V6, 16),
    field(element::DESTINATION_V6, 16),
    field(element::START_UPTIME_MS, 4),
    field(element::END_UPTIME_MS, 4),
    field(element::OCTETS, 8),
    field(element::PACKETS, 8),
    field(element::INGRESS_IFINDEX, 4),
    field(element::EGRESS_IFINDEX, 4),
    field(element::DIRECTION, 1),
    field(element::END_REASON, 1),
    field(element::SOURCE_PORT, 2),
    field(element::DESTINATION_PORT, 2),
    field(element::PROTOCOL, 1),
    field(element::TCP_FLAGS, 1),
    field(element::IP_VERSION, 1),
    field(element::TOS, 1),
    field(element::VLAN, 2),
];

/// The templates a sensor sends.
#[derive(Clone, Debug)]
pub struct FlowTemplates {
    /// For IPv4 flows.
    pub v4: FlowTemplate,
    /// For IPv6 flows.
    pub v6: FlowTemplate,
}

impl FlowTemplates {
    /// With these optional fields. Without any they are [`FLOWS_V4`] and [`FLOWS_V6`].
    #[must_use]
    pub fn new(optional: Optional) -> Self {
        Self {
            v4: FLOWS_V4.with(optional.number(), optional.fields(false)),
            v6: FLOWS_V6.with(optional.number(), optional.fields(true)),
        }
    }

    /// The template for a record's family.
    #[must_use]
    pub fn of(&self, record: &FlowRecord) -> &FlowTemplate {
        if record.v6 { &self.v6 } else { &self.v4 }
    }

    /// Octets of the template FlowSet that defines both.
    #[must_use]
    pub fn definition_octets(&self) -> usize {
        SET_HEADER_OCTETS + self.v4.definition_octets() + self.v6.definition_octets()
    }

    /// Appends the template FlowSet that defines both.
    pub fn encode_definition(&self, datagram: &mut Vec<u8>) {
        let length = u16::try_from(self.definition_octets()).unwrap_or(u16::MAX);
        datagram.extend_from_slice(&TEMPLATE_SET.to_be_bytes());
        datagram.extend_from_slice(&length.to_be_bytes());
        self.v4.encode_definition(datagram);
        self.v6.encode_definition(datagram);
    }
}

impl FlowTemplate {
    /// The same with more fields, the `number`-th set of them. Its id differs, so that a collector
    /// that missed a new definition does not read records by the old one. It is even, since odd ones
    /// are softflowd's for ICMP.
    fn with(&self, number: u8, more: impl Iterator<Item = Field>) -> Self {
        Self {
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

    /// Octets of the definition in a template FlowSet.
    #[must_use]
    pub fn definition_octets(&self) -> usize {
        4 + 4 * self.fields.len()
    }

    /// Appends the definition.
    pub fn encode_definition(&self, datagram: &mut Vec<u8>) {
        datagram.extend_from_slice(&self.id.to_be_bytes());
        datagram.extend_from_slice(
            &u16::try_from(self.fields.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        for field in &*self.fields {
            datagram.extend_from_slice(&field.element.to_be_bytes());
            datagram.extend_from_slice(&field.octets.to_be_bytes());
        }
    }

    /// Appends a record.
    pub fn encode_record(&self, datagram: &mut Vec<u8>, record: &FlowRecord, time: &ExportTime) {
        for field in &*self.fields {
            encode_field(datagram, *field, record, time);
        }
    }
}

/// The options templates that say how packets were chosen, for all of the exporter (scope System).
///
/// Each has the interval, and what it says is the same. Most collectors want the algorithm with it;
/// nfcapd 1.7.1, which is Debian 12's, takes an interval only from a template without one, and those
/// that want both leave that template alone. The fuller one comes last.
const SAMPLING_TEMPLATES: [(u16, &[Field]); 2] = [
    (513, &[field(element::SAMPLING_INTERVAL, 4)]),
    (
        512,
        &[
            field(element::SAMPLING_INTERVAL, 4),
            field(element::SAMPLING_ALGORITHM, 1),
        ],
    ),
];
/// Octets that [`encode_sampling`] appends: 20 and 12 for the one, 24 and 16 for the other.
pub const SAMPLING_OCTETS: usize = 72;
/// Records that it appends, templates included, as a header's count has them.
pub const SAMPLING_RECORDS: usize = 2 * SAMPLING_TEMPLATES.len();

/// Appends what is said about sampling: options templates, each with its one record (RFC 3954 section
/// 6.1). FlowSets end on four octets; each template has its own, since nfcapd reads but the first.
pub fn encode_sampling(datagram: &mut Vec<u8>, sampling: &Sampling, source_id: u32) {
    const SCOPE_SYSTEM: u16 = 1;
    const SCOPE_OCTETS: u16 = 4;
    for (id, fields) in SAMPLING_TEMPLATES {
        let fields_octets = 4 * u16::try_from(fields.len()).unwrap_or(u16::MAX / 4);
        let mut definition = Vec::new();
        for word in [id, 4, fields_octets, SCOPE_SYSTEM, SCOPE_OCTETS] {
            definition.extend_from_slice(&word.to_be_bytes());
        }
        let mut record = source_id.to_be_bytes().to_vec();
        for field in fields {
            definition.extend_from_slice(&field.element.to_be_bytes());
            definition.extend_from_slice(&field.octets.to_be_bytes());
            match field.element {
                element::SAMPLING_INTERVAL => {
                    record.extend_from_slice(&sampling.interval.to_be_bytes());
                }
                _ => record.push(sampling.algorithm()),
            }
        }
        push_set(datagram, OPTIONS_TEMPLATE_SET, &definition);
        push_set(datagram, id, &record);
    }
}

/// Appends a FlowSet, padded to four octets (RFC 3954 section 5.3).
fn push_set(datagram: &mut Vec<u8>, id: u16, body: &[u8]) {
    let octets = (SET_HEADER_OCTETS + body.len()).next_multiple_of(4);
    let end = datagram.len() + octets;
    datagram.extend_from_slice(&id.to_be_bytes());
    datagram.extend_from_slice(&u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes());
    datagram.extend_from_slice(body);
    datagram.resize(end, 0);
}

fn encode_field(datagram: &mut Vec<u8>, field: Field, record: &FlowRecord, time: &ExportTime) {
    let v4 = |address: Ipv6Addr| {
        u64::from(u32::from(
            address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
        ))
    };
    let number = match field.element {
        element::SOURCE_V6 => return datagram.extend_from_slice(&record.source.octets()),
        element::DESTINATION_V6 => return datagram.extend_from_slice(&record.destination.octets()),
        element::SOURCE_V4 => v4(record.source),
        element::DESTINATION_V4 => v4(record.destination),
        element::START_UPTIME_MS => u64::from(time.relative_ms(record.start_ns)),
        element::END_UPTIME_MS => u64::from(time.relative_ms(record.end_ns)),
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

/// The header's octets.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    octets[0..2].copy_from_slice(&VERSION.to_be_bytes());
    octets[2..4].copy_from_slice(&header.count.to_be_bytes());
    octets[4..8].copy_from_slice(&low32(header.time.uptime_ms).to_be_bytes());
    octets[8..12].copy_from_slice(&low32(header.time.unix_ns / 1_000_000_000).to_be_bytes());
    octets[12..16].copy_from_slice(&header.sequence.to_be_bytes());
    octets[16..20].copy_from_slice(&header.source_id.to_be_bytes());
    octets
}

/// What a FlowSet holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set<'a> {
    /// Templates or options templates.
    Templates(Vec<Template>),
    /// Records of the template with this id, and perhaps padding.
    Data {
        /// The template's id.
        id: u16,
        /// The records' octets.
        octets: &'a [u8],
    },
    /// A reserved id (2–255).
    Reserved,
}

/// Reads a datagram's header.
///
/// # Errors
/// If it is no v9 datagram.
pub fn decode_header(datagram: &[u8]) -> Result<Header, Malformed> {
    let octets = datagram.len();
    if octets < HEADER_OCTETS {
        return Err(Malformed::TooShort { octets });
    }
    let version = read::u16(datagram, 0);
    if version != VERSION {
        return Err(Malformed::Version { version });
    }
    Ok(Header {
        count: read::u16(datagram, 2),
        time: ExportTime {
            uptime_ms: u64::from(read::u32(datagram, 4)),
            unix_ns: u64::from(read::u32(datagram, 8)) * 1_000_000_000,
        },
        sequence: read::u32(datagram, 12),
        source_id: read::u32(datagram, 16),
    })
}

/// Reads a datagram's FlowSets, by their lengths, never by the header's count. All of them or
/// none: a caller applies templates only once the whole datagram made sense. Zeros up to the end
/// (some exporters fill a fixed size) are padding.
///
/// # Errors
/// At the first FlowSet or template that cannot be.
pub fn decode_sets(datagram: &[u8]) -> Result<Vec<Set<'_>>, Malformed> {
    let mut sets = Vec::new();
    let mut offset = HEADER_OCTETS;
    while datagram.len().saturating_sub(offset) >= SET_HEADER_OCTETS {
        let id = read::u16(datagram, offset);
        let length = read::u16(datagram, offset + 2);
        let end = offset + usize::from(length);
        if id == 0 && length == 0 && datagram[offset..].iter().all(|octet| *octet == 0) {
            break;
        }
        if usize::from(length) < SET_HEADER_OCTETS || end > datagram.len() {
            return Err(Malformed::SetLength { length, offset });
        }
        let body = &datagram[offset + SET_HEADER_OCTETS..end];
        sets.push(match id {
            TEMPLATE_SET => Set::Templates(templates(body, offset + SET_HEADER_OCTETS)?),
            OPTIONS_TEMPLATE_SET => {
                Set::Templates(options_templates(body, offset + SET_HEADER_OCTETS)?)
            }
            TEMPLATE_ID_MIN.. => Set::Data { id, octets: body },
            _ => Set::Reserved,
        });
        offset = end;
    }
    Ok(sets)
}

fn templates(body: &[u8], base: usize) -> Result<Vec<Template>, Malformed> {
    let mut templates = Vec::new();
    let mut at = 0;
    while body.len() - at >= 4 {
        let (id, count) = (read::u16(body, at), usize::from(read::u16(body, at + 2)));
        if id == 0 && count == 0 {
            break;
        }
        templates.push(template(body, base, at, 4, id, 0, count)?);
        at += 4 + 4 * count;
    }
    Ok(templates)
}

fn options_templates(body: &[u8], base: usize) -> Result<Vec<Template>, Malformed> {
    let mut templates = Vec::new();
    let mut at = 0;
    while body.len() - at >= 6 {
        let id = read::u16(body, at);
        let (scope, options) = (
            usize::from(read::u16(body, at + 2)),
            usize::from(read::u16(body, at + 4)),
        );
        if id == 0 && scope == 0 && options == 0 {
            break;
        }
        if scope % 4 != 0 || options % 4 != 0 {
            return Err(Malformed::Template {
                id,
                offset: base + at,
                reason: "lengths are no multiples of 4",
            });
        }
        // A scope of no octets occurs; the record is about the exporter all the same.
        let mut template = template(body, base, at, 6, id, scope / 4, (scope + options) / 4)?;
        template.scope_fields = template.scope_fields.max(1);
        templates.push(template);
        at += 6 + scope + options;
    }
    Ok(templates)
}

fn template(
    body: &[u8],
    base: usize,
    at: usize,
    header_octets: usize,
    id: u16,
    scope_fields: usize,
    count: usize,
) -> Result<Template, Malformed> {
    let refuse = |reason| Malformed::Template {
        id,
        offset: base + at,
        reason,
    };
    if id < TEMPLATE_ID_MIN {
        return Err(refuse("the id is below 256"));
    }
    if count > Template::FIELDS_MAX {
        return Err(refuse("too many fields"));
    }
    let fields = body
        .get(at + header_octets..at + header_octets + 4 * count)
        .ok_or_else(|| refuse("its fields go beyond the FlowSet"))?
        .chunks_exact(4)
        .map(|octets| field(read::u16(octets, 0), read::u16(octets, 2)));
    // Fields of no octets occur (Cisco); they are in no record, and so not worth keeping.
    let used = |field: &Field| field.octets > 0;
    let template = Template {
        id,
        scope_fields: fields.clone().take(scope_fields).filter(used).count(),
        fields: fields.filter(used).collect(),
    };
    match template.record_octets() {
        0 => Err(refuse("its records have no octets")),
        1..=65_535 => Ok(template),
        _ => Err(refuse("its records are larger than a datagram")),
    }
}

/// The flow records in a data FlowSet. What is left over is shorter than a record: padding.
pub fn records<'a>(
    template: &'a Template,
    octets: &'a [u8],
    header: &'a Header,
) -> impl Iterator<Item = FlowRecord> + 'a {
    octets
        .chunks_exact(template.record_octets().max(1))
        .map(move |octets| record(template, octets, header))
}

/// Number of records in a data FlowSet.
#[must_use]
pub fn record_count(template: &Template, octets: &[u8]) -> usize {
    octets.len() / template.record_octets().max(1)
}

/// The sampling interval an options record announces, if it does.
#[must_use]
pub fn sampling_interval(template: &Template, octets: &[u8]) -> Option<u32> {
    let mut rest = octets;
    for (index, field) in template.fields.iter().enumerate() {
        let (value, after) = rest.split_at_checked(usize::from(field.octets))?;
        rest = after;
        let announces = matches!(
            field.element,
            element::SAMPLING_INTERVAL | element::SAMPLER_INTERVAL
        );
        if index >= template.scope_fields && announces {
            return u32::try_from(number(value)).ok();
        }
    }
    None
}

fn record(template: &Template, octets: &[u8], header: &Header) -> FlowRecord {
    let time = &header.time;
    let mut record = FlowRecord {
        start_ns: time.unix_ns,
        end_ns: time.unix_ns,
        ..FlowRecord::default()
    };
    let mut rest = octets;
    for field in &template.fields {
        let Some((value, after)) = rest.split_at_checked(usize::from(field.octets)) else {
            break;
        };
        rest = after;
        decode_field(&mut record, field.element, value, time);
    }
    record
}

fn decode_field(record: &mut FlowRecord, element: Element, value: &[u8], time: &ExportTime) {
    if value.is_empty() {
        return;
    }
    let number = number(value);
    match element {
        element::SOURCE_V4 | element::DESTINATION_V4 | element::NEXT_HOP_V4 => {
            let address = Ipv4Addr::from(low32(number)).to_ipv6_mapped();
            match element {
                element::SOURCE_V4 if number != 0 || !record.v6 => record.source = address,
                element::DESTINATION_V4 if number != 0 || !record.v6 => {
                    record.destination = address;
                }
                element::NEXT_HOP_V4 if number != 0 => record.next_hop = address,
                _ => {}
            }
        }
        element::SOURCE_V6 | element::DESTINATION_V6 | element::NEXT_HOP_V6 => {
            decode_v6(record, element, value);
        }
        element::START_UPTIME_MS => record.start_ns = time.absolute_ns(low32(number)),
        element::END_UPTIME_MS => record.end_ns = time.absolute_ns(low32(number)),
        element::START_S => record.start_ns = number.saturating_mul(1_000_000_000),
        element::END_S => record.end_ns = number.saturating_mul(1_000_000_000),
        element::START_MS => record.start_ns = number.saturating_mul(1_000_000),
        element::END_MS => record.end_ns = number.saturating_mul(1_000_000),
        element::OCTETS | element::TOTAL_OCTETS | element::INITIATOR_OCTETS => {
            record.octets = number;
        }
        element::PACKETS | element::TOTAL_PACKETS | element::INITIATOR_PACKETS => {
            record.packets = number;
        }
        element::OUT_OCTETS if record.octets == 0 => record.octets = number,
        element::OUT_PACKETS if record.packets == 0 => record.packets = number,
        element::END_REASON => record.end_reason = EndReason::from_number(low8(number)),
        element::DIRECTION => {
            record.direction = if number == 1 {
                Direction::Egress
            } else {
                Direction::Ingress
            };
        }
        element::INGRESS_IFINDEX => record.ingress_ifindex = low32(number),
        element::EGRESS_IFINDEX => record.egress_ifindex = low32(number),
        element::SOURCE_AS => record.source_as = low32(number),
        element::DESTINATION_AS => record.destination_as = low32(number),
        element::SAMPLING_INTERVAL | element::SAMPLER_INTERVAL => {
            record.sampling_interval = low32(number).max(1);
        }
        element::IP_VERSION => record.v6 = number == 6 || (number != 4 && record.v6),
        _ => decode_small_field(record, element, value, number),
    }
}

/// Fields of one or two octets, and the optional ones.
fn decode_small_field(record: &mut FlowRecord, element: Element, value: &[u8], number: u64) {
    let [low, high, ..] = number.to_le_bytes();
    let number16 = u16::from_le_bytes([low, high]);
    match element {
        element::PROTOCOL => record.protocol = low,
        element::TOS => record.tos = low,
        element::TCP_FLAGS => record.tcp_flags = number16,
        element::SOURCE_PORT => record.source_port = number16,
        element::DESTINATION_PORT if number16 != 0 || record.destination_port == 0 => {
            record.destination_port = number16;
        }
        element::ICMP_TYPE_V4 | element::ICMP_TYPE_V6 if number16 != 0 => {
            record.destination_port = number16;
        }
        element::SOURCE_MASK_V4 | element::SOURCE_MASK_V6 if low != 0 => record.source_mask = low,
        element::DESTINATION_MASK_V4 | element::DESTINATION_MASK_V6 if low != 0 => {
            record.destination_mask = low;
        }
        element::VLAN | element::DOT1Q_VLAN if number16 != 0 => record.vlan = number16 & 0x0fff,
        _ => optional::decode(record, element, value),
    }
}

/// IPv6 addresses; templates that carry both families fill the unused one with zeros.
fn decode_v6(record: &mut FlowRecord, element: Element, value: &[u8]) {
    let Ok(octets) = <[u8; 16]>::try_from(value) else {
        return;
    };
    let address = Ipv6Addr::from(octets);
    if address.is_unspecified() && record.source.to_ipv4_mapped().is_some() {
        return;
    }
    match element {
        element::SOURCE_V6 => {
            record.source = address;
            record.v6 = true;
        }
        element::DESTINATION_V6 => {
            record.destination = address;
            record.v6 = true;
        }
        _ => record.next_hop = address,
    }
}

/// An unsigned number of any width (RFC 7011 section 6.2 allows each); of wider ones the low end.
pub(crate) fn number(octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn low8(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: ExportTime = ExportTime {
        unix_ns: 1_700_000_000_000_000_000,
        uptime_ms: 100_000,
    };
    const HEADER: Header = Header {
        count: 1,
        time: TIME,
        sequence: 7,
        source_id: 3,
    };

    fn template_of(flow: &FlowTemplate) -> Template {
        Template {
            id: flow.id,
            scope_fields: 0,
            fields: flow.fields.to_vec(),
        }
    }

    #[test]
    fn golden_header() {
        assert_eq!(
            encode_header(&HEADER),
            [
                0, 9, 0, 1, 0, 1, 0x86, 0xa0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 7, 0, 0, 0, 3
            ]
        );
        assert_eq!(decode_header(&encode_header(&HEADER)), Ok(HEADER));
    }

    #[test]
    fn records_of_both_families_come_back() {
        let v4 = FlowRecord {
            source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
            source_port: 4000,
            destination_port: 53,
            protocol: 17,
            tos: 4,
            tcp_flags: 0,
            octets: u64::MAX,
            packets: 1 << 40,
            start_ns: TIME.unix_ns - 3_000_000,
            end_ns: TIME.unix_ns,
            ingress_ifindex: 70_000,
            egress_ifindex: 1,
            vlan: 100,
            direction: Direction::Egress,
            end_reason: EndReason::ActiveTimeout,
            ..FlowRecord::default()
        };
        let v6 = FlowRecord {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            v6: true,
            ..v4
        };
        for record in [v4, v6] {
            let templates = FlowTemplates::new(Optional::NONE);
            let flow = templates.of(&record);
            let mut octets = Vec::new();
            flow.encode_record(&mut octets, &record, &TIME);
            assert_eq!(octets.len(), flow.record_octets());
            octets.extend_from_slice(&[0; 3]);
            let back: Vec<_> = records(&template_of(flow), &octets, &HEADER).collect();
            assert_eq!(back, [record]);
        }
    }

    #[test]
    fn template_sets_come_back() {
        let some = Optional::MAC.and(Optional::OUTER);
        for (optional, fields) in [(Optional::NONE, 17), (some, 23)] {
            let templates = FlowTemplates::new(optional);
            let mut datagram = encode_header(&HEADER).to_vec();
            templates.encode_definition(&mut datagram);
            assert_eq!(
                datagram.len(),
                HEADER_OCTETS + templates.definition_octets()
            );
            let expected = [&templates.v4, &templates.v6].map(template_of);
            assert_eq!(expected.each_ref().map(|one| one.fields.len()), [fields; 2]);
            let expected = Set::Templates(expected.to_vec());
            assert_eq!(decode_sets(&datagram), Ok(vec![expected]));
        }
    }

    fn with_sets(sets: &[u8]) -> Vec<u8> {
        [&encode_header(&HEADER)[..], sets].concat()
    }

    #[test]
    fn impossible_sets_are_refused() {
        for length in [0u8, 3, 9] {
            let datagram = with_sets(&[1, 0, 0, length, 1, 2, 3, 4]);
            assert_eq!(
                decode_sets(&datagram),
                Err(Malformed::SetLength {
                    length: u16::from(length),
                    offset: 20
                })
            );
        }
    }

    #[test]
    fn zeros_to_the_end_are_padding() {
        assert_eq!(decode_sets(&with_sets(&[0; 100])), Ok(vec![]));
    }

    #[test]
    fn impossible_templates_are_refused() {
        let cases: [(&[u8], &str); 5] = [
            (
                &[0, 0, 0, 12, 0, 255, 0, 1, 0, 8, 0, 4],
                "the id is below 256",
            ),
            (
                &[0, 0, 0, 12, 1, 0, 0, 2, 0, 8, 0, 4],
                "its fields go beyond the FlowSet",
            ),
            (&[0, 0, 0, 8, 1, 0, 255, 255], "too many fields"),
            (
                &[0, 0, 0, 12, 1, 0, 0, 1, 0, 8, 0, 0],
                "its records have no octets",
            ),
            (
                &[0, 1, 0, 12, 1, 0, 0, 3, 0, 4, 0, 0],
                "lengths are no multiples of 4",
            ),
        ];
        for (sets, reason) in cases {
            match decode_sets(&with_sets(sets)) {
                Err(Malformed::Template { reason: found, .. }) => assert_eq!(found, reason),
                other => panic!("{other:?} instead of {reason}"),
            }
        }
    }

    #[test]
    fn an_options_record_announces_sampling() {
        let datagram = with_sets(&[
            0, 1, 0, 22, // options templates
            1, 1, 0, 4, 0, 8, // id 257, 4 octets of scope fields, 8 of option fields
            0, 1, 0, 4, // System
            0, 34, 0, 4, // SAMPLING_INTERVAL
            0, 35, 0, 1, // SAMPLING_ALGORITHM
        ]);
        let sets = decode_sets(&datagram).unwrap();
        let [Set::Templates(templates)] = &sets[..] else {
            panic!("{sets:?}")
        };
        assert!(templates[0].is_options());
        assert_eq!(
            sampling_interval(&templates[0], &[0, 0, 0, 1, 0, 0, 0x03, 0xe8, 1]),
            Some(1000)
        );
    }

    #[test]
    fn golden_sampling() {
        let sampling = Sampling {
            interval: 1000,
            random: true,
        };
        let mut octets = Vec::new();
        encode_sampling(&mut octets, &sampling, 7);
        #[rustfmt::skip]
        let expected = [
            0, 1, 0, 20,            // options templates, 20 octets
            2, 1, 0, 4, 0, 4,       // id 513, 4 octets of scope fields, 4 of option fields
            0, 1, 0, 4,             // System
            0, 34, 0, 4, 0, 0,      // SAMPLING_INTERVAL, padding
            2, 1, 0, 12,            // records of 513, 12 octets
            0, 0, 0, 7,             // source id
            0, 0, 0x03, 0xe8,       // one in 1,000
            0, 1, 0, 24,            // options templates, 24 octets
            2, 0, 0, 4, 0, 8,       // id 512, 4 octets of scope fields, 8 of option fields
            0, 1, 0, 4,             // System
            0, 34, 0, 4,            // SAMPLING_INTERVAL
            0, 35, 0, 1, 0, 0,      // SAMPLING_ALGORITHM, padding
            2, 0, 0, 16,            // records of 512, 16 octets
            0, 0, 0, 7,             // source id
            0, 0, 0x03, 0xe8,       // one in 1,000
            2, 0, 0, 0,             // at random, padding
        ];
        assert_eq!(octets, expected);
        assert_eq!(octets.len(), SAMPLING_OCTETS);
    }

    #[test]
    fn what_is_sent_about_sampling_is_read_back() {
        let sampling = Sampling {
            interval: 1000,
            random: false,
        };
        let mut octets = Vec::new();
        encode_sampling(&mut octets, &sampling, 7);
        let datagram = with_sets(&octets);
        let sets = decode_sets(&datagram).unwrap();
        assert_eq!(sets.len(), SAMPLING_RECORDS);
        for pair in sets.chunks(2) {
            let [Set::Templates(templates), Set::Data { id, octets }] = pair else {
                panic!("{sets:?}")
            };
            assert!(templates[0].is_options() && templates[0].id == *id);
            assert_eq!(record_count(&templates[0], octets), 1);
            assert_eq!(sampling_interval(&templates[0], octets), Some(1000));
        }
    }
}
