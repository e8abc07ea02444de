//! Weir beside softflowd, nfpcapd and pmacctd on the same live frames: the highest rate without
//! loss, then processor time a packet at 70 % of it, each round with a trial of nobody at the same
//! rate. The processor time is the receiver's own: what the network stack takes anyway is not in it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Result;
use plotters::prelude::*;
use serde_json::json;
use weir_benches::live::{
    receiver::Receiver,
    trial::{self, Setup},
};
use weir_tests::netns::Pair;

use crate::{bars::Report, veth};

const RECEIVERS: [Receiver; 4] = [
    Receiver::Softflowd,
    Receiver::Nfpcapd,
    Receiver::Pmacctd,
    Receiver::Weir,
];
const COLOURS: [RGBColor; 4] = [
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0x99, 0x99, 0x99),
    RGBColor(0x1b, 0x9e, 0x77),
];
/// A name, flows, and the bars (must, aim) of softflowd's processor time over Weir's.
type Case = (&'static str, u32, Option<(f64, f64)>);
const CASES: [Case; 3] = [
    ("1k flows", 1 << 10, None),
    ("64k flows", 1 << 16, Some((15.0, 27.0))),
    ("1M flows", 1 << 20, Some((8.0, 15.0))),
];
const SHARE_PERCENT: u64 = 70;

/// One receiver with one number of flows.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    zero_loss_mpps: f64,
    cpu_ns: f64,
    lost: u64,
}

/// Measures all, writes `benches/record/versus.{md,json}` and two plots beside them.
pub fn measure(report: &mut Report, quick: bool, record: bool) -> Result<()> {
    let (seconds, rounds) = if quick { (1, 1) } else { (3, 3) };
    let pair = trial::pair()?;
    let mut table = [[Figures::default(); RECEIVERS.len()]; CASES.len()];
    for ((name, flows, bars), row) in CASES.iter().zip(&mut table) {
        eprintln!("versus: {name}");
        let setups = RECEIVERS.map(|receiver| veth::setup(receiver, Some(*flows), seconds));
        *row = measure_case(&pair, setups, rounds)?;
        for (receiver, figures) in RECEIVERS.iter().zip(&*row) {
            let name = format!("{name}, {}", receiver.name());
            report.context(
                format!("{name}: no loss up to"),
                figures.zero_loss_mpps,
                "Mpps",
            );
            report.context(format!("{name}: CPU"), figures.cpu_ns, "ns/packet");
        }
        if let Some(bars) = bars {
            report.at_least(
                format!("CPU per packet, softflowd / Weir, {name}"),
                "×",
                row[0].cpu_ns / row[3].cpu_ns,
                *bars,
                "both without what the network stack takes anyway",
            );
        }
    }
    print!("{}", markdown(&table));
    if record {
        write(&table)?;
    }
    Ok(())
}

fn measure_case(
    pair: &Pair,
    mut setups: [Setup; 4],
    rounds: usize,
) -> Result<[Figures; RECEIVERS.len()]> {
    let mut row = [Figures::default(); RECEIVERS.len()];
    for (setup, figures) in setups.iter_mut().zip(&mut row) {
        let found = trial::search(pair, setup, |_, _| {})?;
        let highest_pps = found.highest_pps().unwrap_or(0);
        figures.zero_loss_mpps = highest_pps as f64 / 1e6;
        setup.rate = (highest_pps * SHARE_PERCENT / 100).max(1);
    }
    let mut rounds_ns: [Vec<f64>; RECEIVERS.len()] = Default::default();
    for _ in 0..rounds {
        // All in turn, so that a busy minute of the machine is everybody's.
        for ((setup, figures), ns) in setups.iter().zip(&mut row).zip(&mut rounds_ns) {
            let cost = trial::cost(pair, setup, Receiver::Stack, 1)?;
            figures.lost += cost.lost;
            ns.push(cost.own_ns());
        }
    }
    for (figures, ns) in row.iter_mut().zip(rounds_ns) {
        figures.cpu_ns = crate::cpu::median(ns);
    }
    Ok(row)
}

type Table = [[Figures; RECEIVERS.len()]; CASES.len()];

fn markdown(table: &Table) -> String {
    let mut text = String::from(
        "\n| flows | receiver | no loss up to, Mpps | CPU, ns/packet | lost while measuring CPU |\n|---|---|---:|---:|---:|\n",
    );
    for ((name, ..), row) in CASES.iter().zip(table) {
        for (receiver, figures) in RECEIVERS.iter().zip(row) {
            let Figures {
                zero_loss_mpps,
                cpu_ns,
                lost,
            } = figures;
            let receiver = receiver.name();
            let _ = writeln!(
                text,
                "| {name} | {receiver} | {zero_loss_mpps:.2} | {cpu_ns:.0} | {lost} |"
            );
        }
    }
    text
}

fn write(table: &Table) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("record");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("versus.md"), markdown(table))?;
    let rows = CASES.iter().zip(table).flat_map(|((name, ..), row)| {
        RECEIVERS.iter().zip(row).map(move |(receiver, figures)| {
            json!({ "flows": name, "receiver": receiver.name(), "zero_loss_mpps": figures.zero_loss_mpps, "cpu_ns_per_packet": figures.cpu_ns, "lost": figures.lost })
        })
    });
    let rows: Vec<_> = rows.collect();
    fs::write(folder.join("versus.json"), format!("{:#}\n", json!(rows)))?;
    plot(
        &folder.join("versus-rate.svg"),
        "Highest rate without loss, Mpps",
        &table.map(|row| row.map(|figures| figures.zero_loss_mpps)),
    )?;
    plot(
        &folder.join("versus-cpu.svg"),
        "CPU a packet, ns (less is better)",
        &table.map(|row| row.map(|figures| figures.cpu_ns)),
    )
}

/// Groups of bars, one for each number of flows, on a logarithmic axis.
fn plot(path: &Path, title: &str, table: &[[f64; RECEIVERS.len()]; CASES.len()]) -> Result<()> {
    let (least, most) = decades(table.iter().flatten().copied());
    let area = SVGBackend::new(path, (800, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(-0.5..CASES.len() as f64 - 0.5, (least..most).log_scale())?;
    // A group's middle is at a whole number.
    let label = |x: &f64| {
        let cases = CASES.iter().enumerate();
        let mut near = cases.filter(|(group, _)| (*group as f64 - x).abs() < 0.01);
        near.next()
            .map_or_else(String::new, |(_, (name, ..))| (*name).to_owned())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(CASES.len() + 1)
        .x_label_formatter(&label)
        .draw()?;
    let width = 0.8 / RECEIVERS.len() as f64;
    for (index, (receiver, colour)) in RECEIVERS.iter().zip(COLOURS).enumerate() {
        let bars = table.iter().enumerate().map(|(group, row)| {
            let left = group as f64 - 0.4 + index as f64 * width;
            let top = (left + 0.9 * width, row[index].max(least));
            Rectangle::new([(left, least), top], colour.filled())
        });
        chart
            .draw_series(bars)?
            .label(receiver.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The powers of ten around figures; those that are not above zero have no place on the axis.
fn decades(figures: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let figures = figures.filter(|figure| *figure > 0.0);
    let least = figures.clone().fold(f64::INFINITY, f64::min);
    let most = figures.fold(f64::NEG_INFINITY, f64::max);
    if least > most {
        return (0.1, 1.0);
    }
    let least = 10_f64.powf(least.log10().floor());
    (least, (10_f64.powf(most.log10().ceil())).max(least * 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_holds_all_figures() {
        let near = |found: (f64, f64), expected: (f64, f64)| {
            (found.0 / expected.0 - 1.0).abs() < 1e-9 && (found.1 / expected.1 - 1.0).abs() < 1e-9
        };
        assert!(near(decades([0.29, 7.5, -3.0].into_iter()), (0.1, 10.0)));
        assert!(near(decades([50.0].into_iter()), (10.0, 100.0)));
        assert!(near(decades([100.0].into_iter()), (100.0, 1000.0)));
        assert!(near(decades([0.0].into_iter()), (0.1, 1.0)));
    }
}
