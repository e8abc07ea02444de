//! Signals: which of them end a sensor, so that none does before what it has is exported and accounted for, and how
//! the reading of a capture is ended by them.

use std::{
    ffi::c_int,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ},
    flag, low_level,
};
use signal_hook_mio::v1_0::Signals;
use weir_service::signals::is_ignored;

/// What would end a process that does not take it (signal(7)), and asks a sensor for nothing; real-time signals
/// would, too.
const STRAY: [c_int; 10] = [
    SIGQUIT,
    SIGUSR1,
    SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
];

/// What a signal is to a sensor that meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is to end.
    End,
    /// It is to read its settings again.
    Reload,
    /// It is to go on: what came of it is told elsewhere.
    Nothing,
    /// None, but that the process would be gone: it ends, with a sentence and a status of failure, so that whoever
    /// keeps it running starts it again.
    Stray,
}

/// What a signal is to a sensor that meters.
#[must_use]
pub fn meaning(signal: c_int) -> Meaning {
    match signal {
        SIGTERM | SIGINT => Meaning::End,
        SIGHUP => Meaning::Reload,
        // Writing to a file that may not grow fails by itself.
        SIGXFSZ => Meaning::Nothing,
        _ => Meaning::Stray,
    }
}

/// A signal's name, as kill(1) has it.
#[must_use]
pub fn name(signal: c_int) -> String {
    let known = low_level::signal_name(signal).map(str::to_owned);
    known.unwrap_or_else(|| format!("signal {signal}"))
}

/// Takes every signal that would end the process and can be taken.
///
/// # Errors
/// If the system has no descriptors left.
pub fn take() -> io::Result<Signals> {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    let usual = [SIGTERM, SIGINT, SIGHUP, SIGXFSZ];
    Signals::new(usual.into_iter().chain(STRAY).chain(real_time))
}

/// Ends the reading of a capture before the capture's own end. Its clones are one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// The signal that came; 0: none did.
    signal: Arc<AtomicUsize>,
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes the signals that end programs from here on, but those that whoever started the process wants it to
    /// outlive. A second Ctrl-C ends it at once, for those who do not want to wait for the export either.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self) -> io::Result<()> {
        let usual = [SIGTERM, SIGINT, SIGHUP];
        for signal in usual.into_iter().chain(STRAY) {
            if is_ignored(signal) {
                continue;
            }
            if signal == SIGINT {
                let status = Self::status(signal);
                flag::register_conditional_shutdown(signal, status, Arc::clone(&self.came))?;
            }
            let number = signal.unsigned_abs() as usize;
            flag::register_usize(signal, Arc::clone(&self.signal), number)?;
            flag::register(signal, Arc::clone(&self.came))?;
        }
        Ok(())
    }

    /// The signal that came, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<c_int> {
        let signal = self.signal.load(Ordering::SeqCst);
        c_int::try_from(signal).ok().filter(|signal| *signal != 0)
    }

    /// The exit status by which shells tell that a signal ended a program: 130 after Ctrl-C.
    #[must_use]
    pub const fn status(signal: c_int) -> c_int {
        128 + signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_asks_for_nothing_is_told_by_its_name() {
        for signal in STRAY {
            assert_eq!(meaning(signal), Meaning::Stray, "{signal}");
        }
        assert_eq!(meaning(libc::SIGRTMIN()), Meaning::Stray);
        assert_eq!(meaning(SIGHUP), Meaning::Reload);
        assert_eq!(name(SIGUSR1), "SIGUSR1");
        assert_eq!(name(libc::SIGRTMAX()), "signal 64");
    }

    #[test]
    fn no_signal_has_come_before_one_has() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.signal(), None);
        interrupt.clone().signal.store(2, Ordering::SeqCst);
        assert_eq!(interrupt.signal(), Some(SIGINT));
        assert_eq!(Interrupt::status(SIGINT), 130);
    }
}
