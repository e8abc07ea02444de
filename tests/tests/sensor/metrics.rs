//! `--metrics`: scraped under load, by hostile clients too; at the end the figures are the account's.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use weir_sensor_common::Counter;
use weir_tests::traffic::flood_frames;

use crate::{
    site::{Site, v9_datagram},
    world::{COLLECTOR, Sink, World, inside, of},
};

/// More than a page is told again for, and than the collector's accounts are old.
const FRESH: Duration = Duration::from_millis(1500);

/// Values by names with their labels.
type Figures = BTreeMap<String, i64>;

/// Asks at an address; what is not as OpenMetrics has it fails.
fn scrape(address: &str) -> Figures {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    let (mut figures, mut helps) = (Figures::new(), 0);
    for line in body.lines() {
        if line.starts_with("# HELP ") {
            helps += 1;
            assert!(line.split(' ').count() > 3, "{line}");
        }
        if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let before = figures.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{name} twice");
        }
    }
    assert!(helps > 30, "{body}");
    figures
}

/// Where a program says that its figures are.
fn address(log: &str) -> String {
    let (_, rest) = log.split_once("figures at http://").unwrap();
    rest.split_once("/metrics").unwrap().0.to_owned()
}

/// Clients that say nothing, half a request, garbage, or take no answer.
fn annoy(address: &str) -> Vec<TcpStream> {
    let says = [
        &b""[..],
        b"GET /met",
        &[0xff; 9000],
        b"GET /metrics HTTP/1.1\r\n\r\n",
    ];
    let clients = (0..40).flat_map(|_| says).map(|says| {
        let mut stream = TcpStream::connect(address).unwrap();
        // One that was ended meanwhile cannot be written to.
        let _ = stream.write_all(says);
        stream
    });
    clients.collect()
}

#[track_caller]
fn assert_figure(figures: &Figures, name: &str, account: &Value, key: &str) {
    let expected = i64::try_from(of(account, key)).unwrap();
    assert_eq!(figures.get(name), Some(&expected), "{name}: {figures:#?}");
}

/// What was passed on to a target, and as JSON; at the end nothing waits.
fn assert_passed_on(figures: &Figures, found: &Value, to: SocketAddr) {
    for (part, key) in [
        ("repeat", "repeat_sent"),
        ("repeat", "repeat_failed"),
        ("repeat", "repeat_left_out"),
        ("forward", "forward_filtered"),
        ("forward", "forward_exported"),
        ("forward", "forward_left_out"),
        ("forward", "forward_datagrams"),
    ] {
        let name = format!("weir_collector_{key}_total{{destination=\"{to}\",number=\"0\"}}");
        assert_figure(figures, &name, &found[part][0], key);
    }
    for key in ["flows_written", "flows_left_out"] {
        let name = format!("weir_collector_{key}_total{{output=\"json\"}}");
        assert_figure(figures, &name, &found["json"], key);
    }
    for queue in ["repeat", "forward 0", "json"] {
        let name = format!("weir_collector_passing_waiting{{queue=\"{queue}\"}}");
        assert_eq!(figures[&name], 0, "{queue}");
    }
}

#[test]
fn a_sensors_figures_are_its_account() {
    let world = World::new("mt1");
    let sink = Sink::open(&world.pair.b);
    // In v5 nothing is sent at the end but flows; others also tell what became of them.
    let line = format!("-n {COLLECTOR} -v 5 -t idle=200ms -t expint=50ms --metrics 127.0.0.1:9464");
    let mut sensor = world.sensor(&line);
    sensor.wait_for("figures at").unwrap();
    let address = address(&sensor.log());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            inside(&world.pair.b, || {
                let annoying = annoy(&address);
                let (mut scrapes, mut seen) = (0, 0);
                while scrapes < 2 || !is_over.load(Ordering::Relaxed) {
                    let figures = scrape(&address);
                    let now = figures["weir_sensor_packets_total"];
                    assert!(now >= seen, "{now} packets after {seen}");
                    (scrapes, seen) = (scrapes + 1, now);
                }
                drop(annoying);
            });
        });
        world.send(&flood_frames(0..30_000));
        is_over.store(true, Ordering::Relaxed);
    });
    // Until what is in the table is exported.
    let exported = format!(
        "weir_sensor_export_exported_packets_total{{destination=\"{COLLECTOR}\",number=\"0\"}}"
    );
    let mut figures = Figures::new();
    for _ in 0..40 {
        figures = inside(&world.pair.b, || scrape(&address));
        if figures.get(&exported) == Some(&30_000) {
            break;
        }
        thread::sleep(FRESH / 6);
    }
    let found = world.stop(sensor);
    let sums = sink.decode().sums();
    assert_eq!(sums.0, 30_000, "{found:#}");
    for counter in Counter::ALL {
        let name = format!("weir_sensor_{}_total", counter.name());
        assert_figure(&figures, &name, &found, counter.name());
    }
    assert_eq!(figures["weir_sensor_left_packets"], 0);
    let destination = &found["destinations"][0];
    for (name, key) in [
        ("records", "records"),
        ("exported_records", "records_exported"),
        ("exported_packets", "packets_exported"),
        ("exported_octets", "octets_exported"),
        ("sent_datagrams", "datagrams_sent"),
        ("sent_octets", "datagram_octets"),
    ] {
        let name =
            format!("weir_sensor_export_{name}_total{{destination=\"{COLLECTOR}\",number=\"0\"}}");
        assert_figure(&figures, &name, destination, key);
    }
    let idle = "weir_sensor_expired_packets_total{reason=\"tcp\"}";
    assert_figure(&figures, idle, &found["expired"]["tcp"], "packets");
    assert!(figures[idle] > 0);
}

#[test]
fn a_collectors_figures_are_its_account() {
    let site = Site::new();
    let sink = crate::site::socket();
    let to = sink.local_addr().unwrap();
    let json = site.path("flows.json");
    let mut daemon = site.start(&format!(
        "--metrics 127.0.0.1:0 --repeat {to} --forward v9:{to} --json {}",
        json.display()
    ));
    daemon.wait_for("figures at").unwrap();
    let address = address(&site.log());
    let annoying = annoy(&address);
    let socket = crate::site::socket();
    for number in 0..500 {
        // Every hundredth is lost, and some are nonsense.
        if number % 100 != 99 {
            let datagram = v9_datagram(3, number, 20, number % 20 == 0);
            socket.send_to(&datagram, site.address()).unwrap();
        }
        if number % 50 == 0 {
            socket.send_to(&[0, 9, 1], site.address()).unwrap();
            assert!(scrape(&address).contains_key("weir_collector_datagrams_total"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    drop(annoying);
    thread::sleep(FRESH);
    let figures = scrape(&address);
    let found = site.stop(daemon);
    crate::site::expect(
        &found,
        "datagrams=505 malformed=10 records=9900 records_written=9900",
    );
    for name in [
        "datagrams",
        "datagram_octets",
        "malformed",
        "kernel_drops",
        "records",
        "packets",
        "octets",
        "templates",
        "records_written",
        "records_unwritten",
    ] {
        assert_figure(
            &figures,
            &format!("weir_collector_{name}_total"),
            &found,
            name,
        );
    }
    let exporter = &found["exporters"][0];
    for (key, suffix) in [
        ("datagrams", "_total"),
        ("records", "_total"),
        ("lost", ""),
        ("restarts", ""),
    ] {
        let name = format!(
            "weir_collector_exporter_{key}{suffix}{{exporter=\"127.0.0.1\",version=\"9\",domain=\"3\"}}"
        );
        assert_figure(&figures, &name, exporter, key);
    }
    assert_passed_on(&figures, &found, to);
    // The last of five is followed by nothing, so nobody knows of it.
    assert_eq!(figures["weir_collector_lost_datagrams"], 4);
    assert_eq!(figures["weir_collector_exporters"], 1);
    assert_eq!(figures["weir_collector_writer_queue_batches"], 0);
    assert!(figures["weir_collector_disk_free_octets"] > 0);
}
