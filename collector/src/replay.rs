//! `weir-collector replay`: flows of closed files to a collector, as datagrams of any version. The datagrams'
//! clock is that of the flows' receipt, so that flows have the times they had; the pace is as they came, so
//! many times that, or as fast as the socket takes them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDateTime};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use weir_exporter::Version;
use weir_netflow::ExportTime;
use weir_store::{StoreError, footer, read, rows, schema::StoredFlow, verify};

use crate::{
    clock, forward, maintain,
    outlet::{Outlet, Passed},
};

/// sysUptime when the first flow was received: no flow began before that.
const UPTIME_MS: u64 = 86_400_000;
/// Waits are cut into these, and shorter ones wait for the next flow's: the bar moves, and sleep is exact
/// to a millisecond at best.
const WAIT_MAX: Duration = Duration::from_millis(200);
const WAIT_MIN_NS: u64 = 2_000_000;
/// Flows that were received further apart do not share a datagram.
const DELAY_MAX_NS: u64 = 1_000_000_000;

/// What is replayed.
#[derive(Debug, Args)]
pub struct Replay {
    /// Directory of the flows, or one closed file
    #[arg(value_name = "DIR|FILE")]
    source: PathBuf,

    /// Collector to send to
    #[arg(long, value_name = "ADDR:PORT")]
    to: SocketAddr,

    /// Format: 5, 9 or 10 (IPFIX)
    #[arg(short = 'v', long = "format", value_name = "VERSION", default_value = "9", value_parser = forward::version)]
    format: Version,

    /// `recorded`, so many times as fast (10, 0.5), or `full`
    #[arg(long, value_name = "SPEED", default_value = "recorded")]
    speed: Speed,

    /// Flows received from this time on (2026-11-21T05:00:00, UTC)
    #[arg(long, value_name = "TIME", value_parser = time_ns)]
    from: Option<u64>,

    /// Flows received before this time
    #[arg(long, value_name = "TIME", value_parser = time_ns)]
    to_time: Option<u64>,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// So many times as fast as flows came.
    Times(f64),
    /// Without waiting.
    Full,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "recorded" => Ok(Self::Times(1.0)),
            "full" => Ok(Self::Full),
            _ => match text.parse::<f64>() {
                Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
                _ => Err(format!(
                    "`{text}` is no speed: write recorded, full, or how many times as fast (10)"
                )),
            },
        }
    }
}

fn time_ns(text: &str) -> Result<u64, String> {
    let time = text.trim_end_matches('Z');
    [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
    ]
    .iter()
    .find_map(|form| NaiveDateTime::parse_from_str(time, form).ok())
    .and_then(|time| time.and_utc().timestamp_nanos_opt())
    .and_then(|ns| u64::try_from(ns).ok())
    .ok_or_else(|| format!("`{text}` is no time: write 2026-11-21T05:00:00 (UTC)"))
}

/// Does it.
///
/// # Errors
/// If a file cannot be read, or a socket not be had.
pub fn run(options: &Replay) -> Result<ExitCode> {
    let (files, links) = files(&options.source)?;
    if options.speed != Speed::Full {
        assert_in_order(&files)?;
    }
    // A damaged file is named when it comes to it.
    let flows = files.iter().filter_map(|path| footer::read(path).ok());
    let total: u64 = flows.map(|footer| footer.flows).sum();
    let style = ProgressStyle::with_template(
        "  {bar:24} {human_pos} of {human_len} flows, {elapsed} of about {duration}  {msg}",
    )?;
    let bar = ProgressBar::new(total).with_style(style);
    let mut replaying = Replaying {
        options,
        outlet: Outlet::open(options.to, options.format, None)?,
        began: None,
        latest_ns: 0,
        left_out: 0,
        bar,
    };
    let mut faults = links;
    for path in &files {
        // One that cannot be read, or has expired meanwhile, is no reason to leave the others.
        faults += replaying.file(path).unwrap_or_else(|error| {
            let bar = &replaying.bar;
            bar.suspend(|| eprintln!("weir-collector: {error:#}"));
            1
        });
    }
    Ok(replaying.finish(faults))
}

/// The closed files that are meant, by time, and how many links to others are passed over.
fn files(source: &Path) -> Result<(Vec<PathBuf>, usize)> {
    let found =
        fs::metadata(source).with_context(|| format!("cannot open {}", source.display()))?;
    if found.is_file() {
        return Ok((vec![source.to_owned()], 0));
    }
    let files = read::list(source)?;
    let links = maintain::tell_links(source, &files)?;
    if files.closed.is_empty() {
        bail!(
            "there are no closed files in {}: the open window is replayed once it is closed",
            source.display()
        );
    }
    Ok((files.closed, links))
}

/// Refuses files whose flows are not in the order in which they came.
fn assert_in_order(files: &[PathBuf]) -> Result<()> {
    for path in files {
        if footer::has_note(path, "weir.recompacted").unwrap_or(false) {
            bail!(
                "{} was recompacted: its flows are in the order of their addresses, not as they came; --speed full replays it",
                path.display()
            );
        }
    }
    Ok(())
}

struct Replaying<'a> {
    options: &'a Replay,
    outlet: Outlet,
    /// When the first flow was received, and when it was sent, by the monotonic clock.
    began: Option<(u64, u64)>,
    latest_ns: u64,
    left_out: u64,
    bar: ProgressBar,
}

impl Replaying<'_> {
    /// Sends a file's flows; how many faults it has.
    fn file(&mut self, path: &Path) -> Result<usize> {
        let verified = verify::read_sound(path, |batch| {
            let flows = rows::flows(&batch).map_err(StoreError::arrow(path))?;
            for flow in &flows {
                self.flow(flow);
            }
            self.bar.inc(flows.len() as u64);
            Ok(())
        })?;
        for fault in &verified.faults {
            self.bar
                .suspend(|| eprintln!("weir-collector: {}: {fault}", path.display()));
        }
        Ok(verified.faults.len())
    }

    fn flow(&mut self, flow: &StoredFlow) {
        let received_ns = flow.received_ns;
        let Replay { from, to_time, .. } = self.options;
        let is_early = from.is_some_and(|from| received_ns < from);
        if is_early || to_time.is_some_and(|to| received_ns >= to) {
            self.left_out += 1;
            return;
        }
        let (first_ns, began_ns) = *self
            .began
            .get_or_insert_with(|| (received_ns, clock::monotonic_ns()));
        // What waits has its times told by the clock of its own days.
        if received_ns > self.latest_ns.saturating_add(DELAY_MAX_NS) {
            let now = self.export_time(first_ns);
            self.outlet.flush(&now);
        }
        self.latest_ns = self.latest_ns.max(received_ns);
        if let Speed::Times(times) = self.options.speed {
            self.wait_until(due_ns(first_ns, began_ns, self.latest_ns, times));
        }
        let now = self.export_time(first_ns);
        self.outlet.push(&Passed::from(flow), &now);
    }

    fn wait_until(&mut self, due_ns: u64) {
        let mut left_ns = due_ns.saturating_sub(clock::monotonic_ns());
        if left_ns < WAIT_MIN_NS {
            return;
        }
        // What waits in datagrams was due before.
        if let Some((first_ns, _)) = self.began {
            let now = self.export_time(first_ns);
            self.outlet.flush(&now);
        }
        while left_ns > 0 {
            thread::sleep(Duration::from_nanos(left_ns).min(WAIT_MAX));
            self.bar.tick();
            left_ns = due_ns.saturating_sub(clock::monotonic_ns());
        }
    }

    /// The exporter's clocks when the latest flow was received.
    fn export_time(&self, first_ns: u64) -> ExportTime {
        ExportTime {
            unix_ns: self.latest_ns,
            uptime_ms: UPTIME_MS + (self.latest_ns.saturating_sub(first_ns)) / 1_000_000,
        }
    }

    /// Sends the rest; the account goes to standard output.
    fn finish(mut self, faults: usize) -> ExitCode {
        if let Some((first_ns, _)) = self.began {
            let now = self.export_time(first_ns);
            self.outlet.flush(&now);
        }
        self.bar.finish_and_clear();
        let account = self.outlet.account();
        let counters = &account.export;
        let latest = DateTime::from_timestamp_nanos(i64::try_from(self.latest_ns).unwrap_or(0));
        let latest = match self.began {
            Some(_) => latest
                .format("; the last was received at %Y-%m-%d %H:%M:%S")
                .to_string(),
            None => String::new(),
        };
        println!(
            "{} flows read, {} outside the times asked for; {} records sent in {} datagrams ({} by splitting), {} that the format cannot carry, {} sent without something it has no place for, {} not sent{latest}",
            counters.records.records + self.left_out,
            self.left_out,
            counters.records_exported.records,
            counters.datagrams_sent,
            counters.records_split,
            counters.records_unsupported.records,
            account.reduced,
            counters.records_unsent.records,
        );
        if counters.records_unsent.records == 0 && faults == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// When a flow is due by the monotonic clock.
fn due_ns(first_ns: u64, began_ns: u64, received_ns: u64, times: f64) -> u64 {
    let since = Duration::from_nanos(received_ns.saturating_sub(first_ns));
    let wait = Duration::try_from_secs_f64(since.as_secs_f64() / times).unwrap_or(Duration::MAX);
    let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    began_ns.saturating_add(wait_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_and_times_are_read() {
        assert_eq!("recorded".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("full".parse(), Ok(Speed::Full));
        for wrong in ["0", "-1", "fast", "inf", "NaN", ""] {
            wrong.parse::<Speed>().unwrap_err();
        }
        assert_eq!(time_ns("1970-01-01T00:01:00"), Ok(60_000_000_000));
        assert_eq!(time_ns("1970-01-01 00:01:00.5Z"), Ok(60_500_000_000));
        assert_eq!(time_ns("1970-01-01T00:01"), Ok(60_000_000_000));
        time_ns("yesterday").unwrap_err();
        time_ns("1960-01-01T00:00:00").unwrap_err();
    }

    #[test]
    fn flows_are_due_as_they_came_or_so_many_times_as_fast() {
        const SECOND_NS: u64 = 1_000_000_000;
        for (times, due) in [(1.0, 70), (10.0, 16), (0.5, 130)] {
            assert_eq!(
                due_ns(0, 10 * SECOND_NS, 60 * SECOND_NS, times),
                due * SECOND_NS
            );
        }
        // One that was received before the first is due at once.
        assert_eq!(due_ns(5, 7, 3, 1.0), 7);
    }
}
