//! `weir-collector anonymise`: a directory's closed files into another directory, with other addresses
//! ([`crate::crypto_pan`]).

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::Args;
use weir_store::{
    StoreError,
    form::Form,
    layout::{self, Directory},
    new_file::NewFile,
    read, repair, rows, verify,
};

use crate::{
    crypto_pan::{self, CryptoPan},
    maintain,
};

/// What is anonymised.
#[derive(Debug, Args)]
pub struct Anonymise {
    /// Directory of the flows
    #[arg(value_name = "DIR")]
    from: PathBuf,

    /// Directory for the anonymised flows
    #[arg(value_name = "DIR2")]
    to: PathBuf,

    /// File with the key: 32 octets, or 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Does it.
///
/// # Errors
/// If the key cannot be used, or a directory not read or written.
pub fn run(options: &Anonymise) -> Result<ExitCode> {
    let anonymiser = crypto_pan::open(&options.key)?;
    let files = read::list(&options.from)?;
    let mut directory = Directory::lock(&options.to)?;
    if fs::canonicalize(&options.from)? == fs::canonicalize(&options.to)? {
        bail!("the anonymised flows need a directory of their own");
    }
    let links = maintain::tell_links(&options.from, &files)?;
    let (mut flows, mut damaged, mut gone) = (0, 0, 0);
    for path in &files.closed {
        // Each lies and is compressed as it was.
        directory = directory.with_form(Form::of(&options.from, path));
        match anonymise(&directory, path, &anonymiser) {
            Ok(taken) => flows += taken,
            // Expired or recompacted meanwhile.
            Err(_) if !path.exists() => gone += 1,
            Err(error) => {
                damaged += 1;
                eprintln!("weir-collector: {error:#}");
            }
        }
    }
    println!(
        "{flows} flows of {} files anonymised, {damaged} damaged files left out, {} open windows too",
        files.closed.len() - damaged - gone,
        files.open.len()
    );
    if gone > 0 {
        eprintln!(
            "weir-collector: {gone} files expired or became part of a larger one meanwhile: do it again into an empty directory"
        );
    }
    Ok(if damaged + gone + links == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Rewrites a file; how many flows. Of a damaged one nothing is taken.
fn anonymise(directory: &Directory, path: &Path, anonymiser: &CryptoPan) -> Result<u64> {
    let start_s = layout::window_start_s(path).unwrap_or(0);
    let mut notes = repair::notes_of(path);
    notes.push(("weir.anonymised".to_owned(), "Crypto-PAn".to_owned()));
    let mut file = NewFile::create(directory, start_s, &notes)?;
    let read = verify::read_sound(path, |batch| {
        let mut flows = rows::flows(&batch).map_err(StoreError::arrow(path))?;
        for flow in &mut flows {
            anonymiser.anonymise(flow);
        }
        file.write(&flows)
    });
    match read {
        Ok(verified) if verified.faults.is_empty() => Ok(file.finish()?.1),
        Ok(verified) => {
            file.abandon();
            let faults: Vec<String> = verified.faults.iter().map(ToString::to_string).collect();
            bail!("{}: {}", path.display(), faults.join("; "))
        }
        Err(error) => {
            file.abandon();
            Err(error.into())
        }
    }
}
