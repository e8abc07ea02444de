//! `weir sql`: questions that no other command has, in SQL over the same flows. Nothing is changed by it.

use std::io::Write as _;

use anyhow::Result;
use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    compute::cast,
    datatypes::{
        DataType, Float64Type, Int64Type, Schema, TimeUnit, TimestampNanosecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use clap::Args;
use datafusion::{
    error::DataFusionError,
    execution::context::SQLOptions,
    prelude::{DataFrame, SessionContext},
};
use futures::StreamExt as _;
use serde_json::json;

use crate::{
    answer::{Answer, Cell, Column, Form, Lines, Table},
    covered::report_coverage,
    data::Coverage,
    filter::Filter,
    gather::{Gathering, gather},
    leading,
    output::Output,
    question::{Question, Source},
    sql_functions,
    sql_refused::refused,
    sql_sum, text,
};

/// Lines of a table, unless the command line says otherwise: all of it is aligned in memory.
const TABLE_LINES: usize = 1000;

/// What `weir sql` is asked.
#[derive(Debug, Args)]
pub struct Options {
    /// A query of the table `flows`, whose columns are the files'; addresses as ip('192.0.2.1'), and
    /// prefix(src_addr, 24), in_net(src_addr, '10.0.0.0/8'), addr_text(src_addr), proto_name(protocol),
    /// service(dst_port)
    #[arg(value_name = "QUERY")]
    query: String,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shape: Lines,
    /// Lines shown; 0: all. Otherwise 1,000 of a table, and all of CSV
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
}

/// Answers it.
///
/// # Errors
/// If the query or the filter does not fit, or fails, or the output is closed.
pub async fn run(options: &Options) -> Result<Coverage> {
    let question = options.source.question()?;
    let session = &question.session;
    session.register_table("flows", question.flows.clone().into_view())?;
    sql_functions::register(session);
    sql_sum::register(session);
    let frame = planned(session, &options.query)
        .await
        .map_err(|error| refused(&options.query, error))?;
    let form = options.shape.form(&options.source);
    let lines = match (options.lines, form) {
        (Some(0) | None, Form::Csv) => usize::MAX,
        (Some(0), _) | (None, Form::Json) => leading::ALL_MAX,
        (None, Form::Table) => TABLE_LINES,
        (Some(lines), _) => lines,
    };
    if form == Form::Csv {
        let flows = asked_of(&question).await?;
        print_csv(frame, lines, &question.coverage).await?;
        report_coverage(&question.coverage, flows);
        return Ok(question.coverage);
    }
    let (table, is_cut) = table(frame, lines).await?;
    let mut answer = Answer {
        flows: asked_of(&question).await?,
        ..Answer::default()
    };
    answer.table("rows", table);
    if is_cut {
        let line = format!(
            "there are more than these {} lines: -n 0 shows them, and -o csv",
            text::count(lines as u64)
        );
        answer.line("cut", json!(true), line);
    }
    answer.print(&question.coverage, form == Form::Json)?;
    Ok(question.coverage)
}

/// Plans a query; it may only read.
async fn planned(session: &SessionContext, query: &str) -> Result<DataFrame, DataFusionError> {
    let reads = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    let frame = session.sql_with_options(query, reads).await?;
    // Types that do not fit together show only now.
    frame.clone().into_optimized_plan()?;
    Ok(frame)
}

/// Flows in the table.
async fn asked_of(question: &Question) -> Result<u64> {
    if question.filter == Filter::everything() {
        return Ok(question.coverage.flows);
    }
    let all = gather(question.flows.clone(), &Gathering::default(), |_| {}).await?;
    Ok(all.counts.flows)
}

/// The first lines, and whether there are more.
async fn table(frame: DataFrame, lines: usize) -> Result<(Table, bool)> {
    let mut stream = frame.execute_stream().await?;
    let mut table = Table {
        columns: columns(&stream.schema()),
        ..Table::default()
    };
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let left = lines - table.rows.len();
        if batch.num_rows() > left {
            table.rows.extend(rows(&batch.slice(0, left))?);
            return Ok((table, true));
        }
        table.rows.extend(rows(&batch)?);
    }
    Ok((table, false))
}

fn columns(schema: &Schema) -> Vec<Column> {
    let fields = schema.fields().iter();
    let column = fields.map(|field| {
        if field.data_type().is_numeric() {
            Column::numbers(field.name(), field.name())
        } else {
            Column::words(field.name(), field.name())
        }
    });
    column.collect()
}

async fn print_csv(frame: DataFrame, lines: usize, coverage: &Coverage) -> Result<()> {
    let mut stream = frame.execute_stream().await?;
    let mut output = Output::new(&coverage.reading, false);
    let names = stream.schema();
    let names = names.fields().iter();
    let names: Vec<String> = names.map(|field| quoted(field.name())).collect();
    let mut left = lines;
    let mut text = names.join(",");
    text.push('\n');
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        for row in rows(&batch)? {
            let cells: Vec<String> = row.iter().map(csv).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        output.write_all(text.as_bytes())?;
        text.clear();
        if left == 0 {
            break;
        }
    }
    output.write_all(text.as_bytes())?;
    output.finish()
}

/// A cell as CSV has it (RFC 4180): numbers without marks, times as RFC 3339.
fn csv(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => quoted(text),
        Cell::Count(number) | Cell::Number(number) => number.to_string(),
        Cell::Change(number) => number.to_string(),
        Cell::Time(ns) => text::time_json(*ns),
        Cell::Flag(yes) => yes.to_string(),
        other => other.text(),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A batch as lines of cells.
fn rows(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>> {
    let row = |row: usize| -> Result<Vec<Cell>> {
        let columns = batch.columns().iter();
        columns.map(|column| cell(column, row)).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn cell(column: &ArrayRef, row: usize) -> Result<Cell> {
    if column.is_null(row) {
        return Ok(Cell::Empty);
    }
    Ok(match column.data_type() {
        DataType::FixedSizeBinary(16) => {
            Cell::Text(text::address(column.as_fixed_size_binary().value(row)))
        }
        DataType::Null => Cell::Empty,
        DataType::Boolean => Cell::Flag(column.as_boolean().value(row)),
        DataType::UInt8 => Cell::Number(column.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Cell::Number(column.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Cell::Number(column.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Cell::Count(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => {
            return cell(&cast(column, &DataType::Int64)?, row);
        }
        DataType::Float16 | DataType::Float32 => {
            return cell(&cast(column, &DataType::Float64)?, row);
        }
        DataType::Int64 => {
            let number = column.as_primitive::<Int64Type>().value(row);
            u64::try_from(number).map_or(Cell::Change(number.into()), Cell::Count)
        }
        DataType::Float64 => Cell::Real(column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Cell::Time(column.as_primitive::<TimestampNanosecondType>().value(row))
        }
        _ => {
            let options = FormatOptions::default();
            let values = ArrayFormatter::try_new(column.as_ref(), &options)?;
            Cell::Text(values.value(row).to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> String {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let session = SessionContext::new();
        let planned = runtime.block_on(planned(&session, query));
        super::refused(query, planned.unwrap_err()).to_string()
    }

    #[test]
    fn what_is_no_sql_is_pointed_at() {
        for (query, caret, says) in [
            ("selct 1", "  ^^^^^ ", "an SQL statement fits here"),
            ("select\n count(* from t", "           ^^^^ ", ") fits here"),
            ("select from", "             ^ ", "identifier fits here"),
            ("select 'ä' frm t x", "  ", "fits here"),
            ("select 'abc", "         ^ ", "Unterminated string literal"),
        ] {
            let told = refused(query);
            let last = told.lines().next_back().unwrap();
            assert!(told.contains("this SQL cannot be understood"), "{told}");
            assert!(last.starts_with(caret) && last.contains(says), "{told}");
            assert!(
                !told.contains("Parser") && !told.contains("Column"),
                "{told}"
            );
        }
        let says = refused("select 1 from flow");
        assert!(
            says.contains("table 'flow' not found; there is one table, `flows`"),
            "{says}"
        );
    }

    #[test]
    fn only_reading_is_allowed() {
        for query in [
            "create table t as select 1",
            "create external table t stored as csv location '/etc/passwd'",
            "drop table flows",
            "copy (select 1) to '/tmp/weir-refused.csv'",
            "set datafusion.execution.batch_size = 1",
        ] {
            let says = refused(query);
            assert!(says.contains("flows are only read"), "{query}: {says}");
        }
        for query in ["select 1; select 2", "select a from nowhere", ""] {
            let says = refused(query);
            assert!(says.contains("cannot be answered"), "{query}: {says}");
        }
        assert!(refused("select * from '/etc/passwd'").contains("not found"));
    }

    #[test]
    fn what_does_not_fit_together_is_told_once_with_what_would() {
        let address = "(select arrow_cast(arrow_cast('0123456789abcdef', 'Binary'), 'FixedSizeBinary(16)') as a)";
        for (query, advice) in [
            (
                format!("select 1 from {address} where a = '10.1.0.3'"),
                "ip('192.0.2.1')",
            ),
            (
                format!("select 1 from {address} where a like '10.1%'"),
                "ip('192.0.2.1')",
            ),
            (
                format!("select 1 from {address} where a between '10.1.0.0' and '10.1.0.9'"),
                "in_net(src_addr",
            ),
            (
                "select 1 from (values (now())) as t(a) where a > '2026-11-21T14:00'".to_owned(),
                "'2026-11-21 14:00:00'",
            ),
            (
                "select 1 from (values (arrow_cast(6, 'UInt8'))) as t(a) where a = 'tcp'"
                    .to_owned(),
                "proto_name(protocol)",
            ),
        ] {
            let says = refused(&query);
            assert!(says.contains(advice), "{query}: {says}");
            assert!(
                !says.contains('\n') && !says.contains("bug"),
                "{query}: {says}"
            );
        }
    }

    #[test]
    fn values_are_cells_by_their_types() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let session = SessionContext::new();
        let query = "select 1, -2, 0.5, 'a,b', null, true, arrow_cast(7, 'UInt16'), arrow_cast(-8, 'Int32'), \
                     arrow_cast(1.5, 'Float32')";
        let (table, is_cut) = runtime
            .block_on(async {
                let frame = planned(&session, query).await.unwrap();
                table(frame, 10).await
            })
            .unwrap();
        let row = &table.rows[0];
        assert!(!is_cut);
        let texts: Vec<_> = row.iter().map(csv).collect();
        assert_eq!(
            texts,
            ["1", "-2", "0.5", "\"a,b\"", "", "true", "7", "-8", "1.5"]
        );
        assert_eq!(row[0], Cell::Count(1));
        assert_eq!(row[6], Cell::Number(7));
        assert_eq!((row[7].json(), row[8].json()), (json!(-8), json!(1.5)));
    }

    #[test]
    fn a_long_table_is_cut_and_says_so() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let session = SessionContext::new();
        let query = "select * from (values (1), (2), (3)) as t(a) order by a";
        for (lines, shown, cut) in [(2, 2, true), (3, 3, false)] {
            let (table, is_cut) = runtime
                .block_on(async {
                    let frame = planned(&session, query).await.unwrap();
                    table(frame, lines).await
                })
                .unwrap();
            assert_eq!((table.rows.len(), is_cut), (shown, cut));
        }
    }
}
