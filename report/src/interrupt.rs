//! Ctrl-C and SIGTERM: the process ends at once, with the status that shells expect, and leaves neither a
//! bar nor a pager on the terminal, nor files behind.
#![expect(
    unsafe_code,
    reason = "a pager is asked to end and waited for by its process id: two system calls"
)]

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// What is tidied up, the last one first.
static TIDYING: Mutex<Vec<Box<dyn Fn() + Send>>> = Mutex::new(Vec::new());
/// The pager's process id; 0: there is none.
static PAGER: AtomicI32 = AtomicI32::new(0);

/// How often, and after how long, it is looked whether a pager that was told to end has.
const PAGER_LOOKS: u32 = 50;
const PAGER_LOOK: Duration = Duration::from_millis(20);

/// Has this done before the process ends by a signal.
pub fn before_exit(tidy: impl Fn() + Send + 'static) {
    let mut tidying = TIDYING.lock().unwrap_or_else(PoisonError::into_inner);
    tidying.push(Box::new(tidy));
}

/// A pager has the terminal, or (`None`) has given it back.
pub fn pager(id: Option<u32>) {
    let id = id.and_then(|id| i32::try_from(id).ok());
    PAGER.store(id.unwrap_or(0), Ordering::SeqCst);
}

/// Begins to wait for signals.
///
/// # Errors
/// If the system has none to give.
pub fn watch() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end(signal);
            }
        })?;
    Ok(())
}

/// Does now what is done before the process ends by a signal.
pub fn tidy_up() {
    let tidying = TIDYING.lock().unwrap_or_else(PoisonError::into_inner);
    for tidy in tidying.iter().rev() {
        tidy();
    }
}

fn end(signal: i32) -> ! {
    tidy_up();
    let pager = PAGER.load(Ordering::SeqCst);
    if pager > 0 {
        end_pager(pager);
    }
    // As shells tell that a signal ended a program: 130 after Ctrl-C.
    std::process::exit(128 + signal);
}

/// Waits until a pager has ended. It stays to be reaped.
pub fn wait_for_pager(id: u32) {
    // SAFETY: all zeros are a valid `siginfo_t`.
    let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: it outlives the call, which writes it; nobody reads it.
    unsafe {
        libc::waitid(
            libc::P_PID,
            id,
            &raw mut told,
            libc::WEXITED | libc::WNOWAIT,
        );
    }
}

/// A pager restores the terminal when it is asked to end.
fn end_pager(pager: i32) {
    // SAFETY: no memory is passed. The child has not been waited for: `pager` is cleared before that.
    unsafe {
        libc::kill(pager, libc::SIGTERM);
    }
    // One that does not want to end is left: it is not worth the wait.
    for _ in 0..PAGER_LOOKS {
        // SAFETY: the status may be null. That the other thread waits for the same child makes one of the
        // two fail, which is as good.
        if unsafe { libc::waitpid(pager, std::ptr::null_mut(), libc::WNOHANG) } != 0 {
            return;
        }
        thread::sleep(PAGER_LOOK);
    }
}
