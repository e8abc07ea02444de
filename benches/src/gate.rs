//! What CI holds every commit to: the table's ratios, short, against ceilings with room for a noisy
//! machine, and once more before one counts as missed. `bench table` has the bars themselves.

use anyhow::Result;
use weir_tests::wire;

use crate::{
    bars::{Bar, Report},
    table::{self, CASES},
};

const PACKETS: u32 = 200_000;
const ROUNDS: usize = 7;

pub fn measure(report: &mut Report) -> Result<()> {
    wire::pin(0)?;
    for case in &CASES {
        eprintln!("gate: {}", case.name);
        let must = case.gate_ratio;
        let mut ratio = table::ratio(case, PACKETS, ROUNDS)?;
        let mut note = format!("the bar is {}", case.must_ratio);
        if ratio > must {
            note = format!("{note}; {ratio:.2} the first time");
            ratio = ratio.min(table::ratio(case, PACKETS, ROUNDS)?);
        }
        report.bar(
            format!("program / hash map, {}", case.name),
            "×",
            ratio,
            Bar::at_most(must, case.must_ratio),
            note,
        );
    }
    Ok(())
}
