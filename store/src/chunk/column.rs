//! A column's values, out of the row group's batches, and its encoding: a dictionary if it has few different
//! values, else differences for numbers, unless compression does much better, and what they are for others.

use std::{borrow::Cow, mem};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, PrimitiveArray},
    datatypes::{
        ArrowPrimitiveType, DataType, TimeUnit, TimestampNanosecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use parquet::{
    basic::Encoding,
    bloom_filter::Sbbf,
    errors::{ParquetError, Result},
    schema::types::ColumnDescPtr,
};

use super::{
    Workspace, dictionary, hybrid,
    pages::{Chunk, PAGE_OCTETS_MAX, Pages, Rows},
    value::{PutAll, Stored, Value},
};

/// Values by which it is decided how a column's are told.
const SAMPLE: usize = 1 << 14;
/// Runs of neighbours that they are: the first values of a window, or the lowest of sorted ones, may be unlike others.
const SAMPLE_RUNS: usize = 8;

/// Columns with a Bloom filter, and how often it says that a value may be there which is not: half as often would
/// take twice the octets, a quarter of one a flow.
const FILTERED: [&str; 2] = ["src_addr", "dst_addr"];
const FALSE_POSITIVES: f64 = 0.1;

/// The column's chunk.
///
/// # Errors
/// If its type is none of the schema's.
pub fn chunk(column: &ColumnDescPtr, arrays: &[ArrayRef], work: &mut Workspace) -> Result<Chunk> {
    let Some(first) = arrays.first() else {
        return Err(unknown(column));
    };
    match first.data_type() {
        DataType::UInt8 => numbers::<UInt8Type>(arrays).chunk(column, work),
        DataType::UInt16 => numbers::<UInt16Type>(arrays).chunk(column, work),
        DataType::UInt32 => numbers::<UInt32Type>(arrays).chunk(column, work),
        DataType::UInt64 => numbers::<UInt64Type>(arrays).chunk(column, work),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            numbers::<TimestampNanosecondType>(arrays).chunk(column, work)
        }
        DataType::FixedSizeBinary(16) => fixed::<16>(arrays).chunk(column, work),
        DataType::FixedSizeBinary(6) => fixed::<6>(arrays).chunk(column, work),
        DataType::Utf8 => texts(arrays).chunk(column, work),
        _ => Err(unknown(column)),
    }
}

fn unknown(column: &ColumnDescPtr) -> ParquetError {
    let name = column.name();
    ParquetError::General(format!(
        "column {name} is of a type that Weir does not write"
    ))
}

/// The values there are, and which rows have one.
struct Column<'a, S: Clone> {
    parts: Vec<Cow<'a, [S]>>,
    /// All rows have one if this is not told.
    has_value: Option<Vec<bool>>,
}

impl<'a, S: Clone> Column<'a, S> {
    fn of(arrays: &'a [ArrayRef], values: impl Fn(&'a ArrayRef) -> Cow<'a, [S]>) -> Self {
        let part = |array| without_nulls(array, values(array));
        let parts = arrays.iter().map(part).collect();
        let has_nulls = arrays.iter().any(|array| array.null_count() > 0);
        let has_value = has_nulls.then(|| {
            let has = |array: &ArrayRef| match array.nulls() {
                Some(nulls) => nulls.iter().collect(),
                None => vec![true; array.len()],
            };
            arrays.iter().flat_map(has).collect()
        });
        Self { parts, has_value }
    }
}

fn without_nulls<'a, S: Clone>(array: &ArrayRef, values: Cow<'a, [S]>) -> Cow<'a, [S]> {
    match array.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            let values = values.iter().zip(nulls.iter());
            let present = values.filter(|(_, is_there)| *is_there);
            present.map(|(value, _)| value.clone()).collect()
        }
        _ => values,
    }
}

fn numbers<A: ArrowPrimitiveType>(arrays: &[ArrayRef]) -> Column<'_, A::Native> {
    Column::of(arrays, |array| {
        let array: &PrimitiveArray<A> = array.as_primitive();
        Cow::Borrowed(array.values())
    })
}

fn fixed<const N: usize>(arrays: &[ArrayRef]) -> Column<'_, [u8; N]> {
    Column::of(arrays, |array| {
        let (values, _) = array.as_fixed_size_binary().value_data().as_chunks();
        Cow::Borrowed(values)
    })
}

fn texts(arrays: &[ArrayRef]) -> Column<'_, &str> {
    Column::of(arrays, |array| {
        let texts = array.as_string::<i32>();
        (0..texts.len()).map(|row| texts.value(row)).collect()
    })
}

impl<S: Stored> Column<'_, S> {
    fn chunk(&self, column: &ColumnDescPtr, work: &mut Workspace) -> Result<Chunk> {
        let mut indices = mem::take(&mut work.indices);
        let dictionary = dictionary::of(&self.parts, &mut indices, work.codec.compresses());
        let is_small = |values: &Vec<S::Value>| {
            values.iter().map(Value::octets).sum::<usize>() <= PAGE_OCTETS_MAX
        };
        let chunk = match dictionary.filter(is_small) {
            Some(values) => self.by_dictionary(column, &values, &indices, work),
            None => self.plain(column, work),
        };
        work.indices = indices;
        chunk
    }

    fn by_dictionary(
        &self,
        column: &ColumnDescPtr,
        values: &[S::Value],
        indices: &[u32],
        work: &mut Workspace,
    ) -> Result<Chunk> {
        let mut pages = Pages::new(column, work);
        pages.dictionary(values)?;
        let width = hybrid::width(values.len() - 1);
        for rows in self.rows() {
            pages.data(&rows, Encoding::RLE_DICTIONARY, |out| {
                let [octet, ..] = width.to_le_bytes();
                out.push(octet);
                if indices.is_empty() {
                    hybrid::put_run(0, rows.values.len(), width, out);
                } else {
                    hybrid::put(&indices[rows.values.clone()], width, out);
                }
            })?;
        }
        finish(pages, values, self.nulls())
    }

    fn plain(&self, column: &ColumnDescPtr, work: &mut Workspace) -> Result<Chunk> {
        let stored = self.parts.iter().flat_map(|part| part.iter());
        let values: Vec<_> = stored.map(|stored| stored.value()).collect();
        let told = told(&values, work)?;
        let mut pages = Pages::new(column, work);
        if !told.compresses {
            pages = pages.uncompressed();
        }
        let octets = |at: usize| values[at].octets();
        for rows in self.rows().into_iter().flat_map(|rows| rows.parts(octets)) {
            let values = &values[rows.values.clone()];
            pages.data(&rows, told.encoding, |out| (told.put)(values, out))?;
        }
        finish(pages, &values, self.nulls())
    }

    fn rows(&self) -> Vec<Rows<'_>> {
        match &self.has_value {
            Some(has_value) => Rows::some(has_value),
            None => Rows::all(self.parts.iter().map(|part| part.len()).sum()),
        }
    }

    fn nulls(&self) -> usize {
        let has_value = self.has_value.iter().flatten();
        has_value.filter(|has_value| !**has_value).count()
    }
}

/// How values that are in no dictionary are told.
struct Told<T> {
    encoding: Encoding,
    put: PutAll<T>,
    /// Whether it is worth to compress that.
    compresses: bool,
}

/// Numbers are told as differences, unless compression has them in two thirds of that as they are: to unpack what
/// zstd made of numbers takes a reader most of the time that a column takes it. What differences hardly shrink by
/// (they are as many bits as they need) is left to the disk as it is.
fn told<T: Value>(values: &[T], work: &mut Workspace) -> Result<Told<T>> {
    let plain = Told {
        encoding: Encoding::PLAIN,
        put: T::put_all,
        compresses: true,
    };
    let Some(put) = T::PUT_DIFFERENCES else {
        return Ok(plain);
    };
    let mut sizes = |put: PutAll<T>| -> Result<(usize, usize)> {
        let mut octets = Vec::new();
        for run in sample(values) {
            put(run, &mut octets);
        }
        Ok((octets.len(), work.codec.compress(&octets)?.len()))
    };
    let (_, plain_octets) = sizes(T::put_all)?;
    let (octets, compressed_octets) = sizes(put)?;
    if plain_octets * 3 < octets.min(compressed_octets) * 2 {
        return Ok(plain);
    }
    Ok(Told {
        encoding: Encoding::DELTA_BINARY_PACKED,
        put,
        compresses: compressed_octets * 16 < octets * 15,
    })
}

/// Values by which it is decided, in runs from the first of all to the last.
pub(super) fn sample<T>(values: &[T]) -> impl Iterator<Item = &[T]> {
    let is_all = values.len() <= SAMPLE;
    let (runs, length) = if is_all {
        (1, values.len())
    } else {
        (SAMPLE_RUNS, SAMPLE / SAMPLE_RUNS)
    };
    let step = (values.len() - length) / (SAMPLE_RUNS - 1);
    (0..runs).map(move |run| &values[run * step..][..length])
}

/// The chunk, of these different values at least.
fn finish<T: Value>(pages: Pages<'_>, values: &[T], nulls: usize) -> Result<Chunk> {
    let (Some(least), Some(greatest)) = (values.iter().min(), values.iter().max()) else {
        return Err(unknown(pages.column()));
    };
    let has_filter = FILTERED.contains(&pages.column().name());
    let filter = has_filter.then(|| filter(values)).transpose()?;
    pages.finish(T::statistics(*least, *greatest, nulls as u64), filter)
}

/// A Bloom filter that has values. Of sorted ones each comes once.
fn filter<T: Value>(values: &[T]) -> Result<Sbbf> {
    let differ = values.windows(2).filter(|pair| pair[0] != pair[1]);
    let different = differ.count() as u64 + 1;
    let mut filter = Sbbf::new_with_ndv_fpp(different, FALSE_POSITIVES)?;
    let mut octets = Vec::with_capacity(T::OCTETS);
    let mut before = None;
    for value in values {
        if before.replace(value) != Some(value) {
            octets.clear();
            value.put(&mut octets);
            filter.insert(&octets[..]);
        }
    }
    Ok(filter)
}
