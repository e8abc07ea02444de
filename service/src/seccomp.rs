//! System calls are given up, but for a list: a filter that all threads have, and that those started later
//! inherit, for good (seccomp(2), Linux 4.14).
//!
//! A call that is not on the list fails with EPERM, and the kernel's log says which (`dmesg`, or `journalctl -k`,
//! "type=1326 … syscall=NUMBER"). It does not kill: the list cannot know each C library to come, and a daemon that
//! goes on with one thing refused is worth more than one that dies at night, while code that was smuggled in gets
//! as little from EPERM.
#![expect(unsafe_code, reason = "a system call")]

use std::io;

/// The number of a system call.
pub type Call = libc::c_long;

/// What may still be called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed<'a> {
    /// Lists of calls, whatever their arguments.
    pub calls: &'a [&'a [Call]],
    /// Commands of bpf(2) (linux/bpf.h, `enum bpf_cmd`).
    pub bpf_commands: &'a [u32],
}

/// What Rust's and the C library's (glibc, musl) own work takes: memory, threads, time, signals, waiting; and
/// capabilities, to give up more of them.
pub const RUNTIME: &[Call] = &[
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_mseal,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_uname,
];

/// Files: found, read, written, put in place and removed.
pub const FILES: &[Call] = &[
    libc::SYS_chdir,
    libc::SYS_copy_file_range,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync_file_range,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Sockets, of the kinds that a process has the right to.
pub const SOCKETS: &[Call] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_socketpair,
];

/// The same as above by the names it had before, which C libraries still use where there are any.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Call] = &[
    libc::SYS_accept,
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Call] = &[];

/// Gives up all other system calls, for all threads of the process.
///
/// # Errors
/// Why it cannot, as the end of a sentence; then nothing has changed.
pub fn restrict(allowed: Allowed<'_>) -> Result<(), String> {
    install(allowed, libc::SECCOMP_FILTER_FLAG_TSYNC)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn install(allowed: Allowed<'_>, flags: libc::c_ulong) -> Result<(), String> {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    let program = program::of(allowed).map_err(|error| error.to_string())?;
    // SAFETY: the call takes no pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ON, UNUSED, UNUSED, UNUSED) };
    if result < 0 {
        return Err(io::Error::last_os_error().to_string());
    }
    let filter = libc::sock_fprog {
        len: libc::c_ushort::try_from(program.len()).map_err(|_| "the filter is too long")?,
        // The kernel only reads it, and both structures are its `struct sock_filter`.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: it points to the program and its length; the kernel has copied it when the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags | libc::SECCOMP_FILTER_FLAG_LOG,
            &raw const filter,
        )
    };
    match result {
        0 => Ok(()),
        thread if thread > 0 => Err(format!("thread {thread} has another filter")),
        _ => Err(io::Error::last_os_error().to_string()),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn install(_: Allowed<'_>, _: libc::c_ulong) -> Result<(), String> {
    Err("there is no list for this machine's architecture".to_owned())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod program {
    //! The filter as the kernel takes it.

    use std::collections::BTreeMap;

    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, TargetArch,
    };

    use super::{Allowed, Call, OLDER};

    #[cfg(target_arch = "x86_64")]
    const ARCH: TargetArch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    const ARCH: TargetArch = TargetArch::aarch64;

    /// Requests of ioctl(2) that write to a terminal as if its user had.
    const TYPING: [u32; 2] = [0x5412, 0x541c];

    /// EPERM for what is not allowed. Of another architecture's calls, the first kills.
    pub fn of(allowed: Allowed<'_>) -> Result<BpfProgram, BackendError> {
        let mut rules: BTreeMap<Call, Vec<SeccompRule>> = BTreeMap::new();
        for call in allowed.calls.iter().copied().chain([OLDER]).flatten() {
            rules.insert(*call, Vec::new());
        }
        let no_typing = TYPING.map(|request| condition(1, SeccompCmpOp::Ne, request));
        let no_typing = no_typing.into_iter().collect::<Result<Vec<_>, _>>()?;
        rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(no_typing)?]);
        if !allowed.bpf_commands.is_empty() {
            let commands = allowed.bpf_commands.iter().map(|command| {
                let is_it = condition(0, SeccompCmpOp::Eq, *command)?;
                SeccompRule::new(vec![is_it])
            });
            rules.insert(libc::SYS_bpf, commands.collect::<Result<_, _>>()?);
        }
        let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        SeccompFilter::new(rules, refused, SeccompAction::Allow, ARCH)?.try_into()
    }

    fn condition(
        argument: u8,
        operator: SeccompCmpOp,
        value: u32,
    ) -> Result<SeccompCondition, BackendError> {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())
    }
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tests {
    use std::{fs, thread};

    use super::*;

    const ALLOWED: Allowed<'_> = Allowed {
        calls: &[RUNTIME, FILES, SOCKETS],
        bpf_commands: &[1],
    };

    /// A call by its number, with two arguments; the error's number, 0 for none.
    fn call(number: Call, first: u64, second: u64) -> i32 {
        // SAFETY: those used here take no pointers, or are refused or given none.
        let result = unsafe { libc::syscall(number, first, second, 0u64) };
        match result {
            0.. => 0,
            _ => io::Error::last_os_error().raw_os_error().unwrap(),
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_and_the_rest_works() {
        const MAP_CREATE: u64 = 0;
        const MAP_LOOKUP: u64 = 1;
        // This thread and what it starts, not the other tests.
        let thread = thread::spawn(|| {
            install(ALLOWED, 0).unwrap();
            assert_eq!(call(libc::SYS_getppid, 0, 0), libc::EPERM);
            assert_eq!(call(libc::SYS_getpid, 0, 0), 0);
            // A command that is refused, and one that the kernel refuses for another reason.
            assert_eq!(call(libc::SYS_bpf, MAP_CREATE, 0), libc::EPERM);
            let error = call(libc::SYS_bpf, MAP_LOOKUP, 0);
            assert!(error != 0, "an empty order");
            assert_eq!(call(libc::SYS_ioctl, u64::MAX, 0x5412), libc::EPERM);
            assert_eq!(call(libc::SYS_ioctl, u64::MAX, 0x5413), libc::EBADF);
            let folder = tempfile::tempdir().unwrap();
            let (one, two) = (folder.path().join("one"), folder.path().join("two"));
            fs::write(&one, "text").unwrap();
            fs::rename(&one, &two).unwrap();
            assert_eq!(fs::read_to_string(&two).unwrap(), "text");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
            let inherits = thread::spawn(|| call(libc::SYS_getppid, 0, 0));
            assert_eq!(inherits.join().unwrap(), libc::EPERM);
            std::process::Command::new("true").status().unwrap_err();
        });
        thread.join().unwrap();
        assert_eq!(call(libc::SYS_getppid, 0, 0), 0);
    }
}
