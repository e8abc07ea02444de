//! `cargo xtask bench`: builds and runs the benches, optimised.

use anyhow::Result;

use crate::{
    ci,
    run::{cargo, shown},
    setup,
};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Arguments for the bench program (`-- --help` lists them)
    #[arg(trailing_var_arg = true)]
    arguments: Vec<String>,
}

/// The programs a bench runs, beside the sensor; the query engine takes a quarter of an hour to build.
const PROGRAMS: [(&str, &str); 2] = [("collect", "weir-collector"), ("query", "weir-report")];

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options { peers: true })?;
    shown(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "weir-sensor",
    ]))?;
    for (bench, package) in PROGRAMS {
        if is_wanted(&options.arguments, bench) {
            shown(&mut cargo(&["build", "--release", "--package", package]))?;
        }
    }
    if is_wanted(&options.arguments, "query") {
        ci::engines()?;
    }
    shown(cargo(&["run", "--release", "--package", "weir-benches", "--"]).args(&options.arguments))
}

/// Whether a bench is asked for: by its name, or because no name is there. What looks like a number is
/// an option's, and help is of no bench.
fn is_wanted(arguments: &[String], bench: &str) -> bool {
    if arguments
        .iter()
        .any(|word| word == "-h" || word == "--help")
    {
        return false;
    }
    let mut names = arguments
        .iter()
        .filter(|word| !word.starts_with('-') && word.parse::<u64>().is_err())
        .peekable();
    names.peek().is_none() || names.any(|name| name == bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_built_for_the_benches_that_run_them() {
        let wanted = |line: &str| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            PROGRAMS.map(|(bench, _)| is_wanted(&words, bench))
        };
        assert_eq!(wanted(""), [true, true]);
        assert_eq!(wanted("--quick"), [true, true]);
        assert_eq!(wanted("table gate"), [false, false]);
        assert_eq!(wanted("--quick query --flows 5000000"), [false, true]);
        assert_eq!(wanted("--flows 5000000"), [true, true]);
        assert_eq!(wanted("--help"), [false, false]);
    }
}
