//! The words beside receiving: `expire`, `verify`, `repair`, `recompact`; `import`, `replay` and `anonymise` have
//! files of their own. What they did goes to standard output, a line a file.

use std::{
    fs,
    path::{Component, Path},
    process::ExitCode,
};

use anyhow::{Result, bail};
use weir_store::{
    expire::{self, Limits, Reason},
    form::{Compression, Form, Place},
    layout::{self, Directory, Rearranging},
    read::{self, Ended, Files},
    recompact::{self, Recompacted},
    recover::{Recovered, recover},
    repair::{self, Repaired},
    verify,
};

use crate::{anonymise, clock, import, options::Command, replay, units::display_octets};

/// Does what the command line says.
///
/// # Errors
/// If it cannot be done.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Expire {
            directory,
            keep,
            dry_run,
        } => expire(directory, &keep.limits(), *dry_run),
        Command::Verify { directory } => verify(directory),
        Command::Repair { directory } => repair(directory),
        Command::Recompact {
            directory,
            compression,
            older_than,
            dry_run,
        } => recompact(directory, *compression, *older_than, *dry_run),
        Command::Import(options) => import::run(options),
        Command::Replay(options) => replay::run(options),
        Command::Anonymise(options) => anonymise::run(options),
    }
}

fn now_s() -> u64 {
    clock::unix_ns() / 1_000_000_000
}

fn expire(root: &Path, limits: &Limits, is_dry: bool) -> Result<ExitCode> {
    if !limits.is_any() {
        bail!("say what is to be kept: --max-age, --max-size or --min-free");
    }
    let links = tell_links(root, &read::list(root)?)?;
    let expired = expire::expire(root, limits, now_s(), is_dry)?;
    let mut octets = 0;
    for (file, reason) in &expired.files {
        octets += file.octets;
        let reason = match reason {
            Reason::Age => "too old",
            Reason::Size => "all files are too large together",
            Reason::Space => "too little space is left",
        };
        println!("{}: {reason}", file.path.display());
    }
    let did = if is_dry { "would expire" } else { "expired" };
    println!(
        "{} files {did}, {}",
        expired.files.len(),
        display_octets(octets)
    );
    for error in &expired.failed {
        eprintln!("weir-collector: {error}");
    }
    if let Some(octets) = expired.aside_octets {
        let says = expire::aside_says(root, &display_octets(octets));
        eprintln!("weir-collector: {says}");
    }
    let is_all = expired.failed.is_empty() && expired.aside_octets.is_none();
    Ok(success_if(is_all && links == 0))
}

/// Names links to files that lie elsewhere, which are passed over; how many there are.
pub(crate) fn tell_links(root: &Path, files: &Files) -> Result<usize> {
    let roots = [fs::canonicalize(root)?];
    let mut links = 0;
    for link in files.links_elsewhere(&roots) {
        links += 1;
        eprintln!(
            "weir-collector: {} is a symbolic link, which is not followed: name where it leads in a run of its own",
            link.display()
        );
    }
    Ok(links)
}

fn verify(root: &Path) -> Result<ExitCode> {
    let files = read::list(root)?;
    let links = tell_links(root, &files)?;
    let (mut flows, mut sound, mut damaged, mut unread) = (0, 0, 0, 0);
    for path in &files.closed {
        let verified = match verify::verify(path) {
            Ok(verified) => verified,
            // Expired or recompacted meanwhile.
            Err(_) if !path.exists() => continue,
            Err(error) => {
                unread += 1;
                println!("{error}");
                continue;
            }
        };
        flows += verified.flows;
        if verified.faults.is_empty() {
            sound += 1;
        } else {
            damaged += 1;
        }
        for fault in &verified.faults {
            println!("{}: {fault}", path.display());
        }
        if !verified.has_checksums && verified.faults.is_empty() {
            println!("{}: sound, but without checksums", path.display());
        }
    }
    for path in &files.open {
        let mut rows = 0;
        let ended = read::growing_window(path, |batch| {
            rows += batch.num_rows();
            Ok(())
        });
        let how = match ended {
            Ok(Ended::Whole) => "open".to_owned(),
            Ok(Ended::CutOff(reason)) => format!("open; {reason}"),
            Err(_) if !path.exists() => continue,
            Err(error) => {
                unread += 1;
                println!("{error}");
                continue;
            }
        };
        println!("{}: {rows} flows, {how}", path.display());
    }
    println!("{flows} flows in {sound} sound files, {damaged} damaged");
    if damaged > 0 {
        eprintln!(
            "weir-collector: stop the collector and run `weir-collector repair {}`: it saves what is sound and keeps the rest",
            root.display()
        );
    }
    if unread > 0 {
        eprintln!(
            "weir-collector: {unread} files could not be read, and nothing is known of them: look as the user whose they are, or at the disk"
        );
    }
    Ok(success_if(damaged + unread == 0 && links == 0))
}

fn repair(root: &Path) -> Result<ExitCode> {
    // The lock makes a directory that is not there; a slip of the hand should not.
    let files = read::list(root)?;
    let directory = Directory::lock(root)?;
    let rearranging = Rearranging::lock(root)?;
    let mut is_all = tell_links(root, &files)? == 0;
    for found in recover(&directory)? {
        match found {
            Recovered::Closed(window, rotated) => {
                println!("{}: {} flows closed", window.display(), rotated.flows);
            }
            Recovered::SetAside(path) => {
                println!("{}: a window that cannot be read", path.display());
            }
            Recovered::Failed(window, error) => {
                is_all = false;
                println!("{}: stays open: {error}", window.display());
            }
        }
    }
    recompact::clear(root, &rearranging)?;
    for path in repair::clear(&directory)? {
        println!("{}: half a file, removed", path.display());
    }
    for path in read::list(root)?.closed {
        let shown = path.display();
        if !is_a_collectors(root, &path) {
            println!("{shown}: left alone: it is not what a collector with this directory writes");
            continue;
        }
        let repaired = match repair::repair(&directory, &path) {
            Ok(repaired) => repaired,
            // It is as it was, and no reason to leave the others.
            Err(error) => {
                is_all = false;
                println!("{shown}: stays as it is: {error}");
                continue;
            }
        };
        match repaired {
            Repaired::Sound => {}
            Repaired::OtherVersion(version) => println!("{shown}: left alone: {version}"),
            Repaired::Saved {
                flows,
                aside,
                faults,
            } => {
                for fault in faults {
                    println!("{shown}: {fault}");
                }
                let aside = aside.display();
                println!("{shown}: {flows} flows saved; the damaged file is kept as {aside}");
            }
            Repaired::SetAside { aside, faults } => {
                for fault in faults {
                    println!("{shown}: {fault}");
                }
                println!("{shown}: nothing can be read; kept as {}", aside.display());
            }
        }
    }
    Ok(success_if(is_all))
}

/// Whether it has a closed file's name and lies in folders of dates and hours, be they not its own. Others' files have other
/// names, and those of a collector whose directory is below this one, which may be running, lie below another folder.
fn is_a_collectors(root: &Path, path: &Path) -> bool {
    let folders = path
        .parent()
        .and_then(|folder| folder.strip_prefix(root).ok());
    let of_times = |folder: Component<'_>| {
        let name = folder.as_os_str().to_string_lossy();
        name.starts_with("date=") || name.starts_with("hour=")
    };
    layout::window_start_s(path).is_some()
        && folders.is_some_and(|folders| folders.components().all(of_times))
}

fn recompact(
    root: &Path,
    compression: Compression,
    older_than_s: u64,
    is_dry: bool,
) -> Result<ExitCode> {
    let before_s = i64::try_from(now_s().saturating_sub(older_than_s))?;
    let mut is_all = tell_links(root, &read::list(root)?)? == 0;
    let form = Form {
        compression,
        ..Form::default()
    };
    recompact::recompact(Place { root, form }, before_s, is_dry, |hour| match hour {
        Recompacted::Done {
            path,
            files,
            flows,
            octets_before,
            octets,
        } => println!(
            "{}: {flows} flows of {files} files, {} instead of {}",
            path.display(),
            display_octets(octets),
            display_octets(octets_before)
        ),
        Recompacted::Due { folder, files } => {
            println!("{}: {files} files would become one", folder.display());
        }
        // Nothing is amiss: it is the layout that was chosen.
        Recompacted::Flat { folder, files } => println!(
            "{}: {files} files without folders of hours or days stay as they are",
            folder.display()
        ),
        Recompacted::Left { folder, why } => {
            is_all = false;
            println!("{}: left as it is: {why}", folder.display());
        }
    })?;
    Ok(success_if(is_all))
}

fn success_if(is_success: bool) -> ExitCode {
    if is_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
