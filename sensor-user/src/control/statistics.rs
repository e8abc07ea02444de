//! The answer to `statistics`, in softflowd's layout: programs read it, so labels, widths and order
//! are its, and what Weir has to say besides stands at the end. A flow is of both directions where
//! these leave together, as softflowd's do by its name; else of one.

use std::fmt::Write as _;

use serde_json::{Value, json};
use weir_sensor_common::Counter;

use super::text::Protocols;
use crate::{
    expiry::Reason,
    export::Exported,
    statistics::Statistics,
    summary::{Spread, Summary},
};

/// What libpcap counts of a live interface, and what stands in its place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Frames that the cards had no room for.
    pub missed_frames: u64,
}

/// The block of statistics; `capture` is `None` for a capture file.
#[must_use]
pub fn layout(
    statistics: &Statistics,
    active_flows: u64,
    capture: Option<Capture>,
    protocols: &Protocols,
) -> String {
    let mut text = String::new();
    let summary = statistics.summary.whole();
    packets(&mut text, statistics, active_flows);
    flows(&mut text, statistics, &summary);
    if let Some(Capture { missed_frames }) = capture {
        let lost = [
            Counter::LostRingPackets,
            Counter::LostBusyPackets,
            Counter::StepMissing,
        ];
        let lost: u64 = lost.iter().map(|counter| statistics.get(*counter)).sum();
        // libpcap counts what its filter lets through.
        let seen = statistics.get(Counter::Packets);
        let seen = seen.saturating_sub(statistics.get(Counter::Filtered));
        let _ = writeln!(text, "Packets received by libpcap: {seen}");
        let _ = writeln!(text, "Packets dropped by libpcap: {lost}");
        let _ = writeln!(text, "Packets dropped by interface: {missed_frames}");
    }
    text.push('\n');
    if summary.flows() > 0 {
        spreads(&mut text, &summary);
        reasons(&mut text, &summary);
        per_protocol(&mut text, &summary, protocols);
    }
    text
}

/// The same for programs: every counter by its name.
#[must_use]
pub fn json(statistics: &Statistics, active_flows: u64, missed_frames: u64) -> Value {
    let mut object = statistics.to_json();
    object["active_flows"] = json!(active_flows);
    object["missed_frames"] = json!(missed_frames);
    object
}

fn packets(text: &mut String, statistics: &Statistics, active_flows: u64) {
    let non_ip = statistics.get(Counter::NonIp);
    // What softflowd cannot read an IP header of.
    let too_short = statistics.get(Counter::TooShort)
        + statistics.get(Counter::BadIp)
        + statistics.get(Counter::TooDeep);
    let processed = statistics.ip_packets() + too_short;
    let _ = writeln!(text, "Number of active flows: {active_flows}");
    let _ = writeln!(text, "Packets processed: {processed}");
    let left_out = statistics.get(Counter::SampledOut);
    if left_out > 0 {
        let _ = writeln!(text, "Packets non-sampled: {left_out}");
    }
    let _ = writeln!(text, "Fragments: {}", statistics.get(Counter::Fragments));
    let _ = writeln!(
        text,
        "Ignored packets: {} ({non_ip} non-IP, {too_short} too short)",
        non_ip + too_short
    );
}

fn flows(text: &mut String, statistics: &Statistics, summary: &Summary) {
    let expired = summary.flows();
    let forced = summary.reasons[Reason::Forced as usize];
    let _ = writeln!(text, "Flows expired: {expired} ({forced} forced)");
    let whole = Exported::whole(&statistics.export);
    let failures: u64 = statistics
        .export
        .iter()
        .map(|Exported { counters, .. }| {
            counters.records_unsent.records + counters.records_lost.records
        })
        .sum();
    let records = whole.records_exported.records;
    let unsplit = records.saturating_sub(whole.records_split);
    let exported = if statistics.tells_conversations {
        // What has not left yet counts as so many flows: at most a datagram's records, unless some are lost.
        expired.saturating_sub(whole.records.records.saturating_sub(unsplit))
    } else {
        unsplit
    };
    let _ = writeln!(
        text,
        "Flows exported: {exported} ({records} records) in {} packets ({failures} failures)",
        whole.datagrams_sent
    );
}

#[expect(clippy::cast_precision_loss, reason = "as text of 12 digits")]
fn spreads(text: &mut String, summary: &Summary) {
    const SECOND_NS: f64 = 1e9;
    text.push_str("Expired flow statistics:  minimum       average       maximum\n");
    for (label, spread) in [
        ("  Flow bytes:        ", &summary.octets),
        ("  Flow packets:      ", &summary.packets),
    ] {
        let Spread { least, most, .. } = *spread;
        let mean = spread.mean();
        let _ = writeln!(text, "{label}{least:>12}  {mean:>12.0}  {most:>12}");
    }
    let duration_ns = &summary.duration_ns;
    let [least, mean, most] = [
        duration_ns.least as f64 / SECOND_NS,
        duration_ns.mean() / SECOND_NS,
        duration_ns.most as f64 / SECOND_NS,
    ];
    let _ = writeln!(
        text,
        "  Duration:          {least:>12.2}s {mean:>12.2}s {most:>12.2}s"
    );
    text.push('\n');
}

fn reasons(text: &mut String, summary: &Summary) {
    const ROWS: [&[(&str, Reason)]; 6] = [
        &[
            ("tcp", Reason::Tcp),
            ("tcp.rst", Reason::TcpRst),
            ("tcp.fin", Reason::TcpFin),
        ],
        &[
            ("udp", Reason::Udp),
            ("icmp", Reason::Icmp),
            ("general", Reason::General),
        ],
        &[("maxlife", Reason::Active)],
        &[("over 2 GiB", Reason::OverOctets)],
        &[("maxflows", Reason::Forced)],
        &[("flushed", Reason::Flushed)],
    ];
    text.push_str("Expired flow reasons:\n");
    for row in ROWS {
        for (label, reason) in row {
            let count = summary.reasons[*reason as usize];
            let _ = write!(text, "{label:>10} = {count:>9}");
        }
        text.push('\n');
    }
    text.push('\n');
}

#[expect(clippy::cast_precision_loss, reason = "seconds to two places")]
fn per_protocol(text: &mut String, summary: &Summary, protocols: &Protocols) {
    const SECOND_NS: f64 = 1e9;
    text.push_str("Per-protocol statistics:     Octets      Packets   Avg Life    Max Life\n");
    for (number, protocol) in summary.protocols() {
        let name = format!("{} ({number})", protocols.name(number));
        let _ = writeln!(
            text,
            "  {name:>17}: {:>14} {:>12}   {:>8.2}s {:>10.2}s",
            protocol.octets,
            protocol.packets,
            protocol.duration_ns.mean() / SECOND_NS,
            protocol.duration_ns.most as f64 / SECOND_NS
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Now, record::Recorder, sweep::Taken};
    use weir_exporter::{ExportCounters, counters::Tally};
    use weir_sensor_common::{Extra, FlowKey, KeyMask};

    /// Of the one destination there is.
    fn all_of(counters: ExportCounters) -> Exported {
        Exported {
            address: None,
            is_partial: false,
            in_turn: false,
            counters,
            share: counters,
        }
    }

    fn protocols() -> Protocols {
        Protocols::parse("tcp 6 TCP\nudp 17 UDP\n")
    }

    /// Three flows: two of TCP, one of a protocol without a name.
    fn statistics() -> Statistics {
        let mut statistics = Statistics::default();
        for (counter, count) in [
            (Counter::Packets, 1500),
            (Counter::Filtered, 500),
            (Counter::SampledOut, 40),
            (Counter::NonIp, 20),
            (Counter::TooShort, 1),
            (Counter::BadIp, 2),
            (Counter::TooDeep, 3),
            (Counter::Fragments, 5),
            (Counter::LostRingPackets, 7),
        ] {
            statistics.add(counter, count);
        }
        let now = Now::of_packet(1_700_000_000_000_000_000, 0);
        let recorder = Recorder {
            ifindexes: Vec::new(),
            ifindexes_given: Vec::new(),
            key_mask: KeyMask::FULL,
            sampling_interval: 1,
            as_softflowd: true,
        };
        for (protocol, octets, packets, ticks, reason) in [
            (6, 40, 1, 0, Reason::Tcp),
            (6, 1_000_000, 999, 10_000, Reason::Forced),
            (253, 100, 2, 1000, Reason::Flushed),
        ] {
            let taken = Taken {
                key: FlowKey {
                    attributes: FlowKey::pack(1, 2, protocol, 0, 0),
                    ..FlowKey::default()
                },
                hook: 0,
                octets,
                packets,
                first_tick: now.tick() - ticks,
                last_tick: now.tick(),
                tcp_flags: 0,
                reason,
                extra: Extra::default(),
            };
            statistics.count_taken(&taken);
            let record = recorder.record(&taken, &now);
            statistics.summary.count(&record, reason, false);
        }
        statistics.export = vec![all_of(ExportCounters {
            records_exported: Tally {
                records: 3,
                ..Tally::default()
            },
            records_unsent: Tally {
                records: 4,
                ..Tally::default()
            },
            datagrams_sent: 2,
            ..ExportCounters::default()
        })];
        statistics
    }

    /// As softflowd 1.1.0 prints it, with the numbers above.
    #[test]
    fn the_layout_is_softflowds_to_the_column() {
        let expected = "\
Number of active flows: 12
Packets processed: 940
Packets non-sampled: 40
Fragments: 5
Ignored packets: 26 (20 non-IP, 6 too short)
Flows expired: 3 (1 forced)
Flows exported: 3 (3 records) in 2 packets (4 failures)
Packets received by libpcap: 1000
Packets dropped by libpcap: 7
Packets dropped by interface: 8

Expired flow statistics:  minimum       average       maximum
  Flow bytes:                  40        333380       1000000
  Flow packets:                 1           334           999
  Duration:                  0.00s         3.85s        10.49s

Expired flow reasons:
       tcp =         1   tcp.rst =         0   tcp.fin =         0
       udp =         0      icmp =         0   general =         0
   maxlife =         0
over 2 GiB =         0
  maxflows =         1
   flushed =         1

Per-protocol statistics:     Octets      Packets   Avg Life    Max Life
            tcp (6):        1000040         1000       5.24s      10.49s
      Unknown (253):            100            2       1.05s       1.05s
";
        let capture = Capture { missed_frames: 8 };
        let found = layout(&statistics(), 12, Some(capture), &protocols());
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected);
        }
        assert_eq!(found, expected);
    }

    /// softflowd tells flows of both directions in v9 and IPFIX, and records in v1 and v5.
    #[test]
    fn exported_flows_are_conversations_where_softflowd_tells_them() {
        let mut statistics = Statistics::default();
        for is_other_direction in [false, true, false, true, false] {
            let record = weir_netflow::FlowRecord::default();
            let summary = &mut statistics.summary;
            summary.count(&record, Reason::Udp, is_other_direction);
        }
        let tally = |records| Tally {
            records,
            ..Tally::default()
        };
        for (left, tells_conversations, expected) in [
            (5, true, "Flows exported: 3 (5 records) in 1 packets"),
            (4, true, "Flows exported: 2 (4 records) in 1 packets"),
            (5, false, "Flows exported: 5 (5 records) in 1 packets"),
        ] {
            statistics.tells_conversations = tells_conversations;
            statistics.export = vec![all_of(ExportCounters {
                records: tally(5),
                records_exported: tally(left),
                datagrams_sent: 1,
                ..ExportCounters::default()
            })];
            let found = layout(&statistics, 0, None, &protocols());
            assert!(found.contains("Flows expired: 3 (0 forced)\n"), "{found}");
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn before_the_first_flow_is_over_there_is_one_block() {
        let found = layout(&Statistics::default(), 0, None, &protocols());
        let expected = "\
Number of active flows: 0
Packets processed: 0
Fragments: 0
Ignored packets: 0 (0 non-IP, 0 too short)
Flows expired: 0 (0 forced)
Flows exported: 0 (0 records) in 0 packets (0 failures)

";
        assert_eq!(found, expected);
    }

    /// What a scraper in use looks for, in its own words.
    #[test]
    fn a_scrapers_patterns_find_their_numbers() {
        let found = layout(
            &statistics(),
            12,
            Some(Capture { missed_frames: 0 }),
            &protocols(),
        );
        let after = |label: &str| -> u64 {
            let line = found.lines().find_map(|line| line.strip_prefix(label));
            let digits = line
                .unwrap_or_else(|| panic!("{label} in {found}"))
                .trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit());
            digits[..end.unwrap_or(digits.len())].parse().unwrap()
        };
        assert_eq!(after("Number of active flows: "), 12);
        assert_eq!(after("Packets processed: "), 940);
        assert_eq!(after("Ignored packets: "), 26);
        assert_eq!(after("Flows expired: "), 3);
        assert_eq!(after("Flows exported: "), 3);
        assert_eq!(after("Packets dropped by libpcap: "), 7);
        assert_eq!(after("over 2 GiB = "), 0);
        assert_eq!(after("  maxflows = "), 1);
    }
}
