//! The grace period of the hand-over (see `weir_sensor_common::handover`). One of the files that
//! may use `unsafe`.
#![expect(unsafe_code, reason = "a system call")]

use std::io;

/// `membarrier(2)`, `MEMBARRIER_CMD_QUERY` and `MEMBARRIER_CMD_GLOBAL` (kernel 4.3).
const QUERY: libc::c_int = 0;
const GLOBAL: libc::c_int = 1;

/// Waits until every run of a BPF program that had begun has ended: the kernel answers with
/// `synchronize_rcu`, and XDP and tc programs run inside an RCU read section. On one CPU it returns
/// at once, which is right: while we run, no program does.
///
/// # Errors
/// What the kernel says; see [`available`].
pub fn wait() -> io::Result<()> {
    membarrier(GLOBAL).map(drop)
}

/// Whether the kernel offers it; one with `nohz_full=` CPUs does not.
///
/// # Errors
/// What the kernel says.
pub fn available() -> io::Result<bool> {
    Ok(membarrier(QUERY)? & libc::c_long::from(GLOBAL) != 0)
}

fn membarrier(command: libc::c_int) -> io::Result<libc::c_long> {
    // SAFETY: the call takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
