//! While a CPU's live flows are few, packets of those do not wait in its queue; what opens flows does, and where flows
//! are many, all do. None do where nobody could have a queue emptied.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aya::{
    maps::MapData,
    programs::{TestRun as _, TestRunOptions},
};
use weir_sensor::{
    grace,
    kernel::{Kernel, ProgramOptions},
    mapping::Mapping,
    settle,
    statistics::Statistics,
    sweep::{Sweep, Take},
};
use weir_sensor_common::{
    KeyMask,
    hash::Seed,
    stage::{Cpu, STAGES_MAX},
    table::Shape,
};
use weir_tests::{
    traffic::{flood_frame, flood_frames},
    wire,
};

use crate::world::{World, assert_account, bpf::Bpf, of};

/// A loaded program whose packets come one by one, on the first CPU.
struct Metered {
    kernel: Kernel,
    packets: u64,
}

impl Metered {
    fn load(few_flows: u64) -> Self {
        wire::pin(0).unwrap();
        let options = ProgramOptions {
            few_flows,
            ..ProgramOptions::new(Shape {
                bucket_mask: (1 << 12) - 1,
                seed: Seed::new([11, 12, 13, 14, 15]),
                key_mask: KeyMask::FULL.0,
            })
        };
        let kernel = Kernel::load(&options).unwrap();
        Self { kernel, packets: 0 }
    }

    /// Packets of one flow.
    fn see(&mut self, flow: u32, packets: u32) {
        self.packets += u64::from(packets);
        let run = TestRunOptions {
            data_in: Some(&flood_frame(flow)),
            repeat: packets,
            ..TestRunOptions::new()
        };
        self.kernel.ingress().unwrap().test_run(run).unwrap();
    }

    fn waiting(&self) -> usize {
        settle::pending(&self.kernel.states, 0).len()
    }

    /// Takes all flows; each packet must be in one.
    fn assert_account(mut self) {
        self.kernel.settle().unwrap();
        let now = weir_sensor::clock::Now::read();
        let mut sweep = Sweep::default();
        sweep.close(&self.kernel.table, &now, Take::Everything);
        grace::wait().unwrap();
        let mut statistics = Statistics::default();
        sweep.collect(&mut self.kernel.table, |taken| {
            statistics.count_taken(&taken);
        });
        statistics.read_counters(&self.kernel.states, self.kernel.cpus);
        assert_eq!(statistics.ip_packets(), self.packets);
        assert_eq!(statistics.unexplained(), (0, 0), "{}", statistics.to_text());
    }
}

#[test]
fn packets_of_known_flows_do_not_wait_while_flows_are_few() {
    let mut metered = Metered::load(64);
    // Whether flows are few is asked when a queue is emptied.
    metered.see(0, STAGES_MAX);
    assert_eq!(metered.waiting(), 0);
    metered.see(0, 5);
    assert_eq!(metered.waiting(), 0, "the flow is there");
    metered.see(1, 3);
    assert_eq!(metered.waiting(), 3, "this one is not");
    metered.see(0, 5);
    assert_eq!(metered.waiting(), 3);
    metered.kernel.settle().unwrap();
    metered.see(1, 7);
    assert_eq!(metered.waiting(), 0, "now it is");
    metered.assert_account();
}

#[test]
fn packets_of_all_flows_wait_once_flows_are_many() {
    let mut metered = Metered::load(64);
    metered.see(0, STAGES_MAX);
    // The program counts what it opens by itself.
    for flow in 1..=96 {
        metered.see(flow, 1);
    }
    assert_eq!(metered.waiting(), 0, "three queues full");
    metered.see(0, 5);
    assert_eq!(metered.waiting(), 5);
    // User space says that most are over; those that wait come first.
    metered.kernel.few.tell(&metered.kernel.states, &[10]);
    metered.see(0, 5);
    assert_eq!(metered.waiting(), 10);
    metered.kernel.settle().unwrap();
    metered.see(0, 5);
    assert_eq!(metered.waiting(), 0);
    // And that there are many again.
    metered.kernel.few.tell(&metered.kernel.states, &[64]);
    metered.see(1000, STAGES_MAX);
    metered.see(0, 5);
    assert_eq!(metered.waiting(), 5);
    metered.assert_account();
}

/// How many packets wait, by the pinned memory of a sensor that runs.
fn waiting(states: &Mapping<Cpu>, cpus: usize) -> usize {
    (0..cpus)
        .map(|cpu| settle::pending(states, cpu).len())
        .sum()
}

#[test]
fn the_sensor_tells_its_programs_when_flows_are_few_again() {
    const MANY: u32 = 60_000;
    let world = World::new("few");
    let bpf = Bpf::mount(&world);
    let arguments = format!("--direction in -m 200000 -t idle=3 --pin {}", bpf.pin());
    let sensor = world.sensor(&arguments);
    let table = bpf
        .names()
        .into_iter()
        .find(|name| name.starts_with("table"));
    let path = Path::new(&bpf.pin()).join(table.unwrap()).join("CPUS");
    let states = MapData::from_pin(path).unwrap();
    let cpus = states.info().unwrap().max_entries() as usize;
    let states = Mapping::of_map(states.fd().as_fd(), cpus).unwrap();
    let known: Vec<_> = vec![flood_frame(0); 5];
    // Sweeps empty the queues, now and then between sending and looking.
    let waits = || {
        (0..10)
            .map(|_| {
                world.send(&known);
                let waiting = waiting(&states, cpus);
                thread::sleep(Duration::from_millis(20));
                waiting
            })
            .max()
            .unwrap()
    };
    world.send(&flood_frames(0..MANY));
    assert!(waits() > 0, "of many flows packets wait");
    let few_again = (0..60).any(|_| {
        thread::sleep(Duration::from_millis(250));
        waits() == 0
    });
    assert!(few_again, "long after those flows were over");
    assert_account(&world.stop(sensor));
}

/// What is done in a cpuset of the second CPU alone, and the cpuset; `None` where this machine has none to be had.
fn on_the_second_cpu_alone<R>(work: impl FnOnce() -> R) -> Option<(R, PathBuf)> {
    let first = Path::new("/sys/fs/cgroup/cpuset");
    let (root, members) = if first.exists() {
        (first, "tasks")
    } else {
        let second = Path::new("/sys/fs/cgroup");
        fs::write(second.join("cgroup.subtree_control"), "+cpuset").ok()?;
        (second, "cgroup.procs")
    };
    let group = root.join(format!("weir-{}", std::process::id()));
    fs::create_dir(&group).ok()?;
    if fs::write(group.join("cpuset.cpus"), "1").is_err() {
        fs::remove_dir(group).unwrap();
        return None;
    }
    fs::write(group.join("cpuset.mems"), "0").unwrap();
    fs::write(group.join(members), "0").unwrap();
    let done = work();
    fs::write(root.join(members), "0").unwrap();
    Some((done, group))
}

#[test]
fn packets_of_a_cpu_that_the_sensor_may_not_run_on_do_not_wait() {
    let world = World::new("cpuset");
    let in_cpuset = on_the_second_cpu_alone(|| world.sensor("--direction in -t idle=1"));
    let Some((mut sensor, cpuset)) = in_cpuset else {
        eprintln!("not tested: no cpusets on this machine");
        return;
    };
    sensor.wait_for("may not run on every CPU").unwrap();
    // From the first CPU, which then receives them.
    world.send(&flood_frames(0..5));
    world.send(&vec![flood_frame(3); 5]);
    thread::sleep(Duration::from_secs(4));
    let found = world.stop(sensor);
    fs::remove_dir(cpuset).unwrap();
    // By the timeout, and not at the end.
    let expired = &found["expired"]["tcp"];
    assert_eq!(
        (of(expired, "records"), of(expired, "packets")),
        (5, 10),
        "{found:#}"
    );
}
