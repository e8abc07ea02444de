//! Templates: what the octets of a data record are, for v9 (RFC 3954 section 5.2) and IPFIX (RFC 7011
//! section 3.4) alike, and how a set's octets are cut into records and fields by them.

use std::sync::OnceLock;

use crate::{
    element::{self, Element, NTOP_PEN},
    plain::Plain,
    read,
    role::{self, Role, Slot},
};

/// Template ids, and so the ids of data sets, begin here.
pub const ID_MIN: u16 = 256;
/// The length of a field that says its own in each record (RFC 7011 section 7).
pub const VARIABLE: u16 = 65_535;
/// Stands in place of an enterprise for v9's scope types (RFC 3954 section 6.1), which have numbers
/// of their own.
pub const V9_SCOPE: u32 = u32::MAX;

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Whose element it is: 0 for IANA's, else a private enterprise number or [`V9_SCOPE`].
    pub enterprise: u32,
    /// Its type.
    pub element: Element,
    /// Its octets, or [`VARIABLE`].
    pub octets: u16,
}

impl Field {
    /// One of IANA's elements.
    #[must_use]
    pub const fn new(element: Element, octets: u16) -> Self {
        Self {
            enterprise: 0,
            element,
            octets,
        }
    }

    /// One of ntop's.
    #[must_use]
    pub const fn of_ntop(element: Element, octets: u16) -> Self {
        Self {
            enterprise: NTOP_PEN,
            element,
            octets,
        }
    }

    /// Whether it says nothing (paddingOctets, RFC 5102 section 5.12.1).
    pub(crate) fn is_padding(self) -> bool {
        self.enterprise == 0 && self.element == element::PADDING
    }

    /// Octets it has in any record: a variable one has at least that of its length.
    #[must_use]
    pub fn octets_min(self) -> usize {
        if self.octets == VARIABLE {
            1
        } else {
            usize::from(self.octets)
        }
    }

    /// Its value at the start of the octets, and what follows; none if it does not end in them.
    fn split(self, octets: &[u8]) -> Option<(&[u8], &[u8])> {
        if self.octets != VARIABLE {
            return octets.split_at_checked(usize::from(self.octets));
        }
        // An octet of 255 says that the length is in the two octets after it.
        let (length, rest) = match octets {
            [255, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
            [] | [255, ..] => return None,
            [length, rest @ ..] => (u16::from(*length), rest),
        };
        rest.split_at_checked(usize::from(length))
    }
}

/// Where a field's octets are in each record of a template without variable fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    from: u16,
    to: u16,
}

impl Place {
    /// Octets before the end of it.
    pub fn to(self) -> u16 {
        self.to
    }

    /// Its octets.
    pub fn octets(self) -> u16 {
        self.to - self.from
    }

    /// Its octets in a record.
    #[inline]
    pub fn value(self, record: &[u8]) -> &[u8] {
        let range = usize::from(self.from)..usize::from(self.to);
        record.get(range).unwrap_or_default()
    }

    /// Its octets as a number, of eight at most. They are read with those before them, so that no branch depends on
    /// how many they are.
    #[inline]
    pub fn number(self, record: &[u8]) -> u64 {
        let until = record.get(..usize::from(self.to)).unwrap_or_default();
        let Some(octets) = until.last_chunk() else {
            return read::number(self.value(record));
        };
        let bits = 8 * u32::from(self.to - self.from);
        let mask = u64::MAX.checked_shr(u64::BITS.saturating_sub(bits));
        u64::from_be_bytes(*octets) & mask.unwrap_or(0)
    }
}

/// Fields that fill a place in a flow, where they are, of those that are a datagram's at most.
fn places(fields: &[Field], roles: &[Role]) -> Vec<(Role, Place)> {
    let mut from = 0_u16;
    let fields = fields.iter().zip(roles).map(|(field, role)| {
        let to = from.saturating_add(field.octets);
        let place = Place { from, to };
        from = to;
        (*role, place)
    });
    fields
        .filter(|(role, _)| role.slot != Slot::Aside)
        .collect()
}

/// A template, or an options template. Its records have at least one octet.
#[derive(Clone, Debug)]
pub struct Template {
    id: u16,
    scope_fields: Option<usize>,
    fields: Vec<Field>,
    /// Octets of a record, of the shortest if they vary.
    record_octets_min: usize,
    is_variable: bool,
    /// Worked out for the first record: exporters repeat templates that are known all the time.
    ways: OnceLock<Box<Ways>>,
}

/// How a template's records are read, which its fields say.
#[derive(Clone, Debug)]
struct Ways {
    roles: Vec<Role>,
    /// None if a field is variable.
    places: Vec<(Role, Place)>,
    plain: Option<Box<Plain>>,
    has_aside: bool,
    has_section: bool,
    outer: Option<Box<Template>>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.scope_fields, &self.fields) == (other.id, other.scope_fields, &other.fields)
    }
}

impl Eq for Template {}

impl Ways {
    /// Those of a template whose fields from `inner` on are of the packet in a tunnel ([`role::roles`]).
    fn of(template: &Template, inner: usize) -> Self {
        let fields = &template.fields;
        let roles = role::roles(fields, inner);
        let is_section =
            |field: &Field| field.enterprise == 0 && element::is_section(field.element);
        Self {
            has_aside: role::has_aside(fields, &roles),
            has_section: fields.iter().any(is_section),
            places: if template.is_variable {
                Vec::new()
            } else {
                places(fields, &roles)
            },
            roles,
            plain: None,
            outer: None,
        }
    }
}

impl Template {
    /// Fields a template may have; more is refused, so that one datagram cannot take much memory.
    pub const FIELDS_MAX: usize = 1024;
    /// Octets a record may have at least: those of a datagram.
    const RECORD_OCTETS_MAX: usize = 65_535;

    /// A template; with a number of scope fields (perhaps 0) it is an options template. Fields of no octets are left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        id: u16,
        mut scope_fields: Option<usize>,
        mut fields: Vec<Field>,
    ) -> Result<Self, &'static str> {
        if id < ID_MIN {
            return Err("the id is below 256");
        }
        if fields.len() > Self::FIELDS_MAX {
            return Err("too many fields");
        }
        if scope_fields.is_some_and(|scope_fields| scope_fields > fields.len()) {
            return Err("the scope has more fields than there are");
        }
        // Some send fields of no octets. They say nothing, and each record would be gone through for them: a datagram
        // of records of an octet would take a thousand times what it has octets.
        if let Some(scope_fields) = &mut scope_fields {
            let scope = fields[..*scope_fields].iter();
            *scope_fields = scope.filter(|field| field.octets > 0).count();
        }
        fields.retain(|field| field.octets > 0);
        let record_octets_min: usize = fields.iter().map(|field| field.octets_min()).sum();
        match record_octets_min {
            0 => return Err("its records have no octets"),
            1..=Self::RECORD_OCTETS_MAX => {}
            _ => return Err("its records are larger than a datagram"),
        }
        Ok(Self {
            id,
            scope_fields,
            is_variable: fields.iter().any(|field| field.octets == VARIABLE),
            fields,
            record_octets_min,
            ways: OnceLock::new(),
        })
    }

    #[inline]
    fn ways(&self) -> &Ways {
        self.ways.get_or_init(|| Box::new(self.work_out()))
    }

    #[cold]
    fn work_out(&self) -> Ways {
        let Some(inner) = role::inner(&self.fields) else {
            let mut ways = Ways::of(self, 0);
            ways.plain = Plain::of(&ways.places).map(Box::new);
            return ways;
        };
        let outer = Self {
            ways: Box::new(Ways::of(self, 0)).into(),
            ..self.clone()
        };
        Ways {
            outer: Some(Box::new(outer)),
            ..Ways::of(self, inner)
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// All fields that have octets in order, the scope's first.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Fields that say what the rest is about; none in a flow template.
    #[must_use]
    pub fn scope_fields(&self) -> Option<usize> {
        self.scope_fields
    }

    /// Whether its records are about the exporter, not about flows.
    #[must_use]
    pub fn is_options(&self) -> bool {
        self.scope_fields.is_some()
    }

    /// Whether a field may fill no place in a flow record.
    #[inline]
    pub(crate) fn has_aside(&self) -> bool {
        self.ways().has_aside
    }

    /// Whether its records carry a packet's first octets.
    #[inline]
    pub(crate) fn has_section(&self) -> bool {
        self.ways().has_section
    }

    /// Of one whose records tell of a tunnel and of the packet in it: the same for records of packets in none.
    pub(crate) fn outer(&self) -> Option<&Self> {
        self.ways().outer.as_deref()
    }

    /// Number of records in a data set; none if the last one goes beyond it. What is left over is
    /// padding if it is shorter than any record, whatever its value.
    #[must_use]
    pub fn record_count(&self, octets: &[u8]) -> Option<usize> {
        if !self.is_variable {
            return Some(octets.len() / self.record_octets_min);
        }
        let (mut count, mut rest) = (0, octets);
        while rest.len() >= self.record_octets_min {
            (_, rest) = self.split(rest)?;
            count += 1;
        }
        Some(count)
    }

    /// The records in a data set, up to one that goes beyond it.
    pub fn records<'a>(&self, octets: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = octets;
        std::iter::from_fn(move || {
            let (record, after) = self.split(rest)?;
            rest = after;
            Some(record)
        })
    }

    /// The first record, and what follows.
    fn split<'a>(&self, octets: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        if octets.len() < self.record_octets_min {
            return None;
        }
        let mut rest = octets;
        if self.is_variable {
            for field in &self.fields {
                (_, rest) = field.split(rest)?;
            }
        } else {
            rest = &octets[self.record_octets_min..];
        }
        octets.split_at_checked(octets.len() - rest.len())
    }

    /// The fields that fill a place in a flow, in order, if they stand at the same octets in each record.
    pub(crate) fn places(&self) -> Option<&[(Role, Place)]> {
        (!self.is_variable).then(|| &self.ways().places[..])
    }

    /// Octets of a record, of the shortest if they vary.
    pub(crate) fn record_octets_min(&self) -> usize {
        self.record_octets_min
    }

    /// How its records are read at once, if they tell each thing in one way.
    #[inline]
    pub(crate) fn plain(&self) -> Option<&Plain> {
        self.ways().plain.as_deref()
    }

    /// A record's fields in order, what they say, and their octets.
    pub(crate) fn values<'a>(
        &self,
        record: &'a [u8],
    ) -> impl Iterator<Item = (Field, Role, &'a [u8])> {
        let mut rest = record;
        let fields = self.fields.iter().zip(&self.ways().roles);
        fields.map_while(move |(field, role)| {
            let (value, after) = field.split(rest)?;
            rest = after;
            Some((*field, *role, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable() -> Template {
        let fields = vec![Field::new(82, VARIABLE), Field::new(10, 2)];
        Template::new(300, None, fields).unwrap()
    }

    #[test]
    fn templates_that_cannot_be_are_refused() {
        let field = |octets| Field::new(8, octets);
        let cases = [
            (255, None, vec![field(4)], "the id is below 256"),
            (256, None, vec![field(0); 2], "its records have no octets"),
            (256, None, vec![], "its records have no octets"),
            (256, None, vec![field(1); 1025], "too many fields"),
            (
                256,
                None,
                vec![field(65_534), field(2)],
                "its records are larger than a datagram",
            ),
            (
                256,
                Some(2),
                vec![field(4)],
                "the scope has more fields than there are",
            ),
        ];
        for (id, scope_fields, fields, reason) in cases {
            let refused = Template::new(id, scope_fields, fields);
            assert_eq!(refused, Err(reason));
        }
    }

    #[test]
    fn fields_of_no_octets_are_in_no_record() {
        let fields = vec![Field::new(8, 0), Field::new(12, 4), Field::new(7, 0)];
        let template = Template::new(256, None, fields).unwrap();
        assert_eq!(template.record_count(&[0; 9]), Some(2));
        assert_eq!(template.fields(), [Field::new(12, 4)]);
        // One of a scope is not counted among the scope's.
        let fields = vec![Field::new(149, 0), Field::new(10, 2), Field::new(82, 8)];
        let template = Template::new(256, Some(2), fields).unwrap();
        assert_eq!(template.scope_fields(), Some(1));
        assert_eq!(template.fields().len(), 2);
    }

    #[test]
    fn numbers_of_each_width_are_read_wherever_they_stand() {
        let record: Vec<u8> = (1..=24).collect();
        for octets in 1..=8 {
            for from in 0..16 {
                let to = from + octets;
                let place = Place { from, to };
                let expected = read::number(&record[usize::from(from)..usize::from(to)]);
                assert_eq!(place.number(&record), expected, "{from}..{to}");
            }
        }
    }

    #[test]
    fn places_are_told_of_what_a_flow_has_room_for() {
        // Octets, an element of nobody, none of no octets, packets.
        let fields = [(1, 4), (40_000, 3), (7, 0), (2, 8)];
        let fields = fields.map(|(element, octets)| Field::new(element, octets));
        let template = Template::new(256, None, fields.to_vec()).unwrap();
        let places = template.places().unwrap();
        let places: Vec<_> = places
            .iter()
            .map(|(_, place)| (place.from, place.to))
            .collect();
        assert_eq!(places, [(0, 4), (7, 15)]);
        assert_eq!(variable().places(), None);
    }

    #[test]
    fn both_forms_of_a_variable_length_are_read() {
        let template = variable();
        assert_eq!(template.record_octets_min, 3);
        // Two octets, none, none in the long form; and padding.
        let octets = [2, 7, 7, 0, 1, 0, 0, 2, 255, 0, 0, 0, 3, 0, 0];
        assert_eq!(template.record_count(&octets), Some(3));
        let records: Vec<_> = template.records(&octets).collect();
        assert_eq!(records, [&octets[..5], &octets[5..8], &octets[8..13]]);
        let (_, _, name) = template.values(records[0]).next().unwrap();
        assert_eq!(name, [7, 7]);
    }

    /// Fault case C6.
    #[test]
    fn c06_a_record_that_goes_beyond_its_set_spoils_it() {
        let template = variable();
        for octets in [
            &[9, 7, 0, 1][..],
            &[255, 0, 9],
            &[255, 255, 255, 0],
            &[0, 0, 1, 5, 0, 0],
        ] {
            assert_eq!(template.record_count(octets), None, "{octets:?}");
        }
        let whole_first: Vec<_> = template.records(&[0, 0, 1, 5, 0, 0]).collect();
        assert_eq!(whole_first, [[0, 0, 1]]);
    }
}
