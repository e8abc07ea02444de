//! Traffic over time as a picture (SVG): a bar an interval, and a line at the 95th percentile.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a picture is drawn in floats, and a place in it is a small number"
)]

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use chrono::DateTime;
use plotters::prelude::*;

use crate::bins::{Bins, percentile};

const SIZE: (u32, u32) = (1200, 420);
const BARS: RGBColor = RGBColor(0x1b, 0x9e, 0x77);
const LINE: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const USUAL_PER_CENT: usize = 95;

/// Draws a value of each interval into a file.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, caption: &str, bins: &Bins, values: &[u64]) -> Result<()> {
    let picture = draw(caption, bins, values)?;
    fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(caption: &str, bins: &Bins, values: &[u64]) -> Result<String> {
    let mut picture = String::new();
    let usual = percentile(values, USUAL_PER_CENT);
    let most = percentile(values, 100).max(1) as f64;
    let number = values.len().max(1) as f64;
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let caption = format!("{caption}, 95th percentile {}", short(usual as f64));
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..number, 0.0..most * 1.05)?;
        let time = |at: &f64| {
            let time = DateTime::from_timestamp_nanos(bins.start_of(*at as usize));
            time.format("%m-%d %H:%M").to_string()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(10)
            .x_label_formatter(&time)
            .y_label_formatter(&|value: &f64| short(*value))
            .draw()?;
        let bars = values.iter().enumerate().map(|(at, value)| {
            let corners = [(at as f64, 0.0), (at as f64 + 1.0, *value as f64)];
            Rectangle::new(corners, BARS.filled())
        });
        chart.draw_series(bars)?;
        let line = [(0.0, usual as f64), (number, usual as f64)];
        chart.draw_series([PathElement::new(line, LINE.stroke_width(1))])?;
        area.present()?;
    }
    Ok(picture)
}

/// A number in three digits or so, with a factor.
fn short(value: f64) -> String {
    const FACTORS: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match FACTORS.iter().find(|(factor, _)| value >= *factor) {
        Some((factor, name)) => format!("{:.1}{name}", value / factor),
        None => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_bar_an_interval_and_says_what_is_usual() {
        let bins = Bins::new(0, 40, 10).unwrap();
        let picture = draw("Bits a second", &bins, &[1_000_000, 0, 2_500_000, 7]).unwrap();
        assert!(
            picture.starts_with("<svg") && picture.contains("</svg>"),
            "{picture}"
        );
        assert!(picture.contains("95th percentile 2.5 M"), "{picture}");
        let bars = picture.matches("#1B9E77").count();
        assert!(bars >= 3, "{bars} of {picture}");
        assert!(draw("Flows", &Bins::new(0, 1, 10).unwrap(), &[]).is_ok());
    }

    #[test]
    fn numbers_are_short() {
        let found = [0.0, 999.0, 1500.0, 2.5e6, 1e9, 3e13].map(short);
        assert_eq!(found, ["0", "999", "1.5 k", "2.5 M", "1.0 G", "30.0 T"]);
    }
}
