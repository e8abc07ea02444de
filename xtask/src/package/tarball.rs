//! `cargo xtask tarball`: the sensor's side of the packages with programs that are linked statically with musl, for
//! systems without Debian's libraries or without dpkg.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{Built, VERSION, control, staging::Package};
use crate::run::{cargo, output, root, shown, step, succeeds};

/// What it is built for.
const TARGET: &str = "x86_64-unknown-linux-musl";
const PROGRAMS: [&str; 2] = ["weir-sensor", "weir-ctl"];
/// What packages have in another form, or know by name.
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
    let built = build()?;
    let name = format!("weir-{VERSION}-{TARGET}");
    let temporary = tempfile::tempdir()?;
    let tree = temporary.path().join(&name);
    for package in [Package::weir_of(&built, &PROGRAMS)?, Package::softflowd()] {
        let stage = tree.join(package.name);
        package.stage(&stage)?;
        move_units(&stage)?;
    }
    check(&tree.join("weir/usr/sbin"))?;
    let documents = tree.join("weir/usr/share/doc/weir");
    for document in DOCUMENTS {
        fs::copy(root().join(document), documents.join(document))?;
    }
    let folder = root().join(&options.output);
    fs::create_dir_all(&folder)?;
    let archive = folder.join(format!("{name}.tar.gz"));
    pack(temporary.path(), &name, &archive)?;
    println!("{}", archive.display());
    Ok(())
}

/// Has the programs built, and on this machine what writes their pages and completions.
fn build() -> Result<Built> {
    step("programs that need no libraries");
    shown(&mut cargo(&[
        "build",
        "--release",
        "--target",
        TARGET,
        "--package",
        "weir-sensor",
    ]))?;
    step("man pages and completions");
    shown(&mut cargo(&["build", "--package", "weir-man"]))?;
    let here = weir_tests::process::binaries()?;
    let programs = here.with_file_name(TARGET).join("release");
    Ok(Built {
        programs,
        ..Built::new(here)?
    })
}

/// Moves units to where systemd has them everywhere: not in `/lib`, of which dpkg alone knows that it may be a link.
fn move_units(stage: &Path) -> Result<()> {
    let target = stage.join("usr/lib/systemd");
    fs::rename(stage.join("lib/systemd"), &target).context("units")?;
    Ok(fs::remove_dir(stage.join("lib"))?)
}

/// Looks at the programs: they need nothing that is not in them, and run.
fn check(folder: &Path) -> Result<()> {
    for program in PROGRAMS {
        let path = folder.join(program);
        ensure!(
            !needs_interpreter(&path),
            "{program} is linked dynamically: is `-C target-feature=-crt-static` set?"
        );
        ensure!(
            succeeds(path.to_str().context("a path in UTF-8")?, &["--help"]),
            "{program} does not run: `target/{TARGET}/release/{program} --help` says why"
        );
    }
    Ok(())
}

/// Packs a tree, the same to the octet each time. Folders are not among its members: those of whoever unpacks it
/// stay as they are, links too.
fn pack(parent: &Path, tree: &str, archive: &Path) -> Result<()> {
    let found = Command::new("find")
        .current_dir(parent)
        .args([tree, "!", "-type", "d"])
        .output()?;
    ensure!(found.status.success(), "find {tree}");
    let found = String::from_utf8(found.stdout)?;
    let mut members: Vec<&str> = found.lines().collect();
    members.sort_unstable();
    let list = parent.join("members");
    fs::write(&list, members.join("\n"))?;
    shown(
        Command::new("tar")
            .args(["--create", "--no-recursion"])
            .args(["--owner=root:0", "--group=root:0"])
            .args(["--mode=u=rwX,go=rX", "--format=gnu"])
            .arg(format!("--mtime=@{}", control::epoch()?))
            .args(["--use-compress-program", "gzip -9 --no-name"])
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(parent)
            .arg("--files-from")
            .arg(&list),
    )
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// `/lib`, `/usr/sbin` and others are links on some systems, which a member that is a folder would replace.
    #[test]
    fn an_archive_has_files_and_links_and_no_folder() {
        let parent = tempfile::tempdir().unwrap();
        let stage = parent.path().join("tree/weir");
        for folder in ["lib/systemd/system", "usr/lib/weir", "usr/sbin", "etc/weir"] {
            fs::create_dir_all(stage.join(folder)).unwrap();
        }
        fs::write(stage.join("lib/systemd/system/a.service"), "").unwrap();
        fs::write(stage.join("usr/sbin/weir-sensor"), "").unwrap();
        symlink("weir-sensor", stage.join("usr/sbin/softflowd")).unwrap();
        move_units(&stage).unwrap();
        let archive = parent.path().join("a.tar.gz");
        pack(parent.path(), "tree", &archive).unwrap();
        let listed = output("tar", &["--list", "--file", archive.to_str().unwrap()]);
        let expected = "tree/weir/usr/lib/systemd/system/a.service\n\
                        tree/weir/usr/sbin/softflowd\n\
                        tree/weir/usr/sbin/weir-sensor";
        assert_eq!(listed, expected);
    }
}
