//! What a closed file says of itself without its rows being read: how many flows, the ends of their
//! times, what was noted ([`crate::closed`] lists it), and which addresses its Bloom filters have not.
//! Whoever reads a footer reads it here.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, LazyLock},
};

use parquet::{
    arrow::{
        ArrowSchemaConverter,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        parquet_to_arrow_schema,
    },
    bloom_filter::Sbbf,
    errors::ParquetError,
    file::{
        metadata::{
            ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
            ParquetStatisticsPolicy, RowGroupMetaData,
        },
        statistics::Statistics,
    },
    schema::types::SchemaDescriptor,
};

use crate::{
    StoreError, caught::caught, claims, closed::ROW_GROUP_ROWS, footer_checksum, form::Compression,
    schema,
};

/// Octets of a Bloom filter that is read; a damaged length may be anything.
const BLOOM_OCTETS_MAX: i32 = 32 << 20;
/// No column of a row group of ours takes more octets unpacked.
const COLUMN_OCTETS_MAX: i64 = 1 << 30;
/// Places in [`schema`] of the columns whose ends are told: `flow_start`, `flow_end`, `received`, `sampling_interval`.
const BOUNDED: [usize; 4] = [0, 1, 2, 26];

/// Smallest and largest value of a time, nanoseconds since 1970-01-01 UTC.
pub type Ends = (i64, i64);

/// The metadata's key for when the flows of the files were received that a large one was made of.
pub const HEARD: &str = "weir.heard";

/// A closed file's footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Flows in the file.
    pub flows: u64,
    /// Of `flow_start`.
    pub start_ns: Option<Ends>,
    /// Of `flow_end`.
    pub end_ns: Option<Ends>,
    /// Of `received`.
    pub received_ns: Option<Ends>,
    /// Smallest and largest `sampling_interval`.
    pub sampling_interval: Option<(u32, u32)>,
    /// Of `received` in each of the files it was made of, if it was made of several: what lies between is a
    /// time in which nothing came.
    pub heard_ns: Vec<Ends>,
    /// The first column of [`schema`] that the file has not, or not of its type; those that version 1 had
    /// not may be missing.
    pub foreign_column: Option<String>,
    notes: Vec<(String, String)>,
}

impl Footer {
    /// What was noted under a key of [`crate::closed`].
    #[must_use]
    pub fn note(&self, key: &str) -> Option<&str> {
        let mut notes = self.notes.iter();
        let note = notes.find(|(known, _)| known == key)?;
        Some(&note.1)
    }

    /// Whether its notes are those that were written, as far as it has a checksum of them.
    #[must_use]
    pub fn has_sound_notes(&self) -> bool {
        let notes = self.notes.iter();
        let notes: Vec<_> = notes
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        footer_checksum::are_sound(&notes)
    }
}

/// A closed file whose footer was read, once for all that is asked of it.
pub struct Opened {
    file: File,
    metadata: ParquetMetaData,
}

/// How files of ours tell their columns, those of version 1 too.
static TOLD: LazyLock<Vec<SchemaDescriptor>> = LazyLock::new(|| {
    let schemas = [schema::schema(), schema::earlier_schema()];
    let told = schemas.iter();
    told.filter_map(|schema| ArrowSchemaConverter::new().convert(schema).ok())
        .collect()
});

impl Opened {
    /// Reads a file's footer: of the statistics only those that [`Footer`] tells, since a directory may have
    /// thousands of files, and each has dozens of columns.
    ///
    /// # Errors
    /// If the file is no Parquet file, or claims what none of ours has.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let options = ParquetMetaDataOptions::default()
            .with_column_stats_policy(ParquetStatisticsPolicy::skip_except(&BOUNDED))
            .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let metadata = metadata(&file, &options).map_err(StoreError::parquet(path))?;
        check(&metadata).map_err(StoreError::parquet(path))?;
        Ok(Self { file, metadata })
    }

    /// What it says.
    #[must_use]
    pub fn footer(&self) -> Footer {
        let metadata = self.metadata();
        let notes = metadata.file_metadata().key_value_metadata();
        let notes = notes.into_iter().flatten();
        let received_ns = ends(metadata, "received");
        let parts = note(metadata, HEARD).and_then(|parts| serde_json::from_str(parts).ok());
        // The sum that it claims itself may be any number, and those of several files are added up.
        let rows = metadata.row_groups().iter().map(RowGroupMetaData::num_rows);
        Footer {
            flows: rows.filter_map(|rows| u64::try_from(rows).ok()).sum(),
            start_ns: ends(metadata, "flow_start"),
            end_ns: ends(metadata, "flow_end"),
            received_ns,
            sampling_interval: intervals(metadata, "sampling_interval"),
            heard_ns: parts.unwrap_or_else(|| received_ns.into_iter().collect()),
            foreign_column: self.foreign_column(),
            notes: notes
                .filter_map(|note| Some((note.key.clone(), note.value.clone()?)))
                .collect(),
        }
    }

    /// Row groups in the file.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.metadata().num_row_groups()
    }

    /// Octets of a row group in the file.
    #[must_use]
    pub fn group_octets(&self, group: usize) -> u64 {
        let group = self.metadata().row_groups().get(group);
        let octets = group.map(RowGroupMetaData::compressed_size);
        octets
            .and_then(|octets| u64::try_from(octets).ok())
            .unwrap_or(0)
    }

    /// The ends of `flow_start`, `flow_end` and `received` in a row group.
    #[must_use]
    pub fn group_times_ns(&self, group: usize) -> [Option<Ends>; 3] {
        let group = self.metadata().row_groups().get(group);
        ["flow_start", "flow_end", "received"].map(|column| ends_in(group?, column))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    /// See [`Footer::foreign_column`]. Mostly nothing has to be converted to know that there is none.
    fn foreign_column(&self) -> Option<String> {
        let file = self.metadata.file_metadata();
        if TOLD.contains(file.schema_descr()) {
            return None;
        }
        let converted =
            caught(|| parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()));
        match converted {
            Some(Ok(converted)) => schema::foreign_column(&converted),
            _ => schema::foreign_column(&arrow::datatypes::Schema::empty()),
        }
    }

    /// How its columns are compressed, but for those that gain nothing by it.
    #[must_use]
    pub fn compression(&self) -> Compression {
        let Some(group) = self.metadata.row_groups().first() else {
            return Compression::default();
        };
        let columns = group.columns().iter();
        let mut found = columns.map(|column| Compression::of(column.compression()));
        let compresses = found.find(|compression| *compression != Compression::None);
        compresses.unwrap_or(Compression::None)
    }

    /// False if its Bloom filters say that no row has the address in the column.
    #[must_use]
    pub fn may_have(&self, column: &str, address: [u8; 16]) -> bool {
        let mut groups = 0..self.groups();
        groups.any(|group| self.group_may_have(group, column, address))
    }

    /// False if a row group's Bloom filter says that no row of it has the address in the column.
    #[must_use]
    pub fn group_may_have(&self, at: usize, column: &str, address: [u8; 16]) -> bool {
        let Some(group) = self.metadata().row_groups().get(at) else {
            return false;
        };
        let mut columns = group.columns().iter();
        let found = columns.position(|chunk| chunk.column_path().parts() == [column]);
        let Some(found) = found else {
            return true;
        };
        let octets = group.column(found).bloom_filter_length();
        if octets.is_none_or(|octets| !(0..=BLOOM_OCTETS_MAX).contains(&octets)) {
            return true;
        }
        // A damaged one may contradict itself in ways that its reader does not expect.
        let absent = caught(|| {
            let filter = Sbbf::read_from_column_chunk(group.column(found), &self.file);
            matches!(filter, Ok(Some(filter)) if !filter.check(&address[..]))
        });
        !absent.unwrap_or(false)
    }
}

/// Reads a footer.
///
/// # Errors
/// If the file is no Parquet file, or claims what none of ours has.
pub fn read(path: &Path) -> Result<Footer, StoreError> {
    Ok(Opened::open(path)?.footer())
}

/// What was noted in a file's footer under a key.
pub(crate) fn note<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let notes = metadata.file_metadata().key_value_metadata()?;
    let note = notes.iter().find(|note| note.key == key)?;
    note.value.as_deref()
}

/// A file's footer as its reader has it, if it claims nothing impossible, with all that is in it. A damaged one
/// may have the decoder panic.
pub(crate) fn load(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = Arc::new(metadata(file, &ParquetMetaDataOptions::default())?);
    let loaded = caught(|| ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::default()));
    loaded.unwrap_or_else(|| Err(contradicts_itself()))
}

fn metadata(
    file: &File,
    options: &ParquetMetaDataOptions,
) -> Result<ParquetMetaData, ParquetError> {
    let octets = claims::footer(file)?;
    let octets = octets.map_err(|why| ParquetError::General(why.to_owned()))?;
    let decoded =
        caught(|| ParquetMetaDataReader::decode_metadata_with_options(&octets, Some(options)));
    decoded.unwrap_or_else(|| Err(contradicts_itself()))
}

fn contradicts_itself() -> ParquetError {
    ParquetError::General("it contradicts itself".to_owned())
}

/// Whether what a footer says of its row groups may be so, before somebody reads on by it.
fn check(metadata: &ParquetMetaData) -> Result<(), ParquetError> {
    if metadata.row_groups().iter().all(is_possible) {
        return Ok(());
    }
    let says = "a row group's sizes are impossible".to_owned();
    Err(ParquetError::General(says))
}

/// Whether a row group of ours may be as large as this one says it is.
pub(crate) fn is_possible(group: &RowGroupMetaData) -> bool {
    let rows = usize::try_from(group.num_rows());
    let are_octets = |octets: i64| (0..=COLUMN_OCTETS_MAX).contains(&octets);
    rows.is_ok_and(|rows| rows <= ROW_GROUP_ROWS)
        && group.columns().iter().all(|column| {
            are_octets(column.uncompressed_size()) && are_octets(column.compressed_size())
        })
}

/// Whether a file has a note of this name in its metadata.
///
/// # Errors
/// If the file is no Parquet file.
pub fn has_note(path: &Path, key: &str) -> Result<bool, StoreError> {
    let opened = Opened::open(path)?;
    Ok(note(opened.metadata(), key).is_some())
}

/// The ends of a time over all row groups, if all of them say.
fn ends(metadata: &ParquetMetaData, column: &str) -> Option<Ends> {
    over_groups(metadata, |group| ends_in(group, column))
}

/// Ends of a time in a row group, if it says.
fn ends_in(group: &RowGroupMetaData, column: &str) -> Option<Ends> {
    match statistics(group, column)? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    }
}

/// Likewise over all row groups of a column of 32 bits without a sign.
fn intervals(metadata: &ParquetMetaData, column: &str) -> Option<(u32, u32)> {
    over_groups(metadata, |group| match statistics(group, column)? {
        Statistics::Int32(values) => {
            let [least, most] = [values.min_opt()?, values.max_opt()?];
            Some((least.cast_unsigned(), most.cast_unsigned()))
        }
        _ => None,
    })
}

fn over_groups<T: Ord>(
    metadata: &ParquetMetaData,
    of_group: impl Fn(&RowGroupMetaData) -> Option<(T, T)>,
) -> Option<(T, T)> {
    let groups: Option<Vec<(T, T)>> = metadata.row_groups().iter().map(of_group).collect();
    groups?
        .into_iter()
        .reduce(|(first, last), (other_first, other_last)| {
            (first.min(other_first), last.max(other_last))
        })
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    let mut columns = group.columns().iter();
    let chunk = columns.find(|chunk| chunk.column_path().parts() == [column])?;
    chunk.statistics()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{account, layout::Directory, rotate, schema::StoredFlow, window::Window};

    const START_S: i64 = 1_795_237_200;

    fn closed(folder: &Path) -> std::path::PathBuf {
        let directory = Directory::lock(folder).unwrap();
        let mut window = Window::create(&directory.window_path(START_S)).unwrap();
        let flows: Vec<_> = (1..=100u64)
            .map(|number| StoredFlow {
                record: FlowRecord {
                    source: Ipv6Addr::from(u128::from(number) << 40),
                    start_ns: 1000 * number,
                    end_ns: 2000 * number,
                    // The largest there is has the sign's bit set where it is stored.
                    sampling_interval: if number == 7 { u32::MAX } else { 10 },
                    ..FlowRecord::default()
                },
                received_ns: 3000 * number,
                ..StoredFlow::default()
            })
            .collect();
        window.append(&flows).unwrap();
        let notes = [(account::TOTALS.to_owned(), "[]".to_owned())];
        let rotated = rotate::close(folder, window.path(), &notes).unwrap();
        rotated.path.unwrap()
    }

    #[test]
    fn a_footer_says_what_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = closed(folder.path());
        let footer = read(&path).unwrap();
        assert_eq!(footer.flows, 100);
        assert_eq!(footer.start_ns, Some((1000, 100_000)));
        assert_eq!(footer.end_ns, Some((2000, 200_000)));
        assert_eq!(footer.received_ns, Some((3000, 300_000)));
        assert_eq!(footer.heard_ns, [(3000, 300_000)]);
        assert_eq!(footer.sampling_interval, Some((10, u32::MAX)));
        assert_eq!(footer.foreign_column, None);
        for (key, expected) in [
            ("weir.exporters", Some("[]")),
            ("weir.schema_version", Some("2")),
            ("weir.flows", Some("100")),
            ("weir.first_ns", Some("1000")),
            ("weir.last_ns", Some("200000")),
            ("weir.recovered", None),
        ] {
            assert_eq!(footer.note(key), expected, "{key}");
        }
    }

    #[test]
    fn bloom_filters_rule_addresses_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = closed(folder.path());
        let opened = Opened::open(&path).unwrap();
        let may_have =
            |column: &str, number: u128| opened.may_have(column, Ipv6Addr::from(number).octets());
        assert!((1..=100u128).all(|number| may_have("src_addr", number << 40)));
        let others = (1..=100u128).filter(|number| may_have("src_addr", (number << 40) + 1));
        assert!(others.count() < 30, "most of the others are ruled out");
        assert!(
            may_have("next_hop", 7),
            "a column without a filter may have any"
        );
    }

    /// Fault case D7: three such files would claim more flows than a number holds.
    #[test]
    fn d07_flows_are_those_of_the_row_groups() {
        // No rows, and no row groups; then as many rows as there can be.
        const NONE: [u8; 4] = [0x16, 0, 0x19, 0x0c];
        const MOST: [u8; 9] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.parquet");
        let writer = crate::closed::ClosedWriter::create(&path, &[]).unwrap();
        writer.finish().unwrap();
        let octets = std::fs::read(&path).unwrap();
        let (body, end) = octets.split_at(octets.len() - 8);
        let at = body.windows(NONE.len()).position(|part| part == NONE);
        let (before, after) = body.split_at(at.unwrap() + 1);
        let footer = u32::from_le_bytes([end[0], end[1], end[2], end[3]]) + 9;
        let footer = footer.to_le_bytes();
        let crafted = [before, &MOST, &[1], &after[1..], &footer, &end[4..]].concat();
        std::fs::write(&path, crafted).unwrap();
        let opened = Opened::open(&path).unwrap();
        let claimed = opened.metadata().file_metadata().num_rows();
        assert_eq!((claimed, opened.footer().flows), (i64::MAX, 0));
    }

    /// Fault case D6: nobody looks at a checksum when a Bloom filter is asked, so that damage may have it rule
    /// out an address that is there; `verify` finds that. Whatever is damaged, nothing panics.
    #[test]
    fn d06_a_bloom_filter_is_wrong_only_if_verify_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = closed(folder.path());
        let octets = std::fs::read(&path).unwrap();
        let (body, end) = octets.split_at(octets.len() - 8);
        let footer = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
        let footer_at = body.len() - usize::try_from(footer).unwrap();
        let sound = read(&path).unwrap();
        let damaged = folder.path().join("damaged.parquet");
        let (mut ruled_out, present) = (0, Ipv6Addr::from(1u128 << 40).octets());
        let step = (octets.len() / 500).max(16);
        for at in (0..octets.len()).step_by(step) {
            let mut file = octets.clone();
            let end = octets.len().min(at + step);
            // A filter rules out by the bits that are not set.
            file[at..end].fill(0);
            std::fs::write(&damaged, &file).unwrap();
            let opened = Opened::open(&damaged);
            let found = opened.as_ref().map(Opened::footer);
            let may_have = opened
                .as_ref()
                .map(|opened| opened.may_have("src_addr", present));
            if end <= footer_at {
                assert_eq!(found.unwrap(), sound, "octet {at}");
                if !may_have.unwrap() {
                    ruled_out += 1;
                    let verified = crate::verify::verify(&damaged).unwrap();
                    assert!(!verified.faults.is_empty(), "octet {at}");
                }
            }
        }
        assert!(ruled_out > 0, "the address's own bits were among them");
        std::fs::write(&damaged, &octets[..octets.len() / 2]).unwrap();
        assert!(read(&damaged).is_err());
    }
}
