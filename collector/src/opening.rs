//! What the collector opens before it gives up its privileges and system calls: sockets to listen on, sockets and
//! files of what is passed on, and the process that runs commands. No thread is started here, since it would keep them.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, bail};
use mio::{Poll, Token};
use weir_service::http;

use crate::{
    connections::Connections, onward, options::Receive, receive::Receiver, runner::Runner, socket,
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
        if let Some(sentence) = options.shared_output() {
            bail!(sentence);
        }
        let receivers = receivers(options)?;
        let streams = options.tcp.map(|address| listen(address, poll, token));
        Ok(Self {
            receivers,
            streams: streams.transpose()?,
            onward: pass_on(options)?,
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
    let mut sockets = bind(options)?;
    let mut granted = usize::MAX;
    if let Some(address) = options.sflow {
        let opened = socket::open(address, 1);
        sockets.extend(opened.map_err(|error| cannot_listen(error, address, "udp", "--sflow"))?);
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

fn bind(options: &Receive) -> Result<Vec<UdpSocket>> {
    let listen = options.listen;
    match socket::open(listen, usize::from(options.sockets)) {
        Ok(sockets) => Ok(sockets),
        Err(error) => Err(cannot_listen(error, listen, "udp", "-l")),
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
        _ => anyhow::Error::new(error).context(format!("cannot listen on {listen}")),
    }
}

fn listen_for_scrapes(address: SocketAddr) -> Result<http::Listener> {
    http::Listener::bind(address).map_err(|error| cannot_listen(error, address, "tcp", "--metrics"))
}

/// Where things are passed on to, but not to where this collector listens.
fn pass_on(options: &Receive) -> Result<onward::Opened> {
    let own: Vec<_> = [Some(options.listen), options.sflow]
        .into_iter()
        .flatten()
        .collect();
    onward::Opened::open(&options.passing, &own)
}
