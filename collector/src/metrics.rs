//! What the collector counts, as Prometheus reads it: the figures of `--statistics-json` under their names
//! there, with `weir_collector_` before them, those of each exporter and of each target by labels, and how long
//! the queues are.

use std::{
    cmp::Reverse,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use weir_service::metrics::{Labels, Page};
use weir_store::system;

use crate::{
    onward::Onward, receiving, recompacting, shards::Shards, statistics::Statistics, upkeep::Done,
    writer,
};

/// Exporters told of one by one, those with the most datagrams: each is a dozen time series. The sums are of
/// all.
const EXPORTERS_MAX: usize = 256;

/// Of each exporter: name, key in its account, meaning.
const EXPORTER: &[(&str, &str, &str)] = &[
    (
        "exporter_datagrams",
        "datagrams",
        "Datagrams heard from the exporter.",
    ),
    ("exporter_records", "records", "Flow records in them."),
];

/// Likewise, what goes up and down: so does what was lost, since what comes late after all was not, and with it what else
/// is read out of numbers.
const EXPORTER_NOW: &[(&str, &str, &str)] = &[
    (
        "exporter_lost",
        "lost",
        "Records, or with v9 and sFlow datagrams, that the exporter sent and that did not arrive; fewer again when they come late. Not told of v1, which has no numbers.",
    ),
    (
        "exporter_reordered",
        "reordered",
        "Datagrams that came after later ones.",
    ),
    (
        "exporter_duplicated",
        "duplicated",
        "Datagrams that came twice.",
    ),
    (
        "exporter_restarts",
        "restarts",
        "Times the exporter began anew.",
    ),
    (
        "exporter_doubtful",
        "doubtful",
        "Numbers that fitted nothing and were not believed.",
    ),
    (
        "exporter_templates",
        "templates",
        "Templates known of the exporter.",
    ),
    (
        "exporter_waiting_sets",
        "waiting_sets",
        "Data sets that wait for their template.",
    ),
];

/// What the receiving loop tells once a second.
#[derive(Debug, Default)]
pub struct Figures {
    accounts: Mutex<Value>,
    writer_batches: AtomicUsize,
}

impl Figures {
    /// Takes the exporters' accounts, that of those without one of their own, and the batches that wait for the
    /// writer. Files have no account of these: what is in it was told in the files of its time.
    pub fn update(&self, accounts: &Value, others: Option<Value>, writer_batches: usize) {
        let mut all = accounts.clone();
        if let Value::Array(all) = &mut all {
            all.extend(others);
        }
        *lock(&self.accounts) = all;
        self.writer_batches.store(writer_batches, Ordering::Relaxed);
    }
}

/// Where the figures are.
#[derive(Debug)]
pub struct Source {
    /// Where the flows are.
    pub directory: PathBuf,
    /// The exporters.
    pub shards: Arc<Shards>,
    /// The writing thread.
    pub writer: Arc<Mutex<writer::Progress>>,
    /// What follows rotations.
    pub upkeep: Arc<Mutex<Done>>,
    /// What became of small files.
    pub recompacting: Arc<Mutex<recompacting::Done>>,
    /// The receiving threads.
    pub receiving: Vec<Arc<receiving::Progress>>,
    /// The receiving loop.
    pub figures: Arc<Figures>,
    /// What is passed on, until it ends: whoever ends it needs it for itself.
    pub onward: Weak<Onward>,
}

impl Source {
    /// The figures as of now; those of single exporters as of the last second.
    #[must_use]
    pub fn page(&self) -> Page {
        let mut page = Page::default();
        let drops = self.receiving.iter().map(|thread| thread.kernel_drops());
        let statistics = Statistics {
            kernel_drops: drops.sum(),
            ..self.shards.statistics()
        };
        for (name, help, value) in statistics.each() {
            page.counter(name, help, value);
        }
        self.add_files(&mut page);
        if let Some(onward) = self.onward.upgrade() {
            onward.add_to(&mut page);
        }
        let (exporters, lost_records, lost_datagrams) = self.shards.heard_and_lost();
        page.gauge(
            "exporters",
            "Exporters heard that are known now.",
            gauge(exporters),
        );
        page.gauge(
            "lost_records",
            "Records that exporters sent and that did not arrive, but for v9 and sFlow; fewer again when they come late.",
            gauge(lost_records),
        );
        page.gauge(
            "lost_datagrams",
            "Datagrams of v9 and sFlow that exporters sent and that did not arrive; likewise.",
            gauge(lost_datagrams),
        );
        let accounts = lock(&self.figures.accounts);
        add_exporters(
            &mut page,
            accounts.as_array().map_or(&[][..], Vec::as_slice),
        );
        page
    }

    fn add_files(&self, page: &mut Page) {
        let writer::Progress {
            written,
            windows_waiting,
        } = *lock(&self.writer);
        let done = *lock(&self.upkeep);
        for (name, help, value) in [
            (
                "records_written",
                "Flow records written to windows.",
                written.flows,
            ),
            (
                "records_unwritten",
                "Flow records that could not be written.",
                written.flows_unwritten,
            ),
            (
                "records_unreadable",
                "Flow records written that could not be read back.",
                written.flows_unreadable,
            ),
            (
                "windows_closed",
                "Windows closed into Parquet.",
                written.windows_closed,
            ),
            (
                "commands",
                "Commands of --on-rotate that ended well.",
                done.commands,
            ),
            (
                "commands_failed",
                "Commands of --on-rotate that did not.",
                done.commands_failed,
            ),
            (
                "commands_skipped",
                "Closed files whose command was never run.",
                done.commands_skipped,
            ),
            (
                "files_expired",
                "Closed files that expired.",
                done.files_expired,
            ),
        ] {
            page.counter(name, help, value);
        }
        // Closing them is tried again.
        page.gauge(
            "windows_kept",
            "Windows that could not be closed, or not whole.",
            gauge(written.windows_kept),
        );
        self.add_recompacted(page);
        self.add_room(page, windows_waiting);
    }

    fn add_recompacted(&self, page: &mut Page) {
        let recompacted = *lock(&self.recompacting);
        for (name, help, value) in [
            (
                "folders_recompacted",
                "Hours, or days, whose files became one (--recompact).",
                recompacted.folders,
            ),
            (
                "files_recompacted",
                "Files that they were.",
                recompacted.files,
            ),
            (
                "recompactions_failed",
                "Tries to recompact that came to nothing.",
                recompacted.failed,
            ),
        ] {
            page.counter(name, help, value);
        }
    }

    /// What waits, and how much room is left for it.
    fn add_room(&self, page: &mut Page, windows_waiting: usize) {
        let batches = self.figures.writer_batches.load(Ordering::Relaxed);
        page.gauge(
            "writer_queue_batches",
            "Batches of flows that wait to be written.",
            gauge(batches),
        );
        page.gauge(
            "windows_waiting",
            "Windows that wait to be closed.",
            gauge(windows_waiting),
        );
        // What cannot be asked is not told.
        if let Ok(octets) = system::free_octets(&self.directory) {
            let octets = i64::try_from(octets).unwrap_or(i64::MAX);
            page.gauge(
                "disk_free_octets",
                "Octets left on the file system of the flows.",
                octets,
            );
        }
    }
}

/// The accounts of the exporters that sent the most. Each has one, over all its connections.
fn add_exporters(page: &mut Page, accounts: &[Value]) {
    let mut exporters: Vec<&Value> = accounts.iter().collect();
    exporters.sort_by_key(|account| Reverse(account["datagrams"].as_u64()));
    let left_out = exporters.len().saturating_sub(EXPORTERS_MAX);
    exporters.truncate(EXPORTERS_MAX);
    page.gauge(
        "exporters_left_out",
        "Exporters that are in the sums only: others sent more.",
        gauge(left_out),
    );
    let labels = |account: &Value| -> Labels {
        let label = |name: &str| match &account[name] {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        vec![
            ("exporter", label("exporter")),
            ("version", label("version")),
            ("domain", label("source_id")),
        ]
    };
    // What an exporter's version cannot tell is null in its account.
    for (name, key, help) in EXPORTER {
        let value = |account: &&Value| Some((labels(account), account[*key].as_u64()?));
        page.counters(name, help, exporters.iter().filter_map(value));
    }
    for (name, key, help) in EXPORTER_NOW {
        let value = |account: &&Value| Some((labels(account), gauge(account[*key].as_u64()?)));
        page.gauges(name, help, exporters.iter().filter_map(value));
    }
}

fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// A thread that died in the middle left figures behind that are still right.
fn lock<T>(figures: &Mutex<T>) -> MutexGuard<'_, T> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(exporter: &str, domain: u32, datagrams: u64) -> Value {
        json!({
            "exporter": exporter, "version": 9, "source_id": domain, "port": 1, "datagrams": datagrams,
            "records": 2 * datagrams, "lost": 1, "lost_unit": "datagrams", "templates": 1,
            "waiting_sets": 0, "reordered": 0, "duplicated": 0, "restarts": 0, "doubtful": 0,
        })
    }

    #[test]
    fn the_exporters_that_sent_most_are_told_of_each_once() {
        let accounts: Vec<_> = (0..300)
            .map(|domain| account("192.0.2.1", domain, 1000 + u64::from(domain)))
            .collect();
        let mut page = Page::default();
        add_exporters(&mut page, &accounts);
        let text = page.encode("weir_collector");
        assert!(
            text.contains("\nweir_collector_exporters_left_out 44\n"),
            "{text}"
        );
        let of = |name: &str, domain: u32| {
            let start = format!(
                "weir_collector_{name}{{exporter=\"192.0.2.1\",version=\"9\",domain=\"{domain}\"}} "
            );
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(&start));
            let found: Option<u64> = lines.next().map(|value| value.parse().unwrap());
            assert!(lines.next().is_none(), "twice: {start}");
            found
        };
        assert_eq!(of("exporter_datagrams_total", 299), Some(1299));
        assert_eq!(of("exporter_lost", 299), Some(1));
        assert_eq!(of("exporter_templates", 100), Some(1));
        assert_eq!(of("exporter_datagrams_total", 44), Some(1044));
        assert_eq!(of("exporter_datagrams_total", 43), None);
    }
}
