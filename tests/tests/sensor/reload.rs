//! SIGHUP under traffic: what may change does, nothing is lost, and a broken file changes nothing.

use std::{
    fs,
    io::Write as _,
    net::{TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use weir_exporter::{
    Version,
    batch::{BatchOptions, Batcher},
};
use weir_netflow::ExportTime;
use weir_tests::traffic::flood_frames;

use crate::{
    site::{Site, UNDER_WAY, unix_ns, v9_datagram},
    world::{Sink, World, of},
};

const FIRST: &str = "127.0.0.1:2055";
const SECOND: &str = "127.0.0.1:2056";
/// Records of each message over TCP.
const RECORDS: u64 = 10;

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
                world.send(&flood_frames(sent..sent + 500));
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
    // With the first records, after each reload that took something over, at the end. The second knows two of these,
    // and the first reload may be over before there are records.
    let [first, second] = [&first, &second].map(|sink| sink.announced - sink.of_sampling);
    assert!(second > 0);
    assert!([3, 4].contains(&(2 * first / second)));
}

/// What stands for all goes on with the collector that takes the place of the only one.
#[test]
fn the_account_goes_on_with_another_collector() {
    let world = World::new("rl2");
    let (first, second) = (
        Sink::at(&world.pair.b, FIRST),
        Sink::at(&world.pair.b, SECOND),
    );
    let file = world.path("sensor.toml");
    let write = |collector: &str| {
        let text = format!("collector = ['{collector}']\ntimeout = ['idle=100ms', 'expint=50ms']");
        fs::write(&file, text).unwrap();
    };
    write(FIRST);
    let mut sensor = world.sensor(&format!("--config {}", file.display()));
    world.send(&flood_frames(0..500));
    thread::sleep(2 * UNDER_WAY);
    write(SECOND);
    sensor.signal(libc::SIGHUP);
    let told = "now also exporting to 127.0.0.1:2056; no longer to 127.0.0.1:2055";
    sensor.wait_for(told).unwrap();
    world.send(&flood_frames(500..1500));
    let found = world.stop(sensor);
    let parts = [first.decode(), second.decode()].map(|sink| sink.sums().0);
    assert!(parts[0] > 0 && parts[1] >= 1000, "{parts:?}");
    assert_eq!(parts[0] + parts[1], 1500);
    assert_eq!(of(&found, "packets_exported"), 1500, "{found:#}");
}

#[test]
fn a_collector_takes_over_its_sampling_rates() {
    let site = Site::new();
    let (file, lines) = (site.path("collector.toml"), site.path("flows.json"));
    let exporter = UdpSocket::bind("127.0.0.1:0").unwrap();
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("sampling = 10");
    let options = format!("--config {} --json {}", file.display(), lines.display());
    let mut daemon = site.start(&options);
    let send = |number: u32| {
        let datagram = v9_datagram(1, number, 1, true);
        exporter.send_to(&datagram, site.address()).unwrap();
        thread::sleep(UNDER_WAY);
    };
    send(0);
    for (number, text, told) in [
        (1, "sampling = 20", "read again: sampling changed"),
        (
            2,
            "sampling = 20\nforce-sampling = 3",
            "read again: force-sampling changed",
        ),
        (3, "sampling = 0", "stay as they were"),
    ] {
        write(text);
        daemon.signal(libc::SIGHUP);
        daemon.wait_for(told).unwrap();
        thread::sleep(UNDER_WAY);
        send(number);
    }
    crate::site::expect(&site.stop(daemon), "records_written=4");
    let text = fs::read_to_string(&lines).unwrap();
    let rates = text.lines().map(|line| {
        let flow: serde_json::Value = serde_json::from_str(line).unwrap();
        of(&flow, "sampling_interval")
    });
    assert_eq!(rates.collect::<Vec<_>>(), [10, 20, 3, 3]);
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
    crate::site::expect(
        &found,
        "datagrams=800 not_allowed=200 records=1800 records_written=1800",
    );
    for exporter in found["exporters"].as_array().unwrap() {
        crate::site::expect(exporter, "lost=0 restarts=0");
    }
}

/// An exporter's IPFIX over TCP until it is over: its connection, which stays open, and its messages.
fn send_messages(site: &Site, is_over: &AtomicBool) -> (TcpStream, u64) {
    let mut stream = TcpStream::connect(site.address()).unwrap();
    let mut batcher = Batcher::new(BatchOptions::new(Version::Ipfix));
    let mut messages = 0;
    while !is_over.load(Ordering::Relaxed) {
        let now_ns = unix_ns();
        let time = ExportTime {
            unix_ns: now_ns,
            uptime_ms: 5_000_000,
        };
        for _ in 0..RECORDS {
            assert!(batcher.push(&crate::site::record(now_ns), &time).is_none());
        }
        let message = batcher.flush(&time).unwrap();
        stream.write_all(&message.octets).unwrap();
        messages += 1;
        thread::sleep(Duration::from_millis(1));
    }
    (stream, messages)
}

/// Nobody sends again what a connection took: each message is in the files or counted, the connections stay
/// with their templates and numbers, and who is allowed follows the file.
#[test]
fn a_collector_reads_its_settings_again_and_keeps_its_connections() {
    let site = Site::new();
    let file = site.path("collector.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("allow = ['127.0.0.1', '192.0.2.1']");
    let mut daemon = site.start(&format!(
        "--tcp 127.0.0.1:{} --config {}",
        site.port,
        file.display()
    ));
    let is_over = AtomicBool::new(false);
    let sent: Vec<(TcpStream, u64)> = thread::scope(|scope| {
        let exporters = [(); 4].map(|()| scope.spawn(|| send_messages(&site, &is_over)));
        thread::sleep(UNDER_WAY);
        let mut reload = |text: &str, told: &str| {
            write(text);
            daemon.signal(libc::SIGHUP);
            let found = daemon.wait_for(told);
            thread::sleep(UNDER_WAY);
            found
        };
        let outcome = reload(
            "allow = ['127.0.0.1']\nmax-age = '3d'",
            "read again: allow, max-age, max-size or min-free changed",
        )
        .and_then(|()| reload("allow = ['127.0.0.1'", "stay as they were"))
        .and_then(|()| {
            reload(
                "allow = ['192.0.2.1']\nmax-age = '3d'",
                "read again: allow changed",
            )
        })
        .and_then(|()| {
            reload(
                "allow = ['127.0.0.1']\nmax-age = '3d'\nsockets = 2",
                "read again: allow changed; sockets cannot",
            )
        });
        // One after the other, some while the last one is at work.
        for _ in 0..50 {
            daemon.signal(libc::SIGHUP);
            thread::sleep(Duration::from_millis(3));
        }
        is_over.store(true, Ordering::Relaxed);
        let sent = exporters.map(|exporter| exporter.join().unwrap());
        outcome.unwrap();
        sent.into()
    });
    let messages: u64 = sent.iter().map(|(_, messages)| messages).sum();
    let found = site.stop(daemon);
    let not_allowed = of(&found, "not_allowed");
    assert!(
        not_allowed > 0 && not_allowed < messages,
        "{not_allowed} of {messages}"
    );
    let records = RECORDS * (messages - not_allowed);
    crate::site::expect(
        &found,
        &format!("datagrams={messages} malformed=0 records={records} records_written={records}"),
    );
    crate::site::expect(
        &found,
        "streams=4 streams_refused=0 streams_broken=0 streams_cut_off=0",
    );
    let exporters = found["exporters"].as_array().unwrap();
    let lost: u64 = exporters.iter().map(|exporter| of(exporter, "lost")).sum();
    assert_eq!(lost, RECORDS * not_allowed, "{found:#}");
    assert_eq!(site.totals(), (records, records));
}
