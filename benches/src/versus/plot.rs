//! The picture: rates on the left, processor time on the right, a group of bars for each number of
//! flows, on logarithmic axes.

use std::path::Path;

use anyhow::Result;
use plotters::{coord::Shift, prelude::*};

use super::{CASES, Figures, N, RECEIVERS, Table};

const COLOURS: [RGBColor; N] = [
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0x99, 0x99, 0x99),
    RGBColor(0x1b, 0x9e, 0x77),
];
const SIZE: (u32, u32) = (1200, 420);

/// By case and receiver.
type Heights = [[Option<f64>; N]; CASES.len()];

/// Draws what is known.
pub fn draw(path: &Path, table: &Table) -> Result<()> {
    let heights = |height: fn(Figures) -> Option<f64>| -> Heights {
        table.map(|row| row.map(|figures| figures.and_then(height).filter(|height| *height > 0.0)))
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let halves = area.split_evenly((1, 2));
    let panels: [(&str, Heights); 2] = [
        (
            "Highest rate without loss, Mpps",
            heights(|figures| Some(figures.zero_loss_pps as f64 / 1e6)),
        ),
        (
            "CPU a packet, ns (less is better)",
            heights(|figures| figures.cpu_ns),
        ),
    ];
    for (half, (title, heights)) in halves.iter().zip(&panels) {
        panel(half, title, heights)?;
    }
    area.present()?;
    Ok(())
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, title: &str, table: &Heights) -> Result<()> {
    let (least, most) = decades(table.iter().flatten().flatten().copied());
    let mut chart = ChartBuilder::on(area)
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
    let width = 0.8 / N as f64;
    for (index, (receiver, colour)) in RECEIVERS.iter().zip(COLOURS).enumerate() {
        let bars = table.iter().enumerate().filter_map(|(group, row)| {
            let left = group as f64 - 0.4 + index as f64 * width;
            let top = (left + 0.9 * width, row[index]?);
            Some(Rectangle::new([(left, least), top], colour.filled()))
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
    Ok(())
}

/// The powers of ten around figures.
fn decades(figures: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
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
        assert!(near(decades([0.29, 7.5].into_iter()), (0.1, 10.0)));
        assert!(near(decades([50.0].into_iter()), (10.0, 100.0)));
        assert!(near(decades([100.0].into_iter()), (100.0, 1000.0)));
        assert!(near(decades(std::iter::empty()), (0.1, 1.0)));
    }

    #[test]
    fn what_is_not_known_is_left_out_of_the_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("versus.svg");
        let mut table = Table::default();
        draw(&path, &table).unwrap();
        table[1][0] = Some(Figures {
            zero_loss_pps: 740_000,
            ..Figures::default()
        });
        draw(&path, &table).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("softflowd") && text.contains("64k flows"),
            "{text}"
        );
    }
}
