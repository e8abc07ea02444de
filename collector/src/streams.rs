//! IPFIX over TCP in the daemon: what connections bring goes the way of datagrams, and what becomes of them
//! is counted and said.

use std::{io, time::Duration};

use anyhow::Result;
use mio::{Events, Poll, Registry};

use crate::{
    clock,
    connections::{Accepted, CONNECTIONS_MAX, Connections, Ended, Gone},
    exporters::Source,
    gathered::Gathered,
    receiving::Common,
    talk::Kind,
};

/// Turns taken to read what is there at the end.
const LAST_TURNS_MAX: usize = 64;

/// Accepts connections and reads what came on them.
///
/// # Errors
/// If the writer's thread died.
pub fn take(streams: &mut Connections, common: &Common, registry: &Registry) -> Result<()> {
    let now_ns = clock::received_ns();
    let allows = |source: &Source| common.shards.of(source.address).allows(source.address);
    streams.accept(registry, now_ns, allows, |accepted| match accepted {
        Accepted::Taken(gone) => {
            common.shards.count(|counted| counted.streams += 1);
            if let Some(gone) = gone {
                end(common, &gone, now_ns);
            }
        }
        Accepted::Refused(source) => {
            common.shards.count(|counted| counted.streams_refused += 1);
            common.say(&source, Kind::Stream, now_ns, || {
                let why = if allows(&source) {
                    format!("{CONNECTIONS_MAX} are open, and none was silent for ten minutes")
                } else {
                    "it is in no prefix of --allow".to_owned()
                };
                format!("its connection is refused: {why}")
            });
        }
        Accepted::Failed(error) => common.say_own(now_ns, || {
            format!("a connection cannot be accepted: {error}")
        }),
    });
    let mut gathered = Gathered::default();
    streams.read(
        now_ns,
        |octets, source| gathered.take(octets, source, now_ns, common),
        |gone| end(common, &gone, now_ns),
    );
    gathered.hand_over(common)
}

/// Reads what has reached the connections until now, and closes them.
///
/// # Errors
/// If the writer's thread died, or what the operating system says.
pub fn finish(mut streams: Connections, common: &Common, poll: &mut Poll) -> Result<()> {
    let mut events = Events::with_capacity(CONNECTIONS_MAX);
    for _ in 0..LAST_TURNS_MAX {
        wait(Some(&mut streams), poll, &mut events, Duration::ZERO)?;
        if !streams.is_any_ready() {
            break;
        }
        take(&mut streams, common, poll.registry())?;
    }
    let now_ns = clock::unix_ns();
    // Their exporters stay in the last account.
    streams.finish(|gone| account(common, &gone, now_ns));
    Ok(())
}

/// Waits until something comes, and tells the connections.
///
/// # Errors
/// What the operating system says.
pub fn wait(
    streams: Option<&mut Connections>,
    poll: &mut Poll,
    events: &mut Events,
    wait: Duration,
) -> io::Result<()> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        _ => {}
    }
    if let Some(streams) = streams {
        events.iter().for_each(|event| streams.ready(event.token()));
    }
    Ok(())
}

/// A connection is no more, and with it what was known of its exporter.
fn end(common: &Common, gone: &Gone, now_ns: u64) {
    let Source {
        address, session, ..
    } = gone.source;
    common.shards.end_session(address, session);
    account(common, gone, now_ns);
}

fn account(common: &Common, gone: &Gone, now_ns: u64) {
    let Gone {
        source,
        ended,
        octets_left,
    } = gone;
    let octets_left = *octets_left as u64;
    let is_broken = matches!(ended, Ended::Broken(_));
    common.shards.count(|counted| {
        counted.streams_broken += u64::from(is_broken);
        counted.streams_idle += u64::from(matches!(ended, Ended::Idle));
        counted.streams_forgotten += u64::from(matches!(ended, Ended::Forgotten));
        counted.streams_cut_off += u64::from(!is_broken && octets_left > 0);
        counted.stream_octets_left += octets_left;
    });
    let why = match ended {
        Ended::Closed if octets_left == 0 => return,
        // The message said so.
        Ended::Forgotten => return,
        Ended::Closed => "its connection ended in the middle of a message".to_owned(),
        Ended::Idle => {
            "its connection is closed: it was silent for long, and others want its place".to_owned()
        }
        Ended::Failed(error) => format!("its connection failed: {error}"),
        Ended::Broken(error) => {
            format!("its connection is closed, since IPFIX has version 10 and {error}")
        }
    };
    common.say(source, Kind::Stream, now_ns, || why);
}
