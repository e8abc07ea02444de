//! IPFIX messages as the collector takes them: loss by data records, definitions that come and go. And
//! what older formats number.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use weir_collector::{
    exporters::{Exporters, Settings, Source},
    loss::Step,
    saving::{INTERFACES, Saving},
    shards::Shards,
};
use weir_netflow::{Direction, FlowRecord, ipfix};
use weir_store::schema::StoredFlow;
use weir_tests::sflow as made;

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const UDP: Source = Source {
    address: Ipv6Addr::LOCALHOST,
    port: 4739,
    session: 0,
};

/// A template set: template 256 is octets and packets, of one octet each.
const TEMPLATE: [u8; 16] = [0, 2, 0, 16, 1, 0, 0, 2, 0, 1, 0, 1, 0, 2, 0, 1];

/// A data set of so many records of a template, each of 40 octets and a packet.
fn data(id: u16, records: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let head = [high, low, 0, 4 + 2 * records];
    let records = [40, 1].repeat(usize::from(records));
    [&head[..], &records[..]].concat()
}

fn exporters() -> Exporters {
    Exporters::new(Settings::default())
}

/// Has an IPFIX message of these sets taken; the number of flows in it.
fn take_from(exporters: &mut Exporters, source: &Source, sequence: u32, sets: &[&[u8]]) -> usize {
    flows_from(exporters, source, sequence, sets).len()
}

/// The flows themselves.
fn flows_from(
    exporters: &mut Exporters,
    source: &Source,
    sequence: u32,
    sets: &[&[u8]],
) -> Vec<StoredFlow> {
    let sets = sets.concat();
    let header = ipfix::Header {
        length: u16::try_from(ipfix::HEADER_OCTETS + sets.len()).unwrap(),
        export_ns: NOW_NS,
        sequence,
        domain: 3,
    };
    let message = [&ipfix::encode_header(&header)[..], &sets[..]].concat();
    let mut flows = Vec::new();
    let _ = exporters.datagram(&message, source, NOW_NS, &mut flows);
    flows
}

fn take(exporters: &mut Exporters, sequence: u32, sets: &[&[u8]]) -> usize {
    take_from(exporters, &UDP, sequence, sets)
}

/// The only exporter's account.
fn account(exporters: &Exporters) -> Value {
    let mut accounts = exporters.accounts();
    assert_eq!(accounts.len(), 1);
    accounts.remove(0).1
}

/// What it lost, reordered and sent again.
fn lost(exporters: &Exporters) -> [u64; 3] {
    let account = account(exporters);
    assert_eq!(account["lost_unit"], "records");
    ["lost", "reordered", "duplicated"].map(|name| account[name].as_u64().unwrap())
}

/// Fault case C15.
#[test]
fn c15_loss_of_ipfix_is_counted_in_data_records() {
    let mut exporters = exporters();
    let first = u32::MAX - 2;
    assert_eq!(take(&mut exporters, first, &[&TEMPLATE, &data(256, 3)]), 3);
    // Across the wrap, and a message of templates only.
    assert_eq!(take(&mut exporters, 0, &[&data(256, 2)]), 2);
    assert_eq!(take(&mut exporters, 2, &[&TEMPLATE]), 0);
    assert_eq!(lost(&exporters), [0, 0, 0]);
    take(&mut exporters, 4, &[&data(256, 1)]);
    assert_eq!(lost(&exporters), [2, 0, 0]);
    take(&mut exporters, 2, &[&data(256, 2)]);
    assert_eq!(lost(&exporters), [0, 1, 0]);
    assert_eq!(exporters.lost(), (0, 0));
}

/// Templates may come again as they are; records of an unknown one wait once.
#[test]
fn c15_copies_of_ipfix_are_left_out() {
    let mut exporters = exporters();
    let unknown = data(300, 5);
    for _ in 0..2 {
        assert_eq!(take(&mut exporters, 0, &[&TEMPLATE]), 0);
        take(&mut exporters, 0, &[&unknown]);
    }
    assert_eq!(account(&exporters)["waiting_sets"], 1);
    assert_eq!(take(&mut exporters, 5, &[&data(256, 3)]), 3);
    assert_eq!(take(&mut exporters, 5, &[&data(256, 3)]), 0);
    assert_eq!(lost(&exporters), [0, 0, 1]);
    let counted = &exporters.statistics;
    assert_eq!((counted.templates, counted.copied_datagrams), (2, 2));
}

#[test]
fn records_of_an_unknown_template_are_no_gap() {
    let mut exporters = exporters();
    take(
        &mut exporters,
        0,
        &[&TEMPLATE, &data(256, 3), &data(300, 5)],
    );
    take(&mut exporters, 8, &[&data(256, 1)]);
    assert_eq!(lost(&exporters), [0, 0, 0]);
    // A gap before such a message is one all the same.
    take(&mut exporters, 19, &[&data(300, 5)]);
    assert_eq!(lost(&exporters), [10, 0, 0]);
    // They wait for it.
    assert_eq!(exporters.statistics.unknown_template_sets, 0);
    exporters.finish();
    assert_eq!(exporters.statistics.unknown_template_sets, 2);
}

/// Fault cases C8 and C9.
#[test]
fn c08_c09_a_definition_replaces_what_had_its_id_of_whichever_kind() {
    let mut exporters = exporters();
    assert_eq!(take(&mut exporters, 0, &[&TEMPLATE, &data(256, 3)]), 3);
    let options = [0, 3, 0, 14, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1];
    assert_eq!(take(&mut exporters, 3, &[&options, &data(256, 3)]), 0);
    assert_eq!(exporters.statistics.options_records, 6);
    assert_eq!(take(&mut exporters, 9, &[&TEMPLATE, &data(256, 3)]), 3);
    // One that cannot be used: its records would have no octets.
    let refused = [0, 2, 0, 12, 1, 0, 0, 1, 0, 1, 0, 0];
    assert_eq!(take(&mut exporters, 12, &[&refused, &data(256, 3)]), 0);
    exporters.finish();
    let statistics = &exporters.statistics;
    assert_eq!(statistics.templates_refused, 1);
    assert_eq!(statistics.unknown_template_sets, 1);
    // None of the flows said when.
    assert_eq!((statistics.records, statistics.untimed_records), (6, 6));
}

/// Fault case C6: nothing of such a set is taken, and the sets beside it are.
#[test]
fn c06_a_set_whose_last_record_goes_beyond_it_is_left_out() {
    let mut exporters = exporters();
    // Template 300: a name of any length, and packets.
    let template = [0, 2, 0, 16, 1, 44, 0, 2, 0, 82, 0xff, 0xff, 0, 2, 0, 1];
    // A whole record, and one whose name is said to have 65,535 octets.
    let beyond = [1, 44, 0, 12, 1, b'x', 9, 255, 0xff, 0xff, 1, 2];
    let sets: [&[u8]; 4] = [&TEMPLATE, &template, &beyond, &data(256, 2)];
    assert_eq!(take(&mut exporters, 0, &sets), 2);
    let statistics = &exporters.statistics;
    assert_eq!((statistics.malformed_sets, statistics.records), (1, 2));
    // How many records it had is not known: whatever number comes next is no gap.
    assert_eq!(take(&mut exporters, 4, &[&data(256, 1)]), 1);
    assert_eq!(lost(&exporters), [0, 0, 0]);
}

/// Fault case C14.
#[test]
fn c14_a_withdrawal_over_udp_is_ignored_and_counted() {
    let mut exporters = exporters();
    take(&mut exporters, 0, &[&TEMPLATE]);
    let withdrawal = [0, 2, 0, 8, 1, 0, 0, 0];
    assert_eq!(take(&mut exporters, 0, &[&withdrawal, &data(256, 2)]), 2);
    assert_eq!(exporters.statistics.templates_withdrawn, 1);
}

/// A template that comes and goes in one message is there for what lies between; what waited for it waits on.
#[test]
fn c14_data_waits_on_for_a_template_that_went_at_once() {
    let mut exporters = exporters();
    let stream = Source { session: 1, ..UDP };
    let take =
        |exporters: &mut _, sequence, sets: &[&[u8]]| take_from(exporters, &stream, sequence, sets);
    assert_eq!(take(&mut exporters, 0, &[&data(256, 2)]), 0);
    let withdrawal = [0, 2, 0, 8, 1, 0, 0, 0];
    let sets: [&[u8]; 3] = [&TEMPLATE, &data(256, 3), &withdrawal];
    assert_eq!(take(&mut exporters, 2, &sets), 3);
    assert_eq!(exporters.accounts()[0].1["waiting_sets"], 1);
    assert_eq!(take(&mut exporters, 5, &[&TEMPLATE]), 2);
}

#[test]
fn c14_a_withdrawal_in_a_connection_counts() {
    let all_templates = [0, 2, 0, 8, 0, 2, 0, 0];
    let all_options = [0, 3, 0, 8, 0, 3, 0, 0];
    let one = [0, 2, 0, 8, 1, 0, 0, 0];
    for (withdrawal, flows) in [(one, 0), (all_templates, 0), (all_options, 2)] {
        let mut exporters = exporters();
        let connection = Source { session: 5, ..UDP };
        take_from(&mut exporters, &connection, 0, &[&TEMPLATE]);
        let sets: [&[u8]; 2] = [&withdrawal, &data(256, 2)];
        let found = take_from(&mut exporters, &connection, 0, &sets);
        assert_eq!(found, flows, "{withdrawal:?}");
    }
}

/// Octets after the message are no part of it.
#[test]
fn what_follows_a_message_is_counted() {
    let mut exporters = exporters();
    let header = ipfix::Header {
        length: 16,
        export_ns: NOW_NS,
        sequence: 0,
        domain: 3,
    };
    let datagram = [&ipfix::encode_header(&header)[..], &[1, 2, 3]].concat();
    let step = exporters.datagram(&datagram, &UDP, NOW_NS, &mut Vec::new());
    assert_eq!(step, Ok(Some(Step::InOrder)));
    assert_eq!(exporters.statistics.trailing_octets, 1);
}

/// Sampling by interface outlives the collector.
#[test]
fn c17_rates_are_remembered_with_the_templates() {
    // Scope: ingressInterface; samplingInterval.
    let options = [0, 3, 0, 18, 1, 1, 0, 2, 0, 1, 0, 10, 0, 1, 0, 34, 0, 1];
    let of_interface = [1, 1, 0, 6, 7, 100];
    // ingressInterface and packets.
    let template = [0, 2, 0, 16, 1, 0, 0, 2, 0, 10, 0, 1, 0, 2, 0, 1];
    let mut first = exporters();
    take(&mut first, 0, &[&options, &of_interface, &template]);
    // A rate that is another one is a change, the same one again is none.
    first.changed = false;
    take(&mut first, 1, &[&of_interface]);
    assert!(!first.changed);
    let other = [1, 1, 0, 6, 7, 50];
    take(&mut first, 2, &[&other]);
    assert!(first.changed);
    take(&mut first, 3, &[&of_interface]);
    let mut second = exporters();
    for remembered in first.remembered() {
        second.remember(remembered);
    }
    let mut flows = Vec::new();
    let header = ipfix::Header {
        length: 22,
        export_ns: NOW_NS,
        sequence: 1,
        domain: 3,
    };
    let message = [&ipfix::encode_header(&header)[..], &[1, 0, 0, 6, 7, 1]].concat();
    second.datagram(&message, &UDP, NOW_NS, &mut flows).unwrap();
    assert_eq!(flows[0].record.sampling_interval, 100);
    assert_eq!(account(&second)["sampling_one_in"]["interface 7"], 100);
}

/// What relative times count from is said in options, and not again for long.
#[test]
fn the_boot_is_remembered_with_the_templates() {
    const UP_MS: u32 = 10 * 86_400_000;
    const BOOT_MS: u64 = NOW_NS / 1_000_000 - UP_MS as u64;
    // Scope: meteringProcessId; systemInitTimeMilliseconds.
    let options = [0, 3, 0, 18, 1, 1, 0, 2, 0, 1, 0, 143, 0, 1, 0, 160, 0, 8];
    let booted = [&[1, 1, 0, 13, 7][..], &BOOT_MS.to_be_bytes()].concat();
    // flowStartSysUpTime, flowEndSysUpTime and packets.
    let template = [
        0, 2, 0, 20, 1, 0, 0, 3, 0, 22, 0, 4, 0, 21, 0, 4, 0, 2, 0, 1,
    ];
    let data = |start_ms: u32, end_ms: u32| {
        let times = [start_ms.to_be_bytes(), end_ms.to_be_bytes()].concat();
        [&[1, 0, 0, 13][..], &times, &[1]].concat()
    };
    let mut first = exporters();
    take(&mut first, 0, &[&options, &template]);
    first.changed = false;
    take(&mut first, 0, &[&booted]);
    assert!(first.changed);
    // Reckoned anew from two clocks each time.
    first.changed = false;
    let again = [&[1, 1, 0, 13, 7][..], &(BOOT_MS + 1).to_be_bytes()].concat();
    take(&mut first, 0, &[&again, &booted]);
    assert!(!first.changed);
    let mut second = exporters();
    for remembered in first.remembered() {
        second.remember(remembered);
    }
    // One that booted since counts from there; what it said before is not believed then.
    let before = data(10_000, 20_000);
    let flow = &flows_from(&mut second, &UDP, 0, &[&before])[0].record;
    assert_eq!(
        (flow.start_ns, flow.end_ns),
        (NOW_NS - 10_000_000_000, NOW_NS)
    );
    assert_eq!(second.statistics.untimed_records, 1);
    for exporters in [&mut first, &mut second] {
        let data = data(UP_MS - 20_000, UP_MS - 10_000);
        let flow = &flows_from(exporters, &UDP, 1, &[&data])[0].record;
        let ago_ms = [flow.start_ns, flow.end_ns].map(|ns| (NOW_NS - ns) / 1_000_000);
        assert_eq!(ago_ms, [20_000, 10_000]);
    }
}

/// The names of all are bounded: those of exporters that were not heard the longest make room.
#[test]
fn nobody_keeps_others_from_having_their_interfaces_named() {
    // Scope: ingressInterface; interfaceName.
    let options = [0, 3, 0, 18, 1, 1, 0, 2, 0, 1, 0, 10, 0, 1, 0, 82, 0, 4];
    let mut exporters = Exporters::new(Settings {
        interfaces_max: 40,
        ..Settings::default()
    });
    let mut name = |number: u8, interfaces: u8| {
        let source = Source {
            address: Ipv6Addr::from_bits(number.into()),
            ..UDP
        };
        let of = |ifindex| [&[ifindex][..], b"eth0"].concat();
        let records: Vec<u8> = (0..interfaces).flat_map(of).collect();
        let length = u8::try_from(4 + records.len()).unwrap();
        let named = [&[1, 1, 0, length][..], &records].concat();
        take_from(&mut exporters, &source, 0, &[&options, &named]);
        let counted = exporters.statistics;
        let named = exporters.interface_names().into_iter();
        let named = named.map(|(_, told)| told["interfaces"].as_object().unwrap().len());
        (named.collect::<Vec<_>>(), counted.interfaces_forgotten)
    };
    assert_eq!(name(0, 10), (vec![10], 0));
    assert_eq!(name(1, 30), (vec![10, 30], 0));
    assert_eq!(name(2, 1), (vec![30, 1], 10));
    assert_eq!(name(3, 10), (vec![1, 10], 40));
}

/// Thousands of names are not repeated in each file of flows: they have one of their own.
#[test]
fn names_of_interfaces_are_told_apart_from_counts() {
    // Scope: ingressInterface; interfaceName.
    let options = [0, 3, 0, 18, 1, 1, 0, 2, 0, 1, 0, 10, 0, 1, 0, 82, 0, 4];
    let named = [1, 1, 0, 9, 7, b'e', b't', b'h', b'0'];
    let shards = Shards::new(&Settings::default(), 1);
    let take = |sequence: u32| {
        let sets = [&options[..], &named[..]].concat();
        let header = ipfix::Header {
            length: u16::try_from(ipfix::HEADER_OCTETS + sets.len()).unwrap(),
            export_ns: NOW_NS,
            sequence,
            domain: 3,
        };
        let message = [&ipfix::encode_header(&header)[..], &sets[..]].concat();
        let step = shards.datagram(&message, &UDP, NOW_NS, &mut Vec::new());
        step.unwrap();
    };
    take(0);
    assert!(shards.take_changed());
    take(1);
    assert!(!shards.take_changed(), "the same names again");
    let names = json!({ "7": { "name": "eth0", "description": "" } });
    assert_eq!(shards.accounts()[0]["interfaces"], names);
    let counts = &shards.counts()[0];
    assert_eq!(
        (&counts["datagrams"], &counts["interfaces"]),
        (&json!(2), &Value::Null)
    );
    let folder = tempfile::tempdir().unwrap();
    Saving::new(folder.path().to_owned()).save(&shards, 1_700_000_000);
    let text = std::fs::read_to_string(folder.path().join(INTERFACES)).unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&told[0]["exporter"], &told[0]["interfaces"]),
        (&json!("::1"), &names)
    );
}

/// Fault case C18: whatever is in a name, the file of names is JSON that can be shown.
#[test]
fn c18_names_of_interfaces_are_escaped_in_json() {
    const NAME: [u8; 12] = *b"=c\"\x1b[2J\xff\n<>x";
    // Scope: ingressInterface; interfaceName.
    let options = [0, 3, 0, 18, 1, 1, 0, 2, 0, 1, 0, 10, 0, 1, 0, 82, 0, 12];
    let named = [&[1, 1, 0, 17, 7][..], &NAME].concat();
    let sets = [&options[..], &named].concat();
    let header = ipfix::Header {
        length: u16::try_from(ipfix::HEADER_OCTETS + sets.len()).unwrap(),
        export_ns: NOW_NS,
        sequence: 0,
        domain: 3,
    };
    let message = [&ipfix::encode_header(&header)[..], &sets[..]].concat();
    let shards = Shards::new(&Settings::default(), 1);
    let step = shards.datagram(&message, &UDP, NOW_NS, &mut Vec::new());
    step.unwrap();
    let folder = tempfile::tempdir().unwrap();
    Saving::new(folder.path().to_owned()).save(&shards, 1_700_000_000);
    let text = std::fs::read_to_string(folder.path().join(INTERFACES)).unwrap();
    assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
    let told: Value = serde_json::from_str(&text).unwrap();
    let name = "=c\"\u{fffd}[2J\u{fffd}\u{fffd}<>x";
    assert_eq!(told[0]["interfaces"]["7"]["name"], name);
}

/// Each aggregation of v8 numbers for itself; v1 does not number.
#[test]
fn aggregations_of_v8_have_numbers_of_their_own() {
    let mut exporters = exporters();
    let mut take = |octets: &[u8]| {
        let mut flows = Vec::new();
        let step = exporters
            .datagram(octets, &UDP, NOW_NS, &mut flows)
            .unwrap();
        (step, flows.len())
    };
    let v8 = |aggregation: u8, sequence: u32| {
        // Version, count, sysUptime, seconds, nanoseconds; a record of octets without a meaning.
        let mut octets = vec![0, 8, 0, 1, 0, 0, 1, 0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0];
        octets.extend(sequence.to_be_bytes());
        octets.extend([0, 0, aggregation, 2, 0, 0, 0, 0]);
        octets.extend([0; 28]);
        octets
    };
    assert_eq!(take(&v8(1, 7)), (Some(Step::InOrder), 1));
    assert_eq!(take(&v8(2, 500)), (Some(Step::InOrder), 1));
    assert_eq!(take(&v8(1, 8)), (Some(Step::InOrder), 1));
    assert_eq!(take(&v8(2, 503)), (Some(Step::Gap(2)), 1));
    assert_eq!(take(&v8(2, 503)), (Some(Step::Duplicate), 0));
    let mut v1 = vec![0, 1, 0, 1, 0, 0, 1, 0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0];
    v1.extend([0; 52]);
    for _ in 0..2 {
        assert_eq!(take(&v1), (None, 1));
    }
    // How many flows were aggregated has no column.
    assert_eq!(exporters.statistics.values_not_stored, 4);
}

/// Fault case C2: what is cut off in the network, or by a small buffer, did arrive.
#[test]
fn c02_a_datagram_that_was_cut_off_is_malformed_and_not_lost() {
    let mut exporters = exporters();
    let v5 = |sequence: u32, records: u8| {
        let mut octets = vec![
            0, 5, 0, records, 0, 0, 1, 0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0,
        ];
        octets.extend(sequence.to_be_bytes());
        octets.extend([0; 4]);
        octets.extend(vec![0; 48 * usize::from(records)]);
        octets
    };
    let mut take = |octets: &[u8]| exporters.datagram(octets, &UDP, NOW_NS, &mut Vec::new());
    take(&v5(0, 3)).unwrap();
    take(&v5(3, 4)[..24 + 47]).unwrap_err();
    assert_eq!(take(&v5(7, 2)), Ok(Some(Step::InOrder)));
    // A claim that no datagram holds is not believed.
    take(&v5(9, 200)[..24]).unwrap_err();
    assert_eq!(take(&v5(9, 2)), Ok(Some(Step::InOrder)));
    assert_eq!(exporters.statistics.malformed, 2);
    assert_eq!(exporters.lost(), (0, 0));
}

/// Fault case C2: likewise; how many records IPFIX had in it only the next number tells.
#[test]
fn c02_a_message_that_was_cut_off_is_malformed_and_not_lost() {
    let mut exporters = exporters();
    let message = |sequence: u32, records: u8| {
        let sets = [&TEMPLATE[..], &data(256, records)].concat();
        let header = ipfix::Header {
            length: u16::try_from(ipfix::HEADER_OCTETS + sets.len()).unwrap(),
            export_ns: NOW_NS,
            sequence,
            domain: 3,
        };
        [&ipfix::encode_header(&header)[..], &sets[..]].concat()
    };
    let mut take = |octets: &[u8]| exporters.datagram(octets, &UDP, NOW_NS, &mut Vec::new());
    take(&message(0, 3)).unwrap();
    let whole = message(3, 4);
    take(&whole[..whole.len() - 1]).unwrap_err();
    assert_eq!(take(&message(7, 2)), Ok(Some(Step::InOrder)));
    assert_eq!(take(&message(10, 1)), Ok(Some(Step::Gap(1))));
    // Its header says less than a header.
    let mut short = message(11, 1);
    short[3] = 15;
    take(&short).unwrap_err();
    assert_eq!(exporters.statistics.malformed, 2);
    assert_eq!(exporters.lost(), (1, 0));
}

/// Fault case C3.
#[test]
fn c03_a_malformed_message_applies_nothing() {
    let mut exporters = exporters();
    let beyond = [1, 0, 0, 99];
    assert_eq!(
        take(&mut exporters, 0, &[&TEMPLATE, &data(256, 2), &beyond]),
        0
    );
    assert_eq!(take(&mut exporters, 0, &[&data(256, 2)]), 0);
    exporters.finish();
    let statistics = &exporters.statistics;
    assert_eq!((statistics.malformed, statistics.templates), (1, 0));
    assert_eq!(statistics.unknown_template_sets, 1);
}

/// Inline monitoring: a record is an interface, a direction, and the frame's first octets.
#[test]
fn a_record_of_a_frame_is_a_flow_of_a_packet_as_a_sample_of_sflow_is() {
    #[rustfmt::skip]
    let template = [
        0, 2, 0, 28, 1, 0, 0, 5,
        0, 10, 0, 4, 0, 14, 0, 4, 0, 61, 0, 1,   // interfaces, direction
        1, 56, 0, 2, 1, 59, 255, 255,            // dataLinkFrameSize, dataLinkFrameSection
    ];
    let record = |frame: &[u8]| {
        let head = [0, 0, 0, 7, 0, 0, 0, 9, 1, 0x05, 0xee];
        let length = u8::try_from(frame.len()).unwrap();
        [&head[..], &[length], frame].concat()
    };
    let mut arp = made::frame(1, 1);
    (arp[16], arp[17]) = (0x08, 0x06);
    let records = [record(&made::frame(1, 1234)), record(&arp)].concat();
    let octets = u8::try_from(4 + records.len()).unwrap();
    let set = [&[1, 0, 0, octets][..], &records].concat();
    let mut exporters = exporters();
    let flows = flows_from(&mut exporters, &UDP, 0, &[&template, &set]);
    let expected = FlowRecord {
        source: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
        destination: Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped(),
        source_port: 1234,
        destination_port: 443,
        protocol: 6,
        tos: 0xb8,
        tcp_flags: 0x18,
        octets: 1500,
        packets: 1,
        start_ns: NOW_NS,
        end_ns: NOW_NS,
        ingress_ifindex: 7,
        egress_ifindex: 9,
        direction: Direction::Egress,
        vlan: 100,
        source_mac: [2, 0, 0, 0, 0, 0x11],
        destination_mac: [2, 0, 0, 0, 0, 0x22],
        ..FlowRecord::default()
    };
    let records: Vec<_> = flows.iter().map(|flow| flow.record).collect();
    assert_eq!(records, [expected]);
    // The frame itself is not kept; what else has no column is.
    let others: Vec<_> = flows[0].others.iter().map(|other| other.element).collect();
    assert_eq!(others, [312]);
    let counted = exporters.statistics;
    assert_eq!((counted.flow_samples, counted.samples_not_ip), (2, 1));
    // Both were data records: the next number is 2.
    assert_eq!(take(&mut exporters, 2, &[&template]), 0);
    assert_eq!(lost(&exporters), [0, 0, 0]);
}

/// Cisco's "datalink" flows of ARP, say: what was counted is a flow without addresses, and only what is nothing but a
/// sample is left out if it is not IP's.
#[test]
fn a_record_of_a_frame_that_is_not_ip_is_a_flow_if_it_counts_something() {
    #[rustfmt::skip]
    let template = [
        0, 2, 0, 28, 1, 0, 0, 5,
        0, 56, 0, 6, 0, 1, 0, 2, 0, 2, 0, 1,     // sourceMacAddress, octets, packets
        1, 153, 0, 1, 1, 59, 255, 255,           // sectionOffset, dataLinkFrameSection
    ];
    let mut arp = made::frame(1, 1);
    (arp[16], arp[17]) = (0x08, 0x06);
    let record = |counts: [u8; 3], offset: u8, frame: &[u8]| {
        let length = u8::try_from(frame.len()).unwrap();
        let mac = [2, 0, 0, 0, 0, 0x77];
        [&mac[..], &counts, &[offset, length], frame].concat()
    };
    let records = [
        record([0, 120, 2], 0, &arp),
        record([0, 0, 0], 0, &arp),
        // Not from the beginning, or nothing at all.
        record([0, 60, 1], 14, &arp[14..]),
        record([0, 0, 0], 14, &arp[14..]),
        record([0, 0, 0], 0, &[]),
    ];
    let records = records.concat();
    let [high, low] = u16::try_from(4 + records.len()).unwrap().to_be_bytes();
    let set = [&[1, 0, high, low][..], &records].concat();
    let mut exporters = exporters();
    let flows = flows_from(&mut exporters, &UDP, 0, &[&template, &set]);
    let told: Vec<_> = flows
        .iter()
        .map(|flow| {
            let record = &flow.record;
            let others: Vec<_> = flow.others.iter().map(|other| other.element).collect();
            (record.source_mac[5], record.octets, record.packets, others)
        })
        .collect();
    // What is not read is kept.
    let expected = [
        (0x77, 120, 2, vec![409, 315]),
        (0x77, 60, 1, vec![409, 315]),
    ];
    assert_eq!(told, expected);
    let counted = exporters.statistics;
    assert_eq!((counted.flow_samples, counted.samples_not_ip), (3, 3));
    // All of them were data records.
    assert_eq!(take(&mut exporters, 5, &[&template]), 0);
    assert_eq!(lost(&exporters), [0, 0, 0]);
}

/// A column for what is known already would make each window wide.
#[test]
fn an_exporter_that_names_itself_says_nothing_besides() {
    let template = [0, 2, 0, 16, 1, 0, 0, 2, 0, 131, 0, 16, 0, 2, 0, 1];
    let another: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let [itself, another] = [UDP.address, another].map(|address| address.octets());
    let set = [&[1, 0, 0, 38][..], &itself, &[1], &another, &[2]].concat();
    let mut exporters = exporters();
    let flows = flows_from(&mut exporters, &UDP, 0, &[&template, &set]);
    let others = |flow: &StoredFlow| {
        let others = flow.others.iter();
        let others = others.map(|other| (other.element, other.octets.to_vec()));
        others.collect::<Vec<_>>()
    };
    let others: Vec<_> = flows.iter().map(others).collect();
    assert_eq!(others, [vec![], vec![(131, another.to_vec())]]);
}
