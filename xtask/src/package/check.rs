//! What can be known of packages without installing them: that they are made the same each time, that paths,
//! modes and owners are what a Debian system expects, that units run what is there, and how much the units
//! leave exposed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{shown, succeeds};

/// Folders that packages put files in.
const FOLDERS: [&str; 14] = [
    "etc/softflowd/",
    "etc/weir/",
    "lib/systemd/system-generators/",
    "lib/systemd/system/",
    "usr/bin/",
    "usr/lib/sysusers.d/",
    "usr/lib/tmpfiles.d/",
    "usr/lib/weir/",
    "usr/sbin/",
    "usr/share/bash-completion/completions/",
    "usr/share/doc/",
    "usr/share/fish/vendor_completions.d/",
    "usr/share/man/",
    "usr/share/zsh/vendor-completions/",
];
/// Those of them whose files are run.
const PROGRAMS: [&str; 4] = [
    "lib/systemd/system-generators/",
    "usr/bin/",
    "usr/lib/weir/",
    "usr/sbin/",
];
/// What must be there, of both packages.
const NEEDED: [&str; 22] = [
    "etc/weir/collector.toml",
    "etc/weir/sensor.toml",
    "lib/systemd/system-generators/softflowd-generator",
    "lib/systemd/system/softflowd.service",
    "lib/systemd/system/softflowd@.service",
    "lib/systemd/system/weir-collector.service",
    "lib/systemd/system/weir-sensor-pins@.service",
    "lib/systemd/system/weir-sensor@.service",
    "usr/bin/weir",
    "usr/sbin/softflowctl",
    "usr/sbin/softflowd",
    "usr/sbin/weir-collector",
    "usr/sbin/weir-ctl",
    "usr/sbin/weir-sensor",
    "usr/share/doc/weir-softflowd/copyright",
    "usr/share/doc/weir/README.md",
    "usr/share/doc/weir/copyright",
    "usr/share/doc/weir/docs/sensor.md",
    "usr/share/man/man1/weir-top.1.gz",
    "usr/share/man/man1/weir.1.gz",
    "usr/share/man/man8/softflowd.8.gz",
    "usr/share/man/man8/weir-sensor.8.gz",
];
/// Units, and ten times the exposure that systemd-analyze may find at most.
const EXPOSURES: [(&str, u32); 3] = [
    ("weir-sensor@.service", 40),
    ("softflowd@.service", 40),
    ("weir-collector.service", 20),
];

/// Fails if two packages differ.
pub fn same(one: &Path, other: &Path) -> Result<()> {
    let (one_octets, other_octets) = (fs::read(one)?, fs::read(other)?);
    ensure!(
        one_octets == other_octets,
        "{} came out otherwise when it was made again: what depends on the time or on the order of files?",
        one.display()
    );
    Ok(())
}

/// Looks at packages, which are unpacked into one folder.
pub fn packages(debs: &[PathBuf], unpacked: &Path) -> Result<()> {
    let mut mistakes = Vec::new();
    let mut present = BTreeSet::new();
    for deb in debs {
        shown(
            Command::new("dpkg-deb")
                .arg("--info")
                .arg(deb)
                .stdout(std::process::Stdio::null()),
        )?;
        let contents = Command::new("dpkg-deb")
            .arg("--contents")
            .arg(deb)
            .output()?;
        for line in String::from_utf8(contents.stdout)?.lines() {
            match Listed::read(line) {
                None => mistakes.push(format!("{line}: is not understood")),
                Some(listed) => {
                    mistakes.extend(listed.mistake());
                    present.insert(listed.path.to_owned());
                }
            }
        }
        shown(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(deb)
                .arg(unpacked),
        )?;
        let controls = unpacked.join("control");
        fs::create_dir_all(&controls)?;
        let control = controls.join(deb.file_name().context("a name")?);
        shown(
            Command::new("dpkg-deb")
                .arg("--control")
                .arg(deb)
                .arg(&control),
        )?;
        mistakes.extend(scripts_and_lists(&control, unpacked)?);
    }
    let missing = NEEDED.iter().filter(|path| !present.contains(**path));
    mistakes.extend(missing.map(|path| format!("{path}: is missing")));
    mistakes.extend(units(unpacked)?);
    ensure!(mistakes.is_empty(), "packages:\n{}", mistakes.join("\n"));
    Ok(())
}

/// A line of `dpkg-deb --contents`, as of `ls -l`.
struct Listed<'a> {
    mode: &'a str,
    owner: &'a str,
    /// Without `./` and a folder's last slash.
    path: &'a str,
    /// What a link is to.
    target: Option<&'a str>,
}

impl<'a> Listed<'a> {
    /// `-rw-r--r-- root/root 812 2026-11-21 15:48 ./etc/weir/sensor.toml`
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (mode, owner) = (words.next()?, words.next()?);
        let (_, path) = line.split_once(" ./")?;
        let (path, target) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Some(target)),
            None => (path, None),
        };
        Some(Self {
            mode,
            owner,
            path: path.trim_end_matches('/'),
            target,
        })
    }

    /// What is wrong with it.
    fn mistake(&self) -> Option<String> {
        let Self {
            mode,
            owner,
            path,
            target,
        } = self;
        let of = |why: &str| Some(format!("{path}: {why}"));
        if *owner != "root/root" {
            return of("is not root's");
        }
        match *mode {
            // Of a folder nothing else matters: it is on the way to a file, or in the list of folders.
            "drwxr-xr-x" => return None,
            "-rw-r--r--" | "-rwxr-xr-x" | "lrwxrwxrwx" => {}
            _ => return of(&format!("has mode {mode}")),
        }
        if !FOLDERS.iter().any(|folder| path.starts_with(folder)) {
            return of("is in a folder where packages have nothing");
        }
        let is_program = PROGRAMS.iter().any(|folder| path.starts_with(folder));
        if target.is_none() && is_program != (*mode == "-rwxr-xr-x") {
            return of(&format!("has mode {mode}"));
        }
        if path.starts_with("usr/share/man/") && Path::new(path).extension() != Some("gz".as_ref())
        {
            return of("is a man page that is not compressed");
        }
        None
    }
}

/// Maintainer scripts that a shell can read, configuration files that exist.
fn scripts_and_lists(control: &Path, unpacked: &Path) -> Result<Vec<String>> {
    let mut mistakes = Vec::new();
    for entry in fs::read_dir(control)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let name = path.display();
        if text.starts_with("#!") {
            if !text.starts_with("#!/bin/sh\n") || !text.contains("\nset -e\n") {
                mistakes.push(format!("{name}: does not begin with #!/bin/sh and set -e"));
            }
            if !Command::new("sh").arg("-n").arg(&path).status()?.success() {
                mistakes.push(format!("{name}: is no shell script"));
            }
        }
        if path.ends_with("conffiles") {
            for line in text.lines() {
                if !unpacked.join(line.trim_start_matches('/')).is_file() {
                    mistakes.push(format!("{name}: {line} is not in the package"));
                }
            }
        }
    }
    Ok(mistakes)
}

/// Units that systemd understands, whose programs are there, and which leave little exposed.
fn units(unpacked: &Path) -> Result<Vec<String>> {
    let mut mistakes = Vec::new();
    let folder = unpacked.join("lib/systemd/system");
    let rewritten = unpacked.join("units");
    fs::create_dir_all(&rewritten)?;
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        for program in programs(&text) {
            let within = unpacked.join(program.trim_start_matches('/'));
            if program.starts_with("/usr/") && !within.exists() {
                mistakes.push(format!("{}: {program} is not there", path.display()));
            }
        }
        // systemd-analyze wants to find the programs, which are not installed here.
        let prefix = unpacked.to_str().context("a path in UTF-8")?;
        let text = text.replace("=/usr/", &format!("={prefix}/usr/"));
        let text = text.replace("=+/usr/", &format!("=+{prefix}/usr/"));
        let copy = rewritten.join(path.file_name().context("a name")?);
        fs::write(&copy, text)?;
        paths.push(copy);
    }
    ensure!(paths.len() == 5, "{} units, not 5", paths.len());
    if !succeeds("systemd-analyze", &["--version"]) {
        eprintln!("skipped: there is no systemd-analyze: units are not verified");
        return Ok(mistakes);
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&paths)
        .output()?;
    if !output.status.success() || !output.stderr.is_empty() {
        mistakes.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    for (unit, most) in EXPOSURES {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(rewritten.join(unit))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(last) = text
            .lines()
            .rev()
            .find(|line| line.contains("exposure level"))
        else {
            bail!("systemd-analyze security said nothing of {unit}");
        };
        eprintln!("{last}");
        if !output.status.success() {
            mistakes.push(format!(
                "{unit}: is exposed more than {most} tenths: {last}"
            ));
        }
    }
    Ok(mistakes)
}

/// What a unit runs.
fn programs(unit: &str) -> impl Iterator<Item = &str> {
    unit.lines()
        .filter(|line| line.starts_with("Exec"))
        .filter_map(|line| line.split_once('='))
        .filter_map(|(_, command)| command.split_whitespace().next())
        .map(|program| program.trim_start_matches('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: &str) -> Option<String> {
        Listed::read(line).unwrap().mistake()
    }

    #[test]
    fn what_lies_where_it_belongs_is_no_mistake() {
        for line in [
            "drwxr-xr-x root/root 0 2026-11-21 15:48 ./usr/sbin/",
            "-rwxr-xr-x root/root 812 2026-11-21 15:48 ./usr/sbin/weir-sensor",
            "lrwxrwxrwx root/root 0 2026-11-21 15:48 ./usr/sbin/softflowd -> weir-sensor",
            "-rw-r--r-- root/root 8 2026-11-21 15:48 ./usr/share/man/man8/weir-ctl.8.gz",
        ] {
            assert_eq!(mistake(line), None);
        }
    }

    #[test]
    fn owners_modes_and_folders_are_looked_at() {
        for line in [
            "-rw-r--r-- me/me 8 2026-11-21 15:48 ./etc/weir/sensor.toml",
            "-rw-rw-r-- root/root 8 2026-11-21 15:48 ./etc/weir/sensor.toml",
            "-rw-r--r-- root/root 8 2026-11-21 15:48 ./usr/sbin/weir-ctl",
            "-rwsr-xr-x root/root 8 2026-11-21 15:48 ./usr/sbin/weir-ctl",
            "-rw-r--r-- root/root 8 2026-11-21 15:48 ./usr/local/etc/weir",
            "-rw-r--r-- root/root 8 2026-11-21 15:48 ./usr/share/man/man8/weir-ctl.8",
        ] {
            assert!(mistake(line).is_some(), "{line}");
        }
    }

    #[test]
    fn a_units_programs_are_found() {
        let unit =
            "[Service]\nExecStart=/usr/sbin/a -x\nExecStopPost=+/usr/lib/b c\n# ExecStart=/no\n";
        assert_eq!(
            programs(unit).collect::<Vec<_>>(),
            ["/usr/sbin/a", "/usr/lib/b"]
        );
    }
}
