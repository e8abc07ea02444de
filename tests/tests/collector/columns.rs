//! What the files hold beyond version 1's columns: from datagrams of two formats at one port to what is
//! asked of both.

use std::{fs, net::Ipv4Addr, thread, time::Duration};

use serde_json::{Value, json};
use weir_exporter::{Batcher, Version, batch::BatchOptions};
use weir_netflow::{ExportTime, Sampling};
use weir_tests::{
    process::{built, succeed},
    sflow::{self, Header},
    traffic,
};

use crate::site::{Site, expect, record, socket, unix_ns, v9_datagram};

/// What is pending is written after half a second.
const WRITTEN: Duration = Duration::from_millis(1500);

/// A datagram of two sampled frames and a counter sample.
fn sampled(sequence: u32) -> Vec<u8> {
    let header = Header {
        agent: Ipv4Addr::LOCALHOST,
        sub_agent: 3,
        sequence,
        uptime_ms: 1000 * sequence,
    };
    let sample = |number: u32| sflow::switched_sample(2 * sequence + number);
    let samples = [sample(0), sample(1), sflow::counter_sample(sequence, 5)];
    sflow::datagram(&header, &samples)
}

fn weir(site: &Site, arguments: &[&str]) -> Value {
    let mut command = built("weir").unwrap();
    command.args(arguments).args(["--json", "-r"]);
    serde_json::from_str(&succeed(command.arg(site.flows()))).unwrap()
}

/// Values of an element, and how many flows have each.
fn top(site: &Site, element: &str) -> Vec<[u64; 2]> {
    let answer = weir(site, &["top", "--by", &format!("{element}/flows")]);
    let rows = answer["statistics"][0]["rows"].as_array().unwrap();
    let numbers = |row: &Value| [&row["key"], &row["flows"]].map(|value| value.as_u64().unwrap());
    rows.iter().map(numbers).collect()
}

#[test]
fn what_some_flows_have_begins_another_window_and_all_are_one_table() {
    let site = Site::new();
    let daemon = site.start("-t 86400");
    let socket = socket();
    let send = |datagram: &[u8]| {
        socket.send_to(datagram, site.address()).unwrap();
        thread::sleep(WRITTEN);
    };
    send(&v9_datagram(0, 0, 5, true));
    // The first number and the third: the second was lost.
    send(&sampled(1));
    send(&sampled(3));
    send(&v9_datagram(0, 1, 5, false));
    // The open window is one table with the one that was closed meanwhile.
    assert_eq!(site.totals(), (14, 14));
    let found = site.stop(daemon);
    expect(
        &found,
        "records=14 records_written=14 flow_samples=4 counter_samples=2 samples_not_ip=0 windows_closed=2",
    );
    let mut exporters = found["exporters"].as_array().unwrap().iter();
    let sflow = exporters.find(|exporter| exporter["version"] == 105);
    expect(
        sflow.unwrap(),
        "source_id=3 datagrams=2 lost=1 samples=4 samples_lost=2 drops=0 sources=1",
    );
    assert_eq!(site.closed().len(), 2);
    assert_eq!(site.totals(), (14, 14));
    let (is_sound, said) = site.maintain("verify", "");
    assert!(
        is_sound && said.contains("14 flows in 2 sound files"),
        "{said}"
    );

    let answer = weir(&site, &["flows", "src mac 02:00:00:00:00:11"]);
    let flows = answer["flows"].as_array().unwrap();
    assert_eq!(flows.len(), 4);
    for flow in flows {
        assert_eq!(flow["src_mac"], "02:00:00:00:00:11");
        assert_eq!(flow["others"], json!({ "59": "00c8" }));
        assert_eq!(
            (&flow["octets"], &flow["sampling_interval"]),
            (&json!(1500), &json!(1000))
        );
    }
    let others = weir(&site, &["flows", "not mac 02:00:00:00:00:11"]);
    let others = others["flows"].as_array().unwrap();
    assert_eq!(others.len(), 10);
    assert!(others.iter().all(|flow| flow.get("src_mac").is_none()));
    // What has no column is an element all the same; flows that have none have 0, as in nfdump.
    assert_eq!(top(&site, "dstvlan"), [[0, 10], [200, 4]]);
    // As in nfdump, the VLAN that packets came in by and that they left by are both a flow's.
    assert_eq!(top(&site, "vlan"), [[0, 20], [100, 4], [200, 4]]);
    let answer = weir(&site, &["group", "--by", "dstvlan,xsrcip,ivrfnam"]);
    let groups = answer["groups"].as_array().unwrap();
    assert!(
        groups
            .iter()
            .all(|group| group["xsrcip"].is_null() && group["ivrfnam"].is_null())
    );
}

/// A collector remembers rates, also of an exporter that begins anew.
#[test]
fn a_sensor_that_samples_no_more_is_believed() {
    let site = Site::new();
    let daemon = site.start("-t 86400");
    let socket = socket();
    let now = ExportTime {
        unix_ns: unix_ns(),
        uptime_ms: 5000,
    };
    for version in [Version::V9, Version::Ipfix] {
        for interval in [100, 1] {
            let sampling = Sampling {
                interval,
                random: false,
            };
            let mut sensor = Batcher::new(BatchOptions {
                sampling,
                source_id: 2,
                ..BatchOptions::new(version)
            });
            for _ in 0..4 {
                assert!(sensor.push(&record(now.unix_ns), &now).is_none());
            }
            let datagram = sensor.flush(&now).unwrap();
            socket.send_to(&datagram.octets, site.address()).unwrap();
            thread::sleep(WRITTEN);
        }
    }
    expect(&site.stop(daemon), "records=16 records_written=16");
    assert_eq!(top(&site, "sampling"), [[1, 8], [100, 8]]);
}

/// A UDP packet between 10.0.0.`client` and a server, to it or back.
fn query(client: u8, is_reply: bool) -> Vec<u8> {
    let (client, server) = (([10, 0, 0, client], 40_000u16), ([198, 51, 100, 1], 53u16));
    let (from, to) = if is_reply {
        (server, client)
    } else {
        (client, server)
    };
    let datagram = [from.1, to.1, 8, 0].map(u16::to_be_bytes);
    let packet = traffic::ipv4(from.0, to.0, 17, datagram.as_flattened());
    traffic::ethernet(None, 0x0800, &packet)
}

/// Of a query that was answered within a tick the sensor cannot tell who began, and says so (biflowDirection
/// 0, RFC 5103 section 6.3); the files have both directions of either, and keep what was said.
#[test]
fn a_biflow_whose_beginning_is_not_known_is_two_flows_and_says_so() {
    const MS: u64 = 1000;
    let site = Site::new();
    let daemon = site.start("");
    let (at_once, later) = (1, 2);
    let packets = [
        (query(at_once, true), 0),
        (query(at_once, false), 0),
        (query(at_once, true), 50 * MS),
        (query(later, false), 100 * MS),
        (query(later, true), 300 * MS),
        (query(later, true), 301 * MS),
    ];
    let capture = site.path("pcap");
    let frames = packets.iter().map(|(frame, _)| frame.as_slice());
    let at_us = |index: u64| 1_700_000_000_000_000 + packets[usize::try_from(index).unwrap()].1;
    fs::write(&capture, traffic::capture_file(frames, at_us)).unwrap();
    let mut sensor = built("weir-sensor").unwrap();
    sensor.args(["-v", "10", "-b", "-n", &format!("127.0.0.1:{}", site.port)]);
    let output = sensor.arg("-r").arg(&capture).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found = site.stop(daemon);
    expect(
        &found,
        "records=4 reverse_records=2 records_written=4 packets=6",
    );
    for (client, direction) in [(at_once, "00"), (later, "01")] {
        let flow = |filter: &str| {
            let answer = weir(&site, &["flows", &format!("{filter} 10.0.0.{client}")]);
            let flows = answer["flows"].as_array().unwrap();
            assert_eq!(flows.len(), 1, "{answer:#}");
            flows[0].clone()
        };
        let (there, back) = (flow("src ip"), flow("dst ip"));
        assert_eq!(there["others"]["239"], direction, "{there:#}");
        assert!(back.get("others").is_none(), "{back:#}");
        let numbers = |flow: &Value| {
            ["src_port", "dst_port", "packets", "octets"].map(|name| flow[name].as_u64())
        };
        assert_eq!(numbers(&there), [40_000u64, 53, 1, 28].map(Some));
        assert_eq!(numbers(&back), [53, 40_000u64, 2, 56].map(Some));
    }
}
