//! An open window becomes a Parquet file: written beside it, synced, renamed into its place, the
//! folder synced, and only then is the window removed. Whatever happens in between, each flow is
//! in one file that readers see.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use crate::{
    StoreError, layout,
    read::{self, Ended},
    schema,
};

/// Rows in a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// What a rotation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The file; `None` if the window held no flow and is gone.
    pub path: Option<PathBuf>,
    /// Flows in it.
    pub flows: u64,
    /// How the window ended.
    pub ended: Ended,
}

/// Closes a window into `root`. `notes` are kept as the file's metadata. A window that cannot be read
/// to its end is kept too, under another name, beside the file with what could be read.
///
/// # Errors
/// If something cannot be read or written; the window stays, and a later try may succeed.
pub fn close(
    root: &Path,
    window: &Path,
    notes: &[(String, String)],
) -> Result<Rotated, StoreError> {
    let start_s = layout::window_start_s(window).unwrap_or(0);
    let name = window
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let stem = name.trim_end_matches(layout::WINDOW_SUFFIX);
    let closed = layout::closed_path(root, start_s, stem);
    if closed.exists() {
        // It was synced before it got this name: a power cut came before the window was removed.
        let flows = read::parquet_flows(&closed)?;
        fs::remove_file(window).map_err(StoreError::io("remove", window))?;
        return Ok(Rotated {
            path: Some(closed),
            flows,
            ended: Ended::Whole,
        });
    }
    let partial = layout::open_folder(root).join(format!("{stem}.parquet.partial"));
    let (flows, ended) = write_parquet(window, &partial, notes)?;
    let path = if flows > 0 {
        publish(root, &partial, &closed)?;
        Some(closed)
    } else {
        fs::remove_file(&partial).map_err(StoreError::io("remove", &partial))?;
        None
    };
    if ended == Ended::Whole {
        fs::remove_file(window).map_err(StoreError::io("remove", window))?;
    } else {
        let aside = window.with_extension(layout::UNREADABLE);
        fs::rename(window, &aside).map_err(StoreError::io("rename", window))?;
    }
    Ok(Rotated { path, flows, ended })
}

/// Gives a synced file its name, so that a power cut cannot take it back.
fn publish(root: &Path, partial: &Path, closed: &Path) -> Result<(), StoreError> {
    let hour = closed.parent().unwrap_or(root);
    fs::create_dir_all(hour).map_err(StoreError::io("make", hour))?;
    fs::rename(partial, closed).map_err(StoreError::io("rename", partial))?;
    for folder in hour
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
    {
        layout::sync_folder(folder)?;
    }
    Ok(())
}

fn write_parquet(
    window: &Path,
    partial: &Path,
    notes: &[(String, String)],
) -> Result<(u64, Ended), StoreError> {
    let file = File::create(partial).map_err(StoreError::io("create", partial))?;
    let mut writer = ArrowWriter::try_new(file, schema::schema(), Some(properties(notes)))
        .map_err(StoreError::parquet(partial))?;
    let mut flows = 0;
    let ended = read::window(window, |batch| {
        flows += batch.num_rows() as u64;
        writer.write(&batch).map_err(StoreError::parquet(partial))
    })?;
    let file = writer.into_inner().map_err(StoreError::parquet(partial))?;
    file.sync_all().map_err(StoreError::io("sync", partial))?;
    Ok((flows, ended))
}

fn properties(notes: &[(String, String)]) -> WriterProperties {
    let mut metadata = vec![KeyValue::new(
        "weir.schema_version".to_owned(),
        schema::SCHEMA_VERSION.to_owned(),
    )];
    metadata.extend(
        notes
            .iter()
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
    );
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(metadata));
    // Times climb: their differences are small. Dictionaries only help columns with few values.
    for time in ["flow_start", "flow_end", "received"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(time), false)
            .set_column_encoding(ColumnPath::from(time), Encoding::DELTA_BINARY_PACKED);
    }
    for address in ["src_addr", "dst_addr"] {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(address), true);
    }
    properties.build()
}
