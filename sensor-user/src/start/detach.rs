//! `--detach --pin`: what is left of a sensor.

use std::{mem, path::Path};

use anyhow::Result;
use weir_sensor::{
    adopt::adopt,
    clock::Now,
    export::{Clock, Export},
    interface,
    kernel::{Kernel, ProgramOptions},
    pin::{Dead, Left},
    signals,
    statistics::Statistics,
};
use weir_sensor_common::KeyMask;

use super::{Start, shape};

impl Start<'_> {
    /// `--detach --pin`: what a sensor left is removed, and exported to those collectors that can be had;
    /// with the account, whether all tables could be read.
    pub fn detach(&self, folder: &Path) -> Result<(Statistics, bool)> {
        let mut left = Left::open(folder)?;
        let sampling = left.sampling();
        let mut how = self.settings.export(self.version, self.fields, sampling);
        // Whoever names no interface means the one that was metered: its collector is to know whose flows these are.
        if self.settings.interfaces.is_empty() && self.settings.export_options.domain.is_none() {
            let mut ifindexes = left.tables.iter().flat_map(Dead::ifindexes);
            how.batch.source_id = ifindexes.next().unwrap_or(0);
        }
        let mut export = Export::start_where_possible(&self.addresses, &how, Clock::Live)?;
        let mut statistics = Statistics::default();
        // The one that is always loaded tells the timer's tick.
        let options = ProgramOptions::new(shape(1, KeyMask::FULL)?);
        let mut kernel = Kernel::load_first(&options, &[])?;
        let timer = kernel.settle()?;
        // From here on nothing ends the process half way: what it had sent would be sent again.
        let _signals = signals::take()?;
        let attachments = left.take_off()?;
        let has_foreign = left.remove_foreign();
        let tables = mem::take(&mut left.tables);
        let interfaces = self.settings.interfaces.iter();
        let names = interfaces.map(|named| interface::own_name(&named.name));
        let ifindexes = names.map(|name| interface::ifindex(&name).unwrap_or(0));
        let mut recorder = self.recorder(ifindexes.collect(), self.settings.ifindexes_given());
        recorder.sampling_interval = sampling.interval;
        export.begin_last();
        adopt(
            tables,
            timer,
            &recorder,
            &mut export,
            &mut statistics,
            || (),
        )?;
        eprintln!(
            "weir-sensor: took {attachments} programs off, and {} flows of {} packets out of the table",
            statistics.adopted.records, statistics.adopted.packets
        );
        (statistics.export, statistics.export_died) = export.finish(&Now::read());
        Ok((statistics, !has_foreign))
    }
}
