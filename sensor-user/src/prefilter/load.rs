//! Hands programs that were made here to the kernel: `bpf(2)`, for which aya has no words where there
//! is no object file.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use super::{ebpf::Instruction, translate::Hook};

/// Numbers of `bpf(2)` (linux/bpf.h).
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
/// What XDP programs are attached as, and that they read packets in several buffers (kernel 5.18): in
/// both those of one map of steps have to be alike.
const ATTACH_TYPE_XDP: u32 = 37;
const F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// Under which the kernel shows the program.
const NAME: [u8; 16] = *b"weir_filter\0\0\0\0\0";
/// As that of the other steps.
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";
const LOG_OCTETS: usize = 1 << 20;

/// What `PROG_LOAD` takes: the first part of `union bpf_attr`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instructions_len: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_octets: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

/// What `MAP_UPDATE_ELEM` takes.
#[repr(C)]
struct MapUpdate {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Loads a program for a hook.
///
/// # Errors
/// What the kernel says; in the second value the verifier's last words, if it had any.
pub fn load(
    instructions: &[Instruction],
    hook: Hook,
) -> Result<OwnedFd, (io::Error, Option<String>)> {
    let error = match try_load(instructions, hook, &mut []) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    if error.raw_os_error() == Some(libc::EPERM) {
        return Err((error, None));
    }
    // Once more, for the reason.
    let mut log = vec![0; LOG_OCTETS];
    match try_load(instructions, hook, &mut log) {
        Ok(program) => Ok(program),
        Err(error) => {
            let text = log.split(|octet| *octet == 0).next().unwrap_or_default();
            Err((error, last_words(&String::from_utf8_lossy(text))))
        }
    }
}

fn try_load(instructions: &[Instruction], hook: Hook, log: &mut [u8]) -> io::Result<OwnedFd> {
    let too_long = |_| io::Error::from_raw_os_error(libc::E2BIG);
    let (program_type, flags, expected_attach_type) = match hook {
        Hook::Xdp => (PROG_TYPE_XDP, F_XDP_HAS_FRAGS, ATTACH_TYPE_XDP),
        Hook::TcReceived | Hook::TcSent => (PROG_TYPE_SCHED_CLS, 0, 0),
    };
    let attributes = ProgramLoad {
        program_type,
        instructions_len: u32::try_from(instructions.len()).map_err(too_long)?,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
        log_level: u32::from(!log.is_empty()),
        log_octets: u32::try_from(log.len()).map_err(too_long)?,
        log: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr().expose_provenance() as u64
        },
        kernel_version: 0,
        flags,
        name: NAME,
        ifindex: 0,
        expected_attach_type,
    };
    // SAFETY: the pointers in it are valid for the lengths beside them.
    let descriptor = unsafe { bpf(PROG_LOAD, &attributes) }?;
    // SAFETY: a fresh descriptor of our own.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Puts a program into a map of steps, which keeps it.
///
/// # Errors
/// What the kernel says.
pub fn set_step(steps: BorrowedFd<'_>, step: u32, program: &OwnedFd) -> io::Result<()> {
    let program = program.as_raw_fd();
    let attributes = MapUpdate {
        map: steps.as_raw_fd().cast_unsigned(),
        unused: 0,
        key: (&raw const step).expose_provenance() as u64,
        value: (&raw const program).expose_provenance() as u64,
        flags: 0,
    };
    // SAFETY: key and value are as large as the map's, and outlive the call.
    unsafe { bpf(MAP_UPDATE_ELEM, &attributes) }.map(|_| ())
}

/// # Safety
/// What the attributes point to must be as the command wants it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are valid for the size given, the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const *attributes,
            size_of::<T>(),
        )
    };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How the lines of the verifier's statistics begin (`print_verification_stats` in kernel/bpf/verifier.c).
const STATISTICS: [&str; 3] = ["verification time ", "stack depth ", "processed "];

/// The last line of the verifier's log that is not its statistics.
#[must_use]
pub fn last_words(log: &str) -> Option<String> {
    let mut lines = log.lines().rev().map(str::trim);
    let is_reason =
        |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|it| line.starts_with(it));
    Some(lines.find(is_reason)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_are_its_reason() {
        let log = "0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n";
        assert_eq!(last_words(log).as_deref(), Some("R0 !read_ok"));
        let log = "BPF program is too large. Processed 1000001 insn\nverification time 2 usec\n\
                   stack depth 128\nprocessed 1000001 insns (limit 1000000)\n";
        let says = last_words(log).unwrap();
        assert!(says.contains("too large"), "{says}");
        assert_eq!(last_words(""), None);
    }

    #[test]
    fn attributes_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<ProgramLoad>(), 72);
        assert_eq!(size_of::<MapUpdate>(), 32);
    }
}
