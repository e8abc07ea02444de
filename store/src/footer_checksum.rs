//! The checksum of what a closed file's footer says. Those of row groups ([`crate::checksum`]) are in the footer and
//! do not cover it, and one bit of it may hide flows: questions leave out row groups by their statistics.
//!
//! ```text
//! weir.footer = xxh64 GROUPS NOTES
//! ```
//!
//! GROUPS is of the row groups: their rows, and of each of their columns the path, the sizes, the places and the
//! statistics. NOTES is of all other notes but Arrow's own, whose columns are held against ours anyway. Both are
//! XXH64 with seed 0, in hexadecimal, of what a reader makes of the footer and not of its octets: those are there
//! only once this note is among them. Files from before there was one have none, and are sound without.

use std::hash::Hasher;

use parquet::{
    arrow::ARROW_SCHEMA_META_KEY,
    file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData, RowGroupMetaData},
};
use twox_hash::XxHash64;

/// The metadata's key.
pub const FOOTER: &str = "weir.footer";
const ALGORITHM: &str = "xxh64";

/// A note's key and value.
pub type Note<'a> = (&'a str, &'a str);

/// The checksum as metadata, of all row groups and all other notes.
#[must_use]
pub fn encode<'a>(
    groups: &[RowGroupMetaData],
    notes: impl IntoIterator<Item = Note<'a>>,
) -> String {
    format!(
        "{ALGORITHM} {} {}",
        shown(of_groups(groups)),
        shown(of_notes(notes))
    )
}

/// What of a footer is not as it was written, as sentences.
pub fn changed(metadata: &ParquetMetaData) -> impl Iterator<Item = &'static str> {
    let notes = metadata.file_metadata().key_value_metadata();
    let notes: Vec<Note<'_>> = notes.into_iter().flatten().filter_map(note).collect();
    let groups = noted(&notes).map(|(groups, _)| groups == shown(of_groups(metadata.row_groups())));
    let said = [
        (
            groups,
            "what its footer says of its row groups is not what was written",
        ),
        (
            Some(are_sound(&notes)),
            "the notes in its footer are not those that were written",
        ),
    ];
    said.into_iter()
        .filter_map(|(is_sound, says)| (is_sound == Some(false)).then_some(says))
}

/// Whether a footer's notes are those that were written, as far as it has a checksum of them.
#[must_use]
pub fn are_sound(notes: &[Note<'_>]) -> bool {
    noted(notes).is_none_or(|(_, hash)| hash == shown(of_notes(notes.iter().copied())))
}

/// The hashes of row groups and of notes that are among the notes.
fn noted<'a>(notes: &[Note<'a>]) -> Option<(&'a str, &'a str)> {
    let (_, text) = notes.iter().find(|(key, _)| *key == FOOTER)?;
    // Whatever else it may be is no hash of anything.
    let hashes = text.strip_prefix(ALGORITHM).map(str::trim_start);
    let hashes = hashes.and_then(|hashes| hashes.split_once(' '));
    Some(hashes.unwrap_or_default())
}

fn note(note: &KeyValue) -> Option<Note<'_>> {
    Some((note.key.as_str(), note.value.as_deref()?))
}

fn shown(hash: u64) -> String {
    format!("{hash:016x}")
}

fn of_notes<'a>(notes: impl IntoIterator<Item = Note<'a>>) -> u64 {
    let notes = notes.into_iter();
    let hashed = notes.filter(|(key, _)| *key != FOOTER && *key != ARROW_SCHEMA_META_KEY);
    let mut notes: Vec<Note<'a>> = hashed.collect();
    notes.sort_unstable();
    let mut hasher = XxHash64::with_seed(0);
    for (key, value) in notes {
        octets(&mut hasher, key.as_bytes());
        octets(&mut hasher, value.as_bytes());
    }
    hasher.finish()
}

fn of_groups(groups: &[RowGroupMetaData]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    for group in groups {
        hasher.write(&group.num_rows().to_le_bytes());
        for column in group.columns() {
            add_column(&mut hasher, column);
        }
    }
    hasher.finish()
}

fn add_column(hasher: &mut XxHash64, column: &ColumnChunkMetaData) {
    octets(hasher, column.column_path().string().as_bytes());
    for number in [
        column.num_values(),
        column.compressed_size(),
        column.uncompressed_size(),
        column.data_page_offset(),
        column.dictionary_page_offset().unwrap_or(-1),
        // Another filter would rule out what is there.
        column.bloom_filter_offset().unwrap_or(-1),
        column.bloom_filter_length().map_or(-1, i64::from),
    ] {
        hasher.write(&number.to_le_bytes());
    }
    let Some(statistics) = column.statistics() else {
        return;
    };
    let nulls = statistics.null_count_opt().unwrap_or(0);
    hasher.write(&nulls.to_le_bytes());
    for end in [statistics.min_bytes_opt(), statistics.max_bytes_opt()] {
        octets(hasher, end.unwrap_or_default());
    }
}

/// Hashes octets with their number, so that none moves from one value into the next.
fn octets(hasher: &mut XxHash64, octets: &[u8]) {
    hasher.write(&(octets.len() as u64).to_le_bytes());
    hasher.write(octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These notes with a checksum among them, and with Arrow's.
    fn with<'a>(notes: &[Note<'a>], checksum: &'a str) -> Vec<Note<'a>> {
        [notes, &[(FOOTER, checksum), (ARROW_SCHEMA_META_KEY, "any")]].concat()
    }

    #[test]
    fn notes_have_a_checksum_whatever_their_order() {
        let notes = [("weir.flows", "300"), ("weir.first_ns", "7")];
        let checksum = encode(&[], notes);
        assert!(are_sound(&with(&notes, &checksum)));
        assert!(are_sound(&with(&[notes[1], notes[0]], &checksum)));
        for changed in [
            &[("weir.flows", "301"), notes[1]][..],
            &[("weir.glows", "300"), notes[1]],
            &[notes[0]],
            &[notes[0], notes[1], ("weir.recovered", "true")],
            // What one ends with begins the next.
            &[("weir.flow", "s300"), notes[1]],
        ] {
            assert!(!are_sound(&with(changed, &checksum)), "{changed:?}");
        }
        // Files from before there was one; and some that are no checksum.
        assert!(are_sound(&notes));
        for wrong in ["", "xxh64", "xxh64 0", "md5 1 2"] {
            assert!(!are_sound(&with(&notes, wrong)), "{wrong}");
        }
    }
}
