//! V2 and V6: units and sources are as they must be before they are shipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's folder.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap().to_owned()
}

/// The units of the package: what must be in them, and what systemd thinks of them.
#[test]
fn v02_units_are_confined() {
    const BOTH: [&str; 9] = [
        "User=weir",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "SystemCallFilter=@system-service",
        "MemoryMax=",
        "LimitMEMLOCK=",
    ];
    let folder = tempfile::tempdir().unwrap();
    for (unit, instance, most) in [
        ("weir-sensor@.service", "weir-sensor@eth0.service", 4.0),
        ("weir-collector.service", "weir-collector.service", 2.0),
    ] {
        let text = fs::read_to_string(root().join("packaging").join(unit)).unwrap();
        for setting in BOTH {
            let found = text.lines().any(|line| line.starts_with(setting));
            assert!(found, "{setting} in {unit}");
        }
        let path = folder.path().join(instance);
        fs::write(&path, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]);
        let output = command.arg(&path).output().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; systemd's own word is part of this case")
        });
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, exposure) = said
            .split_once(&format!("Overall exposure level for {instance}: "))
            .unwrap_or_else(|| panic!("{said}"));
        let exposure: f64 = exposure.split_whitespace().next().unwrap().parse().unwrap();
        assert!(exposure <= most, "{unit}: {exposure}");
    }
}

/// The sources that may use `unsafe` say so at their top, every package has the workspace's lints, and
/// numbers do not wrap in what is shipped.
#[test]
fn v06_unsafe_is_confined_and_release_builds_check_overflow() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = |name: &str| -> String {
        let (_, rest) = manifest.split_once(&format!("\n[{name}]\n")).unwrap();
        rest.split("\n[").next().unwrap().to_owned()
    };
    let release = section("profile.release");
    assert!(release.lines().any(|line| line == "overflow-checks = true"));
    let lints = section("workspace.lints.rust");
    assert!(lints.lines().any(|line| line == "unsafe_code = \"deny\""));
    let mut sources = Vec::new();
    for package in fs::read_dir(root()).unwrap().flatten() {
        let manifest = package.path().join("Cargo.toml");
        // `fuzz/` is a workspace of its own: it is for another compiler, and in no program.
        if let Ok(text) = fs::read_to_string(&manifest)
            && !text.contains("\n[workspace]\n")
        {
            let inherits = text.contains("[lints]\nworkspace = true\n");
            assert!(inherits, "{} has its own lints", manifest.display());
            find_sources(&package.path(), &mut sources);
        }
    }
    assert!(sources.len() > 50, "{} sources", sources.len());
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let code = |line: &str| !line.trim_start().starts_with("//");
        let uses = text.lines().filter(|line| code(line)).any(|line| {
            ["unsafe {", "unsafe fn", "unsafe impl"]
                .iter()
                .any(|word| line.contains(word))
        });
        let declared = text.contains("unsafe_code,") && text.contains("reason = ");
        // This file names the words.
        let is_this = path.ends_with("tests/tests/sensor/shipped.rs");
        assert!(!uses || declared || is_this, "{}", path.display());
        assert!(
            !text.contains("allow(unsafe_code") || is_this,
            "{}",
            path.display()
        );
    }
}

/// Rust sources below a package's folder, without what is built.
fn find_sources(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            find_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}
