//! A capture file through to records, beside softflowd and nfpcapd on the same file.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use weir_benches::live::receiver::weir_sensor;
use weir_sensor::clock::Now;
use weir_tests::traffic::{self, Random};

use crate::{
    bars::{Bar, Report},
    cpu::median,
    sensor::of,
};

const FLOWS: u64 = 100_000;
const ROUNDS: usize = 3;
const WEIR: &str = "Weir";
/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:9";
/// Reading the file and no more, on the blueprint's machine.
const BLUEPRINT_READ_NS: f64 = 11.0;

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let packets: u64 = if quick { 300_000 } else { 5_000_000 };
    eprintln!("capture file: {packets} packets of {FLOWS} flows");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bench.pcap");
    write_capture(&path, packets)?;
    let account = folder.path().join("account");
    let mut programs = programs(&account, folder.path(), &path)?;
    let mut figures: [Vec<f64>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    let mut floor = Vec::new();
    for _ in 0..ROUNDS {
        let before = Now::read().monotonic_ns;
        read_through(&path)?;
        floor.push((Now::read().monotonic_ns - before) as f64 / packets as f64);
        for ((name, command), figures) in programs.iter_mut().zip(&mut figures) {
            let before = Now::read().monotonic_ns;
            match command.status() {
                Ok(status) if status.success() => {
                    figures.push((Now::read().monotonic_ns - before) as f64 / packets as f64);
                }
                Err(error) if *name == WEIR => return Err(error).context("weir-sensor"),
                Ok(status) if *name == WEIR => bail!("weir-sensor: {status}"),
                _ => {}
            }
        }
    }
    check(&account, packets)?;
    let [weir, softflowd, nfpcapd] = figures;
    report.bar(
        "capture file to records",
        "ns/packet",
        median(weir),
        Bar::at_most(150.0, 100.0).with_floor(median(floor), BLUEPRINT_READ_NS),
        "sent too, at the pace of 24,000 datagrams a second; the floor is the reading of the file",
    );
    for (name, figures) in [("softflowd", softflowd), ("nfpcapd", nfpcapd)] {
        if !figures.is_empty() {
            report.context(
                format!("capture file, {name}"),
                median(figures),
                "ns/packet",
            );
        }
    }
    Ok(())
}

/// Who reads the file, and sends what it makes of it, or writes it to the folder.
fn programs(account: &Path, folder: &Path, capture: &Path) -> Result<[(&'static str, Command); 3]> {
    let (account, folder) = (account.to_string_lossy(), folder.to_string_lossy());
    let weir = ["-n", NOBODY, "--statistics-json", &account, "-r"];
    let softflowd = ["-m", "200000", "-v", "9", "-n", NOBODY, "-r"];
    let nfpcapd = ["-w", &*folder, "-r"];
    Ok([
        (WEIR, command(&weir_sensor()?, &weir, capture)),
        ("softflowd", command("softflowd", &softflowd, capture)),
        ("nfpcapd", command("nfpcapd", &nfpcapd, capture)),
    ])
}

/// Every packet is in a record, and there is one of each flow.
fn check(account: &Path, packets: u64) -> Result<()> {
    let account: Value = serde_json::from_str(&fs::read_to_string(account)?)?;
    let (exported, records) = (of(&account, "packets_exported")?, of(&account, "records")?);
    ensure!(
        (exported, records) == (packets, FLOWS),
        "{packets} packets of {FLOWS} flows became {exported} in {records} records: {account:#}"
    );
    Ok(())
}

/// Packets of flows drawn evenly.
fn write_capture(path: &Path, packets: u64) -> Result<()> {
    let mut random = Random::new(11);
    let frames: Vec<_> = (0..FLOWS)
        .map(|flow| traffic::flood_frame(u32::try_from(flow).unwrap_or(0)))
        .collect();
    let order =
        (0..packets).map(|_| frames[usize::try_from(random.below(FLOWS)).unwrap_or(0)].as_slice());
    let file = traffic::capture_file(order, |index| 1_700_000_000_000_000 + index * 10);
    Ok(fs::write(path, file)?)
}

fn read_through(path: &Path) -> io::Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn command(program: &str, arguments: &[&str], path: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
