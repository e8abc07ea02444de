//! The language as a whole: what fits is understood, what does not is pointed at, and the plan keeps
//! the rows that the reference keeps.

mod wrong;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch, UInt64Array},
    datatypes::{DataType, Field as Column, Schema, UInt64Type},
};
use datafusion::{
    datasource::MemTable,
    prelude::{DataFrame, SessionContext, col, lit},
};
use weir_netflow::{FlowRecord, element::NTOP_PEN, record::mapped_address};
use weir_store::{
    others::{Gathering, Other, Others},
    schema::{self, StoredFlow},
};
use weir_tests::{
    filters::{self, ADDRESSES, COUNTS, Dialect, FLAGS, PORTS, PROTOCOLS, SMALL, pick},
    mutate::mutated,
    traffic::Random,
};

use super::*;
use super::{
    ast::{Comparison, Field, Test},
    sets::Library,
};

/// 2023-11-14 22:13:20 UTC.
const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn parse_with(text: &str, library: &Library) -> Result<Filter, Misunderstood> {
    let around = Surroundings {
        now_ns: NOW_NS,
        library,
        resolve: |_| Vec::new(),
    };
    parse(text, &around)
}

fn parsed(text: &str) -> Result<Filter, Misunderstood> {
    parse_with(text, &Library::new("/no/such/folder".into()))
}

#[track_caller]
fn understood(text: &str) -> Filter {
    parsed(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_fits_is_understood() {
    for text in [
        "",
        "# nothing but a comment",
        "any",
        "tcp",
        "src ip 192.0.2.1",
        "host 2001:db8::1 and not dst port 53",
        "(proto udp or proto 132) and port >= 1024",
        "net 10.0.0.0/8 || dst net 2001:db8::/32",
        "net 10.0.0.0 255.0.0.0",
        "ipv6 and icmp6",
        "not (src port 22 or src port 23)",
        "!tcp && ! udp",
        "src ip in [10.0.0.1 10.0.0.0/24, 2001:db8::/32]",
        "port in [80, 443 8000-8099 https]",
        "src as in [ 64496 64497 ] and next ip 192.0.2.1",
        "ip in @private + [192.0.2.1] - 10.0.0.0/8",
        "dst not in @multicast",
        "src and dst port > 1023",
        "dst or src host 192.0.2.1",
        "flags S and not flags AFRPU",
        "flags = SA or flags 0x12",
        "packets > 1k and bytes lt 2M and bpp EQ 40",
        "in packets > 5 and in if 3 and out if 0x4",
        "duration > 60000 or duration >= 5min",
        "pps > 100 and bps < 1G",
        "icmp type 8 or icmp-code 0 or icmp",
        "src port = dst port and src as != dst as",
        "src ip = dst ip or in if = out if",
        "src vlan = dst vlan or src tos != dst tos or dst mac = src mac",
        "src nat ip != src ip and src nat port = src port and src tun ip = dst tun ip",
        "next as = dst as or prev as != src as or next ip = bgp next ip or next ip != bgpnext ip",
        "client latency > server latency or min ttl < max ttl or ingress vrf != egress vrf or out bytes > in bytes or packets < out packets",
        "first seen >= 2026-11-21T09:15:10.020 and last seen < '2026-11-21 10:00'",
        "last 2h and since yesterday",
        "received >= 14:00 and last seen < 13:00",
        "last 30 minutes",
        "from 14:00 to 15:30 or until 2h ago",
        "from 2026-11-21 04:00 to 2026-11-21 05:00",
        "today or yesterday",
        "router ip 192.0.2.1 and engine id 3 and observation domain id 7",
        "router not in [10.0.0.0/8]",
        "flowdir egress and tos 8 and vlan 100 and mask 24 and src mask > 8",
        "proto in [tcp udp] and proto != gre",
        "dst port https or src port domain",
        "conn (src ip 10.0.0.1 and dst port 443)",
        "not conn tcp",
        "flows > 0 and sampling > 1 and nfversion 9",
        "in src mac 00:11:22:33:44:55 or out dst mac 0:11:22:33:44:5 or mac != 00-11-22-33-44-55",
        "src mac in [00:11:22:33:44:55, 0-0-0-0-0-1] or mac not in [0:0:0:0:0:2]",
        "mpls label1 = 5 or mpls exp2 > 3 or mpls label in [16 17-20]",
        "src tun ip 10.0.0.1 or tun ip in [10.0.0.0/8] and dst tun in @private",
        "bgpnext ip 192.0.2.1 or bgp next in [192.0.2.0/24]",
        "inner vlan 100 and flow label > 0x100",
        "tcp # and a comment\nand port 80",
    ] {
        understood(text);
    }
}

/// nfdump(1) of 1.7 and 1.8: each primitive of the filter.
#[test]
fn every_primitive_of_nfdumps_manual_is_understood_or_told_not_to_be_kept() {
    for text in [
        "any or ipv4 or ipv6 or proto tcp or proto 6",
        "min ttl < 5 or max ttl 64 or ttl > 3 or ttl equal",
        "ip 10.0.0.1 or src host 10.0.0.1 or dst ip in [10.0.0.1, 10.1.0.0/16]",
        "net 10.0.0.0 255.0.0.0 or src net 10.0.0.0/8 or dst net 2001:db8::/32",
        "tun ip 10.0.0.1 or src tun ip 10.0.0.1 or tun net 10.0.0.0/8 or dst tun net 10.0.0.0 255.0.0.0",
        "port > 1024 or src port in [80, 443] or icmp type 8 or icmp code 0",
        "engine type 1 or engine id 1 or if 1 or in if 1 or out if 1",
        "as 1 or src as > 1 or prev as 1 or next as 1 or prev as in [1 2] or next as in [1,2]",
        "mask 8 or src mask 8 or vlan 1 or src vlan 1 or dst vlan 1",
        "flags S and not flags AFRPU and not flags EC",
        "router ip 10.0.0.1 or next ip 10.0.0.1 or bgp next ip 10.0.0.1",
        "mac 0:0:0:0:0:1 or in mac 0:0:0:0:0:1 or out src mac 0:0:0:0:0:1",
        "mpls label1 5 or mpls label10 > 5 or mpls eos 5 or mpls any 5 or mpls exp1 3",
        "packets > 1k or in packets 1 or out packets 1 or bytes 1 or in bytes 1 or out bytes 1 or flows 1",
        "tos 8 or src tos 8 or dst tos > 8 or ethertype 0x0800 or fwdstat 64 or fwdstat Noroute",
        "flowdir ingress or flowdir 1 or duration > 5 or pps > 1 or bps > 1 or bpp > 1",
        "first seen > 2024 or last seen < 2024-07-11T09",
        "observation domain id 1 or observation point id > 1",
        "asa event deny or asa event > 1 or asa denied nosyn or asa xevent 1001 or asa user alice",
        "nat event delete or nat event > 1 or nat ip 10.0.0.1 or src nat ip 10.0.0.1",
        "nat port 80 or dst nat port > 80 or nat net 10.0.0.0/8 or src nat net 10.0.0.0/8",
        "nat pblock start > 1 or nat pblock step 1 or nat pblock end 1 or nat pblock size 1",
        "port in nat pblock or src port in nat pblock or dst port in nat pblock",
        "ingress ACL 1 or ingress ACE 1 or ingress XACE > 1 or egress ACL 1",
        "ingress vrf 1 or egress vrf > 1",
        "client latency > 5000 or server latency 1ms or app latency in [1 2-5] or not client latency <= 300us",
    ] {
        understood(text);
    }
    for (text, words) in [
        ("count > 1", "their order is not one"),
        ("ident live", "`router ip`"),
        ("tun proto 6", "protocols of tunnels"),
        ("ip tor", "no Tor exits"),
        // No database is loaded here.
        ("src geo CH", "--names FILE.mmdb"),
        ("dst tun geo CH", "--names FILE.mmdb"),
        ("tz 'Europe/Berlin'", "time zones"),
        ("exporter sysid 1", "`router ip`"),
        ("payload content 'GET'", "payload"),
        ("pf action pass", "a packet filter"),
        ("client delay > 1", "`latency` fits here"),
        ("client latency > duration", "not of the kind"),
        ("duration < 500us", "whole milliseconds"),
        ("duration = 1ms500us", "whole milliseconds"),
        ("srcip 192.0.2.1", "did you mean `src ip`?"),
        ("dst_addr 192.0.2.1", "did you mean `dst ip`?"),
        ("tcp and dport 443", "did you mean `dst port`?"),
        ("srcport in [80 443]", "did you mean `src port`?"),
        ("outif 3", "did you mean `out if`?"),
        ("bort 443", "did you mean `port`?"),
        ("bytes > 1MB", "10k, 2M"),
        (
            "from 2026/10/30.14:00:00 to 2026/10/30.15:00:00",
            "2026-11-21T14:00",
        ),
    ] {
        let error = parsed(text).expect_err(text);
        assert!(error.says().contains(words), "{text}: {error}");
    }
}

/// Two spellings of one filter.
#[test]
fn one_meaning_has_one_tree() {
    for (one, other) in [
        ("src net 192.0.2.77/24", "src net 192.0.2.0 255.255.255.0"),
        ("net 172.16/12", "net 172.16.0.0/12"),
        ("net 10 255.0.0.0", "net 10.0.0.0/8"),
        (
            "src ip in [10.1/16, 10.0.1/24]",
            "src ip in [10.1.0.0/16 10.0.1.0/24]",
        ),
        ("tcp", "proto 6"),
        ("port 443", "port = https"),
        ("dst port 179", "dst port = bgp"),
        ("host 10.0.0.1", "src or dst ip = 10.0.0.1"),
        ("not tcp and udp or icmp", "((not tcp) and udp) or icmp"),
        ("tcp or udp and icmp", "tcp or (udp and icmp)"),
        ("packets > 2k", "packets gt 0x7d0"),
        ("duration > 5min", "duration > 300k"),
        ("duration < 2000us", "duration < 2"),
        ("client latency > 1s500ms", "client latency > 1500000"),
        ("ip in [10.0.0.0/9 10.128.0.0/9]", "net 10.0.0.0/8"),
        ("ip in [10.0.0.0/8] - [10.128.0.0/9]", "net 10.0.0.0/9"),
        ("src ip not in [10.0.0.1]", "not src ip 10.0.0.1"),
        ("conn dst port 80", "dst port 80 or src port 80"),
        ("port != 80", "src and dst port != 80"),
        ("out bytes 5k", "out bytes = 5000"),
        ("next as 64512", "next as = 64512"),
        ("last 2h", "since 2h ago"),
        ("last 1h30m", "last 90m"),
        ("last hour", "last 1h"),
        ("last day and last week", "last 24h and last 7d"),
        ("last 1 hour 30 min", "since 1h 30m ago"),
        ("vlan 5", "src or dst vlan 5"),
        ("ttl 5", "min ttl 5 or max ttl 5"),
        ("fwdstat DbadTTL", "fwdstat 137"),
        ("mpls any 16", "mpls label 16"),
        ("src nip 10.0.0.1", "src nat ip 10.0.0.1"),
        ("xnet 10.0.0.0/8", "nat net 10.0.0.0 255.0.0.0"),
        ("nat event add", "xlate event 1"),
        ("asa event denied ingress", "asa xevent 1001"),
        ("asa denied ingress", "xevent 1001"),
        ("asa event denied", "asa event 3"),
        ("conn dst nat port 80", "dst nat port 80 or src nat port 80"),
        ("conn next as 64512", "next as 64512 or prev as 64512"),
        ("conn prev as 64512", "prev as 64512 or next as 64512"),
        ("conn src vlan 5", "src vlan 5 or dst vlan 5"),
        ("conn dst vlan 5", "dst vlan 5 or src vlan 5"),
        ("IPV6 AND DST PORT 80", "ipv6 and dst port 80"),
        ("src ip 10.0.0.1 # here\n or udp", "src ip 10.0.0.1 or udp"),
    ] {
        assert_eq!(understood(one), understood(other), "{one} / {other}");
    }
}

#[test]
fn conditions_mean_what_the_manual_says() {
    let number = |field, comparison, value| -> Filter {
        Test::Number {
            field,
            comparison,
            value,
        }
        .into()
    };
    let tcp = || number(Field::Protocol, Comparison::Equal, 6);
    let flags = |mask, every| -> Filter { Test::Flags { mask, every }.into() };
    let not = |filter| Filter::Not(Box::new(filter));
    for (text, expected) in [
        ("flags SA", tcp().and(flags(0x12, true))),
        // The manual's way to ask for SYN alone: none of the others.
        ("not flags AF", not(tcp().and(flags(0x11, false)))),
        ("not (not flags AF)", tcp().and(flags(0x11, true))),
        (
            "flags = S",
            tcp().and(number(Field::TcpFlags, Comparison::Equal, 2)),
        ),
        (
            "bytes <= 1T",
            number(Field::Octets, Comparison::LessOrEqual, 1_000_000_000_000),
        ),
        (
            "out if 7",
            number(Field::EgressIfindex, Comparison::Equal, 7),
        ),
        // Of 64 bits, other than a domain.
        (
            "observation point id 0xffffffffff",
            number(Field::OBSERVATION_POINT, Comparison::Equal, 0xff_ffff_ffff),
        ),
        (
            "since 2023-11-14T22:00",
            Filter::All(vec![
                Test::Time {
                    field: Field::End,
                    comparison: Comparison::GreaterOrEqual,
                    at_ms: 1_699_999_200_000,
                }
                .into(),
            ]),
        ),
    ] {
        assert_eq!(understood(text), expected, "{text}");
    }
}

/// Tests load no database, so these conditions are made here.
#[test]
fn countries_are_those_of_their_addresses() {
    for (field, column, other_side) in [
        (Field::SourceCountry, "src_addr", Field::DestinationCountry),
        (Field::DestinationCountry, "dst_addr", Field::SourceCountry),
        (
            Field::OuterSourceCountry,
            "outer_src_addr",
            Field::OuterDestinationCountry,
        ),
        (
            Field::OuterDestinationCountry,
            "outer_dst_addr",
            Field::OuterSourceCountry,
        ),
    ] {
        let word = "CH".to_owned();
        let planned = plan::plan(&Test::Word { field, word }.into());
        let columns = planned.column_refs().into_iter();
        let columns: Vec<_> = columns.map(|column| column.name().to_owned()).collect();
        assert_eq!(columns, [column]);
        assert_eq!(field.swapped(), other_side);
    }
}

/// A clock that was never set, or `--now`, may say anything.
#[test]
fn times_at_the_ends_of_time_are_times() {
    let library = Library::new("/no/such/folder".into());
    for now_ns in [i64::MIN, i64::MIN + times::DAY_NS, i64::MAX] {
        let around = Surroundings {
            now_ns,
            library: &library,
            resolve: |_| Vec::new(),
        };
        for text in [
            "yesterday",
            "today",
            "last 15000w",
            "since now",
            "until 15000w ago",
        ] {
            assert!(parse(text, &around).is_ok(), "{text} at {now_ns}");
        }
        let _ = parse("since yesterday 23:59 or until 00:00", &around);
    }
}

#[test]
fn hostile_filters_are_refused_or_read_in_bounded_stack() {
    let deep = format!("{}tcp{}", "(".repeat(200_000), ")".repeat(200_000));
    assert!(parsed(&deep).unwrap_err().says().contains("deep at most"));
    let long = "port 80 or ".repeat(200_000);
    assert!(parsed(&long).unwrap_err().says().contains("1 MiB"));
    let chain = format!("{}tcp", "udp or ".repeat(20_000));
    assert!(plan::plan(&understood(&chain)).to_string().len() > 20_000);
    assert_eq!(
        understood(&format!("{}tcp", "not ".repeat(50_000))),
        understood("tcp")
    );
    let nested = format!("{}tcp{}", "conn (".repeat(40), ")".repeat(40));
    assert!(
        parsed(&nested)
            .unwrap_err()
            .says()
            .contains("`conn` is within 3")
    );
    // What no one types must not panic either.
    let mut random = Random::new(5);
    let alphabet: Vec<char> = "abc src port ip in not and or conn 19.:/[]()@'\"#<>=!+-\n\té"
        .chars()
        .collect();
    for _ in 0..20_000 {
        let length = random.below(24);
        let text: String = (0..length).map(|_| pick(&mut random, &alphabet)).collect();
        if let Err(error) = parsed(&text) {
            let _ = error.to_string();
        }
    }
}

/// Filters that were right, with some of their octets changed.
#[test]
fn changed_filters_are_planned_or_pointed_at() {
    let mut random = Random::new(6);
    let filters: Vec<_> = (0..200)
        .map(|_| filters::filter(&mut random, Dialect::Weir).into_bytes())
        .collect();
    let mut understood = 0;
    for _ in 0..50_000 {
        let octets = mutated(&mut random, &filters);
        match parsed(&String::from_utf8_lossy(&octets)) {
            Ok(filter) => {
                understood += 1;
                let _ = plan::plan(&filter);
            }
            Err(error) => {
                let _ = error.to_string();
            }
        }
    }
    assert!(understood > 500, "only {understood} tested the plan");
}

#[test]
fn files_are_included_as_filters_and_as_sets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.txt");
    std::fs::write(&path, "src ip 10.0.0.1\n or src ip 10.0.0.2 # two of them").unwrap();
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "10.0.0.1\n10.0.0.2\n").unwrap();
    let included = understood(&format!("tcp and @include {}", path.display()));
    assert_eq!(
        included,
        understood("tcp and (src ip 10.0.0.1 or src ip 10.0.0.2)")
    );
    let in_list = format!("src ip in [ @include {} ]", list.display());
    assert_eq!(
        understood(&in_list),
        understood("src ip in [10.0.0.1 10.0.0.2]")
    );
    std::fs::write(&path, format!("@include {}", path.display())).unwrap();
    let error = parsed(&format!("@include {}", path.display())).unwrap_err();
    assert!(error.says().contains("deep at most"), "{error}");
    std::fs::write(&path, "src bort 80").unwrap();
    let error = parsed(&format!("@include {}", path.display())).unwrap_err();
    assert!(error.says().contains("known.txt: "), "{error}");
}

/// Files that name others again and again end somewhere, and what is around an `@include` is around what it includes.
#[test]
fn what_is_included_has_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: u32| folder.path().join(name.to_string());
    let write = |name: u32, text: &str| std::fs::write(path(name), text).unwrap();
    let include = |name: u32| format!("@include {}", path(name).display());
    for name in 0..7 {
        let next = vec![include(name + 1); 12];
        write(name, &next.join(" or "));
    }
    write(7, "tcp");
    let text = format!("udp and {}", include(0));
    let error = parsed(&text).unwrap_err();
    assert!(error.says().contains("one file too many"), "{error}");
    let last = error.to_string();
    let last = last.lines().last().unwrap_or_default();
    assert_eq!(last.find('^'), Some("  udp and ".len()), "{error}");
    // Each as often as it is named: fewer of them are as before.
    understood(&include(6));
    write(7, &format!("tcp #{}", "x".repeat(100_000)));
    let error = parsed(&include(6)).unwrap_err();
    assert!(error.says().contains("more than 1 MiB"), "{error}");
    write(0, "conn dst port 80");
    let within = |connections: usize| format!("{}{}", "conn ".repeat(connections), include(0));
    understood(&within(2));
    let error = parsed(&within(3)).unwrap_err();
    assert!(error.says().contains("`conn` is within 3"), "{error}");
    write(0, "flags SA");
    assert_eq!(
        understood(&format!("not {}", include(0))),
        understood("not (flags SA)")
    );
}

fn address(text: &str) -> Ipv6Addr {
    mapped_address(text.parse().unwrap())
}

/// Elements that have no column, some of which exporters leave out.
fn others(random: &mut Random) -> Others {
    let mut elements: Vec<(u32, u16, Vec<u8>)> = Vec::new();
    // ToS, VLAN, TTLs, AS numbers, VRFs and the like.
    for element in [23, 52, 53, 55, 59, 89, 128, 129, 230, 233, 234, 235, 256] {
        elements.push((0, element, vec![pick(random, &SMALL)]));
    }
    // Translated ports, blocks of ports.
    for element in [227, 228, 361, 362] {
        elements.push((0, element, pick(random, &PORTS).to_be_bytes().to_vec()));
    }
    for element in 74..=76 {
        let entry = u32::from(pick(random, &SMALL)) * 16 + u32::from(element == 76);
        elements.push((0, element, entry.to_be_bytes()[1..].to_vec()));
    }
    for (v4, v6) in [(225, 281), (226, 282)] {
        elements.push(match pick(random, &ADDRESSES).parse::<IpAddr>().unwrap() {
            IpAddr::V4(address) => (0, v4, address.octets().to_vec()),
            IpAddr::V6(address) => (0, v6, address.octets().to_vec()),
        });
    }
    for element in [33000, 33001] {
        let list = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, pick(random, &SMALL)];
        elements.push((0, element, list.to_vec()));
    }
    elements.push((0, 40000, pick(random, &["alice\0\0", "bob"]).into()));
    // Latencies of client, server and application: seconds and microseconds.
    for element in 82..=87 {
        elements.push((NTOP_PEN, element, vec![pick(random, &SMALL)]));
    }
    let mut gathering = Gathering::default();
    for (enterprise, element, octets) in &elements {
        let other = Other {
            enterprise: *enterprise,
            element: *element,
            octets,
        };
        if random.below(2) == 0 {
            gathering.add(&other, octets.len());
        }
    }
    gathering.finish()
}

/// A flow of few values, some of them absurd.
fn flow(random: &mut Random) -> StoredFlow {
    let one_in_ten = random.below(10) == 0;
    let start_ns = 1_699_999_990_000_000_000 + random.below(60_000_000_000);
    let end_ns = start_ns.saturating_add(pick(random, &COUNTS) * 1_000_000);
    let small = |random: &mut Random| u32::from(pick(random, &SMALL));
    let source = address(pick(random, &ADDRESSES));
    StoredFlow {
        record: FlowRecord {
            source,
            destination: address(pick(random, &ADDRESSES)),
            next_hop: if random.below(2) == 0 {
                Ipv6Addr::UNSPECIFIED
            } else {
                address(pick(random, &ADDRESSES))
            },
            v6: source.to_ipv4_mapped().is_none(),
            source_port: pick(random, &PORTS),
            destination_port: pick(random, &PORTS),
            protocol: pick(random, &PROTOCOLS),
            tos: pick(random, &SMALL),
            tcp_flags: pick(random, &FLAGS).into(),
            octets: if one_in_ten {
                u64::MAX
            } else {
                pick(random, &COUNTS)
            },
            packets: pick(random, &COUNTS),
            start_ns,
            end_ns: if one_in_ten {
                start_ns - 5_000_000
            } else {
                end_ns
            },
            ingress_ifindex: small(random),
            egress_ifindex: small(random),
            source_as: small(random),
            destination_as: small(random),
            source_mask: pick(random, &SMALL),
            destination_mask: pick(random, &SMALL),
            vlan: pick(random, &SMALL).into(),
            bgp_next_hop: if random.below(2) == 0 {
                Ipv6Addr::UNSPECIFIED
            } else {
                address(pick(random, &ADDRESSES))
            },
            source_mac: [0, 0, 0, 0, 0, pick(random, &SMALL)],
            destination_mac: [0, 0, 0, 0, 0, pick(random, &SMALL)],
            inner_vlan: pick(random, &SMALL).into(),
            mpls_labels: [small(random) * 16, small(random) * 16 + 2, 0, 0],
            flow_label: small(random),
            outer_source: if random.below(2) == 0 {
                Ipv6Addr::UNSPECIFIED
            } else {
                address(pick(random, &ADDRESSES))
            },
            ..FlowRecord::default()
        },
        received_ns: start_ns + 1_000_000_000,
        exporter: address(pick(random, &ADDRESSES)),
        source_id: small(random) * 257,
        version: 9,
        others: others(random),
    }
}

/// Flows as columns, with the number of each in one more.
fn numbered(flows: &[StoredFlow]) -> RecordBatch {
    let batch = schema::batch(flows).unwrap();
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Column::new("row", DataType::UInt64, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from_iter_values(
        0..flows.len() as u64,
    )));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// The rows of a table that a filter keeps, in order.
async fn kept(table: DataFrame, filter: &Filter) -> Vec<u64> {
    let columns: Vec<_> = schema::schema()
        .fields()
        .iter()
        .map(|field| col(field.name()))
        .chain([col("row"), lit(1u64).alias("flows")])
        .collect();
    let batches = table
        .select(columns)
        .unwrap()
        .filter(plan::plan(filter))
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let column = batch.column_by_name("row").unwrap();
        assert_eq!(column.null_count(), 0);
        rows.extend(column.as_primitive::<UInt64Type>().values().iter().copied());
    }
    rows.sort_unstable();
    rows
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// Filters at random, on flows at random: the plan keeps what the reference keeps.
#[test]
fn the_plan_is_the_reference() {
    let mut random = Random::new(11);
    let flows: Vec<_> = (0..2000).map(|_| flow(&mut random)).collect();
    let batch = numbered(&flows);
    let (context, runtime) = (SessionContext::new(), runtime());
    let (mut some, mut all) = (0, 0);
    for _ in 0..800 {
        let text = filters::filter(&mut random, Dialect::Weir);
        let filter = understood(&text);
        let expected: Vec<u64> = flows
            .iter()
            .zip(0..)
            .filter(|(flow, _)| reference::fits(&filter, flow))
            .map(|(_, row)| row)
            .collect();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap();
        let table = context.read_table(Arc::new(table)).unwrap();
        assert_eq!(runtime.block_on(kept(table, &filter)), expected, "{text}");
        some += u32::from(!expected.is_empty() && expected.len() < flows.len());
        all += 1;
    }
    // Most of them tell flows apart: the test is not one of nothing.
    assert!(some * 2 > all, "{some} of {all}");
}

/// Sets too large to be written out as comparisons.
#[test]
fn large_sets_are_functions_with_the_same_meaning() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sets")).unwrap();
    let lines: Vec<_> = (0..2000u32)
        .map(|at| format!("10.{}.{}.0/25", at / 256, at % 256))
        .collect();
    std::fs::write(folder.path().join("sets/large"), lines.join("\n")).unwrap();
    let numbers: Vec<_> = (0..400).map(|at| (at * 3).to_string()).collect();
    std::fs::write(folder.path().join("sets/ports"), numbers.join(" ")).unwrap();
    let macs: Vec<_> = (0..400)
        .map(|at| format!("0:0:0:0:{:x}:{:x}", at * 3 / 256, at * 3 % 256))
        .collect();
    std::fs::write(folder.path().join("sets/macs"), macs.join("\n")).unwrap();
    let library = Library::new(folder.path().to_owned());
    let mut random = Random::new(12);
    let flows: Vec<_> = (0..500).map(|_| flow(&mut random)).collect();
    let batch = numbered(&flows);
    let (context, runtime) = (SessionContext::new(), runtime());
    for text in [
        "src ip in @large",
        "router in @large",
        "not next in @large",
        "port in @ports",
        "src mac in @macs",
    ] {
        let filter = parse_with(text, &library).unwrap_or_else(|error| panic!("{text}: {error}"));
        let table = context.read_batch(batch.clone()).unwrap();
        let expected = flows
            .iter()
            .filter(|flow| reference::fits(&filter, flow))
            .count();
        assert_eq!(
            runtime.block_on(kept(table, &filter)).len(),
            expected,
            "{text}"
        );
        assert!(expected > 0 && expected < flows.len(), "{text}: {expected}");
    }
}
