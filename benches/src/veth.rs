//! Live frames through a veth pair, all on one core: the generator, the wire, and weir-sensor, which
//! drops what it has metered (as on a mirror port). The receiving softirq runs on the generator's
//! core and pushes back, so the highest rate without loss is what one core does of all three.

use anyhow::Result;
use weir_benches::live::{
    frame::{Kind, Sizes},
    generator::Plan,
    receiver::Receiver,
    sequence::Distribution,
    trial::{self, Setup},
};

use crate::bars::Report;

const CASES: [(&str, Option<u32>, (f64, f64)); 3] = [
    ("64k flows", Some(1 << 16), (8.0, 11.0)),
    ("1M flows", Some(1 << 20), (2.5, 5.0)),
    ("flood", None, (6.0, 9.0)),
];

pub fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let seconds = if quick { 1 } else { 3 };
    let pair = trial::pair()?;
    for (name, flows, bars) in CASES {
        eprintln!("veth: {name}");
        let mpps = |receiver| -> Result<f64> {
            let found = trial::search(&pair, &setup(receiver, flows, seconds), |_, _| {})?;
            Ok(found.highest_pps().unwrap_or(0) as f64 / 1e6)
        };
        let (weir, floor) = (mpps(Receiver::WeirDrop)?, mpps(Receiver::Drop)?);
        report.at_least(
            format!("zero loss on one core, {name}"),
            "Mpps",
            weir,
            bars,
            format!("generator and veth alone {floor:.1}"),
        );
    }
    Ok(())
}

/// Frames of 60 octets in so many flows, or each in a new one.
pub fn setup(receiver: Receiver, flows: Option<u32>, seconds: u64) -> Setup {
    let kind = Kind {
        destination: [2, 0, 0, 0, 0, 2],
        ipv6: false,
        vlan: None,
    };
    Setup {
        receiver,
        plan: Plan {
            kind,
            sizes: Sizes(vec![(kind.octets_min(), 1)]),
            flows: flows.unwrap_or(1),
            distribution: if flows.is_some() {
                Distribution::Uniform
            } else {
                Distribution::Flood
            },
            fresh_share: 0.0,
            seed: 42,
        },
        rate: 0,
        seconds,
        generator_cpu: 0,
        receiver_cpu: None,
    }
}
