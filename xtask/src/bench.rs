//! `cargo xtask bench`: builds and runs the benches, optimised.

use anyhow::Result;

use crate::{
    build, ci,
    run::{cargo, shown},
    setup,
};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Arguments for the bench program (`-- --help` lists them)
    #[arg(trailing_var_arg = true)]
    arguments: Vec<String>,
}

/// Benches that run more of Weir's programs than the sensor: the query engine takes a quarter of an hour to
/// build, so they have all that `cargo xtask build --release` builds, and `deb` packs.
const WHOLE: [&str; 2] = ["collect", "query"];

pub fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options { peers: true })?;
    let is_wanted = |bench| is_wanted(&options.arguments, bench);
    if WHOLE.into_iter().any(is_wanted) {
        build::run(&build::Options { release: true })?;
    } else {
        shown(&mut cargo(&[
            "build",
            "--release",
            "--package",
            "weir-sensor",
        ]))?;
    }
    if is_wanted("query") {
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
    fn all_is_built_for_the_benches_that_run_it() {
        let wanted = |line: &str| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            WHOLE.map(|bench| is_wanted(&words, bench))
        };
        assert_eq!(wanted(""), [true, true]);
        assert_eq!(wanted("--quick"), [true, true]);
        assert_eq!(wanted("table gate"), [false, false]);
        assert_eq!(wanted("--quick query --flows 5000000"), [false, true]);
        assert_eq!(wanted("--flows 5000000"), [true, true]);
        assert_eq!(wanted("--help"), [false, false]);
    }
}
