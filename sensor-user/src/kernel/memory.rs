//! The arrays that programs and user space share: how long they are, and their memory.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{Ebpf, maps::Map};
use weir_sensor_common::{
    Fields,
    stage::STAGES_MAX,
    table::{PAGE, Shape, WAYS},
};

use super::ProgramOptions;
use crate::{extras::Extras, mapping::Mapping, table::Table};

/// Elements of the shared arrays.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// CPUs that have a region.
    pub cpus: u32,
    /// Of the table, of all CPUs.
    buckets: u32,
    /// Entries of the rings, of all CPUs.
    pub evicted: u32,
    /// Whether there are side arrays.
    extras: bool,
}

impl Sizes {
    /// For these options.
    ///
    /// # Errors
    /// A sentence: they are too many.
    pub fn new(options: &ProgramOptions) -> Result<Self> {
        let cpus = cpus()?;
        Ok(Self {
            cpus,
            buckets: cpus
                .checked_mul(options.shape.bucket_mask + 1)
                .filter(|buckets| buckets.checked_mul(WAYS).is_some())
                .ok_or_else(|| anyhow!("the flow table is too large for {cpus} CPUs: lower -m"))?,
            evicted: cpus
                .checked_mul(options.ring_flows)
                .ok_or_else(|| anyhow!("the ring is too large for {cpus} CPUs: lower --ring"))?,
            extras: options.extra != Fields::NONE,
        })
    }

    /// Lengths of the maps, by name.
    pub fn maps(&self) -> [(&'static str, u32); 11] {
        let side = |len: u32| if self.extras { len } else { 1 };
        [
            ("SLOTS", self.buckets * WAYS),
            ("TAGS", self.buckets.div_ceil(PAGE)),
            ("RELEASED", self.buckets.div_ceil(PAGE)),
            ("CPUS", self.cpus),
            ("FOUND", self.cpus),
            ("EVICTED", self.evicted.div_ceil(STAGES_MAX)),
            ("TAKEN", self.cpus),
            ("FEW_UNTIL", self.cpus),
            ("EXTRAS", side(self.buckets * WAYS)),
            ("EXTRA_STAGE", side(self.cpus * STAGES_MAX)),
            ("EVICTED_EXTRA", side(self.evicted)),
        ]
    }
}

/// The table's memory, as many buckets as were made for this many CPUs, and what lies beside it.
pub fn map_table(ebpf: &Ebpf, cpus: u32, shape: Shape, extra: Fields) -> Result<Table> {
    let buckets = cpus * (shape.bucket_mask + 1);
    let table = Table::new(
        of_map(ebpf, "SLOTS", buckets * WAYS)?,
        of_map(ebpf, "TAGS", buckets)?,
        of_map(ebpf, "RELEASED", buckets)?,
        cpus,
        shape,
    );
    Ok(table.with_extras(extras_of(ebpf, extra, "EXTRAS", buckets * WAYS)?))
}

/// A map's memory.
pub fn of_map<T>(ebpf: &Ebpf, name: &str, len: u32) -> Result<Mapping<T>> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        bail!("map {name} is missing from the program");
    };
    Mapping::of_map(map.fd().as_fd(), len as usize)
        .with_context(|| format!("mapping {name} into memory"))
}

/// A side array's memory; nothing if no fields are read.
pub fn extras_of(ebpf: &Ebpf, fields: Fields, name: &str, len: u32) -> Result<Extras> {
    if fields == Fields::NONE {
        return Ok(Extras::default());
    }
    Ok(Extras::new(of_map(ebpf, name, len)?))
}

/// CPUs that may run the program, counted by the highest number one may have.
///
/// # Errors
/// If the kernel does not say.
pub fn cpus() -> Result<u32> {
    const FILE: &str = "/sys/devices/system/cpu/possible";
    let list = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let numbers = list
        .trim()
        .split([',', '-'])
        .filter_map(|number| number.parse::<u32>().ok());
    let highest = numbers
        .max()
        .with_context(|| format!("{FILE} says {list:?}"))?;
    Ok(highest + 1)
}
