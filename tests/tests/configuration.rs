//! Configuration files of both daemons: what is right, and what is told of what is wrong (V4). Nothing here
//! needs root, and nothing is metered or received.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path, time::Duration};

use weir_tests::process::{Daemon, built};

/// Runs a program with `--check` and a file; its status and what it said about the file.
fn check(program: &str, text: &str, line: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.toml");
    fs::write(&file, text).unwrap();
    let mut command = built(program).unwrap();
    command.arg("--check").arg("--config").arg(&file);
    let output = command.args(line.split_whitespace()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let place = format!("{program}: {}:", file.display());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "--check made something: {left:?}");
    (output.status.code(), said.replace(&place, "FILE:"))
}

#[test]
fn v04_files_that_are_right_are_found_right() {
    let sensor = "interface = ['eth0', '7:eth1']\ncollector = '192.0.2.1:9995'\nnetflow-version = 10\n\
                  timeout = ['active=1m', 'idle=15']\nmax-flows = 65_536\nno-promiscuous = true\n\
                  fields = ['mac', 'mpls']\ncontrol = 'none'\n";
    assert_eq!(check("weir-sensor", sensor, ""), (Some(0), String::new()));
    // The command line wins, and adds.
    let line = "-n [2001:db8::1]:2055 -v 5 --exact-clock";
    assert_eq!(check("weir-sensor", sensor, line), (Some(0), String::new()));
    let (status, said) = check("weir-sensor", "interface = ['any', 'eth0']\n", "");
    assert_eq!(status, Some(0));
    assert_eq!(said, "weir-sensor: -i eth0: without effect beside -i any\n");
    let collector = "write = '/no/such/folder'\nlisten = '[::]:2055'\nsockets = 2\nallow = ['192.0.2.0/24']\n\
                     max-age = '30d'\nmin-free = '20G'\nrotate = 60\npin-port = true\nsflow = true\n";
    let right = (Some(0), String::new());
    assert_eq!(check("weir-collector", collector, ""), right);
    assert_eq!(check("weir-collector", "", "-w x"), right);
}

#[test]
fn v04_a_mistake_is_one_line_with_file_line_and_key() {
    for (program, text, told) in [
        ("weir-sensor", "\ninterfaces = 'eth0'", "2: interfaces: "),
        (
            "weir-sensor",
            "interface = 'eth0'\ntimeout = 'ftp=3'",
            "2: timeout: ",
        ),
        (
            "weir-sensor",
            "interface = 'eth0'\ncollector = '192.0.2.1'",
            "2: collector: ",
        ),
        (
            "weir-sensor",
            "interface = 'eth0'\nnetflow-version = 7",
            "2: netflow-version: ",
        ),
        (
            "weir-sensor",
            "interface = 'eth0'\nring = 5000",
            "2: ring: ",
        ),
        ("weir-sensor", "interface = 'eth0'\nread = 'file'", ": "),
        (
            "weir-sensor",
            "interface = 'eth0'\ndrop = 1",
            "2: drop: is true or false",
        ),
        ("weir-sensor", "interface = eth0", "1: interface: "),
        (
            "weir-collector",
            "write = 5",
            "1: write: put the value in quotes",
        ),
        (
            "weir-collector",
            "write = 'x'\n\nlisten = 2055",
            "3: listen: ",
        ),
        (
            "weir-collector",
            "write = 'x'\nallow = ['192.0.2.9/24']",
            "2: allow: ",
        ),
        (
            "weir-collector",
            "write = 'x'\nmax-age = 'old'",
            "2: max-age: ",
        ),
        (
            "weir-collector",
            "write = 'x'\n[limits]\nmax-age = '30d'",
            "2: limits: ",
        ),
    ] {
        let (status, said) = check(program, text, "");
        assert_eq!(status, Some(2), "{text}: {said}");
        assert!(
            said.starts_with("FILE:") && said.contains(told),
            "{text}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// What the package puts into /etc/weir, as it is and with what it has in comments.
#[test]
fn the_files_of_the_package_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (program, name, line) in [
        ("weir-sensor", "sensor.toml", "-i lo"),
        ("weir-collector", "collector.toml", ""),
    ] {
        let text = fs::read_to_string(root.join("packaging").join(name)).unwrap();
        let mut options = 0;
        let uncommented = text.lines().map(|line| {
            let option = line.strip_prefix("# ").filter(|rest| {
                let (key, _) = rest.split_once(" = ").unwrap_or(("No key", ""));
                key.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            });
            options += u32::from(option.is_some());
            option.unwrap_or(line).to_owned() + "\n"
        });
        let uncommented: String = uncommented.collect();
        assert!(options > 2, "{uncommented}");
        for text in [text, uncommented] {
            assert_eq!(
                check(program, &text, line),
                (Some(0), String::new()),
                "{text}"
            );
        }
    }
}

#[test]
fn what_shows_only_in_use_is_found_too() {
    let (status, said) = check(
        "weir-collector",
        "write = 'x'\non-rotate = '/no/program'",
        "",
    );
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("/no/program"), "{said}");
    let (status, said) = check("weir-sensor", "interface = 'eth0'", "-n host.invalid:2055");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("host.invalid"), "{said}");
}

/// What `--check` refuses, a start refuses, and the other way about; neither makes anything.
#[test]
fn a_start_refuses_what_a_check_does() {
    let folder = tempfile::tempdir().unwrap();
    let flows = folder.path().join("flows");
    for (words, told) in [
        ("--on-rotate /no/program", "/no/program"),
        ("--json same --protobuf same", "a file each"),
        ("--repeat 127.0.0.1:2055", "this collector listens"),
        ("--forward v9:127.0.0.1:2055", "this collector listens"),
    ] {
        for mode in [&["--check"][..], &[]] {
            let mut command = built("weir-collector").unwrap();
            command.args(["-l", "127.0.0.1:2055", "-w"]).arg(&flows);
            command.args(words.split(' ')).args(mode);
            let mut daemon = Daemon::start(command, &folder.path().join("log")).unwrap();
            let status = daemon.wait(Duration::from_secs(20)).unwrap();
            let said = daemon.log();
            assert_eq!(status.code(), Some(1), "{words} {mode:?}: {said}");
            assert!(said.contains(told), "{words} {mode:?}: {said}");
            assert!(!flows.exists(), "{words} {mode:?}");
        }
    }
}
