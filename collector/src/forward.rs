//! Forwarding: flows that a filter keeps, encoded anew, to another collector. Each target has a thread and a
//! queue of its own.

use std::{
    net::SocketAddr,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use crossbeam::channel::RecvTimeoutError;
use serde_json::{Map, Value};
use weir_exporter::{Version, pace::Pace};
use weir_netflow::ExportTime;
use weir_store::schema::StoredFlow;

use crate::{
    aside::{Aside, Pieces},
    clock,
    flow_filter::FlowFilter,
    outlet::{Account, Outlet, Passed},
};

/// Batches of flows that wait for a target.
const BATCHES_MAX: usize = 64;
/// How often is looked whether a datagram has waited long enough.
const LOOK: Duration = Duration::from_millis(200);
/// sysUptime at the start: hardly a flow that comes began before that, and a restart shows.
const UPTIME_MS: u64 = 86_400_000;

/// What is counted of each target, and what it means.
pub const COUNTS: [(&str, &str); 9] = [
    ("forward_filtered", "Flows that the filter did not keep."),
    ("forward_exported", "Flow records sent, after splitting."),
    (
        "forward_split",
        "Flow records there are more by splitting counts that do not fit.",
    ),
    ("forward_unsupported", "Flows that the format cannot carry."),
    (
        "forward_unsent",
        "Flow records in datagrams that could not be sent.",
    ),
    (
        "forward_left_out",
        "Flows that were not encoded, since too many waited.",
    ),
    (
        "forward_reduced",
        "Flows encoded without something that the format has no place for.",
    ),
    ("forward_datagrams", "Datagrams sent."),
    (
        "forward_domains_reused",
        "Domains that became another exporter's, since nothing came from theirs for five minutes.",
    ),
];

/// A target, as `v9:ADDR:PORT[=FILTER]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardTo {
    /// The format.
    pub version: Version,
    /// Where.
    pub address: SocketAddr,
    /// Which flows; none: all.
    pub filter: Option<FlowFilter>,
}

impl FromStr for ForwardTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is no target: write v9:192.0.2.1:2055, or v9:192.0.2.1:2055='proto tcp'"
            )
        };
        let (version, rest) = text.split_once(':').ok_or_else(form)?;
        let (address, filter) = match rest.split_once('=') {
            Some((address, filter)) => (address, Some(filter.parse()?)),
            None => (rest, None),
        };
        Ok(Self {
            version: self::version(version)?,
            address: address.parse().map_err(|_| form())?,
            filter,
        })
    }
}

/// A format by its name or number.
///
/// # Errors
/// If there is none of that name.
pub fn version(text: &str) -> Result<Version, String> {
    match text {
        "5" | "v5" => Ok(Version::V5),
        "9" | "v9" => Ok(Version::V9),
        "10" | "v10" | "ipfix" => Ok(Version::Ipfix),
        _ => Err(format!(
            "`{text}` is no format to send: write v5, v9 or ipfix"
        )),
    }
}

/// A target with its socket; nothing is sent yet.
pub struct Opened {
    to: ForwardTo,
    outlet: Outlet,
}

/// A target's near end.
#[derive(Debug)]
pub struct Forward {
    to: ForwardTo,
    aside: Aside<Vec<Passed>>,
    filtered: AtomicU64,
    account: Arc<Mutex<Account>>,
}

impl Forward {
    /// Opens a target's socket.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn open(to: &ForwardTo) -> Result<Opened> {
        let pace = Pace::default();
        Ok(Opened {
            to: to.clone(),
            outlet: Outlet::open(to.address, to.version, Some(pace))?,
        })
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(Opened { to, mut outlet }: Opened) -> Result<Self> {
        let account = Arc::new(Mutex::new(Account::default()));
        let theirs = Arc::clone(&account);
        let work = move |batches: Pieces<Vec<Passed>>| {
            let start_ns = clock::monotonic_ns();
            let now = || now(start_ns);
            loop {
                let is_end = match batches.next_within(LOOK) {
                    Ok(flows) => {
                        let now = now();
                        for flow in &flows {
                            outlet.push(flow, &now);
                        }
                        false
                    }
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => true,
                };
                if is_end {
                    outlet.flush(&now());
                } else {
                    outlet.flush_if_due(&now());
                }
                *theirs.lock().unwrap_or_else(PoisonError::into_inner) = outlet.account();
                if is_end {
                    return;
                }
            }
        };
        Ok(Self {
            to,
            aside: Aside::start("forward", BATCHES_MAX, work)?,
            filtered: AtomicU64::new(0),
            account,
        })
    }

    /// Gives it the flows that are meant; it never waits.
    pub fn offer(&self, flows: &[StoredFlow]) {
        let is_meant = |flow: &&StoredFlow| {
            let filter = self.to.filter.as_ref();
            filter.is_none_or(|filter| filter.keeps(flow))
        };
        let meant: Vec<Passed> = flows.iter().filter(is_meant).map(Passed::from).collect();
        let filtered = (flows.len() - meant.len()) as u64;
        self.filtered.fetch_add(filtered, Ordering::Relaxed);
        if !meant.is_empty() {
            self.aside.offer(meant.len() as u64, || meant);
        }
    }

    /// Where its flows go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.to.address
    }

    /// Flows that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.aside.waiting()
    }

    /// What became of them so far, as [`COUNTS`] names it.
    #[must_use]
    pub fn counts(&self) -> [u64; COUNTS.len()] {
        let filtered = self.filtered.load(Ordering::Relaxed);
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        counts(filtered, &account, self.aside.left_out())
    }

    /// Ends it; its account.
    #[must_use]
    pub fn finish(self) -> Value {
        let offered = self.aside.finish();
        let account = *self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = offered.saturating_sub(account.export.records.records);
        let counts = counts(self.filtered.into_inner(), &account, left_out);
        let names = COUNTS.iter().map(|(name, _)| (*name).to_owned());
        let mut told = Map::new();
        told.insert("target".to_owned(), self.to.address.to_string().into());
        told.extend(names.zip(counts.map(Value::from)));
        told.into()
    }
}

fn counts(filtered: u64, account: &Account, left_out: u64) -> [u64; COUNTS.len()] {
    let counters = &account.export;
    [
        filtered,
        counters.records_exported.records,
        counters.records_split,
        counters.records_unsupported.records,
        counters.records_unsent.records,
        left_out,
        account.reduced,
        counters.datagrams_sent,
        account.reused,
    ]
}

/// The clocks of an exporter that started then.
fn now(start_ns: u64) -> ExportTime {
    let up_ns = clock::monotonic_ns().saturating_sub(start_ns);
    ExportTime {
        unix_ns: clock::unix_ns(),
        uptime_ms: UPTIME_MS + up_ns / 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let to: ForwardTo = "v9:192.0.2.1:2055".parse().unwrap();
        assert_eq!((to.version, to.filter), (Version::V9, None));
        let to: ForwardTo = "ipfix:[2001:db8::1]:4739=dst port >= 1024".parse().unwrap();
        assert_eq!(to.address, "[2001:db8::1]:4739".parse().unwrap());
        assert!(to.filter.is_some());
        for (wrong, words) in [
            ("192.0.2.1:2055", "`192.0.2.1` is no format"),
            ("v9", "is no target"),
            ("v8:192.0.2.1:2055", "`v8` is no format"),
            ("v9:router:2055", "is no target"),
            ("v9:192.0.2.1:2055=bytes 7", "`bytes` does not fit"),
        ] {
            let says = wrong.parse::<ForwardTo>().unwrap_err();
            assert!(says.contains(words), "{wrong}: {says}");
        }
    }
}
