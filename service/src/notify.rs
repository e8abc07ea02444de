//! Telling a service manager how things are (sd_notify(3)): that the work has begun, and, where a watchdog is
//! set, that it goes on: whoever did some of it says so, not a timer.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Signs of life in a watchdog's interval.
const SIGNS: u64 = 4;

/// The way to the service manager; silent if there is none.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// Time between signs of life, if they are wanted.
    interval_ns: Option<u64>,
    signed_ns: u64,
    /// What is said once and waited for, as long as the manager has no room for it: it may be busy, as at boot.
    unsent: Option<String>,
}

impl Notify {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment() -> Self {
        let number = |name: &str| -> Option<u64> { env::var(name).ok()?.parse().ok() };
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        Self {
            socket: connect().ok().flatten(),
            interval_ns: number("WATCHDOG_USEC")
                .filter(|_| is_ours)
                .map(|us| us.saturating_mul(1000 / SIGNS)),
            signed_ns: 0,
            unsent: None,
        }
    }

    /// The work has begun, or goes on after [`Self::reloading`]; what it is, in a word.
    pub fn ready(&mut self, status: &str) {
        self.unsent = Some(format!("READY=1\nSTATUS={status}\n"));
        self.send_unsent();
    }

    /// The settings are being read anew, since `monotonic_ns` (`Type=notify-reload`, systemd 253).
    pub fn reloading(&mut self, monotonic_ns: u64) {
        // In their order, though a manager that is busy may know of the first one late.
        self.send_unsent();
        let monotonic_us = monotonic_ns / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}\n"));
    }

    /// It is not ready yet, and makes progress: it may take so long again.
    pub fn still_starting(&self) {
        const PATIENCE_US: u64 = 180_000_000;
        self.send(&format!("EXTEND_TIMEOUT_USEC={PATIENCE_US}\n"));
    }

    /// Some work was done.
    pub fn alive(&mut self, monotonic_ns: u64) {
        self.send_unsent();
        let due = |interval_ns: u64| monotonic_ns.saturating_sub(self.signed_ns) >= interval_ns;
        if self.interval_ns.is_some_and(due) {
            self.signed_ns = monotonic_ns;
            self.send("WATCHDOG=1\n");
        }
    }

    /// It is about to end; what it does before, in a word.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\n"));
    }

    fn send_unsent(&mut self) {
        if self
            .unsent
            .as_ref()
            .is_some_and(|message| self.send(message))
        {
            self.unsent = None;
        }
    }

    /// Sends a message, if the manager has room for it: it must not delay the work. Whether it is done with.
    fn send(&self, message: &str) -> bool {
        let sent = self
            .socket
            .as_ref()
            .map(|socket| socket.send(message.as_bytes()));
        !sent.is_some_and(|sent| sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }
}

fn connect() -> io::Result<Option<UnixDatagram>> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(None);
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}
