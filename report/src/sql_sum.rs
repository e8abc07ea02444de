//! `sum` for `weir sql`, which stays at the largest number where DataFusion's begins again at 0: what exporters claim
//! of two flows may be more than 64 bits tell, and no other command of Weir takes that for little.

use std::mem::size_of_val;

use arrow::{
    array::{ArrayRef, AsArray as _},
    datatypes::{DataType, FieldRef, UInt64Type},
};
use datafusion::{
    error::Result,
    functions_aggregate::sum::sum_udaf,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
    prelude::SessionContext,
    scalar::ScalarValue,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// Has a session know it, in DataFusion's place.
pub fn register(session: &SessionContext) {
    let built_in = sum_udaf().as_ref().clone();
    session.register_udaf(AggregateUDF::from(Sum { built_in }));
}

/// DataFusion's, but for sums of unsigned numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    built_in: AggregateUDF,
}

/// Whether a sum is of unsigned numbers, and of each of them.
fn is_unsigned(args: &AccumulatorArgs) -> bool {
    *args.return_field.data_type() == DataType::UInt64 && !args.is_distinct
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.built_in.name()
    }

    fn signature(&self) -> &Signature {
        self.built_in.signature()
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.built_in.return_type(of)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.built_in.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_unsigned(&args) {
            return Ok(Box::new(Saturating::default()));
        }
        self.built_in.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.built_in.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        if is_unsigned(&args) {
            let add = |sum: &mut u64, number: u64| *sum = sum.saturating_add(number);
            let sums = PrimitiveGroupsAccumulator::<UInt64Type, _>::new(&DataType::UInt64, add);
            return Ok(Box::new(sums));
        }
        self.built_in.create_groups_accumulator(args)
    }

    /// Of a window that moves what leaves it is taken off again, which a sum at its largest cannot.
    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.built_in.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.built_in.order_sensitivity()
    }
}

/// A sum of all rows; none if there is no number in them.
#[derive(Debug, Default)]
struct Saturating {
    sum: Option<u64>,
}

impl Accumulator for Saturating {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let numbers = columns[0].as_primitive::<UInt64Type>();
        for number in numbers.iter().flatten() {
            self.sum = Some(self.sum.unwrap_or(0).saturating_add(number));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::UInt64(self.sum))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sums(query: &str) -> Vec<Option<u64>> {
        let session = SessionContext::new();
        register(&session);
        let rows = "(values (1, arrow_cast(18446744073709551615, 'UInt64')), (1, arrow_cast(5, 'UInt64')), \
                    (2, arrow_cast(6, 'UInt64')), (2, arrow_cast(6, 'UInt64')), (3, null)) as flows(key, octets)";
        let query = query.replace("FLOWS", rows);
        let batches = session.sql(&query).await.unwrap().collect().await.unwrap();
        let columns = batches.iter().map(|batch| batch.column(0));
        columns
            .flat_map(|column| column.as_primitive::<UInt64Type>().iter())
            .collect()
    }

    #[test]
    fn what_is_more_than_64_bits_tell_does_not_begin_again() {
        const MOST: Option<u64> = Some(u64::MAX);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (query, expected) in [
            ("select sum(octets) from FLOWS", vec![MOST]),
            (
                "select sum(octets) from FLOWS group by key order by key",
                vec![MOST, Some(12), None],
            ),
            (
                "select sum(octets) from FLOWS where key = 2",
                vec![Some(12)],
            ),
            ("select sum(octets) from FLOWS where key = 3", vec![None]),
            (
                "select sum(distinct octets) from FLOWS where key = 2",
                vec![Some(6)],
            ),
        ] {
            assert_eq!(runtime.block_on(sums(query)), expected, "{query}");
        }
        // Others are as they were.
        runtime.block_on(async {
            let session = SessionContext::new();
            register(&session);
            let query = "select cast(sum(x) as varchar) from (values (1.5), (-4)) as t(x)";
            let batches = session.sql(query).await.unwrap().collect().await.unwrap();
            let text = arrow::compute::cast(batches[0].column(0), &DataType::Utf8).unwrap();
            assert_eq!(text.as_string::<i32>().value(0), "-2.5");
        });
    }
}
