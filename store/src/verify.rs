//! Whether a closed file is what was written: its footer can be read and says what it said
//! ([`crate::footer_checksum`]), its columns are ours, its row groups have the octets they had
//! ([`crate::checksum`]), and as many flows as the footer says can be read from them. Decoders may panic on
//! what passes all checks but is not so; that is a fault too.

use std::{fs::File, io, path::Path};

use arrow::array::RecordBatch;
use parquet::{
    arrow::arrow_reader::{
        ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use crate::{
    StoreError,
    caught::caught,
    checksum::{self, Block},
    claims, closed,
    footer::{self, note},
    footer_checksum, schema,
};

/// Rows read at a time.
const BATCH_ROWS: usize = 8192;
/// A row group of ours takes less memory: 2^20 flows of 400 octets, and 2,048 of elements without a column.
const GROUP_OCTETS_MAX: u64 = 4 << 30;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The footer cannot be read, and so nothing can.
    Footer(String),
    /// It was written with columns of another version.
    Version(String),
    /// It has not the columns of the version it says.
    Columns(String),
    /// What the footer says contradicts itself or is not what was written.
    Counts(String),
    /// A row group (by number, from 0) is damaged, and why.
    RowGroup(usize, String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Footer(reason) => write!(formatter, "its footer cannot be read: {reason}"),
            Self::Version(version) => write!(
                formatter,
                "its columns are those of version {version}, and this program knows those up to {}",
                schema::SCHEMA_VERSION
            ),
            Self::Columns(version) => write!(
                formatter,
                "its columns are not those of version {version}, which it says they are"
            ),
            Self::Counts(reason) => formatter.write_str(reason),
            Self::RowGroup(number, reason) => write!(formatter, "row group {number}: {reason}"),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Flows that can be read.
    pub flows: u64,
    /// Whether the file has checksums; files from before there were any have not.
    pub has_checksums: bool,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Reads a file to its end.
///
/// # Errors
/// If it cannot be opened or read, whatever is in it.
pub fn verify(path: &Path) -> Result<Verified, StoreError> {
    read(path, Take::Nothing)
}

/// What is done with flows.
type Flows<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<(), StoreError>;

/// Which flows are given.
enum Take<'a> {
    /// None.
    Nothing,
    /// Those of sound row groups. A group is held until its end was reached: it is sound or it is not.
    Sound(Flows<'a>),
    /// Those that can be read, as they are read.
    Read(Flows<'a>),
}

/// Why a row group is not read to its end.
enum Stop {
    /// It is damaged, and how.
    Damaged(String),
    /// Something else is wrong.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Reads the flows of a file's sound row groups, with all columns: those that its version had not are null.
///
/// # Errors
/// If it cannot be opened or read, or `flows` fails.
pub fn read_sound(
    path: &Path,
    mut flows: impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Verified, StoreError> {
    read(path, Take::Sound(&mut flows))
}

/// The same without holding a row group: of one that turns out to be damaged the flows before the damage were given,
/// and whoever took them has to throw them away.
///
/// # Errors
/// If it cannot be opened or read, or `flows` fails.
pub(crate) fn read_as_it_comes(
    path: &Path,
    mut flows: impl FnMut(RecordBatch) -> Result<(), StoreError>,
) -> Result<Verified, StoreError> {
    read(path, Take::Read(&mut flows))
}

/// Whether the operating system refused, and the file may be sound.
fn is_of_the_system(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.raw_os_error().is_some())
}

fn read(path: &Path, mut take: Take<'_>) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let metadata = match footer::load(&file) {
        Ok(metadata) => metadata,
        // A disk that fails now may not fail the next time.
        Err(ParquetError::External(error)) if is_of_the_system(&*error) => {
            return Err(StoreError::parquet(path)(ParquetError::External(error)));
        }
        Err(error) => {
            verified.faults.push(Fault::Footer(error.to_string()));
            return Ok(verified);
        }
    };
    if let Some(fault) = other_columns(&metadata) {
        verified.faults.push(fault);
        return Ok(verified);
    }
    check_counts(metadata.metadata(), &mut verified.faults);
    let changed = footer_checksum::changed(metadata.metadata());
    let changed = changed.map(|says| Fault::Counts(says.to_owned()));
    verified.faults.extend(changed);
    let blocks = blocks(metadata.metadata(), &mut verified.faults);
    verified.has_checksums = !blocks.is_empty();
    let damaged = checksum::damaged(&mut file, &blocks).map_err(StoreError::io("read", path))?;
    for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
        let block = blocks.partition_point(|block| block.row_groups <= index);
        let read = if damaged.contains(&block) {
            let says = "its octets are not those that were written";
            Err(Stop::Damaged(says.to_owned()))
        } else {
            check_sizes(&file, group)
                .map_err(StoreError::io("read", path))?
                .map_err(Stop::Damaged)
                .and_then(|()| give(path, &file, &metadata, index, &mut take))
        };
        match read {
            Ok(count) => verified.flows += count as u64,
            Err(Stop::Damaged(reason)) => verified.faults.push(Fault::RowGroup(index, reason)),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Ok(verified)
}

/// Whether a row group, and each page of it, claims sizes that are possible, before a decoder takes memory for
/// them.
fn check_sizes(file: &File, group: &RowGroupMetaData) -> io::Result<Result<(), String>> {
    const IMPOSSIBLE: &str = "its sizes are impossible";
    if !footer::is_possible(group) {
        return Ok(Err(IMPOSSIBLE.to_owned()));
    }
    for column in group.columns() {
        let start = column.dictionary_page_offset();
        let start = u64::try_from(start.unwrap_or(column.data_page_offset()));
        let octets = u64::try_from(column.compressed_size());
        let expanded = u64::try_from(column.uncompressed_size());
        let (Ok(start), Ok(octets), Ok(expanded)) = (start, octets, expanded) else {
            return Ok(Err(IMPOSSIBLE.to_owned()));
        };
        if let Err(why) = claims::check_pages(file, start, octets, expanded)? {
            return Ok(Err(why.to_owned()));
        }
    }
    Ok(Ok(()))
}

/// Gives the flows of a row group; how many it has.
fn give(
    path: &Path,
    file: &File,
    metadata: &ArrowReaderMetadata,
    index: usize,
    take: &mut Take<'_>,
) -> Result<usize, Stop> {
    let all =
        |batch: &RecordBatch| schema::with_all_columns(batch).map_err(StoreError::arrow(path));
    match take {
        Take::Nothing => each_batch(file, metadata, index, |_| Ok(())),
        Take::Read(flows) => each_batch(file, metadata, index, |batch| {
            flows(all(&batch)?)?;
            Ok(())
        }),
        Take::Sound(flows) => {
            let (mut octets, mut batches) = (0u64, Vec::new());
            let count = each_batch(file, metadata, index, |batch| {
                // One value may be in all rows.
                octets += batch.get_array_memory_size() as u64;
                if octets > GROUP_OCTETS_MAX {
                    let says = format!("its flows take more than {GROUP_OCTETS_MAX} octets");
                    return Err(Stop::Damaged(says));
                }
                batches.push(batch);
                Ok(())
            })?;
            for batch in batches {
                flows(all(&batch)?)?;
            }
            Ok(count)
        }
    }
}

/// Reads a row group's rows; how many there are, which are those that its footer says.
fn each_batch(
    file: &File,
    metadata: &ArrowReaderMetadata,
    index: usize,
    mut each: impl FnMut(RecordBatch) -> Result<(), Stop>,
) -> Result<usize, Stop> {
    let contradicts = || Stop::Damaged("it contradicts itself".to_owned());
    let wanted = metadata.metadata().row_group(index).num_rows();
    let wanted = usize::try_from(wanted).map_err(|error| Stop::Damaged(error.to_string()))?;
    let open = || -> Result<ParquetRecordBatchReader, String> {
        let file = file.try_clone().map_err(|error| error.to_string())?;
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_row_groups(vec![index])
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| error.to_string())
    };
    let reader = caught(open).ok_or_else(contradicts)?;
    let mut reader = reader.map_err(Stop::Damaged)?;
    let mut found = 0;
    while let Some(batch) = caught(|| reader.next()).ok_or_else(contradicts)? {
        let batch = batch.map_err(|error| Stop::Damaged(error.to_string()))?;
        found += batch.num_rows();
        // Its pages may go on for longer than the footer says.
        if found > wanted {
            let says = format!("it has more than the {wanted} flows it should have");
            return Err(Stop::Damaged(says));
        }
        schema::check_values(&batch).map_err(|lacking| Stop::Damaged(lacking.to_string()))?;
        each(batch)?;
    }
    if found == wanted {
        Ok(found)
    } else {
        let says = format!("it has {found} flows and should have {wanted}");
        Err(Stop::Damaged(says))
    }
}

/// What is wrong with a file's columns: a version that is none of ours, or another than it says.
fn other_columns(metadata: &ArrowReaderMetadata) -> Option<Fault> {
    let version = note(metadata.metadata(), closed::VERSION).unwrap_or("unknown");
    match schema::of_version(version) {
        None => Some(Fault::Version(version.to_owned())),
        Some(columns) => (!schema::is_same(&columns, metadata.schema()))
            .then(|| Fault::Columns(version.to_owned())),
    }
}

fn check_counts(metadata: &ParquetMetaData, faults: &mut Vec<Fault>) {
    let rows = metadata.file_metadata().num_rows();
    let groups = metadata.row_groups().iter();
    let in_groups = groups.fold(0, |sum: i64, group| sum.saturating_add(group.num_rows()));
    if rows != in_groups {
        faults.push(Fault::Counts(format!(
            "its footer says {rows} flows, and {in_groups} in its row groups"
        )));
    }
    if let Some(noted) = note(metadata, closed::FLOWS)
        && noted.parse() != Ok(rows)
    {
        faults.push(Fault::Counts(format!(
            "its footer says {rows} flows, and Weir noted {noted}"
        )));
    }
}

/// The file's blocks; none if it has no checksums.
fn blocks(metadata: &ParquetMetaData, faults: &mut Vec<Fault>) -> Vec<Block> {
    let Some(text) = note(metadata, checksum::CHECKSUMS) else {
        return Vec::new();
    };
    let blocks = checksum::decode(text).unwrap_or_default();
    let covered = blocks.last().map_or(0, |block| block.row_groups);
    if covered != metadata.num_row_groups() {
        faults.push(Fault::Counts(format!(
            "it has {} row groups, and checksums of {covered}",
            metadata.num_row_groups()
        )));
    }
    blocks
}

#[cfg(test)]
mod tests;
