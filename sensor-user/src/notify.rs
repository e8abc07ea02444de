//! Telling a service manager how things are (sd_notify(3)): that metering has begun, and, where a
//! watchdog is set, that the data path is alive: a sweep that got through, not a timer, says so.

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
        }
    }

    /// Metering has begun.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=metering\n");
    }

    /// A sweep got through.
    pub fn alive(&mut self, monotonic_ns: u64) {
        let due = |interval_ns: u64| monotonic_ns.saturating_sub(self.signed_ns) >= interval_ns;
        if self.interval_ns.is_some_and(due) {
            self.signed_ns = monotonic_ns;
            self.send("WATCHDOG=1\n");
        }
    }

    /// What is in the table is being exported; then it ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=exporting what is in the table\n");
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A manager that does not read must not delay metering.
            let _ = socket.send(message.as_bytes());
        }
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
