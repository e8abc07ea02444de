//! Two network namespaces joined by a veth pair: a world of our own, gone when dropped.
#![expect(unsafe_code, reason = "system calls")]

use std::{fs::File, os::fd::AsRawFd as _, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Two namespaces, `a` and `b`, each with one end of the pair. IPv6 and ARP are off, so that the
/// only frames on it are those sent by us.
#[derive(Debug)]
pub struct Pair {
    /// Name of the sending namespace; its interface has the same name.
    pub a: String,
    /// Name of the receiving one, likewise.
    pub b: String,
}

impl Pair {
    /// Makes them; `label` keeps several apart.
    ///
    /// # Errors
    /// Without root, or iproute2.
    pub fn new(label: &str) -> Result<Self> {
        let pid = std::process::id();
        // Interface names have 15 octets at most.
        let (a, b) = (format!("w{label}{pid}a"), format!("w{label}{pid}b"));
        let pair = Self {
            a: a.clone(),
            b: b.clone(),
        };
        for name in [&a, &b] {
            ip(&["netns", "add", name])?;
            let off = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 2>/dev/null || true";
            run(Command::new("ip").args(["netns", "exec", name, "sh", "-c", off]))?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        ip(&[
            "link",
            "add",
            &a,
            "netns",
            &a,
            "numrxqueues",
            "2",
            "numtxqueues",
            "2",
            "type",
            "veth",
            "peer",
            "name",
            &b,
            "netns",
            &b,
            "numrxqueues",
            "2",
            "numtxqueues",
            "2",
        ])?;
        for name in [&a, &b] {
            ip(&["-n", name, "link", "set", name, "arp", "off"])?;
            ip(&["-n", name, "link", "set", name, "up"])?;
        }
        Ok(pair)
    }

    /// Frames that reached the receiving end, and frames dropped between the two or by the stack behind it.
    ///
    /// # Errors
    /// If `ip` does not say.
    pub fn received_and_dropped(&self) -> Result<(u64, u64)> {
        Ok((
            count(&self.b, "rx", "packets")?,
            self.dropped_between()? + count(&self.b, "rx", "dropped")?,
        ))
    }

    /// Frames dropped between the two: the driver at the receiving end has not seen them.
    ///
    /// # Errors
    /// If `ip` does not say.
    pub fn dropped_between(&self) -> Result<u64> {
        count(&self.a, "tx", "dropped")
    }

    /// A command in the receiving namespace.
    #[must_use]
    pub fn command_in_b(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.b]).arg(program);
        command
    }
}

fn count(name: &str, side: &str, counter: &str) -> Result<u64> {
    let output = Command::new("ip")
        .args(["-n", name, "-s", "-j", "link", "show", name])
        .output()?;
    let links: Value = serde_json::from_slice(&output.stdout)?;
    links[0]["stats64"][side][counter]
        .as_u64()
        .with_context(|| format!("{name}: {side} {counter}"))
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Moves this thread into a namespace; for threads made for it.
///
/// # Errors
/// If there is none of that name, or without root.
pub fn enter(name: &str) -> Result<()> {
    let file = File::open(format!("/var/run/netns/{name}"))
        .with_context(|| format!("namespace {name}"))?;
    // SAFETY: the descriptor is open; the call changes this thread only.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    if result < 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("entering namespace {name}"));
    }
    Ok(())
}

/// Whether namespaces can be made: root, with iproute2.
#[must_use]
pub fn possible() -> bool {
    // SAFETY: the call has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    root && Command::new("ip")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
