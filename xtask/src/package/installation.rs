//! Packages in a fresh Debian root, without a machine around it: installed, in softflowd's place, purged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::report::{Outcome, judge};
use crate::{
    run::{output, root, shown, step},
    setup,
};

/// The release the packages are made for.
const RELEASE: &str = "bookworm";
/// What is in the root besides the base: what units need, Debian's kernel for `machine`, and softflowd, to be
/// replaced.
const INCLUDED: &str =
    "systemd,systemd-sysv,udev,kmod,iproute2,procps,linux-image-cloud-amd64,softflowd";
/// Programs that may be missing here, and their packages.
const NEEDED: [(&str, &str); 2] = [("debootstrap", "debootstrap"), ("mkfs.ext4", "e2fsprogs")];

/// A Debian root to copy, made once; or a sentence why there is none.
pub fn base(folder: &Path) -> Result<Result<PathBuf, String>> {
    let base = folder.join("base");
    if base.join("etc/debian_version").exists() {
        return Ok(Ok(base));
    }
    if !setup::is_root() {
        return Ok(Err("not root: a Debian root cannot be made".to_owned()));
    }
    if output("dpkg", &["--print-architecture"]) != "amd64" {
        return Ok(Err(
            "the kernel that is booted is for amd64, and this machine is not".to_owned(),
        ));
    }
    for (program, package) in NEEDED {
        if !setup::on_path(program)
            && let Err(error) = setup::apt_install(&[package])
        {
            return Ok(Err(format!("no {program}: {error:#}")));
        }
    }
    step("a fresh Debian root, by debootstrap (some minutes, once)");
    let unfinished = folder.join("base.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(folder)?;
    let made = shown(
        Command::new("debootstrap")
            .args([
                "--variant=minbase",
                &format!("--include={INCLUDED}"),
                RELEASE,
            ])
            .arg(&unfinished)
            .stdout(std::process::Stdio::null()),
    );
    if let Err(error) = made {
        return Ok(Err(format!(
            "debootstrap made no root, is the network there? {error:#}"
        )));
    }
    // debootstrap leaves /proc mounted where it was interrupted only; a copy would go into it.
    ensure!(
        !unfinished.join("proc/self").exists(),
        "{} has /proc mounted: unmount it, remove the folder and try again",
        unfinished.display()
    );
    fs::rename(&unfinished, &base)?;
    Ok(Ok(base))
}

/// A copy of the root, with packages and scripts in `/srv/test`.
pub fn copy(base: &Path, debs: &[PathBuf], name: &str) -> Result<PathBuf> {
    let folder = base.parent().context("a folder")?;
    let copy = folder.join(name);
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    shown(
        Command::new("cp")
            .args(["--archive", "--reflink=auto"])
            .arg(base)
            .arg(&copy),
    )?;
    let inside = copy.join("srv/test");
    fs::create_dir_all(&inside)?;
    for deb in debs {
        fs::copy(deb, inside.join(deb.file_name().context("a name")?))?;
    }
    for entry in fs::read_dir(root().join("packaging/test"))? {
        let path = entry?.path();
        fs::copy(&path, inside.join(path.file_name().context("a name")?))?;
    }
    Ok(copy)
}

/// A command in a root, which has /proc while it runs.
pub fn within(root: &Path, program: &str) -> Command {
    const ENTER: &str = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", ENTER])
        .arg(root)
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Runs the script in a copy of the root.
pub fn run(base: &Path, debs: &[PathBuf]) -> Result<Outcome> {
    step("packages in a fresh Debian root");
    let copy = copy(base, debs, "installation")?;
    let output = within(&copy, "/bin/sh")
        .arg("/srv/test/installation.sh")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = judge(&text);
    if matches!(outcome, Outcome::Failed(_)) {
        eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    } else {
        fs::remove_dir_all(&copy)?;
    }
    Ok(outcome)
}
