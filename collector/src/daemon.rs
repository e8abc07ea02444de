//! Receiving: sockets, threads, and what is done once a second, until it is told to end.

use std::{
    fs,
    io::{self, Write as _},
    mem,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use crossbeam::channel::unbounded;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use weir_store::layout;

use crate::{
    clock::{self, Patience},
    connections::{Accepted, Connections, Ended},
    exporters::Source,
    options::Receive,
    receive::Receiver,
    receiving::{Common, FLOWS_MAX, Receiving},
    saved,
    shards::Shards,
    socket,
    statistics::Statistics,
    talk::Kind,
    upkeep::{self, Upkeep},
    writer::{Message, Writer, Written},
};

const SIGNALS: Token = Token(0);
/// The listener's; its connections have those after it.
const STREAMS: Token = Token(1);
/// How often the exporters' accounts go to the writer, and waiting data is looked at.
const ACCOUNT: Duration = Duration::from_secs(1);
/// How often templates that changed are saved.
const SAVE: Duration = Duration::from_secs(30);

/// Receives until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot begin, or a part of it died.
pub fn run(options: &Receive) -> Result<()> {
    let Some(directory) = &options.directory else {
        bail!("say where to write with -w");
    };
    let receivers = receivers(options)?;
    let poll = Poll::new()?;
    let signals = signals(&poll)?;
    let streams = match options.tcp {
        Some(address) => Some(listen(address, &poll)?),
        None => None,
    };
    let (closed, rotated) = unbounded();
    let writer = Writer::start(directory, options.rotation_s, closed)?;
    let limits = options.keep.limits();
    let upkeep = Upkeep::start(directory, options.on_rotate.clone(), limits, rotated)?;
    let common = Common {
        shards: Arc::new(Shards::new(&options.settings(), receivers.len())),
        writer: writer.sender.clone(),
        talk: Arc::default(),
    };
    let folder = layout::open_folder(directory);
    match saved::read(&folder, now_s()) {
        Ok(remembered) => common.shards.remember(remembered),
        Err(why) => eprintln!(
            "weir-collector: {} is not used: {why}; exporters will repeat their templates",
            folder.join(saved::FILE_NAME).display()
        ),
    }
    say_listening(options, &receivers, streams.as_ref(), directory)?;
    let threads = (0..)
        .zip(receivers)
        .map(|(number, receiver)| Receiving::start(receiver, common.clone(), number))
        .collect::<Result<_>>()?;
    let mut daemon = Daemon {
        common,
        threads,
        streams,
        save: Patience::new(SAVE),
        is_save_failing: false,
    };
    let outcome = daemon.until_told(poll, signals, &folder);
    let kernel_drops = daemon.finish(&folder);
    let shards = Arc::clone(&daemon.common.shards);
    // The writer ends when nobody can give it flows any more.
    drop(daemon);
    let written = writer.finish()?;
    let done = upkeep.finish()?;
    let mut statistics = shards.statistics();
    statistics.kernel_drops = *kernel_drops.as_ref().unwrap_or(&0);
    report(options, &shards, &statistics, &written, &done)?;
    outcome.and(kernel_drops.map(|_| ()))
}

fn now_s() -> u64 {
    clock::unix_ns() / 1_000_000_000
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

fn listen(address: SocketAddr, poll: &Poll) -> Result<Connections> {
    Connections::listen(address, poll.registry(), STREAMS)
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

fn signals(poll: &Poll) -> Result<Signals> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    poll.registry()
        .register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}

fn say_listening(
    options: &Receive,
    receivers: &[Receiver],
    streams: Option<&Connections>,
    directory: &Path,
) -> Result<()> {
    let address = receivers[0].socket().local_addr()?;
    let sockets = match options.sockets {
        1 => String::new(),
        count => format!(" with {count} sockets"),
    };
    // Its socket is the last one.
    let sflow = match (options.sflow, receivers.last()) {
        (Some(_), Some(last)) => format!(" and {}", last.socket().local_addr()?),
        _ => String::new(),
    };
    let tcp = match streams {
        Some(streams) => format!(", on TCP {}", streams.local_addr()?),
        None => String::new(),
    };
    eprintln!(
        "weir-collector: listening on {address}{sockets}{sflow}{tcp}, writing to {} every {} s",
        directory.display(),
        options.rotation_s
    );
    Ok(())
}

struct Daemon {
    common: Common,
    threads: Vec<Receiving>,
    streams: Option<Connections>,
    save: Patience,
    is_save_failing: bool,
}

impl Daemon {
    fn until_told(&mut self, mut poll: Poll, mut signals: Signals, folder: &Path) -> Result<()> {
        let mut events = Events::with_capacity(64);
        let mut account = Patience::new(ACCOUNT);
        loop {
            let is_busy = self.streams.as_ref().is_some_and(Connections::is_any_ready);
            let wait = if is_busy { Duration::ZERO } else { ACCOUNT };
            match poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            if let Some(streams) = &mut self.streams {
                events.iter().for_each(|event| streams.ready(event.token()));
            }
            self.take_streams(&poll)?;
            if account.is_over() {
                account = Patience::new(ACCOUNT);
                self.each_second(folder)?;
            }
            if signals.pending().next().is_some() {
                return Ok(());
            }
        }
    }

    fn each_second(&mut self, folder: &Path) -> Result<()> {
        if self.threads.iter().any(Receiving::is_dead) {
            bail!("a receiving thread ended by itself");
        }
        let now_ns = clock::unix_ns();
        let shards = &self.common.shards;
        shards.each(|mut part| part.expire(now_ns));
        let account = Message::Account(shards.accounts());
        if self.common.writer.send(account).is_err() {
            bail!("the writing thread died");
        }
        if self.save.is_over() {
            self.save = Patience::new(SAVE);
            self.save_templates(folder);
        }
        Ok(())
    }

    fn save_templates(&mut self, folder: &Path) {
        let Some(remembered) = self.common.shards.changed_templates() else {
            return;
        };
        let result = saved::write(folder, &remembered, now_s());
        if let Err(error) = &result
            && !self.is_save_failing
        {
            eprintln!(
                "weir-collector: templates cannot be saved: {error}; after a restart exporters have to repeat them"
            );
        }
        self.is_save_failing = result.is_err();
    }

    /// Accepts connections and reads what came on them.
    fn take_streams(&mut self, poll: &Poll) -> Result<()> {
        let common = &self.common;
        let Some(streams) = &mut self.streams else {
            return Ok(());
        };
        let now_ns = clock::unix_ns();
        let allows = |source: &Source| common.shards.of(source.address).allows(source.address);
        streams.accept(poll.registry(), allows, |accepted| match accepted {
            Accepted::Taken => common.shards.count_stream(|counted| &mut counted.streams),
            Accepted::Refused(source) => {
                common
                    .shards
                    .count_stream(|counted| &mut counted.streams_refused);
                common.say(&source, Kind::Stream, now_ns, || {
                    "its connection is refused: it is in no prefix of --allow, or there are too many"
                        .to_owned()
                });
            }
            Accepted::Failed(error) => say_own(common, now_ns, &error),
        });
        let mut flows = Vec::new();
        streams.read(
            |octets, source| {
                if flows.len() >= FLOWS_MAX {
                    // It fails only if the thread died; the next one says so.
                    let _ = common.send(mem::take(&mut flows));
                }
                common.take(octets, source, now_ns, &mut flows);
            },
            |source, ended| {
                common.shards.of(source.address).end_session(source.session);
                say_ended(common, source, ended, now_ns);
            },
        );
        common.send(flows)
    }

    /// Ends the receiving threads and saves what is to outlive them; datagrams the kernel dropped.
    fn finish(&mut self, folder: &Path) -> Result<u64> {
        let ended: Vec<_> = self.threads.drain(..).map(Receiving::finish).collect();
        let shards = &self.common.shards;
        shards.each(|mut part| part.finish());
        let _ = self.common.writer.send(Message::Account(shards.accounts()));
        self.save_templates(folder);
        ended.into_iter().sum()
    }
}

fn say_own(common: &Common, now_ns: u64, error: &io::Error) {
    let own = Source {
        address: Ipv6Addr::UNSPECIFIED,
        port: 0,
        session: 0,
    };
    common.say(&own, Kind::Own, now_ns, || {
        format!("a connection cannot be accepted: {error}")
    });
}

fn say_ended(common: &Common, source: &Source, ended: &Ended, now_ns: u64) {
    let why = match ended {
        Ended::Closed => return,
        Ended::CutOff => "its connection ended in the middle of a message".to_owned(),
        Ended::Failed(error) => format!("its connection failed: {error}"),
        Ended::Broken(error) => {
            common
                .shards
                .count_stream(|counted| &mut counted.streams_broken);
            format!("its connection is closed, since IPFIX has version 10 and {error}")
        }
    };
    common.say(source, Kind::Stream, now_ns, || why);
}

fn report(
    options: &Receive,
    shards: &Shards,
    statistics: &Statistics,
    written: &Written,
    done: &upkeep::Done,
) -> Result<()> {
    let (exporters, lost_records, lost_datagrams) = shards.heard_and_lost();
    eprintln!(
        "weir-collector: {} datagrams from {exporters} exporters, {} flows written; lost on the way: {lost_records} records, {lost_datagrams} datagrams (v9, sFlow); dropped by the kernel: {}; malformed: {}; not written: {}",
        statistics.datagrams,
        written.flows,
        statistics.kernel_drops,
        statistics.malformed + statistics.unknown_version,
        written.flows_unwritten,
    );
    let Some(path) = &options.statistics_json else {
        return Ok(());
    };
    let mut object = statistics.to_json();
    for more in [written.to_json(), done.to_json()] {
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
    }
    if let Value::Object(object) = &mut object {
        object.insert("exporters".to_owned(), shards.accounts());
    }
    let text = format!("{object:#}\n");
    if path == Path::new("-") {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
