//! Receiving: sockets, threads, and what is done once a second, until it is told to end.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use crossbeam::channel::unbounded;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use weir_service::{http, notify::Notify};
use weir_store::{expire::Limits, layout};

use crate::{
    clock::{self, Patience},
    confine,
    connections::Connections,
    metrics::{self, Figures},
    onward::Onward,
    options::Receive,
    receive::Receiver,
    receiving::{Common, Receiving},
    reload::Reload,
    saved,
    saving::Saving,
    shards::Shards,
    socket,
    statistics::Statistics,
    streams,
    upkeep::Upkeep,
    writer::{Message, Writer, Written},
};

const SIGNALS: Token = Token(0);
/// The listener's; its connections have those after it.
const STREAMS: Token = Token(1);
/// How often the exporters' accounts go to the writer, and waiting data is looked at.
const ACCOUNT: Duration = Duration::from_secs(1);
/// What the service manager is told to show.
const RECEIVING: &str = "receiving";
/// How often it is looked whether templates are to be saved.
const SAVE: Duration = Duration::from_secs(30);

/// Receives until SIGTERM or SIGINT. `line` is the command line that the options are from, to be read again.
///
/// # Errors
/// If it cannot begin, or a part of it died.
pub fn run(options: &Receive, line: Vec<OsString>) -> Result<()> {
    let Some(directory) = &options.directory else {
        bail!("say where to write with -w");
    };
    if let Some(sentence) = options.shared_output() {
        bail!(sentence);
    }
    let receivers = receivers(options)?;
    let mut poll = Poll::new()?;
    let signals = signals(&poll)?;
    let streams = options.tcp.map(|address| listen(address, &poll));
    let streams = streams.transpose()?;
    let onward = pass_on(options)?;
    let scrapes = options.metrics.map(listen_for_scrapes).transpose()?;
    // All threads are started from here on, and have no more than this one.
    confine::confine(options);
    let (closed, rotated) = unbounded();
    let writer = Writer::start(directory, options.rotation_s, closed)?;
    let limits = options.keep.limits();
    let upkeep = Upkeep::start(directory, options.on_rotate.clone(), limits, rotated)?;
    let common = Common {
        shards: Arc::new(Shards::new(&options.settings(), receivers.len())),
        writer: writer.sender.clone(),
        onward: Arc::clone(&onward),
        talk: Arc::default(),
    };
    let folder = layout::open_folder(directory);
    remember(&common.shards, &folder);
    say_listening(options, &receivers, streams.as_ref(), directory)?;
    let threads = (0..)
        .zip(receivers)
        .map(|(number, receiver)| Receiving::start(receiver, common.clone(), number))
        .collect::<Result<Vec<_>>>()?;
    let figures = Arc::new(Figures::default());
    let source = metrics::Source {
        directory: directory.clone(),
        shards: Arc::clone(&common.shards),
        writer: writer.progress(),
        upkeep: upkeep.progress(),
        receiving: threads.iter().map(Receiving::progress).cloned().collect(),
        figures: Arc::clone(&figures),
    };
    let is_told = scrapes.is_some();
    scrapes.map_or(Ok(()), |scrapes| serve_scrapes(scrapes, source))?;
    let mut daemon = Daemon {
        figures: is_told.then_some(figures),
        notify: Notify::from_environment(),
        reload: Reload::new(line, options.clone()),
        limits: upkeep.limits(),
        turns: vec![0; threads.len()],
        common,
        threads,
        streams,
        saving: Saving::new(folder),
        save: Patience::new(SAVE),
    };
    daemon.notify.ready(RECEIVING);
    let outcome = daemon.until_told(&mut poll, signals);
    daemon.notify.stopping("writing what is left");
    let kernel_drops = daemon.finish(&mut poll);
    let shards = Arc::clone(&daemon.common.shards);
    // The writer ends when nobody can give it flows any more.
    drop(daemon);
    let passed = Arc::into_inner(onward).map(Onward::finish);
    let written = writer.finish()?;
    let done = upkeep.finish()?;
    let mut statistics = shards.statistics();
    statistics.kernel_drops = *kernel_drops.as_ref().unwrap_or(&0);
    let accounts = [
        written.to_json(),
        done.to_json(),
        passed.unwrap_or_default().into(),
    ];
    report(options, &shards, &statistics, &written, accounts)?;
    outcome.and(kernel_drops.map(|_| ()))
}

/// What is passed on, but not to where this collector listens.
fn pass_on(options: &Receive) -> Result<Arc<Onward>> {
    let own: Vec<_> = [Some(options.listen), options.sflow]
        .into_iter()
        .flatten()
        .collect();
    Onward::start(&options.passing, &own).map(Arc::new)
}

/// Takes the templates that outlived an earlier collector.
fn remember(shards: &Shards, folder: &Path) {
    match saved::read(folder, now_s()) {
        Ok(remembered) => shards.remember(remembered),
        Err(why) => eprintln!(
            "weir-collector: {} is not used: {why}; exporters will repeat their templates",
            folder.join(saved::FILE_NAME).display()
        ),
    }
}

fn listen_for_scrapes(address: SocketAddr) -> Result<http::Listener> {
    http::Listener::bind(address).map_err(|error| cannot_listen(error, address, "tcp", "--metrics"))
}

fn serve_scrapes(listener: http::Listener, source: metrics::Source) -> Result<()> {
    let address = listener.local_addr()?;
    let make_page = move || Some(source.page().encode("weir_collector"));
    listener
        .serve(Box::new(make_page), clock::monotonic_ns, "weir-collector")
        .context("starting the thread for --metrics")?;
    eprintln!("weir-collector: figures at http://{address}/metrics");
    Ok(())
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
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
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
    /// If anybody is told of them.
    figures: Option<Arc<Figures>>,
    notify: Notify,
    reload: Reload,
    limits: Arc<Mutex<Limits>>,
    common: Common,
    threads: Vec<Receiving>,
    /// Turns that the threads had taken a second ago.
    turns: Vec<u64>,
    streams: Option<Connections>,
    saving: Saving,
    save: Patience,
}

impl Daemon {
    fn until_told(&mut self, poll: &mut Poll, mut signals: Signals) -> Result<()> {
        let mut events = Events::with_capacity(64);
        let mut account = Patience::new(ACCOUNT);
        loop {
            let is_busy = self.streams.as_ref().is_some_and(Connections::is_any_ready);
            let wait = if is_busy { Duration::ZERO } else { ACCOUNT };
            streams::wait(self.streams.as_mut(), poll, &mut events, wait)?;
            if let Some(streams) = &mut self.streams {
                streams::take(streams, &self.common, poll.registry())?;
            }
            if account.is_over() {
                account = Patience::new(ACCOUNT);
                self.each_second()?;
            }
            let mut is_reload = false;
            for signal in signals.pending() {
                if signal != SIGHUP {
                    return Ok(());
                }
                is_reload = true;
            }
            if is_reload {
                self.read_settings_again();
            }
        }
    }

    /// Who is listened to and what is kept, as the command line and its file say now.
    fn read_settings_again(&mut self) {
        self.notify.reloading(clock::monotonic_ns());
        match self.reload.read() {
            Ok((options, done)) => {
                self.common.shards.listen_to(&options.settings());
                let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
                *limits = options.keep.limits();
                eprintln!("weir-collector: the settings were read again: {done}");
            }
            Err(why) => eprintln!("weir-collector: the settings stay as they were: {why}"),
        }
        self.notify.ready(RECEIVING);
    }

    /// Tells the service manager that every receiving thread has taken a turn since it was told last.
    fn sign_of_life(&mut self) {
        let turns = self.threads.iter().map(|thread| thread.progress().turns());
        if turns
            .clone()
            .zip(&self.turns)
            .all(|(now, before)| now > *before)
        {
            self.turns = turns.collect();
            self.notify.alive(clock::monotonic_ns());
        }
    }

    fn each_second(&mut self) -> Result<()> {
        if self.threads.iter().any(Receiving::is_dead) {
            bail!("a receiving thread ended by itself");
        }
        self.sign_of_life();
        let now_ns = clock::unix_ns();
        let shards = &self.common.shards;
        shards.each(|mut part| part.expire(now_ns));
        let accounts = shards.counts();
        if let Some(figures) = &self.figures {
            figures.update(&accounts, self.common.writer.len());
        }
        let account = Message::Account(accounts);
        if self.common.writer.send(account).is_err() {
            bail!("the writing thread died");
        }
        if self.save.is_over() {
            self.save = Patience::new(SAVE);
            self.saving.look(shards, now_s());
        }
        Ok(())
    }

    /// Ends the receiving threads and connections, with what has reached them, and saves what is to outlive
    /// them; datagrams the kernel dropped.
    fn finish(&mut self, poll: &mut Poll) -> Result<u64> {
        let ended: Vec<_> = self.threads.drain(..).map(Receiving::finish).collect();
        let streams = self.streams.take();
        let streams = streams.map(|streams| streams::finish(streams, &self.common, poll));
        let shards = &self.common.shards;
        shards.each(|mut part| part.finish());
        let _ = self.common.writer.send(Message::Account(shards.counts()));
        self.saving.save(shards, now_s());
        streams.transpose()?;
        ended.into_iter().sum()
    }
}

fn report(
    options: &Receive,
    shards: &Shards,
    statistics: &Statistics,
    written: &Written,
    accounts: [Value; 3],
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
    for more in accounts {
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
