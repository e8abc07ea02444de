//! This kernel's verifier takes all hooks' programs: with each option, without each of all options, and whatever the
//! queues' length. What the compiler makes of a step hangs on all of its source, and that of one option may be
//! refused for a change to another. Older kernels see every combination by `cargo xtask package-test`.

use weir_sensor::kernel::{Kernel, ProgramOptions};
use weir_sensor_common::{
    Fields, KeyMask, hash::Seed, stage::STAGES_MAX, table::Shape, tunnel::Tunnels,
};
use weir_tests::netns;

const HOOKS: [&str; 3] = [Kernel::INGRESS, Kernel::EGRESS, Kernel::TC_INGRESS];

/// An option, switched on.
type Case = (&'static str, fn(&mut ProgramOptions));

const CASES: [Case; 13] = [
    ("several interfaces", |options| options.several = true),
    ("no Ethernet header", |options| options.raw = true),
    ("a filter", |options| options.filter = true),
    ("fragments", |options| options.fragments = 8192),
    ("IPv4 only", |options| options.v4_only = true),
    ("tunnels", |options| options.tunnels = Tunnels(0x1f)),
    ("MAC addresses in the key", |options| {
        options.shape.key_mask = KeyMask::ETHER.0;
        options.extra = options.extra.and(Fields::MAC);
    }),
    ("fields", |options| options.extra = Fields(0x1f)),
    ("sampling", |options| options.sampling = 7),
    ("sampling at random", |options| {
        (options.sampling, options.sampling_random) = (7, true);
    }),
    ("the exact clock", |options| options.exact_clock = true),
    ("dropping", |options| options.drop = true),
    ("messages", |options| options.debug_log = true),
];

fn options(stages: u32) -> ProgramOptions {
    ProgramOptions {
        stages,
        ..ProgramOptions::new(Shape {
            bucket_mask: (1 << 14) - 1,
            seed: Seed::new([5, 4, 3, 2, 1]),
            key_mask: KeyMask::FULL.0,
        })
    }
}

#[test]
fn the_programs_of_all_hooks_are_taken_with_and_without_each_option() {
    assert!(netns::possible(), "root is needed to load programs");
    let mut refused = Vec::new();
    for stages in [1, STAGES_MAX] {
        let mut load = |what: String, options: &ProgramOptions| {
            if let Err(error) = Kernel::load_first(options, &HOOKS) {
                refused.push(format!("{what}, queues of {stages}: {error:#}"));
            }
        };
        load("nothing".to_owned(), &options(stages));
        for (index, (name, switch_on)) in CASES.iter().enumerate() {
            let mut alone = options(stages);
            switch_on(&mut alone);
            load((*name).to_owned(), &alone);
            let mut others = options(stages);
            for (_, switch_on) in CASES
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != index)
                .map(|(_, case)| case)
            {
                switch_on(&mut others);
            }
            load(format!("all but {name}"), &others);
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}
