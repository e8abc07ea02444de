//! `cargo xtask tarball`: weir-sensor and weir-ctl linked statically with musl, for systems without Debian's
//! libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{VERSION, control, staging};
use crate::run::{cargo, output, root, shown, step, succeeds};

/// What it is built for.
const TARGET: &str = "x86_64-unknown-linux-musl";
const PROGRAMS: [&str; 2] = ["weir-sensor", "weir-ctl"];
/// What is beside the programs, and beside README and what it leads to.
const DOCUMENTS: [&str; 3] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder for the archive
    #[arg(long, value_name = "DIR", default_value = "target/packages")]
    output: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    ensure!(
        has_target(),
        "there is no standard library for {TARGET}: `rustup target add {TARGET}` gets it"
    );
    crate::setup::run(&crate::setup::Options { peers: false })?;
    step("programs that need no libraries");
    shown(&mut cargo(&[
        "build",
        "--release",
        "--target",
        TARGET,
        "--package",
        "weir-sensor",
    ]))?;
    let binaries = weir_tests::process::binaries()?
        .with_file_name(TARGET)
        .join("release");
    let name = format!("weir-{VERSION}-{TARGET}");
    let temporary = tempfile::tempdir()?;
    let stage = temporary.path().join(&name);
    fs::create_dir(&stage)?;
    for program in PROGRAMS {
        let path = stage.join(program);
        shown(
            Command::new("strip")
                .arg("-o")
                .arg(&path)
                .arg(binaries.join(program)),
        )?;
        ensure!(
            !needs_interpreter(&path),
            "{program} is linked dynamically: is `-C target-feature=-crt-static` set?"
        );
        ensure!(
            succeeds(path.to_str().context("a path in UTF-8")?, &["--help"]),
            "{program} does not run: {} --help says why",
            binaries.join(program).display()
        );
    }
    let documents = DOCUMENTS.map(str::to_owned).into_iter();
    for document in documents.chain(staging::linked_documents()?) {
        let target = stage.join(&document);
        fs::create_dir_all(target.parent().unwrap_or(&stage))?;
        fs::copy(root().join(&document), target)?;
    }
    let folder = root().join(&options.output);
    fs::create_dir_all(&folder)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    shown(
        Command::new("tar")
            .arg("--create")
            .args(["--sort=name", "--owner=root:0", "--group=root:0"])
            .args(["--mode=u=rwX,go=rX", "--format=gnu"])
            .arg(format!("--mtime=@{}", control::epoch()?))
            .args(["--use-compress-program", "gzip -9 --no-name"])
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(temporary.path())
            .arg(&name),
    )?;
    println!("{}", archive.display());
    Ok(())
}

/// Whether the compiler that cargo takes has a standard library for the target.
fn has_target() -> bool {
    let folder = output("rustc", &["--print", "target-libdir", "--target", TARGET]);
    !folder.is_empty() && Path::new(&folder).is_dir()
}

/// Whether a program asks for a dynamic linker. Without readelf nobody can say.
fn needs_interpreter(program: &Path) -> bool {
    if !succeeds("readelf", &["--version"]) {
        return false;
    }
    let output = Command::new("readelf")
        .arg("--program-headers")
        .arg(program)
        .output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("INTERP"))
}
