//! What a sensor does by its settings: it reads a capture, meters interfaces, or exports and removes what
//! was left.
#![expect(unsafe_code, reason = "a system call")]

mod detach;
mod meter;
mod read;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Result, bail};
use weir_exporter::Version;
use weir_netflow::Sampling;
use weir_sensor::{
    export::{Clock, Export},
    interface,
    options::{Settings, Style},
    ports::Wanted,
    prefilter::PacketFilter,
    record::Recorder,
    statistics::Statistics,
    table,
};
use weir_sensor_common::{Fields, KeyMask, hash::Seed, table::Shape};

/// What is settled before the work begins.
pub struct Start<'a> {
    /// The command line and its files.
    settings: &'a Settings,
    /// The export format.
    version: Version,
    /// Where to.
    addresses: Vec<SocketAddr>,
    /// Which attributes tell flows apart.
    key_mask: KeyMask,
    /// What records carry besides.
    fields: Fields,
    /// Which packets are metered, if not all are.
    filter: Option<PacketFilter>,
}

impl<'a> Start<'a> {
    /// Of settings that were looked at, and what came of that.
    pub fn new(
        settings: &'a Settings,
        version: Version,
        addresses: Vec<SocketAddr>,
        filter: Option<PacketFilter>,
    ) -> Self {
        Self {
            settings,
            version,
            addresses,
            key_mask: KeyMask::from(settings.track),
            fields: carried(settings, version),
            filter,
        }
    }

    fn export(&self, sampling: Sampling, clock: Clock) -> Result<Export> {
        let how = self.settings.export(self.version, self.fields, sampling);
        Export::start(&self.addresses, &how, clock)
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            interval: self.settings.sampling,
            random: self.settings.sampling_random,
        }
    }

    fn recorder(&self, ifindexes: Vec<u32>, ifindexes_given: Vec<Option<u32>>) -> Recorder {
        Recorder {
            ifindexes,
            ifindexes_given,
            key_mask: self.key_mask,
            sampling_interval: self.settings.sampling,
            as_softflowd: self.settings.style == Style::Softflowd,
        }
    }

    /// What is read of packets beside the key: what records carry, and what the key needs.
    fn extra(&self) -> Fields {
        self.fields.and(Fields::of_key(self.key_mask))
    }
}

/// A sensor whose export died has given its account, and wants to be started again.
pub fn code(statistics: &Statistics) -> ExitCode {
    if statistics.export_died {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Names of the interfaces that are there now.
pub fn names(wanted: &Wanted) -> Result<Vec<String>> {
    match wanted {
        Wanted::Named(names) => Ok(names.clone()),
        Wanted::Any => interface::all(),
    }
}

/// Those of the fields that the export format has a place for; says so if that is none.
fn carried(settings: &Settings, version: Version) -> Fields {
    let fields = settings.fields();
    if version.has_templates() {
        return fields;
    }
    // What -x asks for is told elsewhere.
    let told = settings
        .fields_asked
        .and(Fields::of_key(settings.track.into()));
    if told != Fields::NONE {
        eprintln!(
            "weir-sensor: {version} has no place for --fields, nor for the MAC addresses of -T ether: records go without them; -v 9 and -v 10 carry them"
        );
    }
    Fields::NONE
}

fn shape(flows: u32, key_mask: KeyMask) -> Result<Shape> {
    let mut octets = [0u8; 56];
    // SAFETY: the buffer is valid for its length.
    let drawn = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
    if usize::try_from(drawn) != Ok(octets.len()) {
        bail!("the kernel gave no random numbers");
    }
    let [words @ .., first, second]: [u64; 7] = bytemuck::pod_read_unaligned(&octets);
    Ok(Shape {
        bucket_mask: table::bucket_mask(flows),
        seed: Seed::new(words).with_macs([first, second]),
        key_mask: key_mask.0,
    })
}
