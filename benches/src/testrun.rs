//! The loaded programs in test runs of one frame: a prologue gives it the next source address of a
//! drawn sequence, so that each packet is another flow's.
#![expect(unsafe_code, reason = "memory that the program reads")]

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    EbpfLoader,
    maps::Map,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use weir_sensor::{
    kernel::{Kernel, ProgramOptions},
    mapping::Mapping,
    prefilter::PacketFilter,
};
use weir_sensor_common::{
    Counter, KeyMask, hash::Seed, interface::Interface, stage::STAGES_MAX, table::Shape,
};
use weir_tests::traffic::{self, Random};

use crate::cpu::{median, thread_ns};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Which flow each packet is of.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    /// So many, drawn evenly; none if each packet is a new one.
    pub count: Option<u32>,
    /// Packets until the sequence begins again, a power of two.
    pub sequence: u32,
    /// Places in the kernel's hash map that is compared with.
    pub places: u32,
}

/// Which object is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// With its options.
    Whole,
    /// With its options compiled out.
    Bare,
}

/// Short test runs, whose median is what one costs by itself.
const STARTS: u32 = 9;
/// Of one packet only, a program is not put where the kernel calls XDP programs.
const START_PACKETS: u32 = 2;

/// Loaded programs and their tables.
pub struct Programs {
    kernel: Kernel,
    frame: Vec<u8>,
    flows: Flows,
    drop: bool,
    /// Packets after which the rings are emptied, so that each flow pushed out finds room: a ring but for what
    /// may wait in a queue and for what tells the cost of a test run. None if no flow is pushed out.
    slice: Option<u32>,
    /// The first flow of the flood's sequence.
    drawn: u32,
}

/// How long programs are once the verifier has taken out what cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// Instructions; 0 if the kernel does not say.
    pub instructions: u32,
    /// Octets of machine code, likewise.
    pub machine_octets: u32,
}

/// A table of so many slots on each CPU.
pub fn shape(slots: u32) -> Shape {
    Shape {
        bucket_mask: slots / 8 - 1,
        seed: Seed::new([17, 34, 51, 68, 85]),
        key_mask: KeyMask::FULL.0,
    }
}

impl Programs {
    /// Loads an object and these of its programs.
    pub fn load(
        object: Object,
        options: &ProgramOptions,
        flows: Flows,
        names: &[&str],
    ) -> Result<Self> {
        let mask: &'static u32 = Box::leak(Box::new(flows.sequence - 1));
        let mut kernel = match object {
            Object::Whole => Kernel::load_with(options, |loader| set(loader, flows, mask)),
            Object::Bare => Kernel::load_bare(options, |loader| set(loader, flows, mask)),
        }?;
        if options.several {
            // What a test run receives comes from the loopback, whose ifIndex is 1.
            kernel.set_interface(Interface {
                ifindex: 1,
                ..Interface::default()
            })?;
        }
        if options.filter {
            let filter = PacketFilter::compile("tcp or udp", None);
            kernel.set_filter(filter.map_err(anyhow::Error::msg)?)?;
        }
        draw(&mut kernel, flows, 0)?;
        let mut programs = Self {
            kernel,
            frame: traffic::flood_frame(0),
            flows,
            drop: options.drop,
            slice: (flows.count.is_none())
                .then_some(options.ring_flows - STAGES_MAX - STARTS * START_PACKETS),
            drawn: 0,
        };
        for name in names {
            programs.program(name)?.load()?;
        }
        Ok(programs)
    }

    /// Processor time a packet, in nanoseconds, over so many packets. What is pushed out of the table is
    /// handed over, and taken between test runs.
    pub fn run(&mut self, name: &str, packets: u32) -> Result<f64> {
        let start_ns = self.start_ns(name)?;
        let (mut elapsed_ns, mut left) = (0.0, packets);
        while left > 0 {
            let slice = left.min(self.slice.unwrap_or(packets));
            elapsed_ns += self.run_once(name, slice)? - start_ns;
            left -= slice;
            if self.slice.is_some() {
                self.take_evicted()?;
            }
        }
        Ok(elapsed_ns / f64::from(packets))
    }

    /// What a test run costs by itself: the kernel puts the program where it calls XDP programs, which takes it up to
    /// some milliseconds, and so tens of nanoseconds a packet where runs are as short as a ring.
    fn start_ns(&mut self, name: &str) -> Result<f64> {
        let starts = (0..STARTS).map(|_| self.run_once(name, START_PACKETS));
        Ok(median(starts.collect::<Result<_>>()?))
    }

    /// Has a flood go on with flows that are in no table. Else they would come again as soon as the sequence is at its
    /// beginning: a kernel's hash map that is full keeps the first that it saw, and in Weir's table some of each round
    /// are left, which then have more than one packet and are harder to push out.
    pub fn renew(&mut self) -> Result<()> {
        if self.flows.count.is_some() {
            return Ok(());
        }
        self.drawn = self.drawn.wrapping_add(self.flows.sequence);
        draw(&mut self.kernel, self.flows, self.drawn)
    }

    /// Processor time of one test run, in nanoseconds.
    fn run_once(&mut self, name: &str, packets: u32) -> Result<f64> {
        let frame = self.frame.clone();
        let program = self.program(name)?;
        let before = thread_ns();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&frame),
            repeat: packets,
            ..TestRunOptions::new()
        })?;
        let elapsed_ns = thread_ns() - before;
        let verdict = if self.drop { XDP_DROP } else { XDP_PASS };
        ensure!(
            result.return_value == verdict,
            "{name} answered {} to the frame",
            result.return_value
        );
        Ok(elapsed_ns)
    }

    /// Takes the flows that were pushed out. A full ring would be another thing to measure, and a cheaper
    /// one: a flow that finds no room is counted, not copied.
    fn take_evicted(&mut self) -> Result<()> {
        let Kernel {
            evicted, states, ..
        } = &mut self.kernel;
        evicted.take(states, u32::MAX, |_, _| {})?;
        for cpu in 0..self.kernel.cpus as usize {
            // SAFETY: a valid element.
            let counters = unsafe { &raw const (*self.kernel.states.at(cpu)).counters };
            // SAFETY: as above; the program writes it, hence volatile.
            let counters = unsafe { counters.read_volatile() };
            let lost = counters.values[Counter::LostRingFlows as usize];
            ensure!(lost == 0, "{lost} flows found their ring full");
        }
        Ok(())
    }

    /// What is loaded, for a look at the table.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// The length of these programs together.
    pub fn length(&mut self, names: &[&str]) -> Result<Length> {
        const INSTRUCTION_OCTETS: u32 = 8;
        let mut length = Length::default();
        for name in names {
            let program = self.kernel.ebpf().program(name);
            let info = program.with_context(|| format!("program {name}"))?.info()?;
            length.instructions += info.size_translated().unwrap_or(0) / INSTRUCTION_OCTETS;
            length.machine_octets += info.size_jitted();
        }
        Ok(length)
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.kernel.ebpf().program_mut(name);
        Ok(program
            .context("a program of the feature `baseline`")?
            .try_into()?)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the loader keeps it")]
fn set(loader: &mut EbpfLoader<'_>, flows: Flows, mask: &'static u32) {
    loader
        .map_max_entries("SOURCES", flows.sequence)
        .map_max_entries("BASELINE", flows.places)
        .override_global("SOURCES_MASK", mask, true);
}

/// Fills the sequence; that of a flood with flows from this number on.
fn draw(kernel: &mut Kernel, flows: Flows, first: u32) -> Result<()> {
    let Some(Map::Array(map)) = kernel.ebpf().map("SOURCES") else {
        bail!("map SOURCES");
    };
    let sources: Mapping<u64> = Mapping::of_map(map.fd().as_fd(), flows.sequence as usize)?;
    let mut random = Random::new(42);
    for index in 0..flows.sequence {
        let flow = match flows.count {
            Some(count) => random.below(u64::from(count)),
            None => u64::from(first) + u64::from(index),
        };
        // SAFETY: a valid element; no program runs.
        unsafe {
            sources
                .at(index as usize)
                .write_volatile(flow.wrapping_mul(0x9e37_79b1) & 0xffff_ffff);
        };
    }
    Ok(())
}
