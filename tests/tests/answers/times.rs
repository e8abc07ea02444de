//! When: between two times, now, over a day, and beside an earlier one.

use serde_json::json;

use crate::archive::{Archive, BEGIN_S, Flow, HOUR_S, HOURS, SECOND_NS, TCP, column, days};

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

/// Hosts of a network are told apart, and what they exchange with one another is not counted twice in the end.
#[test]
fn q8_what_did_the_hosts_of_a_network_do() {
    let inside = Flow::new(60, "10.1.0.77", "10.1.0.78", TCP, 22);
    let outside = Flow::new(70, "10.1.0.79", "203.0.113.9", TCP, 443);
    let archive = Archive::new(&[inside, outside], false, 0);
    let answer = archive.json(&["host", "10.1.0.0/24"]);
    let hosts = column(&answer["peers"], "host");
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    for host in ["10.1.0.77", "10.1.0.78", "10.1.0.79"] {
        assert!(hosts.contains(&json!(host)), "{host} of {hosts:?}");
    }
    assert_eq!(answer["coverage"]["flows"], 2);
    // What is not shown is in the sums.
    let few = archive.json(&["host", "10.1.0.0/24", "-n", "1"]);
    assert_eq!(column(&few["peers"], "host").len(), 1);
    assert_eq!(few["peers_in_all"], 3);
    assert_eq!(few["total"], answer["total"]);
    assert_eq!(few["total"]["sent_flows"], 2);
    let one = archive.json(&["host", "10.1.0.79/32"]);
    assert_eq!(column(&one["peers"], "peer"), ["203.0.113.9"]);
    assert_eq!(one["peers"][0].get("host"), None);
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
    flows.retain(|flow| !silent.contains(&flow.received_ns()));
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
    // Who asks for twenty minutes of an hour has the average of them.
    let minutes = "src net 10.9.0.0/24 and from 2026-11-20T11:00 to 2026-11-20T11:20";
    let answer = archive.json(&["series", "--every", "1h", minutes]);
    assert_eq!(answer["series"].as_array().unwrap().len(), 1);
    for name in ["average_bps", "p95_bps", "most_bps"] {
        assert_eq!(answer["summary"][name], 1_000_000, "{name}");
    }
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

/// Who says what the present is asks as of then: `last` counts back from it, and what came later is not told.
#[test]
fn a_present_that_is_said_is_the_end_of_answers() {
    let peer = "203.0.113.66";
    let archive = Archive::of([
        Flow::new(10 * HOUR_S + 1800, "10.1.0.99", peer, TCP, 4444),
        Flow::new(12 * HOUR_S + 1800, "10.1.0.99", peer, TCP, 4445),
        Flow::new(14 * HOUR_S + 1800, "10.1.0.99", peer, TCP, 4446),
    ]);
    let now = ["--now", "2026-11-20T13:00"];
    for (asked, ports) in [
        ("last 1h", &[4445][..]),
        ("since 10:00", &[4444, 4445][..]),
        ("any", &[4444, 4445][..]),
    ] {
        let asked = format!("dst ip {peer} and {asked}");
        let answer = archive.json(&[&["flows", "-O", "tstart", &asked][..], &now[..]].concat());
        assert_eq!(column(&answer["flows"], "dst_port"), ports, "{asked}");
    }
    let asked = ["compare", "--against", "2h", "-n", "0"];
    let answer = archive.json(&[&asked[..], &now[..]].concat());
    assert_eq!(
        answer["periods"]["to"], "2026-11-20T13:00:00.000000000Z",
        "{answer}"
    );
    assert!(column(&answer["new_dstport"], "key").contains(&json!(4445)));
    assert!(column(&answer["gone_dstport"], "key").contains(&json!(4444)));
}
