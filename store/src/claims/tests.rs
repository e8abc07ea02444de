//! Footers and pages that somebody made.

use std::io::Write as _;

use super::*;

/// 2³¹ - 1, without a sign and with one.
const MOST: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 7];
const MOST_SIGNED: [u8; 5] = [0xfe, 0xff, 0xff, 0xff, 0xf];
/// Version 1.
const VERSION: [u8; 2] = [0x15, 2];
/// A schema of a root that is called "r", without children.
const SCHEMA: [u8; 7] = [0x19, 0x1c, 0x48, 1, b'r', 0, 0x16];

fn says(parts: &[&[u8]]) -> &'static str {
    check_footer(&parts.concat()).unwrap_err()
}

#[test]
fn d07_a_footer_claims_no_more_than_there_is() {
    // No rows, no row groups.
    let sound = [&VERSION[..], &SCHEMA, &[0, 0x19, 0x0c, 0]];
    assert_eq!(check_footer(&sound.concat()), Ok(()));
    let not_there = "it claims what is not there, or what Parquet does not have";
    let row_groups = [&VERSION[..], &SCHEMA, &[0, 0x19, 0xfc], &MOST, &[0; 100]];
    assert_eq!(says(&row_groups), not_there);
    // As many as there are octets: each would be a row group without anything in it.
    let holes = |count: usize| {
        let [low, middle, high] = [count, count >> 7, count >> 14].map(|part| part & 0x7f);
        let size = [low | 0x80, middle | 0x80, high].map(|part| u8::try_from(part).unwrap());
        let after = vec![0; count + 1];
        check_footer(&[&VERSION[..], &SCHEMA, &[0, 0x19, 0xfc], &size, &after].concat())
    };
    assert_eq!(holes(1 << 15), Ok(()));
    assert_eq!(holes((1 << 15) + 1), Err(not_there));
    // The same, where the decoder would read a list although it is said to be octets: 252 of them.
    let as_octets = [&VERSION[..], &SCHEMA, &[0, 0x18, 0xfc, 1], &[0; 300]];
    assert_eq!(says(&as_octets), not_there);
    // And as a second list of that number.
    let unended = &sound.concat()[..12];
    let again = [unended, &[0x09, 8, 0xfc], &MOST, &[0; 100]];
    assert_eq!(says(&again), not_there);
    // A field that the format has not, which the decoder would pass by.
    let unknown = [&VERSION[..], &SCHEMA, &[0, 0xf9, 0xf1], &MOST];
    assert_eq!(says(&unknown), not_there);
    let too_many = "it claims more fields than a file of Weir's has";
    let children = [
        &VERSION[..],
        &[0x19, 0x1c, 0x48, 1, b'r', 0x15],
        &MOST_SIGNED,
        &[0, 0x16, 0, 0x19, 0x0c, 0],
    ];
    assert_eq!(says(&children), too_many);
    // Fields in fields, a hundred thousand deep: one child each.
    let nested = [0x48, 1, b'r', 0x15, 2, 0].repeat(100_000);
    let deep = [
        &VERSION[..],
        &[0x19, 0xfc, 0xa0, 0x8d, 6],
        &nested,
        &[0x16, 0, 0x19, 0x0c, 0],
    ];
    assert_eq!(says(&deep), too_many);
}

fn pages(parts: &[&[u8]], expanded_max: u64) -> Result<(), &'static str> {
    let octets = parts.concat();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&octets).unwrap();
    let found = check_pages(&file, 0, octets.len() as u64, expanded_max).unwrap();
    assert_eq!(check_read_pages(&octets, expanded_max).map(drop), found);
    found
}

/// A page's header: a data page of so many octets, expanded and compressed, each less than 64.
fn page(expanded: u8, compressed: u8) -> Vec<u8> {
    vec![0x15, 0, 0x15, 2 * expanded, 0x15, 2 * compressed, 0]
}

#[test]
fn d07_pages_expand_to_what_their_column_claims_and_no_more() {
    let (first, second) = (page(50, 3), page(20, 0));
    let whole = [&first[..], &[1; 3], &second];
    assert_eq!(pages(&whole, 70), Ok(()));
    let (expanded, _) = check_read_pages(&whole.concat(), 70).unwrap();
    assert_eq!(expanded, [50, 20]);
    let too_much = Err("its pages claim to expand to more than they may");
    assert_eq!(pages(&whole, 69), too_much);
    let bomb = [&[0x15, 0, 0x15][..], &MOST_SIGNED, &[0x15, 6, 0, 1, 1, 1]];
    assert_eq!(pages(&bomb, u64::MAX), too_much);
    let beyond = [&first[..], &[1; 2]];
    assert_eq!(pages(&beyond, 70), Err("a page goes beyond its column"));
    let negative = [&[0x15, 0, 0x15, 1, 0x15, 1, 0][..], &[0xff; 20]];
    assert_eq!(pages(&negative, 70), Err("a page's header is none"));
    // A header of the largest length there is, of a name without an end.
    let long = [&[0x15, 0, 0x5c, 0x18][..], &MOST];
    assert_eq!(pages(&long, 70), Err("a page's header is none"));
}

/// What a page says of its values: how many, and how they are told. A few octets of runs may be any number of them.
#[test]
fn d07_pages_have_no_more_values_than_there_may_be() {
    let data = |values: &[u8], encoding: u8| {
        let header = [0x15, 0, 0x15, 100, 0x15, 0, 0x2c, 0x15];
        [&header[..], values, &[0x15, encoding, 0, 0]].concat()
    };
    let dictionary = |values: &[u8]| {
        let header = [0x15, 4, 0x15, 100, 0x15, 0, 0x4c, 0x15];
        [&header[..], values, &[0x15, 0, 0, 0]].concat()
    };
    let too_many = Err("its pages claim more values than they may");
    assert_eq!(
        pages(&[&dictionary(&[100]), &data(&[100], 16)], 100),
        Ok(())
    );
    let both = [dictionary(&[100]), data(&[100], 16), data(&[6], 16)];
    let (_, values) = check_read_pages(&both.concat(), 150).unwrap();
    assert_eq!(values, 53);
    assert_eq!(pages(&[&data(&MOST_SIGNED, 0)], 100), too_many);
    assert_eq!(pages(&[&dictionary(&[102])], 100), too_many);
    assert_eq!(pages(&[&dictionary(&MOST_SIGNED)], 100), too_many);
    // Differences of texts, in which lengths are told apart.
    let other = Err("its values are told in a way that Weir's are not");
    assert_eq!(pages(&[&data(&[100], 14)], 100), other);
}
