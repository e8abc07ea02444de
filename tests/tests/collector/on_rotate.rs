//! `--on-rotate`: a command for each closed file, with all system calls and no privileges.

use std::{fs, os::unix::fs::PermissionsExt as _, thread, time::Duration};

use crate::site::{Site, UNDER_WAY, expect, of, send};

/// The command gets each closed file's path as its one argument, spaces and all; one that fails is told.
#[test]
fn a_command_is_run_for_each_closed_file() {
    let site = Site::new();
    let script = site.path("on rotate $(false)");
    let list = site.path("list");
    let text = format!(
        "#!/bin/sh\n[ $# = 1 ] && [ -f \"$1\" ] && echo \"$1\" >> '{}'\n",
        list.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let flows = site.path("flows of a; site");
    let mut command = Site::command();
    command.arg("--on-rotate").arg(&script);
    let daemon = site.start_as(command, &flows, "-t 1");
    for part in 0..3 {
        send(&site, part * 10..(part + 1) * 10);
        thread::sleep(Duration::from_millis(1500));
    }
    let found = site.stop(daemon);
    let told = fs::read_to_string(&list).unwrap();
    assert_eq!(
        told.lines().count() as u64,
        of(&found, "windows_closed"),
        "{told}"
    );
    expect(
        &found,
        &format!("commands={} commands_failed=0", told.lines().count()),
    );

    let mut failing = site.start("-t 1 --on-rotate /bin/false");
    send(&site, 100..110);
    failing.wait_for("--on-rotate command for").unwrap();
    thread::sleep(UNDER_WAY);
    let found = site.stop(failing);
    assert!(of(&found, "commands_failed") > 0, "{found:#}");
    assert!(site.log().contains("exit status: 1"), "{}", site.log());
}

/// Commands have all system calls, and no privileges; the collector that has them run has given its calls up.
#[test]
fn commands_keep_the_system_calls_that_the_collector_gives_up() {
    let site = Site::new();
    let (script, list) = (site.path("on-rotate"), site.path("list"));
    let text = format!(
        "#!/bin/sh\ngrep -e Seccomp_filters -e CapEff /proc/self/status >> '{}'\n",
        list.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let field = |status: &str, name: &str| -> Vec<u64> {
        let values = status.lines().filter_map(|line| line.strip_prefix(name));
        let number = |value: &str| u64::from_str_radix(value.trim(), 16).unwrap();
        values.map(number).collect()
    };
    let filters = |status: &str| field(status, "Seccomp_filters:");
    let own = filters(&fs::read_to_string("/proc/self/status").unwrap())[0];
    let daemon = site.start(&format!("-t 1 --on-rotate {}", script.display()));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert_eq!(filters(&status), [own + 1]);
    send(&site, 0..10);
    thread::sleep(Duration::from_millis(2500));
    // What is closed at the end has its command, too.
    send(&site, 10..20);
    let found = site.stop(daemon);
    let told = fs::read_to_string(&list).unwrap();
    assert_eq!(of(&found, "commands_failed"), 0, "{found:#}");
    let count = usize::try_from(of(&found, "windows_closed")).unwrap();
    assert_eq!(filters(&told), vec![own; count], "{told}");
    assert_eq!(field(&told, "CapEff:"), vec![0; count], "{told}");
}
