//! Answers at a real terminal: who wants a pager has one, and nobody else.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use weir_tests::{process::binaries, tmux::Screen};

use crate::site::{Site, expect, socket, v9_datagram};

/// Marks what goes through it.
const PAGER: &str = "PAGER='sed s/^/paged:/'";

/// A place with 2,000 flows: lines of more octets than a pipe holds.
fn site() -> Site {
    let site = Site::new();
    let daemon = site.start("");
    let socket = socket();
    for number in 0..4 {
        let datagram = v9_datagram(0, number, 500, number == 0);
        socket.send_to(&datagram, site.address()).unwrap();
    }
    expect(&site.stop(daemon), "records_written=2000");
    site
}

fn flows(site: &Site) -> String {
    let weir = binaries().unwrap().join("weir");
    format!("{} flows -r {}", weir.display(), site.flows().display())
}

fn is_end(lines: &[String]) -> bool {
    lines.iter().any(|line| line == "cooked" || line == "raw")
}

/// What a command leaves on the screen, without empty lines. It must end well.
#[track_caller]
fn shown(command: &str) -> Vec<String> {
    let screen = Screen::run(command).unwrap();
    let mut lines = screen.wait_for("end", is_end).unwrap();
    lines.retain(|line| !line.is_empty());
    let has = |words: &str| lines.iter().any(|line| line == words);
    assert!(has("ended 0") && has("cooked"), "{command}: {lines:?}");
    lines
}

#[test]
fn a_pager_is_for_people_at_a_terminal_who_want_one() {
    let site = site();
    let ask = format!("{} -n 3", flows(&site));
    for (command, is_paged) in [
        (format!("{PAGER} {ask}"), true),
        (format!("{PAGER} {ask} --no-pager"), false),
        (format!("{PAGER} {ask} --json"), false),
        (format!("{PAGER} {ask} | cat"), false),
        (format!("PAGER= {ask}"), false),
        (format!("PAGER=cat {ask}"), false),
        // One that is not installed takes nobody's answer.
        (format!("PAGER=no-such-pager {ask}"), false),
    ] {
        let lines = shown(&command);
        let paged = lines.iter().filter(|line| line.starts_with("paged:"));
        assert_eq!(paged.count() > 3, is_paged, "{command}: {lines:?}");
        // The flows, and how it ended.
        assert!(lines.len() > 5, "{command}: {lines:?}");
    }
}

/// Without `PAGER` it is the `less` of the path, told to end by itself if all fits the screen.
#[test]
fn the_pager_is_less_unless_told() {
    let site = site();
    let folder = site.path("bin");
    fs::create_dir(&folder).unwrap();
    let less = folder.join("less");
    fs::write(&less, "#!/bin/sh\nexec sed \"s/^/$LESS:/\"\n").unwrap();
    fs::set_permissions(&less, fs::Permissions::from_mode(0o755)).unwrap();
    let ask = format!("{} -n 3", flows(&site));
    let path = format!("PATH={}:$PATH", folder.display());
    for (environment, mark) in [("-u LESS", "FRX:"), ("LESS=S", "S:")] {
        let lines = shown(&format!("env -u PAGER {environment} {path} {ask}"));
        let paged = lines.iter().filter(|line| line.starts_with(mark));
        assert!(paged.count() > 3, "{environment}: {lines:?}");
    }
}

/// Who has seen enough leaves the pager: the rest is not printed, and nothing is said about it.
#[test]
fn a_pager_that_is_left_early_ends_the_answer() {
    let site = site();
    for pager in ["head -n 1", "true"] {
        let lines = shown(&format!("PAGER='{pager}' {}", flows(&site)));
        // A heading at most, and how it ended.
        assert!(lines.len() <= 4, "{pager}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("weir")), "{lines:?}");
    }
}

/// One that does not end by itself is told to, and the terminal is the shell's again, which is told of the signal.
#[test]
fn a_signal_ends_the_pager_too() {
    for (signal, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        ended_by(signal, status);
    }
}

fn ended_by(signal: &str, status: u32) {
    let site = site();
    let (ours, pagers) = (site.path("pid"), site.path("pager-pid"));
    let script = site.path("pager");
    let text = format!(
        "echo $$ > {}; echo reading; exec sleep 600",
        pagers.display()
    );
    fs::write(&script, text).unwrap();
    let command = format!(
        "PAGER='sh {}' sh -c 'echo $$ > {}; exec {}'",
        script.display(),
        ours.display(),
        flows(&site)
    );
    let screen = Screen::run(&command).unwrap();
    screen
        .wait_for("pager", |lines| lines.iter().any(|line| line == "reading"))
        .unwrap();
    let kill = format!("kill -s {signal} $(cat {})", ours.display());
    let told = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(told.success());
    let lines = screen.wait_for("end", is_end).unwrap();
    assert!(
        lines.contains(&"cooked".to_owned()) && lines.contains(&format!("ended {status}")),
        "{signal}: {lines:?}"
    );
    let pager = fs::read_to_string(pagers).unwrap();
    let process = Path::new("/proc").join(pager.trim());
    assert!(!process.exists(), "the pager is left: {lines:?}");
}
