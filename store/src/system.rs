//! What the standard library has no word for: free space, two folders that change places at once, a name that nobody
//! else has, a thread that lets others go first, and memory that is used again.
//! The one file here that may use `unsafe`.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    mem::MaybeUninit,
    os::fd::AsRawFd as _,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// Octets that others than root may still write to the file system of a folder.
///
/// # Errors
/// What the operating system says.
pub fn free_octets(folder: &Path) -> io::Result<u64> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let mut figures = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a terminated string and room for the structure, which both outlive the call.
    let result = unsafe { libc::statvfs(path.as_ptr(), figures.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, and so filled it.
    let figures = unsafe { figures.assume_init() };
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// What `renameat2` says where the kernel or the file system has not what it is asked for.
const NO_SUCH_WAY: [i32; 3] = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP];

/// Has two paths of one file system change places, in one step that nobody sees half of
/// (`renameat2`, Linux 3.15; not every file system can).
///
/// # Errors
/// What the operating system says; then nothing has changed.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rename_by(libc::RENAME_EXCHANGE, one, other)
}

/// Renames a file unless the other name is taken. Where the file system cannot do that in one step, it is looked first
/// whether the name is.
///
/// # Errors
/// What the operating system says, [`io::ErrorKind::AlreadyExists`] of a name that is taken.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_by(libc::RENAME_NOREPLACE, from, to) {
        Err(error) if is_no_such_way(&error) => rename_if_free(from, to),
        done => done,
    }
}

/// Whether an error says that the kernel or the file system cannot do this at all.
pub(crate) fn is_no_such_way(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| NO_SUCH_WAY.contains(&code))
}

fn rename_if_free(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

fn rename_by(how: libc::c_uint, one: &Path, other: &Path) -> io::Result<()> {
    let one = CString::new(one.as_os_str().as_bytes())?;
    let other = CString::new(other.as_os_str().as_bytes())?;
    // SAFETY: terminated strings that outlive the call.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            how,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Has the kernel read a part of a file ahead, all of it at once, while this thread goes on (posix_fadvise(2)). It is
/// advice: what it says about it changes nothing.
pub fn will_need(file: &File, start: u64, octets: u64) {
    let (Ok(start), Ok(octets)) = (start.try_into(), octets.try_into()) else {
        return;
    };
    // SAFETY: it takes no pointers, and the descriptor is open.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), start, octets, libc::POSIX_FADV_WILLNEED) };
}

/// Has this thread go on when others leave it time, and with one part in seventy of what they get if they leave
/// none (the nice value of 19, which Linux has for each thread).
///
/// # Errors
/// What the operating system says; then it is as important as it was.
pub fn let_others_first() -> io::Result<()> {
    const THIS_THREAD: libc::id_t = 0;
    // SAFETY: it takes no pointers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, 19) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Has glibc keep memory that was freed for what needs it next, 8 MiB for each thread at most. It would give the end of
/// a thread's memory back to the kernel as soon as 128 KiB of it are free, which is after each message of flows, and the
/// next message would have the kernel clear as many pages again. Other C libraries have no word for it.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        const KEPT_OCTETS: libc::c_int = 8 << 20;
        // SAFETY: it takes no pointers. What it refuses stays as it was.
        unsafe { libc::mallopt(threshold, KEPT_OCTETS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_stays_with_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for rename in [rename_new, rename_if_free] {
            fs::write(path("a"), "a").unwrap();
            fs::write(path("b"), "b").unwrap();
            let refused = rename(&path("a"), &path("b")).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(path("b")).unwrap(), b"b");
            fs::remove_file(path("b")).unwrap();
            rename(&path("a"), &path("b")).unwrap();
            assert_eq!(fs::read(path("b")).unwrap(), b"a");
            // Of a folder that is not there, as when it has expired.
            let refused = rename(&path("b"), &path("none/b")).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn folders_change_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join(name), "").unwrap();
        }
        exchange(&path("a"), &path("b")).unwrap();
        assert!(path("a/b").exists() && path("b/a").exists());
        exchange(&path("a"), &path("c")).unwrap_err();
        assert!(free_octets(folder.path()).unwrap() > 0);
        free_octets(&path("none")).unwrap_err();
    }
}
