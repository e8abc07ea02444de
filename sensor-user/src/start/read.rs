//! `-r`: a capture file, and how it ended.

use std::{ffi::c_int, io::IsTerminal as _, path::Path, process::ExitCode};

use anyhow::Result;
use weir_sensor::{
    capture::End,
    clock,
    control::{self, text::Protocols},
    export::Clock,
    fragments::Fragments,
    offline::{Offline, Reading},
    options::Style,
    output::Output,
    prefilter::FileFilter,
    signals::{self, Interrupt},
    statistics::Statistics,
};
use weir_service::lines;

use super::{Start, code, shape};

impl Start<'_> {
    /// `-r`.
    pub fn read(&self, path: &Path, output: &Output) -> Result<ExitCode> {
        let settings = self.settings;
        let shape = shape(settings.flows_per_cpu.unwrap_or(1 << 18), self.key_mask)?;
        let export = self.export(self.sampling(), Clock::Packets)?;
        let recorder = self.recorder(vec![0], Vec::new());
        let fragments = Fragments::new(settings.fragments_max());
        let reading = Reading {
            v4_only: settings.v4_only(),
            tunnels: settings.tunnels,
            extra: self.extra(),
            sampling: settings.sampling,
        };
        let timeouts = match settings.style {
            Style::Weir => settings.timeouts,
            Style::Softflowd => settings.timeouts.never_idle(),
        };
        let filter = settings.filter.as_deref().map(FileFilter::new);
        let filter = filter.transpose().map_err(anyhow::Error::msg)?;
        let offline = Offline::new(shape, fragments, reading, timeouts, recorder, export)?;
        let interrupt = Interrupt::default();
        let (statistics, end) = offline.with_filter(filter).run(path, &interrupt)?;
        if !matches!(output, Output::Standard) {
            let text = match settings.style {
                Style::Weir => statistics.to_text(),
                Style::Softflowd => {
                    control::statistics::layout(&statistics, 0, None, &Protocols::read())
                }
            };
            lines::to_stdout(format_args!("{text}"), "");
        }
        output.write(&statistics)?;
        if settings.cpu_clocks {
            eprintln!("weir-sensor: cpu clocks: {}", clock::processor_us());
        }
        Ok(ended(path, &statistics, &end, interrupt.signal()))
    }
}

/// Says how the capture ended, if it was not whole, and whether a signal was why.
fn ended(path: &Path, statistics: &Statistics, end: &End, signal: Option<c_int>) -> ExitCode {
    let name = path.display();
    let bold = if std::io::stderr().is_terminal() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    if statistics.unsupported_link_packets > 0 {
        eprintln!(
            "weir-sensor: {name}: {} frames have a link layer that is not known; they are counted as not IP",
            statistics.unsupported_link_packets
        );
    }
    match end {
        End::Whole => code(statistics),
        End::Partial(reason) => {
            let reason = match signal {
                Some(signal) => format!("{} ended the reading", signals::name(signal)),
                None => reason.clone(),
            };
            eprintln!(
                "weir-sensor: {}partial{}: {name}: {reason}; what came before it is counted and exported",
                bold.0, bold.1
            );
            let status = signal.and_then(|signal| u8::try_from(Interrupt::status(signal)).ok());
            status.map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
