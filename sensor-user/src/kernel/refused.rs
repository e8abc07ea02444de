//! Why the kernel took no program, as sentences that say what to do.

use std::{fs, io};

use anyhow::anyhow;
use aya::programs::ProgramError;

use crate::prefilter::load::last_words;

/// The oldest kernel that takes the programs: XDP with several buffers.
const OLDEST: (u32, u32) = (5, 18);
/// What is said of one whose name is not known.
const PROGRAM: &str = "the kernel program";

/// Why the object was not loaded, and what to do.
pub fn load_error(error: aya::EbpfError) -> anyhow::Error {
    let system = root(&error);
    match system.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => no_permission(),
        Some(libc::ENOMEM) => anyhow!("not enough memory for the flow table: lower -m"),
        Some(_) => anyhow!(unfit(&release(), PROGRAM, &system.to_string())),
        None => anyhow!(unfit(
            &release(),
            PROGRAM,
            &format!("{:#}", anyhow::Error::new(error))
        )),
    }
}

/// Why the kernel refuses a program, which is named if that is known.
#[must_use]
pub fn program_error(error: &ProgramError, name: Option<&str>) -> anyhow::Error {
    let program = name.map_or_else(|| PROGRAM.to_owned(), |name| format!("{PROGRAM} {name}"));
    let log = match error {
        ProgramError::LoadError { verifier_log, .. } => verifier_log.to_string(),
        _ => String::new(),
    };
    refusal(&root(error), &log, &program)
}

/// Of the verifier's log, which may have megabytes, the reason is told. Its EACCES is no lack of permission.
fn refusal(error: &io::Error, log: &str, program: &str) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => no_permission(),
        Some(libc::ENOMEM) => anyhow!("not enough memory for the kernel program"),
        _ => {
            let reason = last_words(log).unwrap_or_else(|| error.to_string());
            anyhow!(unfit(&release(), program, &reason))
        }
    }
}

fn no_permission() -> anyhow::Error {
    anyhow!(
        "no permission to load the kernel program: run as root, or with CAP_BPF and CAP_NET_ADMIN"
    )
}

/// What uname(2) says of the kernel; empty if nothing does.
fn release() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// What follows from a refusal for this reason: an older kernel is the reason, of another one we want to know.
fn unfit(release: &str, program: &str, reason: &str) -> String {
    let (major, minor) = OLDEST;
    match version(release) {
        Some(version) if version >= OLDEST => format!(
            "Linux {release} refuses {program} ({reason}), which it should not: please report this line, and what \
             `weir-sensor --version` says"
        ),
        _ => format!(
            "this kernel (Linux {release}) does not take {program} ({reason}): boot Linux {major}.{minor} or newer"
        ),
    }
}

/// The first two numbers of a release such as 6.1.0-18-amd64.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The operating system's error behind an error, if there is one.
pub fn root(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<io::Error>() {
            return found.raw_os_error().map_or_else(
                || io::Error::other(found.to_string()),
                io::Error::from_raw_os_error,
            );
        }
        next = current.source();
    }
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_the_reason_and_of_a_new_one_we_want_to_know() {
        for (release, is_old) in [
            ("5.15.0-91-generic", true),
            ("5.9", true),
            ("4.19.0-26-amd64", true),
            ("", true),
            ("5.18.0", false),
            ("6.1.0-18-amd64", false),
            ("10.0", false),
        ] {
            let says = unfit(release, PROGRAM, "R0 !read_ok");
            assert_eq!(says.contains("5.18 or newer"), is_old, "{says}");
            assert_eq!(says.contains("please report"), !is_old, "{says}");
            assert!(says.contains("R0 !read_ok"), "{says}");
        }
    }

    #[test]
    fn of_the_verifiers_log_the_reason_is_told() {
        let log = "0: (95) exit\nR0 !read_ok\nprocessed 1 insns\n";
        let refused = |number| {
            let error = io::Error::from_raw_os_error(number);
            refusal(&error, log, "the kernel program weir_egress").to_string()
        };
        let says = refused(libc::EACCES);
        assert!(says.contains("weir_egress (R0 !read_ok)"), "{says}");
        assert!(!says.contains("exit"), "{says}");
        assert!(refused(libc::EPERM).contains("run as root"));
    }
}
