//! What the sensor may still do once it meters: which privileges its threads have, and which system calls.

use weir_service::{
    privileges::{self, BPF, NET_ADMIN, NET_RAW, PERFMON},
    seccomp::{self, Allowed, Call},
};

/// What metering goes on needing: an interface that comes back is attached to again (`CAP_BPF`,
/// `CAP_NET_ADMIN`, and `CAP_PERFMON` for programs that the verifier does not guard against
/// speculation), and put in promiscuous mode (`CAP_NET_RAW`).
pub const METERING: u64 = NET_ADMIN | NET_RAW | PERFMON | BPF;

/// A CPU's queue is settled on that CPU.
const ON_A_CPU: &[Call] = &[libc::SYS_sched_setaffinity];

/// Commands of bpf(2) (linux/bpf.h): reading and writing maps (1–4, 21), loading a program whose first
/// interface comes (5), pinning (6, 7), attaching and taking off (8, 9, 28, 29, 34), test runs, by which queues are
/// settled (10), and finding what is there (11–16, 19, 30, 31). Not among them: new maps (0), tracepoints (17),
/// type information (18), iterators (33), tokens (36).
const BPF_COMMANDS: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 28, 29, 30, 31, 34,
];

/// Gives up the rest, system calls if `seccomp` says so; what cannot be given up is told.
pub fn confine(seccomp: bool) {
    if let Err(error) = privileges::keep(METERING) {
        eprintln!("weir-sensor: privileges cannot be given up: {error}");
    }
    if !seccomp {
        return;
    }
    let restricted = seccomp::restrict(Allowed {
        calls: &[seccomp::RUNTIME, seccomp::FILES, seccomp::SOCKETS, ON_A_CPU],
        bpf_commands: BPF_COMMANDS,
    });
    if let Err(error) = restricted {
        eprintln!(
            "weir-sensor: system calls cannot be given up: {error}; --no-seccomp does without"
        );
    }
}
