//! Builds the kernel program with aya-build, by whichever BPF toolchain is here.
//!
//! aya-build runs `rustup run nightly cargo` if it finds rustup. Two routes can work: a nightly
//! with the `rust-src` component, or Debian's `rustc-web`, whose `core` for BPF is ready made. For
//! the second a small `rustup` of our own, first on the path, runs what it is told with Debian's
//! compiler. `cargo xtask setup` installs either.
#![expect(unsafe_code, reason = "the environment of this one-threaded process")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "all of it sets the environment"
)]

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

fn main() {
    if let Err(error) = build() {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().context("the workspace's folder")?;
    println!(
        "cargo:rerun-if-changed={}",
        root.join("sensor-common/src").display()
    );
    println!("cargo:rerun-if-changed=build.rs");
    println!(
        "cargo:rerun-if-changed={}",
        root.join("Cargo.toml").display()
    );
    find_cargo_programs()?;
    if !runs("bpf-linker", &["--version"]) {
        bail!("the BPF toolchain is missing (no bpf-linker): run `cargo xtask setup`");
    }
    let route = match nightly_with_source() {
        Some(rustup) => Route::Rustup(rustup),
        None if debian_has_core() => Route::Debian,
        None => bail!(
            "the BPF toolchain is missing (no compiler with core for BPF): run `cargo xtask setup`"
        ),
    };
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?);
    steer(&route, &out_dir)?;
    let program = root.join("sensor-ebpf");
    let program = program.to_str().context("a path in UTF-8")?;
    if env::var_os("CARGO_FEATURE_BARE").is_some() {
        // Under the same name, so it is moved out of the way of the one that is shipped.
        compile(program, &["baseline", "bare"])?;
        fs::rename(out_dir.join("weir-meter"), out_dir.join("weir-meter-bare"))?;
    }
    let features: Vec<&str> = [
        ("CARGO_FEATURE_BASELINE", "baseline"),
        ("CARGO_FEATURE_GENERATOR", "generator"),
    ]
    .iter()
    .filter(|(variable, _)| env::var_os(variable).is_some())
    .map(|(_, feature)| *feature)
    .collect();
    compile(program, &features)
}

/// Builds the object into `OUT_DIR`.
fn compile(program: &str, features: &[&str]) -> Result<()> {
    build_ebpf(
        [Package {
            name: "weir-sensor-ebpf",
            root_dir: program,
            features,
            ..Default::default()
        }],
        Toolchain::Nightly,
    )
}

/// Where `cargo install` puts programs, which is on the path of rustup's users only.
fn find_cargo_programs() -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(env::split_paths(&path).chain(home.map(|home| home.join("bin"))))?;
    // SAFETY: a build script has one thread, and nothing else reads the environment meanwhile.
    unsafe { env::set_var("PATH", path) };
    Ok(())
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The rustup whose nightly can build core.
fn nightly_with_source() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let rustup = env::split_paths(&path)
        .map(|folder| folder.join("rustup"))
        .find(|candidate| candidate.is_file())?;
    let output = Command::new(&rustup)
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    (output.status.success() && source.is_dir()).then_some(rustup)
}

fn debian_has_core() -> bool {
    let output = Command::new("/usr/bin/rustc")
        .args(["--print", "target-libdir", "--target", "bpfel-unknown-none"])
        .output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success()
            && Path::new(&folder).is_dir()
            && Path::new("/usr/bin/cargo").exists()
    })
}

/// The words by which `rustup run nightly` of this machine, or its replacement, runs a program.
enum Route {
    Rustup(PathBuf),
    Debian,
}

/// Puts a `rustup` of our own first on the path of this process, for aya-build to find. It adds
/// the processor version, which aya-build has no word for: version 3 (kernel 5.1) has 32-bit
/// arithmetic and comparisons.
fn steer(route: &Route, out_dir: &Path) -> Result<()> {
    let folder = out_dir.join("toolchain");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let run = match route {
        Route::Rustup(rustup) => format!("exec '{}' \"$@\"", rustup.display()),
        Route::Debian => {
            for program in ["cargo", "rustc"] {
                symlink(Path::new("/usr/bin").join(program), folder.join(program))?;
            }
            "shift 2\nexec \"$@\"".to_owned()
        }
    };
    let script = format!(
        "#!/bin/sh\n# rustup run TOOLCHAIN COMMAND…\n\
        separator=$(printf '\\037')\n\
        [ -z \"$CARGO_ENCODED_RUSTFLAGS\" ] ||\n  \
        export CARGO_ENCODED_RUSTFLAGS=\"$CARGO_ENCODED_RUSTFLAGS${{separator}}-Ctarget-cpu=v3\"\n\
        {run}\n"
    );
    let rustup = folder.join("rustup");
    fs::write(&rustup, script)?;
    fs::set_permissions(&rustup, fs::Permissions::from_mode(0o755))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(folder).chain(env::split_paths(&path)))?;
    // SAFETY: a build script has one thread, and nothing else reads the environment meanwhile.
    unsafe {
        env::set_var("PATH", path);
        env::set_var("CARGO_TERM_QUIET", "true");
        if let Route::Debian = route {
            // aya-ebpf asks for the unstable `asm_experimental_arch`; a stable compiler allows it
            // to the crates named here, and aya-build then does not rebuild core.
            env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf");
        }
        // Variables of the outer cargo that would choose the outer compiler.
        for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO"] {
            env::remove_var(name);
        }
    }
    Ok(())
}
