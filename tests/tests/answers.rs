//! The operator's questions, over generated days in which the answers are planted: each is one short
//! command.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, net::Ipv6Addr, process::Command};

use serde_json::{Value, json};
use weir_netflow::{FlowRecord, record::mapped_address};
use weir_store::{
    account, layout::Directory, others::Others, rotate, schema::StoredFlow, window::Window,
};
use weir_tests::{
    process::{binaries, succeed},
    traffic::Random,
};

/// 2026-11-20 00:00:00 UTC, where the days begin.
const BEGIN_S: u64 = 1_795_132_800;
const HOURS: u64 = 48;
const HOUR_S: u64 = 3600;
const SECOND_NS: u64 = 1_000_000_000;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u16 = 0x02;
const TALKED: u16 = 0x1b;

/// What is told of a flow.
#[derive(Clone, Copy)]
struct Told {
    record: FlowRecord,
    received_ns: u64,
    exporter: Ipv6Addr,
}

/// One flow, and a few words to change it.
#[derive(Clone, Copy)]
struct Flow(Told);

impl Flow {
    /// Begins so many seconds into the days.
    fn new(at_s: u64, from: &str, to: &str, protocol: u8, port: u16) -> Self {
        let start_ns = (BEGIN_S + at_s) * SECOND_NS;
        let source = address(from);
        Self(Told {
            record: FlowRecord {
                source,
                destination: address(to),
                v6: source.to_ipv4_mapped().is_none(),
                source_port: 40_000,
                destination_port: port,
                protocol,
                tcp_flags: if protocol == TCP { TALKED } else { 0 },
                packets: 10,
                octets: 5000,
                start_ns,
                end_ns: start_ns + 2 * SECOND_NS,
                ingress_ifindex: 1,
                ..FlowRecord::default()
            },
            received_ns: start_ns + 3 * SECOND_NS,
            exporter: address("192.0.2.1"),
        })
    }

    fn stored(&self) -> StoredFlow {
        StoredFlow {
            record: self.0.record,
            received_ns: self.0.received_ns,
            exporter: self.0.exporter,
            source_id: 7,
            version: 9,
            others: Others::NONE,
        }
    }

    fn counts(mut self, packets: u64, octets: u64) -> Self {
        (self.0.record.packets, self.0.record.octets) = (packets, octets);
        self
    }

    fn flags(mut self, flags: u16) -> Self {
        self.0.record.tcp_flags = flags;
        self
    }

    fn lasts(mut self, seconds: u64) -> Self {
        self.0.record.end_ns = self.0.record.start_ns + seconds * SECOND_NS;
        self.0.received_ns = self.0.record.end_ns + SECOND_NS;
        self
    }

    fn exporter(mut self, exporter: &str) -> Self {
        self.0.exporter = address(exporter);
        self
    }

    fn interface(mut self, ifindex: u32) -> Self {
        self.0.record.ingress_ifindex = ifindex;
        self
    }

    /// The same of the opposite direction.
    fn back(mut self) -> Self {
        let record = &mut self.0.record;
        std::mem::swap(&mut record.source, &mut record.destination);
        std::mem::swap(&mut record.source_port, &mut record.destination_port);
        self
    }
}

fn address(text: &str) -> Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// Two days of a campus: web and names, both directions, and nothing else.
fn days() -> Vec<Flow> {
    let mut random = Random::new(42);
    let mut flows = Vec::new();
    for at_s in (0..HOURS * HOUR_S).step_by(60) {
        let client = format!("10.1.0.{}", 100 + random.below(50));
        let server = format!("198.51.100.{}", 1 + random.below(40));
        let web = Flow::new(at_s, &client, &server, TCP, 443);
        flows.extend([web.counts(12, 2000), web.back().counts(20, 25_000)]);
        let names = Flow::new(at_s + 5, &client, "10.0.0.53", UDP, 53).counts(1, 70);
        flows.extend([names, names.back().counts(1, 200)]);
    }
    flows
}

/// A directory of hourly files, as a collector leaves it.
struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    /// Files of when the flows were received; the last hour may be open. Of each file the first
    /// exporter's account says that so many datagrams were lost by then.
    fn new(flows: &[Flow], is_open: bool, lost: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let mut flows: Vec<StoredFlow> = flows.iter().map(Flow::stored).collect();
        flows.sort_by_key(|flow| flow.received_ns);
        let hour = |flow: &StoredFlow| flow.received_ns / SECOND_NS / HOUR_S;
        let mut datagrams = 0;
        let files: Vec<_> = flows
            .chunk_by(|one, other| hour(one) == hour(other))
            .collect();
        for (at, file) in files.iter().enumerate() {
            let start_s = i64::try_from(hour(&file[0]) * HOUR_S).unwrap();
            let mut window = Window::create(&directory.window_path(start_s)).unwrap();
            window.append(file).unwrap();
            datagrams += file.len();
            if is_open && at + 1 == files.len() {
                break;
            }
            let lost = if at > 0 { lost } else { 0 };
            let account = json!([{
                "exporter": "192.0.2.1", "version": 9, "source_id": 7, "datagrams": datagrams,
                "records": datagrams, "lost": lost, "lost_unit": "datagrams",
                "reordered": 0, "duplicated": 0, "restarts": 0,
            }]);
            let notes = [("weir.exporters".to_owned(), account.to_string())];
            rotate::close(folder.path(), window.path(), &notes).unwrap();
        }
        Self { folder }
    }

    fn of(planted: impl IntoIterator<Item = Flow>) -> Self {
        let mut flows = days();
        flows.extend(planted);
        Self::new(&flows, false, 0)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries().unwrap().join("weir"));
        command.args(arguments).arg("-r").arg(self.folder.path());
        command.arg("--library").arg(self.folder.path());
        command
    }

    /// What is printed.
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

/// Values of a field in all rows.
fn column(rows: &Value, name: &str) -> Vec<Value> {
    let rows = rows.as_array().unwrap_or_else(|| panic!("rows: {rows}"));
    rows.iter().map(|row| row[name].clone()).collect()
}

#[test]
fn q1_who_takes_most_of_the_bandwidth() {
    let upload = Flow::new(30_000, "10.1.0.77", "203.0.113.9", TCP, 8443);
    let archive = Archive::of([upload.counts(40_000_000, 50_000_000_000).lasts(600)]);
    let answer = archive.json(&["top", "--by", "srcip/bytes/flows", "-n", "3"]);
    let statistics = &answer["statistics"];
    assert_eq!(statistics[0]["rows"][0]["key"], "10.1.0.77");
    assert_eq!(statistics[0]["rows"][0]["octets"], 50_000_000_000u64);
    assert!(statistics[0]["rows"][0]["share"].as_f64().unwrap() > 0.99);
    // By flows it is another: names are asked for most often.
    assert_eq!(statistics[1]["rows"][0]["key"], "10.0.0.53");
    let text = archive.text(&["top", "-n", "3"]);
    assert!(
        text.contains(" others ") && text.contains("\nall "),
        "{text}"
    );
    assert!(
        text.contains("flows, from 48 closed and 0 open files"),
        "{text}"
    );
}

#[test]
fn q2_which_server_has_most_connections_and_clients() {
    let clients = (0..500u64).flat_map(|at| {
        let client = format!("172.20.{}.{}", at / 250, at % 250);
        let connection = Flow::new(1000 + at, &client, "10.2.0.80", TCP, 443);
        [connection, connection.back()]
    });
    // One client that comes back a thousand times is no thousand clients.
    let one = (0..1000u64).map(|at| Flow::new(at, "172.21.0.1", "10.2.0.81", TCP, 443));
    let archive = Archive::of(clients.chain(one));
    let servers = [
        "top",
        "--by",
        "dstip",
        "--order",
        "distinct(srcip)",
        "flags S and dst port 443",
    ];
    let answer = archive.json(&servers);
    let first = &answer["statistics"][0]["rows"][0];
    assert_eq!(first["key"], "10.2.0.80");
    assert_eq!(first["distinct(srcip)"], 500);
    let busiest = archive.json(&["top", "--by", "dstip", "--order", "flows", "dst port 443"]);
    assert_eq!(busiest["statistics"][0]["rows"][0]["key"], "10.2.0.81");
}

#[test]
fn q3_who_uses_a_vpn() {
    let tunnel = Flow::new(20_000, "10.1.0.13", "198.18.7.7", UDP, 1194).lasts(3000);
    let archive = Archive::of([
        tunnel.counts(10_000, 9_000_000),
        tunnel.back().counts(9000, 30_000_000),
    ]);
    let answer = archive.json(&["who", "vpn"]);
    let users = &answer["users"];
    assert_eq!(column(users, "user"), ["10.1.0.13"]);
    let user = &users[0];
    assert_eq!(
        (&user["what"], &user["peer"]),
        (&json!("openvpn"), &json!("198.18.7.7"))
    );
    assert_eq!(user["answered"], true);
    assert_eq!(
        (&user["sent_octets"], &user["received_octets"]),
        (&json!(9_000_000), &json!(30_000_000))
    );
}

/// What was said and what was answered is one line, the side that began first.
#[test]
fn q3_a_conversation_is_one_line() {
    let tunnel = Flow::new(20_000, "10.1.0.13", "198.18.7.7", UDP, 1194).lasts(3000);
    let answer = Flow::new(20_001, "10.1.0.13", "198.18.7.7", UDP, 1194).lasts(3000);
    let archive = Archive::of([
        answer.back().counts(9000, 30_000_000),
        tunnel.counts(10_000, 9_000_000),
    ]);
    let filter = "host 198.18.7.7";
    let text = archive.text(&["flows", "-o", "bilong", filter]);
    let lines: Vec<_> = text.lines().collect();
    let words: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(
        words[2..],
        [
            "3001.000",
            "UDP",
            "10.1.0.13:40000",
            "<->",
            "198.18.7.7:1194",
            "........",
            "0",
            "9000",
            "10000",
            "30000000",
            "9000000",
            "2"
        ],
        "{text}"
    );
    // Of both lines of the files, and no others.
    assert!(text.contains("\n2 of "), "{text}");
    let document = archive.json(&["flows", "-b", filter]);
    let [flow] = &document["flows"].as_array().unwrap()[..] else {
        panic!("{document}");
    };
    let counts = ["octets", "out_octets", "flows"].map(|name| flow[name].as_u64());
    assert_eq!(counts, [Some(9_000_000), Some(30_000_000), Some(2)]);
    // Most of it is web traffic: fewer lines than flows, sorted by what is asked.
    let most = archive.text(&["flows", "-b", "-O", "bytes", "-n", "1", "any"]);
    assert!(most.contains("198.18.7.7:1194"), "{most}");
}

#[test]
fn q4_who_tried_smtp_at_hosts_that_are_no_mail_servers() {
    let spam = (0..40u64).flat_map(|at| {
        let victim = format!("203.0.113.{}", 10 + at);
        let tried = Flow::new(50_000 + at, "10.1.0.66", &victim, TCP, 25)
            .flags(SYN)
            .counts(1, 60);
        // Half of them say no.
        let reset = tried.back().flags(0x14).counts(1, 40);
        [Some(tried), (at % 2 == 0).then_some(reset)]
    });
    let mail = Flow::new(50_000, "10.1.0.5", "10.0.0.25", TCP, 25);
    let archive = Archive::of(spam.flatten().chain([mail, mail.back()]));
    let sets = archive.folder.path().join("sets");
    fs::create_dir(&sets).unwrap();
    fs::write(sets.join("mail"), "10.0.0.25 # the only one\n").unwrap();
    let answer = archive.json(&["who", "mail", "dst port 25 and dst not in @mail"]);
    let users = column(&answer["users"], "user");
    assert_eq!(users.len(), 40);
    assert!(users.iter().all(|user| user == "10.1.0.66"), "{users:?}");
    assert!(
        column(&answer["users"], "answered")
            .iter()
            .all(|answered| answered == false)
    );
    let asked = ["who", "mail", "dst port 25 and dst not in @mail", "-n", "7"];
    let few = archive.json(&asked);
    assert_eq!(column(&few["users"], "user").len(), 7);
    assert_eq!(few["users_in_all"], 40);
    let text = archive.text(&asked);
    assert!(text.contains("; 33 lines more are not shown"), "{text}");
    let all = archive.json(&["who", "mail", "dst in @mail"]);
    assert_eq!(column(&all["users"], "answered"), [true]);
}

#[test]
fn q5_whom_did_the_worm_get_and_who_was_first() {
    let bite = |at_s: u64, from: &str, to: u64| {
        Flow::new(at_s, from, &format!("203.0.113.{to}"), TCP, 80).counts(3, 144)
    };
    let first = (0..100u64).map(|at| bite(60_000 + at, "10.1.0.31", at));
    let second = (0..100u64).map(|at| bite(61_000 + at, "10.1.0.32", at));
    let third = (0..5u64).map(|at| bite(62_000 + at, "10.1.0.33", at));
    let archive = Archive::of(first.chain(second).chain(third));
    let worm = "tcp and dst port 80 and packets = 3 and bytes = 144";
    let victims = archive.json(&["top", "--by", "srcip", "--order", "distinct(dstip)", worm]);
    let rows = &victims["statistics"][0]["rows"];
    assert_eq!(column(rows, "key"), ["10.1.0.31", "10.1.0.32", "10.1.0.33"]);
    assert_eq!(column(rows, "distinct(dstip)"), [100, 100, 5]);
    let first = archive.json(&["flows", "-O", "tstart", "-n", "1", worm]);
    assert_eq!(first["flows"][0]["src_addr"], "10.1.0.31");
    assert_eq!(
        first["flows"][0]["flow_start"],
        "2026-11-20T16:40:00.000000000Z"
    );
    // Its pattern is shipped; five hosts are too few for it.
    let answer = archive.json(&["signature", "code-red"]);
    assert_eq!(
        column(&answer["matches"], "host"),
        ["10.1.0.31", "10.1.0.32"]
    );
    assert_eq!(answer["first"][0]["host"], "10.1.0.31");
    // A part of them does not look like all.
    assert_eq!(answer["first"][0]["hosts"], 2);
    let text = archive.text(&["signature", "code-red", "-n", "1"]);
    assert!(text.contains("; 1 of 2 hosts are shown"), "{text}");
}

#[test]
fn q6_who_scans_slowly_and_who_is_only_busy() {
    // One host in eight minutes, for two days.
    let slow = (0..300u64).map(|at| {
        let victim = format!("10.3.{}.{}", at / 200, at % 200);
        Flow::new(at * 480, "203.0.113.200", &victim, TCP, 22)
            .flags(SYN)
            .counts(1, 60)
    });
    let ports = (1..=200u16).map(|port| {
        Flow::new(5000, "203.0.113.201", "10.3.0.9", TCP, port)
            .flags(SYN)
            .counts(1, 60)
    });
    let busy = (0..200u64).map(|at| Flow::new(at, "10.0.0.25", &format!("198.18.0.{at}"), TCP, 25));
    let archive = Archive::of(slow.chain(ports).chain(busy));
    let answer = archive.json(&["scans"]);
    assert_eq!(
        column(&answer["hosts_on_a_port"], "srcip"),
        ["203.0.113.200"]
    );
    assert_eq!(column(&answer["hosts_on_a_port"], "hosts"), [300]);
    assert_eq!(column(&answer["hosts_on_a_port"], "dstport"), [22]);
    assert_eq!(column(&answer["ports"], "srcip"), ["203.0.113.201"]);
    assert_eq!(column(&answer["ports"], "ports"), [200]);
    assert_eq!(answer["hosts"], json!([]));
    let ignored = archive.json(&["scans", "--ignore", "[203.0.113.200]"]);
    assert_eq!(ignored["hosts_on_a_port"], json!([]));
    // What is not shown is counted, and takes no place from others.
    let three = (1..=3u64).flat_map(|scanner| {
        let from = format!("203.0.113.{scanner}");
        let tried = move |at: u64, port| {
            let victim = format!("10.3.1.{at}");
            let tried = Flow::new(9000 + at, &from, &victim, TCP, port);
            tried.flags(SYN).counts(1, 60)
        };
        // Two on one port, and one with fewer hosts on ports of theirs.
        let (hosts, step) = if scanner < 3 { (200, 0) } else { (100, 1) };
        (0..hosts).map(move |at| tried(at, u16::try_from(1000 + step * at).unwrap()))
    });
    let few = Archive::of(three).json(&["scans", "-n", "1"]);
    assert_eq!(column(&few["hosts_on_a_port"], "srcip"), ["203.0.113.1"]);
    assert_eq!(column(&few["hosts"], "srcip"), ["203.0.113.3"]);
    assert_eq!(
        few["found"],
        json!({ "hosts_on_a_port": 2, "hosts": 1, "ports": 0 })
    );
    // Without the question for an answer, the mail server is in the list: flow-dscan's false alarm.
    let whoever = archive.json(&["scans", "--bare", "0"]);
    assert!(column(&whoever["hosts_on_a_port"], "srcip").contains(&json!("10.0.0.25")));
}

#[test]
fn q7_which_ports_are_used_most() {
    let archive = Archive::of([Flow::new(100, "10.1.0.8", "10.1.0.9", TCP, 9999).counts(1, 60)]);
    let answer = archive.json(&[
        "top",
        "--by",
        "dstport:p",
        "--order",
        "flows",
        "dst port < 1024",
    ]);
    let first = &answer["statistics"][0]["rows"][0];
    assert_eq!(
        (&first["proto"], &first["dstport"]),
        (&json!("tcp"), &json!(443))
    );
    let stat = archive.text(&["stat", "5", "-S2", "-n", "3"]);
    let words =
        |line: usize| -> Vec<&str> { stat.lines().nth(line).unwrap().split_whitespace().collect() };
    assert_eq!(
        words(0),
        ["Destination", "port", "Flows", "Octets", "Packets"]
    );
    assert_eq!((words(1)[0], words(2)[0]), ("40000", "443"), "{stat}");
    let groups = archive.json(&["group", "--by", "srcip/16", "--having", "flows > 5000"]);
    assert_eq!(column(&groups["groups"], "srcip/16"), ["10.1.0.0/16"]);
}

/// As in nfdump: traffic classes and the bottom of a stack make no other label.
#[test]
fn q7_labels_are_counted_whatever_stands_beside_them() {
    let labelled = |at_s: u64, entry: u32| {
        let mut flow = Flow::new(at_s, "10.1.0.7", "10.1.0.8", TCP, 80);
        flow.0.record.mpls_labels[0] = entry;
        flow
    };
    let flows = [(0, 163 << 4), (1, (163 << 4) | 0xb), (2, (17 << 4) | 1)];
    let flows = flows.map(|(at_s, entry)| labelled(at_s, entry));
    let answer = Archive::new(&flows, false, 0).json(&["top", "--by", "mpls1/flows"]);
    let rows = &answer["statistics"][0]["rows"];
    assert_eq!(column(rows, "key"), [163, 17]);
    assert_eq!(column(rows, "flows"), [2, 1]);
}

/// The flow lasted from ten to four and was exported at four: an hour in between knows of it.
#[test]
fn q8_what_did_a_host_do_between_two_times() {
    let long = Flow::new(10 * HOUR_S, "10.1.0.77", "203.0.113.9", TCP, 22);
    let archive = Archive::of([
        long.lasts(6 * HOUR_S).counts(6_000_000, 6_000_000_000),
        Flow::new(20 * HOUR_S, "10.1.0.77", "203.0.113.10", TCP, 22),
    ]);
    let hour = "from 2026-11-20T12:00 to 2026-11-20T13:00";
    let answer = archive.json(&["host", "10.1.0.77", hour]);
    assert_eq!(column(&answer["peers"], "peer"), ["203.0.113.9"]);
    let sent: u64 = column(&answer["time_line"], "sent_octets")
        .iter()
        .map(|octets| octets.as_u64().unwrap())
        .sum();
    assert_eq!(sent, 1_000_000_000, "an hour's share of six");
    let whole = archive.json(&["host", "10.1.0.77", "--every", "1h"]);
    assert_eq!(column(&whole["time_line"], "sent_octets").len(), 7);
    let text = archive.text(&["host", "10.1.0.77"]);
    // Bloom filters leave out most of the files that have nothing of it.
    assert!(
        text.contains("22 ssh") && text.contains("of them hold nothing that fits"),
        "{text}"
    );
}

/// A question about an hour of yesterday, beside a collector that runs: what lies between is not asked for.
#[test]
fn q8_an_hour_of_yesterday_has_no_gaps_because_of_today() {
    let mut flows = days();
    let archive = Archive::new(&flows, true, 0);
    let hour = "from 2026-11-20T12:00 to 2026-11-20T13:00";
    for asked in [&["host", "10.0.0.53", hour][..], &["health", hour]] {
        let answer = archive.json(asked);
        assert_eq!(answer["gaps"], json!([]), "{asked:?}");
        assert_eq!(answer["coverage"]["open_files"], 0);
    }
    assert_eq!(archive.json(&["health", hour])["findings"], json!([]));
    // Silence in that hour is told, as far as it is in it.
    let (from, to) = (12 * HOUR_S + 1800, 14 * HOUR_S);
    let silent = (BEGIN_S + from) * SECOND_NS..(BEGIN_S + to) * SECOND_NS;
    flows.retain(|flow| !silent.contains(&flow.0.received_ns));
    let answer = Archive::new(&flows, true, 0).json(&["health", hour]);
    assert_eq!(answer["gaps"].as_array().unwrap().len(), 1, "{answer:#}");
    assert_eq!(answer["gaps"][0]["to"], "2026-11-20T13:00:00.000000000Z");
}

/// What the collector took a moment ago is in the open window.
#[test]
fn q9_what_happens_now() {
    let mut flows = days();
    flows.push(Flow::new(
        HOURS * HOUR_S - 30,
        "10.1.0.99",
        "203.0.113.66",
        TCP,
        4444,
    ));
    let archive = Archive::new(&flows, true, 0);
    let now = ["--now", "2026-11-22T00:00"];
    let asked = ["flows", "last 5min and dst port 4444"];
    let answer = archive.json(&[&asked[..], &now[..]].concat());
    assert_eq!(column(&answer["flows"], "src_addr"), ["10.1.0.99"]);
    assert_eq!(answer["coverage"]["open_files"], 1);
    assert_eq!(
        answer["coverage"]["complete_to"],
        "2026-11-21T23:54:33.000000000Z"
    );
    let text = archive.text(&[&["top", "last 5min"][..], &now[..]].concat());
    assert!(
        text.contains("what was lost on the way is known when a file is closed"),
        "{text}"
    );
}

/// Files have what was sent; what that stands for is had on request. Filters are of what is shown.
#[test]
fn q1_sampled_flows_count_for_all_packets_if_they_are_to() {
    let mut sampled = Flow::new(10, "10.1.0.7", "10.1.0.8", TCP, 80).counts(10, 5000);
    sampled.0.record.sampling_interval = 100;
    let other = Flow::new(20, "10.1.0.9", "10.1.0.8", TCP, 80).counts(20, 9000);
    let archive = Archive::new(&[sampled, other], false, 0);
    for (more, keys, octets, packets) in [
        (&[][..], ["10.1.0.9", "10.1.0.7"], [9000, 5000], [20, 10]),
        (
            &["--scaled"][..],
            ["10.1.0.7", "10.1.0.9"],
            [500_000, 9000],
            [1000, 20],
        ),
    ] {
        let answer = archive.json(&[&["top"][..], more].concat());
        let rows = &answer["statistics"][0]["rows"];
        assert_eq!(column(rows, "key"), keys);
        assert_eq!(column(rows, "octets"), octets);
        assert_eq!(column(rows, "packets"), packets);
        let large = archive.json(&[&["flows", "bytes > 100k"][..], more].concat());
        assert_eq!(
            large["flows"].as_array().unwrap().len(),
            more.len(),
            "{large:#}"
        );
    }
    // Who exports them would have them multiplied twice.
    let mut export = archive.command(&["export", "--scaled", "-w", "/no/such/folder/x.csv"]);
    let said = String::from_utf8(export.output().unwrap().stderr).unwrap();
    assert!(said.contains("leave --scaled out"), "{said}");
}

#[test]
fn q10_who_sends_from_addresses_that_cannot_be_and_to_groups() {
    let archive = Archive::of([
        Flow::new(70_000, "240.1.2.3", "10.1.0.5", UDP, 53).interface(2),
        Flow::new(70_001, "192.168.5.5", "10.1.0.5", UDP, 53).interface(2),
        Flow::new(70_002, "10.1.0.5", "239.1.1.1", UDP, 5004),
    ]);
    let bogons = archive.json(&["group", "--by", "srcip,inif", "src in @bogons and in if 2"]);
    assert_eq!(
        column(&bogons["groups"], "srcip"),
        ["192.168.5.5", "240.1.2.3"]
    );
    let groups = archive.json(&["group", "--by", "srcip,dstip", "dst in @multicast"]);
    assert_eq!(column(&groups["groups"], "dstip"), ["239.1.1.1"]);
}

#[test]
fn q11_is_the_data_complete() {
    let mut flows = days();
    let other = (0..12 * HOUR_S).step_by(600);
    flows.extend(
        other.map(|at| Flow::new(at, "10.7.0.1", "10.7.0.2", UDP, 53).exporter("192.0.2.2")),
    );
    let archive = Archive::new(&flows, false, 120);
    let answer = archive.json(&["health"]);
    assert_eq!(
        column(&answer["exporters"], "exporter"),
        ["192.0.2.1", "192.0.2.2"]
    );
    assert_eq!(
        column(&answer["exporters"], "lost"),
        [json!(120), Value::Null]
    );
    let findings = answer["findings"].to_string();
    assert!(
        findings.contains("192.0.2.1 (version 9, domain 7) lost 120 datagrams"),
        "{findings}"
    );
    assert!(
        findings.contains("192.0.2.2 (version 9, domain 7) fell silent at 2026-11-20 11:50:03"),
        "{findings}"
    );
    // Who is the only one left is silent beside nobody: the time of day tells.
    for (asked, now, is_silent) in [
        ("last 1h", "2026-11-22T02:00", true),
        ("any", "2026-11-22T02:00", true),
        ("any", "2026-11-22T00:05", false),
        ("yesterday", "2026-11-22T02:00", false),
    ] {
        let answer = archive.json(&["health", asked, "--now", now]);
        let findings = answer["findings"].to_string();
        let told = findings.contains("nothing was received from 2026-11-21 23:59");
        assert_eq!(told, is_silent, "{asked} at {now}: {findings}");
    }
    // Each answer says so, for the files it is drawn from.
    assert_eq!(archive.json(&["top"])["coverage"]["lost_datagrams"], 120);
    let before = archive.json(&["top", "until 2026-11-20T00:30"]);
    assert_eq!(before["coverage"]["lost_datagrams"], 0);
}

/// A collector that began anew within a window counts from zero, and its file sorts before the other; the
/// oldest files expire. Each file says what was lost in it.
#[test]
fn q11_losses_are_each_files_own() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::lock(folder.path()).unwrap();
    let mut files = Vec::new();
    for (at_s, datagrams, lost_before, lost) in [
        (0, 100, 0, 50),
        (1, 500, 0, 30),
        (300, 510, 30, 2),
        (600, 520, 32, 0),
    ] {
        // The second one is of the first one's window.
        let start_s = i64::try_from(BEGIN_S + at_s / 300 * 300).unwrap();
        let mut window = Window::create(&directory.window_path(start_s)).unwrap();
        let flow = Flow::new(at_s, "10.1.0.1", "10.1.0.2", UDP, 53);
        window.append(&[flow.stored()]).unwrap();
        let account = |lost: u64| {
            let stream = json!({
                "exporter": "192.0.2.1", "version": 9, "source_id": 7, "datagrams": datagrams,
                "records": datagrams, "lost": lost, "lost_unit": "datagrams",
            });
            json!([stream]).to_string()
        };
        let notes = [
            (account::TOTALS.to_owned(), account(lost_before + lost)),
            (account::SHARE.to_owned(), account(lost)),
        ];
        files.push(
            rotate::close(folder.path(), window.path(), &notes)
                .unwrap()
                .path
                .unwrap(),
        );
    }
    let archive = Archive { folder };
    let lost = || archive.json(&["top"])["coverage"]["lost_datagrams"].clone();
    assert_eq!(lost(), 82);
    fs::remove_file(&files[0]).unwrap();
    assert_eq!(lost(), 32);
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(lost(), 2);
}

#[test]
fn q12_what_is_the_95th_percentile_of_a_network() {
    // A megabit a second for a day; in one interval of five minutes out of thirty, ten.
    let customer = (0..288u64).map(|at| {
        let octets = if at % 30 == 7 {
            375_000_000
        } else {
            37_500_000
        };
        Flow::new(at * 300, "10.9.0.3", "203.0.113.5", TCP, 443)
            .lasts(300)
            .counts(1000, octets)
    });
    let archive = Archive::of(customer);
    let day = "src net 10.9.0.0/24 and from 2026-11-20 to 2026-11-21";
    let answer = archive.json(&["series", "--every", "5m", day]);
    assert_eq!(answer["series"].as_array().unwrap().len(), 288);
    assert_eq!(answer["summary"]["p95_bps"], 1_000_000);
    assert_eq!(answer["summary"]["most_bps"], 10_000_000);
    let text = archive.text(&["series", "--every", "1h", day]);
    assert!(
        text.contains("█") && text.contains("95th percentile"),
        "{text}"
    );
}

/// What is new since yesterday.
#[test]
fn new_talkers_and_new_services_stand_out() {
    let late = 47 * HOUR_S + 600;
    let archive = Archive::of([
        Flow::new(late, "10.1.0.250", "203.0.113.5", TCP, 6667).counts(100, 1_000_000),
        Flow::new(late - 24 * HOUR_S, "10.1.0.251", "203.0.113.5", TCP, 21),
    ]);
    let answer = archive.json(&["compare", "--period", "1h", "--against", "1d", "-n", "0"]);
    assert!(column(&answer["new_srcip"], "key").contains(&json!("10.1.0.250")));
    assert_eq!(column(&answer["new_dstport"], "key"), [6667]);
    assert_eq!(column(&answer["gone_dstport"], "key"), [21]);
    assert!(answer["earlier_flows"].as_u64().unwrap() > 0);
    // Where nothing is kept of the earlier period, what is new is not known; there may be no such time.
    for asked in [
        &["compare", "--against", "4w"][..],
        &["compare", "--period", "15000w", "--against", "15000w"],
    ] {
        assert_eq!(archive.json(asked)["earlier_flows"], 0);
        let text = archive.text(asked);
        assert!(text.contains("no flow of the earlier period"), "{text}");
    }
}

/// A flow has an address at each end, and is one flow all the same.
#[test]
fn what_is_on_both_sides_does_not_count_twice_in_the_whole() {
    let flow = Flow::new(60, "10.1.0.1", "10.1.0.2", TCP, 443);
    let archive = Archive::new(&[flow.counts(7, 900), flow.back().counts(3, 100)], false, 0);
    let text = archive.text(&["group", "--by", "ip"]);
    let all: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("all "))
        .collect();
    assert_eq!(all.len(), 1, "{text}");
    let words: Vec<_> = all[0].split_whitespace().collect();
    assert_eq!(words, ["all", "1,000", "10", "2"], "{text}");
    // Of groups that a filter chose nobody can tell which flows are in two of them.
    let text = archive.text(&["group", "--by", "ip", "--having", "flows > 0"]);
    assert!(!text.contains("\nall "), "{text}");
    let answer = archive.json(&["stat", "ip-address", "-P"]);
    assert_eq!(column(&answer["lines"], "flows"), [1.0, 1.0]);
    assert_eq!(column(&answer["lines"], "octets"), [1.0, 1.0]);
}

/// Exporters choose what they count: sums end at what 64 bits hold, and do not begin anew.
#[test]
fn sums_of_what_exporters_say_do_not_wrap() {
    let most = u64::MAX - 5;
    let flow = Flow::new(60, "10.1.0.1", "10.1.0.2", TCP, 443).counts(most, most);
    let small = flow.back().counts(1, 100);
    let archive = Archive::new(&[flow, flow, flow, small], false, 0);
    let answer = archive.json(&["top", "--by", "srcip", "--order", "octets,distinct(dstip)"]);
    let first = &answer["statistics"][0]["rows"][0];
    assert_eq!(
        (&first["key"], &first["octets"]),
        (&json!("10.1.0.1"), &json!(u64::MAX))
    );
    assert_eq!(answer["total"]["packets"], u64::MAX);
    let answer = archive.json(&["group", "--by", "srcip", "--having", "bytes > 1000"]);
    assert_eq!(column(&answer["groups"], "octets"), [u64::MAX]);
    let answer = archive.json(&["host", "10.1.0.1"]);
    assert_eq!(column(&answer["peers"], "sent_octets"), [u64::MAX]);
    assert_eq!(column(&answer["peers"], "received_octets"), [100]);
    // No wrap in the durations either; a flow of two seconds is one of two seconds.
    let answer = archive.json(&["stat", "summary"]);
    let seconds = answer["summary"].as_array().unwrap().iter();
    let mut seconds = seconds.filter(|row| row["figure"] == "seconds a flow");
    assert_eq!(seconds.next().unwrap()["value"], 2000);
}

/// What is exported is a directory of its own.
#[test]
fn an_export_answers_as_its_source_does() {
    let archive = Archive::of([]);
    let target = tempfile::tempdir().unwrap();
    for name in ["flows.parquet", "flows.csv"] {
        let path = target.path().join(name);
        let path = path.to_str().unwrap();
        archive.text(&["export", "-w", path, "dst port 443"]);
        let again = archive.command(&["export", "-w", path]).output().unwrap();
        assert_eq!(again.status.code(), Some(1), "a file is not written over");
    }
    let mut command = Command::new(binaries().unwrap().join("weir"));
    command.args(["top", "--json", "-r"]).arg(target.path());
    let output = command.output().unwrap();
    let exported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = archive.json(&["top", "dst port 443"]);
    assert_eq!(exported["total"], source["total"]);
    let lines = fs::read_to_string(target.path().join("flows.csv"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(source["total"]["flows"], lines - 1);
}
