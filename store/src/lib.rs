//! The flat files, in the order in which flows go through them:
//!
//! 1. A flow is a row of the columns in [`schema`], and [`others`] what has none. Flows become [`columns`] as they
//!    come, and those are appended to the open [`window`], an Arrow stream that can be read while it grows.
//! 2. [`rotate`] makes a [`closed`] file of a window: Parquet, whose columns `chunk/` encodes, with [`checksum`]s and
//!    a [`footer_checksum`], at a place and in a form that [`layout`] names and [`form`] chooses. [`recover`] does so
//!    at start with windows that were left, [`new_file`] with flows that had no window.
//! 3. [`read`] finds and reads files, [`follow`] reads on in windows, [`rows`] has flows again. What a closed file
//!    says of itself is in its [`footer`], and in the [`account`] of its exporters; [`claims`] is what is looked at
//!    before any of it is believed, and [`caught`] is for decoders that panic all the same. [`row_groups`] has the rows of
//!    some columns, for whoever asks, and `unpacked` their pages.
//! 4. Closed files grow old: [`recompact`] makes large ones of small ones, [`verify`] looks at all, [`repair`] saves
//!    what is sound in damaged ones, [`expire`] removes the oldest.
//!
//! Other programs' archives are [`nfdump`] (read and written) and [`flow_tools`] (read). It opens no socket and
//! reads no clock; [`system`] is its one unsafe file.

pub mod account;
pub mod caught;
pub mod checksum;
mod chunk;
pub mod claims;
pub mod closed;
pub mod columns;
pub mod expire;
pub mod flow_tools;
pub mod follow;
pub mod footer;
pub mod footer_checksum;
pub mod form;
pub mod layout;
pub mod new_file;
pub mod nfdump;
pub mod others;
pub mod read;
pub mod recompact;
pub mod recover;
pub mod repair;
pub mod rotate;
pub mod row_groups;
pub mod rows;
pub mod schema;
pub mod system;
mod unpacked;
pub mod verify;
pub mod window;

use std::path::PathBuf;

/// What went wrong with a file, and with which. Each says all there is to say: what it comes from is in its
/// sentence, and would be told twice if it were its source too.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// A closed file is there, and the disk may not keep its name.
    #[error(
        "{path} is there, and readers see its flows, but a power cut may still take it back, since its folder cannot be synced: {error}"
    )]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// A window cannot be closed, since its file's name is not free.
    #[error("{path} has the name of its file, and other flows or damage: move it away")]
    NameTaken {
        /// The file that has the name.
        path: PathBuf,
    },
    /// The octets are not what they should be.
    #[error("{path}: {error}")]
    Arrow {
        /// Which file.
        path: PathBuf,
        /// What the reader or writer said.
        error: arrow::error::ArrowError,
    },
    /// As above, for Parquet.
    #[error("{path}: {error}")]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// What the reader or writer said.
        error: parquet::errors::ParquetError,
    },
    /// A file of another program is not what it should be, or of a kind that is not read.
    #[error("{path}: {reason}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A folder is expected, and something else is there.
    #[error("{path} is no folder, or a symbolic link to one: move it away")]
    NoFolder {
        /// What is there.
        path: PathBuf,
    },
    /// No collector has written here.
    #[error(
        "{path} is no collector's directory: it has no folder .open; if closed files were copied there, make one"
    )]
    NoCollectors {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else's directory.
    #[error(
        "{path} may not be written: run as the user whose directory it is, or give that to this one (`chown -R`)"
    )]
    NotOurs {
        /// What cannot be made or written.
        path: PathBuf,
    },
    /// What was done with a file came to what cannot be: a defect of the program, or of a crate it uses.
    #[error("{path}: this is a defect of the program, please report it: {words}")]
    Panicked {
        /// Which file.
        path: PathBuf,
        /// What it said, and where.
        words: String,
    },
    /// Another process rearranges files here.
    #[error("{path} is being recompacted or repaired by another process: wait until it is done")]
    Rearranged {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes here.
    #[error(
        "{path} is written by another process, as a collector: stop that one first, or name another directory"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

impl StoreError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io {
            action,
            path,
            error,
        }
    }

    /// Columns of a file that are not as they must be.
    pub fn arrow(path: &std::path::Path) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        let path = path.to_owned();
        move |error| Self::Arrow { path, error }
    }

    pub(crate) fn foreign(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Foreign {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn parquet(
        path: &std::path::Path,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.to_owned();
        move |error| Self::Parquet { path, error }
    }
}
