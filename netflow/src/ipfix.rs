//! IPFIX (RFC 7011): a message header of 16 octets, then sets as in v9, with ids of their own,
//! enterprise elements and fields of variable length.

use crate::{
    ExportTime, Layout, Malformed, Sampling, TimeBase, element,
    flow_template::{self, FlowTemplates},
    low32, read,
    set::{self, Dialect, Set},
    template::Field,
};

/// The version field.
pub const VERSION: u16 = 10;
/// Octets of the header.
pub const HEADER_OCTETS: usize = 16;
/// Set id of templates.
pub const TEMPLATE_SET: u16 = 2;
/// Set id of options templates.
pub const OPTIONS_TEMPLATE_SET: u16 = 3;

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Octets of the message, this header included. What a datagram has beyond them is no part of
    /// it; in files and over TCP the next message begins there.
    pub length: u16,
    /// When it was exported, nanoseconds since 1970-01-01 UTC; the wire has whole seconds.
    pub export_ns: u64,
    /// Data records, those of options included, that were sent in this domain and session before
    /// this message (section 3.1), modulo 2³².
    pub sequence: u32,
    /// Observation domain; 0: none, or the exporter as a whole.
    pub domain: u32,
}

impl Header {
    /// What the times in the message's records count from; relative ones do only if the exporter
    /// said when it booted (systemInitTimeMilliseconds, IE 160).
    #[must_use]
    pub fn time_base(&self, boot_ms: Option<u64>) -> TimeBase {
        TimeBase::booted(self.export_ns, boot_ms)
    }
}

/// The templates of flows in this layout.
#[must_use]
pub fn templates(layout: &Layout) -> FlowTemplates {
    FlowTemplates::new(Dialect::Ipfix, layout)
}

/// softflowd's options template: the metering process, when it booted, how packets were chosen. What
/// it does not have (the probability, for packets drawn at random) is at the end.
pub const SAMPLING_TEMPLATE_ID: u16 = 256;
const SAMPLING_FIELDS: [Field; 6] = [
    Field::new(element::METERING_PROCESS, 4),
    Field::new(element::BOOT_MS, 8),
    Field::new(element::SAMPLING_PACKETS, 4),
    Field::new(element::SAMPLING_SPACE, 4),
    Field::new(element::SELECTOR_ALGORITHM, 2),
    Field::new(element::SAMPLING_PROBABILITY, 8),
];
/// Octets that [`encode_sampling`] appends: two sets.
pub const SAMPLING_OCTETS: usize = 72;
/// Octets of each: 34, and padding up to a multiple of four.
const SAMPLING_SET_OCTETS: u16 = 36;

/// Appends an options template and its one record (RFC 7011 section 3.4.2.2).
pub fn encode_sampling(
    datagram: &mut Vec<u8>,
    sampling: &Sampling,
    process: u32,
    time: &ExportTime,
) {
    let boot_ms = (time.unix_ns / 1_000_000).saturating_sub(time.uptime_ms);
    let (set, id, octets) = (
        OPTIONS_TEMPLATE_SET,
        SAMPLING_TEMPLATE_ID,
        SAMPLING_SET_OCTETS,
    );
    // Six fields, the first of which is the scope.
    for word in [set, octets, id, 6, 1] {
        datagram.extend_from_slice(&word.to_be_bytes());
    }
    flow_template::encode_fields(datagram, Dialect::Ipfix, &SAMPLING_FIELDS);
    datagram.extend_from_slice(&[0, 0]);
    for word in [id, octets] {
        datagram.extend_from_slice(&word.to_be_bytes());
    }
    let interval = sampling.interval.max(1);
    datagram.extend_from_slice(&process.to_be_bytes());
    datagram.extend_from_slice(&boot_ms.to_be_bytes());
    datagram.extend_from_slice(&1u32.to_be_bytes());
    datagram.extend_from_slice(&(interval - 1).to_be_bytes());
    datagram.extend_from_slice(&sampling.selector_algorithm().to_be_bytes());
    datagram.extend_from_slice(&f64::from(interval).recip().to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
}

/// The header's octets.
#[must_use]
pub fn encode_header(header: &Header) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    octets[0..2].copy_from_slice(&VERSION.to_be_bytes());
    octets[2..4].copy_from_slice(&header.length.to_be_bytes());
    octets[4..8].copy_from_slice(&low32(header.export_ns / 1_000_000_000).to_be_bytes());
    octets[8..12].copy_from_slice(&header.sequence.to_be_bytes());
    octets[12..16].copy_from_slice(&header.domain.to_be_bytes());
    octets
}

/// Reads the header of the message that begins with these octets.
///
/// # Errors
/// If it is no IPFIX message, or not whole.
pub fn decode_header(datagram: &[u8]) -> Result<Header, Malformed> {
    let octets = datagram.len();
    if octets < HEADER_OCTETS {
        return Err(Malformed::TooShort { octets });
    }
    let version = read::u16(datagram, 0);
    if version != VERSION {
        return Err(Malformed::Version { version });
    }
    let length = read::u16(datagram, 2);
    if !(HEADER_OCTETS..=octets).contains(&usize::from(length)) {
        return Err(Malformed::MessageLength { length, octets });
    }
    Ok(claimed_header(datagram))
}

/// The header of a message that ends before it says it does: its number is known, and nothing of it is used.
#[must_use]
pub fn cut_off(datagram: &[u8]) -> Option<Header> {
    match decode_header(datagram) {
        Err(Malformed::MessageLength { length, octets }) if usize::from(length) > octets => {
            Some(claimed_header(datagram))
        }
        _ => None,
    }
}

fn claimed_header(datagram: &[u8]) -> Header {
    Header {
        length: read::u16(datagram, 2),
        export_ns: u64::from(read::u32(datagram, 4)) * 1_000_000_000,
        sequence: read::u32(datagram, 8),
        domain: read::u32(datagram, 12),
    }
}

/// Reads a message's sets: all of them or none. A caller applies templates only once the whole
/// message made sense (RFC 7011 section 9.1).
///
/// Some exporters say a length that ends within their last set. If that set ends with the datagram, but for zeros, it is
/// what was meant. A set that begins after the length is no part of the message, and spoils one that says so.
///
/// # Errors
/// If the header cannot be, or at the first set or template whose length cannot.
pub fn decode_sets(datagram: &[u8]) -> Result<Vec<Set<'_>>, Malformed> {
    let header = decode_header(datagram)?;
    let message = &datagram[..usize::from(header.length)];
    let sets = set::decode(Dialect::Ipfix, message, HEADER_OCTETS);
    let Err(Malformed::SetLength { length, offset }) = sets else {
        return sets;
    };
    let end = offset + usize::from(length);
    let is_zeros = |rest: &[u8]| rest.iter().all(|octet| *octet == 0);
    if end > message.len() && datagram.get(end..).is_some_and(is_zeros) {
        return set::decode(Dialect::Ipfix, &datagram[..end], HEADER_OCTETS);
    }
    sets
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        FlowRecord, data,
        options::{self, Sampler},
        template::Template,
    };

    const HEADER: Header = Header {
        length: 16,
        export_ns: 1_700_000_000_000_000_000,
        sequence: 7,
        domain: 3,
    };

    /// A message of these sets.
    fn message(sets: &[u8]) -> Vec<u8> {
        let header = Header {
            length: u16::try_from(HEADER_OCTETS + sets.len()).unwrap(),
            ..HEADER
        };
        [&encode_header(&header)[..], sets].concat()
    }

    #[test]
    fn golden_header() {
        let octets = [0, 10, 0, 16, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 7, 0, 0, 0, 3];
        assert_eq!(encode_header(&HEADER), octets);
        assert_eq!(decode_header(&octets), Ok(HEADER));
    }

    /// Fault case C3.
    #[test]
    fn c03_a_length_beyond_the_datagram_or_below_the_header_is_refused() {
        for length in [0, 15, 17] {
            let mut octets = encode_header(&HEADER);
            octets[3] = length;
            let length = u16::from(length);
            let expected = Malformed::MessageLength { length, octets: 16 };
            assert_eq!(decode_header(&octets), Err(expected));
            assert_eq!(decode_sets(&octets), Err(expected));
        }
    }

    #[test]
    fn what_follows_the_message_is_no_part_of_it() {
        let mut datagram = message(&[1, 0, 0, 6, 7, 7]);
        datagram.extend_from_slice(&[0, 99, 0, 1]);
        let data = Set::Data {
            id: 256,
            octets: &[7, 7],
        };
        assert_eq!(decode_sets(&datagram), Ok(vec![data]));
    }

    #[test]
    fn a_length_that_ends_within_the_last_set_is_too_short() {
        let mut datagram = message(&[1, 0, 0, 8, 7, 7, 7, 7]);
        let whole = decode_sets(&datagram).map(|sets| format!("{sets:?}"));
        datagram[3] -= 2;
        let cut = decode_sets(&datagram).map(|sets| format!("{sets:?}"));
        assert!(whole.is_ok());
        assert_eq!(cut, whole);
        datagram.extend_from_slice(&[0; 5]);
        let filled_up = decode_sets(&datagram).map(|sets| format!("{sets:?}"));
        assert_eq!(filled_up, whole);
        datagram.truncate(24);
        // The set goes beyond the datagram, too.
        datagram.pop();
        let expected = Malformed::SetLength {
            length: 8,
            offset: 16,
        };
        assert_eq!(decode_sets(&datagram), Err(expected));
    }

    #[test]
    fn a_set_that_begins_after_the_length_is_no_part_of_the_message() {
        let sets = [[1, 0, 0, 8, 7, 7, 7, 7], [1, 1, 0, 8, 9, 9, 9, 9]];
        let mut datagram = message(sets.as_flattened());
        assert_eq!(decode_sets(&datagram).map(|sets| sets.len()), Ok(2));
        datagram[3] = 22;
        let expected = Malformed::SetLength {
            length: 8,
            offset: 16,
        };
        assert_eq!(decode_sets(&datagram), Err(expected));
        // One of less than its own header ends before the length, whatever follows.
        datagram[3] = 24;
        datagram[19] = 3;
        datagram[24..].fill(0);
        let expected = Malformed::SetLength {
            length: 3,
            offset: 16,
        };
        assert_eq!(decode_sets(&datagram), Err(expected));
    }

    /// A template and records of it, after the example of RFC 7011 appendix A.
    #[test]
    fn golden_message() {
        #[rustfmt::skip]
        let datagram = message(&[
            0, 2, 0, 28,        // template set
            1, 0, 0, 5,         // template 256, five fields
            0, 8, 0, 4,         // sourceIPv4Address
            0, 12, 0, 4,        // destinationIPv4Address
            0, 15, 0, 4,        // ipNextHopIPv4Address
            0, 2, 0, 4,         // packetDeltaCount
            0, 1, 0, 4,         // octetDeltaCount
            1, 0, 0, 44,        // data set 256
            192, 0, 2, 12, 192, 0, 2, 254, 192, 0, 2, 1,
            0, 0, 0x13, 0x91,   // 5009 packets
            0, 0x51, 0x8c, 0x81, // 5344385 octets
            192, 0, 2, 27, 192, 0, 2, 23, 192, 0, 2, 2,
            0, 0, 2, 0xec,      // 748 packets
            0, 5, 0xef, 0x46,   // 388934 octets
        ]);
        let sets = decode_sets(&datagram).unwrap();
        let [Set::Templates(found), Set::Data { id: 256, octets }] = &sets[..] else {
            panic!("{sets:?}")
        };
        let template = found[0].template().unwrap();
        let records = data::records(template, octets, HEADER.time_base(None));
        let flows: Vec<_> = records.map(|record| record.flow).collect();
        let counts: Vec<_> = flows
            .iter()
            .map(|flow| (flow.packets, flow.octets))
            .collect();
        assert_eq!(counts, [(5009, 5_344_385), (748, 388_934)]);
        let v4 = |last| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped();
        assert_eq!(
            (flows[0].source, flows[0].destination, flows[0].next_hop),
            (v4(12), v4(254), v4(1))
        );
    }

    #[test]
    fn records_of_both_families_come_back() {
        let time = ExportTime {
            unix_ns: HEADER.export_ns,
            uptime_ms: 100_000,
        };
        let v4 = FlowRecord {
            source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
            octets: u64::MAX,
            packets: 1 << 40,
            start_ns: HEADER.export_ns - 90 * 86_400_000_000_000,
            end_ns: HEADER.export_ns + 3_000_000,
            ..FlowRecord::default()
        };
        let v6 = FlowRecord {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            v6: true,
            ..v4
        };
        for (record, record_octets) in [(v4, 60), (v6, 84)] {
            let templates = templates(&Layout::WEIR);
            let flow = templates.of(&record);
            assert_eq!(flow.record_octets(), record_octets);
            let mut octets = Vec::new();
            flow.encode_record(&mut octets, &record, &time);
            let template = Template::new(flow.id, None, flow.fields.clone()).unwrap();
            let back = data::records(&template, &octets, HEADER.time_base(None));
            let back: Vec<_> = back.map(|record| record.flow).collect();
            assert_eq!(back, [record]);
        }
    }

    #[test]
    fn what_is_sent_about_sampling_is_read_back() {
        let time = ExportTime {
            unix_ns: HEADER.export_ns,
            uptime_ms: 5000,
        };
        for (random, algorithm) in [(false, 1), (true, 4)] {
            let interval = 1000;
            let mut sets = Vec::new();
            encode_sampling(&mut sets, &Sampling { interval, random }, 7, &time);
            assert_eq!(sets.len(), SAMPLING_OCTETS);
            let datagram = message(&sets);
            let sets = decode_sets(&datagram).unwrap();
            let [Set::Templates(found), Set::Data { id: 256, octets }] = &sets[..] else {
                panic!("{sets:?}")
            };
            let template = found[0].template().unwrap();
            assert_eq!(template.scope_fields(), Some(1));
            assert_eq!(template.record_count(octets), Some(1));
            let record = template.records(octets).next().unwrap();
            let said = options::read(template, record);
            assert_eq!(said.sampling, Some((Sampler::All, interval)));
            let boot_ms = HEADER.export_ns / 1_000_000 - 5000;
            assert_eq!(said.boot_ms, Some(boot_ms));
            assert_eq!(record[20..22], [0, algorithm]);
        }
    }
}
