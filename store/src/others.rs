//! Elements of a flow that no column has, within bounds: what the column `others` holds.
//!
//! Keys are numbers as text: `95` is IANA's element 95 (applicationId), `6871.14` element 14 of the
//! enterprise 6871; the second of one name in a record is `95#2`, since engines want a map's keys to
//! differ. Values are octets as they were sent. Structured data (RFC 6313) is one value like any other.

use std::fmt::Write as _;

/// Elements kept of a flow.
pub const ELEMENTS_MAX: usize = 64;
/// Octets kept of all of them together.
pub const OCTETS_MAX: usize = 2048;

/// Octets before a value: enterprise, element, length.
const HEADER_OCTETS: usize = 8;

/// The elements of one flow. Most have none, and take a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others(Option<Box<[u8]>>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other<'a> {
    /// Whose element it is: 0 for IANA's, else a private enterprise number.
    pub enterprise: u32,
    /// Its number.
    pub element: u16,
    /// Its octets.
    pub octets: &'a [u8],
}

impl Others {
    /// None.
    pub const NONE: Self = Self(None);

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each of them, in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Other<'_>> {
        let mut rest = self.0.as_deref().unwrap_or_default();
        std::iter::from_fn(move || {
            let ([e0, e1, e2, e3, n0, n1, l0, l1], after) =
                rest.split_first_chunk::<HEADER_OCTETS>()?;
            let length = u16::from_le_bytes([*l0, *l1]);
            let (octets, after) = after.split_at_checked(length.into())?;
            rest = after;
            Some(Other {
                enterprise: u32::from_le_bytes([*e0, *e1, *e2, *e3]),
                element: u16::from_le_bytes([*n0, *n1]),
                octets,
            })
        })
    }

    /// Each of them under its key.
    pub fn named(&self) -> impl Iterator<Item = (String, &[u8])> {
        let mut keys = Keys::default();
        self.iter().enumerate().map(move |(place, other)| {
            let key = keys.key(place, &other, self.iter().take(place));
            (key.to_owned(), other.octets)
        })
    }
}

/// Gathers the elements of one flow after another.
#[derive(Debug, Default)]
pub struct Gathering {
    octets: Vec<u8>,
    elements: usize,
    value_octets: usize,
}

impl Gathering {
    /// Adds an element, `whole` octets long of which these are given. False if it was cut or left out.
    pub fn add(&mut self, other: &Other<'_>, whole: usize) -> bool {
        let room = OCTETS_MAX - self.value_octets;
        let kept = &other.octets[..other.octets.len().min(room)];
        let length = u16::try_from(kept.len()).unwrap_or(u16::MAX);
        if self.elements == ELEMENTS_MAX || kept.is_empty() {
            return false;
        }
        self.octets
            .extend_from_slice(&other.enterprise.to_le_bytes());
        self.octets.extend_from_slice(&other.element.to_le_bytes());
        self.octets.extend_from_slice(&length.to_le_bytes());
        self.octets.extend_from_slice(kept);
        self.elements += 1;
        self.value_octets += kept.len();
        kept.len() == whole
    }

    /// What was gathered; the next flow begins with none.
    #[inline]
    pub fn finish(&mut self) -> Others {
        if self.octets.is_empty() {
            return Others::NONE;
        }
        self.taken()
    }

    fn taken(&mut self) -> Others {
        (self.elements, self.value_octets) = (0, 0);
        let others = Others(Some(self.octets.as_slice().into()));
        self.octets.clear();
        others
    }
}

/// The elements under keys as they are stored; what has no such key is left out.
pub(crate) fn of_keys<'a>(entries: impl Iterator<Item = (&'a str, &'a [u8])>) -> Others {
    let mut gathering = Gathering::default();
    for (key, octets) in entries {
        let name = key.split_once('#').map_or(key, |(name, _)| name);
        let (enterprise, element) = name.split_once('.').unwrap_or(("0", name));
        if let (Ok(enterprise), Ok(element)) = (enterprise.parse(), element.parse()) {
            let other = Other {
                enterprise,
                element,
                octets,
            };
            gathering.add(&other, octets.len());
        }
    }
    gathering.finish()
}

/// The keys of flows, remembered by their place in a record: records of one template are alike.
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<(u32, u16, String)>);

impl Keys {
    /// The key of a flow's element that is the `place`-th, from 0. `before`: the elements before it.
    pub fn key<'a>(
        &mut self,
        place: usize,
        other: &Other<'_>,
        before: impl Iterator<Item = Other<'a>>,
    ) -> &str {
        let is_same =
            |one: &Other<'_>| (one.enterprise, one.element) == (other.enterprise, other.element);
        let repeated = before.filter(is_same).count();
        if place >= self.0.len() {
            self.0.resize(place + 1, (0, 0, String::new()));
        }
        let (enterprise, element, key) = &mut self.0[place];
        let is_known = (*enterprise, *element) == (other.enterprise, other.element);
        if !is_known || repeated > 0 || key.is_empty() || key.contains('#') {
            (*enterprise, *element) = (other.enterprise, other.element);
            key.clear();
            // Writing to a string does not fail.
            let _ = match other.enterprise {
                0 => write!(key, "{}", other.element),
                enterprise => write!(key, "{enterprise}.{}", other.element),
            };
            if repeated > 0 {
                let _ = write!(key, "#{}", repeated + 1);
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(enterprise: u32, element: u16, octets: &[u8]) -> Other<'_> {
        Other {
            enterprise,
            element,
            octets,
        }
    }

    #[test]
    fn what_was_gathered_comes_out_flow_by_flow() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.finish(), Others::NONE);
        assert!(gathering.add(&other(0, 95, &[1, 2]), 2));
        assert!(gathering.add(&other(6871, 14, &[3]), 1));
        let others = gathering.finish();
        let found: Vec<_> = others.iter().collect();
        assert_eq!(found, [other(0, 95, &[1, 2]), other(6871, 14, &[3])]);
        assert!(gathering.finish().is_empty());
        // Nothing is kept of a value without octets.
        assert!(!gathering.add(&other(0, 96, &[]), 0));
        assert!(gathering.finish().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut gathering = Gathering::default();
        let long = [7; 256];
        let kept = (0..20).filter(|at| gathering.add(&other(0, *at, &long), long.len()));
        assert_eq!(kept.count(), OCTETS_MAX / long.len());
        assert!(!gathering.add(&other(0, 1, &[1]), 1));
        let octets: usize = gathering.finish().iter().map(|one| one.octets.len()).sum();
        assert_eq!(octets, OCTETS_MAX);
        // One that was cut is kept in part.
        assert!(!gathering.add(&other(0, 1, &long), 1400));
        assert_eq!(gathering.finish().iter().count(), 1);
        let kept = (0..200).filter(|at| gathering.add(&other(0, *at, &[1]), 1));
        assert_eq!(kept.count(), ELEMENTS_MAX);
    }

    #[test]
    fn keys_are_numbers_and_differ() {
        let mut keys = Keys::default();
        let flows = [
            vec![(0, 95), (6871, 14), (0, 95), (0, 95)],
            vec![(0, 95), (6871, 14), (0, 96), (0, 95)],
            vec![(9, 95)],
        ];
        let mut found = Vec::new();
        for flow in &flows {
            let elements: Vec<_> = flow
                .iter()
                .map(|(enterprise, element)| other(*enterprise, *element, &[1]))
                .collect();
            for (place, one) in elements.iter().enumerate() {
                let before = elements[..place].iter().copied();
                found.push(keys.key(place, one, before).to_owned());
            }
        }
        let expected = [
            "95", "6871.14", "95#2", "95#3", "95", "6871.14", "96", "95#2", "9.95",
        ];
        assert_eq!(found, expected);
    }
}
