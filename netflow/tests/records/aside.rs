//! What a flow has no place for: lent aside, within bounds, and the packet's first octets among it.

use weir_netflow::{
    data::{ASIDE_OCTETS_MAX, Aside},
    sflow::{SampledHeader, header_protocol},
};

use super::*;

#[test]
fn what_has_no_place_is_lent_aside() {
    let application = [3, 0, 0, 80];
    let own = Field {
        enterprise: 6871,
        ..Field::new(14, 0)
    };
    let values: [(Field, &[u8]); 6] = [
        (Field::new(95, 0), &application),
        (Field::new(element::PADDING, 0), &[0, 0]),
        (Field::new(1, 0), &[1]),
        (own, &[7, 7]),
        (Field::new(96, VARIABLE), &[3, b'f', b't', b'p']),
        (Field::new(94, VARIABLE), &[0]),
    ];
    let found: Vec<_> = decoded(&values, |record| {
        let owned = |aside: Aside<'_>| (aside.enterprise, aside.element, aside.octets.to_vec());
        record.aside().map(owned).collect()
    });
    let expected = [
        (0, 95, application.to_vec()),
        (6871, 14, vec![7, 7]),
        (0, 96, b"ftp".to_vec()),
    ];
    assert_eq!(found, expected);
}

/// PSAMP and inline monitoring: in place of addresses a record carries the packet's first octets.
#[test]
fn first_octets_are_lent_where_nothing_else_tells_of_the_packet() {
    let (v4, v6) = ([0x45_u8; 24], [0x60_u8; 40]);
    let frame_of = |element, octets: &[u8]| {
        let size = [0x05, 0xee];
        let mut record = plain(&[(element::FRAME_OCTETS, &size)]);
        record.push((Field::new(element, 0), octets));
        decoded(&record, |record| record.sampled_header().map(owned))
    };
    let ethernet = |wire_octets| Some((header_protocol::ETHERNET, wire_octets, v4.to_vec()));
    assert_eq!(frame_of(element::FRAME_SECTION, &v4), ethernet(1518));
    assert_eq!(frame_of(element::LAYER2_SECTION, &v4), ethernet(1518));
    assert_eq!(frame_of(element::FRAME_SECTION, &[]), None);
    assert_eq!(frame_of(element::OCTETS, &[1]), None);
    let packet = |protocol, octets: &[u8]| Some((protocol, octets.len(), octets.to_vec()));
    let section = element::PACKET_SECTION;
    assert_eq!(lent(&[(section, &v4)]), packet(header_protocol::IPV4, &v4));
    assert_eq!(lent(&[(section, &v6)]), packet(header_protocol::IPV6, &v6));
    // A frame says more, wherever it stands.
    let frame = (element::FRAME_SECTION, &v4[..]);
    let packet_of = (section, &v6[..24]);
    assert_eq!(lent(&[packet_of, frame]), ethernet(24));
    assert_eq!(lent(&[frame, packet_of]), ethernet(24));
    // What is not the packet's beginning says nothing, and what the record says itself counts.
    assert_eq!(
        lent(&[(element::SECTION_OFFSET, &[0, 0]), frame]),
        ethernet(24)
    );
    assert_eq!(lent(&[(element::SECTION_OFFSET, &[0, 14]), frame]), None);
    assert_eq!(lent(&[(element::DESTINATION_V4, &V4), frame]), None);
}

/// The first octets of its packet that a record lends.
fn lent(values: &[(Element, &[u8])]) -> Option<(u32, usize, Vec<u8>)> {
    decoded(&plain(values), |record| record.sampled_header().map(owned))
}

#[test]
fn first_octets_are_of_the_link_layer_and_as_many_as_the_record_says() {
    let octets: [u8; 24] = std::array::from_fn(|at| if at == 0 { 0x60 } else { 7 });
    let frame = (element::FRAME_SECTION, &octets[..]);
    let packet = (element::PACKET_SECTION, &octets[..]);
    let of = |protocol, wire_octets, taken: usize| {
        Some((protocol, wire_octets, octets[..taken].to_vec()))
    };
    let whole_frame = of(header_protocol::ETHERNET, 24, 24);
    let whole_packet = of(header_protocol::IPV6, 24, 24);
    // A wireless frame is not read as if it were Ethernet's; what is in it may be told, too.
    let types = element::FRAME_TYPES;
    assert_eq!(lent(&[(types, &[0, 1]), frame]), whole_frame);
    assert_eq!(lent(&[(types, &[0, 0]), frame]), whole_frame);
    assert_eq!(lent(&[(types, &[0, 2]), frame]), None);
    assert_eq!(lent(&[frame, packet, (types, &[0, 2])]), whole_packet);
    // What a field of a fixed length is filled up with is not of the packet.
    let cut = of(header_protocol::ETHERNET, 20, 20);
    let (octets_told, layer2_octets) = (element::SECTION_OCTETS, element::LAYER2_SECTION_OCTETS);
    assert_eq!(lent(&[(octets_told, &[0, 20]), frame]), cut);
    let layer2 = (element::LAYER2_SECTION, &octets[..]);
    assert_eq!(lent(&[(layer2_octets, &[0, 20]), layer2]), cut);
    assert_eq!(lent(&[(octets_told, &[1, 0]), frame]), whole_frame);
    // The frame's octets are not the packet's.
    let size = element::FRAME_OCTETS;
    assert_eq!(lent(&[(size, &[0x05, 0xee]), packet]), whole_packet);
}

fn owned(header: SampledHeader<'_>) -> (u32, usize, Vec<u8>) {
    (header.protocol, header.wire_octets, header.octets.to_vec())
}

/// What went out beside what came in, the other family's address, the other pair of MAC addresses: no column is
/// theirs, unless the one that goes before is empty.
#[test]
fn what_is_told_twice_is_lent_aside_if_the_other_has_the_column() {
    fn aside(values: &[(Element, &[u8])]) -> Vec<(Element, Vec<u8>)> {
        decoded(&plain(values), |record| {
            let owned = |aside: Aside<'_>| (aside.element, aside.octets.to_vec());
            record.aside().map(owned).collect()
        })
    }
    let counts = aside(&[(1, &[9]), (2, &[3]), (23, &[0, 5]), (24, &[2])]);
    assert_eq!(counts, [(23, vec![0, 5]), (24, vec![2])]);
    // All of it was thrown away.
    assert_eq!(aside(&[(23, &[0]), (1, &[9])]), [(23, vec![0])]);
    // All of it was sent on: it is not as if nothing were told.
    assert_eq!(aside(&[(1, &[5]), (23, &[0, 5])]), [(23, vec![0, 5])]);
    // They stand in for what did not come in.
    assert!(aside(&[(1, &[0]), (23, &[5])]).is_empty());
    assert!(aside(&[(23, &[5]), (24, &[2])]).is_empty());
    // Totals are where deltas are not.
    assert_eq!(aside(&[(85, &[9]), (23, &[5])]), [(23, vec![5])]);
    // As many templates have it, and as few exporters fill it.
    let (v4, v6): (&[u8], &[u8]) = (&V4, &V6);
    assert!(aside(&[(8, v4), (27, &[0; 16]), (15, v4), (62, &[0; 16])]).is_empty());
    assert!(aside(&[(8, &[0; 4]), (27, v6), (15, &[0; 4]), (62, v6)]).is_empty());
    let both = aside(&[(8, v4), (27, v6), (60, &[4]), (15, v4), (62, v6)]);
    assert_eq!(both, [(27, V6.to_vec()), (62, V6.to_vec())]);
    let both = aside(&[(8, v4), (27, v6), (18, v4), (63, v6)]);
    assert_eq!(both, [(8, V4.to_vec()), (18, V4.to_vec())]);
    let (one, other, zero) = ([1; 6], [2; 6], [0; 6]);
    let macs = aside(&[(81, &other), (56, &one), (80, &one), (57, &other)]);
    assert_eq!(macs, [(81, vec![2; 6]), (57, vec![2; 6])]);
    assert!(aside(&[(56, &zero), (81, &other)]).is_empty());
    assert!(aside(&[(56, &one), (81, &zero)]).is_empty());
    assert_eq!(aside(&[(58, &[0, 7]), (243, &[0, 8])]), [(243, vec![0, 8])]);
    assert!(aside(&[(58, &[0, 7]), (243, &[0, 7])]).is_empty());
    assert!(aside(&[(58, &[0, 0]), (243, &[0, 8])]).is_empty());
}

#[test]
fn what_is_lent_aside_is_bounded() {
    let long = [1; 1400];
    let mut values = vec![(Field::new(315, 0), &long[..])];
    values.extend((0..200).map(|element| (Field::new(400 + element, 0), &[1][..])));
    decoded(&values, |record| {
        let first = record.aside().next().unwrap();
        assert_eq!((first.octets.len(), first.length), (ASIDE_OCTETS_MAX, 1400));
        assert_eq!(record.aside().count(), 201);
    });
}

/// Fault case C7: a list in a list, a thousand deep, with elements of no octets.
#[test]
fn c07_structured_data_is_passed_over_by_its_length() {
    let list = [255, 1, 35, 0, 0].repeat(1000);
    let length = u16::try_from(list.len()).unwrap().to_be_bytes();
    let value = [&[255][..], &length[..], &list[..]].concat();
    let values: [(Field, &[u8]); 2] = [
        (Field::new(291, VARIABLE), &value),
        (Field::new(2, 0), &[4]),
    ];
    decoded(&values, |record| {
        assert_eq!(record.flow.packets, 4);
        assert_eq!(record.aside().next().unwrap().length, list.len());
    });
}
