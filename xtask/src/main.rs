//! `cargo xtask`: everything one does with this repository, one file a subcommand. It builds with
//! nothing but a compiler, so that it can install the rest.

mod bench;
mod build;
mod ci;
mod demo;
mod package;
mod run;
mod screen;
mod setup;
mod soak;
mod spark;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sets up, builds, shows and tests Weir.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job on real packets: sense, export, collect, answer, account
    Demo(demo::Options),
    /// Find or install what building needs: the BPF toolchain, a C compiler
    Setup(setup::Options),
    /// Build everything (--release: optimised)
    Build(build::Options),
    /// Run every test, as CI does
    Test,
    /// The same as `test`, under the name CI looks for
    Ci,
    /// Measure, and compare with the bars
    Bench(bench::Options),
    /// Play random rounds of options, traffic and mishaps; every account must balance
    Soak(soak::Options),
    /// Have a Spark cluster of two workers answer what `weir` answers, over the same files
    Spark,
    /// Make Debian packages: weir, and weir-softflowd in softflowd's place
    Deb(package::DebOptions),
    /// Make an archive of programs that need no libraries
    Tarball(package::TarballOptions),
    /// Install the packages in a fresh Debian, and in a machine that is booted with its kernel
    PackageTest(package::TestOptions),
    /// Show `weir live` over real packets, as README does (--write puts it there)
    Screen(screen::Options),
}

fn main() -> ExitCode {
    run::find_cargo_programs();
    let result: Result<()> = match Options::parse().command {
        Command::Setup(options) => setup::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Screen(options) => screen::run(&options),
        Command::Test | Command::Ci => ci::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Deb(options) => package::deb(&options),
        Command::Tarball(options) => package::tarball(&options),
        Command::PackageTest(options) => package::test(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Spark => spark::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use weir_tests::documents::{self, Shown};

    use super::*;

    #[test]
    fn every_command_that_documents_show_is_there() {
        let commands = documents::commands("cargo xtask").unwrap();
        assert!(commands.len() > 10, "{commands:?}");
        for Shown { document, words } in &commands {
            if let Err(error) = Options::try_parse_from(&words[1..]) {
                let is_help = error.kind() == ErrorKind::DisplayHelp;
                assert!(is_help, "{}: {words:?}: {error}", document.display());
            }
        }
    }
}
