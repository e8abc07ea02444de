//! Pinned links, taken off at once. When a link's file is removed the kernel lets go of the program
//! later, from a work queue, and packets reach it until then.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

/// Commands of bpf(2) (linux/bpf.h): `BPF_OBJ_GET`, and `BPF_LINK_DETACH` (Linux 5.9).
const OBJ_GET: libc::c_int = 7;
const LINK_DETACH: libc::c_int = 34;

/// What `BPF_OBJ_GET` reads of `union bpf_attr`.
#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// What `BPF_LINK_DETACH` reads of it.
#[repr(C)]
struct Link {
    descriptor: u32,
}

/// Takes the program of a pinned link off its hook: when this returns no packet reaches it any more, but
/// for those it has begun with. The file stays.
///
/// # Errors
/// What the kernel says: there is no such file, or it is no link.
pub fn detach(path: &Path) -> io::Result<()> {
    let link = open(&CString::new(path.as_os_str().as_bytes())?)?;
    let attributes = Link {
        descriptor: link.as_raw_fd().cast_unsigned(),
    };
    bpf(LINK_DETACH, &attributes).map(drop)
}

fn open(path: &CStr) -> io::Result<OwnedFd> {
    let attributes = Pin {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    let descriptor = bpf(OBJ_GET, &attributes)?;
    let descriptor = libc::c_int::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: a fresh descriptor of our own.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    let attributes: *const T = ptr::from_ref(attributes);
    // SAFETY: the attributes have the size given, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
