//! `weir export`: flows that fit into a file: Parquet with the store's columns, which `weir` and other
//! engines read, CSV, or a file that nfdump reads.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    compute::cast,
    datatypes::SchemaRef,
};
use clap::{Args, ValueEnum};
use datafusion::prelude::{DataFrame, Expr, col};
use futures::StreamExt as _;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use serde_json::json;
use weir_store::{
    StoreError,
    nfdump::{self, Compression as BlockCompression},
    rows, schema,
};

use crate::{
    answer::Answer,
    covered::coverage_json,
    data::{self, Coverage},
    format::Format,
    interrupt,
    question::{Misasked, Source},
    row::Columns,
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
    /// Format; by the file's name otherwise
    #[arg(long = "as", visible_alias = "format", value_name = "FORMAT")]
    format: Option<Kind>,
    /// Compression of nfdump's files (lz4, if nothing is said); before 1.7.2 it has no zstd
    #[arg(long, value_name = "HOW")]
    compression: Option<Blocks>,
}

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Parquet
    Parquet,
    /// CSV
    Csv,
    /// nfdump 1.7 (layout 2)
    Nfdump,
}

/// How the blocks of nfdump's files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Blocks {
    /// Not at all
    None,
    /// LZ4
    Lz4,
    /// Zstandard
    Zstd,
}

impl Blocks {
    fn compression(self) -> BlockCompression {
        match self {
            Self::None => BlockCompression::None,
            Self::Lz4 => BlockCompression::Lz4,
            Self::Zstd => BlockCompression::Zstd,
        }
    }
}

/// The format that a file's name asks for.
fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if name.starts_with("nfcapd.") {
        return Some(Kind::Nfdump);
    }
    match path.extension()?.to_str()? {
        "parquet" => Some(Kind::Parquet),
        "csv" => Some(Kind::Csv),
        "nfdump" => Some(Kind::Nfdump),
        _ => None,
    }
}

/// What is to be written, if that can be.
fn asked_kind(options: &Options) -> Result<Kind> {
    let Some(kind) = options.format.or_else(|| kind_of(&options.file)) else {
        bail!(Misasked(
            "name a file that ends in .parquet, .csv or .nfdump, or say --as parquet, --as csv or \
             --as nfdump"
                .to_owned()
        ));
    };
    if options.source.scaled && kind != Kind::Nfdump {
        bail!(Misasked(
            "files keep counts as they were sent, and the sampling interval beside them: leave \
             --scaled out"
                .to_owned()
        ));
    }
    if options.compression.is_some() && kind != Kind::Nfdump {
        bail!(Misasked(
            "--compression is of nfdump's files: leave it out".to_owned()
        ));
    }
    if options.file.exists() {
        bail!(
            "{} is there already: name another file",
            options.file.display()
        );
    }
    Ok(kind)
}

/// Answers it.
///
/// # Errors
/// If the filter does not fit, the query fails, or the file cannot be written; then none is left.
pub async fn run(options: &Options) -> Result<Coverage> {
    let kind = asked_kind(options)?;
    let mut question = options.source.question()?;
    let mut missing = BTreeMap::new();
    let (partial, file) = begin(&options.file)?;
    let unfinished = partial.clone();
    interrupt::before_exit(move || drop(fs::remove_file(&unfinished)));
    let written = match kind {
        Kind::Parquet => write_parquet(question.flows, &question.coverage, file).await,
        Kind::Csv => write_csv(question.flows, file, &mut missing).await,
        Kind::Nfdump => {
            let created_s = u64::try_from(question.now_ns / 1_000_000_000).unwrap_or(0);
            let compression = options.compression.unwrap_or(Blocks::Lz4).compression();
            // Its files have no place for the interval: who collects into them multiplies, and so must who exports.
            let flows = if options.source.scaled {
                question.flows
            } else {
                data::scaled(question.flows)?
            };
            question.coverage.is_scaled = true;
            let begun = nfdump::Writer::begin(file, &partial, compression, created_s);
            write_nfdump(flows, begun, &mut missing).await
        }
    };
    let renamed = written.and_then(|written| {
        fs::rename(&partial, &options.file)?;
        Ok(written)
    });
    let written = renamed
        .inspect_err(|_| drop(fs::remove_file(&partial)))
        .with_context(|| format!("cannot write {}", options.file.display()))?;
    let mut answer = Answer {
        flows: written,
        ..Answer::default()
    };
    let file = options.file.display().to_string();
    let line = format!("{} flows in {file}", text::count(written));
    answer.line("file", json!(file), line);
    if !missing.is_empty() {
        let each = missing.iter();
        let each = each.map(|(what, flows)| format!("{what} (of {} flows)", text::count(*flows)));
        let each = each.collect::<Vec<_>>().join(", ");
        let whose = match kind {
            Kind::Nfdump => "nfdump's files have",
            Kind::Csv | Kind::Parquet => "CSV has",
        };
        let line = format!("{whose} no place for {each}: Parquet keeps them");
        answer.line("not_carried", json!(missing), line);
    }
    answer.print(&question.coverage, options.source.json)?;
    Ok(question.coverage)
}

/// Makes the file that is written until it is whole: nobody takes half of one for all of it. What is there already may
/// be written by another export, and stays.
fn begin(whole: &Path) -> Result<(PathBuf, File)> {
    let mut partial = whole.to_owned().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match File::create_new(&partial) {
        Ok(file) => Ok((partial, file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{} is there already: another export writes it, or one that was killed has left it; then remove it",
            partial.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", whole.display())),
    }
}

/// Writes the store's columns, and what they cover as the file's metadata; how many flows.
async fn write_parquet(flows: DataFrame, coverage: &Coverage, file: File) -> Result<u64> {
    let wanted = schema::schema();
    let mut stream = flows.select(stored(&wanted))?.execute_stream().await?;
    let version = KeyValue::new(
        "weir.schema_version".to_owned(),
        schema::SCHEMA_VERSION.to_owned(),
    );
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![version]))
        .build();
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

/// The store's columns.
fn stored(wanted: &SchemaRef) -> Vec<Expr> {
    let fields = wanted.fields().iter();
    fields.map(|field| col(field.name())).collect()
}

/// Columns in the types of the store: the engine may have read text in another form.
fn as_stored(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
    let pairs = batch.columns().iter().zip(wanted.fields());
    let columns: Result<Vec<_>, _> = pairs
        .map(|(column, field)| cast(column, field.data_type()))
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(wanted), columns?)?)
}

/// Writes all columns as text; how many flows. Counts those that have elements without a column.
async fn write_csv(
    flows: DataFrame,
    file: File,
    missing: &mut BTreeMap<&'static str, u64>,
) -> Result<u64> {
    let format = Format::parse(CSV)?;
    let mut columns: Vec<Expr> = format.columns().into_iter().map(col).collect();
    columns.push(col("others"));
    let mut stream = flows.select(columns)?.execute_stream().await?;
    let mut output = BufWriter::new(file);
    writeln!(output, "{}", format.heading())?;
    let mut written = 0;
    let mut lines = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let others = batch
            .column_by_name("others")
            .and_then(|column| column.as_map_opt());
        let has_others = |row: &usize| {
            others.is_some_and(|others| others.is_valid(*row) && others.value_length(*row) > 0)
        };
        let with_others = (0..batch.num_rows()).filter(has_others).count() as u64;
        if with_others > 0 {
            *missing.entry("elements without a column").or_default() += with_others;
        }
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            format.line(&columns, row, written, &mut lines);
            written += 1;
        }
        output.write_all(&lines)?;
        lines.clear();
    }
    output
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    Ok(written)
}

/// Writes what nfdump has places for; how many flows. Counts those that have something it has no place for.
async fn write_nfdump(
    flows: DataFrame,
    begun: Result<nfdump::Writer, StoreError>,
    missing: &mut BTreeMap<&'static str, u64>,
) -> Result<u64> {
    let wanted = schema::schema();
    let mut stream = flows.select(stored(&wanted))?.execute_stream().await?;
    let mut file = begun?;
    while let Some(batch) = stream.next().await {
        let batch = as_stored(&batch?, &wanted)?;
        for flow in rows::flows(&batch)? {
            file.push(&flow)?;
            for what in nfdump::not_carried(&flow) {
                *missing.entry(what).or_default() += 1;
            }
        }
    }
    Ok(file.finish()?.flows[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_format_is_meant() {
        for (name, kind) in [
            ("a/b.parquet", Some(Kind::Parquet)),
            ("b.csv", Some(Kind::Csv)),
            ("b.nfdump", Some(Kind::Nfdump)),
            ("nfcapd.202611210500", Some(Kind::Nfdump)),
            ("nfcapd", None),
            ("b.txt", None),
        ] {
            assert_eq!(kind_of(Path::new(name)), kind, "{name}");
        }
    }

    #[test]
    fn what_another_export_writes_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("flows.csv");
        let (partial, _file) = begin(&whole).unwrap();
        fs::write(&partial, "half").unwrap();
        let says = begin(&whole).unwrap_err().to_string();
        assert!(
            says.contains("flows.csv.partial is there already"),
            "{says}"
        );
        assert_eq!(fs::read(&partial).unwrap(), b"half");
        let says = begin(&folder.path().join("none/flows.csv")).unwrap_err();
        assert!(says.to_string().contains("cannot write"), "{says}");
    }
}
