//! How much memory a query may take before it goes to disk: half of what there is, the machine's or the
//! control group's, whichever is less.

use std::{fs, path::Path};

/// Where control groups are, since systemd and since containers.
const CGROUPS: &str = "/sys/fs/cgroup";
/// What a query gets if nothing is known of the machine, octets.
const UNKNOWN_OCTETS: u64 = 1 << 30;

/// Half of the memory, octets.
#[must_use]
pub fn share_octets() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| total_octets(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = limit_octets(Path::new(CGROUPS), &own);
    let there = machine.into_iter().chain(group).min();
    there.map_or(UNKNOWN_OCTETS, |octets| octets / 2)
}

/// `MemTotal` of /proc/meminfo (proc_meminfo(5)), octets.
fn total_octets(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibioctets = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kibioctets.checked_mul(1024)
}

/// The least limit of the groups a process is in (cgroups(7)): of version 2, where each group on the way
/// up may have one, or of version 1.
fn limit_octets(root: &Path, own: &str) -> Option<u64> {
    let limits = own.lines().filter_map(|line| {
        let (hierarchy, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let is_v1 = controllers.split(',').any(|name| name == "memory");
        let (root, name) = match (hierarchy, is_v1) {
            ("0", _) => (root.to_owned(), "memory.max"),
            (_, true) => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = root.join(group.trim_start_matches('/'));
        let groups = group
            .ancestors()
            .take_while(|group| group.starts_with(&root));
        // `max` is no limit, and no number either.
        let limit = |group: &Path| -> Option<u64> {
            let text = fs::read_to_string(group.join(name)).ok()?;
            text.trim().parse().ok()
        };
        groups.filter_map(limit).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_has_is_read() {
        let text = "MemTotal:        8042940 kB\nMemFree:          1000 kB\n";
        assert_eq!(total_octets(text), Some(8_042_940 << 10));
        assert_eq!(total_octets("MemTotal: many\n"), None);
        assert!(share_octets() > 0);
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("system.slice/weir.service");
        fs::create_dir_all(&group).unwrap();
        let own = "0::/system.slice/weir.service\n";
        assert_eq!(limit_octets(root.path(), own), None);
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_octets(root.path(), own), None);
        fs::write(root.path().join("system.slice/memory.max"), "500000000\n").unwrap();
        assert_eq!(limit_octets(root.path(), own), Some(500_000_000));
        fs::write(group.join("memory.max"), "100000000\n").unwrap();
        assert_eq!(limit_octets(root.path(), own), Some(100_000_000));
        let old = root.path().join("memory/box");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("memory.limit_in_bytes"), "7\n").unwrap();
        assert_eq!(limit_octets(root.path(), "5:cpu,memory:/box\n"), Some(7));
    }
}
