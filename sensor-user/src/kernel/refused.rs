//! Why the kernel took no program, as sentences that say what to do.

use std::io;

use anyhow::anyhow;
use aya::programs::ProgramError;

/// Why the object was not loaded, and what to do.
pub fn load_error(error: aya::EbpfError) -> anyhow::Error {
    match root(&error).raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => no_permission(),
        Some(libc::ENOMEM) => anyhow!("not enough memory for the flow table: lower -m"),
        _ => anyhow::Error::new(error)
            .context("loading the kernel program (Linux 5.18 or newer is needed)"),
    }
}

/// Why the kernel refuses a program.
pub fn program_error(error: ProgramError) -> anyhow::Error {
    match root(&error).raw_os_error() {
        Some(libc::EPERM) => no_permission(),
        _ => anyhow::Error::new(error)
            .context("the kernel refuses the program (Linux 5.18 or newer is needed)"),
    }
}

fn no_permission() -> anyhow::Error {
    anyhow!(
        "no permission to load the kernel program: run as root, or with CAP_BPF and CAP_NET_ADMIN"
    )
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
