//! SIGINT and SIGTERM: the first one is a wish, so that namespaces and processes are cleaned up on the way out; the
//! second is an order.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, ensure};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

static WISH: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes the signals from here on.
///
/// # Errors
/// What the operating system says.
pub fn listen() -> io::Result<()> {
    let wish = WISH.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(wish))?;
        flag::register(signal, Arc::clone(wish))?;
    }
    Ok(())
}

/// Fails once somebody wants to end.
///
/// # Errors
/// Then.
pub fn go_on() -> Result<()> {
    let is_wished = WISH.get().is_some_and(|wish| wish.load(Ordering::Relaxed));
    ensure!(!is_wished, "interrupted");
    Ok(())
}
