//! What the collector may still do once its sockets are bound: it has no privileges, and the system calls that
//! receiving and writing need.

use weir_service::{
    privileges,
    seccomp::{self, Allowed},
};

use crate::options::Receive;

/// Gives up the rest, for threads that are started later too.
pub fn confine(options: &Receive) {
    if let Err(error) = privileges::keep(0) {
        eprintln!("weir-collector: privileges cannot be given up: {error}");
    }
    if options.no_seccomp {
        return;
    }
    if options.on_rotate.is_some() {
        // A filter cannot be taken off again, and nobody knows what the command needs.
        eprintln!(
            "weir-collector: system calls are not given up: the commands of --on-rotate would inherit that"
        );
        return;
    }
    let restricted = seccomp::restrict(Allowed {
        calls: &[seccomp::RUNTIME, seccomp::FILES, seccomp::SOCKETS],
        bpf_commands: &[],
    });
    if let Err(error) = restricted {
        eprintln!(
            "weir-collector: system calls cannot be given up: {error}; --no-seccomp does without"
        );
    }
}
