//! Over connections: what ends with them, and what is told of them afterwards.

use weir_collector::{
    exporters::{Exporters, Refused, Settings, Source},
    shards::Shards,
    sums::OTHERS,
};
use weir_store::account;

use crate::{NOW_NS, datagram, exporters, flow, flow_template, source, take};

#[test]
fn a_connection_takes_its_templates_with_it() {
    let mut exporters = exporters();
    let of_session = |session| Source {
        session,
        ..source(1)
    };
    let with_template = datagram(0, 0, &[flow_template(), flow(1)]);
    assert_eq!(
        take(&mut exporters, &of_session(5), NOW_NS, &with_template),
        [1]
    );
    let without = datagram(0, 1, &[flow(2)]);
    assert!(take(&mut exporters, &of_session(6), NOW_NS, &without).is_empty());
    assert!(exporters.remembered().is_empty());
    exporters.end_session(5);
    exporters.end_session(6);
    assert_eq!(exporters.heard_count(), 0);
    assert_eq!(exporters.statistics.unknown_template_sets, 1);
}

/// Templates come once in a connection: one whose templates are gone must begin anew, or nothing of it is read again.
#[test]
fn a_connection_whose_templates_made_room_is_over() {
    let mut exporters = Exporters::new(Settings {
        exporters_max: 8,
        ..Settings::default()
    });
    let of_session = |number, session| Source {
        session,
        ..source(number)
    };
    let begin = datagram(0, 0, &[flow_template(), flow(1)]);
    for session in [5, 6] {
        let connection = of_session(1, session);
        assert_eq!(take(&mut exporters, &connection, NOW_NS, &begin), [1]);
    }
    for sequence in 1..=16 {
        let octets = datagram(0, sequence, &[flow(2)]);
        let connection = of_session(1, 6);
        assert_eq!(take(&mut exporters, &connection, NOW_NS, &octets), [2]);
    }
    // A domain that said nothing is none that anybody misses.
    let empty = datagram(1, 0, &[]);
    assert!(take(&mut exporters, &of_session(1, 6), NOW_NS, &empty).is_empty());
    for number in 0..1000 {
        take(&mut exporters, &source(100 + number), NOW_NS, &begin);
    }
    let next = datagram(0, 17, &[flow(2)]);
    assert_eq!(take(&mut exporters, &of_session(1, 6), NOW_NS, &next), [2]);
    let mut flows = Vec::new();
    for sequence in [1, 2] {
        let octets = datagram(0, sequence, &[flow_template(), flow(3)]);
        let result = exporters.datagram(&octets, &of_session(1, 5), NOW_NS, &mut flows);
        assert_eq!(result, Err(Refused::Forgotten));
    }
    assert!(flows.is_empty());
    assert_eq!(exporters.statistics.forgotten_stream, 2);
    exporters.end_session(5);
    assert_eq!(
        take(&mut exporters, &of_session(1, 15), NOW_NS, &begin),
        [1]
    );
}

/// A connection's counts outlive it in its stream's line, whichever connection they were of; the lines of
/// connections that ended are bounded, and what has none any more is in the last one.
#[test]
fn what_connections_brought_is_told_when_they_have_ended() {
    let settings = Settings {
        ended_max: 3,
        ..Settings::default()
    };
    let shards = Shards::new(&settings, 1);
    let bring = |number: u32, session: u64, sequence: u32| {
        let source = Source {
            session,
            ..source(number)
        };
        let octets = datagram(9, sequence, &[flow_template(), flow(session)]);
        let mut flows = Vec::new();
        shards
            .datagram(&octets, &source, NOW_NS, &mut flows)
            .unwrap();
        assert_eq!(flows.len(), 1);
    };
    let end = |number: u32, session: u64| shards.end_session(source(number).address, session);
    // Two connections after each other, one of which lost something, and a third that lasts.
    for sequence in [0, 1, 4] {
        bring(1, 5, sequence);
    }
    end(1, 5);
    bring(1, 6, 700);
    end(1, 6);
    bring(1, 7, 0);
    let told = |name: &str| -> Vec<serde_json::Value> {
        let accounts = shards.accounts();
        let accounts = accounts.as_array().unwrap().iter();
        accounts.map(|account| account[name].clone()).collect()
    };
    assert_eq!(told("datagrams"), [5]);
    assert_eq!(told("lost"), [2]);
    assert_eq!(told("records"), [5]);
    // Those of the connection that lasts.
    assert_eq!(told("templates"), [1]);
    assert_eq!(shards.heard_and_lost(), (1, 0, 2));
    // Many others come and go.
    for number in 2..10 {
        bring(number, 100 + u64::from(number), 0);
        end(number, 100 + u64::from(number));
    }
    assert_eq!(told("datagrams"), [1, 1, 1, 1, 9]);
    assert_eq!(told("exporter")[4], OTHERS);
    assert_eq!(told("lost").last().unwrap(), &2);
    let counts = shards.counts();
    let in_files = counts.as_array().unwrap().iter();
    assert_eq!(
        in_files
            .filter(|account| account["exporter"] == OTHERS)
            .count(),
        0
    );
}

/// What a file says was lost in its time is the sum over an exporter's connections, also those that ended or
/// began in it.
#[test]
fn a_files_share_is_of_all_connections_of_an_exporter() {
    let shards = Shards::new(&Settings::default(), 1);
    let bring = |session: u64, sequence: u32| {
        let source = Source {
            session,
            ..source(1)
        };
        let octets = datagram(9, sequence, &[flow_template(), flow(session)]);
        shards
            .datagram(&octets, &source, NOW_NS, &mut Vec::new())
            .unwrap();
    };
    bring(5, 0);
    bring(6, 100);
    let before = shards.counts();
    // Two of the one are missing, three of the other.
    bring(5, 3);
    bring(6, 104);
    shards.end_session(source(1).address, 6);
    bring(7, 0);
    let share = account::since(&shards.counts(), &before);
    let share = share.as_array().unwrap();
    assert_eq!(share.len(), 1, "{share:?}");
    assert_eq!(share[0]["datagrams"], 3);
    assert_eq!(share[0]["lost"], 5);
}
