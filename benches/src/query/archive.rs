//! Thirty days of flows as weir-collector leaves them by the package's configuration: windows of five minutes, of
//! each hour made one sorted file (`recompact`). And the same flows in nfcapd's files. Weir's are written anew each
//! time, so that they are what the store writes now; nfcapd takes datagrams only, which costs minutes, so its files are
//! kept below `target/` as long as the flows are the same.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher},
};
use weir_netflow::{ExportTime, FlowRecord};
use weir_store::{
    closed::ClosedWriter,
    layout,
    schema::{self, StoredFlow},
};
use weir_tests::{
    port,
    process::{self, Daemon},
};

use crate::{
    buffer::{BUFFER_OCTETS, BufferLimit},
    campus::{Campus, Family},
    collect::{Nfcapd, Who, binary, nfdump_flows},
    interrupt,
    progress::Progress,
    replay::{Encoded, Sender},
};

const HOURS: u64 = 30 * 24;
const HOUR_S: u64 = 3600;
const WINDOW_S: u64 = 300;
const NS_PER_S: u64 = 1_000_000_000;
/// 2026-10-01 00:00 UTC: the same flows each time.
const START_S: u64 = 1_790_812_800;
const SEED: u64 = 30;
/// The exporter booted a day before.
const UPTIME_S: u64 = 86_400;
/// Flows given to a file at once.
const BATCH_FLOWS: usize = 16_384;

/// A host of few flows in few files, for whom there is a hunt.
pub const HUNTED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// It shows up in one hour of so many, …
const HUNTED_EVERY: u64 = 97;
/// … in so many flows.
const HUNTED_FLOWS: usize = 3;

/// The small files of the directory that only has to be opened.
const SMALL_FILES: u64 = 1000;
const SMALL_FLOWS: u64 = 100;

/// Flows a second to nfcapd at first; half as many if it loses any.
const RATE: u64 = 250_000;
const TRIES: u32 = 3;
/// Ending of the file that says which flows nfcapd's files hold, once they are complete. It is not among
/// them: nfdump reads whatever it finds.
const MARKER: &str = "complete";

/// The files.
pub struct Archive {
    /// Directory of Weir's.
    pub weir: PathBuf,
    /// Directory of nfcapd's.
    pub nfdump: PathBuf,
    /// Directory of a thousand small ones of Weir's.
    pub small: PathBuf,
    /// Flows in each of the first two.
    pub flows: u64,
    /// Octets of Weir's files, and of nfcapd's.
    pub octets: (u64, u64),
}

impl Archive {
    /// Writes about so many flows, in whole hours.
    pub fn make(flows: u64, nfcapd: &Nfcapd) -> Result<Self> {
        let target = process::binaries()?;
        let target = target.parent().context("target/")?.join("bench-query");
        let an_hour = (flows / HOURS).max(HUNTED_FLOWS as u64);
        let archive = Self {
            weir: target.join("weir"),
            nfdump: target.join(format!("nfdump-{an_hour}")),
            small: target.join("small"),
            flows: an_hour * HOURS,
            octets: (0, 0),
        };
        let digest = archive.write_weir(an_hour)?;
        archive.write_small()?;
        let contents = format!("{} flows, digest {digest:016x}\n", archive.flows);
        let marker = archive.nfdump.with_extension(MARKER);
        if fs::read_to_string(&marker).ok().as_ref() != Some(&contents) {
            let _ = fs::remove_file(&marker);
            archive.write_nfdump(an_hour, nfcapd)?;
            fs::write(&marker, contents)?;
        }
        let octets = (octets_below(&archive.weir)?, octets_below(&archive.nfdump)?);
        Ok(Self { octets, ..archive })
    }

    /// Returns a digest of all flows.
    fn write_weir(&self, an_hour: u64) -> Result<u64> {
        let progress = Progress::new(HOURS)?;
        let mut campus = Campus::new(Family::Both, SEED);
        let mut digest = 0;
        empty(&self.weir)?;
        for hour in 0..HOURS {
            interrupt::go_on()?;
            progress.begin(format!("writing {} flows as Parquet", self.flows));
            let flows = flows_of(&mut campus, hour, an_hour);
            digest = flows.iter().fold(digest, digested);
            let a_window = flows.len().div_ceil(usize::try_from(HOUR_S / WINDOW_S)?);
            for (window, flows) in (0..).zip(flows.chunks(a_window)) {
                let start_s = START_S + hour * HOUR_S + window * WINDOW_S;
                write_file(&self.weir, start_s, flows)?;
            }
            progress.step(1);
        }
        progress.begin("making one file of each hour's");
        fs::create_dir_all(layout::open_folder(&self.weir))?;
        let collector = binary("weir-collector")?;
        let recompact = Command::new(collector)
            .arg("recompact")
            .arg(&self.weir)
            .output()?;
        ensure!(
            recompact.status.success(),
            "weir-collector recompact: {}",
            String::from_utf8_lossy(&recompact.stderr)
        );
        Ok(digest)
    }

    fn write_small(&self) -> Result<()> {
        let mut campus = Campus::new(Family::Both, SEED);
        empty(&self.small)?;
        for number in 0..SMALL_FILES {
            let flows = flows_of(&mut campus, 0, SMALL_FLOWS);
            write_file(&self.small, START_S + 300 * number, &flows)?;
        }
        Ok(())
    }

    fn write_nfdump(&self, an_hour: u64, nfcapd: &Nfcapd) -> Result<()> {
        let _raised = BufferLimit::raise()?;
        let mut rate = RATE;
        for _ in 0..TRIES {
            self.send_all(an_hour, rate, nfcapd)?;
            let kept = nfdump_flows(&self.nfdump)?;
            if kept == self.flows {
                return Ok(());
            }
            eprintln!(
                "query: nfcapd kept {kept} of {} flows at {rate} a second; again, at half of that",
                self.flows
            );
            rate /= 2;
        }
        bail!("nfcapd loses flows at {rate} a second: is the machine busy?")
    }

    fn send_all(&self, an_hour: u64, rate: u64, nfcapd: &Nfcapd) -> Result<()> {
        /// For what is in its receive buffer.
        const SETTLE: Duration = Duration::from_secs(2);
        empty(&self.nfdump)?;
        let port = port::free()?;
        let mut command = Command::new("nfcapd");
        command
            .arg("-w")
            .arg(&self.nfdump)
            .args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "60"])
            .args(["-B", &BUFFER_OCTETS.to_string()])
            .arg(nfcapd.option(Who::Lz4));
        let log = self.nfdump.with_extension("log");
        let mut daemon = Daemon::start(command, &log)?;
        daemon.wait_for("Startup nfcapd")?;
        thread::sleep(Duration::from_millis(300));
        let progress = Progress::new(HOURS)?;
        let mut campus = Campus::new(Family::Both, SEED);
        let mut batcher = Batcher::new(BatchOptions::new(Version::V9));
        let mut sender = Sender::new(port, rate)?;
        for hour in 0..HOURS {
            interrupt::go_on()?;
            progress.begin(format!("sending {} flows to nfcapd", self.flows));
            let passed_s = (hour + 1) * HOUR_S;
            let now = ExportTime {
                unix_ns: (START_S + passed_s) * NS_PER_S,
                uptime_ms: (UPTIME_S + passed_s) * 1000,
            };
            let mut datagrams: Vec<Encoded> = Vec::new();
            for flow in flows_of(&mut campus, hour, an_hour) {
                datagrams.extend(batcher.push(&flow, &now).map(Encoded::from));
            }
            datagrams.extend(batcher.flush(&now).map(Encoded::from));
            sender.send(&datagrams)?;
            progress.step(1);
        }
        thread::sleep(SETTLE);
        let status = daemon.stop()?;
        ensure!(status.success(), "nfcapd ended with {status}");
        Ok(())
    }
}

/// The flows exported in an hour, by its number.
fn flows_of(campus: &mut Campus, hour: u64, count: u64) -> Vec<FlowRecord> {
    let began_ns = (START_S + hour * HOUR_S) * NS_PER_S;
    let apart_ns = HOUR_S * NS_PER_S / count.max(1);
    let flow = |number| campus.flow(began_ns + apart_ns * number);
    let mut flows: Vec<_> = (0..count).map(flow).collect();
    if hour % HUNTED_EVERY == 13 {
        let v4 = flows.iter_mut().filter(|flow| !flow.v6);
        for flow in v4.take(HUNTED_FLOWS) {
            flow.source = HUNTED.to_ipv6_mapped();
        }
    }
    flows
}

fn write_file(root: &Path, start_s: u64, flows: &[FlowRecord]) -> Result<()> {
    let start = i64::try_from(start_s)?;
    let path = layout::closed_path(root, start, &layout::window_stem(start));
    let hour = path.parent().context("an hour's folder")?;
    fs::create_dir_all(hour).with_context(|| format!("cannot make {}", hour.display()))?;
    let notes = [("weir.exporters".to_owned(), "[]".to_owned())];
    let mut file = ClosedWriter::create(&path, &notes)?;
    let stored: Vec<_> = flows.iter().map(stored).collect();
    for flows in stored.chunks(BATCH_FLOWS) {
        file.write(&schema::batch(flows)?)?;
    }
    file.finish()?;
    Ok(())
}

/// As it would have been taken when it was over.
fn stored(record: &FlowRecord) -> StoredFlow {
    StoredFlow {
        record: *record,
        received_ns: record.end_ns + NS_PER_S,
        exporter: Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        source_id: 0,
        version: 9,
        others: weir_store::others::Others::NONE,
    }
}

/// Of the flows so far, and one more: other flows have another.
fn digested(digest: u64, flow: &FlowRecord) -> u64 {
    let words = [
        low(flow.source),
        low(flow.destination),
        u64::from(flow.source_port) << 16 | u64::from(flow.destination_port),
        u64::from(flow.tcp_flags) << 16 | u64::from(flow.protocol) << 8 | u64::from(flow.tos),
        flow.octets,
        flow.packets,
        flow.start_ns,
        flow.end_ns,
    ];
    words.into_iter().fold(digest, |digest, word| {
        (digest.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// The half of an address that tells hosts apart.
fn low(address: Ipv6Addr) -> u64 {
    u64::try_from(address.to_bits() & u128::from(u64::MAX)).unwrap_or(0)
}

/// Makes a folder with nothing in it.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn octets_below(folder: &Path) -> Result<u64> {
    let mut octets = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        octets += match entry.file_type()? {
            kind if kind.is_dir() => octets_below(&entry.path())?,
            _ => entry.metadata()?.len(),
        };
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(seed: u64) -> u64 {
        let mut campus = Campus::new(Family::Both, seed);
        flows_of(&mut campus, 5, 1000).iter().fold(0, digested)
    }

    #[test]
    fn the_same_flows_have_the_same_digest_and_others_another() {
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
        let mut campus = Campus::new(Family::Both, 1);
        let mut flows = flows_of(&mut campus, 5, 1000);
        flows[500].octets += 1;
        assert_ne!(flows.iter().fold(0, digested), digest(1));
    }

    #[test]
    fn the_hunted_host_is_in_few_hours() {
        let mut campus = Campus::new(Family::Both, SEED);
        let with_it = (0..HOURS).filter(|hour| {
            let flows = flows_of(&mut campus, *hour, 50);
            let hunted = HUNTED.to_ipv6_mapped();
            let found = flows.iter().filter(|flow| flow.source == hunted).count();
            assert!(found == 0 || found == HUNTED_FLOWS);
            found > 0
        });
        assert_eq!(with_it.count(), 8);
    }

    #[test]
    fn files_are_where_the_reader_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut campus = Campus::new(Family::Both, SEED);
        for hour in 0..3 {
            let flows = flows_of(&mut campus, hour, 100);
            write_file(folder.path(), START_S + hour * HOUR_S, &flows).unwrap();
        }
        let files = weir_store::read::list(folder.path()).unwrap();
        let flows = files
            .closed
            .iter()
            .map(|path| weir_store::footer::read(path).unwrap().flows);
        assert_eq!((files.closed.len(), flows.sum::<u64>()), (3, 300));
    }
}
