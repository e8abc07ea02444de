//! `weir export`: flows that fit into a file: Parquet with the store's columns, which `weir` and other
//! engines read, or CSV.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use arrow::{array::RecordBatch, compute::cast, datatypes::SchemaRef};
use clap::{Args, ValueEnum};
use datafusion::prelude::{DataFrame, Expr, col};
use futures::StreamExt as _;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use serde_json::json;
use weir_store::schema;

use crate::{
    answer::{Answer, coverage_json},
    data::Coverage,
    format::Format,
    interrupt,
    question::Source,
    row::{self, Columns},
    text,
};

/// All that a flow has, by nfdump's tokens.
const CSV: &str = "csv:%tsr,%ter,%trr,%ra,%odid,%nfv,%sa,%da,%nh,%ipv,%pr,%sp,%dp,%flg,%tos,%byt,%pkt,%in,%out,\
                   %sas,%das,%smk,%dmk,%svln,%dir,%end,%smp,%nhb,%ismc,%odmc,%ivln,%mpls1,%mpls2,%mpls3,%mpls4,%v6fl,\
                   %tsa,%tda";

/// What `weir export` is asked.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    source: Source,
    /// File to write; it must not be there yet
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    file: PathBuf,
    /// Format; by the file's ending otherwise
    #[arg(long = "as", value_name = "FORMAT")]
    format: Option<Kind>,
}

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Parquet
    Parquet,
    /// CSV
    Csv,
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the file cannot be written; then none is left.
pub async fn run(options: &Options) -> Result<Coverage> {
    let ending = options.file.extension().and_then(|ending| ending.to_str());
    let kind = match (options.format, ending) {
        (Some(kind), _) => kind,
        (None, Some("parquet")) => Kind::Parquet,
        (None, Some("csv")) => Kind::Csv,
        _ => bail!("name a file that ends in .parquet or .csv, or say --as parquet or --as csv"),
    };
    if options.file.exists() {
        bail!(
            "{} is there already: name another file",
            options.file.display()
        );
    }
    let question = options.source.question().await?;
    // Nobody takes half a file for a whole one.
    let mut partial = options.file.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let unfinished = partial.clone();
    interrupt::before_exit(move || drop(fs::remove_file(&unfinished)));
    let written = match kind {
        Kind::Parquet => write_parquet(question.flows, &question.coverage, &partial).await,
        Kind::Csv => write_csv(question.flows, &partial).await,
    };
    let renamed = written.and_then(|written| {
        fs::rename(&partial, &options.file)?;
        Ok(written)
    });
    let written = renamed
        .inspect_err(|_| drop(fs::remove_file(&partial)))
        .with_context(|| format!("writing {}", options.file.display()))?;
    let mut answer = Answer {
        flows: written,
        ..Answer::default()
    };
    let file = options.file.display().to_string();
    let line = format!("{} flows in {file}", text::count(written));
    answer.line("file", json!(file), line);
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// Writes the store's columns, and what they cover as the file's metadata; how many flows.
async fn write_parquet(flows: DataFrame, coverage: &Coverage, path: &Path) -> Result<u64> {
    let wanted = schema::schema();
    let columns: Vec<Expr> = wanted
        .fields()
        .iter()
        .map(|field| col(field.name()))
        .collect();
    let mut stream = flows.select(columns)?.execute_stream().await?;
    let version = KeyValue::new(
        "weir.schema_version".to_owned(),
        schema::SCHEMA_VERSION.to_owned(),
    );
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![version]))
        .build();
    let file = File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&wanted), Some(properties))?;
    let mut written = 0;
    while let Some(batch) = stream.next().await {
        let batch = as_stored(&batch?, &wanted)?;
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    let covered = coverage_json(coverage, written).to_string();
    writer.append_key_value_metadata(KeyValue::new("weir.coverage".to_owned(), covered));
    let file = writer.into_inner()?;
    file.sync_all()?;
    Ok(written)
}

/// Columns in the types of the store: the engine may have read text in another form.
fn as_stored(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
    let pairs = batch.columns().iter().zip(wanted.fields());
    let columns: Result<Vec<_>, _> = pairs
        .map(|(column, field)| cast(column, field.data_type()))
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(wanted), columns?)?)
}

/// Writes all columns as text; how many flows.
async fn write_csv(flows: DataFrame, path: &Path) -> Result<u64> {
    let format = Format::parse(CSV)?;
    let columns: Vec<Expr> = row::COLUMNS.map(col).to_vec();
    let mut stream = flows.select(columns)?.execute_stream().await?;
    let mut output = BufWriter::new(File::create(path)?);
    writeln!(output, "{}", format.heading())?;
    let mut written = 0;
    let mut lines = String::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            format.line(&columns, row, written, &mut lines);
            written += 1;
        }
        output.write_all(lines.as_bytes())?;
        lines.clear();
    }
    output
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()?;
    Ok(written)
}
