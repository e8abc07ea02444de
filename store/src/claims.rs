//! What a Parquet file claims before anything of it is read: its footer and the headers of its pages. The
//! decoder takes memory for as many row groups and fields as a footer claims, and for what a page claims to
//! expand to; memory that is not to be had ends the process. So claims are held against what is there first.
//!
//! Both are structures of Thrift's compact protocol. The decoder reads a field by its number and believes in its
//! type; here a field must be of its type, and of a number that the format has: what was looked at is then what
//! will be read. Sources: parquet.thrift of parquet-format 2.11, thrift-compact-protocol.md.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt as _};

/// Octets of a footer: some kilobytes a row group, and the collector's notes of its exporters, some megabytes at most.
const FOOTER_OCTETS_MAX: u64 = 1 << 28;
/// Fields of a schema, with those that hold others; ours has some fifty. The decoder goes into each by a call.
const FIELDS_MAX: usize = 1000;
/// Structures or texts in a list: the decoder believes in so many row groups, and no other list of ours has as many.
/// It takes a hundred octets and more for each before it looks at the first, and the shortest one is a single octet.
const ELEMENTS_MAX: usize = 1 << 15;
/// Octets of a page's header; ours have some thirty.
const PAGE_HEADER_OCTETS_MAX: usize = 1 << 13;
/// Octets that a page expands to; our writer's have 65,536 rows, or a dictionary of 8 MiB.
const PAGE_OCTETS_MAX: u64 = 16 << 20;
/// Values of a column in a row group: those of 2^20 flows, each with more elements in its map than fit there. They
/// may take a bit each or less.
const VALUES_MAX: u64 = 1 << 28;
/// How values are told, by the format's numbers: plain, by a dictionary, as runs, as differences of numbers. The other
/// ways, which our writer does not take, have lengths within a page that memory is taken for.
const ENCODINGS: [u64; 5] = [0, 2, 3, 5, 8];
/// What stands at either end of a file.
const MAGIC: [u8; 4] = *b"PAR1";
/// The footer's octets (32 bits, low octet first) and the magic behind it.
const TAIL_OCTETS: usize = 8;

/// Reads a file's footer, if the decoder can be given it.
///
/// # Errors
/// What the operating system says; or why not, as the end of a sentence.
pub(crate) fn footer(file: &File) -> io::Result<Result<Vec<u8>, &'static str>> {
    let octets = file.metadata()?.len();
    let mut tail = [0; TAIL_OCTETS];
    let Some(end) = octets.checked_sub(TAIL_OCTETS as u64) else {
        return Ok(Err("it is too short for a Parquet file"));
    };
    file.read_exact_at(&mut tail, end)?;
    let [l0, l1, l2, l3, magic @ ..] = tail;
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    if magic != MAGIC {
        return Ok(Err("it does not end as a Parquet file does"));
    }
    let start = end.checked_sub(length);
    let (Some(start), true) = (start, length <= FOOTER_OCTETS_MAX) else {
        return Ok(Err("its footer claims more octets than there are"));
    };
    let Ok(length) = usize::try_from(length) else {
        return Ok(Err("its footer claims more octets than there are"));
    };
    let mut footer = vec![0; length];
    file.read_exact_at(&mut footer, start)?;
    Ok(check_footer(&footer).map(|()| footer))
}

fn check_footer(footer: &[u8]) -> Result<(), &'static str> {
    let mut claims = Claims::of(footer);
    claims
        .structure(FILE)
        .ok_or("it claims what is not there, or what Parquet does not have")?;
    let children = usize::try_from(claims.children).unwrap_or(usize::MAX);
    if claims.fields > FIELDS_MAX || children > claims.fields {
        return Err("it claims more fields than a file of Weir's has");
    }
    Ok(())
}

/// Whether the pages of a column of a row group are where they should be, and expand to `expanded_max` octets in
/// all at most.
///
/// # Errors
/// What the operating system says; or why not, as the end of a sentence.
pub(crate) fn check_pages(
    file: &File,
    start: u64,
    octets: u64,
    expanded_max: u64,
) -> io::Result<Result<(), &'static str>> {
    let end = start.saturating_add(octets);
    if end > file.metadata()?.len() {
        return Ok(Err("a column goes beyond the file"));
    }
    let (mut at, mut pages) = (start, Pages::of(expanded_max));
    let mut buffer = vec![0; PAGE_HEADER_OCTETS_MAX];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let read = read_at_most(file, &mut buffer[..wanted.min(PAGE_HEADER_OCTETS_MAX)], at)?;
        match pages.next(&buffer[..read], end - at) {
            Ok(octets) => at += octets,
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(()))
}

/// The same of a column that was read, from its first octet to its last, before it is decoded: whether its pages end
/// with it, and expand to `expanded_max` octets in all at most. How many octets each of them expands to, and how many
/// values they say they have, those of dictionaries aside.
///
/// # Errors
/// Why not, as the end of a sentence.
pub fn check_read_pages(
    mut column: &[u8],
    expanded_max: u64,
) -> Result<(VecDeque<usize>, u64), &'static str> {
    let mut pages = Pages::of(expanded_max);
    let mut expanded = VecDeque::new();
    while !column.is_empty() {
        let before = pages.expanded;
        let octets = pages.next(column, column.len() as u64)?;
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        column = column.get(octets..).unwrap_or_default();
        expanded.push_back(usize::try_from(pages.expanded - before).unwrap_or(usize::MAX));
    }
    Ok((expanded, pages.values))
}

/// What the pages of a column claimed so far.
struct Pages {
    expanded: u64,
    expanded_max: u64,
    values: u64,
}

impl Pages {
    fn of(expanded_max: u64) -> Self {
        Self {
            expanded: 0,
            expanded_max,
            values: 0,
        }
    }

    /// Octets of the page that begins here, of those left of its column: its header, which is one at least, and
    /// what that is of.
    fn next(&mut self, octets: &[u8], left: u64) -> Result<u64, &'static str> {
        let octets = &octets[..octets.len().min(PAGE_HEADER_OCTETS_MAX)];
        let mut claims = Claims::of(octets);
        if claims.structure(PAGE).is_none() {
            return Err("a page's header is none");
        }
        let header = (octets.len() - claims.rest.len()) as u64;
        let page = header.saturating_add(claims.compressed);
        self.expanded = self.expanded.saturating_add(claims.expanded);
        self.values = self.values.saturating_add(claims.values);
        if page > left {
            return Err("a page goes beyond its column");
        }
        if claims.expanded > PAGE_OCTETS_MAX || self.expanded > self.expanded_max {
            return Err("its pages claim to expand to more than they may");
        }
        // Each value of a dictionary takes an octet at least.
        if self.values > VALUES_MAX || claims.dictionary_values > claims.expanded {
            return Err("its pages claim more values than they may");
        }
        if !ENCODINGS.contains(&claims.encoding) {
            return Err("its values are told in a way that Weir's are not");
        }
        Ok(page)
    }
}

/// Reads until the buffer is full or the file ends; how many octets.
fn read_at_most(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(octets) => filled += octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bool,
    Byte,
    /// A number of 16, 32 or 64 bits: as many octets as it takes.
    Number,
    /// A number that memory is taken for.
    Children,
    Compressed,
    Expanded,
    Values,
    DictionaryValues,
    /// How values are told.
    Encoding,
    /// Octets, or text.
    Octets,
    Structure(Fields),
    List(&'static Kind),
    /// The list of a schema's fields.
    Schema,
}

/// A structure's fields, by their numbers.
type Fields = &'static [(i16, Kind)];

use Kind::{
    Bool, Byte, Children, Compressed, DictionaryValues, Encoding, Expanded, List, Number, Octets,
    Schema, Structure, Values,
};

const FILE: Fields = &[
    (1, Number),
    (2, Schema),
    (3, Number),
    (4, List(&Structure(ROW_GROUP))),
    (5, List(&Structure(KEY_VALUE))),
    (6, Octets),
    (7, List(&Structure(COLUMN_ORDER))),
];
const SCHEMA_FIELD: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Octets),
    (5, Children),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Structure(LOGICAL_TYPE)),
];
const LOGICAL_TYPE: Fields = &[
    (1, Structure(NOTHING)),
    (2, Structure(NOTHING)),
    (3, Structure(NOTHING)),
    (4, Structure(NOTHING)),
    (5, Structure(&[(1, Number), (2, Number)])),
    (6, Structure(NOTHING)),
    (7, Structure(TIME)),
    (8, Structure(TIME)),
    (10, Structure(&[(1, Byte), (2, Bool)])),
    (11, Structure(NOTHING)),
    (12, Structure(NOTHING)),
    (13, Structure(NOTHING)),
    (14, Structure(NOTHING)),
    (15, Structure(NOTHING)),
];
const NOTHING: Fields = &[];
const TIME: Fields = &[(1, Bool), (2, Structure(UNIT))];
const UNIT: Fields = &[
    (1, Structure(NOTHING)),
    (2, Structure(NOTHING)),
    (3, Structure(NOTHING)),
];
const KEY_VALUE: Fields = &[(1, Octets), (2, Octets)];
const COLUMN_ORDER: Fields = &[(1, Structure(NOTHING)), (2, Structure(NOTHING))];
const ROW_GROUP: Fields = &[
    (1, List(&Structure(COLUMN))),
    (2, Number),
    (3, Number),
    (4, List(&Structure(SORTING))),
    (5, Number),
    (6, Number),
    (7, Number),
];
const SORTING: Fields = &[(1, Number), (2, Bool), (3, Bool)];
const COLUMN: Fields = &[
    (1, Octets),
    (2, Number),
    (3, Structure(COLUMN_METADATA)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
];
const COLUMN_METADATA: Fields = &[
    (1, Number),
    (2, List(&Number)),
    (3, List(&Octets)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, List(&Structure(KEY_VALUE))),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Structure(STATISTICS)),
    (
        13,
        List(&Structure(&[(1, Number), (2, Number), (3, Number)])),
    ),
    (14, Number),
    (15, Number),
    (16, Structure(SIZE_STATISTICS)),
];
const STATISTICS: Fields = &[
    (1, Octets),
    (2, Octets),
    (3, Number),
    (4, Number),
    (5, Octets),
    (6, Octets),
    (7, Bool),
    (8, Bool),
];
const SIZE_STATISTICS: Fields = &[(1, Number), (2, List(&Number)), (3, List(&Number))];

const PAGE: Fields = &[
    (1, Number),
    (2, Expanded),
    (3, Compressed),
    (4, Number),
    (5, Structure(DATA_PAGE)),
    (6, Structure(NOTHING)),
    (
        7,
        Structure(&[(1, DictionaryValues), (2, Encoding), (3, Bool)]),
    ),
    (8, Structure(DATA_PAGE_V2)),
];
const DATA_PAGE: Fields = &[
    (1, Values),
    (2, Encoding),
    (3, Number),
    (4, Number),
    (5, Structure(STATISTICS)),
];
const DATA_PAGE_V2: Fields = &[
    (1, Values),
    (2, Number),
    (3, Number),
    (4, Encoding),
    (5, Number),
    (6, Number),
    (7, Bool),
    (8, Structure(STATISTICS)),
];

impl Kind {
    /// Whether the protocol's number of a type is this one's. A truth in a structure is its type, and takes no
    /// octet.
    fn is_of(self, wire: u8) -> bool {
        match self {
            Bool => matches!(wire, 1 | 2),
            Byte => wire == 3,
            Number | Children | Compressed | Expanded | Values | DictionaryValues | Encoding => {
                matches!(wire, 4..=6)
            }
            Octets => wire == 8,
            List(_) | Schema => wire == 9,
            Structure(_) => wire == 12,
        }
    }
}

/// Octets that are still to be looked at, and what was claimed before them: the largest of each.
#[derive(Debug)]
struct Claims<'a> {
    rest: &'a [u8],
    fields: usize,
    children: u64,
    compressed: u64,
    expanded: u64,
    values: u64,
    dictionary_values: u64,
    encoding: u64,
}

impl<'a> Claims<'a> {
    fn of(octets: &'a [u8]) -> Self {
        Self {
            rest: octets,
            fields: 0,
            children: 0,
            compressed: 0,
            expanded: 0,
            values: 0,
            dictionary_values: 0,
            encoding: 0,
        }
    }

    /// A structure to its end; nothing if it is not as it should be.
    fn structure(&mut self, fields: Fields) -> Option<()> {
        let mut last = 0i16;
        loop {
            let head = self.octet()?;
            let wire = head & 0xf;
            if wire == 0 {
                return Some(());
            }
            let number = match head >> 4 {
                0 => i16::try_from(self.number()?).ok()?,
                more => last.checked_add(i16::from(more))?,
            };
            // One that comes twice, or out of order, is none that a writer makes.
            if number <= last {
                return None;
            }
            last = number;
            let (_, kind) = fields.iter().find(|(known, _)| *known == number)?;
            if !kind.is_of(wire) {
                return None;
            }
            self.value(*kind)?;
        }
    }

    fn value(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Bool => {}
            Byte => self.skip(1)?,
            Number => {
                self.number()?;
            }
            // What is below zero the decoder refuses.
            Children => self.children = self.claim()?.max(self.children),
            Compressed => self.compressed = self.claim()?.max(self.compressed),
            Expanded => self.expanded = self.claim()?.max(self.expanded),
            Values => self.values = self.claim()?.max(self.values),
            DictionaryValues => {
                self.dictionary_values = self.claim()?.max(self.dictionary_values);
            }
            Encoding => self.encoding = self.claim()?.max(self.encoding),
            Octets => {
                let octets = usize::try_from(self.unsigned()?).ok()?;
                self.skip(octets)?;
            }
            Structure(fields) => self.structure(fields)?,
            List(element) => {
                let elements = self.list(*element)?;
                if elements > ELEMENTS_MAX && matches!(element, Structure(_) | Octets) {
                    return None;
                }
                for _ in 0..elements {
                    self.value(*element)?;
                }
            }
            Schema => {
                let element = Structure(SCHEMA_FIELD);
                self.fields = self.list(element)?;
                for _ in 0..self.fields {
                    self.value(element)?;
                }
            }
        }
        Some(())
    }

    /// How many elements a list has: each takes an octet at least.
    fn list(&mut self, element: Kind) -> Option<usize> {
        const LONG: u8 = 15;
        let head = self.octet()?;
        let size = match head >> 4 {
            LONG => usize::try_from(self.unsigned()?).ok()?,
            size => size.into(),
        };
        let is_possible = size == 0 || (element.is_of(head & 0xf) && size <= self.rest.len());
        is_possible.then_some(size)
    }

    fn claim(&mut self) -> Option<u64> {
        self.number()
            .map(|number| u64::try_from(number).unwrap_or(0))
    }

    /// A number with a sign, which is in its lowest bit.
    fn number(&mut self) -> Option<i64> {
        let folded = self.unsigned()?;
        Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// Seven bits an octet, the lowest first.
    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip(&mut self, octets: usize) -> Option<()> {
        self.rest = self.rest.get(octets..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests;
