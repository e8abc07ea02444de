//! What holds for every question: damaged files, memory, signals, names; and the commands that ask in words
//! of one's own: SQL, signatures, connections, pictures.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::{
    fs,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weir_netflow::{FlowRecord, record::mapped_address};
use weir_store::{
    layout::Directory, others::Others, read, rotate, schema::StoredFlow, window::Window,
};
use weir_tests::process::{built, succeed};

/// 2026-11-20 00:00:00 UTC.
const BEGIN_S: u64 = 1_795_132_800;
const HOUR_S: u64 = 3600;
const SECOND_NS: u64 = 1_000_000_000;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

fn address(text: &str) -> Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// A flow of ten packets and 5,000 octets that begins so many seconds after the beginning.
fn flow(at_s: u64, from: &str, to: &str, protocol: u8, ports: (u16, u16)) -> StoredFlow {
    let start_ns = (BEGIN_S + at_s) * SECOND_NS;
    StoredFlow {
        record: FlowRecord {
            source: address(from),
            destination: address(to),
            source_port: ports.0,
            destination_port: ports.1,
            protocol,
            packets: 10,
            octets: 5000,
            start_ns,
            end_ns: start_ns + 2 * SECOND_NS,
            ..FlowRecord::default()
        },
        received_ns: start_ns + 3 * SECOND_NS,
        exporter: address("192.0.2.1"),
        source_id: 7,
        version: 9,
        others: Others::NONE,
    }
}

/// A flow a minute from a client of its own for each hour.
fn hours(number: u64) -> Vec<StoredFlow> {
    let minutes = 0..number * 60;
    let of_minute = |minute: u64| {
        let client = format!("10.1.{}.{}", minute / 60, minute % 60);
        flow(minute * 60, &client, "198.51.100.1", TCP, (40_000, 443))
    };
    minutes.map(of_minute).collect()
}

/// A directory of hourly files.
struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    fn new(mut flows: Vec<StoredFlow>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        flows.sort_by_key(|flow| flow.received_ns);
        let hour = |flow: &StoredFlow| flow.received_ns / SECOND_NS / HOUR_S;
        for file in flows.chunk_by(|one, other| hour(one) == hour(other)) {
            let start_s = i64::try_from(hour(&file[0]) * HOUR_S).unwrap();
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            window.append(file).unwrap();
            rotate::close(folder.path(), window.path(), &[]).unwrap();
        }
        Self { folder }
    }

    fn files(&self) -> Vec<PathBuf> {
        read::list(self.folder.path()).unwrap().closed
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = built("weir").unwrap();
        command.args(arguments).arg("-r").arg(self.folder.path());
        command.arg("--library").arg(self.folder.path());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"][..]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Turns over the octets of a closed file, but for its footer.
fn damage_pages(path: &Path) {
    let mut octets = fs::read(path).unwrap();
    let [.., a, b, c, d, _, _, _, _] = octets[..] else {
        panic!("a footer's length");
    };
    let footer = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap() + 8;
    let pages = 4..octets.len() - footer;
    for octet in &mut octets[pages] {
        *octet ^= 0x55;
    }
    fs::write(path, octets).unwrap();
}

/// Whatever a file suffered, the others are answered, and the answer says so.
#[test]
fn damaged_files_are_named_and_the_rest_is_answered() {
    let archive = Archive::new(hours(5));
    let files = archive.files();
    damage_pages(&files[2]);
    let whole = fs::read(&files[3]).unwrap();
    fs::write(&files[3], &whole[..whole.len() / 2]).unwrap();
    let foreign = files[4].with_file_name("foreign.parquet");
    fs::write(&foreign, "no Parquet at all").unwrap();
    for arguments in [
        &["top", "--json"][..],
        &["flows", "--json"],
        &[
            "sql",
            "select src_addr, sum(octets) from flows group by src_addr",
            "--json",
        ],
        &["group", "--by", "srcip", "--json"],
    ] {
        let output = archive.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named = answer["coverage"]["unreadable"].to_string();
        for path in [&files[2], &files[3], &foreign] {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(named.contains(name), "{arguments:?}: {named}");
            assert!(said.contains(name) && said.contains("partial"), "{said}");
        }
        // The third hour is not known, and so nothing is that came after five minutes before it.
        assert_eq!(
            answer["coverage"]["complete_to"], "2026-11-20T01:55:03.000000000Z",
            "{arguments:?}"
        );
    }
    let flows = archive.output(&["flows", "-o", "csv:%sa"]);
    let lines = String::from_utf8(flows.stdout).unwrap();
    let clients = |hour: u32| {
        let prefix = format!("10.1.{hour}.");
        lines
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .count()
    };
    assert_eq!([0, 1, 2, 3, 4].map(clients), [60, 60, 0, 0, 60]);
}

/// A query that fails at a whole file is the query's fault.
#[test]
fn a_query_that_fails_is_no_damage() {
    let archive = Archive::new(hours(1));
    let query = "select count(*) from flows where 1 / (protocol - 6) > 0";
    let output = archive.output(&["sql", query]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.to_lowercase().contains("divide"), "{said}");
    assert!(!said.contains("partial"), "{said}");
}

#[test]
fn sql_answers_and_changes_nothing() {
    let archive = Archive::new(hours(3));
    let query = "select prefix(src_addr, 24) as net, service(dst_port) as service, count(*) as n \
                 from flows where in_net(src_addr, '10.1.0.0/23') group by 1, 2 order by 1";
    let answer = archive.json(&["sql", query]);
    let row = |net: &str| json!({ "net": net, "service": "https", "n": 60 });
    assert_eq!(answer["rows"], json!([row("10.1.0.0"), row("10.1.1.0")]));
    assert_eq!(answer["coverage"]["flows"], 180);
    let csv = archive.text(&["sql", "-o", "csv", query]);
    assert_eq!(csv, "net,service,n\n10.1.0.0,https,60\n10.1.1.0,https,60\n");
    let narrowed = archive.json(&["sql", "select count(*) as n from flows", "src ip 10.1.2.7"]);
    assert_eq!(narrowed["rows"], json!([{ "n": 1 }]));
    let one = archive.json(&[
        "sql",
        "select dst_port from flows where src_addr = ip('10.1.2.7')",
    ]);
    assert_eq!(one["rows"], json!([{ "dst_port": 443 }]));
    let text = archive.text(&["sql", "-n", "2", "select src_port from flows"]);
    assert!(text.contains("more than these 2 lines"), "{text}");
    assert!(text.contains("from 3 closed and 0 open files"), "{text}");
    let target = archive.folder.path().join("stolen.csv");
    let copy = format!("copy (select 1) to '{}'", target.display());
    for query in [
        &copy[..],
        "create table t as select 1",
        "drop table flows",
        "selec 1",
        "select 1 from flows where src_addr = '10.1.2.7'",
    ] {
        let output = archive.output(&["sql", query]);
        assert_eq!(output.status.code(), Some(2), "{query}");
        assert!(output.stdout.is_empty(), "{query}");
    }
    assert!(!target.exists());
}

#[test]
fn a_worm_is_found_with_its_first_victim() {
    let mut flows = hours(3);
    for (victim, from_s) in [("10.1.0.31", 4000), ("10.1.0.32", 5000)] {
        for target in 0..50 {
            let to = format!("203.0.113.{target}");
            let mut datagram = flow(from_s + target, victim, &to, UDP, (1025, 1434));
            (datagram.record.packets, datagram.record.octets) = (1, 404);
            flows.push(datagram);
        }
    }
    // One such datagram proves nothing.
    let mut once = flow(100, "10.1.0.33", "203.0.113.1", UDP, (1025, 1434));
    (once.record.packets, once.record.octets) = (1, 404);
    flows.push(once);
    let archive = Archive::new(flows);
    let answer = archive.json(&["signature", "all"]);
    let hosts: Vec<_> = answer["matches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["signature"].clone(),
                row["host"].clone(),
                row["targets"].clone(),
            )
        })
        .collect();
    let row = |host: &str| (json!("slammer"), json!(host), json!(50));
    assert_eq!(hosts, [row("10.1.0.31"), row("10.1.0.32")]);
    assert_eq!(answer["first"][0]["time"], "2026-11-20T01:06:40.000000000Z");
    // One's own, and one that does not fit.
    let folder = archive.folder.path().join("signatures");
    fs::create_dir(&folder).unwrap();
    let own = folder.join("own.toml");
    fs::write(
        &own,
        "[busy]\nfilter = 'dst port 443'\nby = 'destination'\ntargets = 100\n",
    )
    .unwrap();
    let answer = archive.json(&["signature", "busy"]);
    assert_eq!(answer["matches"][0]["host"], "198.51.100.1");
    assert!(archive.text(&["signature", "--list"]).contains("busy"));
    fs::write(&own, "[busy]\nfilter = 'dst bort 443'\n").unwrap();
    let output = archive.output(&["signature", "--check", own.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("signature busy") && said.contains("bort"),
        "{said}"
    );
}

#[test]
fn names_come_from_local_files() {
    let archive = Archive::new(hours(1));
    let names = archive.folder.path().join("names");
    fs::create_dir(&names).unwrap();
    fs::write(names.join("hosts"), "198.51.100.1 shop\n").unwrap();
    // What an editor keeps beside it is no file of names.
    for left in [".hosts.swp", "hosts~"] {
        fs::write(names.join(left), b"\xff").unwrap();
    }
    let networks = archive.folder.path().join("campus.csv");
    fs::write(&networks, "10.1.0.0/27,lab\n10.1.0.0/16,campus\n").unwrap();
    let networks = networks.to_str().unwrap();
    let text = archive.text(&["top", "--by", "dstip"]);
    assert!(text.contains("198.51.100.1 shop"), "{text}");
    let ports = archive.text(&["top", "--by", "dstport"]);
    assert!(ports.contains("443 https"), "{ports}");
    // For machines a value is what it was.
    let answer = archive.json(&["top", "--by", "dstip"]);
    assert_eq!(answer["statistics"][0]["rows"][0]["key"], "198.51.100.1");
    let by_name = ["group", "--by", "srcname", "--names", networks];
    let answer = archive.json(&by_name);
    assert_eq!(answer["groups"][0]["srcname"], "lab");
    assert_eq!(
        (&answer["groups"][0]["flows"], &answer["groups"][1]["flows"]),
        (&json!(32), &json!(28))
    );
    let output = archive.output(&["top", "--by", "country"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("--names FILE.mmdb"),
        "{said}"
    );
}

#[test]
fn both_directions_of_a_connection_are_one_line() {
    let there = flow(10, "10.1.0.1", "198.51.100.1", TCP, (50_000, 443));
    let mut back = flow(10, "198.51.100.1", "10.1.0.1", TCP, (443, 50_000));
    back.record.octets = 70_000;
    let archive = Archive::new(vec![back, there]);
    let answer = archive.json(&["group", "--biflow"]);
    let connections = answer["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 1);
    for (field, value) in [
        ("client", json!("10.1.0.1")),
        ("client_port", json!(50_000)),
        ("server_port", json!(443)),
        ("sent_octets", json!(5000)),
        ("received_octets", json!(70_000)),
    ] {
        assert_eq!(connections[0][field], value, "{field}");
    }
}

/// Who pings whom is not turned round: a type and a code tell no client from a server.
#[test]
fn who_sends_icmp_is_the_client() {
    let ping = flow(10, "10.1.0.9", "198.51.100.1", ICMP, (0, 8 << 8));
    let pong = flow(10, "198.51.100.1", "10.1.0.9", ICMP, (0, 0));
    let answer = Archive::new(vec![ping, pong]).json(&["group", "--biflow"]);
    let connections = answer["connections"].as_array().unwrap();
    let of = |name: &str| -> Vec<Value> {
        let each = connections.iter();
        each.map(|connection| connection[name].clone()).collect()
    };
    assert_eq!(of("client"), ["10.1.0.9", "198.51.100.1"]);
    assert_eq!(of("server"), ["198.51.100.1", "10.1.0.9"]);
    assert_eq!(of("server_port"), [8 << 8, 0]);
    assert_eq!(of("sent_octets"), [5000, 5000]);
}

#[test]
fn a_picture_is_drawn() {
    let archive = Archive::new(hours(3));
    let path = archive.folder.path().join("series.svg");
    archive.text(&["series", "--svg", path.to_str().unwrap()]);
    let picture = fs::read_to_string(path).unwrap();
    assert!(
        picture.contains("<svg") && picture.contains("95th percentile"),
        "{picture}"
    );
}

/// With little memory an answer is the same, or there is none, and never a wrong one; and nothing is left
/// of what was spilled.
#[test]
fn little_memory_gives_the_same_answer_or_a_sentence() {
    let many = (0..60_000u64).map(|at| {
        let client = format!("10.{}.{}.{}", at / 40_000, at / 200 % 200, at % 200);
        let port = u16::try_from(1024 + at % 60_000).unwrap();
        flow(at % 7200, &client, "198.51.100.1", TCP, (port, 443))
    });
    let archive = Archive::new(many.collect());
    let spilled = tempfile::tempdir().unwrap();
    let little = [
        "--memory",
        "17M",
        "--temp-dir",
        spilled.path().to_str().unwrap(),
    ];
    // By the engine's tables and by ours.
    for distinct in [&["--distinct", "srcip"][..], &[]] {
        let asked = [&["group", "-n", "5"], distinct].concat();
        let expected = archive.json(&asked);
        let output = archive.output(&[&asked[..], &little[..], &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            let found: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(found, expected);
        } else {
            assert!(said.contains("give it more with --memory"), "{said}");
        }
    }
    assert_eq!(fs::read_dir(spilled.path()).unwrap().count(), 0);
    let sizes = archive.output(&["top", "--memory", "1k"]);
    assert_eq!(sizes.status.code(), Some(2));
}

/// Who presses Ctrl-C wants to be asked for the next command.
#[test]
fn an_interrupted_query_ends_at_once() {
    let archive = Archive::new(hours(48));
    let mut child = archive
        .command(&["flows", "-o", "long"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads: it stands still when the pipe is full.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(
        child.try_wait().unwrap().is_none(),
        "there is more than a pipe takes"
    );
    let interrupt = format!("kill -INT {}", child.id());
    let interrupted = Command::new("sh").args(["-c", &interrupt]).status();
    assert!(interrupted.unwrap().success());
    let since = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(2));
}

/// Flows come in the order in which they were received, whatever the number of processors.
#[test]
fn flows_come_in_the_order_of_their_files() {
    let archive = Archive::new(hours(10));
    let all = archive.text(&["flows", "-o", "csv:%tsr"]);
    let times: Vec<&str> = all.lines().skip(1).collect();
    assert_eq!(times.len(), 600);
    assert!(times.is_sorted(), "{times:?}");
    let first = archive.text(&["flows", "-o", "csv:%tsr", "-n", "7"]);
    assert_eq!(first.lines().skip(1).collect::<Vec<_>>(), times[..7]);
}

/// Their order does not matter then, and all processors are at it.
#[test]
fn flows_are_only_counted_where_none_is_shown() {
    let archive = Archive::new(hours(10));
    for (limit, filter, counted) in [
        ("0", "src port 40000", "600 of 600 flows"),
        ("0", "src ip 10.1.3.7", "1 of 600 flows"),
        ("7", "src port 40000", "7 of 600 flows"),
        ("0", "src port 1", "0 of 600 flows"),
    ] {
        let said = archive.text(&["flows", "-o", "null", "-n", limit, filter]);
        assert!(said.trim_start().starts_with(counted), "{filter}: {said}");
    }
}

#[test]
fn a_directory_of_a_thousand_files_opens_soon() {
    const FILES: usize = 1000;
    let archive = Archive::new(hours(1));
    let file = archive.files().remove(0);
    for at in 1..FILES {
        let name = format!(
            "flows-20261120T{:02}{:02}00Z-{at}.parquet",
            at / 60,
            at % 60
        );
        fs::copy(&file, file.with_file_name(name)).unwrap();
    }
    // The last minute of the files, which nothing fits: their footers are all that is read.
    let since = Instant::now();
    let answer = archive.json(&["top", "--now", "2026-11-21T00:00", "last 1min"]);
    let took = since.elapsed();
    assert_eq!(answer["total"]["flows"], 0);
    // A build for tests, on a machine that does other things too.
    assert!(took < Duration::from_secs(4), "{took:?}");
    let answer = archive.json(&["top"]);
    assert_eq!(answer["total"]["flows"], 60 * FILES);
}
