//! Who does what nobody should: spam, worms, scans, addresses that cannot be.

use std::fs;

use serde_json::json;

use crate::archive::{Archive, Flow, SYN, TCP, UDP, column};

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

/// Thirty tries within ten minutes are many, whatever else a host did in two days.
#[test]
fn a_burst_is_seen_in_a_long_time() {
    let login = |at_s: u64, from: &str| {
        Flow::new(at_s, from, "10.3.0.9", TCP, 22)
            .flags(0x1a)
            .counts(20, 4000)
    };
    let burst = (0..30u64).map(|at| login(18_000 + at * 20, "203.0.113.210"));
    let later = login(150_000, "203.0.113.210");
    let seldom = (0..30u64).map(|at| login(18_000 + at * 3600, "203.0.113.211"));
    // As many, on both sides of a quarter of an hour by the clock, which is as long as they may take.
    let across = (0..30u64).map(|at| login(18_600 + at * 20, "203.0.113.212"));
    let after = login(150_000, "203.0.113.212");
    let archive = Archive::of(burst.chain([later, after]).chain(across).chain(seldom));
    let answer = archive.json(&["signature", "ssh-brute-force"]);
    let hosts = column(&answer["matches"], "host");
    assert!(hosts.contains(&json!("203.0.113.210")), "{hosts:?}");
    assert!(hosts.contains(&json!("203.0.113.212")), "{hosts:?}");
    assert!(!hosts.contains(&json!("203.0.113.211")), "{hosts:?}");
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

/// Some exporters tell no flags: of theirs it is the packets that tell who was answered.
#[test]
fn q6_whose_flags_are_not_told_is_no_scanner_for_that() {
    let to = |from: &str, at: u64, packets: u64| {
        let flow = Flow::new(at, from, &format!("198.18.0.{at}"), TCP, 443);
        flow.flags(0).counts(packets, 60 * packets)
    };
    let busy = (0..200u64).map(|at| to("10.0.0.9", at, 50));
    let scanner = (0..200u64).map(|at| to("203.0.113.7", at, 1 + at % 3));
    let answer = Archive::of(busy.chain(scanner)).json(&["scans"]);
    let scanners = column(&answer["hosts_on_a_port"], "srcip");
    assert_eq!(scanners, ["203.0.113.7"]);
}

/// Echo requests have no answer in them, of either family.
#[test]
fn q6_who_pings_many_hosts() {
    let pings = (1..=100u64).flat_map(|at| {
        let v4 = Flow::new(at, "203.0.113.7", &format!("10.3.0.{at}"), 1, 8 << 8);
        let victim = format!("2001:db8:3::{at}");
        let v6 = Flow::new(at, "2001:db8::7", &victim, 58, 128 << 8);
        [v4.counts(1, 84), v6.counts(1, 104)]
    });
    let answer = Archive::of(pings).json(&["scans"]);
    assert_eq!(
        column(&answer["hosts_on_a_port"], "srcip"),
        ["203.0.113.7", "2001:db8::7"]
    );
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
