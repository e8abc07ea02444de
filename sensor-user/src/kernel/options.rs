//! What is fixed before the programs are loaded: their constants.

use aya::util::KernelVersion;
use weir_sensor_common::{
    Fields, KeyMask, Switches, stage::STAGES_MAX, table::Shape, tunnel::Tunnels,
};

/// Live flows whose slots stay in a core's second-level cache, half a MiB of them: to wait for others gains nothing
/// then, and costs what it costs to be queued.
const FEW_FLOWS: u64 = 1 << 13;

/// What is fixed before the programs are loaded.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option by itself")]
pub struct ProgramOptions {
    /// The table's shape: buckets a CPU, hash seed, key mask.
    pub shape: Shape,
    /// Packets of a CPU's queue, see `weir_sensor_common::stage`.
    pub stages: u32,
    /// Live flows of a CPU up to which packets of known flows do not wait in its queue.
    pub few_flows: u64,
    /// Entries of each CPU's ring of evicted flows, a power of two.
    pub ring_flows: u32,
    /// Whether there may be several interfaces.
    pub several: bool,
    /// Whether the frames of the one interface have no Ethernet header.
    pub raw: bool,
    /// Whether received frames end here.
    pub drop: bool,
    /// Whether there is a filter, which [`super::Kernel::set_filter`] then sets.
    pub filter: bool,
    /// First fragments remembered; 0: later ones have no ports.
    pub fragments: u32,
    /// Whether IPv6 is counted as no IP.
    pub v4_only: bool,
    /// Which tunnels are entered.
    pub tunnels: Tunnels,
    /// What is read of a packet beside its key; what the key needs must be among it.
    pub extra: Fields,
    /// One packet in so many is metered.
    pub sampling: u32,
    /// Whether it is drawn at random.
    pub sampling_random: bool,
    /// Read the exact clock for each packet.
    pub exact_clock: bool,
    /// Write the program's debug log.
    pub debug_log: bool,
}

impl ProgramOptions {
    /// The least for a table of this shape: one interface with Ethernet headers, every packet.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            stages: stages(),
            few_flows: FEW_FLOWS,
            ring_flows: 1 << 15,
            several: false,
            raw: false,
            drop: false,
            filter: false,
            fragments: 0,
            v4_only: false,
            tunnels: Tunnels::NONE,
            extra: Fields::of_key(KeyMask(shape.key_mask)),
            sampling: 1,
            sampling_random: false,
            exact_clock: false,
            debug_log: false,
        }
    }

    /// What of it is on, as the program's constant.
    #[must_use]
    pub fn switches(&self) -> Switches {
        [
            Switches::SEVERAL.when(self.several),
            Switches::RAW.when(self.raw),
            Switches::FILTER.when(self.filter),
            Switches::SAMPLING.when(self.sampling > 1),
            Switches::SAMPLING_RANDOM.when(self.sampling > 1 && self.sampling_random),
            Switches::EXACT_CLOCK.when(self.exact_clock),
            Switches::DROP.when(self.drop),
            Switches::FRAGMENTS.when(self.fragments > 0),
            Switches::V4_ONLY.when(self.v4_only),
            Switches::DEBUG_LOG.when(self.debug_log),
            Switches::of_tunnels(self.tunnels),
        ]
        .into_iter()
        .fold(Switches::of_fields(self.extra), Switches::and)
    }
}

/// Length of the CPUs' queues: one packet before Linux 6.3, where a test run does not keep a packet's run from coming in
/// between, so that a queue could not be settled.
fn stages() -> u32 {
    let settles =
        KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 3, 0));
    if settles { STAGES_MAX } else { 1 }
}
