//! Functions of columns as functions of `DataFusion`: what differs among them, and what does not.

use std::{fmt::Debug, hash::Hash};

use arrow::{array::ArrayRef, datatypes::DataType};
use datafusion::{
    error::Result,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
        Volatility,
    },
};

/// A function of columns that makes one. Equal ones do the same.
pub trait OverColumns: Debug + Eq + Hash + Send + Sync + 'static {
    /// Its name in expressions.
    fn name(&self) -> &str;

    /// The type of what it makes.
    fn made(&self) -> DataType;

    /// A row of each of the columns is a row of what it makes.
    ///
    /// # Errors
    /// What in the columns does not fit.
    fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef>;
}

/// The function as the engine knows it. Columns that do not have the types it `takes` are cast, if they can
/// be.
#[must_use]
pub fn function(function: impl OverColumns, takes: TypeSignature) -> ScalarUDF {
    let signature = Signature::new(takes, Volatility::Immutable);
    ScalarUDF::new_from_impl(Function {
        function,
        signature,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function<F> {
    function: F,
    signature: Signature,
}

impl<F: OverColumns> ScalarUDFImpl for Function<F> {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.function.made())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        self.function.of(&columns).map(ColumnarValue::Array)
    }
}
