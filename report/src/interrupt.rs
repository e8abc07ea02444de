//! Ctrl-C, SIGTERM and SIGHUP: the process ends at once, with the status that shells expect, and leaves neither
//! a bar nor a pager on the terminal, nor files behind. A thread of its own ends it; the main thread may come to
//! its end first, since its pager or its terminal have gone, and then gives way.
#![expect(
    unsafe_code,
    reason = "a pager is asked to end and waited for by its process id: system calls"
)]

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    iterator::Signals,
};
use weir_service::signals::is_ignored;

/// What is tidied up, the last one first.
static TIDYING: Mutex<Vec<Box<dyn Fn() + Send>>> = Mutex::new(Vec::new());
/// The pager's process id; 0: there is none.
static PAGER: AtomicI32 = AtomicI32::new(0);
/// The signal that ends the process; 0: there was none.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// How often, and after how long, it is looked whether a pager that was told to end has.
const PAGER_LOOKS: u32 = 50;
const PAGER_LOOK: Duration = Duration::from_millis(20);
/// More than tidying up and a pager take.
const END_PATIENCE: Duration = Duration::from_secs(5);

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
    let mut wanted = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    for signal in &wanted {
        // By the handler itself: before anybody sees what else the signal has done.
        flag::register_usize(*signal, &TAKEN, signal.unsigned_abs() as usize)?;
    }
    let mut signals = Signals::new(&wanted)?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end(signal);
            }
        })?;
    Ok(())
}

/// Whether a signal is ending the process.
#[must_use]
pub fn is_ending() -> bool {
    TAKEN.load(Ordering::SeqCst) != 0
}

/// For the main thread at its end: if a signal is ending the process this does not return, so that the status is
/// the signal's.
pub fn give_way() {
    if is_ending() {
        thread::sleep(END_PATIENCE);
        // That thread has died.
        let signal = i32::try_from(TAKEN.load(Ordering::SeqCst)).unwrap_or(SIGTERM);
        std::process::exit(128 + signal);
    }
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
