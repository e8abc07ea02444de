//! What the collector opens before it gives up its privileges and system calls: sockets to listen on, sockets and
//! files of what is passed on, and the process that runs commands. No thread is started here, since it would keep them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, bail};
use mio::{Poll, Token};
use weir_service::http;

use crate::{
    connections::Connections,
    onward,
    options::{LISTEN, Receive, SFLOW_LISTEN},
    receive::Receiver,
    runner::Runner,
    socket,
};

/// All of it.
pub struct Opened {
    /// A socket for each receiving thread, sFlow's last.
    pub receivers: Vec<Receiver>,
    /// IPFIX over TCP.
    pub streams: Option<Connections>,
    /// What is passed on.
    pub onward: onward::Opened,
    /// Prometheus.
    pub scrapes: Option<http::Listener>,
    /// The process that runs the commands of `--on-rotate`.
    pub runner: Option<Runner>,
}

impl Opened {
    /// Opens what the options name; of TCP the listener has this token, and connections those after it.
    ///
    /// # Errors
    /// What cannot be had, and what to do about it.
    pub fn open(options: &Receive, poll: &Poll, token: Token) -> Result<Self> {
        if let Some(sentence) = options.refusal() {
            bail!(sentence);
        }
        let receivers = receivers(options)?;
        let streams = options.tcp.map(|address| listen(address, poll, token));
        Ok(Self {
            receivers,
            streams: streams.transpose()?,
            onward: onward::Opened::open(&options.passing)?,
            scrapes: options.metrics.map(listen_for_scrapes).transpose()?,
            runner: options
                .on_rotate
                .as_deref()
                .map(Runner::start)
                .transpose()?,
        })
    }
}

/// Sockets with their buffers and groups.
fn receivers(options: &Receive) -> Result<Vec<Receiver>> {
    let count = usize::from(options.sockets);
    let open = |listen| socket::open(listen, count);
    let mut sockets = bind(options.listen, LISTEN, "-l", open)?;
    let mut granted = usize::MAX;
    if let Some(listen) = options.sflow {
        let asked = Some(listen).filter(|listen| listen.to_string() != SFLOW_LISTEN);
        let open = |listen| socket::open(listen, 1);
        sockets.extend(bind(asked, listen, "--sflow", open)?);
    }
    for socket in &sockets {
        granted = granted.min(socket::prepare(socket)?);
    }
    if granted < socket::RECEIVE_BUFFER_OCTETS {
        eprintln!(
            "weir-collector: the kernel grants a receive buffer of {} KiB only, and drops what comes in larger bursts; `sysctl -w net.core.rmem_max={}` allows more",
            granted >> 10,
            socket::RECEIVE_BUFFER_OCTETS
        );
    }
    // One of them: each would get a copy.
    for group in &options.joins {
        socket::join(&sockets[0], group).with_context(|| {
            format!("cannot join {group}: is there such an interface, and is the group of the family of --listen?")
        })?;
    }
    Ok(sockets.into_iter().map(Receiver::new).collect())
}

/// Sockets at the address that was asked for; else at the default, which is of IPv4 alone where there is no IPv6.
fn bind(
    asked: Option<SocketAddr>,
    default: SocketAddr,
    option: &str,
    open: impl Fn(SocketAddr) -> io::Result<Vec<UdpSocket>>,
) -> Result<Vec<UdpSocket>> {
    let listen = asked.unwrap_or(default);
    match open(listen) {
        Err(error) if asked.is_none() && socket::is_without_v6(listen, &error) => {
            let v4: SocketAddr = (Ipv4Addr::UNSPECIFIED, listen.port()).into();
            eprintln!(
                "weir-collector: this machine has no IPv6: {v4} is listened on instead of {listen}; `{option} {v4}` says so without this line"
            );
            open(v4).map_err(|error| cannot_listen(error, v4, "udp", option))
        }
        opened => opened.map_err(|error| cannot_listen(error, listen, "udp", option)),
    }
}

fn listen(address: SocketAddr, poll: &Poll, token: Token) -> Result<Connections> {
    Connections::listen(address, poll.registry(), token)
        .map_err(|error| cannot_listen(error, address, "tcp", "--tcp"))
}

fn cannot_listen(error: io::Error, listen: SocketAddr, kind: &str, option: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{listen} is taken by another program: `ss -lpn '{kind} sport = {}'` names it, {option} takes another port",
            listen.port()
        ),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "no permission to listen on {listen}: take a port above 1023 with {option}, or run as root"
        ),
        _ if socket::is_without_v6(listen, &error) => anyhow::anyhow!(
            "this machine has no IPv6, so {listen} cannot be listened on: use {option} 0.0.0.0:{}",
            listen.port()
        ),
        io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "{listen} has no address of this machine: `ip -brief address` lists them, {option} '[::]:{}' takes all",
            listen.port()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on {listen}")),
    }
}

fn listen_for_scrapes(address: SocketAddr) -> Result<http::Listener> {
    http::Listener::bind(address).map_err(|error| cannot_listen(error, address, "tcp", "--metrics"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn without_ipv6_the_default_is_of_ipv4_and_what_was_asked_for_is_an_error() {
        let tried = RefCell::new(Vec::new());
        let open = |listen: SocketAddr| {
            tried.borrow_mut().push(listen.to_string());
            match listen {
                SocketAddr::V4(_) => Ok(Vec::new()),
                SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
            }
        };
        bind(None, LISTEN, "-l", open).unwrap();
        assert_eq!(*tried.borrow(), ["[::]:2055", "0.0.0.0:2055"]);
        tried.borrow_mut().clear();
        let error = bind(Some(LISTEN), LISTEN, "-l", open).unwrap_err();
        assert_eq!(*tried.borrow(), ["[::]:2055"]);
        assert!(
            error.to_string().ends_with("use -l 0.0.0.0:2055"),
            "{error}"
        );
        // Another reason is told as it is.
        let taken = |_: SocketAddr| Err(io::Error::from(io::ErrorKind::AddrInUse));
        let error = bind(None, LISTEN, "-l", taken).unwrap_err();
        assert!(error.to_string().contains("is taken"), "{error}");
    }
}
