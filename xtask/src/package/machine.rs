//! A machine of its own, in software, since a machine that is itself a guest often lends its processor by halves:
//! Debian's kernel and systemd, the packages, a script that is run once and switches it off.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    installation::{copy, within},
    report::{Outcome, judge},
};
use crate::{
    run::{shown, step},
    setup,
};

const QEMU: &str = "qemu-system-x86_64";
/// Exit status of timeout(1) when time was up.
const TIME_IS_UP: i32 = 124;
/// What the file system has beyond what is put into it: the collector's example keeps 1 GiB free.
const FREE_MIB: u64 = 4096;

/// Boots a machine that runs a script of `packaging/test`, for so many seconds at most.
pub fn run(base: &Path, debs: &[PathBuf], script: &str, seconds: u64) -> Result<Outcome> {
    if !setup::on_path(QEMU)
        && let Err(error) = setup::apt_install(&["qemu-system-x86"])
    {
        return Ok(Outcome::Skipped(format!("no {QEMU}: {error:#}")));
    }
    step(&format!("a machine with Debian's kernel, for {script}"));
    let name = script.trim_end_matches(".sh");
    let root = copy(base, debs, name)?;
    install(&root, script)?;
    let folder = base.parent().context("a folder")?;
    let image = folder.join(format!("{name}.ext4"));
    let kernel = boot_file(&root, "vmlinuz-")?;
    let initrd = boot_file(&root, "initrd.img-")?;
    pack(&root, &image)?;
    let console = folder.join(format!("{name}.console"));
    let status = Command::new("timeout")
        .args(["--kill-after=10", &seconds.to_string(), QEMU])
        .args(["-machine", "q35,accel=tcg", "-cpu", "max"])
        .args(["-smp", "2", "-m", "2048", "-nic", "none", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=virtio,cache=unsafe",
            image.display()
        ))
        .arg("-kernel")
        .arg(&kernel)
        .arg("-initrd")
        .arg(&initrd)
        .args([
            "-append",
            "root=/dev/vda rw console=ttyS0 panic=-1 quiet systemd.show_status=0 systemd.mask=serial-getty@ttyS0.service",
        ])
        .stdin(Stdio::null())
        .status()?;
    let text = fs::read(&console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut outcome = judge(&text);
    if status.code() == Some(TIME_IS_UP)
        && let Outcome::Failed(failures) = &mut outcome
    {
        failures.push(format!("the machine was ended after {seconds} s"));
    }
    if let Outcome::Failed(failures) = &mut outcome {
        failures.push(format!("its console is in {}", console.display()));
    } else {
        fs::remove_file(&image)?;
    }
    fs::remove_dir_all(&root)?;
    Ok(outcome)
}

/// Installs Weir's own package, and a unit that runs the script.
fn install(root: &Path, script: &str) -> Result<()> {
    let deb = fs::read_dir(root.join("srv/test"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("weir_"))
        .context("the package weir")?;
    shown(
        within(root, "dpkg")
            .args(["--install", &format!("/srv/test/{deb}")])
            .stdout(Stdio::null()),
    )?;
    let unit = format!(
        "[Unit]\nAfter=basic.target\n\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\n\
         ExecStart=/bin/sh -c 'sh /srv/test/{script} >/dev/ttyS0 2>&1; sync; systemctl poweroff --force'\n"
    );
    let units = root.join("etc/systemd/system");
    fs::write(units.join("weir-test.service"), unit)?;
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("../weir-test.service", wants.join("weir-test.service"))?;
    // In software the verifier takes its time.
    for unit in ["weir-sensor@", "softflowd@"] {
        let patience = units.join(format!("{unit}.service.d"));
        fs::create_dir_all(&patience)?;
        fs::write(
            patience.join("patience.conf"),
            "[Service]\nTimeoutStartSec=10min\nWatchdogSec=10min\n",
        )?;
    }
    fs::write(root.join("etc/fstab"), "/dev/vda / ext4 defaults 0 1\n")?;
    Ok(())
}

/// The one file in `/boot` whose name begins so.
fn boot_file(root: &Path, beginning: &str) -> Result<PathBuf> {
    let boot = root.join("boot");
    let found = fs::read_dir(&boot)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(beginning))
        });
    found.with_context(|| format!("no {beginning} in {}", boot.display()))
}

/// Makes a file system of a folder.
fn pack(root: &Path, image: &Path) -> Result<()> {
    let used = Command::new("du")
        .args(["--summarize", "--block-size=1M"])
        .arg(root)
        .output()?;
    let used = String::from_utf8_lossy(&used.stdout);
    let used_mib: u64 = used
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("the size of the root")?;
    let _ = fs::remove_file(image);
    let status = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-d"])
        .arg(root)
        .arg(image)
        .arg(format!("{}M", used_mib + FREE_MIB))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .status()?;
    ensure!(status.success(), "mkfs.ext4 made no {}", image.display());
    Ok(())
}
