//! `cargo xtask deb`, `tarball` and `package-test`: Weir as others install it. `staging` says which file goes
//! where, `control` what dpkg is told, `check` looks at packages without installing them; `installation` and
//! `machine` install them, in a folder and in a machine of its own.

mod check;
mod control;
mod installation;
mod machine;
mod report;
mod staging;
mod tarball;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{
    build,
    run::{output, root, shown, step, succeeds},
};
use control::Compression;
use report::Outcome;
use staging::Package;

pub use tarball::{Options as TarballOptions, run as tarball};

/// How long a machine in software emulation may take, in seconds. It boots in half a minute and loads
/// programs in some ten seconds each.
const MACHINE_S: u64 = 1800;
const VERIFIER_S: u64 = 3600;

#[derive(Debug, clap::Args)]
pub struct DebOptions {
    /// Folder for the packages
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct TestOptions {
    /// Only this part (may be repeated)
    #[arg(long, value_name = "PART")]
    part: Vec<Part>,
}

/// A part of `package-test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The packages alone, of the programs as they are built: what CI looks at
    Contents,
    /// Packages in a fresh Debian root: installed, softflowd replaced, purged
    Installation,
    /// A booted machine with Debian's kernel: units, restart under traffic, stop
    Machine,
    /// The same machine: every combination of options that the verifier sees
    Verifier,
}

/// What was built: programs, man pages, completions.
struct Built {
    programs: PathBuf,
    man: PathBuf,
    completions: PathBuf,
}

/// `cargo xtask deb`.
pub fn deb(options: &DebOptions) -> Result<()> {
    let folder = root().join(&options.output);
    for path in debs(&folder)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Optimised packages of both names in a folder.
fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    build::run(&build::Options { release: true })?;
    let built = Built::new(weir_tests::process::binaries()?.with_file_name("release"))?;
    step("packages");
    make(&built, folder, Compression::Small)
}

impl Built {
    /// Has man pages and completions made by the programs' own generator.
    fn new(programs: PathBuf) -> Result<Self> {
        let generated = root().join("target/generated");
        let (man, completions) = (generated.join("man"), generated.join("completions"));
        // What an earlier version had is not to be shipped.
        let _ = fs::remove_dir_all(&generated);
        let mut command = Command::new(programs.join("weir-man"));
        shown(command.arg(&man).arg(&completions))?;
        Ok(Self {
            programs,
            man,
            completions,
        })
    }
}

/// Packages of both names in a folder; their paths.
fn make(built: &Built, folder: &Path, compression: Compression) -> Result<Vec<PathBuf>> {
    let epoch = control::epoch()?;
    let temporary = tempfile::tempdir()?;
    fs::create_dir_all(folder)?;
    let mut paths = Vec::new();
    for package in [Package::weir(built)?, Package::softflowd()] {
        let stage = temporary.path().join(package.name);
        package.stage(&stage)?;
        control::write(&package, &stage)?;
        paths.push(control::pack(&package, &stage, folder, epoch, compression)?);
    }
    Ok(paths)
}

/// What CI runs, from programs that are built already: both packages made twice, which must be the same to
/// the octet, and looked at.
pub fn quick() -> Result<()> {
    step("packages, from these programs");
    let built = Built::new(weir_tests::process::binaries()?)?;
    if !succeeds("dpkg-deb", &["--version"]) {
        eprintln!("skipped: there is no dpkg-deb: packages are made on Debian and its kin");
        return Ok(());
    }
    let temporary = tempfile::tempdir()?;
    let (first, second) = (temporary.path().join("1"), temporary.path().join("2"));
    let once = make(&built, &first, Compression::None)?;
    let again = make(&built, &second, Compression::None)?;
    for (once, again) in once.iter().zip(&again) {
        check::same(once, again)?;
    }
    check::packages(&once, &temporary.path().join("unpacked"))
}

/// `cargo xtask package-test`.
pub fn test(options: &TestOptions) -> Result<()> {
    if options.part == [Part::Contents] {
        return quick();
    }
    let folder = root().join("target/package-test");
    let debs = debs(&folder.join("packages"))?;
    let base = match installation::base(&folder)? {
        Ok(base) => base,
        Err(sentence) => {
            eprintln!("skipped: {sentence}");
            return Ok(());
        }
    };
    let mut failed = 0;
    for part in Part::value_variants() {
        if !options.part.is_empty() && !options.part.contains(part) {
            continue;
        }
        let outcome = match part {
            Part::Contents => {
                quick()?;
                continue;
            }
            Part::Installation => installation::run(&base, &debs)?,
            Part::Machine => machine::run(&base, &debs, "machine.sh", MACHINE_S)?,
            Part::Verifier => machine::run(&base, &debs, "verifier.sh", VERIFIER_S)?,
        };
        match outcome {
            Outcome::Passed(checks) => eprintln!("{part:?}: {checks} checks passed"),
            Outcome::Skipped(sentence) => eprintln!("{part:?}: skipped: {sentence}"),
            Outcome::Failed(sentences) => {
                failed += 1;
                for sentence in sentences {
                    eprintln!("{part:?}: {sentence}");
                }
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} parts of the package's test failed");
    Ok(())
}

/// Version of the packages: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Debian's name for this machine's architecture.
fn architecture() -> Result<String> {
    let name = output("dpkg", &["--print-architecture"]);
    (!name.is_empty())
        .then_some(name)
        .context("there is no dpkg: packages are made on Debian and its kin")
}
