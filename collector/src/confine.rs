//! What the collector may still do once its sockets are bound: it has no privileges, and the system calls that
//! receiving and writing need. Commands of `--on-rotate` have all calls: [`crate::runner`].

use weir_service::{
    privileges,
    seccomp::{self, Allowed, Call},
};

use crate::options::Receive;

/// The thread that closes windows lets the others go first.
const PRIORITY: &[Call] = &[libc::SYS_setpriority];

/// Gives up the rest, for threads that are started later too.
pub fn confine(options: &Receive) {
    give_up_privileges();
    if options.no_seccomp {
        return;
    }
    let restricted = seccomp::restrict(Allowed {
        calls: &[seccomp::RUNTIME, seccomp::FILES, seccomp::SOCKETS, PRIORITY],
        bpf_commands: &[],
    });
    if let Err(error) = restricted {
        eprintln!(
            "weir-collector: system calls cannot be given up: {error}; --no-seccomp does without"
        );
    }
}

/// Gives up this thread's privileges, and those of threads and processes it starts later.
pub fn give_up_privileges() {
    if let Err(error) = privileges::keep(0) {
        eprintln!("weir-collector: privileges cannot be given up: {error}");
    }
}
