//! The different values of a column, and each row's index among them, if that is worth it.

use std::{borrow::Cow, hash::BuildHasher as _};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use super::value::{Stored, Value};

/// Numbers that are close together are looked up by how far they are from the least: so many places at most,
/// and so many for each value.
const SPAN_MAX: u64 = 1 << 24;
const SPAN_PER_VALUE: u64 = 64;
/// So many places have an entry each; more have a bit.
const ENTRIES_MAX: usize = 1 << 16;
/// Values between two looks whether there are not too many different ones.
const LOOK: usize = 1 << 15;

/// Values of a column, in parts.
pub type Parts<'a, S> = [Cow<'a, [S]>];

/// Different values, numbers in their order; the indices of the column's are appended to `indices`, unless there is one
/// value only. None if most are different: an index would take about what the value does, which is in the dictionary
/// too. None for sorted addresses either, if pages are compressed: one takes less after the one before it (0.5 octets) than an
/// index (1.2).
pub fn of<S: Stored>(
    column: &Parts<'_, S>,
    indices: &mut Vec<u32>,
    compresses: bool,
) -> Option<Vec<S::Value>> {
    indices.clear();
    match span(column) {
        Some(Span {
            places: 1, least, ..
        }) => Some(vec![least]),
        Some(span) => by_span(column, &span, indices),
        None if compresses && S::Value::IS_ADDRESS && is_sorted(column) => None,
        None => {
            let mut different = by_hash(column, indices)?;
            if !S::Value::SCALES.is_empty() {
                put_in_order(&mut different, indices);
            }
            Some(different)
        }
    }
}

/// Brings different values into their order. Each then begins as the one before it, and the indices of small numbers,
/// of which there are most, are close together: of octets, 2.4 octets a flow are left, of 3.1 as they came.
fn put_in_order<T: Value>(different: &mut [T], indices: &mut [u32]) {
    let mut order: Vec<(T, u32)> = different.iter().copied().zip(0..).collect();
    order.sort_unstable_by_key(|(value, _)| *value);
    let mut places = vec![0_u32; order.len()];
    for ((place, slot), (value, index)) in (0..).zip(different).zip(order) {
        *slot = value;
        places[index as usize] = place;
    }
    for index in indices {
        *index = places[*index as usize];
    }
}

fn values<S: Stored>(column: &Parts<'_, S>) -> usize {
    column.iter().map(|part| part.len()).sum()
}

/// Whether they climb, and are not all the same.
fn is_sorted<S: Stored>(column: &Parts<'_, S>) -> bool {
    let mut last = None;
    let mut differ = false;
    for part in column {
        for stored in part.iter() {
            let value = Some(stored.value());
            if value < last {
                return false;
            }
            differ |= last.is_some() && value != last;
            last = value;
        }
    }
    differ
}

/// Where numbers lie.
struct Span<T> {
    least: T,
    /// All are multiples of this above the least.
    scale: u64,
    places: usize,
}

/// The least and the greatest of a column's values.
pub fn ends<S: Stored>(column: &Parts<'_, S>) -> Option<(S::Value, S::Value)> {
    let first = column.iter().find_map(|part| part.first())?.value();
    let (mut least, mut greatest) = (first, first);
    for part in column {
        for stored in part.iter() {
            let value = stored.value();
            least = least.min(value);
            greatest = greatest.max(value);
        }
    }
    Some((least, greatest))
}

/// Nothing if they are no numbers, or lie too far apart.
fn span<S: Stored>(column: &Parts<'_, S>) -> Option<Span<S::Value>> {
    if S::Value::SCALES.is_empty() {
        return None;
    }
    let (least, greatest) = ends(column)?;
    let span = greatest.above(least);
    let span_max = SPAN_MAX.min(SPAN_PER_VALUE * values(column) as u64);
    let are_multiples = |scale: u64| match scale {
        1_000_000 => are_multiples::<S, 1_000_000>(column, least),
        1_000 => are_multiples::<S, 1_000>(column, least),
        scale => scale == 1,
    };
    let mut scales = S::Value::SCALES.iter().copied();
    let scale = scales.find(|scale| span / scale < span_max && are_multiples(*scale))?;
    Some(Span {
        least,
        scale,
        places: usize::try_from(span / scale).ok()? + 1,
    })
}

/// Whether all values are multiples above the least. A division by what is known beforehand is none.
fn are_multiples<S: Stored, const SCALE: u64>(column: &Parts<'_, S>, least: S::Value) -> bool {
    let mut parts = column.iter();
    parts.all(|part| {
        let mut values = part.iter();
        values.all(|stored| stored.value().above(least).is_multiple_of(SCALE))
    })
}

/// Finds which numbers there are, and counts them.
fn by_span<S: Stored>(
    column: &Parts<'_, S>,
    span: &Span<S::Value>,
    indices: &mut Vec<u32>,
) -> Option<Vec<S::Value>> {
    if span.places <= ENTRIES_MAX && span.scale == 1 {
        return by_entries(column, span, indices);
    }
    match span.scale {
        1_000_000 => by_span_of::<S, 1_000_000>(column, span, indices),
        1_000 => by_span_of::<S, 1_000>(column, span, indices),
        _ => by_span_of::<S, 1>(column, span, indices),
    }
}

/// A place has an entry, which nothing before has to be read for.
fn by_entries<S: Stored>(
    column: &Parts<'_, S>,
    span: &Span<S::Value>,
    indices: &mut Vec<u32>,
) -> Option<Vec<S::Value>> {
    let last = span.places - 1;
    let place = |stored: &S| {
        let above = stored.value().above(span.least);
        // All are below it; that is seen here so that it need not be looked at for each.
        usize::try_from(above).unwrap_or(last).min(last)
    };
    let mut entries = vec![0_u32; span.places];
    for part in column {
        for stored in part.iter() {
            entries[place(stored)] = 1;
        }
    }
    let mut different = Vec::new();
    for (above, entry) in (0_u64..).zip(&mut entries) {
        if *entry > 0 {
            *entry = u32::try_from(different.len()).ok()?;
            different.push(S::Value::at(span.least, above));
        }
    }
    let rows = values(column);
    if !is_worth::<S::Value>(different.len(), rows) {
        return None;
    }
    indices.reserve(rows);
    for part in column {
        indices.extend(part.iter().map(|stored| entries[place(stored)]));
    }
    Some(different)
}

fn by_span_of<S: Stored, const SCALE: u64>(
    column: &Parts<'_, S>,
    span: &Span<S::Value>,
    indices: &mut Vec<u32>,
) -> Option<Vec<S::Value>> {
    let words = span.places.div_ceil(64);
    // All are below it; that is seen here so that it need not be looked at for each.
    let word = |place: u64| usize::try_from(place / 64).unwrap_or(0).min(words - 1);
    let place = |stored: &S| stored.value().above(span.least) / SCALE;
    let mut is_there = vec![0_u64; words];
    for part in column {
        for stored in part.iter() {
            let place = place(stored);
            is_there[word(place)] |= 1 << (place % 64);
        }
    }
    let mut count = 0;
    let mut before = Vec::with_capacity(words);
    for bits in &is_there {
        before.push(count);
        count += bits.count_ones();
    }
    let rows = values(column);
    if !is_worth::<S::Value>(count as usize, rows) {
        return None;
    }
    let mut different = Vec::with_capacity(count as usize);
    for (word, bits) in (0_u64..).zip(&is_there) {
        let mut bits = *bits;
        while bits != 0 {
            let place = word * 64 + u64::from(bits.trailing_zeros());
            different.push(S::Value::at(span.least, place * SCALE));
            bits &= bits - 1;
        }
    }
    indices.reserve(rows);
    for part in column {
        indices.extend(part.iter().map(|stored| {
            let place = place(stored);
            let lower = is_there[word(place)] & ((1 << (place % 64)) - 1);
            before[word(place)] + lower.count_ones()
        }));
    }
    Some(different)
}

fn by_hash<S: Stored>(column: &Parts<'_, S>, indices: &mut Vec<u32>) -> Option<Vec<S::Value>> {
    let rows = values(column);
    let hasher = DefaultHashBuilder::default();
    // Of indices alone: what most lookups wait for is the memory of a table that no cache holds, and with the values in
    // it this would have six times the size. Those that come often came early, and lie together in `different`.
    let mut places: HashTable<u32> = HashTable::new();
    let mut different: Vec<S::Value> = Vec::new();
    let mut last = None;
    indices.reserve(rows);
    for part in column {
        for stored in part.iter() {
            let value = stored.value();
            // Neighbours are often the same.
            if let Some((before, index)) = last
                && before == value
            {
                indices.push(index);
                continue;
            }
            if indices.len() % LOOK == LOOK - 1
                && !is_worth::<S::Value>(different.len() * 2 / 3, indices.len())
            {
                return None;
            }
            let place = places.entry(
                hasher.hash_one(value),
                |index| different[*index as usize] == value,
                |index| hasher.hash_one(different[*index as usize]),
            );
            let index = match place {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(place) => {
                    let index = u32::try_from(different.len()).ok()?;
                    different.push(value);
                    place.insert(index);
                    index
                }
            };
            last = Some((value, index));
            indices.push(index);
        }
    }
    if different.len() == 1 {
        indices.clear();
    }
    is_worth::<S::Value>(different.len(), rows).then_some(different)
}

/// Whether so many different values may be in a dictionary for a column: half as many as there are rows, of small
/// values an eighth.
fn is_worth<T: Value>(different: usize, rows: usize) -> bool {
    let rows_each = if T::OCTETS < 8 { 8 } else { 2 };
    different == 1 || different * rows_each <= rows
}
