//! The ways packets take: sampling, several interfaces, forwarding, dropping, and a table that
//! fills.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use weir_netflow::FlowRecord;
use weir_tests::{
    process::succeed,
    traffic::{self, flood_frames},
    wire::Wire,
};

use crate::world::{
    COLLECTOR, Sink, UNDER_WAY, World, bpf::Bpf, expect, inside, ip, of, send_from,
};

#[test]
fn every_nth_packet_is_metered_and_records_say_so() {
    for version in ["5", "9"] {
        let world = World::new("smp");
        let sink = Sink::open(&world.pair.b);
        let sensor = world.sensor(&format!("--sampling 10 -v {version} -n {COLLECTOR}"));
        world.send(&flood_frames(0..1000));
        let found = world.stop(sensor);
        expect(&found, "ip_packets=100 sampled_out_packets=900");
        let decoded = sink.decode();
        assert_eq!(decoded.sums().0, 100);
        if version == "5" {
            let said = |record: &FlowRecord| record.sampling_interval == 10;
            assert!(decoded.records.iter().all(said));
        }
    }
}

#[test]
fn one_in_n_at_random_is_about_one_in_n() {
    let world = World::new("rnd");
    let sensor = world.sensor("--sampling 10 --sampling-random");
    world.send(&flood_frames(0..4000));
    let found = world.stop(sensor);
    // Nine standard deviations.
    let chosen = of(&found, "ip_packets");
    assert!((230..570).contains(&chosen), "{chosen} of 4000");
    assert_eq!(chosen + of(&found, "sampled_out_packets"), 4000);
}

/// Gives b an interface that leads to a as well.
fn add_way(world: &World, here: &str, there: &str) {
    let (a, b) = (&world.pair.a, &world.pair.b);
    ip(
        b,
        &format!("link add {here} type veth peer name {there} netns {a}"),
    );
    for (namespace, name) in [(b, here), (a, there)] {
        ip(namespace, &format!("link set {name} up"));
    }
}

/// Has b forward from an interface to another; frames that go this way.
fn forwarded(world: &World, from: &str, to: &str) -> Vec<Vec<u8>> {
    let b = &world.pair.b;
    ip(b, &format!("addr add 192.0.2.1/24 dev {from}"));
    ip(b, &format!("addr add 198.18.0.1/15 dev {to}"));
    ip(
        b,
        &format!("neigh add 198.51.100.1 lladdr 02:00:00:00:00:09 dev {to}"),
    );
    ip(b, &format!("route add 198.51.100.0/24 dev {to}"));
    let mut sysctl = world.pair.command_in_b(std::path::Path::new("sysctl"));
    succeed(sysctl.args([
        "-qw",
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.rp_filter=0",
    ]));
    let mac = ip(b, &format!("-br link show {from}"));
    let mac: Vec<u8> = mac
        .split_whitespace()
        .nth(2)
        .unwrap()
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect();
    (0..200u32)
        .map(|number| {
            let mut udp = vec![0x12, 0x34, 0, 53, 0, 8, 0, 0];
            udp[3] = number.to_le_bytes()[0];
            let packet = traffic::ipv4([192, 0, 2, 77], [198, 51, 100, 1], 17, &udp);
            let mut frame = traffic::ethernet(None, 0x0800, &packet);
            frame[..6].copy_from_slice(&mac);
            frame
        })
        .collect()
}

#[test]
fn a_forwarded_packet_is_metered_where_it_comes_in() {
    let world = World::new("fwd");
    add_way(&world, "far", "back");
    let frames = forwarded(&world, &world.pair.b, "far");
    let sensor = world.sensor("-i far");
    send_from(&world.pair.a, &frames);
    let found = world.stop(sensor);
    expect(&found, "already_metered_packets=200 ip_packets=200");
    // If what comes in is not metered, it is metered where it leaves.
    let sensor = world.sensor("-i far --direction out");
    send_from(&world.pair.a, &frames);
    let found = world.stop(sensor);
    expect(&found, "already_metered_packets=0 ip_packets=200");
}

/// Each is seen twice, where it comes in and where it leaves: by turns, one of two would else always be the latter.
#[test]
fn of_forwarded_packets_too_one_in_n_is_metered() {
    let world = World::new("fws");
    add_way(&world, "far", "back");
    world.wait_until_up("back", "far");
    let frames = forwarded(&world, &world.pair.b, "far");
    let sensor = world.sensor("-i far --sampling 2");
    for frame in &frames {
        send_from(&world.pair.a, std::slice::from_ref(frame));
    }
    let found = world.stop(sensor);
    let expected = "already_metered_packets=200 ip_packets=100 sampled_out_packets=100";
    expect(&found, expected);
}

/// What is below an interface that is metered is not metered there, and so where it leaves.
#[test]
fn what_comes_in_below_a_metered_bridge_is_metered_where_it_leaves() {
    let world = World::new("fwb");
    let b = &world.pair.b;
    add_way(&world, "far", "back");
    add_way(&world, "lan", "nal");
    ip(b, "link add bridge type bridge");
    ip(b, "link set lan master bridge");
    ip(b, "link set bridge up");
    world.wait_until_up("nal", "lan");
    // Its own frames, which are not the bridge's.
    ip(b, "link set lan nomaster");
    ip(b, "link set far master bridge");
    let frames = forwarded(&world, "lan", &world.pair.b);
    let mut command = world.command("weir-sensor");
    command.args(["-i", "bridge", "-i", b, "-c", "none", "--statistics-json"]);
    command.arg(world.path("json"));
    let mut sensor = weir_tests::process::Daemon::start(command, &world.path("log")).unwrap();
    sensor.wait_for(&format!("metering {b}")).unwrap();
    inside(&world.pair.a, || {
        let wire = Wire::open("nal").unwrap();
        for frame in &frames {
            wire.send(frame).unwrap();
        }
    });
    expect(
        &world.stop(sensor),
        "already_metered_packets=0 ip_packets=200",
    );
}

/// Where it leaves programs are exchanged before those where it comes in: in between it is in the dead
/// sensor's table, and there only.
#[test]
fn a_packet_forwarded_during_a_take_over_is_metered_once() {
    let world = World::new("fwt");
    let bpf = Bpf::mount(&world);
    add_way(&world, "far", "back");
    world.wait_until_up("back", "far");
    let frames = forwarded(&world, "far", &world.pair.b);
    let arguments = format!("-i far -t idle=1h --pin {}", bpf.pin());
    let send = |stop: &AtomicBool| {
        let (wire, mut sent) = (Wire::open("back").unwrap(), 0);
        for some in frames.chunks(10).cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            for frame in some {
                wire.send(frame).unwrap();
                sent += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        sent
    };
    let a = &world.pair.a;
    let (sent, second) = world.take_over(&arguments, |stop| inside(a, || send(stop)));
    let found = world.stop(second);
    for counter in ["ip_packets", "already_metered_packets"] {
        let (before, after) = (&found["adopted_seen"], &found);
        let both = of(before, counter) + of(after, counter);
        assert!(of(before, counter) > 0 && of(after, counter) > 0);
        assert_eq!(both, sent, "{counter} in {found:#}");
    }
}

/// What stood on a metered interface is forgotten with it: its number may be another's later, and
/// what comes in there is not metered where it comes in.
#[test]
fn an_interface_that_stood_on_one_that_is_gone_is_forgotten() {
    let world = World::new("upp");
    let (a, b) = (&world.pair.a, &world.pair.b);
    add_way(&world, "far", "back");
    ip(b, "link add bridge index 500 type bridge");
    ip(b, &format!("link set {b} master bridge"));
    let mut sensor = world.sensor("-i far");
    ip(b, "link del bridge");
    ip(a, &format!("link del {a}"));
    sensor.wait_for(&format!("{b} is gone")).unwrap();
    ip(
        b,
        &format!("link add lan index 500 type veth peer name nal netns {a}"),
    );
    for (namespace, name) in [(b, "lan"), (a, "nal")] {
        ip(namespace, &format!("link set {name} up"));
    }
    world.wait_until_up("nal", "lan");
    // The sensor looks once a second.
    thread::sleep(Duration::from_secs(2));
    let frames = forwarded(&world, "lan", "far");
    inside(a, || {
        let wire = Wire::open("nal").unwrap();
        for frame in &frames {
            wire.send(frame).unwrap();
        }
    });
    let found = world.stop(sensor);
    expect(&found, "already_metered_packets=0 ip_packets=200");
}

/// A flow's number, from its source address.
fn number_of(flow: &FlowRecord) -> u32 {
    let address = flow.source.to_ipv4_mapped().unwrap();
    u32::from(address) & 0x00ff_ffff
}

/// An interface's ifIndex, as `ip` tells it.
fn ifindex(namespace: &str, name: &str) -> u32 {
    let line = ip(namespace, &format!("-o link show {name}"));
    line.split(':').next().unwrap().trim().parse().unwrap()
}

/// Others of the same names, in the namespaces of these names, come in the pair's place.
fn replace_pair(a: &str, b: &str) {
    ip(a, &format!("link del {a}"));
    ip(
        a,
        &format!("link add {a} type veth peer name {b} netns {b}"),
    );
    for end in [a, b] {
        ip(end, &format!("link set {end} arp off up"));
    }
}

#[test]
fn flows_of_an_interface_and_of_its_successor_are_told_apart() {
    let world = World::new("suc");
    let (a, b) = (&world.pair.a, &world.pair.b);
    let sink = Sink::open(b);
    let arguments = format!("--direction in -t idle=1h -n {COLLECTOR}");
    let mut sensor = world.sensor(&arguments);
    let before = ifindex(b, b);
    world.send(&flood_frames(0..100));
    // From the moment on that the new one is there it has frames, every millisecond.
    let stop = AtomicBool::new(false);
    let send = || {
        let frames = flood_frames(1000..1050);
        while !stop.load(Ordering::Relaxed) {
            if let Ok(wire) = Wire::open(a) {
                let _ = frames.iter().try_for_each(|frame| wire.send(frame));
            }
            thread::sleep(Duration::from_micros(100));
        }
    };
    replace_pair(a, b);
    let is_back = thread::scope(|scope| {
        scope.spawn(|| inside(a, send));
        let is_back = sensor.wait_for("is back: attached again");
        thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        is_back
    });
    is_back.unwrap();
    let after = ifindex(b, b);
    world.stop(sensor);
    let records = sink.decode().records;
    assert!(before != after && records.iter().any(|flow| number_of(flow) >= 1000));
    for flow in &records {
        let expected = if number_of(flow) < 1000 {
            before
        } else {
            after
        };
        assert_eq!(flow.ingress_ifindex, expected, "{flow:?}");
    }
}

/// What was metered before `stop-gather` is still in the table then.
#[test]
fn flows_of_an_interface_that_goes_while_gathering_rests_stay_its_own() {
    let world = World::new("rst");
    let (a, b) = (&world.pair.a, &world.pair.b);
    let sink = Sink::open(b);
    let arguments = format!("--direction in -t idle=1h -n {COLLECTOR}");
    let mut sensor = world.controlled(&arguments);
    let before = ifindex(b, b);
    world.send(&flood_frames(0..100));
    world.wait_for_answer("statistics", "Number of active flows: 100\n");
    world.ask("stop-gather");
    replace_pair(a, b);
    let after = ifindex(b, b);
    world.ask("start-gather");
    sensor.wait_for("is back: attached again").unwrap();
    world.wait_until_up(a, b);
    world.send(&flood_frames(1000..1050));
    expect(&world.stop(sensor), "ip_packets=150 records_exported=150");
    let records = sink.decode().records;
    assert!(before != after && records.len() == 150);
    for flow in &records {
        let expected = if number_of(flow) < 1000 {
            before
        } else {
            after
        };
        assert_eq!(flow.ingress_ifindex, expected, "{flow:?}");
    }
}

#[test]
fn any_is_every_interface_that_stands_by_itself() {
    let world = World::new("any");
    let b = &world.pair.b;
    ip(b, "link add bridge type bridge");
    ip(b, "link add empty type bridge");
    ip(b, &format!("link set {b} master bridge"));
    let mut command = world.command("weir-sensor");
    command
        .args(["-i", "any", "-c", "none", "--statistics-json"])
        .arg(world.path("json"));
    let mut sensor = weir_tests::process::Daemon::start(command, &world.path("log")).unwrap();
    sensor.wait_for("flow table").unwrap();
    ip(
        b,
        &format!(
            "link add late type veth peer name later netns {}",
            world.pair.a
        ),
    );
    sensor.wait_for("metering late").unwrap();
    let log = sensor.log();
    assert!(
        log.contains(&format!("metering {b}")) && log.contains("metering lo"),
        "{log}"
    );
    assert!(!log.contains("metering bridge"), "{log}");
    // Programs on it would be in the way of those on what is put below it.
    assert!(!log.contains("metering empty"), "{log}");
    world.send(&flood_frames(0..300));
    let found = world.stop(sensor);
    assert!(of(&found, "ip_packets") >= 300, "{found:#}");
}

#[test]
fn what_cannot_be_metered_is_said_once_and_metered_once_it_can_be() {
    let world = World::new("one");
    let b = &world.pair.b;
    let first = world.sensor("");
    let mut command = world.command("weir-sensor");
    command.args(["-i", "any", "-c", "none", "--statistics-json"]);
    command.arg(world.path("second.json"));
    let mut second =
        weir_tests::process::Daemon::start(command, &world.path("second.log")).unwrap();
    second.wait_for(&format!("not metering {b}: ")).unwrap();
    // The sensor looks once a second.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(second.log().matches("another XDP program").count(), 1);
    world.stop(first);
    second
        .wait_for(&format!("{b} is back: attached again"))
        .unwrap();
    assert!(second.stop().unwrap().success());
}

/// Those above the greatest number wait for one.
#[test]
fn of_too_many_interfaces_others_are_metered_once_some_are_gone() {
    let world = World::new("tmi");
    let b = &world.pair.b;
    for number in 0..65 {
        ip(
            b,
            &format!("link add x{number} type veth peer name y{number}"),
        );
    }
    let mut command = world.command("weir-sensor");
    command.args("-i any --direction in -c none --statistics-json".split(' '));
    command.arg(world.path("json"));
    let mut sensor = weir_tests::process::Daemon::start(command, &world.path("log")).unwrap();
    sensor
        .wait_long_for("one sensor meters at most 127", Duration::from_secs(60))
        .unwrap();
    let log = sensor.log();
    let refused: Vec<_> = log
        .lines()
        .filter_map(|line| line.strip_suffix(": one sensor meters at most 127 interfaces"))
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    assert!((1..20).contains(&refused.len()), "{log}");
    let is_refused = |number: &u32| {
        refused.contains(&format!("x{number}").as_str())
            || refused.contains(&format!("y{number}").as_str())
    };
    for number in (0..65).filter(|number| !is_refused(number)).take(20) {
        ip(b, &format!("link del x{number}"));
    }
    for name in refused {
        sensor
            .wait_long_for(&format!("metering {name}: "), Duration::from_secs(20))
            .unwrap();
    }
    world.stop(sensor);
}

#[test]
fn dropping_is_refused_where_it_would_cut_off() {
    let world = World::new("drp");
    let b = &world.pair.b;
    let listen = || {
        inside(b, || {
            let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
            socket.set_read_timeout(Some(UNDER_WAY)).unwrap();
            socket
        })
    };
    ip(b, &format!("addr add 192.0.2.1/24 dev {b}"));
    let refused = world.start("--drop").unwrap_err().to_string();
    assert!(refused.contains("has the address 192.0.2.1"), "{refused}");
    ip(
        b,
        &format!("link property add dev {b} altname alternative0"),
    );
    let mut command = world.command("weir-sensor");
    let refused = command
        .args("--drop -i alternative0 -c none".split(' '))
        .output();
    let refused = String::from_utf8(refused.unwrap().stderr).unwrap();
    let cut_off = format!("would cut {b} off, which has the address 192.0.2.1");
    assert!(refused.contains(&cut_off), "{refused}");
    // An address by a label of its own, with no route.
    ip(b, &format!("addr flush dev {b}"));
    ip(b, &format!("addr add 192.0.2.1/32 label {b}:vip dev {b}"));
    let refused = world.start("--drop").unwrap_err().to_string();
    assert!(refused.contains("has the address 192.0.2.1"), "{refused}");
    ip(b, &format!("addr flush dev {b}"));
    ip(b, &format!("addr add 192.0.2.1/24 dev {b}"));
    let packet = traffic::ipv4(
        [192, 0, 2, 77],
        [192, 0, 2, 1],
        17,
        &[0x12, 0x34, 0, 53, 0, 9, 0, 0, 1],
    );
    let mut frame = traffic::ethernet(None, 0x0800, &packet);
    frame[..6].copy_from_slice(&[0xff; 6]);
    for (options, arrives, metered) in [
        ("--direction in", true, 1),
        ("--direction in tcp", true, 0),
        ("--drop --drop-anyway", false, 1),
        ("--xdp off --drop --drop-anyway", false, 1),
        // What a filter leaves out is dropped, too.
        ("--drop --drop-anyway tcp", false, 0),
        ("--xdp off --drop --drop-anyway tcp", false, 0),
    ] {
        let socket = listen();
        let sensor = world.sensor(options);
        world.send(&[frame.clone()]);
        assert_eq!(socket.recv(&mut [0; 9]).is_ok(), arrives, "{options}");
        let found = world.stop(sensor);
        expect(&found, &format!("ip_packets={metered}"));
    }
}

/// A mirror port is unplugged, and a card that is in use gets its name.
#[test]
fn dropping_does_not_come_back_where_it_would_cut_off() {
    let world = World::new("drb");
    let (a, b) = (&world.pair.a, &world.pair.b);
    let mut sensor = world.sensor("--drop");
    ip(a, &format!("link del {a}"));
    ip(
        a,
        &format!("link add {a} type veth peer name other netns {b}"),
    );
    ip(b, "addr add 192.0.2.1/24 dev other");
    ip(b, &format!("link set other name {b}"));
    sensor
        .wait_for(&format!(
            "{b} is back, but not metered: --drop would cut {b} off"
        ))
        .unwrap();
    assert!(!ip(b, &format!("link show {b}")).contains("xdp"));
    expect(&world.stop(sensor), "packets=0");
}

#[test]
fn timeouts_shorten_while_the_table_fills_and_return() {
    let world = World::new("prs");
    let mut sensor = world.sensor("-m 3000 -t expint=100ms");
    // 4,096 slots on this CPU.
    world.send(&flood_frames(0..2900));
    sensor.wait_for("idle flows are exported earlier").unwrap();
    sensor.wait_for("has room again").unwrap();
    let found = world.stop(sensor);
    expect(&found, "ip_packets=2900 evicted_flows=0");
    assert!(of(&found, "expired.udp.records") + of(&found, "expired.tcp.records") > 1000);
}

#[test]
fn generic_xdp_says_that_merged_packets_count_as_one() {
    let world = World::new("gro");
    let b = &world.pair.b;
    let cases = [
        ("on", "--xdp generic", true),
        ("off", "--xdp generic", false),
        ("on", "--xdp off", false),
    ];
    for (gro, arguments, says) in cases {
        let mut ethtool = world.pair.command_in_b(std::path::Path::new("ethtool"));
        succeed(ethtool.args(["-K", b, "gro", gro]));
        let mut sensor = world.sensor(arguments);
        // The next sentence: the one about the interface is whole then.
        sensor.wait_for("flow table").unwrap();
        let said = sensor.log().contains(&format!("`ethtool -K {b} gro off`"));
        assert_eq!(said, says, "gro {gro}, {arguments}");
        world.stop(sensor);
    }
}
