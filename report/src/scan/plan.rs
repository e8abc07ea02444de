//! The engine's step that reads row groups: so many side by side as the engine has parts, each every so manieth.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::Result,
    execution::TaskContext,
    logical_expr::Operator,
    physical_expr::{
        EquivalenceProperties,
        expressions::{BinaryExpr, Column, Literal},
        utils::{collect_columns, conjunction_opt, reassign_expr_columns, split_conjunction},
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
        ReplaceChildrenOptions, SendableRecordBatchStream,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
    prelude::SessionConfig,
};
use futures::stream;
use weir_store::row_groups::Wanted;

use super::{
    Group,
    rows::{Rows, Step},
};
use crate::reading::Reading;

/// The step.
#[derive(Debug)]
pub struct Scan {
    groups: Arc<[Group]>,
    asked: Asked,
    properties: Arc<PlanProperties>,
    reading: Reading,
}

/// What is asked of each row group.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The columns.
    pub columns: Wanted,
    /// Which rows.
    pub filter: Option<RowFilter>,
    /// Rows of a batch at most.
    pub batch_rows: usize,
    /// Rows that are enough.
    pub limit: usize,
}

/// Which rows are asked for.
#[derive(Clone, Debug)]
pub struct RowFilter {
    /// The columns it looks at.
    pub columns: Wanted,
    /// Comparisons of a column with a value, all true of rows that are asked for, of those columns alone. They cannot
    /// fail, and take less than to find out for which rows they still matter.
    pub comparisons: Vec<Arc<dyn PhysicalExpr>>,
    /// What else is true of them; it is asked of rows that fit so far.
    pub rest: Option<Arc<dyn PhysicalExpr>>,
    /// Where the columns that are asked for are among them, if they all are.
    pub places: Option<Vec<usize>>,
}

impl RowFilter {
    fn of(fits: Arc<dyn PhysicalExpr>, asked: &Wanted) -> Result<Self> {
        let columns = collect_columns(&fits);
        let mut places: Vec<_> = columns.iter().map(Column::index).collect();
        places.sort_unstable();
        let columns = Wanted::of(&places)?;
        let fields = asked.schema().fields().iter();
        let places = fields.map(|field| columns.schema().index_of(field.name()).ok());
        let places = places.collect();
        let fits = reassign_expr_columns(fits, columns.schema())?;
        let (comparisons, rest): (Vec<_>, Vec<_>) = split_conjunction(&fits)
            .into_iter()
            .cloned()
            .partition(is_comparison);
        Ok(Self {
            columns,
            comparisons,
            rest: conjunction_opt(rest),
            places,
        })
    }

    fn parts(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.comparisons.iter().chain(&self.rest)
    }
}

fn is_comparison(expression: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(binary) = expression.downcast_ref::<BinaryExpr>() else {
        return false;
    };
    let compares = matches!(
        binary.op(),
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    );
    compares && binary.left().is::<Column>() && binary.right().is::<Literal>()
}

impl Scan {
    pub fn new(
        groups: Vec<Group>,
        projection: Option<&Vec<usize>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
        config: &SessionConfig,
        reading: &Reading,
    ) -> Result<Self> {
        let columns = match projection {
            Some(places) => Wanted::of(places)?,
            None => Wanted::all(),
        };
        let filter = filter
            .map(|fits| RowFilter::of(fits, &columns))
            .transpose()?;
        let parts = config.target_partitions().min(groups.len()).max(1);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(columns.schema())),
            Partitioning::UnknownPartitioning(parts),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            groups: groups.into(),
            asked: Asked {
                columns,
                filter,
                batch_rows: config.batch_size(),
                limit: limit.unwrap_or(usize::MAX),
            },
            properties: Arc::new(properties),
            reading: reading.clone(),
        })
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _kind: DisplayFormatType, output: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(output, "Scan: {} row groups", self.groups.len())?;
        for fits in self.asked.filter.iter().flat_map(RowFilter::parts) {
            write!(output, ", {fits}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.asked.columns.schema())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for fits in self.asked.filter.iter().flat_map(RowFilter::parts) {
            recursion = recursion.visit_sibling(|| visit(fits))?;
        }
        Ok(recursion)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let parts = self.properties.partitioning.partition_count();
        let groups = self.groups.iter().skip(partition).step_by(parts);
        let groups: Vec<_> = groups.cloned().collect();
        self.reading
            .expect(groups.iter().map(|group| group.octets).sum());
        let rows = Rows::new(groups, self.asked.clone(), self.reading.clone());
        let batches = stream::try_unfold(rows, |mut rows| async move {
            loop {
                match rows.step()? {
                    Step::Batch(batch) => return Ok(Some((batch, rows))),
                    // Other tasks of this thread have a turn, however many files hold nothing that fits.
                    Step::Nothing => tokio::task::yield_now().await,
                    Step::End => return Ok(None),
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}
