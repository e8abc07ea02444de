//! `weir-man MAN COMPLETIONS`: writes the man pages and the shell completions of Weir's programs into two
//! folders. Options are said once, in the programs; what is beside them is in `sections/`. A package of its
//! own, so that no program that is shipped links what this needs.

mod completions;
mod differences;
#[cfg(test)]
mod documents;
mod page;
mod pages;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-man: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(Into::into).collect();
    let [man, completions] = folders.as_slice() else {
        bail!("two folders are needed: one for man pages, one for completions");
    };
    pages::write(man)?;
    completions::write(completions)
}
