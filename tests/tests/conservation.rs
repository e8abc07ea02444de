//! Every packet offered is in an exported record or in a named counter, and every record in the
//! collector's files: with real kernel and sockets, under load, in settings chosen to hurt.
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers below a small bound"
)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "a system call")]

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use serde_json::Value;
use weir_sensor::{
    clock::Now,
    expiry::{Reason, Timeouts},
    grace,
    kernel::{Kernel, ProgramOptions},
    statistics::Statistics,
    sweep::{Sweep, Take, Taken},
    table,
};
use weir_sensor_common::{Counter, KeyMask, hash::Seed, stage::STAGES_MAX, table::Shape};
use weir_tests::{
    account::of,
    netns::{self, Pair},
    process::{Daemon, binaries},
    traffic::{self, Random},
    wire::{self, Wire},
};

/// Frames a thread sends.
const FRAMES: u32 = 150_000;

struct Live {
    sensor: Value,
    collector: Value,
    sent: u64,
    dropped: u64,
}

fn read(path: &std::path::Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Sends from both CPUs through a veth pair with a sensor at its end, into a collector.
fn run_live(
    label: &str,
    sensor_arguments: &[&str],
    frame: fn(cpu: u32, number: u32, random: &mut Random) -> Vec<u8>,
) -> Live {
    assert!(netns::possible(), "root and iproute2 are needed");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pair = Pair::new(label).unwrap();
    let mut command = pair.command_in_b(&binaries().unwrap().join("weir-collector"));
    command
        .arg("-w")
        .arg(path("flows"))
        .args(["-l", "127.0.0.1:2055", "--statistics-json"])
        .arg(path("collector.json"));
    let mut collector = Daemon::start(command, &path("collector.log")).unwrap();
    collector.wait_for("listening").unwrap();
    let mut command = pair.command_in_b(&binaries().unwrap().join("weir-sensor"));
    command
        .args(["-i", &pair.b, "-c", "none", "-n", "127.0.0.1:2055"])
        .arg("--statistics-json")
        .arg(path("sensor.json"))
        .args(sensor_arguments);
    let mut sensor = Daemon::start(command, &path("sensor.log")).unwrap();
    sensor.wait_for("metering").unwrap();
    std::thread::scope(|scope| {
        for cpu in 0..2u32 {
            let a = &pair.a;
            scope.spawn(move || {
                netns::enter(a).unwrap();
                wire::pin(cpu as usize).unwrap();
                let wire = Wire::open(a).unwrap();
                let mut random = Random::new(u64::from(cpu) + 1);
                for number in 0..FRAMES {
                    wire.send(&frame(cpu, number, &mut random)).unwrap();
                }
            });
        }
    });
    let (received, dropped) = pair.received_and_dropped().unwrap();
    assert!(sensor.stop().unwrap().success());
    std::thread::sleep(Duration::from_millis(200));
    assert!(collector.stop().unwrap().success());
    eprintln!("{label}: received {received}, dropped on the way {dropped}");
    Live {
        sensor: read(&path("sensor.json")),
        collector: read(&path("collector.json")),
        sent: u64::from(2 * FRAMES),
        dropped,
    }
}

/// The account, line by line.
fn assert_balance(live: &Live) {
    let (sensor, collector) = (&live.sensor, &live.collector);
    assert_eq!(
        of(sensor, "packets") + live.dropped,
        live.sent,
        "frames sent\n{sensor:#}"
    );
    let unmetered = of(sensor, "non_ip_packets")
        + of(sensor, "too_short_packets")
        + of(sensor, "bad_ip_packets")
        + of(sensor, "too_deep_packets");
    assert_eq!(
        of(sensor, "packets"),
        of(sensor, "ip_packets") + unmetered,
        "frames seen\n{sensor:#}"
    );
    let lost_packets = of(sensor, "ring_full_packets") + of(sensor, "table_busy_packets");
    assert_eq!(
        of(sensor, "ip_packets"),
        of(sensor, "packets_exported") + lost_packets,
        "IP packets\n{sensor:#}"
    );
    let lost_octets = of(sensor, "ring_full_octets") + of(sensor, "table_busy_octets");
    assert_eq!(
        of(sensor, "ip_octets"),
        of(sensor, "octets_exported") + lost_octets,
        "IP octets\n{sensor:#}"
    );
    assert_eq!(
        of(sensor, "records_exported"),
        of(collector, "records"),
        "records\n{collector:#}"
    );
    assert_eq!(
        of(sensor, "packets_exported"),
        of(collector, "packets"),
        "packets in records\n{collector:#}"
    );
    assert_eq!(
        of(sensor, "octets_exported"),
        of(collector, "octets"),
        "octets in records\n{collector:#}"
    );
    assert_eq!(of(collector, "records"), of(collector, "records_written"));
    assert_eq!(
        of(collector, "kernel_drops")
            + of(collector, "malformed")
            + of(collector, "unknown_version")
            + of(collector, "unknown_template_sets"),
        0
    );
    for exporter in collector["exporters"].as_array().unwrap() {
        assert_eq!(exporter["lost"], 0, "{exporter:#}");
    }
}

/// A few hundred flows, some of each kind, on both CPUs.
fn few_flows(_cpu: u32, _number: u32, random: &mut Random) -> Vec<u8> {
    let flow = random.below(400) as u8;
    let mut payload = vec![0; 20 + random.below(900) as usize];
    payload[3] = 80;
    let to = [198, 51, 100, 1];
    match flow % 3 {
        0 => traffic::ethernet(
            None,
            0x0800,
            &traffic::ipv4([10, 0, 0, flow], to, 17, &payload),
        ),
        1 => traffic::ethernet(
            Some(7),
            0x0800,
            &traffic::ipv4([10, 0, 0, flow], to, 6, &payload),
        ),
        _ => traffic::ethernet(
            None,
            0x86dd,
            &traffic::ipv6([flow; 16], [1; 16], 17, &payload),
        ),
    }
}

/// Every packet a new flow.
fn flood(cpu: u32, number: u32, _: &mut Random) -> Vec<u8> {
    traffic::flood_frame(cpu << 23 | number)
}

const CONSTANT_HANDOVER: [&str; 4] = ["-t", "idle=4ms", "-t", "active=6ms"];

#[test]
fn native_with_constant_handover() {
    let live = run_live(
        "n",
        &[&CONSTANT_HANDOVER[..], &["--xdp", "native"]].concat(),
        few_flows,
    );
    assert_balance(&live);
    assert!(
        of(&live.sensor["expired"]["maxlife"], "records") > 1000,
        "hand-over was not constant\n{:#}",
        live.sensor
    );
}

#[test]
fn generic_with_constant_handover() {
    let live = run_live(
        "g",
        // More flows than ways: each packet's is looked for anew.
        &[
            &CONSTANT_HANDOVER[..],
            &["--xdp", "generic", "-v", "9", "-m", "768"],
        ]
        .concat(),
        few_flows,
    );
    assert_balance(&live);
    assert!(
        of(&live.sensor["expired"]["maxlife"], "records") > 1000,
        "{:#}",
        live.sensor
    );
}

#[test]
fn a_small_table_pushes_flows_out() {
    // 768 flows make 1,024 slots.
    let live = run_live(
        "e",
        &[&CONSTANT_HANDOVER[..], &["-m", "768"]].concat(),
        flood,
    );
    assert_balance(&live);
    assert!(
        of(&live.sensor, "evicted_flows") > 1000,
        "{:#}",
        live.sensor
    );
}

#[test]
fn a_small_ring_overflows() {
    let live = run_live("r", &["-m", "768", "--ring", "4096"], flood);
    assert_balance(&live);
    assert!(
        of(&live.sensor, "ring_full_packets") > 1000,
        "{:#}",
        live.sensor
    );
}

#[test]
fn version_5_with_constant_handover() {
    fn v4_only(cpu: u32, number: u32, random: &mut Random) -> Vec<u8> {
        loop {
            let frame = few_flows(cpu, number, random);
            if frame[12..14] != [0x86, 0xdd] {
                return frame;
            }
        }
    }
    assert_balance(&run_live(
        "v",
        &[&CONSTANT_HANDOVER[..], &["-v", "5"]].concat(),
        v4_only,
    ));
}

/// Test runs on both CPUs while this thread sweeps without a pause: millions of packets a second
/// and thousands of hand-overs, more than any wire here gives.
#[test]
fn millions_of_packets_a_second_against_a_sweep_without_pause() {
    against_a_sweep_without_pause(STAGES_MAX, 0);
}

/// The same where now a packet whose flow is known is queued, and now not.
#[test]
fn millions_of_packets_a_second_against_a_sweep_while_flows_are_now_few_and_now_many() {
    against_a_sweep_without_pause(STAGES_MAX, 20);
}

/// The same where it never is.
#[test]
fn millions_of_packets_a_second_against_a_sweep_with_queues_of_one() {
    against_a_sweep_without_pause(1, 0);
}

fn against_a_sweep_without_pause(stages: u32, few_flows: u64) {
    let shape = Shape {
        bucket_mask: table::bucket_mask(24),
        seed: Seed::new([21, 22, 23, 24, 25]),
        key_mask: KeyMask::FULL.0,
    };
    let options = ProgramOptions {
        stages,
        few_flows,
        exact_clock: true,
        ring_flows: 1 << 10,
        ..ProgramOptions::new(shape)
    };
    let mut kernel = Kernel::load(&options).unwrap();
    let program = kernel.ingress().unwrap().fd().unwrap().try_clone().unwrap();
    let (rounds, repeat) = (1500u64, 1000u32);
    let mut statistics = Statistics::default();
    let mut timeouts = Timeouts::default();
    timeouts.set("active=20ms").unwrap();
    let mut sweep = Sweep::default();
    let mut handovers = 0u64;
    std::thread::scope(|scope| {
        let metering: Vec<_> = (0..2u32)
            .map(|cpu| {
                let program = &program;
                scope.spawn(move || {
                    wire::pin(cpu as usize).unwrap();
                    let mut random = Random::new(u64::from(cpu) + 7);
                    for _ in 0..rounds {
                        // 300 flows in a table for 24, eight of them busy.
                        let flow = if random.below(2) == 0 {
                            random.below(8)
                        } else {
                            random.below(300)
                        };
                        test_run(
                            program,
                            &traffic::flood_frame(u32::try_from(flow).unwrap()),
                            repeat,
                        );
                    }
                })
            })
            .collect();
        while metering.iter().any(|thread| !thread.is_finished()) {
            kernel.settle().unwrap();
            handovers +=
                u64::from(sweep.close(&kernel.table, &Now::read(), Take::Expired(&timeouts)) > 0);
            kernel.few.tell(&kernel.states, sweep.left());
            collect(&mut kernel, &mut sweep, &mut statistics);
        }
    });
    kernel.settle().unwrap();
    sweep.close(&kernel.table, &Now::read(), Take::Everything);
    collect(&mut kernel, &mut sweep, &mut statistics);
    statistics.read_counters(&kernel.states, kernel.cpus);
    assert_eq!(statistics.ip_packets(), 2 * rounds * u64::from(repeat));
    assert_eq!(statistics.unexplained(), (0, 0), "{}", statistics.to_text());
    assert!(
        handovers > 50 && statistics.get(Counter::FlowsEvicted) > 20,
        "{handovers} hand-overs\n{}",
        statistics.to_text()
    );
}

fn collect(kernel: &mut Kernel, sweep: &mut Sweep, statistics: &mut Statistics) {
    grace::wait().unwrap();
    sweep.collect(&mut kernel.table, |taken| statistics.count_taken(&taken));
    kernel
        .evicted
        .take(&kernel.states, u32::MAX, |slot, _| {
            statistics.count_taken(&Taken::of(slot, Reason::Forced));
        })
        .unwrap();
}

/// `BPF_PROG_TEST_RUN` by descriptor: aya's own wants the program for itself, and here two threads
/// run it.
fn test_run(program: &aya::programs::ProgramFd, frame: &[u8], repeat: u32) {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        program: u32,
        return_value: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        rest: [u64; 4],
    }
    let mut attributes = Attributes {
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        data_size_in: u32::try_from(frame.len()).unwrap(),
        data_in: frame.as_ptr() as u64,
        repeat,
        ..Attributes::default()
    };
    // SAFETY: the structure is as the kernel's, and the frame outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<Attributes>(),
        )
    };
    assert_eq!(
        (result, attributes.return_value),
        (0, 2),
        "{}",
        std::io::Error::last_os_error()
    );
}

/// The trait is what `captures.rs` runs programs by; here it only shows that a plain run works.
#[test]
fn frames_pass_whatever_they_are() {
    let shape = Shape {
        bucket_mask: 1,
        seed: Seed::new([1; 5]),
        key_mask: KeyMask::FULL.0,
    };
    let options = ProgramOptions {
        stages: STAGES_MAX,
        debug_log: true,
        ring_flows: 64,
        ..ProgramOptions::new(shape)
    };
    let mut kernel = Kernel::load(&options).unwrap();
    let mut random = Random::new(5);
    for _ in 0..3000 {
        let mut frame = traffic::flood_frame(u32::try_from(random.below(1 << 24)).unwrap());
        for _ in 0..random.below(6) {
            let at = random.below(frame.len() as u64) as usize;
            frame[at] = random.draw().to_le_bytes()[0];
        }
        frame.truncate(14 + random.below(50) as usize);
        let run = TestRunOptions {
            data_in: Some(&frame),
            ..TestRunOptions::new()
        };
        assert_eq!(
            kernel
                .ingress()
                .unwrap()
                .test_run(run)
                .unwrap()
                .return_value,
            2
        );
    }
}
