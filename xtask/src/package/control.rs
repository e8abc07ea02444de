//! What dpkg is told of a package: its control file, checksums, configuration files and scripts, in
//! `packaging/deb/NAME` but for what is computed here; and the package itself, the same to the octet each time.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{VERSION, architecture, staging::Package};
use crate::run::{output, root, shown, succeeds};

/// Scripts and lists that a package may have.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];
/// What programs built on Debian 12 need, where nobody can compute it.
const DEPENDS: &str = "libc6 (>= 2.36), libgcc-s1 (>= 4.2)";

/// How a package is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// To be shipped.
    Small,
    /// To be looked at.
    None,
}

/// The time that files of a package bear, in seconds since 1970: `SOURCE_DATE_EPOCH`, or that of the commit.
pub fn epoch() -> Result<u64> {
    let given = env::var("SOURCE_DATE_EPOCH").ok();
    let folder = root();
    let folder = folder.to_str().context("a path in UTF-8")?;
    let text = given.unwrap_or_else(|| output("git", &["-C", folder, "log", "-1", "--format=%ct"]));
    text.trim()
        .parse()
        .context("no time for the files: set SOURCE_DATE_EPOCH to seconds since 1970")
}

/// Writes `DEBIAN/` beside what is staged.
pub fn write(package: &Package, stage: &Path) -> Result<()> {
    let source = root().join("packaging/deb").join(package.name);
    let folder = stage.join("DEBIAN");
    let files = files(stage)?;
    let size_kib: u64 = files.iter().map(|file| file.octets.div_ceil(1024)).sum();
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let depends = if package.programs.is_empty() {
        String::new()
    } else {
        depends(&package.programs)?
    };
    let architecture = architecture()?;
    let control = fs::read_to_string(source.join("control"))?;
    let control = fill(
        &control,
        &[
            ("VERSION", VERSION),
            ("ARCHITECTURE", architecture.as_str()),
            ("INSTALLED_SIZE", size_kib.to_string().as_str()),
            ("DEPENDS", depends.as_str()),
        ],
    )?;
    put(&folder.join("control"), &control, 0o644)?;
    let conffiles = fs::read_to_string(source.join("conffiles")).unwrap_or_default();
    if !conffiles.is_empty() {
        put(&folder.join("conffiles"), &conffiles, 0o644)?;
    }
    for script in SCRIPTS {
        if let Ok(text) = fs::read_to_string(source.join(script)) {
            put(&folder.join(script), &text, 0o755)?;
        }
    }
    let is_conffile = |path: &str| conffiles.lines().any(|line| line == format!("/{path}"));
    let summed = files.iter().map(|file| file.path.as_str());
    let summed: Vec<&str> = summed.filter(|path| !is_conffile(path)).collect();
    let sums = Command::new("md5sum")
        .current_dir(stage)
        .args(&summed)
        .output()?;
    ensure!(sums.status.success(), "md5sum failed");
    put(
        &folder.join("md5sums"),
        &String::from_utf8(sums.stdout)?,
        0o644,
    )
}

/// Packs what is staged; the package's path.
pub fn pack(
    package: &Package,
    stage: &Path,
    folder: &Path,
    epoch: u64,
    compression: Compression,
) -> Result<PathBuf> {
    shown(
        Command::new("find")
            .arg(stage)
            .args(["-exec", "touch", "--no-dereference", "--date"])
            .arg(format!("@{epoch}"))
            .args(["{}", "+"]),
    )?;
    let architecture = if package.all {
        "all".to_owned()
    } else {
        architecture()?
    };
    let path = folder.join(format!("{}_{VERSION}_{architecture}.deb", package.name));
    let compression = match compression {
        Compression::Small => "-Zxz",
        Compression::None => "-Znone",
    };
    shown(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", compression, "--build"])
            .arg(stage)
            .arg(&path)
            .env("SOURCE_DATE_EPOCH", epoch.to_string())
            .stdout(std::process::Stdio::null()),
    )?;
    Ok(path)
}

/// A staged file.
struct File {
    /// Without a slash before it.
    path: String,
    octets: u64,
}

/// The regular files of a tree, by their paths.
fn files(stage: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![stage.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let relative = path.strip_prefix(stage)?;
                found.push(File {
                    path: relative.to_str().context("a path in UTF-8")?.to_owned(),
                    octets: metadata.size(),
                });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Libraries that programs need, as dpkg-shlibdeps finds them.
fn depends(programs: &[PathBuf]) -> Result<String> {
    if !succeeds("dpkg-shlibdeps", &["--version"]) {
        eprintln!("there is no dpkg-shlibdeps (package dpkg-dev): the package says {DEPENDS}");
        return Ok(DEPENDS.to_owned());
    }
    // It wants to stand in a source package.
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("debian"))?;
    fs::write(
        folder.path().join("debian/control"),
        "Source: weir\n\nPackage: weir\nArchitecture: any\n",
    )?;
    let mut command = Command::new("dpkg-shlibdeps");
    command
        .current_dir(folder.path())
        .args(["--warnings=0", "-O"]);
    for program in programs {
        command.arg(format!("-e{}", program.display()));
    }
    let found = command.output()?;
    let text = String::from_utf8_lossy(&found.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("shlibs:Depends="))
        .map(ToOwned::to_owned)
        .with_context(|| {
            format!(
                "dpkg-shlibdeps found no libraries: {}",
                String::from_utf8_lossy(&found.stderr)
            )
        })
}

/// Puts values in the places of their names, `@NAME@`; a place that is left is a mistake.
fn fill(text: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    ensure!(!has_place(&text), "a place is left: {text}");
    Ok(text)
}

/// Whether there is an `@NAME@`; an address has one sign only.
fn has_place(text: &str) -> bool {
    text.lines().any(|line| line.matches('@').count() > 1)
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_none_is_left() {
        let filled = fill("Version: @V@\nMail: a@b\n", &[("V", "1.0")]).unwrap();
        assert_eq!(filled, "Version: 1.0\nMail: a@b\n");
        fill("Depends: @D@", &[("V", "1.0")]).unwrap_err();
    }

    #[test]
    fn control_files_are_filled() {
        let values =
            ["VERSION", "ARCHITECTURE", "INSTALLED_SIZE", "DEPENDS"].map(|name| (name, "x"));
        for package in ["weir", "weir-softflowd"] {
            let path = root().join("packaging/deb").join(package).join("control");
            fill(&fs::read_to_string(path).unwrap(), &values).unwrap();
        }
    }
}
