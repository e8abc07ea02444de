//! The account as Prometheus reads it: every number of `--statistics-json`, under its name there with
//! `weir_sensor_` before it; reasons and destinations are labels.

use serde_json::Value;
use weir_sensor_common::Counter;
use weir_service::metrics::{Labels, Page};

use crate::{expiry::Reason, statistics::Statistics};

/// Counters beside those of the program: name, meaning.
const COUNTERS: &[(&str, &str)] = &[
    ("ip_packets", "Packets with a usable IP header."),
    (
        "unsupported_link_packets",
        "Frames of a capture file whose link layer is not known.",
    ),
    (
        "deleted_flows",
        "Flows thrown away because a client of the control socket said so.",
    ),
    ("deleted_packets", "Packets of those."),
    ("deleted_octets", "Octets of those."),
    (
        "adopted_flows",
        "Flows taken over from the tables of sensors that ended.",
    ),
    ("adopted_packets", "Packets of those."),
    ("adopted_octets", "Octets of those."),
    (
        "adopted_lost_packets",
        "Packets that programs of sensors that ended lost by name, and no sensor told of.",
    ),
    ("adopted_lost_octets", "Octets of those."),
];

/// What may go down.
const GAUGES: &[(&str, &str)] = &[
    (
        "adopted_taken_packets",
        "Packets of flows that sensors which ended had taken out of their tables.",
    ),
    ("adopted_taken_octets", "Octets of those."),
    (
        "adopted_left_packets",
        "Packets that sensors which ended told as left in their tables.",
    ),
    ("adopted_left_octets", "Octets of those."),
    (
        "left_packets",
        "Packets of the flows that are in the table, the queues and the rings.",
    ),
    ("left_octets", "Octets of those."),
];

/// Of each destination: name, where it is in the account, meaning.
const DESTINATION: &[(&str, &str, &str)] = &[
    (
        "export_records",
        "/records",
        "Records given to the destination.",
    ),
    (
        "export_exported_records",
        "/records_exported",
        "Records in datagrams that were sent.",
    ),
    (
        "export_exported_packets",
        "/packets_exported",
        "Packets of those.",
    ),
    (
        "export_exported_octets",
        "/octets_exported",
        "Octets of those.",
    ),
    (
        "export_split_records",
        "/records_split",
        "Records added by splitting counts that do not fit.",
    ),
    (
        "export_unsupported_records",
        "/records_unsupported/records",
        "Records that the version cannot carry.",
    ),
    (
        "export_unsupported_packets",
        "/records_unsupported/packets",
        "Packets of those.",
    ),
    (
        "export_unsupported_octets",
        "/records_unsupported/octets",
        "Octets of those.",
    ),
    (
        "export_unsent_records",
        "/records_unsent/records",
        "Records in datagrams that could not be sent.",
    ),
    (
        "export_unsent_packets",
        "/records_unsent/packets",
        "Packets of those.",
    ),
    (
        "export_unsent_octets",
        "/records_unsent/octets",
        "Octets of those.",
    ),
    (
        "export_lost_records",
        "/records_lost/records",
        "Records that the export thread took with it.",
    ),
    (
        "export_lost_packets",
        "/records_lost/packets",
        "Packets of those.",
    ),
    (
        "export_lost_octets",
        "/records_lost/octets",
        "Octets of those.",
    ),
    (
        "export_sent_datagrams",
        "/datagrams_sent",
        "Datagrams sent.",
    ),
    (
        "export_sent_octets",
        "/datagram_octets",
        "Octets of those, without UDP and IP headers.",
    ),
    (
        "export_unsent_datagrams",
        "/datagrams_unsent",
        "Datagrams that could not be sent.",
    ),
    (
        "export_shortened_datagrams",
        "/datagrams_shortened",
        "Datagrams that the path was too narrow for; their records left in shorter ones.",
    ),
    (
        "export_refused_datagrams",
        "/datagrams_refused",
        "Times the network said that a datagram was not received.",
    ),
];

/// The account; `missed_frames` are those that the cards had no room for.
#[must_use]
pub fn page(statistics: &Statistics, missed_frames: u64) -> Page {
    let told = statistics.to_json();
    let mut page = Page::default();
    for counter in Counter::ALL {
        page.counter(counter.name(), counter.help(), statistics.get(*counter));
    }
    for (name, help) in COUNTERS {
        page.counter(name, help, count(&told, &format!("/{name}")));
    }
    for counter in Counter::ALL {
        let name = counter.name();
        let help = format!("Of sensors that ended, untold: {}", counter.help());
        let seen = count(&told, &format!("/adopted_seen/{name}"));
        page.counter(&format!("adopted_seen_{name}"), &help, seen);
    }
    let seen = count(&told, "/adopted_seen/ip_packets");
    let help = "Of sensors that ended, untold: packets with a usable IP header.";
    page.counter("adopted_seen_ip_packets", help, seen);
    page.counter(
        "missed_frames",
        "Frames that the interfaces' cards had no room for since the start.",
        missed_frames,
    );
    for (name, help) in GAUGES {
        page.gauge(name, help, told[name].as_i64().unwrap_or(0));
    }
    for (name, unit, help) in [
        ("expired_flows", "records", "Flows taken out of the table."),
        ("expired_packets", "packets", "Packets of those."),
        ("expired_octets", "octets", "Octets of those."),
    ] {
        let values = Reason::ALL.iter().map(|reason| {
            let name = reason.name();
            let labels = vec![("reason", name.to_owned())];
            (labels, count(&told["expired"][name], &format!("/{unit}")))
        });
        page.counters(name, help, values);
    }
    let destinations = told["destinations"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for (name, place, help) in DESTINATION {
        let values = (0u32..).zip(destinations);
        let values =
            values.map(|(number, account)| (labels(number, account), count(account, place)));
        page.counters(name, help, values);
    }
    page
}

/// Two destinations may have one address; their places in the account tell them apart.
fn labels(number: u32, account: &Value) -> Labels {
    let address = account["address"].as_str().unwrap_or("none");
    vec![
        ("destination", address.to_owned()),
        ("number", number.to_string()),
    ]
}

fn count(account: &Value, place: &str) -> u64 {
    account.pointer(place).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use weir_exporter::ExportCounters;

    use super::*;
    use crate::export::Exported;

    /// The names of all numbers in the account.
    fn places(account: &Value, before: &str, found: &mut Vec<String>) {
        match account {
            Value::Object(object) => {
                for (name, value) in object {
                    places(value, &format!("{before}/{name}"), found);
                }
            }
            Value::Number(_) => found.push(before.to_owned()),
            _ => {}
        }
    }

    #[test]
    fn every_number_of_the_account_is_told() {
        let mut statistics = Statistics::default();
        for (number, counter) in (1u64..).zip(Counter::ALL) {
            statistics.add(*counter, number);
        }
        statistics.export = vec![Exported {
            address: Some(([192, 0, 2, 1], 2055).into()),
            is_partial: false,
            in_turn: false,
            counters: ExportCounters::default(),
            share: ExportCounters::default(),
        }];
        let told = statistics.to_json();
        let text = page(&statistics, 7).encode("weir_sensor");
        for (number, counter) in (1u64..).zip(Counter::ALL) {
            let line = format!("\nweir_sensor_{}_total {number}\n", counter.name());
            assert!(text.contains(&line), "{line}");
        }
        assert!(text.contains("\nweir_sensor_missed_frames_total 7\n"));
        let mut found = Vec::new();
        places(&told["destinations"][0], "", &mut found);
        for place in &found {
            let is_told = DESTINATION.iter().any(|(_, told, _)| told == place);
            assert!(is_told, "{place} of a destination");
        }
        assert_eq!(found.len(), DESTINATION.len());
        let of_destination = found;
        let mut found = Vec::new();
        places(&told, "", &mut found);
        // The first destination's account is repeated at the top, see `Statistics::to_json`. While it meters,
        // what is unexplained is what is in the table: 0 by construction, and no figure.
        found.retain(|place| {
            !of_destination.contains(place)
                && !place.starts_with("/expired/")
                && !place.starts_with("/unexplained_")
        });
        for place in found {
            let name = place[1..].replace('/', "_");
            let is_told = [
                format!("\nweir_sensor_{name} "),
                format!("\nweir_sensor_{name}_total "),
            ]
            .iter()
            .any(|line| text.contains(line));
            assert!(is_told, "{place}: {text}");
        }
        let first =
            "weir_sensor_export_records_total{destination=\"192.0.2.1:2055\",number=\"0\"} 0\n";
        assert!(text.contains(first), "{text}");
        assert!(text.contains("weir_sensor_expired_flows_total{reason=\"tcp.rst\"} 0\n"));
    }
}
