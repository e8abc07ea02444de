//! What is known of signals before they come.
#![expect(unsafe_code, reason = "a signal is asked about: a system call")]

use std::{ffi::c_int, mem, ptr};

/// Whether whoever started the process wants it to outlive a signal, as nohup(1) does.
#[must_use]
pub fn is_ignored(signal: c_int) -> bool {
    // SAFETY: all zeros are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: nothing is set, and what there is is written to a value that outlives the call.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}
