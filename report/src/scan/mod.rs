//! Closed files as a table of the engine: which row groups a query has to read is decided here, from the ends of
//! their times; [`plan`] is the engine's step that reads them, [`rows`] reads one after the other.
//!
//! The engine has a reader of Parquet of its own. It is made for large files: for each of five minutes' flows it
//! spends ten times what their rows cost, and it ends at the first damaged one.

mod plan;
mod rows;

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, TimestampNanosecondArray},
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Column, DFSchema, pruning::PruningStatistics, tree_node::TreeNode as _},
    error::Result,
    logical_expr::{TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_expr::PhysicalExpr,
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::ExecutionPlan,
    prelude::Expr,
    scalar::ScalarValue,
};
use weir_store::{footer::Ends, schema};

use self::plan::Scan;
use crate::reading::Reading;

/// A row group that may hold flows that are asked for.
#[derive(Clone, Debug)]
pub struct Group {
    /// The file.
    pub path: Arc<PathBuf>,
    /// Its number in the file.
    pub number: usize,
    /// Octets in the file.
    pub octets: u64,
    /// Ends of `flow_start`, `flow_end` and `received`, nanoseconds since 1970-01-01 UTC.
    pub times_ns: [Option<Ends>; 3],
}

/// The rows of row groups, in their order.
#[derive(Debug)]
pub struct Groups {
    /// The row groups.
    pub groups: Vec<Group>,
    /// Where damage is noted, and progress.
    pub reading: Reading,
}

#[async_trait]
impl TableProvider for Groups {
    fn schema(&self) -> SchemaRef {
        schema::schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = conjunction(filters.iter().cloned());
        let schema = DFSchema::try_from(schema::schema())?;
        let filter = filter
            .map(|filter| state.create_physical_expr(filter, &schema))
            .transpose()?;
        let groups = match &filter {
            Some(filter) => self.of_the_time(filter),
            None => self.groups.clone(),
        };
        let scan = Scan::new(
            groups,
            projection,
            filter,
            limit,
            state.config(),
            &self.reading,
        )?;
        Ok(Arc::new(scan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let kind = |filter: &&Expr| {
            let is_of_rows = !filter
                .exists(|part| {
                    Ok(matches!(
                        part,
                        Expr::ScalarSubquery(_)
                            | Expr::InSubquery(_)
                            | Expr::Exists(_)
                            | Expr::OuterReferenceColumn(..)
                            | Expr::Placeholder(_)
                    ))
                })
                .unwrap_or(true);
            if is_of_rows {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(kind).collect())
    }
}

impl Groups {
    /// Those whose times do not rule a filter out: what was asked in SQL was not known when files were looked at. A
    /// filter that nothing can be told of rules out none.
    fn of_the_time(&self, filter: &Arc<dyn PhysicalExpr>) -> Vec<Group> {
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(schema::schema())
            .try_build(Arc::clone(filter));
        let may_hold = pruning.and_then(|pruning| pruning.prune(&Times(&self.groups)));
        let Ok(may_hold) = may_hold else {
            return self.groups.clone();
        };
        let groups = self.groups.iter().zip(may_hold);
        let kept = groups.filter(|(_, may_hold)| *may_hold);
        kept.map(|(group, _)| group.clone()).collect()
    }
}

/// What is known of row groups, as the engine asks for it.
struct Times<'a>(&'a [Group]);

impl Times<'_> {
    fn ends(&self, column: &Column, end: impl Fn(Ends) -> i64) -> Option<ArrayRef> {
        let names = ["flow_start", "flow_end", "received"];
        let at = names.iter().position(|name| *name == column.name)?;
        let ends = self.0.iter().map(|group| group.times_ns[at].map(&end));
        let ends: TimestampNanosecondArray = ends.collect();
        Some(Arc::new(ends.with_timezone("UTC")))
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, |(first, _)| first)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, |(_, last)| last)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests;
