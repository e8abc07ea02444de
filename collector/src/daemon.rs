//! Receiving: sockets, threads, and what is done once a second, until it is told to end.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use crossbeam::channel::unbounded;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use weir_service::{http, notify::Notify};
use weir_store::{expire::Limits, layout, system};

use crate::{
    clock::{self, Patience},
    confine,
    connections::Connections,
    metrics::{self, Figures},
    onward::Onward,
    opening::Opened,
    options::Receive,
    receive::Receiver,
    receiving::{Common, Receiving},
    recompacting::{Plan, Recompacting},
    reload::Reload,
    runner::Runner,
    saved,
    saving::Saving,
    shards::Shards,
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
    system::keep_freed_memory();
    let mut poll = Poll::new()?;
    let signals = signals(&poll)?;
    let opened = Opened::open(options, &poll, STREAMS)?;
    // All threads are started from here on, and have no more than this one.
    confine::confine(options);
    let onward = opened.onward.start().map(Arc::new)?;
    let mut disk = Disk::start(options, directory, opened.runner)?;
    let common = Common {
        shards: Arc::new(Shards::new(&options.settings(), opened.receivers.len())),
        writer: disk.writer.sender.clone(),
        onward: Arc::clone(&onward),
        talk: Arc::default(),
    };
    let folder = layout::open_folder(directory);
    remember(&common.shards, &folder);
    say_listening(options, &opened.receivers, opened.streams.as_ref())?;
    let threads = (0..)
        .zip(opened.receivers)
        .map(|(number, receiver)| Receiving::start(receiver, common.clone(), number))
        .collect::<Result<Vec<_>>>()?;
    let figures = Arc::new(Figures::default());
    let source = metrics::Source {
        directory: directory.clone(),
        shards: Arc::clone(&common.shards),
        writer: disk.writer.progress(),
        upkeep: disk.upkeep.progress(),
        recompacting: disk.recompacting.progress(),
        receiving: threads.iter().map(Receiving::progress).cloned().collect(),
        figures: Arc::clone(&figures),
        onward: Arc::downgrade(&onward),
    };
    let is_told = opened.scrapes.is_some();
    let serve = |scrapes| serve_scrapes(scrapes, source);
    opened.scrapes.map_or(Ok(()), serve)?;
    let mut daemon = Daemon {
        figures: is_told.then_some(figures),
        notify: Notify::from_environment(),
        reload: Reload::new(line, options.clone()),
        limits: disk.upkeep.limits(),
        turns: vec![0; threads.len()],
        common,
        threads,
        streams: opened.streams,
        saving: Saving::new(folder),
        save: Patience::new(SAVE),
    };
    daemon.notify.ready(RECEIVING);
    let outcome = daemon.until_told(&mut poll, signals);
    daemon.notify.stopping("writing what is left");
    disk.recompacting.stop();
    let kernel_drops = daemon.finish(&mut poll);
    let shards = Arc::clone(&daemon.common.shards);
    // The writer ends when nobody can give it flows any more.
    drop(daemon);
    let passed = alone(onward).map(Onward::finish);
    let (written, [closed, done, recompacted]) = disk.finish()?;
    let mut statistics = shards.statistics();
    statistics.kernel_drops = *kernel_drops.as_ref().unwrap_or(&0);
    let passed = passed.unwrap_or_default().into();
    let accounts = [closed, done, recompacted, passed];
    report(options, &shards, &statistics, &written, accounts)?;
    // Why a thread ended says more than that it did.
    kernel_drops.map(|_| ()).and(outcome)
}

/// What works on the files: who writes them, who looks after those that are closed, who makes one of an hour's.
struct Disk {
    writer: Writer,
    upkeep: Upkeep,
    recompacting: Recompacting,
}

impl Disk {
    fn start(options: &Receive, directory: &Path, runner: Option<Runner>) -> Result<Self> {
        let form = options.files.form();
        let (closed, rotated) = unbounded();
        let writer = Writer::start(directory, options.rotation_ms, form, closed)?;
        let upkeep = Upkeep::start(directory, runner, options.keep.limits(), rotated)?;
        let recompacting = Recompacting::start(Plan {
            root: directory.to_owned(),
            form,
            after_s: options.recompact,
            commanded: upkeep.commanded(),
        })?;
        Ok(Self {
            writer,
            upkeep,
            recompacting,
        })
    }

    /// Writes what is left, and has their accounts.
    fn finish(self) -> Result<(Written, [Value; 3])> {
        let written = self.writer.finish()?;
        let done = self.upkeep.finish()?;
        let recompacted = self.recompacting.finish();
        let accounts = [written.to_json(), done.to_json(), recompacted.to_json()];
        Ok((written, accounts))
    }
}

/// What is passed on, once nobody else looks at it: who asks for figures does for a moment.
fn alone(mut onward: Arc<Onward>) -> Option<Onward> {
    let patience = Patience::new(ACCOUNT);
    loop {
        onward = match Arc::try_unwrap(onward) {
            Ok(onward) => return Some(onward),
            Err(_) if patience.is_over() => return None,
            Err(shared) => shared,
        };
        thread::sleep(Duration::from_millis(1));
    }
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
        options
            .directory
            .as_deref()
            .unwrap_or(Path::new(""))
            .display(),
        Duration::from_millis(options.rotation_ms).as_secs_f64()
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
            let patience = self.streams.as_ref().and_then(Connections::patience);
            let wait = patience.unwrap_or(ACCOUNT);
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

    /// Who is listened to, sampling rates and what is kept, as the command line and its file say now.
    fn read_settings_again(&mut self) {
        self.notify.reloading(clock::monotonic_ns());
        match self.reload.read() {
            Ok((options, done)) => {
                self.common.shards.take_over(&options.settings());
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
            figures.update(&accounts, shards.others(), self.common.writer.len());
        }
        let account = Message::Account(accounts);
        if self.common.writer.send(account).is_err() {
            bail!("the writing thread died: its last words are above, please report them");
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
    accounts: [Value; 4],
) -> Result<()> {
    let (_, lost_records, lost_datagrams) = shards.heard_and_lost();
    // Those whose connections have ended are not known any more, and have accounts.
    let accounts_of_all = shards.accounts();
    let exporters = accounts_of_all.as_array().map_or(0, Vec::len);
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
        object.insert("exporters".to_owned(), accounts_of_all);
    }
    let text = format!("{object:#}\n");
    if path == Path::new("-") {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
