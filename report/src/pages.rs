//! What pages claim is looked at when the engine has read them, before it decodes them: one of a few octets may claim
//! to expand to 2 GiB. The engine's readers are wrapped. Columns of row groups are read whole, since indexes of
//! pages, by which it might read others than those that were looked at, are not used; Weir's files have none that
//! the engine would use.

use std::{collections::HashMap, ops::Range, slice, sync::Arc};

use bytes::Bytes;
use datafusion::{
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileSource, ParquetFileReaderFactory, ParquetSource},
    },
    error::Result,
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures::{FutureExt as _, future::BoxFuture};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{self, ParquetError},
    file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData},
};
use weir_store::claims;

/// A source of Parquet whose pages are looked at; any other as it is.
pub fn looked_at(source: &Arc<dyn FileSource>) -> Arc<dyn FileSource> {
    let parquet = source.downcast_ref::<ParquetSource>();
    let readers = parquet.and_then(ParquetSource::parquet_file_reader_factory);
    let (Some(parquet), Some(readers)) = (parquet, readers) else {
        return Arc::clone(source);
    };
    let readers = Readers {
        inner: Arc::clone(readers),
    };
    let parquet = parquet.clone().with_enable_page_index(false);
    Arc::new(parquet.with_parquet_file_reader_factory(Arc::new(readers)))
}

/// What makes a reader for each file.
#[derive(Debug)]
struct Readers {
    inner: Arc<dyn ParquetFileReaderFactory>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_octets: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let inner = self
            .inner
            .create_reader(partition, file, footer_octets, metrics)?;
        Ok(Box::new(Reader {
            inner,
            columns: None,
        }))
    }
}

/// Where columns of row groups are in a file, and the octets that they say they expand to.
type Columns = HashMap<Range<u64>, u64>;

/// A reader of a file.
struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    columns: Option<Columns>,
}

impl Reader {
    /// The columns. The reader that reads rows need not be the one that read the footer, which is in a cache.
    async fn columns(&mut self) -> errors::Result<&Columns> {
        let columns = if let Some(columns) = self.columns.take() {
            columns
        } else {
            let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
            let metadata = self.inner.get_metadata(Some(&options)).await?;
            columns_of(&metadata)
        };
        Ok(self.columns.insert(columns))
    }

    /// Looks at the pages of those ranges that are columns.
    async fn look(&mut self, ranges: &[Range<u64>], read: &[Bytes]) -> errors::Result<()> {
        let columns = self.columns().await?;
        for (range, octets) in ranges.iter().zip(read) {
            if let Some(expanded_max) = columns.get(range) {
                claims::check_read_pages(octets, *expanded_max)
                    .map_err(|why| ParquetError::General(why.to_owned()))?;
            }
        }
        Ok(())
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, errors::Result<Bytes>> {
        async move {
            let read = self.inner.get_bytes(range.clone()).await?;
            self.look(slice::from_ref(&range), slice::from_ref(&read))
                .await?;
            Ok(read)
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, errors::Result<Vec<Bytes>>> {
        async move {
            let read = self.inner.get_byte_ranges(ranges.clone()).await?;
            self.look(&ranges, &read).await?;
            Ok(read)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, errors::Result<Arc<ParquetMetaData>>> {
        self.inner.get_metadata(options)
    }
}

fn columns_of(metadata: &ParquetMetaData) -> Columns {
    let groups = metadata.row_groups().iter();
    let mut columns = Columns::new();
    for column in groups.flat_map(RowGroupMetaData::columns) {
        let start = column.dictionary_page_offset();
        let start = u64::try_from(start.unwrap_or(column.data_page_offset()));
        let octets = u64::try_from(column.compressed_size());
        let expanded = u64::try_from(column.uncompressed_size());
        // What is below zero the engine does not read.
        let (Ok(start), Ok(octets), Ok(expanded)) = (start, octets, expanded) else {
            continue;
        };
        let range = start..start.saturating_add(octets);
        let expanded_max = columns.entry(range).or_insert(expanded);
        *expanded_max = expanded.min(*expanded_max);
    }
    columns
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use arrow::array::RecordBatch;
    use datafusion::{execution::SessionStateBuilder, prelude::SessionContext};
    use parquet::{
        arrow::ArrowWriter,
        basic::Encoding,
        file::{metadata::KeyValue, properties::WriterProperties},
        schema::types::ColumnPath,
    };
    use weir_netflow::FlowRecord;
    use weir_store::{
        layout::{self, Directory},
        schema::{self, StoredFlow},
    };

    use super::*;
    use crate::{data, filter::Filter, reading::Reading, tolerant::Tolerate};

    /// 2026-11-21 05:00:00 UTC.
    const START_S: i64 = 1_795_237_200;

    /// A file of ten flows, whose packets are told in one way or another.
    fn write(root: &Path, start_s: i64, encoding: Encoding) {
        // The engine does not read a column that has one value only.
        let flow = |packets| StoredFlow {
            record: FlowRecord {
                packets,
                ..FlowRecord::default()
            },
            received_ns: START_S.unsigned_abs() * 1_000_000_000,
            ..StoredFlow::default()
        };
        let path = layout::closed_path(root, start_s, &layout::window_stem(start_s));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let version = schema::SCHEMA_VERSION.to_owned();
        let version = KeyValue::new("weir.schema_version".to_owned(), version);
        let packets = ColumnPath::from("packets");
        let properties = WriterProperties::builder()
            .set_key_value_metadata(Some(vec![version]))
            .set_column_dictionary_enabled(packets.clone(), false)
            .set_column_encoding(packets, encoding)
            .build();
        let file = fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema::schema(), Some(properties)).unwrap();
        let flows: Vec<_> = (0..10).map(flow).collect();
        writer.write(&schema::batch(&flows).unwrap()).unwrap();
        writer.close().unwrap();
    }

    /// A page that the engine could decode, and that is none of Weir's, stands for one that it should not.
    #[test]
    fn d07_a_page_is_looked_at_before_it_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let _directory = Directory::lock(root).unwrap();
        let reading = Reading::default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let flows = || -> usize {
            let state = SessionStateBuilder::new()
                .with_default_features()
                .with_physical_optimizer_rule(Arc::new(Tolerate {
                    reading: reading.clone(),
                }))
                .build();
            let context = SessionContext::new_with_state(state);
            let all = Filter::All(Vec::new());
            let batches = runtime.block_on(async {
                let opened = data::open(&context, root, &all, &reading).await;
                opened.unwrap().0.collect().await.unwrap()
            });
            batches.iter().map(RecordBatch::num_rows).sum()
        };
        write(root, START_S, Encoding::PLAIN);
        assert_eq!((flows(), reading.left_out().len()), (10, 0));
        write(root, START_S + 300, Encoding::BYTE_STREAM_SPLIT);
        assert_eq!(flows(), 10);
        let left_out = reading.left_out();
        let [(path, reason)] = &left_out[..] else {
            panic!("{left_out:?}");
        };
        assert!(path.ends_with("flows-20261121T050500Z.parquet"), "{path:?}");
        assert!(
            reason.contains("told in a way that Weir's are not"),
            "{reason}"
        );
    }
}
