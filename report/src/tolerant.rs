//! A file that cannot be read to its end costs its own flows and no others: it is named and left out, or
//! the rest of it, and the query goes on with the next one. The engine would end there.
//!
//! A step behind the optimiser's own wraps each scan of files; what the wrapper sees fail it asks the store
//! about, since a query may fail at a whole file, too (a division by zero in `weir sql`).

use std::{fmt, panic::AssertUnwindSafe, path::PathBuf, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion},
    config::ConfigOptions,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileOpener, FileScanConfig, FileSource},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::{DataFusionError, Result},
    object_store::ObjectStore,
    physical_expr::projection::ProjectionExprs,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayFormatType, ExecutionPlan, PhysicalExpr, metrics::ExecutionPlanMetricsSet,
    },
};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::{FutureExt as _, StreamExt as _, future, stream::BoxStream};
use weir_store::{
    caught::caught,
    verify::{self, Fault},
};

use crate::{pages, reading::Reading};

/// The optimiser's last step.
#[derive(Debug)]
pub struct Tolerate {
    /// Where damage is noted, and progress.
    pub reading: Reading,
}

impl PhysicalOptimizerRule for Tolerate {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| Ok(self.wrapped(node))).data()
    }

    fn name(&self) -> &'static str {
        "tolerate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl Tolerate {
    /// A scan of files, wrapped; anything else as it is.
    fn wrapped(&self, node: Arc<dyn ExecutionPlan>) -> Transformed<Arc<dyn ExecutionPlan>> {
        let scan = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let Some(scan) = scan else {
            return Transformed::no(node);
        };
        let files = scan
            .file_groups
            .iter()
            .flat_map(datafusion_datasource::file_groups::FileGroup::iter);
        self.reading
            .expect(files.map(PartitionedFile::effective_size).sum());
        let mut scan = scan.clone();
        scan.file_source = Arc::new(Source {
            inner: pages::looked_at(&scan.file_source),
            reading: self.reading.clone(),
        });
        Transformed::yes(DataSourceExec::from_data_source(scan))
    }
}

/// The engine's reader of files, watched.
struct Source {
    inner: Arc<dyn FileSource>,
    reading: Reading,
}

impl FileSource for Source {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        Ok(Box::new(Files {
            inner: self.inner.create_morselizer(store, config, partition)?,
            reading: self.reading.clone(),
        }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            inner: self.inner.with_batch_size(rows),
            reading: self.reading.clone(),
        })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, output: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(kind, output)
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        apply: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(apply)
    }
}

/// What takes files apart into steps, watched.
#[derive(Debug)]
struct Files {
    inner: Box<dyn Morselizer>,
    reading: Reading,
}

impl Morselizer for Files {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let watched = Arc::new(Watched {
            // The engine's paths are absolute, without the first slash.
            path: PathBuf::from(format!("/{}", file.path())),
            octets: file.effective_size(),
            reading: self.reading.clone(),
        });
        match guarded(|| self.inner.plan_file(file)) {
            Ok(inner) => Ok(Box::new(Steps {
                inner,
                file: watched,
            })),
            Err(failure) => {
                watched.failed(failure)?;
                Ok(Box::new(NoMore))
            }
        }
    }
}

/// A file, or a part of one, that is being read; done when it is dropped.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    octets: u64,
    reading: Reading,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.reading.done(self.octets);
    }
}

/// Why a step failed; `None`: the decoder panicked.
type Failure = Option<DataFusionError>;

impl Watched {
    /// Leaves the rest of the file out if that is what is wrong.
    ///
    /// # Errors
    /// The failure, if the file is whole.
    fn failed(&self, failure: Failure) -> Result<()> {
        let Some(error) = failure else {
            let reason = "its contents contradict one another".to_owned();
            self.reading.leave_out(self.path.clone(), reason);
            return Ok(());
        };
        if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) {
            return Err(error);
        }
        let reason = match verify::verify(&self.path) {
            Ok(verified) => {
                let mut faults = verified.faults.iter();
                // Columns of another version are no damage.
                match faults.find(|fault| !matches!(fault, Fault::Version(_))) {
                    Some(fault) => fault.to_string(),
                    None => return Err(error),
                }
            }
            Err(reason) => reason.to_string(),
        };
        self.reading.leave_out(self.path.clone(), reason);
        Ok(())
    }
}

/// Runs a step of a decoder, which may panic on octets that no writer wrote.
fn guarded<T>(step: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
    caught(step).map_or(Err(None), |done| done.map_err(Some))
}

/// The steps to a file's batches.
#[derive(Debug)]
struct Steps {
    inner: Box<dyn MorselPlanner>,
    file: Arc<Watched>,
}

impl Steps {
    fn next(inner: Box<dyn MorselPlanner>, file: &Arc<Watched>) -> Box<dyn MorselPlanner> {
        let file = Arc::clone(file);
        Box::new(Self { inner, file })
    }
}

impl MorselPlanner for Steps {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, file } = *self;
        let mut plan = match guarded(|| inner.plan()) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(None),
            Err(failure) => {
                file.failed(failure)?;
                return Ok(None);
            }
        };
        let morsels = plan.take_morsels().into_iter().map(|inner| {
            let file = Arc::clone(&file);
            Box::new(Batches { inner, file }) as Box<dyn Morsel>
        });
        let planners = plan.take_ready_planners().into_iter();
        let mut watched = MorselPlan::new()
            .with_morsels(morsels.collect())
            .with_planners(planners.map(|inner| Self::next(inner, &file)).collect());
        if let Some(pending) = plan.take_pending_planner() {
            watched.set_pending_planner(async move {
                let failure = match AssertUnwindSafe(pending).catch_unwind().await {
                    Ok(Ok(inner)) => return Ok(Self::next(inner, &file)),
                    Ok(Err(error)) => Some(error),
                    Err(_) => None,
                };
                file.failed(failure)?;
                Ok::<_, DataFusionError>(Box::new(NoMore) as Box<dyn MorselPlanner>)
            });
        }
        Ok(Some(watched))
    }
}

/// The end of a file that is left out.
#[derive(Debug)]
struct NoMore;

impl MorselPlanner for NoMore {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(None)
    }
}

/// Batches of a file.
#[derive(Debug)]
struct Batches {
    inner: Box<dyn Morsel>,
    file: Arc<Watched>,
}

impl Morsel for Batches {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, file } = *self;
        let batches = AssertUnwindSafe(inner.into_stream()).catch_unwind();
        let watched = batches.map(move |batch| {
            let failure = match batch {
                Ok(Ok(batch)) => return Some(Ok(batch)),
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            file.failed(failure).err().map(Err)
        });
        // Nothing stands for the end: what comes behind damage is not trusted.
        watched
            .take_while(|batch| future::ready(batch.is_some()))
            .filter_map(future::ready)
            .boxed()
    }
}
