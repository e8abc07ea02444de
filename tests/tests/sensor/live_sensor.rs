//! `weir live` over a running sensor's table, in a real terminal: open flows are shown as open, with
//! what they grew by.

use std::process::Command;

use serde_json::Value;
use weir_tests::{process::binaries, tmux::Screen, traffic::flood_frames};

use crate::world::World;

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "what one person sees, one after the other"
)]
fn open_flows_are_on_the_screen_while_they_grow() {
    let world = World::new("lv1");
    let sensor = world.controlled("-t idle=60");
    world.send(&flood_frames(0..100));
    world.wait_for_answer("statistics", "Number of active flows: 100\n");
    let weir = binaries().unwrap().join("weir");
    let command = format!(
        "{} live -i 300ms -c {}",
        weir.display(),
        world.control().display()
    );
    let screen = Screen::run(&command).unwrap();
    screen
        .wait_for("100 open flows", |lines| {
            lines[0].contains("100 open flows") && lines[2].starts_with("open tcp 11.0.0.")
        })
        .unwrap();
    // One flow gets more, and leads.
    let more: Vec<_> = (0..50).flat_map(|_| flood_frames(7..8)).collect();
    world.send(&more);
    let line = "open tcp 11.0.0.7:1024 198.51.100.1:80";
    screen
        .wait_for("the flow that grew", |lines| {
            let found = lines.iter().find(|found| found.starts_with(line));
            found.is_some_and(|found| found.contains(" 2,040 51 "))
        })
        .unwrap();
    screen.write("/src ip 11.0.0.7").unwrap();
    screen
        .wait_for("the filtered flow", |lines| {
            lines[0].contains("1 flows") && lines[2].starts_with(line)
        })
        .unwrap();
    screen.press(&["Enter", "Tab", "Enter"]).unwrap();
    screen
        .wait_for("its peer", |lines| lines[0].contains("1 peers of "))
        .unwrap();
    screen.press(&["q"]).unwrap();
    screen
        .wait_for("end", |lines| lines.contains(&"cooked".to_owned()))
        .unwrap();
    // What a program is told.
    let output = Command::new(&weir)
        .args(["live", "--json", "--once", "-i", "200ms", "-n", "0", "-c"])
        .arg(world.control())
        .output()
        .unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = object["lines"].as_array().unwrap();
    let sum: u64 = lines
        .iter()
        .map(|line| line["octets"].as_u64().unwrap())
        .sum();
    assert_eq!((lines.len(), sum), (100, 150 * 40));
    assert_eq!(object["open_flows"], 100);
    // A pattern that the open flows have, but for the one that grew.
    let library = tempfile::tempdir().unwrap();
    let folder = library.path().join("signatures");
    std::fs::create_dir(&folder).unwrap();
    let flood = "[flood]\nfilter = 'tcp and packets = 1'\nby = 'destination'\ntargets = 50\n";
    std::fs::write(folder.join("own.toml"), flood).unwrap();
    let output = Command::new(&weir)
        .args([
            "signature",
            "flood",
            "--live",
            "--once",
            "--json",
            "-r",
            "/no/such/folder",
            "-c",
        ])
        .arg(world.control())
        .arg("--library")
        .arg(library.path())
        .output()
        .unwrap();
    let matches: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &matches[0];
    assert_eq!(found["host"], "198.51.100.1", "{matches}");
    for (name, expected) in [("targets", 99), ("open_flows", 99), ("octets", 99 * 40)] {
        assert_eq!(found[name], expected, "{name}: {matches}");
    }
    world.stop(sensor);
}
