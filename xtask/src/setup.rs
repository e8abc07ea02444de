//! `cargo xtask setup`: finds the BPF toolchain, or installs it by one of two routes, and says
//! which. It installs only what is missing, so it is cheap to repeat.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::run::{output, shown, step, succeeds};

/// Debian's compiler for browsers, whose `core` for BPF is ready made.
const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// What `bpf-linker` is built against there.
const DEBIAN_LLVM: [&str; 4] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];
const DEBIAN_LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const BPF_LINKER_VERSION: &str = "0.13.0";
/// Programs the tests and benches compare with, and their packages.
const PEERS: [(&str, &str); 11] = [
    ("softflowd", "softflowd"),
    ("nfcapd", "nfdump"),
    ("pmacctd", "pmacct"),
    ("tshark", "tshark"),
    ("tcpreplay", "tcpreplay"),
    // It brings libpcap, by which the sensor compiles filter expressions.
    ("tcpdump", "tcpdump"),
    ("bpftool", "bpftool"),
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    // What `weir live` is driven in.
    ("tmux", "tmux"),
    // What tells in which order files are written, synced and named.
    ("strace", "strace"),
];

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Also install the programs that tests and benches compare with
    #[arg(long)]
    pub peers: bool,
}

/// A compiler that makes BPF programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    Nightly,
    Debian,
}

pub fn run(options: &Options) -> Result<()> {
    if !succeeds("cc", &["--version"]) {
        apt_install(&["gcc", "libc6-dev"]).context("a C compiler is needed: install gcc")?;
    }
    let compiler = match compiler() {
        Some(compiler) => compiler,
        None => install_compiler()?,
    };
    if !succeeds("bpf-linker", &["--version"]) {
        install_linker()?;
    }
    let name = match compiler {
        Compiler::Nightly => "rustup's nightly with rust-src",
        Compiler::Debian => "Debian's rustc-web",
    };
    eprintln!(
        "BPF toolchain: {name}, {}",
        output("bpf-linker", &["--version"])
    );
    if options.peers {
        install_peers()?;
    }
    Ok(())
}

/// Makes sure that `ip` is there.
pub fn iproute2() -> Result<()> {
    if succeeds("ip", &["-V"]) {
        Ok(())
    } else {
        apt_install(&["iproute2"])
    }
}

fn compiler() -> Option<Compiler> {
    let sysroot = output("rustup", &["run", "nightly", "rustc", "--print", "sysroot"]);
    if !sysroot.is_empty()
        && Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library")
            .is_dir()
    {
        return Some(Compiler::Nightly);
    }
    let core = output(
        "/usr/bin/rustc",
        &["--print", "target-libdir", "--target", "bpfel-unknown-none"],
    );
    (!core.is_empty() && Path::new(&core).is_dir() && Path::new("/usr/bin/cargo").exists())
        .then_some(Compiler::Debian)
}

fn install_compiler() -> Result<Compiler> {
    if apt_has(&DEBIAN_COMPILER) {
        apt_install(&DEBIAN_COMPILER)?;
    } else if succeeds("rustup", &["--version"]) {
        step("installing a nightly compiler with rust-src, by rustup");
        shown(Command::new("rustup").args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]))?;
    }
    compiler().context("no compiler for BPF could be installed: install rustup (https://rustup.rs), then repeat `cargo xtask setup`")
}

fn install_linker() -> Result<()> {
    step("installing bpf-linker, by cargo (some minutes)");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION]);
    if apt_has(&DEBIAN_LLVM) {
        apt_install(&DEBIAN_LLVM)?;
        cargo
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", DEBIAN_LLVM_PREFIX);
    }
    shown(&mut cargo)?;
    if !succeeds("bpf-linker", &["--version"]) {
        bail!(
            "bpf-linker is installed but not found: add cargo's bin folder (~/.cargo/bin) to PATH"
        );
    }
    Ok(())
}

fn install_peers() -> Result<()> {
    let missing: Vec<_> = PEERS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt_install(&missing)
}

pub fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .any(|folder| folder.join(program).exists())
}

/// Whether Debian has all of these; asks for fresh lists if it has none.
fn apt_has(packages: &[&str]) -> bool {
    let known = || {
        packages
            .iter()
            .all(|package| !output("apt-cache", &["show", "--no-all-versions", package]).is_empty())
    };
    if !succeeds("apt-cache", &["--version"]) || !is_root() {
        return false;
    }
    known() || (succeeds("apt-get", &["update"]) && known())
}

pub fn apt_install(packages: &[&str]) -> Result<()> {
    let installed = |package: &&&str| {
        output("dpkg-query", &["-W", "-f=${Status}", package]).contains("install ok installed")
    };
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !installed(package))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!(
            "not root: run `apt-get install {}` first",
            missing.join(" ")
        );
    }
    step(&format!("installing {} from Debian", missing.join(" ")));
    if !apt_has(&missing) {
        bail!("Debian has no {}", missing.join(" or no "));
    }
    shown(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::process::Stdio::null()),
    )
}

pub fn is_root() -> bool {
    output("id", &["-u"]) == "0"
}
