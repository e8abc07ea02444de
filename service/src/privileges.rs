//! Capabilities are given up, but for a few, and can never be had back. They belong to threads: each gives
//! up its own, and one that is started later has those of its parent.
#![expect(unsafe_code, reason = "system calls")]

use std::io;

/// Interfaces, traffic control (linux/capability.h, as the others).
pub const NET_ADMIN: u64 = 1 << 12;
/// Packet sockets.
pub const NET_RAW: u64 = 1 << 13;
/// Programs that the verifier does not guard against speculation (Linux 5.8).
pub const PERFMON: u64 = 1 << 38;
/// Programs and maps (Linux 5.8).
pub const BPF: u64 = 1 << 39;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up this thread's capabilities, but for these, and the ways to new ones.
///
/// # Errors
/// What the kernel says.
pub fn keep(capabilities: u64) -> io::Result<()> {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ON, UNUSED, UNUSED, UNUSED) }.into())?;
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut words = [Words::default(); 2];
    // SAFETY: version 3 has two words of each set.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
    let before = words;
    let [low, high] = [capabilities, capabilities >> 32].map(|kept| kept & u64::from(u32::MAX));
    for (words, kept) in words.iter_mut().zip([low, high]) {
        let kept = u32::try_from(kept).unwrap_or(0) & words.permitted;
        // The ambient set is empty when the inheritable one is.
        *words = Words {
            effective: kept,
            permitted: kept,
            inheritable: 0,
        };
    }
    // A service manager may have seen to it, and refuse the call.
    if words == before {
        return Ok(());
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capabilities of this thread that count, as the kernel tells them.
    fn effective() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    }

    #[test]
    fn nothing_is_left_but_what_is_kept() {
        let thread = std::thread::spawn(|| {
            let before = effective();
            keep(NET_ADMIN | BPF).unwrap();
            assert_eq!(effective(), before & (NET_ADMIN | BPF));
            keep(0).unwrap();
            assert_eq!(effective(), 0);
        });
        thread.join().unwrap();
    }
}
