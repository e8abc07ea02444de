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

/// Closes a window into `root`. `notes` are kept as the file's metadata.
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
    let partial = layout::open_folder(root).join(format!("{stem}.parquet.partial"));
    let (flows, ended) = write_parquet(window, &partial, notes)?;
    if flows == 0 {
        fs::remove_file(&partial).map_err(StoreError::io("remove", &partial))?;
        if ended == Ended::Whole {
            fs::remove_file(window).map_err(StoreError::io("remove", window))?;
        }
        return Ok(Rotated {
            path: None,
            flows,
            ended,
        });
    }
    let closed = layout::closed_path(root, start_s, stem);
    let folder = closed.parent().unwrap_or(root);
    fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
    fs::rename(&partial, &closed).map_err(StoreError::io("rename", &partial))?;
    layout::sync_folder(folder)?;
    fs::remove_file(window).map_err(StoreError::io("remove", window))?;
    Ok(Rotated {
        path: Some(closed),
        flows,
        ended,
    })
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
