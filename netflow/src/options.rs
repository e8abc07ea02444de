//! What exporters say about themselves in options records (v9 and IPFIX alike): how packets were
//! sampled, what interfaces are called, what the exporter counted, when it booted.

use crate::{
    element::{self, Element},
    read,
    sampling::Rate,
    template::{Template, V9_SCOPE},
};

/// Scope types of v9 (RFC 3954 section 6.1).
const SCOPE_INTERFACE: Element = 2;
const SCOPE_TEMPLATE: Element = 5;

/// Octets of a name that are kept.
pub const NAME_OCTETS_MAX: usize = 64;

/// What is counted by an exporter, with names for it.
pub const COUNTERS: [(Element, &str); 8] = [
    (element::EXPORTED_OCTETS, "exported_octets"),
    (element::EXPORTED_MESSAGES, "exported_messages"),
    (element::EXPORTED_FLOWS, "exported_flows"),
    (element::IGNORED_PACKETS, "ignored_packets"),
    (element::IGNORED_OCTETS, "ignored_octets"),
    (element::NOT_SENT_FLOWS, "not_sent_flows"),
    (element::NOT_SENT_PACKETS, "not_sent_packets"),
    (element::NOT_SENT_OCTETS, "not_sent_octets"),
];

/// Whose packets a sampling rate is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sampler {
    /// All of the observation domain.
    #[default]
    All,
    /// Those of records that name this sampler (48, 302).
    Id(u64),
    /// Those of records of this template.
    Template(u16),
    /// Those of this interface, by ifIndex.
    Interface(u32),
}

/// What an interface is called. Names are octets that a stranger sent: see [`text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// Its ifIndex.
    pub ifindex: u32,
    /// Its name (82), empty if that was not said.
    pub name: &'a [u8],
    /// Its description (83), likewise.
    pub description: &'a [u8],
}

/// What one options record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// A sampling rate, as one packet in so many.
    pub sampling: Option<(Sampler, u32)>,
    /// An interface's name.
    pub interface: Option<Interface<'a>>,
    /// When the exporter booted, milliseconds since 1970-01-01 UTC (160).
    pub boot_ms: Option<u64>,
    /// Its counters, as in [`COUNTERS`].
    pub counters: [Option<u64>; COUNTERS.len()],
}

/// Reads a record of an options template. Of a number the last field that says it counts.
#[must_use]
pub fn read<'a>(template: &Template, record: &'a [u8]) -> Announcement<'a> {
    let mut said = Announcement::default();
    let (mut rate, mut sampler, mut ifindex) = (Rate::default(), Sampler::All, None);
    let (mut name, mut description): (&[u8], &[u8]) = (&[], &[]);
    for (field, _, value) in template.values(record) {
        // Wider "integers" are seen, and are none.
        let number = || (1..=8).contains(&value.len()).then(|| read::number(value));
        let number32 = || number().and_then(|number| u32::try_from(number).ok());
        match (field.enterprise, field.element) {
            (0, element::INTERFACE_NAME) => name = value,
            (0, element::INTERFACE_DESCRIPTION) => description = value,
            (0, element::INGRESS_IFINDEX) | (V9_SCOPE, SCOPE_INTERFACE) => {
                ifindex = number32();
            }
            (0, element::TEMPLATE_ID) | (V9_SCOPE, SCOPE_TEMPLATE) => {
                let id = number().and_then(|number| u16::try_from(number).ok());
                // A sampler's own number says more.
                if let (Some(id), Sampler::All) = (id, sampler) {
                    sampler = Sampler::Template(id);
                }
            }
            (0, element::SAMPLER_ID | element::SELECTOR_ID) => {
                sampler = number().map_or(sampler, Sampler::Id);
            }
            (0, element::BOOT_MS) => said.boot_ms = number().filter(|number| *number != 0),
            (0, element::SAMPLING_PROBABILITY) => rate.probability = read::float(value),
            (0, element) => match COUNTERS.iter().position(|(of, _)| *of == element) {
                Some(counter) => said.counters[counter] = number(),
                None => take_rate(&mut rate, element, number()),
            },
            _ => {}
        }
    }
    if let (Sampler::All, Some(ifindex @ 1..)) = (sampler, ifindex) {
        sampler = Sampler::Interface(ifindex);
    }
    said.sampling = rate.one_in().map(|one_in| (sampler, one_in));
    said.interface = ifindex
        .filter(|_| is_named(name) || is_named(description))
        .map(|ifindex| Interface {
            ifindex,
            name,
            description,
        });
    said
}

fn take_rate(rate: &mut Rate, element: Element, number: Option<u64>) {
    let Some(number) = number else { return };
    match element {
        // Some send both, and one of them as 0.
        element::SAMPLING_INTERVAL | element::SAMPLER_INTERVAL if number != 0 => {
            rate.interval = number;
        }
        element::SAMPLING_PACKETS => rate.packets = number,
        element::SAMPLING_SPACE => rate.space = Some(number),
        element::SAMPLING_SIZE => rate.size = number,
        element::SAMPLING_POPULATION => rate.population = number,
        _ => {}
    }
}

fn is_named(name: &[u8]) -> bool {
    name.iter().any(|octet| *octet != 0)
}

/// A name as it may be shown: cut to [`NAME_OCTETS_MAX`], without the zeros that fill it up, what is
/// no UTF-8 or a control character replaced.
#[must_use]
pub fn text(octets: &[u8]) -> String {
    let octets = &octets[..octets.len().min(NAME_OCTETS_MAX)];
    let end = octets.iter().position(|octet| *octet == 0);
    let text = String::from_utf8_lossy(&octets[..end.unwrap_or(octets.len())]);
    let shown = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Field;

    /// What a record says that has these fields.
    fn said(
        scope_fields: usize,
        values: &[(u32, Element, &[u8])],
        look: impl FnOnce(&Announcement<'_>),
    ) {
        let octets: Vec<u8> = values
            .iter()
            .flat_map(|(_, _, value)| value.to_vec())
            .collect();
        let fields = values.iter().map(|(enterprise, element, value)| Field {
            enterprise: *enterprise,
            element: *element,
            octets: u16::try_from(value.len()).unwrap(),
        });
        let template = Template::new(257, Some(scope_fields), fields.collect()).unwrap();
        assert_eq!(template.record_count(&octets), Some(1));
        look(&read(&template, &octets));
    }

    #[test]
    fn a_router_with_several_samplers_names_them() {
        let values: [(u32, Element, &[u8]); 6] = [
            (V9_SCOPE, 1, &[0x36, 0x24, 0x32, 0xd1]),
            (0, 48, &[0, 2]),
            (0, 50, &[0, 0, 0x0f, 0xa0]),
            (0, 49, &[2]),
            (0, 84, b"SPM_1_OUT_4000"),
            (0, 34, &[0, 0, 0x0f, 0xa0]),
        ];
        said(1, &values, |said| {
            assert_eq!(said.sampling, Some((Sampler::Id(2), 4000)));
        });
    }

    #[test]
    fn a_selector_of_one_out_of_so_many_is_a_sampler() {
        let values: [(u32, Element, &[u8]); 5] = [
            (0, 302, &[0, 0, 0, 1]),
            (0, 305, &[0, 0, 0, 1]),
            (0, 304, &[0, 3]),
            (0, 309, &[0, 0, 0, 1]),
            (0, 310, &[0, 0, 1, 0]),
        ];
        said(1, &values, |said| {
            assert_eq!(said.sampling, Some((Sampler::Id(1), 256)));
        });
    }

    #[test]
    fn a_rate_may_be_of_a_template_or_an_interface_or_all() {
        let spaced: [(u32, Element, &[u8]); 5] = [
            (0, 149, &[1, 0, 0, 0]),
            (0, 145, &[9, 0xce]),
            (0, 304, &[0, 1]),
            (0, 305, &[1]),
            (0, 306, &[9]),
        ];
        said(2, &spaced, |said| {
            assert_eq!(said.sampling, Some((Sampler::Template(2510), 10)));
        });
        // Juniper's, with a scope of no octets.
        said(0, &[(0, 35, &[2]), (0, 34, &[100])], |said| {
            assert_eq!(said.sampling, Some((Sampler::All, 100)));
        });
        let of_interface: [(u32, Element, &[u8]); 2] = [(V9_SCOPE, 2, &[0, 7]), (0, 34, &[100])];
        said(1, &of_interface, |said| {
            assert_eq!(said.sampling, Some((Sampler::Interface(7), 100)));
        });
    }

    #[test]
    fn no_rate_is_no_rate() {
        said(0, &[(0, 34, &[0, 0, 0, 0]), (0, 305, &[0; 9])], |said| {
            assert_eq!(said.sampling, None);
        });
    }

    #[test]
    fn interfaces_are_named() {
        let values: [(u32, Element, &[u8]); 4] = [
            (V9_SCOPE, 1, &[10, 0, 0, 1]),
            (0, 10, &[0, 0, 0, 3]),
            (0, 82, b"Te0/0/2\0\0\0"),
            (0, 83, b"to the moon"),
        ];
        said(1, &values, |said| {
            let interface = said.interface.unwrap();
            assert_eq!(interface.ifindex, 3);
            assert_eq!(text(interface.name), "Te0/0/2");
            assert_eq!(text(interface.description), "to the moon");
        });
        // A name of zeros is none.
        said(1, &[(0, 10, &[3]), (0, 82, &[0; 16])], |said| {
            assert_eq!(said.interface, None);
        });
    }

    #[test]
    fn counters_and_the_boot_time_are_kept() {
        let values: [(u32, Element, &[u8]); 4] = [
            (0, 144, &[0, 0, 0, 2]),
            (0, 41, &[0, 0, 0, 0, 0, 0, 0, 0x4c]),
            (0, 167, &[7]),
            (0, 160, &[0, 0, 1, 0x26, 2, 0x74, 0xdc, 0x30]),
        ];
        said(1, &values, |said| {
            let mut counters = [None; COUNTERS.len()];
            (counters[1], counters[6]) = (Some(0x4c), Some(7));
            assert_eq!(said.counters, counters);
            assert_eq!(said.boot_ms, Some(0x0126_0274_dc30));
        });
    }

    /// Fault case C18.
    #[test]
    fn c18_names_are_safe_to_show() {
        assert_eq!(text(b"eth\x1b[2J\n0"), "eth\u{fffd}[2J\u{fffd}0");
        assert_eq!(text(&[b'a', 0xff, b'b']), "a\u{fffd}b");
        assert_eq!(text(&[b'x'; 1000]).len(), NAME_OCTETS_MAX);
    }
}
