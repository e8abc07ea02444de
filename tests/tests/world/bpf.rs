//! A BPF file system of the test's own.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use weir_tests::process::succeed;

use super::{World, json};

/// Mounted as long as the value lives.
pub struct Bpf(PathBuf);

impl Bpf {
    pub fn mount(world: &World) -> Self {
        let folder = world.path("bpf");
        fs::create_dir(&folder).unwrap();
        succeed(
            Command::new("mount")
                .args(["-t", "bpf", "bpf"])
                .arg(&folder),
        );
        Self(folder)
    }

    /// The folder for `--pin`, which the sensor makes.
    pub fn pin(&self) -> String {
        self.0.join("weir").display().to_string()
    }

    /// Has all that is pinned taken off; the account of that.
    pub fn detach(&self, world: &World) -> Value {
        let path = world.path("detached.json");
        let mut command = world.command("weir-sensor");
        command.args(["--detach", "--pin", &self.pin(), "--statistics-json"]);
        succeed(command.arg(&path));
        json(&path)
    }

    /// What is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("weir")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Bpf {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
