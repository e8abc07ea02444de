//! The real weir-sensor at end `b` of a veth pair, and what it is sent.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use weir_benches::live::{
    generator::{Generator, Order, Plan, Sent},
    receiver, trial,
};
use weir_tests::{
    netns::{self, Pair},
    process::Daemon,
    wire,
};

/// Length of `/proc/PID/stat`'s ticks: `USER_HZ` is 100 wherever Weir runs.
const TICK_NS: u64 = 10_000_000;

/// A running sensor; it ends when dropped.
pub struct Sensor {
    daemon: Daemon,
    folder: TempDir,
}

impl Sensor {
    /// Starts it with these arguments, words with a space between, and waits until it meters.
    pub fn start(pair: &Pair, arguments: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = pair.command_in_b(Path::new(&receiver::weir_sensor()?));
        command
            .args(["-i", &pair.b, "--direction", "in", "-N", "-c", "none"])
            .arg("--statistics-json")
            .arg(folder.path().join("json"))
            .args(arguments.split(' '));
        let mut daemon = Daemon::start(command, &folder.path().join("log"))?;
        daemon.wait_for("metering")?;
        Ok(Self { daemon, folder })
    }

    /// Processor time of all its threads so far, user and system, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        // `ip netns exec` becomes the program it runs.
        cpu_ns_of(self.daemon.pid())
    }

    /// Ends it as a service manager does; its account.
    pub fn stop(self) -> Result<Value> {
        let Self { daemon, folder } = self;
        let status = daemon.stop()?;
        if !status.success() {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            bail!("weir-sensor ended with {status}:\n{log}");
        }
        let json = fs::read_to_string(folder.path().join("json"))?;
        Ok(serde_json::from_str(&json)?)
    }
}

/// A number of an account.
pub fn of(account: &Value, name: &str) -> Result<u64> {
    let number = account[name].as_u64();
    number.with_context(|| format!("{name} in the sensor's account: {}", account[name]))
}

/// Sends as ordered from end `a`, on the first CPU.
pub fn send(pair: &Pair, plan: &Plan, order: &Order) -> Result<Sent> {
    trial::apart(|| {
        netns::enter(&pair.a)?;
        wire::pin(0)?;
        Generator::new(&pair.a, plan)?.send(order)
    })
}

/// Processor time of all threads of a process so far, user and system, in nanoseconds. The kernel samples
/// which of the two it is, but measures their sum.
pub fn cpu_ns_of(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    cpu_ns_in(&stat).with_context(|| format!("{path} says {stat:?}"))
}

fn cpu_ns_in(stat: &str) -> Option<u64> {
    // After the name, which may hold spaces: the state is the third column, user time the 14th.
    const USER: usize = 14 - 3;
    let (_, columns) = stat.rsplit_once(") ")?;
    let times = columns.split(' ').skip(USER).take(2);
    let ticks: Vec<u64> = times.flat_map(str::parse::<u64>).collect();
    let [user, system] = ticks[..] else {
        return None;
    };
    Some((user + system) * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let columns = "S 1 2 3 4 5 6 7 8 9 10 250 13 0 0 20 0 3 0 100";
        for name in ["weir-sensor", "a) b", "("] {
            let stat = format!("71 ({name}) {columns}");
            assert_eq!(cpu_ns_in(&stat), Some(263 * TICK_NS), "{name}");
        }
        assert_eq!(cpu_ns_in("71 (it) S 1 2"), None);
    }
}
