//! Sends frames of many flows out of an interface: test runs of `weir_generate` on live frames,
//! one after the other, in time with a rate.
//!
//! A test run of more than one frame puts the program into the kernel's XDP dispatcher and takes it
//! out again, and either waits for a grace period: milliseconds, in which nothing is sent. Programs
//! that are there already are only counted, so the generator attaches its program to the interface
//! too (generic mode, which leaves the driver alone); the program passes on what it receives there.
#![expect(
    unsafe_code,
    reason = "memory that the program reads, and a system call"
)]

use std::{fs, os::fd::AsFd as _, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use weir_sensor::{clock::Now, interface, kernel, mapping::Mapping};

use super::{
    frame::{Kind, Sizes},
    sequence::{Distribution, Sequence},
};
use crate::cpu::thread_ns;

/// Flows drawn beforehand; the program goes round.
pub const SEQUENCE: u32 = 1 << 22;

/// Frames the kernel makes at a time: a poll of the peer's receive queue.
const BATCH: u32 = 64;
/// Frames of a chunk at most, between two looks at the clock.
const CHUNK_MAX: u64 = 4096;
/// The same when there is no rate to keep.
const CHUNK_UNPACED: u64 = 1 << 16;
/// How long the interface's count may take to come up to what was sent.
const ARRIVAL_LOOKS: u32 = 50;
const ARRIVAL_LOOK: Duration = Duration::from_millis(10);

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The headers.
    pub kind: Kind,
    /// The lengths.
    pub sizes: Sizes,
    /// Different flows, at most [`SEQUENCE`].
    pub flows: u32,
    /// How often which flow.
    pub distribution: Distribution,
    /// Share of the packets whose flow is a new one each time.
    pub fresh_share: f64,
    /// The same order of flows for the same seed.
    pub seed: u64,
}

/// How much, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Exactly this many.
    pub packets: u64,
    /// Packets a second; 0: as fast as it goes.
    pub rate: u64,
    /// But no longer than this.
    pub most_ns: u64,
}

/// What became of an order.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames that were made and given to the interface.
    pub packets: u64,
    /// Frames the interface counts as sent; on a veth those that the other end took.
    pub transmitted: u64,
    /// Until the last was given to the interface.
    pub elapsed_ns: u64,
    /// Processor time of this thread: making frames, and softirqs that ran on it.
    pub cpu_ns: f64,
}

impl Sent {
    /// Packets a second.
    #[must_use]
    pub fn pps(&self) -> u64 {
        per_second(self.packets, self.elapsed_ns)
    }
}

/// The loaded program. It belongs to the network namespace of the thread that made it.
pub struct Generator {
    ebpf: Ebpf,
    interface: String,
    sizes: Sizes,
    frames: Vec<Vec<u8>>,
}

impl Generator {
    /// Loads the program, draws the sequence.
    ///
    /// # Errors
    /// A sentence that says what to do: no such interface, no permission, kernel too old.
    pub fn new(interface: &str, plan: &Plan) -> Result<Self> {
        let ifindex = interface::ifindex(interface).with_context(|| {
            format!("there is no interface `{interface}`: `ip -brief link` lists those there are")
        })?;
        let flood = plan.distribution == Distribution::Flood;
        let length = if flood { 1 } else { SEQUENCE };
        let first_fresh = if flood { 0 } else { plan.flows };
        let (mask, all_fresh) = (length - 1, u8::from(flood));
        let layout = plan.kind.layout();
        let mut ebpf = EbpfLoader::new()
            .override_global("GENERATOR_IFINDEX", &ifindex, true)
            .override_global("GENERATOR_MASK", &mask, true)
            .override_global("GENERATOR_FLOOD", &all_fresh, true)
            .override_global("GENERATOR_FIRST_FRESH", &first_fresh, true)
            .override_global("GENERATOR_SOURCE_OFFSET", &layout.source_offset, true)
            .override_global("GENERATOR_CHECKSUM_OFFSET", &layout.checksum_offset, true)
            .override_global("GENERATOR_CHECKSUM_BASE", &layout.checksum_base, true)
            .map_max_entries("GENERATOR_SEQUENCE", length)
            .load(kernel::object())
            .context("cannot load the generator: run as root, on Linux 5.18 or newer")?;
        if !flood {
            draw(&ebpf, plan)?;
        }
        let program = program(&mut ebpf)?;
        program
            .load()
            .context("the kernel refuses the generator: run as root, on Linux 5.18 or newer")?;
        program
            .attach_to_if_index(ifindex, XdpMode::Skb)
            .with_context(|| {
                format!("cannot attach to {interface}: if there is an XDP program on it, `ip link set dev {interface} xdp off` takes it off")
            })?;
        let frames = plan.sizes.0.iter();
        Ok(Self {
            ebpf,
            interface: interface.to_owned(),
            frames: frames.map(|(octets, _)| plan.kind.frame(*octets)).collect(),
            sizes: plan.sizes.clone(),
        })
    }

    /// Sends, and waits until the interface has counted.
    ///
    /// # Errors
    /// A sentence that says what to do, above all if nothing left the interface.
    pub fn send(&mut self, order: &Order) -> Result<Sent> {
        let (first, counted) = (self.position()?, self.transmitted()?);
        let (start_ns, cpu_ns) = (Now::read().monotonic_ns, thread_ns());
        let since_start_ns = || Now::read().monotonic_ns - start_ns;
        let mut asked = 0;
        while asked < order.packets {
            let now_ns = since_start_ns();
            if now_ns >= order.most_ns {
                break;
            }
            // A sleep, not a spin: processor time of a spin could not be told from softirqs'.
            let early_ns = due_ns(asked, order.rate).saturating_sub(now_ns);
            thread::sleep(Duration::from_nanos(early_ns));
            crate::interrupt::go_on()?;
            let next = chunk(order.rate, &self.sizes).min(order.packets - asked);
            self.run(u32::try_from(next)?)?;
            asked += next;
        }
        let (elapsed_ns, cpu_ns) = (since_start_ns(), thread_ns() - cpu_ns);
        let packets = self.position()? - first;
        let transmitted = self.wait_for_count(counted, packets)?;
        if packets > 0 && transmitted == 0 {
            let interface = &self.interface;
            bail!(
                "none of {packets} frames left {interface}: bring it up; if it is one end of a veth pair, `ethtool -K PEER gro on` or an XDP program lets the other end take frames; else its driver cannot send redirected frames, or does not count them"
            );
        }
        Ok(Sent {
            packets,
            transmitted,
            elapsed_ns,
            cpu_ns,
        })
    }

    fn run(&mut self, packets: u32) -> Result<()> {
        let program = program(&mut self.ebpf)?;
        for (frame, repeat) in self.frames.iter().zip(self.sizes.shares(packets)) {
            // To the kernel, 0 repeats are one.
            if repeat > 0 {
                program
                    .test_run(TestRunOptions {
                        data_in: Some(frame),
                        repeat,
                        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                        ..TestRunOptions::new()
                    })
                    .context("the kernel sends no live frames (Linux 5.18 or newer is needed)")?;
            }
        }
        Ok(())
    }

    /// Frames made since the program was loaded: exact even if a run was cut short.
    fn position(&self) -> Result<u64> {
        let map = self.ebpf.map("GENERATOR_POSITION");
        let map = Array::<_, u64>::try_from(map.context("map GENERATOR_POSITION")?)?;
        Ok(map.get(&0, 0)?)
    }

    fn wait_for_count(&self, before: u64, packets: u64) -> Result<u64> {
        for _ in 0..ARRIVAL_LOOKS {
            if self.transmitted()? - before >= packets {
                break;
            }
            thread::sleep(ARRIVAL_LOOK);
        }
        Ok(self.transmitted()? - before)
    }

    fn transmitted(&self) -> Result<u64> {
        // Not /sys/class/net: it shows the namespace it was mounted in, not this thread's.
        let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
        transmitted_in(&devices, &self.interface)
            .with_context(|| format!("the kernel shows no counters of {}", self.interface))
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf.program_mut("weir_generate");
    Ok(program
        .context("a program of the feature `generator`")?
        .try_into()?)
}

fn draw(ebpf: &Ebpf, plan: &Plan) -> Result<()> {
    let Some(Map::Array(map)) = ebpf.map("GENERATOR_SEQUENCE") else {
        bail!("map GENERATOR_SEQUENCE");
    };
    let length = SEQUENCE as usize;
    let flows: Mapping<u64> = Mapping::of_map(map.fd().as_fd(), length)?;
    let mut sequence = Sequence::new(plan.flows, plan.distribution, plan.fresh_share, plan.seed);
    for index in 0..length {
        // SAFETY: a valid element; the program does not run yet.
        unsafe { flows.at(index).write_volatile(sequence.draw()) };
    }
    Ok(())
}

/// Frames sent by an interface, in the words of `/proc/net/dev`.
fn transmitted_in(devices: &str, interface: &str) -> Option<u64> {
    const PACKETS_SENT: usize = 9;
    let columns = devices.lines().find_map(|line| {
        let (name, columns) = line.split_once(':')?;
        (name.trim() == interface).then_some(columns)
    });
    columns?.split_whitespace().nth(PACKETS_SENT)?.parse().ok()
}

/// When the packet after so many is to leave, from the start.
fn due_ns(packets: u64, rate: u64) -> u64 {
    per_second(packets, rate)
}

/// A millisecond's packets; as many as have each length once at least, that all have their share.
fn chunk(rate: u64, sizes: &Sizes) -> u64 {
    if rate == 0 {
        CHUNK_UNPACED
    } else {
        (rate / 1000).clamp(sizes.turn().min(CHUNK_MAX), CHUNK_MAX)
    }
}

/// A thousand million times one number by another, 0 if that is 0: packets a second of packets and
/// nanoseconds, and the other way round.
fn per_second(number: u64, by: u64) -> u64 {
    let product = u128::from(number) * 1_000_000_000;
    let quotient = product.checked_div(u128::from(by)).unwrap_or(0);
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_count_of_the_right_interface() {
        let devices = "Inter-|   Receive  |  Transmit\n face |bytes packets\n  eth1: 1 2 0 0 0 0 0 0 9 10 0 0 0 0 0 0\n eth10:11 12 0 0 0 0 0 0 19 20 0 0 0 0 0 0\n";
        assert_eq!(transmitted_in(devices, "eth1"), Some(10));
        assert_eq!(transmitted_in(devices, "eth10"), Some(20));
        assert_eq!(transmitted_in(devices, "eth"), None);
    }

    #[test]
    fn packets_are_due_at_their_rate() {
        assert_eq!(due_ns(0, 1000), 0);
        assert_eq!(due_ns(1, 1000), 1_000_000);
        assert_eq!(due_ns(u64::MAX, 1), u64::MAX);
        // As fast as it goes: always due.
        assert_eq!(due_ns(1 << 40, 0), 0);
    }

    #[test]
    fn chunks_are_a_millisecond_within_bounds() {
        let one = Sizes(vec![(60, 1)]);
        let chunks = [1, 64_000, 500_000, 4_096_000, 20_000_000].map(|rate| chunk(rate, &one));
        assert_eq!(chunks, [1, 64, 500, 4096, 4096]);
        let mix = Sizes(vec![(60, 7), (576, 4), (1500, 1)]);
        assert_eq!([1, 500_000].map(|rate| chunk(rate, &mix)), [12, 500]);
        let steep = Sizes(vec![(60, u16::MAX), (576, u16::MAX)]);
        assert_eq!(chunk(1, &steep), CHUNK_MAX);
    }
}
