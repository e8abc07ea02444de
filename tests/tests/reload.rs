//! SIGHUP under traffic: what may change does, nothing is lost, and a broken file changes nothing.
#![expect(clippy::disallowed_methods, reason = "exporters have the time of day")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "a part of it is for other tests")]
mod site;
#[expect(dead_code, reason = "a part of it is for other tests")]
mod world;

use std::{
    fs,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use site::{Site, UNDER_WAY, v9_datagram};
use weir_tests::traffic::flood_frame;
use world::{Sink, World, of};

const FIRST: &str = "127.0.0.1:2055";
const SECOND: &str = "127.0.0.1:2056";

#[test]
fn a_sensor_takes_over_destinations_and_timeouts_and_loses_nothing() {
    let world = World::new("rl1");
    let (first, second) = (
        Sink::at(&world.pair.b, FIRST),
        Sink::at(&world.pair.b, SECOND),
    );
    let file = world.path("sensor.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("collector = ['127.0.0.1:2055']\ntimeout = ['idle=200ms', 'expint=50ms']");
    let mut sensor = world.sensor(&format!("--config {}", file.display()));
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                world.send(&(sent..sent + 500).map(flood_frame).collect::<Vec<_>>());
                sent += 500;
                thread::sleep(Duration::from_millis(20));
            }
            sent
        });
        let mut reload = |text: &str, told: &str| {
            write(text);
            sensor.signal(libc::SIGHUP);
            let found = sensor.wait_for(told);
            thread::sleep(2 * UNDER_WAY);
            found
        };
        let outcome = reload(
            "collector = ['127.0.0.1:2055', '127.0.0.1:2056']\ntimeout = ['idle=100ms', 'expint=50ms']",
            "read again: timeouts changed; now also exporting to 127.0.0.1:2056",
        )
        .and_then(|()| reload("collector = ['127.0.0.1:2055'", "stay as they were"))
        .and_then(|()| reload("collector = ['127.0.0.1']", "1: collector: "))
        .and_then(|()| {
            reload(
                "collector = ['127.0.0.1:2055']\nmax-flows = 40000\ntimeout = ['idle=100ms', 'expint=50ms']",
                "read again: no longer to 127.0.0.1:2056; max-flows cannot change",
            )
        });
        is_over.store(true, Ordering::Relaxed);
        let sent = traffic.join().unwrap();
        outcome.unwrap();
        sent
    });
    let found = world.stop(sensor);
    let (first, second) = (first.decode(), second.decode());
    assert_eq!(of(&found, "ip_packets"), u64::from(sent));
    assert_eq!(first.sums().0, u64::from(sent), "{found:#}");
    for (name, sink, is_partial) in [(FIRST, &first, false), (SECOND, &second, true)] {
        let mut destinations = found["destinations"].as_array().unwrap().iter();
        let account = destinations.find(|one| one["address"] == name).unwrap();
        assert_eq!(account["partial"], is_partial, "{account:#}");
        let records = u64::try_from(sink.records.len()).unwrap();
        assert_eq!(of(account, "records_exported"), records, "{account:#}");
        assert_eq!(of(account, "records"), records, "{account:#}");
        assert!(records > 0 && sink.unreadable == 0, "{name}");
        let numbers = sink.counts.iter().map(|(number, ..)| *number);
        assert!(
            numbers
                .clone()
                .zip(numbers.skip(1))
                .all(|(a, b)| b == a + 1)
        );
    }
    assert!(second.records.len() < first.records.len());
}

#[test]
fn a_collector_takes_over_its_allow_list_and_accounts_for_every_datagram() {
    const EACH: u32 = 200;
    let site = Site::new();
    let file = site.path("collector.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("allow = ['127.0.0.1', '127.0.0.2']");
    let mut daemon = site.start(&format!("--config {}", file.display()));
    let exporters = ["127.0.0.1:0", "127.0.0.2:0"].map(|from| UdpSocket::bind(from).unwrap());
    let send = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            for exporter in &exporters {
                let datagram = v9_datagram(1, number, 3, number % 50 == 0);
                exporter.send_to(&datagram, site.address()).unwrap();
            }
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(UNDER_WAY);
    };
    send(0..EACH);
    for (text, told) in [
        (
            "allow = ['127.0.0.1']\nsockets = 2",
            "read again: allow changed; sockets cannot",
        ),
        ("allow = ['127.0.0.1/8']", "stay as they were"),
    ] {
        write(text);
        daemon.signal(libc::SIGHUP);
        daemon.wait_for(told).unwrap();
        thread::sleep(UNDER_WAY);
    }
    send(EACH..2 * EACH);
    let found = site.stop(daemon);
    site::expect(
        &found,
        "datagrams=800 not_allowed=200 records=1800 records_written=1800",
    );
    for exporter in found["exporters"].as_array().unwrap() {
        site::expect(exporter, "lost=0 restarts=0");
    }
}
