//! Export under mass expiry: a million flows are over at once, while packets keep coming, and go to a
//! collector with a receive buffer of the default size. No packet of the path and no datagram may be
//! lost. softflowd does the same beside it, if it is installed, on `softflowctl expire-all`.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use weir_benches::live::{
    generator::{Generator, Order},
    receiver::number_after,
    trial,
};
use weir_sensor::clock::Now;
use weir_tests::{
    netns::{self, Pair},
    process::Daemon,
    wire,
};

use crate::{
    bars::{Bar, Report},
    collector::{ADDRESS, Collector, Received},
    sensor::{self, Sensor, of},
    veth,
};

/// Flows that are over at once,
const FLOWS: u32 = 1_000_000;
/// and those that go on: the first ones of all.
const PATH_FLOWS: u32 = 1_000;
const PATH_PPS: u64 = 100_000;
const FILL_PPS: u64 = 1_000_000;
/// Sweeps are at 0, 4, 8 and 12 s. Flows opened between the first and 3 s are over between 9 s and 12 s,
/// so one sweep finds all of them, the fourth.
const TIMEOUTS: &str = "-t idle=9s -t tcp.rst=9s -t tcp.fin=9s -t expint=4s";
const FILL_MAX: Duration = Duration::from_millis(2500);
/// A collector that got nothing for so long, after it got something, has got all.
const PAUSE: Duration = Duration::from_secs(2);
/// What is awaited comes within this, or not at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what is still in the receiver's queue.
const SETTLE: Duration = Duration::from_millis(500);

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let pair = trial::pair()?;
    eprintln!("export: {FLOWS} flows over at once, half a minute");
    weir(report, &pair)?;
    if quick {
        return Ok(());
    }
    if Command::new("softflowd").arg("-h").output().is_err() {
        eprintln!("export: softflowd is not compared: it is not installed");
        return Ok(());
    }
    eprintln!("export: the same with softflowd");
    // Context only: what it cannot do is no reason to fail.
    if let Err(error) = softflowd(report, &pair) {
        eprintln!("export: softflowd is not compared: {error:#}");
    }
    Ok(())
}

fn weir(report: &mut Report, pair: &Pair) -> Result<()> {
    let collector = Collector::open(&pair.b, FLOWS.into())?;
    let all = FLOWS + PATH_FLOWS;
    let sensor = Sensor::start(pair, &format!("-m {all} -n {ADDRESS} {TIMEOUTS}"))?;
    let began = Now::read();
    let mut sent = fill(pair, FILL_PPS)?;
    let filled_ns = Now::read().monotonic_ns - began.monotonic_ns;
    ensure!(
        u128::from(filled_ns) < FILL_MAX.as_nanos(),
        "the machine is too busy: {all} flows took {filled_ns} ns to send, and two sweeps would share them"
    );
    sent += path(pair, || collector.is_done(PAUSE))?;
    thread::sleep(SETTLE);
    let account = sensor.stop()?;
    let received = collector.close()?;
    let lost = sent.abs_diff(of(&account, "packets_exported")?);
    let datagrams = of(&account, "datagrams_sent")? + of(&account, "datagrams_unsent")?;
    let Received {
        missing,
        kernel_drops,
        unreadable,
        ..
    } = received;
    ensure!(
        unreadable == 0,
        "{unreadable} datagrams could not be read: templates come first"
    );
    report.bar(
        "packets lost while 1M flows expire at once",
        "packets",
        lost as f64,
        Bar::at_most(0.0, 0.0),
        format!("{sent} sent, {PATH_PPS} a second of them meanwhile; each has to be in a record"),
    );
    report.bar(
        "datagrams lost there, receive buffer of the default size",
        "datagrams",
        datagrams.abs_diff(received.datagrams) as f64,
        Bar::at_most(0.0, 0.0),
        format!("of {datagrams}; {missing} missing by sequence number, {kernel_drops} dropped by the kernel"),
    );
    report.bar(
        "export of 1M flows at once",
        "s",
        seconds(&received),
        Bar::aim_at_most(2.0),
        "from the first datagram to the one that completes them; the must is that nothing is lost",
    );
    Ok(())
}

fn softflowd(report: &mut Report, pair: &Pair) -> Result<()> {
    /// New flows cost it 3 µs and more.
    const SLOW_PPS: u64 = 100_000;
    let folder = tempfile::tempdir()?;
    let control = folder.path().join("control").display().to_string();
    let collector = Collector::open(&pair.b, FLOWS.into())?;
    let room = 2 * FLOWS;
    let arguments = format!("-d -i {} -v 9 -n {ADDRESS} -m {room} -c {control}", pair.b);
    let mut command = pair.command_in_b(Path::new("softflowd"));
    command.args(arguments.split(' '));
    let mut daemon = Daemon::start(command, &folder.path().join("log"))?;
    daemon.wait_for("starting data collection")?;
    let control = |word: &str| {
        let mut command = Command::new("softflowctl");
        command.args(["-c", &control, word]);
        command
    };
    let dropped = || -> Result<u64> {
        let answer = control("statistics").output().context("softflowctl")?;
        let statistics = String::from_utf8_lossy(&answer.stdout);
        number_after(&statistics, "Packets dropped by libpcap:")
            .with_context(|| format!("softflowd's statistics: {statistics}"))
    };
    let filled = fill(pair, SLOW_PPS)?;
    thread::sleep(SETTLE);
    let dropped_before = dropped()?;
    let mut expire = control("expire-all");
    let mut expire = expire
        .stdout(Stdio::null())
        .spawn()
        .context("softflowctl")?;
    // It answers when it is through; the traffic fills up its ring's blocks meanwhile.
    let meanwhile = path(pair, || {
        collector.is_done(PAUSE) && matches!(expire.try_wait(), Ok(Some(_)))
    });
    let _ = expire.kill();
    let _ = expire.wait();
    let dropped = dropped();
    let _ = control("exit").output();
    daemon.wait(PATIENCE)?;
    let (received, meanwhile) = (collector.close()?, meanwhile?);
    for (what, figure, unit) in [
        ("datagrams received", received.datagrams, "datagrams"),
        ("datagrams lost", received.kernel_drops, "datagrams"),
        ("packets sent meanwhile", meanwhile, "packets"),
        (
            "packets its ring dropped meanwhile",
            dropped? - dropped_before,
            "packets",
        ),
        ("packets sent before", filled, "packets"),
        ("packets its ring dropped before", dropped_before, "packets"),
    ] {
        report.context(
            format!("softflowd, {FLOWS} flows expired at once: {what}"),
            figure as f64,
            unit,
        );
    }
    Ok(())
}

/// Opens all flows, a packet each; packets sent.
fn fill(pair: &Pair, rate: u64) -> Result<u64> {
    let order = Order {
        packets: u64::from(FLOWS + PATH_FLOWS),
        rate,
        most_ns: u64::MAX,
    };
    Ok(sensor::send(pair, &veth::plan(None), &order)?.packets)
}

/// Sends packets of the flows that go on until it is over; how many.
fn path(pair: &Pair, mut is_over: impl FnMut() -> bool + Send) -> Result<u64> {
    let order = Order {
        packets: PATH_PPS / 4,
        rate: PATH_PPS,
        most_ns: u64::MAX,
    };
    trial::apart(|| {
        netns::enter(&pair.a)?;
        wire::pin(0)?;
        let mut generator = Generator::new(&pair.a, &veth::plan(Some(PATH_FLOWS)))?;
        let (began, mut packets) = (Now::read(), 0);
        loop {
            packets += generator.send(&order)?.packets;
            let elapsed_ns = Now::read().monotonic_ns - began.monotonic_ns;
            if is_over() || u128::from(elapsed_ns) > PATIENCE.as_nanos() {
                return Ok(packets);
            }
        }
    })
}

/// From the first datagram to the one that completed what was awaited.
fn seconds(received: &Received) -> Option<f64> {
    let elapsed_ns = received.complete_ns? - received.first_ns?;
    Some(elapsed_ns as f64 / 1e9)
}
