//! A datagram cut into sets (v9 calls them FlowSets), by their lengths, never by a count: template
//! definitions, which are read here, and data, which only a template explains.

use crate::{
    Malformed, read,
    template::{self, Field, Template, V9_SCOPE},
};

/// Octets of a set's header.
pub const HEADER_OCTETS: usize = 4;
/// Octets of a field in a definition, without an enterprise number.
pub(crate) const FIELD_OCTETS: usize = 4;
/// The bit that says an enterprise number follows (RFC 7011 section 3.2).
pub(crate) const ENTERPRISE: u16 = 0x8000;
/// Where nProbe's own elements begin in v9, which has no enterprise numbers.
pub(crate) const NTOP_V9_BASE: u16 = 57_472;

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set<'a> {
    /// Templates or options templates, in their order.
    Templates(Vec<Definition>),
    /// Records of the template with this id, and perhaps padding.
    Data {
        /// The template's id.
        id: u16,
        /// The records' octets.
        octets: &'a [u8],
    },
    /// A reserved id.
    Reserved,
}

/// What is said about a template's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// A template or options template, which replaces what had its id, of whichever kind.
    Template(Template),
    /// An id whose new definition cannot be used: records of no octets, say. What it was before is
    /// over all the same.
    Refused(u16),
    /// The id of a template without fields: a withdrawal over TCP (RFC 7011 section 8.1; 2 and 3
    /// stand for all templates and all options templates), to be ignored over UDP (section 8.4).
    Withdrawn(u16),
}

impl Definition {
    /// The template, if it is one.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Template(template) => Some(template),
            Self::Refused(_) | Self::Withdrawn(_) => None,
        }
    }
}

/// The formats that have sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V9,
    Ipfix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flows,
    Options,
}

impl Kind {
    const fn head_octets(self) -> usize {
        match self {
            Self::Flows => 4,
            Self::Options => 6,
        }
    }
}

impl Dialect {
    /// The set ids of templates and of options templates.
    pub(crate) const fn template_sets(self) -> (u16, u16) {
        match self {
            Self::V9 => (0, 1),
            Self::Ipfix => (2, 3),
        }
    }
}

/// Appends a set of this body, padded to four octets (RFC 3954 section 5.3, RFC 7011 section 3.3.1).
pub(crate) fn push(datagram: &mut Vec<u8>, id: u16, body: &[u8]) {
    let octets = (HEADER_OCTETS + body.len()).next_multiple_of(4);
    let end = datagram.len() + octets;
    datagram.extend_from_slice(&id.to_be_bytes());
    datagram.extend_from_slice(&u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes());
    datagram.extend_from_slice(body);
    datagram.resize(end, 0);
}

/// Reads the sets from an offset on. All of them or none: a caller applies templates only once the
/// whole datagram made sense. Zeros up to the end (some exporters fill a fixed size) are padding.
///
/// # Errors
/// At the first set or definition whose length cannot be.
pub(crate) fn decode(
    dialect: Dialect,
    datagram: &[u8],
    from: usize,
) -> Result<Vec<Set<'_>>, Malformed> {
    let (flows, options) = dialect.template_sets();
    let mut sets = Vec::new();
    let mut offset = from;
    while datagram.len().saturating_sub(offset) >= HEADER_OCTETS {
        let id = read::u16(datagram, offset);
        let length = read::u16(datagram, offset + 2);
        let end = offset + usize::from(length);
        if id == 0 && length == 0 && datagram[offset..].iter().all(|octet| *octet == 0) {
            break;
        }
        if usize::from(length) < HEADER_OCTETS || end > datagram.len() {
            return Err(Malformed::SetLength { length, offset });
        }
        let base = offset + HEADER_OCTETS;
        let body = &datagram[base..end];
        sets.push(match id {
            template::ID_MIN.. => Set::Data { id, octets: body },
            _ if id == flows => Set::Templates(definitions(dialect, Kind::Flows, body, base)?),
            _ if id == options => Set::Templates(definitions(dialect, Kind::Options, body, base)?),
            _ => Set::Reserved,
        });
        offset = end;
    }
    Ok(sets)
}

/// The head of a definition.
struct Head {
    octets: usize,
    fields: usize,
    scope_fields: Option<usize>,
}

fn definitions(
    dialect: Dialect,
    kind: Kind,
    body: &[u8],
    base: usize,
) -> Result<Vec<Definition>, Malformed> {
    let mut found = Vec::new();
    let mut at = 0;
    while body.len() - at >= FIELD_OCTETS {
        let rest = &body[at..];
        let id = read::u16(rest, 0);
        let wrong = move |reason| Malformed::Template {
            id,
            offset: base + at,
            reason,
        };
        if id == 0 && read::u16(rest, 2) == 0 {
            break;
        }
        // Some pad each definition to four octets, as others pad the set.
        if id == 0 && at % 4 == 2 {
            at += 2;
            continue;
        }
        // In v9 the second word of an options template is the scope's length, which may be 0.
        let counts_fields = dialect == Dialect::Ipfix || kind == Kind::Flows;
        if counts_fields && read::u16(rest, 2) == 0 {
            found.push(Definition::Withdrawn(id));
            at += 4;
            continue;
        }
        if rest.len() < kind.head_octets() {
            break;
        }
        let head = head(dialect, kind, rest).map_err(wrong)?;
        let (fields, octets) = fields(dialect, &head, rest)
            .ok_or("its fields go beyond the set")
            .map_err(wrong)?;
        let template = Template::new(id, head.scope_fields, fields);
        found.push(template.map_or(Definition::Refused(id), Definition::Template));
        at += octets;
    }
    Ok(found)
}

fn head(dialect: Dialect, kind: Kind, rest: &[u8]) -> Result<Head, &'static str> {
    let word = |at| usize::from(read::u16(rest, at));
    let (fields, scope_fields) = match (dialect, kind) {
        (_, Kind::Flows) => (word(2), None),
        // A count of all fields, then one of the scope's.
        (Dialect::Ipfix, Kind::Options) => (word(2), Some(word(4))),
        // The scope's octets, then those of the others (RFC 3954 section 6.1).
        (Dialect::V9, Kind::Options) => {
            let (scope, others) = (word(2), word(4));
            if !scope.is_multiple_of(FIELD_OCTETS) || !others.is_multiple_of(FIELD_OCTETS) {
                return Err("lengths are no multiples of 4");
            }
            let fields = (scope + others) / FIELD_OCTETS;
            (fields, Some(scope / FIELD_OCTETS))
        }
    };
    Ok(Head {
        octets: kind.head_octets(),
        fields,
        scope_fields,
    })
}

/// The fields of a definition, and its octets in all; none if it goes beyond these.
fn fields(dialect: Dialect, head: &Head, rest: &[u8]) -> Option<(Vec<Field>, usize)> {
    // A count is no reason to take memory for what is not there.
    let mut fields = Vec::with_capacity(head.fields.min(rest.len() / FIELD_OCTETS));
    let mut at = head.octets;
    for index in 0..head.fields {
        let octets = rest.get(at..at + FIELD_OCTETS)?;
        let (element, length) = (read::u16(octets, 0), read::u16(octets, 2));
        at += FIELD_OCTETS;
        let mut field = Field::new(element, length);
        match dialect {
            Dialect::V9 if head.scope_fields.is_some_and(|scope| index < scope) => {
                field.enterprise = V9_SCOPE;
            }
            Dialect::V9 if element >= NTOP_V9_BASE => {
                field.enterprise = crate::element::NTOP_PEN;
                field.element = element - NTOP_V9_BASE;
            }
            Dialect::Ipfix if element & ENTERPRISE != 0 => {
                field.enterprise = read::u32(rest.get(at..at + 4)?, 0);
                at += 4;
                // Enterprise 0 makes no sense; with its bit left the element is nobody's.
                if field.enterprise != 0 {
                    field.element = element & !ENTERPRISE;
                }
            }
            _ => {}
        }
        fields.push(field);
    }
    Some((fields, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v9(sets: &[u8]) -> Result<Vec<Set<'_>>, Malformed> {
        decode(Dialect::V9, sets, 0)
    }

    fn ipfix(sets: &[u8]) -> Result<Vec<Set<'_>>, Malformed> {
        decode(Dialect::Ipfix, sets, 0)
    }

    fn definitions_in(sets: Result<Vec<Set<'_>>, Malformed>) -> Vec<Definition> {
        let mut sets = sets.unwrap();
        assert_eq!(sets.len(), 1);
        match sets.pop() {
            Some(Set::Templates(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    /// As VMware's switches send their options templates.
    #[test]
    fn definitions_may_be_padded_one_by_one() {
        #[rustfmt::skip]
        let set = [
            0, 3, 0, 28,
            1, 0, 0, 1, 0, 1, 0, 149, 0, 4, 0, 0, // observationDomainId, padding
            1, 1, 0, 1, 0, 1, 0, 149, 0, 4, 0, 0,
        ];
        let found = definitions_in(ipfix(&set));
        let ids = found.iter().map(|found| found.template().map(Template::id));
        assert_eq!(ids.collect::<Vec<_>>(), [Some(256), Some(257)]);
    }

    /// Fault case C3.
    #[test]
    fn c03_impossible_set_lengths_spoil_the_datagram() {
        for length in [0u8, 3, 9] {
            let sets = [1, 0, 0, length, 1, 2, 3, 4];
            let length = u16::from(length);
            let expected = Err(Malformed::SetLength { length, offset: 0 });
            assert_eq!(v9(&sets), expected);
            assert_eq!(ipfix(&sets), expected);
        }
    }

    #[test]
    fn zeros_to_the_end_are_padding() {
        assert_eq!(v9(&[0; 100]), Ok(vec![]));
        assert_eq!(ipfix(&[0; 100]), Ok(vec![]));
    }

    /// Fault cases C4 and C8.
    #[test]
    fn c04_c08_definitions_that_contradict_their_set_spoil_the_datagram() {
        let cases: [(&[u8], &str); 3] = [
            (
                &[0, 0, 0, 12, 1, 0, 0, 2, 0, 8, 0, 4],
                "its fields go beyond the set",
            ),
            (
                &[0, 0, 0, 8, 1, 0, 255, 255],
                "its fields go beyond the set",
            ),
            (
                &[0, 1, 0, 12, 1, 0, 0, 3, 0, 4, 0, 0],
                "lengths are no multiples of 4",
            ),
        ];
        for (sets, reason) in cases {
            match v9(sets) {
                Err(Malformed::Template { reason: found, .. }) => assert_eq!(found, reason),
                other => panic!("{other:?} instead of {reason}"),
            }
        }
        // IPFIX: an enterprise number that is not there.
        let sets = [0, 2, 0, 12, 1, 0, 0, 1, 0x80, 8, 0, 4];
        assert!(matches!(ipfix(&sets), Err(Malformed::Template { .. })));
    }

    /// Fault cases C4 and C8: what fits its set and fits no datagram, has too many fields, or more of them in its
    /// scope than there are.
    #[test]
    fn c04_c08_definitions_larger_than_a_datagram_are_refused_by_themselves() {
        let long = [1, 0, 0, 2, 0, 8, 0xff, 0xfe, 0, 12, 0, 2];
        let many = [&[1, 1, 4, 1][..], &[0, 8, 0, 1].repeat(1025)].concat();
        let sound = [1, 2, 0, 1, 0, 8, 0, 4];
        let body = [&long[..], &many, &sound].concat();
        let [high, low] = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
        let template = Template::new(258, None, vec![Field::new(8, 4)]).unwrap();
        let expected = [
            Definition::Refused(256),
            Definition::Refused(257),
            Definition::Template(template),
        ];
        let v9_sets = [&[0, 0, high, low][..], &body].concat();
        assert_eq!(definitions_in(v9(&v9_sets)), expected);
        let ipfix_sets = [&[0, 2, high, low][..], &body].concat();
        assert_eq!(definitions_in(ipfix(&ipfix_sets)), expected);
        // One field, two of them the scope's.
        let scope = [0, 3, 0, 14, 1, 0, 0, 1, 0, 2, 0, 8, 0, 4];
        assert_eq!(definitions_in(ipfix(&scope)), [Definition::Refused(256)]);
    }

    /// Fault case C5; the templates beside them are not lost with them.
    #[test]
    fn c05_definitions_of_no_use_are_refused_by_themselves() {
        let found = definitions_in(v9(&[
            0, 0, 0, 28, // templates
            1, 0, 0, 1, 0, 8, 0, 0, // 256, whose records have no octets
            0, 255, 0, 1, 0, 8, 0, 4, // an id below 256
            1, 1, 0, 1, 0, 8, 0, 4, // 257
        ]));
        let template = Template::new(257, None, vec![Field::new(8, 4)]).unwrap();
        let expected = [
            Definition::Refused(256),
            Definition::Refused(255),
            Definition::Template(template),
        ];
        assert_eq!(found, expected);
    }

    /// Fault case C14. MikroTik sends templates without fields over UDP.
    #[test]
    fn c14_templates_without_fields_are_withdrawals() {
        let found = definitions_in(v9(&[0, 0, 0, 12, 1, 4, 0, 0, 1, 5, 0, 0]));
        assert_eq!(found, [260, 261].map(Definition::Withdrawn));
        let found = definitions_in(ipfix(&[0, 2, 0, 12, 1, 4, 0, 0, 0, 2, 0, 0]));
        assert_eq!(found, [260, 2].map(Definition::Withdrawn));
        let found = definitions_in(ipfix(&[0, 3, 0, 8, 0, 3, 0, 0]));
        assert_eq!(found, [Definition::Withdrawn(3)]);
    }

    #[test]
    fn sets_that_are_no_templates_are_data_or_reserved() {
        let data = [1, 0, 0, 6, 7, 7, 0, 255, 0, 4, 0, 1, 0, 4];
        let expected = [
            Set::Data {
                id: 256,
                octets: &[7, 7],
            },
            Set::Reserved,
            Set::Reserved,
        ];
        assert_eq!(ipfix(&data).unwrap(), expected);
    }

    #[test]
    fn enterprise_numbers_are_read() {
        let found = definitions_in(ipfix(&[
            0, 2, 0, 36, // templates
            1, 0, 0, 4, // 256, four fields
            0x80, 1, 0, 8, 0, 0, 0x72, 0x79, // octetDeltaCount of the reverse direction
            0x80, 2, 0, 4, 0, 0, 0, 0, // an enterprise that cannot be
            0, 82, 255, 255, // interfaceName of any length
            0, 1, 0, 3, // octetDeltaCount of reduced size
            0, 0, 0, 0, // padding
        ]));
        let of = |enterprise, element, octets| Field {
            enterprise,
            element,
            octets,
        };
        let expected = [
            of(29_305, 1, 8),
            of(0, 0x8002, 4),
            of(0, 82, 65_535),
            of(0, 1, 3),
        ];
        assert_eq!(found[0].template().unwrap().fields(), expected);
    }

    #[test]
    fn ntops_elements_in_v9_are_told_as_ntops() {
        let found = definitions_in(v9(&[0, 0, 0, 12, 1, 0, 0, 1, 0xe0, 0x80 + 5, 0, 4]));
        let field = found[0].template().unwrap().fields()[0];
        assert_eq!((field.enterprise, field.element), (35_632, 5));
    }

    #[test]
    fn options_templates_of_both_dialects_have_their_scope() {
        let found = definitions_in(v9(&[
            0, 1, 0, 22, // options templates
            1, 1, 0, 4, 0, 8, // 257, 4 octets of scope fields, 8 of others
            0, 1, 0, 4, // System
            0, 34, 0, 4, 0, 35, 0, 1,
        ]));
        let [Definition::Template(template)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(template.scope_fields(), Some(1));
        assert_eq!(template.fields()[0].enterprise, V9_SCOPE);
        assert_eq!(template.record_count(&[0; 20]), Some(2));
        // The scope may be empty.
        let found = definitions_in(v9(&[0, 1, 0, 14, 1, 1, 0, 0, 0, 4, 0, 34, 0, 4]));
        let template = found[0].template().unwrap();
        assert_eq!(template.scope_fields(), Some(0));
        assert!(template.is_options());
        let found = definitions_in(ipfix(&[
            0, 3, 0, 18, 1, 1, 0, 2, 0, 1, 0, 149, 0, 4, 0, 34, 0, 4,
        ]));
        let template = found[0].template().unwrap();
        assert_eq!(template.scope_fields(), Some(1));
        assert_eq!(template.fields()[0].enterprise, 0);
    }
}
