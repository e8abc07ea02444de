//! The rows of one row group after the other. First the columns that the filter looks at are read; the others only
//! where a row fits. A file that cannot be read to its end costs its own rows and no others: it is named and left
//! out, or the rest of it, and the next one is read.

use std::{collections::VecDeque, vec};

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::{filter_record_batch, prep_null_mask_filter},
    error::ArrowError,
};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::ColumnarValue,
};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use weir_store::{
    caught::caught,
    footer::Opened,
    row_groups::{Batches, Wanted},
    schema::Lacking,
    verify::{self, Fault},
};

use super::{
    Group,
    plan::{Asked, RowFilter},
};
use crate::reading::Reading;

/// The rows of row groups.
pub struct Rows {
    groups: vec::IntoIter<Group>,
    asked: Asked,
    reading: Reading,
    /// The next one, whose columns are on their way from the disk while another is decoded.
    ahead: Option<Ahead>,
    current: Option<Current>,
}

/// A row group, and its file as it was opened.
type Ahead = (Group, Result<Opened>);

/// What came of a step.
pub enum Step {
    /// Rows, one at least.
    Batch(RecordBatch),
    /// None, and there may be more.
    Nothing,
    /// No more.
    End,
}

/// A row group that is being read.
struct Current {
    group: Group,
    batches: Batches,
    /// Which rows fit, of each batch that comes.
    fitting: VecDeque<BooleanArray>,
}

/// Why a step failed; `None`: the decoder panicked.
type Failure = Option<DataFusionError>;

impl Rows {
    pub fn new(groups: Vec<Group>, asked: Asked, reading: Reading) -> Self {
        Self {
            groups: groups.into_iter(),
            asked,
            reading,
            ahead: None,
            current: None,
        }
    }

    /// A step towards the next rows.
    ///
    /// # Errors
    /// If the query fails at rows that are whole.
    pub fn step(&mut self) -> Result<Step> {
        if self.asked.limit == 0 {
            return Ok(Step::End);
        }
        let Some(mut current) = self.current.take() else {
            return self.begin();
        };
        match guarded(|| current.next(self.asked.filter.as_ref())) {
            Ok(Some(batch)) => {
                self.current = Some(current);
                Ok(self.enough(&batch))
            }
            Ok(None) => {
                self.reading.done(current.group.octets);
                Ok(Step::Nothing)
            }
            Err(failure) => self.leave_out(&current.group, failure),
        }
    }

    fn begin(&mut self) -> Result<Step> {
        if self.ahead.is_none() {
            self.ahead = self.open_next();
        }
        let Some((group, opened)) = self.ahead.take() else {
            return Ok(Step::End);
        };
        self.ahead = self.open_next();
        // What comes behind damage is not trusted.
        if self.reading.is_left_out(&group.path) {
            self.reading.done(group.octets);
            return Ok(Step::Nothing);
        }
        match guarded(|| Current::of(&group, &opened?, &mut self.asked)) {
            Ok(Some(current)) => self.current = Some(current),
            Ok(None) => self.reading.done(group.octets),
            Err(failure) => return self.leave_out(&group, failure),
        }
        Ok(Step::Nothing)
    }

    fn open_next(&mut self) -> Option<Ahead> {
        let group = self.groups.next()?;
        let opened = Opened::open(&group.path);
        let opened = opened.map_err(|error| DataFusionError::External(Box::new(error)));
        if let Ok(opened) = &opened {
            let filter = self.asked.filter.as_ref();
            let first = filter.map_or(&self.asked.columns, |filter| &filter.columns);
            opened.will_need(group.number, first);
        }
        Some((group, opened))
    }

    fn enough(&mut self, batch: &RecordBatch) -> Step {
        let batch = batch.slice(0, batch.num_rows().min(self.asked.limit));
        self.asked.limit -= batch.num_rows();
        match batch.num_rows() {
            0 => Step::Nothing,
            _ => Step::Batch(batch),
        }
    }

    /// Leaves the rest of the file out if that is what is wrong: a query may fail at a whole file, too (a division
    /// by zero in `weir sql`).
    fn leave_out(&self, group: &Group, failure: Failure) -> Result<Step> {
        self.reading.done(group.octets);
        let error = failure.unwrap_or_else(|| {
            let says = "reading panicked at a file that is whole: please report it".to_owned();
            DataFusionError::Execution(says)
        });
        let reason = match verify::verify(&group.path) {
            Ok(verified) => {
                let mut faults = verified.faults.iter();
                // Columns of another version are no damage.
                let fault = faults.find(|fault| !matches!(fault, Fault::Version(_)));
                match fault.map(ToString::to_string).or_else(|| lacking(&error)) {
                    Some(reason) => reason,
                    None => return Err(error),
                }
            }
            Err(reason) => reason.to_string(),
        };
        self.reading.leave_out(group.path.to_path_buf(), reason);
        Ok(Step::Nothing)
    }
}

/// That flows lack values which each must have, if that is the error: a file of others is none that can be verified.
fn lacking(error: &DataFusionError) -> Option<String> {
    let DataFusionError::ArrowError(error, _) = error else {
        return None;
    };
    let ArrowError::ExternalError(error) = &**error else {
        return None;
    };
    error.downcast_ref::<Lacking>().map(ToString::to_string)
}

/// Runs a step of a decoder, which may panic on octets that no writer wrote.
fn guarded<T>(step: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
    caught(step).map_or(Err(None), |done| done.map_err(Some))
}

impl Current {
    /// Begins to read; none if no row fits.
    fn of(group: &Group, opened: &Opened, asked: &mut Asked) -> Result<Option<Self>> {
        let read = |wanted: &mut Wanted, selection| {
            let batches = opened.batches(group.number, wanted, asked.batch_rows, selection);
            batches.map_err(|error| DataFusionError::External(Box::new(error)))
        };
        let mut current = Self {
            group: group.clone(),
            batches: match &mut asked.filter {
                Some(filter) => read(&mut filter.columns, None)?,
                None => read(&mut asked.columns, None)?,
            },
            fitting: VecDeque::new(),
        };
        let Some(filter) = asked
            .filter
            .as_ref()
            .filter(|filter| filter.places.is_none())
        else {
            return Ok(Some(current));
        };
        let mut selectors = Vec::new();
        for batch in current.batches.by_ref() {
            let batch = batch?;
            let fitting = filter.fitting(&batch)?;
            if fitting.true_count() == 0 {
                selectors.push(RowSelector::skip(batch.num_rows()));
            } else {
                selectors.push(RowSelector::select(batch.num_rows()));
                current.fitting.push_back(fitting);
            }
        }
        if current.fitting.is_empty() {
            return Ok(None);
        }
        let selection = RowSelection::from(selectors);
        current.batches = read(&mut asked.columns, Some(selection))?;
        Ok(Some(current))
    }

    fn next(&mut self, filter: Option<&RowFilter>) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.batches.next().transpose()? else {
            return Ok(None);
        };
        let Some(filter) = filter else {
            return Ok(Some(batch));
        };
        if let Some(places) = &filter.places {
            let fitting = filter.fitting(&batch)?;
            return Ok(Some(filter_record_batch(
                &batch.project(places)?,
                &fitting,
            )?));
        }
        let Some(fitting) = self.fitting.pop_front() else {
            return Ok(None);
        };
        Ok(Some(filter_record_batch(&batch, &fitting)?))
    }
}

impl RowFilter {
    /// Which rows fit: those of which all is true, and not unknown.
    fn fitting(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let mut fitting = BooleanArray::new(BooleanBuffer::new_set(batch.num_rows()), None);
        for comparison in &self.comparisons {
            fitting = both(&fitting, comparison.evaluate(batch)?)?;
            if !fitting.has_true() {
                return Ok(fitting);
            }
        }
        match &self.rest {
            Some(rest) => both(&fitting, rest.evaluate_selection(batch, &fitting)?),
            None => Ok(fitting),
        }
    }
}

fn both(fitting: &BooleanArray, fits: ColumnarValue) -> Result<BooleanArray> {
    let fits = fits.into_array(fitting.len())?;
    let fits = fits.as_boolean();
    let fits = match fits.null_count() {
        0 => fits,
        _ => &prep_null_mask_filter(fits),
    };
    Ok(BooleanArray::new(fitting.values() & fits.values(), None))
}
